"""What the dense detectors share: a pyramid, and a small network that looks at every place of every level.

Legend of shapes: B images, N classes, D width, K guesses at a place, A guesses in all levels; a level has
h x w places at a stride of s pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from holotype.errors import ParameterError
from holotype.vision.models.detection.focal_loss import start_rare
from holotype.vision.models.detection.interface import Detections, Detector, check_num_classes
from holotype.vision.models.detection.nms import best_of_each_image
from holotype.vision.models.detection.pyramid import build_pyramid


class DenseDetector(Detector):
    """A detector that guesses at every place of a pyramid, with one head for all levels.

    Attributes:
        pyramid: makes the levels.
        class_tower: looks at a level on behalf of `class_logits`.
        box_tower: likewise for what places a box.
        class_logits: (B, D, h, w) → (B, K * N, h, w).
    """

    capabilities: ClassVar[frozenset[str]] = Detector.capabilities | {"reset_classifier", "compile", "export"}
    small_parameters: ClassVar[Mapping[str, object]] = {
        **Detector.small_parameters,
        "width": 16,
        "head_depth": 1,
    }

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        size: int | tuple[int, int],
        *,
        backbone: str,
        backbone_params: Mapping[str, Any] | None,
        width: int,
        head_depth: int,
        guesses: int,
        coarse_from: Literal["c5", "p5"],
    ) -> None:
        if head_depth < 0:
            raise ParameterError(f"head_depth is 0 or more, got {head_depth}.", given=head_depth)
        super().__init__(num_classes, in_channels, size, backbone=backbone, backbone_params=backbone_params)
        self.width, self.guesses = width, guesses
        self.pyramid = build_pyramid(self.backbone, width, coarse_from)
        self.class_tower = _tower(width, head_depth)
        self.box_tower = _tower(width, head_depth)
        self.class_logits = self._new_classifier()

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last layer of the classifier by a new one, on the same device.

        Raises:
            ParameterError: fewer than one class.
        """
        like = self.class_logits.weight
        self.num_classes = check_num_classes(num_classes)
        classifier = self._new_classifier().to(device=like.device, dtype=like.dtype)
        self.class_logits = classifier.train(self.training)

    def _new_classifier(self) -> nn.Conv2d:
        classifier = nn.Conv2d(self.width, self.guesses * self.num_classes, 3, padding=1)
        start_rare(classifier)
        return classifier

    def levels(self, images: Tensor) -> list[Tensor]:
        """(B, C, H, W) images → (B, D, h, w) of each level.

        Raises:
            ShapeError: images that it cannot take.
        """
        self.check_images(images)
        levels: list[Tensor] = self.pyramid(self.backbone, images)
        return levels

    def select(
        self,
        outputs: tuple[Tensor, ...],
        size: tuple[int, int],
        *,
        score_threshold: float,
        iou_threshold: float,
        max_detections: int,
    ) -> list[Detections]:
        """The best scores, without those whose box overlaps a better one of their class too much."""
        return best_of_each_image(
            self.scores(outputs),
            outputs[1],
            size,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
        )

    def scores(self, outputs: tuple[Tensor, ...]) -> Tensor:
        """What `forward` returned → (B, A, N) scores from 0 to 1."""
        return outputs[0].float().sigmoid()


def by_place(level: Tensor, width: int) -> Tensor:
    """(B, K * width, h, w) → (B, h * w * K, width)."""
    return level.permute(0, 2, 3, 1).reshape(level.shape[0], -1, width)


def centers(height: int, width: int, stride: float, device: torch.device) -> Tensor:
    """(height * width, 2) x and y of the places of a level, in pixels, row by row."""
    y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) * stride
    x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) * stride
    return torch.stack((x.repeat(height), y.repeat_interleave(width)), 1)


def _tower(width: int, depth: int) -> nn.Sequential:
    """`depth` times a 3 x 3 convolution, a group norm and ReLU."""
    # Groups of 8 channels, 32 of them in 256: a level of a single place has enough to take a mean of.
    groups = width // 8 if width % 8 == 0 else 1
    layers: list[nn.Module] = []
    for _ in range(depth):
        conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        layers += [conv, nn.GroupNorm(groups, width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
