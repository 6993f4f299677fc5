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
from typing import Any, ClassVar, Literal

from holotype.catalog.parameters import problems_with
from holotype.errors import HolotypeError
from holotype.records import ModelInfo
from holotype.text import did_you_mean, in_one_line, listed, shown
from holotype.training.recipe import Recipe, model_info
from holotype.training.recipe_parts import FROM_1, RANGES, Range
from holotype.vision.tasks import TASKS, ImageTask

# The parameters of models that name another network.
_PARTS = frozenset(facts.part for facts in TASKS.values() if facts.part is not None)


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
class ImageRecipe(Recipe):
    """A checked recipe for images, complete with defaults; see `Recipe`.

    Attributes:
        data: what `holotype.vision.data.load.load_image_dataset` takes; a name alone as ``{"name": …}``.
        augmentation: a preset, ``{"name": …}`` and its options; None for what the model's views need.
        from_pretrained: a pretrained entry, a weight file or a run's folder that fills the encoder.
        freeze: what keeps its weights.
        batch: images of a step.
        loss: what is minimised.
        preprocessing: None for that of the weights to begin with, or else ImageNet's.
    """

    tasks: ClassVar[frozenset[str]] = frozenset(TASKS)
    examples: ClassVar[Mapping[str, str]] = {"model": "{name: vit_t16}", "data": "digits"}
    short: ClassVar[frozenset[str]] = Recipe.short | {"augmentation"}
    ranges: ClassVar[Mapping[str, Range]] = {
        **RANGES,
        "batch.images": FROM_1,
        "batch.portion": FROM_1,
        "loss.label_smoothing": (lambda x: 0 <= x < 1, "in [0, 1)"),
    }
    figures: ClassVar[tuple[str, ...]] = ("accuracy", "map", "map_50", "knn_accuracy")
    files: ClassVar[Mapping[str, str]] = {"encoder": "encoder.safetensors"}

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
    def facts(self) -> ImageTask:
        """What its task decides."""
        return TASKS[self.task]

    def to_dict(self) -> dict[str, Any]:
        """The whole recipe as plain data, defaults included; a recipe again when it is read."""
        whole = super().to_dict()
        for key in ("augmentation", "from_pretrained", "freeze", "preprocessing"):
            if whole[key] is None:
                del whole[key]
        return whole

    @classmethod
    def monitors(cls, task: str | None) -> tuple[str, ...]:
        """The figures by which the best epoch may be chosen, for a task; the first one is the default."""
        if task is not None and task in TASKS:
            return TASKS[task].monitors
        return tuple(dict.fromkeys(name for facts in TASKS.values() for name in facts.monitors))

    @classmethod
    def complete(cls, mapping: dict[str, Any]) -> None:
        """Fill in what the task decides, where the recipe leaves it open."""
        info, _ = model_info(mapping.get("model"))
        facts = TASKS.get(info.task or "") if info is not None else None
        if facts is None:
            return
        if facts.part is not None and isinstance(mapping.setdefault("trainer", {}), dict):
            mapping["trainer"].setdefault("patience", None)  # such a figure may stand still, and rise again
        if mapping.get("augmentation") is None and facts.augmentation is not None:
            mapping["augmentation"] = {"name": facts.augmentation}

    @classmethod
    def problems(cls, mapping: dict[str, Any], *, check_data: bool) -> list[str]:
        """What is wrong with the model, the data and what does not go together."""
        info, problems = model_info(mapping.get("model"))
        task = "" if info is None else str(info.task)
        problems += _plain_values(mapping)
        if info is not None:
            problems += _params(info, mapping["model"].get("params") or {}, mapping)
        if task in TASKS:
            problems += _what_goes_together(mapping, task, info)
            problems += _augmentation(mapping.get("augmentation"), TASKS[task])
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
                continue  # reported already, by its type
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
        filled = one.name == "num_classes" or (mapping.get("from_pretrained") and one.name in _PARTS)
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
    if isinstance(loss, dict) and loss.get("label_smoothing") and not TASKS[task].classifies:
        fits = listed([name for name, facts in TASKS.items() if facts.classifies])
        problems.append(f"loss.label_smoothing: it is for {fits}, not for {task}")
    trainer, scheduler = mapping.get("trainer"), mapping.get("scheduler")
    name = scheduler.get("name") if isinstance(scheduler, dict) else scheduler
    if name == "plateau" and isinstance(trainer, dict) and trainer.get("monitor") == "last":
        problems.append("scheduler.name: 'plateau' waits for a figure; trainer.monitor 'last' is none")
    if mapping.get("freeze") is not None:
        if TASKS[task].part == "encoder":
            problems.append(f"freeze: the encoder is what {task} trains")
        elif mapping.get("from_pretrained") is None and not _own_weights(mapping):
            problems.append(
                "freeze: needs from_pretrained; frozen as it was initialised it would learn nothing"
            )
    portion = batch.get("portion") if isinstance(batch, dict) else None
    images = batch.get("images", 64) if isinstance(batch, dict) else None
    if isinstance(portion, int) and isinstance(images, int) and portion > images:
        problems.append(f"batch.portion: {portion} is more than batch.images")
    if portion is not None and info is not None and info.class_attributes.get("needs_whole_batch"):
        problems.append(whole_batch_problem(info.name))
    return problems


def whole_batch_problem(model: str) -> str:
    """What is wrong with portions of a batch for a model whose class says `needs_whole_batch`."""
    return (
        f"batch.portion: the loss of {model} compares all images of a batch, which cannot be cut; "
        "lower batch.images"
    )


def _own_weights(mapping: Mapping[str, Any]) -> bool:
    """Does the model itself stand on a pretrained entry?"""
    from holotype.catalog.registry import default_registry as registry

    params = (mapping.get("model") or {}).get("params") or {}
    named = [params.get(part) for part in _PARTS] if isinstance(params, dict) else []
    return any(isinstance(name, str) and registry.pretrained_exists(name) for name in named)


def _augmentation(value: Any, facts: ImageTask) -> list[str]:
    if value is None:
        return []
    from holotype.vision.data.augmentation.presets import check_augmentation

    return [_under("augmentation", problem) for problem in check_augmentation(value, facts.augmented)]


def _data(data: Any, task: str) -> list[str]:
    """What is wrong with the data, as far as is known before they are read."""
    if not isinstance(data, dict):
        return []
    from holotype.vision.data.load import image_data_kinds, image_data_problems

    spec = data["name"] if set(data) == {"name"} else data
    problems = image_data_problems(spec)
    try:
        kinds = {} if problems else image_data_kinds(spec)
    except HolotypeError as error:
        problems, kinds = [in_one_line(error)], {}
    missing = [part for part in ("train", "val") if kinds and part not in kinds]
    if missing:
        problems.append(
            f"no {' and no '.join(missing)} images; name them, or divide a folder: "
            "{images: DIR, split: {fractions: [0.8, 0.1, 0.1]}}"
        )
    wanted = TASKS[task].labelled if task in TASKS else None
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
            return [f"from_pretrained: {source!r} is not the folder of a finished run: it has no {WEIGHTS}"]
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
        return [f"from_pretrained: {in_one_line(error)}"]
    return [] if task in TASKS else [f"from_pretrained: {source!r} is for {task}, not for images"]
