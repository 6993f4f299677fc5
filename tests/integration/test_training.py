"""A recipe becomes a folder from which the model can be used, measured and made again."""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import holotype
from holotype.errors import ConfigError, DataError, LeakageError, TrainingError
from holotype.proteins.training.batches import PairBatches, PairReader, PairsToScore
from holotype.proteins.training.objectives import PairObjective
from holotype.training import RunResult, load_recipe, train
from holotype.training.devices import make_fabric
from holotype.training.loop import fit
from holotype.training.objective import Outcome
from holotype.training.optimizers import LearningRate, make_optimizer
from holotype.training.recipe_parts import OptimizerPart, SchedulerPart, TrainerPart
from holotype.training.steps import Step
from training_sets import DIM, embeddings, pairs, write_project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], RunResult]:
    folder = tmp_path_factory.mktemp("project")
    recipe = write_project(folder)
    result = train(recipe, ["trainer.tensorboard=true", "trainer.max_epochs=4"], output=folder / "run")
    return recipe, result


@pytest.fixture
def recipe(tmp_path: Path) -> dict[str, Any]:
    """A recipe without test pairs: what comes after the training is short."""
    made = write_project(tmp_path / "data")
    made["data"].pop("test")  # type: ignore[attr-defined]
    return made


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return [
            {key: value for key, value in row.items() if key != "elapsed_s"} for row in csv.DictReader(file)
        ]


# -- the folder ----------------------------------------------------------------------------------


def test_the_folder_holds_all_there_is_to_know(project: tuple[dict[str, Any], RunResult]) -> None:
    folder = project[1].folder
    for name in ("recipe.yaml", "audit.json", "metrics.csv", "tensorboard", "model.safetensors", "report.html",
                 "predictions_val.tsv", "predictions_test.tsv", "result.json"):  # fmt: skip
        assert (folder / name).exists(), name
    assert json.loads((folder / "audit.json").read_text())
    assert any((folder / "tensorboard").iterdir())
    assert RunResult.read(folder) == project[1]


def test_it_has_learned(project: tuple[dict[str, Any], RunResult]) -> None:
    losses = [float(row["epoch_loss"]) for row in rows(project[1].folder) if row["epoch_loss"]]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    assert project[1].test["auroc"] > 0.6


def test_the_weights_alone_give_the_predictions_again(project: tuple[dict[str, Any], RunResult]) -> None:
    from holotype.proteins.data.embeddings import open_embeddings
    from holotype.proteins.data.pairs import read_pairs
    from holotype.proteins.prediction.interactions import load_interaction_model
    from holotype.proteins.prediction.scoring import score_pairs

    recipe, result = project
    net, info = load_interaction_model(result.folder)
    assert info.temperature == result.temperature
    assert info.encoder[0]["dim"] == DIM
    table = read_pairs(recipe["data"]["test"], labelled=True)
    logits = score_pairs(net, open_embeddings(recipe["encoder"]["file"]), table)
    with (result.folder / "predictions_test.tsv").open() as file:
        kept = list(csv.DictReader(file, delimiter="\t"))
    assert [row["class"] for row in kept] == ["C3"] * len(table)
    np.testing.assert_allclose([float(row["logit"]) for row in kept], logits, rtol=1e-6)
    scores = 1 / (1 + np.exp(-logits.astype(float) / result.temperature))
    np.testing.assert_allclose([float(row["score"]) for row in kept], scores, rtol=1e-6)


def test_the_weights_know_what_they_were_made_from(project: tuple[dict[str, Any], RunResult]) -> None:
    _, info = holotype.load_checkpoint(project[1].weights)
    lineage = info.record["lineage"]
    again = load_recipe({**lineage["recipe"], "output": str(project[1].folder)})
    assert again.digest() == lineage["recipe_sha256"]
    assert set(lineage["datasets"]) == {"train_pairs", "val_pairs", "test_pairs", "sequences"}
    assert lineage["seed"] == 3
    assert {"commit", "dirty"} == set(lineage["code"])
    assert torch.__version__.startswith(lineage["environment"]["torch"])
    measured = {(one["name"], one["split"]) for one in info.record["metrics"]}
    assert {("auroc", "val"), ("auroc", "test"), ("loss", "val")} <= measured


