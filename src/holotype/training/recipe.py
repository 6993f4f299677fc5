"""Recipes: a YAML file that states what to train, on what data, and how.

::

    model: {name: v1, params: {hidden_dim: 128, symmetry: sum}}
    data: bernett
    encoder: {name: unirep_256, pooling: mean}
    batch: {pairs: 512}
    trainer: {max_epochs: 20, patience: 4}
    optimizer: {lr: 0.001, weight_decay: 0.05}
    scheduler: one_cycle
    seed: 1

The task of its model decides which domain's recipe it is. Everything is checked before anything starts, and
every problem is listed in one error; neither torch nor a model's file is imported for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_args, get_type_hints

from holotype.catalog.values import canonical
from holotype.domains import domain_of, domains
from holotype.entry_points import resolve
from holotype.errors import ConfigError, HolotypeError
from holotype.files import sha256_of_parts
from holotype.mappings import read_mapping, read_yaml
from holotype.names import nearest
from holotype.text import bulleted, in_one_line, listed, shown
from holotype.training.recipe_parts import (
    RANGES,
    ModelPart,
    OptimizerPart,
    Range,
    SchedulerPart,
    TrainerPart,
    part_problems,
)

if TYPE_CHECKING:
    from holotype.records import ModelInfo

# What may differ between a run and its continuation: where and how it is computed, not what.
FREE = frozenset(
    {
        "output",
        *(
            f"trainer.{key}"
            for key in ("accelerator", "devices", "num_nodes", "strategy", "checkpoint_steps", "checkpoint_s")
        ),
    }
)
_MOST_VALUES = 100_000  # that a recipe may hold, its YAML aliases expanded


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A checked recipe, complete with defaults. Each domain derives its own from this one.

    A field whose type is a dataclass is a part: a mapping in YAML, whose keys, types and ranges are checked
    by that class. What other fields hold is checked by `problems`.

    Attributes:
        model: the architecture.
        trainer: how long to train, and how.
        optimizer: the steps.
        scheduler: the course of the learning rate.
        seed: decides weights, order, augmentation and dropout.
        output: the run folder; None where the recipe does not name one.
        source: the file it was read from; not part of the recipe.
    """

    # What a domain's recipe states of itself:
    tasks: ClassVar[frozenset[str]]  # of the models that it trains
    examples: ClassVar[Mapping[str, str]] = {}  # key that must be given -> how it is written
    short: ClassVar[frozenset[str]] = frozenset({"model", "data", "optimizer", "scheduler"})
    """Keys where a text stands for ``{name: text}``."""
    ranges: ClassVar[Mapping[str, Range]] = RANGES  # ``part.key`` -> what must hold, and the words for it
    figures: ClassVar[tuple[str, ...]] = ()  # those that are printed in the end; all of them if empty
    files: ClassVar[Mapping[str, str]] = {}  # what is printed in the end -> a file in the run folder

    model: ModelPart
    trainer: TrainerPart = field(default_factory=TrainerPart)
    optimizer: OptimizerPart = field(default_factory=OptimizerPart)
    scheduler: SchedulerPart = field(default_factory=SchedulerPart)
    seed: int = 0
    output: str | None = None
    source: str | None = None

    @classmethod
    def monitors(cls, task: str | None) -> tuple[str, ...]:
        """The figures by which the best epoch may be chosen, for a task; the first one is the default."""
        return ("val_loss",)

    @classmethod
    def complete(cls, mapping: dict[str, Any]) -> None:
        """Fill in what follows from the rest, before anything is checked."""

    @classmethod
    def problems(cls, mapping: dict[str, Any], *, check_data: bool) -> list[str]:
        """What is wrong that the parts alone do not show, one line for each problem.

        Args:
            mapping: the recipe; its parts may be wrong themselves.
            check_data: look whether model and data exist.
        """
        return []

    @property
    def data_name(self) -> str:
        """The name of its data, for the name of a run folder."""
        raise NotImplementedError

    @property
    def task(self) -> str:
        """The task of its model."""
        from holotype.catalog.registry import default_registry as registry

        return str(registry.get_model_info(self.model.name).task)

    @classmethod
    def allowed_keys(cls) -> tuple[str, ...]:
        """The keys that it may hold."""
        last = ("seed", "output")
        return (*(one.name for one in fields(cls) if one.name not in (*last, "source")), *last)

    @classmethod
    def parts(cls) -> dict[str, type]:
        """Key -> class of the part."""
        classes = {key: _part_class(hint) for key, hint in get_type_hints(cls).items()}
        return {key: found for key, found in classes.items() if found is not None}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], source: str | None) -> Self:
        """Make it from a mapping without problems."""
        made: dict[str, Any] = {key: value for key, value in mapping.items() if value is not None}
        hints = get_type_hints(cls)
        for key, part in cls.parts().items():
            if key not in made:
                continue
            if _is_several(hints[key]):
                several = made[key] if isinstance(made[key], list) else [made[key]]
                made[key] = tuple(part(**one) for one in several)
            else:
                made[key] = part(**made[key])
        return cls(**made, source=source)

    def to_dict(self) -> dict[str, Any]:
        """The whole recipe as plain data, defaults included; a recipe again when it is read."""
        whole = {key: value for key, value in asdict(self).items() if key != "source"}
        # The parts that every recipe has come last, as one writes them.
        last = ("trainer", "optimizer", "scheduler", "loss", "seed", "output")
        whole = dict(sorted(whole.items(), key=lambda item: last.index(item[0]) if item[0] in last else -1))
        if whole["output"] is None:
            del whole["output"]
        return whole

    def digest(self) -> str:
        """The sha256 of all that decides the result; where and on how many machines does not."""
        return sha256_of_parts(canonical(self.deciding()))

    def deciding(self) -> dict[str, Any]:
        """The recipe by dotted key, without what does not change the result (`FREE`)."""
        return {key: value for key, value in flat(self.to_dict()).items() if key not in FREE}


