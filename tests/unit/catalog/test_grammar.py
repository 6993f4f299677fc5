"""Names out of parts: what they mean, what is wrong with one that means nothing, and how tables are read."""

import time

import pytest

from holotype.catalog.grammar import Grammar, expand, families
from holotype.errors import MetadataError

ROW = {
    "form": "net_[{registers}_]{size}{patch}[_{part}]...[_{pool}][_{variant}]",
    "listed": ["net_{s,b}16", "net_b16_c1"],
    "config": {"dropout": 0.1},
    "registers": {"reg{registers}": {}},
    "size": {"s": {"width": 4}, "b": {"width": 8}, "so4m_p": {"width": 6}},
    "patch": {"{patch}": {}},
    "part": {
        "ls": {"scale": True},
        "nf": {"norm": "a"},
        "nf_glu": {"norm": "b"},
        "moe_{experts}e_{slots}s": {"moe": True},
    },
    "pool": {"ap": {"pool": "ap"}, "aps": {"pool": "aps"}},
    "variant": {"c{_}": {}},
    "exactly": {"net_b16_ap_c2": {"dropout": 0.0}},
}


@pytest.fixture
def net():
    return Grammar("net", ROW)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("net_s16", {"width": 4, "patch": 16}),
        ("net_reg4_b14", {"registers": 4, "width": 8, "patch": 14}),
        ("net_so4m_p14", {"width": 6, "patch": 14}),
        ("net_b16_ls_nf", {"width": 8, "patch": 16, "scale": True, "norm": "a"}),
        ("net_b16_nf_glu", {"width": 8, "patch": 16, "norm": "b"}),
        ("net_b16_nf_ls", {"width": 8, "patch": 16, "scale": True, "norm": "a"}),
        (
            "net_b16_moe_32e_4s_aps",
            {"width": 8, "patch": 16, "moe": True, "experts": 32, "slots": 4, "pool": "aps"},
        ),
        ("net_b16_c1", {"width": 8, "patch": 16}),
        ("net_b16_ap_c2", {"width": 8, "patch": 16, "pool": "ap", "dropout": 0.0}),
    ],
)
def test_what_a_name_means(net, name, config):
    assert net.config(name) == {"dropout": 0.1, **config}
    assert net.explain(name) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("net_b16_lss", "'lss' is no part of a name of this form (did you mean 'ls'?):"),
        ("net_b16_zzz", "'zzz' is no part of a name of this form:"),
        ("net_b16_ap_zzz", "'zzz' is no part of a name of this form:"),
        ("net_b16_ls_ls", "'ls' is there twice."),
        ("net_b16_ls_nf_ls", "'ls' is there twice."),
        ("net_b16_nf_nf_glu", "'nf' and 'nf_glu' contradict each other: both set norm."),
        ("net_b16_ap_aps", "'ap' and 'aps': a name has only one pool."),
        ("net_b16_ap_ap", "'ap' is there twice."),
        ("net_b16_ap_ls", "'ls' is in the wrong place: names are net_"),
        ("net_b16_reg4", "'reg4' is in the wrong place: names are net_"),
        ("net_b16_moe_3e_2s_moe_4e_2s", "'moe_3e_2s' and 'moe_4e_2s' are the same part twice."),
        ("net_b16_c7", "The variant 'c7' of it is not defined."),
        ("net_x16", "It is not of this form:"),
        ("net_b", "It is not of this form:"),
        ("net_b016", "It is not of this form:"),
        ("net_", "It is not of this form:"),
    ],
)
def test_what_is_wrong_with_a_name(net, name, words):
    assert net.config(name) is None
    assert net.explain(name).startswith(words)


def test_an_explanation_reads_well_in_a_terminal(net):
    text = net.explain("net_x16")
    assert "size: s, b, so4m_p" in text and "moe_{N}e_{N}s" in text
    assert max(map(len, text.splitlines())) <= 96


@pytest.mark.parametrize("name", ["other", "ne", "", "nets_b16", "n" * 500])
def test_names_of_others_are_none_of_its_business(net, name):
    assert net.config(name) is None and net.explain(name) is None


@pytest.mark.parametrize(
    "name", ["net_b12345", "net_b16_", "net_b16__ls", "net_b16_ls\n", "net_b16_l", "net_b16ls"]
)
def test_almost_names(net, name):
    assert net.config(name) is None and net.explain(name)