def test_the_recipe_that_is_kept_is_complete_and_trains_the_same(
    project: tuple[dict[str, Any], RunResult], tmp_path: Path
) -> None:
    result = train(
        project[1].folder / "recipe.yaml", ["trainer.tensorboard=false"], output=tmp_path / "again"
    )
    assert rows(result.folder) == rows(project[1].folder)
    one, other = (holotype.load_checkpoint(run.weights)[0].state_dict() for run in (result, project[1]))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_training_leaves_the_callers_randomness_alone(recipe: dict[str, Any], tmp_path: Path) -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: S311

    def seed() -> None:
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)

    seed()
    expected = draw()
    seed()
    train(recipe, ["trainer.max_epochs=1"], output=tmp_path / "run")
    assert draw() == expected


# -- what is refused -----------------------------------------------------------------------------


def test_a_folder_in_use_is_left_alone(project: tuple[dict[str, Any], RunResult], tmp_path: Path) -> None:
    recipe, result = project
    before = {path: path.stat().st_mtime_ns for path in result.folder.rglob("*")}
    with pytest.raises(ConfigError, match="holds a run already"):
        train(recipe, output=result.folder)
    with pytest.raises(ConfigError, match=r"started with another recipe(.|\n)*seed: 4 here, 3 there"):
        train(recipe, ["trainer.tensorboard=true", "seed=4"], output=result.folder, resume=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="holds files that are not of a run"):
        train(recipe, output=tmp_path / "mine", resume=True)
    assert train(result.folder, resume=True) == result, "a finished run is not run again"
    assert before == {path: path.stat().st_mtime_ns for path in result.folder.rglob("*")}


