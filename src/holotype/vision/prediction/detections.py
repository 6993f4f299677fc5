"""Find objects in pictures of any size: boxes in pixels of the picture as it is, as a table and drawn.

>>> from holotype.vision.prediction.detections import detect_images
>>> detect_images("runs/street", ["corner.jpg"])[0].objects  # doctest: +SKIP
(DetectedObject(name='bicycle', score=0.91, x1=104.2, y1=80.0, x2=377.5, y2=301.9, label=1), ...)
"""

from __future__ import annotations

import colorsys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from holotype.errors import ParameterError
from holotype.vision.data.decode import AnyPath, open_image
from holotype.vision.data.preprocessing import Preprocessing
from holotype.vision.data.resize import Placement, resize_to
from holotype.vision.prediction.classification import ImagesReport
from holotype.vision.prediction.files import (
    Progress,
    Unreadable,
    enlarged,
    find_images,
    listed_paths,
    picture_paths,
    save_picture,
)
from holotype.vision.prediction.model import (
    Model,
    applied,
    class_names,
    image_task,
    model_name,
    opened,
    refuse,
)
from holotype.vision.prediction.rows import check_rows, row_file, text

if TYPE_CHECKING:
    from PIL.Image import Image

    from holotype.vision.data.table import ImageTable
    from holotype.vision.models.detection.interface import Detections

__all__ = [
    "DetectedObject",
    "ImageDetections",
    "detect_files",
    "detect_images",
    "detect_table",
    "draw_boxes",
]

_COLUMNS: dict[str, Any] = {
    **{"path": "text", "class": "text", "score": "number"},
    **dict.fromkeys(("x1", "y1", "x2", "y2"), "number"),
}


_DRAWN = 320  # pixels of the shorter side of a picture with boxes, at least


class DetectedObject(NamedTuple):
    """A box in a picture, what is in it, and how sure that is.

    Attributes:
        name: of the class, or its index where the classes have no names.
        score: from 0 to 1.
        x1: of the left edge, in pixels of the picture; y1, x2, y2: of the upper, right and lower edge.
        y1: …
        x2: …
        y2: …
        label: the index of the class.
    """

    name: str
    score: float
    x1: float
    y1: float
    x2: float
    y2: float
    label: int


