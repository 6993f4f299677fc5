"""The optimizer, and the course of its learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from holotype.training.recipe_parts import OptimizerPart, SchedulerPart


def make_optimizer(net: nn.Module, part: OptimizerPart) -> torch.optim.Optimizer:
    """AdamW; what has fewer than two dimensions (biases, norms, scales) is not decayed."""
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": part.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    betas = (part.betas[0], part.betas[1])
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=part.lr, betas=betas, eps=part.eps
    )


class LearningRate:
    """The learning rate as a function of how much of the training is done.

    Source of ``one_cycle``: Smith and Topin 2018, "Super-Convergence", with cosine flanks as in torch's
    OneCycleLR, from a 25th of the highest rate; differs: the momentum stays.
    """

    def __init__(self, part: SchedulerPart, highest: float) -> None:
        self._part, self.highest = part, highest
        self._warmup = part.warmup if part.warmup is not None else 0.3 if part.name == "one_cycle" else 0.0
        self.factor, self.bad_epochs, self.best = 1.0, 0, -math.inf

    def at(self, done: float) -> float:
        """The rate after this share of the training, 0 to 1."""
        warmup, name, final = self._warmup, self._part.name, self._part.final
        if done < warmup:
            up = done / warmup
            if name == "one_cycle":
                up = 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * up)) / 2
            return self.highest * self.factor * up
        if name in ("one_cycle", "cosine"):
            down = (done - warmup) / (1 - warmup)
            return self.highest * (final + (1 - final) * (1 + math.cos(math.pi * down)) / 2)
        return self.highest * self.factor

    def observe(self, value: float) -> None:
        """Take note of the monitored figure of an epoch, signed so that more is better."""
        if value > self.best:
            self.best, self.bad_epochs = value, 0
            return
        self.bad_epochs += 1
        if self._part.name == "plateau" and self.bad_epochs > self._part.patience:
            self.factor *= self._part.factor
            self.bad_epochs = 0

    def state(self) -> dict[str, float]:
        """The values that change during a training."""
        return {"factor": self.factor, "bad_epochs": self.bad_epochs, "best": self.best}

    def restore(self, state: Mapping[str, float]) -> None:
        """Restore what `state` returned."""
        self.factor, self.best = state["factor"], state["best"]
        self.bad_epochs = int(state["bad_epochs"])
