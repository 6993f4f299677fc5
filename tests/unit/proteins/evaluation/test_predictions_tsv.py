"""Files of predictions as tools write them, and what is wrong with the others."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from holotype.errors import DataError
from holotype.proteins.data.pairs import PairTable, read_pairs
from holotype.proteins.evaluation.predictions import read_predictions, write_predictions

GOOD = [
    "protein_a\tprotein_b\tlabel\tscore\nA\tB\t1\t0.9\nC\tD\t0\t0.1\n",
    "A\tB\t1\t0.9\nC\tD\t0\t0.1\n",
    "A,B,1,0.9\nC,D,0,0.1\n",
    "A B 1 0.9\nC  D 0 0.1\n",
    "# made by a tool\n\nA\tB\t1\t0.9\r\n\r\nC\tD\t0.0\t1e-1\r\n",
    "\ufeffScore,Protein A,Protein-B,Label\n0.9,A,B,1\n.1,C,D,0\n",
    "rank\tprob\tID1\tID2\ty_true\nx\t0.9\tA\tB\tTrue\ny\t0.1\tC\tD\tFalse\n",
    "A\tB\t1\t0.9\textra\nC\tD\t0\t0.1\textra\n",
]


@pytest.mark.parametrize("text", GOOD)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_files_of_every_kind_are_read_alike(text, packed, tmp_path):
    path = tmp_path / "predictions"
    data = text.encode()
    path.write_bytes(gzip.compress(data, mtime=0) if packed else data)
    found = read_predictions(path)
    assert (found.pairs.names_a, found.pairs.names_b) == (["A", "C"], ["B", "D"])
    assert found.labels.tolist() == [1, 0]
    assert found.scores.tolist() == [0.9, 0.1]
    assert found.probabilities


def test_proteins_with_names_like_columns_need_no_header(tmp_path):
    (tmp_path / "p").write_text("a\tb\t1\t0.9\nA\tp1\t0\t0.5\n")
    assert read_predictions(tmp_path / "p").pairs.names_a == ["a", "A"]


def test_real_scores_are_no_probabilities(tmp_path):
    (tmp_path / "p").write_text("A\tB\t1\t-3.5\nC\tD\t0\t12\n")
    assert not read_predictions(tmp_path / "p").probabilities


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "holds no predictions"),
        ("# only a comment\n", "holds no predictions"),
        ("protein_a\tprotein_b\tlabel\tscore\n", "a header and no predictions"),
        ("A\tB\t1\t0.9\nC\tD\t0\tnan\n", "line 2: score is 'nan', expected a finite"),
        ("A\tB\t1\t0.9\nC\tD\t0\t-inf\n", "line 2: score is '-inf'"),
        ("A\tB\t1\t0.9\nC\tD\t0\thigh\n", "line 2: score is 'high', expected a number"),
        ("A\tB\t1\t0.9\n\nC\tD\t2\t0.1\n", "line 3: label is '2', expected 0 or 1"),
        ("A\tB\t1\t0.9\nC\tD\t-1\t0.1\n", "line 2: label is '-1'"),
        ("A\tB\t1\t0.9\nC\tD\t\t0.1\n", "line 2: label is ''"),
        ("A\tB\t1\t0.9\nC\tD\t0\n", "line 2: has 3 of 4 columns"),
        ("A\tB\t0.9\nC\tD\t0.1\n", "line 1: has 3 columns, expected 4"),
        ("A\tB\t1\t0.9\n\tD\t0\t0.1\n", "line 2: protein_a is empty"),
        ("protein_a\tprotein_b\tscore\nA\tB\t0.9\n", "lacks label"),
        ("protein_a\tprotein_b\tlabel\tweight\nA\tB\t1\t3\n", "lacks score"),
        ("some\tother\tfile\tof columns\n", "neither a header nor a prediction"),
        ("A\tB\t1\t0.9\nB\tA\t0\t0.1\n", "line 2: B A has label 0, and 1 in line 1; 1 lines contradict"),
        ("protein_a\tprotein_b\tlabel\tscore\tclass\nA\tB\t1\t0.9\tC4\n", "line 2: class is 'C4'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text, match, tmp_path):
    path = tmp_path / "p.tsv"
    path.write_text(text)
    with pytest.raises(DataError, match=match):
        read_predictions(path)


def test_files_that_are_no_text(tmp_path):
    cases = {
        b"\x89PNG\r\n\x1a\n": "UTF-8",
        gzip.compress(b"A\tB\t1\t0.9\n" * 100, mtime=0)[:-9]: "damaged gzip",
        b"A\tB\0\t1\t0.9\n": "not text",
    }
    for content, match in cases.items():
        (tmp_path / "p").write_bytes(content)
        with pytest.raises(DataError, match=match):
            read_predictions(tmp_path / "p")
    with pytest.raises(DataError, match="No such file"):
        read_predictions(tmp_path / "missing")
    with pytest.raises(DataError, match="cannot be read"):
        read_predictions(tmp_path)


def test_a_pair_counts_once(tmp_path):
    (tmp_path / "p").write_text("A\tB\t1\t0.9\nB\tA\t1\t0.2\nC\tD\t0\t0.1\nA\tB\t1\t0.3\n")
    found = read_predictions(tmp_path / "p")
    assert found.scores.tolist() == [0.9, 0.1]
    assert found.repeats == 2


def test_what_is_written_is_read_again(tmp_path):
    table = PairTable.from_names(["A", "sp|P1|X"], ["B", "D"], [1, 0])
    logits = np.array([1.25, -7.5], np.float32)
    path = write_predictions(tmp_path / "p.tsv", table, [0.75, 0.015625], logits=logits, classes=[3, 1])
    assert path.read_text().splitlines()[0] == "protein_a\tprotein_b\tlabel\tscore\tlogit\tclass"
    found = read_predictions(path)
    assert found.pairs == table
    assert found.scores.tolist() == [0.75, 0.015625]
    assert found.logits.tolist() == [1.25, -7.5]
    assert found.classes.tolist() == [3, 1]
    assert [one.name for one in tmp_path.iterdir()] == ["p.tsv"]


def test_columns_that_do_not_fit_are_not_written(tmp_path):
    table = PairTable.from_names(["A"], ["B"], [1])
    with pytest.raises(DataError, match="1 pairs"):
        write_predictions(tmp_path / "p.tsv", table, [0.5, 0.6])
    with pytest.raises(DataError, match="have none"):
        write_predictions(tmp_path / "p.tsv", PairTable.from_names(["A"], ["B"]), [0.5])
    assert not list(tmp_path.iterdir())


def test_labels_and_quotes_are_read_as_in_files_of_pairs(tmp_path):
    path = tmp_path / "p.tsv"
    path.write_text('"A"\t"B"\tTrue\t0.9\n"C"\t"D"\tfalse\t0.1\n')
    found = read_predictions(path)
    assert found.pairs.names_a == ["A", "C"]
    assert found.labels.tolist() == [1, 0]
    path.write_text('"A"\t"B"\tTrue\n"C"\t"D"\tfalse\n')
    assert read_pairs(path) == found.pairs
