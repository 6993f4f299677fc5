"""Training on images: one loop for four tasks, each from a recipe to a folder that can be used."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import holotype
from holotype.errors import ConfigError, DataError, HolotypeError, TrainingError
from holotype.training import RunResult, entry_of, load_recipe, register_run, train
from holotype.training.loop import Progress
from holotype.vision.data.load import load_image_dataset
from holotype.vision.models.detection.interface import Detections
from holotype.vision.training.batches import ImageBatches, ImageReader, ImagesToMeasure
from holotype.vision.training.job import ImageJob
from holotype.vision.training.objectives import ObjectDetection
from shapes import draw_shapes

TINY = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 48, "patch_size": 8}
BACKBONE = {"widths": [8, 12, 16, 24], "depths": [1, 1, 1, 1]}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two classes that differ in brightness, as folders."""
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for part, count in (("train", 9), ("val", 4), ("test", 4)):
        for label, name in enumerate(("dark", "light")):
            (folder / part / name).mkdir(parents=True)
            for at in range(count):
                pixels = rng.integers(0, 128, (40, 36 + at, 3)) + 127 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / part / name / f"{at}.png")
    return {part: str(folder / part) for part in ("train", "val", "test")}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Coloured shapes in COCO's format."""
    folder = tmp_path_factory.mktemp("shapes")
    data = {}
    for seed, (part, count) in enumerate((("train", 6), ("val", 3), ("test", 3))):
        (folder / part).mkdir()
        listed: dict[str, list[dict[str, Any]]] = {
            "images": [],
            "annotations": [],
            "categories": [
                {"id": at + 1, "name": name} for at, name in enumerate(("circle", "square", "triangle"))
            ],
        }
        for at, (picture, boxes, labels) in enumerate(
            zip(*draw_shapes(count, size=64, seed=seed), strict=True)
        ):
            picture.crop((0, 0, 64, 48)).save(folder / part / f"{at}.png")
            listed["images"].append({"id": at, "file_name": f"{at}.png", "width": 64, "height": 48})
            for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels.tolist(), strict=True):
                if y1 < 40:
                    box = [x1, y1, x2 - x1, min(y2, 48) - y1]
                    row = {
                        "id": len(listed["annotations"]) + 1,
                        "image_id": at,
                        "category_id": label + 1,
                        "bbox": box,
                    }
                    listed["annotations"].append({**row, "area": box[2] * box[3], "iscrowd": 0})
        (folder / f"{part}.json").write_text(json.dumps(listed))
        data[part] = {"images": str(folder / part), "annotations": str(folder / f"{part}.json")}
    return data


def recipe(data: object, model: str, params: dict[str, Any], **more: Any) -> dict[str, Any]:
    trainer = {
        "max_epochs": 2,
        "tensorboard": False,
        "accelerator": "cpu",
        "log_steps": 1,
        **more.pop("trainer", {}),
    }
    return {"model": {"name": model, "params": params}, "data": data, "batch": {"images": 6}, "trainer": trainer,
            "seed": 3, **more}  # fmt: skip


def small(model: str) -> dict[str, Any]:
    """Parameters that make it tiny, over the same encoder."""
    own = holotype.get_model_class(model).small_parameters
    return {**own, "size": 32, "encoder": "vit_t16", "encoder_params": TINY}


def classifier(data: object, **more: Any) -> dict[str, Any]:
    return recipe(data, "vit_t16", {"size": 32, **TINY}, **more)


