"""ESM-2 against transformers itself, on a small network with random weights; ESM C against its package."""

import tomllib
import warnings
from importlib.resources import files
from importlib.util import find_spec

import pytest

torch = pytest.importorskip("torch")
save_file = pytest.importorskip("safetensors.torch").save_file

import holotype  # noqa: E402  # after the checks that both are there
from holotype.errors import MissingExtraError, ParameterError, ShapeError  # noqa: E402
from holotype.proteins.models.encoders.esm import Esm2, EsmC  # noqa: E402
from holotype.weights.keys import map_keys  # noqa: E402

FOLDER = files("holotype.proteins.models")
SIZES = tomllib.loads((FOLDER / "encoders" / "sizes.toml").read_text())
PRETRAINED = tomllib.loads((FOLDER / "pretrained.toml").read_text())
SMALL = {"embedding_dim": 16, "depth": 2, "num_heads": 2}
PROTEINS = ["MKVLAAGIWYXQ", "M", "BOUXZ", "GGSC", "MKVLAAGIWYXQRRST"]
# The authors' vocabulary, which transformers reads from a file.
VOCABULARY = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>", "<mask>"]


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def reference(transformers):
    """A small ESM-2, built by transformers alone."""
    torch.manual_seed(1)
    config = transformers.EsmConfig(
        vocab_size=33,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        position_embedding_type="rotary",
        pad_token_id=1,
        mask_token_id=32,
        token_dropout=True,
        max_position_embeddings=1026,
        layer_norm_eps=1e-5,
    )
    net = transformers.EsmForMaskedLM(config).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return net


@pytest.fixture(scope="module")
def tokenizer(transformers, tmp_path_factory):
    path = tmp_path_factory.mktemp("esm") / "vocab.txt"
    path.write_text("\n".join(VOCABULARY))
    return transformers.EsmTokenizer(str(path))


@pytest.fixture
def folder(reference, tmp_path):
    reference.save_pretrained(tmp_path / "esm2")
    return tmp_path / "esm2"


@pytest.fixture
def net(reference, tmp_path):
    """Ours, with the same weights, from a file with the names of the authors' files and by an entry's key map."""
    state = {name: value.contiguous() for name, value in reference.state_dict().items()}
    del state["esm.rotary_embeddings.inv_freq"], state["lm_head.decoder.weight"]
    for layer in range(2):
        state[f"esm.encoder.layer.{layer}.attention.self.rotary_embeddings.inv_freq"] = torch.zeros(4)
    state["esm.embeddings.position_embeddings.weight"] = torch.zeros(1026, 16)
    save_file(state, tmp_path / "model.safetensors")
    with warnings.catch_warnings():
        # That nothing in the file binds it to the architecture is known here.
        warnings.filterwarnings("ignore", ".*does not record which architecture", UserWarning)
        return holotype.load_checkpoint(
            tmp_path / "model.safetensors",
            architecture="esm2_t6_8m",
            config=SMALL,
            key_map=PRETRAINED["esm2_t6_8m_ur50d"]["key_map"],
            inference=True,
        )[0]


@torch.no_grad()
def expected(reference, tokenizer, protein):
    batch = tokenizer([protein], return_tensors="pt")
    assert batch["input_ids"].shape == (1, len(protein) + 2)
    return reference.esm(**batch).last_hidden_state[0, 1:-1]


def test_outputs_are_those_of_transformers_without_cls_and_eos(net, reference, tokenizer):
    emb = net(*net.collate(PROTEINS))
    assert emb.shape == (5, 16, 16)
    for row, protein in zip(emb, PROTEINS, strict=True):
        assert (row[: len(protein)] - expected(reference, tokenizer, protein)).abs().max() < 1e-5
        assert not row[len(protein) :].any()


def test_its_tokens_are_those_of_transformers(net, tokenizer):
    letters = "ABCDEFGHIKLMNOPQRSTUVWXYZ"
    assert net.tokenize(letters).tolist() == tokenizer(letters)["input_ids"][1:-1]
    assert net.tokenize("J").tolist() == net.tokenize("X").tolist()


