"""The families of the vision zoo against Birder and timm, in one process. Run by `make parity`.

The other library makes random weights, and saves them by its own functions; ours loads them.
"""

import hashlib
import tomllib
from importlib.resources import files
from urllib.parse import quote

import pytest
import torch

import holotype
from holotype import load_checkpoint, load_pretrained_model
from holotype.catalog.grammar import Grammar, families
from holotype.vision import registry

# The other libraries warn of themselves when they are imported; that is theirs to mend.
pytestmark = pytest.mark.filterwarnings("ignore")

TABLE = families(tomllib.loads((files("holotype.vision.models") / "grammar.toml").read_text("utf-8")))
GRAMMARS = {family: Grammar(family, row) for family, row in TABLE.items()}
LISTED = {
    name: (family, grammar.config(name)) for family, grammar in GRAMMARS.items() for name in grammar.listed
}
TOLERANCE = 2e-5

TINY_VIT = {"num_layers": 2, "num_heads": 4, "hidden_dim": 64, "mlp_dim": 80, "drop_path_rate": 0.0}
TINY_HIERA = {"depths": [1, 2, 3, 2], "embed_dim": 16, "num_heads": 1}
TINY = {
    "ViT": TINY_VIT,
    "RoPE_ViT": TINY_VIT,
    "DeiT": TINY_VIT,
    "ConvNeXt_v1": {"widths": [8, 16, 24, 32], "depths": [1, 2, 3, 1]},
    "ConvNeXt_v2": {"widths": [8, 16, 24, 32], "depths": [1, 2, 3, 1]},
    "HieraDet": {**TINY_HIERA, "global_att_blocks": [5]},
    "Hiera": TINY_HIERA,
    "ResNet_v1": {"filter_list": [16, 16, 32, 48, 64], "units": [1, 2, 1, 1]},
}
# Every switch of the grammar, and names that nobody listed; each is built small.
SWITCHES = [
    "vit_b16",
    "vit_reg4_b14",
    "vit_b16_pn",
    "vit_b16_pn_npn",
    "vit_reg1_b16_nap_avg",
    "vit_reg4_b14_nps_ls",
    "vit_reg1_s16_rms_ls",
    "vit_b16_qkn_ls",
    "vit_b16_rms_qkn_nf_ap",
    "vit_b16_nf",
    "vit_b16_nf_swiglu",
    "vit_b16_swiglu",
    "vit_b16_hmlp",
    "vit_b16_hmlp_bn",
    "vit_b16_pn_quick_gelu",
    "vit_s16_soft_moe_3e_2s_avg",
    "vit_b16_ap",
    "vit_b16_ap_c1",
    "vit_reg8_b16_aps",
    "vit_reg8_b14_ep",
    "vit_reg8_b14_eps",
    "vit_reg8_b14_pn_ls",
    "rope_vit_b16",
    "rope_vit_reg4_b14_nps_ap",
    "rope_a_vit_s16",
    "rope_cs_vit_reg4_s16_nape_ls_c1",
    "rope_i_vit_b16_pn_aps_c1",
    "rope_i_vit_reg1_b16_pn_npn_avg_c1",
    "rope_i_vit_l14_nf_swiglu_c1",
    "rope_vit_reg8_so150m_p14_swiglu_rms_aps",
    "deit_t16",
    "deit3_reg4_t16",
    "rope_deit3_t16",
    "flexivit_reg1_s16_rms_ls",
    "rope_flexivit_reg4_b16_qkn_ls_ep",
    "convnext_v1_atto",
    "convnext_v2_atto",
    "hieradet_tiny",
    "hieradet_d_tiny",
    "hiera_tiny",
    "hiera_abswin_tiny",
    "hiera_abswin_base_plus_ap",
    "resnet_v1_18",
    "resnet_v1_50",
    "resnet_v1_50_c1",
    "resnet_d_50",
    "se_resnet_v1_50",
    "se_resnet_d_50",
]
RENAMED = {"ConvNeXt_v1": {"widths": "in_channels", "depths": "num_layers"}}
RENAMED["ConvNeXt_v2"] = RENAMED["ConvNeXt_v1"]


def in_their_words(cls, config):
    """Our parameters as Birder calls them; `size` is not one of its config."""
    names = RENAMED.get(cls, {})
    needed = {"abs_win_pos_embed": False} if cls == "Hiera" else {}
    left_out = {"size", "pos_embed_special_tokens"} if "Flexi" in cls else {"size"}
    return needed | {names.get(key, key): value for key, value in config.items() if key not in left_out}


