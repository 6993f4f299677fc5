"""The base of models that pool a protein to one vector: standardised features, a network for each encoder.

Residues are pooled to the mean of each feature and, optionally, its standard deviation and maximum along the
chain.

The features of a language model, averaged over residues, differ in spread by orders of magnitude: over
proteins, those of UniRep-64's layers range from 0.007 to 0.35. Without scaling, a network learns from the
widest features only. So each feature is standardised inside the network, by statistics that are part of its
weights.

Where the embeddings of several encoders are joined side by side, `groups` gives the width of each. Each gets
its own network, and their logits are averaged: an ensemble that is trained and saved as one model.

Shapes: B pairs; N proteins; L residues (padded); D embedding width; F features: D times statistics; G groups;
H a vector's width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holotype.proteins.models.blocks import (
    Symmetry,
    count_problems,
    masked_mean,
    probability_problems,
    refuse,
)
from holotype.proteins.models.interface import BaseProteinModel, Residues

Pooling = Literal["mean", "mean+std", "mean+std+max"]

_CLIP = 6.0  # standard deviations; values further out are unlike anything in training
_CONSTANT = 1e-6  # a feature with a smaller standard deviation is dropped
_SETTLED = 65_536  # after so many proteins the statistics no longer change


class Standardization(nn.modules.batchnorm._NormBase):
    """Each feature minus its mean, divided by its standard deviation, over the proteins of the training.

    In training, the statistics are those of all proteins seen so far, the batch included, until a fixed
    number was seen. So a batch may have any size, and training differs from evaluation only by the update.
    Before the first protein, features pass unchanged.

    Source: the update is that of Chan et al. 1983, "Algorithms for Computing the Sample Variance".
    Differs from batch normalisation (Ioffe & Szegedy 2015): no statistics of one batch, no gradient through
    them.

    Attributes:
        mean: (D,).
        std: (D,), of the population; 0 where a feature has been constant.
        seen: () the number of proteins in the statistics, with repetitions.
    """

    mean: Tensor
    std: Tensor
    seen: Tensor

    def __init__(self, width: int) -> None:
        super().__init__(width, affine=False, track_running_stats=False)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x_BD: Tensor) -> Tensor:
        """(B, D) -> (B, D), D here the number of features."""
        if self.training and len(x_BD):
            self._update(x_BD)
        scale_D = torch.where(self.std > _CONSTANT, 1 / self.std.clamp(min=_CONSTANT), 0)
        return ((x_BD - self.mean) * scale_D).clamp(-_CLIP, _CLIP)

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        """Set the statistics to those of these proteins, (B, D) a batch; training no longer changes them."""
        self.seen.zero_()
        for x_BD in batches:
            if len(x_BD):
                self._update(x_BD, always=True)
        self.seen.clamp_(min=_SETTLED)

    @torch.no_grad()
    def _update(self, x_BD: Tensor, *, always: bool = False) -> None:
        x_BD = x_BD.detach().to(torch.promote_types(x_BD.dtype, torch.float32))
        new = torch.full_like(self.seen, len(x_BD))
        if not always:
            new = new * (self.seen < _SETTLED)
        total = self.seen + new
        share = new / total
        gap_D = x_BD.mean(0) - self.mean
        variance_D = (
            self.std.square() * (1 - share)
            + x_BD.var(0, correction=0) * share
            + gap_D.square() * share * (1 - share)
        )
        self.mean += gap_D * share
        self.std.copy_(variance_D.sqrt())
        self.seen.copy_(total)


class PooledModel(BaseProteinModel):
    """A symmetric model of the standardised statistics of each protein's embeddings.

    A subclass builds a network for each of `self.groups` and defines `encode_vectors` and `score_vectors`.
    """

    encodes_alone: ClassVar[bool] = True
    symmetry: Symmetry = "sum"
    groups: tuple[int, ...]

    def set_up(
        self,
        *,
        input_dim: int,
        groups: Sequence[int] | None,
        pooling: str,
        counts: dict[str, Any],
        probabilities: dict[str, Any],
        least_hidden: int = 1,
    ) -> None:
        """Check the parameters, and set what all of these models have.

        Raises:
            ParameterError: it lists everything that is wrong.
        """
        problems = count_problems({"input_dim": input_dim, **counts}) + probability_problems(probabilities)
        if not problems and counts["hidden_dim"] < least_hidden:
            problems.append(
                f"hidden_dim={counts['hidden_dim']}: at least {least_hidden}, because the head halves it"
            )
        widths = [input_dim] if groups is None else list(groups)
        wrong = count_problems({f"groups[{at}]": width for at, width in enumerate(widths)})
        if groups is not None and (wrong or not widths):
            problems += wrong or ["groups=[]: expected the width of each encoder, or None"]
        elif not problems and sum(widths) != input_dim:
            problems.append(f"groups={widths!r} add up to {sum(widths)}, and input_dim={input_dim}")
        if pooling not in ("mean", "mean+std", "mean+std+max"):
            problems.append(f"pooling={pooling!r}: expected 'mean', 'mean+std' or 'mean+std+max'")
        refuse(self, problems)
        self.input_dim = input_dim
        self.groups = tuple(widths)
        self.statistics = tuple(pooling.split("+"))
        self.standardization = Standardization(input_dim * len(self.statistics))

    @property
    def group_widths(self) -> list[int]:
        """The number of features of each group."""
        return [width * len(self.statistics) for width in self.groups]

    def fit_features(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Set the statistics of the features from proteins, once, before training.

        Without this call, training takes them from its batches, which is nearly as good; with it, they do not
        depend on the batches, and each protein counts once.

        Args:
            batches: embeddings (B, L, D) and lengths (B,), as `encode` takes them.

        Raises:
            ShapeError: as for `forward`.
        """
        checked = (self._check("", emb, lengths) for emb, lengths in batches)
        self.standardization.fit(pool(residues, self.statistics) for residues in checked)

    def encode_residues(self, residues: Residues) -> Tensor:
        """(B, L, D) residues -> (B, H)."""
        x_BF = self.standardization(pool(residues, self.statistics))
        statistics = [part.split(self.groups, dim=-1) for part in x_BF.chunk(len(self.statistics), dim=-1)]
        groups = [torch.cat(parts, dim=-1) for parts in zip(*statistics, strict=True)]
        return torch.cat([self.encode_group(at, part) for at, part in enumerate(groups)], dim=-1)

    def encode_group(self, at: int, x_BF: Tensor) -> Tensor:
        """The vector of one group, from its standardised features."""
        raise NotImplementedError


