"""``holotype evaluate`` and ``holotype compare``: what they print, write and refuse."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from holotype.cli import main


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Predictions of two tools, training pairs, sequences; the working folder."""
    rng = np.random.default_rng(0)
    rows: dict[str, list[str]] = {"good": [], "poor": []}
    train, fasta = [], {}
    for at in range(300):
        label = at % 2
        a, b = (f"hub{at % 5}", f"x{at}") if at < 100 else (f"new{at}", f"other{at}")
        for name, strength in (("good", 2.0), ("poor", 0.0)):
            score = 1 / (1 + np.exp(-(strength * (label - 0.5) + rng.normal())))
            rows[name].append(f"{a}\t{b}\t{label}\t{score:.6f}")
        train.append(f"hub{at % 5}\tt{at}\t{label}")
        fasta |= {a: "M" * (30 + at % 7), b: "M" * (40 + at % 11), f"t{at}": "MKV"}
    for name, lines in rows.items():
        (tmp_path / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    (tmp_path / "train.tsv").write_text("\n".join(train) + "\n")
    (tmp_path / "p.fasta").write_text("".join(f">{name}\n{sequence}\n" for name, sequence in fasta.items()))
    return tmp_path


def evaluate(*words: object) -> int:
    return main(["evaluate", *map(str, words)])


def test_predictions_of_any_tool(files, capsys):
    code = evaluate("--predictions", files / "good.tsv", "--train", files / "train.tsv",
                    "--sequences", files / "p.fasta", "--resamples", 50, "-o", files / "out")  # fmt: skip
    out, errors = capsys.readouterr()
    assert code == 0
    assert "Better than every baseline" in out
    assert "C3: neither protein was seen in training" in out
    for word in ("AUROC", "MCC", "ECE", "degree_product", "label_ratio", "length", "majority", "C2"):
        assert word in out, word
    assert "report.html" in errors
    assert (files / "out" / "report.html").is_file()
    assert json.loads((files / "out" / "evaluation.json").read_text())["headline"] == "C3"


def test_a_tool_that_beats_nothing_is_told_so(files, capsys):
    assert (
        evaluate("--predictions", files / "poor.tsv", "--train", files / "train.tsv", "--resamples", 50) == 0
    )
    assert "Not shown to be better" in " ".join(capsys.readouterr().out.split())


def test_json_is_the_whole_evaluation(files, capsys):
    assert evaluate("--predictions", files / "good.tsv", "--resamples", 20, "--json") == 0
    out, errors = capsys.readouterr()
    found = json.loads(out)
    assert found["pairs"] == 300
    assert found["bootstrap"]["resamples"] == 20
    assert found["subsets"]["all"]["metrics"]["auroc"]["low"] < found["metrics"]["auroc"]
    assert errors == ""


def test_ranks_only(files, capsys):
    assert evaluate("--predictions", files / "good.tsv", "--ranks-only", "--resamples", 0) == 0
    out = capsys.readouterr().out
    assert "left out" in " ".join(out.split())
    assert "MCC" not in out


def test_nothing_is_overwritten_unasked(files, capsys):
    (files / "report.html").write_text("mine")
    words = ("--predictions", files / "good.tsv", "--resamples", 0, "-o", files)
    assert evaluate(*words) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert (files / "report.html").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "holotype evaluate --predictions FILE"),
        (["m", "--predictions", "x"], "not both"),
        (["v1"], "--data NAME"),
        (["m", "--data", "d", "--ranks-only"], "--ranks-only goes with --predictions"),
        (["--predictions", "x", "--ranks-only", "--validation", "v"], "--ranks-only treats them as ranks"),
    ],
)
def test_a_wrong_command_is_told(words, expected, capsys):
    assert main(["evaluate", *words]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--threshold", "2"], ["--resamples", "-1"], ["--resamples", "x"]])
def test_a_wrong_option_is_told(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "--predictions", "x", *words])
    assert stopped.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_a_wrong_file_is_told_with_its_line(files, capsys):
    (files / "bad.tsv").write_text("A\tB\t1\t0.5\nA\tC\t1\tnan\n")
    assert evaluate("--predictions", files / "bad.tsv", "-o", files / "out") == 1
    assert "line 2: score is 'nan'" in capsys.readouterr().err
    assert not (files / "out").exists()


def test_compare(files, capsys):
    assert main(["compare", str(files / "poor.tsv"), str(files / "good.tsv"), "--resamples", "200"]) == 0
    out = capsys.readouterr().out
    assert "good.tsv less poor.tsv" in out
    assert "good.tsv is better." in out
    assert "auroc on all pairs: 300, 150 positive" in out