def test_a_leak_is_refused_before_anything_is_written(recipe: dict[str, Any], tmp_path: Path) -> None:
    val, training = Path(recipe["data"]["val"]), Path(recipe["data"]["train"])
    val.write_text(val.read_text() + training.read_text().splitlines()[0] + "\n")
    with pytest.raises(LeakageError, match="the parts of this split overlap"):
        train(recipe, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_validation_pairs_of_one_label_are_told_before_anything_starts(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    val = Path(recipe["data"]["val"])
    val.write_text("".join(line for line in val.read_text().splitlines(True) if line.endswith("1\n")))
    with pytest.raises(DataError, match="all of one label"):
        train(recipe, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_embeddings_must_be_of_these_proteins(recipe: dict[str, Any], tmp_path: Path) -> None:
    fasta = Path(recipe["data"]["sequences"])
    fasta.write_text(fasta.read_text().replace("A", "G"))
    with pytest.raises(DataError, match="were embedded with another sequence"):
        train(recipe, output=tmp_path / "run")
    recipe["model"]["params"]["input_dim"] = 960
    with pytest.raises(ConfigError, match=f"input_dim is 960, and the embeddings are {DIM} wide"):
        train(recipe, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_stops_the_training_with_advice(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) in step(.|\n)*lower optimizer\.lr"):
        train(
            recipe,
            ["optimizer.lr=1.0e+30", "scheduler=constant", "trainer.gradient_clip=null"],
            output=tmp_path / "run",
        )


def test_what_fails_late_loses_nothing(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import holotype.proteins.evaluation.calibration as calibration

    def full(*_: object) -> float:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(calibration, "fit_temperature", full)
        with pytest.raises(TrainingError, match=r"weights are in(.|\n)*No space left(.|\n)*--resume"):
            train(recipe, output=tmp_path / "run")
    before = holotype.load_checkpoint(tmp_path / "run" / "model.safetensors")[0].state_dict()
    steps = len(rows(tmp_path / "run"))
    result = train(tmp_path / "run", resume=True)
    assert len(rows(tmp_path / "run")) == steps, "it was trained again"
    after = holotype.load_checkpoint(result.weights)[0].state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


# -- the loop ------------------------------------------------------------------------------------


def fitted(folder: Path, *, name: str = "v1", trainer: dict[str, Any] | None = None, **how: Any) -> nn.Module:
    torch.manual_seed(0)
    net = holotype.create_model(name, input_dim=DIM, hidden_dim=8, dropout=0.0)
    part = TrainerPart(**{"max_epochs": 2, "log_steps": 1, "accelerator": "cpu", "tensorboard": False,
                          **(trainer or {})})  # fmt: skip
    pairwise = not net.encodes_alone
    reader, val = (
        PairReader(embeddings(), pairs(count, seed=seed), pairwise=pairwise)
        for count, seed in ((48, 0), (20, 1))
    )
    fit(net, PairObjective(), PairBatches(reader, **{"pairs": 16, **how}), PairsToScore(val),
        fabric=make_fabric(part), trainer=part, optimizer=OptimizerPart(), scheduler=SchedulerPart(),
        seed=0, folder=folder)  # fmt: skip
    return net


def test_portions_of_memory_and_accumulation_change_nothing(tmp_path: Path) -> None:
    whole = fitted(tmp_path / "a").state_dict()
    for name, how in (("b", {"residues": 60}), ("c", {"pairs": 8, "accumulate": 2})):
        other = fitted(tmp_path / name, **how).state_dict()
        for key, value in whole.items():
            torch.testing.assert_close(other[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_models_that_need_the_pair_train_too(tmp_path: Path, precision: str) -> None:
    fitted(tmp_path, name="cross_attention", pairs=24, residues=200, trainer={"precision": precision})
    assert all(math.isfinite(float(row["loss"])) for row in rows(tmp_path) if row["loss"])


def test_patience_ends_it_and_the_best_epoch_is_what_is_left(tmp_path: Path) -> None:
    net = nn.Linear(1, 1, bias=False)
    seen: list[float] = []

    class Scripted:
        directions = {"loss": "min"}  # noqa: RUF012 - as the protocol has it

        def __call__(self, net: nn.Module, batch: Tensor) -> Any:
            if not torch.is_grad_enabled():
                seen.append(float(net.weight.detach()))
            epoch = len(seen)
            loss = (
                net(batch).sum()
                if torch.is_grad_enabled()
                else torch.tensor([9.0, 2.0, 5.0, 5.0, 5.0][epoch - 1])
            )
            return Outcome(loss, batch.detach(), batch.detach())

        def measure(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
            return {}

    class Steps:
        def steps_in(self, epoch: int) -> int:
            return 2

        def steps(self, epoch: int, first: int = 0) -> Any:
            return (Step([torch.ones(1, 1)], 1) for _ in range(first, 2))

    part = TrainerPart(max_epochs=9, patience=2, accelerator="cpu", tensorboard=False)
    done = fit(net, Scripted(), Steps(), [torch.ones(1, 1)], fabric=make_fabric(part), trainer=part,
               optimizer=OptimizerPart(), scheduler=SchedulerPart(), seed=0, folder=tmp_path)  # fmt: skip
    assert (done.best_epoch, done.epochs, done.stopped_early) == (2, 4, True)
    assert done.best["val_loss"] == 2.0
    assert net.weight.item() == seen[1] != seen[3]


def test_of_epochs_equally_good_by_accuracy_the_one_of_less_loss_is_kept(tmp_path: Path) -> None:
    """Accuracies 0.5, 1, 1, 1 with losses 9, 3, 2, 4: the third, and patience counts as if it were the second."""
    epoch = 0

    class Scripted:
        directions: ClassVar[dict[str, str]] = {"loss": "min", "accuracy": "max"}

        def __call__(self, net: nn.Module, batch: Tensor) -> Outcome:
            if torch.is_grad_enabled():
                return Outcome(net(batch).sum(), batch.detach(), batch.detach())
            return Outcome(torch.tensor([9.0, 3.0, 2.0, 4.0][epoch]), batch, batch)

        def measure(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
            nonlocal epoch
            epoch += 1
            return {"accuracy": [0.5, 1.0, 1.0, 1.0][epoch - 1]}

    class Steps:
        def steps_in(self, epoch: int) -> int:
            return 1

        def steps(self, epoch: int, first: int = 0) -> Any:
            return (Step([torch.ones(1, 1)], 1) for _ in range(first, 1))

    part = TrainerPart(max_epochs=9, patience=2, monitor="val_accuracy", accelerator="cpu", tensorboard=False)
    done = fit(nn.Linear(1, 1), Scripted(), Steps(), [torch.ones(1, 1)], fabric=make_fabric(part),
               trainer=part, optimizer=OptimizerPart(), scheduler=SchedulerPart(), seed=0,
               folder=tmp_path)  # fmt: skip
    assert (done.best_epoch, done.epochs, done.stopped_early) == (3, 4, True)
    assert done.best == {"val_loss": 2.0, "val_accuracy": 1.0}


def test_another_task_uses_the_same_loop(tmp_path: Path) -> None:
    """Batches of pictures and classes, and an objective of twenty lines."""
    torch.manual_seed(0)
    pictures, classes = torch.randn(60, 1, 4, 4), torch.arange(60) % 3
    pictures += classes.view(-1, 1, 1, 1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))

    class Classification:
        directions: ClassVar[dict[str, str]] = {"loss": "min", "accuracy": "max"}

        def __call__(self, net: nn.Module, batch: tuple[Tensor, Tensor]) -> Outcome:
            inputs, classes = batch
            logits = net(inputs)
            return Outcome(F.cross_entropy(logits, classes, reduction="sum"), logits.detach(), classes)

        def measure(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
            return {"accuracy": float((outputs.argmax(-1) == targets).float().mean())}

    class Pictures:
        def steps_in(self, epoch: int) -> int:
            return 6

        def steps(self, epoch: int, first: int = 0) -> Any:
            order = torch.from_numpy(np.random.default_rng(epoch).permutation(60)).split(10)
            return (Step([(pictures[some], classes[some])], len(some)) for some in order[first:])

    part = TrainerPart(max_epochs=8, patience=None, accelerator="cpu", tensorboard=False)
    done = fit(net, Classification(), Pictures(), [(pictures, classes)], fabric=make_fabric(part),
               trainer=part, optimizer=OptimizerPart(lr=0.05), scheduler=SchedulerPart(), seed=0,
               folder=tmp_path)  # fmt: skip
    assert done.best["val_accuracy"] > 0.6
    assert "val_accuracy" in rows(tmp_path)[0]


def test_biases_and_norms_are_not_decayed() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    decayed, free = make_optimizer(net, OptimizerPart(weight_decay=0.3)).param_groups
    assert decayed["weight_decay"] == 0.3
    assert free["weight_decay"] == 0.0
    assert [p.ndim for p in decayed["params"]] == [2]
    assert [p.ndim for p in free["params"]] == [1, 1, 1]


def test_the_course_of_the_learning_rate() -> None:
    def at(part: SchedulerPart) -> list[float]:
        rate = LearningRate(part, 1.0)
        return [round(rate.at(done), 6) for done in (0, 0.15, 0.3, 0.65, 1.0)]

    assert at(SchedulerPart("one_cycle")) == [0.04, 0.52, 1.0, 0.5, 0.0]
    assert at(SchedulerPart("cosine", warmup=0.3, final=0.1)) == [0.0, 0.5, 1.0, 0.55, 0.1]
    assert at(SchedulerPart("constant", warmup=0.3)) == [0.0, 0.5, 1.0, 1.0, 1.0]
    rate = LearningRate(SchedulerPart("plateau", patience=1, factor=0.1), 1.0)
    seen = []
    for value in (1, 2, 2, 2, 2, 2, 3):
        rate.observe(value)
        seen.append(round(rate.at(0.5), 6))
    assert seen == [1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
