"""How good a model of images is: a classifier, a detector, or an encoder by what its embeddings are worth.

Whatever is measured, every image counts: one that cannot be read is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from holotype.errors import DataError
from holotype.names import nearest
from holotype.printing import DIM, coloured, fields, table
from holotype.text import listed, number
from holotype.vision.data.load import ImageDataset, load_image_dataset
from holotype.vision.data.preprocessing import Preprocessing
from holotype.vision.data.table import ImageTable
from holotype.vision.evaluation.probe import ProbeResult, knn_accuracy, linear_probe, wilson_interval
from holotype.vision.prediction.detections import detect_table
from holotype.vision.prediction.embeddings import embedding_of
from holotype.vision.prediction.files import Progress
from holotype.vision.prediction.model import (
    Model,
    applied,
    class_names,
    image_task,
    model_name,
    opened,
    refuse,
)
from holotype.vision.tasks import TASKS

__all__ = [
    "ClassificationReport",
    "DetectionReport",
    "ProbeReport",
    "evaluate_classifier",
    "evaluate_detector",
    "probe_encoder",
]

Data = str | Path | Mapping[str, Any] | ImageDataset
_SHOWN = 8
_MOST_CLASSES = 20


@dataclass(frozen=True)
class ClassificationReport:
    """How many images a classifier gets right.

    Attributes:
        model: its name.
        data: the images.
        split: which part of them.
        images: how many.
        correct: of how many the most probable class is the true one.
        accuracy: the share of them.
        interval: Wilson's 95 % interval of it.
        balanced_accuracy: the mean over classes of the share that is right.
        top_5: the share whose true class is among the five most probable; None with five classes or fewer.
        per_class: for each class of the data: name, images, recall, and precision (None where the model never
            names it).
        confusion: true class → predicted class → how many; what does not occur is left out.
        notes: what else there is to say.
    """

    model: str
    data: str
    split: str
    images: int
    correct: int
    accuracy: float
    interval: tuple[float, float]
    balanced_accuracy: float
    top_5: float | None
    per_class: tuple[Mapping[str, Any], ...]
    confusion: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, ready for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """For people: the figures, and the classes with the lowest recall."""
        rows: list[tuple[str, object]] = [
            ("images", f"{number(self.images)} ({self.split} of {self.data})"),
            ("accuracy", _share(self.accuracy, self.interval)),
            ("balanced", _share(self.balanced_accuracy)),
        ]
        if self.top_5 is not None:
            rows.append(("top 5", _share(self.top_5)))
        ordered = sorted(self.per_class, key=lambda one: (one["recall"], one["class"]))
        cells = [
            (
                one["class"],
                number(one["images"]),
                f"{one['recall']:.3f}",
                "–" if one["precision"] is None else f"{one['precision']:.3f}",
            )
            for one in ordered[:_MOST_CLASSES]
        ]
        text = f"{fields(rows)}\n\n{table(('CLASS', 'IMAGES', 'RECALL', 'PRECISION'), cells)}"
        more = len(ordered) - _MOST_CLASSES
        if more > 0:
            text += "\n" + coloured(f"and {more:,} more, with higher recall (--json has all)", DIM)
        return text


@dataclass(frozen=True)
class DetectionReport:
    """How well a detector finds.

    Attributes:
        model: its name.
        data: the images.
        split: which part of them.
        images: how many.
        boxes: how many there are to find.
        metrics: ``map``, ``map_50``, ``map_75``; see `holotype.vision.evaluation.detection`.
        notes: what else there is to say.
    """

    model: str
    data: str
    split: str
    images: int
    boxes: int
    metrics: Mapping[str, float]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, ready for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """For people."""
        return fields(
            [
                ("images", f"{number(self.images)} ({self.split} of {self.data})"),
                ("boxes", number(self.boxes)),
                ("mAP", f"{self.metrics['map']:.3f}  (mean over overlaps 0.50 to 0.95)"),
                ("mAP 50", f"{self.metrics['map_50']:.3f}"),
                ("mAP 75", f"{self.metrics['map_75']:.3f}"),
            ]
        )


@dataclass(frozen=True)
class ProbeReport:
    """What the embeddings of an encoder are worth.

    Attributes:
        model: its name.
        data: the images.
        train: how many the probe learned from.
        width: of the embeddings.
        result: the accuracy on the test images.
        notes: what else there is to say.
    """

    model: str
    data: str
    train: int
    width: int
    result: ProbeResult
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, ready for JSON."""
        return {
            "model": self.model,
            "data": self.data,
            "train": self.train,
            "width": self.width,
            **self.result.to_dict(),
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """For people."""
        result = self.result
        if result.method == "knn":
            how = f"{result.k} nearest neighbours, temperature {result.temperature:g}"
        else:
            how = f"logistic regression, L2 strength {result.strength:g}"
        return fields(
            [
                ("probe", how),
                ("accuracy", _share(result.accuracy, result.interval)),
                ("right", f"{number(result.correct)} of {number(result.total)}"),
                ("learned from", f"{number(self.train)} images of {result.classes:,} classes"),
                ("embeddings", f"{number(self.width)} numbers an image"),
                ("data", self.data),
            ]
        )


def _share(value: float, interval: tuple[float, float] | None = None) -> str:
    around = f"  (95 % interval {interval[0]:.3f}–{interval[1]:.3f})" if interval else ""
    return f"{value:.3f}{around}"


def evaluate_classifier(
    name: Model,
    data: Data,
    *,
    split: str = "test",
    batch_size: int = 16,
    device: str = "cpu",
    progress: Progress | None = None,
) -> ClassificationReport:
    """Classify labelled images, and count.

    Args:
        name: a pretrained entry, a weight file, or a run's folder; or a network and its record.
        data: what `load_image_dataset` takes.
        split: which part of it.
        batch_size: how many images at once.
        device: where to run.
        progress: called with ``"classifying"``, and how many of how many images are done.

    Raises:
        DataError: the model is no classifier; the images have no classes; or some of their classes are none
            that the model names.
        ImageError: an image cannot be read.
    """
    dataset, table = _part(data, split, "classes")
    net, info = opened(name, device)
    called = model_name(name, info)
    task = image_task(net, info)
    if task not in TASKS or not TASKS[task].classifies or not getattr(net, "num_classes", 1):
        raise _no_classes(called, task)
    names = class_names(info)
    outputs = _match(dataset.classes, names, int(getattr(net, "num_classes", len(names))), called)
    logits = _outputs(net, info, table, net, batch_size, "classifying", progress)
    truth = torch.tensor(outputs)[torch.from_numpy(np.asarray(table.labels))]
    found = logits.argmax(1)
    correct = int((found == truth).sum())
    count = logits.shape[1]
    top_5 = None
    if count > 5:
        top_5 = float((logits.topk(5, dim=1).indices == truth[:, None]).any(1).double().mean())
    per_class = _per_class(dataset.classes, outputs, truth, found)
    recalls = [one["recall"] for one in per_class]
    return ClassificationReport(
        model=called,
        data=dataset.name,
        split=split,
        images=len(table),
        correct=correct,
        accuracy=correct / len(table),
        interval=wilson_interval(correct, len(table)),
        balanced_accuracy=sum(recalls) / len(recalls),
        top_5=top_5,
        per_class=per_class,
        confusion=_confusion(truth, found, names),
        notes=(*dataset.notes, *_unseen(count, len(per_class))),
    )


def evaluate_detector(
    name: Model,
    data: Data,
    *,
    split: str = "test",
    batch_size: int = 4,
    device: str = "cpu",
    progress: Progress | None = None,
) -> DetectionReport:
    """Detect objects in images whose boxes are known: mean average precision as COCO defines it.

    Args:
        name: a pretrained entry, a weight file, or a run's folder; or a network and its record.
        data: what `load_image_dataset` takes, with boxes.
        split: which part of it.
        batch_size: how many images at once.
        device: where to run.
        progress: called with ``"detecting"``, and how many of how many images are done.

    Raises:
        DataError: the model is no detector; the images have no boxes; or some of their classes are none that
            the model names.
        ImageError: an image cannot be read.
        MissingExtraError: pycocotools is not installed.
    """
    from holotype.vision.evaluation.detection import mean_average_precision
    from holotype.vision.models.detection.interface import Boxes

    dataset, table = _part(data, split, "boxes")
    net, info = opened(name, device)
    called = model_name(name, info)
    names = class_names(info)
    count = int(getattr(net, "num_classes", len(names)))
    mean_average_precision([], [], 1)  # raises now if the extra is missing
    outputs = torch.tensor(_match(dataset.classes, names, count, called))
    found = detect_table(name, (net, info), table, batch_size=batch_size, progress=progress)
    boxes = table.boxes or ()
    truth = [Boxes(torch.from_numpy(one.boxes), outputs[torch.from_numpy(one.labels)]) for one in boxes]
    return DetectionReport(
        model=called,
        data=dataset.name,
        split=split,
        images=len(table),
        boxes=sum(len(one.labels) for one in boxes),
        metrics=mean_average_precision(found, truth, count),
        notes=dataset.notes,
    )


def probe_encoder(
    name: Model,
    data: Data,
    *,
    method: Literal["knn", "linear"] = "knn",
    split: str = "test",
    k: int = 20,
    temperature: float = 0.07,
    seed: int = 0,
    batch_size: int = 16,
    device: str = "cpu",
    progress: Progress | None = None,
) -> ProbeReport:
    """Embed labelled images, learn from the training part, and test.

    Args:
        name: a pretrained entry, a weight file, or a run's folder; or a network and its record.
        data: what `load_image_dataset` takes, with a part ``train`` and the one to test on; with a part
            ``val``, the linear probe chooses its strength on that.
        method: ``"knn"`` or ``"linear"``; see `holotype.vision.evaluation.probe`.
        split: which part to test on.
        k: as for `knn_accuracy`; so is `temperature`.
        temperature: …
        seed: as for `linear_probe`.
        batch_size: how many images at once.
        device: where to run.
        progress: called with ``"embedding images"``, and how many of how many images of a part are done.

    Raises:
        DataError: the model does not embed, or the images have no classes.
        ImageError: an image cannot be read.
    """
    if method not in ("knn", "linear"):
        raise DataError(f"method is 'knn' or 'linear', got {method!r}.", given=method)
    dataset, test = _part(data, split, "classes")
    _, train = _part(dataset, "train", "classes")
    if train is test:
        raise DataError("the probe would be tested on what it learns from.", given=split)
    if len(np.unique(np.asarray(train.labels))) < 2:
        raise DataError("the training data are all of one class: there is nothing to distinguish.", given=1)
    net, info = opened(name, device)
    called = model_name(name, info)
    embed, note = embedding_of(net, info, called)

    def embedded(table: ImageTable) -> tuple[Tensor, Any]:
        return _outputs(net, info, table, embed, batch_size, "embedding images", progress), table.labels

    train_x, train_y = embedded(train)
    test_x, test_y = embedded(test)
    if method == "knn":
        result = knn_accuracy(train_x, train_y, test_x, test_y, k=k, temperature=temperature)
    else:
        own = dataset.splits.get("val")
        val = embedded(own) if own is not None and own is not test else None
        result = linear_probe(train_x, train_y, test_x, test_y, val=val, seed=seed)
    return ProbeReport(
        model=called,
        data=dataset.name,
        train=len(train),
        width=train_x.shape[1],
        result=result,
        notes=(*((note,) if note else ()), *dataset.notes),
    )


def _no_classes(name: str, task: str) -> DataError:
    probe = (
        f"What its embeddings are worth: holotype evaluate {name} --method knn --train DIR --test DIR\n"
        "  (or --data NAME, of a dataset with these parts)"
    )
    facts = TASKS.get(task)
    if facts is not None and facts.classifies:
        return DataError(f"{name} has no classes: its head was removed.", given=name, hint=probe)
    hint = probe if facts is not None and facts.embeds else None
    return refuse(name, task, "measuring how it classifies", hint=hint)


def _part(data: Data, split: str, kind: str) -> tuple[ImageDataset, ImageTable]:
    dataset = data if isinstance(data, ImageDataset) else load_image_dataset(data)
    if split not in dataset.splits:
        raise DataError(
            f"{dataset.name} has no part {split!r}; it has: {', '.join(dataset.splits)}.",
            given=split,
            nearest=nearest(split, dataset.splits),
            hint=f"One of them: --split {next(iter(dataset.splits))}; or a whole folder: --images DIR",
        )
    table = dataset.splits[split]
    if table.kind != kind:
        wanted = "a class for each image" if kind == "classes" else "boxes"
        hint = (
            "A folder with a subfolder for each class." if kind == "classes" else "A COCO file: --coco FILE"
        )
        raise DataError(
            f"{dataset.name}: its images come with {table.kind}; needed: {wanted}.",
            given=table.kind,
            hint=hint,
        )
    return dataset, table


def _match(classes: tuple[str, ...], names: Mapping[int, str], count: int, model: str) -> list[int]:
    """The output of the network for each class of the data, by name."""
    by_name = {names.get(index, str(index)): index for index in range(count)}
    missing = [one for one in classes if one not in by_name]
    if missing:
        near = nearest(missing[0], by_name)
        raise DataError(
            f"{len(missing):,} of {len(classes):,} classes of the images are none of {model}'s: "
            f"{listed(missing, _SHOWN)}.",
            given=missing[0],
            problems=[f"{one}: no such class" for one in missing],
            nearest=near,
            hint=f"Its {count:,} classes are: {listed(list(by_name), _SHOWN)}"
            + ("" if names else "\n  Its record does not name its classes, so their numbers are used."),
        )
    return [by_name[one] for one in classes]


def _outputs(
    net: Any,
    info: object,
    table: ImageTable,
    run: Callable[[Tensor], Tensor],
    batch_size: int,
    stage: str,
    progress: Progress | None,
) -> Tensor:
    """What the network makes of the images of a table, in their order."""
    how = Preprocessing.of(info)
    batches = applied(
        net,
        lambda images: run(images).float().cpu(),
        range(len(table)),
        lambda at: (how(table.open(at)), None),
        stage=stage,
        batch_size=batch_size,
        progress=progress,
    )
    return torch.cat([made for _, made in batches])


def _per_class(
    classes: tuple[str, ...], outputs: list[int], truth: Tensor, found: Tensor
) -> tuple[dict[str, Any], ...]:
    rows = []
    for name, index in zip(classes, outputs, strict=True):
        own, named = truth == index, found == index
        right = int((own & named).sum())
        if not int(own.sum()):  # a class of another part of the dataset
            continue
        rows.append(
            {
                "class": name,
                "images": int(own.sum()),
                "recall": right / int(own.sum()),
                "precision": right / int(named.sum()) if int(named.sum()) else None,
            }
        )
    return tuple(rows)


def _confusion(truth: Tensor, found: Tensor, names: Mapping[int, str]) -> dict[str, dict[str, int]]:
    counted: dict[str, dict[str, int]] = {}
    pairs, counts = torch.stack([truth, found], 1).unique(dim=0, return_counts=True)  # type: ignore[no-untyped-call]  # torch's own
    for (true, predicted), times in zip(pairs.tolist(), counts.tolist(), strict=True):
        row = counted.setdefault(names.get(true, str(true)), {})
        row[names.get(predicted, str(predicted))] = times
    return counted


def _unseen(count: int, there: int) -> tuple[str, ...]:
    if there >= count:
        return ()
    return (f"the images are of {there:,} of the {count:,} classes that the model distinguishes",)
