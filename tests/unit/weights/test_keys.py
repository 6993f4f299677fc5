"""Key maps: names in a file to names in a network."""

import textwrap
import tomllib

import pytest

from holotype.errors import MetadataError, MismatchError
from holotype.weights import keys
from holotype.weights.keys import common_prefix, compile_key_map, map_keys


@pytest.fixture
def example():
    """The key map in the documentation of the module."""
    text = keys.__doc__.partition("order is kept::")[2].partition("No torch")[0]
    return tomllib.loads(textwrap.dedent(text))["efficientnet_lite0_imagenet1k"]["key_map"]


def test_the_documented_example(example):
    expected = {
        "_conv_stem.weight": "stem.0.weight",
        "_bn0.running_var": "stem.1.running_var",
        "_blocks.0._depthwise_conv.weight": "body.stage0.0.block.0.0.weight",
        "_blocks.0._bn2.bias": "body.stage0.0.block.1.1.bias",
        "_blocks.1._expand_conv.weight": "body.stage1.0.block.0.0.weight",
        "_blocks.6._bn0.weight": "body.stage3.1.block.0.1.weight",
        "_blocks.10._bn1.weight": "body.stage3.5.block.1.1.weight",
        "_blocks.15._project_conv.weight": "body.stage4.4.block.2.0.weight",
        "_conv_head.weight": "features.0.0.weight",
        "_bn1.num_batches_tracked": "features.0.1.num_batches_tracked",
        "_fc.bias": "classifier.bias",
    }
    assert map_keys(expected, example) == expected
    with pytest.raises(MismatchError, match="16 blocks"):
        map_keys(["_blocks.16._bn0.weight"], example)


def test_without_a_map_names_stay():
    assert map_keys(["a.b", "c"]) == {"a.b": "a.b", "c": "c"}
    assert map_keys([]) == {}


def test_rules_run_in_order_on_what_is_left():
    assert map_keys(["a.x"], {r"^a\.": "b.", r"^b\.": "c."}) == {"a.x": "c.x"}
    assert map_keys(["a.x"], {r"^b\.": "c.", r"^a\.": "b."}) == {"a.x": "b.x"}
    assert map_keys(["l1.w"], {r"^l(?P<n>\d)\.": r"layer.\g<n>."}) == {"l1.w": "layer.1.w"}


def test_counted_stages():
    assert map_keys(["b2.w", "b1.w"], {r"^b(?P<n>\d+)": "s{n:1+2}"}) == {"b2.w": "s1.1.w", "b1.w": "s1.0.w"}
    assert map_keys(["b0"], {r"b(\d)": "{1:0+1}"}) == {"b0": "1.0"}, "a stage may be empty"


def test_names_left_out_on_purpose():
    assert map_keys(["ema.w", "w"], {"^ema.*$": "", "^w$": "w"}) == {"ema.w": None, "w": "w"}


def test_unmapped_names_are_listed():
    with pytest.raises(MismatchError, match="has no rule for b, c"):
        map_keys(["a", "b", "c"], {"^a$": "x"})
    with pytest.raises(MismatchError, match="and 90 more"):
        map_keys([f"n{i}" for i in range(100)], {"^a$": "x"})


def test_collisions_are_listed():
    with pytest.raises(MismatchError, match="a1 and a2 → a"):
        map_keys(["a1", "a2"], {r"a\d": "a"})


@pytest.mark.parametrize(
    ("names", "wanted", "prefix"),
    [
        (["module.a", "module.b"], [], "module."),
        (["module.a", "b"], [], ""),
        (["_orig_mod.module.a"], [], "_orig_mod.module."),
        (["module.module.a"], [], "module.module."),
        (["model.a"], ["model.a"], ""),
        (["module.model.a"], ["model.a"], "module."),
        (["model.a"], ["a", "b"], "model."),
        (["module."], [], ""),
        (["encoder.a"], [], ""),
        ([], [], ""),
    ],
)
def test_prefixes(names, wanted, prefix):
    assert common_prefix(names, wanted) == prefix


@pytest.mark.parametrize(
    ("names", "wanted", "prefix"),
    [
        (["net.a.w", "net.b"], ["a.w", "b", "c"], "net."),
        (["encoder.backbone.a", "encoder.backbone.b"], ["a", "b"], "encoder.backbone."),
        (["module.net.a"], ["a"], "module.net."),
        (["net.a", "net.b"], ["net.a", "net.b"], ""),
        (["net.a", "net.z"], ["a", "b"], ""),  # then the names would not fit either
        (["net.a", "criterion.w"], ["a"], ""),
        (["net.a", "net.b"], [], ""),
        (["a", "b"], ["c"], ""),
    ],
)
def test_any_prefix_is_taken_off_if_every_name_then_fits(names, wanted, prefix):
    assert common_prefix(names, wanted) == prefix


def test_prefixes_go_before_the_rules_see_them():
    assert map_keys(["module._fc.w"], {r"^_fc\.": "head."}) == {"module._fc.w": "head.w"}


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [("(", "x"), ("a", r"\1"), ("a", r"\g<n>"), ("a", "{1:2+2}"), (r"(a)", "{2:1}"), ("a", r"\q"), ("a", 5)],
)
def test_wrong_rules_are_found_before_any_name(pattern, replacement):
    with pytest.raises(MetadataError, match="key map"):
        compile_key_map({pattern: replacement})
