"""What every image classifier of this zoo offers: images in, features, an embedding, and logits out.

Legend of shapes: B images, C channels, H and W pixels, F features, N classes; h and w are H and W divided
by the network's total stride. Stage i has C_i channels at a stride of s_i.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from holotype.errors import ParameterError, ShapeError
from holotype.names import nearest
from holotype.tasks import Task

Value = TypeVar("Value")


class ImageClassifier(nn.Module):
    """An image classifier in three steps: `forward_features`, `embedding`, `forward`.

    A family writes `forward_intermediates`, sets `stage_channels` and `stage_strides`, calls its blocks by
    `run`, ends its constructor with `reset_classifier`, and may override the rest.

    Attributes:
        capabilities: what it promises to `holotype.testing`; a family may promise more.
        small_parameters: parameters that make a small network, for tests; a family adds its own.
        head_parts: the modules that `forward_intermediates` does without, besides the classifier.
        num_classes: N; with 0, `forward` returns the embedding.
        in_channels: C.
        size: (height, width) that it was made for; a family says whether it takes others.
        num_features: F, the width of the embedding.
        stage_channels: C_i of each stage.
        stage_strides: s_i of each stage.
        grad_checkpointing: see `set_grad_checkpointing`.
        classifier: the last linear layer, or an identity where there are no classes.
    """

    task = Task.IMAGE_CLASSIFICATION
    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"num_classes", "reset_classifier", "in_channels", "size", "compile", "export"}
    )
    small_parameters: ClassVar[Mapping[str, object]] = {"size": 64, "num_classes": 5}
    min_size = 32
    head_parts: ClassVar[tuple[str, ...]] = ()
    num_classes: int
    classifier: nn.Module
    stage_channels: tuple[int, ...]
    stage_strides: tuple[int, ...]

    def __init__(self, *, in_channels: int, size: int | tuple[int, int], num_features: int) -> None:
        super().__init__()
        if in_channels < 1:
            raise ParameterError(f"in_channels is at least 1, got {in_channels}.", given=in_channels)
        self.in_channels = in_channels
        self.num_features = num_features
        self.grad_checkpointing = False
        self.size = self.check_size(size)

    def check_size(self, size: int | tuple[int, int]) -> tuple[int, int]:
        """The (height, width) of images, if it can take them."""
        both = height_and_width(size)
        if min(both) < self.min_size:
            raise ParameterError(f"size is at least {self.min_size} pixels, got {size}.", given=size)
        return both

    def forward_intermediates(self, images: Tensor, indices: Sequence[int] | None = None) -> list[Tensor]:
        """The feature maps of stages.

        Args:
            images: (B, C, H, W), normalised as the weights expect.
            indices: which stages, in this order; negative ones count from the end. None: every stage.

        Returns:
            For each stage (B, C_i, H / s_i, W / s_i), before any last norm.

        Raises:
            ParameterError: an index is out of range.
            ShapeError: as in `forward`.
        """
        raise NotImplementedError

    def stages(self, indices: Sequence[int] | None) -> list[int]:
        """What `forward_intermediates` is asked for, counted from 0.

        Raises:
            ParameterError: an index is out of range.
        """
        count = len(self.stage_channels)
        for index in indices or ():
            if not -count <= index < count:
                raise ParameterError(
                    f"this {type(self).__name__} has {count} stages, from 0 to {count - 1}; got {index}.",
                    given=index,
                )
        return list(range(count)) if indices is None else [index % count for index in indices]

    def forward_features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, F, h, w) feature map, before any pooling."""
        return self.forward_intermediates(images, (-1,))[0]

    def embedding(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, F), the mean of the feature map over its places."""
        return self.forward_features(images).mean((2, 3))

    def classify(self, embedding: Tensor) -> Tensor:
        """(B, F) embeddings → (B, N) logits."""
        logits: Tensor = self.classifier(embedding)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Classify images.

        Args:
            images: (B, C, H, W), normalised as the weights expect.

        Returns:
            (B, N) logits; (B, F) embeddings where `num_classes` is 0.

        Raises:
            ShapeError: not of four dimensions, of another number of channels, or too small.
        """
        return self.classify(self.embedding(images))

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last layer by a new one for `num_classes`, on the same device; 0 removes it."""
        if num_classes < 0:
            raise ParameterError(
                f"num_classes is 0 (features only) or more, got {num_classes}.", given=num_classes
            )
        self.num_classes = num_classes
        if num_classes == 0:
            self.classifier = nn.Identity()
            return
        like = next(self.parameters(), None)
        classifier = nn.Linear(
            self.num_features,
            num_classes,
            device=None if like is None else like.device,
            dtype=None if like is None else like.dtype,
        )
        nn.init.normal_(classifier.weight, std=0.01)
        nn.init.zeros_(classifier.bias)
        self.classifier = classifier.train(self.training)

    def remove_head(self) -> None:
        """Leave what `forward_intermediates` needs; nothing else works from then on."""
        self.reset_classifier(0)
        for name in self.head_parts:
            if getattr(self, name) is not None:
                setattr(self, name, nn.Identity())

    def adjust_size(self, size: int | tuple[int, int]) -> None:
        """Make it for images of another size, in pixels or as (height, width).

        Position embeddings, where there are any, are interpolated.

        Raises:
            ParameterError: a size that it cannot take.
        """
        self.size = self.check_size(size)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute each block again in the backward pass instead of keeping what it computed.

        Less memory, the same gradients, about a third more time.
        """
        self.grad_checkpointing = enable

    def run(self, block: Callable[..., Tensor], x: Tensor, *more: object) -> Tensor:
        """``block(x, *more)``, with gradient checkpointing where that is on."""
        if self.grad_checkpointing and self.training and torch.is_grad_enabled():
            out: Tensor = checkpoint(block, x, *more, use_reentrant=False)
        else:
            out = block(x, *more)
        return out

    def check_images(self, images: Tensor) -> None:
        """Refuse what is not (B, C, H, W) with this network's C and at least `min_size` pixels a side."""
        if images.dim() != 4:
            hint = "Add the batch dimension: images[None]." if images.dim() == 3 else None
            raise ShapeError(
                f"images are (B, {self.in_channels}, H, W), got {_shape(images)}.",
                given=tuple(images.shape),
                hint=hint,
            )
        if images.shape[1] != self.in_channels:
            hint = None
            if images.shape[3] == self.in_channels:
                hint = "Channels come second here: images.permute(0, 3, 1, 2)."
            raise ShapeError(
                f"{type(self).__name__} takes {self.in_channels} channels, "
                f"got {images.shape[1]} in {_shape(images)}.",
                given=tuple(images.shape),
                hint=hint,
            )
        if images.shape[2] < self.min_size or images.shape[3] < self.min_size:
            raise ShapeError(
                f"images are at least {self.min_size} pixels high and wide, got {_shape(images)}.",
                given=tuple(images.shape),
            )


