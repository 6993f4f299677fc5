"""The parts that vision transformers are put together from: attention, feed-forwards, stems, pools.

Sources: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words" (the block); Touvron et al. 2021, "Going
deeper with Image Transformers" (LayerScale); Dehghani et al. 2023, "Scaling Vision Transformers to 22 Billion
Parameters" (query/key norm); Shleifer et al. 2021, "NormFormer" (a norm after attention and within the
feed-forward); Shazeer 2020, "GLU Variants Improve Transformer" (SwiGLU); Puigcerver et al. 2023, "From Sparse
to Soft Mixtures of Experts"; Touvron et al. 2022, "Three things everyone should know about Vision
Transformers" (hierarchical stem); Zhai et al. 2022, "Scaling Vision Transformers" (attention pool); Psomas et
al. 2025, "Attention, Please!" (efficient probing). Parameter names are those of Birder's checkpoints.

Legend of shapes: B images, T tokens, D width, N heads, d = D / N, F inner width of the feed-forward.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holotype.vision.models.interface import DropPath
from holotype.vision.models.rope import Rotate

Norm = Callable[[int], nn.Module]
"""Makes a norm of a width."""


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``, the approximation of CLIP's published weights."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape → the same."""
        return x * torch.sigmoid(1.702 * x)


class Chain(nn.Sequential):
    """One layer after another; without gradients, a GELU takes the place of what the linear layer made.

    The inner tensor of a feed-forward is the largest there is, and a second one costs more than the GELU.
    Where a hook is on either layer, and may keep what it sees, nothing is overwritten.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) → (..., D')."""
        alone = not torch.is_grad_enabled() and not torch.compiler.is_compiling()
        before: nn.Module | None = None
        for layer in self:
            ours = (
                alone and type(layer) is nn.GELU and type(before) is nn.Linear and not _hooked(before, layer)
            )
            if ours:
                x = torch.ops.aten.gelu_(x, approximate=layer.approximate)
            else:
                x = layer(x)
            before = layer
        return x


def _hooked(*layers: nn.Module) -> bool:
    """Does anything look at what goes in or comes out of a layer?"""
    everywhere = nn.modules.module._global_forward_hooks or nn.modules.module._global_forward_pre_hooks
    return bool(everywhere) or any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers)


