"""Vision transformers: ViT, RoPE ViT, DeiT. One implementation, every switch a parameter.

Sources: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", section 3.1, equations 1 to 4; Darcet et
al. 2024, "Vision Transformers Need Registers"; Touvron et al. 2021, "DeiT" (`DeiT`); Beyer et al. 2023,
"FlexiViT" (`adjust_patch_size`); Radford et al. 2021, "CLIP" (`pre_norm`); Oquab et al. 2024, "DINOv2"
(`pos_embed_special_tokens`); Heo et al. 2024 (rotary positions; see `rope.py`). The parts and their sources
are in `vit_parts.py`. Parameters are named as in Birder's checkpoints, which fit.

The tokens of an image are, in this order: registers, class token, patches row by row.

Legend of shapes: B images, C channels, H and W pixels, P patch size, T tokens, S special tokens (registers
and class token), D width, N classes; h = H / P, w = W / P.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holotype.errors import ParameterError
from holotype.vision.models.interface import (
    ImageClassifier,
    drop_path_rates,
    height_and_width,
    one_of,
    other_size,
)
from holotype.vision.models.rope import Indexing, RotaryEmbedding, Rotation, Style
from holotype.vision.models.vit_parts import (
    Attention,
    AttentionPool,
    Block,
    ChannelNorm,
    EfficientProbing,
    HierarchicalStem,
    QuickGELU,
    SoftMixtureOfExperts,
    SwiGLU,
    feed_forward,
)


class ViT(ImageClassifier):
    """Patches and special tokens, position embedding, pre-norm blocks, a pool, a linear layer.

    Args:
        num_classes: N; 0 for no head.
        in_channels: C.
        size: pixels, or (height, width); multiples of `patch_size`.
        patch_size: P.
        num_layers: blocks.
        num_heads: heads of each attention.
        hidden_dim: D.
        mlp_dim: inner width of the feed-forwards.
        drop_path_rate: stochastic depth of the last block; the first has none.
        num_reg_tokens: register tokens.
        class_token: is there a class token? Without, patches are averaged where there is no attention pool.
        pos_embed_special_tokens: do special tokens have position embeddings?
        pre_norm: a norm before the first block, and a patch convolution without bias.
        post_norm: a norm after the last block.
        norm_after_pool: that norm after the pool instead.
        norm_layer_type: ``"LayerNorm"`` or ``"RMSNorm"``.
        norm_layer_eps: of the norms.
        layer_scale_init_value: of LayerScale; None for none.
        qk_norm: norms of queries and keys.
        attn_norm: a norm within the attention, before its last projection.
        act_layer_type: ``"gelu"`` or ``"quick_gelu"``.
        mlp_layer_type: ``"FFN"``, ``"SwiGLU_FFN"``, ``"Norm_SwiGLU_FFN"`` or ``"SoftMoE_FFN"`` (in the
            second half of the blocks).
        soft_moe_num_experts: experts of each mixture.
        soft_moe_num_slots: slots of each expert.
        stem_type: ``"conv"`` or ``"hmlp"``.
        stem_norm_layer_type: of the hierarchical stem: ``"LayerNorm2d"`` or ``"BatchNorm2d"``.
        attn_pool_head: pool by attention.
        attn_pool_type: ``"MultiHeadAttention"`` or ``"EfficientProbing"``.
        attn_pool_num_heads: of the pool; `num_heads` if None.
        attn_pool_special_tokens: does the pool see special tokens?
        attn_pool_norm_eps: of the norm in the pool.
        abs_pos_embed: learned position embeddings; only a `RoPE_ViT` can do without.
        rope_temperature: base of the rotary frequencies. This and the following: `RoPE_ViT` only; see
            `RotaryEmbedding`.
        rope_rot_type: ``"standard"`` or ``"interleaved"``.
        rope_style: ``"standard"``, ``"axial"`` or ``"centered_separate"``.
        rope_grid_indexing: ``"ij"`` or ``"xy"``.
        rope_grid_offset: position of the first patch.
        pt_grid_size: (rows, columns) of patches that the weights were trained on; positions are scaled to it.

    Raises:
        ParameterError: a parameter is out of range, or two do not go together.
    """

    patch_size: int
    rotary: ClassVar[bool] = False
    distilled: ClassVar[bool] = False

    head_parts = ("norm", "embedding_norm", "attn_pool")
    min_size = 1
    small_parameters: ClassVar[Mapping[str, object]] = {
        **ImageClassifier.small_parameters,
        "num_layers": 2,
        "num_heads": 2,
        "hidden_dim": 32,
        "mlp_dim": 48,
        "patch_size": 16,
    }

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        size: int | tuple[int, int] = 224,
        *,
        patch_size: int = 16,
        num_layers: int = 12,
        num_heads: int = 12,
        hidden_dim: int = 768,
        mlp_dim: int = 3072,
        drop_path_rate: float = 0.0,
        num_reg_tokens: int = 0,
        class_token: bool = True,
        pos_embed_special_tokens: bool = True,
        pre_norm: bool = False,
        post_norm: bool = True,
        norm_after_pool: bool = False,
        norm_layer_type: Literal["LayerNorm", "RMSNorm"] = "LayerNorm",
        norm_layer_eps: float = 1e-6,
        layer_scale_init_value: float | None = None,
        qk_norm: bool = False,
        attn_norm: bool = False,
        act_layer_type: Literal["gelu", "quick_gelu"] = "gelu",
        mlp_layer_type: Literal["FFN", "SwiGLU_FFN", "Norm_SwiGLU_FFN", "SoftMoE_FFN"] = "FFN",
        soft_moe_num_experts: int = 32,
        soft_moe_num_slots: int = 4,
        stem_type: Literal["conv", "hmlp"] = "conv",
        stem_norm_layer_type: Literal["LayerNorm2d", "BatchNorm2d"] = "LayerNorm2d",
        attn_pool_head: bool = False,
        attn_pool_type: Literal["MultiHeadAttention", "EfficientProbing"] = "MultiHeadAttention",
        attn_pool_num_heads: int | None = None,
        attn_pool_special_tokens: bool = False,
        attn_pool_norm_eps: float = 1e-5,
        abs_pos_embed: bool = True,
        rope_temperature: float = 100.0,
        rope_rot_type: Rotation = "standard",
        rope_style: Style = "standard",
        rope_grid_indexing: Indexing = "ij",
        rope_grid_offset: int = 0,
        pt_grid_size: tuple[int, int] | None = None,
    ) -> None:
        if patch_size < 1 or num_reg_tokens < 0:
            raise ParameterError("patch_size is at least 1 and num_reg_tokens at least 0.")
        self.patch_size = patch_size  # `check_size` looks at it
        super().__init__(in_channels=in_channels, size=size, num_features=hidden_dim)
        self.dynamic_size = False
        self.num_reg_tokens = num_reg_tokens
        self.num_special_tokens = num_reg_tokens + int(class_token) + int(self.distilled)
        self.pos_embed_special_tokens = pos_embed_special_tokens
        self.attn_pool_special_tokens = attn_pool_special_tokens
        self.stage_channels, self.stage_strides = (hidden_dim,) * num_layers, (patch_size,) * num_layers
        self._check(num_heads=num_heads, num_layers=num_layers, mlp_dim=mlp_dim)
        if self.distilled and (not class_token or attn_pool_head):
            raise ParameterError("DeiT reads its class token: class_token=True, attn_pool_head=False.")
        if "SwiGLU" in mlp_layer_type and act_layer_type != "gelu":
            raise ParameterError(
                f"{mlp_layer_type} has an activation of its own: it cannot be {act_layer_type!r}.",
                given=act_layer_type,
            )
        if stem_type == "hmlp" and patch_size % 8:
            raise ParameterError(f"the hierarchical stem needs a patch size of 8, 16, …; got {patch_size}.")
        norms: dict[str, Callable[..., nn.Module]] = {"LayerNorm": nn.LayerNorm, "RMSNorm": nn.RMSNorm}
        norm = partial(one_of(norms, norm_layer_type, "norm_layer_type"), eps=norm_layer_eps)
        activations: dict[str, Callable[[], nn.Module]] = {"gelu": nn.GELU, "quick_gelu": QuickGELU}
        activation = one_of(activations, act_layer_type, "act_layer_type")

        def mlp(block: int) -> nn.Module:
            if mlp_layer_type == "SwiGLU_FFN":
                return SwiGLU(hidden_dim, mlp_dim)
            if mlp_layer_type == "Norm_SwiGLU_FFN":
                return SwiGLU(hidden_dim, mlp_dim, norm)
            if mlp_layer_type == "SoftMoE_FFN" and block >= num_layers // 2:
                return SoftMixtureOfExperts(
                    hidden_dim, mlp_dim, soft_moe_num_experts, soft_moe_num_slots, activation
                )
            return feed_forward(hidden_dim, mlp_dim, activation)

        self.conv_proj: nn.Module
        if stem_type == "hmlp":
            stem_norm: dict[str, Callable[[int], nn.Module]] = {
                "LayerNorm2d": partial(ChannelNorm, eps=1e-5),
                "BatchNorm2d": nn.BatchNorm2d,
            }
            self.conv_proj = HierarchicalStem(
                in_channels,
                hidden_dim,
                patch_size,
                one_of(stem_norm, stem_norm_layer_type, "stem_norm_layer_type"),
            )
        else:
            self.conv_proj = nn.Conv2d(in_channels, hidden_dim, patch_size, patch_size, bias=not pre_norm)
        self.class_token = nn.Parameter(torch.zeros(1, 1, hidden_dim)) if class_token else None
        self.dist_token = nn.Parameter(torch.zeros(1, 1, hidden_dim)) if self.distilled else None
        self.reg_tokens = (
            nn.Parameter(torch.empty(1, num_reg_tokens, hidden_dim).normal_(std=1e-6))
            if num_reg_tokens
            else None
        )
        rows, columns = self.grid
        places = rows * columns + self.num_special_tokens * pos_embed_special_tokens
        self.pos_embedding = (
            nn.Parameter(torch.empty(1, places, hidden_dim).normal_(std=0.02)) if abs_pos_embed else None
        )
        drop = drop_path_rates(drop_path_rate, num_layers)
        blocks = [
            Block(
                hidden_dim,
                Attention(
                    hidden_dim, num_heads, qk_norm=norm if qk_norm else None, norm=norm if attn_norm else None
                ),
                mlp(i),
                norm,
                layer_scale=layer_scale_init_value,
                drop_path=drop[i],
            )
            for i in range(num_layers)
        ]
        self.encoder = Encoder(norm(hidden_dim) if pre_norm else None, blocks)
        self.norm = norm(hidden_dim) if post_norm and not norm_after_pool else nn.Identity()
        self.embedding_norm = norm(hidden_dim) if norm_after_pool else nn.Identity()
        self.attn_pool: nn.Module | None = None
        if attn_pool_head:
            self.attn_pool = (
                EfficientProbing(hidden_dim)
                if attn_pool_type == "EfficientProbing"
                else AttentionPool(hidden_dim, attn_pool_num_heads or num_heads, mlp_dim, attn_pool_norm_eps)
            )
        self.rope: RotaryEmbedding | None = None
        if self.rotary:
            self.rope = RotaryEmbedding(
                hidden_dim // num_heads,
                self.grid,
                temperature=rope_temperature,
                trained_grid=None if pt_grid_size is None else height_and_width(pt_grid_size),
                rotation=rope_rot_type,
                style=rope_style,
                indexing=rope_grid_indexing,
                offset=rope_grid_offset,
            )
        elif not abs_pos_embed or pt_grid_size is not None or rope_temperature != 100.0:
            raise ParameterError("abs_pos_embed=False, pt_grid_size and rope_* are for RoPE_ViT.")
        self.apply(_init_weights)
        self.reset_classifier(num_classes)

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w): rows and columns of patches."""
        return self.size[0] // self.patch_size, self.size[1] // self.patch_size

    def grid_of(self, images: Tensor) -> tuple[int, int]:
        """(h, w) of some images: that of its `size`, unless `dynamic_size` is True.

        Raises:
            ShapeError: images that it does not take.
        """
        self.check_images(images)
        height, width = images.shape[2:]
        if (height, width) != self.size:
            if not self.dynamic_size:
                raise other_size(type(self).__name__, self.size, (height, width))
            self.check_size((height, width))
        return height // self.patch_size, width // self.patch_size

    def patches(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, h w, D), before position embeddings."""
        self.grid_of(images)
        patches: Tensor = self.conv_proj(images).flatten(2).transpose(1, 2)
        return patches

    def with_special_tokens(self, x_BTD: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """(B, h w, D) → (B, S + h w, D), with position embeddings; `grid` where it is not that of `size`."""
        special = [
            token for token in (self.reg_tokens, self.class_token, self.dist_token) if token is not None
        ]
        position: Tensor | None = self.pos_embedding
        if position is not None and grid is not None and grid != self.grid:
            kept = self.num_special_tokens if self.pos_embed_special_tokens else 0
            position = resized(position, kept, self.grid, grid)
        if position is not None and not self.pos_embed_special_tokens:
            x_BTD, position = x_BTD + position, None
        if special:
            x_BTD = torch.cat([*(token.expand(x_BTD.shape[0], -1, -1) for token in special), x_BTD], dim=1)
        else:
            x_BTD = x_BTD.contiguous()  # as the convolution leaves them, every sum would transpose them
        return x_BTD if position is None else x_BTD + position

    def encode(
        self,
        patches_BTD: Tensor,
        wanted: Sequence[int] = (-1,),
        *,
        grid: tuple[int, int] | None = None,
        keep: Tensor | None = None,
    ) -> list[Tensor]:
        """Patches through the blocks, before the last norm; no block after the last wanted one is computed.

        Args:
            patches_BTD: (B, h w, D) of `patches`; some may be replaced, for masked image modelling.
            wanted: after which blocks.
            grid: (h, w) where it is not that of `size`.
            keep: (B, K) places of the patches that are seen; None for all.

        Returns:
            For each wanted block (B, S + h w, D), or (B, S + K, D).
        """
        special = self.num_special_tokens
        wanted = self.stages(wanted)
        x_BTD = self.with_special_tokens(patches_BTD, grid)
        turn = None if self.rope is None else self.rope.on(grid or self.grid, keep)
        if keep is not None:
            seen = x_BTD[:, special:].gather(1, keep[..., None].expand(-1, -1, x_BTD.shape[2]))
            x_BTD = torch.cat([x_BTD[:, :special], seen], dim=1)
        if self.encoder.pre_block is not None:
            x_BTD = self.encoder.pre_block(x_BTD)
        found: dict[int, Tensor] = {}
        for i, block in enumerate(self.encoder.block[: max(wanted, default=-1) + 1]):
            x_BTD = self.run(block, x_BTD, turn, special)
            if i in wanted:
                found[i] = x_BTD
        return [found[i] for i in wanted]

    def tokens(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """(B, C, H, W) images → (B, S + h w, D) tokens after the last block and norm.

        With `keep`, (B, K) places of patches, only those are looked at: (B, S + K, D).
        """
        grid = self.grid_of(images)
        (last,) = self.encode(self.patches(images), grid=grid, keep=keep)
        out: Tensor = self.norm(last)
        return out

    def forward_intermediates(self, images: Tensor, indices: Sequence[int] | None = None) -> list[Tensor]:
        """(B, C, H, W) images → the patches after some blocks, each (B, D, h, w) before the last norm.

        Every block is a stage.
        """
        grid, wanted = self.grid_of(images), self.stages(indices)
        return [self._as_map(x, grid) for x in self.encode(self.patches(images), wanted, grid=grid)]

    def forward_features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, D, h, w), the patches after the last norm."""
        return self._as_map(self.tokens(images), self.grid_of(images))

    def embedding(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, D): class token, mean of the patches, or attention pool."""
        return self.pool(self.tokens(images))

    def pool(self, x_BTD: Tensor) -> Tensor:
        """(B, S + h w, D) of `tokens` → (B, D), as in `embedding`."""
        if self.attn_pool is not None:
            seen = x_BTD if self.attn_pool_special_tokens else x_BTD[:, self.num_special_tokens :]
            pooled: Tensor = self.attn_pool(seen)
        elif self.class_token is not None:
            pooled = x_BTD[:, self.num_reg_tokens]
        else:
            pooled = x_BTD[:, self.num_special_tokens :].mean(1)
        out: Tensor = self.embedding_norm(pooled)
        return out

    def adjust_size(self, size: int | tuple[int, int]) -> None:
        """Make it take images of another size: position embeddings are interpolated (bicubic)."""
        before = self.grid
        super().adjust_size(size)
        self._interpolate(before)

    def adjust_patch_size(self, patch_size: int) -> None:
        """Make it cut images into patches of another size (FlexiViT, section 3.4).

        The filters become those that answer to a resized patch as the old ones did to the patch, as nearly as
        that is possible (equation 4); position embeddings are interpolated.

        Raises:
            ParameterError: it has a hierarchical stem, or its size is no multiple of `patch_size`.
        """
        if not isinstance(self.conv_proj, nn.Conv2d):
            raise ParameterError("a hierarchical stem has no patch size to adjust.", given=patch_size)
        if patch_size < 1 or self.size[0] % patch_size or self.size[1] % patch_size:
            raise ParameterError(f"size {self.size} is no multiple of {patch_size}.", given=patch_size)
        old, before = self.conv_proj, self.grid
        weight = resized_filters(old.weight.detach(), patch_size)
        new = nn.Conv2d(
            self.in_channels,
            self.num_features,
            patch_size,
            patch_size,
            bias=old.bias is not None,
            device=weight.device,
            dtype=weight.dtype,
        )
        new.weight = nn.Parameter(weight, requires_grad=old.weight.requires_grad)
        if old.bias is not None:
            new.bias = old.bias
        self.conv_proj, self.patch_size = new.train(self.training), patch_size
        self.stage_strides = (patch_size,) * len(self.stage_strides)
        self._interpolate(before)

    def _interpolate(self, before: tuple[int, int]) -> None:
        """Position embeddings for the grid as it is now."""
        if self.pos_embedding is not None and self.grid != before:
            special = self.num_special_tokens if self.pos_embed_special_tokens else 0
            with torch.no_grad():
                table = resized(self.pos_embedding, special, before, self.grid)
            self.pos_embedding = nn.Parameter(table, requires_grad=self.pos_embedding.requires_grad)
        if self.rope is not None:
            self.rope.set_grid(self.grid)

    @property
    def read_tokens(self) -> slice:
        """The tokens that the head reads: class tokens, or the patches that it pools."""
        if self.attn_pool is None and self.class_token is not None:
            return slice(self.num_reg_tokens, self.num_special_tokens)
        return slice(self.num_special_tokens, None)

    @property
    def last_block(self) -> nn.Module:
        """The block after which patches no longer reach the class token."""
        return self.encoder.block[-1]

    @torch.no_grad()
    def attention_weights(self, images: Tensor) -> list[Tensor]:
        """(B, C, H, W) images → for each block (B, N, T, T), how much each token takes from each."""
        weights: list[Tensor] = []

        def keep(attention: nn.Module, given: tuple[Any, ...]) -> None:
            weights.append(attention.weights(*given))  # type: ignore[operator]  # an Attention

        attentions = [module for module in self.encoder.block.modules() if isinstance(module, Attention)]
        hooks = [attention.register_forward_pre_hook(keep) for attention in attentions]
        try:
            self.tokens(images)
        finally:
            for hook in hooks:
                hook.remove()
        return weights

    def patch_map(self, x_BTD: Tensor) -> Tensor:
        """(B, S + h w, ...) values of tokens → (B, ..., h, w) of the patches, for images of its `size`."""
        return self._as_map(x_BTD, self.grid)

    def _as_map(self, x_BTD: Tensor, grid: tuple[int, int]) -> Tensor:
        x_BDT = x_BTD[:, self.num_special_tokens :].transpose(1, 2)
        return x_BDT.reshape(*x_BDT.shape[:2], *grid)

    def _check(self, **counts: int) -> None:
        problems = [f"{name} is at least 1, got {value}" for name, value in counts.items() if value < 1]
        heads = counts["num_heads"]
        if self.num_features < 1 or (heads > 0 and self.num_features % heads):
            problems.append(f"hidden_dim={self.num_features} is not a multiple of num_heads={heads}")
        if self.rotary and not problems and self.num_features // heads % 4:
            problems.append(f"a head is {self.num_features // heads} wide; rotary positions need 4, 8, …")
        if problems:
            raise ParameterError(f"{type(self).__name__}: {'; '.join(problems)}.", problems=problems)

    def check_size(self, size: int | tuple[int, int]) -> tuple[int, int]:
        """The (height, width) of images, if it can take them: multiples of the patch size."""
        both = super().check_size(size)
        if both[0] % self.patch_size or both[1] % self.patch_size:
            below = tuple(max(n // self.patch_size, 1) * self.patch_size for n in both)
            raise ParameterError(
                f"size {both} is no multiple of the patch size {self.patch_size}.",
                given=both,
                hint=f"size={below} is.",
            )
        return both


class Encoder(nn.Module):
    """What comes before the first block, and the blocks; a name for both in checkpoints."""

    def __init__(self, pre_norm: nn.Module | None, blocks: Sequence[Block]) -> None:
        super().__init__()
        self.pre_block = None if pre_norm is None else nn.Sequential(pre_norm)
        self.block = nn.ModuleList(blocks)


class RoPE_ViT(ViT):  # noqa: N801  # the name that its users know
    """A ViT whose queries and keys turn with the place of their patch; parameters as for `ViT`."""

    rotary: ClassVar[bool] = True


class DeiT(ViT):
    """A ViT with a second class token that learns from a teacher (DeiT, section 3); parameters as for `ViT`.

    `forward` gives the mean of what the two heads say; `forward_both` gives each.
    """

    distilled: ClassVar[bool] = True

    def both_embeddings(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) images → (B, D) class token and (B, D) distillation token."""
        return self._both(self.tokens(images))

    def _both(self, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
        class_BD, dist_BD = x_BTD[:, self.num_special_tokens - 2 : self.num_special_tokens].unbind(1)
        return self.embedding_norm(class_BD), self.embedding_norm(dist_BD)

    def pool(self, x_BTD: Tensor) -> Tensor:
        """(B, S + h w, D) of `tokens` → (B, D), the mean of the two tokens."""
        class_BD, dist_BD = self._both(x_BTD)
        return (class_BD + dist_BD) / 2

    def forward_both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) images → (B, N) logits of the class token, and of the distillation token."""
        class_BD, dist_BD = self.both_embeddings(images)
        return self.classifier(class_BD), self.dist_classifier(dist_BD)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, N) logits, the mean of both heads."""
        of_class, of_dist = self.forward_both(images)
        out: Tensor = (of_class + of_dist) / 2
        return out

    def reset_classifier(self, num_classes: int) -> None:
        """Replace both heads by new ones, on the same device; 0 removes them."""
        super().reset_classifier(num_classes)
        self.dist_classifier = self.classifier
        super().reset_classifier(num_classes)


