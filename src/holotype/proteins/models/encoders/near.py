"""NEAR: a convolutional network whose residue embeddings say which residues of two proteins align.

Paper: Olson, Colligan, Demekas, Roddy, Youens-Clark and Wheeler, "NEAR: Neural Embeddings for Amino acid
Relationships", bioRxiv 2024.01.25.577287. A look-up, then eight residual blocks::

    x = x + conv2(elu(conv1(elu(x))))      both convolutions 7 wide, with as many channels as go in

Each embedding sees 96 residues to either side, and nothing beyond.

Here all proteins of a batch are laid one after the other along one axis, with a gap of three zeros between
them, as wide as a convolution looks: one convolution does for all of them, and no padding is computed.

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
TOKENS = 25  # as in the published file; the last four stand for no letter
KERNEL = 7
GAP = KERNEL // 2


class Lookup(nn.Module):
    """A vector for each token, stored as the published file has it: (D, tokens)."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(width, tokens)))

    def forward(self, tokens_N: Tensor) -> Tensor:
        """(N,) tokens → (N, D)."""
        return F.embedding(tokens_N, self.weight.T.contiguous())


class ResidualBlock(nn.Module):
    """Two convolutions that are added to what goes in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(width, width, KERNEL, padding=GAP)
        self.conv2 = nn.Conv1d(width, width, KERNEL, padding=GAP)

    def forward(self, x_ND: Tensor, gaps: Tensor, dtype: torch.dtype) -> Tensor:
        """(N, D) → (N, D); what it makes of gaps is without meaning.

        Args:
            x_ND: proteins one after the other.
            gaps: the places between them.
            dtype: what to convolve in.
        """
        y = _between(F.elu(x_ND), gaps).to(dtype)
        y = _between(F.elu(_convolved(y, self.conv1)), gaps)
        return x_ND + _convolved(y, self.conv2).to(x_ND.dtype)


class Near(ProteinEncoder):
    """NEAR: residue embeddings from a convolutional network.

    Args:
        embedding_dim: channels; D, or half of it.
        blocks: residual blocks.
        layers: what the embedding is: ``"last"``, what the last block returns; or ``"middle+last"``, what the
            block in the middle returns and what the last one does, side by side, twice as wide. The
            last one is trained to tell which residues align, the middle one is nearer to the chemistry.

    Raises:
        ParameterError: a value out of its range.

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
        # One row a protein, with its gap behind it; padding beyond the gap is left out.
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
    """The same with zeros in the gaps. `x_ND` is the caller's to lose."""
    return x_ND.index_fill(0, gaps, 0) if torch.is_grad_enabled() else x_ND.index_fill_(0, gaps, 0)


def _convolved(x_ND: Tensor, conv: nn.Conv1d) -> Tensor:
    # In two dimensions with the channels last: what goes in and out is then (N, D) as it lies in memory, and
    # it is quicker than a convolution of one dimension.
    x = x_ND.T[None, :, None, :]
    weight = conv.weight.unsqueeze(2).to(x.dtype, memory_format=torch.channels_last)
    bias = None if conv.bias is None else conv.bias.to(x.dtype)
    return F.conv2d(x, weight, bias, padding=(0, GAP))[0, :, 0].T
