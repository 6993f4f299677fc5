"""The protein models: parameters, layout, shapes, errors. Padding and symmetry: tests/property."""

import copy
import inspect
import json
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from holotype.errors import HolotypeError, PairwiseModelError, ParameterError, ShapeError
from holotype.proteins.models.attention import (
    AttentionProteinClassifier,
    MultiHeadAttentionProteinClassifier,
)
from holotype.proteins.models.blocks import EncoderLayer, MultiHeadAttention, masked_mean
from holotype.proteins.models.cross_attention import CrossAttentionProteinClassifier
from holotype.proteins.models.interface import BaseProteinModel
from holotype.proteins.models.mean_pool import SimplifiedProteinClassifier
from holotype.tasks import Task

MODELS = {
    "v1": SimplifiedProteinClassifier,
    "v2": AttentionProteinClassifier,
    "multihead_attention": MultiHeadAttentionProteinClassifier,
    "cross_attention": CrossAttentionProteinClassifier,
}
ALONE = ["v1", "v2", "multihead_attention"]
HEADED = ["v2", "multihead_attention", "cross_attention"]
SYMMETRIES = ["none", "average", "sum"]
LAYOUT = json.loads(Path(__file__).parents[2].joinpath("data").joinpath("protein_layouts.json").read_text())

every_model = pytest.mark.parametrize("name", MODELS)
every_symmetry = pytest.mark.parametrize("symmetry", SYMMETRIES)


def small(name, **params):
    """A small model in evaluation mode, the same at each call."""
    torch.manual_seed(0)
    sizes = {"input_dim": 12, "hidden_dim": 8}
    if name in HEADED:
        sizes["num_heads"] = 2
    model = MODELS[name](**(sizes | params))
    # The untrained norms and biases are 0 and 1: too regular to notice a mistake.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def batch(size=3, longest=(5, 7), width=12, dtype=torch.float32, seed=1):
    """Random (emb_a, emb_b, lengths_a, lengths_b); the proteins differ in length."""
    g = torch.Generator().manual_seed(seed)
    embs = [torch.randn(size, n, width, generator=g).to(dtype) for n in longest]
    lengths = [torch.randint(1, n + 1, (size,), generator=g) for n in longest]
    return [*embs, *lengths]


# -- as published -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count"),
    [("v1", 411_649), ("v2", 740_609), ("multihead_attention", 2_056_961), ("cross_attention", 1_003_777)],
)
def test_parameter_count_is_the_published_one(name, count):
    with torch.device("meta"):
        model = MODELS[name]()
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == count
    assert not list(model.buffers())


@every_model
def test_layout_is_the_published_one(name):
    with torch.device("meta"):
        state = MODELS[name]().state_dict()
    assert {key: list(tensor.shape) for key, tensor in state.items()} == LAYOUT[name]
    assert list(state) == list(LAYOUT[name])


@every_model
def test_defaults_are_the_published_ones(name):
    published = {"input_dim": 960, "hidden_dim": 256, "dropout": 0.3, "num_heads": 8, "num_layers": 2}
    parameters = inspect.signature(MODELS[name]).parameters
    defaults = {key: p.default for key, p in parameters.items()}
    assert defaults.pop("symmetry") == "none"
    assert defaults == {key: value for key, value in published.items() if key in defaults}
    assert {"input_dim", "hidden_dim", "dropout"} <= set(defaults)
    assert ("num_heads" in defaults) == (name in HEADED)
    assert ("num_layers" in defaults) == (name == "multihead_attention")


