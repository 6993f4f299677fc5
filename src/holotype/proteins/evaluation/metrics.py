"""How well scores separate interacting pairs from the others. Needs only numpy.

Every metric here depends on the pairs only through the numbers of positives and negatives at each distinct
score. So all are computed from those counts, for R resamples at once, and the value of the whole set is the
case R = 1: the bootstrap uses the same code. Ties are shared, never broken.

Shapes: P pairs; G distinct scores, highest first; R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from holotype.errors import DataError
from holotype.names import nearest

Floats = NDArray[np.float64]

ECE_BINS = 15
TOP = (10, 100, 1000)


class Metric(NamedTuple):
    """The description of a metric.

    Attributes:
        title: its name in tables.
        better: the better end, "high" or "low".
        needs: "ranks" (any real scores), "threshold" (a threshold on them) or "probabilities".
        text: its definition.
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
        "probability that a positive pair is scored above a negative one; ties count half",
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


class Scored:
    """Pairs with labels and scores, checked and ranked.

    Attributes:
        labels: (P,) bool.
        scores: (P,) float64.
        values: (G,) distinct scores, highest first.
        group: (P,) the index in `values` of each pair's score.

    Raises:
        DataError: no pairs, different lengths, a label that is not 0 or 1, or a score that is not finite.
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
        """The number of the given pairs at each distinct score.

        Args:
            pairs: (R, N) indices of pairs; a pair that was drawn twice counts twice.

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
        DataError: they are empty, not one-dimensional, or not 0 and 1.
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
        DataError: their number is not that of the pairs, or one is not finite.
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
    """Whether all scores lie from 0 to 1."""
    values = np.asarray(scores)
    return bool(values.size and values.min() >= 0 and values.max() <= 1)


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """The area under the receiver operating characteristic; nan if only one class is present."""
    return _single("auroc", labels, scores)


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """The area under the precision-recall steps; nan if only one class is present."""
    return _single("average_precision", labels, scores)


def precision_at_k(labels: ArrayLike, scores: ArrayLike, k: int) -> float:
    """The share of positives among the k best-scored pairs.

    Where pairs with the same score straddle rank k, this is the expectation over their orders.

    Returns:
        nan if there are fewer than k pairs.

    Raises:
        DataError: k is not a positive integer; or as for `Scored`.
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
        probabilities: whether the scores are probabilities; by default, whether all lie from 0 to 1. If they
            are not, metrics that need a threshold or probabilities are nan.

    Returns:
        name -> value; nan where it is not defined (`why_undefined` returns the reasons).

    Raises:
        DataError: as for `Scored`.
    """
    return metrics_of(Scored(labels, scores), threshold, probabilities=probabilities)


def metrics_of(
    scored: Scored, threshold: float = 0.5, *, probabilities: bool | None = None
) -> dict[str, float]:
    """`binary_metrics` of ranked pairs."""
    names = applicable(scored.scores, probabilities)
    found = measure(scored.values, *scored.counts, names, threshold)
    return {name: float(found[name][0]) if name in found else float("nan") for name in METRICS}


def applicable(scores: ArrayLike, probabilities: bool | None = None) -> list[str]:
    """The metrics of these scores: all for probabilities, those of ranks otherwise."""
    if probabilities is None:
        probabilities = are_probabilities(scores)
    elif probabilities and not are_probabilities(scores):
        raise DataError(
            f"scores: expected probabilities, but they lie from {np.min(scores):g} to {np.max(scores):g}.",
            hint="For scores of another kind, set probabilities=False.",
        )
    return [name for name, metric in METRICS.items() if probabilities or metric.needs == "ranks"]


