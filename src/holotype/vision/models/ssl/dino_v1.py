"""DINO: a student says of each crop what its centred and sharpened moving average says of the whole.

Source: Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers" (DINO), section 3.1,
equations 1 to 4 and algorithm 1; section 3.2 for the head and the schedules.

Legend of shapes: B images, C channels, H and W pixels, F features, V views, K prototypes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from holotype.vision import register_model
from holotype.vision.models.interface import ImageClassifier
from holotype.vision.models.ssl.interface import SelfSupervisedModel, check_positive, check_share, wide
from holotype.vision.models.ssl.teacher import Teacher, cosine, warmed_up


class DINOHead(nn.Module):
    """Three layers with GELU, a unit vector, a layer of unit vectors without bias (section 3.2).

    Args:
        features: F.
        hidden_dim: inner width.
        bottleneck_dim: width of the unit vector.
        prototypes: K.
    """

    def __init__(self, features: int, hidden_dim: int, bottleneck_dim: int, prototypes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.GELU(),
            nn.Linear(hidden_dim, bottleneck_dim),
        )
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.prototypes = nn.Parameter(torch.empty(prototypes, bottleneck_dim))
        nn.init.trunc_normal_(self.prototypes, std=0.02)

    def forward(self, x: Tensor, last_layer_learns: Tensor | None = None) -> Tensor:
        """(..., F) → (..., K), cosines.

        `last_layer_learns`, (), is 1, or 0 for a last layer with gradients of zero; its length is divided
        out, so that weight decay does not move it either.
        """
        prototypes = F.normalize(self.prototypes, dim=-1)
        if last_layer_learns is not None:
            fixed = prototypes.detach()
            prototypes = fixed + last_layer_learns * (prototypes - fixed)
        out: Tensor = F.linear(F.normalize(self.layers(x), dim=-1), prototypes)
        return out


@register_model(
    "dino_v1",
    description="DINO: self-distillation of local and global crops, with centring and sharpening",
    features=["multi-crop", "moving-average teacher", "any encoder"],
    complexity="high",
    paper_reference="Caron et al. 2021, arXiv 2104.14294",
)
class DINO_v1(SelfSupervisedModel):  # noqa: N801  # the name that its users know
    """Student and teacher: an encoder and a head each.

    Args:
        in_channels: C.
        size: of the global crops.
        encoder: an architecture or a pretrained entry; one that takes images of one size only needs local
            crops of that size (`local_size`).
        encoder_params: further parameters of the architecture.
        hidden_dim: inner width of the head.
        bottleneck_dim: width before the last layer.
        prototypes: K, dimensions of the output.
        student_temperature: tau_s.
        teacher_temperature: tau_t after the warm-up.
        first_teacher_temperature: tau_t at the beginning.
        warm_up: share of the training in which tau_t grows.
        momentum: of the teacher, lambda, at the beginning; along half a cosine it grows to 1.
        center_momentum: m of equation 4.
        freeze_last_layer: share of the training in which the last layer does not learn.

    Raises:
        ParameterError: a number is out of range, or the encoder is unknown.
    """

    capabilities: ClassVar[frozenset[str]] = SelfSupervisedModel.capabilities | {"trains_otherwise"}
    small_parameters: ClassVar[Mapping[str, object]] = {
        **SelfSupervisedModel.small_parameters,
        "hidden_dim": 24,
        "bottleneck_dim": 16,
        "prototypes": 32,
    }
    views = "multi_crop"
    center: Tensor
    teacher_temperature: Tensor
    last_layer_learns: Tensor

    def __init__(
        self,
        in_channels: int = 3,
        size: int | tuple[int, int] = 224,
        *,
        encoder: str = "vit_s16",
        encoder_params: dict[str, Any] | None = None,
        hidden_dim: int = 2048,
        bottleneck_dim: int = 256,
        prototypes: int = 65536,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.07,
        first_teacher_temperature: float = 0.04,
        warm_up: float = 0.1,
        momentum: float = 0.996,
        center_momentum: float = 0.9,
        freeze_last_layer: float = 0.01,
    ) -> None:
        check_positive(
            "dino_v1",
            hidden_dim=hidden_dim,
            bottleneck_dim=bottleneck_dim,
            prototypes=prototypes,
            student_temperature=student_temperature,
            teacher_temperature=teacher_temperature,
            first_teacher_temperature=first_teacher_temperature,
        )
        check_share(
            "dino_v1",
            warm_up=warm_up,
            momentum=momentum,
            center_momentum=center_momentum,
            freeze_last_layer=freeze_last_layer,
        )
        super().__init__(in_channels, size, encoder, encoder_params)
        self.student_temperature = student_temperature
        self.temperatures = (first_teacher_temperature, teacher_temperature, warm_up)
        self.momentum, self.center_momentum = momentum, center_momentum
        self.freeze_last_layer = freeze_last_layer
        self.projector = DINOHead(self.encoder.num_features, hidden_dim, bottleneck_dim, prototypes)
        self.teacher = Teacher(self._student())
        self.register_buffer("center", torch.zeros(prototypes))
        self.register_buffer("teacher_temperature", torch.tensor(first_teacher_temperature))
        self.register_buffer("last_layer_learns", torch.ones(()))
        # The sum of what the teacher said since the last step, and how often it spoke, (K + 1,). There is
        # none between steps, so no file needs it.
        self._said: Tensor | None = None

    def _student(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "projector": self.projector}

    @property
    def trained_encoder(self) -> ImageClassifier:
        """The teacher's, which is the better one throughout (section 5.2)."""
        return self.teacher.encoder

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, K), the student's logits before the temperature."""
        out: Tensor = self.projector(self.encoder.embedding(images), self.last_layer_learns)
        return out

    def loss(self, views: Sequence[Tensor]) -> Tensor:
        """Equation 3; see `SelfSupervisedModel.loss`. The two global crops come first."""
        self.check_views(views)
        with torch.no_grad():
            whole = torch.cat(list(views[:2]))
            said_TK = wide(self.teacher.projector(self.teacher.encoder.embedding(whole)))
            targets = ((said_TK - self.center) / self.teacher_temperature).softmax(1).chunk(2)
        if self.training:
            said = torch.cat([said_TK.sum(0), said_TK.new_tensor([len(said_TK)])])
            self._said = said if self._said is None else self._said + said
        return distillation([wide(one) / self.student_temperature for one in self._of_each(views)], targets)

    def _of_each(self, views: Sequence[Tensor]) -> list[Tensor]:
        """The student's logits of each view; views of one size go through it together."""
        found: list[Tensor] = []
        for _, alike in groupby(views, key=lambda view: view.shape):
            together = list(alike)
            found += self(torch.cat(together)).chunk(len(together))
        return found

    def before_step(self, done: float) -> None:
        """Set the teacher's temperature (section 3.2), and whether the last layer learns."""
        first, last, share = self.temperatures
        self.teacher_temperature.fill_(warmed_up(first, last, done, share))
        self.last_layer_learns.fill_(float(done >= self.freeze_last_layer))

    @torch.no_grad()
    def after_step(self, done: float) -> None:
        """Teacher and centre follow (section 3.1, equation 4), over what all processes saw in this step."""
        self.teacher.follow(self._student(), cosine(self.momentum, 1.0, done))
        if self._said is not None:
            total = over_processes(self._said)
            self.center.lerp_(total[:-1] / total[-1], 1.0 - self.center_momentum)
            self._said = None

    def reset_teacher(self) -> None:
        """Make the teacher equal to the student."""
        self.teacher.copy_from(self._student())


def distillation(logits: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Cross entropy of each view with each target of another view, the mean over such pairs (equation 3).

    Args:
        logits: of each view, (B, K), divided by the student's temperature; the i-th is of the same view as
            the i-th target.
        targets: of each global view, (B, K) probabilities.

    Returns:
        (), the mean over images.
    """
    log_p = [one.log_softmax(1) for one in logits]
    terms = [
        -(target * said).sum(1).mean()
        for at, target in enumerate(targets)
        for other, said in enumerate(log_p)
        if other != at
    ]
    return torch.stack(terms).mean()


def over_processes(total: Tensor) -> Tensor:
    """The sum over all processes, where there are several."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(total)
    return total
