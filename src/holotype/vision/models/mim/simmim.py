"""SimMIM: a mask token where the image is hidden, and one linear layer that predicts its pixels.

Source: Xie et al. 2022, "SimMIM: A Simple Framework for Masked Image Modeling", sections 3.1 (the encoder
sees mask tokens and patches alike), 3.2 (random squares of 32 pixels, 60 % of them), 3.3 (a linear layer),
3.4 and equation 1 (mean absolute error at hidden pixels). Differs: in a HieraDet, whose stem's windows
overlap, hidden pixels are 0 before the stem, too.

Legend of shapes: B images, C channels, H and W pixels, D width of the stem, F width of the last stage; y and
x places of a map.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holotype.errors import ParameterError
from holotype.vision import register_model
from holotype.vision.models.convnext import ConvNeXt_v1, ConvNeXt_v2
from holotype.vision.models.hiera import Hiera, HieraDet
from holotype.vision.models.interface import ImageClassifier
from holotype.vision.models.mim.interface import MaskedImageModel, freeze
from holotype.vision.models.mim.masks import enlarged
from holotype.vision.models.vit import DeiT, RoPE_ViT, ViT


@register_model(
    "simmim",
    description="SimMIM: mask tokens in place of hidden squares, one linear layer to their pixels",
    features=["ViT, HieraDet, Hiera or ConvNeXt", "mask token at the stem's output", "absolute error"],
    complexity="low",
    paper_reference="Xie et al. 2022, SimMIM, arXiv 2111.09886",
)
class SimMIM(MaskedImageModel):
    """The whole encoder works on image and mask tokens; a linear layer predicts the pixels of each place.

    Of the encoder, what comes after the last stage is not trained, except a ViT's norm of tokens.

    Args:
        in_channels: C.
        size: pixels, or (height, width); multiples of `mask_patch_size` and of the encoder's last stride.
        encoder: an architecture or a pretrained entry of the families ViT, HieraDet, Hiera or ConvNeXt.
        encoder_params: further parameters of the architecture.
        mask_ratio: share of the image that is hidden.
        mask_patch_size: pixels a side of a hidden square; a multiple of the stride of the encoder's stem.

    Raises:
        ParameterError: an encoder of another family, or a number out of range.
    """

    suitable = (ViT, RoPE_ViT, DeiT, HieraDet, Hiera, ConvNeXt_v1, ConvNeXt_v2)
    examples = ("vit_b16", "hieradet_tiny", "convnext_v2_tiny")
    absolute = True
    small_parameters: ClassVar[Mapping[str, object]] = {
        "size": 32,
        "encoder": "vit_t16",
        "encoder_params": {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 48, "patch_size": 8},
        "mask_patch_size": 16,
    }

    def __init__(
        self,
        in_channels: int = 3,
        size: int | tuple[int, int] = 224,
        *,
        encoder: str = "vit_b16",
        encoder_params: dict[str, Any] | None = None,
        mask_ratio: float = 0.6,
        mask_patch_size: int = 32,
    ) -> None:
        net = self.make_encoder(encoder, encoder_params, in_channels, size)
        # The stem of each family that is no ViT has the stride of the first stage.
        self.stem_stride, stride = net.stage_strides[0], net.stage_strides[-1]
        if mask_patch_size < 1 or mask_patch_size % self.stem_stride:
            raise ParameterError(
                f"mask_patch_size is a multiple of {self.stem_stride}, at which {encoder!r} has its first "
                f"places; got {mask_patch_size}.",
                given=mask_patch_size,
                hint=f"mask_patch_size={max(round(32 / self.stem_stride), 1) * self.stem_stride} is.",
            )
        super().__init__(
            net, mask_size=mask_patch_size, mask_ratio=mask_ratio, patch=stride, norm_pix_loss=False
        )
        freeze(
            [net.embedding_norm, net.attn_pool] if isinstance(net, ViT) else [net.get_submodule("features")]
        )
        self.mask_token = nn.Parameter(torch.empty(net.stage_channels[0]).normal_(std=0.02))
        self.head = nn.Conv2d(net.num_features, in_channels * stride**2, 1)
        nn.init.trunc_normal_(self.head.weight, std=0.02)

    def masked_features(self, images: Tensor, mask: Tensor) -> Tensor:
        """The encoder's last map, of mask tokens and of what is seen.

        Args:
            images: (B, C, H, W).
            mask: one number for each square, 1 where they are hidden.

        Returns:
            (B, F, H / s, W / s) with the encoder's last stride s.
        """
        net = self.encoder
        hidden_Byx = enlarged(mask, self.mask_size // self.stem_stride) > 0
        x: Tensor
        if isinstance(net, ViT):
            patches_BTD = self._hide(net.patches(images), hidden_Byx.flatten(1))
            (last_BTD,) = net.encode(patches_BTD)
            x = net.norm(last_BTD)[:, net.num_special_tokens :]
            return x.transpose(1, 2).reshape(len(images), -1, *net.grid)
        if isinstance(net, HieraDet):
            # The windows of this stem overlap: without this, places at an edge would see what is hidden.
            shown = images * (1 - enlarged(mask[:, None], self.mask_size))
            x = self._hide(net.stem(shown), hidden_Byx)
            x = x + net.position((x.shape[1], x.shape[2]))
            return _through(net, net.body, x).permute(0, 3, 1, 2)
        assert isinstance(net, ConvNeXt_v1)  # noqa: S101  # what else is `suitable`
        x = self._hide(net.stem(images).permute(0, 2, 3, 1), hidden_Byx)
        return _through(net, net.body, x.permute(0, 3, 1, 2))

    def _hide(self, x: Tensor, hidden: Tensor) -> Tensor:
        """(B, ..., D) with the mask token where `hidden`, (B, ...), is set."""
        return torch.where(hidden[..., None], self.mask_token.to(x.dtype), x)

    def _check_size(self, size: tuple[int, int]) -> None:
        super()._check_size(size)
        if size[0] % self.patch or size[1] % self.patch:
            raise ParameterError(
                f"size {size} is no multiple of {self.patch}, the stride of the encoder's last stage.",
                given=size,
            )

    def predict(self, images: Tensor, mask: Tensor, keep: Tensor | None) -> Tensor:
        """(B, C, H, W) images and a mask → (B, C, H, W)."""
        return F.pixel_shuffle(self.head(self.masked_features(images, mask)), self.patch)


def _through(net: ImageClassifier, body: nn.ModuleDict, x: Tensor) -> Tensor:
    """What comes after the stem."""
    for stage in body.values():
        for layer in stage.children():
            x = net.run(layer, x)
    return x
