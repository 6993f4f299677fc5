"""One training of a domain: its data, its network and what is measured, as a training run needs them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import holotype
from holotype.training.folder import RESULT, WEIGHTS, RunResult, write_json
from holotype.training.lineage import lineage_of
from holotype.training.recipe import Recipe

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from torch import nn

    from holotype.training.loop import Fitted
    from holotype.training.objective import Objective
    from holotype.training.steps import TrainingBatches

AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)
Tell = Callable[[str], None]
Amount = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Work:
    """What the loop works on.

    Attributes:
        objective: what is minimised and measured.
        training: steps, for this process.
        validation: batches, likewise.
    """

    objective: Objective
    training: TrainingBatches
    validation: Iterable[Any]


@dataclass(frozen=True)
class Tested:
    """What was measured of a trained network.

    Attributes:
        figures: on the test examples; empty without any.
        about_figures: figure -> what a weight file records beside it, such as an interval.
        saved: what a weight file records besides the figures, such as a calibration.
        about: what ``result.json`` holds besides the figures.
        temperature: what logits are divided by.
    """

    figures: Mapping[str, float] = field(default_factory=dict)
    about_figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    saved: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    temperature: float = 1.0


class Job(ABC, Generic[AnyRecipe]):
    """One training of a domain.

    A run calls the methods in the order in which they stand here; the last three in the first process alone.

    Attributes:
        recipe: what to do.
        dataset: anything with a `name`, and `digests` (role -> sha256 of the file); set by `prepare`.
    """

    dataset: Any

    def __init__(self, recipe: AnyRecipe) -> None:
        self.recipe = recipe

    @abstractmethod
    def prepare(self, device: Any, say: Tell, progress: Amount | None) -> None:
        """Get the data and all else that is needed. Nothing is written yet.

        Args:
            device: where the network will be trained.
            say: called with a line for each stage.
            progress: called with the amount that is done and the whole amount, if something takes long.

        Raises:
            HolotypeError: something cannot be used.
        """

    def begin(self, folder: Path) -> None:
        """Write what is known beforehand into a new run folder."""

    @abstractmethod
    def network(self) -> nn.Module:
        """The network to train; randomness is seeded already."""

    def binding(self) -> Mapping[str, Any]:
        """What a checkpoint must have been made with to be continued, besides the recipe."""
        return {"data": dict(self.dataset.digests)}

    @abstractmethod
    def work(self, net: nn.Module, fabric: Fabric, say: Tell) -> Work:
        """Batches and objective."""

    def sources(self) -> Mapping[str, Any]:
        """What lineage records besides recipe and data, such as weights that the training began with."""
        return {}

    def save(self, net: nn.Module, folder: Path, record: Mapping[str, Any]) -> None:
        """Write the network into a run folder, with a record of its sources and figures."""
        holotype.save_pretrained(net, folder / WEIGHTS, overwrite=True, **record)

    def test(self, net: nn.Module, fabric: Fabric, folder: Path, say: Tell) -> Tested | None:
        """Measure the trained network on the test examples; None if there is nothing to measure."""
        return None

    def finish(self, net: nn.Module, fitted: Fitted, fabric: Fabric, folder: Path, say: Tell) -> RunResult:
        """Save the network, measure it, and save it again with all that is known by then."""
        name = self.dataset.name
        record: dict[str, Any] = {
            "lineage": lineage_of(
                self.recipe,
                dataset_digests=self.dataset.digests,
                world_size=fabric.world_size,
                device=fabric.device.type,
                **self.sources(),
            ),
            "dataset": name,
        }
        metrics = [_metric(key, value, name, "val") for key, value in fitted.best.items()]
        self.save(net, folder, {"metrics": _finite(metrics), **record})
        tested = self.test(net, fabric, folder, say)
        if tested is None:
            tested = Tested()
        else:
            metrics += [
                _metric(key, value, name, "test", **tested.about_figures.get(key, {}))
                for key, value in tested.figures.items()
            ]
            self.save(net, folder, {"metrics": _finite(metrics), **tested.saved, **record})
        result = RunResult(
            folder=folder,
            weights=folder / WEIGHTS,
            best_epoch=fitted.best_epoch,
            epochs=fitted.epochs,
            stopped_early=fitted.stopped_early,
            temperature=tested.temperature,
            validation=dict(fitted.best),
            test={key: value for key, value in tested.figures.items() if math.isfinite(value)},
        )
        about = {**tested.about, "elapsed_s": round(fitted.elapsed_s, 3), "steps": fitted.steps, **record}
        write_json(folder / RESULT, {**result.to_dict(), **about})
        return result


def _metric(name: str, value: float, dataset: str, split: str, **more: Any) -> dict[str, Any]:
    """A figure as a weight file records it."""
    return {
        "name": name.removeprefix("val_"),
        "value": float(value),
        "dataset": dataset,
        "split": split,
        **more,
    }


def _finite(metrics: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [one for one in metrics if math.isfinite(one["value"])]
