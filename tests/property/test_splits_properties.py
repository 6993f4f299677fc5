"""Whatever the graph: what a protocol promises holds, nothing is lost uncounted, and the audit agrees."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from holotype.errors import DataError
from holotype.proteins.data.audit import audit_splits
from holotype.proteins.data.pairs import PairTable
from holotype.proteins.data.splits import pair_classes, split_pairs

PROTEINS = [f"P{at}" for at in range(16)]
pair = st.tuples(st.sampled_from(PROTEINS), st.sampled_from(PROTEINS), st.integers(0, 1))
tables = st.lists(pair, min_size=1, max_size=80).map(
    lambda rows: PairTable.from_names([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])
)
clusterings = st.none() | st.lists(st.integers(0, 9), min_size=16, max_size=16).map(
    lambda numbers: dict(zip(PROTEINS, numbers, strict=True))
)


def keys(table):
    return {tuple(sorted(pair)) for pair in zip(table.names_a, table.names_b, strict=True)}


@settings(max_examples=40)
@given(tables, st.sets(st.sampled_from(PROTEINS)))
def test_cleaning_accounts_for_every_row_and_is_idempotent(table, known):
    cleaned = table.clean(known)
    report = cleaned.report
    assert report.rows == len(table)
    assert report.rows == report.kept + report.duplicates + report.contradictory_rows + report.unknown
    assert report.positives + report.negatives == report.kept == len(cleaned)
    assert set(cleaned.proteins) <= known and len(keys(cleaned)) == len(cleaned)
    again = cleaned.clean(known)
    assert again == cleaned and again.report == report
    # A pair is there if, and only if, all that is said of it agrees.
    said = {}
    for a, b, label in zip(table.names_a, table.names_b, table.labels.tolist(), strict=True):
        if a in known and b in known:
            said.setdefault(tuple(sorted((a, b))), set()).add(label)
    assert keys(cleaned) == {pair for pair, labels in said.items() if len(labels) == 1}


@settings(max_examples=60)
@given(tables, st.sampled_from(["c1", "c2", "c3"]), st.integers(0, 2**40), clusterings)
def test_a_split_keeps_its_promise(table, protocol, seed, clusters):
    if protocol == "c1":
        clusters = None
    cleaned = table.clean()
    assume(len(cleaned))
    try:
        made = split_pairs(table, protocol=protocol, seed=seed, fractions=(0.6, 0.2, 0.2), clusters=clusters)
    except DataError as error:
        assert "would be empty" in str(error)
        return
    parts = [keys(part) for part in made.values()]
    assert len(set().union(*parts)) == sum(map(len, parts)) == len(cleaned) - made.dropped
    assert set().union(*parts) <= keys(cleaned)
    labels = {
        tuple(sorted(p)): y
        for p, y in zip(zip(cleaned.names_a, cleaned.names_b, strict=True), cleaned.labels, strict=True)
    }
    for part in made.values():
        for names, label in zip(zip(part.names_a, part.names_b, strict=True), part.labels, strict=True):
            assert labels[tuple(sorted(names))] == label
    if protocol != "c1":
        wanted = {2} if protocol == "c2" else {3}
        for name in ("val", "test"):
            assert set(pair_classes(made["train"], made[name]).tolist()) == wanted
    similarity = clusters if clusters is not None else "none"
    assert audit_splits(made, {}, protocol=protocol, similarity=similarity).ok
    assert (
        split_pairs(table, protocol=protocol, seed=seed, fractions=(0.6, 0.2, 0.2), clusters=clusters) == made
    )


@settings(max_examples=40)
@given(tables, tables)
def test_pair_classes_count_what_training_has_seen(train, test):
    seen = {*train.names_a, *train.names_b}
    expected = [3 - (a in seen) - (b in seen) for a, b in zip(test.names_a, test.names_b, strict=True)]
    assert pair_classes(train, test).tolist() == expected


@settings(max_examples=40)
@given(tables, st.randoms(use_true_random=False))
def test_equality_does_not_heed_how_proteins_are_numbered(table, random):
    names = list(table.proteins)
    random.shuffle(names)
    place = {name: at for at, name in enumerate(names)}
    other = PairTable(
        tuple(names),
        np.array([place[n] for n in table.names_a]),
        np.array([place[n] for n in table.names_b]),
        table.labels,
    )
    assert other == table
    assert (
        np.unique(other.keys(), return_inverse=True)[1][:, None]
        == np.unique(other.keys(), return_inverse=True)[1]
    ).tolist() == (table.keys()[:, None] == table.keys()).tolist()
