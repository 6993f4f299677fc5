"""Files of pairs as they are found, and the rule for each thing that is wrong with them."""

import gzip
import json

import numpy as np
import pytest

from holotype.errors import DataError
from holotype.proteins.data.pairs import PairTable, align, read_pairs, write_pairs


def written(tmp_path, text, name="pairs.tsv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(table):
    labels = [None] * len(table) if table.labels is None else table.labels.tolist()
    return list(zip(table.names_a, table.names_b, labels, strict=True))


THREE = [("A", "B", 1), ("A", "C", 0), ("C", "B", 1)]


@pytest.mark.parametrize(
    "text",
    [
        "A\tB\t1\nA\tC\t0\nC\tB\t1\n",
        "A\tB\t1\nA\tC\t0\nC\tB\t1",
        "A\tB\t1\r\nA\tC\t0\r\nC\tB\t1\r\n",
        "A\tB\t1\rA\tC\t0\rC\tB\t1\r",
        "A\tB\t1.0\nA\tC\t0.0\nC\tB\t1.00\n",
        "\n\nA\tB\t1\n\n   \nA\tC\t0\nC\tB\t1\n\n",
        "A,B,1\nA,C,0\nC,B,1\n",
        '"A","B","1"\n"A","C","0"\n"C","B","1"\n',
        "A B 1\nA   C 0\nC B 1\n",
        " A\tB \t 1\nA\tC\t0\nC\tB\t1\n",
        "protein_a\tprotein_b\tlabel\nA\tB\t1\nA\tC\t0\nC\tB\t1\n",
        "Protein_A,Protein_B,Label\nA,B,1\nA,C,0\nC,B,1\n",
        "label\tnote\tprotein2\tprotein1\n1\tx\tB\tA\n0\ty\tC\tA\n1\tz\tB\tC\n",
        "bait\tprey\tinteraction\nA\tB\t1\nA\tC\t0\nC\tB\t1\n",
        "#node1\tnode2\tlabel\nA\tB\t1\n# a comment\nA\tC\t0\nC\tB\t1\n",
        "# from our lab, 2021\n# 3 pairs\nA\tB\t1\nA\tC\t0\nC\tB\t1\n",
        "# from our lab\nprotein_a\tprotein_b\tlabel\nA\tB\t1\nA\tC\t0\nC\tB\t1\n",
        b"\xef\xbb\xbfA\tB\t1\nA\tC\t0\nC\tB\t1\n",
        "protein_a\tprotein_b\tlabel\tscore\nA\tB\t1\t0.3\nA\tC\t0\t0.1\nC\tB\t1\t0.2\n",
        "A\tB\t1\textra\nA\tC\t0\nC\tB\t1\tmore\tcells\n",
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_every_layout_gives_the_same_pairs(tmp_path, text, packed):
    content = text if isinstance(text, bytes) else text.encode()
    path = written(tmp_path, gzip.compress(content, mtime=0) if packed else content)
    table = read_pairs(path)
    assert rows(table) == THREE
    assert table.a.dtype == table.b.dtype == np.int32 and table.labels.dtype == np.int8
    assert table.report.lines() == [] and table.report.rows == table.report.kept == 3
    assert (table.report.positives, table.report.negatives) == (2, 1)
    assert table.source == str(path)


def test_pairs_without_labels(tmp_path):
    path = written(tmp_path, "A\tB\nB\tC\n")
    assert read_pairs(path).labels is None
    assert rows(read_pairs(path, labelled=False)) == [("A", "B", None), ("B", "C", None)]
    with pytest.raises(DataError, match=r"pairs\.tsv:1: expected two proteins and a label"):
        read_pairs(path, labelled=True)
    assert read_pairs(written(tmp_path, "A\tB\tmaybe\n"), labelled=False).labels is None
    headed = written(tmp_path, "protein_a\tprotein_b\tscore\nA\tB\t0.4\n")
    assert read_pairs(headed).labels is None
    with pytest.raises(DataError, match="no column is named 'label'"):
        read_pairs(headed, labelled=True)


def test_a_repeated_pair_is_kept_once(tmp_path):
    table = read_pairs(written(tmp_path, "A\tB\t1\nC\tD\t0\nB\tA\t1\nA\tB\t1\n"))
    assert rows(table) == [("A", "B", 1), ("C", "D", 0)]
    assert (table.report.duplicates, table.report.swapped) == (2, 1)
    assert "2 repeated pairs left out (1 of them the other way round): B A, A B" in table.report.lines()


def test_a_pair_with_both_labels_is_dropped_altogether(tmp_path):
    table = read_pairs(written(tmp_path, "A\tB\t1\nC\tD\t0\nB\tA\t0\nA\tB\t1\n"))
    assert rows(table) == [("C", "D", 0)]
    assert table.proteins == ("C", "D")
    report = table.report
    assert (report.contradictory, report.contradictory_rows, report.duplicates) == (1, 3, 0)
    assert "1 pair with both labels left out (3 lines): A B" in report.lines()


def test_self_pairs_are_kept_and_counted(tmp_path):
    table = read_pairs(written(tmp_path, "A\tA\t1\nA\tB\t0\nA\tA\t1\n"))
    assert rows(table) == [("A", "A", 1), ("A", "B", 0)]
    assert (table.report.self_pairs, table.report.duplicates, table.report.swapped) == (1, 1, 0)
    assert table.degrees().tolist() == [2, 1]


def test_pairs_of_unknown_proteins_are_dropped(tmp_path):
    table = read_pairs(written(tmp_path, "A\tB\t1\nA\tX\t0\nY\tX\t1\nB\tC\t0\n")).clean({"A", "B", "C"})
    assert rows(table) == [("A", "B", 1), ("B", "C", 0)]
    assert (table.report.rows, table.report.unknown, table.report.unknown_proteins) == (4, 2, 2)
    assert "2 pairs left out, as 2 proteins have no sequence: X, Y" in table.report.lines()


def test_reports_of_two_looks_add_up(tmp_path):
    table = read_pairs(written(tmp_path, "A\tB\t1\nB\tA\t1\nA\tX\t0\n")).clean({"A", "B"})
    report = table.report
    assert (report.rows, report.kept, report.duplicates, report.unknown) == (3, 1, 1, 1)
    assert json.loads(json.dumps(report.to_dict()))["examples"] == {"duplicates": ["B A"], "unknown": ["X"]}


@pytest.mark.parametrize("label", ["2", "-1", "0.5", "yes", "nan", "inf", "", "1e0x"])
def test_a_label_that_is_not_binary_is_an_error_naming_the_line(tmp_path, label):
    path = written(tmp_path, f"A\tB\t1\nA\tC\t{label}\n")
    with pytest.raises(DataError, match=r"pairs\.tsv:2") as caught:
        read_pairs(path, labelled=True)
    assert caught.value.problems == (f"{path}:2 has {label!r}",)


def test_of_many_wrong_labels_the_first_are_shown_and_all_counted(tmp_path):
    text = "".join(f"A\tB{at}\t0.{at + 1}\n" for at in range(20))
    with pytest.raises(DataError, match="20 lines have another one") as caught:
        read_pairs(written(tmp_path, text))
    assert "… and 15 more" in str(caught.value) and len(caught.value.problems) == 5


@pytest.mark.parametrize("line", ["A\tB", "A", "\tB\t1", "A\t\t1"])
def test_a_missing_column_is_an_error_naming_the_line(tmp_path, line):
    with pytest.raises(DataError, match=r"pairs\.tsv:2: expected two proteins and a label.*by tabs"):
        read_pairs(written(tmp_path, f"A\tC\t1\n{line}\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no pairs"),
        (b"\n \n", "holds no pairs"),
        (b"protein_a\tprotein_b\tlabel\n", "holds no pairs"),
        (b"A\tB\t1\nA\0B\tC\t1\n", "is not text"),
        (b"A\tB\t1\n\xff\xfe\tC\t1\n", "is not UTF-8 text"),
        (gzip.compress(b"A\tB\t1\n" * 999, mtime=0)[:-12], "damaged gzip"),
        (b"\x1f\x8b not gzip at all", "damaged gzip"),
    ],
)
def test_files_that_hold_no_pairs(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_pairs(written(tmp_path, content))


def test_no_such_file_and_a_folder(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_pairs(tmp_path / "absent.tsv")
    with pytest.raises(DataError, match="cannot be read"):
        read_pairs(tmp_path)


def test_proteins_with_names_like_titles_are_not_lost(tmp_path):
    assert len(read_pairs(written(tmp_path, "a\tb\t1\na\tc\t0\n"))) == 2
    assert len(read_pairs(written(tmp_path, "protein1\tprotein2\t1\nprotein1\tprotein3\t0\n"))) == 2
    assert len(read_pairs(written(tmp_path, "protein1\tprotein2\nprotein1\tprotein3\n"))) == 2


def test_names_are_not_touched(tmp_path):
    path = written(tmp_path, "sp|P04637|P53_HUMAN\t4932.Q0010\t1\nNaN\tnull\t0\n")
    assert rows(read_pairs(path)) == [("sp|P04637|P53_HUMAN", "4932.Q0010", 1), ("NaN", "null", 0)]


@pytest.mark.parametrize("name", ["out.tsv", "out.tsv.gz"])
def test_what_is_written_is_read_again(tmp_path, name):
    table = PairTable.from_names(["A", "B", "C"], ["B", "C", "C"], [1, 0, 1])
    write_pairs(tmp_path / name, table)
    assert read_pairs(tmp_path / name, labelled=True) == table
    first = (tmp_path / name).read_bytes()
    with pytest.raises(DataError, match="exists already"):
        write_pairs(tmp_path / name, table.take([0]))
    assert (tmp_path / name).read_bytes() == first
    write_pairs(tmp_path / name, table.take([0]), overwrite=True)
    assert len(read_pairs(tmp_path / name)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]
    unlabelled = PairTable.from_names(["A"], ["B"])
    write_pairs(tmp_path / f"u{name}", unlabelled)
    assert read_pairs(tmp_path / f"u{name}") == unlabelled


@pytest.mark.parametrize("name", ["A\tB", "A\nB", "#A", " A", "", '"A"'])
def test_names_that_a_file_cannot_hold_are_refused(tmp_path, name):
    with pytest.raises(DataError, match="cannot be the name"):
        write_pairs(tmp_path / "out.tsv", PairTable.from_names([name], ["B"]))
    assert list(tmp_path.iterdir()) == []


def test_a_table_cannot_be_changed():
    table = PairTable.from_names(["A"], ["B"], [1])
    for values in (table.a, table.b, table.labels):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 0
    with pytest.raises(AttributeError):
        table.a = table.b


@pytest.mark.parametrize(
    ("a", "b", "labels", "message"),
    [
        ([0], [0, 1], None, "do not make pairs"),
        ([0], [2], None, "outside the 2 proteins"),
        ([-1], [1], None, "outside"),
        ([0.5], [1], None, "integers"),
        ([0], [1], [1, 0], "one for each pair"),
        ([0], [1], [2], "labels are 0 or 1"),
        ([0], [1], [float("nan")], "labels are 0 or 1"),
    ],
)
def test_arrays_that_do_not_fit(a, b, labels, message):
    labels = None if labels is None else np.array(labels)
    with pytest.raises(DataError, match=message):
        PairTable(("A", "B"), np.array(a), np.array(b), labels)


def test_parts_of_a_table():
    table = PairTable.from_names(["A", "B", "C"], ["B", "C", "D"], [1, 0, 1])
    for some in (table.take([0, 2]), table.take(np.array([True, False, True])), table.take(slice(0, 3, 2))):
        assert rows(some) == [("A", "B", 1), ("C", "D", 1)]
        assert some.proteins == table.proteins
    assert len(table.take([])) == 0
    compact = table.take([2]).compact()
    assert compact.proteins == ("C", "D") and rows(compact) == [("C", "D", 1)]
    assert table.degrees(label=1).tolist() == [1, 1, 1, 1]


def test_keys_do_not_heed_the_order_and_hold_among_aligned_tables():
    one, other = align(
        PairTable.from_names(["A", "B"], ["B", "C"]), PairTable.from_names(["C", "X"], ["B", "A"])
    )
    assert one.proteins == other.proteins == ("A", "B", "C", "X")
    assert one.keys()[1] == other.keys()[0] and len({*one.keys(), *other.keys()}) == 3
