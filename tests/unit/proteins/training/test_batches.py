"""Batches: nothing is lost, budgets hold, plans are repeatable, memory does not grow with the data."""

from __future__ import annotations

import itertools
import threading
import tracemalloc

import numpy as np
import pytest
import torch

from holotype.errors import DataError
from holotype.proteins.data.pairs import PairTable
from holotype.proteins.training.batches import PairBatches, PairReader, PairsToScore, plan_epoch
from holotype.training.steps import Step, read_ahead
from training_sets import DIM, MemoryEmbeddings, embeddings, pairs

HOW = [
    {"pairs": 16, "residues": None},
    {"pairs": None, "residues": 120},
    {"pairs": 16, "residues": 60},
    {"pairs": 8, "residues": 60, "accumulate": 3},
    {"pairs": 16, "residues": 60, "sharing": 4},
]


def sizes(table: PairTable, lengths: np.ndarray, order: np.ndarray, *, pairwise: bool) -> int:
    a, b = table.a[order], table.b[order]
    if pairwise:
        return len(order) * int(lengths[a].max() + lengths[b].max())
    return int(lengths[np.union1d(a, b)].sum())


@pytest.mark.parametrize("pairwise", [False, True])
@pytest.mark.parametrize("how", HOW, ids=str)
def test_an_epoch_has_every_pair_once_within_the_budget(how: dict[str, int], pairwise: bool) -> None:
    table = pairs(333)
    lengths = embeddings().lengths
    plan = plan_epoch(table, lengths, pairwise=pairwise, seed=1, epoch=0, **how)
    assert sorted(plan.order) == list(range(333))
    assert plan.portions[0] == plan.steps[0] == 0
    assert plan.portions[-1] == 333
    assert plan.steps[-1] == len(plan.portions) - 1
    assert (np.diff(plan.portions) > 0).all()
    for begin, end in itertools.pairwise(plan.portions):
        if how["residues"] is not None and end - begin > 1:
            assert sizes(table, lengths, plan.order[begin:end], pairwise=pairwise) <= how["residues"]
    if how["pairs"] is not None:
        per_step = np.diff(plan.portions[plan.steps])
        assert (per_step[:-1] == how["pairs"] * how.get("accumulate", 1)).all()


@pytest.mark.parametrize("pairwise", [False, True])
@pytest.mark.parametrize("how", HOW, ids=str)
def test_plans_are_repeatable_and_differ_between_epochs_and_seeds(
    how: dict[str, int], pairwise: bool
) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        plan = plan_epoch(pairs(99), embeddings().lengths, pairwise=pairwise, seed=seed, epoch=epoch, **how)
        return plan.order.tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_pairs_of_like_length_come_together_where_both_sides_are_padded() -> None:
    table, lengths = pairs(2000, proteins=300), embeddings(300, longest=200).lengths

    def padded(plan_pairs: np.ndarray, bounds: np.ndarray) -> int:
        return sum(
            sizes(table, lengths, plan_pairs[begin:end], pairwise=True)
            for begin, end in itertools.pairwise(bounds)
        )

    plan = plan_epoch(table, lengths, pairs=None, residues=4000, pairwise=True, seed=0, epoch=0)
    random = np.random.default_rng(0).permutation(2000)
    needed = int(lengths[table.a].sum() + lengths[table.b].sum())
    assert padded(plan.order, plan.portions) < 1.5 * needed < padded(random, np.arange(0, 2001, 20))


def test_pairs_that_share_a_protein_come_together() -> None:
    table, lengths = pairs(3000, proteins=300), embeddings(300).lengths

    def distinct(sharing: int) -> float:
        plan = plan_epoch(table, lengths, pairs=60, residues=None, sharing=sharing, seed=0, epoch=0)
        assert sorted(plan.order) == list(range(3000))
        batches = [plan.order[begin:end] for begin, end in itertools.pairwise(plan.portions)]
        return float(np.mean([len(np.union1d(table.a[one], table.b[one])) for one in batches]))

    assert distinct(10) < 0.75 * distinct(1)


def test_a_pair_that_is_larger_than_the_budget_is_not_skipped() -> None:
    for pairwise in (False, True):
        plan = plan_epoch(
            pairs(9), embeddings().lengths, pairs=None, residues=1, pairwise=pairwise, seed=0, epoch=0
        )
        assert sorted(plan.order) == list(range(9))
        assert len(plan) == 9


def test_no_pairs_make_no_steps() -> None:
    for how in HOW:
        for pairwise in (False, True):
            plan = plan_epoch(pairs(0), embeddings().lengths, pairwise=pairwise, seed=0, epoch=0, **how)
            assert len(plan) == 0


@pytest.mark.parametrize("pooled", [False, True])
def test_a_batch_holds_the_embeddings_of_its_pairs(pooled: bool) -> None:
    emb, table = embeddings(pooled=pooled), pairs(40)
    batch = PairReader(emb, table).batch(np.arange(5, 25))
    rows = [(p, n) for p, lengths in batch.proteins() for p, n in zip(p, lengths, strict=True)]
    assert len(rows) == batch.distinct == len(np.union1d(table.a[5:25], table.b[5:25]))
    for at, (a, b) in enumerate(zip(batch.a.tolist(), batch.b.tolist(), strict=True)):
        for (array, length), name in ((rows[a], table.names_a[5 + at]), (rows[b], table.names_b[5 + at])):
            expected = torch.from_numpy(emb[name])
            assert length == len(expected)
            assert torch.equal(array[:length], expected)
            assert not array[length:].any()
    assert batch.labels.tolist() == table.labels[5:25].tolist()


