"""``holotype predict`` for pairs of proteins: what it prints, its exit codes, and the image path beside it."""

import json
import os
import pty
import subprocess
import sys

import pytest

from holotype.cli import main
from interaction_sets import model, read_table, save, sequences, write_embeddings, write_fasta

PROTEINS = sequences(7)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    save(model(symmetry="sum"), tmp_path / "model.safetensors")
    write_fasta(tmp_path / "x.fasta", PROTEINS)
    write_embeddings(tmp_path / "x.emb", PROTEINS)
    (tmp_path / "pairs.tsv").write_text("P1\tP2\nP3\tQ7\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


GIVEN = ["predict", "model.safetensors", "--fasta", "x.fasta", "--embeddings", "x.emb"]


def test_the_issues_commands(folder, capsys):
    assert main([*GIVEN, "--pairs", "pairs.tsv", "-o", "given.tsv"]) == 0
    out = capsys.readouterr().out
    assert "given.tsv" in out and "temperature 2" in out
    assert "not scored 1 pairs with a protein that has no sequence (1 such proteins): Q7" in out
    assert len(read_table(folder / "given.tsv")) == 1
    assert main([*GIVEN, "--all-vs-all", "--top-k", "2", "-o", "best.tsv", "--picture", "matrix.png"]) == 0
    assert len(read_table(folder / "best.tsv")) == 14
    assert (folder / "matrix.png").is_file()
    assert main([*GIVEN, "--bipartite", "x.fasta", "--threshold", "0.1", "-o", "two.parquet"]) == 0
    assert json.loads((folder / "two.parquet.report.json").read_text())["threshold"] == 0.1


def test_json(capsys):
    assert main([*GIVEN, "--all-vs-all", "-o", "out.tsv", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["pairs"], told["written"], told["engine"]) == (21, 21, "local")


def test_options_may_stand_anywhere(folder):
    words = [
        "--all-vs-all",
        "-o",
        "out.tsv",
        "--fasta",
        "x.fasta",
        "--embeddings",
        "x.emb",
        "model.safetensors",
    ]
    assert main(["predict", *words]) == 0
    assert len(read_table(folder / "out.tsv")) == 21


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["predict", "model.safetensors"], "which pairs? give one of"),
        ([*GIVEN, "-o", "out.tsv"], "which pairs? give one of"),
        ([*GIVEN, "--all-vs-all", "--pairs", "pairs.tsv", "-o", "out.tsv"], "not --pairs and --all-vs-all"),
        ([*GIVEN, "--all-vs-all"], "-o OUT.tsv, or OUT.parquet"),
        (["predict", "m", "--all-vs-all", "-o", "out.tsv"], "--fasta X.fasta"),
        (
            ["predict", "m", "owl.jpg", "--fasta", "x.fasta"],
            "--fasta is for pairs of proteins, and 'owl.jpg'",
        ),
        (
            [*GIVEN, "--all-vs-all", "-o", "out.tsv", "--top", "3"],
            "--top is for images; of pairs of proteins: --top-k",
        ),
        ([*GIVEN, "--all-vs-all", "-o", "out.tsv", "--workers", "3"], "--workers goes with --engine ray"),
    ],
)
def test_a_wrong_command_is_told_what_to_type(words, told, folder, capsys):
    assert main(words) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert not captured.out
    assert not list(folder.glob("out*"))


def test_a_photograph_for_a_model_of_proteins(capsys):
    import holotype

    entries = holotype.list_pretrained_models(task="protein_interaction")
    if not entries:
        from holotype import register_weights

        register_weights(
            "v1_of_this_test",
            {
                "network": "v1",
                "tag": "of_this_test",
                "task": "protein_interaction",
                "formats": {"safetensors": {"sha256": "0" * 64}},
                "url": "https://example.org/v1.safetensors",
            },
        )
        entries = ["v1_of_this_test"]
    assert main(["predict", entries[0], "owl.jpg"]) == 1
    errors = capsys.readouterr().err
    assert "scores pairs of proteins, not 'owl.jpg'" in errors
    assert "--fasta X.fasta --all-vs-all" in errors


def test_proteins_for_a_model_of_photographs(folder, capsys):
    words = [
        "predict",
        "efficientnet_lite0_imagenet1k",
        "--fasta",
        "x.fasta",
        "--all-vs-all",
        "-o",
        "out.tsv",
    ]
    assert main(words) == 1
    assert "is a model for image_classification, not for protein interactions" in capsys.readouterr().err


def test_an_architecture_is_no_trained_model(capsys):
    assert main(["predict", "v1", "--fasta", "x.fasta", "--all-vs-all", "-o", "out.tsv"]) == 1
    errors = capsys.readouterr().err
    assert "'v1'" in errors and "holotype list --pretrained" in errors
    assert "Traceback" not in errors


def test_images_may_stand_before_and_after_options(monkeypatch, capsys):
    import argparse

    from holotype.cli import predict

    for words in (["m", "a.jpg", "b.jpg", "--top", "3"], ["m", "--top", "3", "a.jpg", "b.jpg"]):
        parser = argparse.ArgumentParser()
        predict.add_arguments(parser)
        arguments = parser.parse_args(words)
        assert (arguments.name, arguments.inputs, arguments.top) == ("m", ["a.jpg", "b.jpg"], 3)


@pytest.mark.parametrize(
    ("model", "shown", "hidden"),
    [("v1", "--fasta", "--saliency"), ("resnet_v1_50", "--saliency", "--fasta"), ("nowhere", "--fasta", "")],
)
def test_help_for_a_model_shows_the_options_of_its_domain(model, shown, hidden, capsys):
    with pytest.raises(SystemExit):
        main(["predict", model, "--help"])
    out = capsys.readouterr().out
    assert shown in out and (not hidden or hidden not in out)


def test_help_imports_no_torch_and_fits_a_narrow_terminal():
    code = "import sys; from holotype.cli import main\ntry: main(['predict', '--help'])\nexcept SystemExit: assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "60"},
        check=True,
    )
    lines = done.stdout.splitlines()
    assert all(len(line) <= 70 for line in lines)  # usage lines are to be typed, and so not broken
    assert sum(len(line) > 60 for line in lines) <= 2
    for option in ("--fasta", "--pairs", "--all-vs-all", "--bipartite", "--top-k", "--engine", "--picture"):
        assert option in done.stdout


def test_progress_on_a_terminal_only(folder):
    words = [sys.executable, "-m", "holotype", *GIVEN, "--all-vs-all", "-o", "out.tsv"]
    quiet = subprocess.run(words, capture_output=True, text=True, check=True)
    assert not quiet.stderr
    ours, theirs = pty.openpty()
    child = subprocess.Popen([*words, "--overwrite"], stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 65536):
            shown += block
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    assert child.wait() == 0
    assert b"scoring  100%" in shown and b"pairs" in shown
