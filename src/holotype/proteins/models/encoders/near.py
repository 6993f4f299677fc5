"""NEAR: a convolutional network whose residue embeddings predict which residues of two proteins align.

Paper: Olson, Colligan, Demekas, Roddy, Youens-Clark and Wheeler, "NEAR: Neural Embeddings for Amino acid
Relationships", bioRxiv 2024.01.25.577287. A look-up, then eight residual blocks::

    x = x + conv2(elu(conv1(elu(x))))      both convolutions 7 wide, with as many channels as go in

Each embedding sees 96 residues to either side, and nothing beyond.

Here all proteins of a batch are concatenated along one axis, with gaps of three zeros, the reach of a
convolution: one convolution serves all of them, and no padding is computed.

Legend of shapes: B proteins, L residues, D channels; N places along the axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holotype.errors import ParameterError
from holotype.proteins.models.encoders.interface import ProteinEncoder, letters_of, padding_of

ALPHABET = "XARNDCEQGHILKMFPSTWYV"
UNKNOWN = 0  # X, and B, J, O, U and Z
TOKENS = 25  # as in the published file; the last four are not used
KERNEL = 7
GAP = KERNEL // 2


class Lookup(nn.Module):
    """A vector for each token, stored as in the published file: (D, tokens)."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(width, tokens)))

    def forward(self, tokens_N: Tensor) -> Tensor:
        """(N,) tokens → (N, D)."""
        return F.embedding(tokens_N, self.weight.T.contiguous())


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(width, width, KERNEL, padding=GAP)
        self.conv2 = nn.Conv1d(width, width, KERNEL, padding=GAP)

    def forward(self, x_ND: Tensor, gaps: Tensor, dtype: torch.dtype) -> Tensor:
        """(N, D) → (N, D); values in gaps have no meaning.

        Args:
            x_ND: the concatenated proteins.
            gaps: the places between them.
            dtype: of the convolutions.
        """
        y = _between(F.elu(x_ND), gaps).to(dtype)
        y = _between(F.elu(_convolved(y, self.conv1)), gaps)
        return x_ND + _convolved(y, self.conv2).to(x_ND.dtype)


class Near(ProteinEncoder):
    """NEAR: residue embeddings from a convolutional network.

    Args:
        embedding_dim: channels; D, or half of it.
        blocks: residual blocks.
        layers: ``"last"`` for the output of the last block; ``"middle+last"`` for the outputs of the middle
            and the last block, side by side, twice as wide. The last block is trained to predict which
            residues align, the middle one is closer to the chemistry.

    Raises:
        ParameterError: a value is out of range.

    Source: Olson et al. 2024, "Model architecture"; differs: O and Z are read as X (unknown).
    """

    letters: ClassVar[Mapping[str, int]] = letters_of(ALPHABET, unknown=UNKNOWN)
    compute_dtypes: ClassVar[tuple[str, ...]] = ("float32", "bfloat16")
    small_parameters: ClassVar[Mapping[str, object]] = {"embedding_dim": 8, "blocks": 2}

    def __init__(
        self,
        *,
        embedding_dim: int = 256,
        blocks: int = 8,
        layers: Literal["last", "middle+last"] = "last",
    ) -> None:
        super().__init__()
        if embedding_dim < 1 or blocks < 1 + (layers != "last"):
            raise ParameterError(
                f"embedding_dim and blocks are 1 or more (with a middle, 2 blocks or more); "
                f"got {embedding_dim} and {blocks}.",
                given=(embedding_dim, blocks),
            )
        if layers not in ("last", "middle+last"):
            raise ParameterError(f"layers is 'last' or 'middle+last', got {layers!r}.", given=layers)
        self.layers = layers
        self.embedding_dim = embedding_dim * (1 + (layers == "middle+last"))
        self.embedding_layer = Lookup(TOKENS, embedding_dim)
        self.conv_layers = nn.ModuleList(ResidualBlock(embedding_dim) for _ in range(blocks))

    def embed_residues(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, L) tokens → (B, L, D), 0 at padding."""
        batch, longest = tokens.shape
        # A row for each protein, followed by its gap; further padding is left out.
        room = F.pad(tokens, (0, GAP))
        kept = ~padding_of(room, lengths + GAP)
        tokens_N = room[kept]
        residue_N = ~padding_of(room, lengths)[kept]
        places = residue_N.nonzero().squeeze(1)
        gaps = (~residue_N).nonzero().squeeze(1)
        x_ND: Tensor = self.embedding_layer(tokens_N.where(residue_N, UNKNOWN))
        dtype = torch.bfloat16 if self.compute_dtype == "bfloat16" else x_ND.dtype
        found: list[Tensor] = []
        for at, block in enumerate(self.conv_layers if batch else (), start=1):
            x_ND = block(x_ND, gaps, dtype)
            if at == len(self.conv_layers) or (at == len(self.conv_layers) // 2 and self.layers != "last"):
                found.append(x_ND[places])
        emb = x_ND.new_zeros(batch, longest, self.embedding_dim)
        if not found:
            return emb
        return emb.masked_scatter(~padding_of(tokens, lengths).unsqueeze(-1), torch.cat(found, dim=1))


def _between(x_ND: Tensor, gaps: Tensor) -> Tensor:
    """The input with zeros in the gaps. `x_ND` may be overwritten."""
    return x_ND.index_fill(0, gaps, 0) if torch.is_grad_enabled() else x_ND.index_fill_(0, gaps, 0)


def _convolved(x_ND: Tensor, conv: nn.Conv1d) -> Tensor:
    # In two dimensions with the channels last: input and output are then (N, D) in memory, and it is faster
    # than a one-dimensional convolution.
    x = x_ND.T[None, :, None, :]
    weight = conv.weight.unsqueeze(2).to(x.dtype, memory_format=torch.channels_last)
    bias = None if conv.bias is None else conv.bias.to(x.dtype)
    return F.conv2d(x, weight, bias, padding=(0, GAP))[0, :, 0].T
