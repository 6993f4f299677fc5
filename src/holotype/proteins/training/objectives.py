"""The objective of a training on pairs of proteins: its loss, and what is measured.

Shapes: P pairs; H width of an encoded protein.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from holotype.training.objective import Outcome

if TYPE_CHECKING:
    import numpy as np

    from holotype.proteins.training.batches import PairBatch

_PAIRS_AT_ONCE = 16_384  # in evaluation, to keep the head's activations small


def pair_logits(net: nn.Module, batch: PairBatch) -> Tensor:
    """Logits of pairs; a model that encodes each protein alone encodes each distinct one once.

    The same as `forward` on the pairs, and the same gradients; where dropout is active, a protein is
    dropped out alike in all pairs of the batch.

    Returns:
        (P,) logits.
    """
    if not getattr(net, "encodes_alone", False):
        (emb_a, lengths_a), (emb_b, lengths_b) = batch.sides()
        logits: Tensor = net(emb_a, emb_b, lengths_a, lengths_b)
        return logits
    encode: Callable[..., Tensor] = net.encode  # type: ignore[assignment]
    score: Callable[..., Tensor] = net.score  # type: ignore[assignment]
    encoded_nH = torch.cat([encode(emb, lengths) for emb, lengths in batch.proteins()])  # noqa: N806
    if torch.is_grad_enabled():
        return score(encoded_nH[batch.a], encoded_nH[batch.b])
    slices = [slice(at, at + _PAIRS_AT_ONCE) for at in range(0, len(batch), _PAIRS_AT_ONCE)]
    return torch.cat([score(encoded_nH[batch.a[some]], encoded_nH[batch.b[some]]) for some in slices])


class PairObjective:
    """The interaction of two proteins: binary cross-entropy; measures AUROC and average precision.

    Args:
        positive_weight: the weight of an interacting pair.
        label_smoothing: s turns the labels 0 and 1 into s / 2 and 1 - s / 2.
    """

    def __init__(self, *, positive_weight: float = 1.0, label_smoothing: float = 0.0) -> None:
        self.positive_weight, self.label_smoothing = positive_weight, label_smoothing
        self.directions: dict[str, Literal["max", "min"]] = {
            "loss": "min",
            "auroc": "max",
            "average_precision": "max",
        }

    def __call__(self, net: nn.Module, batch: PairBatch) -> Outcome:
        """Apply the network to pairs."""
        logits = pair_logits(net, batch).float()
        targets = batch.labels * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(
            logits,
            targets,
            pos_weight=torch.tensor(self.positive_weight, device=logits.device),
            reduction="sum",
        )
        return Outcome(losses * batch.weight, logits.detach(), batch.labels)

    def measure(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """AUROC and average precision of logits; NaN where there is one class only."""
        from holotype.proteins.evaluation.metrics import auroc, average_precision

        labels, logits = targets.numpy().astype("int8"), outputs.numpy()
        if labels.size == 0 or labels.min() == labels.max():
            return {"auroc": float("nan"), "average_precision": float("nan")}
        return {
            "auroc": float(auroc(labels, logits)),
            "average_precision": float(average_precision(labels, logits)),
        }


def balancing_weight(labels: np.ndarray) -> float:
    """The weight of a positive example that makes both classes weigh the same; 1 where one is empty."""
    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    return negatives / positives if positives and negatives else 1.0
