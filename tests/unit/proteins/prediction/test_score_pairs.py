"""Scores of given pairs: what `forward` gives, each protein encoded once."""

import numpy as np
import pytest
import torch

import holotype
from holotype.errors import DataError
from holotype.proteins.data.pairs import PairTable
from holotype.proteins.models import factored
from holotype.proteins.models.interface import BaseProteinModel
from holotype.proteins.prediction.scoring import (
    evaluating,
    known_proteins,
    length_batches,
    pair_batches,
    score_pairs,
)
from interaction_sets import ALONE, SYMMETRIES, InMemory, forward_one, model, sequences

EVERY = [(name, symmetry) for name in [*ALONE, "cross_attention"] for symmetry in SYMMETRIES]


def some_pairs(proteins, count=40, seed=3):
    rng = np.random.default_rng(seed)
    names = list(proteins)
    return PairTable.from_names(*(rng.choice(names, count).tolist() for _ in range(2)))


@pytest.mark.parametrize(("name", "symmetry"), EVERY)
def test_scores_are_those_of_forward_in_the_order_given(name, symmetry):
    net, proteins = model(name, symmetry=symmetry), sequences(12)
    embeddings, table = InMemory(proteins), some_pairs(proteins)
    found = score_pairs(net, embeddings, table, residues_per_batch=24)
    expected = [forward_one(net, embeddings, a, b) for a, b in zip(table.names_a, table.names_b, strict=True)]
    assert found.dtype == np.float32
    assert np.ptp(expected) > 0.05  # a model that says the same of all pairs would prove nothing
    assert found == pytest.approx(np.array(expected), abs=2e-5)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_wide_head_over_a_block_is_as_exact_as_forward(symmetry):
    net = model(hidden_dim=256, symmetry=symmetry)
    g = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        enc = net.encode(torch.randn(50, 3, 12, generator=g), torch.full((50,), 3))
        prepared = net.prepare(enc)
        assert len(prepared) > 1  # the head came apart
        block = net.score_block(tuple(t[:7] for t in prepared), prepared)
        plain = net.score(enc[:7].repeat_interleave(50, 0), enc.repeat(7, 1)).view(7, 50)
    torch.testing.assert_close(block, plain, rtol=1e-5, atol=2e-5)


def test_variance_of_opposite_vectors_keeps_its_digits():
    """u + v nearly 0: the closed form alone would lose everything, and could be negative."""
    net = model(hidden_dim=32)
    head = net.interaction_layer
    with torch.no_grad():
        head[0].weight[:, 32:] = -head[0].weight[:, :32]  # so that of a protein with itself the bias is left
        head[0].bias.copy_(0.01 * torch.randn(32, generator=torch.Generator().manual_seed(1)))
    with torch.inference_mode():
        enc = 30 * torch.randn(6, 32, generator=torch.Generator().manual_seed(0)).abs()
        prepared = net.prepare(enc)
        block = net.score_block(prepared, prepared).diagonal()
        exact = net.double().score(enc.double(), enc.double())
    torch.testing.assert_close(block.double(), exact, rtol=0, atol=1e-2)


def test_a_head_of_ones_own_is_not_taken_apart():
    net = model()
    net.interaction_layer.insert(1, torch.nn.Tanh())
    with torch.inference_mode():
        enc = net.encode(torch.randn(4, 2, 12), torch.full((4,), 2))
        prepared = net.prepare(enc)
        assert len(prepared) == 1
        block = net.score_block(prepared, prepared)
        assert block == pytest.approx(net.score(enc.repeat_interleave(4, 0), enc.repeat(4, 1)).view(4, 4))


def test_training_mode_is_not_taken_apart_and_is_restored():
    net, proteins = model(dropout=0.5).train(), sequences(4)
    assert not factored.can_factor(net.interaction_layer, torch.zeros(1, 16), "none")
    table = some_pairs(proteins, 5)
    first, second = (score_pairs(net, InMemory(proteins), table) for _ in range(2))
    assert net.training
    assert np.array_equal(first, second)


def test_each_protein_is_encoded_once():
    net, proteins = model(), sequences(10)
    seen = []
    encode = net.encode_residues
    net.encode_residues = lambda residues: seen.append(len(residues.emb)) or encode(residues)
    score_pairs(net, InMemory(proteins), some_pairs(proteins, 300))
    assert sum(seen) == 10


def test_what_is_known_of_a_protein_is_reused_where_the_model_needs_the_pair():
    net, proteins = model("cross_attention"), sequences(10)
    seen = []
    prepare = net.prepare_residues
    net.prepare_residues = lambda residues: seen.append(1) or prepare(residues)
    score_pairs(net, InMemory(proteins), some_pairs(proteins, 300))
    assert len(seen) == 10


