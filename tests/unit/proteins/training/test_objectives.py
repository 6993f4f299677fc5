"""Objectives of pairs: encoding each protein once gives what `forward` gives; sums, weights and figures are right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import holotype
from holotype.proteins.training.batches import PairReader
from holotype.proteins.training.objectives import PairObjective, balancing_weight, pair_logits
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
