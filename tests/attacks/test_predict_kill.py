"""kill -9 in the middle of a prediction: the same command goes on, and gives the same file."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from holotype.proteins.prediction import interactome
from holotype.proteins.prediction.interactions import predict_interactions
from interaction_sets import model, save, sequences, write_embeddings, write_fasta

PROTEINS = sequences(40)
# Blocks are made small and slow, so that there is a middle to be killed in.
CHILD = """
import json, sys, time
from holotype.proteins.prediction import interactome, resume
from holotype.proteins.prediction.interactions import predict_interactions
options = json.loads(sys.argv[1])
interactome._BLOCK_PAIRS, resume._EVERY_S = 120, 0.0
def progress(stage, done, total):
    if stage == "scoring":
        print(done, flush=True)
        time.sleep(options["pause_s"])
report = predict_interactions(**options["predict"], progress=progress)
print("resumed", report.resumed, flush=True)
"""


def start(predict, pause_s=0.0):
    words = [sys.executable, "-c", CHILD, json.dumps({"predict": predict, "pause_s": pause_s})]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def finish(predict):
    """How many pairs had been scored before."""
    child = start(predict)
    out, errors = child.communicate(timeout=120)
    assert child.returncode == 0, errors
    return int(out.split()[-1])


@pytest.fixture
def question(tmp_path):
    return {
        "model": str(save(model(), tmp_path / "model.safetensors")),
        "fasta": str(write_fasta(tmp_path / "x.fasta", PROTEINS)),
        "embeddings": str(write_embeddings(tmp_path / "x.emb", PROTEINS)),
        "all_vs_all": True,
        "output": str(tmp_path / "out.tsv"),
    }


def whole(question, folder, monkeypatch):
    """The table of an undisturbed prediction."""
    monkeypatch.setattr(interactome, "_BLOCK_PAIRS", 120)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    predict_interactions(**question | {"output": folder / "whole.tsv"})
    torch.set_num_threads(threads)
    return (folder / "whole.tsv").read_bytes()


@pytest.mark.parametrize(("options", "times"), [({}, 2), ({"top_k": 3}, 1)], ids=["list", "ranking"])
def test_killed_in_the_middle(question, options, times, tmp_path, monkeypatch):
    question |= options
    expected = whole(question, tmp_path, monkeypatch)
    seen = 0
    for _ in range(times):
        child = start(question, pause_s=0.05)
        first = int(child.stdout.readline())
        assert first >= seen  # it begins where the one before was, not at 0
        for line in child.stdout:
            seen = int(line)
            if seen >= first + 300:
                break
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        assert child.returncode == -signal.SIGKILL
        assert not Path(question["output"]).exists()
        seen -= 120  # the last block may not have been recorded yet
    assert finish(question) >= seen > 0
    assert Path(question["output"]).read_bytes() == expected
    assert not list(tmp_path.glob("out.tsv.partial*"))


def test_bytes_after_the_last_record_are_dropped(question, tmp_path, monkeypatch):
    """What a dying process had begun to write counts for nothing."""
    expected = whole(question, tmp_path, monkeypatch)
    child = start(question, pause_s=0.05)
    while int(child.stdout.readline()) < 300:
        pass
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    with (tmp_path / "out.tsv.partial").open("ab") as file:
        file.write(b"\xff" * 1000)
    assert finish(question) > 0
    assert Path(question["output"]).read_bytes() == expected


def test_two_at_once_do_not_mix(question):
    child = start(question, pause_s=5)
    child.stdout.readline()
    other = start(question)
    _, errors = other.communicate(timeout=60)
    assert other.returncode != 0
    assert "another process is writing" in errors
    assert child.poll() is None
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    finish(question)  # the lock of the dead one holds nobody up
