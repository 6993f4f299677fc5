"""Other classes, channels and sizes, by one path for entries and files; and what the report says of it."""

import hashlib

import pytest
import torch
from torch import nn

from holotype import load_checkpoint, save_pretrained
from holotype.errors import LoadingError, MismatchError
from holotype.weights.adapt import other_channels, other_statistics
from holotype.weights.open import load_pretrained_model
from loading_nets import images, make_registry


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLOTYPE_HOME", str(tmp_path / "home"))


@pytest.fixture
def registry():
    return make_registry()


STATISTICS = {"mean": [0.4, 0.5, 0.6], "std": [0.1, 0.2, 0.3]}


@pytest.fixture(params=["file", "entry"])
def load(request, registry, tmp_path):
    """Load a saved network from its file, or as a pretrained entry."""

    def loader(net, **options):
        name = net.__dict__["_holotype"]["architecture"].partition("/")[2]
        path = save_pretrained(
            net, tmp_path / "x.safetensors", preprocessing=STATISTICS, overwrite=True, registry=registry
        )
        if request.param == "file":
            return load_checkpoint(path, registry=registry, **options)
        file = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        metadata = {
            "network": name,
            "url": path.as_uri(),
            "formats": {"safetensors": file},
            "preprocessing": STATISTICS,
        }
        registry.register_weights("entry", metadata, replace=True)
        return load_pretrained_model("entry", registry=registry, **options)

    return loader


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 6, 13])
def test_other_channels(registry, load, channels):
    net = registry.create_model("toy_vit").eval()
    adapted, info = load(net, in_channels=channels, inference=True)
    grey = torch.randn(2, 1, 16, 16)
    together = adapted(grey.expand(-1, channels, -1, -1))
    torch.testing.assert_close(together, net(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)
    assert info.report.adapted == ("conv_proj.weight",) and "adapted" in str(info.report)
    assert info.signature["inputs"] == [{"data_shape": [0, channels, 16, 16]}]
    assert info.config["in_channels"] == channels == adapted.in_channels
    assert len(info.rgb_stats["mean"]) == channels == len(info.preprocessing["std"])


def test_what_becomes_of_filters_and_statistics():
    filters = torch.arange(6.0).view(1, 3, 2)
    assert torch.equal(other_channels(filters, 1), torch.tensor([[[6.0, 9.0]]]))
    four = other_channels(filters, 4)
    assert torch.equal(four[:, 0], filters[:, 0] / 2) and torch.equal(four[:, 3], filters[:, 0] / 2)
    assert torch.equal(four[:, 1:3], filters[:, 1:])
    half = other_channels(filters.bfloat16(), 2)
    assert half.dtype == torch.bfloat16 and torch.equal(half[:, 0], half[:, 1])
    assert other_statistics([1.0, 2.0, 3.0], 1) == [2.0]
    assert other_statistics([1.0, 2.0, 3.0], 5) == [1.0, 2.0, 3.0, 1.0, 2.0]


@pytest.mark.parametrize("size", [24, (8, 20)])
def test_another_size_where_weights_depend_on_it(registry, load, size):
    net = registry.create_model("toy_vit")
    adapted, info = load(net, size=size, inference=True)
    both = (size, size) if isinstance(size, int) else size
    assert adapted(images(3, both)).shape == (2, 5) and adapted.size == both
    assert info.report.adapted == ("pos_embedding",)
    assert info.resolution == both and info.signature["inputs"] == [{"data_shape": [0, 3, *both]}]


def test_another_size_where_nothing_depends_on_it(registry, load):
    net = registry.create_model("toy_conv").eval()
    adapted, info = load(net, size=40, inference=True)
    x = images(3, (40, 40))
    assert torch.equal(adapted(x), net(x)) and adapted.size == 40
    assert info.report.adapted == () and info.resolution == (40, 40)
    assert info.signature["inputs"] == [{"data_shape": [0, 3, 40, 40]}]


@pytest.mark.parametrize("name", ["toy_vit", "toy_conv"])
def test_a_new_head(registry, load, name):
    net = registry.create_model(name)
    adapted, info = load(net, num_classes=11, dtype="bfloat16")
    head = "classifier" if name == "toy_vit" else "head"
    assert adapted(images().bfloat16()).shape == (2, 11)
    assert info.report.new == (f"{head}.weight", f"{head}.bias") == info.report.ignored
    assert info.config["num_classes"] == 11 and info.signature["outputs"] == [{"data_shape": [0, 11]}]
    weight = getattr(adapted, head).weight
    assert weight.dtype == torch.bfloat16 and weight.abs().sum() > 0 and torch.isfinite(weight).all()


def test_everything_at_once(registry, load):
    net = registry.create_model("toy_vit")
    adapted, info = load(net, num_classes=0, in_channels=2, size=32, dtype="float64", inference=True)
    assert adapted(images(2, (32, 32)).double()).shape == (2, 8)
    assert set(info.report.adapted) == {"conv_proj.weight", "pos_embedding"}
    assert info.signature == {"inputs": [{"data_shape": [0, 2, 32, 32]}], "outputs": [{"data_shape": [0, 0]}]}


class Reconstructing(nn.Module):
    """Its decoder, too, depends on the channels; and its table on the size."""

    def __init__(self, in_channels: int = 3, size: int = 8):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 4, 1)
        self.table = nn.Parameter(torch.zeros(size))
        self.decoder = nn.Linear(4, in_channels)


