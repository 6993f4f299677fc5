"""Calibration: temperature scaling, and the figures of the reliability diagram.

Source: Guo et al., On calibration of modern neural networks, ICML 2017, section 4.2. Targets for separable
data: Platt, Probabilistic outputs for support vector machines, 1999, section 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from holotype.errors import DataError
from holotype.proteins.evaluation.metrics import ECE_BINS, Floats, as_labels, as_scores, bin_of

# The range of 1/T, in units of the largest logit.
_LEAST, _MOST = 1e-6, 1e3
_FLATTEST = 1000.0  # uninformative logits become at most 0.001: probabilities near 0.5, in the same order


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The temperature T for which ``sigmoid(logits / T)`` is most likely to give the labels.

    The likelihood is concave in 1/T, so its only maximum is found by bisection. Ranks do not change. If no
    logit has the wrong sign there is no maximum, and Platt's softened targets are fitted. If the logits are
    uninformative or contradict the labels, T is a million times their size, and all probabilities
    are near 0.5.

    Args:
        logits: (P,) of pairs that are neither training nor test pairs.
        labels: (P,) of 0 and 1.

    Returns:
        T > 0; 1 if there is nothing to fit: a single class, or logits that are all 0.

    Raises:
        DataError: no pairs, different lengths, labels that are not binary, logits that are not finite.
    """
    y = as_labels(labels)
    z = as_scores(logits, len(y))
    size = float(np.abs(z).max())
    positives, negatives = int(y.sum()), int((~y).sum())
    if size == 0 or not positives or not negatives:
        return 1.0
    z = z / size  # so that the fit does not depend on the unit of the logits
    target = y.astype(np.float64)
    if np.all(np.where(y, z, -z) >= 0):
        target = np.where(y, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def slope(inverse: float) -> float:
        return float(np.mean((sigmoid(z * inverse) - target) * z))

    low, high = np.log(_LEAST), np.log(_MOST) + np.log(max(1.0, 1 / float(np.abs(z).mean())))
    flattest = max(1.0, _FLATTEST * size)
    if slope(float(np.exp(low))) >= 0:
        return flattest
    while high - low > 1e-10:
        middle = (low + high) / 2
        if slope(float(np.exp(middle))) < 0:
            low = middle
        else:
            high = middle
    found = float(np.exp((low + high) / 2))
    # At the end of the range, the given logits may still be better.
    return min(size / found, flattest) if _loss(z * found, target) <= _loss(z * size, target) else 1.0


def _loss(logits: Floats, target: Floats) -> float:
    return float(np.mean(np.logaddexp(0, logits) - target * logits))


def apply_temperature(logits: ArrayLike, temperature: float = 1.0) -> Floats:
    """Calibrated probabilities, ``sigmoid(logits / temperature)``.

    Raises:
        DataError: the temperature is not above 0.
    """
    if not temperature > 0 or not np.isfinite(temperature):
        raise DataError(f"temperature: {temperature}, expected a number above 0.", given=temperature)
    return sigmoid(np.asarray(logits, dtype=np.float64) / temperature)


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + exp(-x)), for any finite x."""
    small = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1.0, small) / (1 + small))


def logit(probabilities: ArrayLike) -> Floats:
    """The logits of probabilities; those of 0 and 1 are finite, too."""
    tiny = np.finfo(np.float64).eps
    p = np.clip(np.asarray(probabilities, dtype=np.float64), tiny, 1 - tiny)
    return np.log(p) - np.log1p(-p)


@dataclass(frozen=True)
class Reliability:
    """The figures of a reliability diagram, for bins of equal width.

    Attributes:
        edges: (bins + 1,) probabilities.
        pairs: (bins,) the number of pairs.
        probability: (bins,) the mean probability; nan in an empty bin.
        positive: (bins,) the share of positives; nan in an empty bin.
    """

    edges: Floats
    pairs: NDArray[np.int64]
    probability: Floats
    positive: Floats

    @property
    def ece(self) -> float:
        """The expected calibration error of these bins."""
        used = self.pairs > 0
        gaps = np.abs(self.probability[used] - self.positive[used])
        return float((self.pairs[used] * gaps).sum() / self.pairs.sum())

    def to_dict(self) -> dict[str, Any]:
        """As plain values; nan is None."""
        return {
            "edges": [round(float(edge), 6) for edge in self.edges],
            "pairs": self.pairs.tolist(),
            "probability": [None if v != v else float(v) for v in self.probability],
            "positive": [None if v != v else float(v) for v in self.positive],
        }


def reliability(labels: ArrayLike, probabilities: ArrayLike, bins: int = ECE_BINS) -> Reliability:
    """The share of positive pairs for each range of probabilities.

    Raises:
        DataError: as for `fit_temperature`; or a value is not a probability.
    """
    y = as_labels(labels)
    p = as_scores(probabilities, len(y))
    if p.min() < 0 or p.max() > 1:
        raise DataError(
            f"probabilities: expected 0 to 1, got {p.min():g} to {p.max():g}.", given=float(p.max())
        )
    at = bin_of(p, bins)
    pairs = np.bincount(at, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            np.linspace(0, 1, bins + 1),
            pairs,
            np.bincount(at, weights=p, minlength=bins) / pairs,
            np.bincount(at, weights=y, minlength=bins) / pairs,
        )
