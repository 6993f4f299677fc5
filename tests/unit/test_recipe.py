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
from holotype.training.recipe import FREE, Recipe, flat, input_dim_of, load_recipe

SMALL: dict[str, Any] = {"model": "v1", "data": "bernett", "encoder": "unirep_64"}
RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))


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
        ("encoder={file: nowhere.emb}", "there is no file 'nowhere.emb'"),
        ("encoder=[unirep_64, {file: nowhere.emb}]", "either names or files"),
        ("data=guo_yeast", "data.split: missing; 'guo_yeast' comes undivided"),
        ("data=dscript_yeast", "training needs train and val"),
        ("data.split={protocol: c3}", "'bernett' is divided already"),
        ("data={name: guo_yeast, split: {protocol: c4}}", "data.split.protocol: expected one of"),
        ("data={name: guo_yeast, split: {protocol: c3, fractions: [1, 0, 0]}}", "three shares"),
        ("data={train: a.tsv, sequences: b.fasta}", "data.val: missing"),
        ("data={train: a.tsv, val: b.tsv, sequences: b.fasta}", "data.train: there is no file 'a.tsv'"),
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
    assert isinstance(load_recipe(path), Recipe)


def test_there_are_recipes() -> None:
    assert {"v1_bernett", "v2_bernett", "cross_attention_bernett"} <= {path.stem for path in RECIPES}