def test_what_cannot_be_adapted_is_said(registry, load):
    registry.register_model("reconstructing")(Reconstructing)
    net = registry.create_model("reconstructing")
    with pytest.raises(LoadingError, match=r"decoder.weight \(3, 4\) would be \(1, 4\)"):
        load(net, in_channels=1)
    with pytest.raises(LoadingError, match=r"table depend on it.*adjust_size"):
        load(net, size=9)
    with pytest.raises(LoadingError, match="reset_classifier"):
        load(net, num_classes=2)
    with pytest.raises(LoadingError, match="no parameter in_channels"):
        load(registry.create_model("tied"), in_channels=2)


# -- strictness ---------------------------------------------------------------------------------


@pytest.fixture
def partial(registry, tmp_path):
    """A bare file that lacks a layer and has another one."""
    state = registry.create_model("toy_vit").state_dict()
    for name in ("mlp.weight", "mlp.bias"):
        state[f"old_{name}"] = state.pop(name)
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "x.pt")
    return tmp_path / "x.pt"


@pytest.mark.filterwarnings("ignore:.* does not record")
def test_names_may_lack_or_be_left_over_where_that_is_said(registry, partial):
    options = {"architecture": "toy_vit", "registry": registry}
    for wrong in ({}, {"allow_missing": "mlp.*"}, {"allow_unexpected": ["old_*"]}, {"allow_missing": "*"}):
        with pytest.raises(MismatchError):
            load_checkpoint(partial, **options, **wrong)
    net, info = load_checkpoint(partial, **options, allow_missing=["mlp.*"], allow_unexpected="old_mlp.*")
    assert info.report.new == ("mlp.weight", "mlp.bias")
    assert info.report.ignored == ("module.old_mlp.weight", "module.old_mlp.bias")
    assert net.mlp.weight.abs().sum() > 0 and not net.mlp.weight.is_meta
    assert torch.isfinite(net(images())).all()
    with pytest.raises(LoadingError, match="globs"):
        load_checkpoint(partial, **options, allow_missing=[3])


@pytest.mark.filterwarnings("ignore:.* does not record")
def test_a_shape_that_differs_is_never_allowed(registry, tmp_path):
    state = registry.create_model("toy_vit").state_dict()
    state["mlp.bias"] = torch.zeros(3)
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(MismatchError, match=r"mlp.bias: \(3,\)"):
        load_checkpoint(
            tmp_path / "x.pt",
            architecture="toy_vit",
            allow_missing="*",
            allow_unexpected="*",
            registry=registry,
        )


@pytest.mark.filterwarnings("ignore:.* does not record")
def test_a_key_map_for_ones_own_file(registry, partial):
    _, info = load_checkpoint(
        partial, architecture="toy_vit", key_map={"^old_": "", "^.": r"\g<0>"}, registry=registry
    )
    assert info.report.new == () and info.report.ignored == ()
