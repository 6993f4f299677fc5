"""Feature pyramids: maps of one width at strides 8, 16, 32, 64 and 128, from the stages of any backbone.

A backbone whose strides grow gets the top-down pyramid of Lin et al. 2017, "Feature Pyramid Networks for
Object Detection", arXiv 1612.03144, section 3. A plain vision transformer, whose blocks all have one stride,
gets the simple pyramid of Li et al. 2022, "Exploring Plain Vision Transformer Backbones for Object Detection"
(ViTDet), arXiv 2203.16527, section 3, made from its last block alone. The two coarsest levels are those of
RetinaNet (Lin et al. 2017, "Focal Loss for Dense Object Detection", arXiv 1708.02002, section 4).

Legend of shapes: B images, D width, C_i channels and s_i stride of a level, h_i and w_i its places.
"""

from __future__ import annotations

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from holotype.errors import ParameterError
from holotype.vision.models.backbone import is_pyramid
from holotype.vision.models.interface import ImageClassifier
from holotype.vision.models.vit_parts import ChannelNorm

STRIDES = (8, 16, 32)


class Pyramid(nn.Module):
    """What both pyramids offer.

    Attributes:
        width: D.
        strides: of each level, the finest first; not whole numbers where the patches of a transformer do
            not have 2^k pixels a side.
    """

    def __init__(self, width: int, strides: tuple[float, ...]) -> None:
        super().__init__()
        self.width = width
        self.strides = strides

    def forward(self, backbone: ImageClassifier, images: Tensor) -> list[Tensor]:
        """(B, C, H, W) images → for each level (B, D, h_i, w_i), h_i about H / s_i."""
        raise NotImplementedError


class CoarseLevels(nn.Module):
    """P6 and P7 (Lin et al. 2017, Focal Loss, section 4): strided convolutions, with a ReLU in between."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.p6 = nn.Conv2d(channels, width, 3, 2, 1)
        self.p7 = nn.Conv2d(width, width, 3, 2, 1)
        self.apply(_init_weights)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, h, w) → (B, D, h / 2, w / 2) and (B, D, h / 4, w / 4), rounded up."""
        p6 = self.p6(x)
        return [p6, self.p7(F.relu(p6))]


class FeaturePyramid(Pyramid):
    """From stages at strides 8, 16 and 32: from the coarsest down, each enlarged and added to the next.

    Args:
        backbone: what will be looked at.
        width: D.
        coarse_from: P6 is made from the stage C5 (as in RetinaNet), from the level P5 (as in FCOS), or there
            are neither P6 nor P7.

    Raises:
        ParameterError: the backbone lacks one of the strides.

    Source: Lin et al. 2017, section 3: laterals 1 x 1, nearest-neighbour enlargement, outputs 3 x 3.
    """

    def __init__(
        self, backbone: ImageClassifier, width: int, coarse_from: Literal["c5", "p5"] | None
    ) -> None:
        strides = tuple(backbone.stage_strides)
        missing = [stride for stride in STRIDES if stride not in strides]
        if missing:
            raise ParameterError(
                f"a feature pyramid looks at stages of strides {', '.join(map(str, STRIDES))}; "
                f"this {type(backbone).__name__} has {', '.join(map(str, strides))}.",
                given=strides,
            )
        super().__init__(width, tuple(float(s) for s in (*STRIDES, *((64, 128) if coarse_from else ()))))
        self.stages = [strides.index(stride) for stride in STRIDES]
        channels = [backbone.stage_channels[stage] for stage in self.stages]
        self.coarse_from = coarse_from
        self.lateral = nn.ModuleList([nn.Conv2d(before, width, 1) for before in channels])
        self.output = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1) for _ in channels])
        self.apply(_init_weights)
        if coarse_from is not None:
            self.coarse = CoarseLevels(channels[-1] if coarse_from == "c5" else width, width)

    def forward(self, backbone: ImageClassifier, images: Tensor) -> list[Tensor]:
        """(B, C, H, W) images → P3 to P5, or to P7."""
        stages = backbone.forward_intermediates(images, self.stages)
        merged: list[Tensor] = []
        for lateral, stage in zip(reversed(self.lateral), reversed(stages), strict=True):
            level = lateral(stage)
            if merged:
                # To the size of the finer map: a side that was rounded up is not twice the coarser one.
                level = level + F.interpolate(merged[-1], size=level.shape[2:], mode="nearest")
            merged.append(level)
        levels = [output(level) for output, level in zip(self.output, reversed(merged), strict=True)]
        if self.coarse_from is not None:
            levels += self.coarse(stages[-1] if self.coarse_from == "c5" else levels[-1])
        return levels


class SimplePyramid(Pyramid):
    """From the last stage alone: enlarged by strided transposed convolutions, or made smaller by pooling.

    The levels have the stage's stride times the powers of two that come nearest to 8, 16 and 32.

    Args:
        backbone: what will be looked at.
        width: D.
        coarse: add P6 and P7, made from P5.

    Source: Li et al. 2022, section 3 and appendix A.2: after resizing, a 1 x 1 and a 3 x 3 convolution, each
    with a LayerNorm.
    """

    def __init__(self, backbone: ImageClassifier, width: int, *, coarse: bool) -> None:
        stride, channels = backbone.stage_strides[-1], backbone.stage_channels[-1]
        steps = [round(math.log2(wanted / stride)) for wanted in STRIDES]
        strides = [stride * 2.0**step for step in steps]
        super().__init__(width, (*strides, *((strides[-1] * 2, strides[-1] * 4) if coarse else ())))
        self.levels = nn.ModuleList([_level(channels, width, step) for step in steps])
        self.apply(_init_weights)
        self.coarse = CoarseLevels(width, width) if coarse else None

    def forward(self, backbone: ImageClassifier, images: Tensor) -> list[Tensor]:
        """(B, C, H, W) images → P3 to P5, or to P7."""
        (last,) = backbone.forward_intermediates(images, (-1,))
        levels = [level(last) for level in self.levels]
        return levels if self.coarse is None else levels + self.coarse(levels[-1])


def build_pyramid(
    backbone: ImageClassifier, width: int, coarse_from: Literal["c5", "p5"] | None
) -> FeaturePyramid | SimplePyramid:
    """The pyramid that goes with a backbone; see `FeaturePyramid` for the arguments.

    Raises:
        ParameterError: a width below 1, or a backbone that lacks a stride.
    """
    if width < 1:
        raise ParameterError(f"the width of a pyramid is at least 1, got {width}.", given=width)
    if len(backbone.stage_strides) > 1 and is_pyramid(backbone.stage_strides):
        return FeaturePyramid(backbone, width, coarse_from)
    return SimplePyramid(backbone, width, coarse=coarse_from is not None)


def _level(channels: int, width: int, step: int) -> nn.Sequential:
    """(B, C, h, w) → (B, D, h / 2^step, w / 2^step)."""
    resize: list[nn.Module] = [nn.MaxPool2d(2, ceil_mode=True) for _ in range(step)]
    for at in range(-step):
        after = max(1, channels // 2)
        resize += [ChannelNorm(channels, eps=1e-6), nn.GELU()] if at else []
        resize.append(nn.ConvTranspose2d(channels, after, 2, 2))
        channels = after
    return nn.Sequential(
        *resize,
        nn.Conv2d(channels, width, 1, bias=False),
        ChannelNorm(width, eps=1e-6),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        ChannelNorm(width, eps=1e-6),
    )


def _init_weights(module: nn.Module) -> None:
    """He et al. 2015, uniform and for a linear unit; biases 0."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.kaiming_uniform_(module.weight, a=1)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
