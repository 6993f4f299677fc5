"""From predictions to a judgement: metrics with intervals, per class of pairs, beside baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from holotype.errors import DataError
from holotype.files import sha256_of
from holotype.proteins.evaluation.calibration import (
    Reliability,
    apply_temperature,
    fit_temperature,
    logit,
    reliability,
    sigmoid,
)
from holotype.proteins.evaluation.metrics import (
    METRICS,
    Floats,
    Interval,
    Scored,
    applicable,
    as_scores,
    metrics_of,
    percentile_interval,
    resample,
    why_undefined,
)

if TYPE_CHECKING:
    from holotype.proteins.data.datasets import Dataset
    from holotype.proteins.data.embeddings import Embeddings
    from holotype.proteins.data.pairs import PairTable
    from holotype.proteins.evaluation.predictions import Predictions

CLASSES: Mapping[int, str] = {
    1: "both proteins were seen in training",
    2: "one protein was seen in training",
    3: "neither protein was seen in training",
}
DECIDES = "auroc"
RESAMPLES = 1000
FEWEST = 50  # positives, and negatives, that a class needs to be the headline
_OF_BASELINES = ("auroc", "average_precision")
_CONFIDENCE = 0.95
_NONE = Interval(float("nan"), float("nan"))


@dataclass(frozen=True)
class Value:
    """A metric of some pairs.

    Attributes:
        value: nan where it has no meaning.
        interval: of 95 %, from the bootstrap.
        why: why it has no meaning.
    """

    value: float
    interval: Interval = _NONE
    why: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values; nan is None."""
        made: dict[str, Any] = {
            "value": _plain(self.value),
            "low": _plain(self.interval.low),
            "high": _plain(self.interval.high),
        }
        return made | ({"why": self.why} if self.why else {})


@dataclass(frozen=True)
class Subset:
    """Some of the test pairs: all, or those of one class.

    Attributes:
        name: "all", "C1", "C2" or "C3".
        text: what they are.
        rows: (P,) which pairs.
        positives: how many are positive.
        metrics: name -> value of the model; every name of `METRICS`.
        baselines: baseline -> metric -> value.
        best: the baseline with the highest AUROC, or None where there is no baseline or no AUROC.
        difference: AUROC of the model less that of `best`, on the same resamples.
    """

    name: str
    text: str
    rows: NDArray[np.int64]
    positives: int
    metrics: Mapping[str, Value]
    baselines: Mapping[str, Mapping[str, Value]]
    best: str | None
    difference: Value | None

    @property
    def pairs(self) -> int:
        """How many."""
        return len(self.rows)

    @property
    def state(self) -> str:
        """Than the best baseline: "better", "level", "worse"; or "unknown"."""
        if self.difference is None or self.difference.value != self.difference.value:
            return "unknown"
        low, high = self.difference.interval
        return "better" if low > 0 else "worse" if high < 0 else "level"

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "text": self.text,
            "pairs": self.pairs,
            "positives": self.positives,
            "metrics": {name: value.to_dict() for name, value in self.metrics.items()},
            "baselines": {
                name: {metric: value.to_dict() for metric, value in values.items()}
                for name, values in self.baselines.items()
            },
            "best_baseline": self.best,
            "difference": None if self.difference is None else self.difference.to_dict(),
            "state": self.state,
        }


