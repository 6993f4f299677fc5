"""Recipes for pairs of proteins: whether two interact, from the embeddings of their sequences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from holotype.catalog.parameters import problems_with
from holotype.errors import HolotypeError
from holotype.tasks import Task
from holotype.text import did_you_mean
from holotype.training.recipe import Recipe, model_info
from holotype.training.recipe_parts import ABOVE_0, FROM_0, FROM_1, RANGES, Range, part_problems


@dataclass(frozen=True)
class BatchPart:
    """How many pairs make a step of the optimizer. All processes share it, however many there are.

    Attributes:
        pairs: pairs of one batch; None for as many as `residues` allows.
        residues: the most residues (padding included) that are in memory at once. A batch of `pairs` that
            holds more is computed in portions, with the same result.
        sharing: up to so many pairs that have a protein in common come in one batch, so that it is
            encoded once for all of them: quicker epochs, of batches that are less random.
    """

    pairs: int | None = 256
    residues: int | None = 32_768
    sharing: int = 1


@dataclass(frozen=True)
class LossPart:
    """What is minimised.

    Attributes:
        name: the loss.
        positive_weight: the weight of an interacting pair; ``auto`` balances the classes.
        label_smoothing: s turns the labels 0 and 1 into s / 2 and 1 - s / 2.
    """

    name: Literal["binary_cross_entropy"] = "binary_cross_entropy"
    positive_weight: float | Literal["auto"] = 1.0
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class SplitPart:
    """How to divide the pairs of a dataset that comes undivided; see ``holotype split``.

    Attributes:
        protocol: what the parts may share: c1 proteins, c2 one of a pair, c3 none. The audit holds files
            that are divided already to it, and then it is the only key.
        seed: another one gives another split.
        fractions: of the pairs, for train, val and test.
        max_identity: keep proteins more similar than this in one part.
        tool: what compares sequences.
    """

    protocol: Literal["c1", "c2", "c3"]
    seed: int = 0
    fractions: list[float] = field(default_factory=lambda: [0.8, 0.1, 0.1])
    max_identity: float | None = None
    tool: str | None = None


@dataclass(frozen=True)
class DataPart:
    """The data: a dataset by its name, or files of your own.

    Attributes:
        name: a registered dataset (``holotype data list``), or the ``dataset.yaml`` of ``holotype split``.
        sequences: a FASTA file, or several; paths start from the working directory.
        pairs: a TSV of pairs that `split` divides.
        train: a TSV of pairs.
        val: a TSV of pairs; the best epoch and the temperature are chosen on it.
        test: a TSV of pairs that are scored in the end; optional.
        split: see `SplitPart`.
    """

    name: str | None = None
    sequences: str | list[str] | None = None
    pairs: str | None = None
    train: str | None = None
    val: str | None = None
    test: str | None = None
    split: dict[str, Any] | None = None


@dataclass(frozen=True)
class EncoderPart:
    """What turns a sequence into an embedding: an encoder by its name, or a file of embeddings.

    Attributes:
        name: a registered encoder.
        pooling: keep every residue (``none``), or the mean over them, or mean and maximum.
        dtype: what the embeddings are kept as.
        compute_dtype: what the encoder computes in.
        window: residues that the encoder sees at once; None for whole proteins.
        overlap: residues that neighbouring windows share.
        file: embeddings that ``holotype embed`` wrote, instead of `name` and all the rest.
    """

    name: str | None = None
    pooling: Literal["none", "mean", "mean+std", "mean+max", "mean+std+max"] = "none"
    dtype: Literal["float16", "float32"] = "float16"
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    window: int | None = None
    overlap: int = 0
    file: str | None = None


_RANGES = {
    **RANGES,
    "batch.pairs": FROM_1,
    "batch.residues": FROM_1,
    "batch.sharing": FROM_1,
    "loss.positive_weight": ABOVE_0,
    "loss.label_smoothing": (lambda x: 0 <= x < 1, "in [0, 1)"),
    "encoder.window": FROM_1,
    "encoder.overlap": FROM_0,
    "data.split.seed": FROM_0,
    "data.split.max_identity": (lambda x: 0 < x <= 1, "above 0, at most 1"),
    "data.split.fractions": (
        lambda x: len(x) == 3 and all(f > 0 for f in x) and math.isclose(sum(x), 1, abs_tol=1e-6),
        "three shares above 0 whose sum is 1",
    ),
}


@dataclass(frozen=True, kw_only=True)
class ProteinRecipe(Recipe):
    """A checked recipe for pairs of proteins, complete with defaults; see `Recipe`.

    Attributes:
        data: the proteins and pairs.
        encoder: one or several; the embeddings of several are joined along their width.
        batch: pairs of a step.
        loss: what is minimised.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({Task.PROTEIN_INTERACTION})
    examples: ClassVar[Mapping[str, str]] = {
        "model": "{name: v1}",
        "data": "bernett",
        "encoder": "unirep_64",
    }
    short: ClassVar[frozenset[str]] = Recipe.short | {"encoder", "loss"}
    ranges: ClassVar[Mapping[str, Range]] = _RANGES
    figures: ClassVar[tuple[str, ...]] = ("auroc", "average_precision", "accuracy", "mcc", "ece")
    files: ClassVar[Mapping[str, str]] = {"report": "report.html"}

    data: DataPart
    encoder: tuple[EncoderPart, ...]
    batch: BatchPart = field(default_factory=BatchPart)
    loss: LossPart = field(default_factory=LossPart)

    @classmethod
    def monitors(cls, task: str | None) -> tuple[str, ...]:
        """The figures by which the best epoch may be chosen."""
        return ("val_auroc", "val_average_precision", "val_loss")

    @classmethod
    def problems(cls, mapping: dict[str, Any], *, check_data: bool) -> list[str]:
        """What is wrong with the split, the model, the data and the encoders."""
        problems = []
        data, batch = mapping.get("data"), mapping.get("batch")
        split = data.get("split") if isinstance(data, dict) else None
        if isinstance(split, dict):
            problems += part_problems("data.split", split, SplitPart, _RANGES)
        if isinstance(batch, dict) and not {"pairs", "residues"} - {k for k, v in batch.items() if v is None}:
            problems.append("batch: pairs, residues or both must be given")
        if check_data:
            problems += _model(mapping.get("model"), mapping.get("encoder"))
            problems += _data(data)
            problems += _encoders(mapping.get("encoder"))
        return problems

    @property
    def data_name(self) -> str:
        """The name of its data, for the name of a run folder."""
        return Path(self.data.name or self.data.train or self.data.pairs or "data").stem

    def to_dict(self) -> dict[str, Any]:
        """The whole recipe as plain data, defaults included; a recipe again when it is read."""
        whole = super().to_dict()
        whole["data"] = {key: value for key, value in whole["data"].items() if value is not None}
        whole["encoder"] = [
            {"file": part["file"]} if part["file"] else {k: v for k, v in part.items() if k != "file"}
            for part in whole["encoder"]
        ]
        return whole


