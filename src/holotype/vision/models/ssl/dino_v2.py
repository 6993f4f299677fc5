"""DINOv2: DINO on class tokens, iBOT on masked patches, and embeddings that keep their distance.

Sources: Oquab et al. 2024, "DINOv2", section 4, appendix B.1; Zhou et al. 2022, "iBOT", section 3.1 (masked
patches); Sablayrolles et al. 2019, "Spreading vectors for similarity search", section 3 (KoLeo); Caron et al.
2020, "SwAV", section 3.1, "Computing codes online" (Sinkhorn-Knopp); Bao et al. 2022, "BEiT", algorithm 1
(masks of blocks). Differs: Sinkhorn-Knopp is over the batch on this device.

Legend of shapes: B images, C channels, H and W pixels, G = 2 B global crops, T tokens, S special tokens,
D width, K prototypes, N = h w patches, M masked patches of all crops.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holotype.errors import ParameterError
from holotype.vision import register_model
from holotype.vision.models.interface import ImageClassifier
from holotype.vision.models.ssl.dino_v1 import DINOHead, distillation
from holotype.vision.models.ssl.interface import (
    SelfSupervisedModel,
    check_positive,
    check_share,
    vision_transformer,
    wide,
)
from holotype.vision.models.ssl.teacher import Teacher, cosine, warmed_up
from holotype.vision.models.vit import ViT


@register_model(
    "dino_v2",
    description="DINOv2: self-distillation of crops and of masked patches, with KoLeo and Sinkhorn-Knopp",
    features=["multi-crop", "masked patches", "moving-average teacher", "vision transformers only"],
    complexity="high",
    paper_reference="Oquab et al. 2024, arXiv 2304.07193",
)
class DINO_v2(SelfSupervisedModel):  # noqa: N801  # the name that its users know
    """Student and teacher: a vision transformer, a head for images, and one for patches.

    Where the encoder has no class token, what it pools to stands for it.

    Args:
        in_channels: C.
        size: of the global crops.
        encoder: a vision transformer or a pretrained entry of one.
        encoder_params: further parameters of the architecture.
        hidden_dim: inner width of the heads.
        bottleneck_dim: width before their last layer.
        prototypes: K of each head.
        tie_heads: one head for both.
        student_temperature: tau_s.
        teacher_temperature: tau_t after the warm-up.
        first_teacher_temperature: tau_t at the beginning.
        warm_up: share of the training in which tau_t grows.
        momentum: of the teacher at the beginning; along half a cosine it grows to 1.
        freeze_last_layer: share of the training in which the heads' last layers do not learn.
        masked_crops: share of the global crops that the student sees masked.
        mask_ratio: the least and the largest share of patches that are masked in one of them.
        patch_weight: of the loss on masked patches.
        koleo_weight: of the KoLeo regulariser.

    Raises:
        ParameterError: a number is out of range, or the encoder is no vision transformer.
    """

    capabilities: ClassVar[frozenset[str]] = SelfSupervisedModel.capabilities | {"trains_otherwise"}
    small_parameters: ClassVar[Mapping[str, object]] = {
        **SelfSupervisedModel.small_parameters,
        "hidden_dim": 24,
        "bottleneck_dim": 16,
        "prototypes": 32,
    }
    views = "multi_crop"
    least_patches = 2
    needs_whole_batch = True
    encoder: ViT
    teacher_temperature: Tensor
    last_layer_learns: Tensor

    def __init__(
        self,
        in_channels: int = 3,
        size: int | tuple[int, int] = 224,
        *,
        encoder: str = "vit_b14",
        encoder_params: dict[str, Any] | None = None,
        hidden_dim: int = 2048,
        bottleneck_dim: int = 256,
        prototypes: int = 65536,
        tie_heads: bool = False,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.07,
        first_teacher_temperature: float = 0.04,
        warm_up: float = 0.3,
        momentum: float = 0.994,
        freeze_last_layer: float = 0.01,
        masked_crops: float = 0.5,
        mask_ratio: tuple[float, float] = (0.1, 0.5),
        patch_weight: float = 1.0,
        koleo_weight: float = 0.1,
    ) -> None:
        check_positive(
            "dino_v2",
            hidden_dim=hidden_dim,
            bottleneck_dim=bottleneck_dim,
            prototypes=prototypes,
            student_temperature=student_temperature,
            teacher_temperature=teacher_temperature,
            first_teacher_temperature=first_teacher_temperature,
            masked_crops=masked_crops,
        )
        check_share(
            "dino_v2",
            warm_up=warm_up,
            momentum=momentum,
            freeze_last_layer=freeze_last_layer,
            masked_crops=masked_crops,
        )
        if not 0 < mask_ratio[0] <= mask_ratio[1] < 1 or patch_weight < 0 or koleo_weight < 0:
            raise ParameterError(
                "dino_v2: mask_ratio is two shares of patches, the smaller first, and weights are 0 or more."
            )
        super().__init__(in_channels, size, encoder, encoder_params)
        vision_transformer("dino_v2", self.encoder, least_patches=self.least_patches)
        self.student_temperature = student_temperature
        self.temperatures = (first_teacher_temperature, teacher_temperature, warm_up)
        self.momentum, self.freeze_last_layer = momentum, freeze_last_layer
        self.masked_crops, self.mask_ratio = masked_crops, (mask_ratio[0], mask_ratio[1])
        self.patch_weight, self.koleo_weight = patch_weight, koleo_weight
        width = self.encoder.num_features
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.projector = DINOHead(width, hidden_dim, bottleneck_dim, prototypes)
        self.patch_projector = None if tie_heads else DINOHead(width, hidden_dim, bottleneck_dim, prototypes)
        self.teacher = Teacher(self._student())
        self.register_buffer("teacher_temperature", torch.tensor(first_teacher_temperature))
        self.register_buffer("last_layer_learns", torch.ones(()))

    def _student(self) -> dict[str, nn.Module]:
        parts: dict[str, nn.Module] = {"encoder": self.encoder, "projector": self.projector}
        return parts if self.patch_projector is None else {**parts, "patch_projector": self.patch_projector}

    @property
    def trained_encoder(self) -> ImageClassifier:
        """The teacher's."""
        return self.teacher.encoder

    def masked_tokens(self, images: Tensor, mask_BN: Tensor | None = None) -> Tensor:
        """(B, C, H, W) images → (B, T, D), the student's; patches in the mask are the mask token."""
        grid = self.encoder.grid_of(images)
        patches_BND = self.encoder.patches(images)
        if mask_BN is not None:
            patches_BND = torch.where(mask_BN[..., None], self.mask_token.to(patches_BND.dtype), patches_BND)
        (last_BTD,) = self.encoder.encode(patches_BND, grid=grid)
        out: Tensor = self.encoder.norm(last_BTD)
        return out

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, 2 K): logits of the image, and the mean of those of masked patches.

        Every second patch is masked.
        """
        rows, columns = self.encoder.grid_of(images)
        mask_N = torch.arange(rows * columns, device=images.device) % 2 == 0
        x_BTD = self.masked_tokens(images, mask_N.expand(len(images), -1))
        patches_BND = x_BTD[:, self.encoder.num_special_tokens :][:, ::2]
        of_image = self.projector(self.encoder.pool(x_BTD), self.last_layer_learns)
        return torch.cat([of_image, self._of_patches(patches_BND).mean(1)], dim=1)

    def _of_patches(self, patches: Tensor) -> Tensor:
        head = self.projector if self.patch_projector is None else self.patch_projector
        out: Tensor = head(patches, self.last_layer_learns)
        return out

    def loss(self, views: Sequence[Tensor]) -> Tensor:
        """DINO, iBOT and KoLeo (section 4); see `SelfSupervisedModel.loss`. Masks are drawn at random."""
        self.check_views(views)
        whole, special = torch.cat(list(views[:2])), self.encoder.num_special_tokens
        mask_GN = random_masks(len(whole), self.encoder.grid_of(whole), self.masked_crops, self.mask_ratio)
        mask_GN = mask_GN.to(whole.device)
        of_images, of_patches_MK = self._targets(whole, mask_GN)
        x_GTD = self.masked_tokens(whole, mask_GN)
        pooled_GD = self.encoder.pool(x_GTD)
        logits = [*self.projector(pooled_GD, self.last_layer_learns).chunk(2), *self._of_local(views[2:])]
        images = distillation([wide(one) / self.student_temperature for one in logits], of_images)
        said_MK = wide(self._of_patches(x_GTD[:, special:][mask_GN])) / self.student_temperature
        patches = patch_loss(said_MK, of_patches_MK, mask_GN)
        return images + self.patch_weight * patches + self.koleo_weight * koleo(pooled_GD.chunk(2)[0])

    @torch.no_grad()
    def _targets(self, whole: Tensor, mask_GN: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """What the teacher says of the two global crops, (B, K) each, and of patches in masks, (M, K)."""
        encoder: Any = self.teacher.encoder
        x_GTD = encoder.tokens(whole)
        head = self.teacher.projector if self.patch_projector is None else self.teacher.patch_projector
        of_images_GK = self.teacher.projector(encoder.pool(x_GTD))
        of_patches_MK = head(x_GTD[:, encoder.num_special_tokens :][mask_GN])
        images_GK = sinkhorn(of_images_GK, self.teacher_temperature)
        return images_GK.chunk(2), sinkhorn(of_patches_MK, self.teacher_temperature)

    def _of_local(self, views: Sequence[Tensor]) -> list[Tensor]:
        found: list[Tensor] = []
        for _, alike in groupby(views, key=lambda view: view.shape):
            together = list(alike)
            pooled = self.encoder.embedding(torch.cat(together))
            found += self.projector(pooled, self.last_layer_learns).chunk(len(together))
        return found

    def before_step(self, done: float) -> None:
        """Set the teacher's temperature, and whether last layers learn."""
        first, last, share = self.temperatures
        self.teacher_temperature.fill_(warmed_up(first, last, done, share))
        self.last_layer_learns.fill_(float(done >= self.freeze_last_layer))

    def after_step(self, done: float) -> None:
        """The teacher follows."""
        self.teacher.follow(self._student(), cosine(self.momentum, 1.0, done))

    def reset_teacher(self) -> None:
        """Make the teacher equal to the student."""
        self.teacher.copy_from(self._student())