def pool(residues: Residues, statistics: Sequence[str]) -> Tensor:
    """(B, L, D) -> (B, F), the statistics of each feature along the chain, side by side."""
    emb_BLD, padding_BL = residues
    mean_BD = masked_mean(emb_BLD, padding_BL)
    parts = [mean_BD]
    if "std" in statistics:
        wide = torch.promote_types(emb_BLD.dtype, torch.float32)
        gap_BLD = emb_BLD.to(wide) - mean_BD.unsqueeze(1).to(wide)
        # The small number: the square root has no gradient at 0.
        parts.append((masked_mean(gap_BLD.square(), padding_BL) + 1e-12).sqrt().to(emb_BLD.dtype))
    if "max" in statistics:
        lowest = torch.finfo(emb_BLD.dtype).min
        # An empty batch may have no residues, and so no maximum.
        filled_BLD = F.pad(emb_BLD.masked_fill(padding_BL.unsqueeze(-1), lowest), (0, 0, 0, 1), value=lowest)
        parts.append(filled_BLD.amax(1))
    return torch.cat(parts, dim=-1)


def encoder(width: int, hidden_dim: int, dropout: float, input_dropout: float) -> nn.Sequential:
    """Standardised features (B, F) -> (B, H)."""
    return nn.Sequential(
        nn.Dropout(input_dropout),
        nn.Linear(width, hidden_dim),
        nn.LayerNorm(hidden_dim),
        nn.ReLU(),
        nn.Dropout(dropout),
    )
