"""Scaled dot-product attention with dropout on its weights, on a CPU, in little memory.

torch's fast attention for CPUs has no dropout; with dropout, torch reads the (L, L) weights of every head
several times, keeps them for the gradient, and draws its random numbers one by one. That is most of the
training time of `v2`. Here the weights are computed in blocks that fit the cache, discarded, and computed
again for the gradient, as in Dao et al. 2022, "FlashAttention", algorithm 4; a random number is one byte.

Differs from `torch.nn.functional.scaled_dot_product_attention`: the probability is rounded to a
multiple of 1/256, and there is no second derivative.

Shapes: B pairs; N heads; Lq, Lk residues; C queries at a time; h = H / N.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_LEVELS = 256  # values of a random byte
_WEIGHTS_AT_ONCE = 2**19


def attention(q_BNLh: Tensor, k_BNLh: Tensor, v_BNLh: Tensor, padding_BL: Tensor, dropout: float) -> Tensor:
    """Attend to the residues that are not padding.

    Args:
        q_BNLh: (B, N, Lq, h).
        k_BNLh: (B, N, Lk, h), finite everywhere.
        v_BNLh: (B, N, Lk, h), finite everywhere.
        padding_BL: (B, Lk), True where keys are padding; each row has at least one that is not.
        dropout: the probability of dropping a weight; 0 in evaluation.

    Returns:
        (B, N, Lq, h).
    """
    level = round(dropout * _LEVELS)
    if q_BNLh.is_cpu and 0 < level < _LEVELS and not torch.compiler.is_compiling():
        out: Tensor = _DropoutAttention.apply(q_BNLh, k_BNLh, v_BNLh, padding_BL, level)  # type: ignore[no-untyped-call]
        return out
    return F.scaled_dot_product_attention(
        q_BNLh, k_BNLh, v_BNLh, attn_mask=padding_BL.logical_not()[:, None, None, :], dropout_p=dropout
    )


class _DropoutAttention(torch.autograd.Function):
    """The gradient is that of Dao et al. 2022, appendix B.4; the random bytes are drawn again for it."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, padding: Tensor, level: int) -> Tensor:
        seed = int(torch.randint(2**62, ()))
        out = torch.empty(q.shape[:-1] + v.shape[-1:], dtype=v.dtype)
        for number, (at, rows, keys, hidden) in enumerate(_blocks(q, padding)):
            weights = _weights(q[at, :, rows], k[at, :, keys], hidden)
            weights *= _kept(weights, level, seed + number)
            out[at, :, rows] = torch.bmm(weights.to(v.dtype), v[at, :, keys])
        out *= _LEVELS / (_LEVELS - level)
        ctx.save_for_backward(q, k, v, padding, out)
        ctx.level, ctx.seed = level, seed
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, padding, out = ctx.saved_tensors
        scale = q.shape[-1] ** -0.5
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        inner_BNL1 = (grad * out).sum(-1, keepdim=True)
        grad = grad * (_LEVELS / (_LEVELS - ctx.level))
        for number, (at, rows, keys, hidden) in enumerate(_blocks(q, padding)):
            weights = _weights(q[at, :, rows], k[at, :, keys], hidden)
            kept = _kept(weights, ctx.level, ctx.seed + number).to(weights.dtype)
            grad_NCh = grad[at, :, rows]
            grad_v[at, :, keys] += torch.bmm((weights * kept).to(v.dtype).mT, grad_NCh)
            change = torch.bmm(grad_NCh, v[at, :, keys].mT).mul_(kept).sub_(inner_BNL1[at, :, rows])
            change = change.mul_(weights).mul_(scale).to(q.dtype)
            grad_q[at, :, rows] = torch.bmm(change, k[at, :, keys])
            grad_k[at, :, keys] += torch.bmm(change.mT, q[at, :, rows])
        return grad_q, grad_k, grad_v, None, None


def _blocks(q: Tensor, padding: Tensor) -> Iterator[tuple[int, slice, slice, Tensor | None]]:
    """Blocks of each protein: as many queries at a time as their weights allow.

    A block has the keys without the padding at their end, and the mask of padding among them, if any.
    """
    heads, length = q.shape[1:3]
    places = torch.arange(1, padding.shape[1] + 1)
    ends = (places * padding.logical_not()).amax(1).tolist() if len(padding) else []
    for at, (end, own) in enumerate(zip(ends, padding, strict=True)):
        keys = slice(0, end)
        hidden = own[keys] if bool(own[keys].any()) else None
        at_once = max(1, _WEIGHTS_AT_ONCE // max(1, heads * end))
        for start in range(0, length, at_once):
            yield at, slice(start, start + at_once), keys, hidden


def _weights(q_NCh: Tensor, k_NLh: Tensor, hidden_L: Tensor | None) -> Tensor:
    """(N, C, Lk) in float32 at least."""
    scores = torch.bmm(q_NCh * q_NCh.shape[-1] ** -0.5, k_NLh.mT)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if hidden_L is not None:
        scores = scores.masked_fill_(hidden_L, float("-inf"))
    return scores.softmax(-1)


def _kept(weights: Tensor, level: int, seed: int) -> Tensor:
    """Which weights are kept, in the shape of `weights`; the same for the same seed."""
    count = weights.numel()
    generator = torch.Generator().manual_seed(seed)
    words = torch.empty(-(-count // 8), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    return (words.view(torch.uint8)[:count] >= level).view(weights.shape)