def height_and_width(size: int | tuple[int, int]) -> tuple[int, int]:
    """``224`` and ``(224, 224)`` alike, as (height, width).

    Raises:
        ParameterError: neither a positive number of pixels nor two.
    """
    both = (size, size) if isinstance(size, int) else tuple(size)
    if len(both) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in both):
        raise ParameterError(f"size is a number of pixels or (height, width), got {size!r}.", given=size)
    return (both[0], both[1])


def drop_path_rates(rate: float, blocks: int) -> list[float]:
    """Stochastic depth of each block: from 0 at the first, linearly, to `rate` at the last.

    Raises:
        ParameterError: not from 0 to below 1.
    """
    if not 0.0 <= rate < 1.0:
        raise ParameterError(f"drop_path_rate is from 0 to below 1, got {rate}.", given=rate)
    return [rate * at / max(blocks - 1, 1) for at in range(blocks)]


def one_of(choices: Mapping[str, Value], name: str, what: str) -> Value:
    """What a name stands for.

    Raises:
        ParameterError: it is not one of the choices.
    """
    if name not in choices:
        raise ParameterError(
            f"{what} is one of {', '.join(choices)}; got {name!r}.",
            given=name,
            nearest=nearest(name, choices),
        )
    return choices[name]


def other_size(name: str, made_for: tuple[int, int], got: tuple[int, ...]) -> ShapeError:
    """What to raise for images of a size that the network was not made for."""
    return ShapeError(
        f"this {name} takes images of {made_for[0]} x {made_for[1]} pixels, got {got[0]} x {got[1]}.",
        given=got,
        hint=f"Resize the images, or call adjust_size(({got[0]}, {got[1]})).",
    )


def _shape(images: Tensor) -> str:
    return f"({', '.join(str(n) for n in images.shape)})"


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training, drop a residual branch for whole samples.

    A kept branch is scaled by 1 / (1 - rate), so that the expectation does not change.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """(B, ...) → (B, ...), zero for the samples that are dropped."""
        if not self.training or self.rate == 0.0:
            return branch
        keep = 1.0 - self.rate
        mask = torch.empty(
            (branch.shape[0],) + (1,) * (branch.dim() - 1), dtype=branch.dtype, device=branch.device
        ).bernoulli_(keep)
        return branch * mask / keep

    def extra_repr(self) -> str:
        """Show the rate."""
        return f"rate={self.rate:g}"
