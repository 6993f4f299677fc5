"""How well scores tell interacting pairs from the others, and how sure that is. Needs numpy alone.

Every metric here depends on the pairs only through how many positives and negatives stand at each
distinct score. So all are computed from those counts, R resamples at once, and the value of the whole
set is the case R = 1: the bootstrap can disagree with it in nothing. Ties are shared, never broken.

Shapes: P pairs; G distinct scores, highest first; R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from holotype.errors import DataError

Floats = NDArray[np.float64]

ECE_BINS = 15
TOP = (10, 100, 1000)
_ELEMENTS_AT_ONCE = 1 << 20


class Metric(NamedTuple):
    """What is said of a metric.

    Attributes:
        title: how a table calls it.
        better: which end is good, "high" or "low".
        needs: "ranks" (any real scores), "threshold" (a threshold on them) or "probabilities".
        text: one sentence on it.
    """

    title: str
    better: str
    needs: str
    text: str


METRICS: Mapping[str, Metric] = {
    "auroc": Metric(
        "AUROC",
        "high",
        "ranks",
        "how probably a positive pair is scored above a negative one; ties count half",
    ),
    "average_precision": Metric(
        "average precision", "high", "ranks", "mean precision over the recall steps, without interpolation"
    ),
    **{
        f"precision@{k}": Metric(
            f"precision@{k}", "high", "ranks", f"share of positives among the {k} best-scored pairs"
        )
        for k in TOP
    },
    "accuracy": Metric("accuracy", "high", "threshold", "share of pairs on the right side of the threshold"),
    "precision": Metric("precision", "high", "threshold", "share of positives among pairs called positive"),
    "recall": Metric("recall", "high", "threshold", "share of the positives that are called positive"),
    "specificity": Metric(
        "specificity", "high", "threshold", "share of the negatives that are called negative"
    ),
    "f1": Metric("F1", "high", "threshold", "harmonic mean of precision and recall"),
    "mcc": Metric("MCC", "high", "threshold", "Matthews correlation of calls and labels"),
    "brier": Metric("Brier score", "low", "probabilities", "mean squared distance of probability and label"),
    "log_loss": Metric("log loss", "low", "probabilities", "mean negative log-likelihood, natural logarithm"),
    "ece": Metric(
        "ECE",
        "low",
        "probabilities",
        f"expected calibration error: mean |probability - share of positives| over {ECE_BINS} bins of equal "
        "width, weighted by their pairs",
    ),
}


class Interval(NamedTuple):
    """A percentile interval."""

    low: float
    high: float


class Scored:
    """Pairs with labels and scores, checked and ranked.

    Attributes:
        labels: (P,) bool.
        scores: (P,) float64.
        values: (G,) distinct scores, highest first.
        group: (P,) where in `values` each pair's score is.

    Raises:
        DataError: no pair, different lengths, a label that is not 0 or 1, a score that is not finite.
    """

    def __init__(self, labels: ArrayLike, scores: ArrayLike) -> None:
        self.labels = as_labels(labels)
        self.scores = as_scores(scores, len(self.labels))
        ascending, group = np.unique(self.scores, return_inverse=True)
        self.values: Floats = ascending[::-1].copy()
        self.group: NDArray[np.int64] = len(ascending) - 1 - group.astype(np.int64).reshape(-1)
        self.positives, self.negatives = np.flatnonzero(self.labels), np.flatnonzero(~self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def counts(self) -> tuple[Floats, Floats]:
        """Positives and negatives at each distinct score, each (1, G)."""
        return self.drawn(self.positives[None]), self.drawn(self.negatives[None])

    def drawn(self, pairs: NDArray[np.integer[Any]]) -> Floats:
        """How many of the given pairs have each distinct score.

        Args:
            pairs: (R, N) indices of pairs; those that were drawn twice count twice.

        Returns:
            (R, G).
        """
        rows, groups = len(pairs), len(self.values)
        if groups == 1:
            return np.full((rows, 1), float(pairs.shape[1]))
        at = self.group[pairs]
        at += np.arange(0, rows * groups, groups)[:, None]
        return np.bincount(at.ravel(), minlength=rows * groups).reshape(rows, groups).astype(np.float64)


def as_labels(labels: ArrayLike) -> NDArray[np.bool_]:
    """Labels as booleans.

    Raises:
        DataError: they are none, not one row, or something other than 0 and 1.
    """
    given = np.asarray(labels)
    if given.ndim != 1 or given.size == 0:
        raise DataError(f"labels: expected one for each pair, got shape {given.shape}.", given=given.shape)
    if given.dtype == np.bool_:
        return given
    if given.dtype.kind not in "iuf":
        raise DataError(f"labels: expected 0 and 1, got {given.dtype}.", given=str(given.dtype))
    wrong = np.flatnonzero((given != 0) & (given != 1))
    if wrong.size:
        raise DataError(
            f"labels: expected 0 and 1; label {wrong[0]} is {given[wrong[0]]!s}, and {wrong.size:,} of "
            f"{given.size:,} are neither.",
            given=given[wrong[0]].item(),
        )
    return np.asarray(given == 1)


def as_scores(scores: ArrayLike, pairs: int) -> Floats:
    """Scores as float64.

    Raises:
        DataError: there are not as many as pairs, or one is not a finite number.
    """
    given = np.asarray(scores)
    if given.dtype.kind not in "iufb" or given.shape != (pairs,):
        raise DataError(
            f"scores: expected {pairs:,} numbers, one for each label, got {given.shape} of {given.dtype}.",
            given=given.shape,
        )
    values = given.astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        raise DataError(
            f"scores: score {wrong[0]} is {values[wrong[0]]}; {wrong.size:,} of {pairs:,} are not finite.",
            given=float(values[wrong[0]]),
        )
    return values + 0.0  # -0.0 and 0.0 are one score


def are_probabilities(scores: ArrayLike) -> bool:
    """Do all scores lie from 0 to 1?"""
    values = np.asarray(scores)
    return bool(values.size and values.min() >= 0 and values.max() <= 1)


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """The area under the receiver operating characteristic; nan where only one class is there."""
    return _single("auroc", labels, scores)


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """The area under the precision-recall steps; nan where only one class is there."""
    return _single("average_precision", labels, scores)


def precision_at_k(labels: ArrayLike, scores: ArrayLike, k: int) -> float:
    """The share of positives among the k best-scored pairs.

    Where pairs of one score straddle rank k, each of them is as probably within: the expectation is taken.

    Returns:
        nan where there are fewer than k pairs.

    Raises:
        DataError: k is no positive integer; or as `Scored`.
    """
    if k != int(k) or k < 1:
        raise DataError(f"precision@k: k is {k!r}, expected 1 or more.", given=k)
    return _single(f"precision@{int(k)}", labels, scores)


def _single(name: str, labels: ArrayLike, scores: ArrayLike) -> float:
    scored = Scored(labels, scores)
    return float(measure(scored.values, *scored.counts, [name])[name][0])


def binary_metrics(
    labels: ArrayLike, scores: ArrayLike, threshold: float = 0.5, *, probabilities: bool | None = None
) -> dict[str, float]:
    """Every metric of `METRICS`.

    Args:
        labels: (P,) of 0 and 1.
        scores: (P,) probabilities, or any real scores (higher: more probably positive).
        threshold: a pair whose score is at least this is called positive.
        probabilities: are the scores probabilities? By default: yes, if all lie from 0 to 1. Where they
            are not, what needs a threshold or probabilities is nan.

    Returns:
        name -> value; nan where it has no meaning (`why_undefined` says why).

    Raises:
        DataError: as `Scored`.
    """
    return metrics_of(Scored(labels, scores), threshold, probabilities=probabilities)


def metrics_of(
    scored: Scored, threshold: float = 0.5, *, probabilities: bool | None = None
) -> dict[str, float]:
    """`binary_metrics` of pairs that are ranked already."""
    names = applicable(scored.scores, probabilities)
    found = measure(scored.values, *scored.counts, names, threshold)
    return {name: float(found[name][0]) if name in found else float("nan") for name in METRICS}


def applicable(scores: ArrayLike, probabilities: bool | None = None) -> list[str]:
    """The metrics that these scores can have: all for probabilities, those of ranks for any others."""
    if probabilities is None:
        probabilities = are_probabilities(scores)
    elif probabilities and not are_probabilities(scores):
        raise DataError(
            f"scores: given as probabilities, and lie from {np.min(scores):g} to {np.max(scores):g}.",
            hint="Scores of another kind have ranks only: probabilities=False.",
        )
    return [name for name, metric in METRICS.items() if probabilities or metric.needs == "ranks"]


def why_undefined(
    scored: Scored, threshold: float = 0.5, *, probabilities: bool | None = None
) -> dict[str, str]:
    """Why each metric that is nan is so."""
    names = applicable(scored.scores, probabilities)
    positives, negatives = len(scored.positives), len(scored.negatives)
    one_class = f"all {len(scored):,} pairs are {'positive' if positives else 'negative'}"
    called = int((scored.scores >= threshold).sum())
    reasons = {}
    for name, value in metrics_of(scored, threshold, probabilities=probabilities).items():
        if value == value:
            continue
        if name not in names:
            reasons[name] = "the scores are not probabilities"
        elif name.startswith("precision@"):
            reasons[name] = f"there are only {len(scored):,} pairs"
        elif name == "precision" and not called:
            reasons[name] = f"no pair reaches the threshold {threshold:g}"
        elif not (positives and negatives):
            reasons[name] = one_class
        else:
            reasons[name] = "it divides by zero"
    return reasons


def measure(
    values: Floats,
    positives: Floats,
    negatives: Floats,
    names: Sequence[str],
    threshold: float = 0.5,
) -> dict[str, Floats]:
    """Metrics of R sets of pairs, from how many pairs have each score.

    Args:
        values: (G,) distinct scores, highest first.
        positives: (R, G) positive pairs of each score.
        negatives: (R, G) negative pairs of each score.
        names: which metrics; keys of `METRICS`, or any ``precision@<k>``.
        threshold: a pair whose score is at least this is called positive.

    Returns:
        name -> (R,), nan where the metric has no meaning.

    Raises:
        DataError: no such metric.
    """
    found: dict[str, Floats] = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        n_pos, n_neg = positives.sum(1), negatives.sum(1)
        both = np.where((n_pos > 0) & (n_neg > 0), 1.0, np.nan)
        ranks = [
            name for name in names if name in ("auroc", "average_precision") or name.startswith("precision@")
        ]
        if ranks:
            above_pos, above_neg = positives.cumsum(1), negatives.cumsum(1)
        for name in ranks:
            if name == "auroc":
                # Of each positive: the negatives below it, and half of those beside it.
                beaten = np.einsum("rg,rg->r", positives, above_neg - 0.5 * negatives)
                found[name] = both * (1 - beaten / (n_pos * n_neg))
            elif name == "average_precision":
                precision = above_pos / np.maximum(above_pos + above_neg, 1)
                found[name] = both * np.einsum("rg,rg->r", positives, precision) / n_pos
            else:
                found[name] = _precision_at(int(name.partition("@")[2]), positives, above_pos, above_neg)
        called = int(np.searchsorted(-values, -threshold, side="right"))
        tp, fp = positives[:, :called].sum(1), negatives[:, :called].sum(1)
        fn, tn = n_pos - tp, n_neg - fp
        for name in names:
            if name not in found:
                if name in _FROM_CONFUSION:
                    found[name] = _FROM_CONFUSION[name](tp, fp, fn, tn)
                elif name in _FROM_PROBABILITIES:
                    found[name] = _FROM_PROBABILITIES[name](values, positives, negatives) / (n_pos + n_neg)
                else:
                    from holotype.names import nearest

                    raise DataError(
                        f"no metric named {name!r}.",
                        given=name,
                        nearest=nearest(name, list(METRICS)),
                        hint=f"There are: {', '.join(METRICS)}.",
                    )
    return found


def _precision_at(k: int, positives: Floats, above_pos: Floats, above_neg: Floats) -> Floats:
    above = above_pos + above_neg
    rows = np.arange(len(above))
    at = (above < k).sum(1)  # the score at which rank k is reached
    beyond = at == above.shape[1]
    at[beyond] = 0
    here = positives[rows, at]
    before_pos = above_pos[rows, at] - here
    before = np.where(at > 0, above[rows, at - 1], 0.0)
    size = above[rows, at] - before
    precision = (before_pos + (k - before) * here / size) / k
    return np.where(beyond, np.nan, precision)


def _mcc(tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
    below = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
    value = np.where(below > 0, (tp * tn - fp * fn) / np.where(below > 0, below, 1), 0.0)
    # All pairs called alike is no correlation; labels that are all alike have none.
    return np.where((tp + fn > 0) & (tn + fp > 0), value, np.nan)


_FROM_CONFUSION = {
    "accuracy": lambda tp, fp, fn, tn: (tp + tn) / (tp + fp + fn + tn),
    "precision": lambda tp, fp, fn, tn: tp / (tp + fp),
    "recall": lambda tp, fp, fn, tn: tp / (tp + fn),
    "specificity": lambda tp, fp, fn, tn: tn / (tn + fp),
    "f1": lambda tp, fp, fn, tn: 2 * tp / (2 * tp + fp + fn),
    "mcc": _mcc,
}


def _brier(values: Floats, positives: Floats, negatives: Floats) -> Floats:
    return positives @ (1 - values) ** 2 + negatives @ values**2


def _log_loss(values: Floats, positives: Floats, negatives: Floats) -> Floats:
    tiny = np.finfo(np.float64).eps  # a certain and wrong call costs much, not everything
    p = np.clip(values, tiny, 1 - tiny)
    return -(positives @ np.log(p) + negatives @ np.log1p(-p))


def _ece(values: Floats, positives: Floats, negatives: Floats) -> Floats:
    # Of one bin: pairs times |mean probability - share of positives|, so their number cancels. A bin's scores
    # stand side by side.
    starts = np.flatnonzero(np.diff(bin_of(values), prepend=-1))
    gaps = np.add.reduceat(negatives * values - positives * (1 - values), starts, axis=1)
    return np.asarray(np.abs(gaps).sum(1))


_FROM_PROBABILITIES = {"brier": _brier, "log_loss": _log_loss, "ece": _ece}


def bin_of(probabilities: Floats, bins: int = ECE_BINS) -> NDArray[np.int64]:
    """Which of `bins` equal widths each probability is in: bin i holds (i/bins, (i+1)/bins], bin 0 also 0."""
    edges = np.linspace(0, 1, bins + 1)
    return np.clip(np.searchsorted(edges, probabilities, side="left") - 1, 0, bins - 1)


def draws(
    labels: NDArray[np.bool_], resamples: int, seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Stratified bootstrap: as many positives and as many negatives as there are, with replacement.

    Yields:
        (R, positives) and (R, negatives) indices of pairs; all R together are `resamples`.
    """
    rng = np.random.default_rng(seed)
    positives, negatives = np.flatnonzero(labels), np.flatnonzero(~labels)
    rows = max(1, _ELEMENTS_AT_ONCE // len(labels))
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        yield (
            positives[rng.integers(0, max(len(positives), 1), (count, len(positives)))],
            negatives[rng.integers(0, max(len(negatives), 1), (count, len(negatives)))],
        )


def resample(
    scored: Mapping[str, tuple[Scored, Sequence[str]]],
    *,
    threshold: float = 0.5,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Floats]]:
    """Metrics of several scorings of the same pairs, all on the same resamples.

    Args:
        scored: name -> (the scoring, which metrics it gets).
        threshold: as for `measure`.
        resamples: how many.
        seed: of the draws.

    Returns:
        name -> metric -> (resamples,), aligned: element i of each is of the same draw.
    """
    first = next(iter(scored.values()))[0]
    parts: dict[str, dict[str, list[Floats]]] = {
        name: {m: [] for m in ms} for name, (_, ms) in scored.items()
    }
    for positives, negatives in draws(first.labels, resamples, seed):
        for name, (one, metrics) in scored.items():
            found = measure(one.values, one.drawn(positives), one.drawn(negatives), metrics, threshold)
            for metric in metrics:
                parts[name][metric].append(found[metric])
    return {
        name: {
            metric: np.concatenate(values) if values else np.empty(0) for metric, values in metrics.items()
        }
        for name, metrics in parts.items()
    }


