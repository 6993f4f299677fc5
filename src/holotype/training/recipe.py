"""Recipes: a YAML file that says what to train, on what, and how.

::

    model: {name: v1, params: {hidden_dim: 128, symmetry: sum}}
    data: bernett
    encoder: {name: unirep_256, pooling: mean}
    batch: {pairs: 512}
    trainer: {max_epochs: 20, patience: 4}
    optimizer: {lr: 0.001, weight_decay: 0.05}
    scheduler: one_cycle
    seed: 1

Only `model`, `data` and `encoder` are required. Everything is checked, and every problem told at once, before
anything starts; neither torch nor a model's file is imported for it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from holotype.config import read, read_yaml
from holotype.errors import ConfigError, HolotypeError
from holotype.names import nearest
from holotype.origin import canonical
from holotype.parameters import from_facts, problems_with, shown, to_facts
from holotype.tasks import Task

# What a recipe may hold, aliases written out.
_MOST_VALUES = 100_000
# What may differ between a run and its continuation: where and how it is computed, not what.
FREE = frozenset(
    {
        "output",
        *(
            f"trainer.{key}"
            for key in ("accelerator", "devices", "num_nodes", "strategy", "checkpoint_steps", "checkpoint_s")
        ),
    }
)


@dataclass(frozen=True)
class ModelPart:
    """Which architecture.

    Attributes:
        name: a registered architecture.
        params: its parameters; `input_dim` is filled in from the encoder.
    """

    name: str
    params: dict[str, Any] = field(default_factory=dict)


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
class TrainerPart:
    """How long, with what arithmetic and on which machines.

    Attributes:
        max_epochs: passes over the training pairs.
        patience: stop after so many epochs without a better `monitor`; None for never.
        monitor: the figure on the validation pairs by which the best epoch is chosen.
        gradient_clip: the largest norm of a gradient; None for no limit.
        accumulate: batches that make one step of the optimizer.
        precision: float32, or mixed with bfloat16 or float16 (GPU only).
        accelerator: ``auto`` takes a GPU where there is one.
        devices: processes on this machine; ``auto`` for all GPUs, or one on a CPU.
        num_nodes: machines.
        strategy: ``auto``, or Lightning's ``ddp`` for several processes.
        checkpoint_steps: write a checkpoint every so many steps, besides at the end of each epoch.
        checkpoint_s: and whenever so many seconds have passed.
        log_steps: log the training loss every so many steps.
        tensorboard: write TensorBoard logs beside the CSV.
    """

    max_epochs: int = 20
    patience: int | None = 5
    monitor: Literal["val_auroc", "val_average_precision", "val_loss"] = "val_auroc"
    gradient_clip: float | None = 1.0
    accumulate: int = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int | Literal["auto"] = "auto"
    num_nodes: int = 1
    strategy: Literal["auto", "ddp"] = "auto"
    checkpoint_steps: int | None = None
    checkpoint_s: float = 300.0
    log_steps: int = 50
    tensorboard: bool = True


@dataclass(frozen=True)
class OptimizerPart:
    """AdamW (Loshchilov and Hutter 2019). Biases and norms are not decayed.

    Attributes:
        name: the optimizer.
        lr: the highest learning rate.
        weight_decay: decoupled decay of weights.
        betas: decay rates of the two moments.
        eps: added to the denominator.
    """

    name: Literal["adamw"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8


@dataclass(frozen=True)
class SchedulerPart:
    """The course of the learning rate.

    Attributes:
        name: ``one_cycle``: up along a cosine during the warm-up, down along a cosine; ``cosine``:
            straight up, then down along a cosine; ``plateau``: lower by `factor` after `patience`
            epochs without a better `monitor`; ``constant``.
        warmup: the share of the training during which the rate rises; None for 0.3 with ``one_cycle``
            and 0 otherwise.
        final: the last rate, as a share of the highest one; for ``one_cycle`` and ``cosine``.
        factor: see ``plateau``.
        patience: see ``plateau``.
    """

    name: Literal["one_cycle", "cosine", "plateau", "constant"] = "one_cycle"
    warmup: float | None = None
    final: float = 0.0
    factor: float = 0.5
    patience: int = 2


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
        max_identity: keep proteins more alike than this on one side.
        tool: what compares sequences.
    """

    protocol: Literal["c1", "c2", "c3"]
    seed: int = 0
    fractions: list[float] = field(default_factory=lambda: [0.8, 0.1, 0.1])
    max_identity: float | None = None
    tool: str | None = None


