"""What a training run needs to know of what it trains: pairs of proteins, or images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from holotype.training.folder import RunResult
from holotype.training.recipe_parts import AnyRecipe

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from torch import nn

    from holotype.training.loop import Fitted
    from holotype.training.objective import Objective
    from holotype.training.steps import TrainingBatches

Tell = Callable[[str], None]
Amount = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Work:
    """What the loop is given.

    Attributes:
        objective: what is minimised and measured.
        training: steps, for this process.
        validation: batches, likewise.
    """

    objective: Objective
    training: TrainingBatches
    validation: Iterable[Any]


class Job(Protocol):
    """One training of some kind. Its methods are called in this order, in every process but the last one."""

    @property
    def recipe(self) -> AnyRecipe:
        """What to do."""
        ...

    def prepare(self, device: Any, say: Tell, progress: Amount | None) -> None:
        """Get the data and all else that is needed; raise what cannot be used. Nothing is written yet."""
        ...

    def begin(self, folder: Path) -> None:
        """Write what is known beforehand into a new run folder."""
        ...

    def network(self) -> nn.Module:
        """The network to train; randomness is seeded already."""
        ...

    def binding(self) -> Mapping[str, Any]:
        """What, beside the recipe, a checkpoint must have been made with to be continued."""
        ...

    def work(self, net: nn.Module, fabric: Fabric, say: Tell) -> Work:
        """Batches and objective."""
        ...

    def finish(self, net: nn.Module, fitted: Fitted, fabric: Fabric, folder: Path, say: Tell) -> RunResult:
        """Save the network and measure it, in the first process."""
        ...


def metric(name: str, value: float, dataset: str, split: str, **more: Any) -> dict[str, Any]:
    """A figure as a weight file records it."""
    return {
        "name": name.removeprefix("val_"),
        "value": float(value),
        "dataset": dataset,
        "split": split,
        **more,
    }


def finite(metrics: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that are numbers."""
    return [one for one in metrics if math.isfinite(one["value"])]


def result_of(
    fitted: Fitted, folder: Path, weights: Path, test: Mapping[str, float], temperature: float = 1.0
) -> RunResult:
    """What a finished training tells."""
    return RunResult(
        folder=folder,
        weights=weights,
        best_epoch=fitted.best_epoch,
        epochs=fitted.epochs,
        stopped_early=fitted.stopped_early,
        temperature=temperature,
        validation=dict(fitted.best),
        test=dict(test),
    )
