"""The models of one vector a protein: standardised features, groups of encoders, the bilinear form, the MLP."""

import copy

import pytest
import torch

from holotype.errors import ParameterError, ShapeError
from holotype.proteins.models.bilinear import SymmetricBilinearProteinClassifier
from holotype.proteins.models.interface import Residues
from holotype.proteins.models.pooled import Standardization, pool
from holotype.proteins.models.symmetric_mlp import SymmetricMLPProteinClassifier

MODELS = [SymmetricBilinearProteinClassifier, SymmetricMLPProteinClassifier]
every_model = pytest.mark.parametrize("cls", MODELS)
every_grouping = pytest.mark.parametrize("groups", [None, [5, 3, 4]])


def small(cls, *, shaken=True, **params):
    """A small network in evaluation mode whose statistics and norms are not those of a fresh one."""
    torch.manual_seed(0)
    net = cls(**({"input_dim": 12, "hidden_dim": 8} | params))
    if shaken:
        with torch.no_grad():
            for parameter in net.parameters():
                parameter += 0.2 * torch.randn_like(parameter)
            net.standardization.mean.normal_()
            net.standardization.std.uniform_(0.5, 2)
    return net.eval()


def proteins(count, longest=6, width=12, seed=1):
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (count,), generator=g)
    return torch.randn(count, longest, width, generator=g), lengths


# -- statistics -------------------------------------------------------------------------------------


def test_pooling_is_mean_deviation_and_maximum_of_the_residues_alone():
    emb, lengths = proteins(4)
    padding = torch.arange(6) >= lengths[:, None]
    emb[padding] = 1e9
    got = pool(Residues(emb.masked_fill(padding[..., None], 0), padding), ("mean", "std", "max"))
    for row, protein, length in zip(got, emb, lengths, strict=True):
        real = protein[:length]
        expected = torch.cat([real.mean(0), real.std(0, correction=0), real.max(0).values])
        torch.testing.assert_close(row, expected, atol=2e-6, rtol=1e-5)


def test_statistics_are_those_of_all_proteins_seen_in_batches_of_any_size():
    g = torch.Generator().manual_seed(0)
    x = 5 + 0.01 * torch.randn(100, 3, generator=g) * torch.tensor([1.0, 10.0, 100.0])
    layer = Standardization(3).train()
    for part in x.split([1, 40, 0, 7, 52]):
        layer(part)
    torch.testing.assert_close(layer.mean, x.mean(0))
    torch.testing.assert_close(layer.std, x.std(0, correction=0), rtol=1e-4, atol=1e-6)
    assert layer.seen == 100
    z = layer.eval()(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(3), atol=1e-3, rtol=0)
    assert layer.seen == 100  # evaluation changes nothing


def test_a_fresh_layer_changes_nothing_and_a_constant_feature_becomes_zero():
    x = torch.tensor([[0.5, -2.0], [0.5, 3.0]])
    layer = Standardization(2).eval()
    assert layer(x).equal(x)
    assert layer.train()(x).tolist() == [[0.0, -1.0], [0.0, 1.0]]


def test_what_is_far_out_is_clipped():
    layer = Standardization(1).eval()
    assert layer(torch.tensor([[1e9], [-1e9]])).tolist() == [[6.0], [-6.0]]


def test_statistics_settle(monkeypatch):
    monkeypatch.setattr("holotype.proteins.models.pooled._SETTLED", 10)
    layer = Standardization(2).train()
    layer(torch.randn(12, 2))
    before = copy.deepcopy(layer.state_dict())
    layer(100 + torch.randn(5, 2))
    assert all(value.equal(before[key]) for key, value in layer.state_dict().items())


@every_model
def test_fitted_statistics_stay_through_training(cls):
    net = small(cls, shaken=False, pooling="mean+std")
    emb, lengths = proteins(20)
    net.fit_features([(emb[:9], lengths[:9]), (emb[9:], lengths[9:])])
    features = pool(net._check("", emb, lengths), ("mean", "std"))
    torch.testing.assert_close(net.standardization.mean, features.mean(0))
    torch.testing.assert_close(net.standardization.std, features.std(0, correction=0))
    kept = copy.deepcopy(net.standardization.state_dict())
    net.train()(emb + 9, emb, lengths, lengths)
    assert all(value.equal(kept[key]) for key, value in net.standardization.state_dict().items())
    with pytest.raises(ShapeError):
        net.fit_features([(emb[..., :3], lengths)])


