"""From a picture to a tensor of a given size, and its boxes along with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from holotype.errors import ParameterError
from holotype.names import nearest
from holotype.vision.data.decode import pixels_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from holotype.vision.data.table import ImageTable

__all__ = ["MEAN_COLOUR", "MODES", "Placement", "centre_window", "read_image", "resize_to", "size_of"]

MODES = ("squash", "crop", "letterbox")
# The mean colour of ImageNet: about zero once it is normalised.
MEAN_COLOUR = (124, 116, 104)


@dataclass(frozen=True)
class Placement:
    """Where the pixels of a picture came to lie: ``x * scale_x + left``, ``y * scale_y + top``.

    Attributes:
        scale_x: by which x was multiplied.
        scale_y: by which y was multiplied.
        left: where the picture's left edge came to lie, in pixels of the result; negative if cut off.
        top: likewise.
        size: (height, width) of the result.
        content: (height, width) of the part of the result that is picture; the rest is padding.
    """

    scale_x: float
    scale_y: float
    left: float
    top: float
    size: tuple[int, int]
    content: tuple[int, int]

    def to_result(self, boxes: Any) -> Tensor:
        """(n, 4) x1 y1 x2 y2 in the picture → the same in the result, clipped to it."""
        moved = self._as_boxes(boxes) * self._scale() + self._shift()
        height, width = self.content
        return moved.clamp_(min=0).minimum(moved.new_tensor([width, height, width, height]))

    def to_picture(self, boxes: Any) -> Tensor:
        """(n, 4) in the result → the same in the picture, not clipped."""
        return (self._as_boxes(boxes) - self._shift()) / self._scale()

    def _as_boxes(self, boxes: Any) -> Tensor:
        return torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)

    def _scale(self) -> Tensor:
        return torch.tensor([self.scale_x, self.scale_y] * 2)

    def _shift(self) -> Tensor:
        return torch.tensor([self.left, self.top] * 2)


def resize_to(
    image: Image,
    size: int | Sequence[int],
    mode: str = "squash",
    *,
    interpolation: str = "bilinear",
    fill: tuple[int, int, int] = MEAN_COLOUR,
    original: tuple[int, int] | None = None,
) -> tuple[Tensor, Placement]:
    """Bring an RGB picture to a size.

    Args:
        image: 8-bit RGB.
        size: of the result, (height, width) or one number for both.
        mode: ``"squash"`` changes the proportions, ``"crop"`` keeps the largest window of the result's
            proportions in the centre, ``"letterbox"`` keeps everything and pads on the right or below.
        interpolation: ``"bilinear"``, ``"bicubic"``, ``"lanczos"``, ``"box"`` or ``"nearest"``; smoothed
            where a picture becomes smaller.
        fill: the colour of the padding.
        original: (width, height) that the placement refers to, if `image` was decoded smaller.

    Returns:
        (3, H, W) uint8, and where the picture lies in it.

    Raises:
        ParameterError: an unknown mode or interpolation, or a wrong size.
    """
    height, width = size_of(size)
    resampling = _resampling(interpolation)
    if mode not in MODES:
        raise ParameterError(f"no mode named {mode!r}.", given=mode, nearest=nearest(str(mode), MODES))
    if image.mode != "RGB":
        image = image.convert("RGB")
    whole_width, whole_height = original or image.size
    content = (height, width)
    left = top = 0.0
    if mode == "squash":
        scale_x, scale_y = width / whole_width, height / whole_height
        if image.size != (width, height):
            image = image.resize((width, height), resampling, reducing_gap=2.0)
    elif mode == "crop":
        x1, y1, x2, y2 = centre_window(whole_width, whole_height, (height, width))
        scale_x, scale_y = width / (x2 - x1), height / (y2 - y1)
        left, top = -x1 * scale_x, -y1 * scale_y
        window = (  # in the pixels of what was decoded
            x1 * image.width / whole_width,
            y1 * image.height / whole_height,
            x2 * image.width / whole_width,
            y2 * image.height / whole_height,
        )
        if image.size != (width, height):
            image = image.resize((width, height), resampling, box=window, reducing_gap=2.0)
    else:
        scale = min(width / whole_width, height / whole_height)
        content = (
            min(height, max(1, round(whole_height * scale))),
            min(width, max(1, round(whole_width * scale))),
        )
        scale_x, scale_y = content[1] / whole_width, content[0] / whole_height
        if image.size != content[::-1]:
            image = image.resize(content[::-1], resampling, reducing_gap=2.0)
    pixels = pixels_of(image)
    if content != (height, width):
        padded = torch.tensor(fill, dtype=torch.uint8)[:, None, None].repeat(1, height, width)
        padded[:, : content[0], : content[1]] = pixels
        pixels = padded
    return pixels, Placement(scale_x, scale_y, left, top, (height, width), content)


def centre_window(
    width: int, height: int, target: tuple[int, int], fraction: float = 1.0
) -> tuple[int, int, int, int]:
    """The part of a picture that a crop keeps: left, top, right, bottom in whole pixels.

    Args:
        width: of the picture.
        height: of the picture.
        target: (height, width) whose proportions the window has.
        fraction: how much of the largest window that fits is kept.
    """
    scale = min(width / target[1], height / target[0]) * fraction
    # The tolerance keeps 0.875 * 256 at 224 where the fraction has no exact binary form.
    kept_width = min(width, max(1, math.floor(target[1] * scale + 1e-6)))
    kept_height = min(height, max(1, math.floor(target[0] * scale + 1e-6)))
    left, top = (width - kept_width + 1) // 2, (height - kept_height + 1) // 2
    return left, top, left + kept_width, top + kept_height


def read_image(
    table: ImageTable,
    at: int,
    size: int | Sequence[int],
    mode: str = "squash",
    *,
    interpolation: str = "bilinear",
    fill: tuple[int, int, int] = MEAN_COLOUR,
) -> tuple[Tensor, Placement]:
    """An image of a table at a size, as `resize_to` makes it; a large JPEG is decoded smaller at once.

    Returns:
        (3, H, W) uint8, and where the picture, in the pixels of the original, lies in it.

    Raises:
        ImageError: it cannot be read; the message names it.
        ParameterError: as for `resize_to`.
    """
    height, width = size_of(size)
    image, original = table.decode(at, at_least=_at_least(mode, height, width))
    return resize_to(image, (height, width), mode, interpolation=interpolation, fill=fill, original=original)


def _at_least(mode: str, height: int, width: int) -> tuple[int, int]:
    # Twice as much as is needed, so that a JPEG's own way of shrinking (a box filter) is not seen.
    return (2 * height, 2 * width) if mode != "letterbox" else (2 * max(height, width),) * 2


def size_of(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) in pixels, given as two numbers or one for both.

    Raises:
        ParameterError: not positive whole numbers.
    """
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in pair):
        raise ParameterError(f"size: (height, width) in pixels, got {size!r}.", given=size)
    return pair[0], pair[1]


def _resampling(interpolation: str) -> Any:
    from PIL.Image import Resampling

    known = ("nearest", "box", "bilinear", "bicubic", "lanczos")
    if interpolation not in known:
        raise ParameterError(
            f"no interpolation named {interpolation!r}.",
            given=interpolation,
            nearest=nearest(str(interpolation), known),
        )
    return Resampling[interpolation.upper()]