@dataclass(frozen=True)
class ImageDetections:
    """What a detector finds in one picture.

    Attributes:
        path: the file, as it was given.
        size: (width, height) of the picture.
        objects: best first; may be empty.
    """

    path: str
    size: tuple[int, int]
    objects: tuple[DetectedObject, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, ready for JSON."""
        return {
            "path": self.path,
            "width": self.size[0],
            "height": self.size[1],
            "objects": [
                {
                    "class": one.name,
                    "score": one.score,
                    "box": [round(value, 2) for value in (one.x1, one.y1, one.x2, one.y2)],
                }
                for one in self.objects
            ],
        }


class _Placed(NamedTuple):
    size: tuple[int, int]
    place: Placement
    image: Image | None


def detect_images(
    name: Model,
    paths: AnyPath | Iterable[AnyPath],
    *,
    threshold: float = 0.5,
    iou_threshold: float = 0.5,
    max_detections: int = 100,
    batch_size: int = 4,
    device: str = "cpu",
) -> list[ImageDetections]:
    """Find objects in pictures.

    Args:
        name: a pretrained entry, a weight file, or a run's folder; or a network and its record.
        paths: one file or several.
        threshold: leave out what scores no more than this.
        iou_threshold: of boxes of one class that overlap more than this, the best one stays.
        max_detections: at most so many in a picture.
        batch_size: how many pictures at once.
        device: where to run.

    Returns:
        For each file what is in it, in the order given.

    Raises:
        ImageError: a file is no picture; the message names it.
        DataError: the model is no detector.
        ParameterError: a number out of range.
    """
    files = listed_paths(paths)
    net, info = opened(name, device)
    limits = {
        "score_threshold": threshold,
        "iou_threshold": iou_threshold,
        "max_detections": max_detections,
    }
    found = _detected(name, net, info, files, limits, batch_size, None, None, keep=False)
    return [detections for detections, _ in found]


def detect_table(
    name: Model,
    opened_model: tuple[nn.Module, object],
    table: ImageTable,
    *,
    batch_size: int = 4,
    progress: Progress | None = None,
) -> list[Detections]:
    """What a detector finds in the images of a dataset, with its own thresholds, to be evaluated.

    Returns:
        For each image boxes in its pixels, scores and labels.

    Raises:
        ImageError: an image cannot be read.
        DataError: the model is no detector.
    """
    from holotype.vision.models.detection.interface import Detections

    net, info = opened_model
    how, size = _needs(name, net, info)
    batches = applied(
        net,
        _detect(net, {}),
        range(len(table)),
        lambda at: _prepared(table.open(at), how, size),
        stage="detecting",
        batch_size=batch_size,
        progress=progress,
    )
    return [
        Detections(
            _in_picture(one.boxes, placed.place, placed.size), one.scores.float().cpu(), one.labels.cpu()
        )
        for batch, detections in batches
        for (_, _, placed), one in zip(batch, detections, strict=True)
    ]


def detect_files(
    name: Model,
    paths: AnyPath | Iterable[AnyPath],
    *,
    output: str | Path | None = None,
    pictures: str | Path | None = None,
    threshold: float = 0.5,
    iou_threshold: float = 0.5,
    max_detections: int = 100,
    batch_size: int = 4,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ImagesReport:
    """Find objects in files, folders and globs; write a table, and the pictures with boxes drawn.

    The columns are ``path, class, score, x1, y1, x2, y2``, a row for each box. Of JSON lines, each is an
    `ImageDetections`. A file that cannot be read is reported, and the others go on.

    Args:
        name: as for `detect_images`; so are `threshold`, `iou_threshold`, `max_detections`, `device`.
        paths: see `holotype.vision.prediction.files.find_images`.
        output: a ``.csv``, ``.parquet`` or ``.jsonl`` file, or None.
        pictures: a folder for the pictures, or None.
        threshold: …
        iou_threshold: …
        max_detections: …
        batch_size: how many pictures at once; threads decode the next ones meanwhile.
        device: …
        overwrite: replace what is there.
        progress: called with ``"detecting"``, and how many of how many files are done.

    Raises:
        DataError: there is no picture, something is there already, or the model is no detector.
        ParameterError: a number out of range.
    """
    if output is not None:
        check_rows(Path(output), overwrite=overwrite)
    found = find_images(paths)
    places = {} if pictures is None else picture_paths(found.files, pictures, overwrite=overwrite)
    net, info = opened(name, device)
    limits = {
        "score_threshold": threshold,
        "iou_threshold": iou_threshold,
        "max_detections": max_detections,
    }
    unreadable: list[Unreadable] = []
    kept: list[ImageDetections] = []
    drawn: list[str] = []
    began, images, rows, empty = time.perf_counter(), 0, 0, 0
    detected = _detected(
        name, net, info, found.files, limits, batch_size, unreadable, progress, keep=pictures is not None
    )
    with row_file(output, _COLUMNS, overwrite=overwrite) if output else nullcontext() as table:
        for one, image in detected:
            images += 1
            empty += not one.objects
            rows += len(one.objects)
            if table is None:
                kept.append(one)
            elif table.nested:
                table.write(one.to_dict())
            else:
                for row in _rows(one):
                    table.write(row)
            if image is not None:
                place = places[one.path]
                save_picture(draw_boxes(image, one.objects, at_least=_DRAWN), place)
                drawn.append(str(place))
    return ImagesReport(
        model=model_name(name, info),
        images=images,
        unreadable=tuple(unreadable),
        skipped=found.skipped,
        output=None if output is None else str(output),
        rows=rows,
        results=tuple(kept),
        pictures=tuple(drawn),
        notes=(f"nothing scores above {threshold:g} in {empty:,} of {images:,} images",) if empty else (),
        seconds=time.perf_counter() - began,
    )


def draw_boxes(
    image: Image | AnyPath,
    detections: Iterable[DetectedObject] | Any,
    classes: Sequence[str] | Mapping[int, str] | None = None,
    *,
    at_least: int = 0,
) -> Image:
    """A copy of a picture with boxes, each in the colour of its class, named and scored.

    Args:
        image: a picture, or its path.
        detections: of `ImageDetections.objects`; or what a network's `detect` returns for the image, with
            boxes in pixels of this picture.
        classes: names by label, for the latter.
        at_least: make the copy of a smaller picture two, three, … times as large, until its shorter side has
            so many pixels: there is no room for names in a thumbnail.

    Returns:
        A new RGB picture, of the same size but for `at_least`.
    """
    from PIL import ImageDraw

    if hasattr(detections, "boxes"):
        names = dict(enumerate(classes)) if isinstance(classes, Sequence) else dict(classes or {})
        detections = objects_of(detections, names)
    drawn = open_image(image)
    times = max(1, -(-at_least // min(drawn.size)))
    drawn = enlarged(drawn, times)
    pen = ImageDraw.Draw(drawn)
    side = min(drawn.size)
    line = max(1, round(side / 200))
    font = _font(max(10, round(side / 32)))
    for found in sorted(detections, key=lambda found: found.score):  # the best one is drawn last, on top
        one = found._replace(
            x1=found.x1 * times, y1=found.y1 * times, x2=found.x2 * times, y2=found.y2 * times
        )
        colour = colour_of(one.label)
        pen.rectangle(_corners(one), outline=colour, width=line)
        label = f"{text(one.name)} {one.score:.2f}"
        left, top, right, bottom = pen.textbbox((0, 0), label, font=font)
        wide, high = right - left + 2 * line, bottom - top + 2 * line
        x = min(max(one.x1, 0), max(drawn.width - wide, 0))
        y = one.y1 - high if one.y1 >= high else min(max(one.y1, 0), max(drawn.height - high, 0))
        pen.rectangle((x, y, x + wide, y + high), fill=colour)
        light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
        pen.text((x + line - left, y + line - top), label, font=font, fill="black" if light else "white")
    return drawn


def colour_of(label: int) -> tuple[int, int, int]:
    """A colour for a class, far from those of its neighbours.

    >>> colour_of(0), colour_of(0) == colour_of(1)
    ((242, 48, 48), False)
    """
    # Steps of the golden ratio around the circle of hues never come near an earlier one too soon.
    hue = label * 0.6180339887498949 % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.8, 0.95 - 0.2 * (label // 7 % 3 == 2))
    return round(red * 255), round(green * 255), round(blue * 255)


def objects_of(
    detections: Any,
    names: Mapping[int, str],
    place: Placement | None = None,
    size: tuple[int, int] | None = None,
) -> tuple[DetectedObject, ...]:
    """What a network found, by name; in pixels of the picture of (width, height) that was placed so."""
    boxes = detections.boxes.detach().float().cpu()
    if place is not None and size is not None:
        boxes = _in_picture(boxes, place, size)
    found = zip(
        boxes.tolist(), detections.scores.float().tolist(), detections.labels.long().tolist(), strict=True
    )
    objects = (
        DetectedObject(names.get(at, str(at)), score, x1, y1, x2, y2, at)
        for (x1, y1, x2, y2), score, at in found
    )
    # What lies in the padding has no place in the picture.
    return tuple(one for one in objects if size is None or (one.x2 > one.x1 and one.y2 > one.y1))


def _in_picture(boxes: Tensor, place: Placement, size: tuple[int, int]) -> Tensor:
    """In pixels of the picture, cut at its edges."""
    moved = place.to_picture(boxes.detach().float().cpu())
    return moved.clamp(min=0).minimum(torch.tensor([*size, *size], dtype=moved.dtype))


def _needs(name: Model, net: nn.Module, info: object) -> tuple[Preprocessing, tuple[int, int]]:
    """How pictures become input, and their (height, width)."""
    if not callable(getattr(net, "detect", None)):
        raise refuse(model_name(name, info), image_task(net, info), "detecting objects")
    how = Preprocessing.of(info)
    return how, tuple(getattr(net, "size", how.size))


def _prepared(
    image: Image, how: Preprocessing, size: tuple[int, int], *, keep: bool = False
) -> tuple[Tensor, _Placed]:
    pixels, place = resize_to(image, size, "letterbox")
    mean, std = torch.tensor(how.mean)[:, None, None], torch.tensor(how.std)[:, None, None]
    return (pixels / 255 - mean) / std, _Placed(image.size, place, image if keep else None)


def _detect(net: nn.Module, limits: Mapping[str, Any]) -> Callable[[Tensor], list[Any]]:
    detect: Any = net.detect
    return lambda images: list(detect(images, **limits))


def _detected(
    name: Model,
    net: nn.Module,
    info: object,
    files: Sequence[str],
    limits: Mapping[str, Any],
    batch_size: int,
    unreadable: list[Unreadable] | None,
    progress: Progress | None,
    *,
    keep: bool,
) -> Iterator[tuple[ImageDetections, Image | None]]:
    how, size = _needs(name, net, info)
    for one in ("score_threshold", "iou_threshold"):
        if not 0 <= limits[one] <= 1:
            raise ParameterError(f"{one} is from 0 to 1, got {limits[one]!r}.", given=limits[one])
    if limits["max_detections"] < 1:
        given = limits["max_detections"]
        raise ParameterError(f"max_detections is at least 1, got {given!r}.", given=given)
    names = class_names(info)
    batches = applied(
        net,
        _detect(net, limits),
        files,
        lambda path: _prepared(open_image(path), how, size, keep=keep),
        stage="detecting",
        batch_size=batch_size,
        unreadable=unreadable,
        progress=progress,
    )
    return (
        (ImageDetections(path, one.size, objects_of(found, names, one.place, one.size)), one.image)
        for batch, detections in batches
        for (path, _, one), found in zip(batch, detections, strict=True)
    )


def _rows(one: ImageDetections) -> Iterator[dict[str, Any]]:
    for found in one.objects:
        row = {"path": text(one.path), "class": found.name, **found._asdict()}
        yield {key: row[key] for key in _COLUMNS}


def _corners(one: DetectedObject) -> tuple[float, float, float, float]:
    """The first and the last pixel; edges lie between pixels."""
    left, right = sorted((one.x1, one.x2))
    top, bottom = sorted((one.y1, one.y2))
    return left, top, max(right - 1, left), max(bottom - 1, top)


def _font(size: int) -> Any:
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size)
    except (ImportError, TypeError):  # a Pillow without FreeType has one small font
        return ImageFont.load_default()
