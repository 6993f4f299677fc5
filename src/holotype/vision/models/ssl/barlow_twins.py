"""Barlow Twins: the cross-correlation of two views' projections is to be the identity.

Source: Zbontar et al. 2021, "Barlow Twins", section 2.1, equations 1 and 2.

Legend of shapes: B images, C channels, H and W pixels, D width of the projection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from holotype.vision import register_model
from holotype.vision.models.ssl.interface import SelfSupervisedModel, check_positive, mlp, wide


@register_model(
    "barlow_twins",
    description="Barlow Twins: projections of two views correlate dimension by dimension, and only so",
    features=["two views", "no negatives", "no teacher", "any encoder"],
    complexity="medium",
    paper_reference="Zbontar et al. 2021, arXiv 2103.03230",
)
class BarlowTwins(SelfSupervisedModel):
    """An encoder and a projector of three layers.

    Args:
        in_channels: C.
        size: of the views.
        encoder: an architecture or a pretrained entry.
        encoder_params: further parameters of the architecture.
        projection_dim: D, the width of each layer of the projector.
        redundancy: lambda, the weight of what is off the diagonal.

    Raises:
        ParameterError: a number is not above 0, or the encoder is unknown.
    """

    small_parameters: ClassVar[Mapping[str, object]] = {
        **SelfSupervisedModel.small_parameters,
        "projection_dim": 24,
    }
    least_images = 2
    needs_whole_batch = True

    def __init__(
        self,
        in_channels: int = 3,
        size: int | tuple[int, int] = 224,
        *,
        encoder: str = "resnet_v1_50",
        encoder_params: dict[str, Any] | None = None,
        projection_dim: int = 8192,
        redundancy: float = 0.005,
    ) -> None:
        check_positive("barlow_twins", projection_dim=projection_dim, redundancy=redundancy)
        super().__init__(in_channels, size, encoder, encoder_params)
        self.redundancy = redundancy
        width = self.encoder.num_features
        self.projector = mlp((width, projection_dim, projection_dim, projection_dim), norm=True)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, D)."""
        out: Tensor = self.projector(self.encoder.embedding(images))
        return out

    def loss(self, views: Sequence[Tensor]) -> Tensor:
        """Equation 1; see `SelfSupervisedModel.loss`. In evaluation, too, correlations are the batch's."""
        self.check_views(views)
        first_BD, second_BD = (self(view) for view in views)
        return barlow_loss(first_BD, second_BD, self.redundancy)


def cross_correlation(first_BD: Tensor, second_BD: Tensor) -> Tensor:
    """(D, D), how dimensions of the one correlate with those of the other over the batch (equation 2)."""
    with torch.autocast(first_BD.device.type, enabled=False):
        one, other = (_standardised(wide(z)) for z in (first_BD, second_BD))
        return one.T @ other / len(one)


def barlow_loss(first_BD: Tensor, second_BD: Tensor, redundancy: float) -> Tensor:
    """Squared distances from the identity, those off the diagonal weighted (equation 1): ()."""
    correlation_DD = cross_correlation(first_BD, second_BD)
    diagonal_D = correlation_DD.diagonal()
    off_diagonal = correlation_DD.square().sum() - diagonal_D.square().sum()
    return (1 - diagonal_D).square().sum() + redundancy * off_diagonal


def _standardised(z_BD: Tensor) -> Tensor:
    # What does not vary, as in a batch of one image, correlates with nothing.
    return (z_BD - z_BD.mean(0)) / (z_BD.var(0, correction=0) + 1e-5).sqrt()
