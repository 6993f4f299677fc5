"""A training run: a recipe becomes a folder that holds the model and all there is to know about it.

The weights are written as soon as there are any; whatever fails after that can be repeated with `resume`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np

import holotype
from holotype.data.audit import audit_splits
from holotype.data.datasets import Dataset, load_dataset
from holotype.data.embedding_writer import hash_sequence
from holotype.data.pairs import PairTable
from holotype.errors import ConfigError, DataError, HolotypeError, TrainingError
from holotype.origin import canonical
from holotype.training.batches import PairBatches, PairReader, PairsToScore
from holotype.training.folder import (
    AUDIT,
    RECIPE,
    RESULT,
    WEIGHTS,
    RunResult,
    claim,
    folder_of,
    hold,
    write_json,
    write_yaml,
)
from holotype.training.lineage import lineage_of, own_code
from holotype.training.loop import Fitted, Progress, fit, make_fabric, own_randomness, seed_all
from holotype.training.objectives import PairObjective, balancing_weight
from holotype.training.recipe import Recipe, architecture_of, load_recipe

if TYPE_CHECKING:
    import os

    from lightning.fabric import Fabric
    from torch import nn

    from holotype.data.embeddings import Embeddings

Tell = Callable[[str], None]
Residues = Callable[[int, int | None], None]
_T = TypeVar("_T")


def train(
    recipe: Mapping[str, Any] | str | os.PathLike[str] | Recipe,
    overrides: Iterable[str] = (),
    *,
    output: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    embedding: Residues | None = None,
    tell: Tell | None = None,
) -> RunResult:
    """Train a model as a recipe says, measure it, and save it with its whole record.

    Args:
        recipe: a YAML file, a run folder, a mapping, or a checked recipe.
        overrides: ``"trainer.max_epochs=3"``.
        output: the run folder; ``runs/NAME`` if neither this nor the recipe says.
        resume: continue a run that was interrupted; where there is none, begin it.
        progress: called after each step and each epoch.
        embedding: called with the residues that are embedded, and all, where embeddings must be made.
        tell: called with a line for each stage.

    Raises:
        ConfigError: the recipe; or the run folder is there already, or is of another recipe.
        LeakageError: the test or validation pairs share with training what their protocol forbids.
        DataError: the dataset or the embeddings cannot be used.
        TrainingError: the training cannot go on; the message tells what is safe on disk.
        KeyboardInterrupt: interrupted, after a checkpoint; its text is the command that continues.
    """
    checked = load_recipe(recipe, overrides, output=output)
    own_code()  # now, for a commit during the training is not what trains
    folder = folder_of(checked)
    say = tell or (lambda line: None)
    fabric = make_fabric(checked.trainer)
    before = _on_first(fabric, lambda: claim(checked, folder, resume=resume))
    if before is not None:
        say(f"finished already: {folder}")
        return before
    dataset, embeddings = _in_turn(fabric, lambda: _prepare(checked, folder, say, fabric.device, embedding))
    held: list[BinaryIO] = []  # locks the folder until this process is done
    try:
        before = _on_first(fabric, lambda: hold(checked, folder, held))
        if before is not None:
            say(f"finished already: {folder}")
            return before
        with own_randomness():
            seed_all(checked.seed, "weights")
            net = _network(checked, embeddings)
        continued = f"holotype train {shlex.quote(str(folder))} --resume"
        try:
            fitted = _fit(checked, net, dataset, embeddings, fabric, folder, resume, progress, say)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted; a checkpoint is saved. Continue with: {continued}"
            ) from None
        with _safe(folder, continued):
            result = _on_first(
                fabric, lambda: _finish(checked, net, fitted, dataset, embeddings, fabric, folder, say)
            )
        return result or _read(folder)
    finally:
        for file in held:
            file.close()


# -- before --------------------------------------------------------------------------------------


def _prepare(
    recipe: Recipe, folder: Path, say: Tell, device: Any, progress: Residues | None
) -> tuple[Dataset, Embeddings]:
    """Data, audit and embeddings; only if all of them can be used is the folder made."""
    given = {key: value for key, value in recipe.to_dict()["data"].items() if value is not None}
    say(f"data: {given.get('name') or given.get('train') or given.get('pairs')}")
    dataset = load_dataset(given["name"] if set(given) == {"name"} else given)
    missing = [part for part in ("train", "val") if part not in dataset.splits]
    if missing:
        raise DataError(
            f"{dataset.name} has no {' and no '.join(missing)} pairs; it has {', '.join(dataset.splits)}.",
            given=dataset.name,
            hint="Divide it in the recipe: data.split={protocol: c3, seed: 1}",
        )
    labels = np.asarray(dataset.splits["val"].labels)
    if recipe.trainer.monitor != "val_loss" and (labels == labels[0]).all():
        raise DataError(
            f"the validation pairs of {dataset.name} are all of one label: there is no "
            f"{recipe.trainer.monitor} to choose the best epoch by.",
            given=dataset.name,
            hint="Give pairs of both labels, or trainer.monitor=val_loss",
        )
    for note in dataset.notes:
        say(f"  {note}")
    say("audit of the split")
    audit = audit_splits(dataset.splits, dataset.sequences, protocol=dataset.protocol)
    audit.raise_if_leaking()
    embeddings = _embeddings(recipe, dataset, say, device, progress)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / RECIPE).exists():
        write_json(folder / AUDIT, audit.to_dict())
        write_yaml(folder / RECIPE, {**recipe.to_dict(), "output": str(folder)})
    return dataset, embeddings


def _embeddings(
    recipe: Recipe, dataset: Dataset, say: Tell, device: Any, progress: Residues | None
) -> Embeddings:
    files = [part.file for part in recipe.encoder if part.file is not None]
    if files:
        from holotype.data.embeddings import open_embeddings

        say(f"embeddings: {', '.join(files)}")
        opened = open_embeddings(files[0] if len(files) == 1 else files)
        _check_width(recipe, opened.dim)
        _check_proteins(opened, dataset)
        return opened
    _check_width(recipe, _width(recipe))
    from holotype.prediction.embedding import EncoderSpec, embeddings_for

    specs = [EncoderSpec.parse(part) for part in recipe.to_dict()["encoder"]]
    say(f"embeddings: {', '.join(str(part.name) for part in recipe.encoder)}")
    used = {name for table in dataset.splits.values() for name in table.compact().proteins}
    sequences = {name: text for name, text in dataset.sequences.items() if name in used}
    return embeddings_for(sequences, specs, progress=progress, device=device)


def _width(recipe: Recipe) -> int:
    """The width of what the encoders will give; they are built without weights to ask them."""
    import torch

    total = 0
    for part in recipe.encoder:
        with torch.device("meta"):
            encoder: Any = holotype.create_model(architecture_of(str(part.name)))
        total += encoder.embedding_dim * len(part.pooling.split("+"))
    return total


def _check_width(recipe: Recipe, width: int) -> None:
    given = recipe.model.params.get("input_dim")
    if given not in (None, width):
        raise ConfigError(
            f"model.params.input_dim is {given}, and the embeddings are {width} wide.",
            given=given,
            hint="Leave input_dim out: it is filled in.",
        )


def _check_proteins(embeddings: Embeddings, dataset: Dataset) -> None:
    """Embeddings that somebody made before must be of this dataset's proteins, letter by letter."""
    used = {name for table in dataset.splits.values() for name in table.compact().proteins}
    missing = [name for name in used if name not in embeddings]
    other = [
        name
        for name in used.difference(missing)
        if embeddings.sequence_sha256(name) != hash_sequence(dataset.sequences[name]).hex()
    ]
    for names, what in ((missing, "have no embedding"), (other, "were embedded with another sequence")):
        if names:
            raise DataError(
                f"{len(names)} of {len(used)} proteins {what}: {', '.join(sorted(names)[:5])}"
                f"{', …' if len(names) > 5 else ''}.",
                given=sorted(names)[0],
                hint="Make the embeddings from the sequences of this dataset: holotype embed",
            )


