"""A trained model of protein interactions, from wherever it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.errors import DataError, MetadataError, UnknownPretrainedError
from holotype.files import sha256_of
from holotype.frozen import thaw
from holotype.tasks import Task

if TYPE_CHECKING:
    from torch import nn

    from holotype.weights.model_info import LoadedModelInfo

WEIGHTS = "model.safetensors"
"""The weight file in a run's folder."""


@dataclass(frozen=True)
class InteractionModelInfo:
    """What one has to know of a protein interaction model that was loaded.

    Attributes:
        name: the pretrained entry, or the file.
        network: its architecture, qualified.
        path: the weight file.
        sha256: of that file.
        encoder: the encoder records of the embeddings it was trained on, several where they were joined;
            empty where the file does not say.
        temperature: what to divide logits by before the sigmoid; 1 where the model was not calibrated.
        symmetric: does the order of the two proteins not matter?
        loaded: all the rest.
    """

    name: str
    network: str
    path: Path
    sha256: str
    encoder: tuple[Mapping[str, Any], ...]
    temperature: float
    symmetric: bool
    loaded: LoadedModelInfo


def load_interaction_model(
    model: str | Path, *, device: str = "cpu"
) -> tuple[nn.Module, InteractionModelInfo]:
    """Load a protein interaction model from wherever it is.

    Args:
        model: a pretrained entry, a weight file, or the folder of a training run.
        device: where it will run.

    Returns:
        The network in evaluation mode, and what there is to know of it.

    Raises:
        UnknownPretrainedError: neither a file nor a folder nor an entry of that name.
        DataError: a folder without weights, or a model of another task.
        MetadataError: its record of encoder or calibration cannot be used.
        LoadingError: and what else `load_checkpoint` and `load_pretrained_model` raise.
    """
    path = weights_of(model)
    if path is not None:
        from holotype.weights.open import load_checkpoint

        net, loaded = load_checkpoint(path, inference=True, device=device)
    else:
        from holotype.catalog.registry import default_registry
        from holotype.weights.open import load_pretrained_model

        try:
            # Before anything is fetched.
            _check_task(model, default_registry.get_pretrained_metadata(str(model)).task)
            net, loaded = load_pretrained_model(str(model), inference=True, device=device)
        except UnknownPretrainedError as error:
            hints = [error.hint] if error.hint else []
            raise UnknownPretrainedError(
                f"{str(model)!r} is no pretrained entry, and no weight file or folder of a training run.",
                given=str(model),
                nearest=error.nearest,
                hint="\n  ".join(
                    [*hints, "See the entries: holotype list --pretrained --task protein_interaction"]
                ),
            ) from error
    _check_task(model, getattr(net, "task", None) or loaded.task or "a task that it does not tell")
    record = thaw(loaded.record)
    info = InteractionModelInfo(
        name=str(model) if path is not None else loaded.name,
        network=loaded.network,
        path=Path(loaded.path),
        sha256=loaded.sha256 or sha256_of(Path(loaded.path)),
        encoder=_encoders(record.get("encoder"), model),
        temperature=_temperature(record.get("calibration"), model),
        symmetric=bool(getattr(net, "symmetric", False)),
        loaded=loaded,
    )
    return net, info


def _check_task(model: object, task: str | None) -> None:
    if task is not None and task != Task.PROTEIN_INTERACTION:
        raise DataError(
            f"{model} is a model for {task}, not for protein interactions.",
            given=str(model),
            hint="See those that are: holotype list --pretrained --task protein_interaction",
        )


def weights_of(model: str | Path) -> Path | None:
    """The weight file that a path names, or None where it names no path, but an entry."""
    path = Path(model)
    if path.is_dir():
        inside = path / WEIGHTS
        if not inside.is_file():
            raise DataError(
                f"{path} is a folder without {WEIGHTS}.",
                given=str(path),
                hint="The folder of a finished training run has one: holotype train RECIPE",
            )
        return inside
    named_like_a_file = path.suffix.lower() in (".safetensors", ".pt", ".npz") or len(path.parts) > 2
    if path.is_file():
        return path
    if named_like_a_file or isinstance(model, Path):
        raise DataError(f"{path}: there is no such file.", given=str(path))
    return None


def _encoders(value: object, model: object) -> tuple[Mapping[str, Any], ...]:
    records = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    if not all(isinstance(record, Mapping) and record.get("encoder") for record in records):
        raise MetadataError(
            f"{model} has an encoder record that does not name an encoder: {value!r:.80}.", given=value
        )
    return tuple(dict(record) for record in records if isinstance(record, Mapping))


def _temperature(value: object, model: object) -> float:
    temperature = value.get("temperature", 1.0) if isinstance(value, Mapping) else 1.0
    if (
        isinstance(temperature, bool)
        or not isinstance(temperature, (int, float))
        or not 0 < temperature < math.inf  # as large as `fit_temperature` finds it for useless logits
    ):
        raise MetadataError(
            f"{model} has a calibration temperature that is no positive number: {temperature!r}.",
            given=temperature,
        )
    return float(temperature)
