"""Evaluation of predictions or a model: metrics with intervals for each class of pairs, beside baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from holotype.errors import DataError
from holotype.files import sha256_of
from holotype.names import nearest
from holotype.proteins.data.pairs import PairTable, align, read_pairs
from holotype.proteins.data.splits import pair_classes
from holotype.proteins.evaluation.baselines import baseline_scores
from holotype.proteins.evaluation.bootstrap import percentile_interval, resample
from holotype.proteins.evaluation.calibration import apply_temperature, fit_temperature, logit, sigmoid
from holotype.proteins.evaluation.metrics import (
    METRICS,
    Floats,
    Scored,
    applicable,
    as_scores,
    metrics_of,
    why_undefined,
)
from holotype.proteins.evaluation.predictions import Predictions, read_predictions, write_predictions
from holotype.proteins.evaluation.results import DECIDES, RESAMPLES, Evaluation, Subset, Value

if TYPE_CHECKING:
    from holotype.proteins.data.datasets import Dataset
    from holotype.proteins.data.embeddings import Embeddings

CLASSES: Mapping[int, str] = {
    1: "both proteins were seen in training",
    2: "one protein was seen in training",
    3: "neither protein was seen in training",
}
FEWEST = 50  # positives, and negatives, that a class needs to be the headline
_OF_BASELINES = ("auroc", "average_precision")


def evaluate_predictions(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    classes: ArrayLike | None = None,
    baselines: Mapping[str, ArrayLike] | None = None,
    logits: ArrayLike | None = None,
    temperature: float | None = None,
    probabilities: bool | None = None,
    threshold: float = 0.5,
    title: str = "predictions",
    about: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """Evaluate predictions and baselines on all pairs and on each class of pairs.

    Shapes: P pairs.

    Args:
        labels: (P,) of 0 and 1.
        scores: (P,) probabilities, or any real scores (higher: more probably positive).
        classes: (P,) of 1, 2, 3, by the proteins of a pair that training has seen (C1 both, C2 one, C3 none).
        baselines: name -> (P,) scores, from `baselines.baseline_scores`. The majority class is always added.
        logits: (P,) before temperature scaling, to show its effect.
        temperature: the logits were divided by it.
        probabilities: whether the scores are probabilities; by default, whether all lie from 0 to 1.
        threshold: a pair whose score is at least this is called positive.
        title: of the report.
        about: plain values that are kept with the figures: data, split, model, digests.
        notes: what a reader must know.
        resamples: number of bootstrap resamples; 0 for no intervals (and no verdict).
        seed: seed of the bootstrap.

    Raises:
        DataError: labels that are not binary, scores that are not finite, arrays of different lengths.
    """
    whole = Scored(labels, scores)
    names = applicable(whole.scores, probabilities)
    others = {name: as_scores(values, len(whole)) for name, values in (baselines or {}).items()}
    others.setdefault("majority", np.full(len(whole), float(whole.labels.mean() >= 0.5)))
    kinds = _classes(classes, len(whole))
    subsets = [_subset("all", "all test pairs", np.arange(len(whole)), whole, others, names, threshold,
                       resamples, seed)]  # fmt: skip
    for kind, text in CLASSES.items():
        rows = np.flatnonzero(kinds == kind) if kinds is not None else np.empty(0, np.int64)
        if len(rows) == len(whole):
            subsets.append(replace(subsets[0], name=f"C{kind}", text=text))
        elif len(rows):
            subsets.append(_subset(f"C{kind}", text, rows, whole, others, names, threshold, resamples, seed))
    headline, why = _headline(subsets, kinds is not None)
    found = [why] if why else []
    if len(names) < len(METRICS):
        found.append(
            "The scores are not probabilities: metrics that need a threshold or a probability are left out."
        )
    return Evaluation(
        title=title,
        labels=whole.labels,
        scores=whole.scores,
        subsets=tuple(subsets),
        headline=headline,
        probabilities=len(names) == len(METRICS),
        threshold=threshold,
        baseline_scores=others,
        uncalibrated=None if logits is None else sigmoid(as_scores(logits, len(whole))),
        temperature=temperature,
        about=dict(about or {}),
        notes=(*found, *notes),
        resamples=resamples,
        seed=seed,
    )


def _classes(classes: ArrayLike | None, pairs: int) -> NDArray[np.int64] | None:
    if classes is None:
        return None
    kinds = np.asarray(classes)
    if kinds.shape != (pairs,) or not np.isin(kinds, list(CLASSES)).all():
        raise DataError(f"classes: expected {pairs:,} of 1, 2 and 3, got {kinds.shape} of {kinds.dtype}.")
    return kinds.astype(np.int64)


def _headline(subsets: Sequence[Subset], known: bool) -> tuple[Subset, str | None]:
    """The subset to quote, and a note where it is not C3."""
    if not known:
        return subsets[0], (
            "Without the training pairs it is not known which proteins training has seen, so these figures "
            "may measure memory rather than knowledge. Give the training pairs."
        )
    last = subsets[-1]
    enough = last.name == "C3" and FEWEST <= last.positives <= last.pairs - FEWEST
    if enough:
        return last, None
    found = f"{last.pairs:,} pairs ({last.positives:,} positive)" if last.name == "C3" else "no pairs"
    return subsets[0], (
        f"Of proteins that training has not seen (C3) there are {found}: too few for a headline. The figures "
        "of all pairs reward memorising proteins."
    )


def _subset(
    name: str,
    text: str,
    rows: NDArray[np.int64],
    whole: Scored,
    others: Mapping[str, Floats],
    names: Sequence[str],
    threshold: float,
    resamples: int,
    seed: int,
) -> Subset:
    full = len(rows) == len(whole)
    model = whole if full else Scored(whole.labels[rows], whole.scores[rows])
    probabilities = len(names) == len(METRICS)
    values = metrics_of(model, threshold, probabilities=probabilities)
    reasons = why_undefined(model, threshold, probabilities=probabilities)
    ranked = {one: Scored(model.labels, scores[rows]) for one, scores in others.items()}
    defined = [metric for metric in names if metric not in reasons]
    shown = [metric for metric in _OF_BASELINES if metric in defined]
    drawn = resample(
        {"": (model, defined)} | {f"baseline {one}": (scored, shown) for one, scored in ranked.items()},
        threshold=threshold,
        resamples=resamples,
        seed=seed,
    )
    baselines = {
        one: _values(
            {metric: value for metric, value in metrics_of(scored).items() if metric in _shown_of(one)},
            drawn[f"baseline {one}"],
            reasons,
        )
        for one, scored in ranked.items()
    }
    best = None
    if DECIDES in defined:  # of equal ones, prefer one that uses some input
        best = max(baselines, key=lambda one: (baselines[one][DECIDES].value, one != "majority"))
    difference = None
    if best is not None:
        gap = drawn[""][DECIDES] - drawn[f"baseline {best}"][DECIDES]
        difference = Value(values[DECIDES] - baselines[best][DECIDES].value, percentile_interval(gap))
    return Subset(
        name=name,
        text=text,
        rows=rows,
        positives=len(model.positives),
        metrics=_values(values, drawn[""], reasons),
        baselines=baselines,
        best=best,
        difference=difference,
    )


def _shown_of(baseline: str) -> tuple[str, ...]:
    """The metrics that are reported of a baseline."""
    return (*_OF_BASELINES, "accuracy") if baseline == "majority" else _OF_BASELINES


def _values(
    values: Mapping[str, float], drawn: Mapping[str, Floats], reasons: Mapping[str, str]
) -> dict[str, Value]:
    """Metrics with their intervals, from their values in the resamples."""
    return {
        metric: Value(value, percentile_interval(drawn.get(metric, np.empty(0))), reasons.get(metric))
        for metric, value in values.items()
    }


def evaluate_file(
    path: str | Path,
    *,
    train: str | Path | PairTable | None = None,
    sequences: Mapping[str, str] | None = None,
    embeddings: Embeddings | None = None,
    validation: str | Path | None = None,
    probabilities: bool | None = None,
    threshold: float = 0.5,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """Evaluate the predictions of any tool.

    Args:
        path: a file of predictions; see `holotype.proteins.evaluation.predictions`.
        train: the labelled training pairs of the tool, or their file: for C1, C2 and C3, and for the
            baselines of the training graph.
        sequences: name -> sequence, for the baseline of lengths.
        embeddings: for the baseline of cosines.
        validation: predictions for pairs that are neither training nor test pairs: a temperature is fitted on
            them, and the scores are divided by it (probabilities as their logits).
        probabilities: as for `evaluate_predictions`.
        threshold: as for `evaluate_predictions`.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Raises:
        DataError: a file cannot be used; a protein has no sequence or embedding; a validation pair is also a
            test pair.
    """
    found = read_predictions(path)
    known = train if train is None or isinstance(train, PairTable) else read_pairs(train, labelled=True)
    notes = []
    if found.repeats:
        notes.append(f"{found.repeats:,} lines repeat an earlier pair, in either order, and were left out.")
    classes = found.classes
    if known is not None:
        classes = pair_classes(known, found.pairs)
        notes += _also_trained(known, found.pairs)
    scores, logits, temperature = found.scores, found.logits, None
    if validation is not None:
        scores, logits, temperature = _calibrated(found, read_predictions(validation))
        probabilities = True
    return evaluate_predictions(
        found.labels,
        scores,
        classes=classes,
        baselines=baseline_scores(known, found.pairs, sequences, embeddings),
        logits=logits if probabilities or probabilities is None else None,
        temperature=temperature,
        probabilities=probabilities,
        threshold=threshold,
        title=Path(path).name,
        about={
            "predictions": Path(path).name,  # without its folder, since reports are given to others
            "predictions_sha256": sha256_of(path),
            "training pairs": None if known is None else f"{len(known):,}",
            "calibrated on": None if validation is None else Path(validation).name,
        },
        notes=notes,
        resamples=resamples,
        seed=seed,
    )


def evaluate_model(
    model: str | Path,
    data: str | Path | Mapping[str, Any] | Dataset,
    *,
    split: str = "test",
    train: str | Path | PairTable | None = None,
    embeddings: Sequence[str | Path] | Embeddings | None = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    threshold: float = 0.5,
    resamples: int = RESAMPLES,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Evaluate a model on the pairs of a dataset.

    Args:
        model: a pretrained entry, a weight file, or the folder of a training run.
        data: a dataset, or an argument of `holotype.proteins.data.datasets.load_dataset`.
        split: the part to test on.
        train: the training pairs of the model, or their file; by default those of the dataset.
        embeddings: of the proteins, or their files; by default they are made as the model's record says.
        output: a folder for the report, the figures and the predictions; None to write nothing.
        overwrite: replace an earlier report there.
        threshold: as for `evaluate_predictions`.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
        device: where the model runs.
        progress: called with the pairs scored and the pairs in all.

    Raises:
        DataError: no such split; embeddings of another kind than the model takes; a report exists.
        HolotypeError: as raised by loading the model and the dataset.
    """
    from holotype.proteins.evaluation.report import check_folder

    if output is not None:
        check_folder(Path(output), f"predictions_{split}.tsv", overwrite=overwrite)
    from holotype.proteins.data.datasets import Dataset, load_dataset
    from holotype.proteins.prediction.model import load_interaction_model
    from holotype.proteins.prediction.scoring import score_pairs

    dataset = data if isinstance(data, Dataset) else load_dataset(data)
    pairs = _split(dataset, split)
    net, info = load_interaction_model(model, device=device)
    stored = _embeddings(embeddings, dataset, pairs, info.encoder, str(model), device)
    notes: list[str] = []
    known = dataset.splits.get("train") if train is None and split != "train" else train
    if known is not None and not isinstance(known, PairTable):
        known = read_pairs(known, labelled=True)
    elif known is not None:
        notes += _other_training(info.loaded.record, dataset)
    notes += _chosen_on(info.loaded.record, dataset, split)
    if known is not None:
        notes += _also_trained(known, pairs)
    logits = score_pairs(net, stored, pairs, device=device, progress=progress).astype(np.float64)
    classes = None if known is None else pair_classes(known, pairs)
    scores = apply_temperature(logits, info.temperature)
    evaluation = evaluate_predictions(
        _labels(pairs),
        scores,
        classes=classes,
        baselines=baseline_scores(known, pairs, dataset.sequences, stored),
        logits=logits,
        temperature=info.temperature,
        probabilities=True,
        threshold=threshold,
        title=f"{Path(model).name} on {dataset.name}, {split} pairs",
        about={
            "model": info.name,
            "architecture": info.network,
            "model sha256": info.sha256,
            "encoder": [str(one["encoder"]) for one in info.encoder],
            "data": dataset.name,
            "split": split,
            "data sha256": dict(dataset.digests),
            "split by": dict(dataset.split_by) if dataset.split_by else None,
        },
        notes=[*notes, *(f"{dataset.name}: {note}" for note in dataset.notes)],
        resamples=resamples,
        seed=seed,
    )
    if output is not None:
        from holotype.proteins.evaluation.report import write_report

        write_report(evaluation, output, overwrite=overwrite)
        write_predictions(
            Path(output) / f"predictions_{split}.tsv", pairs, scores, logits=logits, classes=classes
        )
    return evaluation


