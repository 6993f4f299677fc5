"""Parameters are checked against hints read as text."""

import pathlib
import sys
import time

import pytest

from holotype.catalog.parameters import check, from_facts, mismatch, problems_with, to_facts
from holotype.errors import ParameterError
from holotype.frozen import freeze
from holotype.records import Parameter

FITS = [
    (1, "int"), (True, "bool"), (1, "float"), (1.5, "float"), ("x", "str"), (b"x", "bytes"), (None, "None"),
    (None, "int | None"), (1, "int | None"), (None, "Optional[int]"), (1, "typing.Optional[int]"), ("x", "Union[int, str]"),
    ("a", "Literal['a', 'b']"), (1, "Literal[1, 2]"), (None, "Literal[None, 'a']"), ("x", "Literal[Mode.A]"), ("x", "Literal[Mode.A, 'y']"),
    ([1], "list"), ([1], "list[int]"), (freeze([1]), "list[int]"), ([1], "List[int]"), ((1, 2), "tuple[int, int]"), ([1, 2], "tuple[int, int]"),
    ([1, 2, 3], "tuple[int, ...]"), ((), "tuple[int, ...]"), ([1], "Sequence[int]"), ((1,), "Sequence[int]"), ({"a": 1}, "dict[str, int]"),
    (freeze({"a": [1]}), "dict[str, list[int]]"), ({}, "Mapping"), ({1}, "set[int]"), ([1], "set[int]"),
    ("x", "Path"), (pathlib.Path("x"), "pathlib.Path"), (len, "Callable[..., int]"), (1, "'int'"), (1, '"int | None"'),
    (object(), "nn.Module"), (object(), "Any"), (object(), "Unknown"), (1, "T"), (1, "a b"), (1, ""), (1, "("), ("x", "Annotated[str, 3]"),
    ([[1, 2]], "list[tuple[int, int]]"), ("int", "type"), (1, "int|str|None"), (1, "object"),
]  # fmt: skip
DIFFERS = [
    (True, "int"), (True, "float"), (1, "bool"), (1.0, "int"), ("1", "int"), ("1e-3", "float"), (None, "int"), (1, "str"), (b"x", "str"), (0, "None"),
    ("x", "int | None"), ("x", "Optional[int]"), (1.5, "Union[int, str]"), ("c", "Literal['a', 'b']"), (True, "Literal[1]"), (1, "Literal[True]"),
    ("abc", "list[str]"), ("abc", "Sequence[str]"), ((1,), "list[int]"), (["x"], "list[int]"), ([1], "tuple[int, int]"), ([1, "x"], "tuple[int, ...]"),
    (3, "tuple[int, int]"), ([1], "dict[str, int]"), ({1: 1}, "dict[str, int]"), ({"a": "x"}, "dict[str, int]"), ("relu", "Callable"), (3, "Path"), (1.5, "'int'"), (3, "Iterable[int]"),
    ([["x"]], "list[list[int]]"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "hint"), FITS)
def test_what_fits(value, hint):
    assert mismatch(value, hint) is None


@pytest.mark.parametrize(("value", "hint"), DIFFERS)
def test_what_does_not(value, hint):
    assert mismatch(value, hint)


def test_numbers_of_numpy_and_torch():
    numpy = pytest.importorskip("numpy")
    assert mismatch(numpy.int64(3), "int") is None
    assert mismatch(numpy.float32(3), "float") is None
    assert mismatch(numpy.float32(3), "int")
    assert mismatch(numpy.array([1, 2]), "Sequence[int]") is None


def test_a_default_of_none_allows_none():
    parameters = [
        Parameter("a", "int", required=False, default=None, default_source="None"),
        Parameter("b", "int", False, 1, "1"),
    ]
    assert problems_with({"a": None}, parameters) == []
    assert len(problems_with({"b": None}, parameters)) == 1


@pytest.mark.parametrize(
    ("value", "hint", "advice"),
    [
        ("1e-3", "float", "write 0.001, without quotes"),
        ("1e-3", "float | None", "write 0.001"),
        ("1e-3", "Optional[float]", "write 0.001"),
        ("1e-9", "float", "write 1.0e-09"),
        ("1e3", "int", "write 1000, without quotes"),
        ("8", "int", "write 8, without quotes"),
        ("2.5", "int", None),
        ("nan", "float", None),
        ("inf", "int", None),
        ("eight", "int", None),
        ("1e-3", "list[float]", None),
    ],
)
def test_numbers_that_yaml_reads_as_text(value, hint, advice):
    (problem,) = problems_with({"a": value}, [Parameter("a", hint)])
    assert (advice in problem) if advice else ("write" not in problem)
    if advice:
        yaml = pytest.importorskip("yaml")
        written = problem.partition("; write ")[2].partition(",")[0]
        assert mismatch(yaml.safe_load(written), hint) is None
        assert yaml.safe_load(written) == float(value)


def test_unknown_missing_and_wrong():
    parameters = (Parameter("hidden_dim", "int"), Parameter("dropout", "float", False, 0.1, "0.1"))
    with pytest.raises(ParameterError) as error:
        check({"hiden_dim": 1, "dropout": "x"}, parameters, of="net")
    assert error.value.problems == (
        "hiden_dim: no such parameter; did you mean 'hidden_dim'?",
        "dropout: expected float, got 'x' (str)",
        "hidden_dim: missing (int)",
    )
    check({"hidden_dim": 1, "anything": 2}, parameters, of="net", open_parameters=True)