def reference_head(hidden):
    return nn.Sequential(
        nn.Linear(2 * hidden, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(hidden, hidden // 2), nn.LayerNorm(hidden // 2), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(hidden // 2, 1),
    )  # fmt: skip


class Reference(nn.Module):
    """The published networks, put together from torch's own attention, without any padding."""

    def __init__(self, name, width=12, hidden=8, heads=2):
        super().__init__()
        self.name = name
        order = [nn.Linear(hidden, hidden), nn.LayerNorm(hidden)]
        if name == "v1":
            order = [nn.LayerNorm(hidden), nn.Linear(width, hidden)]
        else:
            self.input_projection = nn.Linear(width, hidden)
        if name in ("v2", "cross_attention"):
            self.self_attention = nn.MultiheadAttention(hidden, heads, 0.3, batch_first=True)
        if name == "cross_attention":
            self.cross_attention = nn.MultiheadAttention(hidden, heads, 0.3, batch_first=True)
        if name == "multihead_attention":
            self.attention_layers = nn.ModuleList(
                nn.TransformerEncoderLayer(hidden, heads, 4 * hidden, 0.3, batch_first=True) for _ in range(2)
            )
        self.protein_encoder = nn.Sequential(order[1], order[0], nn.ReLU(), nn.Dropout(0.3))
        self.interaction_layer = reference_head(hidden)

    def one(self, a, b):
        if self.name == "v1":
            return self.protein_encoder(a.mean(1))
        a, b = self.input_projection(a), self.input_projection(b)
        if self.name == "multihead_attention":
            for layer in self.attention_layers:
                a = layer(a)
            return self.protein_encoder(a.mean(1))
        vector = self.self_attention(a, a, a)[0].mean(1)
        if self.name == "cross_attention":
            vector = vector + self.cross_attention(a, b, b)[0].mean(1)
        return self.protein_encoder(vector)

    def forward(self, a, b):
        return self.interaction_layer(torch.cat([self.one(a, b), self.one(b, a)], -1)).squeeze(-1)


@every_model
def test_equals_torch_modules_with_the_same_weights(name):
    model = small(name)
    reference = Reference(name).eval()
    reference.load_state_dict(model.state_dict())  # strict: the same names and shapes
    emb_a, emb_b, lengths_a, lengths_b = batch()
    expected = [
        reference(emb_a[i : i + 1, : lengths_a[i]], emb_b[i : i + 1, : lengths_b[i]]) for i in range(3)
    ]
    torch.testing.assert_close(model(emb_a, emb_b, lengths_a, lengths_b), torch.cat(expected))


@every_model
def test_linear_layers_start_xavier_uniform_with_bias_zero(name):
    torch.manual_seed(0)
    model = MODELS[name]()
    matrices = [m.weight.detach() for m in model.modules() if isinstance(m, nn.Linear)]
    matrices += [m.in_proj_weight.detach() for m in model.modules() if isinstance(m, MultiHeadAttention)]
    assert len(matrices) >= 4
    for weight in matrices:
        bound = (6 / sum(weight.shape)) ** 0.5
        assert 0.95 * bound < weight.abs().max() <= bound
        # Of a uniform distribution, and of no normal one, the deviation is bound / sqrt(3).
        assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.15)
    norms = {id(p) for m in model.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()}
    for key, p in model.named_parameters():
        if key.endswith("bias"):
            assert not p.any(), key
        elif id(p) in norms:
            assert (p == 1).all(), key


def test_facts_of_the_classes():
    for name, cls in MODELS.items():
        assert issubclass(cls, BaseProteinModel)
        assert cls.task is Task.PROTEIN_INTERACTION
        assert cls.encodes_alone is (name in ALONE)
    assert BaseProteinModel.encodes_alone is False


# -- forward, encode, score -------------------------------------------------------------------


@every_model
@every_symmetry
def test_logits_have_one_value_a_pair(name, symmetry):
    logits = small(name, symmetry=symmetry)(*batch())
    assert logits.shape == (3,)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", ALONE)
@every_symmetry
def test_score_of_encodings_is_forward(name, symmetry):
    model = small(name, symmetry=symmetry)
    emb_a, emb_b, lengths_a, lengths_b = batch()
    enc_a, enc_b = model.encode(emb_a, lengths_a), model.encode(emb_b, lengths_b)
    assert enc_a.shape == enc_b.shape == (3, 8)
    torch.testing.assert_close(model.score(enc_a, enc_b), model(emb_a, emb_b, lengths_a, lengths_b))


def test_a_model_of_pairs_encodes_no_protein_alone():
    model = small("cross_attention")
    emb_a, _, lengths_a, _ = batch()
    with pytest.raises(PairwiseModelError, match="both proteins of a pair") as caught:
        model.encode(emb_a, lengths_a)
    assert isinstance(caught.value, HolotypeError)
    assert "model(emb_a, emb_b, lengths_a, lengths_b)" in caught.value.hint
    with pytest.raises(PairwiseModelError):
        model.score(torch.zeros(1, 8), torch.zeros(1, 8))


def test_the_partner_matters_to_cross_attention_alone():
    """Its vector of a protein depends on the other one; that is why it has no encode."""
    emb_a, emb_b, lengths_a, lengths_b = batch()
    seen = {}
    for name in ("v2", "cross_attention"):
        model = small(name)
        model.protein_encoder.register_forward_hook(
            lambda m, i, out, n=name: seen.setdefault(n, []).append(out)
        )
        model(emb_a, emb_b, lengths_a, lengths_b)
        model(emb_a, emb_b.flip(0), lengths_a, lengths_b.flip(0))
    assert seen["v2"][0].equal(seen["v2"][2])
    assert not seen["cross_attention"][0].allclose(seen["cross_attention"][2])


@pytest.mark.parametrize("name", ["v1", "v2", "multihead_attention", "cross_attention"])
def test_published_order_matters_and_symmetric_does_not(name):
    emb_a, emb_b, lengths_a, lengths_b = batch()
    for symmetry in SYMMETRIES:
        model = small(name, symmetry=symmetry)
        ab = model(emb_a, emb_b, lengths_a, lengths_b)
        ba = model(emb_b, emb_a, lengths_b, lengths_a)
        assert model.symmetric is (symmetry != "none")
        assert ab.equal(ba) is model.symmetric


@every_model
def test_average_has_the_published_parameters(name):
    plain, average = small(name), small(name, symmetry="average")
    average.load_state_dict(plain.state_dict())
    emb_a, emb_b, lengths_a, lengths_b = batch()
    expected = (plain(emb_a, emb_b, lengths_a, lengths_b) + plain(emb_b, emb_a, lengths_b, lengths_a)) / 2
    torch.testing.assert_close(average(emb_a, emb_b, lengths_a, lengths_b), expected)


@every_model
def test_sum_reads_three_features(name):
    with torch.device("meta"):
        state = MODELS[name](symmetry="sum").state_dict()
    assert state["interaction_layer.0.weight"].shape == (256, 3 * 256)
    changed = {key for key in state if list(state[key].shape) != LAYOUT[name][key]}
    assert changed == {"interaction_layer.0.weight"}


@every_model
@every_symmetry
def test_an_empty_batch_gives_an_empty_result(name, symmetry):
    model = small(name, symmetry=symmetry)
    for longest in [(5, 7), (0, 0)]:
        logits = model(*batch(0, (5, 7))) if longest[0] else model(
            torch.zeros(0, 0, 12), torch.zeros(0, 0, 12), torch.zeros(0).long(), torch.zeros(0).long()
        )  # fmt: skip
        assert logits.shape == (0,)


@every_model
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types(name, dtype):
    model = small(name).to(dtype)
    result = model(*batch(dtype=dtype))
    assert result.dtype == dtype
    torch.testing.assert_close(
        result.double(), small(name).double()(*batch(dtype=dtype)).double(), rtol=0.05, atol=0.05
    )


@every_model
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_embeddings_of_another_float_type_are_converted(name, dtype):
    emb_a, emb_b, lengths_a, lengths_b = batch(dtype=dtype)
    result = small(name)(emb_a, emb_b, lengths_a, lengths_b)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, small(name)(emb_a.float(), emb_b.float(), lengths_a, lengths_b))


