"""A training run: a recipe becomes a folder that holds the model and its whole record.

The weights are written as soon as they are trained; what fails after that can be repeated with `resume`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from holotype.catalog.values import canonical
from holotype.domains import domain_of
from holotype.entry_points import resolve
from holotype.errors import HolotypeError, TrainingError
from holotype.training.devices import make_fabric
from holotype.training.folder import RECIPE, RESULT, WEIGHTS, RunResult, claim, folder_of, hold, write_yaml
from holotype.training.job import Amount, Job, Tell
from holotype.training.lineage import own_code
from holotype.training.loop import Fitted, Progress, fit
from holotype.training.randomness import own_randomness, seed_all
from holotype.training.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    import os

    from lightning.fabric import Fabric
    from torch import nn

_T = TypeVar("_T")


def train(
    recipe: Mapping[str, Any] | str | os.PathLike[str] | Recipe,
    overrides: Iterable[str] = (),
    *,
    output: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    embedding: Amount | None = None,
    tell: Tell | None = None,
) -> RunResult:
    """Train a model as a recipe says, measure it, and save it with its whole record.

    Args:
        recipe: a YAML file, a run folder, a mapping, or a checked recipe.
        overrides: ``"trainer.max_epochs=3"``.
        output: the run folder; ``runs/NAME`` if neither this nor the recipe says.
        resume: continue an interrupted run, or start it if it does not exist.
        progress: called after each step and each epoch.
        embedding: called with the amount that is prepared (residues embedded) and the whole amount.
        tell: called with a line for each stage.

    Raises:
        ConfigError: the recipe has problems; or the run folder exists, or belongs to another recipe.
        LeakageError: the parts share what their protocol forbids.
        DataError: the dataset or the embeddings cannot be used.
        TrainingError: the training cannot continue; the message states what is saved.
        KeyboardInterrupt: interrupted, after a checkpoint; its text is the command that continues.
    """
    checked = load_recipe(recipe, overrides, output=output)
    own_code()  # now: a commit during the training is not what trains
    folder = folder_of(checked)
    say = tell or (lambda line: None)
    fabric = make_fabric(checked.trainer)
    before = _on_first(fabric, lambda: claim(checked, folder, resume=resume))
    if before is not None:
        say(f"finished already: {folder}")
        return before
    job = _job(checked)
    with own_randomness():
        _in_turn(fabric, lambda: _prepare(job, folder, say, fabric.device, embedding))
    held: list[BinaryIO] = []  # locks the folder until this process ends
    try:
        before = _on_first(fabric, lambda: hold(checked, folder, held))
        if before is not None:
            say(f"finished already: {folder}")
            return before
        with own_randomness():
            seed_all(checked.seed, "weights")
            net = job.network()
        continued = f"holotype train {shlex.quote(str(folder))} --resume"
        try:
            fitted = _fit(job, net, fabric, folder, resume, progress, say)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted; a checkpoint is saved. Continue with: {continued}"
            ) from None
        with _safe(folder, continued), own_randomness():
            seed_all(checked.seed, "after")
            result = _on_first(fabric, lambda: job.finish(net, fitted, fabric, folder, say))
        return result or _read(folder)
    finally:
        for file in held:
            file.close()


def _job(recipe: Recipe) -> Job[Any]:
    """The training of a recipe, by the domain that serves its model's task."""
    domain = domain_of(recipe.task)
    if domain is None:
        raise TrainingError(f"no domain trains models for {recipe.task}.", given=recipe.task)
    made: Job[Any] = resolve(domain.job)(recipe)
    return made


def _prepare(job: Job[Any], folder: Path, say: Tell, device: Any, progress: Amount | None) -> bool:
    """Make the run folder once everything that is needed can be used."""
    job.prepare(device, say, progress)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / RECIPE).exists():
        job.begin(folder)
        write_yaml(folder / RECIPE, {**job.recipe.to_dict(), "output": str(folder)})
    return True


def _fit(
    job: Job[Any],
    net: nn.Module,
    fabric: Fabric,
    folder: Path,
    resume: bool,
    progress: Callable[[Progress], None] | None,
    say: Tell,
) -> Fitted:
    recipe, work = job.recipe, job.work(net, fabric, say)
    binding = canonical({"recipe": recipe.digest(), **job.binding()})
    return fit(
        net,
        work.objective,
        work.training,
        work.validation,
        fabric=fabric,
        trainer=recipe.trainer,
        optimizer=recipe.optimizer,
        scheduler=recipe.scheduler,
        seed=recipe.seed,
        folder=folder,
        binding=sha256(binding.encode("ascii")).hexdigest(),
        resume=resume,
        progress=progress if fabric.is_global_zero else None,
    )


@contextmanager
def _safe(folder: Path, continued: str) -> Iterator[None]:
    """If something fails after the training, say where the weights are and how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; the model is trained. Finish with: {continued}") from None
    except Exception as error:
        weights = folder / WEIGHTS
        where = f"the weights are in {weights}" if weights.exists() else f"see {folder / 'checkpoints'}"
        raise TrainingError(
            f"the model is trained, and {where}, but a later step failed:\n  {error}",
            given=str(folder),
            hint=f"Nothing has to be trained again: {continued}",
        ) from error


# -- several processes ---------------------------------------------------------------------------


def _on_first(fabric: Fabric, do: Callable[[], _T]) -> _T | None:
    """Call a function in the first process; every process returns its result or raises its error."""
    if fabric.world_size == 1:
        return do()
    outcome: tuple[_T | None, HolotypeError | None] = None, None
    if fabric.is_global_zero:
        outcome = _attempt(do)
    outcome = fabric.broadcast(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def _in_turn(fabric: Fabric, do: Callable[[], _T]) -> _T:
    """Call a function in the first process, then in the others, which find its results in the caches."""
    if fabric.world_size == 1:
        return do()
    mine, error = _attempt(do) if fabric.is_global_zero else (None, None)
    error = fabric.broadcast(error)
    if error is not None:
        raise error
    return mine if mine is not None else do()


def _attempt(do: Callable[[], _T]) -> tuple[_T | None, HolotypeError | None]:
    """A result, or an error of any kind: the other processes would wait for it for ever."""
    try:
        return do(), None
    except HolotypeError as error:
        return None, error
    except Exception as error:  # noqa: BLE001 - raised in every process
        return None, TrainingError(f"{type(error).__name__}: {error}")


def _read(folder: Path) -> RunResult:
    result = RunResult.read(folder)
    if result is None:
        raise TrainingError(f"{folder} has no {RESULT}: is it on a disk that all machines share?")
    return result
