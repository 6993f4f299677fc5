"""TrivialAugment: one operation of a list for each image, at a random strength.

Source: Müller and Hutter 2021, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", section
3 and table 1 (the "wide" space). Differs: strengths are drawn from the whole range, not from 31 steps; what
lies outside an image is its edge, not black.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from holotype.vision.data.augmentation.geometry import identity, placed, uniform

__all__ = ["trivial_augment"]

_SHIFT = 32 / 224  # of the image's width; the paper's 32 pixels are of 224
_DEGREES = 135.0
_SHEAR = 0.99
_CHANGE = 0.99


def trivial_augment(images: Tensor) -> Tensor:
    """Change each of (B, 3, H, W) images in [0, 1] by one operation; all stay in [0, 1]."""
    choice = torch.randint(len(_OPERATIONS), (len(images),), device="cpu")
    strength = uniform(len(images), 0, 1)
    sign = torch.where(uniform(len(images), 0, 1) < 0.5, -1.0, 1.0)
    result = images.clone()
    for number, operation in enumerate(_OPERATIONS):
        chosen = (choice == number).nonzero()[:, 0]
        if len(chosen):
            at = chosen.to(images.device)
            some = images.index_select(0, at)
            changed = operation(some, strength[chosen].to(some), sign[chosen].to(some))
            result.index_copy_(0, at, changed.to(images.dtype).clamp(0, 1))
    return result


def _unchanged(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return images


def _moved(row: int, column: int, most: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def move(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
        theta = identity(len(images)).to(images)
        theta[:, row, column] += strength * sign * most
        return placed(images, theta, (images.shape[-2], images.shape[-1]))

    return move


def _turned(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    angle = strength * sign * (_DEGREES * math.pi / 180)
    zero, aspect = torch.zeros_like(angle), images.shape[-2] / images.shape[-1]
    # Coordinates from -1 to 1 are not of one length on an oblong image.
    theta = torch.stack(
        [
            torch.stack([angle.cos(), -angle.sin() * aspect, zero], 1),
            torch.stack([angle.sin() / aspect, angle.cos(), zero], 1),
        ],
        1,
    )
    return placed(images, theta, (images.shape[-2], images.shape[-1]))


def _factor(strength: Tensor, sign: Tensor) -> Tensor:
    return (1 + strength * sign * _CHANGE)[:, None, None, None]


def _grey(images: Tensor) -> Tensor:
    from kornia.color import rgb_to_grayscale

    grey: Tensor = rgb_to_grayscale(images)
    return grey


def _brightness(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return images * _factor(strength, sign)


def _contrast(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    mean = _grey(images).mean((2, 3), keepdim=True)
    return mean + (images - mean) * _factor(strength, sign)


def _colour(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    grey = _grey(images)
    return grey + (images - grey) * _factor(strength, sign)


def _sharpness(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    from kornia.filters import box_blur

    blurred = box_blur(images, (3, 3))
    changed: Tensor = blurred + (images - blurred) * _factor(strength, sign)
    return changed


def _posterize(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    levels = 2 ** (8 - (strength * 6).round())[:, None, None, None]  # 8 to 2 bits
    return ((images * levels).floor() / levels).clamp(0, 1)


def _solarize(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    return torch.where(images < (1 - strength)[:, None, None, None], images, 1 - images)


def _autocontrast(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp(min=1e-6), images)


def _equalize(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    from kornia.enhance import equalize

    equal: Tensor = equalize(images.float())
    return equal


_OPERATIONS: tuple[Callable[[Tensor, Tensor, Tensor], Tensor], ...] = (
    _unchanged,
    _moved(0, 1, _SHEAR),
    _moved(1, 0, _SHEAR),
    _moved(0, 2, 2 * _SHIFT),
    _moved(1, 2, 2 * _SHIFT),
    _turned,
    _brightness,
    _contrast,
    _colour,
    _sharpness,
    _posterize,
    _solarize,
    _autocontrast,
    _equalize,
)
