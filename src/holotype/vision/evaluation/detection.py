"""How well detectors find: mean average precision, as COCO defines it and as its own code computes it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from holotype.errors import DataError
from holotype.extras import missing_extra

if TYPE_CHECKING:
    from holotype.vision.models.detection.interface import Boxes, Detections

MOST_DETECTIONS = 100
"""Of each class in an image only so many count, the best ones."""


def mean_average_precision(
    detections: Sequence[Detections], targets: Sequence[Boxes], num_classes: int
) -> dict[str, float]:
    """Average precision, over the classes that occur, of what was found in some images.

    Args:
        detections: what was found in each image.
        targets: what there is in each image.
        num_classes: how many classes there are.

    Returns:
        ``map_50`` and ``map_75`` count a box as found from an overlap of 0.5 and 0.75 on; ``map`` is the mean
        over the overlaps 0.5, 0.55 … 0.95. From 0 to 1; NaN where there is nothing to find.

    Raises:
        DataError: not as many detections as targets, or a label that is no class.
        MissingExtraError: pycocotools is not installed.

    Source: Lin et al. 2014, "Microsoft COCO", arXiv 1405.0312, and the evaluation code published with it.
    """
    if len(detections) != len(targets):
        raise DataError(
            f"detections are of {len(detections)} images, and targets of {len(targets)}.",
            given=(len(detections), len(targets)),
        )
    there = _rows(targets, num_classes, "targets")
    found = _rows(detections, num_classes, "detections")
    coco, evaluation = _pycocotools()
    if not there:
        return dict.fromkeys(("map", "map_50", "map_75"), float("nan"))
    if not found:  # which pycocotools cannot take
        return dict.fromkeys(("map", "map_50", "map_75"), 0.0)
    with redirect_stdout(io.StringIO()):  # it reports its progress
        truth = coco()
        truth.dataset = {
            "images": [{"id": image} for image in range(len(targets))],
            "categories": [{"id": label} for label in range(num_classes)],
            "annotations": there,
        }
        truth.createIndex()
        judged = evaluation(truth, truth.loadRes(found), "bbox")
        judged.params.maxDets = [1, 10, MOST_DETECTIONS]
        # Objects of all sizes; those of each size alone would take three times as long again.
        judged.params.areaRng, judged.params.areaRngLbl = [[0, 1e10]], ["all"]
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return {name: float(judged.stats[at]) for at, name in enumerate(("map", "map_50", "map_75"))}


def _rows(images: Sequence[Any], num_classes: int, what: str) -> list[dict[str, Any]]:
    """COCO's annotations: boxes as left, top, width and height."""
    rows: list[dict[str, Any]] = []
    for image, given in enumerate(images):
        labels = given.labels.tolist()
        wrong = [label for label in labels if not 0 <= label < num_classes]
        if wrong:
            raise DataError(
                f"{what} of image {image}: there is no class {wrong[0]}, from 0 to {num_classes - 1}.",
                given=wrong[0],
            )
        scores = given.scores.tolist() if hasattr(given, "scores") else [None] * len(labels)
        for (x1, y1, x2, y2), score, label in zip(given.boxes.tolist(), scores, labels, strict=True):
            row = {
                "id": len(rows) + 1,  # an annotation with the id 0 would never be found
                "image_id": image,
                "category_id": label,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
            }
            rows.append(row if score is None else {**row, "score": score})
    return rows


def _pycocotools() -> tuple[Any, Any]:
    try:
        from pycocotools.coco import COCO  # type: ignore[import-untyped]  # it has none
        from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]
    except ImportError as error:
        raise missing_extra(error, "mean average precision") or error from error
    return COCO, COCOeval
