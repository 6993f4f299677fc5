"""ConvNeXt, first and second version.

Sources: Liu et al. 2022, "A ConvNet for the 2020s", section 2 and figure 4 (block: depthwise 7 x 7,
LayerNorm, 1 x 1 to 4 C, GELU, 1 x 1, LayerScale); Woo et al. 2023, "ConvNeXt V2", section 4, algorithm 1
(global response normalisation instead of LayerScale). Parameters are named as in Birder's checkpoints,
which fit: downsampling (LayerNorm, 2 x 2 convolution) is the first layer of the stage that it leads to.

Legend of shapes: B images, C channels, H and W pixels, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from holotype.errors import ParameterError
from holotype.vision.models.interface import DropPath, ImageClassifier, drop_path_rates
from holotype.vision.models.vit_parts import Chain, ChannelNorm


class GlobalResponseNorm(nn.Module):
    """``gamma * x * N(G(x)) + beta + x``: channels compete by their norm over the image (algorithm 1)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, dim))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, dim))

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """(B, H, W, C) → the same."""
        response_B11C = _norm_over_places(x_BHWC)
        share_B11C = response_B11C / (response_B11C.mean(-1, keepdim=True) + 1e-6)
        return torch.addcmul(self.beta, self.gamma * share_B11C + 1, x_BHWC)


def _norm_over_places(x_BHWC: Tensor) -> Tensor:
    """(B, 1, 1, C): the Euclidean norm of each channel.

    PyTorch's own goes through memory in leaps on a CPU, and takes three to ten times as long there.
    """
    if x_BHWC.device.type != "cpu" or x_BHWC.dtype != torch.float32:
        norm: Tensor = torch.linalg.vector_norm(x_BHWC, dim=(1, 2), keepdim=True)
        return norm
    x_BTC = x_BHWC.flatten(1, 2)
    # Clamped, or the root of an all-zero channel would have no gradient.
    return (x_BTC * x_BTC).sum(1).clamp_min(1e-30).sqrt()[:, None, None]


class _Permute(nn.Module):
    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.order)


class ConvNeXtBlock(nn.Module):
    """A residual block at one width; see the figure."""

    def __init__(self, dim: int, *, layer_scale: float | None, drop_path: float) -> None:
        super().__init__()
        second = layer_scale is None
        self.layer_scale = None if layer_scale is None else nn.Parameter(torch.full((dim, 1, 1), layer_scale))
        self.block = Chain(
            nn.Conv2d(dim, dim, 7, padding=3, groups=dim),
            _Permute(0, 2, 3, 1),
            nn.LayerNorm(dim, eps=1e-6),
            nn.Linear(dim, 4 * dim),
            nn.GELU(),
            *([GlobalResponseNorm(4 * dim)] if second else []),
            nn.Linear(4 * dim, dim),
            _Permute(0, 3, 1, 2),
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same."""
        branch = self.block(x)
        if self.layer_scale is not None:
            branch = branch * self.layer_scale
        out: Tensor = x + self.drop_path(branch)
        return out


class ConvNeXt_v1(ImageClassifier):  # noqa: N801  # the name that its users know
    """Four stages at strides 4, 8, 16 and 32.

    Args:
        num_classes: N; 0 for no head.
        in_channels: C.
        size: pixels, or (height, width); other sizes are taken too.
        widths: channels of the four stages.
        depths: blocks of the four stages.
        drop_path_rate: stochastic depth of the last block; the first has none.
        stem_norm_eps: epsilon of the first norm: 1e-5 in Birder's checkpoints, 1e-6 in those of the authors.

    Raises:
        ParameterError: not four stages, or a number out of range.
    """

    layer_scale: ClassVar[float | None] = 1e-6
    head_parts = ("features",)
    # Birder's config calls the widths of the stages as we do the channels of an image.
    foreign_names: ClassVar[Mapping[str, str]] = {"in_channels": "widths", "num_layers": "depths"}
    small_parameters: ClassVar[Mapping[str, object]] = {
        **ImageClassifier.small_parameters,
        "widths": (8, 16, 24, 32),
        "depths": (1, 1, 2, 1),
    }

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        size: int | tuple[int, int] = 224,
        *,
        widths: tuple[int, int, int, int] = (96, 192, 384, 768),
        depths: tuple[int, int, int, int] = (3, 3, 9, 3),
        drop_path_rate: float = 0.0,
        stem_norm_eps: float = 1e-5,
    ) -> None:
        widths_, depths_ = tuple(widths), tuple(depths)
        if len(widths_) != 4 or len(depths_) != 4 or min((*widths_, *depths_)) < 1:
            raise ParameterError(
                f"widths and depths are four numbers each, at least 1; got {widths} and {depths}."
            )
        super().__init__(in_channels=in_channels, size=size, num_features=widths_[-1])
        self.stage_channels, self.stage_strides = widths_, (4, 8, 16, 32)
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths_[0], 4, 4), ChannelNorm(widths_[0], eps=stem_norm_eps)
        )
        rates = iter(drop_path_rates(drop_path_rate, sum(depths_)))
        self.body = nn.ModuleDict()
        for i, (width, depth) in enumerate(zip(widths_, depths_, strict=True)):
            layers: list[nn.Module] = []
            if i:
                before = widths_[i - 1]
                layers.append(nn.Sequential(ChannelNorm(before, eps=1e-6), nn.Conv2d(before, width, 2, 2)))
            layers += [
                ConvNeXtBlock(width, layer_scale=self.layer_scale, drop_path=next(rates))
                for _ in range(depth)
            ]
            self.body[f"stage{i + 1}"] = nn.Sequential(*layers)
        self.features = nn.Sequential(nn.Identity(), nn.LayerNorm(widths_[-1], eps=1e-6))
        self.apply(_init_weights)
        self.reset_classifier(num_classes)

    def forward_intermediates(self, images: Tensor, indices: Sequence[int] | None = None) -> list[Tensor]:
        """(B, C, H, W) images → the feature maps of stages, each (B, C_i, H / s_i, W / s_i)."""
        wanted = self.stages(indices)
        self.check_images(images)
        x, maps = self.stem(images), []
        for stage in self.body.values():
            for layer in stage.children():
                x = self.run(layer, x)
            maps.append(x)
        return [maps[i] for i in wanted]

    def embedding(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, F): mean over the map, then a norm."""
        out: Tensor = self.features(self.forward_features(images).mean((2, 3)))
        return out


class ConvNeXt_v2(ConvNeXt_v1):  # noqa: N801  # the name that its users know
    """ConvNeXt with global response normalisation in each block, and no LayerScale.

    Args:
        num_classes: N; 0 for no head.
        in_channels: C.
        size: pixels, or (height, width); other sizes are taken too.
        widths: channels of the four stages.
        depths: blocks of the four stages.
        drop_path_rate: stochastic depth of the last block; the first has none.
        stem_norm_eps: epsilon of the first norm: 1e-5 in Birder's checkpoints, 1e-6 in those of the authors.

    Raises:
        ParameterError: not four stages, or a number out of range.
    """

    layer_scale: ClassVar[float | None] = None


def _init_weights(module: nn.Module) -> None:
    """Truncated normal, sd 0.02; biases 0."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
