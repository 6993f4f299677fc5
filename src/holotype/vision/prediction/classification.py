"""Classify photographs: open, crop, resize and normalise as the weights expect, then the top classes.

>>> from holotype.vision.prediction import predict
>>> predict("efficientnet_lite0_imagenet1k", ["cat.jpg"])[0].top  # doctest: +SKIP
ClassProbability(name='tabby', probability=0.53)

`predict` gives the classes of some files; `predict_files` takes folders, goes on past files that it cannot
read, and writes a table.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from holotype.errors import DataError, ParameterError
from holotype.vision.data.decode import AnyPath, open_image
from holotype.vision.data.preprocessing import Preprocessing
from holotype.vision.prediction.files import Progress, Unreadable, find_images, listed_paths
from holotype.vision.prediction.model import (
    Model,
    applied,
    check_classifier,
    class_names,
    image_task,
    model_name,
    opened,
)
from holotype.vision.prediction.rows import check_rows, row_file, text


class ClassProbability(NamedTuple):
    """A class and how probable the network finds it."""

    name: str
    probability: float


@dataclass(frozen=True)
class ImagePrediction:
    """What a network sees in one picture.

    Attributes:
        path: the file, as it was given.
        classes: the most probable classes, best first.
    """

    path: str
    classes: tuple[ClassProbability, ...]

    @property
    def top(self) -> ClassProbability:
        """The most probable class."""
        return self.classes[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, ready for JSON."""
        return {"path": self.path, "classes": [found._asdict() for found in self.classes]}


