"""What each protocol promises, on graphs with a structure that tells good divisions from bad ones."""

import hashlib

import numpy as np
import pytest

from holotype.errors import DataError
from holotype.proteins.data.pairs import PairTable
from holotype.proteins.data.similarity import cluster_sequences, installed_tools, similar_pairs
from holotype.proteins.data.splits import pair_classes, split_pairs

LETTERS = np.array(list("ACDEFGHIKLMNPQRSTVWY"))


def numbers(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


def graph(proteins=120, pairs=1500, seed=0, rate=0.5):
    rng = numbers(seed)
    a, b = rng.integers(0, proteins, (2, pairs))
    names = [f"P{at:04}" for at in range(proteins)]
    labels = (rng.random(pairs) < rate).astype(int)
    return PairTable.from_names([names[x] for x in a], [names[x] for x in b], labels.tolist()).clean()


def communities(count=10, size=12, seed=0):
    """Groups of proteins that pair among themselves, and one pair in twenty with others."""
    rng = numbers(seed)
    a, b, labels = [], [], []
    for group in range(count):
        for _ in range(size * 5):
            other = group if rng.random() < 0.95 else int(rng.integers(count))
            a.append(f"g{group}_{rng.integers(size)}")
            b.append(f"g{other}_{rng.integers(size)}")
            labels.append(int(rng.random() < 0.3))
    return PairTable.from_names(a, b, labels).clean()


def protein_sets(splits):
    return {name: {table.proteins[at] for at in table.used()} for name, table in splits.items()}


def pair_names(table):
    return [tuple(sorted(pair)) for pair in zip(table.names_a, table.names_b, strict=True)]


def fingerprint(splits):
    text = "\n".join(
        f"{name} {pair} {label}"
        for name, table in splits.items()
        for pair, label in sorted(zip(pair_names(table), table.labels.tolist(), strict=True))
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def mutated(sequence, identity, rng):
    letters = np.array(list(sequence))
    at = rng.permutation(len(letters))[: round(len(letters) * (1 - identity))]
    letters[at] = [
        LETTERS[(np.flatnonzero(old == LETTERS)[0] + rng.integers(1, 20)) % 20] for old in letters[at]
    ]
    return "".join(letters)


def random_protein(rng, length=200):
    return "".join(LETTERS[rng.integers(0, 20, length)])


def test_c1_divides_every_pair_and_each_label_in_proportion():
    pairs = graph()
    made = split_pairs(pairs, protocol="c1", seed=3)
    assert list(made) == ["train", "val", "test"] and made.dropped == 0
    together = sorted(pair for table in made.values() for pair in pair_names(table))
    assert together == sorted(pair_names(pairs))
    rate = pairs.labels.mean()
    for table, share in zip(made.values(), (0.8, 0.1, 0.1), strict=True):
        assert abs(len(table) - share * len(pairs)) <= 1
        assert abs(table.labels.mean() - rate) < 0.01


def test_c2_shows_training_exactly_one_protein_of_each_pair():
    made = split_pairs(graph(), protocol="c2", seed=3)
    for part in ("val", "test"):
        assert set(pair_classes(made["train"], made[part])) == {2}
    total = sum(map(len, made.values()))
    assert made.dropped + total == len(graph()) and made.dropped < 0.05 * len(graph())
    assert abs(len(made["test"]) / total - 0.1) < 0.03


def test_c3_shows_training_none_and_keeps_more_than_chance_would():
    pairs = communities()
    made = split_pairs(pairs, protocol="c3", seed=3)
    seen = protein_sets(made)
    assert (
        not seen["train"] & seen["val"]
        and not seen["train"] & seen["test"]
        and not seen["val"] & seen["test"]
    )
    assert set(pair_classes(made["train"], made["test"])) == {3}
    kept = sum(map(len, made.values()))
    assert made.dropped + kept == len(pairs)
    # A random division of the proteins into such shares keeps 0.43 of the pairs.
    assert kept > 0.85 * len(pairs)
    for table, share in zip(made.values(), (0.8, 0.1, 0.1), strict=True):
        assert abs(len(table) / kept - share) < 0.05
        assert abs(table.labels.mean() - pairs.labels.mean()) < 0.12


def test_c3_balances_the_classes_where_positives_and_negatives_are_wired_differently():
    rng = numbers(5)
    within = communities(seed=5).take(slice(0, 400))
    names = sorted({*within.names_a, *within.names_b})
    negatives = rng.integers(0, len(names), (2, 400))
    pairs = PairTable.from_names(
        within.names_a + [names[at] for at in negatives[0]],
        within.names_b + [names[at] for at in negatives[1]],
        [1] * len(within) + [0] * 400,
    ).clean()
    made = split_pairs(pairs, protocol="c3", seed=1)
    for table in made.values():
        assert abs(table.labels.mean() - pairs.labels.mean()) < 0.1


@pytest.mark.parametrize("protocol", ["c1", "c2", "c3"])
def test_a_split_depends_on_the_pairs_and_the_seed_alone(protocol):
    pairs = graph()
    made = split_pairs(pairs, protocol=protocol, seed=7)
    order = numbers(1).permutation(len(pairs))
    turned = [
        (b, a) if at % 2 else (a, b)
        for at, (a, b) in enumerate(zip(pairs.names_a, pairs.names_b, strict=True))
    ]
    other = PairTable.from_names(
        [turned[at][0] for at in order], [turned[at][1] for at in order], pairs.labels[order].tolist()
    )
    assert fingerprint(split_pairs(other, protocol=protocol, seed=7)) == fingerprint(made)
    assert fingerprint(split_pairs(pairs, protocol=protocol, seed=8)) != fingerprint(made)


def test_splits_are_the_same_on_every_machine():
    found = {p: fingerprint(split_pairs(graph(), protocol=p, seed=1)) for p in ("c1", "c2", "c3")}
    assert found == FINGERPRINTS


FINGERPRINTS = {"c1": "a3c23b648a2ab968", "c2": "e71a292946722897", "c3": "d968c1a8cfd33c5e"}


def test_rows_keep_their_order_and_direction():
    pairs = graph()
    place = {pair: at for at, pair in enumerate(zip(pairs.names_a, pairs.names_b, strict=True))}
    for table in split_pairs(pairs, protocol="c3", seed=1).values():
        at = [place[pair] for pair in zip(table.names_a, table.names_b, strict=True)]
        assert at == sorted(at)


def test_a_repeated_pair_lands_on_one_side():
    pairs = graph()
    doubled = PairTable.from_names(
        pairs.names_a + pairs.names_b, pairs.names_b + pairs.names_a, [*pairs.labels, *pairs.labels]
    )
    made = split_pairs(doubled, protocol="c1", seed=1)
    assert sum(map(len, made.values())) == len(pairs)
    assert any("repeated" in note for note in made.notes)


def test_a_part_of_nothing_is_left_out_and_pairs_may_be_without_labels():
    table = graph()
    pairs = PairTable.from_names(table.names_a, table.names_b)
    made = split_pairs(pairs, protocol="c3", seed=1, fractions=(0.7, 0, 0.3))
    assert list(made) == ["train", "test"] and made["train"].labels is None
    assert "positives" not in made.to_dict()["parts"]["train"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "c4"}, "no protocol named 'c4'"),
        ({"protocol": "C3"}, "Did you mean: c3"),
        ({"seed": -1}, "whole number"),
        ({"seed": 1.5}, "whole number"),
        ({"seed": True}, "whole number"),
        ({"fractions": (80, 10, 10)}, "fractions that sum to 1"),
        ({"fractions": (0.8, 0.2)}, "three numbers"),
        ({"fractions": (0.8, float("nan"), 0.1)}, "three numbers"),
        ({"fractions": (1.2, -0.1, -0.1)}, "fractions that sum to 1"),
        ({"fractions": (0, 0.5, 0.5)}, "a train part"),
        ({"fractions": (1, 0, 0)}, "one of val and test"),
        ({"fractions": "0.8,0.1,0.1"}, "three numbers"),
        ({"protocol": "c1", "clusters": {}}, "has no effect"),
        ({"clusters": {"P0001": 1}}, "are in no cluster"),
    ],
)
def test_arguments_that_make_no_sense(options, message):
    with pytest.raises(DataError, match=message):
        split_pairs(graph(), **{"seed": 1, **options})


