"""What recipes of every kind have in common: parts, and how they are checked. Nothing here needs torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from holotype.catalog.parameters import from_facts, problems_with, shown, to_facts
from holotype.catalog.values import canonical
from holotype.errors import HolotypeError
from holotype.names import nearest
from holotype.tasks import Task

if TYPE_CHECKING:
    from holotype.records import ModelInfo

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

# What holds, and how a message calls it.
Range = tuple[Callable[[Any], bool], str]
ABOVE_0: Range = (lambda x: x > 0, "above 0")
FROM_0: Range = (lambda x: x >= 0, "0 or more")
FROM_1: Range = (lambda x: x >= 1, "1 or more")
SHARE: Range = (lambda x: 0 <= x <= 1, "0 to 1")
RANGES: Mapping[str, Range] = {
    "trainer.max_epochs": FROM_1,
    "trainer.patience": FROM_1,
    "trainer.gradient_clip": ABOVE_0,
    "trainer.accumulate": FROM_1,
    "trainer.devices": FROM_1,
    "trainer.num_nodes": FROM_1,
    "trainer.checkpoint_steps": FROM_1,
    "trainer.checkpoint_s": ABOVE_0,
    "trainer.log_steps": FROM_1,
    "optimizer.lr": ABOVE_0,
    "optimizer.weight_decay": FROM_0,
    "optimizer.betas": (lambda x: len(x) == 2 and all(0 <= b < 1 for b in x), "two numbers, each in [0, 1)"),
    "optimizer.eps": ABOVE_0,
    "scheduler.warmup": (lambda x: 0 <= x < 1, "a share of the training, in [0, 1)"),
    "scheduler.final": SHARE,
    "scheduler.factor": (lambda x: 0 < x < 1, "between 0 and 1"),
    "scheduler.patience": FROM_0,
}


@dataclass(frozen=True)
class ModelPart:
    """Which architecture.

    Attributes:
        name: a registered architecture.
        params: its parameters; what follows from the data (`input_dim`, `num_classes`) is filled in.
    """

    name: str
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainerPart:
    """How long, with what arithmetic and on which machines.

    Attributes:
        max_epochs: passes over the training examples.
        patience: stop after so many epochs without a better `monitor`; None for never.
        monitor: the figure on the validation examples by which the best epoch is chosen; ``last`` for none.
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
    monitor: str = "val_auroc"
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


@dataclass(frozen=True, kw_only=True)
class AnyRecipe:
    """A checked recipe, complete with defaults.

    Attributes:
        model: which architecture.
        trainer: how long, and how.
        optimizer: with which steps.
        scheduler: the course of the learning rate.
        seed: decides weights, order, augmentation and dropout.
        output: the run folder; None if nobody said.
        source: the file it was read from; it is no part of the recipe.
    """

    model: ModelPart
    trainer: TrainerPart = field(default_factory=TrainerPart)
    optimizer: OptimizerPart = field(default_factory=OptimizerPart)
    scheduler: SchedulerPart = field(default_factory=SchedulerPart)
    seed: int = 0
    output: str | None = None
    source: str | None = None

    @property
    def data_name(self) -> str:
        """What to call its data in the name of a run folder."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """The whole recipe as plain data, defaults included; a recipe again when it is read."""
        whole = {key: value for key, value in asdict(self).items() if key != "source"}
        # The parts that every recipe has come last, as one writes them.
        last = ("trainer", "optimizer", "scheduler", "loss", "seed", "output")
        whole = {k: v for k, v in whole.items() if k not in last} | {k: whole[k] for k in last}
        if whole["output"] is None:
            del whole["output"]
        return whole

    def digest(self) -> str:
        """The sha256 of all that decides the result; where and on how many machines does not."""
        return sha256(canonical(self.deciding()).encode("ascii")).hexdigest()

    def deciding(self) -> dict[str, Any]:
        """The recipe by dotted key, without what does not change the result (`FREE`)."""
        return {key: value for key, value in flat(self.to_dict()).items() if key not in FREE}


@dataclass(frozen=True)
class Kind:
    """What a recipe of one kind may hold.

    Attributes:
        tasks: of models that it trains.
        parts: key -> class of the part; `Any` values are checked by `check`.
        examples: what must be given -> how it is written.
        short: keys where a text stands for ``{name: text}``.
        ranges: ``part.key`` -> what holds, and how a message calls it.
        monitors: figures to choose the best epoch by, for a task; the first is the default.
        complete: fill in what follows from the rest, before anything is checked.
        check: problems of the model, the data and what else a signature does not tell.
        make: the recipe, from what was found to be right.
    """

    tasks: frozenset[str]
    parts: Mapping[str, type | None]
    examples: Mapping[str, str]
    short: frozenset[str]
    ranges: Mapping[str, Range]
    monitors: Callable[[Any], tuple[str, ...]]
    complete: Callable[[dict[str, Any]], None]
    check: Callable[[dict[str, Any], bool], list[str]]
    make: Callable[[dict[str, Any], str | None], AnyRecipe]

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys."""
        return (*self.parts, "seed", "output")


def flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping by dotted keys."""
    out: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            out.update(flat(value, f"{prefix}{key}."))
        else:
            out[f"{prefix}{key}"] = value
    return out


def part_problems(key: str, value: Any, cls: type, ranges: Mapping[str, Range]) -> list[str]:
    """Problems of keys, types and ranges of one part. Numbers that YAML 1.1 takes for text are put right."""
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
        fits, expected = ranges.get(f"{key}.{name}", (None, ""))
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


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The end of a message: the nearest name, if any is near."""
    close = nearest(given, known, count=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def short(error: HolotypeError) -> str:
    """An error of the registry in one line."""
    return " ".join(line.strip() for line in str(error).splitlines())


def model_info(model: Any) -> tuple[ModelInfo | None, list[str]]:
    """What is known of the architecture that a recipe's `model` names, if it can be used; or problems."""
    if not isinstance(model, dict) or not isinstance(model.get("name"), str):
        return None, []
    from holotype.catalog.registry import default_registry as registry

    try:
        info = registry.get_model_info(model["name"])
    except HolotypeError as error:
        entry = None
        if registry.pretrained_exists(model["name"]):
            entry = registry.get_pretrained_metadata(model["name"])
        if entry is not None and entry.task not in (Task.PROTEIN_INTERACTION, Task.PROTEIN_EMBEDDING):
            return None, [
                f"model.name: {model['name']!r} is a pretrained entry; write model: {entry.network} and "
                f"from_pretrained: {entry.name}"
            ]
        return None, [f"model.name: {short(error)}"]
    if info.problem is not None:
        return None, [f"model.name: {model['name']!r} cannot be used: {info.problem}"]
    return info, []
