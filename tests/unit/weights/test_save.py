"""What save_pretrained writes suffices to load it back: here, in another process, and for other readers."""

import copy
import json
import pickle
import struct
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from torch import nn

from holotype import load_checkpoint, save_pretrained
from holotype.catalog.network_record import record_of
from holotype.catalog.values import fingerprint
from holotype.errors import LoadingError, MetadataError, MismatchError, ParameterError, UnknownFormatError
from loading_nets import ToyViT, images, make_registry


@pytest.fixture
def registry():
    return make_registry()


def header(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length])


def test_a_saved_network_comes_back(registry, tmp_path):
    net = registry.create_model("toy_vit", width=12, activation="relu").eval()
    path = save_pretrained(
        net,
        tmp_path / "x.safetensors",
        name="mine",
        classes=["a", "b", "c", "d", "e"],
        preprocessing={"mean": [0.5] * 3, "std": [0.2] * 3, "interpolation": "bicubic"},
        metrics=[{"name": "accuracy", "value": 0.9}],
        license="Apache-2.0",
        dataset="toys",
        epochs=3,
        registry=registry,
    )
    again, info = load_checkpoint(path, inference=True, registry=registry)
    x = images()
    assert torch.equal(again(x), net(x)) and not again.training
    assert info.name == "mine" and info.network.endswith("/toy_vit") and info.bound
    assert info.class_to_idx == {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4}
    assert info.signature == {
        "inputs": [{"data_shape": [0, 3, 16, 16]}],
        "outputs": [{"data_shape": [0, 5]}],
    }
    assert info.rgb_stats == {"mean": [0.5] * 3, "std": [0.2] * 3}
    assert info.preprocessing["interpolation"] == "bicubic" and info.task == "image_classification"
    assert info.record["metrics"] == [{"name": "accuracy", "value": 0.9}]
    assert info.record["license"] == "Apache-2.0" and info.record["epochs"] == 3
    assert info.config["width"] == 12 and info.config["rope_temperature"] == 100.0
    assert info.report.new == () and record_of(again)["config"] == record_of(net)["config"]
    metadata = header(path)["__metadata__"]
    assert metadata["config_fingerprint"] == fingerprint(json.loads(metadata["config"]))
    assert metadata["holotype_version"]


def test_the_reference_implementation_reads_it(registry, tmp_path):
    safetensors = pytest.importorskip("safetensors")
    net = registry.create_model("tied")
    path = save_pretrained(net, tmp_path / "x", registry=registry)
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata()["architecture"].endswith("/tied")
        names = set(file.keys())
        assert names == {"encoder.weight", "halves", "counter", "flags"}, "a shared tensor once"
        for name in names:
            assert torch.equal(file.get_tensor(name), net.state_dict()[name])
    again, _ = load_checkpoint(path, registry=registry)
    assert again.decoder.weight is again.encoder.weight and again.halves.dtype == torch.bfloat16