def resized(table_1TD: Tensor, special: int, before: tuple[int, int], after: tuple[int, int]) -> Tensor:
    """Position embeddings of another grid: those of special tokens stay, the others are interpolated."""
    kept, places = table_1TD[:, :special], table_1TD[:, special:]
    grid = places.float().transpose(1, 2).reshape(1, -1, *before)
    grid = F.interpolate(grid, after, mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([kept, grid.flatten(2).transpose(1, 2).to(kept.dtype)], dim=1)


def resized_filters(weight_DCPP: Tensor, patch_size: int) -> Tensor:
    """Filters for patches of another size (FlexiViT, equation 4): the pseudo-inverse of resizing a patch.

    Args:
        weight_DCPP: (D, C, P, P).
        patch_size: the new P.
    """
    before = weight_DCPP.shape[-1]
    if before == patch_size:
        return weight_DCPP.clone()
    units = torch.eye(before * before, device=weight_DCPP.device).view(-1, 1, before, before)
    resize = F.interpolate(units, (patch_size, patch_size), mode="bilinear", align_corners=False)
    inverse = torch.linalg.pinv(resize.flatten(1))
    filters = weight_DCPP.float().flatten(2) @ inverse.T
    out: Tensor = filters.view(*weight_DCPP.shape[:2], patch_size, patch_size)
    return out.to(weight_DCPP.dtype)


def _init_weights(module: nn.Module) -> None:
    """Truncated normal linear layers (sd 0.02), zero biases; LeCun normal patch convolutions."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
