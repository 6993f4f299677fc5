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

from holotype.vision.data.augmentation.colour import (
    autocontrast,
    brightness,
    contrast,
    equalize,
    posterize,
    saturation,
    sharpness,
    solarize,
)
from holotype.vision.data.augmentation.geometry import affine, identity, placed, rotation, uniform

__all__ = ["trivial_augment"]

_SHIFT = 32 / 224  # of the image's width; the paper's 32 pixels are of 224
_DEGREES = 135.0
_SHEAR = 0.99
_CHANGE = 0.99

Operation = Callable[[Tensor, Tensor, Tensor], Tensor]  # images, strength from 0 to 1, sign -1 or 1


def trivial_augment(images: Tensor) -> Tensor:
    """Change each of (B, 3, H, W) images in [0, 1] by one operation; all stay in [0, 1]."""
    choice = torch.randint(len(OPERATIONS), (len(images),), device="cpu")
    strength = uniform(len(images), 0, 1)
    sign = torch.where(uniform(len(images), 0, 1) < 0.5, -1.0, 1.0)
    result = images.clone()
    for number, operation in enumerate(OPERATIONS):
        chosen = (choice == number).nonzero()[:, 0]
        if len(chosen):
            at = chosen.to(images.device)
            changed = operation(images.index_select(0, at), strength[chosen], sign[chosen])
            result.index_copy_(0, at, changed.to(images.dtype).clamp(0, 1))
    return result


def _moved(row: int, column: int, most: float) -> Operation:
    """A shear or a shift: one number of the affine map changes."""

    def move(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
        theta = identity(len(images))
        theta[:, row, column] += strength * sign * most
        return placed(images, theta, (images.shape[-2], images.shape[-1]))

    return move


def _rotated(images: Tensor, strength: Tensor, sign: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    turn = rotation(strength * sign * (_DEGREES * math.pi / 180), height / width)
    return placed(images, affine(turn), (height, width))


def _by_factor(change: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    return lambda images, strength, sign: change(images, 1 + strength * sign * _CHANGE)


OPERATIONS: tuple[Operation, ...] = (
    lambda images, strength, sign: images,
    _moved(0, 1, _SHEAR),
    _moved(1, 0, _SHEAR),
    _moved(0, 2, 2 * _SHIFT),
    _moved(1, 2, 2 * _SHIFT),
    _rotated,
    _by_factor(brightness),
    _by_factor(contrast),
    _by_factor(saturation),
    _by_factor(sharpness),
    lambda images, strength, sign: posterize(images, 8 - (strength * 6).round()),  # to 8 … 2 bits
    lambda images, strength, sign: solarize(images, 1 - strength),
    lambda images, strength, sign: autocontrast(images),
    lambda images, strength, sign: equalize(images),
)
