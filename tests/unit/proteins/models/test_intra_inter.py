"""`intra_inter_attention`: its layers against torch's, positions, orders, the prepared way, spectral norm."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from holotype.errors import PairwiseModelError, ParameterError
from holotype.proteins.models.dropout_attention import _kept, attention
from holotype.proteins.models.interface import Prepared
from holotype.proteins.models.intra_inter import (
    IntraInterAttentionProteinClassifier,
    RotaryEncoderLayer,
    SpectralLinear,
    angles,
    turn,
)

POSITIONS = ["rotary", "none"]
every_way = pytest.mark.parametrize("positions", POSITIONS)


def small(**params):
    torch.manual_seed(0)
    net = IntraInterAttentionProteinClassifier(
        **({"input_dim": 12, "hidden_dim": 16, "num_heads": 2} | params)
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return net.eval()


def batch(size=3, longest=(5, 7), seed=1):
    g = torch.Generator().manual_seed(seed)
    embs = [torch.randn(size, n, 12, generator=g) for n in longest]
    return [*embs, *[torch.randint(1, n + 1, (size,), generator=g) for n in longest]]


def test_without_positions_a_layer_is_that_of_torch():
    torch.manual_seed(0)
    ours = RotaryEncoderLayer(16, 2, 0.0, nn.Linear)
    theirs = nn.TransformerEncoderLayer(16, 2, 64, 0.0, F.silu, batch_first=True)
    state = ours.state_dict()
    for kind in ("weight", "bias"):
        three = [state.pop(f"self_attn.{name}.{kind}") for name in ("query", "key", "value")]
        state[f"self_attn.in_proj_{kind}"] = torch.cat(three)
    theirs.load_state_dict(state)
    x = torch.randn(3, 6, 16)
    padding = torch.arange(6) >= torch.tensor([6, 2, 4])[:, None]
    got, expected = ours(x, padding, None), theirs(x, src_key_padding_mask=padding)
    torch.testing.assert_close(got[~padding], expected[~padding])


def test_rotary_products_depend_on_the_distance_alone():
    q, k = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)

    def product(i, j):
        left = turn(q, angles(torch.tensor([[i]]), 8, torch.float64))
        right = turn(k, angles(torch.tensor([[j]]), 8, torch.float64))
        return float((left * right).sum())

    assert product(3, 5) == pytest.approx(product(40, 42), abs=1e-5)
    assert product(3, 5) != pytest.approx(product(3, 6), abs=1e-3)
    assert float(turn(q, angles(torch.tensor([[9]]), 8, torch.float64)).norm()) == pytest.approx(
        float(q.norm())
    )


def test_positions_matter_where_they_are_asked_for():
    emb_a, emb_b, lengths_a, lengths_b = batch()
    lengths_a[:] = 5
    for positions in POSITIONS:
        net = small(positions=positions)
        same = net(emb_a, emb_b, lengths_a, lengths_b).allclose(
            net(emb_a.flip(1), emb_b, lengths_a, lengths_b), atol=1e-5
        )
        assert same is (positions == "none")


@every_way
def test_it_is_the_maximum_of_both_orders_over_real_residues(positions):
    """Against the same layers, put together for each pair without any padding."""
    net = small(positions=positions)
    emb_a, emb_b, lengths_a, lengths_b = batch()

    def join(*parts):
        x = torch.cat(parts, 1)
        turns = net._turns(torch.arange(x.shape[1])[None], x.dtype)
        for layer in net.inter_layers:
            x = layer(x, torch.zeros(x.shape[:2], dtype=torch.bool), turns)
        return x.mean(1)

    def alone(emb):
        x = net.input_projection(emb)
        turns = net._turns(torch.arange(x.shape[1])[None], x.dtype)
        for layer in net.intra_layers:
            x = layer(x, torch.zeros(x.shape[:2], dtype=torch.bool), turns)
        return x

    expected = []
    for i in range(3):
        a, b = alone(emb_a[i : i + 1, : lengths_a[i]]), alone(emb_b[i : i + 1, : lengths_b[i]])
        expected.append(net.output(torch.maximum(join(a, b), join(b, a)))[:, 0])
    torch.testing.assert_close(net(emb_a, emb_b, lengths_a, lengths_b), torch.cat(expected))


@every_way
def test_order_of_the_proteins_has_no_effect(positions):
    net = small(positions=positions)
    emb_a, emb_b, lengths_a, lengths_b = batch()
    assert net.symmetric
    torch.testing.assert_close(
        net(emb_a, emb_b, lengths_a, lengths_b), net(emb_b, emb_a, lengths_b, lengths_a)
    )


@every_way
def test_prepared_proteins_score_as_forward_whatever_their_padding_holds(positions):
    net = small(positions=positions)
    emb_a, emb_b, lengths_a, lengths_b = batch()
    a, b = net.check_pair(emb_a, emb_b, lengths_a, lengths_b)
    prepared = []
    for residues in (a, b):
        (x,), _ = net.prepare_residues(residues)
        prepared.append(Prepared((x.masked_fill(residues.padding[..., None], float("nan")),)))
    got = net.score_residues(prepared[0], a.padding, prepared[1], b.padding)
    torch.testing.assert_close(got, net(emb_a, emb_b, lengths_a, lengths_b))


def test_it_encodes_no_protein_alone():
    emb, _, lengths, _ = batch()
    with pytest.raises(PairwiseModelError):
        small().encode(emb, lengths)


@pytest.mark.parametrize("longest", [(0, 0), (5, 7)])
def test_an_empty_batch(longest):
    assert small()(*batch(0, longest) if all(longest) else [
        torch.zeros(0, 0, 12), torch.zeros(0, 0, 12), torch.zeros(0).long(), torch.zeros(0).long()
    ]).shape == (0,)  # fmt: skip


# -- spectral norm ------------------------------------------------------------------------------------


def test_spectral_norm_brings_the_largest_singular_value_to_one():
    torch.manual_seed(0)
    layer = SpectralLinear(6, 9).train()
    for _ in range(60):
        layer(torch.zeros(1, 6))
    layer.eval()
    matrix = (layer(torch.eye(6)) - layer.bias).T.detach()
    assert float(torch.linalg.matrix_norm(matrix, 2)) == pytest.approx(1, abs=1e-3)
    before = layer.left.clone()
    layer(torch.zeros(1, 6))
    assert layer.left.equal(before)  # evaluation changes nothing


def test_spectral_norm_gradient_is_that_of_torch():
    torch.manual_seed(0)
    ours = SpectralLinear(6, 4).eval()
    theirs = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 4)).eval()
    state = ours.state_dict()
    theirs.load_state_dict(
        {
            "bias": state["bias"],
            "parametrizations.weight.original": state["weight"],
            "parametrizations.weight.0._u": state["left"],
            "parametrizations.weight.0._v": state["right"],
        }
    )
    x = torch.randn(3, 6)
    torch.testing.assert_close(ours(x), theirs(x))
    ours(x).square().sum().backward()
    theirs(x).square().sum().backward()
    torch.testing.assert_close(ours.weight.grad, theirs.parametrizations.weight.original.grad)


def test_a_network_with_spectral_norm_trains_copies_pickles_and_fills_from_meta():
    net = small(spectral_norm=True, dropout=0.0).train()
    inputs = batch()
    net(*inputs).square().sum().backward()
    assert all(
        p.grad.isfinite().all() and p.grad.any() for n, p in net.named_parameters() if "key.bias" not in n
    )
    expected = net.eval()(*inputs)
    assert copy.deepcopy(net)(*inputs).equal(expected)
    assert pickle.loads(pickle.dumps(net))(*inputs).equal(expected)  # noqa: S301  # our own bytes
    with torch.device("meta"):
        empty = IntraInterAttentionProteinClassifier(12, 16, 2, spectral_norm=True)
    empty.load_state_dict(net.state_dict(), assign=True)
    assert empty.eval()(*inputs).equal(expected)


# -- attention with dropout ---------------------------------------------------------------------------


def heads(length_q=9, length_k=7, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    made = [torch.randn(2, 3, n, 4, generator=g, dtype=dtype) for n in (length_q, length_k, length_k)]
    padding = torch.arange(length_k) >= torch.tensor([length_k, 5])[:, None]
    padding[1, 1:3] = True  # as where two padded proteins stand in one row
    return [t.requires_grad_() for t in made], padding


@pytest.mark.parametrize("at_once", [1, 2**6, 2**19])
def test_dropout_of_attention_weights(monkeypatch, at_once):
    """Result and gradients are those of the plain formula with the same weights dropped, in blocks of any size."""
    monkeypatch.setattr("holotype.proteins.models.dropout_attention._WEIGHTS_AT_ONCE", at_once)
    (q, k, v), padding = heads()
    torch.manual_seed(4)
    eye = torch.eye(7, dtype=torch.float64).expand(2, 3, 7, 7)
    dropped = attention(q, k, eye, padding, 0.5)  # the weights themselves
    weights = (q @ k.mT / 2).masked_fill(padding[:, None, None], float("-inf")).softmax(-1)
    kept = dropped != 0
    torch.testing.assert_close(dropped, torch.where(kept, 2 * weights, 0))
    assert 0.35 < float(kept[0].double().mean()) < 0.65
    plain = (torch.where(kept, 2 * weights, 0)) @ v
    torch.manual_seed(4)
    ours = attention(q, k, v, padding, 0.5)
    torch.testing.assert_close(ours, plain)
    up = torch.randn_like(plain)
    for got, expected in zip(
        torch.autograd.grad(ours, (q, k, v), up), torch.autograd.grad(plain, (q, k, v), up), strict=True
    ):
        torch.testing.assert_close(got, expected)


def test_dropped_weights_differ_from_call_to_call_and_follow_the_seed():
    (q, k, v), padding = heads()
    torch.manual_seed(1)
    first, second = attention(q, k, v, padding, 0.3), attention(q, k, v, padding, 0.3)
    torch.manual_seed(1)
    assert attention(q, k, v, padding, 0.3).equal(first)
    assert not first.equal(second)
    torch.testing.assert_close(
        attention(q, k, v, padding, 0.0),
        F.scaled_dot_product_attention(q, k, v, padding.logical_not()[:, None, None]),
    )


@pytest.mark.parametrize("level", [1, 26, 77, 128, 255])
def test_share_of_dropped_weights(level):
    kept = _kept(torch.empty(4, 333, 77), level, seed=level)
    assert kept.shape == (4, 333, 77)
    assert float(kept.double().mean()) == pytest.approx(1 - level / 256, abs=0.006)


def test_dropout_of_an_empty_batch_and_in_half_precision():
    (q, k, v), padding = heads(dtype=torch.float32)
    assert attention(q[:0], k[:0], v[:0], padding[:0], 0.3).shape == (0, 3, 9, 4)
    torch.manual_seed(0)
    expected = attention(q, k, v, padding, 0.3)
    torch.manual_seed(0)
    got = attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), padding, 0.3)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), expected, rtol=0.1, atol=0.1)
    got.sum().backward()


# -- learning and parameters ----------------------------------------------------------------------------


@every_way
def test_learns_64_pairs_by_heart(positions):
    net = small(positions=positions, dropout=0.0, hidden_dim=32).train()
    g = torch.Generator().manual_seed(5)
    emb, lengths = torch.randn(40, 8, 12, generator=g), torch.randint(2, 9, (40,), generator=g)
    a, b = torch.combinations(torch.arange(40))[torch.randperm(780, generator=g)[:64]].T
    labels = torch.randint(0, 2, (64,), generator=g).float()
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(150):
        logits = net(emb[a], emb[b], lengths[a], lengths[b])
        loss = F.binary_cross_entropy_with_logits(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.05:
            break
    assert ((logits > 0) == labels.bool()).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"num_layers": 0}, "num_layers=0: expected a whole number"),
        ({"dropout": "a"}, "dropout='a': expected a probability"),
        ({"positions": "sine"}, "positions='sine': expected 'rotary' or 'none'"),
        ({"hidden_dim": 24}, "hidden_dim=24 is not divisible by 2 \\* num_heads=16; hidden_dim=16 or 32 is"),
        ({"hidden_dim": 12, "positions": "none"}, "by num_heads=8; hidden_dim=8 or 16 is"),
    ],
)
def test_wrong_parameters_are_refused(params, message):
    with pytest.raises(ParameterError, match=message):
        IntraInterAttentionProteinClassifier(**params)
