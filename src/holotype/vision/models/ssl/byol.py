"""BYOL: the student predicts what its moving average says of another view.

Source: Grill et al. 2020, "Bootstrap Your Own Latent", sections 3.1 to 3.3, equations 1 (the target), 2 (the
loss). Differs: the target drops no branches where the encoder does.

Legend of shapes: B images, C channels, H and W pixels, D width of the projection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holotype.vision import register_model
from holotype.vision.models.ssl.interface import SelfSupervisedModel, check_positive, check_share, mlp, wide
from holotype.vision.models.ssl.teacher import Teacher, cosine


@register_model(
    "byol",
    description="BYOL: a student predicts its moving average's projection of another view",
    features=["two views", "no negatives", "moving-average target", "any encoder"],
    complexity="medium",
    paper_reference="Grill et al. 2020, arXiv 2006.07733",
)
class BYOL(SelfSupervisedModel):
    """Online network: encoder, projector, predictor. Target network: a moving average of the first two.

    What is kept is the online encoder (section 3.1).

    Args:
        in_channels: C.
        size: of the views.
        encoder: an architecture or a pretrained entry.
        encoder_params: further parameters of the architecture.
        hidden_dim: inner width of projector and predictor.
        projection_dim: D.
        momentum: tau of the target at the beginning; along half a cosine it grows to 1.

    Raises:
        ParameterError: a number is out of range, or the encoder is unknown.
    """

    capabilities: ClassVar[frozenset[str]] = SelfSupervisedModel.capabilities | {"trains_otherwise"}
    small_parameters: ClassVar[Mapping[str, object]] = {
        **SelfSupervisedModel.small_parameters,
        "hidden_dim": 24,
        "projection_dim": 16,
    }
    least_images = 2

    def __init__(
        self,
        in_channels: int = 3,
        size: int | tuple[int, int] = 224,
        *,
        encoder: str = "resnet_v1_50",
        encoder_params: dict[str, Any] | None = None,
        hidden_dim: int = 4096,
        projection_dim: int = 256,
        momentum: float = 0.996,
    ) -> None:
        check_positive("byol", hidden_dim=hidden_dim, projection_dim=projection_dim)
        check_share("byol", momentum=momentum)
        super().__init__(in_channels, size, encoder, encoder_params)
        self.momentum = momentum
        self.projector = mlp((self.encoder.num_features, hidden_dim, projection_dim), norm=True)
        self.predictor = mlp((projection_dim, hidden_dim, projection_dim), norm=True)
        self.teacher = Teacher(self._student())

    def _student(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "projector": self.projector}

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, D), the prediction q(g(f(x)))."""
        out: Tensor = self.predictor(self.projector(self.encoder.embedding(images)))
        return out

    def loss(self, views: Sequence[Tensor]) -> Tensor:
        """Equation 2, once for each view as the student's; see `SelfSupervisedModel.loss`."""
        self.check_views(views)
        with torch.no_grad():
            targets = [self.teacher.projector(self.teacher.encoder.embedding(view)) for view in views]
        first, second = (self(view) for view in views)
        return byol_loss(first, targets[1]) + byol_loss(second, targets[0])

    def after_step(self, done: float) -> None:
        """The target follows (equation 1), by a momentum that grows to 1 (section 3.3)."""
        self.teacher.follow(self._student(), cosine(self.momentum, 1.0, done))

    def reset_teacher(self) -> None:
        """Make the target equal to the student."""
        self.teacher.copy_from(self._student())


def byol_loss(prediction_BD: Tensor, target_BD: Tensor) -> Tensor:
    """The squared distance of unit vectors, 2 - 2 cos (equation 2), its mean over images: ()."""
    return (2 - 2 * F.cosine_similarity(wide(prediction_BD), wide(target_BD), dim=1)).mean()