def patch_loss(logits_MK: Tensor, targets_MK: Tensor, mask_GN: Tensor) -> Tensor:
    """Cross entropy over masked patches: the mean in each crop, then over all crops (iBOT, section 3.1): ().

    Crops without a mask count as 0.
    """
    each_M = -(targets_MK * logits_MK.log_softmax(1)).sum(1)
    share_GN = mask_GN / mask_GN.sum(1, keepdim=True).clamp(min=1)
    return (each_M * share_GN[mask_GN]).sum() / len(mask_GN)


@torch.no_grad()
def sinkhorn(logits_NK: Tensor, temperature: float | Tensor, iterations: int = 3) -> Tensor:
    """Probabilities that use all prototypes about equally, in logarithms (SwAV, section 3.1).

    Each iteration makes the prototypes' sums over samples equal, then each sample's sum 1.

    Returns:
        (N, K), each row with sum 1.
    """
    log_NK = wide(logits_NK) / temperature
    for _ in range(iterations):
        log_NK = log_NK - log_NK.logsumexp(0, keepdim=True)
        log_NK = log_NK - log_NK.logsumexp(1, keepdim=True)
    return log_NK.exp()


def koleo(x_BD: Tensor, epsilon: float = 1e-8) -> Tensor:
    """``-mean(log(distance to the nearest other))`` of unit vectors (Sablayrolles et al. 2019): ().

    0 for a single image.
    """
    if len(x_BD) < 2:
        return x_BD.sum() * 0.0
    with torch.autocast(x_BD.device.type, enabled=False):
        unit_BD = F.normalize(wide(x_BD), dim=1)
        with torch.no_grad():
            nearest_B = (unit_BD @ unit_BD.T).fill_diagonal_(-torch.inf).argmax(1)
        distance_B = F.pairwise_distance(unit_BD, unit_BD[nearest_B], eps=epsilon)
        return -(distance_B + epsilon).log().mean()


