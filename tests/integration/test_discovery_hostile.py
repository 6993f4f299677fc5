"""Whatever lies in a project's folder: it costs its own models, never another's, and neither hangs nor runs unasked."""

import os
import subprocess
import sys

import pytest

from holotype import Registry
from holotype.errors import AmbiguousNameError, BrokenModelError

HEAD = "from holotype import register_model, register_model_config, register_weights\n"
GOOD = """
from holotype import register_model

@register_model("good")
class Good:
    def __init__(self, width: int = 1): self.width = width
"""
BAD = "class Bad:\n    def __init__(self, width: int = 1): pass\n"
DIGITS = "9" * 5000
PLAIN = {"src/model/__init__.py": "", "src/model/good.py": GOOD}


def weights(name, host, *, more="", network="good"):
    return (
        f'register_weights("{name}", {{"network": "{network}", "url": "https://{host}/y.pt",'
        f' "formats": {{"pt": {{"sha256": "{"a" * 64}"}}}}}}{more})\n'
    )


@pytest.fixture
def look(here):
    """Write a project, and look at it in this very process, which imports none of it."""

    def look(files, **kwargs):
        here.write({**PLAIN, **files}, **kwargs)
        return Registry(zoos=["src.model"])

    return look


def finished(project, process):
    """What a process came to, within a time that only a hang exceeds."""
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        pytest.fail("it does not come to an end")
    return project.finish(process)


def told(registry):
    return "\n".join(str(problem) for problem in registry.list_problems())


# -- files whose content no one expects ----------------------------------------------------------