def _model(model: Any, encoder: Any) -> list[str]:
    info, problems = model_info(model)
    if info is None:
        return problems
    if info.task != Task.PROTEIN_INTERACTION:
        return [f"model.name: {info.name!r} is for {info.task}, not for {Task.PROTEIN_INTERACTION}"]
    params = model.get("params")
    params = {} if params is None else params
    if info.parameters is None or not isinstance(params, dict):
        return []
    given = {**info.config, **params}
    found = problems_with(given, info.parameters, open_parameters=info.open_parameters, missing=False)
    problems = [f"model.params.{problem}" for problem in found]
    for one in info.parameters:
        if one.required and one.name != "input_dim" and one.name not in given:
            problems.append(f"model.params.{one.name}: missing")
    wanted, width = input_dim_of(encoder), params.get("input_dim")
    if wanted is not None and isinstance(width, int) and width != wanted:
        problems.append(
            f"model.params.input_dim: {width}, but the embeddings are {wanted} wide; leave it out, it is "
            "filled in"
        )
    return problems


def input_dim_of(encoder: Any) -> int | None:
    """The width of the embeddings of a recipe's encoders, where it is known without building them."""
    total = 0
    for one in encoder if isinstance(encoder, list) else [encoder]:
        width = _width(one)
        if width is None:
            return None
        total += width
    return total


def _width(encoder: Any) -> int | None:
    if not isinstance(encoder, dict) or not isinstance(encoder.get("name"), str):
        return None
    info = _encoder_info(encoder["name"])
    width = None if info is None else {**info, **info.config}.get("embedding_dim")
    if not isinstance(width, int):
        return None
    return width * len(str(encoder.get("pooling", "none")).split("+"))


def architecture_of(encoder: str) -> str:
    """The architecture behind the name of an encoder, which may be that of a pretrained entry.

    Raises:
        RegistryError: there is neither.
    """
    from holotype.catalog.registry import default_registry as registry

    return encoder if registry.exists(encoder) else registry.get_pretrained_metadata(encoder).network


