"""What a frozen network's embeddings are worth: the accuracy of the simplest classifiers on them.

Sources: Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", section
3.4 (weighted k nearest neighbours), with the settings of Caron et al. 2021, "DINO", appendix F.1 (k = 20,
temperature 0.07); Kornblith et al. 2019, "Do Better ImageNet Models Transfer Better?", appendix A.4 (logistic
regression by L-BFGS, its L2 strength chosen on validation data). Wilson 1927 for the interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # the name that everybody knows

from holotype.errors import DataError, ParameterError, ShapeError

__all__ = ["STRENGTHS", "ProbeResult", "knn_accuracy", "linear_probe", "wilson_interval"]

STRENGTHS = tuple(10.0**power for power in range(-5, 2))
"""What is tried: how much half the squared norm of the weights counts, beside the mean loss of a sample."""
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class ProbeResult:
    """How many test samples a probe gets right.

    Attributes:
        method: ``"knn"`` or ``"linear"``.
        accuracy: from 0 to 1; `float` of the result, too.
        interval: Wilson's 95 % interval of it: the uncertainty of a test set of this size, no more.
        correct: how many are right.
        total: of how many.
        classes: how many classes the training data have.
        k: neighbours, of k-NN.
        temperature: of k-NN.
        strength: the L2 strength that was chosen, of the linear probe.
        tried: accuracy on the validation data by strength, of the linear probe.
    """

    method: str
    accuracy: float
    interval: tuple[float, float]
    correct: int
    total: int
    classes: int
    k: int | None = None
    temperature: float | None = None
    strength: float | None = None
    tried: tuple[tuple[float, float], ...] = ()

    def __float__(self) -> float:
        return self.accuracy

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {key: value for key, value in asdict(self).items() if value not in (None, ())}


def knn_accuracy(
    train_x: Any,
    train_y: Any,
    test_x: Any = None,
    test_y: Any = None,
    *,
    k: int = 20,
    temperature: float = 0.07,
) -> ProbeResult:
    """Classify by the nearest training samples: each votes with ``exp(cosine similarity / temperature)``.

    Args:
        train_x: (n, F) embeddings, an array or a tensor.
        train_y: (n,) classes, whole numbers from 0.
        test_x: (m, F). Without test data, each training sample is classified by the others.
        test_y: (m,).
        k: how many neighbours; all, if there are fewer.
        temperature: the smaller, the more the nearest ones count.

    Raises:
        ShapeError: shapes that do not fit each other.
        DataError: no samples, only one and no test data, a value that is not finite, or a class below 0.
        ParameterError: `k` or `temperature` out of range.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ParameterError(f"k is a whole number from 1 on, got {k!r}.", given=k)
    if not 0 < temperature < math.inf:
        raise ParameterError(f"temperature is above 0, got {temperature!r}.", given=temperature)
    alone = test_x is None
    x, y, tests, truth = _checked(*((train_x, train_y) * 2 if alone else (train_x, train_y, test_x, test_y)))
    if alone and len(x) < 2:
        raise DataError("one sample has no others to be classified by.", given=1)
    x, classes = F.normalize(x, dim=1), int(y.max()) + 1
    k = min(k, len(x) - alone)
    correct = 0
    for start in range(0, len(tests), _ROWS_AT_ONCE):
        similarity = F.normalize(tests[start : start + _ROWS_AT_ONCE], dim=1) @ x.T
        if alone:
            similarity.diagonal(start).fill_(-math.inf)
        best = similarity.topk(k, dim=1)
        # Relative to the nearest one: the same order, and no overflow at low temperatures.
        votes = ((best.values - best.values[:, :1]) / temperature).exp()
        scores = torch.zeros(len(votes), classes, dtype=votes.dtype, device=votes.device)
        scores.scatter_add_(1, y[best.indices], votes)
        correct += int((scores.argmax(1) == truth[start : start + _ROWS_AT_ONCE]).sum())
    return _result("knn", correct, len(tests), _count(y), k=k, temperature=float(temperature))


