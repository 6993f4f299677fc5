"""Every metric against scikit-learn, and what it is where it has no meaning."""

from __future__ import annotations

import math
import time
import warnings

import numpy as np
import pytest

from holotype.errors import DataError
from holotype.proteins.evaluation import bootstrap, metrics
from holotype.proteins.evaluation.metrics import METRICS, Scored


def sample(pairs=2000, *, seed=0, ties=False, positives=0.3):
    rng = np.random.default_rng(seed)
    labels = (rng.random(pairs) < positives).astype(int)
    scores = 1 / (1 + np.exp(-(rng.normal(size=pairs) + labels - 0.5)))
    return labels, np.round(scores, 1) if ties else scores


def ece_by_hand(labels, scores, bins=15):
    total = 0.0
    for at in range(bins):
        low, high = at / bins, (at + 1) / bins
        inside = [
            (y, p) for y, p in zip(labels, scores, strict=True) if low < p <= high or (at == 0 and p == 0)
        ]
        if inside:
            total += abs(sum(p for _, p in inside) - sum(y for y, _ in inside))
    return total / len(labels)


@pytest.fixture(scope="module")
def reference():
    """scikit-learn's metrics; importing them takes a second, so only when a test begins."""
    from sklearn import metrics

    return metrics


REFERENCE = {
    "auroc": lambda r, y, p, c: r.roc_auc_score(y, p),
    "average_precision": lambda r, y, p, c: r.average_precision_score(y, p),
    "accuracy": lambda r, y, p, c: r.accuracy_score(y, c),
    "precision": lambda r, y, p, c: r.precision_score(y, c, zero_division=np.nan),
    "recall": lambda r, y, p, c: r.recall_score(y, c, zero_division=np.nan),
    "specificity": lambda r, y, p, c: r.recall_score(y, c, pos_label=0, zero_division=np.nan),
    "f1": lambda r, y, p, c: r.f1_score(y, c, zero_division=np.nan),
    "mcc": lambda r, y, p, c: r.matthews_corrcoef(y, c),
    "brier": lambda r, y, p, c: r.brier_score_loss(y, p),
    "log_loss": lambda r, y, p, c: r.log_loss(y, p, labels=[0, 1]),
    "ece": lambda r, y, p, c: ece_by_hand(y, p),
}


@pytest.mark.parametrize("name", REFERENCE)
@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_equals_scikit_learn(reference, name, ties, threshold):
    labels, scores = sample(ties=ties)
    expected = REFERENCE[name](reference, labels, scores, scores >= threshold)
    assert metrics.binary_metrics(labels, scores, threshold)[name] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", REFERENCE)
def test_constant_scores_equal_scikit_learn(reference, name):
    labels, _ = sample(pairs=50)
    scores = np.full(50, 0.7)
    expected = REFERENCE[name](reference, labels, scores, scores >= 0.5)
    assert metrics.binary_metrics(labels, scores)[name] == pytest.approx(expected, nan_ok=True, abs=1e-12)


def test_certain_scores_have_a_finite_log_loss(reference):
    labels, scores = np.array([1, 0, 1]), np.array([1.0, 1.0, 0.0])
    expected = reference.log_loss(labels, scores)
    assert metrics.binary_metrics(labels, scores)["log_loss"] == pytest.approx(expected)


def test_the_convenient_functions_are_the_same_metrics():
    labels, scores = sample()
    every = metrics.binary_metrics(labels, scores)
    assert metrics.auroc(labels, scores) == every["auroc"]
    assert metrics.average_precision(labels, scores) == every["average_precision"]
    assert metrics.precision_at_k(labels, scores, 100) == every["precision@100"]
    assert list(every) == list(METRICS)


def test_precision_at_k_without_ties_counts_the_best():
    labels, scores = sample(pairs=300)
    best = np.argsort(-scores)[:37]
    assert metrics.precision_at_k(labels, scores, 37) == pytest.approx(labels[best].mean())


