"""Hiera and HieraDet: hierarchical vision transformers with no special modules.

Sources: Ryali et al. 2023, "Hiera: A Hierarchical Vision Transformer without the Bells-and-Whistles",
section 3 (pooled queries at a change of stage, windows in the first stages); Bolya et al. 2024, "Window
Attention is Bugged", section 4 (`abs_win_pos_embed`: a window's table, tiled, plus a global one,
interpolated); Ravi et al. 2024, "SAM 2", appendix D (HieraDet: windows in every stage, global attention in
a few blocks). Parameters are named as in Birder's checkpoints, which fit.

Legend of shapes: B images, H and W places of a map, D width, N heads, d = D / N, w side of a window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holotype.errors import ParameterError
from holotype.vision.models.interface import (
    DropPath,
    ImageClassifier,
    drop_path_rates,
    height_and_width,
    other_size,
)
from holotype.vision.models.vit_parts import AttentionPool, feed_forward


class PoolingAttention(nn.Module):
    """Attention within windows whose queries may be pooled 2 x 2 (Hiera, section 3.1)."""

    def __init__(self, dim_in: int, dim: int, heads: int, *, pool: bool) -> None:
        super().__init__()
        self.heads = heads
        self.pool = pool
        self.qkv = nn.Linear(dim_in, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x_BHWD: Tensor) -> Tensor:
        """(B, H, W, D_in) → (B, H, W, D), or half of H and W."""
        batch, height, width, _ = x_BHWD.shape
        qkv = self.qkv(x_BHWD).reshape(batch, height * width, 3, self.proj.in_features)
        q, k, v = qkv.unbind(2)
        if self.pool:
            q = halved(q.unflatten(1, (height, width)))
            height, width = q.shape[1:3]
            q = q.flatten(1, 2)
        q, k, v = (t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        out: Tensor = self.proj(y).unflatten(1, (height, width))
        return out


class HieraBlock(nn.Module):
    """A pre-norm block; where the width changes, the short cut is projected and max-pooled.

    Args:
        window: side of the windows; 0 for the whole map.
    """

    def __init__(
        self, dim_in: int, dim: int, heads: int, *, window: int, pool: bool, drop_path: float
    ) -> None:
        super().__init__()
        self.window = window
        self.pool = pool
        self.norm1 = nn.LayerNorm(dim_in, eps=1e-6)
        self.proj = nn.Linear(dim_in, dim) if dim_in != dim else None
        self.attn = PoolingAttention(dim_in, dim, heads, pool=pool)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = feed_forward(dim, 4 * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BHWD: Tensor) -> Tensor:
        """(B, H, W, D_in) → (B, H, W, D), or half of H and W."""
        normed = self.norm1(x_BHWD)
        short = x_BHWD if self.proj is None else self.proj(normed)
        if self.pool:
            short = halved(short)
        if self.window:
            windows, padded = split(normed, self.window)
            window = self.window // 2 if self.pool else self.window
            padded = (padded[0] // 2, padded[1] // 2) if self.pool else padded
            attended = join(self.attn(windows), window, padded, short.shape)
        else:
            attended = self.attn(normed)
        x_BHWD = short + self.drop_path(attended)
        out: Tensor = x_BHWD + self.drop_path(self.mlp(self.norm2(x_BHWD)))
        return out


class PatchStem(nn.Module):
    """A 7 x 7 convolution of stride 4; channels last."""

    def __init__(self, in_channels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, 7, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, H / 4, W / 4, D)."""
        images = images.contiguous(memory_format=torch.channels_last)
        out: Tensor = self.proj(images).permute(0, 2, 3, 1).contiguous()
        return out


