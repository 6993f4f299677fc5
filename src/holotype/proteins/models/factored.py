"""The interaction head over all pairs of two sets of proteins, its first layer computed once per protein.

The first layer of the head is linear, and its input is [a, b]: W [a, b] + c = (Wa a + c) + (Wb b) = u + v. So
u and v are made once for each protein, and a pair begins with their sum. The norm that follows needs no pass
over that sum either: with u and v centred, its variance is (|u|² + |v|² + 2 u·v) / H, where u·v for all pairs
is one matrix product; and since the deviation d is positive, relu(x / d + bias) = relu(x + d bias) / d, so
that the division can follow the second layer. With ``symmetry="sum"``, only the part for a + b is split.

Everything is computed in the dtype of the vectors; the result differs from `interaction_logits` by rounding.

Shapes: A, B proteins of the two sides; P pairs; C pairs at a time; H hidden width; F = H / 2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holotype.proteins.models.blocks import Symmetry

_LAYERS = (
    nn.Linear,
    nn.LayerNorm,
    nn.ReLU,
    nn.Dropout,
    nn.Linear,
    nn.LayerNorm,
    nn.ReLU,
    nn.Dropout,
    nn.Linear,
)
# Pairs at a time: for a CPU, what fits its cache; for an accelerator, what keeps it busy.
_AT_ONCE = {"cpu": 2048}
_AT_ONCE_ELSEWHERE = 2**17
# Below this share of |u|² + |v|² the variance is computed from the sum itself, because the difference of
# large numbers loses its digits.
_CANCELLED = 1e-2


class _Layers(NamedTuple):
    """The layers of an `interaction_layer` that have parameters."""

    first: nn.Linear
    first_norm: nn.LayerNorm
    second: nn.Linear
    second_norm: nn.LayerNorm
    last: nn.Linear


def _layers(head: nn.Sequential) -> _Layers:
    return _Layers(*(head[at] for at in (0, 1, 4, 5, 8)))  # type: ignore[arg-type]  # `can_factor` looks


def can_factor(head: nn.Module, enc: Tensor, symmetry: Symmetry) -> bool:
    """Whether `head` is an evaluating `interaction_layer` for `symmetry`, and `enc` precise enough."""
    if (
        not isinstance(head, nn.Sequential)
        or head.training
        or enc.dtype not in (torch.float32, torch.float64)
    ):
        return False
    if tuple(type(layer) for layer in head) != _LAYERS:
        return False
    return _layers(head).first.in_features == (3 if symmetry == "sum" else 2) * enc.shape[-1]


def prepare(head: nn.Sequential, enc_NH: Tensor, symmetry: Symmetry) -> tuple[Tensor, ...]:
    """Compute what the head needs of each protein.

    Args:
        head: an `interaction_layer`, see `can_factor`.
        enc_NH: (N, H) vectors of proteins.
        symmetry: as the head was made for.

    Returns:
        Tensors whose first dimension is N.
    """
    linear, norm = _layers(head)[:2]
    width = enc_NH.shape[-1]
    if symmetry == "sum":
        # Half the bias for each side, so that it counts once in every pair.
        return enc_NH, F.linear(enc_NH, linear.weight[:, :width], linear.bias / 2)
    sides = []
    for weight, bias in ((linear.weight[:, :width], linear.bias), (linear.weight[:, width:], None)):
        part_NH = F.linear(enc_NH, weight, bias)
        part_NH = part_NH - part_NH.mean(-1, keepdim=True)
        sides += [part_NH, part_NH * norm.weight, part_NH.square().sum(-1)]
    return tuple(sides)


def score_each(
    head: nn.Sequential, a: tuple[Tensor, ...], b: tuple[Tensor, ...], symmetry: Symmetry
) -> Tensor:
    """(P,) logits of pairs: row p of `a` with row p of `b`, as `prepare` made them."""
    if symmetry == "sum":
        return _after_first(head, _first_of_sum(head, a[0], b[0], a[1] + b[1]))
    logits_P = _after_first(head, a[0] + b[3])
    if symmetry == "average":
        logits_P = (logits_P + _after_first(head, b[0] + a[3])) / 2
    return logits_P


def score_block(
    head: nn.Sequential, a: tuple[Tensor, ...], b: tuple[Tensor, ...], symmetry: Symmetry
) -> Tensor:
    """(A, B) logits of every pair of a protein of `a` with one of `b`, as `prepare` made them."""
    if symmetry == "sum":
        return _sum_block(head, a, b)
    logits_AB = _block(head, a[:3], b[3:])
    if symmetry == "average":
        logits_AB = (logits_AB + _block(head, a[3:], b[:3])) / 2
    return logits_AB


def _block(head: nn.Sequential, a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> Tensor:
    _, norm, second, *_ = _layers(head)
    a_AH, scaled_AH, square_A = a
    b_BH, scaled_BH, square_B = b
    width = a_AH.shape[-1]
    both_AB = square_A[:, None] + square_B
    variance_AB = torch.addmm(both_AB, a_AH, b_BH.T, alpha=2)
    for row, column in (variance_AB < _CANCELLED * both_AB).nonzero().tolist():
        variance_AB[row, column] = (a_AH[row] + b_BH[column]).square().sum()
    deviation_AB = (variance_AB / width + norm.eps).sqrt_()
    shifted = bool(norm.bias.any())
    logits_AB = torch.empty_like(deviation_AB)
    weight = second.weight.T.contiguous()
    for rows, columns in _tiles(logits_AB):
        deviation_C1 = deviation_AB[rows, columns].reshape(-1, 1)
        x_CH = (scaled_AH[rows, None] + scaled_BH[None, columns]).view(-1, width)
        if shifted:
            x_CH.addcmul_(deviation_C1, norm.bias)
        z_CF = torch.mm(x_CH.relu_(), weight)
        torch.addcdiv(second.bias, z_CF, deviation_C1, out=z_CF)
        logits_AB[rows, columns] = _after_second(head, z_CF).view(rows.stop - rows.start, -1)
    return logits_AB


def _sum_block(head: nn.Sequential, a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> Tensor:
    (a_AH, part_AH), (b_BH, part_BH) = a, b
    logits_AB = a_AH.new_empty(len(a_AH), len(b_BH))
    width = a_AH.shape[-1]
    for rows, columns in _tiles(logits_AB):
        part_CH = (part_AH[rows, None] + part_BH[None, columns]).view(-1, width)
        x_CH = _first_of_sum(head, a_AH[rows, None], b_BH[None, columns], part_CH)
        logits_AB[rows, columns] = _after_first(head, x_CH).view(rows.stop - rows.start, -1)
    return logits_AB


def _first_of_sum(head: nn.Sequential, a: Tensor, b: Tensor, part_CH: Tensor) -> Tensor:
    """Add to the part for a + b those for |a - b| and a * b; (C, H)."""
    weight, width = _layers(head).first.weight, a.shape[-1]
    part_CH.addmm_((a - b).abs_().view(-1, width), weight[:, width : 2 * width].T)
    return part_CH.addmm_((a * b).view(-1, width), weight[:, 2 * width :].T)


def _after_first(head: nn.Sequential, x_CH: Tensor) -> Tensor:
    _, norm, second, *_ = _layers(head)
    x_CH = F.layer_norm(x_CH, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    return _after_second(head, F.linear(x_CH.relu_(), second.weight, second.bias))


def _after_second(head: nn.Sequential, z_CF: Tensor) -> Tensor:
    *_, norm, last = _layers(head)
    z_CF = F.layer_norm(z_CF, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    return torch.addmv(last.bias, z_CF.relu_(), last.weight[0])


def _tiles(logits_AB: Tensor) -> list[tuple[slice, slice]]:
    """Rectangles that cover the block, each of a limited number of pairs."""
    count_A, count_B = logits_AB.shape
    at_once = _AT_ONCE.get(logits_AB.device.type, _AT_ONCE_ELSEWHERE)
    wide = min(count_B, at_once) or 1
    high = max(1, at_once // wide)
    return [
        (slice(top, min(top + high, count_A)), slice(left, min(left + wide, count_B)))
        for top in range(0, count_A, high)
        for left in range(0, count_B, wide)
    ]
