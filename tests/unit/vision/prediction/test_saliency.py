"""Saliency points at what matters: of networks that look at one place only, and by the papers' formulas."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")
from PIL import Image  # noqa: E402  # after the check that Pillow is there
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import holotype  # noqa: E402
import picture_models as models  # noqa: E402
from holotype.errors import DataError, ParameterError, ShapeError  # noqa: E402
from holotype.vision.models.interface import ImageClassifier  # noqa: E402
from holotype.vision.prediction.saliency import (  # noqa: E402
    class_of,
    draw_saliency,
    saliency,
    saliency_picture,
    save_saliency,
)


class Quadrant(ImageClassifier):
    """Class 0 is how bright the upper left quadrant is, class 1 the lower right one."""

    def __init__(self, size=64):
        super().__init__(in_channels=3, size=size, num_features=2)
        self.stage_channels, self.stage_strides = (2,), (8,)
        weights = torch.zeros(2, 1, 8, 8)
        weights[0, 0, :4, :4] = weights[1, 0, 4:, 4:] = 1.0
        self.register_buffer("where", weights[:, 0])
        self.reset_classifier(2)
        with torch.no_grad():
            self.classifier.weight.copy_(torch.eye(2))

    def forward_intermediates(self, images, indices=None):
        grey = F.avg_pool2d(images.mean(1, keepdim=True), 8)
        return [grey * self.where]


def share(found, rows, columns):
    """How much of a map lies in a part of it."""
    return float(found[rows, columns].sum() / found.sum())


UPPER, LOWER = slice(0, 32), slice(32, 64)


def test_grad_cam_points_at_the_quadrant_that_counts():
    net = Quadrant().train()
    image = torch.rand(3, 64, 64)
    first, second = saliency(net, image, class_index=0), saliency(net, image, class_index=1)
    assert first.shape == (64, 64) and float(first.min()) == 0 and float(first.max()) == 1
    assert share(first, UPPER, UPPER) > 0.9 and share(second, LOWER, LOWER) > 0.9
    assert torch.equal(saliency(net, image[None], class_index=-1), second)
    image[:, :32, :32] = 1.0  # now class 0 is the most probable one
    assert share(saliency(net, image), UPPER, UPPER) > 0.9
    assert net.training and "forward_features" not in vars(net)


def test_grad_cam_is_the_papers_formula():
    torch.manual_seed(0)
    net = holotype.create_model("resnet_v1_18", num_classes=4, size=64).eval()
    net.classifier.weight.detach().abs_()  # or else nothing speaks for the class
    image = torch.randn(1, 3, 64, 64)
    features = net.forward_features(image).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(net.classifier(features.mean((2, 3)))[0, 2], features)
    expected = (gradient.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True).relu()
    expected = F.interpolate(expected, (64, 64), mode="bilinear")[0, 0].detach()
    assert float(expected.max()) > 0
    assert torch.allclose(saliency(net, image, "grad_cam", 2), expected / expected.max(), atol=1e-5)


def tiny(name="vit_t16", **more):
    return holotype.create_model(
        name,
        num_classes=3,
        size=32,
        num_layers=3,
        num_heads=2,
        hidden_dim=32,
        mlp_dim=48,
        patch_size=8,
        **more,
    ).eval()


def test_rollout_is_the_papers_recursion():
    net = tiny(num_reg_tokens=1)
    image = torch.randn(1, 3, 32, 32)
    unit = torch.eye(18)
    flow, x = unit, net.with_special_tokens(net.patches(image))
    for block in net.encoder.block:
        q, k, _ = block.attn.qkv(block.norm1(x)).reshape(1, 18, 3, 2, 16).permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(2, 3) / 4).softmax(-1).mean(1)[0]
        flow = (attention + unit) / 2 @ flow
        x = block(x)
    expected = F.interpolate(flow[1, 2:].reshape(1, 1, 4, 4), (32, 32), mode="bilinear")[0, 0]
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    assert torch.allclose(saliency(net, image), expected.detach(), atol=1e-5)


def test_grad_cam_of_a_transformer_is_that_of_its_last_blocks_patches():
    torch.manual_seed(0)
    net, image = tiny(), torch.randn(1, 3, 32, 32)
    tokens = net.encode(net.patches(image), [1])[0].detach().requires_grad_()
    logit = net.classifier(net.norm(net.encoder.block[2](tokens))[:, 0])[0, 1]
    (gradient,) = torch.autograd.grad(logit, tokens)
    weights = gradient[0, 1:].mean(0)
    expected = (tokens[0, 1:].detach() @ weights).relu().reshape(1, 1, 4, 4)
    expected = F.interpolate(expected, (32, 32), mode="bilinear")[0, 0]
    assert float(expected.max()) > 0
    assert torch.allclose(saliency(net, image, class_index=1), expected / expected.max(), atol=1e-5)


def test_rollout_of_a_transformer_that_looks_at_one_patch():
    net = tiny()
    with torch.no_grad():
        for block in net.encoder.block:  # tokens stay as they are, but for what the class token takes in
            block.mlp[3].weight.zero_()
            block.attn.qkv.weight.zero_()
            block.attn.qkv.weight[64:] = torch.eye(32)
            block.attn.proj.weight.copy_(torch.eye(32))
        # The first channel of queries and keys: the class token asks for what only patch (2, 1) has.
        net.encoder.block[-1].attn.qkv.weight[0, 0] = 40.0
        net.encoder.block[-1].attn.qkv.weight[32, 1] = 40.0
        net.class_token.zero_()
        net.class_token[..., 0] = 5.0
        net.pos_embedding.zero_()
        net.pos_embedding[0, 1 + 2 * 4 + 1, 1] = 5.0
    found = saliency(net, torch.randn(3, 32, 32))
    assert divmod(int(found.argmax()), 32)[0] // 8 == 2 and int(found.argmax()) % 32 // 8 == 1


@pytest.mark.parametrize("name", ["rope_vit_t16", "vit_reg4_t16_avg", "vit_t16_ap", "deit_t16"])
def test_every_kind_of_transformer(name):
    net = tiny(name)
    for index in (None, 1):
        found = saliency(net, torch.randn(3, 32, 32), class_index=index)
        assert found.shape == (32, 32) and bool(torch.isfinite(found).all())
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert not any(block.attn._forward_pre_hooks for block in net.encoder.block)
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("name", ["convnext_v2_atto", "hieradet_d_tiny", "efficientnet_lite0"])
def test_every_family_with_maps(name):
    small = holotype.get_model_class(name).small_parameters
    net = holotype.create_model(name, **small)
    net.requires_grad_(False)
    found = saliency(net, torch.randn(3, *net.size))
    assert found.shape == net.size and float(found.max()) in (0.0, 1.0)


def test_what_cannot_be_explained():
    image = torch.randn(3, 64, 64)
    with pytest.raises(ParameterError, match="no vision transformer"):
        saliency(Quadrant(), image, "rollout")
    with pytest.raises(ParameterError, match="classes are 0 to 1"):
        saliency(Quadrant(), image, class_index=2)
    with pytest.raises(ParameterError, match="method is one of"):
        saliency(Quadrant(), image, "lime")
    with pytest.raises(ParameterError, match="the same for every class"):
        saliency(tiny(), torch.randn(3, 32, 32), "rollout", 1)
    with pytest.raises(ParameterError, match="no feature map"):
        saliency(nn.Flatten(), image)
    with pytest.raises(ShapeError, match="one image"):
        saliency(Quadrant(), torch.randn(2, 3, 64, 64))
    assert "forward_features" not in vars(Quadrant())


def test_a_class_that_nothing_speaks_for_gives_an_empty_map():
    assert float(saliency(Quadrant(), torch.zeros(3, 64, 64), class_index=0).max()) == 0


def test_the_map_is_drawn_over_the_part_that_the_network_saw():
    image = Image.new("RGB", (80, 40), "white")
    heat = torch.zeros(8, 8)
    heat[:, 4:] = 1.0
    drawn = draw_saliency(image, heat, (20, 0, 60, 40))
    assert drawn.size == (80, 40) and image.getpixel((40, 20)) == (255, 255, 255)
    assert drawn.getpixel((10, 20)) == drawn.getpixel((70, 20)) == (255, 255, 255)
    cold, hot = drawn.getpixel((22, 20)), drawn.getpixel((58, 20))
    assert sum(hot) > sum(cold) and cold[2] > cold[0] and hot[0] > hot[2]


def test_a_picture_from_a_trained_model(tmp_path):
    from holotype.weights.save import save_pretrained

    net = holotype.create_model("resnet_v1_18", num_classes=2, size=64)
    model = save_pretrained(
        net,
        tmp_path / "m.safetensors",
        preprocessing={**models.PLAIN, "size": [64, 64]},
        classes=["cat", "dog"],
    )
    path = models.plain("red", tmp_path / "a.png")
    picture = saliency_picture(model, path, class_index=1)
    assert picture.size == (40, 30)
    save_saliency(picture, tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as written:
        assert written.tobytes() == picture.tobytes()
    with pytest.raises(DataError, match="exists already"):
        save_saliency(picture, tmp_path / "out.png")
    with pytest.raises(DataError, match=r"\.png or \.jpg"):
        save_saliency(picture, tmp_path / "out.txt")
    with pytest.raises(DataError, match="a map of saliency is not for it"):
        saliency_picture(models.save("test_finder", tmp_path / "f.safetensors"), path)


def test_classes_by_name():
    info = {"class_to_idx": {"cat": 0, "dog": 1}}
    assert class_of(info, "dog") == 1 and class_of(info, "0") == 0
    with pytest.raises(ParameterError, match="Did you mean: dog"):
        class_of(info, "dot")