@every_model
def test_the_scale_of_the_embeddings_is_without_effect(cls):
    """What standardisation is for: features a thousand times smaller train the same network."""
    emb, lengths = proteins(16)
    results = []
    for factor in (1.0, 1e-3):
        net = small(cls, shaken=False)
        net.fit_features([(emb * factor, lengths)])
        results.append(net(emb * factor, emb.flip(0) * factor, lengths, lengths.flip(0)))
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-4)


# -- the form ---------------------------------------------------------------------------------------


def test_the_form_is_the_one_in_the_docstring():
    net = small(SymmetricBilinearProteinClassifier, rank=3)
    emb, lengths = proteins(6)
    mean = torch.stack([protein[:length].mean(0) for protein, length in zip(emb, lengths, strict=True)])
    h = net.encoders[0](((mean - net.standardization.mean) / net.standardization.std).clamp(-6, 6))
    u, single = net.projections[0](h), net.singles[0](h)[:, 0]
    matrix = (u * net.signs) @ u.T / 3**0.5 + single[:, None] + single
    got = net(emb, emb.flip(0), lengths, lengths.flip(0))
    torch.testing.assert_close(got, matrix[torch.arange(6), torch.arange(5, -1, -1)])
    torch.testing.assert_close(matrix, matrix.T)
    signs = SymmetricBilinearProteinClassifier(rank=4).signs
    assert signs.tolist() == [1, -1, 1, -1]  # neither likeness nor difference is preferred


@every_model
@every_grouping
def test_all_pairs_are_what_forward_gives(cls, groups):
    net = small(cls, groups=groups)
    (emb_a, lengths_a), (emb_b, lengths_b) = proteins(5), proteins(7, seed=2)
    with torch.no_grad():
        a, b = net.prepare(net.encode(emb_a, lengths_a)), net.prepare(net.encode(emb_b, lengths_b))
        block = net.score_block(a, b)
        assert block.shape == (5, 7)
        for i in range(5):
            rows = torch.full((7,), i)
            expected = net(emb_a[rows], emb_b, lengths_a[rows], lengths_b)
            torch.testing.assert_close(block[i], expected, rtol=1e-4, atol=1e-5)
            each = net.score_each(tuple(t[rows] for t in a), b)
            torch.testing.assert_close(each, expected, rtol=1e-4, atol=1e-5)
        assert net.score_block(tuple(t[:0] for t in a), b).shape == (0, 7)


def test_all_pairs_also_where_the_head_cannot_be_factored():
    net = small(SymmetricMLPProteinClassifier, groups=[6, 6], dropout=0.0, input_dropout=0.0).train()
    emb, lengths = proteins(4)
    net.fit_features([(emb, lengths)])
    prepared = net.prepare(net.encode(emb, lengths))
    assert len(prepared) == 1
    whole = net.eval()
    torch.testing.assert_close(
        net.score_block(prepared, prepared).diagonal(), whole(emb, emb, lengths, lengths)
    )


@every_model
def test_logits_are_the_average_over_groups(cls):
    net = small(cls, groups=[5, 3, 4])
    (emb_a, lengths_a), (emb_b, lengths_b) = proteins(6), proteins(6, seed=2)
    alone = []
    for at, columns in enumerate(torch.arange(12).split([5, 3, 4])):
        part = small(cls, input_dim=len(columns))
        state = {}
        for key, value in net.state_dict().items():
            layers, _, rest = key.partition(f".{at}.")
            if layers in ("encoders", "heads", "projections", "singles"):
                state[f"{layers}.0.{rest}"] = value
        state["standardization.mean"] = net.standardization.mean[columns]
        state["standardization.std"] = net.standardization.std[columns]
        state["standardization.seen"] = net.standardization.seen
        if hasattr(net, "signs"):
            state["signs"] = net.signs.view(3, -1)[at]
        part.load_state_dict(state)
        alone.append(part(emb_a[..., columns], emb_b[..., columns], lengths_a, lengths_b))
    expected = torch.stack(alone).mean(0)
    torch.testing.assert_close(net(emb_a, emb_b, lengths_a, lengths_b), expected)


