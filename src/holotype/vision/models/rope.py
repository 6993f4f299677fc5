"""Rotary position embedding of patches on a grid.

Source: Su et al. 2021, "RoFormer", section 3.2 (the rotation); Heo et al. 2024, "Rotary Position Embedding
for Vision Transformer", section 3 (two axes share the channels of a head). Half of a head's channels turn
with the row of a patch and half with its column, by angles ``position * temperature ** (-4 i / d)``. The
centred style is that of Siméoni et al. 2025, "DINOv3", section 3.2: positions from -1 to 1 on each axis.

Legend of shapes: B images, N heads, T patches, d channels of a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

Rotation = Literal["standard", "interleaved"]
Style = Literal["standard", "axial", "centered_separate"]
Indexing = Literal["ij", "xy"]
Rotate = Callable[[Tensor, int], Tensor]
"""Turns (B, N, special + T, d) queries or keys; see `RotaryEmbedding.forward`."""


class RotaryEmbedding(nn.Module):
    """Sines and cosines of the patches of a grid; not part of a checkpoint.

    Args:
        head_dim: d, a multiple of 4.
        grid: (rows, columns) of patches.
        temperature: the base of the frequencies.
        trained_grid: the grid that the weights know; positions on `grid` are scaled to it. None: no scaling.
        rotation: ``"interleaved"`` turns channels (2 i, 2 i + 1) with each other, ``"standard"`` the two
            halves of a head.
        style: ``"standard"``; ``"axial"``: columns before rows; ``"centered_separate"``: positions from -1
            to 1, angles in turns, and each half of a head gets the angles of both axes.
        indexing: ``"ij"``: rows before columns; ``"xy"``: columns before rows.
        offset: the position of the first patch.
    """

    table: Tensor

    def __init__(
        self,
        head_dim: int,
        grid: tuple[int, int],
        *,
        temperature: float = 100.0,
        trained_grid: tuple[int, int] | None = None,
        rotation: Rotation = "standard",
        style: Style = "standard",
        indexing: Indexing = "ij",
        offset: int = 0,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.head_dim = head_dim
        self.temperature = temperature
        self.trained_grid = trained_grid
        self.rotation = rotation
        self.style = style
        self.indexing = "xy" if style == "axial" else indexing
        self.offset = offset
        self.register_buffer("table", self.angles(grid), persistent=False)

    def angles(self, grid: tuple[int, int]) -> Tensor:
        """(2, T, d): sines and cosines of the T = rows * columns patches."""
        bands = self.head_dim // 4
        frequencies = self.temperature ** (-torch.arange(bands, dtype=torch.float32) / bands)
        axes = []
        for axis, count in enumerate(grid):
            place = torch.arange(count, dtype=torch.float32)
            if self.style == "centered_separate":
                place = 2 * math.pi * (2 * (place + 0.5) / count - 1)
            else:
                scale = self.trained_grid[axis] / count if self.trained_grid is not None else 1.0
                place = (place + self.offset) * scale
            axes.append(place)
        rows, columns = torch.meshgrid(axes[0], axes[1], indexing="ij")
        order = (columns, rows) if self.indexing == "xy" else (rows, columns)
        angles = torch.cat([place.reshape(-1, 1) * frequencies for place in order], dim=1)
        if self.style == "centered_separate":
            angles = torch.cat([angles, angles], dim=1)
        else:
            angles = angles.repeat_interleave(2, dim=1)
        return torch.stack([angles.sin(), angles.cos()])

    def set_grid(self, grid: tuple[int, int]) -> None:
        """Make the table anew for another number of patches."""
        self.grid = grid
        self.table = self.angles(grid).to(self.table)

    def on(self, grid: tuple[int, int], keep: Tensor | None = None) -> Rotate:
        """What turns the patches of another grid, or only some patches: (B, K) places."""
        table = self.table
        if grid != self.grid:
            table = self.angles(grid).to(table)
        if keep is not None:
            table = table[:, keep][:, :, None]  # (2, B, 1, K, d)
        elif table is self.table:
            return self
        return partial(self.turn, table)

    def forward(self, x: Tensor, special: int) -> Tensor:
        """Turn queries or keys.

        Args:
            x: (B, N, special + T, d).
            special: how many tokens before the patches have no place; they are not turned.
        """
        return self.turn(self.table, x, special)

    def turn(self, table: Tensor, x: Tensor, special: int) -> Tensor:
        """As `forward`, by another table: (2, T, d), or (2, B, 1, T, d)."""
        sine, cosine = table.to(x.dtype)
        patches = x[:, :, special:]
        if self.rotation == "interleaved":
            turned = torch.stack([-patches[..., 1::2], patches[..., ::2]], dim=-1).flatten(-2)
        else:
            first, second = patches.chunk(2, dim=-1)
            turned = torch.cat([-second, first], dim=-1)
        return torch.cat([x[:, :, :special], patches * cosine + turned * sine], dim=2)
