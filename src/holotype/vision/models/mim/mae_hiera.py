"""Masked autoencoder of Hiera: what is hidden is left out, in a network with a hierarchy.

Source: Ryali et al. 2023, "Hiera: A Hierarchical Vision Transformer without the Bells-and-Whistles", section
3 (mask units of 32 x 32 pixels, one token of the last stage each; the windows of the first two stages are
mask units) and section 4 (MAE ablations: multi-scale decoder, 60 % hidden); decoder as in He et al. 2022.
Differs: the scales are brought to one token a mask unit by a convolution each, added, and normed.

Legend of shapes: B images, C channels, H and W pixels; h = H / 32, w = W / 32; K mask units that are seen,
s_i side of a mask unit in stage i (8, 4, 2, 1), D_i width of stage i.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from holotype.vision import register_model
from holotype.vision.models.hiera import Hiera
from holotype.vision.models.mim.decoder import MaskedDecoder
from holotype.vision.models.mim.interface import MaskedImageModel, freeze, unpatchify
from holotype.vision.models.mim.masks import enlarged

UNIT = 32


@register_model(
    "mae_hiera",
    description="Masked autoencoder of Hiera: hidden mask units are left out, all stages reach the decoder",
    features=["any Hiera", "mask units of 32 pixels", "multi-scale decoder", "normalised pixels"],
    complexity="medium",
    paper_reference="Ryali et al. 2023, Hiera, arXiv 2306.00989",
)
class MAE_Hiera(MaskedImageModel):  # noqa: N801  # the name that its users know
    """Only tokens of mask units that are seen go through the encoder; the stages are fused for the decoder.

    Of the encoder, the pool and the norm after it are not trained.

    Args:
        in_channels: C.
        size: pixels, or (height, width); multiples of 32.
        encoder: an architecture or a pretrained entry of Hiera.
        encoder_params: further parameters of the architecture.
        mask_ratio: share of the mask units that is hidden.
        decoder_dim: width of the decoder.
        decoder_layers: its blocks.
        decoder_heads: heads of its attentions.
        norm_pix_loss: compare pixels normalised by mean and standard deviation of their mask unit.

    Raises:
        ParameterError: an encoder of another family, or a number out of range.
    """

    suitable = (Hiera,)
    examples = ("hiera_tiny", "hiera_abswin_base")
    drops_masked = True
    small_parameters: ClassVar[Mapping[str, object]] = {
        "size": 64,
        "encoder": "hiera_tiny",
        "encoder_params": {"depths": (1, 1, 2, 1), "embed_dim": 8},
        "decoder_dim": 16,
        "decoder_layers": 1,
        "decoder_heads": 2,
    }

    def __init__(
        self,
        in_channels: int = 3,
        size: int | tuple[int, int] = 224,
        *,
        encoder: str = "hiera_base",
        encoder_params: dict[str, Any] | None = None,
        mask_ratio: float = 0.6,
        decoder_dim: int = 512,
        decoder_layers: int = 8,
        decoder_heads: int = 16,
        norm_pix_loss: bool = True,
    ) -> None:
        hiera = cast(Hiera, self.make_encoder(encoder, encoder_params, in_channels, size))
        super().__init__(
            hiera, mask_size=UNIT, mask_ratio=mask_ratio, patch=UNIT, norm_pix_loss=norm_pix_loss
        )
        freeze([hiera.features])
        *widths, last = hiera.stage_channels
        sides = [UNIT // stride for stride in hiera.stage_strides]
        self.fuse = nn.ModuleList(
            nn.Conv2d(width, last, side, side) for width, side in zip(widths, sides, strict=False)
        )
        self.norm = nn.LayerNorm(last, eps=1e-6)
        self.decoder = MaskedDecoder(
            last,
            width=decoder_dim,
            layers=decoder_layers,
            heads=decoder_heads,
            after=in_channels * UNIT**2,
        )

    def seen_stages(self, images: Tensor, mask: Tensor, keep: Tensor) -> list[Tensor]:
        """The stages of what is seen.

        Mask units are put one below the other. They are whole windows of the first two stages, so attention
        does not cross them there; a later stage looks at the whole column.

        Args:
            images: (B, C, H, W).
            mask: (B, h, w), 1 where they are hidden.
            keep: (B, K) places of the mask units that are seen.

        Returns:
            For each stage (B, D_i, K s_i, s_i).
        """
        hiera = cast(Hiera, self.encoder)
        # The windows of the stem overlap: without this, tokens at an edge would see what is hidden beyond it.
        shown = images * (1 - enlarged(mask[:, None], UNIT))
        x_BHWD = hiera.stem(shown)
        x_BHWD = x_BHWD + hiera.position((x_BHWD.shape[1], x_BHWD.shape[2]))
        x_BHWD = column(x_BHWD, keep, UNIT // hiera.stage_strides[0])
        maps = []
        for stage in hiera.body.values():
            for block in stage.children():
                x_BHWD = hiera.run(block, x_BHWD)
            maps.append(x_BHWD.permute(0, 3, 1, 2))
        return maps

    def predict(self, images: Tensor, mask: Tensor, keep: Tensor | None) -> Tensor:
        """(B, C, H, W) images of which mask units `keep`, (B, K), are seen → (B, C, H, W)."""
        assert keep is not None  # noqa: S101  # `drops_masked`
        *scales, x_BDK1 = self.seen_stages(images, mask, keep)
        for fuse, scale in zip(self.fuse, scales, strict=True):
            x_BDK1 = x_BDK1 + fuse(scale)
        seen_BKD = self.norm(x_BDK1.flatten(2).transpose(1, 2))
        return unpatchify(self.decoder(seen_BKD, keep, self.grid), UNIT, images.shape)


def column(x_BHWD: Tensor, keep: Tensor, side: int) -> Tensor:
    """Some squares of a map, one below the other.

    Args:
        x_BHWD: (B, H, W, D).
        keep: (B, K) places of squares, counted row by row.
        side: of a square.

    Returns:
        (B, K side, side, D).
    """
    batch, height, width, dim = x_BHWD.shape
    squares = x_BHWD.view(batch, height // side, side, width // side, side, dim).transpose(2, 3)
    squares = squares.reshape(batch, -1, side * side * dim)
    seen = squares.gather(1, keep[..., None].expand(-1, -1, squares.shape[2]))
    return seen.view(batch, -1, side, dim)
