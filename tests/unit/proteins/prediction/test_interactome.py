"""All against all: the rules of which pairs there are, and the best partners."""

import numpy as np
import pytest
import torch

from holotype.errors import DataError, ParameterError
from holotype.proteins.prediction import interactome
from holotype.proteins.prediction.interactome import (
    Grid,
    Ranking,
    _keys,
    _unpacked,
    grid,
    index_sets,
    least_logit,
    probabilities,
    score_all,
)
from holotype.proteins.prediction.scoring import known_proteins
from interaction_sets import InMemory, forward_one, model, sequences

PROTEINS = sequences(11)
EMBEDDINGS = InMemory(PROTEINS)
NAMES = list(PROTEINS)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several blocks, also of so few proteins."""
    monkeypatch.setattr(interactome, "_BLOCK_PAIRS", 40)
    monkeypatch.setattr(interactome, "_SLOW_BLOCK_PAIRS", 30)
    monkeypatch.setattr(interactome, "_SLOW_ROWS", (2, 4))


def listed(net, names=NAMES, against=None, **options):
    everybody, *_ = index_sets(names, against)
    return {
        (everybody[a], everybody[b]): float(logit)
        for part in score_all(net, EMBEDDINGS, names, against, **options)
        for a, b, logit in zip(*part, strict=True)
    }


def in_order(net, names=NAMES, against=None, **options):
    everybody, *_ = index_sets(names, against)
    return [
        (everybody[a], everybody[b])
        for part in score_all(net, EMBEDDINGS, names, against, **options)
        for a, b in zip(part.a, part.b, strict=True)
    ]


@pytest.mark.parametrize("name", ["v1", "cross_attention"])
def test_symmetric_each_unordered_pair_once_in_the_order_of_the_file(name):
    net = model(name, symmetry="sum")
    expected = [(a, b) for i, a in enumerate(NAMES) for b in NAMES[i + 1 :]]
    assert in_order(net) == expected
    found = listed(net)
    assert all(
        found[pair] == pytest.approx(forward_one(net, EMBEDDINGS, *pair), abs=2e-5) for pair in expected
    )


@pytest.mark.parametrize("name", ["v1", "v2", "cross_attention"])
def test_asymmetric_both_orders(name):
    net = model(name)
    expected = [(a, b) for a in NAMES for b in NAMES if a != b]
    assert in_order(net) == expected
    found = listed(net)
    assert all(
        found[pair] == pytest.approx(forward_one(net, EMBEDDINGS, *pair), abs=2e-5) for pair in expected
    )


@pytest.mark.parametrize("symmetry", ["none", "average"])
def test_self_pairs_only_where_asked_for(symmetry):
    net = model(symmetry=symmetry)
    alone = {(name, name) for name in NAMES}
    assert not alone & set(listed(net))
    found = listed(net, include_self=True)
    assert alone <= set(found)
    assert len(found) == (121 if symmetry == "none" else 66)
    assert found["P3", "P3"] == pytest.approx(forward_one(net, EMBEDDINGS, "P3", "P3"), abs=2e-5)


def test_two_sets_that_overlap():
    left, right = ["P0", "P1", "P2", "P5"], ["P2", "P7", "P0", "P9"]
    asked = [(a, b) for a in left for b in right if a != b]
    assert sorted(in_order(model(), left, right)) == sorted(asked)
    symmetric = in_order(model(symmetry="sum"), left, right)
    assert {frozenset(pair) for pair in symmetric} == {frozenset(pair) for pair in asked}
    assert len(symmetric) == len({frozenset(pair) for pair in symmetric}) == len(asked) - 1  # P0 and P2


def brute_best(net, names, others, k, least=None):
    best = []
    for a in names:
        scored = [(-forward_one(net, EMBEDDINGS, a, b), NAMES.index(b), b) for b in others if b != a]
        best += [(a, b) for minus, _, b in sorted(scored)[:k] if least is None or -minus >= least]
    return best


@pytest.mark.parametrize("symmetry", ["none", "sum", "average"])
@pytest.mark.parametrize("k", [1, 3, 10, 50])
def test_best_partners_of_each_protein(symmetry, k):
    net = model(symmetry=symmetry)
    assert in_order(net, top_k=k) == brute_best(net, NAMES, NAMES, k)


def test_best_partners_in_another_set():
    net, left, right = model(symmetry="sum"), NAMES[:4], NAMES[2:]
    assert in_order(net, left, right, top_k=3) == brute_best(net, left, right, 3)


def test_best_partners_above_a_threshold():
    net = model(symmetry="sum")
    least = sorted(listed(net).values())[30]
    threshold = float(probabilities(np.array([least]), 2.0)[0]) * 0.9999
    expected = brute_best(net, NAMES, NAMES, 4, least_logit(threshold, 2.0))
    assert 0 < len(expected) < 44
    assert in_order(net, top_k=4, threshold=threshold, temperature=2.0) == expected


def test_threshold_is_of_the_calibrated_probability():
    net = model(symmetry="sum")
    everything = listed(net)
    kept = listed(net, threshold=0.55, temperature=3.0)
    expected = {pair for pair, logit in everything.items() if 1 / (1 + np.exp(-logit / 3)) >= 0.55}
    assert set(kept) == expected
    assert 0 < len(expected) < len(everything)


def test_equal_logits_are_ranked_by_the_file():
    logits = np.array([[1.0, 2.0, 2.0, -0.0, 0.0]], np.float32)
    partners, found = _unpacked(-np.sort(-_keys(logits, np.array([4, 3, 2, 1, 0]))))
    assert partners.tolist() == [[2, 3, 4, 0, 1]]
    assert found.tolist() == [[2.0, 2.0, 1.0, 0.0, 0.0]]


def test_blocks_may_come_in_any_order():
    net = model(symmetry="sum")
    question = grid(net, np.arange(11), top_k=3)
    proteins = known_proteins(net, EMBEDDINGS, NAMES)
    with torch.inference_mode():
        answers = [question.answer(proteins, block) for block in range(len(question.sizes))]
    assert len(answers) > 2
    one, other = Ranking(question), Ranking(question)
    for answer in answers:
        one.add(answer)
    for answer in reversed(answers):
        other.add(answer)
    assert all(np.array_equal(x, y) for x, y in zip(one.scores(), other.scores(), strict=True))


@pytest.mark.parametrize("symmetry", ["none", "sum"])
@pytest.mark.parametrize("against", [None, NAMES[3:5] + NAMES[8:]])
@pytest.mark.parametrize("include_self", [False, True])
def test_sizes_count_what_is_listed(symmetry, against, include_self):
    net, told = model(symmetry=symmetry), []
    found = in_order(net, NAMES, against, include_self=include_self, progress=lambda *at: told.append(at))
    assert told[-1] == (len(found), len(found))


@pytest.mark.parametrize(("symmetry", "scored"), [("none", 110), ("sum", 55)])
def test_progress_of_a_ranking_ends_with_all(symmetry, scored):
    told = []
    in_order(model(symmetry=symmetry), top_k=2, progress=lambda *at: told.append(at))
    assert told[-1] == (scored, scored)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_proteins_have_no_pairs(count):
    assert in_order(model(), NAMES[:count]) == []
    assert in_order(model(symmetry="sum"), NAMES[:count], top_k=2) == []


def test_memory_of_a_grid_does_not_grow_with_all_pairs():
    question = grid(model(), np.arange(20_000), top_k=10)
    assert question.high * 20_000 <= max(20_000, interactome._BLOCK_PAIRS)
    assert Ranking(question).keys.nbytes == 20_000 * 10 * 8


def test_nan_is_an_error_and_no_rank():
    net = model()
    net.interaction_layer[8].bias.data.fill_(float("nan"))
    for options in ({}, {"top_k": 2}):
        with pytest.raises(DataError, match="returned NaN"):
            in_order(net, **options)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True])
def test_top_k_is_a_number_of_partners(wrong):
    with pytest.raises(ParameterError, match="top_k: expected a whole number"):
        in_order(model(), top_k=wrong)


@pytest.mark.parametrize("wrong", [-0.1, 1.5, float("nan"), "0.5"])
def test_threshold_is_a_probability(wrong):
    with pytest.raises(ParameterError, match="threshold: expected a probability"):
        in_order(model(), threshold=wrong)


def test_extreme_thresholds():
    assert least_logit(0, 1.0) == -np.inf
    assert least_logit(1, 1.0) == np.inf
    assert in_order(model(), threshold=0) == in_order(model())
    assert in_order(model(), threshold=1) == []


def test_a_name_twice_is_an_error():
    with pytest.raises(DataError, match="'P1' is given twice"):
        in_order(model(), ["P1", "P2", "P1"])


def test_probabilities_of_extreme_logits():
    found = probabilities(np.array([-1e4, -3, 0, 3, 1e4], np.float32), 1.0)
    assert found.tolist() == pytest.approx([0, 1 / (1 + np.e**3), 0.5, 1 / (1 + np.e**-3), 1])


def test_a_grid_needs_no_order_of_columns():
    everybody, rows, columns = index_sets(["b", "a"], ["c", "a"])
    assert everybody == ("b", "a", "c")
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 2])
    assert Grid(rows, columns, symmetric=True).sizes == [3]  # b-a, b-c, a-c
