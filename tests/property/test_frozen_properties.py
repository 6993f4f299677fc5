"""Freezing keeps every value, and what was frozen stays."""

import contextlib
import copy
import json
import pickle

from hypothesis import given
from hypothesis import strategies as st

from holotype.catalog.values import decode, encode
from holotype.errors import MetadataError
from holotype.frozen import freeze, thaw

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_equal_before_and_after(value):
    frozen = freeze(value)
    assert frozen == value
    assert value == frozen
    assert freeze(frozen) == frozen
    hash(frozen)
    assert pickle.loads(pickle.dumps(frozen)) == frozen  # noqa: S301 - our own bytes
    assert copy.deepcopy(frozen) == frozen
    assert decode(json.loads(json.dumps(encode(frozen)))) == value


@given(PLAIN)
def test_thawing_shares_nothing(value):
    frozen = freeze(value)
    before = repr(frozen)

    def spoil(thing):
        if isinstance(thing, dict):
            for item in thing.values():
                spoil(item)
            thing["spoilt"] = 1
        elif isinstance(thing, list):
            for item in thing:
                spoil(item)
            thing.append("spoilt")

    spoil(thaw(frozen))
    spoil(value)
    assert repr(frozen) == before


@given(
    st.recursive(
        st.none() | st.just(object()) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.integers() | st.text(), inner, max_size=2)
        ),
    )
)
def test_anything_is_frozen_or_refused(value):
    with contextlib.suppress(MetadataError):
        freeze(value)
