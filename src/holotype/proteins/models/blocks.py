"""Blocks that the protein models share: masked mean, attention, encoder layer, interaction head.

Shapes: B pairs; L residues (padded), or Lq and Lk where two proteins meet; H hidden width; N heads.
Parameter names are those of the published checkpoints, and of torch's own modules where these used them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holotype.errors import ParameterError
from holotype.proteins.models.dropout_attention import attention
from holotype.text import bulleted

Symmetry = Literal["none", "average", "sum"]


def masked_mean(x_BLH: Tensor, padding_BL: Tensor) -> Tensor:
    """Average over the residues that are not padding.

    Args:
        x_BLH: (B, L, H); padding may hold any values, NaN, too.
        padding_BL: (B, L), True at padding; each protein has at least one residue.

    Returns:
        (B, H) in the dtype of `x_BLH`; the sum is taken in float32 at least, since that of a long
        protein exceeds the range of float16.
    """
    dtype = torch.promote_types(x_BLH.dtype, torch.float32)
    total_BH = x_BLH.masked_fill(padding_BL.unsqueeze(-1), 0).sum(1, dtype=dtype)
    residues_B1 = padding_BL.logical_not().sum(1, keepdim=True)
    return (total_BH / residues_B1).to(x_BLH.dtype)


class MultiHeadAttention(nn.Module):
    """Multi-head attention over a padded context.

    Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.2.2. The parameters have the
    names and shapes of `torch.nn.MultiheadAttention`, and the result is the same. Differs: always
    through `attention`, so that no (Lq, Lk) matrix is kept, and an empty batch gives an empty result.
    """

    def __init__(self, hidden_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * hidden_dim, hidden_dim))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * hidden_dim))
        self.out_proj = nn.Linear(hidden_dim, hidden_dim)

    def forward(self, query_BLH: Tensor, context_BLH: Tensor, padding_BL: Tensor) -> Tensor:
        """Attend from each position of `query_BLH` to the residues of `context_BLH`.

        Args:
            query_BLH: (B, Lq, H).
            context_BLH: (B, Lk, H), finite everywhere; the same tensor for self-attention.
            padding_BL: (B, Lk), True where the context is padding.

        Returns:
            (B, Lq, H).
        """
        if query_BLH is context_BLH:
            q, k, v = self.project(query_BLH)
        else:
            weight, bias, width = self.in_proj_weight, self.in_proj_bias, query_BLH.shape[-1]
            q = F.linear(query_BLH, weight[:width], bias[:width])
            k, v = F.linear(context_BLH, weight[width:], bias[width:]).chunk(2, dim=-1)
        out: Tensor = self.out_proj(self.attend(q, k, v, padding_BL))
        return out

    def project(self, x_BLH: Tensor) -> tuple[Tensor, ...]:
        """(B, L, H) -> its queries, keys and values, each (B, L, H)."""
        return F.linear(x_BLH, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)

    def attend(self, q_BLH: Tensor, k_BLH: Tensor, v_BLH: Tensor, padding_BL: Tensor) -> Tensor:
        """The results of all heads, concatenated, (B, Lq, H), before the last linear layer."""
        x_BNLh = attention(
            self._split_heads(q_BLH),
            self._split_heads(k_BLH),
            self._split_heads(v_BLH),
            padding_BL,
            self.dropout if self.training else 0.0,
        )
        return x_BNLh.transpose(1, 2).flatten(2)

    def _split_heads(self, x_BLH: Tensor) -> Tensor:
        batch, length, width = x_BLH.shape
        return x_BLH.reshape(batch, length, self.num_heads, width // self.num_heads).transpose(1, 2)


class EncoderLayer(nn.Module):
    """A transformer encoder layer with the norm after each residual sum.

    Source: Vaswani et al. 2017, section 3.1, with feed-forward width 4 H and ReLU; dropout also
    between the two linear layers of the feed-forward. Parameters named as in
    `torch.nn.TransformerEncoderLayer`.
    """

    def __init__(self, hidden_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = MultiHeadAttention(hidden_dim, num_heads, dropout)
        self.linear1 = nn.Linear(hidden_dim, 4 * hidden_dim)
        self.linear2 = nn.Linear(4 * hidden_dim, hidden_dim)
        self.norm1 = nn.LayerNorm(hidden_dim)
        self.norm2 = nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLH: Tensor, padding_BL: Tensor) -> Tensor:
        """(B, L, H), finite everywhere, and (B, L) padding -> (B, L, H)."""
        x_BLH = self.norm1(x_BLH + self.dropout(self.self_attn(x_BLH, x_BLH, padding_BL)))
        hidden_BLF = self.dropout(torch.relu(self.linear1(x_BLH)))
        out: Tensor = self.norm2(x_BLH + self.dropout(self.linear2(hidden_BLF)))
        return out


def vector_encoder(hidden_dim: int, dropout: float) -> nn.Sequential:
    """The encoder of the attention models: (B, H) mean over residues -> (B, H)."""
    return nn.Sequential(
        nn.LayerNorm(hidden_dim),
        nn.Linear(hidden_dim, hidden_dim),
        nn.ReLU(),
        nn.Dropout(dropout),
    )


def interaction_layer(hidden_dim: int, dropout: float, symmetry: Symmetry) -> nn.Sequential:
    """The head that turns the vectors of two proteins into one logit; see `interaction_logits`."""
    return nn.Sequential(
        nn.Linear((3 if symmetry == "sum" else 2) * hidden_dim, hidden_dim),
        nn.LayerNorm(hidden_dim),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden_dim, hidden_dim // 2),
        nn.LayerNorm(hidden_dim // 2),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden_dim // 2, 1),
    )


def interaction_logits(head: nn.Module, a_BH: Tensor, b_BH: Tensor, symmetry: Symmetry) -> Tensor:
    """Logits of pairs whose proteins are given as vectors.

    Args:
        head: an `interaction_layer` made for the same `symmetry`.
        a_BH: (B, H) first proteins.
        b_BH: (B, H) second proteins.
        symmetry: ``"none"``: the head on [a, b], as published; the order matters. ``"average"``: the
            mean logit of [a, b] and [b, a]; same parameters. ``"sum"``: the head on
            [a + b, |a - b|, a * b]; the first linear layer is 3 H wide.

    Returns:
        (B,) logits.
    """
    if symmetry == "sum":
        logits_B1: Tensor = head(torch.cat([a_BH + b_BH, (a_BH - b_BH).abs(), a_BH * b_BH], dim=-1))
    else:
        logits_B1 = head(torch.cat([a_BH, b_BH], dim=-1))
        if symmetry == "average":
            # Two calls, not one of twice the batch: then swapping gives the very same bits.
            logits_B1 = (logits_B1 + head(torch.cat([b_BH, a_BH], dim=-1))) / 2
    return logits_B1.squeeze(-1)


def init_weights(module: nn.Module) -> None:
    """Xavier-uniform linear layers with bias 0. For `nn.Module.apply`.

    The stacked query, key and value projection counts as one (3 H, H) matrix, as in torch.
    """
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, MultiHeadAttention):
        nn.init.xavier_uniform_(module.in_proj_weight)
        nn.init.zeros_(module.in_proj_bias)


def check_parameters(model: nn.Module, *, dropout: float, symmetry: str, **counts: Any) -> None:
    """Refuse constructor parameters that are out of range.

    Args:
        model: the model that is being built; the error names its class.
        dropout: a probability.
        symmetry: one of `Symmetry`.
        counts: whole numbers, at least 1: input_dim, hidden_dim, num_heads, num_layers.

    Raises:
        ParameterError: it lists everything that is wrong.
    """
    problems = count_problems(counts)
    hidden_dim, num_heads = counts["hidden_dim"], counts.get("num_heads", 1)
    if not problems and hidden_dim < 2:
        problems.append("hidden_dim=1: at least 2, because the head halves it")
    if not problems and hidden_dim % num_heads:
        below = hidden_dim - hidden_dim % num_heads
        fits = " or ".join(str(n) for n in (below, below + num_heads) if n >= 2)
        problems.append(
            f"hidden_dim={hidden_dim} is not divisible by num_heads={num_heads}; hidden_dim={fits} is"
        )
    problems += probability_problems({"dropout": dropout})
    if symmetry not in ("none", "average", "sum"):
        problems.append(f"symmetry={symmetry!r}: expected 'none', 'average' or 'sum'")
    refuse(model, problems)


def count_problems(counts: Mapping[str, Any]) -> list[str]:
    """A line for each value that is not a whole number of at least 1."""
    return [
        f"{name}={value!r}: expected a whole number, at least 1"
        for name, value in counts.items()
        if isinstance(value, bool) or not isinstance(value, int) or value < 1
    ]


def probability_problems(probabilities: Mapping[str, Any]) -> list[str]:
    """A line for each value that is not a probability."""
    return [
        f"{name}={value!r}: expected a probability, 0 to 1"
        for name, value in probabilities.items()
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1
    ]


def refuse(model: nn.Module, problems: list[str]) -> None:
    """Raise one error that lists all problems of constructor parameters, if there are any.

    Raises:
        ParameterError: `problems` is not empty.
    """
    if problems:
        raise ParameterError(
            f"{type(model).__name__} cannot be built with these parameters:\n{bulleted(problems)}",
            problems=problems,
        )
