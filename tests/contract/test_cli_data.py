"""``holotype data`` and ``holotype split``: exit codes, output that programs and narrow terminals can take."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from holotype import printing
from holotype.cli import main

PAIRS = "".join(f"P{a}\tP{b}\t{(a + b) % 2}\n" for a in range(14) for b in range(a + 1, 14))
LETTERS = "ACDEFGHIKLMNPQRSTVWY"
FASTA = "".join(
    f">P{a}\n{''.join(LETTERS[(a * a + at * (a + 3)) % 19] for at in range(80))}\n" for a in range(14)
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.tsv").write_text(PAIRS)
    (tmp_path / "seqs.fasta").write_text(FASTA)
    return tmp_path


def run(capsys, *words):
    code = main(list(words))
    caught = capsys.readouterr()
    return code, caught.out, caught.err


@pytest.mark.parametrize(
    "words", [["data", "list"], ["data", "info", "bernett"], ["data", "--help"], ["split", "--help"]]
)
def test_describing_never_imports_torch(words):
    code = (
        "import sys\nfrom holotype.cli import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_list_is_for_people_and_programs(capsys):
    code, out, _ = run(capsys, "data", "list")
    assert code == 0 and "bernett" in out and "Apache-2.0" in out
    code, out, _ = run(capsys, "data", "list", "--json", "--zoo", "proteins")
    assert code == 0 and {one["name"] for one in json.loads(out)} >= {"bernett", "guo_yeast", "dscript_yeast"}


@pytest.mark.parametrize("words", [["data", "list"], ["data", "info", "bernett"]])
def test_it_fits_a_narrow_terminal(words, capsys, monkeypatch):
    monkeypatch.setattr(printing, "width", lambda: 60)
    _, out, _ = run(capsys, *words)
    links = ("http", "Bioinformatics")
    assert all(len(line) <= 60 or any(one in line for one in links) for line in out.splitlines())


def test_an_unknown_dataset(capsys):
    code, out, err = run(capsys, "data", "info", "bernet")
    assert code == 1 and out == "" and "Did you mean: bernett?" in err


def test_a_broken_table_is_told_on_stderr(here, capsys):
    here.write({"src/model/__init__.py": "", "src/model/datasets.toml": "[x]\n"})
    code, out, err = run(capsys, "data", "list")
    assert code == 0 and "bernett" in out and "not read" in err and "datasets.toml" in err


def test_a_split_is_written_and_described(folder, capsys):
    words = [
        "split",
        "pairs.tsv",
        "--protocol",
        "c1",
        "--seed",
        "1",
        "--sequences",
        "seqs.fasta",
        "-o",
        "out",
    ]
    code, out, _ = run(capsys, *words)
    assert code == 0 and out.startswith("train: 73 pairs of 14 proteins")
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "dataset.yaml",
        "split.json",
        "test.tsv",
        "train.tsv",
        "val.tsv",
    ]
    code, _, err = run(capsys, *words)
    assert code == 1 and "exists already" in err and "--overwrite" in err
    code, out, _ = run(capsys, *words, "--overwrite", "--json")
    assert code == 0 and json.loads(out)["parts"]["train"]["pairs"] == 73
    code, out, _ = run(capsys, "data", "info", "out")
    assert code == 0 and "protocol c1: kept" in out


def test_a_leaking_split_is_told_and_exits_with_one(folder, capsys):
    run(
        capsys,
        "split",
        "pairs.tsv",
        "--protocol",
        "c1",
        "--seed",
        "1",
        "--sequences",
        "seqs.fasta",
        "-o",
        "out",
    )
    listed = (folder / "out/dataset.yaml").read_text().replace("protocol: c1", "protocol: c3")
    (folder / "out/dataset.yaml").write_text(listed)
    code, out, _ = run(capsys, "data", "info", "out")
    assert code == 1 and "LEAK" in out and "protocol c3: broken" in out
    code, out, _ = run(capsys, "data", "info", "out", "--json")
    assert code == 1 and json.loads(out)["audit"]["ok"] is False


def test_without_sequences_it_says_what_that_means(folder, capsys):
    lines = "".join(
        f"{g}{a}\t{g}{b}\t{(a + b) % 2}\n" for g in "klmnopqrst" for a in range(4) for b in range(a)
    )
    (folder / "pairs.tsv").write_text(lines)
    words = ["split", "pairs.tsv", "--protocol", "c3", "--seed", "1", "-o", "out"]
    code, out, _ = run(capsys, *words)
    assert code == 0 and "no sequences were given" in out
    assert not (folder / "out/dataset.yaml").exists()


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--protocol", "c1", "--max-identity", "0.4"], 2, "need --sequences"),
        (["--protocol", "c1", "--max-identity", "0.4", "--sequences", "seqs.fasta"], 1, "has no effect"),
        (["--protocol", "c3", "--max-identity", "0.95", "--sequences", "seqs.fasta"], 1, "at most 0.8"),
        (["--protocol", "c3"], 1, "would be empty"),
        (["--protocol", "c1", "--sequences", "absent.fasta"], 1, "absent.fasta"),
    ],
)
def test_what_cannot_be_divided_writes_nothing(folder, capsys, more, code, message):
    if message == "would be empty":
        (folder / "pairs.tsv").write_text("A\tB\t1\nA\tC\t0\n")
    found, _, err = run(capsys, "split", "pairs.tsv", "--seed", "1", "-o", "out", *more)
    assert found == code and message in err
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--protocol", "c4"],
        ["--protocol", "c1", "--fractions", "80,10,10"],
        ["--protocol", "c1", "--fractions", "x"],
    ],
)
def test_words_that_make_no_sense_are_usage_errors(folder, capsys, words):
    with pytest.raises(SystemExit) as caught:
        main(["split", "pairs.tsv", "--seed", "1", "-o", "out", *words])
    assert caught.value.code == 2 and "usage:" in capsys.readouterr().err


@pytest.mark.skipif(not os.environ.get("HOLOTYPE_MIRRORS"), reason="the real data is in no mirror")
def test_fetching_prints_paths_and_copies_files(folder, capsys):
    code, out, _ = run(capsys, "data", "get", "guo_yeast", "--json")
    assert code == 0 and set(json.loads(out)) == {"pairs", "sequences"}
    code, out, _ = run(capsys, "data", "get", "guo_yeast", "-o", "guo")
    assert code == 0 and "guo/sequences.tsv" in out
    assert sorted(path.name for path in Path("guo").iterdir()) == [
        "dataset.yaml",
        "pairs.tsv",
        "sequences.tsv",
    ]
    code, out, _ = run(capsys, "data", "info", "guo")
    assert code == 0 and "24 repeated pairs left out" in out