def test_the_sum_over_a_long_protein_fits_half_precision():
    x = torch.full((1, 4000, 2), 100.0, dtype=torch.float16)  # the sum, 400,000, is beyond float16
    assert masked_mean(x, torch.zeros(1, 4000, dtype=torch.bool)).tolist() == [[100.0, 100.0]]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_lengths_of_any_integer_type(dtype):
    emb_a, emb_b, lengths_a, lengths_b = batch()
    model = small("v2")
    result = model(emb_a, emb_b, lengths_a.to(dtype), lengths_b.to(dtype))
    assert result.equal(model(emb_a, emb_b, lengths_a, lengths_b))


@every_model
@every_symmetry
def test_gradients_reach_every_parameter(name, symmetry):
    model = small(name, symmetry=symmetry, dropout=0.0).train()
    emb_a, emb_b, lengths_a, lengths_b = batch(size=8)
    for emb, lengths in ((emb_a, lengths_a), (emb_b, lengths_b)):
        emb[torch.arange(emb.shape[1]) >= lengths[:, None]] = float("nan")
        emb.requires_grad_()
    model(emb_a, emb_b, lengths_a, lengths_b).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), key
        if key.endswith("in_proj_bias"):  # the key part is without effect on a softmax, up to rounding
            q, _, v = parameter.grad.chunk(3)
            assert q.any(), key
            assert v.any(), key
        else:
            assert parameter.grad.any(), key
    for emb, lengths in ((emb_a, lengths_a), (emb_b, lengths_b)):
        padding = torch.arange(emb.shape[1]) >= lengths[:, None]
        assert not emb.grad[padding].any()
        assert emb.grad[~padding].any(1).all()


