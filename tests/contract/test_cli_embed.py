"""What ``holotype embed`` promises: exit codes, what it prints, and that it says what it put right."""

import gzip
import json
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest

from holotype.cli import main
from holotype.proteins.data.embeddings import open_embeddings

ENCODER = """
    import torch
    from holotype import register_model

    @register_model("letters", task="protein_embedding")
    class Letters(torch.nn.Module):
        "Each residue's letter, five times."
        embedding_dim, max_residues = 5, 12
        def tokenize(self, sequence):
            return torch.tensor([ord(letter) - 64 for letter in sequence])
        def forward(self, tokens, lengths):
            return tokens[..., None].expand(-1, -1, 5).float()
    """


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project with an encoder. One for all tests: a process imports a package once."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").write_text('[tool.holotype]\nzoos = ["zoo_of_letters"]\n')
    (folder / "zoo_of_letters").mkdir()
    (folder / "zoo_of_letters" / "letters.py").write_text(textwrap.dedent(ENCODER))
    return folder


@pytest.fixture
def command(folder, capsys, monkeypatch):
    """Run the command there; its exit code, output and errors."""
    monkeypatch.chdir(folder)
    for path in folder.iterdir():
        if path.is_file() and path.name != "pyproject.toml":
            path.unlink()
    (folder / "p.fasta").write_text(">a told\nmkt*\n>b\nACDEF\n")

    def run(*words):
        try:
            code = main(["embed", *words])
        except SystemExit as done:
            code = done.code
        out, err = capsys.readouterr()
        return code, out, err

    run.root = folder
    return run


def test_embed_tells_what_it_did_and_what_it_put_right(command):
    code, out, err = command("p.fasta", "--encoder", "letters", "-o", "p.emb")
    assert code == 0
    assert "proteins  2" in out and "residues  8" in out and "5 float16, one for each residue" in out
    assert "1 sequence had lower-case letters" in err and "1 sequence ended in '*'" in err
    embeddings = open_embeddings(command.root / "p.emb")
    assert embeddings.lengths.tolist() == [5, 3] and embeddings["a"][0].tolist() == [13] * 5


def test_again_and_with_more(command):
    command("p.fasta", "-e", "letters", "-o", "p.emb")
    code, out, _ = command("p.fasta", "-e", "letters", "-o", "p.emb")
    assert code == 0 and "8, 8 of them already there" in out
    (command.root / "more.gz").write_bytes(gzip.compress(b">c\nWW\n", mtime=0))
    code, out, _ = command("p.fasta", "more.gz", "-e", "letters", "-o", "p.emb")
    assert code == 0 and "10, 8 of them already there" in out
    assert open_embeddings("p.emb").names == ("b", "a", "c")


def test_json(command):
    code, out, _ = command(
        "p.fasta", "-e", "letters", "-o", "p.emb", "--json", "--pooling", "mean+max", "--dtype", "float32"
    )
    told = json.loads(out)
    assert code == 0
    assert told["record"]["pooling"] == "mean+max" and told["dim"] == 10 and told["rows"] == 2
    assert told["residues"] == 8 and told["record"]["dtype"] == "float32"
    code, out, _ = command("p.emb", "--info", "--json")
    assert code == 0 and json.loads(out)[0]["record"] == told["record"]


def test_info_tells_and_checks(command):
    command("p.fasta", "-e", "letters", "-o", "p.emb")
    code, out, _ = command("p.emb", "--info")
    assert code == 0 and "complete" in out and "zoo_of_letters/letters" in out
    assert out.splitlines()[-2:] == ["b        5", "a        3"]
    content = bytearray((command.root / "p.emb").read_bytes())
    content[int(open_embeddings("p.emb")._entries.places[0])] ^= 1
    (command.root / "p.emb").write_bytes(content)
    code, _, err = command("p.emb", "--info")
    assert code == 1 and "the embedding of 'b' has changed" in err
    (command.root / "p.emb").write_bytes(content[:-64])
    code, out, _ = command("p.emb", "--info")
    assert "unfinished" in out


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["p.fasta"], 2, "give --encoder and --output"),
        (["p.fasta", "-e", "letters"], 2, "give --output"),
        ([], 2, "FASTA"),
        (["p.fasta", "-e", "letters", "-o", "x.emb", "--pooling", "max"], 2, "invalid choice"),
        (["p.fast", "-e", "letters", "-o", "x.emb"], 1, "Did you mean: p.fasta"),
        (["p.fasta", "-e", "leters", "-o", "x.emb"], 1, "Did you mean: letters"),
        (["p.fasta", "-e", "v1", "-o", "x.emb"], 1, "is not an encoder"),
        (["bad.fasta", "-e", "letters", "-o", "x.emb"], 1, "bad.fasta:2: 'a' holds '1'"),
        (["p.fasta", "-e", "letters", "-o", "p.fasta", "--overwrite"], 1, "read and cannot be written"),
        (["p.fasta", "-e", "letters", "-o", "other.txt"], 1, "not a file of embeddings"),
        (["long.fasta", "-e", "letters", "-o", "x.emb"], 1, "--window 12 --overlap 1"),
        (["p.fasta", "-e", "letters", "-o", "x.emb", "--overlap", "3"], 1, "there is no window"),
        (
            ["p.fasta", "-e", "letters", "-o", "x.emb", "--compute-dtype", "bfloat16"],
            1,
            "computes in float32",
        ),
        (["p.fasta", "-e", "letters", "-o", "none/x.emb"], 1, "none/x.emb cannot be written"),
        (["p.fasta", "-e", "letters", "-o", "x.emb", "--residues-per-batch", "0"], 1, "1 or more"),
        (["p.fasta", "-e", "letters", "-o", "x.emb", "--device", "tpu9"], 1, "tpu9"),
        (["p.fasta", "--info"], 1, "not a file of embeddings"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_lost(command, words, code, told):
    (command.root / "bad.fasta").write_text(">a\nM1T\n")
    (command.root / "long.fasta").write_text(f">a\n{'M' * 13}\n")
    (command.root / "other.txt").write_text("a letter")
    before = {path.name: path.read_bytes() for path in command.root.iterdir() if path.is_file()}
    got, out, err = command(*words)
    assert got == code and told in err + out
    after = {path.name: path.read_bytes() for path in command.root.iterdir() if path.is_file()}
    assert {name: after[name] for name in before} == before
    assert "x.emb" not in after


def test_overwrite_replaces(command):
    command("p.fasta", "-e", "letters", "-o", "p.emb")
    code, _, err = command("p.fasta", "-e", "letters", "-o", "p.emb", "--pooling", "mean")
    assert code == 1 and "pooling: 'none' in the file, 'mean' now" in err
    code, _, _ = command("p.fasta", "-e", "letters", "-o", "p.emb", "--pooling", "mean", "--overwrite")
    assert code == 0 and open_embeddings("p.emb").pooling == "mean"


def test_help_and_info_do_without_torch(command):
    command("p.fasta", "-e", "letters", "-o", "p.emb")
    code = (
        "import sys\nfrom holotype.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules\n"
    )
    for words in (["embed", "--help"], ["embed", "p.emb", "--info"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
        )
        assert done.stdout


def test_what_was_there_before_is_no_part_of_the_speed(monkeypatch):
    from holotype.proteins.commands import embed

    clock = iter([10.0, 12.0, 14.0])
    monkeypatch.setattr(embed, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    seen = embed._Residues("unirep_256")
    for done in (1_000, 5_000, 9_000):
        seen(done, 2_000_000)
    assert (seen.base, seen.speed) == (1_000, 2_000)