@pytest.mark.parametrize(
    "value",
    ["x" * 10_000, [1] * 10_000, {"k": "x" * 10_000}, 1 << 100_000],
    ids=["text", "list", "dict", "int"],
)
def test_long_values_are_shown_short(value):
    (problem,) = problems_with({"a": value}, [Parameter("a", "bool")])
    assert len(problem) < 150


@pytest.mark.parametrize("wrap", [list, tuple, lambda x: dict(enumerate(x)), freeze])
def test_a_value_that_would_fill_the_memory_is_not_written_out(wrap):
    value = ["lol"]
    for _ in range(3 if wrap is freeze else 9):  # freezing copies, so no bomb survives it
        value = wrap([value] * 9)
    start = time.monotonic()
    (problem,) = problems_with({"a": value}, [Parameter("a", "int")])
    assert time.monotonic() - start < 2
    assert len(problem) < 150


@pytest.mark.parametrize("value", ["it's", [1, 2.5, None], {"a": (1,)}, {"b": 1, "c": [True]}, -7, b"x", ()])
def test_short_values_are_shown_whole(value):
    (problem,) = problems_with({"a": value}, [Parameter("a", "Callable")])
    assert f"got {value!r} (" in problem
    (problem,) = problems_with({"a": freeze(value)}, [Parameter("a", "Callable")])
    assert f"got {value!r} (" in problem


def test_missing_parameters_are_reported_unless_unwanted():
    parameters = [Parameter("a", "int"), Parameter("b", "int")]
    assert len(problems_with({"a": "x"}, parameters)) == 2
    assert problems_with({"a": "x"}, parameters, missing=False) == ["a: expected int, got 'x' (str)"]


def by_position(a, b=1, /, c=2): ...


def by_position_and_open(a=1, /, **more): ...


def test_what_can_only_be_passed_by_position():
    from holotype.catalog.scan import scan

    parameters, is_open = from_facts(to_facts(by_position))
    text = b"@deco\ndef by_position(a, b=1, /, c=2): ..."
    assert from_facts(scan(text)["functions"]["by_position"]["init"]) == (parameters, is_open)
    for params, names in (
        ({"a": 1}, ["a"]),
        ({}, ["a"]),
        ({"c": 3}, ["a"]),
        ({"a": 1, "b": 2}, ["a", "b"]),
    ):
        problems = problems_with(params, parameters)
        assert [problem.partition(":")[0] for problem in problems] == names
        assert all("can only be passed by position" in problem for problem in problems)
        with pytest.raises(TypeError):
            by_position(**params)
    assert problems_with({}, parameters, missing=False) == []
    parameters, is_open = from_facts(to_facts(by_position_and_open))
    by_position_and_open(**{"a": 2})
    assert problems_with({"a": 2}, parameters, open_parameters=is_open) == []


def test_building_refuses_what_can_only_be_passed_by_position():
    from holotype import Registry

    registry = Registry()
    registry.register_model("net")(by_position)
    with pytest.raises(ParameterError, match="a: can only be passed by position"):
        registry.create_model("net", a=1)


class Net:
    def __init__(self, a, b: int = 2, *args, c: "str | None" = None, d=b"\x00", e=(1, 2), f=len, **more):
        pass


def test_live_signatures():
    facts = to_facts(Net)
    parameters, is_open = from_facts(facts)
    assert is_open
    found = {p.name: (p.annotation, p.required, p.default, p.keyword_only) for p in parameters}
    assert found == {
        "a": (None, True, None, False),
        "b": ("int", False, 2, False),
        "c": ("str | None", False, None, True),
        "d": (None, False, b"\x00", True),
        "e": (None, False, (1, 2), True),
        "f": (None, False, None, True),
    }
    import json

    json.dumps(facts)


@pytest.mark.parametrize(
    ("target", "count", "is_open"),
    [
        (object, 0, False),
        (type("E", (), {}), 0, False),
        (lambda: 1, 0, False),
        (lambda x, *, y=1: 1, 2, False),
        (lambda **k: 1, 0, True),
    ],
)
def test_live_signatures_of_little(target, count, is_open):
    parameters, found = from_facts(to_facts(target))
    assert (len(parameters), found) == (count, is_open)


def test_a_signature_that_nobody_knows():
    assert from_facts(None) == (None, True)
    assert to_facts(dict) is None or to_facts(dict)["open"]


def test_a_torch_module_without_a_constructor_takes_nothing():
    from torch import nn

    bare = type("Bare", (nn.Module,), {})
    assert from_facts(to_facts(bare)) == ((), False)
    assert [p.name for p in from_facts(to_facts(nn.Linear))[0]][:2] == ["in_features", "out_features"]


def test_a_signature_with_a_hint_that_names_nothing():
    class Lazy:
        """Python 3.14 evaluates hints when the signature is asked for."""

        @property
        def __signature__(self):
            raise NameError("name 'Tensor' is not defined")

        def __call__(self): ...

    assert to_facts(Lazy()) is None


@pytest.mark.skipif(sys.version_info < (3, 14), reason="hints are evaluated when the function is defined")
def test_hints_that_name_nothing_are_read_as_text():
    scope = {}
    exec("def f(a: NotThere, b: int = 1): ...", scope)  # noqa: S102 - made here
    parameters, _ = from_facts(to_facts(scope["f"]))
    assert [p.annotation for p in parameters] == ["NotThere", "int"]