def test_precision_at_k_takes_the_expectation_over_ties():
    # One positive above; then four pairs of one score, of which one is positive and two are within rank 3.
    labels, scores = [1, 1, 0, 0, 0], [0.9, 0.5, 0.5, 0.5, 0.5]
    assert metrics.precision_at_k(labels, scores, 3) == pytest.approx((1 + 2 * 0.25) / 3)
    assert metrics.precision_at_k(labels, scores, 5) == pytest.approx(2 / 5)


@pytest.mark.parametrize("k", [0, -1, 2.5])
def test_precision_at_a_senseless_k_is_refused(k):
    with pytest.raises(DataError, match="precision@k"):
        metrics.precision_at_k([0, 1], [0.1, 0.2], k)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_no_ranks_and_says_why(label):
    labels, scores = np.full(5, label), np.linspace(0.1, 0.9, 5)
    found = metrics.binary_metrics(labels, scores)
    why = metrics.why_undefined(Scored(labels, scores))
    for name in ("auroc", "average_precision", "mcc"):
        assert math.isnan(found[name])
        assert "all 5 pairs are" in why[name]
    for name in ("accuracy", "brier", "ece", "log_loss"):
        assert not math.isnan(found[name])
    assert set(why) == {name for name, value in found.items() if math.isnan(value)}
    assert math.isnan(found["specificity" if label else "recall"])


def test_nothing_called_positive_has_no_precision_and_says_why():
    labels, scores = [0, 1, 1], [0.1, 0.2, 0.3]
    found = metrics.binary_metrics(labels, scores)
    assert math.isnan(found["precision"])
    assert found["recall"] == 0
    assert found["mcc"] == 0
    assert "0.5" in metrics.why_undefined(Scored(labels, scores))["precision"]


def test_a_single_pair():
    found = metrics.binary_metrics([1], [0.8])
    assert found["accuracy"] == 1
    assert found["brier"] == pytest.approx(0.04)
    assert math.isnan(found["auroc"])
    assert math.isnan(found["precision@10"])
    assert "only 1 pairs" in metrics.why_undefined(Scored([1], [0.8]))["precision@10"]


def test_real_scores_have_ranks_only():
    labels, scores = sample()
    found = metrics.binary_metrics(labels, np.log(scores / (1 - scores)))
    assert found["auroc"] == pytest.approx(metrics.auroc(labels, scores))
    for name in ("accuracy", "mcc", "brier", "ece", "log_loss"):
        assert math.isnan(found[name])
    why = metrics.why_undefined(Scored(labels, scores), probabilities=False)
    assert why["ece"] == "the scores are not probabilities"
    with pytest.raises(DataError, match="lie from"):
        metrics.binary_metrics(labels, scores + 1, probabilities=True)


def test_scores_of_any_size(reference):
    labels = [0, 0, 1, 1]
    assert metrics.auroc(labels, [-1e308, -1e-308, 1e-308, 1e308]) == 1.0
    assert metrics.auroc(labels, [0.0, -0.0, 0.0, -0.0]) == 0.5
    assert metrics.auroc(labels, np.array([3, 1, 2, 4], np.int8)) == reference.roc_auc_score(
        labels, [3, 1, 2, 4]
    )


def test_half_precision_scores_are_measured_exactly(reference):
    labels, scores = sample()
    half = scores.astype(np.float16)
    assert metrics.auroc(labels, half) == pytest.approx(
        reference.roc_auc_score(labels, half.astype(np.float64))
    )


@pytest.mark.parametrize(
    ("labels", "scores", "match"),
    [
        ([], [], "one for each pair"),
        ([0, 2, 1], [0.1, 0.2, 0.3], "label 1 is 2"),
        ([0, float("nan")], [0.1, 0.2], "label 1 is nan"),
        (["a", "b"], [0.1, 0.2], "0 and 1"),
        ([0, 1], [0.1], "2 numbers"),
        ([0, 1], [0.1, float("nan")], "score 1 is nan"),
        ([0, 1], [0.1, float("inf")], "score 1 is inf"),
        ([0, 1], ["x", "y"], "2 numbers"),
        ([[0, 1]], [[0.1, 0.2]], "one for each pair"),
    ],
)
def test_bad_input_is_refused(labels, scores, match):
    with pytest.raises(DataError, match=match):
        metrics.auroc(labels, scores)