@dataclass(frozen=True)
class DataPart:
    """What to train on: a dataset by its name, or one's own files.

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


@dataclass(frozen=True)
class Recipe:
    """A checked recipe, complete with defaults.

    Attributes:
        encoder: one or several; the embeddings of several are joined along their width.
        output: the run folder; None if nobody said.
        source: the file it was read from; it is no part of the recipe.
    """

    model: ModelPart
    data: DataPart
    encoder: tuple[EncoderPart, ...]
    batch: BatchPart = field(default_factory=BatchPart)
    trainer: TrainerPart = field(default_factory=TrainerPart)
    optimizer: OptimizerPart = field(default_factory=OptimizerPart)
    scheduler: SchedulerPart = field(default_factory=SchedulerPart)
    loss: LossPart = field(default_factory=LossPart)
    seed: int = 0
    output: str | None = None
    source: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The whole recipe as plain data, defaults included; a recipe again when it is read."""
        whole = asdict(self)
        del whole["source"]
        whole["data"] = {key: value for key, value in whole["data"].items() if value is not None}
        whole["encoder"] = [
            {"file": part["file"]} if part["file"] else {k: v for k, v in part.items() if k != "file"}
            for part in whole["encoder"]
        ]
        if whole["output"] is None:
            del whole["output"]
        return whole

    def digest(self) -> str:
        """The sha256 of all that decides the result; where and on how many machines does not."""
        from hashlib import sha256

        return sha256(canonical(self.deciding()).encode("ascii")).hexdigest()

    def deciding(self) -> dict[str, Any]:
        """The recipe by dotted key, without what does not change the result (`FREE`)."""
        return {key: value for key, value in flat(self.to_dict()).items() if key not in FREE}


_PARTS: dict[str, type] = {
    "model": ModelPart,
    "data": DataPart,
    "encoder": EncoderPart,
    "batch": BatchPart,
    "trainer": TrainerPart,
    "optimizer": OptimizerPart,
    "scheduler": SchedulerPart,
    "loss": LossPart,
}
_KEYS = (*_PARTS, "seed", "output")
_REQUIRED = ("model", "data", "encoder")
_SHORT = ("model", "data", "encoder", "optimizer", "scheduler", "loss")  # a text stands for {name: text}

# key -> (what holds, how a message calls it)
_ABOVE_0 = (lambda x: x > 0, "above 0")
_FROM_0 = (lambda x: x >= 0, "0 or more")
_FROM_1 = (lambda x: x >= 1, "1 or more")
_SHARE = (lambda x: 0 <= x <= 1, "0 to 1")
_RANGES: dict[str, tuple[Any, str]] = {
    "batch.pairs": _FROM_1,
    "batch.residues": _FROM_1,
    "batch.sharing": _FROM_1,
    "trainer.max_epochs": _FROM_1,
    "trainer.patience": _FROM_1,
    "trainer.gradient_clip": _ABOVE_0,
    "trainer.accumulate": _FROM_1,
    "trainer.devices": _FROM_1,
    "trainer.num_nodes": _FROM_1,
    "trainer.checkpoint_steps": _FROM_1,
    "trainer.checkpoint_s": _ABOVE_0,
    "trainer.log_steps": _FROM_1,
    "optimizer.lr": _ABOVE_0,
    "optimizer.weight_decay": _FROM_0,
    "optimizer.betas": (lambda x: len(x) == 2 and all(0 <= b < 1 for b in x), "two numbers, each in [0, 1)"),
    "optimizer.eps": _ABOVE_0,
    "scheduler.warmup": (lambda x: 0 <= x < 1, "a share of the training, in [0, 1)"),
    "scheduler.final": _SHARE,
    "scheduler.factor": (lambda x: 0 < x < 1, "between 0 and 1"),
    "scheduler.patience": _FROM_0,
    "loss.positive_weight": _ABOVE_0,
    "loss.label_smoothing": (lambda x: 0 <= x < 1, "in [0, 1)"),
    "encoder.window": _FROM_1,
    "encoder.overlap": _FROM_0,
    "data.split.seed": _FROM_0,
    "data.split.max_identity": (lambda x: 0 < x <= 1, "above 0, at most 1"),
    "data.split.fractions": (
        lambda x: len(x) == 3 and all(f > 0 for f in x) and math.isclose(sum(x), 1, abs_tol=1e-6),
        "three shares above 0 whose sum is 1",
    ),
}


