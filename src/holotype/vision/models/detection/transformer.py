"""What `detr` and `deformable_detr` share: attention, feed-forward, positions, boxes of queries.

Sources: Vaswani et al. 2017, "Attention Is All You Need", sections 3.2.2, 3.3 and 3.5; Carion et al. 2020,
"End-to-End Object Detection with Transformers", section 3.2 and appendix A.3.

Legend of shapes: B images, Q queries, K keys, D width, M heads, d = D / M; h and w rows and columns of a map.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holotype.errors import ParameterError
from holotype.vision.models.detection.boxes import centers_to_corners
from holotype.vision.models.detection.interface import Detections

TEMPERATURE = 10_000.0  # of the sine positions


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, section 3.2.2); dropout acts on its weights."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        for layer in (self.q, self.k, self.v, self.proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, queries_BQD: Tensor, keys_BKD: Tensor, values_BKD: Tensor) -> Tensor:
        """(B, Q, D) queries, (B, K, D) keys and values → (B, Q, D)."""
        q_BMQd, k_BMKd, v_BMKd = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.q, queries_BQD), (self.k, keys_BKD), (self.v, values_BKD))
        )
        dropout = self.dropout if self.training else 0.0
        y_BQD = F.scaled_dot_product_attention(q_BMQd, k_BMKd, v_BMKd, dropout_p=dropout)
        out: Tensor = self.proj(y_BQD.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Sequential):
    """Linear, ReLU, dropout, linear (Vaswani et al. 2017, equation 2)."""

    def __init__(self, dim: int, inner: int, dropout: float) -> None:
        super().__init__(nn.Linear(dim, inner), nn.ReLU(), nn.Dropout(dropout), nn.Linear(inner, dim))
        for name, value in self.named_parameters():
            if name.endswith("weight"):
                nn.init.xavier_uniform_(value)
            else:
                nn.init.zeros_(value)


class Residual(nn.Module):
    """``norm(x + dropout(branch))``: the norm comes after the sum, as in both papers."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        """(..., D) and (..., D) → (..., D)."""
        out: Tensor = self.norm(x + self.dropout(branch))
        return out


class Perceptron(nn.Sequential):
    """Three linear layers with ReLUs between: what says a box (Carion et al. 2020, section 3.2)."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, out))


def sine_positions(rows: int, columns: int, dim: int, like: Tensor) -> Tensor:
    """Fixed embeddings of the places of a map, row by row: half the width for y, half for x.

    Args:
        rows: h.
        columns: w.
        dim: D, a multiple of 4.
        like: whose device and dtype they get.

    Returns:
        (h w, D): sines, then cosines, of 2 pi (place + 0.5) / (number of places) times 10000^(-4 i / D).

    Source: Carion et al. 2020, section 4.2 and appendix A.4, after Parmar et al. 2018; differs: places are
    counted from the middle of a cell, as in the reference points of Zhu et al. 2021.
    """
    frequencies = TEMPERATURE ** -(torch.arange(dim // 4, device=like.device, dtype=torch.float32) * 4 / dim)
    halves = []
    for places in (rows, columns):
        middle = (torch.arange(places, device=like.device, dtype=torch.float32) + 0.5) / places
        angles = 2 * math.pi * middle[:, None] * frequencies
        halves.append(torch.cat([angles.sin(), angles.cos()], dim=1))
    y_hE, x_wE = halves
    both = torch.cat([y_hE[:, None].expand(-1, columns, -1), x_wE[None].expand(rows, -1, -1)], dim=2)
    return both.flatten(0, 1).to(like.dtype)


def group_norm(dim: int) -> nn.GroupNorm:
    """Groups of eight channels: 32 of them for the papers' 256."""
    return nn.GroupNorm(max(dim // 8, 1), dim)


def in_pixels(raw: Tensor, images: Tensor) -> Tensor:
    """What a box head says → x1, y1, x2, y2 in pixels, in single precision at least.

    Args:
        raw: (..., 4) logits of cx, cy, w, h, as shares of the image.
        images: (B, C, H, W).

    Returns:
        (..., 4).
    """
    wide = raw.to(torch.promote_types(raw.dtype, torch.float32))
    height, width = images.shape[2:]
    return centers_to_corners(wide.sigmoid()) * wide.new_tensor([width, height, width, height])


def all_layers(outputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """What a `forward` returns → (B, L, Q, N) logits in single precision, (B, L, Q, 4) boxes, by layer."""
    logits, boxes, earlier_logits, earlier_boxes = outputs
    logits = torch.cat((earlier_logits, logits[:, None]), 1)
    return (
        logits.to(torch.promote_types(logits.dtype, torch.float32)),
        torch.cat((earlier_boxes, boxes[:, None]), 1),
    )


def best_first(
    boxes: Tensor, scores: Tensor, labels: Tensor, *, score_threshold: float, max_detections: int
) -> list[Detections]:
    """(B, n, 4) boxes, (B, n) scores and labels → those above the threshold, at most so many, best first."""
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    boxes, labels = boxes.gather(1, order[..., None].expand(-1, -1, 4)), labels.gather(1, order)
    counts = (scores > score_threshold).sum(1).clamp(max=max_detections).tolist()
    return [Detections(boxes[i, :n], scores[i, :n], labels[i, :n]) for i, n in enumerate(counts)]


def check_transformer(
    name: str, *, hidden_dim: int, num_heads: int, dropout: float, at_least: Mapping[str, tuple[int, int]]
) -> None:
    """Refuse parameters that cannot be; `at_least` gives the value and the smallest one allowed of others.

    Raises:
        ParameterError: everything that is wrong, at once.
    """
    problems = [
        f"{key} is at least {least}, got {value}" for key, (value, least) in at_least.items() if value < least
    ]
    if num_heads < 1 or hidden_dim < 8 or hidden_dim % 8 or hidden_dim % max(num_heads, 1):
        problems.append(
            f"hidden_dim is a multiple of 8 and of num_heads, got {hidden_dim} and {num_heads} heads"
        )
    if not 0.0 <= dropout < 1.0:
        problems.append(f"dropout is from 0 to below 1, got {dropout}")
    if problems:
        raise ParameterError(f"{name}: {'; '.join(problems)}.", problems=problems)
