"""EfficientNet-Lite: EfficientNet for devices without fast squeeze-and-excitation.

Paper: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
arXiv 1905.11946. Table 1 is the baseline network; section 3 scales its width and depth.

The Lite variants (published with TensorFlow in 2020) differ from the paper in three ways:

- no squeeze-and-excitation;
- ReLU6 in place of Swish;
- the stem, the head and the number of blocks in the first and the last stage are not scaled.

Differs: batch norm averages with momentum 0.1, torch's default, which Birder and timm use too. The 0.99 of
section 5.2 (0.01 here) suits the paper's hundreds of thousands of steps; in a short training the running
statistics would lag behind the weights.

Two conventions of padding are in use, and weights trained with one are not right with the other:
``"symmetric"`` pads (k - 1) / 2 on each side; ``"same"`` is TensorFlow's, which puts the odd pixel of a
strided convolution at the bottom and on the right. The five names are in ``sizes.toml``.

Legend of shapes: B images, C channels, H and W pixels, N classes.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holotype.errors import ParameterError
from holotype.vision.models.interface import DropPath, ImageClassifier

STEM_CHANNELS = 32  # table 1, stage 1
HEAD_CHANNELS = 1280  # table 1, stage 9
BN_MOMENTUM = 0.1


class Stage(NamedTuple):
    """One row of table 1."""

    expansion: int
    kernel: int
    stride: int
    channels: int
    repeats: int


# Table 1, stages 2 to 8: MBConv blocks.
TABLE_1 = (
    Stage(expansion=1, kernel=3, stride=1, channels=16, repeats=1),
    Stage(expansion=6, kernel=3, stride=2, channels=24, repeats=2),
    Stage(expansion=6, kernel=5, stride=2, channels=40, repeats=2),
    Stage(expansion=6, kernel=3, stride=2, channels=80, repeats=3),
    Stage(expansion=6, kernel=5, stride=1, channels=112, repeats=3),
    Stage(expansion=6, kernel=5, stride=2, channels=192, repeats=4),
    Stage(expansion=6, kernel=3, stride=1, channels=320, repeats=1),
)


def scaled_channels(channels: int, width: float, divisor: int = 8) -> int:
    """`channels` times `width`, to the nearest multiple of 8, and never below nine tenths of it."""
    scaled = channels * width
    rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * scaled else rounded


def scaled_stages(width: float, depth: float) -> tuple[Stage, ...]:
    """Table 1 scaled as the Lite variants do it."""
    last = len(TABLE_1) - 1
    return tuple(
        stage._replace(
            channels=scaled_channels(stage.channels, width),
            repeats=stage.repeats if at in (0, last) else math.ceil(stage.repeats * depth),
        )
        for at, stage in enumerate(TABLE_1)
    )


class SamePadConv2d(nn.Conv2d):
    """A convolution with TensorFlow's ``SAME`` padding: ceil(H / stride) rows come out.

    A side of n pixels gets max(k - stride + (-n mod stride), 0) zeros, the smaller half in front.
    Without a stride that is symmetric, and `nn.Conv2d` does it in the convolution itself.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', ceil(H / stride), ceil(W / stride))."""
        (kernel_h, kernel_w), (stride_h, stride_w) = self.kernel_size, self.stride
        rows = kernel_h - stride_h + (-x.shape[2]) % stride_h
        columns = kernel_w - stride_w + (-x.shape[3]) % stride_w
        padded = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class _Layers:
    """The three kinds of convolution in this network, under one convention of padding and one epsilon."""

    def __init__(self, padding: str, bn_eps: float) -> None:
        self.same = padding == "same"
        self.bn_eps = bn_eps

    def conv(
        self,
        c_in: int,
        c_out: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        depthwise: bool = False,
        act: bool = True,
    ) -> nn.Sequential:
        """Convolution, batch norm, and ReLU6 if `act`."""
        groups = c_in if depthwise else 1
        conv: nn.Conv2d
        if self.same and stride > 1:
            conv = SamePadConv2d(c_in, c_out, kernel, stride, groups=groups, bias=False)
        else:
            conv = nn.Conv2d(c_in, c_out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
        # He et al. 2015, over the outputs that one input reaches; in a depthwise filter, its taps alone.
        nn.init.normal_(conv.weight, std=math.sqrt(2.0 * groups / (kernel * kernel * c_out)))
        norm = nn.BatchNorm2d(c_out, eps=self.bn_eps, momentum=BN_MOMENTUM)
        return nn.Sequential(conv, norm, nn.ReLU6(inplace=True)) if act else nn.Sequential(conv, norm)


class InvertedResidual(nn.Module):
    """MBConv of table 1 without squeeze-and-excitation: expand, filter each channel, project."""

    def __init__(
        self,
        layers: _Layers,
        c_in: int,
        c_out: int,
        *,
        expansion: int,
        kernel: int,
        stride: int,
        drop_path_rate: float,
    ) -> None:
        super().__init__()
        hidden = c_in * expansion
        expand = [layers.conv(c_in, hidden)] if expansion > 1 else []
        self.block = nn.Sequential(
            *expand,
            layers.conv(hidden, hidden, kernel=kernel, stride=stride, depthwise=True),
            layers.conv(hidden, c_out, act=False),
        )
        self.residual = stride == 1 and c_in == c_out
        self.drop_path = DropPath(drop_path_rate) if self.residual else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) → (B, C_out, H / stride, W / stride)."""
        y: Tensor = self.block(x)
        if self.residual:
            y = x + self.drop_path(y)
        return y


class EfficientNet_Lite(ImageClassifier):  # noqa: N801  # the name that published checkpoints know
    """EfficientNet-Lite, an image classifier for phones and other small devices.

    Shapes: (B, C, H, W) images → (B, N) logits, for any H and W from 32 pixels on.

    Args:
        num_classes: N; with 0 the network returns its (B, 1280) embedding.
        in_channels: C.
        width: scales the number of channels (paper, section 3).
        depth: scales the number of blocks.
        size: (height, width) that it is meant for; a fact to look up, nothing depends on it.
        dropout: rate before the last layer.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0 at the first.
        padding: ``"symmetric"``, or ``"same"`` as in TensorFlow; see the top of this module.
        bn_eps: epsilon of the batch norms; TensorFlow's weights were trained with 1e-3.

    Raises:
        ParameterError: a value out of its range.

    Source: Tan and Le 2019, table 1; differs as the top of this module says.
    """

    head_parts = ("features",)
    small_parameters: ClassVar[Mapping[str, object]] = {
        **ImageClassifier.small_parameters,
        "width": 0.25,
        "depth": 0.5,
    }

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        width: float = 1.0,
        depth: float = 1.0,
        size: int | tuple[int, int] = 224,
        dropout: float = 0.2,
        drop_path_rate: float = 0.2,
        padding: Literal["symmetric", "same"] = "symmetric",
        bn_eps: float = 1e-5,
    ) -> None:
        if not (0.0 < width < math.inf and 0.0 < depth < math.inf):
            raise ParameterError(
                f"width and depth are positive, got {width} and {depth}.", given=(width, depth)
            )
        if not 0.0 <= drop_path_rate < 1.0:
            raise ParameterError(
                f"drop_path_rate is from 0 to below 1, got {drop_path_rate}.", given=drop_path_rate
            )
        if not 0.0 <= dropout <= 1.0:
            raise ParameterError(f"dropout is from 0 to 1, got {dropout}.", given=dropout)
        if padding not in ("symmetric", "same"):
            raise ParameterError(f"padding is 'symmetric' or 'same', got {padding!r}.", given=padding)
        if not 0.0 < bn_eps < math.inf:
            raise ParameterError(f"bn_eps is positive, got {bn_eps}.", given=bn_eps)
        super().__init__(in_channels=in_channels, size=size, num_features=HEAD_CHANNELS)
        layers = _Layers(padding, bn_eps)
        self.stem = layers.conv(in_channels, STEM_CHANNELS, kernel=3, stride=2)
        stages = scaled_stages(width, depth)
        self.body, channels = _body(layers, stages, drop_path_rate)
        # What is last before the resolution falls again, from stride 4 on.
        self.stage_channels = tuple(stages[at].channels for at in (1, 2, 4, 6))
        self.stage_strides = (4, 8, 16, 32)
        self.features = nn.Sequential(layers.conv(channels, HEAD_CHANNELS))
        self.dropout = nn.Dropout(dropout)
        self.reset_classifier(num_classes)

    def forward_intermediates(self, images: Tensor, indices: Sequence[int] | None = None) -> list[Tensor]:
        """(B, C, H, W) images → the feature maps of stages, each (B, C_i, H / s_i, W / s_i) rounded up.

        The stages are those at strides 4, 8, 16 and 32; the one at stride 2 is not among them.
        """
        wanted = self.stages(indices)
        self.check_images(images)
        if images.device.type == "cpu":
            # 1 x 1 convolutions, most of the work, are plain matrix products then.
            images = images.contiguous(memory_format=torch.channels_last)
        x, maps = self.stem(images), []
        for stage in self.body:
            for block in stage.children():
                x = self.run(block, x)
            maps.append(x)
        return [maps[i + 1] for i in wanted]

    def forward_features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, 1280, ceil(H / 32), ceil(W / 32)) feature map."""
        feature_map: Tensor = self.features(super().forward_features(images))
        return feature_map

    def classify(self, embedding: Tensor) -> Tensor:
        """(B, 1280) embeddings → (B, N) logits, with dropout in training."""
        return super().classify(self.dropout(embedding) if self.num_classes else embedding)


def _body(layers: _Layers, stages: tuple[Stage, ...], drop_path_rate: float) -> tuple[nn.Sequential, int]:
    """The blocks, in five groups: a new one wherever the resolution falls, and the channels at the end."""
    total = sum(stage.repeats for stage in stages)
    groups: list[list[nn.Module]] = [[]]
    channels = STEM_CHANNELS
    made = 0
    for stage in stages:
        if stage.stride > 1:
            groups.append([])
        for repeat in range(stage.repeats):
            groups[-1].append(
                InvertedResidual(
                    layers,
                    channels,
                    stage.channels,
                    expansion=stage.expansion,
                    kernel=stage.kernel,
                    stride=stage.stride if repeat == 0 else 1,
                    drop_path_rate=drop_path_rate * made / total,
                )
            )
            channels = stage.channels
            made += 1
    named: OrderedDict[str, nn.Module] = OrderedDict()
    for at, blocks in enumerate(groups):
        named[f"stage{at}"] = nn.Sequential(*blocks)
    return nn.Sequential(named), channels
