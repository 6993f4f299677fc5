"""EfficientNet-Lite: parameters, names, shapes, padding, errors; and its tables."""

import copy
import hashlib
import math
import pickle
import re
import tomllib
from importlib.resources import files
from inspect import signature

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402  # after the check that torch is there

from holotype.errors import HolotypeError, ParameterError, ShapeError  # noqa: E402
from holotype.records import PretrainedMetadata  # noqa: E402
from holotype.tasks import Task  # noqa: E402
from holotype.vision.models.efficientnet_lite import (  # noqa: E402
    EfficientNet_Lite,
    SamePadConv2d,
    scaled_channels,
    scaled_stages,
)
from holotype.vision.models.interface import DropPath, ImageClassifier, height_and_width  # noqa: E402
from holotype.weights.keys import map_keys  # noqa: E402

FOLDER = files("holotype.vision.models")
SIZES = tomllib.loads((FOLDER / "sizes.toml").read_text())
LITE = {name: row["config"] for name, row in SIZES.items() if name.startswith("efficientnet_lite")}
PRETRAINED = {
    name: row
    for name, row in tomllib.loads((FOLDER / "pretrained.toml").read_text()).items()
    if name.startswith("efficientnet_lite")
}
# As the public packages count them.
PARAMS = {
    "efficientnet_lite0": 4_652_008,
    "efficientnet_lite1": 5_416_680,
    "efficientnet_lite2": 6_092_072,
    "efficientnet_lite3": 8_197_096,
    "efficientnet_lite4": 13_006_568,
}
# What published checkpoints hold, per size: number of entries, blocks in each of the five stages.
LAYOUT = {
    "efficientnet_lite0": (296, [1, 2, 2, 6, 5]),
    "efficientnet_lite1": (386, [1, 3, 3, 8, 6]),
    "efficientnet_lite2": (386, [1, 3, 3, 8, 6]),
    "efficientnet_lite3": (440, [1, 3, 3, 10, 7]),
    "efficientnet_lite4": (548, [1, 4, 4, 12, 9]),
}

every_size = pytest.mark.parametrize("name", LITE)
every_entry = pytest.mark.parametrize("entry", PRETRAINED)


def on_meta(**config):
    with torch.device("meta"):
        return EfficientNet_Lite(**config)


def small(**params):
    torch.manual_seed(0)
    return EfficientNet_Lite(**{"num_classes": 5, "width": 0.5, "depth": 0.5, **params}).eval()


def images(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# The table of sizes


def test_there_are_the_five_sizes():
    assert list(LITE) == list(PARAMS)
    for row in SIZES.values():
        assert row["description"] and row["features"] and row["complexity"]
        assert set(row["config"]) <= set(signature(EfficientNet_Lite).parameters)


@every_size
def test_parameters_are_the_published_ones(name):
    counted = sum(p.numel() for p in on_meta(**LITE[name]).parameters())
    assert counted == PARAMS[name] == SIZES[name]["params"]


@every_size
def test_layout_is_that_of_published_checkpoints(name):
    state = on_meta(**LITE[name]).state_dict()
    entries, blocks = LAYOUT[name]
    assert len(state) == entries
    pattern = re.compile(
        r"(stem\.[01]|body\.stage[0-4]\.\d+\.block\.[012]\.[01]|features\.0\.[01]|classifier)"
        r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"
    )
    assert [key for key in state if not pattern.fullmatch(key)] == []
    for stage, count in enumerate(blocks):
        found = {key.split(".")[2] for key in state if key.startswith(f"body.stage{stage}.")}
        assert found == {str(block) for block in range(count)}
    assert next(iter(state)) == "stem.0.weight"
    assert list(state)[-2:] == ["classifier.weight", "classifier.bias"]
    assert tuple(state["stem.0.weight"].shape) == (32, 3, 3, 3)  # not scaled
    assert state["features.0.0.weight"].shape[0] == 1280  # not scaled
    # The first block does not expand: a depthwise filter comes first.
    assert tuple(state["body.stage0.0.block.0.0.weight"].shape) == (32, 1, 3, 3)


def test_first_and_last_stage_are_not_deepened():
    repeats = [stage.repeats for stage in scaled_stages(1.0, 1.8)]
    assert repeats == [1, 4, 4, 6, 6, 8, 1]


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [(16, 1.0, 16), (16, 1.1, 16), (16, 1.2, 24), (24, 1.1, 24), (40, 1.1, 48), (112, 1.4, 160), (8, 0.1, 8)],
)
def test_channels_are_multiples_of_eight(channels, width, expected):
    # 16 * 1.2 = 19.2: the nearest multiple, 16, is less than nine tenths of it.
    assert scaled_channels(channels, width) == expected