def _split(dataset: Dataset, split: str) -> PairTable:
    if split not in dataset.splits:
        there = list(dataset.splits)
        raise DataError(
            f"{dataset.name} has no split {split!r}; it has {', '.join(there)}.",
            given=split,
            nearest=nearest(split, there),
            hint=f"Name one of them: --split {there[0]}" if there else None,
        )
    return dataset.splits[split]


def _labels(pairs: PairTable) -> NDArray[np.int8]:
    if pairs.labels is None:
        raise DataError("these pairs have no labels, so nothing can be evaluated on them.")
    return pairs.labels


def _embeddings(
    given: Sequence[str | Path] | Embeddings | None,
    dataset: Dataset,
    pairs: PairTable,
    records: Sequence[Mapping[str, Any]],
    model: str,
    device: str,
) -> Embeddings:
    """Embeddings of the proteins in the pairs, made like those of the model's training."""
    from holotype.proteins.data.embeddings import Embeddings, check_same_features, open_embeddings

    if given is not None:
        stored = given if isinstance(given, Embeddings) else open_embeddings(list(given))
        stored.check_sequences({name: dataset.sequences[name] for name in pairs.used_names()})
    elif not records:
        raise DataError(
            f"{model} does not record which embeddings it takes.",
            given=model,
            hint="Give them: --embeddings FILE (in Python: embeddings=[FILE])",
        )
    else:
        from holotype.proteins.prediction.embedding import EncoderSpec, embeddings_for
        from holotype.proteins.prediction.engine import spec_of

        specs = [EncoderSpec.parse(spec_of(one)) for one in records]
        used = {name: dataset.sequences[name] for name in pairs.used_names()}
        stored = embeddings_for(used, specs, device=device)
    if records:
        check_same_features(records, stored.record, what=model)
    return stored