def test_another_process_needs_nothing_but_the_file(tmp_path):
    path = tmp_path / "x.safetensors"
    code = f"""
        import torch, holotype
        torch.manual_seed(0)
        net = holotype.create_model("efficientnet_lite0", width=0.25, depth=0.5, num_classes=4).eval()
        holotype.save_pretrained(net, {str(path)!r})
        torch.save(net(torch.ones(1, 3, 64, 64)), {str(tmp_path / "y.pt")!r})
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
    net, info = load_checkpoint(path, inference=True)
    assert info.network == "vision/efficientnet_lite0" and info.config["width"] == 0.25
    assert torch.equal(net(torch.ones(1, 3, 64, 64)), torch.load(tmp_path / "y.pt"))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch.compile's own
@pytest.mark.parametrize(
    "wrap",
    [
        copy.deepcopy,
        lambda net: pickle.loads(pickle.dumps(net)),  # noqa: S301  # our own
        lambda net: torch.compile(net, backend="eager"),
        nn.DataParallel,
        lambda net: nn.DataParallel(torch.compile(net, backend="eager")),
        lambda net: net.half(),
    ],
)
def test_a_network_knows_its_origin_through(registry, tmp_path, wrap):
    net = wrap(registry.create_model("toy_vit", activation="relu"))
    assert not any("holotype" in name for name in net.state_dict())
    path = save_pretrained(net, tmp_path / "x", registry=registry)
    again, info = load_checkpoint(path, registry=registry)
    assert info.config["activation"] == "relu"
    own = next(iter(net.state_dict().values()))
    assert torch.equal(next(iter(again.state_dict().values())), own.float())


def test_a_new_head_is_recorded(registry, tmp_path):
    net = registry.create_model("toy_vit")
    net.reset_classifier(9)
    path = save_pretrained(net, tmp_path / "x", registry=registry)
    again, info = load_checkpoint(path, registry=registry)
    assert again(images()).shape == (2, 9) and info.signature["outputs"] == [{"data_shape": [0, 9]}]
    with pytest.raises(MetadataError, match="9 classes, and 1 are named"):
        save_pretrained(net, tmp_path / "y", classes=["one"], registry=registry)


def test_what_was_loaded_and_adapted_can_be_saved_again(registry, tmp_path):
    first = save_pretrained(
        registry.create_model("toy_vit"), tmp_path / "a", classes=list("abcde"), registry=registry
    )
    net, info = load_checkpoint(first, in_channels=1, size=24, num_classes=2, registry=registry)
    second = save_pretrained(net, tmp_path / "b", info=info, registry=registry)
    again, told = load_checkpoint(second, inference=True, registry=registry)
    x = images(1, (24, 24))
    assert torch.equal(again(x), net.eval()(x))
    assert told.class_to_idx == {} and told.resolution == (24, 24)
    assert told.signature["inputs"] == [{"data_shape": [0, 1, 24, 24]}]
    assert told.config["in_channels"] == 1 and told.config["num_classes"] == 2


def test_a_network_that_was_changed_is_refused(registry, tmp_path):
    net = registry.create_model("toy_vit")
    net.mlp = nn.Linear(8, 8, bias=False)
    with pytest.raises(MismatchError, match=r"mlp.bias: not there here, \(8,\) by its config"):
        save_pretrained(net, tmp_path / "x", registry=registry)
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_unknown_origin(registry, tmp_path):
    net = ToyViT(width=12)
    with pytest.raises(LoadingError, match="architecture="):
        save_pretrained(net, tmp_path / "x", registry=registry)
    save_pretrained(net, tmp_path / "x", architecture="toy_vit", config={"width": 12}, registry=registry)
    assert load_checkpoint(tmp_path / "x", registry=registry)[1].config["width"] == 12
    with pytest.raises(MismatchError, match="built as"):
        save_pretrained(
            registry.create_model("tied"), tmp_path / "y", architecture="toy_vit", registry=registry
        )


def test_nothing_is_overwritten_unasked(registry, tmp_path):
    net = registry.create_model("tied")
    path = save_pretrained(net, tmp_path / "x", registry=registry)
    before = path.read_bytes()
    with pytest.raises(LoadingError, match="overwrite"):
        save_pretrained(registry.create_model("tied"), path, registry=registry)
    assert path.read_bytes() == before
    save_pretrained(registry.create_model("tied"), path, overwrite=True, registry=registry)
    assert path.read_bytes() != before and [p.name for p in tmp_path.iterdir()] == ["x"]
    with pytest.raises(LoadingError, match="cannot be written"):
        save_pretrained(net, tmp_path / "no" / "x", registry=registry)


@pytest.mark.parametrize("value", [object(), float("nan"), {1: 2}, b"x"])
def test_metadata_is_plain_data(registry, tmp_path, value):
    with pytest.raises(MetadataError):
        save_pretrained(registry.create_model("tied"), tmp_path / "x", anything=value, registry=registry)


def test_a_parameter_that_is_no_data(registry, tmp_path):
    path = save_pretrained(registry.create_model("toy_vit"), tmp_path / "x", registry=registry)
    assert header(path)["__metadata__"]["config"].count("LayerNorm") == 1, "a default is recorded by its name"
    load_checkpoint(path, registry=registry)

    class OtherNorm(nn.LayerNorm):
        pass

    net = registry.create_model("toy_vit", norm_layer=OtherNorm)
    with pytest.raises(LoadingError, match="norm_layer"):
        save_pretrained(net, tmp_path / "y", registry=registry)


def test_state_beside_the_tensors_is_told(registry, tmp_path):
    class Extra(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def get_extra_state(self):
            return {"steps": 3}

        def set_extra_state(self, value):
            pass

    registry.register_model("extra")(Extra)
    with pytest.warns(UserWarning, match="_extra_state"):
        save_pretrained(registry.create_model("extra"), tmp_path / "x", registry=registry)


@pytest.mark.parametrize("name", ["x.pt", "x.PTH", "x.safetensors"])
def test_the_name_of_the_file_says_what_is_in_it(registry, tmp_path, name):
    net = registry.create_model("toy_vit", width=12).eval()
    path = save_pretrained(net, tmp_path / name, classes=["a", "b", "c", "d", "e"], registry=registry)
    again, info = load_checkpoint(path, inference=True, registry=registry)
    x = images()
    assert torch.equal(again(x), net(x)) and info.bound and info.class_to_idx["b"] == 1
    assert info.format == ("safetensors" if name.endswith("safetensors") else "pt")
    if info.format == "pt":
        assert set(torch.load(path, weights_only=True)["state"]) == set(net.state_dict())


@pytest.mark.parametrize("name", ["x.bin", "x.ckpt", "x.npz", "x.onnx"])
def test_a_format_that_cannot_be_written_is_refused(registry, tmp_path, name):
    with pytest.raises(UnknownFormatError, match=r"\.safetensors"):
        save_pretrained(registry.create_model("toy_vit"), tmp_path / name, registry=registry)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"accuracy": 0.9, "f1": 1}, [{"name": "accuracy", "value": 0.9}, {"name": "f1", "value": 1}]),
        (
            {"name": "accuracy", "value": 0.9, "split": "test"},
            [{"name": "accuracy", "value": 0.9, "split": "test"}],
        ),
        ([{"name": "auroc", "value": 0.7}], [{"name": "auroc", "value": 0.7}]),
        (
            {"loss": np.float32(0.5), "auroc": torch.tensor(0.25)},
            [{"name": "loss", "value": 0.5}, {"name": "auroc", "value": 0.25}],
        ),
    ],
)
def test_metrics_are_kept_with_their_values(registry, tmp_path, given, kept):
    path = save_pretrained(
        registry.create_model("toy_vit"), tmp_path / "x.safetensors", metrics=given, registry=registry
    )
    assert load_checkpoint(path, registry=registry)[1].record["metrics"] == kept


@pytest.mark.parametrize(
    "given", [["accuracy"], {"accuracy": "high"}, {"accuracy": float("nan")}, [{"value": 1}], "f1"]
)
def test_metrics_without_a_value_are_refused(registry, tmp_path, given):
    with pytest.raises(MetadataError, match=r"metrics\[0\]"):
        save_pretrained(
            registry.create_model("toy_vit"), tmp_path / "x.safetensors", metrics=given, registry=registry
        )


def test_one_text_is_not_a_list_of_classes(registry, tmp_path):
    with pytest.raises(MetadataError, match="classes are several names"):
        save_pretrained(
            registry.create_model("toy_vit"), tmp_path / "x.safetensors", classes="abcde", registry=registry
        )


def test_lazy_modules_are_saved_once_they_have_shapes(registry, tmp_path):
    @registry.register_model("lazy")
    class Lazy(nn.Module):
        def __init__(self, width=3):
            super().__init__()
            self.layers = nn.Sequential(nn.LazyLinear(width), nn.ReLU(), nn.LazyConv1d(2, 1))

        def forward(self, x):
            return self.layers(x)

    net = registry.create_model("lazy", width=4).eval()
    with pytest.raises(LoadingError, match=r"shapes of layers\.0\.weight.*\n.*one batch"):
        save_pretrained(net, tmp_path / "x.safetensors", registry=registry)
    x = torch.randn(5, 7)
    expected = net(x)
    path = save_pretrained(net, tmp_path / "x.safetensors", registry=registry)
    again, info = load_checkpoint(path, inference=True, registry=registry)
    assert torch.equal(again(x), expected) and info.config["width"] == 4


@pytest.mark.parametrize(
    "number", [np.int64(12), np.int32(12), np.array(12), torch.tensor(12), torch.ones(12).sum().long()]
)
def test_numbers_of_other_libraries_become_pythons(registry, tmp_path, number):
    net = registry.create_model("toy_vit", width=number)
    assert type(record_of(net)["config"]["width"]) is int
    path = save_pretrained(net, tmp_path / "x.safetensors", registry=registry)
    assert load_checkpoint(path, registry=registry)[1].config["width"] == 12


def test_such_numbers_in_lists_configs_and_sizes(registry):
    registry.register_model("parts")(lambda widths=(1, 2), rate=0.5: nn.Linear(widths[0], widths[1]))
    net = registry.create_model("parts", widths=[np.int64(3), torch.tensor(4)], rate=np.float32(0.25))
    assert record_of(net)["config"] == {"widths": [3, 4], "rate": 0.25}
    registry.register_model_config("toy_small", ToyViT, config={"width": np.int64(8)})
    assert type(registry.get_model_info("toy_small").config["width"]) is int
    with pytest.raises(ParameterError, match="width"):
        registry.create_model("toy_vit", width=np.ones(3))
