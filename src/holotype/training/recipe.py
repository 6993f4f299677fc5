"""Recipes: a YAML file that says what to train, on what, and how.

::

    model: {name: v1, params: {hidden_dim: 128, symmetry: sum}}
    data: bernett
    encoder: {name: unirep_256, pooling: mean}
    batch: {pairs: 512}
    trainer: {max_epochs: 20, patience: 4}
    optimizer: {lr: 0.001, weight_decay: 0.05}
    scheduler: one_cycle
    seed: 1

What its model is for decides which kind of recipe it is: of protein pairs (`Recipe`) or of images
(`ImageRecipe`). Everything is checked, and every problem told at once, before anything starts; neither torch
nor a model's file is imported for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from holotype.catalog.parameters import shown
from holotype.errors import ConfigError
from holotype.mappings import read_mapping, read_yaml
from holotype.names import nearest
from holotype.proteins.training import recipe as protein_recipe
from holotype.proteins.training.recipe import Recipe, architecture_of, input_dim_of
from holotype.training.recipe_parts import (
    FREE,
    AnyRecipe,
    Kind,
    OptimizerPart,
    SchedulerPart,
    TrainerPart,
    did_you_mean,
    flat,
    model_info,
    part_problems,
)
from holotype.vision.training import recipe as image_recipe
from holotype.vision.training.recipe import ImageRecipe

__all__ = [
    "FREE",
    "ImageRecipe",
    "OptimizerPart",
    "Recipe",
    "SchedulerPart",
    "TrainerPart",
    "architecture_of",
    "flat",
    "input_dim_of",
    "load_recipe",
]

# What a recipe may hold, aliases written out.
_MOST_VALUES = 100_000
_KINDS = (protein_recipe.KIND, image_recipe.KIND)


def load_recipe(
    source: Mapping[str, Any] | str | os.PathLike[str] | AnyRecipe,
    overrides: Iterable[str] = (),
    *,
    output: str | os.PathLike[str] | None = None,
    check_data: bool = True,
) -> Recipe | ImageRecipe:
    """Read a recipe and check all of it.

    Args:
        source: a YAML file, a run folder, a mapping, or a recipe.
        overrides: ``"trainer.max_epochs=3"``: a dotted key, and a value as YAML writes it.
        output: the run folder, whatever the recipe says.
        check_data: look whether model, encoder and data are there.

    Raises:
        ConfigError: it lists every problem of keys, values, model, encoder and data.
    """
    what = "the recipe"
    path = None
    if isinstance(source, AnyRecipe):
        path, source = source.source, source.to_dict()
    elif not isinstance(source, Mapping):
        path = what = os.fspath(source)
        if Path(path, "recipe.yaml").is_file():
            output = path if output is None else output
            path = source = os.path.join(path, "recipe.yaml")  # noqa: PTH118 - text, as it was given
        if not Path(path).is_file():
            raise _no_file(path)
    mapping = {
        key: _spelled_out(key, value)
        for key, value in _copy(read_mapping(source, "a recipe holds model, data, …")).items()
    }
    problems = [problem for override in overrides for problem in _override(mapping, override)]
    if output is not None:
        mapping["output"] = os.fspath(output)
    kind, task = _kind_of(mapping)
    kind.complete(mapping)
    problems += _shape(mapping, kind, task)
    problems += kind.check(mapping, check_data)
    if problems:
        problems = list(dict.fromkeys(problems))
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise ConfigError(f"{what} cannot be used:\n{lines}", problems=problems, given=path)
    recipe = kind.make(mapping, path)
    assert isinstance(recipe, Recipe | ImageRecipe)  # noqa: S101 - there are no other kinds
    return recipe


def _kind_of(mapping: Mapping[str, Any]) -> tuple[Kind, str | None]:
    """Which kind of recipe it is, and its model's task; where no model tells, what proteins need does."""
    info, _ = model_info(mapping.get("model"))
    if info is not None:
        for kind in _KINDS:
            if info.task in kind.tasks:
                return kind, info.task
    proteins, images = _KINDS
    return (proteins if "encoder" in mapping else images), None


