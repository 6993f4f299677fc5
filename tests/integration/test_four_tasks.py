"""Every listed model of detection, masked image modelling and self-supervision trains, from a recipe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import holotype
from holotype.errors import MissingExtraError
from holotype.training import train
from holotype.training.randomness import own_randomness, seed_all
from holotype.vision import BYOL, Task, registry
from shapes import write_coco

TASKS = (Task.OBJECT_DETECTION, Task.MASKED_IMAGE_MODELING, Task.SELF_SUPERVISED_LEARNING)
MODELS = [(task, name) for task in TASKS for name in registry.list_models(task=task)]
OURS = {
    Task.OBJECT_DETECTION: {"retinanet", "fcos", "faster_rcnn", "detr", "deformable_detr"},
    Task.MASKED_IMAGE_MODELING: {"mae_vit", "simmim", "mae_hiera", "fcmae"},
    Task.SELF_SUPERVISED_LEARNING: {
        *("simclr", "byol", "vicreg", "barlow_twins", "dino_v1", "dino_v2", "i_jepa"),
    },
}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("shapes")
    for seed, part in enumerate(("train", "val")):
        write_coco(folder / part, 4, size=64, seed=seed)
    yield folder


@pytest.mark.parametrize("task", TASKS)
def test_every_task_lists_its_models(task: Task) -> None:
    assert OURS[task] <= set(registry.list_models(task=task))


@pytest.mark.parametrize(("task", "name"), MODELS, ids=[name for _, name in MODELS])
def test_it_trains_a_step_and_is_loaded_back(task: Task, name: str, shapes: Path, tmp_path: Path) -> None:
    params: dict[str, Any] = dict(registry.get_model_class(name).small_parameters)  # type: ignore[attr-defined]
    params.pop("num_classes", None)
    if task == Task.OBJECT_DETECTION:
        data: dict[str, Any] = {
            part: {
                "images": str(shapes / part / "images"),
                "annotations": str(shapes / part / "annotations.json"),
            }
            for part in ("train", "val")
        }
        params["size"] = 64
    else:
        data = {part: str(shapes / part / "images") for part in ("train", "val")}
    recipe = {
        "model": {"name": name, "params": params},
        "data": data,
        "batch": {"images": 4},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "tensorboard": False, "monitor": "last"},
    }
    try:
        result = train(recipe, output=tmp_path / "run")
    except MissingExtraError as error:
        pytest.skip(str(error))  # torchvision; tests/parity has it
    assert result.epochs == 1
    net, _ = holotype.load_checkpoint(result.weights)
    classes = {"num_classes": 3} if "num_classes" in _said(name) else {}
    with own_randomness():
        seed_all(0, "weights")
        begun = registry.create_model(name, **params, **classes)
    before, after = begun.state_dict(), net.state_dict()
    assert before.keys() == after.keys()
    learned = [key for key, value in begun.named_parameters() if value.requires_grad]
    assert sum(not torch.equal(before[key], after[key]) for key in learned) > 0.8 * len(learned)


def _said(name: str) -> set[str]:
    return {parameter.name for parameter in registry.get_model_info(name).parameters or ()}


def test_a_network_is_told_before_and_after_each_step_how_much_is_done(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, float]] = []
    for hook in ("before_step", "after_step"):
        done_by = getattr(BYOL, hook)

        def note(self: BYOL, done: float, hook: str = hook, of: Any = done_by) -> None:
            told.append((hook, done))
            of(self, done)

        monkeypatch.setattr(BYOL, hook, note)
    recipe = {
        "model": {"name": "byol", "params": dict(BYOL.small_parameters)},
        "data": {part: str(shapes / part / "images") for part in ("train", "val")},
        "batch": {"images": 2},
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "tensorboard": False},
    }
    result = train(recipe, output=tmp_path / "run")
    assert [done for hook, done in told if hook == "before_step"] == [0.0, 0.25, 0.5, 0.75]
    assert [done for hook, done in told if hook == "after_step"] == [0.25, 0.5, 0.75, 1.0]
    with own_randomness():
        seed_all(0, "weights")
        begun = registry.create_model("byol", **BYOL.small_parameters).state_dict()
    after = holotype.load_checkpoint(result.weights)[0].state_dict()
    teachers = [
        key for key, value in begun.items() if key.startswith("teacher") and value.is_floating_point()
    ]
    assert teachers and any(not torch.equal(begun[key], after[key]) for key in teachers)
