"""Runs are compared on the same pairs or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from holotype.errors import DataError
from holotype.proteins.data.pairs import PairTable
from holotype.proteins.evaluation.compare import compare_runs
from holotype.proteins.evaluation.metrics import auroc
from holotype.proteins.evaluation.predictions import write_predictions

PAIRS = 400


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    return PairTable.from_names(
        [f"a{i}" for i in range(PAIRS)], [f"b{i}" for i in range(PAIRS)], rng.integers(0, 2, PAIRS)
    )


def scores_of(table, strength, seed=1):
    rng = np.random.default_rng(seed)
    return 1 / (1 + np.exp(-(strength * (2 * table.labels - 1) + rng.normal(size=len(table)))))


@pytest.fixture
def run(tmp_path, table):
    """Write a run folder with scores of a strength; returns its path."""

    def make(name, strength, *, pairs=None, seed=1, scores=None, **more):
        pairs = table if pairs is None else pairs
        folder = tmp_path / name
        folder.mkdir()
        scores = scores_of(pairs, strength, seed) if scores is None else scores
        write_predictions(folder / "predictions_test.tsv", pairs, scores, **more)
        return folder

    return make


def test_a_better_run_is_told_so(run, table):
    found = compare_runs([run("weak", 0.2), run("strong", 1.0, seed=2)], resamples=500)
    (one,) = found.differences
    weak, strong = found.runs
    assert (weak.name, strong.name) == ("weak", "strong")
    assert strong.value == pytest.approx(auroc(table.labels, scores_of(table, 1.0, 2)), abs=1e-9)
    assert one.value == pytest.approx(strong.value - weak.value)
    assert one.interval.low > 0
    assert one.p < 0.01
    assert one.better == "strong"


def test_runs_of_the_same_kind_differ_by_nothing_shown(run):
    (one,) = compare_runs([run("x", 0.5, seed=5), run("y", 0.5, seed=6)], resamples=500).differences
    assert one.better is None
    assert one.interval.low < 0 < one.interval.high
    assert one.p > 0.05


def test_a_run_against_its_copy_is_zero_with_p_one(run):
    (one,) = compare_runs([run("x", 0.5), run("y", 0.5)], resamples=200).differences
    assert (one.value, one.interval, one.p, one.better) == (0, (0, 0), 1.0, None)


def test_pairing_narrows_the_interval(run, table):
    scores = scores_of(table, 0.5)
    noise = 0.01 * np.random.default_rng(3).normal(size=len(table))
    found = compare_runs([run("x", 0, scores=scores), run("y", 0, scores=np.clip(scores + noise, 0, 1))])
    gap = found.differences[0].interval
    alone = found.runs[0].interval
    assert gap.high - gap.low < 0.2 * (alone.high - alone.low)


def test_order_of_pairs_and_of_proteins_does_not_matter(run, table):
    straight = compare_runs([run("x", 0.3), run("y", 0.6, seed=5)], resamples=200)
    scores = scores_of(table, 0.6, 5)
    order = np.random.default_rng(0).permutation(len(table))
    turned = PairTable.from_names(
        np.array(table.names_b)[order].tolist(), np.array(table.names_a)[order].tolist(), table.labels[order]
    )
    other = run("z", 0, pairs=turned, scores=scores[order])
    mixed = compare_runs([straight.runs[0].path, other], resamples=200)
    assert mixed.differences[0].interval == pytest.approx(straight.differences[0].interval)


def test_the_better_of_a_metric_that_should_be_low(run):
    (one,) = compare_runs([run("weak", 0.2), run("strong", 1.0)], metric="brier", resamples=200).differences
    assert one.value < 0
    assert one.better == "strong"


def test_three_runs_give_three_differences(run):
    found = compare_runs([run("x", 0.1), run("y", 0.2), run("z", 0.3)], resamples=50)
    assert [(one.first, one.second) for one in found.differences] == [("x", "y"), ("x", "z"), ("y", "z")]
    assert found.to_dict()["differences"][2]["second"] == "z"


def test_a_class_of_pairs(run, table):
    classes = np.where(np.arange(len(table)) < 100, 3, 1)
    runs = [run("x", 0.1, classes=classes), run("y", 1.5, seed=2)]
    found = compare_runs(runs, subset="c3", resamples=50)
    assert (found.pairs, found.subset) == (100, "C3")
    assert found.runs[1].value == pytest.approx(auroc(table.labels[:100], scores_of(table, 1.5, 2)[:100]))
    with pytest.raises(DataError, match="no pairs of class C2"):
        compare_runs(runs, subset="C2")
    with pytest.raises(DataError, match="have no column 'class'"):
        compare_runs(runs[::-1], subset="C3")
    with pytest.raises(DataError, match="no subset"):
        compare_runs(runs, subset="C4")


def test_other_pairs_are_refused_with_counts(run, table):
    fewer = table.take(slice(0, 390))
    with pytest.raises(DataError, match=r"400 pairs and y 390; 390 are the same, 10 are in the first alone"):
        compare_runs([run("x", 0.5), run("y", 0.5, pairs=fewer)])
    renamed = PairTable.from_names(["q", *table.names_a[1:]], table.names_b, table.labels)
    with pytest.raises(DataError, match="1 are in the first alone and 1 in the second alone"):
        compare_runs([run("v", 0.5), run("w", 0.5, pairs=renamed)])


def test_other_labels_are_refused_with_counts(run, table):
    labels = table.labels.copy()
    labels[:7] = 1 - labels[:7]
    other = PairTable.from_names(table.names_a, table.names_b, labels)
    with pytest.raises(DataError, match="7 of these have different labels"):
        compare_runs([run("x", 0.5), run("y", 0.5, pairs=other)])


def test_what_cannot_be_compared_is_refused(run, tmp_path):
    one, two = run("x", 0.5), run("y", 0.6)
    with pytest.raises(DataError, match="needs two runs"):
        compare_runs([one])
    with pytest.raises(DataError, match="given twice"):
        compare_runs([one, one])
    with pytest.raises(DataError, match="auroc"):
        compare_runs([one, two], metric="auorc")
    with pytest.raises(DataError, match="precision@0"):
        compare_runs([one, two], metric="precision@0")
    with pytest.raises(DataError, match="no value"):
        compare_runs([one, two], metric="precision@1000")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no predictions_test\.tsv"):
        compare_runs([one, tmp_path / "empty"])
    with pytest.raises(DataError, match=r"no such run[\s\S]*Did you mean"):
        compare_runs([one, tmp_path / "z"])


def test_scores_that_are_no_probabilities_have_ranks_only(run, table):
    runs = [run("x", 0.5), run("y", 0, scores=scores_of(table, 0.5, 2) * 10 - 5)]
    assert compare_runs(runs, metric="average_precision", resamples=20).runs
    with pytest.raises(DataError, match="needs probabilities"):
        compare_runs(runs, metric="mcc")


def test_runs_of_one_name_are_told_apart(run, tmp_path, table):
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        write_predictions(tmp_path / place / "p.tsv", table, scores_of(table, 0.5))
    found = compare_runs([tmp_path / "one" / "p.tsv", tmp_path / "two" / "p.tsv"], resamples=10)
    assert [one.name for one in found.runs] == ["one/p.tsv", "two/p.tsv"]
