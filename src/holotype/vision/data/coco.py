"""Images with boxes, as COCO writes them: a folder, and one JSON file of images, categories and annotations.

A box is ``[x, y, width, height]`` in pixels from the upper left corner; here it becomes x1 y1 x2 y2, clipped
to its image. Categories become 0 … N-1 in the order of their ids.

Source: Lin et al. 2014, "Microsoft COCO: Common Objects in Context", and the format page of its site.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from holotype.errors import DataError
from holotype.files import sha256_of
from holotype.text import SHOWN, bulleted, listed
from holotype.vision.data.table import FileSource, Found, LabelledBoxes

__all__ = ["read_coco"]

_LARGEST_SIDE = 2**20
_MOST_PROBLEMS = 100


def read_coco(images: Path, annotations: Path) -> Found:
    """The images of a folder, with the boxes of an annotation file.

    Images without annotations are kept. Left out, and counted in the notes, are crowds (``iscrowd``) and
    boxes of which nothing lies in the image.

    Args:
        images: the folder that ``file_name`` starts from.
        annotations: the JSON file ("instances").

    Raises:
        DataError: a file is not there, or the JSON is not what it should be; it lists what is wrong.
    """
    reading = _Reading(annotations, _read_json(annotations))
    classes, class_of = reading.categories()
    places, files, sizes = reading.images()
    boxes, dropped = reading.boxes(places, sizes, class_of)
    reading.finish()
    paths = [images / file for file in files]
    missing, sizes_bytes = [], []
    for file, path in zip(files, paths, strict=True):
        try:
            sizes_bytes.append(path.stat().st_size if path.is_file() else -1)
        except OSError:
            sizes_bytes.append(-1)
        if sizes_bytes[-1] <= 0:
            missing.append(file)
    if missing:
        raise DataError(
            f"{annotations}: {len(missing):,} of {len(files):,} images are not in {images}, or empty: "
            f"{listed(missing)}.",
            given=str(annotations),
            problems=missing,
        )
    if not files:
        raise DataError(f"{annotations} lists no image.", given=str(annotations))
    bare = sum(len(one.labels) == 0 for one in boxes)
    notes = [f"{annotations.name}: {count:,} {what} left out" for what, count in dropped.items() if count]
    if bare:
        notes.append(f"{annotations.name}: {bare:,} of {len(files):,} images have no box")
    return Found(
        where=str(annotations),
        names=files,
        source=FileSource(tuple(str(path) for path in paths)),
        sizes_bytes=sizes_bytes,
        classes=classes,
        boxes=boxes,
        sizes=sizes,
        pinned=[sha256_of(annotations)],
        closed=True,
        notes=notes,
    )


class _Reading:
    """Reads the JSON, and collects what is wrong with it."""

    def __init__(self, path: Path, content: object) -> None:
        self.path = path
        self.problems: list[str] = []
        self.content: dict[str, list[Any]] = {}
        if not isinstance(content, dict):
            self.problems.append("expected an object with images, annotations and categories")
            self.finish()
            return
        for key in ("images", "annotations", "categories"):
            value = content.get(key)
            if not isinstance(value, list):
                self.problems.append(f"{key}: " + ("missing" if value is None else "expected a list"))
            else:
                self.content[key] = value
        self.finish()

    def finish(self) -> None:
        """Raise an error that lists the problems, if there are any."""
        if not self.problems:
            return
        raise DataError(
            f"{self.path} is not an annotation file as COCO writes them:\n{bulleted(self.problems, SHOWN)}",
            given=str(self.path),
            problems=self.problems,
        )

    def wrong(self, problem: str) -> None:
        self.problems.append(problem)
        if len(self.problems) >= _MOST_PROBLEMS:
            self.finish()

    def rows(self, key: str, *, with_id: bool = True) -> list[tuple[str, dict[str, Any]]]:
        """The objects of a list, each with its name in messages; a missing or repeated id is a problem."""
        rows, seen = [], set()
        for at, row in enumerate(self.content[key]):
            what = f"{key}[{at}]"
            if not isinstance(row, dict):
                self.wrong(f"{what}: expected an object, got {_shown(row)}")
                continue
            number = row.get("id")
            if number is None and not with_id:
                pass
            elif not _is_whole(number):
                self.wrong(f"{what}.id: expected a whole number, got {_shown(number)}")
                continue
            elif number in seen:
                self.wrong(f"{what}.id: {_shown(number)} is there twice")
                continue
            seen.add(number)
            rows.append((what, row))
        return rows

    def categories(self) -> tuple[tuple[str, ...], dict[int, int]]:
        """The names in the order of their ids, and id -> label."""
        names: dict[int, str] = {}
        for what, row in self.rows("categories"):
            name = row.get("name")
            if not isinstance(name, str) or not name.strip():
                self.wrong(f"{what}.name: expected text, got {_shown(name)}")
            elif name in names.values():
                self.wrong(f"{what}.name: {name!r} is there twice")
            else:
                names[row["id"]] = name
        if not names and not self.problems:
            self.wrong("categories: there are none")
        ids = sorted(names)
        return tuple(names[one] for one in ids), {one: at for at, one in enumerate(ids)}

    def images(self) -> tuple[dict[int, int], list[str], list[tuple[int, int]]]:
        """Image id -> position, file names, and (width, height)."""
        places: dict[int, int] = {}
        files: list[str] = []
        sizes: list[tuple[int, int]] = []
        seen = set()
        for what, row in self.rows("images"):
            name = row.get("file_name")
            size = row.get("width"), row.get("height")
            if not _is_inside(name):
                self.wrong(f"{what}.file_name: expected a path within the folder, got {_shown(name)}")
            elif name in seen:
                self.wrong(f"{what}.file_name: {name} is there twice")
            elif not all(map(_is_side, size)):
                self.wrong(f"{what}: {name} is {_shown(size[0])} x {_shown(size[1])} pixels")
            else:
                places[row["id"]] = len(files)
                seen.add(name)
                files.append(str(name))
                sizes.append((int(size[0]), int(size[1])))  # type: ignore[arg-type]  # just checked
        return places, files, sizes

    def boxes(
        self, places: Mapping[int, int], sizes: list[tuple[int, int]], class_of: Mapping[int, int]
    ) -> tuple[list[LabelledBoxes], dict[str, int]]:
        """The boxes of each image, and how many were left out."""
        boxes: list[list[list[float]]] = [[] for _ in sizes]
        labels: list[list[int]] = [[] for _ in sizes]
        dropped = {"crowds": 0, "boxes without area in their image": 0}
        for what, row in self.rows("annotations", with_id=False):
            at = self._known(what, row, "image_id", places.get, "image")
            label = self._known(what, row, "category_id", class_of.get, "category")
            box = row.get("bbox")
            if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
                self.wrong(f"{what}.bbox: expected [x, y, width, height], got {_shown(box)}")
                continue
            crowd = row.get("iscrowd", 0)
            if crowd not in (0, 1):
                self.wrong(f"{what}.iscrowd: expected 0 or 1, got {_shown(crowd)}")
                continue
            if at is None or label is None:
                continue
            if crowd:
                dropped["crowds"] += 1
                continue
            width, height = sizes[at]
            x, y, w, h = (float(number) for number in box)
            corners = (
                min(max(x, 0.0), width),
                min(max(y, 0.0), height),
                min(max(x + w, 0.0), width),
                min(max(y + h, 0.0), height),
            )
            clipped = np.array(corners, np.float32).tolist()  # as it is kept: what is thinner has no area
            if w <= 0 or h <= 0 or not (clipped[0] < clipped[2] and clipped[1] < clipped[3]):
                dropped["boxes without area in their image"] += 1
                continue
            boxes[at].append(clipped)
            labels[at].append(label)
        return [
            LabelledBoxes(np.array(one, np.float32).reshape(-1, 4), np.array(other, np.int64))
            for one, other in zip(boxes, labels, strict=True)
        ], dropped

    def _known(
        self, what: str, row: Mapping[str, Any], key: str, find: Callable[[int], int | None], kind: str
    ) -> int | None:
        number = row.get(key)
        if not _is_whole(number):
            self.wrong(f"{what}.{key}: expected a whole number, got {_shown(number)}")
            return None
        found = find(int(number))  # type: ignore[arg-type]  # just checked
        if found is None:
            self.wrong(f"{what}.{key}: there is no {kind} {_shown(number)}")
        return found


def _read_json(path: Path) -> object:
    def refuse(text: str) -> None:
        raise ValueError(f"{text} is not a number of JSON")

    try:
        return json.loads(path.read_text("utf-8-sig"), parse_constant=refuse)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.", given=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON that can be used: {error}.", given=str(path)) from error


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_side(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST_SIDE


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return (not isinstance(value, int) or abs(value) < 2**63) and math.isfinite(value)


def _is_inside(name: object) -> bool:
    """A relative path that does not lead out of the folder it starts from."""
    if not isinstance(name, str) or not name or not name.isprintable():
        return False
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name and path.parts != ()


def _shown(value: object) -> str:
    text = repr(value) if not (_is_whole(value) and abs(value) > 10**30) else "a huge number"  # type: ignore[arg-type]  # is whole
    return text if len(text) <= 60 else text[:57] + "…"
