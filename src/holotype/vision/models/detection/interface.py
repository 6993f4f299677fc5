"""What every detector of this zoo offers: images in, boxes with a class and a score out.

Legend of shapes: B images, C channels, H and W pixels, N classes, A places or queries that a box may come
from, n boxes of one image. Boxes are (x1, y1, x2, y2) in pixels of the image that the network was given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from holotype.errors import DataError, ParameterError, ShapeError
from holotype.tasks import Task
from holotype.text import SHOWN, bulleted
from holotype.vision.models.backbone import build_backbone
from holotype.vision.models.interface import height_and_width


class Boxes(NamedTuple):
    """What there is to find in one image.

    Attributes:
        boxes: (n, 4) float, x1, y1, x2, y2 in pixels.
        labels: (n,) long, classes from 0 on.
    """

    boxes: Tensor
    labels: Tensor


class Detections(NamedTuple):
    """What was found in one image, the best first.

    Attributes:
        boxes: (n, 4) float, x1, y1, x2, y2 in pixels, within the image.
        scores: (n,) float, from 0 to 1.
        labels: (n,) long, classes from 0 on.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Detector(nn.Module):
    """An object detector: `forward` for its raw heads, `loss` to train it, `detect` to use it.

    A family writes `forward`, `loss` and `select`; one that can replace its head has a method
    ``reset_classifier(num_classes)``. Images are normalised as the backbone's weights expect,
    and those of a batch have one size: pictures are resized to fit into it, keeping their
    proportions, and padded on the right and at the bottom.

    Attributes:
        capabilities: what it promises to `holotype.testing`; a family may promise more.
        small_parameters: parameters that make a small network, for tests.
        backbone: the network whose stages it looks at.
        num_classes: N.
        in_channels: C.
        size: (height, width) of the images that it is made for.

    Args:
        num_classes: N, at least 1.
        in_channels: C.
        size: of its images, in pixels or as (height, width).
        backbone: an architecture that offers stages, or a pretrained entry of one, by name.
        backbone_params: further parameters of that architecture.

    Raises:
        ParameterError: fewer than one class, a size that the backbone cannot take, or an unknown backbone.
    """

    task = Task.OBJECT_DETECTION
    capabilities: ClassVar[frozenset[str]] = frozenset({"in_channels", "size"})
    small_parameters: ClassVar[Mapping[str, object]] = {
        "size": 64,
        "num_classes": 5,
        "backbone": "convnext_v2_atto",
        "backbone_params": {"widths": (8, 12, 16, 24), "depths": (1, 1, 1, 1)},
    }
    min_size = 32

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        size: int | tuple[int, int],
        *,
        backbone: str,
        backbone_params: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = check_num_classes(num_classes)
        self.in_channels = in_channels
        self.size = self.check_size(size)
        self.backbone_name = backbone
        self.backbone = build_backbone(backbone, backbone_params, in_channels=in_channels, size=size)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The raw heads, in training and evaluation alike.

        Args:
            images: (B, C, H, W), normalised as the weights expect.

        Returns:
            (B, A, N) logits, (B, A, 4) boxes, and what else `loss` looks at.

        Raises:
            ShapeError: not of four dimensions, of another number of channels, or of a size that the
                backbone cannot take.
        """
        raise NotImplementedError

    def loss(self, images: Tensor, targets: Sequence[Boxes]) -> dict[str, Tensor]:
        """What training minimises: the sum of these.

        Each is a mean over images, of a loss that an image has by itself, so that the losses of portions of
        a batch, weighted by their numbers of images, add up to that of the batch.

        Args:
            images: (B, C, H, W), as for `forward`.
            targets: what there is to find in each image; there may be nothing.

        Returns:
            Losses by name, each () and finite.

        Raises:
            ShapeError: as for `forward`; another number of targets; boxes or labels of a wrong shape.
            DataError: a label that is not a class, or a box that is not finite or has no area.
        """
        raise NotImplementedError

    def select(
        self,
        outputs: tuple[Tensor, ...],
        size: tuple[int, int],
        *,
        score_threshold: float,
        iou_threshold: float,
        max_detections: int,
    ) -> list[Detections]:
        """What `detect` returns, from what `forward` returned for images of (height, width)."""
        raise NotImplementedError

    @torch.no_grad()
    def detect(
        self,
        images: Tensor,
        *,
        score_threshold: float = 0.05,
        iou_threshold: float = 0.5,
        max_detections: int = 100,
    ) -> list[Detections]:
        """Find objects; for a network in evaluation mode.

        Args:
            images: (B, C, H, W), as for `forward`.
            score_threshold: leave out what scores no more than this.
            iou_threshold: of two boxes of one class that overlap more than this, the better one stays. (Not
                where a family tells duplicates apart by itself, as DETR does.)
            max_detections: at most so many in an image.

        Returns:
            For each image the boxes, best first, cut at the edges of the image.

        Raises:
            ParameterError: a threshold outside [0, 1], or less than one detection.
            ShapeError: as for `forward`.
        """
        for name, value in (("score_threshold", score_threshold), ("iou_threshold", iou_threshold)):
            if not 0.0 <= value <= 1.0:
                raise ParameterError(f"{name} is from 0 to 1, got {value}.", given=value)
        if max_detections < 1:
            raise ParameterError(f"max_detections is at least 1, got {max_detections}.", given=max_detections)
        outputs = self(images)
        return self.select(
            outputs,
            (images.shape[2], images.shape[3]),
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
        )

    def adjust_size(self, size: int | tuple[int, int]) -> None:
        """Make it for images of another size, in pixels or as (height, width).

        Raises:
            ParameterError: a size that the backbone cannot take.
        """
        both = self.check_size(size)
        self.backbone.adjust_size(both)
        self.size = both

    def check_size(self, size: int | tuple[int, int]) -> tuple[int, int]:
        """The (height, width) of images, if a detector can take them; the backbone may refuse more."""
        both = height_and_width(size)
        if min(both) < self.min_size:
            raise ParameterError(f"size is at least {self.min_size} pixels, got {size}.", given=size)
        return both

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the backbone's blocks again in the backward pass instead of keeping their values."""
        self.backbone.set_grad_checkpointing(enable)

    def example_inputs(self, batch: int) -> tuple[Tensor]:
        """Arguments for `forward`: noise of the size that it is made for."""
        return (torch.randn(batch, self.in_channels, *self.size),)

    def check_images(self, images: Tensor) -> None:
        """Refuse what is not (B, C, H, W) with this network's C and at least `min_size` pixels a side."""
        problem = hint = None
        if images.dim() != 4:
            problem = f"images are (B, {self.in_channels}, H, W)"
            hint = "Add the batch dimension: images[None]." if images.dim() == 3 else None
        elif images.shape[1] != self.in_channels:
            problem = f"{type(self).__name__} takes {self.in_channels} channels"
            if images.shape[3] == self.in_channels:
                hint = "Channels come second here: images.permute(0, 3, 1, 2)."
        elif images.shape[2] < self.min_size or images.shape[3] < self.min_size:
            problem = f"images are at least {self.min_size} pixels high and wide"
        if problem is not None:
            shape = tuple(images.shape)
            raise ShapeError(f"{problem}, got {shape}.", given=shape, hint=hint)

    def check_targets(self, images: Tensor, targets: Sequence[Boxes]) -> list[Boxes]:
        """Targets of a batch as float boxes and long labels on the images' device, if they are sound.

        Raises:
            ShapeError, DataError: as `loss` says.
        """
        return check_targets(targets, len(images), self.num_classes, images.device)


