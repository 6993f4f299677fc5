"""A trained model of images, from wherever it is: a pretrained entry, a weight file, a run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.domains import domain_of
from holotype.errors import DataError
from holotype.tasks import Task
from holotype.vision.data.preprocessing import field_of

if TYPE_CHECKING:
    from torch import nn

    from holotype.weights.model_info import LoadedModelInfo


def load_image_model(name: str | Path, *, device: str = "cpu") -> tuple[nn.Module, LoadedModelInfo]:
    """Load a model of images from wherever it is.

    Args:
        name: a pretrained entry, a weight file, or the folder of a training run.
        device: where it will run.

    Returns:
        The network in evaluation mode, and what there is to know of it.

    Raises:
        UnknownPretrainedError: neither a file nor a folder nor an entry of that name.
        DataError: a folder without weights, or a model of proteins.
        LoadingError: and what else `load_checkpoint` and `load_pretrained_model` raise.
    """
    from holotype.weights.open import find

    found = find(name)
    _check_task(name, found.task)  # before anything is fetched
    net, info = found.open(inference=True, device=device)
    _check_task(name, image_task(net, info))
    return net, info


def image_task(net: nn.Module, info: object) -> str:
    """What a loaded network is for: what its class says, else what its record says."""
    return str(getattr(net, "task", None) or field_of(info, "task") or "a task that it does not tell")


def _check_task(name: object, task: str | None) -> None:
    """Refuse models of other domains."""
    domain = domain_of(task)
    if domain is not None and domain.name != "vision":
        raise DataError(
            f"{name} is a model for {task}, not for images.",
            given=str(name),
            hint=f"See those that are: holotype list --task {Task.IMAGE_CLASSIFICATION}",
        )


def refuse(name: object, task: str, wanted: str, *, hint: str | None = None) -> DataError:
    """What to raise for a model of images that another command is for; the hint tells which, if not given."""
    hints = {
        Task.IMAGE_CLASSIFICATION: f"holotype predict {name} IMAGES",
        Task.OBJECT_DETECTION: f"holotype predict {name} IMAGES --pictures FOLDER",
        Task.MASKED_IMAGE_MODELING: f"holotype predict {name} IMAGES --pictures FOLDER",
        Task.SELF_SUPERVISED_LEARNING: f"holotype embed {name} IMAGES -o OUT.parquet",
    }
    what = {
        Task.SELF_SUPERVISED_LEARNING: "was trained without classes and names none: it embeds images",
        Task.MASKED_IMAGE_MODELING: "reconstructs masked images and knows no classes",
        Task.OBJECT_DETECTION: "detects objects in images",
        Task.IMAGE_CLASSIFICATION: "classifies images",
    }
    known = next((one for one in hints if one == task), None)
    said = what[known] if known is not None else f"is a model for {task}"
    return DataError(
        f"{name} {said}; {wanted} is not for it.",
        given=str(name),
        hint=hint or (None if known is None else hints[known]),
    )


def class_names(model_info: object) -> dict[int, str]:
    """The names of classes by their indices; empty where nobody says them."""
    class_to_idx: Mapping[str, Any] = field_of(model_info, "class_to_idx") or {}
    return {int(index): str(name) for name, index in class_to_idx.items()}