@dataclass(frozen=True)
class ImagesReport:
    """What was done with some image files.

    Attributes:
        model: its name.
        images: how many files were read.
        unreadable: those that were not, and why.
        skipped: other files in the folders that were given.
        output: the table, or None.
        rows: how many it has.
        results: for each image what was found, where there is no table.
        pictures: those that were drawn.
        notes: what else there is to say.
        seconds: from the first file to the last; loading the model is not in it.
    """

    model: str
    images: int
    unreadable: tuple[Unreadable, ...] = ()
    skipped: tuple[str, ...] = ()
    output: str | None = None
    rows: int = 0
    results: tuple[Any, ...] = ()
    pictures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, ready for JSON."""
        return {
            "model": self.model,
            "images": self.images,
            "unreadable": [one._asdict() for one in self.unreadable],
            "skipped": list(self.skipped),
            "output": self.output,
            "rows": self.rows,
            "results": [one.to_dict() for one in self.results],
            "pictures": list(self.pictures),
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }


def predict_images(
    net: nn.Module,
    model_info: object,
    paths: AnyPath | Iterable[AnyPath],
    *,
    top_k: int = 5,
    batch_size: int = 16,
) -> list[ImagePrediction]:
    """Classify pictures with a network that is loaded already.

    Args:
        net: the network; it is used in evaluation mode and on the device where it is.
        model_info: what was loaded with it: preprocessing, resolution, class names.
        paths: one file or several.
        top_k: how many classes to name.
        batch_size: how many pictures to classify at once.

    Returns:
        One prediction a file, in the order given.

    Raises:
        ImageError: a file is not a picture; the message names it.
        DataError: the network knows no classes.
    """
    return list(_classified(net, model_info, listed_paths(paths), top_k, batch_size, None, None))


def predict(
    name: Model,
    paths: AnyPath | Iterable[AnyPath],
    *,
    top_k: int = 5,
    batch_size: int = 16,
    device: str = "cpu",
) -> list[ImagePrediction]:
    """Classify pictures with a trained model.

    Args:
        name: the entry, such as ``"efficientnet_lite0_imagenet1k"``; or a weight file, or a run's folder.
        paths: one file or several.
        top_k: how many classes to name.
        batch_size: how many pictures to classify at once.
        device: where to run.

    Raises:
        As `predict_images`, and as `load_image_model`.
    """
    net, model_info = opened(name, device)
    return predict_images(net, model_info, paths, top_k=top_k, batch_size=batch_size)


def predict_files(
    name: Model,
    paths: AnyPath | Iterable[AnyPath],
    *,
    output: str | Path | None = None,
    top_k: int = 5,
    batch_size: int = 16,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ImagesReport:
    """Classify files, folders and globs, and write a table.

    Its columns are ``path``, ``class``, ``probability``, then ``class_2``, ``probability_2`` and so on. Of
    JSON lines, each is an `ImagePrediction`. A file that cannot be read is reported, and the others go on.

    Args:
        name: a pretrained entry, a weight file, or a run's folder.
        paths: see `holotype.vision.prediction.files.find_images`.
        output: a ``.csv``, ``.parquet`` or ``.jsonl`` file; None to return what was found.
        top_k: how many classes to name.
        batch_size: how many pictures to classify at once; threads decode the next ones meanwhile.
        device: where to run.
        overwrite: replace the table.
        progress: called with ``"classifying"``, and how many of how many files are done.

    Raises:
        DataError: there is no picture, the table is there already, or the model knows no classes.
        And as `load_image_model`.
    """
    if output is not None:
        check_rows(Path(output), overwrite=overwrite)
    _whole("top_k", top_k)
    found = find_images(paths)
    net, model_info = opened(name, device)
    unreadable: list[Unreadable] = []
    began, kept, rows = time.perf_counter(), [], 0
    predictions = _classified(net, model_info, found.files, top_k, batch_size, unreadable, progress)
    wide = min(top_k, int(getattr(net, "num_classes", 0)) or top_k)
    with row_file(output, _columns(wide), overwrite=overwrite) if output else nullcontext() as table:
        for prediction in predictions:
            rows += 1
            if table is None:
                kept.append(prediction)
            else:
                table.write(prediction.to_dict() if table.nested else _row(prediction))
    return ImagesReport(
        model=model_name(name, model_info),
        images=rows,
        unreadable=tuple(unreadable),
        skipped=found.skipped,
        output=None if output is None else str(output),
        rows=0 if output is None else rows,
        results=tuple(kept),
        seconds=time.perf_counter() - began,
    )


def _classified(
    net: nn.Module,
    model_info: object,
    files: Sequence[str],
    top_k: int,
    batch_size: int,
    unreadable: list[Unreadable] | None,
    progress: Progress | None,
) -> Iterator[ImagePrediction]:
    _whole("top_k", top_k)
    name = model_name((net, model_info), model_info)
    check_classifier(name, image_task(net, model_info), "classifying images")
    if getattr(net, "num_classes", None) == 0:
        raise DataError(
            f"{name} has no classes: its head was removed.",
            given=name,
            hint=f"Its embeddings: holotype embed {name} IMAGES -o OUT.parquet",
        )
    how, names = Preprocessing.of(model_info), class_names(model_info)
    batches = applied(
        net,
        lambda images: net(images).float().softmax(1),
        files,
        lambda path: (how(open_image(path)), None),
        stage="classifying",
        batch_size=batch_size,
        unreadable=unreadable,
        progress=progress,
    )
    return _best(batches, names, top_k)


def _best(
    batches: Iterator[tuple[list[tuple[str, Tensor, None]], Tensor]], names: Mapping[int, str], top_k: int
) -> Iterator[ImagePrediction]:
    for batch, probabilities in batches:
        best = probabilities.topk(min(top_k, probabilities.shape[1]), dim=1)
        for (path, _, _), values, classes in zip(
            batch, best.values.tolist(), best.indices.tolist(), strict=True
        ):
            yield ImagePrediction(
                path,
                tuple(
                    ClassProbability(names.get(index, str(index)), probability)
                    for index, probability in zip(classes, values, strict=True)
                ),
            )


def _columns(top_k: int) -> dict[str, Any]:
    columns: dict[str, Any] = {"path": "text"}
    for place in range(1, top_k + 1):
        end = "" if place == 1 else f"_{place}"
        columns |= {f"class{end}": "text", f"probability{end}": "number"}
    return columns


def _row(prediction: ImagePrediction) -> dict[str, Any]:
    row: dict[str, Any] = {"path": text(prediction.path)}
    for place, (name, probability) in enumerate(prediction.classes, 1):
        end = "" if place == 1 else f"_{place}"
        row |= {f"class{end}": name, f"probability{end}": probability}
    return row


def _whole(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ParameterError(f"{name} is a whole number from 1, got {value!r}.", given=value)
