"""The focal loss, and how a classifier of rare objects starts.

Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", arXiv 1708.02002, section 3 (equation 5),
section 3.3 and section 4.1 (initialisation).
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

PRIOR = 0.01
"""The probability that every place gives to every class at the start (pi in section 4.1)."""


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """The loss of every logit by itself: ``-alpha_t (1 - p_t)^gamma log p_t``.

    Args:
        logits: any shape.
        targets: of the same shape, 1 where the class is right and 0 elsewhere.
        alpha: weight of right classes; the others have 1 - alpha.
        gamma: how much less what is known already counts; with 0 and alpha 1/2 it is half the cross entropy.

    Returns:
        Of the same shape, in single precision at least.
    """
    logits = logits.float() if logits.element_size() < 4 else logits
    targets = targets.to(logits.dtype)
    p = logits.sigmoid()
    wrong = p * (1 - targets) + (1 - p) * targets  # 1 - p_t
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return weight * wrong**gamma * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def start_rare(classifier: nn.Conv2d | nn.Linear) -> None:
    """Initialise the last layer of a classifier such that everything has the probability `PRIOR`."""
    nn.init.normal_(classifier.weight, std=0.01)
    if classifier.bias is not None:
        nn.init.constant_(classifier.bias, -math.log((1 - PRIOR) / PRIOR))
