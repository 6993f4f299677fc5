"""Confidence intervals of metrics: a bootstrap over pairs, stratified by label.

Pairs are drawn as if each were independent. Pairs that share a protein are not quite independent, so the
truth is somewhat less certain than these intervals.

Shapes: P pairs; R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from holotype.proteins.evaluation.metrics import Floats, Scored, applicable, measure

CONFIDENCE = 0.95
_ELEMENTS_AT_ONCE = 1 << 20


class Interval(NamedTuple):
    """A percentile interval; nan where it is undefined."""

    low: float
    high: float


def draws(
    labels: NDArray[np.bool_], resamples: int, seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Draw as many positives and as many negatives as there are, with replacement.

    Yields:
        (R, positives) and (R, negatives) indices of pairs; the R of all portions add up to `resamples`.
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
        scored: name -> (the scoring, its metrics).
        threshold: as for `measure`.
        resamples: their number.
        seed: of the draws.

    Returns:
        name -> metric -> (resamples,); element i of each is from the same draw.
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


def percentile_interval(values: Floats, confidence: float = CONFIDENCE) -> Interval:
    """The middle share `confidence` of resampled values; nan if fewer than half of them are defined."""
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
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile intervals from a stratified bootstrap over pairs.

    Args:
        labels: (P,) of 0 and 1.
        scores: (P,) probabilities or real scores.
        metrics: their names; by default all that the scores can have.
        threshold: as for `binary_metrics`.
        resamples: their number.
        confidence: the share of resampled values within the interval.
        seed: of the draws.

    Raises:
        DataError: as for `Scored`; or an unknown metric.
    """
    scored = Scored(labels, scores)
    names = applicable(scored.scores) if metrics is None else list(metrics)
    found = resample({"": (scored, names)}, threshold=threshold, resamples=resamples, seed=seed)[""]
    return {name: percentile_interval(values, confidence) for name, values in found.items()}
