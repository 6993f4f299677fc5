"""Comparison of runs on the same test pairs, by a paired bootstrap of the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from holotype.errors import DataError
from holotype.names import nearest
from holotype.proteins.data.pairs import align
from holotype.proteins.evaluation.bootstrap import CONFIDENCE, Interval, percentile_interval, resample
from holotype.proteins.evaluation.metrics import (
    METRICS,
    Floats,
    Scored,
    applicable,
    measure,
    unknown_metric,
)
from holotype.proteins.evaluation.predictions import Predictions, read_predictions

PREDICTIONS = "predictions_test.tsv"


@dataclass(frozen=True)
class Run:
    """One of the runs.

    Attributes:
        name: short and unique.
        path: its file of predictions.
        value: the metric.
        interval: of 95 %.
    """

    name: str
    path: Path
    value: float
    interval: Interval


@dataclass(frozen=True)
class Difference:
    """The metric of the second run minus that of the first, on the same resamples.

    Attributes:
        first: a run's name.
        second: another's.
        value: the difference.
        interval: of 95 %.
        p: twice the share of resamples in which the difference is 0 or has the other sign. Read it as a
            two-sided p-value; it is not corrected for several comparisons.
        better: the name of the better run if the interval excludes 0, or None.
    """

    first: str
    second: str
    value: float
    interval: Interval
    p: float
    better: str | None


@dataclass(frozen=True)
class Comparison:
    """Runs on the same test pairs.

    Attributes:
        metric: its name.
        runs: in the given order.
        differences: of every two runs.
        pairs: the number of test pairs.
        positives: the number of positive pairs.
        subset: "all", or the class of pairs that was compared.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """

    metric: str
    runs: tuple[Run, ...]
    differences: tuple[Difference, ...]
    pairs: int
    positives: int
    subset: str
    resamples: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "metric": self.metric,
            "pairs": self.pairs,
            "positives": self.positives,
            "subset": self.subset,
            "runs": [
                {"name": run.name, "path": str(run.path), "value": run.value, **run.interval._asdict()}
                for run in self.runs
            ],
            "differences": [
                {
                    "first": one.first,
                    "second": one.second,
                    "value": one.value,
                    **one.interval._asdict(),
                    "p": one.p,
                    "better": one.better,
                }
                for one in self.differences
            ],
            "bootstrap": {
                "resamples": self.resamples,
                "seed": self.seed,
                "confidence": CONFIDENCE,
                "method": "percentile, stratified by label, over pairs, paired",
            },
        }


def compare_runs(
    paths: Sequence[str | Path],
    *,
    metric: str = "auroc",
    subset: str = "all",
    threshold: float = 0.5,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two or more runs on the same test pairs.

    Pairs are matched by their names, in either order.

    Args:
        paths: run folders, which hold ``predictions_test.tsv``, or files of predictions.
        metric: one of `holotype.proteins.evaluation.metrics.METRICS`, or ``precision@<k>``.
        subset: "all", or a class of the first run's file: "C1", "C2" or "C3".
        threshold: for metrics that need one.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Raises:
        DataError: fewer than two runs; a folder without predictions; runs whose pairs or labels differ; an
            unknown metric, or one that the scores cannot have.
    """
    if len(paths) < 2:
        raise DataError(
            f"a comparison needs two runs, got {len(paths)}.",
            given=len(paths),
            hint="holotype compare RUN RUN",
        )
    files = [predictions_of(path) for path in paths]
    names = _names(paths)
    read = [read_predictions(path) for path in files]
    first = read[0]
    scores = [first.scores] + [
        _aligned(first, other, names[0], name) for other, name in zip(read[1:], names[1:], strict=True)
    ]
    rows = _rows(first, subset, names[0])
    labels = first.labels[rows]
    scored = {name: Scored(labels, values[rows]) for name, values in zip(names, scores, strict=True)}
    for name, one in scored.items():
        _check_metric(metric, one, name)
    drawn = resample(
        {name: (one, [metric]) for name, one in scored.items()},
        threshold=threshold,
        resamples=resamples,
        seed=seed,
    )
    values = {
        name: float(measure(one.values, *one.counts, [metric], threshold)[metric][0])
        for name, one in scored.items()
    }
    undefined = [name for name, value in values.items() if value != value]
    if undefined:
        raise DataError(
            f"{metric} has no value on {'all' if subset == 'all' else subset} pairs of {undefined[0]}: "
            f"{len(labels):,} pairs, {int(labels.sum()):,} of them positive.",
            given=metric,
        )
    low_is_good = metric in METRICS and METRICS[metric].better == "low"
    return Comparison(
        metric=metric,
        runs=tuple(
            Run(name, path, values[name], percentile_interval(drawn[name][metric]))
            for name, path in zip(names, files, strict=True)
        ),
        differences=tuple(
            _difference(a, b, values, {name: found[metric] for name, found in drawn.items()}, low_is_good)
            for a, b in combinations(names, 2)
        ),
        pairs=len(labels),
        positives=int(labels.sum()),
        subset=subset if subset == "all" else subset.upper(),
        resamples=resamples,
        seed=seed,
    )