def random_masks(crops: int, grid: tuple[int, int], share: float, ratio: tuple[float, float]) -> Tensor:
    """Which patches of which crops are masked, by torch's random numbers on the CPU.

    Args:
        crops: G.
        grid: (h, w).
        share: of the crops that have a mask; at least one has.
        ratio: of the patches of these; spread evenly between both ends, at least one patch.

    Returns:
        (G, N) bool.
    """
    patches = grid[0] * grid[1]
    masked = max(1, round(share * crops))
    masks = torch.zeros(crops, patches, dtype=torch.bool)
    ratios = ratio[0] + (ratio[1] - ratio[0]) * (torch.arange(masked) + torch.rand(masked)) / masked
    for at, part in zip(torch.randperm(crops)[:masked].tolist(), ratios.tolist(), strict=True):
        masks[at] = block_mask(grid, min(max(1, round(part * patches)), patches - 1))
    return masks


def block_mask(grid: tuple[int, int], count: int) -> Tensor:
    """(N,) bool: exactly `count` patches, in blocks 0.3 to 1 / 0.3 as high as wide (BEiT, algorithm 1)."""
    rows, columns = grid
    mask = torch.zeros(grid, dtype=torch.bool)
    left = count
    for _ in range(10 * count):
        if left == 0:
            break
        area, aspect, top, start = torch.rand(4, dtype=torch.float64).tolist()
        cells = 1 + area * (left - 1)
        stretch = math.exp(math.log(0.3) * (1 - 2 * aspect))
        height = min(max(1, round(math.sqrt(cells * stretch))), rows)
        width = min(max(1, round(math.sqrt(cells / stretch))), columns)
        row, column = int(top * (rows - height + 1)), int(start * (columns - width + 1))
        block = mask[row : row + height, column : column + width]
        new = int((~block).sum())
        if 0 < new <= left:
            block.fill_(True)
            left -= new
    flat = mask.flatten()
    free = (~flat).nonzero().flatten()
    flat[free[torch.randperm(len(free))[:left]]] = True
    return flat