@every_model
def test_dropout_acts_in_training_only(name):
    model = small(name, dropout=0.5)
    inputs = batch()
    assert model(*inputs).equal(model(*inputs))
    model.train()
    assert not model(*inputs).equal(model(*inputs))
    whole = small(name, dropout=1.0).train()  # the extreme: nothing passes
    assert whole(*inputs).isfinite().all()


def test_attention_dropout_acts_in_training_only():
    x, padding = torch.randn(2, 6, 8), torch.zeros(2, 6, dtype=torch.bool)
    attention = MultiHeadAttention(8, 2, dropout=0.5)
    attention.in_proj_bias.data.zero_()
    nn.init.normal_(attention.in_proj_weight)
    assert not attention(x, x, padding).equal(attention(x, x, padding))
    attention.eval()
    assert attention(x, x, padding).equal(attention(x, x, padding))


@pytest.mark.parametrize("lengths", [[6, 6], [6, 1], [3, 4]])
def test_blocks_equal_those_of_torch(lengths):
    torch.manual_seed(0)
    x, y = torch.randn(2, 4, 8), torch.randn(2, 6, 8)
    padding = torch.arange(6) >= torch.tensor(lengths)[:, None]
    theirs = nn.MultiheadAttention(8, 2, batch_first=True)
    nn.init.normal_(theirs.in_proj_bias)
    ours = MultiHeadAttention(8, 2, 0.0)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x, y, padding), theirs(x, y, y, key_padding_mask=padding)[0])
    torch.testing.assert_close(ours(y, y, padding), theirs(y, y, y, key_padding_mask=padding)[0])
    layer = nn.TransformerEncoderLayer(8, 2, 32, 0.0, batch_first=True)
    own_layer = EncoderLayer(8, 2, 0.0)
    own_layer.load_state_dict(layer.state_dict())
    torch.testing.assert_close(own_layer(y, padding), layer(y, src_key_padding_mask=padding))


# -- where models are built, copied and compiled ------------------------------------------------


@every_model
def test_builds_on_the_meta_device_and_fills_by_assignment(name):
    with torch.device("meta"):
        skeleton = MODELS[name](input_dim=12, hidden_dim=8, **({"num_heads": 2} if name in HEADED else {}))
    assert all(p.is_meta for p in skeleton.parameters())
    logits = skeleton(*[t.to("meta") for t in batch()])
    assert logits.is_meta
    assert logits.shape == (3,)
    model = small(name)
    skeleton.load_state_dict(model.state_dict(), assign=True)
    assert skeleton.eval()(*batch()).equal(model(*batch()))


@every_model
def test_copies_and_pickles(name):
    model = small(name)
    expected = model(*batch())
    assert copy.deepcopy(model)(*batch()).equal(expected)
    assert pickle.loads(pickle.dumps(model))(*batch()).equal(expected)  # noqa: S301  # our own bytes


