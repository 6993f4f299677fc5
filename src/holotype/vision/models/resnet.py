"""ResNet: v1, with the tweaks of v1-D and with squeeze-and-excitation.

Sources: He et al. 2016, "Deep Residual Learning", section 3 and table 1 (the stride is that of the 3 x 3
convolution of a bottleneck); He et al. 2019, "Bag of Tricks", figure 2 (`deep_stem`, `avg_down`); Hu et al.
2018, "Squeeze-and-Excitation Networks", section 3; Radenović et al. 2019, "Fine-tuning CNN Image
Retrieval", equation 3 (`pooling_param`: generalised mean). Parameters are named as in Birder's checkpoints,
which fit.

Legend of shapes: B images, C channels, H and W pixels, F features.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from holotype.errors import ParameterError
from holotype.vision.models.interface import ImageClassifier


def conv_norm(before: int, after: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; the side of the map is divided by `stride`."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


class SqueezeExcitation(nn.Module):
    """Each channel is scaled by what the means of all channels say (Hu et al. 2018, equations 2 to 4)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        inner = max(dim // 16, 1)
        self.fc1 = nn.Conv2d(dim, inner, 1)
        self.fc2 = nn.Conv2d(inner, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same."""
        squeezed = torch.relu(self.fc1(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.fc2(squeezed))


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, or a bottleneck of 1 x 1, 3 x 3, 1 x 1; and a short cut."""

    def __init__(
        self, before: int, after: int, stride: int, *, bottle_neck: bool, avg_down: bool, excite: bool
    ) -> None:
        super().__init__()
        inner = after // 4 if bottle_neck else after
        first = (
            [conv_norm(before, inner, 1), conv_norm(inner, inner, 3, stride)]
            if bottle_neck
            else [conv_norm(before, inner, 3, stride)]
        )
        kernel = 1 if bottle_neck else 3
        self.block1 = nn.Sequential(
            *first, nn.Conv2d(inner, after, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(after)
        )
        self.block2 = nn.Sequential()
        if stride != 1 or before != after:
            pooled = avg_down and stride != 1
            layers: list[nn.Module] = [nn.AvgPool2d(2, stride)] if pooled else []
            layers += [
                nn.Conv2d(before, after, 1, 1 if pooled else stride, bias=False),
                nn.BatchNorm2d(after),
            ]
            self.block2 = nn.Sequential(*layers)
        self.se = SqueezeExcitation(after) if excite else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H / stride, W / stride)."""
        return torch.relu(self.se(self.block1(x)) + self.block2(x))


class GeneralisedMean(nn.Module):
    """``mean(x ** p) ** (1 / p)`` over the map."""

    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = power

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C)."""
        return x.clamp(min=1e-6).pow(self.power).mean((2, 3)).pow(1 / self.power)


class ResNet_v1(ImageClassifier):  # noqa: N801  # the name that its users know
    """Four stages at strides 4, 8, 16 and 32.

    Args:
        num_classes: N; 0 for no head.
        in_channels: C.
        size: pixels, or (height, width); other sizes are taken too.
        bottle_neck: blocks of three convolutions instead of two.
        filter_list: channels of the stem and of the four stages.
        units: blocks of the four stages.
        deep_stem: three 3 x 3 convolutions instead of one 7 x 7.
        avg_down: short cuts pool where they shrink the map.
        squeeze_excitation: squeeze-and-excitation in each block.
        pooling_param: the power of a generalised mean; None for the mean.

    Raises:
        ParameterError: not five widths and four depths, or a number out of range.
    """

    head_parts = ("pool",)
    small_parameters: ClassVar[Mapping[str, object]] = {
        **ImageClassifier.small_parameters,
        "filter_list": (8, 16, 16, 24, 32),
        "units": (1, 1, 2, 1),
    }

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        size: int | tuple[int, int] = 224,
        *,
        bottle_neck: bool = True,
        filter_list: tuple[int, int, int, int, int] = (64, 256, 512, 1024, 2048),
        units: tuple[int, int, int, int] = (3, 4, 6, 3),
        deep_stem: bool = False,
        avg_down: bool = False,
        squeeze_excitation: bool = False,
        pooling_param: float | None = None,
    ) -> None:
        if len(filter_list) != 5 or len(units) != 4 or min((*filter_list, *units)) < 1:
            raise ParameterError(
                "filter_list is five numbers and units four, at least 1; "
                f"got {tuple(filter_list)} and {tuple(units)}."
            )
        super().__init__(in_channels=in_channels, size=size, num_features=filter_list[-1])
        self.stage_channels, self.stage_strides = tuple(filter_list[1:]), (4, 8, 16, 32)
        width = filter_list[0]
        stem = (
            [conv_norm(in_channels, 32, 3, 2), conv_norm(32, 32, 3), conv_norm(32, width, 3)]
            if deep_stem
            else [conv_norm(in_channels, width, 7, 2)]
        )
        self.stem = nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1))
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        for i, (after, depth) in enumerate(zip(filter_list[1:], units, strict=True)):
            blocks = []
            for j in range(depth):
                blocks.append(
                    ResidualBlock(
                        width,
                        after,
                        2 if i and not j else 1,
                        bottle_neck=bottle_neck,
                        avg_down=avg_down,
                        excite=squeeze_excitation,
                    )
                )
                width = after
            stages[f"stage{i + 1}"] = nn.Sequential(*blocks)
        self.body = nn.Sequential(stages)
        self.pool = None if pooling_param is None else GeneralisedMean(pooling_param)
        self.apply(_init_weights)
        self.reset_classifier(num_classes)

    def forward_intermediates(self, images: Tensor, indices: Sequence[int] | None = None) -> list[Tensor]:
        """(B, C, H, W) images → the feature maps of stages, each (B, C_i, H / s_i, W / s_i)."""
        wanted = self.stages(indices)
        self.check_images(images)
        x, maps = self.stem(images), []
        for stage in self.body:
            for block in stage.children():
                x = self.run(block, x)
            maps.append(x)
        return [maps[i] for i in wanted]

    def embedding(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, F): mean, or generalised mean, over the map."""
        features = self.forward_features(images)
        pooled: Tensor = features.mean((2, 3)) if self.pool is None else self.pool(features)
        return pooled


def _init_weights(module: nn.Module) -> None:
    """He normal convolutions (He et al. 2015)."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
