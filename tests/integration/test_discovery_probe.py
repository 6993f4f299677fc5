"""What cannot be read from source is found by importing that one file, in another process, once."""

import time

import pytest

HEAD = "from holotype import register_model\n"
# Each import leaves a mark, so that tests see who was imported by which process.
MARK = """
import os, sys
with open(os.environ["MARKS"], "a") as marks:
    marks.write(f"{__name__} {'child' if 'HOLOTYPE_PROBING' in os.environ else 'parent'}\\n")
"""
LOOK = """
import sys, holotype
names = holotype.list_models(zoo="src.model", order="registered")
result = {
    "names": names,
    "infos": {n: holotype.get_model_info("src.model/" + n).to_dict() for n in names},
    "problems": [p.to_dict() for p in holotype.list_problems()],
    "imported": [m for m in sys.modules if m.split(".")[0] in ("src", "torch")],
}
"""

RUNNING = {
    "a loop": 'for n in (1, 2, 10):\n    @register_model(f"net{n}", depth=n)\n    class Net: pass\n',
    "an f-string": 'X = 1\n@register_model(f"net{X}")\nclass Net: pass\n@register_model(f"net{X + 1}")\nclass Net2: pass\n'
    '@register_model("net" + "10")\nclass Net10: pass\n',
    "a constant": 'A, B = "net1", "net2"\n@register_model(A)\nclass Net: pass\nregister_model(B)(Net)\n'
    'register_model("net{}".format(10))(Net)\n',
    "a helper": 'def add(*names):\n    for name in names:\n        register_model(name)(type("Net", (), {}))\n'
    'add("net1", "net2", "net10")\n',
    "a helper of another file": 'from .helper import add\nadd("net1", "net2", "net10")\n',
    "unpacked metadata": 'meta = {"depth": 1}\n@register_model("net1", **meta)\n@register_model("net2", **meta)\n'
    '@register_model("net10", **meta)\nclass Net: pass\n',
    "configs in a loop": "from holotype import register_model_config\nclass Net:\n    def __init__(self, depth: int = 1): pass\n"
    'for n in (1, 2, 10):\n    register_model_config(f"net{n}", Net, config={"depth": n})\n',
    "a registry of the project": "from .registry import registry\n"
    'for n in (1, 2, 10):\n    @registry.register_model(f"net{n}")\n    class Net: pass\n',
    "a match": 'match 1:\n    case 1:\n        for n in (1, 2, 10):\n            register_model(f"net{n}")(type("Net", (), {}))\n',
    "with": "import contextlib\nwith contextlib.nullcontext():\n    for n in (1, 2, 10):\n"
    '        register_model(f"net{n}")(type("Net", (), {}))\n',
    "a comprehension": '[register_model(f"net{n}")(type("Net", (), {})) for n in (1, 2, 10)]\n',
    "bytes in the metadata": '@register_model("net1", magic=b"\\x00\\xff")\nclass Net: pass\n'
    'register_model("net2")(Net)\nregister_model("net10")(Net)\n',
}


@pytest.fixture
def marked(project, tmp_path):
    """A project of files that leave marks when they are imported."""
    project.write(
        {
            "src/model/__init__.py": MARK,
            "src/model/registry.py": "import holotype\nregistry = holotype.zoo(__package__)\n",
            "src/model/helper.py": MARK
            + HEAD
            + 'def add(*names):\n    for name in names:\n        register_model(name)(type("Net", (), {}))\n',
            "src/model/static.py": MARK + HEAD + '@register_model("static")\nclass Static: pass\n',
        }
    )
    project.marks = tmp_path / "marks"
    project.marks.write_text("")
    return project


def imports(project):
    return project.marks.read_text().split("\n")[:-1]


@pytest.mark.parametrize("case", RUNNING)
def test_only_that_file_is_imported_and_only_in_a_child(marked, case):
    marked.write({"src/model/running.py": MARK + HEAD + RUNNING[case]})
    found = marked.run(LOOK, MARKS=str(marked.marks))
    assert found["problems"] == []
    assert sorted(found["names"]) == ["net1", "net10", "net2", "static"]
    assert found["imported"] == []
    seen = imports(marked)
    assert "src.model.running child" in seen
    assert "src.model.static child" not in seen
    assert not [line for line in seen if "parent" in line]
    info = found["infos"]["net10"]
    assert info["file"] == str(
        marked.root / "src/model" / ("helper.py" if "another file" in case else "running.py")
    )
    assert info["module"] == "src.model.running" or "another file" in case
    # Cached by content: no new process imports it again.
    marked.marks.write_text("")
    again = marked.run(LOOK, MARKS=str(marked.marks))
    assert again["infos"] == found["infos"]
    assert imports(marked) == []
    built = marked.run(
        "import holotype\nresult = [type(holotype.create_model('src.model/net%d' % n)).__name__ for n in (1, 2, 10)]",
        MARKS=str(marked.marks),
    )
    assert len(built) == 3
    assert [line for line in imports(marked) if "static" in line] == []


