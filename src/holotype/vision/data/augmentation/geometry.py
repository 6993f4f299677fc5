"""Crops, turns and mirrors of a batch of images, each image by numbers of its own; and of boxes with them.

Shapes: B images, H x W pixels. An image's place is an affine map from coordinates of the result to those of
the input, both from -1 to 1, as `torch.nn.functional.affine_grid` has them: theta (B, 2, 3). All is drawn
from torch's global generator on the CPU, so that a seed means the same on every device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812  # as everyone calls it
from torch import Tensor

__all__ = [
    "affine",
    "crops",
    "identity",
    "mirrored",
    "move_boxes",
    "placed",
    "rectangles",
    "resized",
    "rotation",
    "turns",
    "uniform",
    "windows",
]

_RATIO = 4 / 3
# A box of which less than this is left, or less than a pixel either way, is dropped.
_LEAST_LEFT = 0.1


def uniform(count: int, low: float, high: float) -> Tensor:
    """(count,) numbers, drawn on the CPU."""
    return torch.rand(count, device="cpu") * (high - low) + low


def identity(count: int) -> Tensor:
    """(B, 2, 3): every image as it is."""
    return torch.eye(2, 3, device="cpu").repeat(count, 1, 1)


def affine(matrix: Tensor, x: Tensor | float = 0.0, y: Tensor | float = 0.0) -> Tensor:
    """(B, 2, 2) matrices and (B,) shifts → (B, 2, 3)."""
    shift = matrix.new_zeros(len(matrix), 2)
    shift[:, 0], shift[:, 1] = x, y
    return torch.cat([matrix, shift[:, :, None]], 2)


def windows(width: Tensor, height: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(B, 2, 3): windows of a size (parts of the whole) around (x, y)."""
    return affine(torch.diag_embed(torch.stack([width, height], 1)), x, y)


def rotation(angle: Tensor, aspect: float = 1.0) -> Tensor:
    """(B, 2, 2): rotations by (B,) radians, for images of height over width `aspect`.

    Coordinates from -1 to 1 have two lengths on an oblong image.
    """
    cos, sin = torch.cos(angle), torch.sin(angle)
    return torch.stack([torch.stack([cos, -sin * aspect], 1), torch.stack([sin / aspect, cos], 1)], 1)


def crops(count: int, low: float, high: float) -> Tensor:
    """(B, 2, 3): windows of a random area (parts of the whole), shape (3:4 to 4:3) and place.

    Source: Szegedy et al. 2015, "Going deeper with convolutions", section 6; a window that would not fit is
    cut to the image instead of drawn again.
    """
    area = uniform(count, low, high)
    ratio = torch.exp(uniform(count, -math.log(_RATIO), math.log(_RATIO)))
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    x, y = uniform(count, -1, 1) * (1 - width), uniform(count, -1, 1) * (1 - height)
    return windows(width, height, x, y)


def turns(count: int, degrees: float, shift: float, zoom: float, aspect: float = 1.0) -> Tensor:
    """(B, 2, 3): rotations, shifts (parts of the size) and changes of scale, each drawn up to a largest."""
    angle = uniform(count, -degrees, degrees) * math.pi / 180
    scale = 1 / uniform(count, 1 - zoom, 1 + zoom)
    x, y = uniform(count, -2 * shift, 2 * shift), uniform(count, -2 * shift, 2 * shift)
    return affine(rotation(angle, aspect) * scale[:, None, None], x, y)


def mirrored(theta: Tensor, chance: float = 0.5) -> Tensor:
    """(B, 2, 3): some of the maps, with left and right of the result exchanged."""
    flip = torch.where(uniform(len(theta), 0, 1) < chance, -1.0, 1.0)
    return torch.cat([theta[:, :, :1] * flip[:, None, None], theta[:, :, 1:]], 2)


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, H, W) of another size, smoothed where it becomes smaller."""
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)


def placed(images: Tensor, theta: Tensor, size: tuple[int, int], *, fill: Tensor | None = None) -> Tensor:
    """Sample each image at the places that its map gives.

    Args:
        images: (B, C, H, W).
        theta: (B, 2, 3).
        size: (h, w) of the result.
        fill: (C,) colour of what lies outside an image; without it, the edge is repeated.

    Returns:
        (B, C, h, w).
    """
    theta = theta.to(device=images.device, dtype=images.dtype)
    if fill is not None:
        colour = fill.to(images)[:, None, None]
        return _sampled(images - colour, theta, size, "zeros") + colour
    return _sampled(images, theta, size, "border")


def _sampled(images: Tensor, theta: Tensor, size: tuple[int, int], outside: str) -> Tensor:
    # Reading four pixels a time skips some where a result is much smaller: read more often, and average.
    shrink = max(images.shape[-2] / size[0], images.shape[-1] / size[1])
    times = min(4, max(1, round(shrink * 0.7)))
    fine = (size[0] * times, size[1] * times)
    grid = F.affine_grid(theta, [len(images), images.shape[1], *fine], align_corners=False)
    taken = F.grid_sample(images, grid, mode="bilinear", padding_mode=outside, align_corners=False)
    return taken if times == 1 else F.avg_pool2d(taken, times)


def rectangles(centres: Sequence[Tensor], sides: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """(B, H, W) bool: the pixels of a rectangle in each image, cut at the edges.

    Args:
        centres: (B,) rows and (B,) columns, in pixels.
        sides: (B,) heights and (B,) widths.
        size: (H, W).
    """
    rows, columns = [
        (torch.arange(length, device=centre.device) >= (centre - side / 2).round()[:, None])
        & (torch.arange(length, device=centre.device) < (centre + side / 2).round()[:, None])
        for centre, side, length in zip(centres, sides, size, strict=True)
    ]
    return rows[:, :, None] & columns[:, None, :]


def move_boxes(boxes: Tensor, theta: Tensor, before: tuple[int, int], after: tuple[int, int]) -> Tensor:
    """Move boxes along with their images; only for maps that do not turn.

    Args:
        boxes: (B, M, 5) x1 y1 x2 y2 in pixels of the input, and label; -1 where there is no box.
        theta: (B, 2, 3) of each image.
        before: (height, width) of the input.
        after: (height, width) of the result.

    Returns:
        (B, M, 5) in pixels of the result, clipped; boxes of which too little is left have label -1.
    """
    theta = theta.to(device=boxes.device, dtype=boxes.dtype)
    factor, shift = theta[:, [0, 1], [0, 1]][:, None], theta[:, :, 2][:, None]  # (B, 1, 2): x, y
    old = boxes.new_tensor([before[1], before[0]])
    new = boxes.new_tensor([after[1], after[0]])
    corners = boxes[..., :4].reshape(*boxes.shape[:2], 2, 2)  # (B, M, corner, xy)
    moved = ((corners / old * 2 - 1 - shift[:, None]) / factor[:, None] + 1) / 2 * new
    first, last = moved.amin(2), moved.amax(2)  # a mirror changes left and right
    size = last - first
    first, last = first.clamp(min=0).minimum(new), last.clamp(min=0).minimum(new)
    left = last - first
    whole = (size[..., 0] * size[..., 1]).clamp(min=1e-9)
    there = (boxes[..., 4] >= 0) & (left >= 1).all(-1)
    there &= left[..., 0] * left[..., 1] / whole >= _LEAST_LEFT
    result = torch.cat([first, last, boxes[..., 4:]], -1)
    nothing = boxes.new_tensor([0, 0, 0, 0, -1])
    return torch.where(there[..., None], result, nothing)