def test_a_star_cannot_be_divided_under_c3():
    star = PairTable.from_names(["hub"] * 20, [f"leaf{at}" for at in range(20)], [0, 1] * 10)
    with pytest.raises(DataError, match=r"would be empty: 20 pairs of 21 proteins"):
        split_pairs(star, protocol="c3", seed=1)
    assert split_pairs(star, protocol="c2", seed=1)["test"].labels is not None


def test_clusters_stay_on_one_side():
    pairs = graph()
    clusters = {name: int(name[1:]) // 4 for name in pairs.proteins}
    for protocol in ("c2", "c3"):
        made = split_pairs(pairs, protocol=protocol, seed=1, clusters=clusters)
        train = {clusters[name] for name in protein_sets(made)["train"]}
        for part in ("val", "test"):
            table = made[part]
            seen = [
                sum(clusters[name] in train for name in pair)
                for pair in zip(table.names_a, table.names_b, strict=True)
            ]
            assert set(seen) == {1 if protocol == "c2" else 0}


def test_the_names_of_clusters_make_no_difference():
    pairs = graph()
    one = {name: int(name[1:]) // 4 for name in pairs.proteins}
    other = {name: f"c{99 - number}" for name, number in one.items()}
    made = [split_pairs(pairs, protocol="c3", seed=1, clusters=clusters) for clusters in (one, other)]
    assert fingerprint(made[0]) == fingerprint(made[1])


def test_pair_classes():
    train = PairTable.from_names(["A", "B"], ["B", "C"], [1, 0])
    test = PairTable.from_names(["A", "A", "X", "C", "X"], ["C", "X", "Y", "C", "X"])
    assert pair_classes(train, test).tolist() == [1, 2, 3, 1, 3]
    assert pair_classes(train, test).dtype == np.int8
    # A protein that is listed and in no pair has not been seen.
    assert pair_classes(train.take([0]), test).tolist() == [2, 2, 3, 3, 3]


# -- similarity ----------------------------------------------------------------------------------------


def families(count=8, identities=(0.95, 0.85), length=300, seed=2):
    rng = numbers(seed)
    made = {}
    for family in range(count):
        first = random_protein(rng, length)
        made[f"f{family}"] = first
        for number, identity in enumerate(identities):
            made[f"f{family}_{number}"] = mutated(first, identity, rng)
    return made


def test_the_screen_finds_copies_and_nothing_else():
    found = similar_pairs(families(), min_identity=0.7)
    pairs = {(found.names[a], found.names[b]) for a, b in zip(found.a, found.b, strict=True)}
    for family in range(8):
        assert (f"f{family}", f"f{family}_0") in pairs and (f"f{family}", f"f{family}_1") in pairs
    assert all(a.split("_")[0] == b.split("_")[0] for a, b in pairs)
    assert found.a.dtype == np.int32 and (found.a < found.b).all()


@pytest.mark.parametrize("identity", [0.7, 0.8, 0.9, 0.95])
def test_the_screen_tells_about_how_alike_two_proteins_are(identity):
    rng = numbers(9)
    estimates = []
    for _ in range(10):
        first = random_protein(rng, 400)
        found = similar_pairs({"a": first, "b": mutated(first, identity, rng)}, min_identity=0.5)
        estimates.append(float(found.identity[0]))
    # Scattered substitutions, which real families do not have, look somewhat less alike than they are.
    assert identity - 0.15 < np.mean(estimates) < identity + 0.05


def test_identical_sequences_are_one_and_a_fragment_is_like_its_whole():
    rng = numbers(4)
    whole = random_protein(rng, 400)
    found = similar_pairs({"a": whole, "b": whole, "c": whole[100:200], "d": random_protein(rng, 400)})
    pairs = {
        (found.names[a], found.names[b]): i for a, b, i in zip(found.a, found.b, found.identity, strict=True)
    }
    assert set(pairs) == {("a", "b"), ("a", "c")}
    assert pairs["a", "b"] == 1.0 and 0.99 < pairs["a", "c"] < 1.0


def test_low_complexity_unknown_residues_and_short_sequences_are_not_alike():
    rng = numbers(6)
    made = {f"q{at}": random_protein(rng, 80) + "Q" * 60 + "QP" * 30 for at in range(4)}
    made |= {f"x{at}": random_protein(rng, 80) + "X" * 200 for at in range(4)}
    made |= {"s0": "MK", "s1": "MKV", "s2": "A", "s3": "MKVLA"}
    assert len(similar_pairs(made, min_identity=0.5)) == 0
    assert len(similar_pairs({})) == len(similar_pairs({"a": "MKVLA"})) == 0


def test_a_family_larger_than_the_window_hangs_together():
    rng = numbers(8)
    first = random_protein(rng, 40)
    made = {f"v{at:04}": mutated(first, 0.95, rng) for at in range(1500)}
    assert len(set(made.values())) > 600
    assert cluster_sequences(made, max_identity=0.8, tool="kmer").count == 1


def test_clusters_depend_on_the_sequences_alone():
    made = families()
    clusters = cluster_sequences(made, max_identity=0.7, tool="kmer")
    assert clusters.count == 8 and clusters.largest == 3 and clusters.approximate
    assert any("approximation" in note for note in clusters.notes)
    back = dict(reversed(made.items()))
    assert dict(cluster_sequences(back, max_identity=0.7, tool="kmer")) == dict(clusters)


def test_what_is_not_installed_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert installed_tools() == ["kmer"]
    assert cluster_sequences(families(2)).tool == "kmer"
    with pytest.raises(DataError, match="apt-get install mmseqs2"):
        cluster_sequences(families(2), tool="mmseqs")
    with pytest.raises(DataError, match="no tool named"):
        cluster_sequences(families(2), tool="blast")
    with pytest.raises(DataError, match="at most 1"):
        cluster_sequences(families(2), max_identity=40)


@pytest.mark.parametrize("tool", ["mmseqs", "cd-hit"])
def test_installed_tools_agree_about_plain_cases(tool):
    if tool not in installed_tools():
        pytest.skip(f"{tool} is not installed")
    clusters = cluster_sequences(families(4), max_identity=0.7, tool=tool)
    assert clusters.count == 4 and not clusters.approximate and clusters.tool == tool
    assert {clusters["f0"]} == {clusters["f0_0"], clusters["f0_1"]}


def test_a_tool_that_fails_is_an_error_with_its_words(monkeypatch, tmp_path):
    fake = tmp_path / "mmseqs"
    fake.write_text("#!/bin/sh\necho 'no space left' >&2\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(DataError, match=r"mmseqs failed \(3\): no space left"):
        cluster_sequences(families(2), tool="mmseqs")
