"""What every family of the vision zoo offers: stages, embeddings, other sizes, checkpointing; and what it refuses."""

import math

import pytest
import torch

from holotype import load_checkpoint, vision
from holotype.errors import MismatchError, ParameterError, ShapeError
from holotype.vision import registry
from holotype.vision.models.convnext import GlobalResponseNorm
from holotype.vision.models.interface import ImageClassifier, drop_path_rates
from holotype.vision.models.vit import resized_filters

NAMES = [
    "vit_reg4_t16_nps_ls",
    "vit_t16_hmlp_nf_swiglu_ap",
    "vit_t16_soft_moe_3e_2s_avg",
    "rope_vit_t16",
    "rope_cs_vit_t16_nape_eps",
    "rope_i_vit_t16_pn_npn_nap",
    "deit_t16",
    "flexivit_s16",
    "convnext_v1_atto",
    "convnext_v2_atto",
    "hieradet_tiny",
    "hieradet_d_tiny",
    "hiera_tiny",
    "hiera_abswin_base_plus_ap",
    "resnet_v1_18",
    "se_resnet_d_50",
    "efficientnet_lite0",
]
# They take images of any size; the others hold a table for each place.
ANY_SIZE = ("convnext", "resnet", "se_resnet", "efficientnet", "hieradet", "hiera_abswin")
every_family = pytest.mark.parametrize("name", NAMES)


def small(name, seed=0, **params):
    torch.manual_seed(seed)
    cls = registry.get_model_class(name)
    return registry.create_model(name, **{**cls.small_parameters, **params}).eval()


def images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@every_family
@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_stages_and_features(name, size):
    net, x = small(name, size=size), images(2, 3, *size)
    with torch.no_grad():
        maps = net.forward_intermediates(x)
        assert len(maps) == len(net.stage_channels) == len(net.stage_strides)
        for found, channels, stride in zip(maps, net.stage_channels, net.stage_strides, strict=True):
            assert found.shape == (2, channels, *(math.ceil(side / stride) for side in size))
        some = net.forward_intermediates(x, [-1, 0])
        assert torch.equal(some[0], maps[-1]) and torch.equal(some[1], maps[0]) and len(some) == 2
        assert net.forward_intermediates(x, []) == []
        features = net.forward_features(x)
        assert features.shape == (2, net.num_features, *maps[-1].shape[2:])
        embedding = net.embedding(x)
        assert embedding.shape == (2, net.num_features)
        net.reset_classifier(0)
        torch.testing.assert_close(net(x), embedding)
        net.reset_classifier(3)
        assert net(x).shape == (2, 3)
        assert net(x[:0]).shape == (0, 3)


@every_family
def test_stages_that_are_not_there(name):
    net = small(name)
    for index in (len(net.stage_channels), -len(net.stage_channels) - 1):
        with pytest.raises(ParameterError, match="stages"):
            net.forward_intermediates(images(1, 3, 64, 64), [index])


@every_family
def test_gradient_checkpointing_changes_memory_alone(name):
    x = images(2, 3, 64, 64)
    gradients = []
    for enable in (False, True):
        net = small(name, drop_path_rate=0.0) if "resnet" not in name else small(name)
        net.train()
        for module in net.modules():
            if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.Dropout)):
                module.eval()
        net.set_grad_checkpointing(enable)
        assert net.grad_checkpointing is enable
        net(x).square().sum().backward()
        gradients.append({key: value.grad.clone() for key, value in net.named_parameters()})
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], gradient)


@every_family
def test_another_size(name):
    net = small(name)
    before = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    net.adjust_size((96, 128))
    assert net.size == (96, 128)
    with torch.no_grad():
        assert net(images(1, 3, 96, 128)).isfinite().all()
    fresh = small(name, size=(96, 128))
    assert {k: v.shape for k, v in net.state_dict().items()} == {
        k: v.shape for k, v in fresh.state_dict().items()
    }
    net.adjust_size(64)
    assert {key: tuple(value.shape) for key, value in net.state_dict().items()} == before
    with pytest.raises(ParameterError, match="size"):
        net.adjust_size(8)
    assert net.size == (64, 64)


@every_family
def test_the_same_size_changes_nothing(name):
    net, x = small(name), images(1, 3, 64, 64)
    with torch.no_grad():
        before = net(x)
        net.adjust_size(64)
        assert torch.equal(net(x), before)