# Shapes


@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (96, 64)])
def test_any_size_from_32_on(padding, size):
    net = small(padding=padding)
    x = images(2, 3, *size)
    with torch.no_grad():
        features = net.forward_features(x)
        embedding = net.embedding(x)
        assert features.shape == (2, 1280, math.ceil(size[0] / 32), math.ceil(size[1] / 32))
        assert embedding.shape == (2, net.num_features)
        torch.testing.assert_close(embedding, features.mean((2, 3)))
        assert net(x).shape == (2, 5)
        torch.testing.assert_close(net(x), net.classifier(embedding))


@pytest.mark.parametrize("channels", [1, 4, 13])
def test_any_number_of_channels(channels):
    net = small(in_channels=channels)
    assert net(images(1, channels, 32, 32)).shape == (1, 5)


def test_empty_batch():
    assert small()(images(0, 3, 32, 32)).shape == (0, 5)


def test_the_answer_for_an_image_does_not_depend_on_its_batch():
    net, x = small().double(), images(3, 3, 40, 40).double()
    with torch.no_grad():
        torch.testing.assert_close(net(x)[1:2], net(x[1:2]))


def test_no_classes_gives_the_embedding():
    net, x = small(num_classes=0), images(2, 3, 32, 32)
    assert net(x).shape == (2, 1280)
    torch.testing.assert_close(net(x), net.embedding(x))
    net.train()
    torch.manual_seed(0)
    assert (net(images(8, 3, 64, 64)) == 0).float().mean() < 0.9  # no dropout in front of nothing


def test_reset_classifier():
    net, x = small().double(), images(1, 3, 32, 32).double()
    before = net.embedding(x)
    net.reset_classifier(7)
    assert (net.num_classes, net.classifier.out_features) == (7, 7)
    assert net.classifier.weight.dtype == torch.float64 and not net.classifier.training
    assert net(x).shape == (1, 7)
    net.reset_classifier(0)
    torch.testing.assert_close(net(x), before)
    assert not any(key.startswith("classifier") for key in net.state_dict())
    with pytest.raises(ParameterError, match="num_classes"):
        net.reset_classifier(-1)


def test_it_is_an_image_classifier():
    assert issubclass(EfficientNet_Lite, ImageClassifier)
    assert EfficientNet_Lite.task is Task.IMAGE_CLASSIFICATION
    net = small(size=(64, 96))
    assert (net.size, net.in_channels, net.num_classes, net.num_features) == ((64, 96), 3, 5, 1280)


# What is refused


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((3, 32, 32), r"\(B, 3, H, W\).*\(3, 32, 32\)[\s\S]*images\[None\]"),
        ((2, 3, 4, 32, 32), r"\(B, 3, H, W\)"),
        ((2, 1, 32, 32), "takes 3 channels, got 1"),
        ((2, 32, 32, 3), r"takes 3 channels, got 32[\s\S]*permute"),
        ((2, 3, 31, 64), "at least 32 pixels"),
        ((2, 3, 64, 8), "at least 32 pixels"),
    ],
)
def test_wrong_shapes_are_shape_errors(shape, words):
    with pytest.raises(ShapeError, match=words) as error:
        small()(torch.zeros(shape))
    assert error.value.given == shape