def test_a_change_of_what_it_imports_imports_it_again(marked):
    marked.write(
        {
            "src/model/data.py": "NAMES = ['one']\n",
            "src/model/running.py": MARK
            + HEAD
            + "from .data import NAMES\nfor n in NAMES:\n    register_model(n)(type('Net', (), {}))\n",
        }
    )
    env = {"MARKS": str(marked.marks)}
    assert marked.run(LOOK, **env)["names"] == ["one", "static"]
    marked.write({"src/model/data.py": "NAMES = ['two']\n"})
    assert marked.run(LOOK, **env)["names"] == ["two", "static"]
    marked.write({"src/model/static.py": MARK + HEAD + '@register_model("still")\nclass Static: pass\n'})
    marked.marks.write_text("")
    assert sorted(marked.run(LOOK, **env)["names"]) == ["still", "two"]
    assert imports(marked) == []  # that was none of its business


def test_a_failed_trial_is_remembered_until_something_changes(marked):
    marked.write(
        {
            "src/model/data.py": "raise RuntimeError('not today')\n",
            "src/model/running.py": MARK
            + HEAD
            + "from .data import NAMES\nfor n in NAMES:\n    register_model(n)(type('Net', (), {}))\n",
        }
    )
    env = {"MARKS": str(marked.marks)}
    found = marked.run(LOOK, **env)
    assert found["names"] == ["static"]
    (problem,) = found["problems"]
    assert problem["file"].endswith("running.py")
    assert "not today" in problem["message"]
    assert "src.model.running child" in imports(marked)
    marked.marks.write_text("")
    assert marked.run(LOOK + "result['again'] = [holotype.list_models() and 0 for _ in range(3)]", **env)[
        "problems"
    ] == [problem]
    assert imports(marked) == []
    marked.write({"src/model/data.py": "NAMES = ['fixed']\n"})
    assert sorted(marked.run(LOOK, **env)["names"]) == ["fixed", "static"]


def test_a_failed_trial_is_repeated_when_a_package_was_installed(marked, tmp_path):
    site = tmp_path / "extra-packages"
    site.mkdir()
    marked.write(
        {
            "src/model/running.py": HEAD
            + "def names():\n    import some_extra_package\n    return some_extra_package.NAMES\n"
            + "for n in names():\n    register_model(n)(type('Net', (), {}))\n"
        }
    )
    env = {"MARKS": str(marked.marks), "PYTHONPATH": str(site)}
    found = marked.run(LOOK, **env)
    assert found["names"] == ["static"]
    assert "some_extra_package" in found["problems"][0]["message"]
    time.sleep(0.02)
    (site / "some_extra_package.py").write_text("NAMES = ['extra']\n")
    assert sorted(marked.run(LOOK, **env)["names"]) == ["extra", "static"]


def test_a_package_installed_meanwhile_is_seen_at_the_next_look_of_the_same_process(marked, tmp_path):
    site = tmp_path / "extra-packages"
    site.mkdir()
    marked.write(
        {
            "src/model/needy.py": "import some_extra_package\n"
            + HEAD
            + '@register_model("needy")\nclass N: pass\n'
        }
    )
    code = f"""
    import holotype, pathlib, time
    before = [holotype.exists("needy"), len(holotype.list_problems())]
    time.sleep(0.02)
    pathlib.Path({str(site)!r}, "some_extra_package.py").write_text("")
    result = [before, [holotype.list_models(zoo="src.model"), len(holotype.list_problems())]]
    """
    assert marked.run(code, MARKS=str(marked.marks), PYTHONPATH=str(site)) == [
        [False, 1],
        [["needy", "static"], 0],
    ]


