"""Objectives: encoding each protein once gives what `forward` gives; sums, weights and figures are right."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import holotype
from holotype.training.batches import PairReader
from holotype.training.objectives import ClassificationObjective, PairObjective, balancing_weight, pair_logits
from holotype.vision.models.detection.interface import Detections
from holotype.vision.training.objectives import (
    ImageClassification,
    ObjectDetection,
    boxes_of,
    detections_of,
    knn_accuracy,
    padded,
)
from training_sets import DIM, MemoryEmbeddings, embeddings, pairs


def by_forward(net: nn.Module, emb: MemoryEmbeddings, table, indices) -> torch.Tensor:
    """One pair at a time, without padding."""
    logits = []
    for at in indices:
        a, b = (torch.from_numpy(emb[names[at]]).unsqueeze(0) for names in (table.names_a, table.names_b))
        logits.append(net(a, b, torch.tensor([a.shape[1]]), torch.tensor([b.shape[1]])))
    return torch.cat(logits)


@pytest.mark.parametrize("name", ["v1", "v2", "multihead_attention", "cross_attention"])
@pytest.mark.parametrize("symmetry", ["none", "sum"])
def test_logits_and_gradients_are_those_of_forward(name: str, symmetry: str) -> None:
    torch.manual_seed(0)
    net = holotype.create_model(name, input_dim=DIM, hidden_dim=8, dropout=0.0, symmetry=symmetry)
    emb, table, indices = embeddings(8, longest=9), pairs(12, proteins=8), np.arange(12)
    reader = PairReader(emb, table, pairwise=not net.encodes_alone)

    def gradients(logits: torch.Tensor) -> list[torch.Tensor]:
        net.zero_grad()
        F.binary_cross_entropy_with_logits(logits, torch.tensor(table.labels.tolist()).float()).backward()
        return [parameter.grad.clone() for parameter in net.parameters()]

    ours, theirs = pair_logits(net, reader.batch(indices)), by_forward(net, emb, table, indices)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    for one, other in zip(gradients(ours), gradients(theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_each_protein_is_encoded_once() -> None:
    net = holotype.create_model("v1", input_dim=DIM, hidden_dim=8)
    seen = []
    net.protein_encoder.register_forward_hook(lambda module, args, out: seen.append(len(out)))
    pair_logits(net, PairReader(embeddings(12), pairs(100, proteins=12)).batch(np.arange(100)))
    assert sum(seen) == 12


def test_the_loss_is_the_sum_over_pairs() -> None:
    net = holotype.create_model("v1", input_dim=DIM, hidden_dim=8).eval()
    reader = PairReader(embeddings(), pairs(30))
    objective = PairObjective(positive_weight=3.0, label_smoothing=0.2)
    whole = objective(net, reader.batch(np.arange(30)))
    parts = [objective(net, reader.batch(np.arange(at, at + 10))).loss for at in (0, 10, 20)]
    torch.testing.assert_close(whole.loss, sum(parts))
    label, logit = whole.targets.double(), whole.outputs.double()
    target = label * 0.8 + 0.1
    expected = -(3 * target * F.logsigmoid(logit) + (1 - target) * F.logsigmoid(-logit)).sum()
    torch.testing.assert_close(whole.loss.double(), expected, rtol=1e-5, atol=1e-5)
    assert objective(net, reader.batch(np.arange(3), weight=0.0)).loss == 0


def test_figures_are_those_of_the_evaluation() -> None:
    figures = PairObjective().measure(torch.tensor([3.0, 1.0, 2.0, 0.0]), torch.tensor([1.0, 0.0, 0.0, 1.0]))
    assert figures["auroc"] == 0.5
    assert figures["average_precision"] == pytest.approx(0.75)
    assert np.isnan(PairObjective().measure(torch.ones(2), torch.ones(2))["auroc"])


def test_the_weight_that_balances_classes() -> None:
    assert balancing_weight(np.array([1, 0, 0, 0])) == 3.0
    assert balancing_weight(np.array([1, 1])) == 1.0


def test_another_task_needs_an_objective_only() -> None:
    objective = ClassificationObjective(label_smoothing=0.1)
    net = nn.Linear(4, 3)
    inputs, classes = torch.randn(10, 4), torch.arange(10) % 3
    outcome = objective(net, (inputs, classes))
    expected = F.cross_entropy(net(inputs), classes, label_smoothing=0.1) * 10
    torch.testing.assert_close(outcome.loss, expected)
    assert objective.measure(F.one_hot(classes).float(), classes) == {"accuracy": 1.0}


# -- of images -----------------------------------------------------------------------------------

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


def test_an_image_is_not_its_own_neighbour() -> None:
    apart = torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]])
    assert knn_accuracy(apart, torch.tensor([0, 0, 1, 1]), neighbours=1) == 1.0
    assert knn_accuracy(apart, torch.tensor([0, 1, 0, 1]), neighbours=1) == 0.0
    assert np.isnan(knn_accuracy(apart[:1], torch.tensor([0])))
