"""`intra_inter_attention`: residues attend to their own protein, then to both proteins.

Source: Ko et al. 2024, "TUnA: an uncertainty-aware transformer model for sequence-based protein-protein
interaction prediction". Each protein goes through an intra-protein encoder; the residues of both, one protein
after the other, go through an inter-protein encoder; their mean is the pair's vector. The maximum over the
two orders makes it symmetric. Sizes are the published ones: width 64, 8 heads, feed-forward 256 with SiLU,
one layer each, dropout 0.2; layers with the norm after each residual sum (Vaswani et al. 2017, section 3.1).

Rotary positions: Su et al. 2021, "RoFormer", eqs. 13-16 and 34, base 10,000.

Differs: positions (published: ``"none"``, since a language model's embeddings carry them); a linear layer
gives the logit, as in the paper's ablation without a Gaussian process; spectral normalisation (Miyato et al.
2018, algorithm 1), which keeps distances for that process, is off unless `spectral_norm` asks for it. Without
positions both orders give one result, so only one is computed.

Shapes: B pairs; L residues (padded), La and Lb of the two proteins, La + Lb in one row; D embedding width; H
hidden width; N heads; h = H / N.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holotype import register_model
from holotype.proteins.models.blocks import (
    Symmetry,
    count_problems,
    masked_mean,
    probability_problems,
    refuse,
)
from holotype.proteins.models.dropout_attention import attention
from holotype.proteins.models.interface import BaseProteinModel, Prepared, Residues

Positions = Literal["rotary", "none"]
_BASE = 10_000.0


class SpectralLinear(nn.Linear):
    """A linear layer whose matrix is divided by its largest singular value.

    Source: Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks", algorithm 1: one
    step of the power method in each training step; in evaluation, the vectors of the last step. As a class of
    its own, it can be pickled, unlike torch's parametrisation.
    """

    left: Tensor
    right: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.register_buffer("left", F.normalize(torch.randn(out_features), dim=0))
        self.register_buffer("right", F.normalize(torch.randn(in_features), dim=0))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        if self.training:
            with torch.no_grad():
                right = F.normalize(self.weight.T @ self.left, dim=0)
                self.left.copy_(F.normalize(self.weight @ right, dim=0))
                self.right.copy_(right)
        # Copies, since the next step writes to the buffers before this one's gradient is taken.
        largest = torch.dot(self.left.clone(), self.weight @ self.right.clone())
        return F.linear(x, self.weight / largest, self.bias)


class RotaryAttention(nn.Module):
    """Multi-head self-attention in which queries and keys are rotated by their positions.

    Source: Vaswani et al. 2017, section 3.2.2; Su et al. 2021, eq. 34.
    """

    def __init__(self, hidden_dim: int, num_heads: int, dropout: float, linear: type[nn.Linear]) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = linear(hidden_dim, hidden_dim)
        self.key = linear(hidden_dim, hidden_dim)
        self.value = linear(hidden_dim, hidden_dim)
        self.out_proj = linear(hidden_dim, hidden_dim)

    def forward(self, x_BLH: Tensor, padding_BL: Tensor, turns: tuple[Tensor, Tensor] | None) -> Tensor:
        """(B, L, H), finite everywhere -> (B, L, H)."""
        q_BNLh, k_BNLh, v_BNLh = (
            layer(x_BLH).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        if turns is not None:
            q_BNLh, k_BNLh = turn(q_BNLh, turns), turn(k_BNLh, turns)
        dropout = self.dropout if self.training else 0.0
        x_BNLh = attention(q_BNLh, k_BNLh, v_BNLh, padding_BL, dropout)
        out: Tensor = self.out_proj(x_BNLh.transpose(1, 2).flatten(2))
        return out


def angles(position_BL: Tensor, head_dim: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine of position times frequency, (B, 1, L, h / 2) each, for `turn`."""
    steps = torch.arange(0, head_dim, 2, device=position_BL.device, dtype=torch.float32)
    angle = position_BL[:, None, :, None].float() * _BASE ** (-steps / head_dim)
    return angle.cos().to(dtype), angle.sin().to(dtype)