def check_num_classes(num_classes: int) -> int:
    """A number of classes, if it is one.

    Raises:
        ParameterError: fewer than one.
    """
    if num_classes < 1:
        raise ParameterError(f"a detector has at least 1 class, got {num_classes}.", given=num_classes)
    return num_classes


def check_targets(
    targets: Sequence[Boxes], images: int, num_classes: int, device: torch.device
) -> list[Boxes]:
    """Targets as float32 boxes and long labels on `device`, if they are sound.

    Args:
        targets: one for each image, each (boxes, labels).
        images: how many images there are.
        num_classes: N.
        device: where they are needed.

    Raises:
        ShapeError: another number of targets than of images; boxes or labels of a wrong shape.
        DataError: a label that is no class, or a box that is not finite or has no area.
    """
    if len(targets) != images:
        raise ShapeError(f"{images} images have {images} targets, got {len(targets)}.", given=len(targets))
    sound: list[Boxes] = []
    for at, (boxes, labels) in enumerate(targets):
        if boxes.dim() != 2 or boxes.shape[1] != 4 or labels.shape != boxes.shape[:1]:
            raise ShapeError(
                f"image {at}: boxes are (n, 4) and labels (n,), got "
                f"{tuple(boxes.shape)} and {tuple(labels.shape)}.",
                given=(tuple(boxes.shape), tuple(labels.shape)),
                hint="An image without objects has boxes (0, 4) and labels (0,).",
            )
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise DataError(f"image {at}: labels are whole numbers, got {labels.dtype}.", given=labels.dtype)
        sound.append(Boxes(boxes.to(device, torch.float32), labels.to(device, torch.int64)))
    if not sound:
        return sound
    every, classes = torch.cat([target.boxes for target in sound]), torch.cat([t.labels for t in sound])
    no_box = ~(every.isfinite().all(1) & (every[:, 2:] > every[:, :2]).all(1))
    no_class = (classes < 0) | (classes >= num_classes)
    if bool((no_box | no_class).any()):  # one look at the device, however many images
        _say_what_is_wrong(sound, no_box.tolist(), no_class.tolist(), num_classes)
    return sound


def _say_what_is_wrong(
    targets: Sequence[Boxes], no_box: list[bool], no_class: list[bool], num_classes: int
) -> None:
    places = [(image, at) for image, target in enumerate(targets) for at in range(len(target.boxes))]
    problems = []
    for (image, at), bad_box, bad_class in zip(places, no_box, no_class, strict=True):
        box, label = targets[image].boxes[at].tolist(), int(targets[image].labels[at])
        if bad_box:
            problems.append(
                f"image {image}, box {at}: {box} is not (x1, y1, x2, y2) with x1 < x2 and y1 < y2"
            )
        if bad_class:
            problems.append(
                f"image {image}, box {at}: there is no class {label}, from 0 to {num_classes - 1}"
            )
    raise DataError(
        f"these targets cannot be learnt:\n{bulleted(problems, SHOWN)}",
        problems=problems,
        given=len(problems),
    )
