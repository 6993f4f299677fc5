"""A trained model of images: opened by its name, checked for its task, and applied to batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from holotype.domains import domain_of
from holotype.errors import DataError
from holotype.tasks import Task
from holotype.vision.data.preprocessing import field_of
from holotype.vision.prediction.files import Progress, Unreadable, decoded
from holotype.vision.tasks import TASKS

if TYPE_CHECKING:
    from holotype.weights.model_info import LoadedModelInfo

Model = str | Path | tuple[nn.Module, object]
"""A pretrained entry, a weight file, a run's folder; or a network and what was loaded with it."""
Key = TypeVar("Key")
Extra = TypeVar("Extra")
Made = TypeVar("Made")


def load_image_model(name: str | Path, *, device: str = "cpu") -> tuple[nn.Module, LoadedModelInfo]:
    """Load a model of images.

    Args:
        name: a pretrained entry, a weight file, or the folder of a training run.
        device: where it will run.

    Returns:
        The network in evaluation mode, and its record.

    Raises:
        UnknownPretrainedError: neither a file nor a folder nor an entry of that name.
        DataError: a folder without weights, or a model of proteins.
        LoadingError: and what else `holotype.weights.open.open_model` raises.
    """
    from holotype.weights.open import find

    found = find(name)
    _check_task(name, found.task)  # before anything is fetched
    net, info = found.open(inference=True, device=device)
    _check_task(name, image_task(net, info))
    return net, info


def opened(model: Model, device: str = "cpu") -> tuple[nn.Module, object]:
    """A network and its record; loaded if a name was given."""
    return model if isinstance(model, tuple) else load_image_model(model, device=device)


def model_name(model: Model, model_info: object) -> str:
    """The model's name in messages and reports."""
    return str(field_of(model_info, "name") or "the network") if isinstance(model, tuple) else str(model)


def image_task(net: nn.Module, info: object) -> str:
    """The task of a loaded network: that of its class, else that of its record."""
    return str(getattr(net, "task", None) or field_of(info, "task") or "an unknown task")


@contextmanager
def evaluating(net: nn.Module) -> Iterator[Tensor]:
    """Evaluation mode for a while, without gradients; gives a tensor of its device and dtype."""
    was_training = net.training
    net.eval()
    try:
        with torch.inference_mode():
            yield next((one for one in net.parameters() if one.is_floating_point()), torch.empty(0))
    finally:
        net.train(was_training)


def applied(
    net: nn.Module,
    run: Callable[[Tensor], Made],
    images: Sequence[Key],
    read: Callable[[Key], tuple[Tensor, Extra]],
    *,
    stage: str,
    batch_size: int,
    unreadable: list[Unreadable] | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[list[tuple[Key, Tensor, Extra]], Made]]:
    """What a network makes of images, batch by batch; threads decode the next ones meanwhile.

    Args:
        net: in evaluation mode for each batch, and as it was in between.
        run: (B, C, H, W) images → anything; a method of the network.
        images: their paths, or whatever `read` takes.
        read: one of them → its (C, H, W) tensor, and what else to keep of it.
        stage: what `progress` is called with.
        batch_size: how many images at once.
        unreadable: where to note what cannot be read; None to raise an ImageError there.
        progress: called with the stage, how many images are done, and how many there are.

    Returns:
        For each batch its images, each with its tensor and what else was kept; and what `run` returned.

    Raises:
        ParameterError: `batch_size` is not a positive number.
    """
    batches = decoded(images, read, batch_size=batch_size, unreadable=unreadable)

    def run_batches() -> Iterator[tuple[list[tuple[Key, Tensor, Extra]], Made]]:
        done = 0
        # A generator must not hold a mode of torch while its caller goes on: each batch enters it anew.
        for batch in batches:
            with evaluating(net) as like:
                stacked = torch.stack([tensor for _, (tensor, _) in batch])
                made = run(stacked.to(device=like.device, dtype=like.dtype))
            yield [(key, tensor, extra) for key, (tensor, extra) in batch], made
            done += len(batch)
            if progress is not None:
                progress(stage, done + len(unreadable or ()), len(images))

    return run_batches()


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
    """The error for a model of images that another command is for; by default the hint names that command."""
    facts = TASKS.get(task)
    does = f"is a model for {task}" if facts is None else facts.does
    if hint is None and facts is not None:
        hint = facts.command.format(name=name)
    return DataError(f"{name} {does}; {wanted} is not for it.", given=str(name), hint=hint)


def check_classifier(name: object, task: str, wanted: str) -> None:
    """Refuse a network whose task is known and is not to classify.

    Raises:
        DataError: as `refuse`.
    """
    if task in TASKS and not TASKS[task].classifies:
        raise refuse(name, task, wanted)


def class_names(model_info: object) -> dict[int, str]:
    """The names of classes by their indices; empty where its record does not say."""
    class_to_idx: Mapping[str, Any] = field_of(model_info, "class_to_idx") or {}
    return {int(index): str(name) for name, index in class_to_idx.items()}
