"""A teacher that follows its student as a moving average, and the schedules of such a training.

Source: Tarvainen and Valpola 2017, "Mean Teachers", section 2; as used in Grill et al. 2020 (BYOL), equation
1, and Caron et al. 2021 (DINO), section 3.1.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from holotype.vision.models.interface import ImageClassifier


class Teacher(nn.Module):
    """Copies of a student's modules, equal to them at first; they learn nothing from gradients.

    It is always in evaluation mode: nothing is dropped. Only its batch norms use the statistics of the batch
    in training, as the student's do, and collect their own running statistics.

    Attributes:
        encoder: its encoder.
        projector: its head, where the student has one.
        patch_projector: its head for patches, where the student has one.
    """

    encoder: ImageClassifier
    projector: nn.Module
    patch_projector: nn.Module

    def __init__(self, student: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, module in copy.deepcopy(dict(student)).items():
            self.add_module(name, module)
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Teacher:
        """Evaluation mode always; batch norms follow `mode`."""
        super().train(False)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.train(mode)
        return self

    @torch.no_grad()
    def follow(self, student: Mapping[str, nn.Module], momentum: float) -> None:
        """Each parameter becomes ``momentum * own + (1 - momentum) * student's`` (BYOL, equation 1)."""
        pairs = list(self._pairs(student))
        torch._foreach_lerp_([own for own, _ in pairs], [other for _, other in pairs], 1.0 - momentum)

    @torch.no_grad()
    def copy_from(self, student: Mapping[str, nn.Module]) -> None:
        """Be equal to the student again, running statistics included."""
        for name, module in student.items():
            self.get_submodule(name).load_state_dict(module.state_dict())

    def _pairs(self, student: Mapping[str, nn.Module]) -> Iterator[tuple[Tensor, Tensor]]:
        for name, module in student.items():
            yield from zip(self.get_submodule(name).parameters(), module.parameters(), strict=True)


def linear(start: float, end: float, done: float) -> float:
    """From `start` to `end` in a straight line, as `done` goes from 0 to 1."""
    return start + (end - start) * min(max(done, 0.0), 1.0)


def cosine(start: float, end: float, done: float) -> float:
    """From `start` to `end` along half a cosine, as `done` goes from 0 to 1 (BYOL, section 3.3)."""
    return end - (end - start) * (math.cos(math.pi * min(max(done, 0.0), 1.0)) + 1) / 2


def warmed_up(start: float, end: float, done: float, share: float) -> float:
    """From `start` to `end` in a straight line over the first `share` of the training, then `end`."""
    return linear(start, end, done / share) if share > 0 else end