def _encoder_info(name: str) -> Any:
    from holotype.catalog.registry import default_registry as registry

    try:
        return registry.get_model_info(architecture_of(name))
    except HolotypeError:
        return None


def _encoders(encoder: Any) -> list[str]:
    several = [one for one in (encoder if isinstance(encoder, list) else [encoder]) if isinstance(one, dict)]
    problems = [problem for one in several for problem in _encoder(one)]
    if len({one.get("file") is not None for one in several}) > 1:
        problems.append("encoder: either names or files; write the embeddings with: holotype embed")
    return problems


def _encoder(encoder: dict[str, Any]) -> list[str]:
    from holotype.catalog.registry import default_registry as registry

    name, file = encoder.get("name"), encoder.get("file")
    if file is not None:
        others = [key for key, value in encoder.items() if key != "file" and value is not None]
        problems = []
        if others:
            problems.append(f"encoder.{others[0]}: the embeddings in {file!r} are made already")
        if isinstance(file, str) and not Path(file).exists():
            problems.append(f"encoder.file: the file {file!r} does not exist; make it with: holotype embed")
        return problems
    if name is None:
        return ["encoder.name: missing; for example encoder: unirep_64"]
    if not isinstance(name, str):
        return []
    info = _encoder_info(name)
    if info is None:
        known = registry.list_models(task=_EMBEDDING) + registry.list_pretrained_models(task=_EMBEDDING)
        return [
            f"encoder.name: no encoder named {name!r}{did_you_mean(name, known)} "
            f"(see all {len(known)}: holotype list --task {_EMBEDDING})"
        ]
    if info.task != _EMBEDDING:
        return [f"encoder.name: {name!r} is for {info.task}, not for {_EMBEDDING}"]
    window, overlap = encoder.get("window"), encoder.get("overlap", 0)
    if isinstance(overlap, int) and overlap and not (isinstance(window, int) and overlap < window):
        return [f"encoder.overlap: {overlap} needs a window that is larger, got window {window}"]
    return []


_EMBEDDING = "protein_embedding"


def _data(data: Any) -> list[str]:
    if not isinstance(data, dict):
        return []
    files = [key for key in ("sequences", "pairs", *_PARTS_OF_DATA) if data.get(key) is not None]
    name, split = data.get("name"), data.get("split")
    if name is not None:
        problems = [f"data.{key}: {name!r} brings its own; give a name or files" for key in files]
        return problems + (_dataset(name, split) if isinstance(name, str) else [])
    if "sequences" not in files:
        return ["data: give the name of a dataset, or sequences and train, val, test (or pairs)"]
    problems = []
    if "pairs" in files:
        problems += [
            f"data.{key}: the pairs are to be divided; give either" for key in files if key in _PARTS_OF_DATA
        ]
        if split is None:
            problems.append("data.split: missing; pairs need one, such as {protocol: c3, seed: 1}")
    else:
        problems += [f"data.{key}: missing" for key in ("train", "val") if key not in files]
        if isinstance(split, dict):
            problems += [
                f"data.split.{key}: the files are divided already; only protocol has a meaning"
                for key in split
                if key != "protocol"
            ]
    for key in files:
        several = data[key] if isinstance(data[key], list) else [data[key]]
        problems += [
            f"data.{key}: the file {one!r} does not exist"
            for one in several
            if isinstance(one, str) and not Path(one).is_file()
        ]
    return problems


_PARTS_OF_DATA = ("train", "val", "test")


def _dataset(name: str, split: Any) -> list[str]:
    from holotype.datasets import get_dataset_info, list_datasets

    if name.endswith((".yaml", ".yml", ".json")) or Path(name, "dataset.yaml").is_file():
        return [] if Path(name).exists() else [f"data.name: the file {name!r} does not exist"]
    try:
        info = get_dataset_info(name)
    except HolotypeError:
        known = list_datasets(holds="pairs")
        return [
            f"data.name: no dataset named {name!r}{did_you_mean(name, known)} (there are {', '.join(known)})"
        ]
    if info.holds != "pairs":
        return [f"data.name: {name!r} holds {info.holds}, not pairs of proteins"]
    if "pairs" in info.parts:
        if split is None:
            return [f"data.split: missing; {name!r} comes undivided: split: {{protocol: c3, seed: 1}}"]
    elif split is not None:
        return [f"data.split: {name!r} is divided already, into {', '.join(info.parts)}"]
    elif not {"train", "val"} <= set(info.parts):
        return [
            f"data.name: {name!r} has {', '.join(info.parts)} pairs only, for measuring; training needs "
            "train and val"
        ]
    return []