def _network(recipe: Recipe, embeddings: Embeddings) -> nn.Module:
    params = {**recipe.model.params, "input_dim": embeddings.dim}
    return holotype.create_model(recipe.model.name, **params)


# -- during --------------------------------------------------------------------------------------


def _fit(
    recipe: Recipe,
    net: nn.Module,
    dataset: Dataset,
    embeddings: Embeddings,
    fabric: Fabric,
    folder: Path,
    resume: bool,
    progress: Callable[[Progress], None] | None,
    say: Tell,
) -> Fitted:
    pairwise = not getattr(net, "encodes_alone", False)
    readers = {
        part: PairReader(embeddings, dataset.splits[part], pairwise=pairwise, device=fabric.device)
        for part in ("train", "val")
    }
    # A network that knows the scale of its features takes it from all training proteins, each counted once.
    fit_features = getattr(net, "fit_features", None)
    if fit_features is not None:
        fit_features((emb.cpu(), lengths.cpu()) for emb, lengths in readers["train"].proteins())
    world = {"rank": fabric.global_rank, "world_size": fabric.world_size}
    training = PairBatches(
        readers["train"],
        pairs=recipe.batch.pairs,
        residues=recipe.batch.residues,
        sharing=recipe.batch.sharing,
        accumulate=recipe.trainer.accumulate,
        seed=recipe.seed,
        **world,
    )
    weight = recipe.loss.positive_weight
    labels = dataset.splits["train"].labels
    objective = PairObjective(
        positive_weight=balancing_weight(np.asarray(labels)) if isinstance(weight, str) else weight,
        label_smoothing=recipe.loss.label_smoothing,
    )
    say(f"training on {len(readers['train']):,} pairs, {training.steps_in(0):,} steps an epoch")
    return fit(
        net,
        objective,
        training,
        PairsToScore(readers["val"], residues=recipe.batch.residues, **world),
        fabric=fabric,
        trainer=recipe.trainer,
        optimizer=recipe.optimizer,
        scheduler=recipe.scheduler,
        seed=recipe.seed,
        folder=folder,
        binding=_binding(recipe, dataset, embeddings),
        resume=resume,
        progress=progress if fabric.is_global_zero else None,
    )


