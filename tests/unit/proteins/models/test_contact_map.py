"""`contact_map`: the map against plain formulas, its parts, symmetry, what stands out, and parameters."""

import pytest
import torch
from torch.nn import functional as F

from holotype.errors import PairwiseModelError, ParameterError, ShapeError
from holotype.proteins.models.contact_map import ContactMapProteinClassifier
from holotype.proteins.models.interface import Prepared

VALUES = "holotype.proteins.models.contact_map._VALUES_AT_ONCE"


def small(**params):
    torch.manual_seed(0)
    sizes = {"input_dim": 12, "projection_dim": 8, "hidden_dim": 6, "kernel_size": 3}
    net = ContactMapProteinClassifier(**(sizes | params))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return net.eval()


def batch(size=3, longest=(9, 7), seed=1):
    g = torch.Generator().manual_seed(seed)
    embs = [torch.randn(size, n, 12, generator=g) for n in longest]
    return [*embs, *[torch.randint(1, n + 1, (size,), generator=g) for n in longest]]


def plain_map(net, a, b):
    """The published formulas, one pair at a time, (La, Lb)."""
    z_a, z_b = net.projection(a), net.projection(b)
    both = torch.cat([(z_a[:, None] - z_b).abs(), z_a[:, None] * z_b], -1)
    weight = torch.cat([net.difference.weight, net.product.weight], 1)
    t = F.relu(net.norm(F.linear(both, weight, net.difference.bias)))
    kernel = (net.kernel + net.kernel.transpose(2, 3)) / 2
    side = kernel.shape[-1] // 2
    return torch.sigmoid(F.conv2d(t.permute(2, 0, 1)[None], kernel, net.bias[None], padding=side)[0, 0])


def plain_logit(net, contacts):
    theta, lam, gamma = torch.sigmoid(net.theta), F.softplus(net.lambda_), F.softplus(net.gamma)
    near = []
    for n in contacts.shape:
        i, half = torch.arange(n) + 1, (n + 1) / 2
        near.append(torch.exp(-lam * ((i - half) / half) ** 2))
    y = contacts * (theta + (1 - theta) * near[0][:, None] * near[1])
    q = F.relu(y - y.mean() - gamma * y.var(correction=0))
    return net.slope * (q.sum() / ((q > 0).sum() + 1) - net.midpoint)


def test_it_is_the_published_formulas():
    net = small(kernel_size=5)
    emb_a, emb_b, lengths_a, lengths_b = batch()
    got = net(emb_a, emb_b, lengths_a, lengths_b)
    maps = net.contact_map(emb_a, emb_b, lengths_a, lengths_b)
    assert maps.shape == (3, 9, 7)
    for at in range(3):
        n, m = lengths_a[at], lengths_b[at]
        expected = plain_map(net, emb_a[at, :n], emb_b[at, :m])
        torch.testing.assert_close(maps[at, :n, :m], expected)
        torch.testing.assert_close(got[at], plain_logit(net, expected), rtol=1e-4, atol=1e-5)
        rest = maps[at].clone()
        rest[:n, :m] = 0
        assert not rest.any()


@pytest.mark.parametrize("at_once", [1, 500, 1200])
def test_a_map_in_parts_is_the_whole_map(monkeypatch, at_once):
    net = small()
    inputs = batch()

    def run():
        loss = net(*inputs).square().sum()
        return loss, *torch.autograd.grad(loss, list(net.parameters()))

    whole, contacts = run(), net.contact_map(*inputs)
    monkeypatch.setattr(VALUES, at_once)
    for got, expected in zip(run(), whole, strict=True):
        torch.testing.assert_close(got, expected)
    with torch.no_grad():
        torch.testing.assert_close(net.contact_map(*inputs), contacts)


def test_what_is_kept_for_the_gradient_does_not_grow_with_the_channels(monkeypatch):
    """Of the tensors kept between forward and backward, none has h or d numbers for each pair of residues."""
    monkeypatch.setattr(VALUES, 2**12)
    net = small(hidden_dim=16, projection_dim=16).train()
    emb, lengths = torch.randn(1, 60, 12), torch.tensor([60])
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        net(emb, emb, lengths, lengths)
    assert max(kept) <= 66 * 66


def test_the_map_turns_with_the_order_and_the_score_does_not_change():
    net = small(kernel_size=5)
    emb_a, emb_b, lengths_a, lengths_b = batch()
    assert net.symmetric
    there, back = batch(), [emb_b, emb_a, lengths_b, lengths_a]
    torch.testing.assert_close(net.contact_map(*there), net.contact_map(*back).mT)
    torch.testing.assert_close(net(*there), net(*back))


