"""A third party's domain: the package of docs/domain.md lists, trains, resumes, evaluates and predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import page as docs
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "domain.md"

SCRIPT = """
import contextlib, io, json, os, signal, sys
import numpy as np
from holotype.cli import main

said = {}
def run(name, *words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(list(words))
        except SystemExit as done:
            code = done.code
    said[name] = [code, out.getvalue(), err.getvalue()]

run("list", "list", "--zoo", "audio")
imported = "toy_audio" in sys.modules
run("whole", "train", "recipe.yaml", "-o", "whole")
from holotype.training import train
steps = 0
def stop(progress):
    global steps
    steps += not progress.metrics
    if steps == 15:
        os.kill(os.getpid(), signal.SIGINT)
try:
    train("recipe.yaml", output="stopped", progress=stop)
except KeyboardInterrupt:
    run("resumed", "train", "stopped", "--resume")
same = open("whole/model.safetensors", "rb").read()[-400:] == open("stopped/model.safetensors", "rb").read()[-400:]
run("wrong", "train", "recipe.yaml", "data.nois=1", "trainer.monitor=val_map", "-o", "other")
run("evaluate", "evaluate", "whole", "--count", "200")
run("not ours", "evaluate", "whole", "--images", "photos")
np.save("wave.npy", np.sin(2 * np.pi * 7 * np.arange(64) / 64))
run("predict", "predict", "whole", "wave.npy")
run("help", "predict", "whole", "--help")
run("embed", "embed", "whole", "wave.npy")
result = [said, imported, same]
"""


def install(root: Path, site: Path) -> None:
    """Write the files of the page, and what `pip install` would write for its entry points."""
    for block in docs.blocks(PAGE.read_text(encoding="utf-8")):
        if "file" in block.options:
            path = (root if block.language == "yaml" else site) / block.options["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
    (site / "toy_audio" / "__init__.py").touch()
    (site / "toy_audio-1.0.dist-info").mkdir()
    (site / "toy_audio-1.0.dist-info" / "METADATA").write_text("Name: toy-audio\nVersion: 1.0\n")
    (site / "toy_audio-1.0.dist-info" / "entry_points.txt").write_text(
        "[holotype.zoos]\naudio = toy_audio.models\n\n"
        "[holotype.domains]\ntone_classification = toy_audio.domain:DOMAIN\nbroken_task = toy_gone:DOMAIN\n"
    )


@pytest.fixture
def said(project: Any, tmp_path: Path) -> Any:
    project.write({}, pyproject=None)
    install(project.root, tmp_path / "site")
    return project.run(SCRIPT, PYTHONPATH=str(tmp_path / "site"), OMP_NUM_THREADS="1")


def test_a_domain_of_a_third_party(said: Any) -> None:
    said, imported, same = said
    assert said["list"][0] == 0
    assert "tone_net" in said["list"][1]
    assert not imported, "listing imported the package"
    code, out, err = said["whole"]
    assert code == 0, err
    assert "accuracy 1.000" in out
    assert said["resumed"][0] == 0
    assert same, "the resumed run has other weights"
    problems = said["wrong"][2]
    assert said["wrong"][0] == 1
    assert "data.nois: no such key; did you mean 'noise'?" in problems
    assert "expected one of 'val_accuracy', 'val_loss', got 'val_map'" in problems
    assert said["evaluate"][:2] == [0, "accuracy 1.0\n"]
    assert said["not ours"][0] == 2
    assert "--images is for images" in said["not ours"][2]
    assert said["predict"][:2] == [0, "wave.npy 1\n"]
    assert "MODEL WAVE.npy" in said["help"][1]
    assert "--fasta" not in said["help"][1]
    assert said["embed"][0] == 1
    assert "'holotype embed' does not serve" in said["embed"][2]
    assert "the domain toy_gone:DOMAIN cannot be used" in said["whole"][2]


def test_the_page_is_short() -> None:
    files = [b for b in docs.blocks(PAGE.read_text(encoding="utf-8")) if "file" in b.options]
    assert sum(len(block.text.splitlines()) for block in files) < 150