def test_compare_as_json(files, capsys):
    words = ["compare", str(files / "poor.tsv"), str(files / "good.tsv"), "--metric", "mcc", "--json"]
    assert main([*words, "--resamples", "100"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metric"] == "mcc"
    assert found["differences"][0]["better"] == "good.tsv"


def test_compare_refuses_other_pairs(files, capsys):
    lines = (files / "good.tsv").read_text().splitlines()
    (files / "fewer.tsv").write_text("\n".join(lines[:250]))
    assert main(["compare", str(files / "good.tsv"), str(files / "fewer.tsv")]) == 1
    assert "250 are the same, 50 are in the first alone" in capsys.readouterr().err


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with a dataset, a run folder whose model nobody has trained, and embeddings."""
    from holotype import create_model, save_pretrained
    from holotype.proteins.data.fasta import read_proteins
    from holotype.proteins.prediction.embedding import embed

    folder = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(0)
    names = [f"p{at}" for at in range(60)]
    (folder / "p.fasta").write_text(
        "".join(f">{name}\n{''.join(rng.choice(list('ACDEFGHIKLMNPQRSTVWY'), 30))}\n" for name in names)
    )
    for part, some in (("train", names[:40]), ("test", names[30:])):
        pairs = [(a, b) for i, a in enumerate(some) for b in some[i + 1 :]]
        chosen = [pairs[at] for at in rng.permutation(len(pairs))[:300]]
        (folder / f"{part}.tsv").write_text(
            "".join(f"{a}\t{b}\t{at % 2}\n" for at, (a, b) in enumerate(chosen))
        )
    (folder / "data.yaml").write_text("train: train.tsv\ntest: test.tsv\nsequences: p.fasta\n")
    stored = embed(read_proteins(folder / "p.fasta"), "composition", folder / "p.emb")
    net = create_model("v1", input_dim=stored.dim, hidden_dim=16)
    (folder / "run").mkdir()
    save_pretrained(
        net,
        folder / "run" / "model.safetensors",
        encoder=[dict(stored.record)],
        calibration={"temperature": 2.0},
    )
    return folder


def test_a_model_on_a_dataset(trained, tmp_path, capsys):
    words = [trained / "run", "--data", trained / "data.yaml", "--resamples", 30]
    assert evaluate(*words, "-o", tmp_path / "out") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "embedding_cosine" in out
    assert "does not record its training pairs" in out
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["calibration"]["temperature"] == 2.0
    assert set(found["subsets"]) == {"all", "C1", "C2", "C3"}
    assert found["about"]["encoder"][0].endswith("composition")
    # The predictions it writes are those that it measured.
    predictions = tmp_path / "out" / "predictions_test.tsv"
    assert evaluate("--predictions", predictions, "--resamples", 0, "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["subsets"]["all"]["metrics"]["auroc"]["value"] == pytest.approx(
        found["subsets"]["all"]["metrics"]["auroc"]["value"]
    )
    assert set(again["subsets"]) == set(found["subsets"])


def test_embeddings_of_ones_own_give_the_same(trained, capsys):
    words = [trained / "run", "--data", trained / "data.yaml", "--resamples", 0, "--json"]
    outputs = []
    for more in ([], ["--embeddings", trained / "p.emb"]):
        assert evaluate(*words, *more) == 0
        outputs.append(json.loads(capsys.readouterr().out)["metrics"])
    assert outputs[0] == pytest.approx(outputs[1])


def test_embeddings_of_other_sequences_are_refused(trained, tmp_path, capsys):
    from holotype.proteins.data.fasta import read_proteins
    from holotype.proteins.prediction.embedding import embed

    proteins = dict(read_proteins(trained / "p.fasta"))
    proteins["p59"] = "M" * 30
    embed(proteins, "composition", tmp_path / "other.emb")
    assert (
        evaluate(trained / "run", "--data", trained / "data.yaml", "--embeddings", tmp_path / "other.emb")
        == 1
    )
    assert "holds 'p59' with another sequence" in capsys.readouterr().err


def test_a_split_that_is_not_there_is_told(trained, capsys):
    assert evaluate(trained / "run", "--data", trained / "data.yaml", "--split", "tset") == 1
    assert "Did you mean: test?" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["evaluation.json", "predictions_test.tsv"])
def test_nothing_is_scored_for_a_report_that_cannot_be_written(name, trained, tmp_path, monkeypatch, capsys):
    (tmp_path / name).write_text("{}")
    monkeypatch.setattr("holotype.proteins.data.datasets.load_dataset", lambda *_: pytest.fail("too late"))
    assert evaluate(trained / "run", "--data", "bernett", "-o", tmp_path) == 1
    assert f"{name} exists already" in capsys.readouterr().err


def on_terminal(*words: object, columns: int) -> str:
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "holotype", *map(str, words)],
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm"},
    )
    os.close(theirs)
    out = b""
    try:
        while block := os.read(ours, 65536):
            out += block
    except OSError:  # the other side is closed
        pass
    assert child.wait() == 0
    os.close(ours)
    return re.sub("\033\\[[0-9]*m", "", out.decode().replace("\r\n", "\n"))


@pytest.mark.parametrize("columns", [60, 80])
def test_it_fits_the_terminal(files, columns):
    evaluated = on_terminal("evaluate", "--predictions", files / "good.tsv", "--train", files / "train.tsv",
                            "--resamples", 20, columns=columns)  # fmt: skip
    compared = on_terminal(
        "compare", files / "good.tsv", files / "poor.tsv", "--resamples", 20, columns=columns
    )
    for line in (evaluated + compared).splitlines():
        assert len(line) <= columns, line
    assert "degree_product" in evaluated
    assert re.search(r"AUROC +0\.\d{3}", evaluated)


@pytest.mark.parametrize("verb", ["evaluate", "compare"])
def test_help_needs_nothing_heavy(verb):
    code = (
        "import sys\n"
        "from holotype.cli import main\n"
        f"try: main([{verb!r}, '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'matplotlib'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert f"usage: holotype {verb}" in done.stdout


def test_predictions_are_evaluated_without_torch(files):
    code = (
        "import sys\n"
        "from holotype.cli import main\n"
        f"main(['evaluate', '--predictions', {str(files / 'good.tsv')!r}, '--resamples', '5'])\n"
        "print('torch' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "False"
