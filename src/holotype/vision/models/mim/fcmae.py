"""Fully convolutional masked autoencoder of ConvNeXt.

Source: Woo et al. 2023, "ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders", section
3: masking (60 %, squares of 32 x 32 pixels), encoder (sparse convolution; here by the dense emulation that
the paper names: the mask before and after each depthwise convolution), decoder (one ConvNeXt block of width
512), target (normalised pixels, squared error at hidden patches). Sparse tensors hold no hidden places, so
the statistics of global response normalisation leave them out too.

Legend of shapes: B images, C channels, H and W pixels; h = H / 32, w = W / 32; y and x places of a map.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holotype.errors import ParameterError
from holotype.vision import register_model
from holotype.vision.models.convnext import ConvNeXt_v1, ConvNeXt_v2, ConvNeXtBlock, GlobalResponseNorm
from holotype.vision.models.mim.interface import MaskedImageModel, freeze
from holotype.vision.models.mim.masks import enlarged

UNIT = 32


@register_model(
    "fcmae",
    description="Fully convolutional masked autoencoder: ConvNeXt that does not see what is hidden",
    features=["ConvNeXt v1 or v2", "mask units of 32 pixels", "one-block decoder", "normalised pixels"],
    complexity="medium",
    paper_reference="Woo et al. 2023, ConvNeXt V2, arXiv 2301.00808",
)
class FCMAE(MaskedImageModel):
    """Convolutions look at places that are seen; mask tokens stand for the others in the decoder.

    Of the encoder, the norm after the pool is not trained.

    Args:
        in_channels: C.
        size: pixels, or (height, width); multiples of 32.
        encoder: an architecture or a pretrained entry of ConvNeXt.
        encoder_params: further parameters of the architecture.
        mask_ratio: share of the mask units that is hidden.
        decoder_dim: width of the decoder.
        decoder_layers: its blocks.
        norm_pix_loss: compare pixels normalised by mean and standard deviation of their mask unit.

    Raises:
        ParameterError: an encoder of another family, or a number out of range.
    """

    suitable = (ConvNeXt_v1, ConvNeXt_v2)
    examples = ("convnext_v2_tiny", "convnext_v1_tiny")
    small_parameters: ClassVar[Mapping[str, object]] = {
        "size": 64,
        "encoder": "convnext_v2_atto",
        "encoder_params": {"widths": (8, 16, 24, 32), "depths": (1, 1, 2, 1)},
        "decoder_dim": 16,
    }

    def __init__(
        self,
        in_channels: int = 3,
        size: int | tuple[int, int] = 224,
        *,
        encoder: str = "convnext_v2_tiny",
        encoder_params: dict[str, Any] | None = None,
        mask_ratio: float = 0.6,
        decoder_dim: int = 512,
        decoder_layers: int = 1,
        norm_pix_loss: bool = True,
    ) -> None:
        if min(decoder_dim, decoder_layers) < 1:
            raise ParameterError("decoder_dim and decoder_layers are at least 1.")
        convnext = cast(ConvNeXt_v1, self.make_encoder(encoder, encoder_params, in_channels, size))
        super().__init__(
            convnext, mask_size=UNIT, mask_ratio=mask_ratio, patch=UNIT, norm_pix_loss=norm_pix_loss
        )
        freeze([convnext.features])
        self.embed = nn.Conv2d(convnext.num_features, decoder_dim, 1)
        self.mask_token = nn.Parameter(torch.empty(1, decoder_dim, 1, 1).normal_(std=0.02))
        self.decoder = nn.Sequential(
            *(ConvNeXtBlock(decoder_dim, layer_scale=None, drop_path=0.0) for _ in range(decoder_layers))
        )
        self.head = nn.Conv2d(decoder_dim, in_channels * UNIT**2, 1)
        for part in (self.embed, self.decoder, self.head):
            part.apply(_init_weights)

    def seen_features(self, images: Tensor, mask: Tensor) -> Tensor:
        """The encoder's last map, of what is seen; what it holds at hidden places means nothing.

        Args:
            images: (B, C, H, W).
            mask: (B, h, w), 1 where they are hidden.

        Returns:
            (B, F, h, w).
        """
        convnext = cast(ConvNeXt_v1, self.encoder)
        x: Tensor = convnext.stem(images)
        for stage, stride in zip(convnext.body.values(), convnext.stage_strides, strict=True):
            seen_B1yx = enlarged(1 - mask[:, None], UNIT // stride)
            for layer in stage.children():
                # Mask units are whole squares of every stage: downsampling does not mix them.
                run = partial(sparse, layer, seen_B1yx) if isinstance(layer, ConvNeXtBlock) else layer
                x = convnext.run(run, x)
        return x

    def predict(self, images: Tensor, mask: Tensor, keep: Tensor | None) -> Tensor:
        """(B, C, H, W) images, hidden by a (B, h, w) mask → (B, C, H, W)."""
        x = self.embed(self.seen_features(images, mask))
        x = torch.where(mask[:, None] > 0, self.mask_token.to(x.dtype), x)
        return F.pixel_shuffle(self.head(self.decoder(x)), UNIT)


def sparse(block: ConvNeXtBlock, seen_B1yx: Tensor, x_BCyx: Tensor) -> Tensor:
    """A ConvNeXt block that looks at places that are seen (section 3).

    Args:
        block: such as it is in the encoder.
        seen_B1yx: 1 for places that are seen, 0 for hidden ones.
        x_BCyx: the map.
    """
    seen_B1yx = seen_B1yx.to(x_BCyx.dtype)
    seen_Byx1 = seen_B1yx.permute(0, 2, 3, 1)
    y = x_BCyx * seen_B1yx
    for layer in block.block:
        if isinstance(layer, GlobalResponseNorm):
            y = y * seen_Byx1
        y = layer(y)
        if isinstance(layer, nn.Conv2d):
            y = y * seen_B1yx
    if block.layer_scale is not None:
        y = y * block.layer_scale
    out: Tensor = x_BCyx + block.drop_path(y)
    return out


def _init_weights(module: nn.Module) -> None:
    """Truncated normal, sd 0.02; biases 0."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
