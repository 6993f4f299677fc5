"""Objectives for images: classify them, find objects, fill in what is masked, agree on views.

Augmentation and normalisation happen here, within the step, so that the seed of the step decides them.

Legend of shapes: B images, H and W pixels, M boxes of an image (padded), N classes, F features, K detections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from holotype.training.objective import Outcome
from holotype.vision.evaluation.probe import knn_accuracy
from holotype.vision.models.detection.interface import Boxes, Detections
from holotype.vision.training.batches import ImageBatch

Directions = dict[str, Literal["max", "min"]]
_MOST_DETECTIONS = 100


class ImageObjective:
    """What the objectives for images share: each uses those of its arguments that it needs.

    Args:
        mean: of red, green and blue, from 0 to 1; subtracted.
        std: likewise; divided by.
        augment: from a batch to an augmented one, in training, or from images to views; None for none.
        frozen: modules that stay in evaluation mode.
        size: (height, width) of images whose embedding is measured.
        num_classes: N.
        labelled: do the images to measure have classes?
        label_smoothing: the share of the probability that is spread over all classes.
    """

    directions: Directions

    def __init__(
        self,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        augment: Callable[..., Any] | None = None,
        frozen: Iterable[nn.Module] = (),
        size: tuple[int, int] = (0, 0),
        num_classes: int = 0,
        labelled: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        self._mean, self._std = (torch.tensor(list(one)).view(1, 3, 1, 1) for one in (mean, std))
        self._augment, self._frozen = augment, tuple(frozen)
        self._size, self._num_classes, self._labelled = size, num_classes, labelled
        self._label_smoothing = label_smoothing

    @classmethod
    def check_extras(cls) -> None:
        """Raise now if an optional package that `measure` needs is missing."""

    def begin(self, net: nn.Module) -> None:
        """Keep what is frozen as it is: batch norms too."""
        if net.training:
            for module in self._frozen:
                module.eval()

    def augmented(self, net: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) images from 0 to 1 and their targets, augmented in training."""
        if self._augment is None or not net.training:
            return images, targets
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            made: tuple[Tensor, Tensor] = self._augment(images, targets)
        return made

    def normalised(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) from 0 to 1 → what the network takes."""
        if self._mean.device != images.device:  # once: each copy would wait for the accelerator
            self._mean, self._std = self._mean.to(images.device), self._std.to(images.device)
        return (images - self._mean) / self._std

    def __call__(self, net: nn.Module, batch: ImageBatch) -> Outcome:
        """Apply the network to a batch."""
        raise NotImplementedError

    def measure(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Figures of a whole validation set, besides the loss."""
        return {}