@every_model
def test_groups_keep_their_own_statistics_together(cls):
    """With several statistics, what a group sees is its mean and its deviation, and nothing of another one."""
    net = small(cls, groups=[5, 7], pooling="mean+std")
    emb, lengths = proteins(3)
    before = net.encode(emb, lengths).chunk(2, -1)
    emb[..., :5] += torch.randn(3, 6, 5)
    after = net.encode(emb, lengths).chunk(2, -1)
    assert not before[0].allclose(after[0])
    assert before[1].equal(after[1])


@every_model
@every_grouping
def test_order_has_no_effect(cls, groups):
    net = small(cls, groups=groups)
    (emb_a, lengths_a), (emb_b, lengths_b) = proteins(5), proteins(5, seed=2)
    assert net.symmetric
    torch.testing.assert_close(
        net(emb_a, emb_b, lengths_a, lengths_b), net(emb_b, emb_a, lengths_b, lengths_a)
    )


@every_model
@pytest.mark.parametrize("pooling", ["mean", "mean+std", "mean+std+max"])
def test_empty_batches_pooled_proteins_and_gradients(cls, pooling):
    net = small(cls, pooling=pooling).train()
    for longest in (0, 4):
        empty = torch.zeros(0, longest, 12), torch.zeros(0).long()
        assert net(empty[0], empty[0], empty[1], empty[1]).shape == (0,)
    emb = torch.randn(3, 1, 12, requires_grad=True)  # pooled before: one row a protein
    ones = torch.ones(3).long()
    net(emb, emb.flip(0), ones, ones).sum().backward()
    assert emb.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in net.parameters())


@every_model
def test_a_batch_of_one_trains(cls):
    net = small(cls, shaken=False).train()
    emb, lengths = proteins(2)
    net(emb[:1], emb[1:], lengths[:1], lengths[1:]).sum().backward()
    assert all(value.isfinite().all() for value in net.state_dict().values())


@every_model
@every_grouping
def test_learns_64_pairs_by_heart(cls, groups):
    net = small(cls, shaken=False, groups=groups, hidden_dim=32, dropout=0.0, input_dropout=0.0).train()
    emb, lengths = proteins(40)
    g = torch.Generator().manual_seed(5)
    a, b = torch.combinations(torch.arange(40))[torch.randperm(780, generator=g)[:64]].T
    labels = torch.randint(0, 2, (64,), generator=g).float()
    net.fit_features([(emb * 0.01, lengths)])
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(80):
        logits = net(emb[a] * 0.01, emb[b] * 0.01, lengths[a], lengths[b])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert ((logits > 0) == labels.bool()).all()


# -- parameters -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"hidden_dim": 0}, "hidden_dim=0: expected a whole number"),
        ({"input_dim": 2.5}, "input_dim=2.5"),
        ({"dropout": 1.5}, "dropout=1.5: expected a probability"),
        ({"input_dropout": -1}, "input_dropout=-1: expected a probability"),
        ({"groups": []}, "groups=\\[\\]: expected the width"),
        ({"groups": [960, 0]}, "groups\\[1\\]=0: expected a whole number"),
        ({"groups": [500, 400]}, "groups=\\[500, 400\\] add up to 900, and input_dim=960"),
        ({"pooling": "median"}, "pooling='median': expected 'mean'"),
    ],
)
@every_model
def test_wrong_parameters_are_refused(cls, params, message):
    with pytest.raises(ParameterError, match=message):
        cls(**params)


def test_parameters_of_one_model():
    with pytest.raises(ParameterError, match="rank=0"):
        SymmetricBilinearProteinClassifier(rank=0)
    with pytest.raises(ParameterError, match="hidden_dim=1: at least 2"):
        SymmetricMLPProteinClassifier(hidden_dim=1)
    assert SymmetricBilinearProteinClassifier(hidden_dim=1).symmetric
