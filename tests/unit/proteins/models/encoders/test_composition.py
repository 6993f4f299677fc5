"""Encoders without weights, against counts that are done by hand and by plain loops."""

import itertools
import math
import tomllib
from importlib.resources import files

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import holotype  # noqa: E402  # after the check that torch is there
from holotype.proteins.models.encoders import sequence_statistics as statistics  # noqa: E402
from holotype.proteins.models.encoders.composition import ALPHABET, CLASSES, Composition, ConjointTriad  # noqa: E402
from holotype.proteins.models.encoders.sequence_statistics import SequenceStatistics  # noqa: E402

SIZES = tomllib.loads((files("holotype.proteins.models.encoders") / "sizes.toml").read_text())
PROTEIN = "MKVLAAGIWYDEDEKRKRXPPGSSTNQCUHHOFLIVMMZLLKEEEWA"


def embed(net, *proteins):
    return net(*net.collate(proteins))[:, 0]


def test_shares_of_residues_and_pairs_are_counted():
    vector = embed(Composition(), "AACX")[0]
    assert vector[:20].tolist() == pytest.approx([2 / 3, 1 / 3, *[0] * 18])
    pairs = {a + b: vector[20 + 20 * i + j] for i, a in enumerate(ALPHABET) for j, b in enumerate(ALPHABET)}
    assert {pair: float(share) for pair, share in pairs.items() if share} == {"AA": 0.5, "AC": 0.5}
    assert embed(Composition(dipeptides=False), "AACX").shape == (1, 20)


def test_triads_are_counted_by_class_and_scaled_as_in_the_paper():
    vector = embed(ConjointTriad(), "AAAAILR")[0]  # classes 1 1 1 1 2 2 5
    where = {code: 49 * (code[0] - 1) + 7 * (code[1] - 1) + code[2] - 1 for code in
             [(1, 1, 1), (1, 1, 2), (1, 2, 2), (2, 2, 5)]}  # fmt: skip
    assert vector[where[1, 1, 1]] == 1.0
    assert all(vector[where[code]] == 0.5 for code in [(1, 1, 2), (1, 2, 2), (2, 2, 5)])
    assert int(vector.count_nonzero()) == 4
    assert sorted("".join(CLASSES)) == sorted(ALPHABET)


def test_the_least_count_is_taken_off():
    protein = "".join("".join(codes) for codes in itertools.product("AIYHRDC", repeat=3)) * 2
    vector = embed(ConjointTriad(), protein)[0]
    assert vector.min() == 0
    assert vector.max() < 1


@pytest.mark.parametrize("net", [Composition(), ConjointTriad(), SequenceStatistics()])
def test_rare_letters_count_as_their_parents_and_unclear_ones_for_nothing(net):
    rare, plain = embed(net, "MKUOAAC", "MKCKAAC")
    assert torch.equal(rare, plain)
    assert not embed(net, "X", "BJXZ").any()


@pytest.mark.parametrize("net", [Composition(), ConjointTriad(), SequenceStatistics()])
def test_proteins_of_any_length_have_finite_vectors(net):
    proteins = [PROTEIN[:n] for n in range(1, len(PROTEIN) + 1)] + ["A" * 300]
    vectors = embed(net, *proteins)
    assert vectors.shape == (len(proteins), net.embedding_dim)
    assert vectors.isfinite().all()
    assert net(*net.collate([])).shape == (0, 1, net.embedding_dim)


def test_windows_of_a_scale_are_those_of_numpy():
    codes = torch.tensor([ALPHABET.index(letter) for letter in "MKVLAAGIWYDEDEKRKRPPGSST"])
    values = np.array(statistics.SCALES["hydropathy"])
    values = ((values - values.mean()) / values.std())[codes.numpy()]
    expected = []
    for width in statistics.SCALE_WINDOWS:
        means = np.convolve(values, np.ones(min(width, 24)) / min(width, 24), mode="valid")
        expected += [means.std(), means.min(), np.median(means) if len(means) % 2 else None, means.max()]
    vector = embed(SequenceStatistics(), "MKVLAAGIWYDEDEKRKRPPGSST")[0]
    size = len(statistics.SCALES)
    blocks = vector[21 : 21 + 8 * size * len(statistics.SCALE_WINDOWS)].view(-1, 8, size)[:, :, 0]
    for at in range(len(statistics.SCALE_WINDOWS)):
        found = [blocks[at, 0], blocks[at, 1], blocks[at, 4], blocks[at, 7]]
        for got, wanted in zip(found, expected[4 * at : 4 * at + 4], strict=True):
            assert wanted is None or float(got) == pytest.approx(wanted, abs=1e-5)
    assert vector[20] == pytest.approx(math.log(24))


def test_a_membrane_helix_shows_in_the_windows_and_not_in_the_composition():
    helix, rest = "LIVLALLIVLFAVLLIVAL", "DEKRSTNQGPDEKRSTNQGP"
    together = rest + helix + rest
    spread = "".join(sorted(together, key=lambda letter: hash(letter) % 7))
    mixed = "".join(together[(17 * at) % len(together)] for at in range(len(together)))
    assert sorted(mixed) == sorted(together) == sorted(spread)
    one, other = embed(SequenceStatistics(), together, mixed)
    assert torch.allclose(one[:21], other[:21])
    widest = 21 + 8 * 8 * statistics.SCALE_WINDOWS.index(21) + 7 * 8  # the largest mean of 21, hydropathy
    assert one[widest] > other[widest] + 0.5


@pytest.mark.parametrize("name", ["composition", "conjoint_triad", "sequence_statistics"])
def test_they_have_names_and_nothing_to_learn(name):
    net = holotype.create_model(name)
    assert net.whole_protein and not net.state_dict()
    assert SIZES[name]["params"] == 0
    assert f"{net.embedding_dim} numbers" in SIZES[name]["description"]


def test_stretches_are_counted():
    inside = torch.tensor([1, 1, 0, 1, 0, 0, 1, 1, 1, 0], dtype=torch.bool)
    found = statistics._stretches(inside).tolist()
    assert found == pytest.approx([0.6, math.log(4), math.log(4)])
    assert not statistics._stretches(torch.zeros(3, dtype=torch.bool)).any()


def test_a_tail_is_told_from_the_rest():
    vector = embed(SequenceStatistics(), "W" * 25 + "A" * 75)[0]
    tables = vector[-6 - 120 : -6].view(6, 20)
    shares = [(float(row[ALPHABET.index("W")]), float(row[ALPHABET.index("A")])) for row in tables]
    assert shares == [(1, 0), (0, 1), (0, 1), (0, 1), (1, 0), (0, 1)]
