"""Values survive JSON."""

import json

import pytest

from holotype.catalog.values import NotLiteral, decode, encode


@pytest.mark.parametrize(
    "value",
    [1, -1.5, "x", None, True, [1, [2]], (1, (2,)), {"a": {"b": [1]}}, {1, 2}, b"\x00\xff", [], (), {}],
)
def test_values_survive_json(value):
    assert decode(json.loads(json.dumps(encode(value)))) == value


def test_symbols_are_no_values():
    with pytest.raises(NotLiteral):
        decode({"$symbol": "x"})