@every_family
def test_images_of_a_wrong_shape(name):
    net = small(name)
    for shape in [(3, 64, 64), (1, 1, 64, 64), (1, 64, 64, 3)]:
        with pytest.raises(ShapeError):
            net(torch.zeros(shape))
    if not name.startswith(ANY_SIZE):
        with pytest.raises(ShapeError, match=r"adjust_size\(\(96, 64\)\)"):
            net(torch.zeros(1, 3, 96, 64))


@every_family
@pytest.mark.parametrize(
    "params", [{"num_classes": -1}, {"in_channels": 0}, {"size": 0}, {"size": (64, 64, 64)}]
)
def test_wrong_parameters(name, params):
    with pytest.raises(ParameterError):
        small(name, **params)


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("vit_t16", {"size": 100}, "multiple of the patch size"),
        ("vit_t16", {"hidden_dim": 30, "num_heads": 4}, "multiple of num_heads"),
        ("vit_t16", {"num_layers": 0}, "num_layers is at least 1"),
        ("vit_t16", {"num_reg_tokens": -1}, "num_reg_tokens"),
        ("vit_t16", {"drop_path_rate": 1.0}, "drop_path_rate"),
        ("vit_t16", {"abs_pos_embed": False}, "RoPE_ViT"),
        ("vit_t16", {"stem_type": "hmlp", "patch_size": 4, "size": 64}, "hierarchical stem"),
        ("vit_t16_swiglu", {"act_layer_type": "quick_gelu"}, "activation of its own"),
        ("rope_vit_t16", {"hidden_dim": 12, "num_heads": 2}, "rotary positions need"),
        ("deit_t16", {"class_token": False}, "class token"),
        ("convnext_v1_atto", {"widths": (8, 16, 24), "depths": (1, 1, 1)}, "widths|four"),
        ("hiera_tiny", {"size": 72}, "multiple of 32"),
        ("hieradet_tiny", {"depths": (1, 1, 2, 0)}, "embed_dim|depths|at least"),
        ("resnet_v1_18", {"units": (1, 1, 1, 0)}, "units"),
    ],
)
def test_parameters_that_do_not_go_together(name, params, words):
    with pytest.raises(ParameterError, match=words):
        small(name, **params)


def test_direct_calls_are_checked_as_well():
    with pytest.raises(ParameterError, match="norm_layer_type is one of LayerNorm, RMSNorm"):
        vision.ViT(norm_layer_type="BatchNorm", **vision.ViT.small_parameters)


def test_classes_come_from_the_zoo():
    for name, module in vision._CLASSES.items():
        classifier = "." not in module  # the other tasks are in subpackages
        assert issubclass(getattr(vision, name), ImageClassifier if classifier else torch.nn.Module)
        assert name in vision.__all__
    with pytest.raises(AttributeError):
        _ = vision.Nothing


