"""Temperature scaling against a general minimiser, and on data that have no minimum."""

from __future__ import annotations

import math

import numpy as np
import pytest

from holotype.errors import DataError
from holotype.proteins.evaluation.calibration import (
    apply_temperature,
    fit_temperature,
    logit,
    reliability,
    sigmoid,
)
from holotype.proteins.evaluation.metrics import auroc, binary_metrics


def sample(temperature, *, pairs=4000, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=pairs) * 3
    return logits, (rng.random(pairs) < sigmoid(logits / temperature)).astype(int)


@pytest.mark.parametrize("true", [0.3, 1.0, 2.5, 20.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_the_minimum_of_the_log_loss(true, seed):
    from scipy.optimize import minimize_scalar

    logits, labels = sample(true, seed=seed)

    def loss(log_t):
        z = logits / math.exp(log_t)
        return np.mean(np.logaddexp(0, z) - labels * z)

    best = math.exp(minimize_scalar(loss, bounds=(-4, 6), method="bounded", options={"xatol": 1e-9}).x)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(best, rel=1e-4)
    assert found == pytest.approx(true, rel=0.35)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_it_goes_with_the_unit_of_the_logits(unit):
    logits, labels = sample(1.7)
    assert fit_temperature(logits * unit, labels) == pytest.approx(unit * fit_temperature(logits, labels))


def test_it_makes_probabilities_honest_and_keeps_ranks():
    logits, labels = sample(3.0, pairs=20_000)
    before, after = sigmoid(logits), apply_temperature(logits, fit_temperature(logits, labels))
    assert reliability(labels, after).ece < 0.02 < 0.1 < reliability(labels, before).ece
    assert auroc(labels, after) == pytest.approx(auroc(labels, before), abs=1e-9)


def test_separable_pairs_do_not_become_certain():
    logits, labels = np.r_[np.full(50, 2.0), np.full(50, -2.0)], np.r_[np.ones(50), np.zeros(50)]
    found = apply_temperature(logits, fit_temperature(logits, labels))
    assert found[0] == pytest.approx(51 / 52, abs=1e-6)
    assert found[-1] == pytest.approx(1 / 52, abs=1e-6)


def test_logits_of_the_wrong_sign_end_near_a_half():
    logits, labels = sample(1.0)
    found = apply_temperature(-logits, fit_temperature(-logits, labels))
    assert np.all(np.abs(found - 0.5) < 1e-3)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [([0.0, 0.0], [0, 1]), ([1.0, 2.0], [1, 1]), ([1.0, 2.0], [0, 0]), ([3.0], [1])],
    ids=["all zero", "all positive", "all negative", "one pair"],
)
def test_where_there_is_nothing_to_fit_it_is_one(logits, labels):
    assert fit_temperature(logits, labels) == 1.0


def test_one_huge_logit_does_not_break_it():
    logits, labels = sample(1.5)
    logits[0] = 1e6 if labels[0] else -1e6
    assert fit_temperature(logits, labels) == pytest.approx(fit_temperature(logits[1:], labels[1:]), rel=1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_it_is_always_a_finite_number_above_zero(seed):
    rng = np.random.default_rng(seed)
    pairs = int(rng.integers(1, 6))
    logits = rng.normal(size=pairs) * 10.0 ** rng.integers(-300, 300)
    found = fit_temperature(logits, rng.integers(0, 2, pairs))
    assert math.isfinite(found)
    assert found > 0
    assert np.isfinite(apply_temperature(logits, found)).all()


@pytest.mark.parametrize(
    ("logits", "labels", "match"),
    [
        ([], [], "labels"),
        ([1.0, float("nan")], [0, 1], "nan"),
        ([1.0], [0, 1], "2 numbers"),
        ([1.0, 2.0], [0, 3], "3"),
    ],
)
def test_bad_input_is_refused(logits, labels, match):
    with pytest.raises(DataError, match=match):
        fit_temperature(logits, labels)


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf")])
def test_a_senseless_temperature_is_refused(temperature):
    with pytest.raises(DataError, match="temperature"):
        apply_temperature([1.0], temperature)


def test_sigmoid_and_logit_are_each_others_inverse_and_never_overflow():
    x = np.array([-30.0, -1.0, 0.0, 2.5, 30.0])
    assert logit(sigmoid(x)) == pytest.approx(x, rel=1e-2)
    assert sigmoid(np.array([-1e300, 1e300])).tolist() == [0.0, 1.0]
    assert np.isfinite(logit([0.0, 1.0])).all()


def test_reliability_counts_every_pair_in_its_bin():
    labels, scores = [0, 1, 1, 0], [0.0, 0.05, 1.0, 0.5]
    found = reliability(labels, scores, bins=10)
    assert found.pairs.tolist() == [2, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert found.probability[0] == pytest.approx(0.025)
    assert found.positive[0] == 0.5
    assert math.isnan(found.positive[1])
    assert found.to_dict()["positive"][1] is None


def test_reliability_and_the_metric_have_one_ece():
    logits, labels = sample(2.0, pairs=500)
    scores = sigmoid(logits)
    assert reliability(labels, scores).ece == pytest.approx(binary_metrics(labels, scores)["ece"])


def test_reliability_refuses_what_is_no_probability():
    with pytest.raises(DataError, match=r"1\.5"):
        reliability([0, 1], [0.5, 1.5])
