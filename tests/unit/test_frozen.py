"""Frozen values: equal to what they were made from, and not to be changed."""

import copy
import json
import pathlib
import pickle
from collections import OrderedDict, defaultdict

import pytest

from holotype.errors import MetadataError
from holotype.frozen import FrozenDict, FrozenList, freeze, thaw
from holotype.tasks import Task


def test_a_frozen_value_equals_the_plain_one():
    plain = {"a": [1, (2, 3), {"b": {4}}], "c": None, "d": b"x", "e": [[[]]]}
    frozen = freeze(plain)
    assert frozen == plain
    assert plain == frozen
    assert frozen["a"] == plain["a"]
    assert plain["a"] == frozen["a"]
    assert frozen["a"] != [1]
    assert repr(frozen) == repr({"a": [1, (2, 3), {"b": frozenset({4})}], "c": None, "d": b"x", "e": [[[]]]})
    assert isinstance(frozen, dict) and isinstance(frozen["a"], FrozenList)


def test_thawing_gives_plain_values_that_may_change():
    plain = {"a": [1, {"b": [2]}]}
    thawed = thaw(freeze(plain))
    assert thawed == plain
    thawed["a"][1]["b"].append(3)
    thawed["new"] = 1
    assert type(thawed) is dict and type(thawed["a"]) is list


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.__setitem__("a", 1),
        lambda d: d.__delitem__("a"),
        lambda d: d.update(a=1),
        lambda d: d.setdefault("z", 1),
        lambda d: d.pop("a"),
        lambda d: d.popitem(),
        lambda d: d.clear(),
        lambda d: d.__ior__({"a": 1}),
        lambda d: setattr(d, "x", 1),
        lambda d: d["a"].append(1),
        lambda d: d["a"].__setitem__(0, 1),
        lambda d: d["a"].sort(),
    ],
)
def test_every_change_is_refused(change):
    frozen = freeze({"a": [1, 2]})
    with pytest.raises((TypeError, AttributeError)):
        change(frozen)
    assert frozen == {"a": [1, 2]}


def test_copies_pickles_hashes_and_json():
    frozen = freeze({"a": [1, {"b": (1, 2)}], "s": "x"})
    for twin in (copy.copy(frozen), copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):  # noqa: S301 - our own bytes
        assert twin == frozen
        assert type(twin) is FrozenDict
        assert hash(twin) == hash(frozen)
    assert json.loads(json.dumps(frozen)) == {"a": [1, {"b": [1, 2]}], "s": "x"}
    assert len({frozen, freeze({"a": [1, {"b": (1, 2)}], "s": "x"})}) == 1


def test_subclasses_become_plain():
    assert freeze(OrderedDict(a=defaultdict(list, b=[1]))) == {"a": {"b": [1]}}
    assert type(freeze(Task.OBJECT_DETECTION)) is str
    assert freeze(Task.OBJECT_DETECTION) == "object_detection"
    assert freeze(pathlib.PurePosixPath("a/b")) == "a/b"
    assert freeze({Task.OBJECT_DETECTION: 1}) == {"object_detection": 1}


@pytest.mark.parametrize(
    "value", [object(), {1: 2}, {(1,): 2}, [object()], {"a": {"b": object()}}, 1j, range(3)]
)
def test_what_cannot_be_frozen(value):
    with pytest.raises(MetadataError):
        freeze(value)


def test_the_error_says_where():
    with pytest.raises(MetadataError, match=r"metadata of 'x'\.a\[1\]\.b"):
        freeze({"a": [0, {"b": object()}]}, "metadata of 'x'")


def test_what_contains_itself():
    loop = {"a": []}
    loop["a"].append(loop)
    with pytest.raises(MetadataError, match="contains itself"):
        freeze(loop)
    shared = [1]
    assert freeze([shared, shared]) == [[1], [1]]