def _other_training(record: Mapping[str, Any], dataset: Dataset) -> list[str]:
    """A note where the model was trained on other files than those whose proteins count as seen."""
    lineage = record.get("lineage")
    theirs = lineage.get("datasets") if isinstance(lineage, Mapping) else None
    if not isinstance(theirs, Mapping):
        return [
            "The model does not record its training pairs: classes and baselines assume the training pairs "
            f"of {dataset.name}."
        ]
    roles = [role for role in dataset.digests if role in ("pairs", "train_pairs")]
    if all(theirs.get(role) == dataset.digests[role] for role in roles) and _same_split(lineage, dataset):
        return []
    return [
        f"The model was trained on other pairs than the training pairs of {dataset.name}, which classes and "
        "baselines use here. Give its own: --train FILE."
    ]


def _same_split(lineage: Any, dataset: Dataset) -> bool:
    """Whether the pairs were divided for the training as they are here. Only a single file can differ."""
    from holotype.proteins.data.similarity import NEAR_DUPLICATE

    here = dataset.split_by
    if here is None:
        return True
    data = lineage["recipe"].get("data") if isinstance(lineage.get("recipe"), Mapping) else None
    there = data.get("split") if isinstance(data, Mapping) else None
    if not isinstance(there, Mapping):
        return False
    fractions = list(there.get("fractions") or (0.8, 0.1, 0.1))
    theirs = (there.get("protocol"), there.get("seed"), fractions)
    if theirs != (here["protocol"], here["seed"], list(here["fractions"])):
        return False
    identity = there.get("max_identity")
    tool = there.get("tool") or (None if identity else "kmer")  # as `Dataset.split` chooses it
    return here["protocol"] == "c1" or (
        (identity or NEAR_DUPLICATE) == here.get("max_identity") and tool in (None, here.get("tool"))
    )


