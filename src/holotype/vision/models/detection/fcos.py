"""FCOS: no anchors; every place of a pyramid says how far away the four sides of its object are.

Paper: Tian et al. 2020, "FCOS: A Simple and Strong Anchor-free Object Detector", arXiv 2006.09214 (the
journal version of Tian et al. 2019, arXiv 1904.01355). Section 3.1: distances (equation 1) and losses
(equation 2); section 3.2: which level sees which object; section 3.3: centre-ness (equation 3). Of the
improvements there: centre sampling, centre-ness beside the distances, generalised IoU, distances in strides,
and the square root in the score.

What differs: losses are normalised by each image's own number of positive places.

Legend of shapes: B images, C channels, H and W pixels, N classes, D width, A places of all levels, n boxes of
one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from holotype.vision import register_model
from holotype.vision.models.detection.boxes import LARGEST_SCALE, area, giou
from holotype.vision.models.detection.dense import DenseDetector, by_place, centers
from holotype.vision.models.detection.focal_loss import sigmoid_focal_loss
from holotype.vision.models.detection.interface import Boxes

REACH = 8.0  # a level sees objects whose farthest side is at most so many strides away (section 3.2)
RADIUS = 1.5  # centre sampling: a positive place is at most so many strides from the centre


class Places(NamedTuple):
    """Where the guesses of all levels are.

    Attributes:
        at: (A, 2) x and y in pixels.
        stride: (A,) of each one's level.
        reach: (A, 2) the nearest and the farthest that the farthest side of its object may be.
    """

    at: Tensor
    stride: Tensor
    reach: Tensor


@register_model(
    "fcos",
    description="FCOS: anchor-free, distances to the four sides at every place, centre-ness",
    features=["one-stage", "anchor-free", "feature pyramid", "centre-ness", "generalised IoU"],
    complexity="medium",
    paper_reference="Tian et al. 2020, FCOS: Simple and Strong Anchor-free Object Detector, arXiv 2006.09214",
)
class FCOS(DenseDetector):
    """A one-stage detector without anchors, over any backbone that offers stages.

    Args:
        num_classes: N.
        in_channels: C.
        size: pixels, or (height, width); other sizes are taken where the backbone takes them.
        backbone: an architecture, or a pretrained entry, by name.
        backbone_params: further parameters of the architecture.
        width: D.
        head_depth: convolutions in each branch before its last one.

    Raises:
        ParameterError: a number out of range, or a backbone that does not fit.

    Source: Tian et al. 2020, section 3; differs as the top of this module says.
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
    ) -> None:
        super().__init__(
            num_classes,
            in_channels,
            size,
            backbone=backbone,
            backbone_params=backbone_params,
            width=width,
            head_depth=head_depth,
            guesses=1,
            coarse_from="p5",
        )
        self.distances = nn.Conv2d(width, 4, 3, padding=1)
        self.centerness = nn.Conv2d(width, 1, 3, padding=1)
        for conv in (self.distances, self.centerness):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # it has one
        self.level_scale = nn.Parameter(torch.ones(len(self.pyramid.strides)))  # s_i of section 3.2

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, H, W) → (B, A, N) logits, (B, A, 4) boxes in pixels, (B, A) logits of centre-ness."""
        return self.heads(images)[:3]

    def heads(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Places]:
        """What `forward` returns, and the places."""
        levels = self.levels(images)
        logits, boxes, centerness = [], [], []
        places = self.places(levels)
        for level, scale, part in zip(levels, self.level_scale.unbind(), places, strict=True):
            logits.append(by_place(self.class_logits(self.class_tower(level)), self.num_classes))
            seen = self.box_tower(level)
            centerness.append(by_place(self.centerness(seen), 1)[..., 0])
            steps = by_place(self.distances(seen), 4).float() * scale
            away = steps.clamp(max=LARGEST_SCALE).exp() * part.stride[:, None]
            boxes.append(torch.cat((part.at - away[..., :2], part.at + away[..., 2:]), -1))
        every = Places(*(torch.cat(parts) for parts in zip(*places, strict=True)))
        return torch.cat(logits, 1), torch.cat(boxes, 1), torch.cat(centerness, 1), every

    def places(self, levels: Sequence[Tensor]) -> list[Places]:
        """The places of each level."""
        strides = self.pyramid.strides
        ends = [0.0, *(REACH * stride for stride in strides[:-1]), float("inf")]
        found = []
        for level, stride, (near, far) in zip(levels, strides, pairwise(ends), strict=True):
            at = centers(level.shape[2], level.shape[3], stride, level.device)
            reach = torch.tensor((near, far), device=level.device).expand(len(at), 2)
            found.append(Places(at, torch.full_like(at[:, 0], stride), reach))
        return found

    def scores(self, outputs: tuple[Tensor, ...]) -> Tensor:
        """(B, A, N): the geometric mean of class and centre-ness (section 3.3)."""
        logits, _, centerness = outputs
        return (logits.float().sigmoid() * centerness.float().sigmoid()[..., None]).sqrt()

    def loss(self, images: Tensor, targets: Sequence[Boxes]) -> dict[str, Tensor]:
        """``classification`` (focal), ``boxes`` (generalised IoU) and ``centerness``; see `Detector.loss`.

        Source: equations 2 and 3.
        """
        self.check_images(images)
        targets = self.check_targets(images, targets)
        logits, boxes, centerness, places = self.heads(images)
        named: dict[str, list[Tensor]] = {"classification": [], "boxes": [], "centerness": []}
        for image, target in enumerate(targets):
            box, positive = assign(places, target.boxes)
            count = positive.sum().clamp(min=1)
            if len(target.boxes):
                classes = F.one_hot(target.labels, self.num_classes)[box] * positive[:, None]
                aim = torch.where(positive[:, None], target.boxes[box], boxes[image].detach())
            else:
                classes, aim = torch.zeros_like(logits[image]), boxes[image].detach()
            losses = {
                "classification": sigmoid_focal_loss(logits[image], classes).sum(1),
                "boxes": torch.where(positive, 1 - giou(boxes[image], aim), 0.0),
                "centerness": torch.where(
                    positive,
                    F.binary_cross_entropy_with_logits(
                        centerness[image].float(), centerness_of(places.at, aim), reduction="none"
                    ),
                    0.0,
                ),
            }
            for name, each in losses.items():
                named[name].append(each.sum() / count)
        return {name: torch.stack(values).mean() for name, values in named.items()}


def assign(places: Places, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Which box each place is for.

    A place is for the smallest of the boxes that it lies in, near whose centre it is, and whose farthest side
    is within its level's reach (section 3.2, and centre sampling).

    Args:
        places: A places.
        boxes: (n, 4).

    Returns:
        (A,) long, and (A,) bool: is it for one at all?
    """
    if not len(boxes):
        nothing = torch.zeros(len(places.at), dtype=torch.bool, device=places.at.device)
        return nothing.long(), nothing
    away = distances(places.at[:, None], boxes)
    farthest = away.amax(2)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    off = (places.at[:, None] - middle).abs().amax(2)
    fits = (
        (away.amin(2) > 0)
        & (off < RADIUS * places.stride[:, None])
        & (farthest > places.reach[:, :1])
        & (farthest <= places.reach[:, 1:])
    )
    smallest, box = torch.where(fits, area(boxes), float("inf")).min(1)
    return box, smallest.isfinite()


def distances(at: Tensor, boxes: Tensor) -> Tensor:
    """(..., 2) places and (..., 4) boxes → (..., 4): how far away left, top, right and bottom are."""
    return torch.cat((at - boxes[..., :2], boxes[..., 2:] - at), -1)


def centerness_of(at: Tensor, boxes: Tensor) -> Tensor:
    """(A, 2) places and (A, 4) boxes → (A,) from 0 at a side to 1 in the middle (equation 3)."""
    sides = distances(at, boxes).clamp(min=0).view(-1, 2, 2)
    tiny = torch.finfo(sides.dtype).tiny
    share = sides.amin(1) / sides.amax(1).clamp(min=tiny)
    return share.prod(1).sqrt()
