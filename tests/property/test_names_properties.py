"""Names, of any kind."""

import re

from hypothesis import given
from hypothesis import strategies as st

from holotype.errors import InvalidNameError
from holotype.names import (
    GRAMMAR,
    MAX_LENGTH,
    check_name,
    is_name,
    matcher,
    natural_key,
    nearest,
    split_qualified,
)

NAMES = st.from_regex(GRAMMAR, fullmatch=True).filter(lambda name: len(name) <= MAX_LENGTH and name.isascii())
TEXT = st.text(st.characters(exclude_categories=[]), max_size=30)


@given(TEXT | NAMES)
def test_a_name_fits_or_is_refused_with_one_that_does(name):
    assert is_name(name) == bool(re.fullmatch(GRAMMAR, name, re.ASCII))
    try:
        assert check_name(name) == name
    except InvalidNameError as error:
        assert not is_name(name)
        assert all(map(is_name, error.nearest))


@given(st.lists(NAMES, max_size=12))
def test_natural_order_is_total_and_agrees_with_numbers(names):
    ordered = sorted(set(names), key=natural_key)
    names_reversed = ordered[::-1]
    assert ordered == sorted(names_reversed, key=natural_key)
    assert len({natural_key(name) for name in names}) == len(set(names))


@given(
    NAMES.filter(lambda n: not n[-1].isdigit() and len(n) < 150),
    st.integers(0, 10**40),
    st.integers(0, 10**40),
)
def test_numbers_in_names_sort_as_numbers(stem, a, b):
    if a != b:
        assert (natural_key(f"{stem}{a}") < natural_key(f"{stem}{b}")) == (a < b)
        assert (natural_key(f"{stem}{a}x") < natural_key(f"{stem}{b}x")) == (a < b)


@given(st.lists(TEXT, max_size=4), NAMES)
def test_any_glob_answers(globs, name):
    assert matcher([glob.lower() for glob in globs])(name) in (True, False)
    assert matcher([name])(name)
    assert matcher([name[0] + "*"])(name)


@given(TEXT, st.lists(NAMES, max_size=8))
def test_the_nearest_are_known(given_name, known):
    found = nearest(given_name, known)
    assert set(found) <= set(known)
    assert len(found) <= 3


@given(NAMES, NAMES)
def test_qualified_names_split_where_they_were_joined(zoo, name):
    assert split_qualified(f"{zoo.upper()}/{name.upper()}") == (zoo, name)