def test_parts_that_do_not_go_together():
    net = Grammar("net", {**ROW, "apart": {"a scale is enough": ["ls", "moe_{experts}e_{slots}s"]}})
    assert net.config("net_s16_ls") and net.config("net_s16_moe_2e_2s")
    for name, pair in [
        ("net_s16_ls_moe_2e_2s", "'ls' and 'moe_2e_2s'"),
        ("net_s16_moe_2e_2s_nf_ls", "'moe_2e_2s' and 'ls'"),
    ]:
        assert net.config(name) is None
        assert net.explain(name) == f"{pair} do not go together: a scale is enough."
    with pytest.raises(MetadataError, match="a list of parts"):
        Grammar("net", {**ROW, "apart": {"why": "ls"}})


def test_a_name_in_words():
    words = {"s": "small", "reg{registers}": "registers: {registers}", "{patch}": "", "c{_}": "variant {_}"}
    net = Grammar("net", {**ROW, "words": words})
    assert net.described("net_reg4_s16", "Net") == "Net, registers: 4, small"
    assert net.described("net_b16_nf_glu_ap_c2", "Net") == "Net, b, nf glu, ap, variant c2"
    assert Grammar("net", ROW).described("net_s16", "Net") == "Net"
    with pytest.raises(MetadataError, match="text"):
        Grammar("net", {**ROW, "words": {"s": 1}}).described("net_s16", "Net")


def test_listed_names():
    assert Grammar("net", ROW).listed == ("net_s16", "net_b16", "net_b16_c1")
    assert list(expand("a{b,c}_{1,2}x")) == ["ab_1x", "ab_2x", "ac_1x", "ac_2x"]
    assert list(expand("plain")) == ["plain"]


def test_a_family_like_another():
    rows = families({"net": ROW, "other": {"like": "net", "form": "o_{size}", "size": {"s": {"width": 5}}}})
    other = Grammar("other", rows["other"])
    assert other.config("o_s") == {"dropout": 0.1, "width": 5}
    assert other.config("o_b") == {"dropout": 0.1, "width": 8}
    assert other.listed == () and other.exactly == {}


@pytest.mark.parametrize(
    "change",
    [
        {"form": None},
        {"form": 3},
        {"form": ""},
        {"form": "x" * 1000},
        {"form": "net_{nothing}"},
        {"form": "net_{size"},
        {"form": "net_[{size}"},
        {"form": "net_{size}]"},
        {"form": "net_[[{size}]]"},
        {"form": "NET_{size}"},
        {"form": "net {size}"},
        {"form": "(net)+{size}"},
        {"size": ["s"]},
        {"size": {"s": 1}},
        {"size": {"S": {}}},
        {"size": {"": {}}},
        {"size": {"a b": {}}},
        {"size": {"x" * 1000: {}}},
        {"size": {f"a{n}": {} for n in range(1000)}},
        {"config": 3},
        {"exactly": {"net_s16": 4}},
    ],
)
def test_tables_that_do_not_hold_together(change):
    with pytest.raises(MetadataError):
        Grammar("net", {**ROW, **change})


@pytest.mark.parametrize("listed", [3, "net_s16", [3], ["net_" + "{1,2,3,4,5,6,7,8}" * 30], ["x" * 10_000]])
def test_lists_that_are_none(listed):
    grammar = Grammar("net", {**ROW, "listed": listed})
    with pytest.raises(MetadataError):
        _ = grammar.listed


@pytest.mark.parametrize("table", [{"a": 3}, {"a": {"like": "b"}}, {"a": {"like": 3}}, {"a": {"like": "a"}}])
def test_families_that_are_none(table):
    with pytest.raises(MetadataError):
        families(table)


@pytest.mark.parametrize(
    "row",
    [
        {"form": "x[{t}]...[{t}]...[{t}]...[{t}]...y", "t": {"a": {}, "aa": {}, "aaa": {}}},
        {"form": "x[_{t}]...[_{t}]...[_{t}]...y", "t": {"a": {}, "a_a": {}, "a_a_a": {}}},
        {"form": "x[{t}]...y", "t": {"_a": {}, "_a_a": {}, "_a_a_a": {}}},
        {"form": "x[{t}{t}{t}]...y", "t": {"{n}": {}, "1": {}, "11": {}}},
        {"form": "[{t}]...[{t}]...", "t": {"{n}{m}": {}}},
    ],
)
@pytest.mark.parametrize(
    "name", ["x" + "_a" * 90 + "!", "x" + "a" * 190 + "!", "x" + "1" * 190 + "!", "1" * 199]
)
def test_no_form_makes_reading_slow(row, name):
    grammar = Grammar("x", row)
    begin = time.process_time()
    grammar.config(name)
    grammar.explain(name[:40])
    assert time.process_time() - begin < 0.5
