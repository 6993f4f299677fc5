"""Faster R-CNN: a network proposes regions, a second one classifies and corrects each.

Paper: Ren et al. 2015, "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks",
arXiv 1506.01497; on a feature pyramid as in Lin et al. 2017, "Feature Pyramid Networks for Object Detection",
arXiv 1612.03144, sections 4.1 and 4.2.

The region proposal network, its sampling and the region heads are those of the package torchvision, which is
needed only here; backbone, pyramid, anchors, suppression and the interface are this zoo's.

What differs: the pyramid starts at P3, as in the other detectors here; losses are normalised for each image.

Legend of shapes: B images, C channels, H and W pixels, N classes, A anchors of all levels (3 at a place),
P proposals of an image, R proposals of all images, D width.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from holotype.errors import MissingExtraError, ParameterError
from holotype.vision import register_model
from holotype.vision.models.detection.boxes import decode_deltas
from holotype.vision.models.detection.dense import by_place, centers
from holotype.vision.models.detection.interface import Boxes, Detections, Detector, check_num_classes
from holotype.vision.models.detection.nms import best_of_each_image
from holotype.vision.models.detection.pyramid import build_pyramid

RATIOS = (0.5, 1.0, 2.0)  # height to width
POOLED = ("0", "1", "2")  # P3 to P5: regions are looked at there
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # what the second stage multiplies deltas by
PROPOSALS = 1000


@register_model(
    "faster_rcnn",
    description="Faster R-CNN on a feature pyramid: proposals, then a second look (needs torchvision)",
    features=["two-stage", "anchors", "feature pyramid", "region proposals"],
    complexity="high",
    paper_reference="Ren et al. 2015, Faster R-CNN, arXiv 1506.01497",
)
class FasterRCNN(Detector):
    """A two-stage detector with anchors, over any backbone that offers stages of 2^k pixels.

    Args:
        num_classes: N.
        in_channels: C.
        size: pixels, or (height, width); other sizes are taken where the backbone takes them.
        backbone: an architecture, or a pretrained entry, by name.
        backbone_params: further parameters of the architecture.
        width: D.
        hidden_dim: width of the two layers that look at a region.

    Raises:
        MissingExtraError: torchvision is not installed.
        ParameterError: a number out of range, or a backbone that does not fit.

    Source: Ren et al. 2015, section 3; differs as the top of this module says.
    """

    capabilities: ClassVar[frozenset[str]] = Detector.capabilities
    small_parameters: ClassVar[Mapping[str, object]] = {
        **Detector.small_parameters,
        "width": 16,
        "hidden_dim": 24,
    }

    def __init__(
        self,
        num_classes: int = 80,
        in_channels: int = 3,
        size: int | tuple[int, int] = 512,
        *,
        backbone: str = "resnet_v1_50",
        backbone_params: dict[str, Any] | None = None,
        width: int = 256,
        hidden_dim: int = 1024,
    ) -> None:
        torchvision = _torchvision()
        detection = torchvision.models.detection
        if hidden_dim < 1:
            raise ParameterError(f"hidden_dim is at least 1, got {hidden_dim}.", given=hidden_dim)
        super().__init__(num_classes, in_channels, size, backbone=backbone, backbone_params=backbone_params)
        self.pyramid = build_pyramid(self.backbone, width, "p5")
        if any(not math.log2(stride).is_integer() for stride in self.pyramid.strides):
            raise ParameterError(
                f"faster_rcnn looks at maps whose stride is a power of two; those of {backbone!r} have "
                f"{', '.join(f'{stride:g}' for stride in self.pyramid.strides)}.",
                given=backbone,
            )
        parts = detection.FasterRCNN(
            _Width(width),
            rpn_anchor_generator=detection.anchor_utils.AnchorGenerator(
                sizes=((1,),) * len(self.pyramid.strides), aspect_ratios=(RATIOS,) * len(self.pyramid.strides)
            ),
            rpn_pre_nms_top_n_train=PROPOSALS,  # as in evaluation
            rpn_post_nms_top_n_train=PROPOSALS,
            rpn_pre_nms_top_n_test=PROPOSALS,
            rpn_post_nms_top_n_test=PROPOSALS,
            box_roi_pool=torchvision.ops.MultiScaleRoIAlign(POOLED, output_size=7, sampling_ratio=2),
            box_head=detection.faster_rcnn.TwoMLPHead(width * 7 * 7, hidden_dim),
            box_predictor=detection.faster_rcnn.FastRCNNPredictor(hidden_dim, self.num_classes + 1),
        )
        self.rpn, self.roi_heads = parts.rpn, parts.roi_heads
        self.rpn.anchor_generator = nn.Identity()  # it only told how many there are; see `_anchors`

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last two layers, of classes and of their boxes, by new ones, on the same device.

        Raises:
            ParameterError: fewer than one class.
        """
        before = self.roi_heads.box_predictor
        like = before.cls_score.weight
        self.num_classes = check_num_classes(num_classes)
        predictor = type(before)(like.shape[1], num_classes + 1).to(device=like.device, dtype=like.dtype)
        self.roi_heads.box_predictor = predictor.train(self.training)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Propose and classify.

        Returns:
            (B, P, 1 + N) logits, of background and of each class; (B, P, N, 4) boxes in pixels, one for each
            class; (B, A) logits of the anchors; (B, A, 4) their deltas. An image with fewer than P proposals
            is filled up with boxes without area.
        """
        maps, objectness, deltas, anchors = self._first_stage(images)
        proposals = self._proposals(images, maps, objectness, deltas, anchors)
        padded = pad_sequence(proposals, batch_first=True)
        logits, corrections = self._second_stage(images, maps, list(padded))
        corrections = corrections.view(*padded.shape[:2], self.num_classes + 1, 4)[:, :, 1:]
        boxes = decode_deltas(corrections / corrections.new_tensor(BOX_WEIGHTS), padded[:, :, None])
        return logits.view(*padded.shape[:2], -1), boxes, objectness, deltas

    def select(
        self,
        outputs: tuple[Tensor, ...],
        size: tuple[int, int],
        *,
        score_threshold: float,
        iou_threshold: float,
        max_detections: int,
    ) -> list[Detections]:
        """The best scores, without those whose box overlaps a better one of their class too much."""
        return best_of_each_image(
            outputs[0].float().softmax(-1)[..., 1:],
            outputs[1],
            size,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
        )

    def loss(self, images: Tensor, targets: Sequence[Boxes]) -> dict[str, Tensor]:
        """``objectness``, ``proposals``, ``classification`` and ``boxes``; see `Detector.loss`.

        Anchors and proposals are sampled at random, from torch's global numbers.

        Source: Ren et al. 2015, equation 1; Girshick 2015, "Fast R-CNN", equation 1.
        """
        second_stage_loss = _torchvision().models.detection.roi_heads.fastrcnn_loss
        self.check_images(images)
        given = [
            {"boxes": target.boxes, "labels": target.labels + 1}  # 0 is background
            for target in self.check_targets(images, targets)
        ]
        maps, objectness, deltas, anchors = self._first_stage(images)
        proposals = self._proposals(images, maps, objectness, deltas, anchors)
        labels, matched = self.rpn.assign_targets_to_anchors([anchors] * len(given), given)
        aims = self.rpn.box_coder.encode(matched, [anchors] * len(given))
        losses: dict[str, list[Tensor]] = {}

        def add(name: str, value: Tensor) -> None:
            losses.setdefault(name, []).append(value)

        for image, (label, aim) in enumerate(zip(labels, aims, strict=True)):
            there, where = self.rpn.compute_loss(objectness[image], deltas[image], [label], [aim])
            add("objectness", there)
            add("proposals", where)
        regions, _, classes, goals = self.roi_heads.select_training_samples(proposals, given)
        logits, corrections = self._second_stage(images, maps, regions)
        counts = [len(region) for region in regions]
        each = zip(torch.split(logits, counts), torch.split(corrections, counts), classes, goals, strict=True)
        for found, moved, label, goal in each:
            right, off = second_stage_loss(found, moved, [label], [goal])
            add("classification", right)
            add("boxes", off)
        return {name: torch.stack(values).mean() for name, values in losses.items()}

    def _first_stage(self, images: Tensor) -> tuple[OrderedDict[str, Tensor], Tensor, Tensor, Tensor]:
        """The maps; (B, A) logits, (B, A, 4) deltas and (A, 4) anchors of the proposal network."""
        self.check_images(images)
        levels = self.pyramid(self.backbone, images)
        objectness, deltas = self.rpn.head(levels)
        anchors = [
            _anchors(level, stride) for level, stride in zip(levels, self.pyramid.strides, strict=True)
        ]
        maps = OrderedDict((str(at), level) for at, level in enumerate(levels))
        return (
            maps,
            torch.cat([by_place(level, 1)[..., 0] for level in objectness], 1),
            torch.cat([by_place(level, 4) for level in deltas], 1),
            torch.cat(anchors),
        )

    def _proposals(
        self,
        images: Tensor,
        maps: Mapping[str, Tensor],
        objectness: Tensor,
        deltas: Tensor,
        anchors: Tensor,
    ) -> list[Tensor]:
        """(P, 4) of each image; they have no gradient."""
        places = [level.shape[2] * level.shape[3] * len(RATIOS) for level in maps.values()]
        sizes = [(images.shape[2], images.shape[3])] * len(images)
        boxes = decode_deltas(deltas.detach(), anchors)
        # torchvision's suppression takes scores of the boxes' precision.
        scores = objectness.detach().to(boxes.dtype)
        found: list[Tensor] = self.rpn.filter_proposals(boxes, scores, sizes, places)[0]
        return found

    def _second_stage(
        self, images: Tensor, maps: Mapping[str, Tensor], regions: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """(R, 1 + N) logits and (R, 4 * (1 + N)) deltas of the regions of all images."""
        sizes = [(images.shape[2], images.shape[3])] * len(images)
        given = maps["0"].dtype  # torchvision's pool takes maps of the regions' precision
        wide = OrderedDict((name, level.to(regions[0].dtype)) for name, level in maps.items())
        pooled = self.roi_heads.box_roi_pool(wide, regions, sizes).to(given)
        logits, deltas = self.roi_heads.box_predictor(self.roi_heads.box_head(pooled))
        return logits, deltas


class _Width(nn.Module):
    """What torchvision asks of a backbone at construction."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_channels = width


def _anchors(level: Tensor, stride: float) -> Tensor:
    """(h * w * 3, 4) of 4 strides a side, of the three proportions (Lin et al. 2017, section 4.1)."""
    sides = [(4 * stride / ratio**0.5, 4 * stride * ratio**0.5) for ratio in RATIOS]
    half = torch.tensor(sides, device=level.device) / 2
    at = centers(level.shape[2], level.shape[3], stride, level.device)[:, None]
    return torch.cat((at - half, at + half), 2).flatten(0, 1)


def _torchvision() -> Any:
    try:
        torchvision = import_module("torchvision")
        import_module("torchvision.models.detection")
    except ImportError as error:
        raise MissingExtraError(
            "faster_rcnn needs torchvision, which is not installed.",
            given="torchvision",
            hint="Install the one that goes with your torch: pip install torchvision; "
            "or take retinanet or fcos, which need nothing else.",
        ) from error
    return torchvision