class LayerScale(nn.Module):
    """A learned factor for each channel of a residual branch."""

    def __init__(self, dim: int, value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), float(value)))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) → (..., D)."""
        return x * self.gamma


class Attention(nn.Module):
    """Multi-head self-attention; see the sources above."""

    def __init__(self, dim: int, heads: int, *, qk_norm: Norm | None, norm: Norm | None) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm = qk_norm(dim // heads) if qk_norm else nn.Identity()
        self.k_norm = qk_norm(dim // heads) if qk_norm else nn.Identity()
        self.norm = norm(dim) if norm else nn.Identity()
        self.proj = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor, rope: Rotate | None = None, special: int = 0) -> Tensor:
        """(B, T, D) → (B, T, D); with `rope`, patches after the `special` first tokens are turned."""
        q_BNTd, k_BNTd, v_BNTd = self._projected(x_BTD, rope, special)
        y_BTD = F.scaled_dot_product_attention(q_BNTd, k_BNTd, v_BNTd).transpose(1, 2).flatten(2)
        out: Tensor = self.proj(self.norm(y_BTD))
        return out

    def weights(self, x_BTD: Tensor, rope: Rotate | None = None, special: int = 0) -> Tensor:
        """(B, N, T, T): how much each token takes from each, which the fused kernel of `forward` hides."""
        q_BNTd, k_BNTd, _ = self._projected(x_BTD, rope, special)
        scores = q_BNTd.float() @ k_BNTd.float().transpose(2, 3) * q_BNTd.shape[3] ** -0.5
        out: Tensor = scores.softmax(3)
        return out

    def _projected(self, x_BTD: Tensor, rope: Rotate | None, special: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, N, T, d)."""
        batch, tokens, dim = x_BTD.shape
        qkv = self.qkv(x_BTD).reshape(batch, tokens, 3, self.heads, dim // self.heads)
        q_BNTd, k_BNTd, v_BNTd = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        q_BNTd, k_BNTd = self.q_norm(q_BNTd), self.k_norm(k_BNTd)
        if rope is not None:
            q_BNTd, k_BNTd = rope(q_BNTd, special), rope(k_BNTd, special)
        return q_BNTd, k_BNTd, v_BNTd


def feed_forward(dim: int, inner: int, activation: Callable[[], nn.Module] = nn.GELU) -> Chain:
    """Linear, activation, Linear. Two places stand for dropouts, so that names fit the checkpoints."""
    return Chain(nn.Linear(dim, inner), activation(), nn.Identity(), nn.Linear(inner, dim), nn.Identity())


class SwiGLU(nn.Module):
    """``fc2(norm(silu(fc1_g(x)) * fc1_x(x)))``; the norm only in NormFormer's form."""

    def __init__(self, dim: int, inner: int, norm: Norm | None = None) -> None:
        super().__init__()
        self.fc1_g = nn.Linear(dim, inner)
        self.fc1_x = nn.Linear(dim, inner)
        self.norm = norm(inner) if norm else nn.Identity()
        self.fc2 = nn.Linear(inner, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) → (..., D)."""
        out: Tensor = self.fc2(self.norm(F.silu(self.fc1_g(x)) * self.fc1_x(x)))
        return out


class SoftMixtureOfExperts(nn.Module):
    """Every expert works on a few slots, each a weighted mean of all tokens.

    Puigcerver et al. 2023, section 2.1. Slots are learned vectors; tokens and slots are RMS-normalised before
    they are compared.
    """

    def __init__(
        self, dim: int, inner: int, experts: int, slots: int, activation: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        self.slot_embeds = nn.Parameter(torch.empty(experts, slots, dim).normal_(std=0.02))
        self.experts = nn.ModuleList(feed_forward(dim, inner, activation) for _ in range(experts))
        self.token_norm = nn.RMSNorm(dim, eps=1e-6)
        self.slot_norm = nn.RMSNorm(dim, eps=1e-6)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        slots_SD = self.slot_norm(self.slot_embeds).flatten(0, 1)
        logits_BTS = self.token_norm(x_BTD) @ slots_SD.T
        inputs_BSD = logits_BTS.softmax(1).transpose(1, 2) @ x_BTD
        groups = inputs_BSD.chunk(len(self.experts), dim=1)
        outputs = [expert(group) for expert, group in zip(self.experts, groups, strict=True)]
        out: Tensor = logits_BTS.softmax(2) @ torch.cat(outputs, dim=1)
        return out


class Block(nn.Module):
    """``x + f(norm(x))``, once for attention and once for the feed-forward."""

    def __init__(
        self,
        dim: int,
        attention: Attention,
        mlp: nn.Module,
        norm: Norm,
        *,
        layer_scale: float | None,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.norm1 = norm(dim)
        self.attn = attention
        self.layer_scale_1 = LayerScale(dim, layer_scale) if layer_scale is not None else nn.Identity()
        self.norm2 = norm(dim)
        self.mlp = mlp
        self.layer_scale_2 = LayerScale(dim, layer_scale) if layer_scale is not None else nn.Identity()
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BTD: Tensor, rope: Rotate | None = None, special: int = 0) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        x_BTD = x_BTD + self.drop_path(self.layer_scale_1(self.attn(self.norm1(x_BTD), rope, special)))
        out: Tensor = x_BTD + self.drop_path(self.layer_scale_2(self.mlp(self.norm2(x_BTD))))
        return out


class HierarchicalStem(nn.Sequential):
    """Patches of 4, then twice a merge of 2 x 2, each with a norm and a GELU.

    Touvron et al. 2022, section 5.
    """

    def __init__(self, in_channels: int, dim: int, patch: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__(
            nn.Conv2d(in_channels, dim // 4, 4, 4),
            norm(dim // 4),
            nn.GELU(),
            nn.Conv2d(dim // 4, dim // 4, patch // 8, patch // 8),
            norm(dim // 4),
            nn.GELU(),
            nn.Conv2d(dim // 4, dim, 2, 2),
            norm(dim),
        )


class ChannelNorm(nn.LayerNorm):
    """A layer norm over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class AttentionPool(nn.Module):
    """One learned query looks at all tokens, then a feed-forward (Zhai et al. 2022, section 3.2)."""

    def __init__(self, dim: int, heads: int, inner: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.latent = nn.Parameter(torch.empty(1, 1, dim).normal_(std=dim**-0.5))
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, eps=eps)
        self.mlp = feed_forward(dim, inner)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) → (B, D)."""
        batch, tokens, dim = x_BTD.shape
        width = dim // self.heads
        q = self.q(self.latent).reshape(1, 1, self.heads, width).transpose(1, 2).expand(batch, -1, -1, -1)
        k, v = self.kv(x_BTD).reshape(batch, tokens, 2, self.heads, width).permute(2, 0, 3, 1, 4).unbind(0)
        y_B1D = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        out: Tensor = (y_B1D + self.mlp(self.norm(y_B1D)))[:, 0]
        return out


class EfficientProbing(nn.Module):
    """Learned queries weigh tokens, each for its own share of the channels.

    Psomas et al. 2025, section 3.3.
    """

    def __init__(self, dim: int, queries: int = 32) -> None:
        super().__init__()
        self.latent = nn.Parameter(torch.empty(1, queries, dim).normal_(std=dim**-0.5))
        self.v = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) → (B, D)."""
        batch, tokens, dim = x_BTD.shape
        queries = self.latent.shape[1]
        weights_BQT = (self.latent @ x_BTD.transpose(1, 2) * dim**-0.5).softmax(-1)
        v_BQTc = self.v(x_BTD).reshape(batch, tokens, queries, dim // queries).transpose(1, 2)
        out: Tensor = (weights_BQT.unsqueeze(2) @ v_BQTc).flatten(1)
        return out
