"""The parts that every recipe has, and how a part is checked. Nothing here needs torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from holotype.catalog.parameters import from_facts, problems_with, to_facts
from holotype.text import shown

# What must hold, and the words for it.
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
            A recipe's default is the first of `Recipe.monitors`.
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
    monitor: str = "val_loss"
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


def part_problems(key: str, value: Any, cls: type, ranges: Mapping[str, Range]) -> list[str]:
    """Problems of keys, types and ranges of one part of a recipe."""
    if not isinstance(value, dict):
        return [f"{key}: expected a mapping, got {shown(value)} ({type(value).__name__})"]
    parameters, _ = from_facts(to_facts(cls))
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
