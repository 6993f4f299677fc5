"""Recipes: everything is checked, everything wrong is told at once, and nothing heavy is imported for it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from holotype.errors import ConfigError
from holotype.proteins.training.recipe import ProteinRecipe, input_dim_of
from holotype.training.recipe import FREE, flat, load_recipe
from holotype.vision.training.recipe import ImageRecipe

SMALL: dict[str, Any] = {"model": "v1", "data": "bernett", "encoder": "unirep_64"}
RECIPES = sorted((Path(__file__).parents[3] / "recipes").rglob("*.yaml"))


def problems(*overrides: str, **parts: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_recipe({**SMALL, **parts}, overrides)
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return list(caught.value.problems)


def test_the_short_form_is_the_long_one() -> None:
    long = load_recipe(
        {"model": {"name": "v1"}, "data": {"name": "bernett"}, "encoder": [{"name": "unirep_64"}]}
    )
    assert load_recipe(SMALL) == long


def test_a_recipe_comes_back_from_what_it_writes(tmp_path: Path) -> None:
    recipe = load_recipe(SMALL, ["seed=7", "scheduler=cosine", "loss.positive_weight=auto", "output=runs/x"])
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(recipe.to_dict()))
    again = load_recipe(path)
    assert dataclasses.replace(again, source=None) == recipe
    assert again.digest() == recipe.digest()


def test_every_problem_is_told_at_once() -> None:
    found = problems(
        "trainer.max_epoch=3",
        "optimizer.lr=-1",
        "loss.label_smoothing=1",
        "model.params.hiden_dim=3",
        modle="v1",
        encoder="unirep_46",
        data="bernet",
        seed=-1,
    )
    text = "\n".join(found)
    for expected in (
        "modle: no such key; did you mean 'model'?",
        "trainer.max_epoch: no such key; did you mean 'max_epochs'?",
        "optimizer.lr: expected above 0, got -1",
        "loss.label_smoothing: expected in [0, 1), got 1",
        "model.params.hiden_dim: no such parameter; did you mean 'hidden_dim'?",
        "encoder.name: no encoder named 'unirep_46'; did you mean 'unirep_64'?",
        "data.name: no dataset named 'bernet'; did you mean 'bernett'?",
        "seed: expected a whole number",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("key", "place"),
    [("epochs", "trainer.max_epochs"), ("lr", "optimizer.lr"), ("max_epoch", "trainer.max_epochs")],
)
def test_a_key_of_a_part_is_found_there(key, place):
    assert f"{key}: no such key; did you mean {place!r}?" in problems(**{key: 3})


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("trainer.max_epochs=three", "trainer.max_epochs: expected int, got 'three'"),
        ("trainer.max_epochs=0", "trainer.max_epochs: expected 1 or more, got 0"),
        ("trainer.max_epochs=true", "trainer.max_epochs: expected int"),
        ("trainer.precision=fp16", "trainer.precision: expected one of"),
        ("trainer.gradient_clip=.inf", "trainer.gradient_clip: expected above 0"),
        ("trainer.monitor=accuracy", "trainer.monitor: expected one of"),
        ("optimizer.betas=[0.9]", "optimizer.betas: expected two numbers"),
        ("optimizer.betas=[0.9, x]", "optimizer.betas: expected list[float]"),
        ("optimizer=sgd", "optimizer.name: expected one of 'adamw'"),
        ("scheduler=linear", "scheduler.name: expected one of"),
        ("scheduler.warmup=1", "scheduler.warmup: expected a share"),
        ("loss.positive_weight=balanced", "loss.positive_weight: expected float | Literal['auto']"),
        ("model.params.dropout=high", "model.params.dropout: expected float"),
        ("model.name=efficientnet_lite0", "is for image_classification"),
        ("model.name=v11", "no architecture named 'v11'"),
        ("encoder.pooling=max", "encoder.pooling: expected one of"),
        ("encoder.name=v1", "is for protein_interaction, not for protein_embedding"),
        ("encoder.overlap=3", "needs a window that is larger"),
        ("encoder=[]", "encoder: an empty list"),
        ("encoder={file: nowhere.emb}", "the file 'nowhere.emb' does not exist"),
        ("encoder=[unirep_64, {file: nowhere.emb}]", "either names or files"),
        ("data=guo_yeast", "data.split: missing; 'guo_yeast' comes undivided"),
        ("data=digits", "data.name: 'digits' holds images, not pairs of proteins"),
        ("data=dscript_yeast", "training needs train and val"),
        ("data.split={protocol: c3}", "'bernett' is divided already"),
        ("data={name: guo_yeast, split: {protocol: c4}}", "data.split.protocol: expected one of"),
        ("data={name: guo_yeast, split: {protocol: c3, fractions: [1, 0, 0]}}", "three shares"),
        ("data={train: a.tsv, sequences: b.fasta}", "data.val: missing"),
        (
            "data={train: a.tsv, val: b.tsv, sequences: b.fasta}",
            "data.train: the file 'a.tsv' does not exist",
        ),
        ("data={pairs: a.tsv, sequences: b.fasta}", "data.split: missing"),
        ("data={train: a.tsv}", "data: give the name of a dataset, or sequences"),
        ("batch={pairs: null, residues: null}", "batch: pairs, residues or both"),
        ("seed=1.5", "seed: expected a whole number"),
        ("output=3", "output: expected the path"),
        ("trainer", "not key=value"),
        ("trainer.max_epochs={", "is not YAML"),
        ("seed.x=1", "has no keys"),
        ("model=", "model: missing"),
    ],
)
def test_a_wrong_value_is_refused(override: str, told: str) -> None:
    before = ["seed=3"] if override.startswith("seed.") else []
    assert told in "\n".join(problems(*before, override))


def test_half_precision_needs_a_gpu() -> None:
    assert any(
        "16-mixed needs a GPU" in p for p in problems("trainer.precision=16-mixed", "trainer.accelerator=cpu")
    )


def test_an_exponent_is_a_number_though_yaml_reads_text() -> None:
    recipe = load_recipe(SMALL, ["optimizer.lr=3e-4", "optimizer.betas=[9e-1, 0.99]"])
    assert recipe.optimizer.lr == 3e-4
    assert recipe.optimizer.betas == [0.9, 0.99]


def test_overrides_reach_into_short_forms_and_the_last_one_wins() -> None:
    recipe = load_recipe(SMALL, ["encoder.pooling=mean", "model.params.hidden_dim=8", "seed=1", "seed=2"])
    assert (recipe.encoder[0].name, recipe.encoder[0].pooling) == ("unirep_64", "mean")
    assert recipe.model.params == {"hidden_dim": 8}
    assert recipe.seed == 2


def test_overrides_leave_the_callers_mapping_alone() -> None:
    given = {**SMALL, "trainer": {"max_epochs": 2}}
    load_recipe(given, ["trainer.max_epochs=5"])
    assert given["trainer"] == {"max_epochs": 2}


def test_the_width_of_the_embeddings_is_known_beforehand() -> None:
    assert input_dim_of({"name": "near"}) == 256
    assert input_dim_of([{"name": "near", "pooling": "mean+max"}, {"name": "esm2_t6_8m"}]) == 832
    assert input_dim_of({"file": "x.emb"}) is None
    assert load_recipe(SMALL, ["encoder=near", "model.params.input_dim=256"]).model.params["input_dim"] == 256
    told = "model.params.input_dim: 960, but the embeddings are 256 wide"
    assert any(told in problem for problem in problems("encoder=near", "model.params.input_dim=960"))


def test_the_digest_tells_what_decides_the_result() -> None:
    recipe = load_recipe(SMALL)
    assert load_recipe(SMALL, ["trainer.devices=2", "output=elsewhere"]).digest() == recipe.digest()
    assert load_recipe(SMALL, ["seed=1"]).digest() != recipe.digest()
    assert set(flat(recipe.to_dict())) >= FREE - {"output"}, "FREE names a key that does not exist"


def test_a_missing_file_names_those_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "v1_bernett.yaml").write_text(json.dumps(SMALL))
    with pytest.raises(ConfigError, match=r"Did you mean: .*v1_bernett\.yaml"):
        load_recipe(tmp_path / "v1_bernet.yaml")


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("model: v1\ndata: bernett\nencoder: unirep_64\nseed: 1\nseed: 2\n")
    with pytest.raises(ConfigError, match="given twice"):
        load_recipe(path)


def test_reading_a_recipe_imports_neither_torch_nor_lightning() -> None:
    code = (
        f"import sys, holotype.training as t; t.load_recipe({SMALL!r}); "
        "print(sorted({'torch', 'lightning', 'tensorboard'} & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_ours_is_one(path: Path) -> None:
    drawn = path.stem.startswith("shapes_")  # whoever trains on them draws them first
    recipe = load_recipe(path, check_data=not drawn)
    assert isinstance(recipe, ImageRecipe if path.parent.name == "vision" else ProteinRecipe)


def test_there_are_recipes() -> None:
    assert {"v1_bernett", "v2_bernett", "digits_vit", "digits_mae"} <= {path.stem for path in RECIPES}


# -- of images -----------------------------------------------------------------------------------

IMAGES: dict[str, Any] = {"model": "vit_t16", "data": "digits"}


def image_problems(*overrides: str, **parts: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_recipe({**IMAGES, **parts}, overrides)
    return "\n".join(caught.value.problems)


def test_the_model_decides_which_kind_of_recipe_it_is() -> None:
    recipe = load_recipe(IMAGES)
    assert isinstance(recipe, ImageRecipe)
    assert (recipe.task, recipe.data_spec, recipe.augmentation) == (
        "image_classification",
        "digits",
        {"name": "light"},
    )
    assert isinstance(load_recipe(SMALL), ProteinRecipe)
    assert "encoder: no such key here: it is for protein_interaction" in image_problems(encoder="unirep_64")


@pytest.mark.parametrize(
    ("model", "monitor", "patience", "augmentation"),
    [
        ("vit_t16", "val_accuracy", 5, {"name": "light"}),
        ("retinanet", "val_map", None, {"name": "flip"}),
        ("mae_vit", "val_loss", None, {"name": "light"}),
        ("dino_v1", "last", None, None),
    ],
)
def test_the_task_decides_what_is_not_said(
    model: str, monitor: str, patience: int | None, augmentation: object
) -> None:
    recipe = load_recipe({**IMAGES, "model": model})
    assert isinstance(recipe, ImageRecipe)
    assert (recipe.trainer.monitor, recipe.trainer.patience) == (monitor, patience)
    assert recipe.augmentation == augmentation
    assert load_recipe({**IMAGES, "model": model}, ["trainer.patience=3"]).trainer.patience == 3


def test_a_recipe_of_images_comes_back_from_what_it_writes(tmp_path: Path) -> None:
    recipe = load_recipe(
        IMAGES,
        ["from_pretrained=vit_t16_x", "freeze=encoder", "preprocessing={mean: [0, 0, 0], std: [1, 1, 1.0]}",
         "augmentation={name: standard, mixup: 0.2}", "batch.portion=8"],
        check_data=False,
    )  # fmt: skip
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(recipe.to_dict()))
    again = load_recipe(path, check_data=False)
    assert dataclasses.replace(again, source=None) == recipe
    assert again.digest() == recipe.digest()
    assert load_recipe(IMAGES, ["trainer.devices=2"]).digest() == load_recipe(IMAGES).digest()
    assert set(flat(load_recipe(IMAGES).to_dict())) >= FREE - {"output"}


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model.params.num_heds=3", "model.params.num_heds: no such parameter; did you mean 'num_heads'?"),
        ("model.params.in_channels=1", "model.params.in_channels: images have 3 channels"),
        ("model=vitt16", "model.name: no architecture named 'vitt16'"),
        ("data=digit", "named 'digit'"),
        ("data=3", "data: expected a name or a mapping, got 3"),
        ("data={train: nowhere, val: nowhere}", "data: train: "),
        ("augmentation=lihgt", "augmentation: no preset named 'lihgt' for classification; did you mean 'light'?"),
        ("augmentation={name: light, crops: 1}", "crops: no such key; did you mean"),
        ("augmentation=simclr", "it is for views"),
        ("from_pretrained=efficientnet_lite0_imagenet", "did you mean 'efficientnet_lite0_imagenet1k'?"),
        ("from_pretrained=7", "from_pretrained: expected an entry, a file or a folder, got 7"),
        ("from_pretrained=unirep_64", "from_pretrained:"),
        ("freeze=backbone", "freeze: expected 'encoder'"),
        ("freeze=encoder", "freeze: needs from_pretrained"),
        ("batch.images=0", "batch.images: expected 1 or more"),
        ("batch.pairs=5", "batch.pairs: no such key"),
        ("batch.portion=100", "batch.portion: 100 is more than batch.images"),
        ("loss.label_smoothing=1", "loss.label_smoothing: expected in [0, 1)"),
        ("loss.positive_weight=1", "loss.positive_weight: no such key"),
        ("trainer.monitor=val_auroc", "trainer.monitor: expected one of 'val_accuracy', 'val_loss', 'last'"),
        ("preprocessing={mean: [0.5], std: [1, 1, 1]}", "preprocessing.mean: expected three numbers"),
        ("preprocessing={mean: [0, 0, 0]}", "preprocessing.std: missing"),
        ("preprocessing={mean: [0, 0, 0], std: [0, 1, 1]}", "preprocessing.std: expected three numbers above 0"),
    ],
)  # fmt: skip
def test_a_wrong_value_of_an_image_recipe_is_refused(override: str, told: str) -> None:
    assert told in image_problems(override)


@pytest.mark.parametrize(
    ("model", "override", "told"),
    [
        ("simclr", "freeze=encoder", "freeze: the encoder is what self_supervised_learning trains"),
        ("mae_vit", "loss.label_smoothing=0.1", "it is for image_classification, not for masked_image_modeling"),
        ("mae_vit", "trainer.monitor=val_accuracy", "trainer.monitor: expected one of 'val_loss', 'last'"),
        ("retinanet", "augmentation=digits", "augmentation: no preset named 'digits' for detection"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_a_task_is_refused(model: str, override: str, told: str) -> None:
    assert told in image_problems(override, model=model)


def test_a_folder_without_weights_is_no_run_to_begin_with(tmp_path: Path) -> None:
    assert "is not the folder of a finished run" in image_problems(from_pretrained=str(tmp_path))


def test_the_run_folder_is_named_after_model_and_data() -> None:
    from holotype.training.folder import folder_of

    assert folder_of(load_recipe(IMAGES)) == Path("runs/vit_t16_digits_seed0")
    data = {"train": "flowers/train", "val": "flowers/val"}
    assert folder_of(load_recipe({**IMAGES, "data": data}, check_data=False)) == Path(
        "runs/vit_t16_flowers_seed0"
    )


def test_reading_a_recipe_of_images_imports_neither_torch_nor_lightning() -> None:
    code = (
        f"import sys, holotype.training as t; t.load_recipe({IMAGES!r}); "
        "print(sorted({'torch', 'lightning', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
