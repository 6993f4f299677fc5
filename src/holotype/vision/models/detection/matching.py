"""Bipartite matching: which query answers for which box of an image, at the least total cost.

Source: Carion et al. 2020, "End-to-End Object Detection with Transformers", equation 1 and appendix A.2; the
focal cost of a class is for Zhu et al. 2021, "Deformable DETR", section 5. The assignment is SciPy's.

Legend of shapes: B images, L decoder layers, Q queries, N classes, M boxes of the image that has most, K
matches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from holotype.errors import DataError, ShapeError, TrainingError
from holotype.extras import missing_extra
from holotype.vision.models.detection.boxes import corners_to_centers, giou, pairwise_giou
from holotype.vision.models.detection.focal_loss import sigmoid_focal_loss
from holotype.vision.models.detection.interface import Boxes

L1_WEIGHT = 5.0  # Carion et al. 2020, appendix A.4
GIOU_WEIGHT = 2.0


class PaddedTargets(NamedTuple):
    """The boxes of a batch in one tensor.

    Attributes:
        boxes: (B, M, 4) x1, y1, x2, y2 in pixels; where an image has fewer, boxes of one pixel.
        labels: (B, M) classes; 0 there.
        counts: boxes of each image.
    """

    boxes: Tensor
    labels: Tensor
    counts: list[int]


class Matches(NamedTuple):
    """Who answers for what, each field (K,) long: image, decoder layer, query, box of the image."""

    image: Tensor
    layer: Tensor
    query: Tensor
    box: Tensor


def pad(targets: Sequence[Boxes], device: torch.device) -> PaddedTargets:
    """The boxes of a batch in one tensor, on a device."""
    counts = [len(target.labels) for target in targets]
    most = max(counts, default=0)
    boxes = torch.tensor([0.0, 0.0, 1.0, 1.0], device=device).repeat(len(targets), most, 1)
    labels = torch.zeros(len(targets), most, dtype=torch.long, device=device)
    for at, target in enumerate(targets):
        boxes[at, : counts[at]] = target.boxes.to(boxes)
        labels[at, : counts[at]] = target.labels.to(labels)
    return PaddedTargets(boxes, labels, counts)


def softmax_cost(logits: Tensor, labels: Tensor) -> Tensor:
    """(B, L, Q, N + 1) logits, (B, M) classes → (B, L, Q, M), minus the probability (DETR, section 3.1)."""
    return -_of_classes(logits.softmax(-1), labels)


def focal_cost(logits: Tensor, labels: Tensor) -> Tensor:
    """(B, L, Q, N) logits and (B, M) classes → (B, L, Q, M).

    What the focal loss would rise by if the query answered for no box: the loss of a hit less that of a miss.
    """
    hit = sigmoid_focal_loss(logits, torch.ones_like(logits))
    miss = sigmoid_focal_loss(logits, torch.zeros_like(logits))
    return _of_classes(hit - miss, labels)


def box_cost(boxes: Tensor, targets: Tensor, size: tuple[int, int]) -> Tensor:
    """What every query would pay for every box (DETR, appendix A.2).

    Args:
        boxes: (B, L, Q, 4) predictions, x1, y1, x2, y2 in pixels.
        targets: (B, M, 4) likewise.
        size: (height, width) of the images.

    Returns:
        (B, L, Q, M): weighted L1 distance of centres and sides, as shares of the image, less weighted GIoU.
    """
    targets_B1M4 = targets[:, None].to(boxes.dtype)
    distance = torch.cdist(shares(boxes, size), shares(targets_B1M4, size), p=1)
    return L1_WEIGHT * distance - GIOU_WEIGHT * pairwise_giou(boxes, targets_B1M4)


def box_losses(boxes: Tensor, targets: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(K, 4) and (K, 4) matched boxes → (K,) weighted L1 and (K,) weighted GIoU losses (appendix A.2)."""
    distance = (shares(boxes, size) - shares(targets, size)).abs().sum(-1)
    return L1_WEIGHT * distance, GIOU_WEIGHT * (1 - giou(boxes, targets))


def shares(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., 4) x1, y1, x2, y2 in pixels → (..., 4) cx, cy, w, h as shares of an image of (height, width)."""
    height, width = size
    return corners_to_centers(boxes) / boxes.new_tensor([width, height, width, height])


@torch.no_grad()
def match(cost: Tensor, counts: Sequence[int]) -> Matches:
    """Assign a query of its own to every box, in each image and after each decoder layer.

    Args:
        cost: (B, L, Q, M) of every query for every box; only the first n of M are looked at.
        counts: n, the boxes of each image; there may be none.

    Returns:
        The matches, on the device of `cost`: n for each image and layer.

    Raises:
        DataError: an image has more boxes than there are queries.
        TrainingError: a cost is not finite.
        ShapeError: not as many counts as images.
        MissingExtraError: SciPy is not installed.
    """
    if cost.dim() != 4 or len(counts) != len(cost):
        raise ShapeError(
            f"costs are (B, L, Q, M) with B counts, got {tuple(cost.shape)} and {len(counts)} counts.",
            given=tuple(cost.shape),
        )
    layers, queries = cost.shape[1:3]
    for image, count in enumerate(counts):
        if count > queries:
            raise DataError(
                f"image {image} has {count} boxes, and the network finds at most {queries} objects.",
                given=count,
                hint=f"Give it num_queries={count} or more.",
            )
    assign = _linear_sum_assignment()
    on_cpu = cost.double().cpu()  # the one look at the device
    rows: list[Tensor] = []
    for image, count in enumerate(counts):
        if not bool(on_cpu[image, :, :, :count].isfinite().all()):
            raise TrainingError(
                f"image {image}: what the network predicts is not finite, so nothing can be matched.",
                hint="Train with a lower learning rate, or clip gradients.",
            )
        for layer in range(layers if count else 0):
            query, box = assign(on_cpu[image, layer, :, :count].numpy())
            both = torch.stack((torch.as_tensor(query), torch.as_tensor(box)))
            here = torch.tensor([[image], [layer]]).expand(2, count)
            rows.append(torch.cat((here, both)))
    found = torch.cat(rows, 1) if rows else torch.zeros(4, 0, dtype=torch.long)
    return Matches(*found.to(cost.device).unbind())


def per_image(values: Tensor, matches: Matches, counts: Sequence[int]) -> Tensor:
    """(K,) losses of matches → (), their sum over layers, divided by each image's boxes, mean over images."""
    boxes = torch.tensor([max(count, 1) for count in counts], device=values.device, dtype=values.dtype)
    return (values / boxes[matches.image]).sum() / max(len(counts), 1)


def _of_classes(values: Tensor, labels: Tensor) -> Tensor:
    """(B, L, Q, N) values of classes → (B, L, Q, M), those of the (B, M) classes asked for."""
    index = labels[:, None, None].expand(-1, *values.shape[1:3], -1)
    return values.gather(3, index)


def _linear_sum_assignment() -> Any:
    try:
        from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]  # it has none
    except ImportError as error:
        raise missing_extra(error, "matching boxes with queries") or error from error
    return linear_sum_assignment