def test_drop_path_rates():
    assert drop_path_rates(0.3, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert drop_path_rates(0.3, 1) == [0.0]
    net = small("vit_t16", drop_path_rate=0.2, num_layers=3)
    assert [block.drop_path.rate for block in net.encoder.block] == pytest.approx([0.0, 0.1, 0.2])


def test_registers_come_first_and_the_class_token_is_read_after_them():
    net, x = small("vit_reg4_t16"), images(1, 3, 64, 64)
    with torch.no_grad():
        tokens = net.tokens(x)
        assert tokens.shape == (1, 5 + 16, 32)
        torch.testing.assert_close(net.embedding(x), tokens[:, 4])


def test_deit_has_two_heads():
    net, x = small("deit_t16"), images(2, 3, 64, 64)
    with torch.no_grad():
        one, two = net.forward_both(x)
        torch.testing.assert_close(net(x), (one + two) / 2)
        assert (one - two).abs().max() > 0


def test_a_patch_size_may_be_changed():
    net, x = small("flexivit_s16", size=64), images(1, 3, 64, 64)
    with torch.no_grad():
        before = net(x)
        net.adjust_patch_size(16)
        torch.testing.assert_close(net(x), before)
        net.adjust_patch_size(8)
        assert net.grid == (8, 8) and net.forward_features(x).shape == (1, 32, 8, 8)
        assert net(x).isfinite().all() and net.stage_strides[0] == 8
    with pytest.raises(ParameterError, match="multiple of 24"):
        net.adjust_patch_size(24)
    with pytest.raises(ParameterError, match="hierarchical stem"):
        small("vit_t16_hmlp").adjust_patch_size(8)


def test_resized_filters_answer_as_before_to_a_resized_patch():
    """FlexiViT, section 3.4: larger filters, on the patch made larger, give the very same answer."""
    filters, patch = images(5, 3, 8, 8), images(1, 3, 8, 8)
    larger = torch.nn.functional.interpolate(patch, (16, 16), mode="bilinear", align_corners=False)
    torch.testing.assert_close(
        torch.nn.functional.conv2d(larger, resized_filters(filters, 16)),
        torch.nn.functional.conv2d(patch, filters),
        rtol=1e-3,
        atol=1e-3,
    )


def test_rotary_positions_do_not_depend_on_where_the_grid_begins():
    """A dot product of two turned vectors depends on their distance alone (Su et al. 2021, equation 16)."""
    net = small("rope_i_vit_t16")
    q, k = images(1, 1, 16, 16), images(1, 1, 16, 16) * 0.5
    q, k = q[:, :, :1].expand(-1, -1, 16, -1), k[:, :, :1].expand(-1, -1, 16, -1)
    score = net.rope(q, 0) @ net.rope(k, 0).transpose(-1, -2)
    grid = score.view(4, 4, 4, 4)
    torch.testing.assert_close(grid[0, 0, 1, 1], grid[2, 2, 3, 3])
    torch.testing.assert_close(grid[1, 0, 0, 2], grid[3, 1, 2, 3])


def test_a_recorded_config_in_the_words_of_its_writer(tmp_path):
    """Birder calls the widths of a ConvNeXt's stages `in_channels`, which is a number of ours."""
    net = small("convnext_v2_atto")
    said = {"in_channels": [8, 16, 24, 32], "num_layers": [1, 1, 2, 1]}
    signature = {"inputs": [{"data_shape": [0, 3, 64, 64]}], "outputs": [{"data_shape": [0, 5]}]}
    torch.save({"state": net.state_dict(), "signature": signature, "config": said}, tmp_path / "x.pt")
    with pytest.warns(UserWarning, match="does not record"):
        again, _ = load_checkpoint(tmp_path / "x.pt", architecture="convnext_v2_atto", inference=True)
    x = images(1, 3, 64, 64)
    assert torch.equal(again(x), net(x)) and again.in_channels == 3
    for key, value in {"widths": [8, 16, 24, 40], "depths": [1, 1, 1, 1]}.items():
        with pytest.raises(MismatchError, match=key):
            load_checkpoint(tmp_path / "x.pt", architecture="convnext_v2_atto", config={key: value})


def test_response_normalisation_of_a_silent_channel():
    """What algorithm 1 says, and gradients where a channel is zero everywhere, at which a root has none."""
    norm, x = GlobalResponseNorm(6), images(2, 5, 4, 6)
    x[..., 2] = 0
    x.requires_grad_()
    with torch.no_grad():
        norm.gamma.normal_()
        norm.beta.normal_()
    found = norm(x)
    length = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
    share = length / (length.mean(-1, keepdim=True) + 1e-6)
    torch.testing.assert_close(found, norm.gamma * share * x + norm.beta + x)
    found.square().sum().backward()
    assert x.grad.isfinite().all()


@every_family
def test_inference_computes_what_training_does(name):
    """Without gradients some steps overwrite what they read: never the images, nor a result."""
    net, x = small(name), images(2, 3, 64, 64)
    before = x.clone()
    expected = net.forward_intermediates(x)
    with torch.inference_mode():
        maps = net.forward_intermediates(x)
        kept = [found.clone() for found in maps]
        net(x)
    assert torch.equal(x, before)
    for one, two, three in zip(maps, kept, expected, strict=True):
        assert torch.equal(one, two)
        torch.testing.assert_close(two, three.detach())


@pytest.mark.parametrize(
    ("name", "place"), [("vit_t16", "encoder.block.0.mlp.0"), ("convnext_v2_atto", "body.stage1.0.block.3")]
)
def test_a_hook_keeps_what_it_saw(name, place):
    net, x, seen = small(name), images(2, 3, 64, 64), []
    expected = net(x)
    net.get_submodule(place).register_forward_hook(lambda module, given, made: seen.append(made))
    net(x)
    with torch.no_grad():
        torch.testing.assert_close(net(x), expected)
    torch.testing.assert_close(seen[1], seen[0])


def test_half_precision():
    for name in ("rope_vit_t16", "hiera_abswin_tiny", "convnext_v2_atto"):
        net = small(name).bfloat16()
        assert net(images(1, 3, 64, 64).bfloat16()).dtype == torch.bfloat16
