"""`where` answers or refuses, whatever it is given."""

from hypothesis import given
from hypothesis import strategies as st

from holotype.catalog.where import parse, predicate
from holotype.errors import FilterError

KEYS = st.from_regex("[a-z_]{1,6}(\\.[a-z]{1,4})?", fullmatch=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.dictionaries(KEYS, JSON, max_size=5)
OPERATORS = st.sampled_from(["<", "<=", ">", ">=", "=", "==", "!=", "~"])


@given(st.text(max_size=30) | st.builds("{}{}{}".format, KEYS, OPERATORS, st.text(max_size=10)), RECORDS)
def test_any_text_is_a_comparison_or_is_refused(text, record):
    try:
        fits = predicate(parse(text))
    except FilterError as error:
        assert error.given == text
    else:
        assert fits(record) in (True, False)


@given(KEYS, st.floats(-1e12, 1e12), st.floats(-1e12, 1e12))
def test_numbers_compare_as_numbers(key, a, b):
    record = {key: a}
    for operator, expected in {
        "<": a < b,
        "<=": a <= b,
        ">": a > b,
        ">=": a >= b,
        "=": a == b,
        "!=": a != b,
    }.items():
        assert predicate(parse(f"{key}{operator}{b!r}"))(record) == expected


@given(KEYS, st.text("abcxyz-.0123456789", min_size=1, max_size=8))
def test_text_equals_itself_whatever_it_looks_like(key, text):
    for value in (text, text.upper(), [text]):
        assert predicate(parse(f"{key}={text}"))({key: value}) or text in (
            "nan",
            "none",
            "true",
            "false",
            "null",
        )
        assert not predicate(parse(f"{key}!={text}"))({key: value})


@given(KEYS, OPERATORS)
def test_what_is_missing_fits_nothing(key, operator):
    assert not predicate(parse(f"{key}{operator}1"))({})
