"""NEAR: its blocks against plain loops, gaps between proteins, and its entry."""

import tomllib
from importlib.resources import files

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import holotype  # noqa: E402  # after the check that torch is there
from holotype.errors import ParameterError  # noqa: E402
from holotype.proteins.models.encoders.near import Near  # noqa: E402
from holotype.weights.keys import map_keys  # noqa: E402

FOLDER = files("holotype.proteins.models")
SIZES = tomllib.loads((FOLDER / "encoders" / "sizes.toml").read_text())
PRETRAINED = tomllib.loads((FOLDER / "pretrained.toml").read_text())
ENTRIES = [name for name in PRETRAINED if name.startswith("near_")]
PROTEINS = ["MKVLAAGIWYXQ", "M", "BJOUXZ", "GGSC", "MKVLAAGIWYXQRRSTWWAC"]


def build(**params):
    torch.manual_seed(0)
    return Near(**{"embedding_dim": 6, "blocks": 2, **params}).double().eval().requires_grad_(False)


def embed_plainly(net, protein):
    """A sum over channels and places for each number of each convolution, in numpy: (L, D)."""
    w = {name: value.numpy() for name, value in net.state_dict().items()}
    places = {letter: at for at, letter in enumerate("XARNDCEQGHILKMFPSTWYV")}
    x = np.stack([w["embedding_layer.weight"][:, places.get(letter, 0)] for letter in protein])

    def elu(a):
        return np.where(a > 0, a, np.exp(np.minimum(a, 0)) - 1)

    def convolved(a, name):
        weight, bias = w[f"{name}.weight"], w[f"{name}.bias"]
        out = np.tile(bias, (len(a), 1))
        for at in range(len(a)):
            for tap in range(7):
                if 0 <= at + tap - 3 < len(a):
                    out[at] += weight[:, :, tap] @ a[at + tap - 3]
        return out

    states = []
    for block in range(len(net.conv_layers)):
        y = convolved(elu(x), f"conv_layers.{block}.conv1")
        x = x + convolved(elu(y), f"conv_layers.{block}.conv2")
        states.append(x)
    return x if net.layers == "last" else np.concatenate([states[len(states) // 2 - 1], x], axis=1)


@pytest.mark.parametrize(("layers", "width"), [("last", 6), ("middle+last", 12)])
def test_each_residue_has_the_embedding_that_the_blocks_give(layers, width):
    net = build(layers=layers)
    assert net.embedding_dim == width
    assert net(*net.collate([])).shape == (0, 1, width)
    emb = net(*net.collate(PROTEINS))
    for row, protein in zip(emb, PROTEINS, strict=True):
        assert np.abs(row[: len(protein)].numpy() - embed_plainly(net, protein)).max() < 1e-12
        assert not row[len(protein) :].any()


def test_what_can_be_learnt_from_is_the_same():
    net = build()
    batch = net.collate(PROTEINS)
    quick = net(*batch)
    net.requires_grad_(True)
    assert (net(*batch) - quick).abs().max() < 1e-12


def test_the_gradients_are_those_of_the_blocks():
    net = build(embedding_dim=2, blocks=1).requires_grad_(True)
    tokens, lengths = net.collate(["MKVA", "GG"])
    names, parameters = zip(*net.named_parameters(), strict=True)

    def of(*values):
        return torch.func.functional_call(net, dict(zip(names, values, strict=True)), (tokens, lengths))

    assert torch.autograd.gradcheck(of, parameters, fast_mode=True)


def test_a_residue_sees_six_to_either_side_in_each_block():
    net = build(blocks=1)
    net.requires_grad_(False)
    protein = "A" * 30
    emb, other = (net(*net.collate([p]))[0] for p in (protein, "W" + protein[1:]))
    changed = (emb - other).abs().amax(1) > 0
    assert changed.nonzero().squeeze(1).tolist() == list(range(7))


def test_bfloat16_stays_close_and_returns_single_precision():
    net = build(embedding_dim=32).float()
    batch = net.collate(PROTEINS)
    exact = net(*batch)
    rough = net.set_compute_dtype("bfloat16")(*batch)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.02 * exact.abs().max()


def test_letters_have_the_tokens_of_the_published_alphabet():
    assert build().tokenize("XARNDCEQGHILKMFPSTWYV").tolist() == list(range(21))
    assert not build().tokenize("BJOUXZ").any()


def test_an_empty_batch_is_one():
    net = build()
    assert net(*net.collate([])).shape == (0, 1, 6)


@pytest.mark.parametrize(
    "wrong", [{"embedding_dim": 0}, {"blocks": 0}, {"layers": "all"}, {"layers": "middle+last", "blocks": 1}]
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ParameterError):
        Near(**wrong)


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_of_its_network_and_maps_the_names_of_its_file(name):
    entry = PRETRAINED[name]
    row = SIZES[entry["network"]]
    assert holotype.count_parameters(entry["network"]) == row["params"] == entry["params"]
    assert entry["config"] == {"layers": "last", **row["config"]}
    with torch.device("meta"):
        state = Near(**entry["config"]).state_dict()
    mapped = map_keys(["in_symbols", *state], entry["key_map"])
    assert {new for new in mapped.values() if new} == set(state)
    assert tuple(state["embedding_layer.weight"].shape) == (256, 25)
