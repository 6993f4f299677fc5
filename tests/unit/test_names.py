"""Names: grammar, order, nearest."""

import pytest

import holotype
from holotype.errors import InvalidNameError
from holotype.names import (
    MAX_LENGTH,
    check_name,
    is_name,
    matcher,
    natural_key,
    nearest,
    patterns,
    split_qualified,
)


@pytest.mark.parametrize("name", ["a", "0", "v1", "vit_l14_pn_bioclip-v2", "a.b", "a-", "x" * MAX_LENGTH])
def test_names_that_fit(name):
    assert check_name(name) == name
    assert is_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A",
        "a b",
        "-a",
        ".a",
        "_a",
        "a/b",
        "a\n",
        "\na",
        "\u0661",
        "\xe9",
        "a\u0131",
        "x" * (MAX_LENGTH + 1),
        "a\0",
        "\u212a",
    ],
)
def test_names_that_do_not_fit(name):
    assert not is_name(name)
    with pytest.raises(InvalidNameError) as error:
        check_name(name)
    assert error.value.given == name
    assert all(is_name(suggestion) for suggestion in error.value.nearest)


def test_the_error_says_what_it_was_to_be():
    with pytest.raises(InvalidNameError, match="not a zoo name"):
        check_name("A", "zoo name")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("v1", (None, "v1")),
        ("Zoo/V1", ("zoo", "v1")),
        (" a/b ", ("a", "b")),
        ("a/b/c", ("a/b", "c")),
        ("/a", ("", "a")),
    ],
)
def test_qualified_names(text, parts):
    assert split_qualified(text) == parts


def test_natural_order():
    names = ["b10", "b2", "b1", "a", "b", "b1a", "b01", "v1.10", "v1.9", "net_b1_x", "net_b10"]
    assert sorted(names, key=natural_key) == [
        "a",
        "b",
        "b01",
        "b1",
        "b1a",
        "b2",
        "b10",
        "net_b1_x",
        "net_b10",
        "v1.9",
        "v1.10",
    ]


def test_globs():
    assert patterns("A*") == ["a*"]
    assert patterns(["a", "B"]) == ["a", "b"]
    fits = matcher(["a*", "b?", "[xy]1"])
    assert [name for name in ("a", "abc", "b", "b1", "x1", "z1") if fits(name)] == ["a", "abc", "b1", "x1"]
    assert not matcher([])("a")
    assert matcher(["*"])("anything")
    assert not matcher(["a.b"])("axb")
    assert not matcher(["a"])("ab")
    for wrong in (3, [3], [None], None):
        with pytest.raises((InvalidNameError, TypeError)):
            patterns(wrong)


@pytest.mark.parametrize(
    ("given", "best"),
    [
        ("mean_mpl", "mean_mlp"),
        ("MEAN_MLP", "mean_mlp"),
        ("v3", "v1"),
        ("attention", "self_attention"),
        ("zzzzzz", None),
        ("", None),
    ],
)
def test_the_nearest(given, best):
    known = ["mean_mlp", "v1", "self_attention", "zoo/other"]
    found = nearest(given, known)
    assert found[:1] == ([best] if best else [])


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ("resnet50", "resnet_v1_50"),
        ("resnet50.a1_in1k", "resnet_v1_50"),
        ("vit_base_patch16_224", "vit_b16"),
        ("vit_b_16", "vit_b16"),
        ("vit_large_patch14_224.mae", "vit_l14"),
        ("convnext_tiny", "convnext_v1_tiny"),
        ("convnextv2_tiny.fcmae_ft_in1k", "convnext_v2_tiny"),
        ("tf_efficientnet_lite0.in1k", "efficientnet_lite0"),
        ("hiera_tiny_224.mae", "hiera_tiny"),
    ],
)
def test_the_spelling_of_another_library_is_the_nearest(given, ours):
    assert nearest(given, holotype.list_models())[0] == ours


def test_a_dot_in_a_key_begins_no_tag():
    known = ["metrics", "metrics.accuracy", "metrics.auroc"]
    assert nearest("metrics.auroo", known)[0] == "metrics.auroc"
    assert nearest("metrics.acuracy", known)[0] == "metrics.accuracy"


def test_the_nearest_sees_the_name_behind_the_zoo():
    assert nearest("othr", ["zoo/other", "x"]) == ["zoo/other"]
    assert len(nearest("a1", [f"a{n}" for n in range(50)])) == 3