@pytest.mark.parametrize(
    ("name", "symmetry"), [("v1", s) for s in SYMMETRIES] + [(name, "none") for name in HEADED]
)
def test_compiles_into_one_graph(name, symmetry):
    torch._dynamo.reset()
    model = small(name, symmetry=symmetry)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(*batch()), model(*batch()))
        other = batch(4, (9, 6), seed=2)  # other sizes: compiled anew, or with symbolic sizes
        torch.testing.assert_close(compiled(*other), model(*other))


def test_a_compiled_model_refuses_an_empty_protein():
    torch._dynamo.reset()
    compiled = torch.compile(small("v1"), fullgraph=True, backend="aot_eager")
    emb_a, emb_b, lengths_a, lengths_b = batch()
    with pytest.raises(RuntimeError, match="lengths_b: expected 1 to L residues"), torch.no_grad():
        compiled(emb_a, emb_b, lengths_a, torch.zeros_like(lengths_b))


@every_model
def test_exports_with_dynamic_sizes(name):
    from torch.export import Dim, export

    size, long_a, long_b = Dim("size"), Dim("long_a"), Dim("long_b")
    model = small(name)
    program = export(
        model,
        tuple(batch()),
        dynamic_shapes=({0: size, 1: long_a}, {0: size, 1: long_b}, {0: size}, {0: size}),
    )
    other = batch(4, (9, 6), seed=2)
    torch.testing.assert_close(program.module()(*other), model(*other))


@every_model
def test_runs_under_autocast(name):
    with torch.autocast("cpu", torch.bfloat16):
        logits = small(name)(*batch())
    torch.testing.assert_close(logits.float(), small(name)(*batch()), rtol=0.1, atol=0.1)


# -- what is refused ----------------------------------------------------------------------------


def wrong(change):
    inputs = dict(zip(["emb_a", "emb_b", "lengths_a", "lengths_b"], batch(), strict=True))
    inputs.update(change(inputs))
    return inputs


REFUSED = {
    "width": (lambda x: {"emb_a": x["emb_a"][..., :7]}, r"emb_a: expected \(B, L, 12\).*\(3, 5, 7\)"),
    "rank of embeddings": (lambda x: {"emb_b": x["emb_b"][0]}, r"emb_b: expected \(B, L, 12\) floats"),
    "integer embeddings": (lambda x: {"emb_b": x["emb_b"].long()}, "emb_b: .*int64"),
    "no tensor": (lambda x: {"emb_a": x["emb_a"].tolist()}, "emb_a: .*a list"),
    "rank of lengths": (lambda x: {"lengths_a": x["lengths_a"][:, None]}, r"lengths_a: expected \(3,\)"),
    "scalar length": (lambda x: {"lengths_a": torch.tensor(3)}, r"lengths_a: expected \(3,\)"),
    "too few lengths": (lambda x: {"lengths_b": x["lengths_b"][:2]}, r"lengths_b: expected \(3,\)"),
    "float lengths": (lambda x: {"lengths_b": x["lengths_b"].float()}, "lengths_b: .*float32"),
    "complex lengths": (lambda x: {"lengths_b": x["lengths_b"] + 0j}, "lengths_b: .*complex"),
    "boolean lengths": (lambda x: {"lengths_a": x["lengths_a"] > 0}, "lengths_a: .*bool"),
    "listed lengths": (lambda x: {"lengths_a": [1, 2, 3]}, "lengths_a: .*a list"),
    "empty protein": (lambda x: {"lengths_a": torch.tensor([2, 0, 1])}, r"lengths_a\[1\] is 0: an empty"),
    "negative": (lambda x: {"lengths_b": torch.tensor([2, 3, -1])}, r"lengths_b\[2\] is -1; .*1 to 7"),
    "too long": (lambda x: {"lengths_a": torch.tensor([6, 3, 1])}, r"lengths_a\[0\] is 6; .*1 to 5"),
    "swapped": (lambda x: {"lengths_a": x["emb_a"], "emb_a": x["lengths_a"]}, "emb_a"),
    "batches": (
        lambda x: {"emb_b": x["emb_b"][:2], "lengths_b": x["lengths_b"][:2]},
        "emb_a holds 3 proteins and emb_b 2",
    ),
}


