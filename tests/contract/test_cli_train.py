"""``holotype train``: what it checks, prints, refuses and leaves behind."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from training_sets import write_project, write_recipe

HOLOTYPE = [sys.executable, "-m", "holotype", "train"]


def run(*words: object, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*HOLOTYPE, *map(str, words)], capture_output=True, text=True, check=False, timeout=120,
                          env={**os.environ, "OMP_NUM_THREADS": "1", **env})  # fmt: skip


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    made = write_project(folder / "data")
    made["data"].pop("test")  # type: ignore[attr-defined]
    return write_recipe(folder, made)


def test_a_run_tells_its_stages_apart_from_its_figures(recipe: Path, tmp_path: Path) -> None:
    done = run(recipe, "trainer.max_epochs=1", "-o", tmp_path / "run")
    assert done.returncode == 0
    # No bar where nobody looks: a line for each stage and each epoch, as a batch system keeps it.
    assert re.search(r"^epoch 1/1 +loss 0\.\d{4} +val loss", done.stderr, re.MULTILINE)
    assert (
        "\r" not in done.stderr and "\x1b" not in done.stderr and "epoch" not in done.stdout.split("best")[0]
    )
    assert re.search(r"^model +.*model\.safetensors$", done.stdout, re.MULTILINE)
    assert re.search(r"^validation +auroc 0\.\d{3}, average precision 0\.\d{3}$", done.stdout, re.MULTILINE)
    again = run(recipe, "-o", tmp_path / "run", "trainer.max_epochs=1")  # overrides may come last
    assert again.returncode == 1
    assert "Continue it with --resume" in again.stderr
    told = json.loads(
        run(recipe, "trainer.max_epochs=1", "-o", tmp_path / "run", "--resume", "--json").stdout
    )
    assert told["best_epoch"] == 1
    assert set(told["validation"]) == {"val_loss", "val_auroc", "val_average_precision"}


def test_a_dry_run_prints_the_complete_recipe_without_torch(recipe: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom holotype.cli import main\ncode = main(sys.argv[1:])\n"
        "print(sorted({'torch', 'lightning'} & set(sys.modules)), code, file=sys.stderr)"
    )
    words = ["train", str(recipe), "seed=9", "-o", str(tmp_path / "run"), "--dry-run"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stderr == "nothing was started: this was a dry run\n[] 0\n"
    whole = yaml.safe_load(done.stdout)
    assert (whole["seed"], whole["optimizer"]["name"], whole["trainer"]["max_epochs"]) == (9, "adamw", 2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_every_problem_is_told_before_anything_starts(recipe: Path, tmp_path: Path, dry: list[str]) -> None:
    done = run(
        recipe,
        "trainer.max_epoch=1",
        "model.params.hiden_dim=3",
        "optimizer.lr=-1",
        "-o",
        tmp_path / "run",
        *dry,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    for told in (
        "did you mean 'max_epochs'?",
        "did you mean 'hidden_dim'?",
        "optimizer.lr: expected above 0",
    ):
        assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_dry_run_refuses_a_folder_in_use(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    done = run(recipe, "-o", tmp_path, "--dry-run")
    assert done.returncode == 1
    assert "holds files that are not of a run" in done.stderr


def test_ctrl_c_on_a_terminal_prints_the_command_that_continues(recipe: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [*HOLOTYPE, str(recipe), "trainer.max_epochs=10000", "trainer.patience=null", "-o", str(tmp_path / "run")],
        stdout=theirs, stderr=theirs, env={**os.environ, "COLUMNS": "60", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    os.close(theirs)
    seen, asked = b"", False
    try:
        while block := os.read(ours, 65536):
            seen += block
            if b"epoch 3/10000" in seen and not asked:
                asked = True  # a second one would end it at once
                child.send_signal(signal.SIGINT)
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    text = seen.decode()
    assert child.wait(timeout=60) == 130, text
    assert f"Continue with: holotype train {tmp_path / 'run'} --resume" in text
    assert "audit of the split" in text
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_help_fits_and_needs_no_torch() -> None:
    done = run("--help", COLUMNS="60")
    assert done.returncode == 0
    assert "--dry-run" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_images_are_trained_on_by_the_same_command(tmp_path: Path) -> None:
    for blue, (part, count) in enumerate((("train", 4), ("val", 2), ("test", 2))):
        for at, name in enumerate(("dark", "light")):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                picture = Image.new("RGB", (32, 32), (200 * at, 20 * number, blue))
                picture.save(tmp_path / part / name / f"{number}.png")
    sizes = {"size": 32, "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 16}
    made = {
        "model": {"name": "vit_t16", "params": sizes},
        "data": {part: str(tmp_path / part) for part in ("train", "val", "test")},
        "trainer": {"accelerator": "cpu", "tensorboard": False},
    }
    path = write_recipe(tmp_path, made)
    dry = run(path, "--dry-run", "--json")
    assert json.loads(dry.stdout)["trainer"]["monitor"] == "val_accuracy"
    done = run(path, "trainer.max_epochs=1", "-o", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^epoch 1/1 .*val accuracy [01]\.\d{4}", done.stderr, re.MULTILINE)
    assert re.search(r"^validation +accuracy [01]\.\d{3}$", done.stdout, re.MULTILINE)
    assert re.search(r"^test +accuracy [01]\.\d{3}$", done.stdout, re.MULTILINE)
    assert "report" not in done.stdout
    wrong = run(path, "from_pretrained=nowhere", "batch.image=3", "-o", tmp_path / "other")
    assert wrong.returncode == 1
    assert "did you mean 'images'?" in wrong.stderr and "no entry, file or folder 'nowhere'" in wrong.stderr
    assert not (tmp_path / "other").exists()
