"""VICReg: projections of two views are near, vary, and do not repeat themselves.

Source: Bardes et al. 2022, "VICReg", section 4, equations 1 to 6. Differs from equation 5, as algorithm 1 of
the paper does: the squared distance is divided by the width of the projection, for which the weights are.

Legend of shapes: B images, C channels, H and W pixels, D width of the projection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from holotype.errors import ParameterError
from holotype.vision import register_model
from holotype.vision.models.ssl.interface import SelfSupervisedModel, check_positive, mlp, wide


@register_model(
    "vicreg",
    description="VICReg: invariance, variance and covariance of the projections of two views",
    features=["two views", "no negatives", "no teacher", "any encoder"],
    complexity="medium",
    paper_reference="Bardes et al. 2022, arXiv 2105.04906",
)
class VICReg(SelfSupervisedModel):
    """An encoder and an expander of three layers.

    Args:
        in_channels: C.
        size: of the views.
        encoder: an architecture or a pretrained entry.
        encoder_params: further parameters of the architecture.
        projection_dim: D, the width of each layer of the expander.
        invariance: lambda.
        variance: mu.
        covariance: nu.

    Raises:
        ParameterError: a number is out of range, or the encoder is unknown.
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
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
    ) -> None:
        check_positive("vicreg", projection_dim=projection_dim)
        self.weights = (invariance, variance, covariance)
        if min(self.weights) < 0:
            raise ParameterError(f"vicreg: the three weights are 0 or more, got {self.weights}.")
        super().__init__(in_channels, size, encoder, encoder_params)
        width = self.encoder.num_features
        self.projector = mlp((width, projection_dim, projection_dim, projection_dim), norm=True)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, D)."""
        out: Tensor = self.projector(self.encoder.embedding(images))
        return out

    def loss(self, views: Sequence[Tensor]) -> Tensor:
        """Equation 6; see `SelfSupervisedModel.loss`. Of a single image, only its first term."""
        self.check_views(views)
        first_BD, second_BD = (wide(self(view)) for view in views)
        invariance, variance, covariance = self.weights
        loss = invariance * F.mse_loss(first_BD, second_BD)
        if len(first_BD) > 1:
            loss = loss + variance * (variance_term(first_BD) + variance_term(second_BD))
            loss = loss + covariance * (covariance_term(first_BD) + covariance_term(second_BD))
        return loss


def variance_term(z_BD: Tensor, target: float = 1.0, epsilon: float = 1e-4) -> Tensor:
    """How far standard deviations stay below `target`, the mean over dimensions (equations 1 and 2): ()."""
    return F.relu(target - (z_BD.var(0) + epsilon).sqrt()).mean()


def covariance_term(z_BD: Tensor) -> Tensor:
    """The squared covariances of different dimensions, summed, over D (equations 3 and 4): ()."""
    with torch.autocast(z_BD.device.type, enabled=False):
        centred_BD = z_BD - z_BD.mean(0)
        covariance_DD = centred_BD.T @ centred_BD / (len(z_BD) - 1)
        return (covariance_DD.square().sum() - covariance_DD.diagonal().square().sum()) / z_BD.shape[1]