@every_model
@pytest.mark.parametrize("case", REFUSED)
def test_wrong_inputs_are_shape_errors(name, case):
    change, message = REFUSED[case]
    with pytest.raises(ShapeError, match=message):
        small(name)(**wrong(change))


@pytest.mark.parametrize("name", ALONE)
def test_encode_and_score_check_too(name):
    model = small(name)
    emb, _, lengths, _ = batch()
    with pytest.raises(ShapeError, match=r"lengths\[0\] is 0"):
        model.encode(emb, torch.zeros_like(lengths))
    with pytest.raises(ShapeError, match=r"emb: expected"):
        model.encode(emb[..., :3], lengths)
    enc = model.encode(emb, lengths)
    for other in (enc[:2], enc[0], enc[:, None]):
        with pytest.raises(ShapeError, match=r"\(B, H\)"):
            model.score(enc, other)
    with pytest.raises(ShapeError):
        model.score(enc[0], enc[0])


def test_a_wrong_width_names_the_parameter():
    with pytest.raises(ShapeError) as caught:
        small("v1")(**wrong(lambda x: {"emb_a": torch.zeros(3, 5, 1280)}))
    assert "input_dim=1280" in caught.value.hint
    assert caught.value.given == (3, 5, 1280)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"hidden_dim": 0}, "hidden_dim=0: expected a whole number"),
        ({"hidden_dim": 2.5}, "hidden_dim=2.5"),
        ({"hidden_dim": "256"}, "hidden_dim='256'"),
        ({"hidden_dim": 1}, "hidden_dim=1: at least 2"),
        ({"input_dim": -1}, "input_dim=-1"),
        ({"input_dim": True}, "input_dim=True"),
        ({"dropout": 1.5}, r"dropout=1.5: expected a probability"),
        ({"dropout": -0.1}, "dropout=-0.1"),
        ({"dropout": float("nan")}, "dropout=nan"),
        ({"dropout": "0.3"}, "dropout='0.3'"),
        ({"symmetry": "mean"}, "symmetry='mean': expected 'none', 'average' or 'sum'"),
    ],
)
@every_model
def test_wrong_parameters_are_refused(name, params, message):
    with pytest.raises(ParameterError, match=message):
        MODELS[name](**params, **({"num_heads": 1} if name in HEADED else {}))


@pytest.mark.parametrize("name", HEADED)
def test_heads_must_divide_the_width(name):
    with pytest.raises(ParameterError, match=r"hidden_dim=100 is not divisible by num_heads=8") as caught:
        MODELS[name](hidden_dim=100, num_heads=8)
    assert "96 or 104" in str(caught.value)
    assert MODELS[name].__name__ in str(caught.value)
    with pytest.raises(ParameterError, match="hidden_dim=8 is"):  # never 0
        MODELS[name](hidden_dim=4, num_heads=8)
    with pytest.raises(ParameterError, match="num_heads=0"):
        MODELS[name](num_heads=0)


def test_every_wrong_parameter_is_listed_at_once():
    with pytest.raises(ParameterError) as caught:
        MultiHeadAttentionProteinClassifier(input_dim=0, num_layers=0, dropout=2.0, symmetry="no")  # type: ignore[arg-type]
    assert len(caught.value.problems) == 4


# -- models of others ---------------------------------------------------------------------------


def test_a_model_of_ones_own_may_define_forward_alone():
    class Constant(BaseProteinModel):
        def __init__(self, **kwargs):
            super().__init__()
            self.logit = nn.Parameter(torch.tensor(0.5))

        def forward(self, emb_a, emb_b, lengths_a, lengths_b):
            return self.logit.expand(emb_a.shape[0])

    model = Constant()
    assert model(*batch()).tolist() == [0.5] * 3
    assert model.task is Task.PROTEIN_INTERACTION
    assert not model.symmetric
    with pytest.raises(PairwiseModelError):
        model.encode(*batch()[::2])


def test_a_model_that_defines_nothing_says_what_it_lacks():
    class Nothing(BaseProteinModel):
        input_dim = 12

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1)
            self.interaction_layer = self.layer

    with pytest.raises(NotImplementedError, match=r"neither forward\(\) nor encode_residues\(\)"):
        Nothing()(*batch())