def _chosen_on(record: Mapping[str, Any], dataset: Dataset, split: str) -> list[str]:
    """A note where the model was trained or chosen on these pairs, according to its record."""
    lineage = record.get("lineage")
    theirs = lineage.get("datasets") if isinstance(lineage, Mapping) else None
    role = "pairs" if "pairs" in dataset.digests else f"{split}_pairs"
    if split == "test" or not isinstance(theirs, Mapping) or theirs.get(role) != dataset.digests.get(role):
        return []
    if split == "val":
        return [
            "The best epoch and the temperature were chosen on validation pairs of this file: this is not a "
            "test."
        ]
    return ["The model was trained on pairs of this file: this is not a test."]


def _calibrated(test: Predictions, validation: Predictions) -> tuple[Floats, Floats, float]:
    """Scores after temperature scaling, logits before it, and the temperature."""
    mine, theirs = align(test.pairs, validation.pairs)
    shared = int(np.isin(theirs.keys(), mine.keys()).sum())
    if shared:
        raise DataError(
            f"{shared:,} of {len(theirs):,} validation pairs are also test pairs; a temperature must not be "
            "fitted on test pairs.",
            given=validation.source,
        )
    both = (test, validation)
    if test.logits is not None and validation.logits is not None:
        z = [test.logits, validation.logits]
    elif all(one.probabilities for one in both):
        z = [logit(one.scores) for one in both]
    else:
        z = [one.scores for one in both]
    before, fitted_on = (as_scores(values, len(one)) for values, one in zip(z, both, strict=True))
    temperature = fit_temperature(fitted_on, validation.labels)
    return apply_temperature(before, temperature), before, temperature


def _also_trained(train: PairTable, test: PairTable) -> list[str]:
    learned, tested = align(train, test)
    shared = int(np.isin(tested.keys(), learned.keys()).sum())
    if not shared:
        return []
    return [f"{shared:,} of {len(test):,} test pairs are training pairs: this is not a test."]