class HieraDet(ImageClassifier):
    """Four stages at strides 4, 8, 16 and 32; attention within windows but for a few blocks.

    Args:
        num_classes: N; 0 for no head.
        in_channels: C.
        size: pixels, or (height, width); other multiples of 32 are taken too.
        depths: blocks of the four stages.
        embed_dim: width of the first stage; each next one doubles it.
        num_heads: heads of the first stage; each next one doubles it.
        global_pos_size: (rows, columns) of the global table of position embeddings.
        global_att_blocks: the blocks that look at the whole map.
        window_spec: side of the windows of each stage; 0 for the whole map.
        drop_path_rate: stochastic depth of the last block; the first has none.

    Raises:
        ParameterError: not four stages, or a number out of range.
    """

    antialias: ClassVar[bool] = False
    head_parts = ("features",)
    small_parameters: ClassVar[Mapping[str, object]] = {
        **ImageClassifier.small_parameters,
        "depths": (1, 1, 2, 1),
        "embed_dim": 8,
        "global_att_blocks": (3,),
    }

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        size: int | tuple[int, int] = 224,
        *,
        depths: tuple[int, int, int, int] = (1, 2, 7, 2),
        embed_dim: int = 96,
        num_heads: int = 1,
        global_pos_size: tuple[int, int] = (7, 7),
        global_att_blocks: tuple[int, ...] = (5, 7, 9),
        window_spec: tuple[int, int, int, int] = (8, 4, 14, 7),
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__(in_channels=in_channels, size=size, num_features=8 * embed_dim)
        _check(type(self).__name__, depths=depths, window_spec=window_spec)
        if min(*depths, embed_dim, num_heads) < 1 or embed_dim % num_heads:
            raise ParameterError(f"embed_dim={embed_dim} is a multiple of num_heads={num_heads}, at least 1.")
        self.stage_channels = tuple(embed_dim * 2**i for i in range(4))
        self.stage_strides = (4, 8, 16, 32)
        self.stem = PatchStem(in_channels, embed_dim)
        self._position(embed_dim, global_pos_size, window_spec[0])
        rates = drop_path_rates(drop_path_rate, sum(depths))
        self.body = nn.ModuleDict()
        index = 0
        for stage, depth in enumerate(depths):
            blocks = []
            for i in range(depth):
                first = stage > 0 and i == 0
                # The block that pools still looks through the windows of the stage before.
                window = 0 if index in global_att_blocks else window_spec[stage - 1 if first else stage]
                dim = self.stage_channels[stage]
                blocks.append(
                    HieraBlock(
                        dim // 2 if first else dim,
                        dim,
                        num_heads * 2**stage,
                        window=window,
                        pool=first,
                        drop_path=rates[index],
                    )
                )
                index += 1
            self.body[f"stage{stage + 1}"] = nn.Sequential(*blocks)
        self.features = nn.Sequential(nn.LayerNorm(8 * embed_dim, eps=1e-6))
        self.apply(_init_weights)
        self.reset_classifier(num_classes)

    def _position(self, dim: int, global_size: tuple[int, int], window: int) -> None:
        self.pos_embed = nn.Parameter(torch.empty(1, dim, *height_and_width(global_size)).normal_(std=0.02))
        self.pos_embed_win = nn.Parameter(torch.empty(1, dim, window, window).normal_(std=0.02))

    def position(self, grid: tuple[int, int]) -> Tensor:
        """(1, H, W, D): the global table interpolated, and the window's tiled over it."""
        # In float: not every device interpolates half precision.
        whole = F.interpolate(self.pos_embed.float(), grid, mode="bicubic", antialias=self.antialias)
        whole = whole.to(self.pos_embed.dtype)
        rows, columns = (-(-n // m) for n, m in zip(grid, self.pos_embed_win.shape[2:], strict=True))
        tiled = self.pos_embed_win.repeat(1, 1, rows, columns)[:, :, : grid[0], : grid[1]]
        return (whole + tiled).permute(0, 2, 3, 1)

    def forward_intermediates(self, images: Tensor, indices: Sequence[int] | None = None) -> list[Tensor]:
        """(B, C, H, W) images → the feature maps of stages, each (B, C_i, H / s_i, W / s_i)."""
        wanted = self.stages(indices)
        self.check_images(images)
        x, maps = self.stem(images), []
        x = x + self.position((x.shape[1], x.shape[2]))
        for stage in self.body.values():
            for block in stage.children():
                x = self.run(block, x)
            maps.append(x.permute(0, 3, 1, 2))
        return [maps[i] for i in wanted]

    def embedding(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, F): a norm, then the mean over the map."""
        out: Tensor = self.features(self.forward_features(images).permute(0, 2, 3, 1)).mean((1, 2))
        return out


class Hiera(HieraDet):
    """Windows in the first two stages, the whole map in the others (Hiera, section 3).

    Args:
        num_classes: N; 0 for no head.
        in_channels: C.
        size: pixels, or (height, width); multiples of 32.
        depths: blocks of the four stages.
        embed_dim: width of the first stage; each next one doubles it.
        num_heads: heads of the first stage; each next one doubles it.
        abs_win_pos_embed: position embeddings of a window, tiled, and of the map, interpolated; else one
            table for every place, made for `size`.
        attn_pool_head: pool by attention instead of by the mean.
        drop_path_rate: stochastic depth of the last block; the first has none.

    Raises:
        ParameterError: not four stages, or a number out of range.
    """

    antialias: ClassVar[bool] = True
    small_parameters: ClassVar[Mapping[str, object]] = {
        **ImageClassifier.small_parameters,
        "depths": (1, 1, 2, 1),
        "embed_dim": 8,
    }

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        size: int | tuple[int, int] = 224,
        *,
        depths: tuple[int, int, int, int] = (1, 2, 7, 2),
        embed_dim: int = 96,
        num_heads: int = 1,
        abs_win_pos_embed: bool = False,
        attn_pool_head: bool = False,
        drop_path_rate: float = 0.0,
    ) -> None:
        self._tiled = abs_win_pos_embed
        super().__init__(
            num_classes,
            in_channels,
            size,
            depths=depths,
            embed_dim=embed_dim,
            num_heads=num_heads,
            global_pos_size=(14, 14),
            global_att_blocks=(),
            window_spec=(8, 4, 0, 0),
            drop_path_rate=drop_path_rate,
        )
        pool = (
            AttentionPool(8 * embed_dim, 8 * num_heads, 32 * embed_dim, 1e-5)
            if attn_pool_head
            else TokenMean()
        )
        self.features = nn.Sequential(pool.apply(_init_weights), nn.LayerNorm(8 * embed_dim, eps=1e-6))

    def _position(self, dim: int, global_size: tuple[int, int], window: int) -> None:
        if self._tiled:
            super()._position(dim, (self.size[0] // 16, self.size[1] // 16), window)
        else:
            places = (self.size[0] // 4) * (self.size[1] // 4)
            self.pos_embed = nn.Parameter(torch.empty(1, places, dim).normal_(std=0.02))

    def check_size(self, size: int | tuple[int, int]) -> tuple[int, int]:
        """The (height, width) of images, if it can take them: multiples of 32."""
        both = super().check_size(size)
        if both[0] % 32 or both[1] % 32:
            below = tuple(n // 32 * 32 for n in both)
            raise ParameterError(f"size {both} is no multiple of 32.", given=both, hint=f"size={below} is.")
        return both

    def adjust_size(self, size: int | tuple[int, int]) -> None:
        """Make it take images of another size: position embeddings of the map are interpolated (bicubic)."""
        before = self.size
        super().adjust_size(size)
        if self.size == before:
            return
        old = self.pos_embed
        with torch.no_grad():
            if self._tiled:
                grid = (self.size[0] // 16, self.size[1] // 16)
                table = interpolated(old, grid)
            else:
                places = old.view(1, before[0] // 4, before[1] // 4, -1).permute(0, 3, 1, 2)
                grid = (self.size[0] // 4, self.size[1] // 4)
                table = interpolated(places, grid).flatten(2).transpose(1, 2).contiguous()
        self.pos_embed = nn.Parameter(table, requires_grad=old.requires_grad)

    def check_images(self, images: Tensor) -> None:
        """Refuse what is not (B, C, H, W) of the size that it was made for."""
        super().check_images(images)
        if not self._tiled and tuple(images.shape[2:]) != self.size:
            raise other_size(type(self).__name__, self.size, tuple(images.shape[2:]))

    def position(self, grid: tuple[int, int]) -> Tensor:
        """(1, H, W, D) position embeddings of a map of `grid` places."""
        return super().position(grid) if self._tiled else self.pos_embed.view(1, *grid, -1)

    def embedding(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, F): a pool over the map, then a norm."""
        out: Tensor = self.features(self.forward_features(images).flatten(2).transpose(1, 2))
        return out


class TokenMean(nn.Module):
    """The mean over tokens."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) → (B, D)."""
        return x_BTD.mean(1)


def interpolated(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """(1, D, H, W) of another height and width."""
    found = F.interpolate(table.float(), grid, mode="bicubic", antialias=True, align_corners=False)
    return found.to(table.dtype)


def halved(x_BHWD: Tensor) -> Tensor:
    """Max pool 2 x 2 of (B, H, W, D)."""
    return F.max_pool2d(x_BHWD.permute(0, 3, 1, 2), 2, 2).permute(0, 2, 3, 1)


def split(x_BHWD: Tensor, window: int) -> tuple[Tensor, tuple[int, int]]:
    """(B, H, W, D) → (windows, w, w, D), padded with zeros; and the padded height and width."""
    batch, height, width, dim = x_BHWD.shape
    down, right = -height % window, -width % window
    x = F.pad(x_BHWD, (0, 0, 0, right, 0, down)) if down or right else x_BHWD
    height, width = height + down, width + right
    x = x.view(batch, height // window, window, width // window, window, dim)
    count = batch * (height // window) * (width // window)
    return x.transpose(2, 3).reshape(count, window, window, dim), (height, width)


def join(windows: Tensor, window: int, padded: tuple[int, int], shape: Sequence[int]) -> Tensor:
    """What `split` took apart, without the padding: (B, H, W, D), the `shape`."""
    batch, rows, columns, dim = shape
    height, width = padded
    x = windows.view(batch, height // window, width // window, window, window, dim)
    return x.transpose(2, 3).reshape(batch, height, width, dim)[:, :rows, :columns]


def _check(name: str, **fours: tuple[int, ...]) -> None:
    for key, value in fours.items():
        if len(value) != 4 or min(value) < 0:
            raise ParameterError(f"{name}: {key} is four numbers, one a stage, got {value!r}.", given=value)


def _init_weights(module: nn.Module) -> None:
    """Truncated normal linear layers, sd 0.02; biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