def linear_probe(
    train_x: Any,
    train_y: Any,
    test_x: Any,
    test_y: Any,
    *,
    val: tuple[Any, Any] | None = None,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
) -> ProbeResult:
    """Multinomial logistic regression on standardised embeddings.

    What is minimised is the mean cross-entropy plus ``strength / 2`` times the squared norm of the weights
    (not of the biases). The strength with the best accuracy on the validation data is taken, the strongest
    among equals; the model is then fitted again to all training data.

    Args:
        train_x: (n, F) embeddings, an array or a tensor.
        train_y: (n,) classes, whole numbers from 0.
        test_x: (m, F).
        test_y: (m,).
        val: embeddings and classes to choose the strength on; a fifth of each class of the training data if
            None. They are not fitted to, unless they are of the training data.
        strengths: what to choose among; with one, there is nothing to choose.
        seed: of that fifth. Nothing else is random.

    Raises:
        ShapeError: shapes that do not fit each other.
        DataError: no samples, one class only, a value that is not finite, or a class below 0.
        ParameterError: no strength, or one that is not above 0.
    """
    if not strengths or not all(0 < one < math.inf for one in strengths):
        raise ParameterError(f"strengths are positive numbers, got {list(strengths)}.", given=strengths)
    x, y, tests, truth = _checked(train_x, train_y, test_x, test_y)
    classes = int(y.max()) + 1
    if _count(y) < 2:
        raise DataError("the training data are all of one class: there is nothing to distinguish.", given=1)
    tried: list[tuple[float, float]] = []
    chosen = float(strengths[0])
    if len(strengths) > 1:
        if val is None:
            kept, held = _split(y, seed)
            fit_x, fit_y, val_x, val_y = x[kept], y[kept], x[held], y[held]
        else:
            fit_x, fit_y = x, y
            _, _, val_x, val_y = _checked(train_x, train_y, *val, what="validation")
        start = None
        # From the strongest on, each begins where the last one ended: fewer steps, the same optimum.
        for strength in sorted((float(one) for one in strengths), reverse=True):
            start, mean, std = _fit(fit_x, fit_y, classes, strength, start)
            tried.append((strength, _share(start, (val_x - mean) / std, val_y)))
        chosen = max(tried, key=lambda one: (one[1], one[0]))[0]
    weights, mean, std = _fit(x, y, classes, chosen, None)
    correct = round(_share(weights, (tests - mean) / std, truth) * len(tests))
    return _result(
        "linear",
        correct,
        len(tests),
        _count(y),
        strength=chosen,
        tried=tuple(sorted(tried)),
    )


def wilson_interval(correct: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a proportion.

    >>> [round(edge, 3) for edge in wilson_interval(8, 10)]
    [0.49, 0.943]
    """
    if total < 1:
        return (0.0, 1.0)
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return (max(0.0, centre - half), min(1.0, centre + half))


def _fit(
    x: Tensor, y: Tensor, classes: int, strength: float, start: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """(F + 1, N) weights of logistic regression, the last row biases; mean and deviation of the features."""
    mean, std = x.mean(0), x.std(0, correction=0)
    std = torch.where(std > 1e-6 * std.max().clamp(min=1e-30), std, torch.ones_like(std))
    scaled = (x - mean) / std
    weights = torch.zeros(x.shape[1] + 1, classes, dtype=x.dtype, device=x.device)
    weights = (weights if start is None else start.clone()).requires_grad_()
    optimiser = torch.optim.LBFGS(
        [weights],
        max_iter=300,
        tolerance_grad=1e-6,
        tolerance_change=1e-10,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(_logits(weights, scaled), y) + strength / 2 * weights[:-1].square().sum()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        return loss

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]  # torch's own
    return weights.detach(), mean, std


def _logits(weights: Tensor, x: Tensor) -> Tensor:
    return x @ weights[:-1] + weights[-1]


def _share(weights: Tensor, x: Tensor, y: Tensor) -> float:
    return float((_logits(weights, x).argmax(1) == y).double().mean())


def _split(y: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Indices to fit and to choose on: of each class a fifth, at least one where it has two."""
    draw = np.random.default_rng(seed)
    classes = y.cpu().numpy()
    held: list[int] = []
    for one in np.unique(classes):
        own = draw.permutation(np.flatnonzero(classes == one))
        held += own[: max(len(own) // 5, 1) if len(own) > 1 else 0].tolist()
    if not held:  # one sample of each class: choose on what was fitted
        everything = torch.arange(len(y))
        return everything, everything
    chosen = np.zeros(len(classes), bool)
    chosen[held] = True
    return torch.from_numpy(np.flatnonzero(~chosen)), torch.from_numpy(np.flatnonzero(chosen))


def _count(y: Tensor) -> int:
    """How many different classes."""
    return int((y.bincount() > 0).sum())


def _result(method: str, correct: int, total: int, classes: int, **more: Any) -> ProbeResult:
    interval = wilson_interval(correct, total)
    return ProbeResult(method, correct / total, interval, correct, total, classes, **more)


def _checked(
    train_x: Any, train_y: Any, test_x: Any, test_y: Any, what: str = "test"
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As tensors in double precision, if they fit each other."""
    found = []
    for part, features, labels in (("training", train_x, train_y), (what, test_x, test_y)):
        x, y = torch.as_tensor(features), torch.as_tensor(labels)
        if x.dim() != 2 or y.dim() != 1 or len(x) != len(y):
            raise ShapeError(
                f"{part} data are (n, F) and (n,) classes, got {tuple(x.shape)} and {tuple(y.shape)}.",
                given=(tuple(x.shape), tuple(y.shape)),
            )
        if not len(x):
            raise DataError(f"there are no {part} data.", given=0)
        if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool or int(y.min()) < 0:
            raise DataError(f"classes of the {part} data are whole numbers from 0 on.", given=str(y.dtype))
        x = x.detach().double()
        if not bool(torch.isfinite(x).all()):
            raise DataError(f"an embedding of the {part} data is not finite.", given=part)
        found += [x, y.long().to(x.device)]
    if found[0].shape[1] != found[2].shape[1]:
        raise ShapeError(
            f"training data are {found[0].shape[1]} wide, the {what} data {found[2].shape[1]}.",
            given=(found[0].shape[1], found[2].shape[1]),
        )
    return found[0], found[1], found[2], found[3]