def test_transformers_own_loader_gives_the_same(net, folder, tmp_path):
    other = Esm2.from_transformers(str(folder)).eval()
    batch = net.collate(PROTEINS)
    with torch.no_grad():
        assert torch.equal(other(*batch), net(*batch))
    path = holotype.save_pretrained(other, tmp_path / "saved.safetensors")
    again, info = holotype.load_checkpoint(path, inference=True)
    assert info.network == "proteins/esm2_t6_8m"
    assert torch.equal(again(*batch), net(*batch))


def test_another_network_of_the_library_is_refused(transformers, tmp_path):
    config = transformers.EsmConfig(
        vocab_size=33,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        pad_token_id=1,
        position_embedding_type="absolute",
        max_position_embeddings=20,
    )
    transformers.EsmModel(config).save_pretrained(tmp_path)
    with pytest.raises(ParameterError):
        Esm2.from_transformers(str(tmp_path))


def test_bfloat16_stays_close_and_returns_single_precision(net):
    batch = net.collate(PROTEINS)
    exact = net(*batch)
    rough = net.set_compute_dtype("bfloat16")(*batch)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.05 * exact.abs().max()


def test_a_protein_that_is_longer_than_any_in_training_is_refused(net):
    with pytest.raises(ShapeError, match="1022"):
        net(*net.collate(["M" * 1023]))


@pytest.mark.parametrize("wrong", [{"embedding_dim": 10, "num_heads": 4}, {"depth": 0}, {"num_heads": 0}])
@pytest.mark.parametrize("cls", [Esm2, EsmC])
def test_values_out_of_range_are_refused(cls, wrong):
    with pytest.raises(ParameterError):
        cls(**wrong)


@pytest.mark.skipif(find_spec("esm") is not None, reason="the package esm is there")
def test_without_its_package_esm_c_says_what_to_install():
    with pytest.raises(MissingExtraError, match="pip install esm"):
        EsmC()


def test_esm_c_gives_what_its_package_gives():
    esmc = pytest.importorskip("esm.models.esmc")
    from esm.tokenization import EsmSequenceTokenizer

    torch.manual_seed(0)
    net = EsmC(**SMALL).eval()
    reference = esmc.ESMC(16, 2, 2, tokenizer=EsmSequenceTokenizer(), use_flash_attn=False).eval()
    assert not reference.load_state_dict(net.state_dict(), strict=False).unexpected_keys
    with torch.no_grad():
        emb = net(*net.collate(PROTEINS))
        for row, protein in zip(emb, PROTEINS, strict=True):
            whole = reference(reference._tokenize([protein])).embeddings
            assert (row[: len(protein)] - whole[0, 1:-1]).abs().max() < 1e-5


# -- the tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["esm2_t6_8m", "esm2_t12_35m", "esm2_t30_150m", "esm2_t33_650m", "esm2_t36_3b"]
)
def test_the_named_sizes_are_what_they_declare(name):
    with torch.device("meta"):
        net = holotype.create_model(name)
    assert sum(p.numel() for p in net.parameters()) == SIZES[name]["params"]
    layers = int(name.split("_")[1][1:])
    assert len(net.esm.encoder.layer) == layers


@pytest.mark.parametrize("name", [name for name in PRETRAINED if name.startswith("esm2_")])
def test_an_entry_maps_every_name_that_versions_of_transformers_wrote(name):
    entry = PRETRAINED[name]
    assert entry["config"] == SIZES[entry["network"]]["config"]
    with torch.device("meta"):
        state = Esm2(**entry["config"]).state_dict()
    in_file = [
        *state,
        "lm_head.bias",
        "lm_head.dense.weight",
        "esm.contact_head.regression.weight",
        "esm.embeddings.position_ids",
        "esm.embeddings.position_embeddings.weight",
        "esm.encoder.layer.0.attention.self.rotary_embeddings.inv_freq",
        "esm.rotary_embeddings.inv_freq",
    ]
    mapped = map_keys(in_file, entry["key_map"])
    assert {new for new in mapped.values() if new} == set(state)
    # A file holds numbers in single precision: those of the encoder, of the two heads and of positions; and names.
    width, depth, heads = entry["config"].values()
    others = width * width + 4 * width + 34 + 1026 * width + depth * heads
    names = entry["formats"]["safetensors"]["size_bytes"] - 4 * (entry["params"] + others)
    assert 0 < names < 100_000
