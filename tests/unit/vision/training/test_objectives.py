"""Objectives of images: sums, weights, augmentation and figures are right."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from holotype.vision.models.detection.interface import Detections
from holotype.vision.training.objectives import (
    ImageClassification,
    ObjectDetection,
    boxes_of,
    detections_of,
    padded,
)

PLAIN: dict[str, Any] = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}


def images(count: int = 6, *, weight: float = 1.0) -> SimpleNamespace:
    return SimpleNamespace(images=torch.rand(count, 3, 4, 4), targets=torch.arange(count) % 3, weight=weight)


def test_images_are_normalised_and_the_loss_is_their_sum() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    batch = images()
    objective = ImageClassification(mean=[0.1, 0.2, 0.3], std=[1.0, 2.0, 4.0], label_smoothing=0.1)
    mean, std = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1), torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1)
    expected = F.cross_entropy(net((batch.images - mean) / std), batch.targets, label_smoothing=0.1) * 6
    torch.testing.assert_close(objective(net, batch).loss, expected)
    assert objective(net, SimpleNamespace(**{**vars(batch), "weight": 0.0})).loss == 0


def test_images_are_augmented_in_training_only() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    objective = ImageClassification(
        augment=lambda given, classes: (given * 0, F.one_hot(classes, 3).float()), **PLAIN
    )
    batch = images()
    dark = F.cross_entropy(net(batch.images * 0), batch.targets, reduction="sum")
    torch.testing.assert_close(objective(net, batch).loss, dark)
    seen = F.cross_entropy(net(batch.images), batch.targets, reduction="sum")
    torch.testing.assert_close(objective(net.eval(), batch).loss, seen)


def test_what_is_frozen_stays_in_evaluation_mode() -> None:
    norm = nn.BatchNorm2d(3)
    net = nn.Sequential(norm, nn.Flatten(), nn.Linear(48, 3))
    ImageClassification(frozen=[norm], **PLAIN)(net.train(), images())
    assert norm.running_mean is not None
    assert torch.equal(norm.running_mean, torch.zeros(3))


def test_detections_are_padded_and_come_back() -> None:
    found = [
        Detections(torch.rand(2, 4), torch.tensor([0.9, 0.1]), torch.tensor([1, 0])),
        Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long)),
    ]
    for one, back in zip(found, detections_of(padded(found)), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, back, strict=True))


def test_boxes_that_are_padding_or_empty_are_left_out() -> None:
    rows = torch.tensor([[0.0, 0, 4, 4, 2], [3, 0, 3, 4, 1], [-1, -1, -1, -1, -1]])
    (boxes,) = boxes_of(rows[None])
    assert boxes.labels.tolist() == [2]
    assert boxes.boxes.tolist() == [[0, 0, 4, 4]]


def test_a_detector_that_finds_everything_is_told_so() -> None:
    pytest.importorskip("pycocotools")
    targets = torch.tensor([[[0.0, 0, 20, 20, 1], [30, 30, 60, 50, 0]]])
    found = torch.cat([targets[..., :4], torch.ones(1, 2, 1), targets[..., 4:]], dim=-1)
    objective = ObjectDetection(num_classes=2, **PLAIN)
    assert objective.measure(found, targets)["map"] == pytest.approx(1.0)
    assert objective.measure(found[:, :1], targets)["map"] == pytest.approx(0.5)
