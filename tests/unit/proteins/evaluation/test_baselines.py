"""Baselines know what they are said to know, and nothing of the test labels."""

from __future__ import annotations

import os

import numpy as np
import pytest

from holotype.errors import DataError
from holotype.proteins.data.pairs import PairTable
from holotype.proteins.evaluation.baselines import BASELINES, baseline_scores
from holotype.proteins.evaluation.metrics import auroc

TRAIN = PairTable.from_names(
    ["hub", "hub", "hub", "neg", "neg", "hub"],
    ["a", "b", "c", "a", "b", "hub"],
    [1, 1, 1, 0, 0, 1],
)
TEST = PairTable.from_names(["hub", "neg", "a", "new"], ["a", "b", "new", "newer"], [1, 0, 1, 0])


class Stored(dict):
    """As much of embeddings as is asked for."""

    @property
    def dim(self):
        return len(next(iter(self.values()))[0])


def test_degrees_are_counted_in_the_positive_training_pairs():
    found = baseline_scores(TRAIN, TEST)
    # hub: 3 partners and itself; a, b: one each; neg: none.
    assert found["degree_sum"].tolist() == [5, 1, 1, 0]
    assert found["degree_product"].tolist() == [4, 0, 0, 0]


def test_label_ratio_tells_positive_from_negative_proteins():
    ratio = baseline_scores(TRAIN, TEST)["label_ratio"]
    assert ratio[0] > ratio[1]
    assert ratio[3] == 0


def test_unseen_count_counts_negatives_as_seen():
    assert baseline_scores(TRAIN, TEST)["unseen_count"].tolist() == [2, 2, 1, 0]


def test_majority_is_that_of_training():
    assert baseline_scores(TRAIN, TEST)["majority"].tolist() == [1.0] * 4
    rare = PairTable.from_names(list("abc"), list("bcd"), [1, 0, 0])
    assert baseline_scores(rare, TEST)["majority"].tolist() == [0.0] * 4


def test_nothing_depends_on_the_test_labels_or_the_order_within_a_pair():
    rng = np.random.default_rng(0)
    names = [f"p{i}" for i in range(30)]
    sequences = {name: "A" * (10 + i) for i, name in enumerate(names)}
    stored = Stored({name: rng.normal(size=(3, 4)) for name in names})
    a, b = (rng.choice(names, 200).tolist() for _ in range(2))
    train = PairTable.from_names(a[:150], b[:150], rng.integers(0, 2, 150))
    one = PairTable.from_names(a[150:], b[150:], rng.integers(0, 2, 50))
    other = PairTable.from_names(b[150:], a[150:], 1 - one.labels)
    first, second = (baseline_scores(train, test, sequences, stored) for test in (one, other))
    assert set(first) == set(BASELINES)
    for name in first:
        assert first[name] == pytest.approx(second[name]), name


def test_on_unseen_proteins_the_training_graph_knows_nothing():
    unseen = PairTable.from_names(["x", "y"], ["z", "w"], [1, 0])
    found = baseline_scores(TRAIN, unseen)
    for name in ("degree_sum", "degree_product", "label_ratio", "unseen_count", "majority"):
        assert auroc(unseen.labels, found[name]) == 0.5, name


@pytest.mark.parametrize("longer_interact", [True, False])
def test_length_learns_from_training_which_way_it_goes(longer_interact):
    sequences = {f"p{i}": "A" * (10 * (i + 1)) for i in range(8)}
    a, b = [f"p{i}" for i in range(0, 8, 2)], [f"p{i}" for i in range(1, 8, 2)]
    labels = [0, 0, 1, 1] if longer_interact else [1, 1, 0, 0]
    table = PairTable.from_names(a, b, labels)
    assert auroc(labels, baseline_scores(table, table, sequences)["length"]) == 1.0
    untaught = baseline_scores(None, table, sequences)["length"]
    assert np.all(np.diff(untaught) > 0)  # without training pairs: the longer, the higher


def test_cosine_is_of_the_means_and_survives_half_precision_and_zeros():
    big = np.full((4, 8), 60000, np.float16)  # its squares are beyond half precision
    stored = Stored({"hub": big, "a": big / 2, "neg": -big, "b": big, "new": big * 0, "newer": big})
    found = baseline_scores(None, TEST, embeddings=stored)["embedding_cosine"]
    assert found[:2] == pytest.approx([1, -1], abs=1e-6)
    assert found[3] == 0
    rng = np.random.default_rng(1)
    stored = Stored({name: rng.normal(size=(5, 3)) for name in TEST.proteins})
    mean = {name: rows.mean(0) / np.linalg.norm(rows.mean(0)) for name, rows in stored.items()}
    found = baseline_scores(None, TEST, embeddings=stored)["embedding_cosine"]
    expected = [mean[x] @ mean[y] for x, y in zip(TEST.names_a, TEST.names_b, strict=True)]
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_protein_without_sequence_or_embedding_is_named():
    with pytest.raises(DataError, match=r"2 of 6 proteins.*no sequence: new, newer"):
        baseline_scores(TRAIN, TEST, {"hub": "M", "a": "M", "neg": "M", "b": "M"})
    with pytest.raises(DataError, match="no embedding"):
        baseline_scores(TRAIN, TEST, embeddings=Stored({"hub": np.ones((1, 2))}))


def test_training_pairs_need_labels():
    with pytest.raises(DataError, match="no labels"):
        baseline_scores(PairTable.from_names(["a"], ["b"]), TEST)


def test_a_graph_with_hubs_gives_itself_away_on_a_random_split():
    rng = np.random.default_rng(0)
    hubs = [f"h{i}" for i in range(10)]
    rest = [f"r{i}" for i in range(200)]
    positive = [(rng.choice(hubs), rng.choice(rest)) for _ in range(600)]
    negative = [tuple(rng.choice(rest, 2)) for _ in range(600)]
    pairs = PairTable.from_names(*zip(*(positive + negative), strict=True), [1] * 600 + [0] * 600)
    order = rng.permutation(1200)
    train, test = pairs.take(order[:1000]), pairs.take(order[1000:])
    assert auroc(test.labels, baseline_scores(train, test)["degree_product"]) > 0.9


@pytest.mark.skipif(not os.environ.get("HOLOTYPE_MIRRORS"), reason="needs the files of guo_yeast")
def test_on_a_random_split_of_guo_yeast_degrees_are_almost_enough():
    from holotype.proteins.data.datasets import load_dataset

    pairs = load_dataset("guo_yeast").splits["pairs"]
    found = []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(pairs))
        train, test = (pairs.take(part) for part in np.split(order, [int(0.8 * len(pairs))]))
        found.append(auroc(test.labels, baseline_scores(train, test)["degree_product"]))
    assert 0.86 < np.mean(found) < 0.90  # 0.873 over ten seeds, sd 0.007