class ImageClassification(ImageObjective):
    """Which class? Cross-entropy; accuracy is measured."""

    directions: Directions = {"loss": "min", "accuracy": "max"}  # noqa: RUF012 - as the protocol has it

    def __call__(self, net: nn.Module, batch: ImageBatch) -> Outcome:
        """Apply the network to images with classes; an augmentation that mixes gives shares of classes."""
        self.begin(net)
        images, classes = self.augmented(net, batch.images, batch.targets)
        logits = net(self.normalised(images)).float()
        loss = F.cross_entropy(logits, classes, label_smoothing=self._label_smoothing, reduction="sum")
        return Outcome(loss * batch.weight, logits.detach(), batch.targets)

    def measure(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """The share of images whose most probable class is the right one."""
        return {"accuracy": float((outputs.argmax(-1) == targets).float().mean())}


class ObjectDetection(ImageObjective):
    """What is where? The detector's own losses, added up; mean average precision is measured."""

    directions: Directions = {"loss": "min", "map": "max", "map_50": "max", "map_75": "max"}  # noqa: RUF012

    @classmethod
    def check_extras(cls) -> None:
        """Raise now if pycocotools is missing."""
        from holotype.vision.evaluation.detection import mean_average_precision

        mean_average_precision([], [], 1)

    def __call__(self, net: nn.Module, batch: ImageBatch) -> Outcome:
        """Apply the detector to images with boxes; what it finds is (B, K, 6): box, score, label or -1."""
        self.begin(net)
        images, targets = self.augmented(net, batch.images, batch.targets)
        images = self.normalised(images)
        losses: dict[str, Tensor] = net.loss(images, boxes_of(targets))  # type: ignore[operator]  # it has one
        loss = torch.stack(list(losses.values())).float().sum() * len(images)
        if net.training:
            found = images.new_zeros(len(images), 0, 6)
        else:
            found = padded(net.detect(images, max_detections=_MOST_DETECTIONS))  # type: ignore[operator]
            # Cut at the edges of the picture, as `holotype predict` does it.
            found[..., :4] = found[..., :4].minimum(batch.contents.repeat(1, 2)[:, None])
        return Outcome(loss * batch.weight, found, batch.targets)

    def measure(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Mean average precision as COCO defines it; 0 where nothing is found."""
        from holotype.vision.evaluation.detection import mean_average_precision

        return mean_average_precision(detections_of(outputs), boxes_of(targets), self._num_classes)


class MaskedImageModelling(ImageObjective):
    """What is behind the mask? The model's own loss."""

    directions: Directions = {"loss": "min"}  # noqa: RUF012 - as the protocol has it

    def __call__(self, net: nn.Module, batch: ImageBatch) -> Outcome:
        """Apply the model to images."""
        images = batch.images
        images, _ = self.augmented(net, images, images.new_zeros(len(images), dtype=torch.long))
        loss: Tensor = net.loss(self.normalised(images))  # type: ignore[operator]  # it has one
        nothing = images.new_zeros(len(images), 0)
        return Outcome(loss.float() * len(images) * batch.weight, nothing, batch.targets)


class SelfSupervision(ImageObjective):
    """Do views of an image agree? The model's own loss; with labels, nearest neighbours are measured too."""

    @property
    def directions(self) -> Directions:  # type: ignore[override]  # it depends on the data
        """Better is less loss; and where labels are known, more accuracy of the nearest neighbours."""
        return {"loss": "min", "knn_accuracy": "max"} if self._labelled else {"loss": "min"}

    def __call__(self, net: nn.Module, batch: ImageBatch) -> Outcome:
        """Apply the model to views of images; their (B, F) embeddings are kept in evaluation."""
        images = batch.images
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            made = [images] if self._augment is None else self._augment(images)
            views = [self.normalised(view) for view in made]
        loss: Tensor = net.loss(views)  # type: ignore[operator]  # it has one
        embedded = images.new_zeros(len(images), 0)
        if self._labelled and not net.training:
            if images.shape[2:] != self._size:
                images = F.interpolate(images, self._size, mode="bilinear", antialias=True)
            embedded = net.embedding(self.normalised(images))  # type: ignore[operator]
        return Outcome(loss.float() * len(images) * batch.weight, embedded.detach(), batch.targets)

    def measure(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """The share of images that their nearest neighbours among the others classify rightly."""
        if not self._labelled:
            return {}
        return {"knn_accuracy": float(knn_accuracy(outputs, targets)) if len(targets) > 1 else float("nan")}


def boxes_of(targets: Tensor) -> list[Boxes]:
    """(B, M, 5) x1 y1 x2 y2 label, -1 at padding → a detector's targets; empty boxes are left out."""
    there = (targets[..., 4] >= 0) & (targets[..., 2:4] > targets[..., :2]).all(-1)
    return [Boxes(one[kept, :4], one[kept, 4].long()) for one, kept in zip(targets, there, strict=True)]


def padded(found: Sequence[Detections], most: int = _MOST_DETECTIONS) -> Tensor:
    """Detections → (B, K, 6): x1 y1 x2 y2 score label, the label -1 at padding."""
    like = found[0].boxes
    out = like.new_full((len(found), most, 6), -1.0, dtype=torch.float32)
    for row, one in zip(out, found, strict=True):
        count = len(one.labels)
        row[:count] = torch.cat([one.boxes, one.scores[:, None], one.labels[:, None].float()], dim=1)
    return out


def detections_of(outputs: Tensor) -> list[Detections]:
    """The opposite of `padded`."""
    kept = [one[one[:, 5] >= 0] for one in outputs]
    return [Detections(one[:, :4], one[:, 4], one[:, 5].long()) for one in kept]