def load_recipe(
    source: Mapping[str, Any] | str | os.PathLike[str] | Recipe,
    overrides: Iterable[str] = (),
    *,
    output: str | os.PathLike[str] | None = None,
    check_data: bool = True,
) -> Recipe:
    """Read a recipe and check all of it.

    Args:
        source: a YAML file, a run folder, a mapping, or a recipe.
        overrides: ``"trainer.max_epochs=3"``: a dotted key, and a value as YAML writes it.
        output: the run folder, instead of the recipe's.
        check_data: look whether model, encoder and data exist.

    Raises:
        ConfigError: it lists every problem of keys, values, model, encoder and data.
    """
    what = "the recipe"
    path = None
    if isinstance(source, Recipe):
        path, source = source.source, source.to_dict()
    elif not isinstance(source, Mapping):
        path = what = os.fspath(source)
        if Path(path, "recipe.yaml").is_file():
            output = path if output is None else output
            path = source = os.path.join(path, "recipe.yaml")  # noqa: PTH118 - text, as it was given
        if not Path(path).is_file():
            raise _no_file(path)
    kinds = [resolve(one.recipe) for one in domains() if one.recipe]
    short = frozenset().union(*(kind.short for kind in kinds))
    given = _copy(read_mapping(source, "a recipe holds model, data, …"))
    mapping = {key: _long_form(key, value, short) for key, value in given.items()}
    problems = [problem for override in overrides for problem in _override(mapping, override, short)]
    if output is not None:
        mapping["output"] = os.fspath(output)
    info, _ = model_info(mapping.get("model"))
    kind = _kind_of(mapping, info, kinds)
    trainer = mapping["trainer"] = {} if mapping.get("trainer") is None else mapping["trainer"]
    kind.complete(mapping)
    if isinstance(trainer, dict):
        trainer.setdefault("monitor", kind.monitors(None if info is None else info.task)[0])
    problems += _problems(mapping, kind, info, kinds)
    problems += kind.problems(mapping, check_data=check_data)
    if problems:
        problems = list(dict.fromkeys(problems))
        raise ConfigError(f"{what} cannot be used:\n{bulleted(problems)}", problems=problems, given=path)
    return kind.from_mapping(mapping, path)


def flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping by dotted keys."""
    out: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            out.update(flat(value, f"{prefix}{key}."))
        else:
            out[f"{prefix}{key}"] = value
    return out


def model_info(model: Any) -> tuple[ModelInfo | None, list[str]]:
    """The architecture that a recipe's `model` names, if it can be used; otherwise problems."""
    if not isinstance(model, dict) or not isinstance(model.get("name"), str):
        return None, []
    from holotype.catalog.registry import default_registry as registry

    name = model["name"]
    try:
        info = registry.get_model_info(name)
    except HolotypeError as error:
        entry = registry.get_pretrained_metadata(name) if registry.pretrained_exists(name) else None
        domain = domain_of(entry.task) if entry is not None else None
        if entry is not None and domain is not None and domain.recipe and _begins(resolve(domain.recipe)):
            return None, [
                f"model.name: {name!r} is a pretrained entry; write model: {entry.network} and "
                f"from_pretrained: {entry.name}"
            ]
        return None, [f"model.name: {in_one_line(error)}"]
    if info.problem is not None:
        return None, [f"model.name: {name!r} cannot be used: {info.problem}"]
    return info, []


def _begins(kind: type[Recipe]) -> bool:
    """Whether such a recipe may begin with the weights of an entry."""
    return "from_pretrained" in kind.allowed_keys()


def _kind_of(mapping: Mapping[str, Any], info: ModelInfo | None, kinds: list[type[Recipe]]) -> type[Recipe]:
    """The class of a recipe: by its model's task; if that is not known, the one that its keys fit best."""
    if info is not None:
        domain = domain_of(info.task)
        if domain is not None and domain.recipe:
            found: type[Recipe] = resolve(domain.recipe)
            return found
    return min(kinds, key=lambda kind: len(set(mapping).difference(kind.allowed_keys()))
               + len(set(kind.examples).difference(mapping)))  # fmt: skip


def _no_file(path: str) -> ConfigError:
    folder = Path(path).parent
    beside = [str(one) for one in sorted(folder.glob("*.y*ml"))] if folder.is_dir() else []
    return ConfigError(
        f"no recipe {path!r} exists.",
        given=path,
        nearest=nearest(path, beside),
        hint=f"Recipes there: {listed([Path(one).name for one in beside], 8)}" if beside else None,
    )


def _copy(value: Any, left: list[int] | None = None) -> Any:
    """A copy, of limited size: a few lines of nested YAML aliases can stand for gigabytes."""
    left = [_MOST_VALUES] if left is None else left
    left[0] -= 1
    if left[0] < 0:
        raise ConfigError(f"a recipe holds at most {_MOST_VALUES:,} values, and this one holds more.")
    if isinstance(value, Mapping):
        return {key: _copy(item, left) for key, item in value.items()}
    return [_copy(item, left) for item in value] if isinstance(value, (list, tuple)) else value


def _long_form(key: Any, value: Any, short: frozenset[str]) -> Any:
    """The long form of what may be written short: ``data: bernett`` is ``data: {name: bernett}``."""
    if key not in short:
        return value
    if isinstance(value, list):
        return [_long_form(key, one, short) for one in value]
    return {"name": value} if isinstance(value, str) else value