def test_prepared_proteins_score_as_forward_whatever_their_padding_holds():
    net = small()
    emb_a, emb_b, lengths_a, lengths_b = batch()
    a, b = net.check_pair(emb_a, emb_b, lengths_a, lengths_b)
    prepared = []
    for residues in (a, b):
        (z,), _ = net.prepare_residues(residues)
        prepared.append(Prepared((z.masked_fill(residues.padding[..., None], float("nan")),)))
    got = net.score_residues(prepared[0], a.padding, prepared[1], b.padding)
    torch.testing.assert_close(got, net(emb_a, emb_b, lengths_a, lengths_b))


def test_training_differs_by_dropout_alone():
    """No statistics of a batch: a pair trains the same in any company."""
    net = small(dropout=0.0).train()
    emb_a, emb_b, lengths_a, lengths_b = batch()
    alone = [net(*[t[i : i + 1] for t in (emb_a, emb_b, lengths_a, lengths_b)]) for i in range(3)]
    torch.testing.assert_close(net(emb_a, emb_b, lengths_a, lengths_b), torch.cat(alone))


def test_a_fresh_network_is_undecided():
    torch.manual_seed(0)
    net = ContactMapProteinClassifier(input_dim=64).eval()
    emb, lengths = torch.randn(4, 60, 64), torch.tensor([60, 45, 30, 60])
    with torch.no_grad():
        assert net(emb, emb.flip(0), lengths, lengths.flip(0)).sigmoid().sub(0.5).abs().max() < 0.2


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 6), (7, 1)])
def test_single_residues_are_finite_in_both_directions(n, m):
    net = small()
    emb_a, emb_b = torch.randn(1, n, 12, requires_grad=True), torch.randn(1, m, 12, requires_grad=True)
    net(emb_a, emb_b, torch.tensor([n]), torch.tensor([m])).sum().backward()
    grads = [emb_a.grad, emb_b.grad, *(p.grad for p in net.parameters())]
    assert all(grad.isfinite().all() for grad in grads)


def test_an_empty_batch_and_an_empty_protein():
    net = small()
    for longest in [(0, 0), (4, 5)]:
        inputs = [torch.zeros(0, n, 12) for n in longest] + [torch.zeros(0).long()] * 2
        assert net(*inputs).shape == (0,)
        assert net.contact_map(*inputs).shape == (0, *longest)
    emb_a, emb_b, lengths_a, _ = batch()
    with pytest.raises(ShapeError, match=r"lengths_b\[0\] is 0: an empty"):
        net.contact_map(emb_a, emb_b, lengths_a, torch.zeros(3).long())
    with pytest.raises(PairwiseModelError):
        net.encode(emb_a, lengths_a)


# The slope of 20 makes much of what bfloat16 rounds away.
@pytest.mark.parametrize(
    ("dtype", "near"), [(torch.float16, 0.05), (torch.bfloat16, 0.3), (torch.float64, 1e-4)]
)
def test_other_float_types(dtype, near):
    net, inputs = small().to(dtype), batch()
    got = net(*inputs)
    assert got.dtype == dtype
    torch.testing.assert_close(got.float(), small()(*inputs), rtol=0, atol=near)


def test_learns_64_pairs_by_heart():
    net = small(dropout=0.0, projection_dim=32, hidden_dim=16).train()
    g = torch.Generator().manual_seed(5)
    emb, lengths = torch.randn(40, 8, 12, generator=g), torch.randint(3, 9, (40,), generator=g)
    a, b = torch.combinations(torch.arange(40))[torch.randperm(780, generator=g)[:64]].T
    labels = torch.randint(0, 2, (64,), generator=g).float()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(250):
        logits = net(emb[a], emb[b], lengths[a], lengths[b])
        loss = F.binary_cross_entropy_with_logits(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if ((logits > 0) == labels.bool()).all():
            break
    assert ((logits > 0) == labels.bool()).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"hidden_dim": 0}, "hidden_dim=0: expected a whole number"),
        ({"projection_dim": -1}, "projection_dim=-1"),
        ({"kernel_size": 4}, "kernel_size=4: expected an odd number"),
        ({"dropout": 2}, "dropout=2: expected a probability"),
    ],
)
def test_wrong_parameters_are_refused(params, message):
    with pytest.raises(ParameterError, match=message):
        ContactMapProteinClassifier(**params)


def test_wrong_parameters_are_listed_at_once():
    with pytest.raises(ParameterError) as caught:
        ContactMapProteinClassifier(input_dim=0, hidden_dim=0, dropout=7)
    assert len(caught.value.problems) == 3