def test_an_unknown_metric_names_the_nearest():
    with pytest.raises(DataError, match="auroc"):
        bootstrap.bootstrap_intervals([0, 1], [0.1, 0.2], ["aurroc"])


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
def test_each_resample_has_the_metrics_of_the_pairs_that_were_drawn(reference, ties):
    labels, scores = sample(pairs=200, ties=ties)
    one = Scored(labels, scores)
    found = bootstrap.resample({"": (one, list(REFERENCE))}, resamples=12, seed=1)[""]
    ((positives, negatives),) = bootstrap.draws(one.labels, 12, seed=1)
    for at in range(12):
        drawn = np.r_[positives[at], negatives[at]]
        y, p = labels[drawn], scores[drawn]
        for name, expected in REFERENCE.items():
            assert found[name][at] == pytest.approx(expected(reference, y, p, p >= 0.5), abs=1e-12), name
    low, high = np.quantile(found["auroc"], [0.025, 0.975])
    assert bootstrap.bootstrap_intervals(labels, scores, ["auroc"], resamples=12, seed=1) == {
        "auroc": (low, high)
    }


def test_scorings_are_resampled_together():
    labels, scores = sample(pairs=200)
    first, second = Scored(labels, scores), Scored(labels, scores**3)  # the same ranks
    found = bootstrap.resample({"a": (first, ["auroc"]), "b": (second, ["auroc"])}, resamples=20)
    assert found["a"]["auroc"].tolist() == found["b"]["auroc"].tolist()


def test_intervals_cover_the_truth():
    # Scores N(1, 1) and N(0, 1): AUROC is Φ(1/√2).
    truth, covered = 0.5 * (1 + math.erf(0.5)), 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        labels = np.arange(200) % 2
        scores = rng.normal(size=200) + labels
        low, high = bootstrap.bootstrap_intervals(labels, scores, ["auroc"], resamples=200, seed=seed)[
            "auroc"
        ]
        covered += low <= truth <= high
    assert covered >= 51  # 95 % of 60 is 57; fewer than 51 happens once in a thousand times


def test_the_same_seed_gives_the_same_interval():
    labels, scores = sample(pairs=300)
    first, again, other = (
        bootstrap.bootstrap_intervals(labels, scores, ["auroc", "ece"], resamples=50, seed=seed)
        for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


def test_an_interval_of_one_class_is_nan_and_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interval = bootstrap.bootstrap_intervals([1, 1, 1], [0.2, 0.5, 0.9], ["auroc"], resamples=20)["auroc"]
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_resampling_in_pieces_changes_nothing(monkeypatch):
    labels, scores = sample(pairs=100)
    one = Scored(labels, scores)
    draws = list(bootstrap.draws(one.labels, 10, seed=0))
    assert len(draws) == 1
    monkeypatch.setattr(bootstrap, "_ELEMENTS_AT_ONCE", 300)
    pieces = list(bootstrap.draws(one.labels, 10, seed=0))
    assert [len(positives) for positives, _ in pieces] == [3, 3, 3, 1]
    for positives, negatives in pieces:
        assert labels[positives].all()
        assert not labels[negatives].any()


def test_a_thousand_resamples_of_52_thousand_pairs_take_seconds():
    labels, scores = sample(pairs=52_000, positives=0.5)
    start = time.process_time()
    bootstrap.bootstrap_intervals(labels, scores, ["auroc"], resamples=100)
    assert (time.process_time() - start) * 10 < 15  # about 2 where nothing else runs


def test_curves_end_where_they_must_and_hold_the_area():
    labels, scores = sample(ties=True)
    one = Scored(labels, scores)
    roc = metrics.roc_curve(one)
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(metrics.auroc(labels, scores))
    found = metrics.precision_recall_curve(one)
    steps = np.diff(np.r_[0, found.x]) @ found.y
    assert steps == pytest.approx(metrics.average_precision(labels, scores))
