"""`where`: typed comparisons, and nothing is evaluated."""

import contextlib

import pytest

from holotype.catalog.where import fitting, parse, predicate
from holotype.errors import FilterError
from holotype.records import WeightsFile

RECORD = {
    "params": 30_000_000,
    "license": "Apache-2.0",
    "tag": "1.10",
    "size": "30M",
    "year": 2024,
    "small": 1e-3,
    "flag": True,
    "nothing": None,
    "features": ["attention", "v1", 3],
    "metrics": [{"name": "Accuracy", "value": 0.9}, {"name": "auroc", "value": None}, "odd"],
    "deep": {"er": {"x": 1}, "a.b": 2},
    "formats": {"pt": WeightsFile("pt", file_size=1.5)},
    "text": "two words",
    "dotted.key": 7,
}


@pytest.mark.parametrize(
    "where",
    [
        "params<=30e6", "params>=30M", "params=30_000_000", "params<0.1b", "params>29999k", "params == 30m", " params<1g ",
        "license=apache-2.0", "license~apache*", "license!=mit", "tag=1.10", "tag~1.*", "size=30m", "size!=30000000",
        "year=2024", "year!=2023", "year~20*", "year>=2024", "small<1e-2", "small=0.001", "flag=true", "flag!=false", "nothing=none",
        "nothing=null", "features=attention", "features~ATT*", "features!=mlp", "features=3", "features>2",
        "metrics.accuracy>0.8", "metrics.ACCURACY=0.9", "deep.er.x=1", "deep.a.b=2", "formats.pt.file_size<2",
        'text="two words"', "text=two words", "text='Two Words'", "license!=none", "dotted.key=7",
        ["params>1", "year>1"], [], None,
    ],
)  # fmt: skip
def test_what_holds(where):
    assert predicate(parse(where))(RECORD)


@pytest.mark.parametrize(
    "where",
    [
        "params<30e6", "params!=30e6", "license=mit", "license!=apache-2.0", "tag=1.1", "tag!=1.10", "license>3", "flag=1",
        "flag>0", "flag=false", "nothing!=none", "nothing=0", "nothing<1", "missing=1", "missing!=1", "missing<1", "missing=none",
        "features=att", "features!=attention", "metrics.auroc>0", "metrics.f1>0", "deep.er=1", "deep.nope=1", "metrics=0.9",
        "year~19*", ["params>1", "year<1"], "text=two", "params.x=1", "license.x=1",
    ],
)  # fmt: skip
def test_what_does_not_hold(where):
    assert not predicate(parse(where))(RECORD)


@pytest.mark.parametrize(
    "where",
    [
        "",
        "params",
        "params<",
        "<3",
        "params<many",
        "params><3",
        "3<params",
        "a b=1",
        [""],
        [None],
        [3],
        "params<'3'",
        "=",
        "a\n",
        "x<none",
        "x<true",
    ],
)
def test_what_cannot_be_understood(where):
    with pytest.raises(FilterError) as error:
        parse(where)
    assert error.value.hint


@pytest.mark.parametrize("text", ["__import__('os').system('x')=1", "a=__import__('os')", "a.__class__=1"])
def test_nothing_is_evaluated(text):
    with contextlib.suppress(FilterError):
        assert not predicate(parse(text))(RECORD)


@pytest.mark.parametrize(
    ("where", "close"),
    [
        ("parms<1", "params"),
        ("metrics.top1>0.8", None),
        ("metrics.acuracy>0.8", "metrics.Accuracy"),
        ("formats.npz.file_size<2", None),
        ("deep.err=1", "deep.er"),
        (["params>1", "yaer=2024"], "year"),
    ],
)
def test_a_key_that_no_record_has_is_an_error(where, close):
    records = [RECORD, {**RECORD, "metrics": [{"name": "Accuracy", "value": 0.5}]}]
    with pytest.raises(FilterError, match="no model here has the key") as caught:
        fitting(records, where)
    assert close is None or close in caught.value.nearest


@pytest.mark.parametrize("where", ["params<10", "params>=2", ["year=1", "params<7"]])
def test_records_of_an_unknown_number_are_left_out_with_a_warning(where):
    records = [{"params": 5, "year": 1}, {"params": None, "year": 1}, {"params": 50, "year": 2}]
    with pytest.warns(UserWarning, match="params is not known of 1 of 3, which are left out"):
        assert not fitting(records, where)[1]


@pytest.mark.parametrize("where", ["license=mit", "metrics.auroc>0.5"])
def test_what_some_records_do_not_have_needs_no_warning(where):
    records = [
        {"license": "MIT", "metrics": [{"name": "auroc", "value": 0.6}]},
        {"license": None, "metrics": []},
    ]
    assert fitting(records, where) == [True, False]


def test_nothing_to_choose_from_is_no_error():
    assert fitting([], "whatever<1") == []
