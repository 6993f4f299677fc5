"""I-JEPA: from one block of an image, predict the representations of others.

Source: Assran et al. 2023, "Self-Supervised Learning from Images with a Joint-Embedding Predictive
Architecture", section 3 and appendix A.1. Differs: targets are layer-normalised, so that small
representations are no way to a small loss; the error may be smooth L1.

Legend of shapes: B images, C channels, H and W pixels, N = h w patches, K patches of the context, M target
blocks, T patches of each, D width of the encoder, E width of the predictor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holotype.errors import ParameterError
from holotype.vision import register_model
from holotype.vision.models.interface import ImageClassifier, one_of
from holotype.vision.models.ssl.interface import (
    SelfSupervisedModel,
    check_positive,
    check_share,
    vision_transformer,
    wide,
)
from holotype.vision.models.ssl.teacher import Teacher, linear
from holotype.vision.models.vit import ViT
from holotype.vision.models.vit_parts import Attention, Block, feed_forward


class Predictor(nn.Module):
    """A narrow transformer: from patches of a context, the representations at other places.

    Args:
        width: D.
        grid: (h, w).
        dim: E.
        layers: blocks.
        heads: of each attention.
    """

    position: Tensor

    def __init__(self, width: int, grid: tuple[int, int], dim: int, layers: int, heads: int) -> None:
        super().__init__()
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.before = nn.Linear(width, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.register_buffer("position", sine_positions(grid, dim))
        self.blocks = nn.ModuleList(
            Block(
                dim,
                Attention(dim, heads, qk_norm=None, norm=None),
                feed_forward(dim, 4 * dim),
                norm,
                layer_scale=None,
                drop_path=0.0,
            )
            for _ in range(layers)
        )
        self.norm = norm(dim)
        self.after = nn.Linear(dim, width)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, context_BKD: Tensor, context_BK: Tensor, targets_BMT: Tensor) -> Tensor:
        """Each target block is predicted by itself.

        Args:
            context_BKD: what the encoder says of the context.
            context_BK: the places of its patches.
            targets_BMT: the places to predict.

        Returns:
            (B, M, T, D).
        """
        blocks, count = targets_BMT.shape[1:]
        context_BKE = self.before(context_BKD) + self.position[context_BK]
        asked_XTE = self.mask_token + self.position[targets_BMT.flatten(0, 1)]
        x_XTE = torch.cat([context_BKE.repeat_interleave(blocks, 0), asked_XTE.to(context_BKE.dtype)], dim=1)
        for block in self.blocks:
            x_XTE = block(x_XTE)
        out_XTD: Tensor = self.after(self.norm(x_XTE[:, -count:]))
        return out_XTD.view(-1, blocks, count, out_XTD.shape[-1])


@register_model(
    "i_jepa",
    description="I-JEPA: from a block of context, predict the representations of target blocks",
    features=["one view", "no augmentation", "moving-average teacher", "vision transformers only"],
    complexity="high",
    paper_reference="Assran et al. 2023, arXiv 2301.08243",
)
class I_JEPA(SelfSupervisedModel):  # noqa: N801  # the name that its users know
    """Context encoder, predictor, and a target encoder that is the moving average of the first.

    The paper's encoders have no class token; one is allowed and takes part in attention, but no loss is on
    it. `embedding` is the mean over patches all the same.

    Args:
        in_channels: C.
        size: of the images.
        encoder: a vision transformer without attention pool, or a pretrained entry of one.
        encoder_params: further parameters of the architecture.
        predictor_dim: E, a multiple of 4 and of `predictor_heads`.
        predictor_layers: its blocks.
        predictor_heads: heads of each of its attentions.
        target_blocks: M.
        target_scale: the least and the largest share of the image in a target block.
        target_aspect: the least and the largest height of one by its width.
        context_scale: the least and the largest share of the image in the context, before targets are
            taken from it.
        loss_type: ``"smooth_l1"`` or ``"l2"``.
        momentum: of the target encoder at the beginning; in a straight line it grows to 1.

    Raises:
        ParameterError: a number is out of range, or the encoder is not a vision transformer of this zoo.
    """

    capabilities: ClassVar[frozenset[str]] = SelfSupervisedModel.capabilities | {"trains_otherwise"}
    small_parameters: ClassVar[Mapping[str, object]] = {
        **SelfSupervisedModel.small_parameters,
        "encoder": "vit_t16_avg",
        "predictor_dim": 16,
        "predictor_layers": 2,
        "predictor_heads": 2,
    }
    views = "one"
    least_patches = 4
    encoder: ViT

    def __init__(
        self,
        in_channels: int = 3,
        size: int | tuple[int, int] = 224,
        *,
        encoder: str = "vit_b16_avg",
        encoder_params: dict[str, Any] | None = None,
        predictor_dim: int = 384,
        predictor_layers: int = 6,
        predictor_heads: int = 12,
        target_blocks: int = 4,
        target_scale: tuple[float, float] = (0.15, 0.2),
        target_aspect: tuple[float, float] = (0.75, 1.5),
        context_scale: tuple[float, float] = (0.85, 1.0),
        loss_type: Literal["smooth_l1", "l2"] = "smooth_l1",
        momentum: float = 0.996,
    ) -> None:
        check_positive(
            "i_jepa",
            predictor_dim=predictor_dim,
            predictor_layers=predictor_layers,
            predictor_heads=predictor_heads,
            target_blocks=target_blocks,
        )
        check_share("i_jepa", momentum=momentum)
        if predictor_dim % 4 or predictor_dim % predictor_heads:
            raise ParameterError(
                f"i_jepa: predictor_dim is a multiple of 4 and of predictor_heads={predictor_heads}, "
                f"got {predictor_dim}.",
                given=predictor_dim,
            )
        limits = {
            "target_scale": target_scale,
            "target_aspect": target_aspect,
            "context_scale": context_scale,
        }
        for name, (least, most) in limits.items():
            if not 0 < least <= most or (name != "target_aspect" and most > 1):
                raise ParameterError(f"i_jepa: {name} is the least and the largest, got {least}, {most}.")
        super().__init__(in_channels, size, encoder, encoder_params)
        vision_transformer("i_jepa", self.encoder, least_patches=self.least_patches)
        if self.encoder.attn_pool is not None:
            raise ParameterError(
                "i_jepa teaches patches: an attention pool would learn nothing.",
                given=encoder,
                hint="Use an encoder that averages: encoder='vit_b16_avg'.",
            )
        # Of use only after pooling, which no loss is on.
        self.encoder.embedding_norm.requires_grad_(False)
        self.target_scale, self.target_aspect = target_scale, target_aspect
        self.context_scale, self.target_blocks = context_scale, target_blocks
        self.error = one_of({"smooth_l1": F.smooth_l1_loss, "l2": F.mse_loss}, loss_type, "loss_type")
        self.momentum = momentum
        self.predictor = Predictor(
            self.encoder.num_features, self.encoder.grid, predictor_dim, predictor_layers, predictor_heads
        )
        self.teacher = Teacher(self._student())

    def _student(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder}

    @property
    def trained_encoder(self) -> ImageClassifier:
        """The target encoder (appendix A.1)."""
        return self.teacher.encoder

    def embedding(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, D), the mean over the patches of the target encoder (appendix A.1)."""
        encoder: Any = self.teacher.encoder
        mean_BD = encoder.tokens(images)[:, encoder.num_special_tokens :].mean(1)
        out: Tensor = encoder.embedding_norm(mean_BD)
        return out

    def adjust_size(self, size: int | tuple[int, int]) -> None:
        """Make it for images of another size: encoders and predictor."""
        super().adjust_size(size)
        before = self.predictor.position
        self.predictor.position = sine_positions(self.encoder.grid, before.shape[1]).to(before)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, D), the mean prediction for the second half of rows from the first."""
        rows, columns = self.encoder.grid
        places = torch.arange(rows * columns, device=images.device).expand(len(images), -1)
        half = max(rows // 2, 1) * columns if rows > 1 else columns // 2
        return self.predict(images, places[:, :half], places[:, None, half:]).mean((1, 2))

    def predict(self, images: Tensor, context_BK: Tensor, targets_BMT: Tensor) -> Tensor:
        """(B, C, H, W) images, places of context and targets → (B, M, T, D)."""
        x_BTD = self.encoder.tokens(images, keep=context_BK)
        out: Tensor = self.predictor(x_BTD[:, self.encoder.num_special_tokens :], context_BK, targets_BMT)
        return out

    def loss(self, views: Sequence[Tensor]) -> Tensor:
        """The error of the predictions (section 3, "Loss"); see `SelfSupervisedModel.loss`.

        Blocks are drawn at random.
        """
        self.check_views(views)
        (images,) = views
        context_BK, targets_BMT = (
            places.to(images.device)
            for places in random_blocks(
                len(images),
                self.encoder.grid,
                blocks=self.target_blocks,
                target_scale=self.target_scale,
                target_aspect=self.target_aspect,
                context_scale=self.context_scale,
            )
        )
        with torch.no_grad():
            encoder: Any = self.teacher.encoder
            whole_BND = encoder.tokens(images)[:, encoder.num_special_tokens :]
            whole_BND = F.layer_norm(wide(whole_BND), whole_BND.shape[-1:])
            image_B11 = torch.arange(len(images), device=images.device)[:, None, None]
            wanted_BMTD = whole_BND[image_B11, targets_BMT]
        return self.error(wide(self.predict(images, context_BK, targets_BMT)), wanted_BMTD)

    def after_step(self, done: float) -> None:
        """The target encoder follows; its momentum grows in a straight line (appendix A.1)."""
        self.teacher.follow(self._student(), linear(self.momentum, 1.0, done))

    def reset_teacher(self) -> None:
        """Make the target encoder equal to the context encoder."""
        self.teacher.copy_from(self._student())


def random_blocks(
    images: int,
    grid: tuple[int, int],
    *,
    blocks: int,
    target_scale: tuple[float, float],
    target_aspect: tuple[float, float],
    context_scale: tuple[float, float],
) -> tuple[Tensor, Tensor]:
    """Places of the context's patches and of the target blocks', by torch's random numbers on the CPU.

    Shapes are drawn once for the batch, positions for each image; targets are taken from the context, and
    patches of it at random until all images have as many (section 3, "Targets" and "Context").

    Args:
        images: B.
        grid: (h, w), of four patches at least.
        blocks: M; they may overlap.
        target_scale: shares of the image that one may have.
        target_aspect: heights of one by its width.
        context_scale: shares of the image that the context may have, before targets are taken from it.

    Returns:
        (B, K) and (B, M, T), long, ascending; none of an image's targets is in its context.
    """
    height, width = _block(grid, target_scale, target_aspect)
    if (height, width) == grid:  # a target is never all there is
        height, width = (height - 1, width) if height > 1 else (height, width - 1)
    big = _block(grid, context_scale, (1.0, 1.0))
    targets_BMN = _positions((images, blocks), grid, (height, width))
    context_BN = _positions((images,), grid, big) & ~targets_BMN.any(1)
    for _ in range(20):
        empty = ~context_BN.any(1)
        if not bool(empty.any()):
            break
        count = int(empty.sum())
        targets_BMN[empty] = _positions((count, blocks), grid, (height, width))
        context_BN[empty] = _positions((count,), grid, big) & ~targets_BMN[empty].any(1)
    empty = ~context_BN.any(1)
    # On a tiny grid, targets may cover all: then they are all the same one.
    targets_BMN[empty] = targets_BMN[empty][:, :1].expand(-1, blocks, -1)
    context_BN[empty] = ~targets_BMN[empty].any(1)
    kept = int(context_BN.sum(1).min())
    order_BN = torch.rand(context_BN.shape).masked_fill(~context_BN, -1.0)
    context_BK = order_BN.topk(kept, dim=1).indices.sort(1).values
    targets_BMT = targets_BMN.nonzero()[:, -1].view(images, blocks, height * width)
    return context_BK, targets_BMT


def _block(grid: tuple[int, int], scale: tuple[float, float], aspect: tuple[float, float]) -> tuple[int, int]:
    """(height, width) in patches of a block of random size and aspect ratio."""
    share, shape = torch.rand(2, dtype=torch.float64).tolist()
    area = grid[0] * grid[1] * (scale[0] + (scale[1] - scale[0]) * share)
    ratio = aspect[0] + (aspect[1] - aspect[0]) * shape
    height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    return min(max(height, 1), grid[0]), min(max(width, 1), grid[1])


def _positions(count: tuple[int, ...], grid: tuple[int, int], block: tuple[int, int]) -> Tensor:
    """(…, N) bool: a block at a random position, `count` times."""
    top = torch.randint(grid[0] - block[0] + 1, count)[..., None]
    left = torch.randint(grid[1] - block[1] + 1, count)[..., None]
    row, column = torch.arange(grid[0]), torch.arange(grid[1])
    rows = (row >= top) & (row < top + block[0])
    columns = (column >= left) & (column < left + block[1])
    return (rows[..., :, None] & columns[..., None, :]).flatten(-2)


def sine_positions(grid: tuple[int, int], dim: int) -> Tensor:
    """(N, E): sines and cosines of the row, then of the column, at frequencies from 1 down to 1 / 10000."""
    frequency = 10000.0 ** (-torch.arange(dim // 4) / (dim // 4))
    row, column = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    angles = [place.flatten()[:, None] * frequency for place in (row, column)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1)