def states_equal(one: Path, other: Path) -> bool:
    a, b = (holotype.load_checkpoint(path)[0].state_dict() for path in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def classified(photographs: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    made = classifier(photographs, trainer={"max_epochs": 4}, optimizer={"lr": 0.003})
    return train(made, output=tmp_path_factory.mktemp("classified") / "run")


@pytest.fixture(scope="module")
def masked(photographs: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    made = recipe(photographs, "mae_vit", small("mae_vit"))
    return train(made, output=tmp_path_factory.mktemp("masked") / "run")


# -- classification ------------------------------------------------------------------------------


def test_a_classifier_learns_and_its_folder_tells_how_well(classified: RunResult) -> None:
    assert set(classified.validation) == {"val_loss", "val_accuracy"}
    assert classified.test["accuracy"] == 1.0
    told = json.loads((classified.folder / "result.json").read_text())
    low, high = told["test_intervals"]["accuracy"]
    assert low < 1.0 == high
    with (classified.folder / "predictions_test.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert all(row["class"] == row["predicted"] and float(row["probability"]) > 0.5 for row in rows)
    assert RunResult.read(classified.folder) == classified


def test_the_weights_alone_say_how_to_use_them(classified: RunResult, photographs: dict[str, str]) -> None:
    net, info = holotype.load_checkpoint(classified.weights, inference=True)
    assert dict(info.class_to_idx) == {"dark": 0, "light": 1}
    assert info.resolution == (32, 32)
    assert list(info.preprocessing["mean"]) == [0.485, 0.456, 0.406]
    lineage = info.record["lineage"]
    assert set(lineage["datasets"]) == {"train", "val", "test"}
    assert load_recipe(lineage["recipe"]).digest() == lineage["recipe_sha256"]
    from holotype.vision.prediction.classification import predict_images

    files = sorted((Path(photographs["test"]) / "light").iterdir())
    assert {one.top.name for one in predict_images(net, info, files)} == {"light"}


def test_a_run_that_was_interrupted_goes_on_as_if_it_had_not_been(
    photographs: dict[str, str], tmp_path: Path
) -> None:
    made = classifier(photographs, augmentation="light", batch={"images": 6, "portion": 4})
    made["model"]["params"]["drop_path_rate"] = 0.1
    whole = train(made, output=tmp_path / "whole")
    steps = 0

    def stop(progress: Progress) -> None:
        nonlocal steps
        steps += 1
        if steps == 4:  # in the middle of the second epoch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="--resume"):
        train(made, ["trainer.checkpoint_steps=2"], output=tmp_path / "parts", progress=stop)
    parts = train(tmp_path / "parts", resume=True)
    assert parts.validation == whole.validation
    assert states_equal(parts.weights, whole.weights)


@pytest.mark.parametrize(
    ("model", "batch"), [("dino_v1", {"images": 6, "portion": 4}), ("dino_v2", {"images": 6})]
)
def test_a_teacher_goes_on_from_the_middle_of_an_epoch(
    model: str, batch: dict[str, int], photographs: dict[str, str], tmp_path: Path
) -> None:
    made = recipe(photographs, model, small(model), batch=batch)
    made["augmentation"] = {"name": "digits_views", "local_crops": 2}
    whole = train(made, output=tmp_path / "whole")
    steps = 0

    def stop(progress: Progress) -> None:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(made, ["trainer.checkpoint_steps=2"], output=tmp_path / "parts", progress=stop)
    parts = train(tmp_path / "parts", resume=True)
    assert parts.validation == whole.validation
    assert states_equal(parts.weights, whole.weights)


def test_what_is_frozen_keeps_its_batch_norms_when_it_goes_on(
    photographs: dict[str, str], tmp_path: Path
) -> None:
    params = {"size": 32, "filter_list": [8] * 5, "units": [1] * 4}
    first = train(recipe(photographs, "resnet_v1_18", params), output=tmp_path / "first")
    made = recipe(photographs, "resnet_v1_18", {}, from_pretrained=str(first.folder), freeze="encoder")
    whole = train(made, output=tmp_path / "whole")

    def stop(progress: Progress) -> None:
        if progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(made, output=tmp_path / "parts", progress=stop)
    parts = train(tmp_path / "parts", resume=True)
    assert states_equal(parts.weights, whole.weights)
    before, after = (holotype.load_checkpoint(run.weights)[0].state_dict() for run in (first, parts))
    moved = [key for key, value in before.items() if not torch.equal(value, after[key])]
    assert sorted(moved) == ["classifier.bias", "classifier.weight"]


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_a_damaged_image_is_named_and_mended(part: str, photographs: dict[str, str], tmp_path: Path) -> None:
    for one in ("train", "val", "test"):
        shutil.copytree(photographs[one], tmp_path / "data" / one)
    made = classifier(str(tmp_path / "data"), trainer={"checkpoint_steps": 1}, batch={"images": 4})
    whole = train(made, output=tmp_path / "whole")
    # The one that comes in the last step of the first epoch.
    order = np.random.default_rng([3, 0]).permutation(18)
    at = int(order[15]) if part == "train" else 0
    damaged = sorted((tmp_path / "data" / part).rglob("*.png"))[at]
    sound = damaged.read_bytes()
    damaged.write_bytes(sound[:200])
    with pytest.raises(HolotypeError, match=re.escape(damaged.name)) as told:
        train(made, output=tmp_path / "run")
    assert str(damaged) in str(told.value)
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
    with pytest.raises(HolotypeError, match=re.escape(damaged.name)):
        train(tmp_path / "run", resume=True)
    damaged.write_bytes(sound)
    mended = train(tmp_path / "run", resume=True)
    assert mended.validation == whole.validation
    assert states_equal(mended.weights, whole.weights)


def test_other_images_are_refused(photographs: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(photographs["train"], tmp_path / "train")
    made = classifier({**photographs, "train": str(tmp_path / "train")})

    def stop(progress: Progress) -> None:
        if progress.step == 2:  # the checkpoint is that of the first step
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(made, ["trainer.checkpoint_steps=1"], output=tmp_path / "run", progress=stop)
    changed = sorted((tmp_path / "train").rglob("*.png"))[0]
    Image.new("RGB", (40, 40), (1, 2, 3)).save(changed)
    with pytest.raises(TrainingError, match="belongs to another training"):
        train(tmp_path / "run", resume=True)


def test_portions_change_nothing(photographs: dict[str, str], tmp_path: Path) -> None:
    made = classifier(photographs, augmentation="none", trainer={"max_epochs": 1})
    one = train(made, output=tmp_path / "one")
    other = train(made, ["batch.portion=2"], output=tmp_path / "other")
    a, b = (holotype.load_checkpoint(run.weights)[0].state_dict() for run in (one, other))
    for key, value in a.items():
        torch.testing.assert_close(b[key], value, rtol=1e-4, atol=1e-5)


def test_mixed_classes_and_label_smoothing_train(photographs: dict[str, str], tmp_path: Path) -> None:
    made = classifier(
        photographs,
        augmentation={"name": "digits", "mixup": 0.2},
        loss={"label_smoothing": 0.1},
        trainer={"max_epochs": 1},
    )
    assert np.isfinite(train(made, output=tmp_path / "run").validation["val_loss"])


# -- without labels ------------------------------------------------------------------------------


def test_a_masked_autoencoder_leaves_an_encoder_to_fine_tune_from(
    masked: RunResult, photographs: dict[str, str], tmp_path: Path
) -> None:
    encoder, info = holotype.load_checkpoint(masked.folder / "encoder.safetensors")
    assert (info.network, info.config["num_classes"]) == ("vision/vit_t16", 0)
    probe = recipe(
        photographs, "vit_t16", {}, from_pretrained=str(masked.folder), freeze="encoder", augmentation="none"
    )
    result = train(probe, ["optimizer.lr=0.01"], output=tmp_path / "probe")
    net, told = holotype.load_checkpoint(result.weights)
    assert told.record["lineage"]["parent"]["network"] == "vision/vit_t16"
    assert len(told.record["lineage"]["parent"]["sha256"]) == 64
    before = encoder.state_dict()
    after = {key: value for key, value in net.state_dict().items() if not key.startswith("classifier")}
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before), "what is frozen has changed"
    assert net.get_parameter("classifier.weight").shape == (2, 32)


def test_masks_are_the_same_in_every_epoch(masked: RunResult) -> None:
    with (masked.folder / "metrics.csv").open() as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file) if row["val_loss"]]
    assert len(losses) == 2
    assert masked.validation["val_loss"] == min(losses)


@pytest.mark.parametrize("model", ["simclr", "byol", "dino_v1", "i_jepa"])
def test_self_supervision_measures_what_it_has_learned(
    model: str, photographs: dict[str, str], tmp_path: Path
) -> None:
    made = recipe(photographs, model, small(model), trainer={"max_epochs": 1})
    if model != "simclr":  # the default presets are for photographs, and take their time
        made["augmentation"] = {"name": "digits_views", "local_crops": 2 * (model == "dino_v1")}
    result = train(made, output=tmp_path / "run")
    assert set(result.validation) == {"val_loss", "val_knn_accuracy"}
    assert result.best_epoch == 1
    encoder, info = holotype.load_checkpoint(result.folder / "encoder.safetensors")
    kept = holotype.load_checkpoint(result.weights)[0].trained_encoder.state_dict()
    assert info.network == "vision/vit_t16"
    assert all(torch.equal(value, kept[key]) for key, value in encoder.state_dict().items())


def test_a_run_becomes_an_entry(masked: RunResult, photographs: dict[str, str], tmp_path: Path) -> None:
    entry = register_run(masked.folder, "vit_t16_photographs")
    try:
        assert (entry.zoo, entry.tag, entry.network) == ("session", "photographs", "vision/vit_t16")
        net, info = holotype.load_pretrained_model("vit_t16_photographs")
        assert info.bound
        made = recipe(photographs, "vit_t16", {"drop_path_rate": 0.1}, from_pretrained="vit_t16_photographs")
        tuned = train(made, ["trainer.max_epochs=1"], output=tmp_path / "tuned")
        assert tuned.validation
        detector = holotype.create_model("detr", num_classes=3, backbone="vit_t16_photographs", size=64)
        assert detector.backbone.stage_channels[-1] == net.num_features
    finally:
        holotype.registry.refresh()
    assert entry_of(masked.folder, "other")["formats"]["safetensors"]["url"].startswith("file://")


@pytest.mark.parametrize("model", ["simclr", "dino_v2", "my_simclr"])
def test_a_loss_over_the_whole_batch_is_not_cut_into_portions(
    model: str, photographs: dict[str, str], here: Any
) -> None:
    """The class says so: a subclass in a user's zoo inherits it."""
    own = """
        from holotype import register_model
        from holotype.vision import SimCLR

        @register_model("my_simclr", task="self_supervised_learning")
        class MySimCLR(SimCLR):
            pass
        """
    here.write(
        {"pyproject.toml": '[tool.holotype]\nzoos = ["zoo_of_portions"]\n', "zoo_of_portions/net.py": own}
    )
    params = small("dino_v2" if model == "dino_v2" else "simclr")
    problem = f"batch.portion: the loss of {model} compares all images of a batch"
    with pytest.raises(ConfigError, match=problem):  # when the recipe is read
        load_recipe(recipe(photographs, model, params, batch={"images": 6, "portion": 3}))


# -- detection -----------------------------------------------------------------------------------


def test_a_detector_trains_from_boxes(shapes: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    params = {"size": 64, "backbone": "convnext_v2_atto", "backbone_params": BACKBONE}
    made = recipe(shapes, "retinanet", params, batch={"images": 3}, trainer={"max_epochs": 1})
    result = train(made, output=tmp_path / "run")
    assert set(result.validation) == {"val_loss", "val_map", "val_map_50", "val_map_75"}
    _, info = holotype.load_checkpoint(result.weights)
    assert list(info.class_to_idx) == ["circle", "square", "triangle"]


def test_boxes_follow_their_picture(shapes: dict[str, Any]) -> None:
    table = load_image_dataset(shapes).splits["train"]
    reader = ImageReader(table, (32, 32), mode="letterbox")
    batch = reader.batch(np.arange(len(table)))
    assert batch.images.shape == (len(table), 3, 32, 32)
    for at, target in enumerate(batch.targets):
        kept = target[target[:, 4] >= 0]
        assert len(kept) == len(table.boxes[at].labels)
        np.testing.assert_allclose(kept[:, :4], np.asarray(table.boxes[at].boxes) / 2, atol=1e-4)


def test_a_backbone_begins_with_another_run(
    classified: RunResult, shapes: dict[str, Any], tmp_path: Path
) -> None:
    made = recipe(shapes, "detr", {"size": 32}, from_pretrained=str(classified.folder), freeze="encoder")
    job = ImageJob(load_recipe(made))
    job.prepare("cpu", lambda line: None, None)
    net, theirs = job.network(), holotype.load_checkpoint(classified.weights)[0].state_dict()
    backbone = net.get_submodule("backbone")
    assert all(torch.equal(value, theirs[key]) for key, value in backbone.state_dict().items())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert any(parameter.requires_grad for parameter in net.parameters())


def test_what_is_measured_is_what_is_predicted(tmp_path: Path) -> None:
    """Large pictures that are not square, as JPEG: reading them in another way moves the probabilities."""
    from holotype.vision.evaluation.evaluate import evaluate_classifier
    from holotype.vision.prediction import predict

    rng = np.random.default_rng(0)
    for part, count in (("train", 4), ("val", 2), ("test", 8)):
        for at in range(2 * count):
            height, width = rng.integers(90, 200, 2)
            wave = np.sin(np.arange(width) / (2 + 2 * (at % 2)) + rng.random())
            pixels = (127 + 60 * wave[None, :, None] + rng.normal(0, 50, (height, width, 3))).clip(0, 255)
            place = tmp_path / "data" / part / "ab"[at % 2]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"{at}.jpg")
    result = train(classifier(str(tmp_path / "data"), optimizer={"lr": 0.003}), output=tmp_path / "run")
    with (result.folder / "predictions_test.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = predict(result.folder, [tmp_path / "data" / "test" / row["image"] for row in rows], top_k=1)
    assert [one.top.name for one in found] == [row["predicted"] for row in rows]
    np.testing.assert_allclose(
        [one.top.probability for one in found], [float(row["probability"]) for row in rows], atol=2e-6
    )
    assert evaluate_classifier(result.folder, str(tmp_path / "data")).accuracy == result.test["accuracy"]


def test_boxes_are_measured_as_they_are_evaluated(shapes: dict[str, Any], tmp_path: Path) -> None:
    """The pictures are wider than high: what a detector finds in the padding below is cut off."""
    pytest.importorskip("pycocotools")
    from holotype.vision.evaluation.evaluate import evaluate_detector

    params = {"size": 64, "backbone": "convnext_v2_atto", "backbone_params": BACKBONE}
    made = recipe(shapes, "fcos", params, trainer={"max_epochs": 6}, optimizer={"lr": 0.003})
    result = train({**made, "augmentation": "none"}, output=tmp_path / "run")
    told = evaluate_detector(result.folder, shapes).metrics
    assert told["map_50"] > 0
    assert {key: result.test[key] for key in told} == pytest.approx(told, abs=1e-4)


def test_what_is_found_ends_where_the_picture_ends(shapes: dict[str, Any]) -> None:
    table = load_image_dataset(shapes).splits["val"]
    batch = ImageReader(table, (64, 64), mode="letterbox").batch(np.arange(2))
    assert batch.contents.tolist() == [[64, 48], [64, 48]]

    class Found(torch.nn.Module):
        def loss(self, images: torch.Tensor, targets: object) -> dict[str, torch.Tensor]:
            return {"loss": images.new_zeros(())}

        def detect(self, images: torch.Tensor, **limits: object) -> list[Detections]:
            whole = torch.tensor([[8.0, 4.0, 64.0, 64.0]])
            return [Detections(whole, torch.ones(1), torch.zeros(1, dtype=torch.long))] * len(images)

    objective = ObjectDetection(num_classes=3, mean=[0.5] * 3, std=[1.0] * 3)
    outputs = objective(Found().eval(), batch).outputs
    assert outputs[:, 0, :4].tolist() == [[8.0, 4.0, 64.0, 48.0]] * 2


def test_a_backbone_from_an_entry_is_given_what_that_expects(
    photographs: dict[str, str], shapes: dict[str, Any], tmp_path: Path
) -> None:
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    made = recipe(photographs, "mae_vit", small("mae_vit"), preprocessing={"mean": mean, "std": std})
    run = train(made, ["trainer.max_epochs=1"], output=tmp_path / "run")
    register_run(run.folder, "vit_t16_other")
    try:
        job = ImageJob(load_recipe(recipe(shapes, "detr", {"size": 64, "backbone": "vit_t16_other"})))
        job.prepare("cpu", lambda line: None, None)
        assert job.statistics == (mean, std)
    finally:
        holotype.registry.refresh()


def test_parameters_of_the_encoder_join_those_of_its_weights(
    masked: RunResult, photographs: dict[str, str]
) -> None:
    for named in ({}, {"encoder": "vit_t16"}):
        params = {"hidden_dim": 24, "projection_dim": 16, "encoder_params": {"drop_path_rate": 0.25}, **named}
        made = recipe(photographs, "byol", params, from_pretrained=str(masked.folder))
        job = ImageJob(load_recipe(made))
        job.prepare("cpu", lambda line: None, None)
        given = job.params["encoder_params"]
        assert (given["drop_path_rate"], given["num_layers"], given["patch_size"]) == (0.25, 2, 8)
        net = job.network()
        theirs, own = net.teacher.state_dict(), net.encoder.state_dict()
        assert all(torch.equal(theirs[f"encoder.{key}"], value) for key, value in own.items())


# -- batches -------------------------------------------------------------------------------------


def test_an_epoch_is_a_function_of_seed_and_epoch_that_processes_share(photographs: dict[str, str]) -> None:
    reader = ImageReader(load_image_dataset(photographs).splits["train"], (16, 16))
    how: dict[str, Any] = {"images": 5, "portion": 3, "seed": 1}
    batches = ImageBatches(reader, **how)
    assert batches.steps_in(0) == 3, "18 images make three whole batches of 5"
    assert not np.array_equal(batches.order(0), batches.order(1))
    steps = list(batches.steps(0))
    again = list(batches.steps(0, first=1))
    for one, other in zip(steps[1:], again, strict=True):
        assert one.total == other.total == 5
        assert [len(portion) for portion in one.portions] == [3, 2]
        for a, b in zip(one.portions, other.portions, strict=True):
            assert torch.equal(a.images, b.images)
    ranks = [list(ImageBatches(reader, **how, rank=rank, world_size=2).steps(0)) for rank in (0, 1)]
    for whole, first, second in zip(steps, *ranks, strict=True):
        assert len(first.portions) == len(second.portions) == len(whole.portions)
        for portion, a, b in zip(whole.portions, first.portions, second.portions, strict=True):
            both = torch.empty_like(portion.images)
            both[0::2], both[1::2] = a.images, b.images
            assert torch.equal(both, portion.images)


def test_a_process_without_images_computes_along(photographs: dict[str, str]) -> None:
    reader = ImageReader(load_image_dataset(photographs).splits["train"], (16, 16))
    step = next(ImageBatches(reader, images=1, rank=1, world_size=2).steps(0))
    assert (len(step.portions[0]), step.portions[0].weight, step.total) == (1, 0.0, 1)


def test_every_image_is_measured_once(photographs: dict[str, str]) -> None:
    reader = ImageReader(load_image_dataset(photographs).splits["val"], (16, 16))
    sizes = [len(batch) for batch in ImagesToMeasure(reader, images=3)]
    assert sizes == [3, 3, 2]
    both = [
        sum(len(b) for b in ImagesToMeasure(reader, images=3, rank=rank, world_size=2)) for rank in (0, 1)
    ]
    assert both == [4, 4]


def test_what_does_not_fit_into_memory_is_read_again(
    photographs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = load_image_dataset(photographs).splits["val"]
    kept = ImageReader(table, (16, 16)).batch(np.arange(8)).images
    monkeypatch.setattr("holotype.vision.training.batches._KEPT_BYTES", 0)
    assert torch.equal(ImageReader(table, (16, 16)).batch(np.arange(8)).images, kept)


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"model": {"name": "vit_t16", "params": {**TINY, "size": 32, "num_classes": 7}}}, ConfigError, "has 2 classes"),
        ({"model": {"name": "vit_t16", "params": {**TINY, "size": 33}}}, HolotypeError, "no multiple of"),
        ({"model": {"name": "detr", "params": {"size": 64}}}, ConfigError, "learns from boxes"),
        ({"model": {"name": "simclr", "params": {"size": 32}}, "batch": {"images": 1}}, ConfigError, "at least 2"),
        ({"model": {"name": "byol", "params": {"size": 32}}, "batch": {"images": 5, "portion": 4}}, ConfigError, "come by 1"),
        ({"model": {"name": "simclr", "params": {"size": 32}}, "batch": {"images": 17}, "trainer": {"accumulate": 2}},
         ConfigError, "come by 1"),
        ({"model": {"name": "byol", "params": {"size": 32}}, "augmentation": "dino"}, ConfigError, "two views, got"),
        ({"scheduler": "plateau", "trainer": {"monitor": "last"}}, ConfigError, "waits for a figure"),
    ],
)  # fmt: skip
def test_nothing_is_written_where_it_cannot_train(
    photographs: dict[str, str], tmp_path: Path, change: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        train({**classifier(photographs), **change}, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_data_are_labelled_with_is_told_before_they_are_read(
    photographs: dict[str, str], shapes: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"learns from classes .*train, val, test images have boxes"):
        load_recipe(classifier(shapes))
    bare = {**photographs, "val": str(Path(photographs["val"]) / "dark")}
    with pytest.raises(ConfigError, match=r"the val images are unlabelled"):
        load_recipe(classifier(bare))
    load_recipe(recipe(bare, "mae_vit", small("mae_vit")))
    with pytest.raises(ConfigError, match="no val images"):
        load_recipe(classifier({"images": photographs["train"]}))
    listed = tmp_path / "train.csv"  # only reading it tells
    listed.write_text(f"path,label\n{photographs['train']}/dark/0.png,dark\n")
    data = {**shapes, "train": str(listed)}
    with pytest.raises(HolotypeError, match=r"boxes"):
        train(recipe(data, "detr", {"size": 64}), output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("part", ["train", "val"])
def test_without_any_box_nothing_begins(part: str, shapes: dict[str, Any], tmp_path: Path) -> None:
    listed = json.loads(Path(shapes[part]["annotations"]).read_text())
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps({**listed, "annotations": []}))
    data = {**shapes, part: {**shapes[part], "annotations": str(bare)}}
    with pytest.raises(DataError, match=f"none of the . {part} images"):
        train(recipe(data, "detr", {"size": 64}), output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_neighbours_can_be_counted_only_where_there_are_classes(
    shapes: dict[str, Any], tmp_path: Path
) -> None:
    made = recipe(shapes, "simclr", small("simclr"), trainer={"monitor": "val_knn_accuracy"})
    with pytest.raises(DataError, match="val_knn_accuracy needs classes"):
        train(made, output=tmp_path / "run")


def test_training_leaves_the_callers_randomness_alone(
    masked: RunResult, photographs: dict[str, str], tmp_path: Path
) -> None:
    torch.manual_seed(1)
    expected = torch.rand(())
    torch.manual_seed(1)
    made = recipe(photographs, "vit_t16", {}, from_pretrained=str(masked.folder), trainer={"max_epochs": 1})
    train(made, output=tmp_path / "run")
    assert torch.equal(torch.rand(()), expected)


def test_weights_of_another_network_are_refused(
    masked: RunResult, photographs: dict[str, str], tmp_path: Path
) -> None:
    source = {"from_pretrained": str(masked.folder)}
    other = recipe(photographs, "vit_t16", {"num_heads": 4}, **source)
    with pytest.raises(ConfigError, match=r"num_heads: 4 here, 2 in the file"):
        train(other, output=tmp_path / "run")
    other = recipe(photographs, "resnet_v1_18", {"size": 32}, **source)
    with pytest.raises(HolotypeError, match="vit_t16"):
        train(other, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unfinished_run_is_no_entry(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not the folder of a finished run"):
        entry_of(tmp_path, "vit_t16_x")


def test_a_pretrained_entry_as_model_is_told_how_to_begin_with_it() -> None:
    with pytest.raises(ConfigError, match=r"write model: efficientnet_lite0 and from_pretrained: efficient"):
        load_recipe({"model": "efficientnet_lite0_imagenet1k", "data": "digits"}, check_data=False)


def test_a_detectors_file_promises_no_classifiers_outputs(tmp_path: Path) -> None:
    small = dict(holotype.get_model_class("retinanet").small_parameters)  # type: ignore[attr-defined]
    path = holotype.save_pretrained(holotype.create_model("retinanet", **small), tmp_path / "x.safetensors")
    assert "outputs" not in holotype.load_checkpoint(path)[1].signature


def test_the_recipe_for_digits_can_begin_with_what_the_masked_autoencoder_learned() -> None:
    recipes = Path(__file__).parents[4] / "recipes" / "vision"
    mae, vit = (load_recipe(recipes / f"digits_{name}.yaml", check_data=False) for name in ("mae", "vit"))
    assert mae.model.params["encoder"] == vit.model.name
    assert {"size": mae.model.params["size"], **mae.model.params["encoder_params"]} == vit.model.params
