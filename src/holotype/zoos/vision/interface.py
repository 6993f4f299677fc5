"""What every image classifier of this zoo offers: images in, features, an embedding, and logits out.

Legend of shapes: B images, C channels, H and W pixels, F features, N classes; h and w are H and W divided
by the network's total stride.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from holotype.errors import ParameterError, ShapeError
from holotype.tasks import Task


class ImageClassifier(nn.Module):
    """An image classifier in three steps: `forward_features`, `embedding`, `forward`.

    A family writes `forward_features`, ends its constructor with `reset_classifier`, and may override the
    rest.

    Attributes:
        capabilities: what it promises to `holotype.testing`; a family may promise more.
        small_parameters: parameters that make a small network, for tests; a family adds its own.
        num_classes: N; with 0, `forward` returns the embedding.
        in_channels: C.
        size: (height, width) that it was made for; a family says whether it takes others.
        num_features: F, the width of the embedding.
        classifier: the last linear layer, or an identity where there are no classes.
    """

    task = Task.IMAGE_CLASSIFICATION
    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"num_classes", "reset_classifier", "in_channels", "size", "compile", "export"}
    )
    small_parameters: ClassVar[Mapping[str, object]] = {"size": 64, "num_classes": 5}
    min_size = 32
    num_classes: int
    classifier: nn.Module

    def __init__(self, *, in_channels: int, size: int | tuple[int, int], num_features: int) -> None:
        super().__init__()
        if in_channels < 1:
            raise ParameterError(f"in_channels is at least 1, got {in_channels}.", given=in_channels)
        self.in_channels = in_channels
        self.num_features = num_features
        self.size = height_and_width(size)
        if min(self.size) < self.min_size:
            raise ParameterError(f"size is at least {self.min_size} pixels, got {size}.", given=size)

    def forward_features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) images → (B, F, h, w) feature map, before any pooling."""
        raise NotImplementedError

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
