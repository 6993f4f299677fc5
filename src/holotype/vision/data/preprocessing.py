"""How a picture becomes the tensor that some weights expect: cropped, resized and normalised."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from holotype.errors import MetadataError
from holotype.names import nearest
from holotype.text import bulleted, did_you_mean
from holotype.vision.data.decode import AnyPath, open_image, pillow, pixels_of
from holotype.vision.data.resize import centre_window

if TYPE_CHECKING:
    from PIL.Image import Image

INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
RESAMPLERS = ("pillow", "tensorflow1")


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the tensor that some weights expect.

    A window of the target's proportions in the centre is resized to the target and normalised:
    ``(pixel / 255 - mean) / std``.

    Attributes:
        size: (height, width) of the target.
        mean: of red, green and blue, on a scale from 0 to 1.
        std: likewise.
        crop_fraction: how much of the largest window that fits is kept.
        interpolation: one of `INTERPOLATIONS`.
        resampler: ``"pillow"`` smooths where it makes a picture smaller, as if the whole picture were
            resized and then cut; ``"tensorflow1"`` cuts first and then reads four pixels a side whatever
            the scale (bicubic only), as weights from TensorFlow 1 were trained.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_fraction: float = 1.0
    interpolation: str = "bicubic"
    resampler: str = "pillow"

    def __post_init__(self) -> None:
        problems = []
        for name, choices in (("interpolation", INTERPOLATIONS), ("resampler", RESAMPLERS)):
            value = getattr(self, name)
            if value not in choices:
                hint = did_you_mean(value, choices)
                problems.append(f"{name}: {value!r} is not one of {', '.join(choices)}{hint}")
        size = self.size
        if isinstance(size, int):
            size = (size, size)
        if not _numbers(size, 2, whole=True) or min(size) < 1:
            problems.append(f"size: (height, width) in pixels, got {self.size!r}")
        else:
            object.__setattr__(self, "size", tuple(size))
        for name in ("mean", "std"):
            value = getattr(self, name)
            if not _numbers(value, 3) or (name == "std" and min(value) <= 0):
                problems.append(f"{name}: three numbers on a scale from 0 to 1, got {value!r}")
            else:
                object.__setattr__(self, name, tuple(float(number) for number in value))
        fraction = self.crop_fraction
        if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 < fraction <= 1:
            problems.append(f"crop_fraction: above 0 and at most 1, got {fraction!r}")
        if self.resampler == "tensorflow1" and self.interpolation != "bicubic":
            problems.append("resampler: 'tensorflow1' goes with interpolation 'bicubic'")
        if problems:
            raise MetadataError(f"this preprocessing does not hold together:\n{bulleted(problems)}")

    @classmethod
    def of(cls, info: object) -> Preprocessing:
        """Read it from what a model's record says.

        Args:
            info: the `model_info` of a loaded model, a pretrained entry's metadata, or a mapping with the
                fields of this class. `preprocessing` counts before `rgb_stats`; the size is `size` or
                `resolution`.

        Raises:
            MetadataError: it does not say what is needed, or says something else.
        """
        if isinstance(info, Preprocessing):
            return info
        given = field_of(info, "preprocessing")
        if given is None and isinstance(info, Mapping) and "mean" in info:
            given = {key: value for key, value in info.items() if key != "resolution"}
        values = dict(given or {})
        for key in ("mean", "std"):
            if key not in values:
                values[key] = field_of(field_of(info, "rgb_stats"), key)
        # The resolution that a network was loaded for overrides the one that it was published with.
        values["size"] = field_of(info, "resolution") or values.get("size")
        known = {field.name for field in fields(cls)}
        unknown = [key for key in values if key not in known]
        missing = [key for key in ("size", "mean", "std") if values.get(key) is None]
        if unknown:
            raise MetadataError(
                f"preprocessing has no field {unknown[0]!r}.",
                given=unknown[0],
                nearest=nearest(unknown[0], known),
            )
        if missing:
            raise MetadataError(
                f"the model's record does not say how to prepare pictures: {', '.join(missing)} missing.",
                hint="Pass them: preprocess(image, Preprocessing(size=…, mean=…, std=…)).",
            )
        return cls(**values)

    def window(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Which part of a picture of this size is kept: left, top, right, bottom."""
        return centre_window(width, height, self.size, self.crop_fraction)

    def __call__(self, image: Image) -> Tensor:
        """An RGB picture → (3, H, W), normalised."""
        window = self.window(image.width, image.height)
        height, width = self.size
        if self.resampler == "tensorflow1":
            pixels = _tensorflow1_bicubic(pixels_of(image.crop(window)).float(), height, width)
        else:
            resampling = pillow().Resampling[self.interpolation.upper()]
            pixels = pixels_of(image.resize((width, height), resampling, box=window))
        mean = torch.tensor(self.mean)[:, None, None]
        std = torch.tensor(self.std)[:, None, None]
        return (pixels / 255.0 - mean) / std


def preprocess(image: Image | AnyPath, how: object) -> Tensor:
    """Turn a picture into the tensor that a network's weights expect.

    Args:
        image: a path, or a Pillow picture of any mode.
        how: the `model_info` of the loaded network, or a `Preprocessing`.

    Returns:
        (3, H, W) float32.

    Raises:
        ImageError: the file is not a picture that can be read.
        MetadataError: `how` does not say enough.
    """
    return Preprocessing.of(how)(open_image(image))


def _tensorflow1_bicubic(pixels: Tensor, height: int, width: int) -> Tensor:
    """(3, h, w) → (3, H, W) as TensorFlow 1 resizes; a value may overshoot 0 … 255."""
    rows = _tensorflow1_weights(pixels.shape[1], height)
    columns = _tensorflow1_weights(pixels.shape[2], width)
    return rows @ pixels @ columns.T


@lru_cache(maxsize=64)
def _tensorflow1_weights(length: int, target: int) -> Tensor:
    """(target, length): how much each pixel of a line counts in each pixel of the resized line.

    Keys' cubic with a = -3/4 over the four pixels around ``i * length / target`` (corners aligned at the
    first pixel, no smoothing), in steps of 1/1024; beyond the ends the end pixels repeat.
    """
    a = -0.75
    # Single precision, as there: in double, some places fall into the neighbouring step.
    at = torch.arange(target, dtype=torch.float32) * torch.tensor(length / target, dtype=torch.float32)
    first = at.floor()
    offset = ((at - first) * 1024).round() / 1024
    weights = torch.zeros(target, length)
    for tap in (-1, 0, 1, 2):
        x = (offset - tap).abs()
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        column = (first.long() + tap).clamp(0, length - 1)
        weights.scatter_add_(1, column[:, None], torch.where(x <= 1, near, far)[:, None])
    return weights


def _numbers(value: object, count: int, *, whole: bool = False) -> bool:
    """Is it a list of this many finite numbers?"""
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != count:
        return False
    kinds = (int,) if whole else (int, float)
    return all(isinstance(n, kinds) and not isinstance(n, bool) and math.isfinite(n) for n in value)


def field_of(info: object, name: str) -> Any:
    """A field of a record that is a mapping or an object; None where there is none."""
    if isinstance(info, Mapping):
        return info.get(name)
    return getattr(info, name, None)
