"""What every self-supervised model offers: views of images in, a loss out, and an encoder that has learned.

Legend of shapes: B images, C channels, H and W pixels, F features of the encoder, P width of a projection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from holotype.errors import HolotypeError, ParameterError, ShapeError
from holotype.tasks import Task
from holotype.vision.models.backbone import build_encoder
from holotype.vision.models.interface import ImageClassifier, height_and_width
from holotype.vision.models.vit import ViT


class SelfSupervisedModel(nn.Module):
    """An encoder and what teaches it.

    A training loop calls `before_step`, `loss` once or several times, and `after_step`. `loss` changes
    nothing but batch norms' statistics, and in evaluation nothing at all.

    Attributes:
        views: what `loss` takes: ``"two"`` views of each image; ``"multi_crop"``, two of `size` and any
            number of smaller ones, best of `local_size`; or ``"one"``.
        least_images: how many images a batch has at least, in training.
        needs_whole_batch: does the loss compare all images of a batch, so that no portion of it has a loss?
        least_patches: of an image, where patches are masked.
        encoder: the network that gradients teach, without classes.
        in_channels: C.
        size: (height, width) of views, of the global ones where there are local ones.
    """

    task = Task.SELF_SUPERVISED_LEARNING
    capabilities: ClassVar[frozenset[str]] = frozenset({"in_channels", "size"})
    small_parameters: ClassVar[Mapping[str, object]] = {
        "size": 32,
        "encoder": "vit_t16",
        "encoder_params": {
            "num_layers": 2,
            "num_heads": 2,
            "hidden_dim": 32,
            "mlp_dim": 48,
            "patch_size": 8,
        },
    }
    views: ClassVar[str] = "two"
    least_images: ClassVar[int] = 1
    needs_whole_batch: ClassVar[bool] = False
    least_patches: ClassVar[int] = 1
    encoder: ImageClassifier

    def __init__(
        self,
        in_channels: int,
        size: int | tuple[int, int],
        encoder: str,
        encoder_params: Mapping[str, Any] | None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.size = height_and_width(size)
        # A pretrained entry comes in evaluation mode.
        self.encoder = build_encoder(encoder, encoder_params, in_channels=in_channels, size=self.size).train()
        if self.views == "multi_crop" and isinstance(self.encoder, ViT):
            self.encoder.dynamic_size = True

    @property
    def trained_encoder(self) -> ImageClassifier:
        """The encoder to keep; its state fits ``create_model(encoder, num_classes=N)``, classifier aside."""
        return self.encoder

    @property
    def local_size(self) -> tuple[int, int]:
        """(height, width) for local crops: 3/7 of `size`, as 96 is of 224, in whole strides of the encoder.

        It is `size` itself where the encoder takes no other.
        """
        strides = self.encoder.stage_strides
        # A plain vision transformer has one stride; a pyramid's total stride is its last.
        stride = strides[-1]
        height, width = (max(round(n * 3 / 7 / stride), 1) * stride for n in self.size)
        try:
            self.encoder.check_images(torch.empty(1, self.in_channels, height, width, device="meta"))
            return (height, width) if height <= self.size[0] and width <= self.size[1] else self.size
        except HolotypeError:
            return self.size

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, P), by the path that gradients teach: every learned part is in it."""
        raise NotImplementedError

    def loss(self, views: Sequence[Tensor]) -> Tensor:
        """What is minimised.

        Args:
            views: each (B, C, H, W), the i-th of each of the same image; how many `views` says.

        Returns:
            (), the mean over the images.

        Raises:
            ShapeError: not the views that `views` asks for, or fewer images than `least_images` in training.
        """
        raise NotImplementedError

    def embedding(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, F), of the encoder to keep."""
        return self.trained_encoder.embedding(images)

    def before_step(self, done: float) -> None:
        """Set what follows a schedule; `done` is the share of the training that is over, from 0 to 1."""

    def after_step(self, done: float) -> None:
        """Let a teacher and a centre follow, after the optimizer's step."""

    def reset_teacher(self) -> None:
        """Make a teacher, if there is one, equal to the student: after weights were loaded into `encoder`."""

    def adjust_size(self, size: int | tuple[int, int]) -> None:
        """Make it for images of another size, student and teacher alike.

        Raises:
            ParameterError: a size that the encoder cannot take, or that has too few patches.
        """
        if isinstance(self.encoder, ViT):
            rows, columns = (n // self.encoder.patch_size for n in self.encoder.check_size(size))
            enough_patches(type(self).__name__, (rows, columns), self.least_patches)
        self.encoder.adjust_size(size)
        teacher = getattr(self, "teacher", None)
        if teacher is not None:
            teacher.encoder.adjust_size(size)
        self.size = height_and_width(size)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute each block of the encoder again in the backward pass; see `ImageClassifier`."""
        self.encoder.set_grad_checkpointing(enable)

    def example_inputs(self, batch: int) -> tuple[Tensor]:
        """Arguments of `forward`, for tests."""
        return (torch.randn(batch, self.in_channels, *self.size),)

    def check_views(self, views: Sequence[Tensor]) -> None:
        """Refuse what `loss` does not take.

        Raises:
            ShapeError: another number of views, other shapes, or too few images.
        """
        name, shapes = type(self).__name__, [tuple(view.shape) for view in views]
        wanted = {"one": "one view", "two": "two views", "multi_crop": "two global views and any local ones"}
        right = len(views) >= 2 if self.views == "multi_crop" else len(views) == 1 + (self.views == "two")
        if isinstance(views, Tensor) or not right:
            got = f"a tensor of shape {tuple(views.shape)}" if isinstance(views, Tensor) else str(len(views))
            raise ShapeError(f"{name} takes a list of {wanted[self.views]}, got {got}.", given=len(views))
        for view in views:
            if hasattr(self.encoder, "check_images"):  # those of other zoos check by themselves
                self.encoder.check_images(view)
        if len({shape[0] for shape in shapes}) > 1 or len(set(shapes[:2])) > 1:
            raise ShapeError(
                f"the views are of the same images, and the first two of the same size, got {shapes}.",
                given=shapes,
            )
        if self.training and shapes[0][0] < self.least_images:
            raise ShapeError(
                f"{name} compares images: in training a batch has at least {self.least_images}, "
                f"got {shapes[0][0]}.",
                given=shapes[0][0],
                hint="Raise batch.images.",
            )


def vision_transformer(model: str, encoder: nn.Module, *, least_patches: int) -> None:
    """Refuse an encoder that is no vision transformer of this zoo, or one that sees too few patches.

    Raises:
        ParameterError: it is not, or does.
    """
    if not isinstance(encoder, ViT):
        raise ParameterError(
            f"{model} masks patches: its encoder is a vision transformer, not a {type(encoder).__name__}.",
            given=type(encoder).__name__,
            hint="See them all: holotype list '*vit*' --task image_classification",
        )
    enough_patches(model, encoder.grid, least_patches)


def enough_patches(model: str, grid: tuple[int, int], least: int) -> None:
    """Refuse images of too few patches.

    Raises:
        ParameterError: there are fewer than `least`.
    """
    if grid[0] * grid[1] < least:
        raise ParameterError(
            f"{model}: an image has {grid[0]} x {grid[1]} patches; at least {least} are needed.",
            given=grid,
            hint="Choose a larger size, or a smaller patch_size in encoder_params.",
        )


def wide(x: Tensor) -> Tensor:
    """Single precision at least, in which losses are computed."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def mlp(widths: Sequence[int], *, norm: bool) -> nn.Sequential:
    """Linear layers with ReLU between, and batch norms before each ReLU where `norm` is set.

    Args:
        widths: of the input, of what is between, of the output.
        norm: layers before a batch norm have no bias.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise(widths[:-1]):
        layers.append(nn.Linear(before, after, bias=not norm))
        layers += [nn.BatchNorm1d(after), nn.ReLU()] if norm else [nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def check_positive(model: str, **values: float) -> None:
    """Refuse numbers that are not above 0, all of them in one error.

    Raises:
        ParameterError: one or several.
    """
    problems = [f"{name} is above 0, got {value}" for name, value in values.items() if not value > 0]
    if problems:
        raise ParameterError(f"{model}: {'; '.join(problems)}.", problems=problems)


def check_share(model: str, **values: float) -> None:
    """Refuse numbers that are not from 0 to 1, all of them in one error.

    Raises:
        ParameterError: one or several.
    """
    problems = [
        f"{name} is from 0 to 1, got {value}" for name, value in values.items() if not 0 <= value <= 1
    ]
    if problems:
        raise ParameterError(f"{model}: {'; '.join(problems)}.", problems=problems)