def load_recipe(
    source: Mapping[str, Any] | str | os.PathLike[str] | Recipe,
    overrides: Iterable[str] = (),
    *,
    output: str | os.PathLike[str] | None = None,
    check_data: bool = True,
) -> Recipe:
    """Read a recipe and check all of it.

    Args:
        source: a YAML file, a run folder, a mapping, or a recipe.
        overrides: ``"trainer.max_epochs=3"``: a dotted key, and a value as YAML writes it.
        output: the run folder, whatever the recipe says.
        check_data: look whether model, encoder and data are there.

    Raises:
        ConfigError: it lists every problem of keys, values, model, encoder and data.
    """
    what = "the recipe"
    path = None
    if isinstance(source, Recipe):
        path, source = source.source, source.to_dict()
    elif not isinstance(source, Mapping):
        path = what = os.fspath(source)
        if Path(path, "recipe.yaml").is_file():
            output = path if output is None else output
            path = source = os.path.join(path, "recipe.yaml")  # noqa: PTH118 - text, as it was given
        if not Path(path).is_file():
            raise _no_file(path)
    mapping = {key: _spelled_out(key, value) for key, value in _copy(read(source)).items()}
    problems = [problem for override in overrides for problem in _override(mapping, override)]
    if output is not None:
        mapping["output"] = os.fspath(output)
    problems += _shape(mapping)
    if check_data:
        problems += _model(mapping.get("model"), mapping.get("encoder"))
        problems += _data(mapping.get("data"))
        problems += _encoders(mapping.get("encoder"))
    if problems:
        problems = list(dict.fromkeys(problems))
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise ConfigError(f"{what} cannot be used:\n{lines}", problems=problems, given=path)
    encoders = mapping["encoder"]
    parts = {key: cls(**(mapping.get(key) or {})) for key, cls in _PARTS.items() if key != "encoder"}
    return Recipe(
        **parts,
        encoder=tuple(EncoderPart(**one) for one in (encoders if isinstance(encoders, list) else [encoders])),
        seed=mapping.get("seed", 0),
        output=mapping.get("output"),
        source=path,
    )


def flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping by dotted keys."""
    out: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            out.update(flat(value, f"{prefix}{key}."))
        else:
            out[f"{prefix}{key}"] = value
    return out


def _no_file(path: str) -> ConfigError:
    folder = Path(path).parent
    beside = [str(one) for one in sorted(folder.glob("*.y*ml"))] if folder.is_dir() else []
    return ConfigError(
        f"there is no recipe {path!r}.",
        given=path,
        nearest=nearest(path, beside),
        hint=f"Recipes there: {', '.join(Path(one).name for one in beside[:8])}" if beside else None,
    )


def _copy(value: Any, left: list[int] | None = None) -> Any:
    """A copy, of reasonable size: a few lines of nested YAML aliases stand for gigabytes."""
    left = [_MOST_VALUES] if left is None else left
    left[0] -= 1
    if left[0] < 0:
        raise ConfigError(f"a recipe holds at most {_MOST_VALUES:,} values, and this one holds more.")
    if isinstance(value, Mapping):
        return {key: _copy(item, left) for key, item in value.items()}
    return [_copy(item, left) for item in value] if isinstance(value, (list, tuple)) else value


def _spelled_out(key: Any, value: Any) -> Any:
    """The long form of what may be written short: ``data: bernett`` is ``data: {name: bernett}``."""
    if key in _SHORT and isinstance(value, str):
        return {"name": value}
    if key == "encoder" and isinstance(value, list):
        return [_spelled_out(key, one) for one in value]
    return value


def _override(mapping: dict[str, Any], text: str) -> list[str]:
    import yaml

    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        return [f"{text}: not key=value; write trainer.max_epochs=3"]
    try:
        read_value = read_yaml(value)
    except yaml.YAMLError as error:
        return [f"{key}: the value {shown(value)} is not YAML: {str(error).splitlines()[0]}"]
    place: Any = mapping
    for depth, part in enumerate(parts[:-1]):
        inner = place.get(part)
        if inner is None:
            inner = place[part] = {}
        if isinstance(inner, list) and len(inner) == 1:
            inner = inner[0]  # a list of one encoder
        if not isinstance(inner, dict):
            return [f"{key}: {'.'.join(parts[: depth + 1])} is {shown(inner)}, which has no keys of its own"]
        place = inner
    place[parts[-1]] = _spelled_out(key, read_value)
    return []


def _shape(mapping: dict[str, Any]) -> list[str]:
    """Problems of keys, types and ranges. Numbers that YAML 1.1 takes for text are put right."""
    problems = [f"{key}: no such key{_did_you_mean(str(key), _KEYS)}" for key in mapping if key not in _KEYS]
    for key in _REQUIRED:
        if mapping.get(key) is None:
            problems.append(f"{key}: missing; for example {key}: {_EXAMPLE[key]}")
    for key, cls in _PARTS.items():
        value = mapping.get(key)
        if value is None:
            mapping.pop(key, None)
        elif key == "encoder" and isinstance(value, list):
            if not value:
                problems.append("encoder: an empty list")
            for one in value:
                problems += _part("encoder", one, cls)
        else:
            problems += _part(key, value, cls)
    data = mapping.get("data")
    split = data.get("split") if isinstance(data, dict) else None
    if isinstance(split, dict):
        problems += _part("data.split", split, SplitPart)
    batch = mapping.get("batch")
    if isinstance(batch, dict) and not {"pairs", "residues"} - {k for k, v in batch.items() if v is None}:
        problems.append("batch: pairs, residues or both must be given")
    seed, output = mapping.get("seed", 0), mapping.get("output")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        problems.append(f"seed: expected a whole number from 0 to {2**32 - 1}, got {shown(seed)}")
    if output is not None and (not isinstance(output, str) or not output):
        problems.append(f"output: expected the path of a folder, got {shown(output)}")
    trainer = mapping.get("trainer")
    trainer = trainer if isinstance(trainer, dict) else {}
    if trainer.get("precision") == "16-mixed" and trainer.get("accelerator") == "cpu":
        problems.append("trainer.precision: 16-mixed needs a GPU; on a CPU there is bf16-mixed")
    return problems


_EXAMPLE = {"model": "{name: v1}", "data": "bernett", "encoder": "unirep_64"}


def _part(key: str, value: Any, cls: type) -> list[str]:
    if not isinstance(value, dict):
        return [f"{key}: expected a mapping, got {shown(value)} ({type(value).__name__})"]
    parameters, _ = from_facts(to_facts(cls))
    hints = {one.name: str(one.type) for one in fields(cls)}
    for name, given in value.items():
        if "float" in hints.get(name, "") and "str" not in hints[name]:
            value[name] = [_number(one) for one in given] if isinstance(given, list) else _number(given)
    found = problems_with(value, parameters or ())
    problems = [f"{key}.{problem.replace('no such parameter', 'no such key')}" for problem in found]
    wrong = {problem.partition(":")[0] for problem in found}
    for name, given in value.items():
        fits, expected = _RANGES.get(f"{key}.{name}", (None, ""))
        if fits is None or name in wrong or given is None or isinstance(given, str):
            continue
        if not fits(given) or (isinstance(given, float) and not math.isfinite(given)):
            problems.append(f"{key}.{name}: expected {expected}, got {shown(given)}")
    return problems


def _number(value: Any) -> Any:
    """``1e-3`` is a number in YAML 1.2 and in every head, and text in YAML 1.1."""
    if isinstance(value, str) and "e" in value.lower():
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _did_you_mean(given: str, known: Iterable[str]) -> str:
    close = nearest(given, known, count=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _short(error: HolotypeError) -> str:
    """An error of the registry in one line."""
    return " ".join(line.strip() for line in str(error).splitlines())


def _model(model: Any, encoder: Any) -> list[str]:
    if not isinstance(model, dict) or not isinstance(model.get("name"), str):
        return []
    from holotype.registries import default_registry as registry

    try:
        info = registry.get_model_info(model["name"])
    except HolotypeError as error:
        return [f"model.name: {_short(error)}"]
    if info.problem is not None:
        return [f"model.name: {model['name']!r} cannot be used: {info.problem}"]
    if info.task != Task.PROTEIN_INTERACTION:
        return [f"model.name: {info.name!r} is for {info.task}, not for {Task.PROTEIN_INTERACTION}"]
    params = model.get("params")
    params = {} if params is None else params
    if info.parameters is None or not isinstance(params, dict):
        return []
    found = problems_with(
        {**info.config, **params}, info.parameters, open_parameters=info.open_parameters, missing=False
    )
    problems = [f"model.params.{problem}" for problem in found]
    for one in info.parameters:
        if one.required and one.name != "input_dim" and one.name not in {**info.config, **params}:
            problems.append(f"model.params.{one.name}: missing")
    wanted, given = input_dim_of(encoder), params.get("input_dim")
    if wanted is not None and isinstance(given, int) and given != wanted:
        problems.append(
            f"model.params.input_dim: {given}, but the embeddings are {wanted} wide; leave it out, it is "
            "filled in"
        )
    return problems


def input_dim_of(encoder: Any) -> int | None:
    """The width of the embeddings of a recipe's encoders, where it can be told without building them."""
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
    from holotype.registries import default_registry as registry

    return encoder if registry.exists(encoder) else registry.get_pretrained_metadata(encoder).network


