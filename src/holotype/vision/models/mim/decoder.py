"""The decoder of masked autoencoders: mask tokens join what the encoder saw, and a few blocks paint.

Source: He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners", section 3, "MAE decoder" and
"Simple implementation", and appendix A.1 (fixed sine-cosine positions). The blocks are those of
`vit_parts.py`.

Legend of shapes: B images, S special tokens, K places that are seen, T = h w places, E width of the encoder,
D width of the decoder.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from holotype.errors import ParameterError
from holotype.vision.models.vit_parts import Attention, Block, feed_forward


class MaskedDecoder(nn.Module):
    """A narrow transformer over all places of an image.

    Args:
        before: E.
        width: D, a multiple of 4 and of `heads`.
        layers: blocks.
        heads: of each attention.
        after: what is predicted of each place.

    Raises:
        ParameterError: a number out of range.
    """

    def __init__(self, before: int, *, width: int, layers: int, heads: int, after: int) -> None:
        super().__init__()
        if min(width, layers, heads) < 1 or width % 4 or width % heads:
            raise ParameterError(
                f"decoder_dim={width} is a multiple of 4 and of decoder_heads={heads}, "
                f"and decoder_layers={layers} at least 1."
            )
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.embed = nn.Linear(before, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width).normal_(std=0.02))
        self.blocks = nn.ModuleList(
            Block(
                width,
                Attention(width, heads, qk_norm=None, norm=None),
                feed_forward(width, 4 * width),
                norm,
                layer_scale=None,
                drop_path=0.0,
            )
            for _ in range(layers)
        )
        self.norm = norm(width)
        self.predict = nn.Linear(width, after)
        self.apply(_init_weights)

    def forward(self, seen: Tensor, keep: Tensor, grid: tuple[int, int]) -> Tensor:
        """Paint every place.

        Args:
            seen: (B, S + K, E), special tokens first.
            keep: (B, K) places of the others.
            grid: (h, w).

        Returns:
            (B, T, after).
        """
        x_BTD = self.embed(seen).to(self.mask_token.dtype)  # under autocast, sums stay in single precision
        special = x_BTD.shape[1] - keep.shape[1]
        batch, _, width = x_BTD.shape
        places = self.mask_token.expand(batch, grid[0] * grid[1], width)
        places = places.scatter(1, keep[..., None].expand(-1, -1, width), x_BTD[:, special:])
        places = places + sine_cosine(grid, width, like=places)
        x_BTD = torch.cat([x_BTD[:, :special], places], dim=1)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        out: Tensor = self.predict(self.norm(x_BTD[:, special:]))
        return out


def sine_cosine(grid: tuple[int, int], width: int, *, like: Tensor) -> Tensor:
    """(T, D) positions: a quarter of the channels each for sine and cosine of the row, and of the column.

    Vaswani et al. 2017, "Attention Is All You Need", section 3.5, for each axis. `like`: dtype and device.
    """
    bands = torch.arange(width // 4, dtype=torch.float32, device=like.device)
    frequencies = 10000.0 ** (-bands / (width // 4))
    rows, columns = (
        torch.arange(n, dtype=torch.float32, device=like.device)[:, None] * frequencies for n in grid
    )
    of_rows = torch.cat([rows.sin(), rows.cos()], dim=1)[:, None].expand(-1, grid[1], -1)
    of_columns = torch.cat([columns.sin(), columns.cos()], dim=1)[None].expand(grid[0], -1, -1)
    return torch.cat([of_rows, of_columns], dim=2).flatten(0, 1).to(like.dtype)


def _init_weights(module: nn.Module) -> None:
    """Truncated normal linear layers, sd 0.02; biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