def small(name):
    """(class, parameters) of a small network with the switches of a name."""
    info = registry.get_model_info(name)
    config = {**info.to_dict()["config"], **TINY[info.class_name]}
    if config.get("attn_pool_num_heads"):
        config["attn_pool_num_heads"] = 2
    patch = config.get("patch_size", 16)
    config["size"] = (96, 160) if "patch_size" not in config else (4 * patch, 6 * patch)
    return birder_name(name), config


def birder_name(name):
    """What Birder calls the class that it builds a name with."""
    cls = registry.get_model_info(name).class_name
    return (
        {"flexivit": "FlexiViT", "rope": "RoPE_FlexiViT"}[name.split("_")[0]] if "flexivit" in name else cls
    )


def birder_class(cls):
    import importlib

    import birder.net  # noqa: F401  # some of its modules cannot come first

    module = cls.lower()
    return getattr(importlib.import_module(f"birder.net.{module}"), cls)


def birder_net(cls, config, num_classes=7):
    """Birder's network with random weights, biases and statistics, so that every tensor counts."""
    net = birder_class(cls)(
        3, num_classes, config=in_their_words(cls, config), size=tuple(config["size"])
    ).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
        for key, buffer in net.named_buffers():
            if key.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return net


def near(ours, theirs):
    return ours.shape == theirs.shape and bool((ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max())


@pytest.mark.parametrize("name", SWITCHES)
def test_outputs_with_the_same_random_weights(name):
    torch.manual_seed(0)
    cls, config = small(name)
    theirs = birder_net(cls, config)
    ours = registry.create_model(name, num_classes=7, **config).eval()
    expected = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
    assert {key: tuple(value.shape) for key, value in ours.state_dict().items()} == expected
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, *config["size"])
    with torch.inference_mode():
        assert theirs(images).std() > 0
        assert near(ours(images), theirs(images))
        embedding = theirs.embedding(images)
        # DeiT's is one row for each of its two tokens there.
        assert near(ours.embedding(images), embedding.mean(1) if cls == "DeiT" else embedding)


@pytest.mark.parametrize("name", SWITCHES)
def test_epsilons(name):
    """A norm's epsilon may be too small to show in outputs of random weights."""
    cls, config = small(name)
    theirs, ours = birder_net(cls, config), registry.create_model(name, num_classes=7, **config)

    def epsilons(net):
        norms = (torch.nn.LayerNorm, torch.nn.RMSNorm, torch.nn.BatchNorm2d)
        return {key: module.eps for key, module in net.named_modules() if isinstance(module, norms)}

    assert epsilons(ours) == epsilons(theirs)


@pytest.mark.parametrize("name", ["convnext_v2_atto", "hieradet_tiny", "hiera_abswin_tiny", "resnet_v1_18"])
def test_stages(name):
    cls, config = small(name)
    theirs = birder_net(cls, config)
    ours = registry.create_model(name, num_classes=7, **config).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, *config["size"])
    with torch.inference_mode():
        maps = list(theirs.detection_features(images).values())
        found = ours.forward_intermediates(images)
    assert len(found) == len(maps)
    assert all(near(one, other) for one, other in zip(found, maps, strict=True))
    assert ours.stage_channels == tuple(theirs.return_channels)


@pytest.mark.parametrize(
    "name",
    [
        "vit_reg4_b16",
        "vit_reg4_b16_nps_ls",
        "rope_vit_b16",
        "rope_i_vit_b16_pn_aps_c1",
        "rope_i_vit_l14_nf_swiglu_c1",
        "rope_cs_vit_s16",
        "hiera_tiny",
        "hiera_abswin_tiny",
        "hieradet_tiny",
    ],
)
def test_another_size(name):
    cls, config = small(name)
    theirs = birder_net(cls, config)
    ours = registry.create_model(name, num_classes=7, **config).eval()
    ours.load_state_dict(theirs.state_dict())
    size = tuple(2 * side for side in reversed(config["size"]))
    theirs.adjust_size(size)
    ours.adjust_size(size)
    images = torch.randn(1, 3, *size)
    with torch.inference_mode():
        assert near(ours(images), theirs(images))