@dataclass(frozen=True)
class Evaluation:
    """How good predictions are.

    Attributes:
        title: what was evaluated.
        labels: (P,) bool.
        scores: (P,) as given.
        subsets: "all" first, then the classes that have pairs.
        headline: the subset to quote.
        probabilities: are the scores probabilities?
        threshold: from which on a pair is called positive.
        baseline_scores: baseline -> (P,).
        uncalibrated: (P,) probabilities before temperature scaling, or None.
        temperature: what the logits were divided by, or None.
        about: what else is known: data, split, model, digests. Plain values.
        notes: what a reader must know.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """

    title: str
    labels: NDArray[np.bool_]
    scores: Floats
    subsets: tuple[Subset, ...]
    headline: Subset
    probabilities: bool
    threshold: float
    baseline_scores: Mapping[str, Floats]
    uncalibrated: Floats | None = None
    temperature: float | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    resamples: int = RESAMPLES
    seed: int = 0

    @property
    def shown(self) -> tuple[Subset, ...]:
        """The subsets that differ: "all" is left out where one class holds all pairs."""
        covered = any(one.pairs == len(self.labels) for one in self.subsets[1:])
        return self.subsets[1:] if covered else self.subsets

    @property
    def metrics(self) -> dict[str, float]:
        """The headline's metrics, as numbers."""
        return {name: value.value for name, value in self.headline.metrics.items()}

    @cached_property
    def reliability(self) -> Reliability | None:
        """Of the headline's scores, if they are probabilities."""
        return self._reliability(self.scores) if self.probabilities else None

    @cached_property
    def reliability_before(self) -> Reliability | None:
        """The same before temperature scaling, if that was done."""
        return None if self.uncalibrated is None else self._reliability(self.uncalibrated)

    def _reliability(self, probabilities: Floats) -> Reliability:
        rows = self.headline.rows
        return reliability(self.labels[rows], probabilities[rows])

    @property
    def state(self) -> str:
        """That of the headline: "better", "level", "worse" or "unknown"."""
        return self.headline.state

    @property
    def verdict(self) -> str:
        """One sentence: does it beat the best baseline?"""
        one = self.headline
        if one.best is None or one.difference is None:
            return "There is no verdict: without both positive and negative pairs there is no AUROC."
        figures = (
            f"AUROC {one.metrics[DECIDES].value:.3f} against {one.baselines[one.best][DECIDES].value:.3f} "
            f"of {one.best} (difference {_signed(one.difference)})"
        )
        alone = set(one.baselines) == {"majority"}
        if one.state == "better":
            than = "the majority class, and no other baseline was computed" if alone else "every baseline"
            return f"Better than {than}: {figures}."
        if one.state == "worse":
            return f"Worse than its best baseline: {figures}."
        return f"Not shown to be better than its best baseline: {figures}."

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain values, for JSON; what has no value is None."""
        import holotype

        before = self.reliability_before
        return {
            "format": "holotype-evaluation/1",
            "holotype": holotype.__version__,
            "title": self.title,
            "about": dict(self.about),
            "pairs": len(self.labels),
            "positives": int(self.labels.sum()),
            "headline": self.headline.name,
            "state": self.state,
            "verdict": self.verdict,
            "probabilities": self.probabilities,
            "threshold": self.threshold,
            "metrics": {name: _plain(value) for name, value in self.metrics.items()},
            "subsets": {one.name: one.to_dict() for one in self.subsets},
            "calibration": {
                "temperature": self.temperature,
                "ece_before": None if before is None else before.ece,
                "before": None if before is None else before.to_dict(),
                "after": None if self.reliability is None else self.reliability.to_dict(),
            },
            "bootstrap": {
                "resamples": self.resamples,
                "seed": self.seed,
                "confidence": _CONFIDENCE,
                "method": "percentile, stratified by label, over pairs",
            },
            "notes": list(self.notes),
        }


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
    """Measure predictions, beside baselines, on all pairs and on each class of them.

    Shapes: P pairs.

    Args:
        labels: (P,) of 0 and 1.
        scores: (P,) probabilities, or any real scores (higher: more probably positive).
        classes: (P,) of 1, 2, 3: how many of a pair's proteins training has seen (C1 both, C2 one, C3 none).
        baselines: name -> (P,) scores, from `baselines.baseline_scores`. The majority
            class is always added.
        logits: (P,) before temperature scaling, to show what that has changed.
        temperature: what they were divided by.
        probabilities: are the scores probabilities? By default: yes, if all lie from 0 to 1.
        threshold: a pair whose score is at least this is called positive.
        title: what is evaluated, for the report.
        about: plain values to keep with the figures: data, split, model, digests.
        notes: what a reader must know.
        resamples: of the bootstrap; 0 for no intervals (and no verdict).
        seed: of the bootstrap.

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
            subsets.append(_renamed(subsets[0], f"C{kind}", text))
        elif len(rows):
            subsets.append(_subset(f"C{kind}", text, rows, whole, others, names, threshold, resamples, seed))
    headline, why = _headline(subsets, kinds is not None)
    told = [why] if why else []
    if len(names) < len(METRICS):
        told.append(
            "The scores are not probabilities: what needs a threshold or a probability is not applicable."
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
        notes=(*told, *notes),
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
    """The subset to quote, and what must be said where it is not C3."""
    if not known:
        return subsets[0], (
            "Which proteins training has seen is not known, so whether this measures memory or knowledge is "
            "not known either. Give the training pairs."
        )
    last = subsets[-1]
    enough = last.name == "C3" and FEWEST <= last.positives <= last.pairs - FEWEST
    if enough:
        return last, None
    found = f"{last.pairs:,} pairs ({last.positives:,} positive)" if last.name == "C3" else "no pairs"
    return subsets[0], (
        f"Of proteins that training has not seen (C3) there are {found}: too few for a headline. The figures "
        "of all pairs reward knowing the proteins by heart."
    )


def _renamed(subset: Subset, name: str, text: str) -> Subset:
    from dataclasses import replace

    return replace(subset, name=name, text=text)


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
    baselines: dict[str, dict[str, Value]] = {}
    for one, scored in ranked.items():
        found = metrics_of(scored)
        baselines[one] = {
            metric: Value(
                found[metric],
                percentile_interval(drawn[f"baseline {one}"].get(metric, np.empty(0)), _CONFIDENCE),
                reasons.get(metric),
            )
            for metric in (*_OF_BASELINES, *(("accuracy",) if one == "majority" else ()))
        }
    best = None
    if DECIDES in defined:  # of equal ones rather one that has looked at something
        best = max(baselines, key=lambda one: (baselines[one][DECIDES].value, one != "majority"))
    difference = None
    if best is not None:
        gap = drawn[""][DECIDES] - drawn[f"baseline {best}"][DECIDES]
        difference = Value(
            values[DECIDES] - baselines[best][DECIDES].value, percentile_interval(gap, _CONFIDENCE)
        )
    return Subset(
        name=name,
        text=text,
        rows=rows,
        positives=len(model.positives),
        metrics={
            metric: Value(
                value,
                percentile_interval(drawn[""].get(metric, np.empty(0)), _CONFIDENCE),
                reasons.get(metric),
            )
            for metric, value in values.items()
        },
        baselines=baselines,
        best=best,
        difference=difference,
    )


def _signed(value: Value) -> str:
    low, high = value.interval
    return f"{value.value:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"


def _plain(value: float) -> float | None:
    return None if value != value else float(value)


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
    """Measure any tool's predictions.

    Args:
        path: a file of predictions; see `holotype.proteins.evaluation.predictions`.
        train: the labelled pairs that the tool learned from, or their file: for C1, C2 and C3, and for
            the baselines of the training graph.
        sequences: name -> sequence, for the baseline of lengths.
        embeddings: for the baseline of cosines.
        validation: predictions for other pairs, which neither trained nor test the tool: a temperature
            is fitted on them, and the scores are divided by it (probabilities as their logits).
        probabilities: as for `evaluate_predictions`.
        threshold: as for `evaluate_predictions`.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        DataError: a file that cannot be used; a protein without sequence or embedding; validation pairs that
            are test pairs too.
    """
    from holotype.proteins.data.pairs import PairTable, read_pairs
    from holotype.proteins.evaluation.baselines import baseline_scores
    from holotype.proteins.evaluation.predictions import read_predictions

    found = read_predictions(path)
    known = train if train is None or isinstance(train, PairTable) else read_pairs(train, labelled=True)
    notes = []
    if found.repeats:
        notes.append(f"{found.repeats:,} lines repeat an earlier pair, in either order, and were left out.")
    classes = found.classes
    if known is not None:
        from holotype.proteins.data.splits import pair_classes

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
            "predictions": Path(path).name,  # a report is given to others: no folders of ours
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
    """Score a dataset's pairs by a model, and measure that.

    Args:
        model: a pretrained entry, a weight file, or the folder of a training run.
        data: a dataset, or what `holotype.proteins.data.datasets.load_dataset` makes one of.
        split: which of its parts to test on.
        train: the pairs that the model learned from, or their file; by default the dataset's own.
        embeddings: of the proteins, or their files; by default they are made as the model's record says.
        output: a folder for the report, the figures and the predictions; None writes nothing.
        overwrite: replace an earlier report there.
        threshold: as for `evaluate_predictions`.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        device: where the model runs.
        progress: called with the pairs scored and the pairs in all.

    Raises:
        DataError: no such split; embeddings that are not those the model takes; a report is there already.
        HolotypeError: what loading the model and the dataset raises.
    """
    from holotype.proteins.evaluation.report import check_folder

    if output is not None:
        check_folder(Path(output), f"predictions_{split}.tsv", overwrite=overwrite)
    from holotype.proteins.data.datasets import Dataset, load_dataset
    from holotype.proteins.data.pairs import PairTable, read_pairs
    from holotype.proteins.data.splits import pair_classes
    from holotype.proteins.evaluation.baselines import baseline_scores
    from holotype.proteins.prediction.model import load_interaction_model
    from holotype.proteins.prediction.pairs import score_pairs

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
        from holotype.proteins.evaluation.predictions import write_predictions
        from holotype.proteins.evaluation.report import write_report

        write_report(evaluation, output, overwrite=overwrite)
        write_predictions(
            Path(output) / f"predictions_{split}.tsv", pairs, scores, logits=logits, classes=classes
        )
    return evaluation


def _split(dataset: Dataset, split: str) -> PairTable:
    from holotype.names import nearest

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
        raise DataError("these pairs have no labels, so nothing can be measured on them.")
    return pairs.labels


def _embeddings(
    given: Sequence[str | Path] | Embeddings | None,
    dataset: Dataset,
    pairs: PairTable,
    records: Sequence[Mapping[str, Any]],
    model: str,
    device: str,
) -> Embeddings:
    """Embeddings of the proteins in the pairs, made as those the model learned from."""
    from holotype.proteins.data.embeddings import Embeddings, check_same_features, open_embeddings

    if given is not None:
        stored = given if isinstance(given, Embeddings) else open_embeddings(list(given))
        _check_sequences(stored, dataset, pairs)
    elif not records:
        raise DataError(
            f"{model} does not say which embeddings it takes.",
            given=model,
            hint="Give them: --embeddings FILE (in Python: embeddings=[FILE])",
        )
    else:
        from holotype.proteins.prediction.embedding import EncoderSpec, embeddings_for
        from holotype.proteins.prediction.engine import spec_of

        specs = [EncoderSpec.parse(spec_of(one)) for one in records]
        names = [pairs.proteins[at] for at in pairs.used().tolist()]
        stored = embeddings_for({name: dataset.sequences[name] for name in names}, specs, device=device)
    if records:
        check_same_features(records, stored.record, what=model)
    return stored


def _check_sequences(stored: Embeddings, dataset: Dataset, pairs: PairTable) -> None:
    """Refuse embeddings of other sequences under the same names."""
    from holotype.proteins.data.embedding_writer import hash_sequence

    names = [pairs.proteins[at] for at in pairs.used().tolist()]
    other = [
        name
        for name in names
        if name in stored and stored.sequence_sha256(name) != hash_sequence(dataset.sequences[name]).hex()
    ]
    if other:
        raise DataError(
            f"{len(other):,} of {len(names):,} proteins have other sequences in {dataset.name} than in the "
            f"embeddings: {', '.join(other[:5])}{' …' if len(other) > 5 else ''}",
            given=other[0],
            problems=other,
        )


def _other_training(record: Mapping[str, Any], dataset: Dataset) -> list[str]:
    """Was the model trained on other files than those whose proteins count as seen?"""
    lineage = record.get("lineage")
    theirs = lineage.get("datasets") if isinstance(lineage, Mapping) else None
    if not isinstance(theirs, Mapping):
        return [
            "The model does not say what it was trained on: classes and baselines take it that it was the "
            f"training pairs of {dataset.name}."
        ]
    roles = [role for role in dataset.digests if role in ("pairs", "train_pairs")]
    if all(theirs.get(role) == dataset.digests[role] for role in roles) and _same_split(lineage, dataset):
        return []
    return [
        "The model was trained on other pairs than the training pairs of "
        f"{dataset.name}, by which classes and baselines are told here. Give its own: --train FILE."
    ]


def _same_split(lineage: Any, dataset: Dataset) -> bool:
    """Were the pairs divided for the training as they are here? Only one file of pairs can be otherwise."""
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
    """Are these pairs, as the model's record has it, none that it can be tested on?"""
    lineage = record.get("lineage")
    theirs = lineage.get("datasets") if isinstance(lineage, Mapping) else None
    role = "pairs" if "pairs" in dataset.digests else f"{split}_pairs"
    if split == "test" or not isinstance(theirs, Mapping) or theirs.get(role) != dataset.digests.get(role):
        return []
    if split == "val":
        return [
            "The best epoch and the temperature were chosen on validation pairs of this file: these figures "
            "are not of a test."
        ]
    return ["The model learned from pairs of this file: these figures are not of a test."]


def _calibrated(test: Predictions, validation: Predictions) -> tuple[Floats, Floats, float]:
    """Scores after temperature scaling, logits before it, and the temperature."""
    from holotype.proteins.data.pairs import align

    mine, theirs = align(test.pairs, validation.pairs)
    shared = int(np.isin(theirs.keys(), mine.keys()).sum())
    if shared:
        raise DataError(
            f"{shared:,} of {len(theirs):,} validation pairs are test pairs too; what is fitted on test "
            "pairs cannot be measured on them.",
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
    from holotype.proteins.data.pairs import align

    learned, tested = align(train, test)
    shared = int(np.isin(tested.keys(), learned.keys()).sum())
    if not shared:
        return []
    return [f"{shared:,} of {len(test):,} test pairs are training pairs: these figures are not of a test."]