@pytest.mark.parametrize(
    "params",
    [
        {"num_classes": -1},
        {"in_channels": 0},
        {"width": 0.0},
        {"width": math.nan},
        {"depth": -1.0},
        {"depth": math.inf},
        {"size": 16},
        {"size": (64, 0)},
        {"size": (64, 64, 64)},
        {"size": "224"},
        {"dropout": 1.5},
        {"drop_path_rate": 1.0},
        {"padding": "valid"},
        {"bn_eps": -1.0},
    ],
)
def test_wrong_parameters_are_parameter_errors(params):
    with pytest.raises(ParameterError, match=next(iter(params))):
        on_meta(**params)


@pytest.mark.parametrize(("given", "expected"), [(224, (224, 224)), ((3, 4), (3, 4)), ([3, 4], (3, 4))])
def test_height_and_width(given, expected):
    assert height_and_width(given) == expected


# Padding


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("n", [32, 33, 34, 35])
def test_same_padding_is_that_of_tensorflow(kernel, n):
    # TensorFlow: ceil(n / 2) outputs; max((out - 1) * 2 + kernel - n, 0) zeros, the odd one at the end.
    conv = SamePadConv2d(1, 1, kernel, 2, bias=False)
    x = images(1, 1, n, n)
    out = math.ceil(n / 2)
    zeros = max((out - 1) * 2 + kernel - n, 0)
    padded = F.pad(x, (zeros // 2, zeros - zeros // 2) * 2)
    with torch.no_grad():
        assert conv(x).shape == (1, 1, out, out)
        torch.testing.assert_close(conv(x), F.conv2d(padded, conv.weight, stride=2))


def test_same_and_symmetric_padding_share_names_and_differ_in_values():
    symmetric, same = small(), small(padding="same")
    same.load_state_dict(symmetric.state_dict())
    x = images(1, 3, 64, 64)
    with torch.no_grad():
        assert (symmetric(x) - same(x)).abs().max() > 1e-6
        # 65 → 33 → 17 → 9 → 5 → 3: on odd sides the odd pixel disappears, and they agree.
        odd = images(1, 3, 65, 65)
        torch.testing.assert_close(symmetric(odd), same(odd))


def test_epsilon_reaches_every_batch_norm():
    norms = [m for m in small(bn_eps=1e-3).modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and {norm.eps for norm in norms} == {1e-3}


# Training


def test_every_parameter_gets_a_gradient():
    net = small(drop_path_rate=0.0).train()
    net(images(4, 3, 64, 64)).square().sum().backward()
    silent = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


def test_drop_path_rates_grow_linearly():
    net = on_meta(drop_path_rate=0.2, depth=1.8, width=1.4)
    blocks = [block for stage in net.body for block in stage]
    for at, block in enumerate(blocks):
        if block.residual:
            assert block.drop_path.rate == pytest.approx(0.2 * at / len(blocks))


def test_drop_path_drops_whole_samples_and_keeps_the_expectation():
    torch.manual_seed(0)
    layer = DropPath(0.25).train()
    out = layer(torch.ones(4000, 2, 3))
    values = out.reshape(4000, -1)
    assert (values == values[:, :1]).all()
    assert values.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert out.mean().item() == pytest.approx(1.0, abs=0.05)
    assert layer.eval()(torch.ones(3)).tolist() == [1, 1, 1]


def test_evaluation_is_deterministic_and_training_is_not():
    net, x = small(dropout=0.5), images(4, 3, 64, 64)
    assert torch.equal(net(x), net(x))
    net.train()
    assert not torch.equal(net(x), net(x))


def test_input_is_left_as_it_is():
    net, x = small(), images(1, 3, 32, 32)
    before = x.clone()
    net(x)
    assert torch.equal(x, before)


# Ways to run it


def test_on_the_meta_device():
    net = on_meta(num_classes=3)
    assert all(p.is_meta for p in net.parameters())
    assert net(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 3)


@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_exports_with_any_batch_and_size(padding):
    net = small(padding=padding)
    batch, height, width = (torch.export.Dim(n, min=low) for n, low in (("b", 1), ("h", 65), ("w", 65)))
    program = torch.export.export(
        net, (images(2, 3, 96, 96),), dynamic_shapes=({0: batch, 2: height, 3: width},), strict=False
    )
    for shape in [(1, 3, 96, 66), (3, 3, 65, 97)]:
        with torch.no_grad():
            torch.testing.assert_close(program.module()(images(*shape)), net(images(*shape)))


@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_compiles_without_a_break(padding):
    net, x = small(padding=padding), images(1, 3, 64, 64)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), net(x))


def test_copies_and_pickles():
    net, x = small(), images(1, 3, 32, 32)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):  # noqa: S301  # made a line above
        assert torch.equal(other(x), net(x))


