"""Changes of colour, each image of a batch by a strength of its own.

Images are (B, 3, H, W) floats from 0 to 1, strengths (B,); a result may leave 0 … 1 and is clamped by the
caller. The definitions are those of Pillow (`ImageEnhance`, `ImageOps`), which the papers' code used; hue is
that of HSV, and the blur a normalised Gaussian with the edges mirrored, as in scikit-image and torchvision.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  # as everyone calls it
from torch import Tensor

__all__ = [
    "autocontrast",
    "blur",
    "brightness",
    "contrast",
    "equalize",
    "grey",
    "hue",
    "posterize",
    "saturation",
    "sharpness",
    "solarize",
]

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def _each(strength: Tensor, images: Tensor) -> Tensor:
    """(B,) → (B, 1, 1, 1)."""
    return strength.to(images)[:, None, None, None]


def grey(images: Tensor) -> Tensor:
    """(B, 1, H, W): how bright each pixel is."""
    return (images * images.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Each pixel times the factor."""
    return images * _each(factor, images)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """The distance of each pixel from the image's mean brightness, times the factor."""
    return torch.lerp(grey(images).mean((2, 3), keepdim=True), images, _each(factor, images))


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """The distance of each pixel from its grey, times the factor; 0 gives a grey image."""
    return torch.lerp(grey(images), images, _each(factor, images))


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """The distance of each pixel from a smoothed image, times the factor; pixels on the edge are kept."""
    if min(images.shape[2:]) < 3:
        return images
    kernel = images.new_tensor([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(images, kernel.expand(3, 1, 3, 3), groups=3)
    return torch.lerp(smooth, images, _each(factor, images))


def hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue by parts of the colour circle; value and saturation of HSV stay. Images are in 0 … 1."""
    value, brightest = images.max(1)
    chroma = value - images.amin(1)
    red, green, blue = images.unbind(1)
    pairs = torch.stack([green - blue, blue - red, red - green], 1)
    behind = pairs.gather(1, brightest[:, None])[:, 0] / chroma.clamp(min=1e-12)
    sixth = behind + 2 * brightest + 6 * _each(turn, images)[:, 0]  # of the circle: 0 is red, 2 green, 4 blue
    offsets = images.new_tensor([5, 3, 1])[:, None, None]
    place = (offsets + sixth[:, None]) % 6
    return value[:, None] - chroma[:, None] * torch.minimum(place, 4 - place).clamp(0, 1)


def blur(images: Tensor, sigma: Tensor, side: int) -> Tensor:
    """A Gaussian blur by a window of `side` pixels (an odd number) and a deviation in pixels."""
    count, channels = images.shape[:2]
    at = torch.arange(side, device=images.device, dtype=images.dtype) - side // 2
    weights = torch.exp(-0.5 * (at / sigma.to(images)[:, None]) ** 2)
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(channels, 0)  # (B C, side)
    edge = side // 2
    padded = F.pad(images, (edge, edge, edge, edge), mode="reflect").flatten(0, 1)[None]
    lines = F.conv2d(padded, weights[:, None, None, :], groups=count * channels)
    return F.conv2d(lines, weights[:, None, :, None], groups=count * channels).view_as(images)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert what is as bright as the threshold or brighter."""
    return torch.where(images < _each(threshold, images), images, 1 - images)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep only so many bits of each pixel's 8."""
    step = 2 ** (8 - _each(bits, images))
    return ((images * 255).round() / step).floor() * step / 255


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel so that its darkest pixel becomes 0 and its brightest 1."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp(min=1e-6), images)


def equalize(images: Tensor) -> Tensor:
    """Spread the 256 levels of each channel so that each is about equally frequent."""
    levels = (images * 255).round().long().flatten(2)  # (B, 3, H W)
    counts = levels.new_zeros(*levels.shape[:2], 256)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    last = counts.gather(2, levels.amax(2, keepdim=True))  # how often the brightest level occurs
    step = (levels.shape[2] - last) // 255
    new = ((counts.cumsum(2) - counts + step // 2) // step.clamp(min=1)).clamp(max=255)
    equal = (new.gather(2, levels).to(images.dtype) / 255).view_as(images)
    return torch.where((step > 0)[..., None], equal, images)
