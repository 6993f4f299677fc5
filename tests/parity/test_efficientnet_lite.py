"""EfficientNet-Lite against the public packages, in one process. Run by `make parity`.

`efficientnet-lite-pytorch` for the probabilities with the published weights; Birder for names, shapes,
parameter counts, and outputs with its own random weights.
"""

import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from holotype import load_pretrained_model
from holotype.store.fetch import fetch
from holotype.vision.models.efficientnet_lite import EfficientNet_Lite
from holotype.vision.prediction import preprocess

# The other libraries warn of themselves when they are imported; that is theirs to mend.
pytestmark = pytest.mark.filterwarnings("ignore")

PHOTOGRAPHS = tomllib.loads(
    (Path(__file__).parents[2] / "scripts" / "photographs.toml").read_text(encoding="utf-8")
)
SIZES = tomllib.loads((files("holotype.vision.models") / "sizes.toml").read_text(encoding="utf-8"))
LITE = [f"efficientnet_lite{n}" for n in range(5)]


@pytest.fixture(scope="module")
def photographs():
    assert len(PHOTOGRAPHS) == 5
    return [fetch(row["url"], sha256=row["sha256"], size=row["size_bytes"]) for row in PHOTOGRAPHS.values()]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_probabilities_on_photographs(n, photographs, record_property):
    import efficientnet_lite_pytorch as theirs

    net, info = load_pretrained_model(f"efficientnet_lite{n}_imagenet1k", inference=True)
    other = theirs.EfficientNet.from_pretrained(f"efficientnet-lite{n}", weights_path=info.path).eval()
    images = torch.stack([preprocess(path, info) for path in photographs])
    # In single precision the two differ by rounding alone, which double precision shows.
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        with torch.inference_mode():
            ours = net.to(dtype)(images.to(dtype)).softmax(1)
            expected = other.to(dtype)(images.to(dtype)).softmax(1)
        difference = (ours - expected).abs().max().item()
        record_property(f"largest difference of a probability, {dtype}", difference)
        assert expected.max(1).values.min() > 0.05  # a comparison of flat outputs would say nothing
        assert difference <= tolerance


def birder_net(name):
    from birder.model_registry import registry

    torch.manual_seed(0)
    return registry.net_factory(name, 1000).eval()


@pytest.mark.parametrize("name", LITE)
def test_names_shapes_and_order(name):
    other = birder_net(name)
    net = EfficientNet_Lite(**SIZES[name]["config"])
    expected = [(key, tuple(value.shape), value.dtype) for key, value in other.state_dict().items()]
    assert [(key, tuple(value.shape), value.dtype) for key, value in net.state_dict().items()] == expected
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in other.parameters())


@pytest.mark.parametrize("name", LITE)
def test_outputs_with_the_same_random_weights(name):
    other = birder_net(name)
    # Statistics as after training, so that the batch norms do something.
    generator = torch.Generator().manual_seed(1)
    for module in other.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.1)
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
    net = EfficientNet_Lite(**SIZES[name]["config"]).eval()
    net.load_state_dict(other.state_dict())
    for size in [(224, 224), (97, 161)]:
        images = torch.randn(2, 3, *size, generator=generator)
        with torch.inference_mode():
            ours, expected = net(images), other(images)
            assert (ours - expected).abs().max() <= 2e-5 * expected.abs().max()
            assert expected.std() > 0
            embedding = other.embedding(images)
            assert (net.embedding(images) - embedding).abs().max() <= 2e-5 * embedding.abs().max()


@pytest.mark.parametrize("name", LITE)
def test_birder_loads_what_we_save(name, tmp_path):
    net = EfficientNet_Lite(num_classes=1000, **SIZES[name]["config"]).eval()
    torch.save(net.state_dict(), tmp_path / "ours.pt")
    other = birder_net(name)
    other.load_state_dict(torch.load(tmp_path / "ours.pt", weights_only=True))
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert (net(images) - other(images)).abs().max() <= 2e-5 * net(images).abs().max()
