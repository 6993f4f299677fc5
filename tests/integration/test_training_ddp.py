"""Two processes train what one trains: the same batches, the same gradients, the same weights."""

from __future__ import annotations

import csv
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import holotype
from holotype.errors import TrainingError
from holotype.training import train
from holotype.training.devices import _world
from holotype.training.recipe_parts import TrainerPart
from holotype.training.run import _in_turn, _on_first
from holotype.vision.data.load import load_image_dataset
from holotype.vision.data.preprocessing import preprocess
from training_sets import write_project, write_recipe

# Without dropout, since each process draws its own. A large eps, since the bias of attention's keys has no effect
# and thus a gradient of mere rounding, which Adam would blow up to steps of full size.
HOW = [
    "optimizer.eps=0.001",
    "trainer.max_epochs=3",
    "model.params.dropout=0.0",
    "model.name=v2",
    "model.params.num_heads=2",
]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def on_two(folder: Path, recipe: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        [*TORCHRUN, "-m", "holotype", "train", str(recipe), *words, "-o", str(folder)],
        capture_output=True, text=True, env=env, timeout=300, check=False,
    )  # fmt: skip


def rows(folder: Path) -> np.ndarray:
    with (folder / "metrics.csv").open() as file:
        return np.array(
            [[float(row[key] or "nan") for key in row if key != "elapsed_s"] for row in csv.DictReader(file)]
        )


def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    recipe = write_project(tmp_path / "data")
    # 5 pairs a step: neither process has as many as the other, and the last step has an odd one too.
    path = write_recipe(tmp_path, recipe)
    done = on_two(tmp_path / "two", path, *HOW)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("best epoch") == 1, "both processes printed"
    one = train(path, HOW, output=tmp_path / "one")
    np.testing.assert_allclose(rows(tmp_path / "two"), rows(tmp_path / "one"), rtol=1e-5, atol=1e-5)
    mine, theirs = (
        holotype.load_checkpoint(tmp_path / name / "model.safetensors")[0].state_dict()
        for name in ("one", "two")
    )
    for key, value in mine.items():
        torch.testing.assert_close(theirs[key], value, rtol=1e-5, atol=1e-5)
    _, info = holotype.load_checkpoint(tmp_path / "two" / "model.safetensors")
    assert info.record["lineage"]["processes"] == 2
    assert one.test.keys() == {m["name"] for m in info.record["metrics"] if m["split"] == "test"}


def test_two_processes_measure_the_network_that_they_save(tmp_path: Path) -> None:
    """Batch norms: each process sees other images, and the first one's statistics are kept."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 6), ("test", 6)):
        for at in range(count):
            folder = tmp_path / "data" / part / "ab"[at % 2]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = (rng.integers(0, 128, (32, 32, 3)) * (1 + at % 2)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{at}.png")
    params = {"size": 32, "filter_list": [8] * 5, "units": [1] * 4}
    recipe = {
        "model": {"name": "resnet_v1_18", "params": params},
        "data": {part: str(tmp_path / "data" / part) for part in ("train", "val")},
        "batch": {"images": 6},
        "optimizer": {"lr": 0.01},
        "trainer": {"max_epochs": 2, "monitor": "last", "accelerator": "cpu", "tensorboard": False},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(recipe))  # which is YAML too
    done = on_two(tmp_path / "two", path)
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "two" / "result.json").read_text())["validation"]
    table = load_image_dataset(str(tmp_path / "data")).splits["val"]
    net, info = holotype.load_checkpoint(tmp_path / "two" / "model.safetensors", inference=True)
    with torch.no_grad():
        logits = net(torch.stack([preprocess(table.open(at), info) for at in range(len(table))]))
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(table.labels))
    assert measured["val_loss"] == pytest.approx(float(loss), rel=1e-4)


class Two:
    """As much of Lightning's Fabric as is asked about two processes; both live in this one."""

    world_size = 2

    def __init__(self, rank: int, told: list[Any]) -> None:
        self.is_global_zero, self._told = rank == 0, told

    def broadcast(self, value: Any) -> Any:
        if self.is_global_zero:
            self._told.append(pickle.dumps(value))
        return pickle.loads(self._told[-1])  # noqa: S301 - our own


@pytest.mark.parametrize("share", [_on_first, _in_turn])
def test_an_error_of_the_first_process_reaches_all(share: Any) -> None:
    def broken() -> None:
        raise ValueError("the disk is full")

    told: list[Any] = []
    for rank in (0, 1):
        with pytest.raises(TrainingError, match="ValueError: the disk is full"):
            share(Two(rank, told), broken)


STOPPED = """
import os, signal, sys
from holotype.training import train
def stop(progress):
    if progress.step == 3:
        os.kill(os.getpid(), signal.SIGTERM)
try:
    train(sys.argv[1], sys.argv[3:], output=sys.argv[2], progress=stop)
except KeyboardInterrupt:
    print("stopped")
"""


def test_a_run_of_two_processes_goes_on_with_one(tmp_path: Path) -> None:
    recipe = write_project(tmp_path / "data")
    recipe["data"].pop("test")  # type: ignore[attr-defined]
    path, script = write_recipe(tmp_path, recipe), tmp_path / "stopped.py"
    script.write_text(STOPPED)
    # Only the first process is asked; both stop, after the same step.
    done = subprocess.run([*TORCHRUN, str(script), str(path), str(tmp_path / "two"), *HOW], capture_output=True,
                          text=True, timeout=300, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    assert done.stdout.count("stopped") == 2, done.stderr
    train(tmp_path / "two", resume=True)
    train(path, HOW, output=tmp_path / "one")
    np.testing.assert_allclose(rows(tmp_path / "two"), rows(tmp_path / "one"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ("auto", 1, "auto")),
        ({"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}, (4, 2, "ddp")),
        ({"SLURM_NTASKS": "6", "SLURM_NTASKS_PER_NODE": "2"}, (2, 3, "ddp")),
        ({"SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1"}, ("auto", 1, "auto")),
    ],
)
def test_what_torchrun_or_slurm_started_is_taken_as_it_is(environment: dict[str, str], expected: Any) -> None:
    assert _world(TrainerPart(), environment) == expected


def test_several_devices_of_a_recipe_mean_ddp() -> None:
    assert _world(TrainerPart(devices=2), {}) == (2, 1, "ddp")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_two_processes_agree_with_one_on_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 3)):
        for label in (0, 1):
            (tmp_path / part / str(label)).mkdir(parents=True)
            for at in range(count):
                pixels = rng.integers(0, 120, (32, 32, 3)) + 120 * label
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / part / str(label) / f"{at}.png")
    sizes = {"size": 32, "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 16}
    recipe = {
        "model": {"name": "vit_t16", "params": sizes},
        "data": {part: str(tmp_path / part) for part in ("train", "val")},
        "augmentation": "none",  # each process draws its own
        "batch": {"images": 5, "portion": 3},
        "optimizer": {"eps": 1e-3},
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "tensorboard": False},
    }
    path = write_recipe(tmp_path, recipe)
    done = on_two(tmp_path / "two", path)
    assert done.returncode == 0, done.stderr
    train(path, output=tmp_path / "one")
    np.testing.assert_allclose(rows(tmp_path / "two"), rows(tmp_path / "one"), rtol=1e-5, atol=1e-5)
