"""Careless people and bad disks: files that stand in each other's way, outputs that are closed or full."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from holotype.cli import main
from holotype.errors import ConfigError, DataError, StoreError
from holotype.proteins.data.embeddings import open_embeddings
from holotype.proteins.data.fasta import read_proteins
from holotype.proteins.data.pairs import PairTable, write_pairs
from holotype.proteins.prediction.interactions import predict_interactions
from holotype.training.folder import hold, replace_file
from holotype.training.recipe import load_recipe
from interaction_sets import model, save, sequences, write_embeddings, write_fasta

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")


def shell(line: str) -> subprocess.CompletedProcess[str]:
    line = line.replace("holotype", f"{sys.executable} -m holotype")
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&- <&-"])
def test_closed_streams_are_no_failure(closed):
    done = shell(f"holotype list {closed}")
    assert (done.returncode, done.stderr) == (0, "")


@needs_full
def test_output_that_does_not_fit_is_told_in_one_line():
    done = shell("holotype list > /dev/full")
    assert (done.returncode, done.stderr) == (1, "holotype list: No space left on device\n")


def test_a_message_for_a_closed_stderr_does_not_land_among_the_results():
    done = shell("holotype info nope 2>&-")
    assert (done.returncode, done.stdout) == (1, "")


def test_embeddings_cannot_be_kept_in_a_device(tmp_path, capsys):
    write_fasta(tmp_path / "x.fasta", {"a": "MKV"})
    assert main(["embed", str(tmp_path / "x.fasta"), "-e", "composition", "-o", os.devnull]) == 1
    assert "not a regular file" in capsys.readouterr().err


def test_genes_are_told_from_proteins(tmp_path):
    write_fasta(tmp_path / "x.fasta", {"gene": "ACGT" * 9, "short": "GATTACA", "protein": "MKV" * 20})
    proteins = read_proteins(tmp_path / "x.fasta")
    assert len(proteins) == 3
    assert next(note for note in proteins.notes if "DNA" in note).startswith("1 sequence ")


@pytest.mark.parametrize("read", ["fasta", "pairs", "bipartite", "embeddings"])
def test_a_prediction_never_replaces_what_it_reads(tmp_path, read):
    proteins = sequences(4)
    save(model(symmetry="sum"), tmp_path / "model.safetensors")
    names = list(proteins)
    table = tmp_path / "in.tsv"
    options = {"fasta": tmp_path / "x.fasta", "embeddings": tmp_path / "x.emb"}
    write_fasta(options["fasta"], proteins)
    write_embeddings(options["embeddings"], proteins)
    if read == "embeddings":
        options[read] = options[read].rename(table)
    elif read == "pairs":
        table.write_text(f"{names[0]}\t{names[1]}\n")
    else:
        table.write_text("".join(f"{name}\t{sequence}\n" for name, sequence in proteins.items()))
    which = {"pairs": table} if read == "pairs" else {"bipartite": table} if read == "bipartite" else {}
    options |= {"fasta": table} if read == "fasta" else {}
    before = table.read_bytes()
    with pytest.raises(DataError, match="is an input and cannot be the output"):
        predict_interactions(
            tmp_path / "model.safetensors",
            output=table,
            overwrite=True,
            **({"all_vs_all": True} | options if not which else which | options),
        )
    assert table.read_bytes() == before


@pytest.mark.parametrize("verb", [["evaluate", "--predictions", "x"], ["compare", "x", "y"]])
def test_a_seed_below_0_is_a_wrong_command(verb, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([*verb, "--seed=-1"])
    assert "from 0 on" in capsys.readouterr().err


def write_two(path: Path, _: bytes) -> None:
    write_pairs(path, PairTable.from_names(["A"], ["B"]))


@pytest.mark.parametrize("write", [write_two, replace_file])
def test_a_disk_that_refuses_is_named(tmp_path, write, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StoreError, match=r"x\.tsv( cannot be written)?: No space left"):
        write(tmp_path / "x.tsv", b"text")
    assert not list(tmp_path.iterdir()), "nothing is left lying about"


def test_an_alias_bomb_is_no_recipe(tmp_path):
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [f"{n}: &{n} [{','.join([f'*{p}'] * 9)}]" for p, n in zip("abcdefgh", "bcdefghi", strict=True)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="at most 100,000 values"):
        load_recipe(tmp_path / "bomb.yaml")


def recipe_of(folder, lr):
    parts = {"model": "v1", "data": {"name": "guo_yeast", "split": {"protocol": "c3"}}}
    return load_recipe({**parts, "encoder": "composition", "optimizer": {"lr": lr}, "output": str(folder)})


def test_two_trainings_never_share_a_folder(tmp_path):
    mine, other = recipe_of(tmp_path, 0.1), recipe_of(tmp_path, 0.2)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(mine.to_dict()))
    held = []
    assert hold(mine, tmp_path, held) is None
    with pytest.raises(ConfigError, match="another process is training"):
        hold(mine, tmp_path, [])
    held[0].close()
    late = []
    with pytest.raises(ConfigError, match="started with another recipe"):
        hold(other, tmp_path, late)
    late[0].close()


def test_embedding_a_pipe(tmp_path):
    write_fasta(tmp_path / "x.fasta", {"a": "MKV", "b": "MKL"})
    done = shell(f"holotype embed <(cat {tmp_path}/x.fasta) -e composition -o {tmp_path}/x.emb")
    assert done.returncode == 0
    assert sorted(open_embeddings(tmp_path / "x.emb").names) == ["a", "b"]