# name: the text, the model it would register, and a part of what is told; None: nothing need be wrong with it
HOSTILE = {
    "features are none": ('@register_model("bad", features=None)\n' + BAD, "features"),
    "features are a number": ('@register_model("bad", features=5)\n' + BAD, "features"),
    "a description that is a number": ('@register_model("bad", description=5)\n' + BAD, "description"),
    "a number of 5000 digits": (f'N = {DIGITS}\n@register_model("bad")\n' + BAD, ""),
    "metadata of 5000 digits": (f'@register_model("bad", depth={DIGITS})\n' + BAD, ""),
    "metadata of 5000 hexadecimal digits": (f'@register_model("bad", depth=0x{DIGITS})\n' + BAD, ""),
    "a task that is no text": (
        BAD + 'register_model_config("bad", Bad, config={}, task="\\ud800")\n',
        "task",
    ),
    "a network that is no text": (weights("w", "a", network="good\\ud800"), "network"),
    "a computed network that is no text": (
        'for name in ("v", "w"):\n    ' + weights("w", "a", network="good\\ud800").replace('"w"', "name", 1),
        "network",
    ),
    "a metadata value that is no text": ('@register_model("bad", note="\\ud800")\n' + BAD, None),
    "a description that is no text": ('@register_model("bad", description="\\ud800")\n' + BAD, None),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_one_file_breaks_no_other(look, case):
    text, message = HOSTILE[case]
    registry = look({"src/model/w1.py": HEAD + text})
    for _ in range(2):  # read, and then remembered
        assert "good" in registry.list_models()
        assert registry.get_model_info("good").problem is None
        if message is not None:
            assert "bad" not in registry.list_models()
            assert "w1.py" in told(registry) and message in told(registry)
        registry = Registry(zoos=["src.model"])
    assert registry.cache_problem is None


def test_a_chain_of_a_thousand_bases(look):
    chain = "class C0:\n    def __init__(self, width: int = 1): pass\n"
    chain += "".join(f"class C{n}(C{n - 1}): pass\n" for n in range(1, 1101))
    registry = look(
        {"src/model/chain.py": HEAD + chain + '@register_model("chained")\nclass D(C1100): pass\n'}
    )
    assert "good" in registry.list_models()
    assert registry.get_model_info("good").problem is None
    assert "chained" in registry.list_models() or "chain.py" in told(registry)


def test_a_diamond_of_24_levels_takes_no_time(project):
    text = "class A0: pass\nclass B0: pass\n"
    text += "".join(
        f"class A{n}(A{n - 1}, B{n - 1}): pass\nclass B{n}(A{n - 1}, B{n - 1}): pass\n" for n in range(1, 25)
    )
    text += '@register_model("deep")\nclass D(A24, B24): pass\n'
    project.write({**PLAIN, "src/model/diamond.py": HEAD + text})
    # Each level must not double the work: 2 ** 24 steps outlast any patience.
    process = project.start(
        "import holotype\nresult = [holotype.get_model_info('good').problem, holotype.exists('proteins/v1')]"
    )
    assert finished(project, process) == [None, True]


@pytest.mark.parametrize("content", [f"x = {DIGITS}\n", "x = " + "[" * 3000], ids=["digits", "brackets"])
class TestTables:
    @pytest.mark.parametrize("table", ["sizes.toml", "pretrained.toml"])
    def test_of_a_zoo(self, look, table, content):
        registry = look({f"src/model/{table}": content})
        assert registry.list_models() == ["good"]
        assert f"{table}: is not a table that can be read" in told(registry)

    def test_of_the_project(self, here, content):
        here.write(PLAIN, pyproject=f'[tool.holotype]\nzoos = ["src.model"]\n[tool.other]\n{content}')
        registry = Registry(discover=True)
        assert registry.get_model_info("proteins/v1").problem is None
        assert "pyproject.toml" in told(registry) and "is not TOML" in told(registry)


@pytest.mark.parametrize("table", ["sizes.toml", "pretrained.toml"])
def test_a_pipe_in_the_place_of_a_table_is_not_waited_for(project, table):
    project.write(PLAIN)
    os.mkfifo(project.root / "src/model" / table)
    process = project.start("import holotype\nresult = holotype.list_models(zoo='src.model')")
    assert finished(project, process) == ["good"]


# -- several files, one name ---------------------------------------------------------------------


def test_three_files_that_claim_one_name(look):
    registry = look(
        {f"src/model/d{n}.py": f'{HEAD}@register_model("dup")\nclass D{n}: pass\n' for n in (1, 2, 3)}
    )
    assert registry.list_models() == ["good"]
    for n in (1, 2, 3):
        assert f"src.model.d{n}:D{n}" in told(registry)
    with pytest.raises(BrokenModelError, match="dup"):
        registry.create_model("dup")


def test_two_files_that_claim_one_pretrained_entry(look):
    registry = look(
        {"src/model/w1.py": HEAD + weights("w", "a"), "src/model/w2.py": HEAD + weights("w", "b")}
    )
    assert "good" in registry.list_models()
    assert "w" not in registry.list_pretrained_models()
    assert "w1.py" in told(registry) and "w2.py" in told(registry)
    assert registry.pretrained_exists("w") is False
    with pytest.raises(BrokenModelError, match="'w' cannot be used"):
        registry.get_pretrained_metadata("w")


@pytest.mark.parametrize("winner", ["w1", "w2"])
def test_an_entry_that_takes_the_place_of_another_on_purpose(look, winner):
    files = {
        f"src/model/{name}.py": HEAD + weights("w", name, more=", replace=True" if name == winner else "")
        for name in ("w1", "w2")
    }
    registry = look(files)
    assert registry.list_pretrained_models() == ["w"]
    assert f"https://{winner}/y.pt" in str(registry.get_pretrained_metadata("w").to_dict())
    assert told(registry) == ""


@pytest.mark.parametrize("winner", ["m1", "m2"])
def test_a_model_that_takes_the_place_of_another_on_purpose(look, winner):
    registry = look(
        {
            f"src/model/{name}.py": f'{HEAD}@register_model("m"{", replace=True" * (name == winner)})\n'
            f"class M{name}: pass\n"
            for name in ("m1", "m2")
        }
    )
    assert registry.get_model_info("m").class_name == f"M{winner}"
    assert told(registry) == ""


def test_a_broken_file_does_not_hand_its_name_to_another_zoo(here):
    here.write({**PLAIN, "src/model/v2.py": HEAD + '@register_model("v2")\nclass Mine(:\n'})
    registry = Registry(discover=True)
    with pytest.raises((AmbiguousNameError, BrokenModelError), match=r"src\.model|v2\.py"):
        registry.create_model("v2")
    assert registry.get_model_info("proteins/v2").zoo == "proteins"


# -- running nothing that was not asked for ------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["list", ""], ["info", ""], ["create", ""], ["create", "n1", ""], ["list", "-t", ""], ["list", "-z", ""]],
    ids=" ".join,
)  # fmt: skip
def test_pressing_tab_runs_no_file_of_the_project(project, tmp_path, words):
    mark = tmp_path / "ran"
    text = f'open({str(mark)!r}, "w").close()\n{HEAD}for n in "12":\n    @register_model("n" + n)\n    class A: pass\n'
    project.write({**PLAIN, "src/model/running.py": text})
    done = subprocess.run(
        [sys.executable, "-m", "holotype", "__complete", *words],
        cwd=project.root,
        env=project.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not mark.exists()


def test_pressing_tab_after_a_look_completes_what_it_saw(project):
    project.write({**PLAIN, "src/model/running.py": HEAD + 'for n in "12":\n    @register_model("n" + n)\n    class A: pass\n'})  # fmt: skip
    project.run("import holotype\nresult = holotype.list_models()")
    done = subprocess.run(
        [sys.executable, "-m", "holotype", "__complete", "create", "n"],
        cwd=project.root,
        env=project.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert [name for name in done.stdout.split() if len(name) == 2] == ["n1", "n2"]


# -- where things lie ----------------------------------------------------------------------------


def test_a_plain_folder_does_not_hide_a_package_further_on(here):
    here.write(
        {"model/weights.bin": b"", "src/model/__init__.py": "", "src/model/good.py": GOOD},
        pyproject='[tool.holotype]\nzoos = ["model"]\n',
    )
    registry = Registry(discover=True)
    assert "good" in registry.list_models()
    assert registry.get_model_info("good").file == str(here.root / "src/model/good.py")
    assert told(registry) == ""


def test_import_paths_that_are_no_text(project):
    project.write({**PLAIN, "src/model/run.py": HEAD + 'for n in "12":\n    register_model("n" + n)(type("A", (), {}))\n'})  # fmt: skip
    code = """
    import pathlib, sys
    sys.path[:0] = [pathlib.Path("/nowhere"), pathlib.Path.cwd()]
    import holotype
    own = holotype.Registry(zoos=["src.model"])
    result = [holotype.list_models(zoo="src.model"), type(holotype.create_model("good")).__name__,
              own.list_models(), list(map(str, holotype.list_problems()))]
    """
    assert project.run(code) == [["good", "n1", "n2"], "Good", ["good", "n1", "n2"], []]


# -- being told ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", ["import functools", "from functools import partial", "import functools as f"]
)
def test_a_registering_function_with_a_task_fixed(look, line):
    partial = {"import functools": "functools.partial", "import functools as f": "f.partial"}.get(
        line, "partial"
    )
    text = f'{line}\nreg = {partial}(register_model, task="x")\n@reg("partial")\nclass Net: pass\n'
    registry = look({"src/model/net.py": HEAD + text})
    assert "partial" in registry.list_models() or "net.py" in told(registry)


@pytest.mark.parametrize("keyword", ["file=1", 'zoo="x"', 'params="3M"', "aliases=[]", 'problem="x"'])
@pytest.mark.parametrize("kind", ["model", "config"])
def test_metadata_under_a_name_that_means_something_else(look, keyword, kind):
    if kind == "model":
        text = f'@register_model("bad", {keyword})\n' + BAD
    else:
        text = f'{BAD}register_model_config("bad", Bad, config={{}}, {keyword})\n'
    registry = look({"src/model/net.py": HEAD + text})
    assert registry.list_models() == ["good"]
    assert "net.py" in told(registry) and keyword.partition("=")[0] in told(registry)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (
            'from holotype import register_modle\n@register_modle("gg")\nclass A: pass\n',
            "did you mean 'register_model'?",
        ),
        ('import holotype\n@holotype.register("gg")\nclass A: pass\n', "did you mean 'regist"),
        ('@register_model("gg")\nclass A: pass\n', "'register_model' is not defined"),
    ],
    ids=["misspelt import", "misspelt attribute", "no import"],
)
def test_a_registration_that_cannot_work_is_told_with_a_hint(look, text, hint):
    registry = look({"src/model/net.py": text})
    assert registry.list_models() == ["good"]
    assert "net.py" in told(registry)
    assert hint in told(registry)


def test_a_setting_that_there_is_not(here):
    here.write(PLAIN, pyproject='[tool.holotype]\nzoo = ["src.model"]\n')
    text = told(Registry(discover=True))
    assert "pyproject.toml" in text
    assert "'zoo'" in text and "'zoos'" in text
