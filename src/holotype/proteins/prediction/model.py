"""Trained models of protein interactions: a pretrained entry, a weight file or the folder of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.errors import DataError, MetadataError
from holotype.files import sha256_of
from holotype.frozen import thaw
from holotype.tasks import Task

if TYPE_CHECKING:
    from torch import nn

    from holotype.weights.model_info import LoadedModelInfo


@dataclass(frozen=True)
class InteractionModelInfo:
    """A protein interaction model that was loaded.

    Attributes:
        name: the pretrained entry, or the file.
        network: its architecture, qualified.
        path: the weight file.
        sha256: of that file.
        encoder: the encoder records of the embeddings it was trained on, several where they were joined;
            empty if the file does not record them.
        temperature: logits are divided by it before the sigmoid; 1 if the model was not calibrated.
        symmetric: whether both orders of two proteins have the same score.
        loaded: everything else.
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
    """Load a protein interaction model.

    Args:
        model: a pretrained entry, a weight file, or the folder of a training run.
        device: where it will run.

    Returns:
        The network in evaluation mode, and its description.

    Raises:
        UnknownPretrainedError: neither a file nor a folder nor an entry of that name.
        DataError: a folder without weights, or a model of another task.
        MetadataError: its record of encoder or calibration cannot be used.
        LoadingError: as for `holotype.weights.open.Found.open`.
    """
    from holotype.weights.open import find

    found = find(model)
    _check_task(model, found.task)  # before anything is fetched
    net, loaded = found.open(inference=True, device=device)
    _check_task(model, getattr(net, "task", None) or loaded.task or "an unknown task")
    record = thaw(loaded.record)
    info = InteractionModelInfo(
        name=str(model) if found.path is not None else loaded.name,
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


def _encoders(value: object, model: object) -> tuple[Mapping[str, Any], ...]:
    records = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    if not all(isinstance(record, Mapping) and record.get("encoder") for record in records):
        raise MetadataError(
            f"{model} has an encoder record without the name of an encoder: {value!r:.80}.", given=value
        )
    return tuple(dict(record) for record in records if isinstance(record, Mapping))


def _temperature(value: object, model: object) -> float:
    temperature = value.get("temperature", 1.0) if isinstance(value, Mapping) else 1.0
    if (
        isinstance(temperature, bool)
        or not isinstance(temperature, (int, float))
        or not 0 < temperature < math.inf  # as large as `fit_temperature` makes it for uninformative logits
    ):
        raise MetadataError(
            f"{model} has a calibration temperature that is not a positive number: {temperature!r}.",
            given=temperature,
        )
    return float(temperature)
