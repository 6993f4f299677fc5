"""`symmetric_mlp`: a perceptron on sum, difference and product of two proteins' vectors.

Source: our own work, from known parts. The pair is [a + b, |a - b|, a * b], as in Tai et al. 2015, "Improved
Semantic Representations From Tree-Structured LSTMs", eq. 15 (with the sum added, without which the size of
either is lost), so that the order of the two has no effect. The features are standardised inside the
network, see `holotype.proteins.models.pooled`; the head is that of `v1`.

Differs from ``v1`` with ``symmetry="sum"``: standardised features, dropout on them, and `groups`.

Shapes: B pairs; N proteins; D embedding width; F features of a protein; H hidden width; G groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from holotype import register_model
from holotype.proteins.models import factored
from holotype.proteins.models.blocks import init_weights, interaction_layer, interaction_logits
from holotype.proteins.models.pooled import PooledModel, encoder


@register_model(
    "symmetric_mlp",
    description="MLP on sum, difference and product of two proteins' standardised mean embeddings",
    features=["average_pooling", "standardization", "mlp_layers", "symmetric"],
    complexity="low",
    params=181_249,
    paper_reference="Tai et al. 2015, eq. 15 (difference and product; the classifier has no paper)",
    recommended_use_cases=["baseline", "scoring_all_pairs", "several_encoders"],
)
class SymmetricMLPProteinClassifier(PooledModel):
    """Standardised mean -> Linear, LayerNorm, ReLU, Dropout -> [a + b, |a - b|, a * b] -> head.

    Args:
        input_dim: D, the width of the embeddings; 960 is ESM-C 300M.
        hidden_dim: H, the width of a protein's vector; at least 2, because the head halves it.
        dropout: probability after the encoder and after each hidden layer of the head.
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
        dropout: float = 0.3,
        input_dropout: float = 0.1,
        pooling: Literal["mean", "mean+std", "mean+std+max"] = "mean",
        groups: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.set_up(
            input_dim=input_dim,
            groups=groups,
            pooling=pooling,
            counts={"hidden_dim": hidden_dim},
            probabilities={"dropout": dropout, "input_dropout": input_dropout},
            least_hidden=2,
        )
        self.encoders = nn.ModuleList(
            encoder(w, hidden_dim, dropout, input_dropout) for w in self.group_widths
        )
        self.heads = nn.ModuleList(interaction_layer(hidden_dim, dropout, "sum") for _ in self.groups)
        self.apply(init_weights)

    def encode_group(self, at: int, x_BF: Tensor) -> Tensor:
        """(B, F) -> (B, H)."""
        vector_BH: Tensor = self.encoders[at](x_BF)
        return vector_BH

    def score_vectors(self, a_BH: Tensor, b_BH: Tensor) -> Tensor:
        """(B, G H) of each side -> (B,) logits."""
        count = len(self.heads)
        sides = zip(self.heads, a_BH.chunk(count, -1), b_BH.chunk(count, -1), strict=True)
        return torch.stack([interaction_logits(head, a, b, "sum") for head, a, b in sides]).mean(0)

    def prepare(self, enc: Tensor) -> tuple[Tensor, ...]:
        """(N, G H) from `encode` -> for each group, the tensors of `holotype.proteins.models.factored`."""
        parts = list(zip(self._heads(), enc.chunk(len(self.heads), -1), strict=True))
        if not all(factored.can_factor(head, part, "sum") for head, part in parts):
            return (enc,)
        return tuple(tensor for head, part in parts for tensor in factored.prepare(head, part, "sum"))

    def score_each(self, prepared_a: tuple[Tensor, ...], prepared_b: tuple[Tensor, ...]) -> Tensor:
        """(P,) logits of pairs: row p of one with row p of the other."""
        return self._over_groups(factored.score_each, super().score_each, prepared_a, prepared_b)

    def score_block(self, prepared_a: tuple[Tensor, ...], prepared_b: tuple[Tensor, ...]) -> Tensor:
        """(Na, Nb) logits of every pair."""
        return self._over_groups(factored.score_block, super().score_block, prepared_a, prepared_b)

    def _over_groups(
        self,
        of_group: Callable[..., Tensor],
        otherwise: Callable[..., Tensor],
        a: tuple[Tensor, ...],
        b: tuple[Tensor, ...],
    ) -> Tensor:
        if len(a) == 1:
            return otherwise(a, b)
        first, *others = self._heads()
        total = of_group(first, a[:2], b[:2], "sum")
        for at, head in enumerate(others, 1):
            total = total + of_group(head, a[2 * at : 2 * at + 2], b[2 * at : 2 * at + 2], "sum")
        return total / len(self.heads)

    def _heads(self) -> list[nn.Sequential]:
        return list(self.heads)  # type: ignore[arg-type]  # a ModuleList does not say of what
