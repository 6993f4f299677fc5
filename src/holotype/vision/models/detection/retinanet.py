"""RetinaNet: anchors at every place of a pyramid, each classified under the focal loss.

Paper: Lin et al. 2017, "Focal Loss for Dense Object Detection", arXiv 1708.02002. Section 4: the pyramid, the
anchors, the two subnets; section 3: the loss; section 4.1: training.

What differs:

- the subnets have a group norm after each convolution and He initialisation, in place of sigma = 0.01, with
  which a narrow network, or one without pretrained weights, hardly starts;
- an object that overlaps no anchor by 0.5 is given the anchors that overlap it most, as in Faster R-CNN
  (Ren et al. 2015, section 3.1.2);
- losses are normalised by each image's own number of positive anchors;
- detection looks at the best 1000 scores of all levels, in place of 1000 of each level.

Legend of shapes: B images, C channels, H and W pixels, N classes, D width, A anchors of all levels (9 at a
place), n boxes of one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holotype.errors import ParameterError
from holotype.vision import register_model
from holotype.vision.models.detection.boxes import decode_deltas, encode_deltas, pairwise_iou
from holotype.vision.models.detection.dense import DenseDetector, by_place, centers
from holotype.vision.models.detection.focal_loss import sigmoid_focal_loss
from holotype.vision.models.detection.interface import Boxes

SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))  # section 4, "Anchors"
RATIOS = (0.5, 1.0, 2.0)  # height to width
POSITIVE, NEGATIVE = 0.5, 0.4  # overlaps from and below which an anchor is an object or is background
BETA = 1 / 9  # where the smooth L1 loss of a delta becomes linear


@register_model(
    "retinanet",
    description="RetinaNet: anchors on a feature pyramid, one stage, focal loss",
    features=["one-stage", "anchors", "feature pyramid", "focal loss"],
    complexity="medium",
    paper_reference="Lin et al. 2017, Focal Loss for Dense Object Detection, arXiv 1708.02002",
)
class RetinaNet(DenseDetector):
    """A one-stage detector with anchors, over any backbone that offers stages.

    Args:
        num_classes: N.
        in_channels: C.
        size: pixels, or (height, width); other sizes are taken where the backbone takes them.
        backbone: an architecture, or a pretrained entry, by name.
        backbone_params: further parameters of the architecture.
        width: D.
        head_depth: convolutions in each subnet before its last one.
        anchor_scale: side of the smallest square anchor of a level, in strides: 4 gives 32 to 512 pixels.

    Raises:
        ParameterError: a number out of range, or a backbone that does not fit.

    Source: Lin et al. 2017, section 4; differs as the top of this module says.
    """

    def __init__(
        self,
        num_classes: int = 80,
        in_channels: int = 3,
        size: int | tuple[int, int] = 512,
        *,
        backbone: str = "resnet_v1_50",
        backbone_params: dict[str, Any] | None = None,
        width: int = 256,
        head_depth: int = 4,
        anchor_scale: float = 4.0,
    ) -> None:
        if not anchor_scale > 0:
            raise ParameterError(f"anchor_scale is above 0, got {anchor_scale}.", given=anchor_scale)
        super().__init__(
            num_classes,
            in_channels,
            size,
            backbone=backbone,
            backbone_params=backbone_params,
            width=width,
            head_depth=head_depth,
            guesses=len(SCALES) * len(RATIOS),
            coarse_from="c5",
        )
        self.anchor_scale = anchor_scale
        self.box_deltas = nn.Conv2d(width, self.guesses * 4, 3, padding=1)
        nn.init.normal_(self.box_deltas.weight, std=0.01)
        nn.init.zeros_(self.box_deltas.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, H, W) → (B, A, N) logits, (B, A, 4) boxes in pixels, (B, A, 4) their deltas to anchors."""
        logits, deltas, anchors = self.heads(images)
        return logits, decode_deltas(deltas, anchors), deltas

    def heads(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, H, W) → (B, A, N) logits, (B, A, 4) deltas, (A, 4) anchors."""
        levels = self.levels(images)
        logits = [by_place(self.class_logits(self.class_tower(level)), self.num_classes) for level in levels]
        deltas = [by_place(self.box_deltas(self.box_tower(level)), 4) for level in levels]
        anchors = [
            anchors_of(level.shape[2], level.shape[3], stride, self.anchor_scale, images.device)
            for level, stride in zip(levels, self.pyramid.strides, strict=True)
        ]
        return torch.cat(logits, 1), torch.cat(deltas, 1), torch.cat(anchors)

    def loss(self, images: Tensor, targets: Sequence[Boxes]) -> dict[str, Tensor]:
        """``classification`` (focal) and ``boxes`` (smooth L1 of the deltas); see `Detector.loss`.

        Source: section 3, and Girshick 2015, "Fast R-CNN", equation 3.
        """
        self.check_images(images)
        targets = self.check_targets(images, targets)
        logits, deltas, anchors = self.heads(images)
        classification, boxes = [], []
        for image, target in enumerate(targets):
            wanted, aims, found = self._aims(target, anchors)
            count = found.positive.sum().clamp(min=1)
            focal = sigmoid_focal_loss(logits[image], wanted).sum(1)
            off = F.smooth_l1_loss(deltas[image].float(), aims, reduction="none", beta=BETA).sum(1)
            classification.append(torch.where(found.counts, focal, 0.0).sum() / count)
            boxes.append(torch.where(found.positive, off, 0.0).sum() / count)
        return {"classification": torch.stack(classification).mean(), "boxes": torch.stack(boxes).mean()}

    def _aims(self, target: Boxes, anchors: Tensor) -> tuple[Tensor, Tensor, Match]:
        """What the anchors should say: (A, N) classes, (A, 4) deltas, and which of them matter."""
        found = match(anchors, target.boxes)
        if not len(target.boxes):
            return anchors.new_zeros(len(anchors), self.num_classes), torch.zeros_like(anchors), found
        classes = F.one_hot(target.labels, self.num_classes)[found.box] * found.positive[:, None]
        return classes, encode_deltas(target.boxes[found.box], anchors), found


class Match(NamedTuple):
    """Which box each anchor is for.

    Attributes:
        box: (A,) long, the box that it overlaps most; 0 where there are no boxes.
        positive: (A,) bool, it is for that box.
        counts: (A,) bool, it is for a box or is background; what is in between counts for nothing.
    """

    box: Tensor
    positive: Tensor
    counts: Tensor


def match(anchors: Tensor, boxes: Tensor) -> Match:
    """Give anchors to boxes by their overlap (section 4, "Anchors").

    Args:
        anchors: (A, 4).
        boxes: (n, 4).
    """
    if not len(boxes):
        nothing = torch.zeros(len(anchors), dtype=torch.bool, device=anchors.device)
        return Match(nothing.long(), nothing, ~nothing)
    overlap = pairwise_iou(boxes, anchors)
    best, box = overlap.max(0)
    most = overlap.amax(1, keepdim=True)
    closest = (overlap == most) & (most > 0)
    # An anchor that is closest to several boxes is for the one that it overlaps most of them.
    box = torch.where(closest.any(0), torch.where(closest, overlap, -1.0).argmax(0), box)
    positive = (best >= POSITIVE) | closest.any(0)
    return Match(box, positive, positive | (best < NEGATIVE))


def anchors_of(height: int, width: int, stride: float, scale: float, device: torch.device) -> Tensor:
    """(height * width * 9, 4) anchors of a level, place by place, in pixels (section 4, "Anchors")."""
    sides = [
        (scale * stride * octave / ratio**0.5, scale * stride * octave * ratio**0.5)
        for octave in SCALES
        for ratio in RATIOS
    ]
    half = torch.tensor(sides, device=device) / 2
    at = centers(height, width, stride, device)[:, None]
    return torch.cat((at - half, at + half), 2).flatten(0, 1)
