"""`symmetric_bilinear`: a symmetric bilinear form of low rank on the vectors of two proteins.

Source: Kim et al. 2017, "Hadamard Product for Low-rank Bilinear Pooling", eqs. 2-3: a bilinear form whose
matrix has rank K is a sum over K products of projections. With one projection U for both sides, as in Yang et
al. 2015, "Embedding Entities and Relations" (DistMult), it is symmetric:

    u = U h,    logit(a, b) = sum_k s_k u_k(a) u_k(b) / sqrt(K) + l(a) + l(b)

where h is a hidden layer on the protein's standardised features, and l a linear layer on h: how readily the
protein interacts in general. `s` starts as +1, -1, +1, …: both likeness and difference can raise the score.

Differs from Kim et al.: the projections are shared, no nonlinearity follows the product, and the linear terms
are added. With `groups`, every encoder's features have a form of their own, and the logits are averaged.

All pairs of N proteins are one matrix product: see `score_block`.

Shapes: B pairs; N proteins; D embedding width; F features of a protein; H hidden width; K rank; G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from holotype import register_model
from holotype.proteins.models.blocks import init_weights
from holotype.proteins.models.pooled import PooledModel, encoder


@register_model(
    "symmetric_bilinear",
    description="Symmetric bilinear form of low rank on mean embeddings; all pairs are one matrix product",
    features=["average_pooling", "standardization", "bilinear", "symmetric"],
    complexity="low",
    params=131_713,
    paper_reference="Kim et al. 2017 (low-rank bilinear pooling), eqs. 2-3; Yang et al. 2015 (DistMult)",
    recommended_use_cases=["scoring_all_pairs", "small_datasets"],
)
class SymmetricBilinearProteinClassifier(PooledModel):
    """Standardised mean -> Linear, LayerNorm, ReLU, Dropout -> K projections -> weighted products.

    Args:
        input_dim: D, the width of the embeddings; 960 is ESM-C 300M.
        hidden_dim: H, the width of the hidden layer.
        rank: K, the rank of the form.
        dropout: probability after the hidden layer.
        input_dropout: probability of leaving out a feature.
        pooling: statistics along the chain. Proteins that were pooled before have one row, and only the mean.
        groups: the widths of several encoders whose embeddings are joined side by side, D in total; None for
            one.

    Raises:
        ParameterError: a parameter is out of range, or the groups do not add up to `input_dim`.
    """

    def __init__(
        self,
        input_dim: int = 960,
        hidden_dim: int = 128,
        rank: int = 64,
        dropout: float = 0.3,
        input_dropout: float = 0.0,
        pooling: Literal["mean", "mean+std", "mean+std+max"] = "mean",
        groups: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.set_up(
            input_dim=input_dim,
            groups=groups,
            pooling=pooling,
            counts={"hidden_dim": hidden_dim, "rank": rank},
            probabilities={"dropout": dropout, "input_dropout": input_dropout},
        )
        self.rank = rank
        self.encoders = nn.ModuleList(
            encoder(w, hidden_dim, dropout, input_dropout) for w in self.group_widths
        )
        self.projections = nn.ModuleList(nn.Linear(hidden_dim, rank) for _ in self.groups)
        self.singles = nn.ModuleList(nn.Linear(hidden_dim, 1) for _ in self.groups)
        self.signs = nn.Parameter(1.0 - 2 * (torch.arange(len(self.groups) * rank) % 2))
        self.apply(init_weights)

    def encode_group(self, at: int, x_BF: Tensor) -> Tensor:
        """(B, F) -> (B, K + 1): the projections, and the linear term."""
        hidden_BH = self.encoders[at](x_BF)
        return torch.cat([self.projections[at](hidden_BH), self.singles[at](hidden_BH)], dim=-1)

    def score_vectors(self, a_BH: Tensor, b_BH: Tensor) -> Tensor:
        """(B, G (K + 1)) of each side -> (B,) logits."""
        (left_BF, _), (_, right_BF) = self._sides(a_BH), self._sides(b_BH)
        return (left_BF * right_BF).sum(-1)

    def prepare(self, enc: Tensor) -> tuple[Tensor, ...]:
        """(N, G (K + 1)) from `encode` -> the two sides of the product, (N, G K + 2) each."""
        return self._sides(enc)

    def score_each(self, prepared_a: tuple[Tensor, ...], prepared_b: tuple[Tensor, ...]) -> Tensor:
        """(P,) logits of pairs: row p of one with row p of the other."""
        return (prepared_a[0] * prepared_b[1]).sum(-1)

    def score_block(self, prepared_a: tuple[Tensor, ...], prepared_b: tuple[Tensor, ...]) -> Tensor:
        """(Na, Nb) logits of every pair: one matrix product."""
        return prepared_a[0] @ prepared_b[1].T

    def _sides(self, enc_NH: Tensor) -> tuple[Tensor, Tensor]:
        """[s u / sqrt(K), l, 1] and [u, 1, l]: their product is the logit."""
        count = len(self.groups)
        both_NGK = enc_NH.reshape(enc_NH.shape[0], count, self.rank + 1)
        u_NF, l_N1 = both_NGK[..., :-1].flatten(1), both_NGK[..., -1].mean(1, keepdim=True)
        one_N1 = torch.ones_like(l_N1)
        scaled_NF = u_NF * (self.signs / (count * self.rank**0.5))
        return torch.cat([scaled_NF, l_N1, one_N1], dim=-1), torch.cat([u_NF, one_N1, l_N1], dim=-1)