def _override(mapping: dict[str, Any], text: str, short: frozenset[str]) -> list[str]:
    import yaml

    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        return [f"{text}: not key=value; write trainer.max_epochs=3"]
    try:
        read_value = read_yaml(value)
    except yaml.YAMLError as error:
        return [f"{key}: the value {shown(value)} is not YAML: {str(error).splitlines()[0]}"]
    place: Any = mapping
    for depth, part in enumerate(parts[:-1]):
        inner = place.get(part)
        if inner is None:
            inner = place[part] = {}
        if isinstance(inner, list) and len(inner) == 1:
            inner = inner[0]  # a list of one encoder
        if not isinstance(inner, dict):
            return [f"{key}: {'.'.join(parts[: depth + 1])} is {shown(inner)}, which has no keys"]
        place = inner
    place[parts[-1]] = _long_form(key, read_value, short)
    return []


def _problems(
    mapping: dict[str, Any], kind: type[Recipe], info: ModelInfo | None, kinds: list[type[Recipe]]
) -> list[str]:
    """Problems of keys, types and ranges, and of what every recipe has."""
    keys, hints = kind.allowed_keys(), get_type_hints(kind)
    unknown = [key for key in mapping if key not in keys]
    problems = [f"{key}: no such key{_not_here(key, kind, info, kinds)}" for key in unknown]
    for key, example in kind.examples.items():
        if mapping.get(key) is None:
            problems.append(f"{key}: missing; for example {key}: {example}")
    for key, cls in kind.parts().items():
        value = mapping.get(key)
        if value is None:
            mapping.pop(key, None)
        elif _is_several(hints[key]) and isinstance(value, list):
            problems += [f"{key}: an empty list"] if not value else []
            problems += [problem for one in value for problem in part_problems(key, one, cls, kind.ranges)]
        else:
            problems += part_problems(key, value, cls, kind.ranges)
    seed, output = mapping.get("seed", 0), mapping.get("output")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        problems.append(f"seed: expected a whole number from 0 to {2**32 - 1}, got {shown(seed)}")
    if output is not None and (not isinstance(output, str) or not output):
        problems.append(f"output: expected the path of a folder, got {shown(output)}")
    return problems + _trainer_problems(mapping, kind.monitors(None if info is None else info.task))


def _trainer_problems(mapping: Mapping[str, Any], monitors: tuple[str, ...]) -> list[str]:
    trainer = mapping.get("trainer")
    if not isinstance(trainer, dict):
        return []
    problems, monitor = [], trainer.get("monitor")
    if isinstance(monitor, str) and monitor not in monitors:
        choices = ", ".join(map(repr, monitors))
        problems.append(f"trainer.monitor: expected one of {choices}, got {shown(monitor)} (str)")
    if trainer.get("precision") == "16-mixed" and trainer.get("accelerator") == "cpu":
        problems.append("trainer.precision: 16-mixed needs a GPU; on a CPU there is bf16-mixed")
    return problems


def _not_here(key: object, kind: type[Recipe], info: ModelInfo | None, kinds: list[type[Recipe]]) -> str:
    """Why a key is none: it is of a part, misspelt, or of another domain's recipe."""
    others = [other for other in kinds if key in other.allowed_keys()]
    if others and info is not None:
        tasks = " and ".join(sorted(others[0].tasks))
        return f" here: it is for {tasks}, and {info.name!r} is for {info.task}"
    places = {name: f"{part}.{name}" for part, cls in kind.parts().items() for name in get_type_hints(cls)}
    if key in places:
        return f"; did you mean {places[str(key)]!r}?"
    close = nearest(str(key), kind.allowed_keys(), count=1)
    close = close or [places[name] for name in nearest(str(key), places, count=1)]
    return f"; did you mean {close[0]!r}?" if close else ""


def _part_class(hint: Any) -> type | None:
    """The dataclass in a type hint: ``BatchPart``, ``BatchPart | None``, ``tuple[BatchPart, ...]``."""
    candidates = (hint, *get_args(hint))
    return next((one for one in candidates if hasattr(one, "__dataclass_fields__")), None)


def _is_several(hint: Any) -> bool:
    return getattr(hint, "__origin__", None) is tuple