def why_undefined(
    scored: Scored, threshold: float = 0.5, *, probabilities: bool | None = None
) -> dict[str, str]:
    """The reason for each metric that is nan."""
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
    """Metrics of R sets of pairs, from the numbers of pairs at each score.

    Args:
        values: (G,) distinct scores, highest first.
        positives: (R, G) positive pairs of each score.
        negatives: (R, G) negative pairs of each score.
        names: of the metrics; keys of `METRICS`, or any ``precision@<k>``.
        threshold: a pair whose score is at least this is called positive.

    Returns:
        name -> (R,), nan where the metric is not defined.

    Raises:
        DataError: an unknown metric.
    """
    found: dict[str, Floats] = {}
    called = int(np.searchsorted(-values, -threshold, side="right"))
    ranks = {name: of_ranks for name in names if (of_ranks := _of_ranks(name)) is not None}
    above = (positives.cumsum(1), negatives.cumsum(1)) if ranks else ()
    with np.errstate(divide="ignore", invalid="ignore"):
        n_pos, n_neg = positives.sum(1), negatives.sum(1)
        tp, fp = positives[:, :called].sum(1), negatives[:, :called].sum(1)
        fn, tn = n_pos - tp, n_neg - fp
        for name in names:
            if name in ranks:
                found[name] = ranks[name](positives, negatives, *above)
            elif name in _FROM_CONFUSION:
                found[name] = _FROM_CONFUSION[name](tp, fp, fn, tn)
            elif name in _FROM_PROBABILITIES:
                found[name] = _FROM_PROBABILITIES[name](values, positives, negatives) / (n_pos + n_neg)
            else:
                raise unknown_metric(name)
    return found


def unknown_metric(name: str) -> DataError:
    """The error for a name that is not a metric's."""
    return DataError(
        f"no metric named {name!r}.",
        given=name,
        nearest=nearest(name, list(METRICS)),
        hint=f"Choose one of: {', '.join(METRICS)}.",
    )


def _auroc(positives: Floats, negatives: Floats, above_pos: Floats, above_neg: Floats) -> Floats:
    # For each positive: the negatives above it, and half of those at the same score.
    beaten = np.einsum("rg,rg->r", positives, above_neg - 0.5 * negatives)
    return np.asarray(1 - beaten / (above_pos[:, -1] * above_neg[:, -1]))


def _average_precision(positives: Floats, negatives: Floats, above_pos: Floats, above_neg: Floats) -> Floats:
    precision = above_pos / np.maximum(above_pos + above_neg, 1)
    mean = np.einsum("rg,rg->r", positives, precision) / above_pos[:, -1]
    return np.where(above_neg[:, -1] > 0, mean, np.nan)


def _precision_at(
    positives: Floats, negatives: Floats, above_pos: Floats, above_neg: Floats, *, k: int
) -> Floats:
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


_FROM_RANKS: Mapping[str, Callable[..., Floats]] = {
    "auroc": _auroc,
    "average_precision": _average_precision,
}


def _of_ranks(name: str) -> Callable[..., Floats] | None:
    """The function of a metric of ranks, including ``precision@<k>`` for any k; None for others."""
    kind, _, k = name.partition("@")
    return partial(_precision_at, k=int(k)) if kind == "precision" and k.isdigit() else _FROM_RANKS.get(name)


def _mcc(tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
    below = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
    value = np.where(below > 0, (tp * tn - fp * fn) / np.where(below > 0, below, 1), 0.0)
    # If all pairs are called alike, the correlation is 0; if all labels are alike, it is not defined.
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
    tiny = np.finfo(np.float64).eps  # a certain and wrong call costs much, but not infinity
    p = np.clip(values, tiny, 1 - tiny)
    return -(positives @ np.log(p) + negatives @ np.log1p(-p))


def _ece(values: Floats, positives: Floats, negatives: Floats) -> Floats:
    # For a bin: pairs times |mean probability - share of positives|, so their number cancels. The scores of a
    # bin are adjacent.
    starts = np.flatnonzero(np.diff(bin_of(values), prepend=-1))
    gaps = np.add.reduceat(negatives * values - positives * (1 - values), starts, axis=1)
    return np.asarray(np.abs(gaps).sum(1))


_FROM_PROBABILITIES = {"brier": _brier, "log_loss": _log_loss, "ece": _ece}


def bin_of(probabilities: Floats, bins: int = ECE_BINS) -> NDArray[np.int64]:
    """The bin of each probability: of equal widths, bin i holds (i/bins, (i+1)/bins], bin 0 also 0."""
    edges = np.linspace(0, 1, bins + 1)
    return np.clip(np.searchsorted(edges, probabilities, side="left") - 1, 0, bins - 1)


@dataclass(frozen=True)
class Curve:
    """A curve over all thresholds.

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