def _difference(
    a: str, b: str, values: dict[str, float], drawn: dict[str, Floats], low_is_good: bool
) -> Difference:
    gaps = drawn[b] - drawn[a]
    gaps = gaps[~np.isnan(gaps)]
    interval = percentile_interval(gaps)
    side = min(int((gaps <= 0).sum()), int((gaps >= 0).sum()))
    better = None
    if interval.low > 0 or interval.high < 0:
        better = b if (interval.low > 0) != low_is_good else a
    return Difference(
        a, b, values[b] - values[a], interval, min(1.0, 2 * (side + 1) / (len(gaps) + 1)), better
    )


def _check_metric(metric: str, scored: Scored, name: str) -> None:
    is_top = metric.startswith("precision@") and metric[10:].isdigit() and int(metric[10:]) > 0
    if metric not in METRICS and not is_top:
        raise unknown_metric(metric)
    if not is_top and metric not in applicable(scored.scores):
        raise DataError(
            f"{metric} needs probabilities, and the scores of {name} lie from {scored.values[-1]:g} to "
            f"{scored.values[0]:g}.",
            given=metric,
            hint="Compare ranks: --metric auroc, average_precision or precision@K.",
        )


def predictions_of(run: str | Path) -> Path:
    """The file of test predictions of a run's folder, or the file itself.

    Raises:
        DataError: neither, or a folder without predictions.
    """
    path = Path(run)
    if path.is_dir():
        if (path / PREDICTIONS).is_file():
            return path / PREDICTIONS
        others = sorted(path.glob("predictions*.tsv"))
        if len(others) == 1 and not others[0].name.endswith("_val.tsv"):
            return others[0]
        raise DataError(
            f"{path} holds no {PREDICTIONS}.",
            given=str(path),
            nearest=[str(one) for one in others],
            hint="'holotype train' and 'holotype evaluate MODEL -o FOLDER' write it.",
        )
    if not path.is_file():
        there = [str(one) for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{path}: no such run.", given=str(path), nearest=nearest(str(path), there))
    return path


def _names(paths: Sequence[str | Path]) -> list[str]:
    """The last part of each path, or as many parts as make the names unique."""
    whole = [Path(path).absolute() for path in paths]
    if len(set(whole)) < len(whole):
        twice = next(path for at, path in enumerate(whole) if path in whole[:at])
        raise DataError(f"{twice} is given twice.", given=str(twice))
    for size in range(1, max(len(path.parts) for path in whole) + 1):
        names = ["/".join(path.parts[-size:]) for path in whole]
        if len(set(names)) == len(names):
            break
    return names


def _rows(first: Predictions, subset: str, name: str) -> Any:
    if subset.lower() == "all":
        return np.arange(len(first))
    kind = {"c1": 1, "c2": 2, "c3": 3}.get(subset.lower())
    if kind is None:
        raise DataError(f"no subset named {subset!r}: all, C1, C2 or C3.", given=subset)
    if first.classes is None:
        raise DataError(f"the predictions of {name} have no column 'class'.", given=subset)
    rows = np.flatnonzero(first.classes == kind)
    if not len(rows):
        raise DataError(f"{name} has no pairs of class {subset.upper()}.", given=subset)
    return rows


def _aligned(first: Predictions, other: Predictions, first_name: str, other_name: str) -> Floats:
    """The scores of another run, in the order of the first one's pairs."""
    mine, theirs = align(first.pairs, other.pairs)
    mine_keys, their_keys = mine.keys(), theirs.keys()
    order = np.argsort(their_keys)
    at = np.minimum(np.searchsorted(their_keys, mine_keys, sorter=order), len(order) - 1)
    there = their_keys[order[at]] == mine_keys
    shared = int(there.sum())
    other_labels = int((first.labels[there] != other.labels[order[at[there]]]).sum())
    if shared < len(mine_keys) or shared < len(their_keys) or other_labels:
        counts = (
            f"{first_name} has {len(mine_keys):,} pairs and {other_name} {len(their_keys):,}; "
            f"{shared:,} are the same, {len(mine_keys) - shared:,} are in the first alone and "
            f"{len(their_keys) - shared:,} in the second alone"
        )
        raise DataError(
            f"the two runs were not tested on the same pairs: {counts}"
            + (f"; {other_labels:,} of these have different labels." if other_labels else "."),
            given=other_name,
            hint="Figures of different test sets cannot be compared. Evaluate both runs on the same data.",
        )
    return other.scores[order[at]]
