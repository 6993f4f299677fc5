"""Which parts of an image are hidden: at random, and the same number of them in each image of a batch.

Source: He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners", section 3, "Masking" and "Simple
implementation" (shuffle, hide the first ones).

A mask is (B, h, w) of 0 and 1; 1 is hidden. Legend of shapes: B images, h and w rows and columns of mask
units, K units that are seen.
"""

from __future__ import annotations

import torch
from torch import Tensor

from holotype.errors import ParameterError


def masked_count(units: int, ratio: float) -> int:
    """How many of an image's units are hidden: the nearest number; at least one, and not all.

    Raises:
        ParameterError: `ratio` is not between 0 and 1, or there are fewer than two units.
    """
    if not 0.0 < ratio < 1.0:
        raise ParameterError(f"mask_ratio is above 0 and below 1, got {ratio}.", given=ratio)
    if units < 2:
        raise ParameterError(
            f"an image of {units} mask unit cannot be masked in part.",
            given=units,
            hint="Take larger images, or smaller mask units.",
        )
    return min(max(round(units * ratio), 1), units - 1)


def random_mask(batch: int, grid: tuple[int, int], ratio: float, *, like: Tensor) -> Tensor:
    """Hide units at random, by torch's own random numbers.

    Args:
        batch: B.
        grid: (h, w).
        ratio: share of the units that is hidden; see `masked_count`.
        like: gives dtype and device.

    Returns:
        (B, h, w).
    """
    units = grid[0] * grid[1]
    shuffled = torch.rand(batch, units, device=like.device).argsort(dim=1)
    hidden = shuffled[:, : masked_count(units, ratio)]
    mask = torch.zeros(batch, units, dtype=like.dtype, device=like.device)
    return mask.scatter(1, hidden, 1.0).view(batch, *grid)


def seen_units(mask: Tensor, count: int) -> Tensor:
    """(B, h, w) mask that leaves `count` units of each image → their places, (B, K), in order."""
    return mask.flatten(1).argsort(dim=1, stable=True)[:, :count]


def enlarged(mask: Tensor, times: int) -> Tensor:
    """(B, ..., h, w) → (B, ..., times h, times w): each unit becomes a square of places."""
    return mask.repeat_interleave(times, -2).repeat_interleave(times, -1)