def test_both_sides_of_a_pair_for_a_model_that_needs_them() -> None:
    emb, table = embeddings(), pairs(40)
    batch = PairReader(emb, table, pairwise=True).batch(np.arange(10))
    for (side, lengths), names in zip(batch.sides(), (table.names_a, table.names_b), strict=True):
        assert side.shape == (10, int(lengths.max()), DIM)
        for row, length, name in zip(side, lengths, names[:10], strict=True):
            assert torch.equal(row[:length], torch.from_numpy(emb[name]))
            assert not row[length:].any()


def test_each_distinct_protein_is_read_once() -> None:
    emb, table = embeddings(), pairs(200)
    for pairwise in (False, True):
        batch = PairReader(emb, table, pairwise=pairwise).batch(np.arange(200))
        emb.read.clear()
        batch.sides() if pairwise else list(batch.proteins())
        assert len(emb.read) == len(set(emb.read)) == 30


def test_a_protein_without_embedding_is_an_error() -> None:
    with pytest.raises(DataError, match="2 of 32 proteins have no embedding: p30, p31"):
        PairReader(embeddings(30), PairTable.from_names([f"p{n}" for n in range(32)], ["p0"] * 32, [1] * 32))


def test_proteins_that_are_in_no_pair_need_no_embedding() -> None:
    table = PairTable(
        ("p0", "p1", "nowhere"), np.array([0], np.int32), np.array([1], np.int32), np.array([1])
    )
    assert len(PairReader(embeddings(), table)) == 1


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_each_step_and_compute_as_many_portions(world_size: int) -> None:
    reader = PairReader(embeddings(), pairs(101))
    alone = list(PairBatches(reader, pairs=10, residues=60).steps(0))
    shared = [
        list(PairBatches(reader, pairs=10, residues=60, rank=rank, world_size=world_size).steps(0))
        for rank in range(world_size)
    ]
    for step, *parts in zip(alone, *shared, strict=True):
        assert {part.total for part in parts} == {step.total}
        for portion, *mine in zip(step.portions, *(part.portions for part in parts), strict=True):
            assert sum(len(one) * one.weight for one in mine) == len(portion)
            assert all(len(one) for one in mine)


def test_an_epoch_can_be_entered_anywhere() -> None:
    batches = PairBatches(PairReader(embeddings(), pairs(101)), pairs=10, seed=4)
    whole, rest = list(batches.steps(2)), list(batches.steps(2, first=7))
    assert batches.steps_in(2) == len(whole) == 11
    assert len(rest) == 4
    for one, other in zip(whole[7:], rest, strict=True):
        assert torch.equal(one.portions[0].labels, other.portions[0].labels)
        assert torch.equal(one.portions[0].a, other.portions[0].a)


@pytest.mark.parametrize("pairwise", [False, True])
def test_processes_measure_each_pair_once(pairwise: bool) -> None:
    table = pairs(50)
    reader = PairReader(embeddings(), table, pairwise=pairwise)
    found = [
        int(label)
        for rank in range(3)
        for batch in PairsToScore(reader, residues=40, rank=rank, world_size=3)
        for label in batch.labels
    ]
    assert sorted(found) == sorted(table.labels.tolist())


class Mapped(MemoryEmbeddings):
    """A file of embeddings that is larger than what may be in memory: each row is made when it is read."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        self.names = tuple(f"p{at}" for at in range(count))
        self.lengths = rng.integers(50, 150, count)
        self.dim = 64
        self._at = {name: at for at, name in enumerate(self.names)}

    def __getitem__(self, name: str) -> np.ndarray:
        return np.ones((self.lengths[self._at[name]], self.dim), np.float16)


@pytest.mark.parametrize("pairwise", [False, True])
def test_memory_does_not_grow_with_the_dataset(pairwise: bool) -> None:
    def peak(proteins: int) -> int:
        rng = np.random.default_rng(1)
        names = tuple(f"p{at}" for at in range(proteins))
        a, b = rng.integers(0, proteins, (2, 500)).astype(np.int32)
        reader = PairReader(
            Mapped(proteins), PairTable(names, a, b, np.ones(500, np.int8)), pairwise=pairwise
        )
        batches = PairBatches(reader, pairs=None, residues=4000)
        tracemalloc.start()
        for step in batches.steps(0):
            for portion in step.portions:
                portion.sides() if pairwise else [None for _ in portion.proteins()]
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    small, large = peak(50), peak(1000)  # 0.6 MB and 13 MB of embeddings
    assert large < small + 500_000


def test_small_pooled_embeddings_are_read_once_for_all_epochs() -> None:
    emb = embeddings(pooled=True)
    batches = PairBatches(PairReader(emb, pairs(64)), pairs=8)
    for epoch in range(3):
        for step in batches.steps(epoch):
            list(step.portions[0].proteins())
    assert len(emb.read) == 30


def test_reading_ahead_changes_nothing_and_ends() -> None:
    batches = PairBatches(PairReader(embeddings(), pairs(64)), pairs=8)
    plain, ahead = list(batches.steps(0)), list(read_ahead(batches.steps(0)))
    assert [step.portions[0].labels.tolist() for step in plain] == [
        s.portions[0].labels.tolist() for s in ahead
    ]
    source = read_ahead(batches.steps(0))
    next(source)
    source.close()
    assert not any(thread.name == "read-ahead" for thread in threading.enumerate())


def test_what_fails_while_reading_ahead_is_raised() -> None:
    def steps():
        yield Step([], 1)
        raise DataError("gone")

    source = read_ahead(steps())
    assert next(source) == Step([], 1)
    with pytest.raises(DataError, match="gone"):
        next(source)