def percentile_interval(values: Floats, confidence: float = 0.95) -> Interval:
    """The middle `confidence` of resampled values; nan where fewer than half of them are defined."""
    known = values[~np.isnan(values)]
    if 2 * len(known) < len(values) or not len(known):
        return Interval(float("nan"), float("nan"))
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Interval(float(low), float(high))


def bootstrap_intervals(
    labels: ArrayLike,
    scores: ArrayLike,
    metrics: Sequence[str] | None = None,
    *,
    threshold: float = 0.5,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile intervals from a stratified bootstrap over pairs.

    Pairs are drawn as if each were independent. Pairs that share a protein are not quite: the truth is
    somewhat less certain than these intervals.

    Args:
        labels: (P,) of 0 and 1.
        scores: (P,) probabilities or real scores.
        metrics: which; by default all that the scores can have.
        threshold: as for `binary_metrics`.
        resamples: how many.
        confidence: the share of resampled values within.
        seed: of the draws.

    Raises:
        DataError: as `Scored`; no such metric.
    """
    scored = Scored(labels, scores)
    names = applicable(scored.scores) if metrics is None else list(metrics)
    found = resample({"": (scored, names)}, threshold=threshold, resamples=resamples, seed=seed)[""]
    return {name: percentile_interval(values, confidence) for name, values in found.items()}


@dataclass(frozen=True)
class Curve:
    """A curve of one threshold after another.

    Attributes:
        x: false positive rate (ROC) or recall.
        y: true positive rate (ROC) or precision.
    """

    x: Floats
    y: Floats


def roc_curve(scored: Scored) -> Curve:
    """True over false positive rate, from (0, 0) to (1, 1)."""
    positives, negatives = (counts[0].cumsum() for counts in scored.counts)
    zero = np.zeros(1)
    return Curve(np.r_[zero, negatives / negatives[-1]], np.r_[zero, positives / positives[-1]])


def precision_recall_curve(scored: Scored) -> Curve:
    """Precision over recall, from the highest score to the lowest."""
    positives, negatives = (counts[0].cumsum() for counts in scored.counts)
    return Curve(positives / positives[-1], positives / (positives + negatives))
