"""Geometry of boxes: areas, overlaps, and the deltas in which detectors predict them.

A box is (x1, y1, x2, y2), left, top, right and bottom in pixels; a box in centre form is (cx, cy, w, h).
Everything takes any number of boxes, none as well, and any leading dimensions. Overlaps and deltas are
computed in single precision at least, whatever the precision of the network.

Sources: Ren et al. 2015, "Faster R-CNN", arXiv 1506.01497, equation 2 (deltas); Rezatofighi et al. 2019,
"Generalized Intersection over Union", arXiv 1902.09630, algorithm 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGEST_SCALE = math.log(1000 / 16)
"""A delta may make an anchor at most this much larger (its logarithm), so that no box overflows."""


def corners_to_centers(boxes: Tensor) -> Tensor:
    """(..., 4) x1, y1, x2, y2 → (..., 4) cx, cy, w, h."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), -1)


def centers_to_corners(boxes: Tensor) -> Tensor:
    """(..., 4) cx, cy, w, h → (..., 4) x1, y1, x2, y2."""
    cx, cy, width, height = boxes.unbind(-1)
    return torch.stack((cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2), -1)


def area(boxes: Tensor) -> Tensor:
    """(..., 4) → (...,) square pixels; 0 for a box whose corners are in the wrong order."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes cut at the edges of an image of (height, width) pixels."""
    height, width = size
    x = boxes[..., 0::2].clamp(0, width)
    y = boxes[..., 1::2].clamp(0, height)
    return torch.stack((x[..., 0], y[..., 0], x[..., 1], y[..., 1]), -1)


def iou(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes one by one: (..., 4) and (..., 4), which broadcast → (...,).

    0 where both boxes are empty.
    """
    one, other = _wide(one), _wide(other)
    shared, union = _shared_and_union(one, other)
    return shared / _positive(union)


def giou(one: Tensor, other: Tensor) -> Tensor:
    """Generalised IoU of boxes one by one, from -1 to 1: (..., 4) and (..., 4), which broadcast → (...,).

    IoU less the share of the smallest enclosing box that neither covers; it has a gradient where boxes do
    not touch.

    Source: Rezatofighi et al. 2019, algorithm 1.
    """
    one, other = _wide(one), _wide(other)
    shared, union = _shared_and_union(one, other)
    low = torch.minimum(one[..., :2], other[..., :2])
    high = torch.maximum(one[..., 2:], other[..., 2:])
    enclosing = area(torch.cat((low, high), -1))
    return shared / _positive(union) - (enclosing - union) / _positive(enclosing)


def pairwise_iou(one: Tensor, other: Tensor) -> Tensor:
    """(..., N, 4) and (..., M, 4) → (..., N, M)."""
    return iou(one[..., :, None, :], other[..., None, :, :])


def pairwise_giou(one: Tensor, other: Tensor) -> Tensor:
    """(..., N, 4) and (..., M, 4) → (..., N, M)."""
    return giou(one[..., :, None, :], other[..., None, :, :])


def encode_deltas(boxes: Tensor, anchors: Tensor) -> Tensor:
    """What moves anchors onto boxes.

    Args:
        boxes: (..., 4) x1, y1, x2, y2, of positive width and height.
        anchors: (..., 4) likewise.

    Returns:
        (..., 4): the centre's shift in widths and heights of the anchor, then the logarithms of how much
        wider and higher the box is.

    Source: Ren et al. 2015, equation 2.
    """
    box, anchor = corners_to_centers(_wide(boxes)), corners_to_centers(_wide(anchors))
    shift = (box[..., :2] - anchor[..., :2]) / anchor[..., 2:]
    return torch.cat((shift, (box[..., 2:] / anchor[..., 2:]).log()), -1)


def decode_deltas(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Anchors moved by deltas: the inverse of `encode_deltas`, for scales up to `LARGEST_SCALE`."""
    deltas, anchor = _wide(deltas), corners_to_centers(_wide(anchors))
    center = anchor[..., :2] + deltas[..., :2] * anchor[..., 2:]
    sides = anchor[..., 2:] * deltas[..., 2:].clamp(max=LARGEST_SCALE).exp()
    return centers_to_corners(torch.cat((center, sides), -1))


def _shared_and_union(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    low = torch.maximum(one[..., :2], other[..., :2])
    high = torch.minimum(one[..., 2:], other[..., 2:])
    shared = area(torch.cat((low, high), -1))
    return shared, area(one) + area(other) - shared


def _positive(areas: Tensor) -> Tensor:
    """Areas to divide by: 0 becomes the smallest number that is not, 0 / that being 0."""
    return areas.clamp(min=torch.finfo(areas.dtype).tiny)


def _wide(boxes: Tensor) -> Tensor:
    return boxes.float() if boxes.dtype in (torch.float16, torch.bfloat16) else boxes
