"""Objectives: the loss of a batch and the metrics of a validation set. One loop serves all of them.

An objective returns the *sum* of the losses of a batch, not the mean: the loop divides by the examples of the
whole step, so that portions of memory, accumulated batches and processes change nothing.

Shapes: N examples.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol

from torch import Tensor, nn


class Outcome(NamedTuple):
    """The outcome of one batch.

    Attributes:
        loss: (), the sum of the losses of its examples.
        outputs: (N, …) what the network returned.
        targets: (N, …) what was expected.
    """

    loss: Tensor
    outputs: Tensor
    targets: Tensor


class Objective(Protocol):
    """The loss and the metrics of a task, for the loop.

    Attributes:
        directions: for each figure that `measure` gives, and for ``"loss"``: is more better?
    """

    directions: dict[str, Literal["max", "min"]]

    def __call__(self, net: nn.Module, batch: Any) -> Outcome:
        """Apply the network to a batch."""
        ...

    def measure(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Figures of a whole validation set; on the CPU, in float32."""
        ...
