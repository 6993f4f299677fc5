"""What a network costs: counted by hand where it is small, and as published where it is not."""

import json

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402  # after the check that torch is there

import holotype  # noqa: E402
from holotype.errors import ConfigError, DataError, ParameterError, UnknownModelError  # noqa: E402
from holotype.weights.image_cost import (  # noqa: E402
    activation_bytes,
    count_macs,
    measure,
    measure_model,
    peak_bytes,
)


class Small(nn.Module):
    """1 x 1 convolutions from 3 to 4 to 2 channels, with a ReLU between them."""

    size, in_channels = (8, 8), 3

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, images):
        return self.second(torch.relu(self.first(images))).mean((2, 3))


class Peeking(Small):
    """Looks at a value, which no tensor without values has."""

    def forward(self, images):
        return super().forward(images) if float(images.sum()) == 0.0 else images


@pytest.mark.parametrize("net", [Small(), Peeking()], ids=["shapes", "values"])
def test_figures_counted_by_hand(net):
    places, four = 8 * 8, 4  # bytes of a number
    assert count_macs(net, (3, 8, 8)) == places * (3 * 4 + 4 * 2)
    # What the second convolution is given; that is also all that the ReLU needs. The images are not counted.
    assert activation_bytes(net, (3, 8, 8), 2) == 2 * places * 4 * four
    # The ReLU's input and output live at the same time.
    assert peak_bytes(net, (3, 8, 8), 2) == 2 * 2 * places * 4 * four


def test_nothing_about_the_network_changes():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Conv2d(4, 2, 1)).train()
    net.size = 8
    before = {name: one.clone() for name, one in net.state_dict().items()}
    draws = torch.random.get_rng_state()
    found = measure(net, batch=2)
    assert net.training and torch.equal(draws, torch.random.get_rng_state())
    assert all(torch.equal(before[name], one) for name, one in net.state_dict().items())
    assert all(one.grad is None and not one.is_meta for one in net.parameters())
    assert found.params == 3 * 4 * 9 + 4 + 8 + 8 + 2 and found.images_per_s > 0 and found.batches >= 3
    assert json.loads(json.dumps(found.to_dict()))["size"] == [8, 8]


def test_memory_grows_with_the_batch_and_multiplications_do_not():
    one, four = measure(Small()), measure(Small(), batch=4)
    assert four.training_bytes == 4 * one.training_bytes and four.inference_bytes == 4 * one.inference_bytes
    assert four.macs == one.macs
    wide = measure(Small(), size=(8, 16))
    assert wide.macs == 2 * one.macs and wide.size == (8, 16)


@pytest.mark.parametrize(
    ("name", "published"),
    # ResNet v1 with its stride in the 3 x 3 convolution: 4.1 G; ViT-B/16: 17.6 G; the entry's own figure.
    [("resnet_v1_50", 4.1e9), ("vit_b16", 17.6e9), ("efficientnet_lite0", 385_187_552)],
)
def test_multiplications_are_those_that_papers_give(name, published):
    with torch.device("meta"):
        net = holotype.create_model(name)
    exact = name.startswith("efficientnet")
    assert count_macs(net, (3, 224, 224)) == pytest.approx(published, rel=0 if exact else 0.01)


@pytest.mark.parametrize("name", ["vit_t16", "resnet_v1_18", "convnext_v2_atto", "hieradet_d_tiny"])
def test_memory_without_values_is_memory_with_values(name, monkeypatch):
    net = holotype.create_model(name, **holotype.get_model_class(name).small_parameters)
    shape = (3, *net.size)
    found = activation_bytes(net, shape, 2), peak_bytes(net, shape, 2)

    def unable():
        raise RuntimeError

    monkeypatch.setattr("holotype.weights.image_cost._as_here", unable)
    assert found == (activation_bytes(net, shape, 2), peak_bytes(net, shape, 2))


def test_an_entry_is_measured_without_its_weights(monkeypatch):
    monkeypatch.setenv("HOLOTYPE_OFFLINE", "1")
    monkeypatch.setenv("HOLOTYPE_MIRRORS", "")
    monkeypatch.setattr("holotype.weights.image_cost._times", lambda net, images: [1.0])
    assert measure_model("efficientnet_lite0_imagenet1k", size=64).params == 4_652_008


def test_what_cannot_be_measured():
    with pytest.raises(DataError, match="is not a network of images"):
        measure_model("v1")
    with pytest.raises(UnknownModelError, match="no_such_model"):
        measure_model("no_such_model")
    for batch in (0, 1.5, True):
        with pytest.raises(ParameterError, match="batch"):
            measure(Small(), batch=batch)
    with pytest.raises(ParameterError, match="give their size"):
        measure(nn.Linear(2, 2))
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="cuda"):
            measure(Small(), device="cuda")