def _binding(recipe: Recipe, dataset: Dataset, embeddings: Embeddings) -> str:
    from hashlib import sha256

    parts = {"recipe": recipe.digest(), "data": dict(dataset.digests), "encoder": _plain(embeddings.record)}
    return sha256(canonical(parts).encode("ascii")).hexdigest()


# -- after ---------------------------------------------------------------------------------------


def _finish(
    recipe: Recipe,
    net: nn.Module,
    fitted: Fitted,
    dataset: Dataset,
    embeddings: Embeddings,
    fabric: Fabric,
    folder: Path,
    say: Tell,
) -> RunResult:
    """Save, calibrate, measure on the test pairs, save again with all that is known by then."""
    from holotype.evaluation.calibration import fit_temperature

    record: dict[str, Any] = {
        "encoder": _plain(embeddings.record),
        "lineage": lineage_of(
            recipe,
            dataset_digests=dataset.digests,
            encoder=_plain(embeddings.record),
            world_size=fabric.world_size,
            device=fabric.device.type,
        ),
        "dataset": dataset.name,
    }
    measured = [_metric(name, value, dataset.name, "val") for name, value in fitted.best.items()]
    path = folder / WEIGHTS
    holotype.save_pretrained(net, path, metrics=_finite(measured), overwrite=True, **record)
    say("calibration on the validation pairs")
    scores = _Scores(net, embeddings, str(fabric.device), recipe.batch.residues)
    val_logits = scores(dataset.splits["val"])
    temperature = fit_temperature(val_logits, np.asarray(dataset.splits["val"].labels))
    _write_predictions(folder / "predictions_val.tsv", dataset, "val", val_logits, temperature)
    test: dict[str, float] = {}
    about: dict[str, Any] = {}
    if "test" in dataset.splits:
        say("the test pairs")
        logits = scores(dataset.splits["test"])
        test, subset = _measure(recipe, dataset, embeddings, logits, temperature, folder)
        # Which pairs the figures are of: the headline is C3, and all of them only where these are too few.
        about["test_pairs"] = subset
        measured += [
            {**_metric(name, value, dataset.name, "test"), "pairs": subset} for name, value in test.items()
        ]
    holotype.save_pretrained(
        net,
        path,
        metrics=_finite(measured),
        calibration={"temperature": temperature},
        overwrite=True,
        **record,
    )
    result = RunResult(
        folder=folder,
        weights=path,
        best_epoch=fitted.best_epoch,
        epochs=fitted.epochs,
        stopped_early=fitted.stopped_early,
        temperature=temperature,
        validation=dict(fitted.best),
        test=test,
    )
    about |= {"elapsed_s": round(fitted.elapsed_s, 3), "steps": fitted.steps, **record}
    write_json(folder / RESULT, {**result.to_dict(), **about})
    return result


