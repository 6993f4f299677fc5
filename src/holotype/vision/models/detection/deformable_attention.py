"""Multi-scale deformable attention: each query looks at a few places of several maps, and learns which.

Source: Zhu et al. 2021, "Deformable DETR: Deformable Transformers for End-to-End Object Detection", arXiv
2010.04159, section 4.1, equations 2 and 3; appendix A.4 (initial weights). Written with `grid_sample`: no
kernel of its own, so it runs wherever torch does.

Legend of shapes: B images, Q queries, T places of all maps together, D width, M heads, d = D / M, L maps
("levels"), K points; h_l and w_l rows and columns of map l.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DeformableAttention(nn.Module):
    """``sum_m W_m sum_l,k A_mlqk W'_m x_l(phi_l(p_q) + offset_mlqk)`` (equation 3).

    Args:
        dim: D.
        heads: M.
        levels: L.
        points: K, places that a head looks at in each map.
    """

    def __init__(self, dim: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.offsets = nn.Linear(dim, heads * levels * points * 2)
        self.weights = nn.Linear(dim, heads * levels * points)
        self.value = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        for layer in (self.offsets, self.weights):
            nn.init.zeros_(layer.weight)
        for layer in (self.value, self.proj):
            nn.init.xavier_uniform_(layer.weight)
        for layer in (self.weights, self.value, self.proj):
            nn.init.zeros_(layer.bias)
        # Appendix A.4: the heads look into directions of their own, point k at a distance of k cells.
        angles = torch.arange(heads, dtype=torch.float32) * (2 * math.pi / heads)
        directions_M2 = torch.stack((angles.cos(), angles.sin()), 1)
        directions_M2 = directions_M2 / directions_M2.abs().amax(1, keepdim=True)
        steps_K = torch.arange(1, points + 1, dtype=torch.float32)
        start = directions_M2[:, None, None] * steps_K[:, None]
        with torch.no_grad():
            self.offsets.bias.copy_(start.expand(-1, levels, -1, -1).flatten())

    def forward(
        self,
        queries_BQD: Tensor,
        references: Tensor,
        memory_BTD: Tensor,
        shapes: Sequence[tuple[int, int]],
    ) -> Tensor:
        """Look at the maps.

        Args:
            queries_BQD: (B, Q, D) what offsets and weights are computed from.
            references: (B, Q, 2) points as shares of the image, x before y: offsets are in cells of each map;
                or (B, Q, 4) boxes (cx, cy, w, h): offsets are in half sides of the box, over K.
            memory_BTD: (B, T, D) the maps row by row, one after the other.
            shapes: (h_l, w_l) of each.

        Returns:
            (B, Q, D).
        """
        exact = torch.promote_types(queries_BQD.dtype, torch.float32)  # half cannot tell places apart
        offsets = self.offsets(queries_BQD).to(exact)
        offsets_BQMLK2 = offsets.unflatten(2, (self.heads, self.levels, self.points, 2))
        centers = references[:, :, None, None, None, :2].to(exact)
        if references.shape[2] == 4:
            sides = references[:, :, None, None, None, 2:].to(exact)
            points_BQMLK2 = centers + offsets_BQMLK2 * sides * (0.5 / self.points)
        else:
            cells_L2 = centers.new_tensor([[columns, rows] for rows, columns in shapes])
            points_BQMLK2 = centers + offsets_BQMLK2 / cells_L2[:, None]
        weights = self.weights(queries_BQD).to(exact).unflatten(2, (self.heads, self.levels * self.points))
        weights_BQMLK = weights.softmax(3).unflatten(3, (self.levels, self.points))
        values_BTMd = self.value(memory_BTD).to(exact).unflatten(2, (self.heads, -1))
        seen_BQD = look(values_BTMd, shapes, points_BQMLK2, weights_BQMLK)
        out: Tensor = self.proj(seen_BQD.to(queries_BQD.dtype))
        return out


def look(
    values_BTMd: Tensor,
    shapes: Sequence[tuple[int, int]],
    points_BQMLK2: Tensor,
    weights_BQMLK: Tensor,
) -> Tensor:
    """The weighted sum of what is at some points of the maps, between cells bilinearly, outside 0.

    All heads, queries and points of a map are looked up at once.

    Args:
        values_BTMd: (B, T, M, d) the maps row by row, one after the other.
        shapes: (h_l, w_l) of each of the L maps.
        points_BQMLK2: (B, Q, M, L, K, 2) x and y as shares of the image.
        weights_BQMLK: (B, Q, M, L, K).

    Returns:
        (B, Q, M d).
    """
    batch, queries, heads = points_BQMLK2.shape[:3]
    grid = (2 * points_BQMLK2 - 1).transpose(1, 2).flatten(0, 1)  # (B M, Q, L, K, 2), from -1 to 1
    weights = weights_BQMLK.transpose(1, 2).flatten(0, 1)[:, None]  # (B M, 1, Q, L, K)
    parts = torch.split(values_BTMd, [rows * columns for rows, columns in shapes], dim=1)
    seen = torch.zeros((), dtype=values_BTMd.dtype, device=values_BTMd.device)
    for at, (part, (rows, columns)) in enumerate(zip(parts, shapes, strict=True)):
        values = part.permute(0, 2, 3, 1).reshape(batch * heads, -1, rows, columns)
        sampled = F.grid_sample(values, grid[:, :, at], mode="bilinear", align_corners=False)
        seen = seen + (sampled * weights[..., at, :]).sum(3)  # (B M, d, Q)
    return seen.view(batch, heads, -1, queries).permute(0, 3, 1, 2).flatten(2)
