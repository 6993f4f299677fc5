"""The scanner's facts: JSON that depends on nothing but the text."""

import json

import pytest

from holotype.catalog.scan import scan


def test_facts_are_json_and_the_same_each_time():
    source = (
        b'import a.b as c\nfrom . import d\n@c.x("n", k={"a": (1, {2})}, s=-1.5)\nclass A(d.B[int]): pass\n'
    )
    facts = scan(source)
    assert facts == scan(source) == json.loads(json.dumps(facts))
    assert facts["names"] == {"c": "a.b", "d": ".d", "A": ":A"}
    assert facts["classes"]["A"]["bases"] == [".d.B"]
    (call,) = facts["calls"]
    assert (call["func"], call["target"], call["kind"], call["line"]) == ("a.b.x", "A", "class", 3)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (b"def (", 1),
        (b"x = 1\nif:\n", 2),
        (b"\xff", None),
        (b"# coding: nope\n", None),
        (b"a = '\0'", None),
        (b"(" * 300, None),
        ("x=1".encode("utf-16"), None),
    ],
)
def test_what_is_no_python(source, line):
    error = scan(source)["error"]
    assert line is None or error[0] == line
    assert error[1]


def test_names_that_a_broken_file_seems_to_register():
    source = b"@register_model(\"one\")\nclass A: pass\n@register_model(\n    name = 'Two')\ndef (:"
    assert scan(source)["guess"] == ["one", "two"]


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"\n\n",
        b"# nothing",
        b'"""doc"""',
        b"pass",
        b"x: int",
        b"del x",
        b"lambda: 0",
        b"async def f(): await x",
    ],
)
def test_files_with_nothing_to_tell(source):
    facts = scan(source)
    assert "error" not in facts
    assert not facts.get("calls")


def test_an_invalid_escape_does_not_warn():
    assert "error" not in scan(b"x = '\\d'\n")


def test_plain_class_attributes_are_kept_and_others_are_marked() -> None:
    facts = scan(b"class Net:\n    whole = True\n    count: int = 3\n    made = make()\n    bare: str\n")
    assert facts["classes"]["Net"]["attributes"] == {"whole": True, "count": 3, "made": None}
