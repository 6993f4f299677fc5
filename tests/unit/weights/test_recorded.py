"""Weights are bound to one architecture and config: that all shapes fit does not help."""

import hashlib
import json
import struct

import pytest
import torch

from holotype import load_checkpoint, save_pretrained
from holotype.catalog.network_record import complete_config, record_of
from holotype.catalog.values import canonical, fingerprint, shown
from holotype.errors import LoadingError, MetadataError, MismatchError, VerificationError
from holotype.weights.open import load_pretrained_model
from loading_nets import ToyViT, images, make_registry

DIFFERENT = {
    "activation": "relu",
    "eps": 1e-5,
    "rope_temperature": 10000.0,
    "class_first": False,
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLOTYPE_HOME", str(tmp_path / "home"))


@pytest.fixture
def registry():
    return make_registry()


def register(registry, path, name="entry", **metadata):
    file = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size_bytes": path.stat().st_size}
    base = {"network": "toy_vit", "url": path.as_uri(), "formats": {"safetensors": file}}
    registry.register_weights(name, {**base, **metadata})


@pytest.mark.parametrize("key", DIFFERENT)
def test_another_config_of_the_same_shapes_is_refused(registry, tmp_path, key):
    net = registry.create_model("toy_vit", **{key: DIFFERENT[key]}).eval()
    plain = registry.create_model("toy_vit").eval()
    plain.load_state_dict(net.state_dict())  # the shapes fit, and torch says nothing …
    x = images()
    assert not torch.equal(plain(x), net(x)), "… and it computes something else"

    path = save_pretrained(net, tmp_path / "x.safetensors", registry=registry)
    default = record_of(plain)["config"][key]
    register(registry, path, config={key: default})
    with pytest.raises(MismatchError) as caught:
        load_pretrained_model("entry", registry=registry)
    assert f"{key}: {shown(default)} here, {shown(DIFFERENT[key])} in the file" in str(caught.value)
    assert caught.value.given == (key,)
    with pytest.raises(MismatchError, match=f"{key}: .* here, .* in the file"):
        load_checkpoint(path, architecture="toy_vit", config={key: default}, registry=registry)

    register(registry, path, "right", config={key: DIFFERENT[key]})
    again, info = load_pretrained_model("right", inference=True, registry=registry)
    assert torch.equal(again(x), net(x)) and info.bound


def guide_entry(registry, path, **stated):
    """The catalog guide's own example: what it states, and no config."""
    format = path.suffix[1:]
    file = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size_bytes": path.stat().st_size}
    entry = {
        "url": path.as_uri(),
        "resolution": (16, 16),
        "formats": {format: file},
        "net": {"network": "toy_vit", "tag": format},
    }
    registry.register_weights(f"toy_vit_{format}", {**entry, **stated})
    return f"toy_vit_{format}"


def save_as(net, format, folder, registry):
    """Our own file, or Birder's layout."""
    if format == "safetensors":
        return save_pretrained(net, folder / "x.safetensors", registry=registry)
    outputs = [{"data_shape": [0, net.num_classes]}]
    signature = {"inputs": [{"data_shape": [0, 3, *net.size]}], "outputs": outputs}
    torch.save({"state": net.state_dict(), "signature": signature}, folder / "x.pt")
    return folder / "x.pt"


@pytest.mark.parametrize("format", ["safetensors", "pt"])
def test_a_file_decides_what_its_entry_leaves_open(registry, tmp_path, format):
    net = registry.create_model("toy_vit", num_classes=7).eval()
    path = save_as(net, format, tmp_path, registry)
    x = images()
    for stated in ({}, {"num_classes": 7}, {"config": {"num_classes": 7}}):
        name = guide_entry(registry, path, **stated)
        again, info = load_pretrained_model(name, inference=True, registry=registry)
        assert torch.equal(again(x), net(x)), stated
        assert info.config["num_classes"] == 7 and info.bound == (format == "safetensors")
        assert info.signature["outputs"][0]["data_shape"] == (0, 7)
    for stated in ({"num_classes": 6}, {"config": {"num_classes": 6}}, {"config": {"width": 16}}):
        with pytest.raises(MismatchError):
            load_pretrained_model(guide_entry(registry, path, **stated), registry=registry)


def test_a_file_of_our_own_decides_the_whole_config_that_is_left_open(registry, tmp_path):
    net = registry.create_model("toy_vit", num_classes=7, size=24, **DIFFERENT).eval()
    path = save_as(net, "safetensors", tmp_path, registry)
    open_entry = {"resolution": (24, 24), "config": {"eps": DIFFERENT["eps"]}}
    again, info = load_pretrained_model(
        guide_entry(registry, path, **open_entry), inference=True, registry=registry
    )
    x = images(size=(24, 24))
    assert torch.equal(again(x), net(x)) and info.config == record_of(net)["config"]
    assert info.resolution == (24, 24)
    with pytest.raises(MismatchError, match=r"size: 16 here, 24 in the file"):
        load_pretrained_model(guide_entry(registry, path), registry=registry)
    with pytest.raises(MismatchError, match=r"eps: 0.5 here, 1e-05 in the file"):
        stated = {**open_entry, "config": {"eps": 0.5}}
        load_pretrained_model(guide_entry(registry, path, **stated), registry=registry)
    # The name of a config states its parameters, too.
    relu = registry.create_model("toy_vit_relu", activation="gelu")
    register(
        registry, save_pretrained(relu, tmp_path / "y.safetensors", registry=registry), network="toy_vit_relu"
    )
    with pytest.raises(MismatchError, match="activation: 'relu' here, 'gelu' in the file"):
        load_pretrained_model("entry", registry=registry)


def test_another_architecture_of_the_same_shapes_is_refused(registry, tmp_path):
    net = registry.create_model("toy_vit")
    path = save_pretrained(net, tmp_path / "x.safetensors", registry=registry)
    register(registry, path, network="toy_vit_rope")
    with pytest.raises(MismatchError) as caught:
        load_pretrained_model("entry", registry=registry)
    text = str(caught.value)
    assert "architecture: loading_nets/toy_vit_rope here, loading_nets/toy_vit in the file" in text
    assert "rope_temperature: 10000 here, 100 in the file" in text
    with pytest.raises(MismatchError, match=r"activation: 'relu' here, 'gelu' in the file"):
        load_checkpoint(path, architecture="toy_vit_relu", registry=registry)
    with pytest.raises(MismatchError, match="architecture"):
        load_checkpoint(path, architecture="tied", registry=registry)


def test_the_same_architecture_under_an_alias(registry, tmp_path):
    path = save_pretrained(registry.create_model("toy_vit"), tmp_path / "x.safetensors", registry=registry)
    rewrite(path, architecture="loading_nets/old_vit")
    load_checkpoint(path, registry=registry)
    rewrite(path, architecture="session/toy_vit")
    load_checkpoint(path, registry=registry)
    load_checkpoint(path, architecture="toy_vit", registry=registry)  # a session is no zoo


def rewrite(path, **changes):
    """Change the header of a file."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = {
        key: text for key, text in {**header["__metadata__"], **changes}.items() if text is not None
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def test_a_record_that_contradicts_itself(registry, tmp_path):
    path = save_pretrained(registry.create_model("toy_vit"), tmp_path / "x.safetensors", registry=registry)
    config = {**record_of(registry.create_model("toy_vit"))["config"], "eps": 0.1}
    rewrite(path, config=canonical(config))
    with pytest.raises(MismatchError, match="contradicts itself"):
        load_checkpoint(path, registry=registry)


def test_a_record_of_the_fingerprint_alone(registry, tmp_path):
    path = save_pretrained(registry.create_model("toy_vit"), tmp_path / "x.safetensors", registry=registry)
    rewrite(path, config=None)
    assert load_checkpoint(path, registry=registry)[1].bound
    with pytest.raises(MismatchError, match=r"config_fingerprint: .* here"):
        load_checkpoint(path, config={"eps": 0.1}, registry=registry)


def test_the_fingerprint_that_an_entry_publishes_is_checked_before_fetching(registry, tmp_path, monkeypatch):
    path = save_pretrained(registry.create_model("toy_vit"), tmp_path / "x.safetensors", registry=registry)
    right = fingerprint(record_of(registry.create_model("toy_vit"))["config"])
    register(registry, path, "right", config_fingerprint=right)
    load_pretrained_model("right", registry=registry)
    register(registry, path, "wrong", config_fingerprint="0" * 64)
    monkeypatch.setattr("holotype.weights.open.fetch_open", None)
    with pytest.raises(MismatchError, match="config_fingerprint"):
        load_pretrained_model("wrong", registry=registry)


def test_a_parameter_that_the_code_got_since(registry, tmp_path):
    path = save_pretrained(registry.create_model("toy_vit"), tmp_path / "x.safetensors", registry=registry)
    config = dict(record_of(registry.create_model("toy_vit"))["config"])
    del config["class_first"]
    rewrite(path, config=canonical(config), config_fingerprint=fingerprint(config))
    with pytest.raises(MismatchError, match="class_first: True here, not in the file"):
        load_checkpoint(path, registry=registry)
    load_checkpoint(path, allow_config="class_*", registry=registry)


def test_bare_files_bind_nothing_and_say_so(registry, tmp_path):
    torch.save(ToyViT().state_dict(), tmp_path / "x.pt")
    with pytest.raises(LoadingError, match="architecture="):
        load_checkpoint(tmp_path / "x.pt", registry=registry)
    with pytest.warns(UserWarning, match="does not record") as told:
        _, info = load_checkpoint(tmp_path / "x.pt", architecture="toy_vit", registry=registry)
    assert len(told) == 1 and not info.bound


def test_birders_layout(registry, tmp_path):
    net = ToyViT(num_classes=2, in_channels=1, size=24, eps=0.1).eval()
    content = {
        "state": net.state_dict(),
        "birder_version": "0.4.1",
        "task": "image_classification",
        "signature": {"inputs": [{"data_shape": [0, 1, 24, 24]}], "outputs": [{"data_shape": [0, 2]}]},
        "class_to_idx": {"cat": 0, "dog": 1},
        "rgb_stats": {"mean": [0.5], "std": [0.25]},
        "config": {"eps": 0.1, "something_of_theirs": 3},
    }
    torch.save(content, tmp_path / "x.pt")
    with pytest.warns(UserWarning, match="does not record"):
        again, info = load_checkpoint(
            tmp_path / "x.pt", architecture="toy_vit", inference=True, registry=registry
        )
    x = images(1, (24, 24))
    assert torch.equal(again(x), net(x)), "signature and config were followed"
    assert info.class_to_idx == {"cat": 0, "dog": 1} and info.rgb_stats["mean"] == [0.5]
    with pytest.raises(MismatchError, match=r"eps: 0.2 here, 0.1 in the file"):
        load_checkpoint(tmp_path / "x.pt", architecture="toy_vit", config={"eps": 0.2}, registry=registry)


def test_a_hash_may_be_asked_for(registry, tmp_path):
    path = save_pretrained(registry.create_model("toy_vit"), tmp_path / "x.safetensors", registry=registry)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_checkpoint(path, sha256=right.upper(), registry=registry)[1].sha256 == right
    with pytest.raises(VerificationError):
        load_checkpoint(path, sha256="0" * 64, registry=registry)


# -- configs ------------------------------------------------------------------------------------


def test_equal_configs_share_a_fingerprint():
    assert fingerprint({"a": 1, "b": (1, 2)}) == fingerprint({"b": [1.0, 2], "a": 1.0})
    different = [
        {"a": 1},
        {"a": True},
        {"a": "1"},
        {"a": None},
        {"a": [1]},
        {"a": 1.5},
        {"a": float("inf")},
        {},
    ]
    assert len({fingerprint(config) for config in different}) == len(different)
    assert fingerprint({}) == hashlib.sha256(b"{}").hexdigest()


def test_the_complete_config_holds_every_default(registry):
    config = record_of(registry.create_model("toy_vit_rope", width=16))["config"]
    assert config["rope_temperature"] == 10000.0 and config["width"] == 16 and config["size"] == 16
    assert config["norm_layer"] == {"not_data": "torch.nn.modules.normalization.LayerNorm"}
    assert complete_config({"x": 1}, None, None) == {"x": 1}


def test_an_entry_that_is_wrong_in_itself(registry, tmp_path):
    path = save_pretrained(registry.create_model("toy_vit"), tmp_path / "x.safetensors", registry=registry)
    register(registry, path, classes=["a", "b"], num_classes=5)
    with pytest.raises(MetadataError):
        load_pretrained_model("entry", registry=registry)
