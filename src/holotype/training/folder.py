"""The folder of a run: where it is, what is in it, and whether it may be used. Nothing here needs torch.

::

    recipe.yaml  checkpoints/  metrics.csv  tensorboard/     while it runs
    model.safetensors  result.json                           in the end

and what the domain writes: ``audit.json``, ``predictions_test.tsv`` and ``report.html`` for pairs of
proteins,
``predictions_test.csv`` for classes of images, ``encoder.safetensors`` for a model trained without labels.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from holotype import files
from holotype.catalog.values import canonical
from holotype.errors import ConfigError, StoreError
from holotype.store.locks import try_lock
from holotype.training.recipe import Recipe, load_recipe

RECIPE, RESULT, WEIGHTS = "recipe.yaml", "result.json", "model.safetensors"
ENCODER = "encoder.safetensors"  # what was trained without labels, as the bare architecture


@dataclass(frozen=True)
class RunResult:
    """The result of a training.

    Attributes:
        folder: the run folder.
        weights: the model, as `holotype.load_checkpoint` and ``holotype predict`` take it.
        best_epoch: counted from 1.
        epochs: epochs that were run.
        stopped_early: did patience end it?
        temperature: what logits are divided by; 1 where nothing is calibrated.
        validation: figures of the best epoch.
        test: figures on the test examples; empty without any.
    """

    folder: Path
    weights: Path
    best_epoch: int
    epochs: int
    stopped_early: bool
    temperature: float
    validation: Mapping[str, float]
    test: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain data; the folder is where the file lies."""
        return {
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "stopped_early": self.stopped_early,
            "temperature": self.temperature,
            "validation": dict(self.validation),
            "test": dict(self.test),
        }

    @classmethod
    def read(cls, folder: Path) -> RunResult | None:
        """The result of a finished run; None if it is not finished."""
        try:
            kept = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        names = ("best_epoch", "epochs", "stopped_early", "temperature", "validation", "test")
        return cls(folder=folder, weights=folder / WEIGHTS, **{name: kept[name] for name in names})


def folder_of(recipe: Recipe) -> Path:
    """The run folder of a recipe."""
    if recipe.output is not None:
        return Path(recipe.output)
    model = recipe.model.name.rpartition("/")[2]
    name = Path(recipe.source).stem if recipe.source else f"{model}_{recipe.data_name}"
    return Path("runs") / f"{name}_seed{recipe.seed}"


def claim(recipe: Recipe, folder: Path, *, resume: bool) -> RunResult | None:
    """Refuse a folder that cannot be used for a recipe; return the result of a finished run.

    Raises:
        ConfigError: it cannot be used for this recipe.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(
            f"the run folder {folder} is a file.", given=str(folder), hint="Name another: -o FOLDER"
        )
    there = next((one for one in (folder, *folder.absolute().parents) if one.exists()), folder)
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):  # said now, not after hours of embedding
        raise ConfigError(
            f"the run folder {folder} cannot be written: {there} is not a writable folder.",
            given=str(folder),
            hint="Name another: -o FOLDER",
        )
    if not folder.exists() or not any(folder.iterdir()):
        return None
    if not (folder / RECIPE).is_file():
        raise ConfigError(
            f"the folder {folder} holds files that are not of a run.",
            given=str(folder),
            hint="Nothing in it was touched. Name another: -o FOLDER",
        )
    if not resume:
        raise ConfigError(
            f"{folder} holds a run already.",
            given=str(folder),
            hint="Continue it with --resume, or name another folder: -o FOLDER",
        )
    differ = _differences(load_recipe(folder / RECIPE, check_data=False).deciding(), recipe.deciding())
    if differ:
        lines = "\n".join(f"  - {line}" for line in differ)
        raise ConfigError(
            f"the run in {folder} was started with another recipe:\n{lines}",
            problems=differ,
            given=str(folder),
            hint=f"Continue it as it was started: holotype train {shlex.quote(str(folder))} --resume",
        )
    return RunResult.read(folder)


def hold(recipe: Recipe, folder: Path, held: list[BinaryIO]) -> RunResult | None:
    """Lock a run folder for as long as the file that is added to `held` is open.

    Raises:
        ConfigError: another process trains there, or has started another recipe since it was claimed.
    """
    file = (folder / ".lock").open("ab")
    if try_lock(file.fileno()) is False:
        file.close()
        raise ConfigError(
            f"another process is training in {folder}.",
            given=str(folder),
            hint="Wait for it, or name another folder: -o FOLDER",
        )
    held.append(file)
    return claim(recipe, folder, resume=True)


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    keys = [
        key for key in {**there, **here} if canonical({"": there.get(key)}) != canonical({"": here.get(key)})
    ]
    return [f"{key}: {here.get(key)!r} here, {there.get(key)!r} there" for key in keys]


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that it is there wholly or not at all."""
    try:
        files.write_file(path, content)
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}.",
            given=str(path),
            hint="What was written before is kept: mend the cause, and give the same command with --resume.",
        ) from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, wholly or not at all."""
    replace_file(path, (json.dumps(content, indent=1, default=str) + "\n").encode())


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Write YAML, wholly or not at all."""
    import yaml

    replace_file(path, yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True).encode())
