"""Every kind of leak is planted once, and has to be found; a clean split has to pass."""

import json
import os

import numpy as np
import pytest

from holotype.errors import DataError, LeakageError
from holotype.proteins.data.audit import audit_splits
from holotype.proteins.data.datasets import load_dataset
from holotype.proteins.data.pairs import PairTable, align
from holotype.proteins.data.splits import split_pairs

LETTERS = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
NAMES = [f"{part}{at}" for part in "tvx" for at in range(6)]  # train, val, test


def sequences():
    rng = np.random.Generator(np.random.PCG64(0))
    return {name: "".join(LETTERS[rng.integers(0, 20, 200)]) for name in NAMES}


def clean():
    """Six proteins and six pairs in each part; nothing in common."""
    made = {}
    for part, letter in (("train", "t"), ("val", "v"), ("test", "x")):
        ends = [(at, (at + 1) % 6) for at in range(6)]
        made[part] = PairTable.from_names(
            [f"{letter}{a}" for a, _ in ends], [f"{letter}{b}" for _, b in ends], [1, 0] * 3
        )
    return made


def with_pair(table, a, b, label):
    return PairTable.from_names([*table.names_a, a], [*table.names_b, b], [*table.labels.tolist(), label])


def alike(sequence, changes=20):
    letters = list(sequence)
    for at in range(0, changes * 10, 10):
        letters[at] = "W" if letters[at] != "W" else "Y"
    return "".join(letters)


def kinds(audit):
    return {(one.kind, one.parts) for one in audit.problems}


