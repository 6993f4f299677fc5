"""The check of parameters agrees with Python, and never fails itself."""

import json

from hypothesis import given
from hypothesis import strategies as st

from holotype.catalog.parameters import from_facts, mismatch, problems_with, to_facts
from holotype.catalog.scan import scan

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=6,
)
HINTS = st.recursive(
    st.sampled_from(
        ["int", "float", "bool", "str", "None", "bytes", "list", "tuple", "dict", "Any", "Literal['a', 1]"]
    ),
    lambda inner: (
        st.builds("list[{}]".format, inner)
        | st.builds("Optional[{}]".format, inner)
        | st.builds("{} | {}".format, inner, inner)
        | st.builds("tuple[{}, ...]".format, inner)
        | st.builds("dict[str, {}]".format, inner)
    ),
    max_leaves=4,
)


@given(VALUES, HINTS | st.text(max_size=12))
def test_any_hint_answers(value, hint):
    assert isinstance(mismatch(value, hint), str | None)


@given(VALUES, HINTS)
def test_a_wider_hint_takes_no_less(value, hint):
    if mismatch(value, hint) is None:
        assert mismatch(value, f"{hint} | int") is None
        assert mismatch(value, f"Optional[{hint}]") is None
        assert mismatch([value], f"list[{hint}]") is None
    assert mismatch(None, f"Optional[{hint}]") is None


NAMES = st.lists(st.from_regex("[a-z]{2,5}[0-9]", fullmatch=True), unique=True, max_size=5)


@given(NAMES, NAMES, st.integers(0, 5), st.booleans())
def test_the_check_agrees_with_the_call(names, given_names, required, is_open):
    parameters = ", ".join(name if at < required else f"{name}=0" for at, name in enumerate(names))
    text = f"def f({parameters}{', ' if names and is_open else ''}{'**more' if is_open else ''}): pass"
    scope = {}
    exec(text, scope)  # noqa: S102 - made above
    params = dict.fromkeys([*given_names, *names[: required // 2]], 1)
    live = to_facts(scope["f"])
    known, found_open = from_facts(live)
    problems = problems_with(params, known, open_parameters=found_open)
    try:
        scope["f"](**params)
    except TypeError:
        assert problems
    else:
        assert problems == []
    # The scanner reads the same from the text.
    read = scan(f"@deco\n{text}\n".encode())["functions"]["f"]["init"]
    assert from_facts(json.loads(json.dumps(read))) == (known, found_open)