class _Scores:
    """Logits of a split's pairs."""

    def __init__(self, net: nn.Module, embeddings: Embeddings, device: str, residues: int | None) -> None:
        self._of = net, embeddings
        self._how: dict[str, Any] = {"device": device}
        if residues is not None:
            self._how["residues_per_batch"] = residues

    def __call__(self, pairs: PairTable) -> np.ndarray:
        from holotype.prediction.pairs import score_pairs

        return score_pairs(*self._of, pairs, **self._how)


def _write_predictions(
    path: Path, dataset: Dataset, part: str, logits: np.ndarray, temperature: float
) -> None:
    from holotype.data.splits import pair_classes
    from holotype.evaluation.calibration import apply_temperature
    from holotype.evaluation.predictions import write_predictions

    pairs = dataset.splits[part]
    classes = pair_classes(dataset.splits["train"], pairs)
    scores = apply_temperature(logits, temperature)
    write_predictions(path, pairs, scores, logits=logits, classes=classes)


def _measure(
    recipe: Recipe,
    dataset: Dataset,
    embeddings: Embeddings,
    logits: np.ndarray,
    temperature: float,
    folder: Path,
) -> tuple[dict[str, float], str]:
    """Predictions, evaluation and report of the test pairs; the figures, and of which pairs they are."""
    from holotype.data.splits import pair_classes
    from holotype.evaluation.baselines import baseline_scores
    from holotype.evaluation.calibration import apply_temperature
    from holotype.evaluation.evaluate import evaluate_predictions
    from holotype.evaluation.report import write_report

    training, pairs = dataset.splits["train"], dataset.splits["test"]
    _write_predictions(folder / "predictions_test.tsv", dataset, "test", logits, temperature)
    evaluation = evaluate_predictions(
        np.asarray(pairs.labels),
        apply_temperature(logits, temperature),
        classes=pair_classes(training, pairs),
        baselines=baseline_scores(training, pairs, dataset.sequences, embeddings),
        logits=logits,
        temperature=temperature,
        title=f"{recipe.model.name} on {dataset.name}, test pairs",
        about={"data": dataset.name, "split": "test", "recipe_sha256": recipe.digest(), "seed": recipe.seed},
        notes=dataset.notes,
    )
    write_report(evaluation, folder, overwrite=True)
    figures = {name: value for name, value in evaluation.metrics.items() if np.isfinite(value)}
    return figures, evaluation.headline.name


def _metric(name: str, value: float, dataset: str, split: str) -> dict[str, Any]:
    return {"name": name.removeprefix("val_"), "value": float(value), "dataset": dataset, "split": split}


def _finite(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in metrics if np.isfinite(one["value"])]


@contextmanager
def _safe(folder: Path, continued: str) -> Iterator[None]:
    """Whatever fails once there are weights: say where they are, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; the model is trained. Finish with: {continued}") from None
    except Exception as error:
        weights = folder / WEIGHTS
        where = f"the weights are in {weights}" if weights.exists() else f"see {folder / 'checkpoints'}"
        raise TrainingError(
            f"the model is trained, and {where}, but what comes after failed:\n  {error}",
            given=str(folder),
            hint=f"Nothing has to be trained again: {continued}",
        ) from error


# -- several processes ---------------------------------------------------------------------------


def _on_first(fabric: Fabric, do: Callable[[], _T]) -> _T | None:
    """Do something in the first process; all get its result, or its error."""
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
    """Do something in the first process, then in the others, which find the caches filled."""
    if fabric.world_size == 1:
        return do()
    mine, error = _attempt(do) if fabric.is_global_zero else (None, None)
    error = fabric.broadcast(error)
    if error is not None:
        raise error
    return mine if mine is not None else do()


def _attempt(do: Callable[[], _T]) -> tuple[_T | None, HolotypeError | None]:
    """What came of it; an error of any kind must reach the other processes, which would wait for ever."""
    try:
        return do(), None
    except HolotypeError as error:
        return None, error
    except Exception as error:  # noqa: BLE001 - raised in every process
        return None, TrainingError(f"{type(error).__name__}: {error}")


# -- files ---------------------------------------------------------------------------------------


def _read(folder: Path) -> RunResult:
    result = RunResult.read(folder)
    if result is None:
        raise TrainingError(f"{folder} has no {RESULT}: is it on a disk that all machines share?")
    return result


def _plain(record: Any) -> Any:
    """A record, or several, as plain data."""
    if isinstance(record, Mapping):
        return {key: _plain(value) for key, value in record.items()}
    return [_plain(one) for one in record] if isinstance(record, (list, tuple)) else record
