"""What holds for metrics whatever the labels and scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from holotype.proteins.evaluation.bootstrap import resample
from holotype.proteins.evaluation.calibration import apply_temperature, fit_temperature, reliability
from holotype.proteins.evaluation.metrics import METRICS, Scored, binary_metrics, why_undefined

sizes = st.integers(1, 40)
# Few distinct values, so that ties are common, and the ends of the range among them.
shares = st.sampled_from([0.0, 1e-300, 1 / 15, 0.2, 1 / 3, 0.5, 2 / 3, 0.8, 1 - 2**-53, 1.0]) | st.floats(
    0, 1
)


@st.composite
def predictions(draw, values=shares):
    size = draw(sizes)
    labels = draw(hnp.arrays(np.int8, size, elements=st.integers(0, 1)))
    return labels, draw(hnp.arrays(np.float64, size, elements=values))


@given(predictions())
def test_every_metric_is_in_its_range_or_has_a_reason(given_pairs):
    labels, scores = given_pairs
    found, why = binary_metrics(labels, scores), why_undefined(Scored(labels, scores))
    assert list(found) == list(METRICS)
    for name, value in found.items():
        if math.isnan(value):
            assert why[name]
        elif name == "mcc":
            assert -1 - 1e-12 <= value <= 1 + 1e-12
        elif name == "log_loss":
            assert value >= 0
        else:
            assert -1e-12 <= value <= 1 + 1e-12


@given(predictions())
def test_ranks_equal_scikit_learn(given_pairs):
    from sklearn import metrics as reference  # takes a second: not while tests are collected

    labels, scores = given_pairs
    assume(0 < labels.sum() < len(labels))
    found = binary_metrics(labels, scores)
    # scikit-learn's curves take scores that differ by less than rounding for the same.
    codes = np.unique(scores, return_inverse=True)[1]
    assert found["auroc"] == pytest.approx(reference.roc_auc_score(labels, codes), abs=1e-12)
    assert found["average_precision"] == pytest.approx(
        reference.average_precision_score(labels, codes), abs=1e-12
    )


@given(predictions())
def test_turning_both_labels_and_scores_leaves_the_area(given_pairs):
    labels, scores = given_pairs
    turned = binary_metrics(1 - labels, -scores, probabilities=False)["auroc"]
    assert binary_metrics(labels, scores)["auroc"] == pytest.approx(turned, nan_ok=True, abs=1e-12)
    other = binary_metrics(1 - labels, scores)["auroc"]
    assert binary_metrics(labels, scores)["auroc"] == pytest.approx(1 - other, nan_ok=True, abs=1e-12)


@given(predictions(), st.integers(0, 5))
def test_the_order_of_pairs_does_not_matter(given_pairs, seed):
    labels, scores = given_pairs
    order = np.random.default_rng(seed).permutation(len(labels))
    first, second = binary_metrics(labels, scores), binary_metrics(labels[order], scores[order])
    assert first == pytest.approx(second, nan_ok=True, abs=1e-12)


@given(predictions(st.floats(-1e300, 1e300)))
def test_ranks_survive_any_growing_function(given_pairs):
    labels, scores = given_pairs
    grown = np.unique(scores + 0.0, return_inverse=True)[1] ** 3 - 7.0
    first, second = (
        binary_metrics(labels, scores, probabilities=False),
        binary_metrics(labels, grown, probabilities=False),
    )
    for name in ("auroc", "average_precision", "precision@10"):
        assert first[name] == pytest.approx(second[name], nan_ok=True)


@given(predictions())
def test_a_set_doubled_has_the_same_metrics(given_pairs):
    labels, scores = given_pairs
    once, twice = binary_metrics(labels, scores), binary_metrics(np.tile(labels, 2), np.tile(scores, 2))
    for name in METRICS:
        if not name.startswith("precision@"):
            assert once[name] == pytest.approx(twice[name], nan_ok=True, abs=1e-9), name


@given(predictions(), st.integers(0, 5))
def test_resampling_keeps_how_many_are_positive(given_pairs, seed):
    labels, scores = given_pairs
    found = resample(
        {"": (Scored(labels, scores), ["recall", "specificity", "accuracy"])}, resamples=5, seed=seed
    )[""]
    share = labels.mean()
    expected = np.nan_to_num(found["recall"]) * share + np.nan_to_num(found["specificity"]) * (1 - share)
    assert found["accuracy"] == pytest.approx(expected)


@given(predictions())
def test_bins_hold_every_pair_once(given_pairs):
    labels, scores = given_pairs
    found = reliability(labels, scores)
    assert found.pairs.sum() == len(labels)
    assert found.ece == pytest.approx(binary_metrics(labels, scores)["ece"], abs=1e-12)
    used = found.pairs > 0
    assert np.all(found.probability[used] >= found.edges[:-1][used] - 1e-9)
    assert np.all(found.probability[used] <= found.edges[1:][used] + 1e-9)


@given(predictions(st.floats(-1e6, 1e6)))
def test_a_temperature_never_makes_the_fitted_pairs_less_likely(given_pairs):
    labels, logits = given_pairs
    found = fit_temperature(logits, labels)
    assert 0 < found < math.inf

    def loss(z):
        return float(np.mean(np.logaddexp(0, z) - labels * z))

    separable = np.all(np.where(labels == 1, logits, -logits) >= 0)
    if not separable and 0 < labels.sum() < len(labels):
        assert loss(logits / found) <= loss(logits) + 1e-6
    assert np.isfinite(apply_temperature(logits, found)).all()
