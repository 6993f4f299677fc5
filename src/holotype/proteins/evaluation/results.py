"""The results of an evaluation: metrics with intervals for each class of pairs, beside baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holotype.proteins.evaluation.bootstrap import CONFIDENCE, Interval
from holotype.proteins.evaluation.calibration import Reliability, reliability
from holotype.proteins.evaluation.metrics import Floats

DECIDES = "auroc"
RESAMPLES = 1000
_NONE = Interval(float("nan"), float("nan"))


@dataclass(frozen=True)
class Value:
    """A metric of some pairs.

    Attributes:
        value: nan where it is not defined.
        interval: of 95 %, from the bootstrap.
        why: why it is not defined.
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
        text: their description.
        rows: (P,) indices of the pairs.
        positives: the number of positive pairs.
        metrics: name -> value of the model, for every name of `METRICS`.
        baselines: baseline -> metric -> value.
        best: the baseline with the highest AUROC, or None without baselines or AUROC.
        difference: AUROC of the model minus that of `best`, on the same resamples.
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
        """The number of pairs."""
        return len(self.rows)

    @property
    def state(self) -> str:
        """Compared with the best baseline: "better", "level", "worse" or "unknown"."""
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
    """The evaluation of predictions.

    Attributes:
        title: what was evaluated.
        labels: (P,) bool.
        scores: (P,) as given.
        subsets: "all" first, then the classes that have pairs.
        headline: the subset to quote.
        probabilities: whether the scores are probabilities.
        threshold: the least score of a pair that is called positive.
        baseline_scores: baseline -> (P,).
        uncalibrated: (P,) probabilities before temperature scaling, or None.
        temperature: the logits were divided by it; or None.
        about: data, split, model, digests, as plain values.
        notes: what a reader must know.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
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
        """The subsets without repetition: "all" is left out where one class holds all pairs."""
        covered = any(one.pairs == len(self.labels) for one in self.subsets[1:])
        return self.subsets[1:] if covered else self.subsets

    @property
    def metrics(self) -> dict[str, float]:
        """The headline's metrics, as numbers."""
        return {name: value.value for name, value in self.headline.metrics.items()}

    @cached_property
    def reliability(self) -> Reliability | None:
        """The reliability of the headline's scores, if they are probabilities."""
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
        """The state of the headline: "better", "level", "worse" or "unknown"."""
        return self.headline.state

    @property
    def verdict(self) -> str:
        """One sentence on whether the model beats the best baseline."""
        one = self.headline
        if one.best is None or one.difference is None:
            return "No verdict: without both positive and negative pairs there is no AUROC."
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
        """All figures as plain values, for JSON; undefined ones are None."""
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
                "confidence": CONFIDENCE,
                "method": "percentile, stratified by label, over pairs",
            },
            "notes": list(self.notes),
        }


def _signed(value: Value) -> str:
    low, high = value.interval
    return f"{value.value:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"


def _plain(value: float) -> float | None:
    return None if value != value else float(value)
