"""SimCLR: two views of an image find each other among the views of all images.

Source: Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations", section 2.1
and equation 1. Negatives are those of the batch on this device.

Legend of shapes: B images, C channels, H and W pixels, F features, D width of the projection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from holotype.vision import register_model
from holotype.vision.models.ssl.interface import SelfSupervisedModel, check_positive, mlp, wide


@register_model(
    "simclr",
    description="SimCLR: contrastive learning of two views against all other images of the batch",
    features=["two views", "contrastive", "any encoder"],
    complexity="medium",
    paper_reference="Chen et al. 2020, arXiv 2002.05709",
)
class SimCLR(SelfSupervisedModel):
    """An encoder f and a projection head g of two layers.

    Args:
        in_channels: C.
        size: of the views.
        encoder: an architecture or a pretrained entry.
        encoder_params: further parameters of the architecture.
        projection_dim: D.
        temperature: tau.

    Raises:
        ParameterError: a number is not above 0, or the encoder is unknown.
    """

    small_parameters: ClassVar[Mapping[str, object]] = {
        **SelfSupervisedModel.small_parameters,
        "projection_dim": 16,
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
        projection_dim: int = 128,
        temperature: float = 0.1,
    ) -> None:
        check_positive("simclr", projection_dim=projection_dim, temperature=temperature)
        super().__init__(in_channels, size, encoder, encoder_params)
        self.temperature = temperature
        width = self.encoder.num_features
        self.projector = mlp((width, width, projection_dim), norm=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, D), z = g(f(x))."""
        out: Tensor = self.projector(self.encoder.embedding(images))
        return out

    def loss(self, views: Sequence[Tensor]) -> Tensor:
        """NT-Xent of two views; see `SelfSupervisedModel.loss`."""
        self.check_views(views)
        first_BD, second_BD = self(torch.cat(list(views))).chunk(2)
        return nt_xent(first_BD, second_BD, self.temperature)


def nt_xent(first_BD: Tensor, second_BD: Tensor, temperature: float) -> Tensor:
    """The normalised, temperature-scaled cross entropy (equation 1), its mean over all 2 B views: ().

    Of a single image, which has no negatives, it is 0.
    """
    with torch.autocast(first_BD.device.type, enabled=False):
        z_VD = F.normalize(wide(torch.cat([first_BD, second_BD])), dim=1)
        similarity_VV = z_VD @ z_VD.T / temperature
        itself = torch.eye(len(z_VD), dtype=torch.bool, device=z_VD.device)
        partner_V = torch.arange(len(z_VD), device=z_VD.device).roll(len(first_BD))
        return F.cross_entropy(similarity_VV.masked_fill(itself, -torch.inf), partner_V)
