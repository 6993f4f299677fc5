"""Recipes for images: classify them, detect objects, or learn from them without labels.

::

    model: {name: vit_t16_avg, params: {size: 32, patch_size: 4}}
    data: digits
    augmentation: light
    from_pretrained: runs/digits_mae_seed0
    freeze: encoder
    batch: {images: 64}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from holotype.catalog.parameters import problems_with, shown
from holotype.errors import HolotypeError
from holotype.records import ModelInfo
from holotype.tasks import Task
from holotype.training.recipe_parts import (
    FROM_1,
    RANGES,
    AnyRecipe,
    Kind,
    ModelPart,
    OptimizerPart,
    SchedulerPart,
    TrainerPart,
    did_you_mean,
    model_info,
    short,
)

TASKS = frozenset(
    {
        Task.IMAGE_CLASSIFICATION,
        Task.OBJECT_DETECTION,
        Task.MASKED_IMAGE_MODELING,
        Task.SELF_SUPERVISED_LEARNING,
    }
)
# The first is the default. What a network without labels reaches on its own loss says little of its encoder.
_MONITORS: Mapping[str, tuple[str, ...]] = {
    Task.IMAGE_CLASSIFICATION: ("val_accuracy", "val_loss", "last"),
    Task.OBJECT_DETECTION: ("val_map", "val_loss", "last"),
    Task.MASKED_IMAGE_MODELING: ("val_loss", "last"),
    Task.SELF_SUPERVISED_LEARNING: ("last", "val_loss", "val_knn_accuracy"),
}
_AUGMENTATIONS: Mapping[str, str] = {
    Task.IMAGE_CLASSIFICATION: "light",
    Task.OBJECT_DETECTION: "flip",
    Task.MASKED_IMAGE_MODELING: "light",
}
# How `holotype.vision.data.augmentation.augment` calls what each task needs.
AUGMENTED: Mapping[str, str] = {
    Task.IMAGE_CLASSIFICATION: "classification",
    Task.OBJECT_DETECTION: "detection",
    Task.MASKED_IMAGE_MODELING: "classification",
    Task.SELF_SUPERVISED_LEARNING: "views",
}
# Their losses compare the images of a batch with one another, so it cannot be computed in portions.
_WHOLE_BATCH = frozenset({"simclr", "vicreg", "barlow_twins", "dino_v2"})
# What the images have to come with.
LABELLED: Mapping[str, str] = {Task.IMAGE_CLASSIFICATION: "classes", Task.OBJECT_DETECTION: "boxes"}
# Where a model's parameters name the network that `from_pretrained` fills.
PARTS: Mapping[str, str] = {
    Task.OBJECT_DETECTION: "backbone",
    Task.MASKED_IMAGE_MODELING: "encoder",
    Task.SELF_SUPERVISED_LEARNING: "encoder",
}


@dataclass(frozen=True)
class ImageBatchPart:
    """How many images make a step of the optimizer. All processes share it, however many there are.

    Attributes:
        images: images of one batch. An incomplete batch at the end of an epoch is left out.
        portion: the most images that are in memory at once, in all processes together; a batch of more is
            computed in portions. None for whole batches.
    """

    images: int = 64
    portion: int | None = None


@dataclass(frozen=True)
class ImageLossPart:
    """What is minimised is the model's own loss, or cross-entropy.

    Attributes:
        label_smoothing: the share of the probability that is spread over all classes.
    """

    label_smoothing: float = 0.0


@dataclass(frozen=True)
class StatisticsPart:
    """What pixels, from 0 to 1, are normalised by; each channel has its own.

    Attributes:
        mean: subtracted.
        std: divided by.
    """

    mean: list[float]
    std: list[float]


@dataclass(frozen=True, kw_only=True)
class ImageRecipe(AnyRecipe):
    """A checked recipe for images, complete with defaults; see `AnyRecipe`.

    Attributes:
        data: what `holotype.vision.data.load.load_image_dataset` takes; a name alone as ``{"name": …}``.
        augmentation: a preset, ``{"name": …}`` and its options; None for what the model's views need.
        from_pretrained: a pretrained entry, a weight file or a run's folder that fills the encoder.
        freeze: what keeps its weights.
        batch: images of a step.
        loss: what is minimised.
        preprocessing: None for that of the weights to begin with, or else ImageNet's.
    """

    data: dict[str, Any]
    augmentation: dict[str, Any] | None = None
    from_pretrained: str | None = None
    freeze: Literal["encoder"] | None = None
    batch: ImageBatchPart = field(default_factory=ImageBatchPart)
    loss: ImageLossPart = field(default_factory=ImageLossPart)
    preprocessing: StatisticsPart | None = None

    @property
    def data_name(self) -> str:
        """What to call its data in the name of a run folder."""
        first = self.data.get("name") or self.data.get("train") or self.data.get("images")
        path = Path(str(first.get("images") if isinstance(first, dict) else first))
        return (path.parent.name if path.stem == "train" else path.stem) or "images"

    @property
    def data_spec(self) -> str | dict[str, Any]:
        """What `load_image_dataset` takes."""
        return self.data["name"] if set(self.data) == {"name"} else self.data

    @property
    def task(self) -> str:
        """What the model is for."""
        from holotype.catalog.registry import default_registry as registry

        return str(registry.get_model_info(self.model.name).task)

    def to_dict(self) -> dict[str, Any]:
        """The whole recipe as plain data, defaults included; a recipe again when it is read."""
        whole = super().to_dict()
        for key in ("augmentation", "from_pretrained", "freeze", "preprocessing"):
            if whole[key] is None:
                del whole[key]
        return whole


def _monitors(task: Any) -> tuple[str, ...]:
    if task in _MONITORS:
        return _MONITORS[task]
    return tuple(dict.fromkeys(name for names in _MONITORS.values() for name in names))


def _complete(mapping: dict[str, Any]) -> None:
    """What the task decides, where the recipe does not say it."""
    info, _ = model_info(mapping.get("model"))
    if info is None or info.task is None or info.task not in _MONITORS:
        return
    trainer = mapping.get("trainer")
    if trainer is None:
        trainer = mapping["trainer"] = {}
    if isinstance(trainer, dict):
        trainer.setdefault("monitor", _MONITORS[info.task][0])
        if info.task != Task.IMAGE_CLASSIFICATION:  # such a figure may stand still for long, and rise again
            trainer.setdefault("patience", None)
    if mapping.get("augmentation") is None and info.task in _AUGMENTATIONS:
        mapping["augmentation"] = {"name": _AUGMENTATIONS[info.task]}


def _check(mapping: dict[str, Any], check_data: bool) -> list[str]:
    info, problems = model_info(mapping.get("model"))
    task = None if info is None else info.task
    problems += _plain_values(mapping)
    if info is not None:
        problems += _params(info, mapping["model"].get("params") or {}, mapping)
    if task in TASKS:
        problems += _what_goes_together(mapping, str(task), info)
        problems += _augmentation(mapping.get("augmentation"), str(task))
    if check_data:
        problems += _data(mapping.get("data"), task)
        source = mapping.get("from_pretrained")
        if isinstance(source, str) and source:
            problems += _source(source)
    return problems


def _plain_values(mapping: dict[str, Any]) -> list[str]:
    problems = []
    data, freeze, source = (mapping.get(key) for key in ("data", "freeze", "from_pretrained"))
    if data is not None and not isinstance(data, dict):
        problems.append(f"data: expected a name or a mapping, got {shown(data)} ({type(data).__name__})")
    if freeze not in (None, "encoder"):
        problems.append(f"freeze: expected 'encoder', got {shown(freeze)}")
    if source is not None and (not isinstance(source, str) or not source):
        problems.append(f"from_pretrained: expected an entry, a file or a folder, got {shown(source)}")
    statistics = mapping.get("preprocessing")
    if isinstance(statistics, dict):
        for key in ("mean", "std"):
            value = statistics.get(key)
            if not isinstance(value, list) or not all(isinstance(one, (int, float)) for one in value):
                continue  # told already, by its type
            if len(value) != 3 or (key == "std" and min(value) <= 0):
                above = " above 0" if key == "std" else ""
                problems.append(f"preprocessing.{key}: expected three numbers{above}, got {shown(value)}")
    return problems


def _params(info: ModelInfo, params: Any, mapping: Mapping[str, Any]) -> list[str]:
    if info.parameters is None or not isinstance(params, dict):
        return []
    given = {**info.config, **params}
    found = problems_with(given, info.parameters, open_parameters=info.open_parameters, missing=False)
    problems = [f"model.params.{problem}" for problem in found]
    for one in info.parameters:
        filled = one.name == "num_classes" or (mapping.get("from_pretrained") and one.name in PARTS.values())
        if one.required and not filled and one.name not in given:
            problems.append(f"model.params.{one.name}: missing")
    if params.get("in_channels", 3) != 3:
        problems.append(
            f"model.params.in_channels: images have 3 channels, got {shown(params['in_channels'])}"
        )
    return problems


def _what_goes_together(mapping: Mapping[str, Any], task: str, info: ModelInfo | None) -> list[str]:
    problems = []
    loss, batch = mapping.get("loss"), mapping.get("batch")
    if isinstance(loss, dict) and loss.get("label_smoothing") and task != Task.IMAGE_CLASSIFICATION:
        problems.append(f"loss.label_smoothing: it is for {Task.IMAGE_CLASSIFICATION}, not for {task}")
    trainer, scheduler = mapping.get("trainer"), mapping.get("scheduler")
    name = scheduler.get("name") if isinstance(scheduler, dict) else scheduler
    if name == "plateau" and isinstance(trainer, dict) and trainer.get("monitor") == "last":
        problems.append("scheduler.name: 'plateau' waits for a figure; trainer.monitor 'last' is none")
    if mapping.get("freeze") is not None:
        if task in (Task.MASKED_IMAGE_MODELING, Task.SELF_SUPERVISED_LEARNING):
            problems.append(f"freeze: the encoder is what {task} trains")
        elif mapping.get("from_pretrained") is None and not _own_weights(mapping):
            problems.append(
                "freeze: needs from_pretrained; frozen as it was initialised it would learn nothing"
            )
    if isinstance(batch, dict) and isinstance(batch.get("portion"), int):
        if info is not None and info.name in _WHOLE_BATCH:
            problems.append(
                f"batch.portion: the loss of {info.name} compares all images of a batch, which cannot be "
                "cut; lower batch.images"
            )
        elif isinstance(batch.get("images", 64), int) and batch["portion"] > batch.get("images", 64):
            problems.append(f"batch.portion: {batch['portion']} is more than batch.images")
    return problems


def _own_weights(mapping: Mapping[str, Any]) -> bool:
    """Does the model itself stand on a pretrained entry?"""
    from holotype.catalog.registry import default_registry as registry

    params = (mapping.get("model") or {}).get("params") or {}
    named = [params.get(part) for part in set(PARTS.values())] if isinstance(params, dict) else []
    return any(isinstance(name, str) and registry.pretrained_exists(name) for name in named)


def _augmentation(value: Any, task: str) -> list[str]:
    if value is None:
        return []
    from holotype.vision.data.augmentation.presets import check_augmentation

    return [_under("augmentation", problem) for problem in check_augmentation(value, AUGMENTED[task])]


def _data(data: Any, task: str | None) -> list[str]:
    """What can be told of the data before they are read."""
    if not isinstance(data, dict):
        return []
    from holotype.vision.data.load import image_data_kinds, image_data_problems

    spec = data["name"] if set(data) == {"name"} else data
    problems = image_data_problems(spec)
    try:
        kinds = {} if problems else image_data_kinds(spec)
    except HolotypeError as error:
        problems, kinds = [short(error)], {}
    missing = [part for part in ("train", "val") if kinds and part not in kinds]
    if missing:
        problems.append(
            f"no {' and no '.join(missing)} images; name them, or divide a folder: "
            "{images: DIR, split: {fractions: [0.8, 0.1, 0.1]}}"
        )
    wanted = LABELLED.get(task or "")
    for kind in dict.fromkeys(kinds.values()) if wanted is not None else ():
        if kind not in (wanted, None):
            parts = ", ".join(part for part, own in kinds.items() if own == kind)
            where = {"boxes": "{images: DIR, annotations: FILE}", "classes": "one subfolder for each class"}
            problems.append(
                f"{task} learns from {wanted} ({where[str(wanted)]}), and the {parts} images "
                + ("are unlabelled" if kind == "unlabelled" else f"have {kind}")
            )
    return [_under("data", problem) for problem in problems]


def _under(key: str, problem: str) -> str:
    return problem if problem.startswith(key) else f"{key}: {problem}"


def _source(source: str) -> list[str]:
    """Is there an entry, a file or a finished run?"""
    from holotype.catalog.registry import default_registry as registry
    from holotype.training.folder import ENCODER, WEIGHTS

    path = Path(source)
    if path.is_dir():
        if not any((path / name).is_file() for name in (ENCODER, WEIGHTS)):
            return [f"from_pretrained: {source!r} is no folder of a finished run: it has no {WEIGHTS}"]
        return []
    if path.is_file():
        return []
    try:
        entry = registry.get_pretrained_metadata(source)
    except HolotypeError:
        known = registry.list_pretrained_models()
        return [
            f"from_pretrained: no entry, file or folder {source!r}{did_you_mean(source, known)} "
            f"(see the entries: holotype list --pretrained)"
        ]
    try:
        task = registry.get_model_info(entry.network).task
    except HolotypeError as error:
        return [f"from_pretrained: {short(error)}"]
    return [] if task in TASKS else [f"from_pretrained: {source!r} is for {task}, not for images"]


def _make(mapping: dict[str, Any], source: str | None) -> ImageRecipe:
    statistics = mapping.get("preprocessing")
    return ImageRecipe(
        model=ModelPart(**mapping["model"]),
        data=mapping["data"],
        augmentation=mapping.get("augmentation"),
        from_pretrained=mapping.get("from_pretrained"),
        freeze=mapping.get("freeze"),
        batch=ImageBatchPart(**(mapping.get("batch") or {})),
        trainer=TrainerPart(**(mapping.get("trainer") or {})),
        optimizer=OptimizerPart(**(mapping.get("optimizer") or {})),
        scheduler=SchedulerPart(**(mapping.get("scheduler") or {})),
        loss=ImageLossPart(**(mapping.get("loss") or {})),
        preprocessing=None if statistics is None else StatisticsPart(**statistics),
        seed=mapping.get("seed", 0),
        output=mapping.get("output"),
        source=source,
    )


KIND = Kind(
    tasks=TASKS,
    parts={
        "model": ModelPart,
        "data": None,
        "augmentation": None,
        "from_pretrained": None,
        "freeze": None,
        "batch": ImageBatchPart,
        "trainer": TrainerPart,
        "optimizer": OptimizerPart,
        "scheduler": SchedulerPart,
        "loss": ImageLossPart,
        "preprocessing": StatisticsPart,
    },
    examples={"model": "{name: vit_t16}", "data": "digits"},
    short=frozenset({"model", "data", "augmentation", "optimizer", "scheduler"}),
    ranges={
        **RANGES,
        "batch.images": FROM_1,
        "batch.portion": FROM_1,
        "loss.label_smoothing": (lambda x: 0 <= x < 1, "in [0, 1)"),
    },
    monitors=_monitors,
    complete=_complete,
    check=_check,
    make=_make,
)
