"""A trained model of images, from wherever it is: a pretrained entry, a weight file, a run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.errors import DataError, UnknownPretrainedError
from holotype.proteins.prediction.model import weights_of
from holotype.tasks import Task
from holotype.vision.data.preprocessing import field_of

if TYPE_CHECKING:
    from torch import nn

    from holotype.weights.model_info import LoadedModelInfo

IMAGE_TASKS = (
    Task.IMAGE_CLASSIFICATION,
    Task.OBJECT_DETECTION,
    Task.MASKED_IMAGE_MODELING,
    Task.SELF_SUPERVISED_LEARNING,
)


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
    path = weights_of(name)
    if path is not None:
        from holotype.weights.open import load_checkpoint

        net, info = load_checkpoint(path, inference=True, device=device)
    else:
        from holotype.weights.open import load_pretrained_model

        try:
            # Before anything is fetched.
            check_image_task(name, task_of(name))
            net, info = load_pretrained_model(str(name), inference=True, device=device)
        except UnknownPretrainedError as error:
            raise _unknown(str(name), error) from error
    check_image_task(name, image_task(net, info))
    return net, info


def image_task(net: nn.Module, info: object) -> str:
    """What a loaded network is for: what its class says, else what its record says."""
    return str(getattr(net, "task", None) or field_of(info, "task") or "a task that it does not tell")


def task_of(name: str | Path) -> str | None:
    """The task of a model that may be anywhere, without loading it; None where nothing tells.

    Args:
        name: an architecture, a pretrained entry, a weight file, or a run's folder.

    Raises:
        DataError: a folder without weights.
    """
    from holotype.catalog.registry import default_registry as registry

    path = Path(name)
    if path.exists():
        from holotype.weights.inspect import inspect_file

        weights = weights_of(path)
        file = inspect_file(weights) if weights is not None else None
        task = None if file is None else file.record.get("task")
        if isinstance(task, str):
            return task
        own = None if file is None else file.architecture
        return registry.get_model_info(own).task if own and registry.exists(own) else None
    if registry.pretrained_exists(str(name)):
        return registry.get_pretrained_metadata(str(name)).task
    return registry.get_model_info(str(name)).task if registry.exists(str(name)) else None


def check_image_task(name: object, task: str | None) -> None:
    """Refuse models of proteins.

    Raises:
        DataError: the task is that of another zoo.
    """
    if task == Task.PROTEIN_INTERACTION:
        raise DataError(
            f"{name} scores pairs of proteins, not photographs.",
            given=str(name),
            hint=f"holotype predict {name} --fasta X.fasta --all-vs-all -o OUT.tsv",
        )
    if task == Task.PROTEIN_EMBEDDING:
        raise DataError(
            f"{name} embeds proteins, not photographs.",
            given=str(name),
            hint=f"holotype embed X.fasta --encoder {name} -o OUT.emb",
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


def _unknown(name: str, error: UnknownPretrainedError) -> UnknownPretrainedError:
    from holotype.catalog.registry import default_registry as registry

    if registry.exists(name):
        return UnknownPretrainedError(
            f"{name!r} is an architecture: it has no weights of its own.",
            given=name,
            hint=f"See what was trained: holotype list --pretrained '*{name}*'",
        )
    return UnknownPretrainedError(
        f"{name!r} is no pretrained entry, and no weight file or folder of a training run.",
        given=name,
        nearest=error.nearest,
        hint=error.hint or "See the entries: holotype list --pretrained",
    )