def test_little_room_changes_nothing_of_the_scores(monkeypatch):
    net, proteins = model("cross_attention"), sequences(10)
    table = some_pairs(proteins, 80)
    everything = score_pairs(net, InMemory(proteins), table)
    monkeypatch.setattr("holotype.proteins.prediction.scoring._KEPT_BYTES", 1)
    assert np.array_equal(score_pairs(net, InMemory(proteins), table), everything)


def test_a_model_that_has_only_forward_is_scored(monkeypatch):
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model()

        def forward(self, emb_a, emb_b, lengths_a, lengths_b):
            return self.inner(emb_a, emb_b, lengths_a, lengths_b)

    class Overridden(BaseProteinModel):
        input_dim = 12

        def __init__(self):
            super().__init__()
            self.inner = model()

        def forward(self, emb_a, emb_b, lengths_a, lengths_b):
            return self.inner(emb_a, emb_b, lengths_a, lengths_b)

    proteins = sequences(6)
    embeddings, table = InMemory(proteins), some_pairs(proteins, 20)
    expected = score_pairs(model(), embeddings, table)
    for net in (Plain().eval(), Overridden().eval()):
        assert score_pairs(net, embeddings, table) == pytest.approx(expected, abs=2e-5)


def test_pooled_embeddings_are_proteins_of_length_one():
    net, proteins = model("v2"), sequences(6)
    embeddings, table = InMemory(proteins, rows=1), some_pairs(proteins, 20)
    expected = [forward_one(net, embeddings, a, b) for a, b in zip(table.names_a, table.names_b, strict=True)]
    assert score_pairs(net, embeddings, table) == pytest.approx(np.array(expected), abs=2e-5)


@pytest.mark.parametrize("name", ["v1", "cross_attention"])
def test_no_pairs_give_no_scores(name):
    assert score_pairs(model(name), InMemory({}), PairTable.from_names([], [])).shape == (0,)


def test_progress_ends_with_all():
    proteins, told = sequences(6), []
    for name in ("v1", "cross_attention"):
        score_pairs(
            model(name), InMemory(proteins), some_pairs(proteins, 30), progress=lambda *at: told.append(at)
        )
        assert told[-1] == (30, 30)


def test_missing_embeddings_are_named():
    proteins = sequences(6)
    with pytest.raises(DataError, match=r"1 of 2 proteins have no embedding: P9\b") as caught:
        score_pairs(model(), InMemory(proteins), PairTable.from_names(["P1"], ["P9"]))
    assert caught.value.problems == ("P9",)


def test_another_width_is_refused():
    proteins = sequences(3)
    with pytest.raises(DataError, match="8 wide, and the model takes 12"):
        score_pairs(model(), InMemory(proteins, dim=8), PairTable.from_names(["P1"], ["P2"]))


def test_batches_hold_each_once_and_no_more_than_asked_for():
    lengths = [3, 50, 7, 7, 1, 20]
    batches = length_batches(lengths, 21)
    assert sorted(at for batch in batches for at in batch.tolist()) == list(range(6))
    assert all(len(b) == 1 or len(b) * max(lengths[at] for at in b) <= 21 for b in batches)
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 40), rng.integers(0, 6, 40)
    found = list(pair_batches(np.array(lengths), a, b, 21))
    assert sorted(np.concatenate(found).tolist()) == list(range(40))
    assert all(len(at) == 1 or len(at) * max(lengths[p] for p in [*a[at], *b[at]]) <= 21 for at in found)


@pytest.mark.parametrize("name", holotype.list_models(task="protein_interaction", zoo="proteins"))
def test_every_model_of_the_zoo_scores_lists_and_blocks_as_forward_does(name):
    cls = holotype.get_model_class(name)
    torch.manual_seed(0)
    net = holotype.create_model(f"proteins/{name}", **cls.small_parameters).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    proteins = sequences(7)
    embeddings, table = InMemory(proteins, dim=net.input_dim), some_pairs(proteins, 20)
    expected = [forward_one(net, embeddings, a, b) for a, b in zip(table.names_a, table.names_b, strict=True)]
    assert score_pairs(net, embeddings, table) == pytest.approx(np.array(expected), abs=1e-4)
    with evaluating(net):
        block = known_proteins(net, embeddings, table.proteins).block(range(2, 4), range(len(table.proteins)))
    for row, a in enumerate(table.proteins[2:4]):
        wanted = [forward_one(net, embeddings, a, b) for b in table.proteins]
        assert block[row] == pytest.approx(np.array(wanted), abs=1e-4)