def _encoder_info(name: str) -> Any:
    from holotype.registries import default_registry as registry

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
    from holotype.registries import default_registry as registry

    name, file = encoder.get("name"), encoder.get("file")
    if file is not None:
        others = [key for key, value in encoder.items() if key != "file" and value is not None]
        problems = []
        if others:
            problems.append(f"encoder.{others[0]}: the embeddings in {file!r} are made already")
        if isinstance(file, str) and not Path(file).exists():
            problems.append(f"encoder.file: there is no file {file!r}; make it with: holotype embed")
        return problems
    if name is None:
        return ["encoder.name: missing; for example encoder: unirep_64"]
    if not isinstance(name, str):
        return []
    info = _encoder_info(name)
    if info is None:
        known = registry.list_models(task=_EMBEDDING) + registry.list_pretrained_models(task=_EMBEDDING)
        return [
            f"encoder.name: no encoder named {name!r}{_did_you_mean(name, known)} "
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
            f"data.{key}: there is no file {one!r}"
            for one in several
            if isinstance(one, str) and not Path(one).is_file()
        ]
    return problems


_PARTS_OF_DATA = ("train", "val", "test")


def _dataset(name: str, split: Any) -> list[str]:
    from holotype.data.datasets import get_dataset_info, list_datasets

    if name.endswith((".yaml", ".yml", ".json")) or Path(name, "dataset.yaml").is_file():
        return [] if Path(name).exists() else [f"data.name: there is no file {name!r}"]
    try:
        info = get_dataset_info(name)
    except HolotypeError:
        known = list_datasets()
        return [
            f"data.name: no dataset named {name!r}{_did_you_mean(name, known)} (there are {', '.join(known)})"
        ]
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