def _no_file(path: str) -> ConfigError:
    folder = Path(path).parent
    beside = [str(one) for one in sorted(folder.glob("*.y*ml"))] if folder.is_dir() else []
    return ConfigError(
        f"there is no recipe {path!r}.",
        given=path,
        nearest=nearest(path, beside),
        hint=f"Recipes there: {', '.join(Path(one).name for one in beside[:8])}" if beside else None,
    )


def _copy(value: Any, left: list[int] | None = None) -> Any:
    """A copy, of reasonable size: a few lines of nested YAML aliases stand for gigabytes."""
    left = [_MOST_VALUES] if left is None else left
    left[0] -= 1
    if left[0] < 0:
        raise ConfigError(f"a recipe holds at most {_MOST_VALUES:,} values, and this one holds more.")
    if isinstance(value, Mapping):
        return {key: _copy(item, left) for key, item in value.items()}
    return [_copy(item, left) for item in value] if isinstance(value, (list, tuple)) else value


def _spelled_out(key: Any, value: Any) -> Any:
    """The long form of what may be written short: ``data: bernett`` is ``data: {name: bernett}``."""
    if isinstance(value, str) and any(key in kind.short for kind in _KINDS):
        return {"name": value}
    if key == "encoder" and isinstance(value, list):
        return [_spelled_out(key, one) for one in value]
    return value


def _override(mapping: dict[str, Any], text: str) -> list[str]:
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
            return [f"{key}: {'.'.join(parts[: depth + 1])} is {shown(inner)}, which has no keys of its own"]
        place = inner
    place[parts[-1]] = _spelled_out(key, read_value)
    return []


def _shape(mapping: dict[str, Any], kind: Kind, task: str | None) -> list[str]:
    """Problems of keys, types and ranges. Numbers that YAML 1.1 takes for text are put right."""
    problems = [f"{key}: no such key{_not_here(str(key), kind, task, mapping)}" for key in mapping
                if key not in kind.keys]  # fmt: skip
    for key, example in kind.examples.items():
        if mapping.get(key) is None:
            problems.append(f"{key}: missing; for example {key}: {example}")
    for key, cls in kind.parts.items():
        value = mapping.get(key)
        if value is None:
            mapping.pop(key, None)
        elif cls is None:
            continue  # no part with keys of its own: `check` looks at it
        elif key == "encoder" and isinstance(value, list):
            if not value:
                problems.append("encoder: an empty list")
            for one in value:
                problems += part_problems("encoder", one, cls, kind.ranges)
        else:
            problems += part_problems(key, value, cls, kind.ranges)
    seed, output = mapping.get("seed", 0), mapping.get("output")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        problems.append(f"seed: expected a whole number from 0 to {2**32 - 1}, got {shown(seed)}")
    if output is not None and (not isinstance(output, str) or not output):
        problems.append(f"output: expected the path of a folder, got {shown(output)}")
    trainer = mapping.get("trainer")
    trainer = trainer if isinstance(trainer, dict) else {}
    monitor, monitors = trainer.get("monitor"), kind.monitors(task)
    if isinstance(monitor, str) and monitor not in monitors:
        choices = ", ".join(map(repr, monitors))
        problems.append(f"trainer.monitor: expected one of {choices}, got {shown(monitor)} (str)")
    if trainer.get("precision") == "16-mixed" and trainer.get("accelerator") == "cpu":
        problems.append("trainer.precision: 16-mixed needs a GPU; on a CPU there is bf16-mixed")
    return problems


def _not_here(key: str, kind: Kind, task: str | None, mapping: Mapping[str, Any]) -> str:
    """Why a key is none: it is misspelt, or of another kind of recipe."""
    others = [other for other in _KINDS if key in other.keys]
    if others and task is not None:
        tasks = " and ".join(sorted(others[0].tasks))
        return f" here: it is for {tasks}, and {mapping['model']['name']!r} is for {task}"
    return did_you_mean(key, kind.keys)