def test_a_clean_split_keeps_every_promise():
    for protocol in ("c1", "c2", "c3", None):
        audit = audit_splits(clean(), sequences(), protocol=protocol)
        assert audit.ok and not audit.findings
        audit.raise_if_leaking()
    assert (
        audit.classes
        == audit.classes_by_sequence
        == {part: {"C1": 0, "C2": 0, "C3": 6} for part in ("val", "test")}
    )
    assert audit.parts["test"] == {
        "pairs": 6, "proteins": 6, "positives": 3, "negatives": 3, "positive_rate": 0.5,
        "degree_mean": 2.0, "degree_median": 2.0, "degree_max": 2, "busiest_hundredth": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(("a", "b"), [("t0", "t1"), ("t1", "t0")])
def test_a_pair_in_two_parts_is_a_leak_under_every_protocol(a, b):
    splits = clean()
    splits["test"] = with_pair(splits["test"], a, b, 1)
    for protocol in ("c1", "c2", "c3", None):
        audit = audit_splits(splits, sequences(), protocol=protocol)
        assert ("shared_pair", ("train", "test")) in kinds(audit)
        assert not any(one.kind == "contradiction" for one in audit.findings)
    assert audit.classes["test"] == {"C1": 1, "C2": 0, "C3": 6}


def test_a_pair_with_the_other_label_is_a_contradiction():
    splits = clean()
    splits["val"] = with_pair(splits["val"], "t1", "t0", 0)
    found = {one.kind: one for one in audit_splits(splits, sequences(), protocol="c1").problems}
    assert found["contradiction"].count == found["shared_pair"].count == 1
    assert found["contradiction"].examples == ("t1 t0",)


def test_a_shared_protein_is_a_leak_under_c3_alone():
    splits = clean()
    splits["test"] = with_pair(splits["test"], "t0", "x3", 1)
    assert kinds(audit_splits(splits, sequences(), protocol="c3")) == {("shared_protein", ("train", "test"))}
    for protocol in ("c1", "c2"):
        audit = audit_splits(splits, sequences(), protocol=protocol)
        assert audit.ok and audit.findings[0].kind == "shared_protein"
    assert audit.classes["test"] == {"C1": 0, "C2": 1, "C3": 6}


def test_a_protein_shared_by_val_and_test_is_a_leak_too():
    splits = clean()
    splits["test"] = with_pair(splits["test"], "v0", "x3", 1)
    assert kinds(audit_splits(splits, sequences(), protocol="c3")) == {("shared_protein", ("val", "test"))}


def test_c2_forbids_pairs_of_two_known_proteins():
    splits = clean()
    splits["test"] = with_pair(splits["test"], "t3", "t0", 1)
    assert kinds(audit_splits(splits, sequences(), protocol="c2")) == {("seen_pair", ("train", "test"))}
    assert audit_splits(splits, sequences(), protocol="c1").ok


def test_one_sequence_under_two_names_is_the_same_protein():
    known = sequences()
    known["x0"] = known["t0"]
    audit = audit_splits(clean(), known, protocol="c3")
    assert kinds(audit) == {("identical_sequence", ("train", "test"))}
    assert audit.problems[0].examples == ("x0 is t0",)
    assert audit.classes["test"]["C2"] == 0 and audit.classes_by_sequence["test"]["C2"] == 2
    known["x1"] = known["t1"]  # and now a pair of them is there twice
    assert ("shared_pair", ("train", "test")) in kinds(audit_splits(clean(), known, protocol="c1"))


def test_near_duplicates_are_found_and_named():
    known = sequences()
    known["x0"] = alike(known["t0"])  # 90 %
    audit = audit_splits(clean(), known, protocol="c3")
    assert kinds(audit) == {("near_duplicate", ("train", "test"))}
    assert audit.problems[0].examples[0].startswith("x0 and t0 (")
    assert audit.problems[0].message == "1 of 6 proteins of test is a near-duplicate of some in train"
    assert audit.classes_by_sequence["test"] == {"C1": 0, "C2": 2, "C3": 4}
    assert audit_splits(clean(), known, protocol="c3", similarity="none").ok
    assert audit_splits(clean(), known, protocol="c3", min_identity=0.99).ok
    known["x1"] = alike(known["t3"])
    assert kinds(audit_splits(clean(), known, protocol="c2")) == {("seen_pair", ("train", "test"))}


def test_clusters_of_ones_own_are_heeded():
    clusters = {name: name for name in NAMES} | {"v2": "t5"}
    audit = audit_splits(clean(), sequences(), protocol="c3", similarity=clusters)
    assert kinds(audit) == {("near_duplicate", ("train", "val"))}
    assert audit.problems[0].examples == ("v2 and t5",)


def test_proteins_without_a_sequence_are_compared_by_name_and_told():
    splits = clean()
    splits["test"] = with_pair(splits["test"], "t0", "x3", 1)
    audit = audit_splits(splits, {}, protocol="c3")
    assert ("shared_protein", ("train", "test")) in kinds(audit)
    assert any(one.kind == "not_screened" and one.count == 18 for one in audit.findings)


def test_the_error_lists_the_worst_and_what_to_do():
    splits = clean()
    splits["test"] = with_pair(splits["test"], "t0", "x3", 1)
    with pytest.raises(LeakageError) as caught:
        audit_splits(splits, sequences(), protocol="c3").raise_if_leaking()
    text = str(caught.value)
    assert "c3 forbids any protein" in text and "1 of 7 proteins of test is in train: t0" in text
    assert "holotype split PAIRS --protocol c3" in text and "protocol c1" in text
    assert len(caught.value.problems) == 1


def test_an_audit_is_plain_data_and_plain_words():
    splits = clean()
    splits["test"] = with_pair(splits["test"], "t0", "x3", 1)
    audit = audit_splits(splits, sequences(), protocol="c3")
    told = json.loads(json.dumps(audit.to_dict()))
    assert told["ok"] is False and told["findings"][0]["kind"] == "shared_protein"
    assert audit.lines()[-1] == "protocol c3: broken" and any("LEAK" in line for line in audit.lines())


def test_arguments_that_make_no_sense():
    with pytest.raises(DataError, match="no protocol"):
        audit_splits(clean(), {}, protocol="c9")
    with pytest.raises(DataError, match="no similarity"):
        audit_splits(clean(), {}, protocol="c3", similarity="blast")


def test_parts_without_training_and_without_labels():
    only = {"test": PairTable.from_names(["x0"], ["x1"])}
    audit = audit_splits(only, sequences(), protocol=None)
    assert audit.ok and not audit.classes and "positives" not in audit.parts["test"]
    assert audit_splits({}, {}, protocol=None).ok


real = pytest.mark.skipif(not os.environ.get("HOLOTYPE_MIRRORS"), reason="the real data is in no mirror")


@real
def test_bernett_keeps_its_promise():
    data = load_dataset("bernett")
    audit = audit_splits(data.splits, data.sequences, protocol=data.protocol)
    audit.raise_if_leaking()
    assert not audit.findings
    assert audit.classes_by_sequence["test"] == {"C1": 0, "C2": 0, "C3": 52_048}


@real
def test_guo_leaks_where_it_is_divided_at_random_and_not_where_it_is_divided_by_proteins():
    data = load_dataset("guo_yeast")
    made = split_pairs(data.splits["pairs"], protocol="c1", seed=1)
    audit = audit_splits(made, data.sequences, protocol="c3")
    shared = next(one for one in audit.problems if one.kind == "shared_protein")
    assert shared.count == shared.of
    divided = data.split("c3", seed=1)
    audit_splits(divided.splits, data.sequences, protocol="c3").raise_if_leaking()
    assert sum(map(len, divided.splits.values())) > 0.65 * len(data.splits["pairs"])


@real
def test_dscript_yeast_shares_no_protein_and_few_near_duplicates_with_bernett():
    human, yeast = load_dataset("bernett"), load_dataset("dscript_yeast")
    train, test = align(human.splits["train"], yeast.splits["test"])
    audit = audit_splits(
        {"train": train, "test": test}, {**human.sequences, **yeast.sequences}, protocol="c3"
    )
    assert [one.kind for one in audit.problems] == ["near_duplicate"]
    assert audit.problems[0].count < 10
