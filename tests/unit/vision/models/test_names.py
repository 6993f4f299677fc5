"""Every name of the vision zoo builds, and is what its publisher means by it; entries agree with the facts."""

import importlib.util
import json
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from holotype.errors import UnknownModelError
from holotype.names import natural_key
from holotype.records import PretrainedMetadata
from holotype.vision import registry

ROOT = Path(__file__).parents[4]
FACTS = ROOT.parent / "shared" / "facts"
# Learnable parameters with 1000 classes, counted on the networks that Birder 0.8.4 builds for these names.
COUNTED = json.loads((Path(__file__).parents[2] / "data" / "vision_parameters.json").read_text("utf-8"))
ROWS = tomllib.loads((files("holotype.vision.models") / "pretrained.toml").read_text("utf-8"))
BIRDER = {name: row for name, row in ROWS.items() if row.get("url", "").startswith("hf://birder-project/")}


def test_every_name_builds_and_has_as_many_parameters_as_birder_counts():
    names = registry.list_models(task="image_classification")
    assert set(COUNTED) == set(names) - {"flexivit_reg8_b14_ap"}  # Birder's own default size does not fit it
    with torch.device("meta"):
        found = {name: registry.create_model(name, num_classes=1000) for name in names}
    counts = {name: sum(p.numel() for p in net.parameters()) for name, net in found.items()}
    assert {name: counts[name] for name in COUNTED} == COUNTED
    declared = {name: registry.get_model_info(name).metadata.get("params") for name in found}
    assert declared == counts
    for name, net in found.items():
        assert len(net.stage_channels) == len(net.stage_strides) > 0, name
        assert registry.get_model_info(name).metadata["resolution"] == net.size or "reg8_b14" in name


def test_names_are_in_natural_order():
    names = registry.list_models(zoo="vision")
    assert names == sorted(names, key=natural_key)
    assert len(names) > 300


@pytest.mark.parametrize("name", BIRDER)
def test_entries_hold_together(name):
    meta = PretrainedMetadata.parse(name, "vision", ROWS[name])
    info = registry.get_model_info(meta.network)
    optional = {parameter.name for parameter in info.parameters if parameter.default is None}
    assert set(meta.config) | optional | {"num_classes"} == {p.name for p in info.parameters}
    config = dict(meta.config)
    assert {key: config[key] for key in info.config if key != "size"} == {
        key: value for key, value in info.config.items() if key != "size"
    }
    with torch.device("meta"):
        net = registry.create_model(meta.network, num_classes=0, **config)
    assert net.size == meta.resolution
    assert meta.params == sum(parameter.numel() for parameter in net.parameters())
    for format, file in meta.formats.items():
        assert file.sha256 and file.file_size
        assert meta.url_of(format).endswith(f"@main/{name}.{format}")
    # What is left of the file is the head: never less than nothing, and no more than a tenth of a GB.
    size = min(file.file_size for file in meta.formats.values()) * 2**20
    head = size - 4 * sum(tensor.numel() for tensor in net.state_dict().values())
    assert -2e5 < head < 1e8
    assert len(meta.description) > len(meta.network) + 10


def test_sizes_are_known_without_building_anything():
    script = """
import sys
from holotype.vision import registry
small = registry.list_models("vit_*", where="params<30e6")
assert {"vit_t16", "vit_reg4_s14_nps_ls"} <= set(small) and "vit_b16" not in small
entries = registry.list_pretrained_models(where="params<100e6")
assert "hieradet_d_small_dino-v2" in entries and "vit_l14_pn_bioclip-v2" not in entries
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vit_reg4_b16", "Vision transformer, registers: 4, base, patches of 16"),
        ("vit_reg8_b14_pn_ls", "registers: 8, base, patches of 14, norm before the blocks, LayerScale"),
        ("hieradet_d_base_plus", "HieraDet, the whole map in the last two stages, base plus"),
        ("vit_s14_soft_moe_32e_6s_avg", "32 soft experts of 6 slots, average pooling"),
        ("se_resnet_v1_50", "Residual network, squeeze-and-excitation, 50 layers"),
    ],
)
def test_descriptions_say_what_the_parts_of_a_name_are(name, words):
    assert registry.get_model_info(name).description.endswith(words)


def test_no_two_names_are_described_alike():
    described = {}
    for name in registry.list_models(task="image_classification"):
        described.setdefault(registry.get_model_info(name).description, []).append(name)
    assert [names for names in described.values() if len(names) > 1] == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vit_b16_c1", "those that are listed: vit_b16_ap_c1, vit_l16_ap_c1"),
        ("resnet_v1_18_c1", "those that are listed: resnet_v1_50_c1"),
        ("vit_b16_quick_gelu_swiglu", "'quick_gelu' and 'swiglu' do not go together: SwiGLU has"),
        ("rope_vit_b16_nf_swiglu_quick_gelu", "'nf_swiglu' and 'quick_gelu' do not go together: SwiGLU has"),
    ],
)
def test_names_that_mean_nothing(name, words):
    with pytest.raises(UnknownModelError, match=words):
        registry.create_model(name)


def test_every_entry_is_listed_with_its_architecture():
    assert len(BIRDER) == 61
    assert set(BIRDER) <= set(registry.list_pretrained_models())
    assert registry.list_pretrained_models("*bioclip*") == [
        "vit_b16_pn_bioclip-v1",
        "vit_h14_pn_bioclip-v25",
        "vit_l14_pn_bioclip-v2",
    ]
    assert registry.get_model_info("vit_l14_pn").pretrained == ["vit_l14_pn_bioclip-v2"]


@pytest.mark.skipif(not FACTS.is_dir(), reason="the facts do not lie beside the repository")
def test_entries_are_what_the_facts_say():
    path = ROOT / "scripts" / "birder_entries.py"
    spec = importlib.util.spec_from_file_location("birder_entries", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    facts = json.loads((FACTS / "birder_pretrained.json").read_text("utf-8"))
    expected = tomllib.loads(script.text(script.entries(facts)))
    assert {name: ROWS.get(name) for name in expected} == expected
    assert set(expected) == set(BIRDER)


@pytest.mark.skipif(not FACTS.is_dir(), reason="the facts do not lie beside the repository")
def test_names_are_those_of_the_facts():
    facts = json.loads((FACTS / "birder_architectures.json").read_text("utf-8"))
    names = set(registry.list_models(task="image_classification"))
    assert {name for family in facts.values() for name in family} == names