def test_names_and_hyperparameters():
    from birder.model_registry import registry as other

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value

    # What we say and Birder leaves to its defaults.
    defaults = {
        "class_token": True,
        "attn_pool_head": False,
        "rope_grid_indexing": "ij",
        "rope_grid_offset": 0,
    }
    classes = {registry.get_model_info(name).class_name for name in LISTED}
    modules = {f"birder.net.{name}" for name in ("flexivit", "rope_flexivit", *map(str.lower, classes))}
    there = {
        name: net
        for name, net in other.all_nets.items()
        if any(base.__module__ in modules for base in net.__mro__[1:2]) and net.config is not None
    }
    assert set(there) == set(LISTED)
    for name, (_, config) in LISTED.items():
        ours = in_their_words(birder_name(name), config)
        said = {key: value for key, value in defaults.items() if key in ours}
        assert plain(ours) == plain({**said, **there[name].config}), name
        size = config.get("size", 224)
        # Its default size of one name is no multiple of that name's patch size.
        assert other.get_default_size(name) == (size, size) or name == "flexivit_reg8_b14_ap", name


FILES = [
    "vit_reg4_b14_pn_ls",
    "rope_i_vit_b16_pn_aps_c1",
    "convnext_v2_atto",
    "hieradet_d_tiny",
    "hiera_abswin_tiny",
]


@pytest.mark.parametrize("classes", [5, 0])
@pytest.mark.parametrize("format", ["pt", "safetensors"])
@pytest.mark.parametrize("name", FILES)
def test_files_saved_by_birder(name, format, classes, tmp_path, monkeypatch):
    monkeypatch.setenv("HOLOTYPE_HOME", str(tmp_path / "home"))
    torch.manual_seed(0)
    cls, config = small(name)
    theirs = birder_net(cls, config, classes)
    path, told = save_by_birder(theirs, tmp_path, f"{name}_0", format, config["size"], classes, monkeypatch)
    images = torch.randn(2, 3, *config["size"])
    view = holotype.Registry().zoo("vision")
    view.register_model_config(name, registry.get_model_class(name), config={**config, "size": 224})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    view.register_weights(
        f"{name}_x",
        {
            "network": name,
            "tag": "x",
            "url": f"file://{quote(str(path))}",
            "resolution": config["size"],
            "formats": {format: {"sha256": digest}},
        },
    )
    net, info = load_pretrained_model(f"{name}_x", inference=True, registry=view)
    with torch.inference_mode():
        assert near(net(images), theirs.embedding(images) if classes == 0 else theirs(images))
    assert net.num_classes == classes and net.size == tuple(config["size"])
    if classes:
        assert dict(info.class_to_idx) == told["class_to_idx"]
    assert {key: list(info.rgb_stats[key]) for key in ("mean", "std")} == {
        key: list(told["rgb_stats"][key]) for key in ("mean", "std")
    }
    again, _ = load_pretrained_model(f"{name}_x", num_classes=3, inference=True, registry=view)
    assert again(images).shape == (2, 3)


def save_by_birder(net, folder, stem, format, size, classes, monkeypatch, **more):
    """A file that Birder's own functions wrote, and what it was told."""
    from birder.common import fs_ops
    from birder.conf import settings
    from birder.net.base import get_signature

    told = {
        "signature": get_signature((1, 3, *size), classes),
        "class_to_idx": {f"species {n}": n for n in range(classes)},
        "rgb_stats": {"mean": (0.4, 0.5, 0.6), "std": (0.1, 0.2, 0.3)},
    }
    if format == "safetensors":
        path = folder / f"{stem}.safetensors"
        fs_ops.save_st(
            net,
            str(path),
            "image_classification",
            told["class_to_idx"],
            told["signature"],
            told["rgb_stats"],
            **more,
        )
        return path, told
    monkeypatch.setattr(settings, "MODELS_DIR", folder)
    fs_ops.checkpoint_model(
        stem,
        1,
        net,
        told["signature"],
        told["class_to_idx"],
        told["rgb_stats"],
        None,
        None,
        None,
        None,
        **more,
    )
    (path,) = folder.glob("*.pt")
    return path, told