def turn(x_BNLh: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate each pair of coordinates (i, i + h / 2) by its angle; published: (2 i, 2 i + 1)."""
    cos, sin = turns
    first, second = x_BNLh.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


class RotaryEncoderLayer(nn.Module):
    """Attention, then a feed-forward with SiLU; the norm follows each residual sum."""

    def __init__(self, hidden_dim: int, num_heads: int, dropout: float, linear: type[nn.Linear]) -> None:
        super().__init__()
        self.self_attn = RotaryAttention(hidden_dim, num_heads, dropout, linear)
        self.linear1 = linear(hidden_dim, 4 * hidden_dim)
        self.linear2 = linear(4 * hidden_dim, hidden_dim)
        self.norm1 = nn.LayerNorm(hidden_dim)
        self.norm2 = nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLH: Tensor, padding_BL: Tensor, turns: tuple[Tensor, Tensor] | None) -> Tensor:
        """(B, L, H), finite everywhere -> (B, L, H)."""
        x_BLH = self.norm1(x_BLH + self.dropout(self.self_attn(x_BLH, padding_BL, turns)))
        inner_BLF = self.dropout(F.silu(self.linear1(x_BLH)))
        out: Tensor = self.norm2(x_BLH + self.dropout(self.linear2(inner_BLF)))
        return out


@register_model(
    "intra_inter_attention",
    description="Transformer over each protein's residues, then over both proteins' residues in both orders",
    features=["transformer_encoder", "rotary_positions", "cross_attention", "average_pooling", "symmetric"],
    complexity="high",
    params=161_537,
    paper_reference="Ko et al. 2024 (TUnA); Su et al. 2021 (rotary); Miyato et al. 2018 (spectral norm)",
    recommended_use_cases=["scoring_given_pairs"],
)
class IntraInterAttentionProteinClassifier(BaseProteinModel):
    """Projection -> intra-protein layers -> inter-protein layers on both -> mean -> maximum -> logit.

    The intra-protein part is done once a protein where many pairs are scored: see `prepare_residues`.

    Args:
        input_dim: D, the width of the residue embeddings; 960 is ESM-C 300M.
        hidden_dim: H, the width of the layers; a multiple of `num_heads`, of twice that with positions.
        num_heads: N, heads of each attention.
        num_layers: layers of each of the two encoders.
        dropout: probability in the attentions and after each part of a layer.
        positions: ``"rotary"``, counted on through the second protein; ``"none"`` as published.
        spectral_norm: divide the matrix of every layer but the last by its largest singular value.

    Raises:
        ParameterError: a parameter is out of range.
    """

    small_parameters: ClassVar[Mapping[str, object]] = {"input_dim": 12, "hidden_dim": 16, "num_heads": 2}
    symmetry: Symmetry = "average"

    def __init__(
        self,
        input_dim: int = 960,
        hidden_dim: int = 64,
        num_heads: int = 8,
        num_layers: int = 1,
        dropout: float = 0.2,
        positions: Literal["rotary", "none"] = "rotary",
        spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        counts = {
            "input_dim": input_dim,
            "hidden_dim": hidden_dim,
            "num_heads": num_heads,
            "num_layers": num_layers,
        }
        problems = count_problems(counts) + probability_problems({"dropout": dropout})
        if positions not in ("rotary", "none"):
            problems.append(f"positions={positions!r}: expected 'rotary' or 'none'")
        step = 2 * num_heads if positions == "rotary" else num_heads
        if not problems and hidden_dim % step:
            below = hidden_dim - hidden_dim % step
            fits = " or ".join(str(n) for n in (below, below + step) if n)
            why = "2 * num_heads" if positions == "rotary" else "num_heads"
            problems.append(f"hidden_dim={hidden_dim} is not divisible by {why}={step}; hidden_dim={fits} is")
        refuse(self, problems)
        self.input_dim = input_dim
        self.positions: Positions = positions
        self.head_dim = hidden_dim // num_heads
        linear = SpectralLinear if spectral_norm else nn.Linear
        self.input_projection = linear(input_dim, hidden_dim)
        self.intra_layers = nn.ModuleList(
            RotaryEncoderLayer(hidden_dim, num_heads, dropout, linear) for _ in range(num_layers)
        )
        self.inter_layers = nn.ModuleList(
            RotaryEncoderLayer(hidden_dim, num_heads, dropout, linear) for _ in range(num_layers)
        )
        self.output = nn.Linear(hidden_dim, 1)
        self.apply(_init_weights)

    def forward(self, emb_a: Tensor, emb_b: Tensor, lengths_a: Tensor, lengths_b: Tensor) -> Tensor:
        """Score whether two proteins interact.

        Shapes, arguments, result and errors: as for `BaseProteinModel.forward`.
        """
        a, b = self.check_pair(emb_a, emb_b, lengths_a, lengths_b)
        return self.score_residues(self.prepare_residues(a), a.padding, self.prepare_residues(b), b.padding)

    def prepare_residues(self, residues: Residues) -> Prepared:
        """The intra-protein encoder: (B, L, H) of each protein, whatever its partner."""
        x_BLH = self.input_projection(residues.emb)
        turns = self._turns(_count(residues.padding), x_BLH.dtype)
        for layer in self.intra_layers:
            x_BLH = layer(x_BLH, residues.padding, turns)
        return Prepared((x_BLH,))

    def score_residues(self, a: Prepared, padding_a: Tensor, b: Prepared, padding_b: Tensor) -> Tensor:
        """The inter-protein encoder and the logit, of pairs of prepared proteins."""
        first = a.residues[0].masked_fill(padding_a.unsqueeze(-1), 0)
        second = b.residues[0].masked_fill(padding_b.unsqueeze(-1), 0)
        vector_BH = self._join(first, padding_a, second, padding_b)
        if self.positions != "none":
            vector_BH = torch.maximum(vector_BH, self._join(second, padding_b, first, padding_a))
        logits_B1: Tensor = self.output(vector_BH)
        return logits_B1.squeeze(-1)

    def _join(self, first_BLH: Tensor, padding_1: Tensor, second_BLH: Tensor, padding_2: Tensor) -> Tensor:
        """The vector (B, H) of a pair in one order."""
        x_BLH = torch.cat([first_BLH, second_BLH], dim=1)
        padding_BL = torch.cat([padding_1, padding_2], dim=1)
        # Positions skip padding: the second protein begins where the first ends.
        turns = self._turns(_count(padding_BL), x_BLH.dtype)
        for layer in self.inter_layers:
            x_BLH = layer(x_BLH, padding_BL, turns)
        return masked_mean(x_BLH, padding_BL)

    def _turns(self, position_BL: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor] | None:
        return angles(position_BL, self.head_dim, dtype) if self.positions == "rotary" else None


def _count(padding_BL: Tensor) -> Tensor:
    """The position of each residue, from 0; at padding, anything."""
    return padding_BL.logical_not().cumsum(1) - 1


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
