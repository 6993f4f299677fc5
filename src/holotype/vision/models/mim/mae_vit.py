"""Masked autoencoder of a vision transformer.

Source: He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners", section 3 (masking, encoder,
decoder, reconstruction target), section 4.1 and table 1 (decoder of 8 blocks of width 512, three quarters
hidden, normalised pixels), appendix A.1. Differs: the encoder keeps the position embeddings of its
architecture, learned or rotary, where the paper's are fixed sines and cosines.

Legend of shapes: B images, C channels, H and W pixels, P patch size of the encoder, S special tokens, K
patches that are seen, D width of the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from torch import Tensor

from holotype.vision import register_model
from holotype.vision.models.mim.decoder import MaskedDecoder
from holotype.vision.models.mim.interface import MaskedImageModel, freeze, unpatchify
from holotype.vision.models.vit import DeiT, RoPE_ViT, ViT


@register_model(
    "mae_vit",
    description="Masked autoencoder: a ViT sees a quarter of the patches, a small decoder paints the rest",
    features=["any ViT, RoPE ViT or DeiT", "encoder sees kept patches only", "normalised pixels"],
    complexity="medium",
    paper_reference="He et al. 2022, Masked Autoencoders Are Scalable Vision Learners, arXiv 2111.06377",
)
class MAE_ViT(MaskedImageModel):  # noqa: N801  # the name that its users know
    """The encoder looks at the patches that are seen; a decoder gets mask tokens for the others.

    Mask units are the encoder's patches. Of the encoder, an attention pool and a norm after the pool are not
    trained.

    Args:
        in_channels: C.
        size: pixels, or (height, width); multiples of the patch size.
        encoder: an architecture or a pretrained entry of the ViT families.
        encoder_params: further parameters of the architecture.
        mask_ratio: share of the patches that is hidden.
        decoder_dim: width of the decoder.
        decoder_layers: its blocks.
        decoder_heads: heads of its attentions.
        norm_pix_loss: compare pixels normalised by mean and standard deviation of their patch.

    Raises:
        ParameterError: an encoder of another family, or a number out of range.
    """

    suitable = (ViT, RoPE_ViT, DeiT)
    examples = ("vit_b16", "rope_vit_reg4_b14", "deit3_s16")
    drops_masked = True
    small_parameters: ClassVar[Mapping[str, object]] = {
        "size": 32,
        "encoder": "vit_t16",
        "encoder_params": {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 48, "patch_size": 8},
        "decoder_dim": 16,
        "decoder_layers": 1,
        "decoder_heads": 2,
    }

    def __init__(
        self,
        in_channels: int = 3,
        size: int | tuple[int, int] = 224,
        *,
        encoder: str = "vit_b16",
        encoder_params: dict[str, Any] | None = None,
        mask_ratio: float = 0.75,
        decoder_dim: int = 512,
        decoder_layers: int = 8,
        decoder_heads: int = 16,
        norm_pix_loss: bool = True,
    ) -> None:
        vit = cast(ViT, self.make_encoder(encoder, encoder_params, in_channels, size))
        super().__init__(
            vit,
            mask_size=vit.patch_size,
            mask_ratio=mask_ratio,
            patch=vit.patch_size,
            norm_pix_loss=norm_pix_loss,
        )
        freeze([vit.embedding_norm, vit.attn_pool])
        self.decoder = MaskedDecoder(
            vit.num_features,
            width=decoder_dim,
            layers=decoder_layers,
            heads=decoder_heads,
            after=in_channels * self.patch**2,
        )

    def predict(self, images: Tensor, mask: Tensor, keep: Tensor | None) -> Tensor:
        """(B, C, H, W) images of which patches `keep`, (B, K), are seen → (B, C, H, W)."""
        assert keep is not None  # noqa: S101  # `drops_masked`
        seen = cast(ViT, self.encoder).tokens(images, keep)  # (B, S + K, D)
        return unpatchify(self.decoder(seen, keep, self.grid), self.patch, images.shape)
