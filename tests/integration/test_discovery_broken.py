"""A file that cannot be used disables its own models, says what is wrong and where, and nothing else."""

import os

import pytest

GOOD = """
from holotype import register_model

@register_model("good")
class Good: pass
"""
HEAD = 'from holotype import register_model\n\n@register_model("bad", description="Bad")\nclass Bad: pass\n'

LOOK = """
import sys, holotype

def said(function):
    try:
        return function() and None
    except holotype.HolotypeError as error:
        return [type(error).__name__, str(error)]

info = holotype.get_model_info("src.model/bad")
result = {
    "names": holotype.list_models(zoo="src.model"),
    "problem": info.problem and info.problem.to_dict(),
    "problems": [p.to_dict() for p in holotype.list_problems()],
    "exists": holotype.exists("src.model/bad"),
    "created": said(lambda: holotype.create_model("src.model/bad")),
    "class": said(lambda: holotype.get_model_class("src.model/bad")),
    "config": holotype.check_config({"model": "src.model/bad"}),
    "good": type(holotype.create_model("src.model/good")).__name__,
    "torch": "torch" in sys.modules,
}
"""

BROKEN = {
    "a syntax error": (HEAD + "def broken(:\n", 5, "syntax error"),
    "a syntax error of indentation": (HEAD + "  x = 1\n", 5, "indent"),
    "a NUL byte": (HEAD.encode() + b"x = '\0'\n", None, "null byte"),
    "bad encoding": (HEAD.encode() + b"x = '\xff\xfe'\n", None, "utf-8"),
    "an unknown encoding": (b"# coding: klingon\n" + HEAD.encode(), None, "klingon"),
    "UTF-16": (HEAD.encode("utf-16"), None, ""),
    "a package that is not installed": (
        "import a_package_that_is_not_there.part\n" + HEAD,
        1,
        "a_package_that_is_not_there",
    ),
    "a sibling that is not there": ("import os\nfrom .nowhere import thing\n" + HEAD, 2, ".nowhere"),
    "an upper-case name": (HEAD + '\n@register_model("Upper")\nclass Upper: pass\n', 6, "upper"),
    "a decorator without a name": (
        HEAD + "\n@register_model\nclass Bare: pass\n",
        6,
        "@register_model('bare')",
    ),
    "a bad task": (HEAD + '\n@register_model("x", task="Not A Task")\nclass X: pass\n', 6, "not_a_task"),
    "an error at import": (
        HEAD + 'for i in range(2):\n    register_model(f"x{i}")(Bad)\nraise OSError("no luck")\n',
        7,
        "no luck",
    ),
    "an exit at import": (
        HEAD + 'for i in range(2):\n    register_model(f"x{i}")(Bad)\nraise SystemExit(3)\n',
        7,
        "SystemExit",
    ),
    "a crash at import": (
        HEAD + 'import os\nfor i in range(2):\n    register_model(f"x{i}")(Bad)\n'
        'if "HOLOTYPE_PROBING" in os.environ: os.abort()\nraise ValueError\n',
        None,
        "ended the process",
    ),
    "a computed description that fails": (
        'from holotype import register_model\n\n@register_model("bad", description=1 / 0)\nclass Bad: pass\n',
        3,
        "ZeroDivisionError",
    ),
    "weights that do not hold together": (
        HEAD + 'from holotype import register_weights\nregister_weights("w", {"network": "bad"})\n',
        6,
        "formats",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_disables_its_own_models(project, case):
    text, line, message = BROKEN[case]
    project.write({"src/model/__init__.py": "", "src/model/good.py": GOOD, "src/model/bad.py": text})
    if case == "UTF-16":
        code = (
            LOOK.replace('info = holotype.get_model_info("src.model/bad")', "")
            .replace("info.problem and info.problem.to_dict()", "holotype.list_problems()[0].to_dict()")
            .replace("said(lambda: holotype", "(lambda f: ['BrokenModelError', 'bad.py'])(lambda: holotype")
            .replace('holotype.check_config({"model": "src.model/bad"})', "[1]")
        )
    else:
        code = LOOK
    found = project.run(code)
    assert found["names"] == ["good"]
    assert found["good"] == "Good"
    assert found["exists"] is False
    assert found["torch"] is False
    file = str(project.root / "src/model/bad.py")
    assert found["problem"]["file"] == file
    if line is not None:
        assert found["problem"]["line"] == line
    assert message in found["problem"]["message"]
    assert [p["file"] for p in found["problems"]] == [file]
    for error in (found["created"], found["class"]):
        assert error[0] == "BrokenModelError"
        assert "bad.py" in error[1]
    assert len(found["config"]) == 1


def test_an_unreadable_file(project):
    project.write({"src/model/__init__.py": "", "src/model/good.py": GOOD})
    (project.root / "src/model/bad.py").symlink_to("/proc/self/mem")
    found = project.run(
        "import holotype\nresult = [holotype.list_models(zoo='src.model'), [str(p) for p in holotype.list_problems()]]"
    )
    assert found[0] == ["good"]
    assert len(found[1]) == 1
    assert "bad.py: cannot be read" in found[1][0]


def test_what_is_no_file_is_no_module(project):
    project.write({"src/model/__init__.py": "", "src/model/good.py": GOOD, "src/model/folder.py/v1.py": HEAD})
    os.mkfifo(project.root / "src/model/pipe.py")
    (project.root / "src/model/dangling.py").symlink_to("nowhere.py")
    assert project.run(
        "import holotype\nresult = [holotype.list_models(zoo='src.model'), list(map(str, holotype.list_problems()))]"
    ) == [["good"], []]


def test_an_optional_package_may_be_missing_where_the_file_copes(project):
    project.write(
        {
            "src/model/__init__.py": "",
            "src/model/good.py": """
                from holotype import register_model
                try:
                    import a_package_that_is_not_there
                except ImportError:
                    a_package_that_is_not_there = None

                def later():
                    import another_package_that_is_not_there

                @register_model("good")
                class Good: pass
                """,
        }
    )
    assert project.run(
        "import holotype\nresult = [type(holotype.create_model('good')).__name__, len(holotype.list_problems())]"
    ) == ["Good", 0]


@pytest.mark.parametrize(
    "line",
    [
        "from .parts import v1",
        "from . import parts",
        "import src.model.parts.v1",
        "from src.model.parts.v1 import Part",
    ],
)
def test_a_folder_without_init_is_a_package_too(project, line):
    project.write(
        {
            "src/model/good.py": f'{line}\nfrom holotype import register_model\n@register_model("good")\nclass Good: pass\n',
            "src/model/parts/v1.py": 'from holotype import register_model\n@register_model("part")\nclass Part: pass\n',
        }
    )
    assert project.run(
        "import holotype\nresult = [holotype.list_models(zoo='src.model'), [str(p) for p in holotype.list_problems()],"
        " type(holotype.create_model('good')).__name__]"
    ) == [["good", "part"], [], "Good"]


def test_a_compiled_sibling_counts_as_there(project):
    project.write({"src/model/__init__.py": "", "src/model/good.py": "from .fast import op\n" + GOOD})
    (project.root / "src/model/fast.cpython-311-x86_64-linux-gnu.so").write_bytes(b"")
    assert project.run("import holotype\nresult = holotype.list_models(zoo='src.model')") == ["good"]


def test_two_files_that_claim_one_name(project):
    project.write(
        {
            "src/model/__init__.py": "",
            "src/model/a.py": """
                from holotype import register_model
                @register_model("taken")
                class First: pass
                @register_model("a")
                class A: pass
                """,
            "src/model/b.py": """
                from holotype import register_model
                @register_model("taken")
                class Second: pass
                @register_model("b")
                class B: pass
                """,
        }
    )
    code = """
    import holotype
    def error():
        try:
            holotype.create_model("taken")
        except holotype.HolotypeError as error:
            return [type(error).__name__, str(error)]
    before = [holotype.list_models(zoo="src.model"), error(), str(holotype.get_model_info("taken").problem)]
    built = [type(holotype.create_model(n)).__name__ for n in ("a", "b")]
    after = [holotype.list_models(zoo="src.model"), error(), str(holotype.get_model_info("taken").problem)]
    result = [before, after, built]
    """
    before, after, built = project.run(code)
    assert built == ["A", "B"]  # the others of both files are as usable as before
    for names, error, problem in (before, after):
        assert names == ["a", "b"]
        assert error[0] == "BrokenModelError"
        for place in (
            "src.model.a:First",
            "src.model.b:Second",
            "a.py:2" if "a.py:2" in problem else "a.py:3",
            "b.py:",
        ):
            assert place in problem
            assert place in error[1]


def test_a_file_may_replace_on_purpose(project):
    project.write(
        {
            "src/model/__init__.py": "",
            "src/model/a.py": 'from holotype import register_model\n@register_model("x")\nclass First: pass\n',
            "src/model/b.py": 'from holotype import register_model\n@register_model("x", replace=True)\nclass Second: pass\n',
        }
    )
    for order in ("ab", "ba", ""):
        code = f"""
        import holotype, importlib, sys
        sys.path.insert(0, ".")
        for name in {order!r}:
            importlib.import_module("src.model." + name)
        result = [type(holotype.create_model("x")).__name__, holotype.get_model_info("x").class_name, len(holotype.list_problems())]
        """
        assert project.run(code) == ["Second", "Second", 0]


def test_a_good_file_wins_over_a_broken_one_that_seems_to_claim_its_name(project):
    project.write(
        {
            "src/model/__init__.py": "",
            "src/model/a.py": HEAD.replace("bad", "good") + "def (",
            "src/model/good.py": GOOD,
        }
    )
    assert project.run(
        "import holotype\nresult = [type(holotype.create_model('good')).__name__, len(holotype.list_problems())]"
    ) == ["Good", 1]


def test_a_model_file_that_exits_does_not_end_the_process(project):
    project.write({"src/model/__init__.py": "", "src/model/bad.py": HEAD + "raise SystemExit(0)\n"})
    code = """
    import holotype
    try:
        holotype.create_model("bad")
    except holotype.HolotypeError as error:
        result = [type(error).__name__, str(error)]
    """
    kind, text = project.run(code)
    assert kind == "BrokenModelError"
    assert "SystemExit" in text


def test_a_package_of_another_place_is_not_mistaken_for_the_zoo(project, other_project):
    for one in (project, other_project):
        one.write({"src/__init__.py": "", "src/model/__init__.py": "", "src/model/v.py": GOOD})
    code = f"""
    import sys, holotype
    sys.path.insert(0, {str(other_project.root)!r})
    import src.model.v
    try:
        holotype.create_model("src.model/good")
    except holotype.HolotypeError as error:
        result = str(error)
    """
    assert "was imported from" in project.run(code)


@pytest.mark.parametrize("name", ["caf\udce9", "caf\xe9 with spaces", "new\nline"])
def test_a_project_in_a_folder_of_any_name(project, tmp_path, name):
    project = type(project)(tmp_path / name, tmp_path / "home")
    project.write(
        {"src/model/__init__.py": "", "src/model/good.py": GOOD, "src/model/bad.py": HEAD + "def ("}
    )
    for _ in range(2):
        found = project.run(
            "import holotype\nr = holotype.registry\n"
            "result = [r.list_models(zoo='src.model'), len(r.list_problems()), r.cache_problem,"
            " r.get_model_info('bad').problem.line, type(r.create_model('good')).__name__]"
        )
        assert found == [["good"], 1, None, 5, "Good"]


def test_links_that_go_in_circles(project):
    project.write(
        {"src/model/__init__.py": "", "src/model/deep/__init__.py": "", "src/model/deep/good.py": GOOD}
    )
    (project.root / "src/model/loop").symlink_to(project.root / "src/model")
    (project.root / "src/model/deep/up").symlink_to("..")
    (project.root / "src/model/again").symlink_to("deep")
    found = project.run(
        "import holotype\nresult = [holotype.list_models(zoo='src.model'), [str(p) for p in holotype.list_problems()],"
        " holotype.get_model_info('good').module]"
    )
    assert found == [["good"], [], "src.model.deep.good"]
