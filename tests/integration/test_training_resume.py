"""A training that was interrupted, however, continues as if it had not been."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import holotype
from holotype.errors import TrainingError
from holotype.training import RunResult, train
from holotype.training.loop import Progress, read_checkpoint
from training_sets import write_project, write_recipe

HOW = ["trainer.max_epochs=3", "trainer.checkpoint_steps=2", "scheduler=plateau"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    made = write_project(tmp_path_factory.mktemp("data"))
    made["data"].pop("test")  # type: ignore[attr-defined]
    return made


@pytest.fixture(scope="module")
def whole(recipe: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """The run that nothing interrupts."""
    return train(recipe, HOW, output=tmp_path_factory.mktemp("whole") / "run")


def same(one: Path, other: Path) -> None:
    def losses(folder: Path) -> list[dict[str, str]]:
        with (folder / "metrics.csv").open() as file:
            return [{key: row[key] for key in row if key != "elapsed_s"} for row in csv.DictReader(file)]

    assert losses(one) == losses(other)
    mine, theirs = (holotype.load_checkpoint(at / "model.safetensors")[0].state_dict() for at in (one, other))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert (one / "predictions_val.tsv").read_bytes() == (other / "predictions_val.tsv").read_bytes()


class After:
    """Do something after so many steps."""

    def __init__(self, steps: int, do: Any) -> None:
        self.left, self.do = steps, do

    def __call__(self, progress: Progress) -> None:
        self.left -= not progress.metrics
        if self.left == 0 and not progress.metrics:
            self.do()


@pytest.mark.parametrize("steps", [3, 5, 8], ids=["within", "at the end of", "within the second"])
def test_ctrl_c_within_an_epoch(recipe: dict[str, Any], whole: RunResult, tmp_path: Path, steps: int) -> None:
    folder = tmp_path / "run with blanks"
    with pytest.raises(
        KeyboardInterrupt, match=r"Continue with: holotype train '.*run with blanks' --resume"
    ):
        train(recipe, HOW, output=folder, progress=After(steps, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert read_checkpoint(folder / "checkpoints" / "last.ckpt")["state"]["total_steps"] == steps
    result = train(folder, resume=True)
    assert result.best_epoch == whole.best_epoch
    same(whole.folder, folder)


def test_slurm_asks_to_stop_with_sigterm(recipe: dict[str, Any], whole: RunResult, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, HOW, output=tmp_path / "run",
              progress=After(4, lambda: os.kill(os.getpid(), signal.SIGTERM)))  # fmt: skip
    assert signal.getsignal(signal.SIGTERM) == before
    # The same command as the first time, which is what a queue repeats.
    train(recipe, HOW, output=tmp_path / "run", resume=True)
    same(whole.folder, tmp_path / "run")


KILLED = """
import os, signal, sys
from holotype.training import train
done = []
def kill(progress):
    done.append(progress)
    if len(done) == 9:
        os.kill(os.getpid(), signal.SIGKILL)
train(sys.argv[1], sys.argv[3:], output=sys.argv[2], progress=kill)
"""


def test_kill_9(recipe: dict[str, Any], whole: RunResult, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    path = write_recipe(tmp_path, recipe)
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(folder), *HOW], check=False)
    assert done.returncode == -signal.SIGKILL
    # A line that was being written, and a checkpoint that was.
    with (folder / "metrics.csv").open("a") as file:
        file.write("9,2,0.0")
    (folder / "checkpoints" / ".last.ckpt.4711").write_bytes(b"half")
    train(folder, resume=True)
    same(whole.folder, folder)


def test_an_interruption_twice_and_before_the_first_checkpoint(
    recipe: dict[str, Any], whole: RunResult, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    for steps in (1, 2, 6):
        with pytest.raises(KeyboardInterrupt):
            train(recipe, HOW, output=folder, resume=True,
                  progress=After(steps, lambda: os.kill(os.getpid(), signal.SIGINT)))  # fmt: skip
    for path in (folder / "checkpoints").iterdir():
        path.unlink()  # as if it had been killed before the first one
    train(folder, resume=True)
    same(whole.folder, folder)


def test_a_damaged_checkpoint_is_told(recipe: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(recipe, HOW, output=folder, progress=After(3, lambda: os.kill(os.getpid(), signal.SIGINT)))
    path = folder / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"last\.ckpt cannot be read"):
        train(folder, resume=True)


def test_other_data_under_the_same_names_is_told(recipe: dict[str, Any], tmp_path: Path) -> None:
    made = write_project(tmp_path / "data")
    made["data"].pop("test")  # type: ignore[attr-defined]
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(made, HOW, output=folder, progress=After(3, lambda: os.kill(os.getpid(), signal.SIGINT)))
    path = Path(made["data"]["train"])  # type: ignore[index]
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(TrainingError, match="belongs to another training"):
        train(folder, resume=True)