def test_a_trial_that_takes_too_long(marked):
    marked.write(
        {
            "src/model/running.py": HEAD
            + "import time\nfor n in 'ab':\n    register_model(n)(type('Net', (), {}))\ntime.sleep(60)\n",
            "src/model/meta.py": HEAD
            + '@register_model("slow", depth=__import__("time").sleep(60))\nclass Slow: pass\n',
        }
    )
    started = time.monotonic()
    found = marked.run(
        LOOK + "\nresult['slow'] = str(holotype.get_model_info('slow').problem)",
        MARKS=str(marked.marks),
        HOLOTYPE_PROBE_TIMEOUT_S="0.8",
    )
    assert time.monotonic() - started < 20
    assert found["names"] == ["static"]
    assert sorted(p["file"].rpartition("/")[2] for p in found["problems"]) == ["meta.py", "running.py"]
    assert all("longer than 0.8 s" in p["message"] for p in found["problems"])
    assert "longer than" in found["slow"]


@pytest.mark.parametrize("given", ["", "soon", "nan"])
def test_a_time_limit_that_is_none(marked, given):
    marked.write({"src/model/running.py": HEAD + RUNNING["a loop"]})
    found = marked.run(LOOK, MARKS=str(marked.marks), HOLOTYPE_PROBE_TIMEOUT_S=given)
    assert len(found["names"]) == 4


def test_what_a_trial_prints_does_not_matter(marked):
    marked.write(
        {
            "src/model/running.py": HEAD
            + 'import sys\nprint(\'{"entries": [], "modules": []}\')\nsys.stdout.write("{}")\nsys.stdin.read()\n'
            + RUNNING["a loop"]
            + "import threading, atexit\natexit.register(print, '{}')\nthreading.Thread(target=__import__('time').sleep, args=(60,)).start()\n"
        }
    )
    found = marked.run(LOOK, MARKS=str(marked.marks))
    assert found["problems"] == []
    assert len(found["names"]) == 4


def test_weights_and_aliases_made_in_a_loop_refer_to_other_files(marked):
    marked.write(
        {
            "src/model/weights.py": HEAD
            + """
from holotype import register_weights, register_alias
for tag in ("a", "b"):
    register_weights(f"static_{tag}", {
        "network": "static", "tag": tag, "url": "https://example.org/w",
        "formats": {"pt": {"sha256": "0" * 64}},
    })
    register_weights(f"lite_{tag}", {
        "network": "efficientnet_lite0", "tag": tag, "url": "https://example.org/w",
        "formats": {"pt": {"sha256": "0" * 64}},
    })
    register_alias(f"also_{tag}", "static")
"""
        }
    )
    code = """
    import holotype
    result = [
        [str(p) for p in holotype.list_problems()],
        holotype.list_pretrained_models(zoo="src.model"),
        list(holotype.get_model_info("static").pretrained),
        list(holotype.get_model_info("static").aliases),
        holotype.get_model_info("also_a").name,
        holotype.get_pretrained_metadata("lite_a").task,
        holotype.list_pretrained_models("lite_*", network="vision/efficientnet_lite0"),
    ]
    """
    expected = [
        [],
        ["lite_a", "lite_b", "static_a", "static_b"],
        ["static_a", "static_b"],
        ["also_a", "also_b"],
        "static",
        "image_classification",
        ["lite_a", "lite_b"],
    ]
    assert marked.run(code, MARKS=str(marked.marks)) == expected
    # … and the import itself, which checks them, says the same.
    imported = "import sys\nsys.path.insert(0, '.')\nimport src.model.weights" + code.replace("\n    ", "\n")
    assert marked.run(imported, MARKS=str(marked.marks)) == expected


def test_weights_named_by_constants(marked):
    marked.write(
        {
            "src/model/weights.py": """
                from holotype import register_weights, register_alias
                NAME, META = "w", {
                    "network": "static", "url": "https://example.org", "formats": {"pt": {"sha256": "0" * 64}},
                }
                register_weights(NAME, META)
                ALIAS, NOTE = "stat", "say static"
                register_alias(ALIAS, "static", deprecated=NOTE)
                """
        }
    )
    code = """
    import holotype, warnings
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        name = holotype.get_model_info("stat").name
    result = [list(map(str, holotype.list_problems())), holotype.list_pretrained_models(zoo="src.model"), name,
              [str(w.message) for w in caught]]
    """
    problems, weights, name, caught = marked.run(code, MARKS=str(marked.marks))
    assert (problems, weights, name) == ([], ["w"], "static")
    assert len(caught) == 1
    assert "say static" in caught[0]
