"""Non-maximum suppression in torch, for a whole batch at once.

Greedy suppression takes boxes from the best to the worst, and keeps one unless a kept box of its class
overlaps it too much. In that order, with S_ij saying whether box i would suppress box j > i, that is

    keep_j = not any_i (keep_i and S_ij),

which has exactly one solution, because S is strictly upper triangular. Starting from "keep all" and applying
the right-hand side again and again settles one more link of every chain of suppressions each time, so a few
matrix products do what the loop over boxes does. Boxes are taken in blocks, so that memory grows with their
number and not with its square.

Legend of shapes: B images, n boxes, N classes, A places.
"""

from __future__ import annotations

import torch
from torch import Tensor

from holotype.errors import ParameterError, ShapeError
from holotype.vision.models.detection.boxes import area, clip
from holotype.vision.models.detection.interface import Detections

BLOCK = 256
CANDIDATES = 1000
"""How many scores of an image are looked at, at most: 1000 of each level in RetinaNet, of all levels here."""


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, labels: Tensor | None = None) -> Tensor:
    """Which boxes of one image stay.

    Args:
        boxes: (n, 4) x1, y1, x2, y2.
        scores: (n,); of two that are equal the first counts as the better.
        iou_threshold: a box that overlaps a kept one by more than this goes.
        labels: (n,); boxes of different labels leave each other alone. None: all are of one.

    Returns:
        (k,) long, indices of those that stay, best first.

    Raises:
        ShapeError: not n of each.
        ParameterError: a threshold outside [0, 1].
    """
    same = labels is None or labels.shape == scores.shape
    if boxes.dim() != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1] or not same:
        shapes = ", ".join(str(tuple(x.shape)) for x in (boxes, scores, labels) if x is not None)
        raise ShapeError(f"boxes are (n, 4), scores and labels (n,), got {shapes}.", given=shapes)
    if not 0.0 <= iou_threshold <= 1.0:
        raise ParameterError(f"iou_threshold is from 0 to 1, got {iou_threshold}.", given=iou_threshold)
    labels = torch.zeros_like(scores, dtype=torch.long) if labels is None else labels
    order = scores.argsort(descending=True, stable=True)
    kept = survivors(boxes[order][None], labels[order][None], iou_threshold)[0]
    return order[kept]


def survivors(boxes: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """Which boxes of each image stay.

    Args:
        boxes: (B, n, 4), each image's best first.
        labels: (B, n).
        iou_threshold: as for `nms`.

    Returns:
        (B, n) bool.
    """
    count = boxes.shape[1]
    keep = torch.zeros(boxes.shape[:2], dtype=torch.bool, device=boxes.device)
    for start in range(0, count, BLOCK):
        block = slice(start, min(start + BLOCK, count))
        suppresses = _overlap(boxes[:, : block.stop], boxes[:, block], iou_threshold)
        suppresses &= labels[:, : block.stop, None] == labels[:, None, block]
        before, within = suppresses[:, :start], suppresses[:, start:].triu(1)
        free = ~(before & keep[:, :start, None]).any(1)
        keep[:, block] = _solve(free, within)
    return keep


def _overlap(one: Tensor, other: Tensor, iou_threshold: float) -> Tensor:
    """(B, n, 4) and (B, m, 4) → (B, n, m): is the intersection over union above the threshold?

    As `pairwise_iou` computes it, in fewer and smaller pieces.
    """
    if one.dtype in (torch.float16, torch.bfloat16):
        one, other = one.float(), other.float()
    left, top, right, bottom = one[..., None, :].unbind(-1)
    left_, top_, right_, bottom_ = other[..., None, :, :].unbind(-1)
    width = torch.minimum(right, right_).sub_(torch.maximum(left, left_)).clamp_(min=0)
    height = torch.minimum(bottom, bottom_).sub_(torch.maximum(top, top_)).clamp_(min=0)
    shared = width.mul_(height)
    union = (area(one)[..., None] + area(other)[..., None, :]).sub_(shared)
    return shared.div_(union.clamp_(min=torch.finfo(union.dtype).tiny)) > iou_threshold


def _solve(free: Tensor, within: Tensor) -> Tensor:
    """``keep_j = free_j and not any_i (keep_i and within_ij)``: (B, m), (B, m, m) → (B, m)."""
    weights = within.float()
    keep = free
    while True:
        hit = torch.bmm(keep.float()[:, None], weights)[:, 0] > 0
        following = free & ~hit
        if torch.equal(following, keep):
            return keep
        keep = following


def best_of_each_image(
    scores: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    *,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
) -> list[Detections]:
    """From the scores of every class at every place to detections.

    Args:
        scores: (B, A, N) from 0 to 1.
        boxes: (B, A, 4), one for all classes, or (B, A, N, 4), one for each.
        size: (height, width) of the images, which boxes are cut to.
        score_threshold: leave out what scores no more than this.
        iou_threshold: as for `nms`.
        max_detections: at most so many in an image.
    """
    batch, _, classes = scores.shape
    flat = scores.flatten(1)
    at = (
        flat.topk(min(CANDIDATES, flat.shape[1]), 1).indices.sort(dim=1).values
    )  # of equals the first is first
    best, order = torch.sort(flat.gather(1, at), stable=True, dim=1, descending=True)
    at = at.gather(1, order)
    labels = at % classes
    places = at // classes if boxes.dim() == 3 else at
    chosen = boxes.reshape(batch, -1, 4).gather(1, places[..., None].expand(-1, -1, 4))
    chosen = clip(chosen, size)
    valid = (best > score_threshold) & (area(chosen) > 0)
    # What is not valid must suppress nothing: without area it overlaps nothing, and the rest comes last.
    keep = survivors(chosen, labels, iou_threshold) & valid
    keep &= keep.cumsum(1) <= max_detections
    return [
        Detections(chosen[image][kept], best[image][kept], labels[image][kept])
        for image, kept in enumerate(keep)
    ]
