"""Sequences as they are found: what is put right is told, and what is wrong is named by file and line."""

import gzip

import pytest

from holotype.errors import DataError
from holotype.proteins.data.fasta import Proteins, read_proteins


@pytest.fixture
def read(tmp_path):
    def reading(*contents, name="proteins.fasta"):
        paths = []
        for at, content in enumerate(contents):
            path = tmp_path / (name if at == 0 else f"{at}-{name}")
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            paths.append(path)
        return read_proteins(*paths)

    return reading


def test_the_first_word_of_a_header_is_the_name_whole(read):
    proteins = read(">sp|P04637|P53_HUMAN Cellular tumor antigen\nMEEPQ\nSDPSV\n>  Q2\tmore\nACD\n")
    assert dict(proteins) == {"sp|P04637|P53_HUMAN": "MEEPQSDPSV", "Q2": "ACD"}
    assert list(proteins) == ["sp|P04637|P53_HUMAN", "Q2"], "in the order of the file"
    assert proteins.notes == ()
    assert "proteins.fasta" in proteins.source


@pytest.mark.parametrize(
    ("text", "sequence", "told"),
    [
        (">a\nmkTay\n", "MKTAY", "1 sequence had lower-case letters"),
        (">a\nMKTAY*\n", "MKTAY", "1 sequence ended in '*'"),
        (">a\nMK\nTAY\n*\n", "MKTAY", "ended in '*'"),
        (">a\nMK--T.AY-\n", "MKTAY", "4 signs '-' or '.' removed"),
        (">a\nMKT-*-\n", "MKT", "ended in '*'"),
        (">a\nMK TA\tY\n", "MKTAY", "spaces"),
        (">a\r\nMK\r\nTAY\r\n", "MKTAY", "Windows"),
        (">a\rMK\rTAY\r", "MKTAY", "old Macs"),
        (">a\n\nMK\n\nTAY\n\n", "MKTAY", "3 blank lines skipped"),
        (";made by hand\n>a\nMKTAY\n", "MKTAY", "1 comment line skipped"),
        (">a\nBZUOXJ\n", "BZUOXJ", "B 1, J 1, O 1, U 1, X 1, Z 1"),
        (">a\nMKTAY\n>a again\nMK\nTAY\n", "MKTAY", "1 sequence repeated"),
        ("\ufeff>a\nMKTAY", "MKTAY", None),
        (">a \xe9\nMKTAY\n".encode("latin-1"), "MKTAY", "Latin-1"),
        (gzip.compress(b">a\nMKTAY\n", mtime=0), "MKTAY", None),
        ("a\tMKTAY\n", "MKTAY", None),
        ("name\tSequence\na\tmktay*\n", "MKTAY", "1 header line skipped"),
    ],
)
def test_what_is_harmless_is_put_right_and_told(read, text, sequence, told):
    proteins = read(text)
    assert dict(proteins) == {"a": sequence}
    assert (told in " ".join(proteins.notes)) if told else not proteins.notes


def test_a_name_in_a_table_is_its_whole_cell(read):
    assert dict(read("P 1\tMKT\t\nP2\tACD\n", name="x.tsv")) == {"P 1": "MKT", "P2": "ACD"}


def test_several_files_are_joined(read):
    proteins = read(">a\nMKT\n", ">b\nACD\n>a\nMKT\n", "c\tGGG\n")
    assert dict(proteins) == {"a": "MKT", "b": "ACD", "c": "GGG"}
    assert any("1 sequence repeated" in note for note in proteins.notes)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (">a\nMK*TAY\n", "proteins.fasta:2: 'a' holds '*': a stop inside"),
        (">a\nMK\n*\nTAY\n", "proteins.fasta:3: 'a' holds '*'"),
        (">a\nMKT\n10 MKT\n", "proteins.fasta:3: 'a' holds '1'"),
        (">a\nMKT\nMé\n", "proteins.fasta:3: 'a' holds 'é'"),
        (">a\nMK\u017f\n", "'\u017f'"),
        (">a\nM?T\n", "'?'"),
        (">a\n>b\nMKT\n", "proteins.fasta:1: 'a' has no residues"),
        (">a\nMKT\n>b\n", "proteins.fasta:3: 'b' has no residues"),
        (">a\n-*-\n", "proteins.fasta:1: 'a' has no residues"),
        ("a\t\n", "proteins.fasta:1: 'a' has no residues"),
        (">\nMKT\n", "proteins.fasta:1: a sequence without a name"),
        ("\tMKT\n", "proteins.fasta:1: a sequence without a name"),
        (">a\nMKT\n >b\nACD\n", "proteins.fasta:3: spaces before the '>'"),
        ("a\tMKT\tmore\n", "proteins.fasta:1: expected two columns (name, tab, sequence), got 3"),
        ("", "no sequence in it"),
        ("\n\n", "no sequence in it"),
        ("MKTAY\n", "neither FASTA"),
        ("name,sequence\na,MKT\n", "neither FASTA"),
        (">a\nMKT\n".encode("utf-16"), "UTF-16"),
        (gzip.compress(b">a\nMKTAY\n", mtime=0)[:-6], "damaged gzip"),
        (b"\x1f\x8bnonsense", "damaged gzip"),
        (b"PK\x03\x04rest", "compressed with zip"),
    ],
)
def test_what_could_change_a_protein_is_an_error_that_names_the_line(read, text, told):
    with pytest.raises(DataError) as failed:
        read(text)
    assert told in str(failed.value)


def test_two_sequences_under_one_name_name_both_places(read, tmp_path):
    with pytest.raises(DataError) as failed:
        read(">a\nMKT\n", ">b\nMKT\n>a\nMKTA\n")
    (problem,) = failed.value.problems
    assert f"{tmp_path / '1-proteins.fasta'}:3" in problem
    assert f"{tmp_path / 'proteins.fasta'}:1" in problem


def test_all_problems_are_told_at_once(read):
    text = "".join(f">p{at}\nMK{at}\n" for at in range(20))
    with pytest.raises(DataError) as failed:
        read(text)
    assert len(failed.value.problems) == 20
    assert "and 12 more" in str(failed.value)


def test_a_file_that_is_not_there(tmp_path):
    (tmp_path / "yeast.fasta").write_text(">a\nMKT\n")
    with pytest.raises(DataError, match=r"Did you mean: .*yeast\.fasta"):
        read_proteins(tmp_path / "yeats.fasta")
    with pytest.raises(DataError, match="cannot be read"):
        read_proteins(tmp_path)
    with pytest.raises(DataError, match="no file"):
        read_proteins()


def test_proteins_are_a_mapping_that_keeps_what_it_was_given():
    given = {"a": "MKT"}
    proteins = Proteins(given)
    given["a"] = "X"
    assert proteins["a"] == "MKT" and "a" in proteins and len(proteins) == 1
    assert "1 proteins" in repr(proteins)
    with pytest.raises(KeyError):
        proteins["b"]
