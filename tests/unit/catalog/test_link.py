"""The linker follows names from file to file, and notes whom it asked."""

import pytest

from holotype.catalog.link import Linker, Source
from holotype.catalog.scan import scan


def link(module="zoo.v1", **files):
    sources = {
        name.replace("__", "."): Source(
            name.replace("__", "."), f"/{name}.py", name == "zoo", scan(text.encode())
        )
        for name, text in files.items()
    }
    return Linker(sources.get).link(sources[module])


def names(linked):
    return [entry["name"] for entry in linked.entries]


def test_who_was_asked_is_noted():
    linked = link(
        zoo="",
        zoo__v1='from .a import reg\nfrom .gone import Base\n@reg("x")\nclass X(Base): pass\n',
        zoo__a="from holotype import register_model as reg\n",
    )
    assert names(linked) == ["x"]
    assert {"zoo.a", "zoo.gone"} <= set(linked.deps)
    assert linked.problems[0][0] == 2
    assert linked.problems[0][2] == ["x"]


def test_needs_are_packages_outside_the_standard_library():
    linked = link(
        zoo__v1="import os, torch, scipy.stats\nfrom sklearn import x\ntry:\n    import maybe\nexcept ImportError: pass\n",
        zoo="",
    )
    assert linked.needs == "scipy:1 sklearn:2"


@pytest.mark.parametrize(
    "text",
    [
        'for n in "ab":\n    register_model(n)(X)',
        "register_model(NAME)(X)",
        'register_model("x", **more)(X)',
        'register_model("x", size=2 * 3)(X)',
        'if FLAG:\n    register_model("x")(X)',
        'while True:\n    register_model("x")(X)',
        "y = [register_model(n) for n in z]",
        'register_weights("w", META)',
        'register_alias(A, "x")',
        'register_model_config("x", X, config=CONFIG)',
        'register_model_config("x", make(), config={})',
        'import somewhere\nregister_model("x", task=somewhere.TASK)(X)',
    ],
)
def test_what_only_running_can_tell(text):
    head = "from holotype import register_model, register_weights, register_alias, register_model_config\nclass X: pass\n"
    linked = link(zoo__v1=head + text + "\n", zoo="")
    assert linked.running
    assert names(linked) == []
    assert linked.problems == []


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    register_model(n)(X)",
        "g = lambda: register_model(n)",
        "x = register_model",
        "print(register_model)",
    ],
)
def test_what_need_not_run(text):
    linked = link(zoo__v1=f"from holotype import register_model\n{text}\n", zoo="")
    assert not linked.running
    assert linked.entries == []


def test_names_that_a_file_to_be_run_seems_to_register():
    linked = link(
        zoo__v1='from holotype import register_model\n@register_model("x", a=f())\nclass X: pass\nif y:\n    register_model("z")(X)\n    print("no")\n',
        zoo="",
    )
    assert linked.guess == ["x", "z"] or set(linked.guess) == {"x", "z"}


def test_imports_are_followed_all_the_way():
    sources = {
        name: Source(name, f"/{name}.py", name == "zoo", scan(text.encode()))
        for name, text in {
            "zoo": "", "zoo.a": "from .b import *\nimport json", "zoo.b": "import zoo.c\nfrom . import a", "zoo.c": "x = 1", "zoo.d": "",
        }.items()
    }  # fmt: skip
    found = Linker(sources.get).imports(sources["zoo.a"])
    assert {"zoo.b", "zoo.c"} <= found
    assert "zoo.d" not in found