@pytest.mark.parametrize("format", ["pt", "safetensors"])
def test_a_config_in_birders_own_words(format, tmp_path, monkeypatch):
    """Its `in_channels` is a list, the widths of the stages; ours is a number, the channels of an image."""
    torch.manual_seed(0)
    cls, config = small("convnext_v2_atto")
    config = {**config, "size": (64, 64)}
    said = {key: in_their_words(cls, config)[key] for key in ("in_channels", "num_layers")}
    theirs = birder_net(cls, config, 5)
    path, told = save_by_birder(
        theirs, tmp_path, "convnext_v2_atto_0", format, (64, 64), 5, monkeypatch, external_config=said
    )
    with pytest.warns(UserWarning, match="does not record"):
        net, info = load_checkpoint(path, architecture="convnext_v2_atto", inference=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert near(net(images), theirs(images))
    assert net.in_channels == 3 and net.stage_channels == tuple(said["in_channels"])
    assert dict(info.class_to_idx) == told["class_to_idx"]
    with pytest.raises(holotype.errors.MismatchError, match="depths"):
        load_checkpoint(path, architecture="convnext_v2_atto", config={"depths": [1, 1, 1, 1]})


def test_vit_against_timm():
    import timm

    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=7, img_size=64, depth=3).eval()
    ours = registry.create_model("vit_t16", num_classes=7, size=64, num_layers=3).eval()
    load_by_key_map(
        ours,
        theirs,
        {
            r"^cls_token$": "class_token",
            r"^pos_embed$": "pos_embedding",
            r"^patch_embed\.proj\.": "conv_proj.",
            r"^blocks\.(\d+)\.mlp\.fc1\.": r"encoder.block.\1.mlp.0.",
            r"^blocks\.(\d+)\.mlp\.fc2\.": r"encoder.block.\1.mlp.3.",
            r"^blocks\.": "encoder.block.",
            r"^head\.": "classifier.",
        },
    )
    compare_with_timm(ours, theirs, 64)


@pytest.mark.parametrize("version", [1, 2])
def test_convnext_against_timm(version):
    import timm

    dims, depths = (8, 16, 24, 32), (1, 2, 2, 1)
    options = {"conv_mlp": False, "use_grn": version == 2, "ls_init_value": 1e-6 if version == 1 else None}
    theirs = timm.create_model(
        {1: "convnext_atto", 2: "convnextv2_atto"}[version],
        num_classes=7,
        dims=dims,
        depths=depths,
        **options,
    ).eval()
    ours = registry.create_model(
        f"convnext_v{version}_atto", num_classes=7, widths=dims, depths=depths, stem_norm_eps=1e-6
    ).eval()
    key_map = {
        r"^stages\.0\.blocks\.(\d+)\.": r"body.stage1.\1.",
        # After the first stage, downsampling is layer 0 of the stage.
        **{
            rf"^stages\.{stage}\.blocks\.{block}\.": f"body.stage{stage + 1}.{block + 1}."
            for stage in (1, 2, 3)
            for block in range(depths[stage])
        },
        **{rf"^stages\.{stage}\.downsample\.": f"body.stage{stage + 1}.0." for stage in (1, 2, 3)},
        r"\.conv_dw\.": ".block.0.",
        r"(\.\d+)\.norm\.": r"\1.block.2.",
        r"\.mlp\.fc1\.": ".block.3.",
        r"\.mlp\.fc2\.": ".block.5." if version == 1 else ".block.6.",
        r"\.mlp\.grn\.weight$": ".block.5.gamma",
        r"\.mlp\.grn\.bias$": ".block.5.beta",
        r"\.gamma$": ".layer_scale" if version == 1 else ".gamma",
        r"^head\.norm\.": "features.1.",
        r"^head\.fc\.": "classifier.",
    }
    load_by_key_map(ours, theirs, key_map)
    compare_with_timm(ours, theirs, 64)


def load_by_key_map(ours, theirs, key_map):
    import re

    generator = torch.Generator().manual_seed(1)
    own, state = ours.state_dict(), {}
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    for key, value in theirs.state_dict().items():
        for pattern, replacement in key_map.items():
            key = re.sub(pattern, replacement, key)
        state[key] = value.reshape(own[key].shape)
    ours.load_state_dict(state)


def compare_with_timm(ours, theirs, side):
    images = torch.randn(2, 3, side, side)
    with torch.inference_mode():
        assert near(ours(images), theirs(images))


def test_a_whole_vit_l14_pn(tmp_path, monkeypatch):
    """Birder's own network of that name, saved by it, loaded under the name of a published entry."""
    from birder.model_registry import registry as other

    torch.manual_seed(0)
    theirs = other.net_factory("vit_l14_pn", 9, size=(224, 224)).eval()
    path, told = save_by_birder(theirs, tmp_path, "vit_l14_pn", "safetensors", (224, 224), 9, monkeypatch)
    with pytest.warns(UserWarning, match="does not record"):
        net, info = load_checkpoint(path, architecture="vit_l14_pn", inference=True)
    images = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        assert near(net(images), theirs(images))
        assert near(net.embedding(images), theirs.embedding(images))
    assert dict(info.class_to_idx) == told["class_to_idx"]