def test_half_precision():
    assert small().bfloat16()(images(1, 3, 32, 32).bfloat16()).dtype == torch.bfloat16


# The table of pretrained entries


@every_entry
def test_entries_hold_together(entry):
    meta = PretrainedMetadata.parse(entry, "vision", PRETRAINED[entry])
    assert entry == f"{meta.network}_{meta.tag}"
    assert meta.network in LITE
    # Complete: every parameter is said, so that a later default cannot change what is loaded.
    assert set(meta.config) == set(signature(EfficientNet_Lite).parameters)
    for key, value in LITE[meta.network].items():
        assert meta.config[key] == value
    net = on_meta(**meta.config)
    assert meta.params == sum(p.numel() for p in net.parameters())
    assert meta.num_classes == net.num_classes
    assert meta.resolution == net.size
    assert meta.license == "Apache-2.0"
    assert meta.url_of("pt").startswith("pypi://")
    # The publisher puts the first digits of the hash into the file's name.
    assert meta.formats["pt"].sha256[:8] in meta.url_of("pt")
    assert {metric["name"] for metric in meta.metrics} == {"accuracy"}
    assert all(metric["source"].startswith("https://") for metric in meta.metrics)


@every_entry
def test_multiply_adds_are_as_declared(entry):
    from torch.utils.flop_counter import FlopCounterMode

    meta = PretrainedMetadata.parse(entry, "vision", PRETRAINED[entry])
    with FlopCounterMode(display=False) as counter:
        on_meta(**meta.config).eval()(torch.empty(1, 3, *meta.resolution, device="meta"))
    assert counter.get_total_flops() == 2 * meta["macs"]


def published_names(net):
    """What the published files call the tensors of a network, made from its structure."""
    theirs = {"stem.0": "_conv_stem", "stem.1": "_bn0", "features.0.0": "_conv_head", "features.0.1": "_bn1"}
    theirs["classifier"] = "_fc"
    number = 0
    for stage, blocks in net.body.named_children():
        for at, block in blocks.named_children():
            parts = ["expand", "depthwise", "project"][-len(block.block) :]
            for j, part in enumerate(parts):
                norm = {"expand": 0, "depthwise": 1, "project": 2}[part]
                ours = f"body.{stage}.{at}.block.{j}"
                theirs[f"{ours}.0"] = f"_blocks.{number}._{part}_conv"
                theirs[f"{ours}.1"] = f"_blocks.{number}._bn{norm}"
            number += 1
    return {key: f"{theirs[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}" for key in net.state_dict()}


@every_entry
def test_the_key_map_gives_every_tensor_its_place(entry):
    meta = PretrainedMetadata.parse(entry, "vision", PRETRAINED[entry])
    published = published_names(on_meta(**meta.config))
    mapped = map_keys(published.values(), meta.key_map)
    assert mapped == {theirs: ours for ours, theirs in published.items()}


def test_class_names_are_a_thousand_different_ones():
    names = (FOLDER / "imagenet1k.txt").read_text(encoding="utf-8").splitlines()
    assert len(names) == len({name.lower() for name in names}) == 1000
    assert all(name == name.strip() and name for name in names)
    known = {
        0: "tench",
        134: "crane (bird)",
        281: "tabby",
        517: "crane (machine)",
        872: "tripod",
        967: "espresso",
    }
    assert {index: names[index] for index in known} == known
    # The order as a whole, so that a sorted or shifted list is noticed.
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    assert digest == "cdf30e6006f52e6582b4e59b9c44f77ba3a150e5a5cd4722120e947d8874ce20"


def test_errors_are_holotype_errors():
    assert issubclass(ShapeError, HolotypeError) and issubclass(ParameterError, HolotypeError)
