"""A new file, an edit, a rename, a deletion show at the next look, in the same process and in a new one."""

import textwrap

import pytest

V1 = 'from holotype import register_model\n@register_model("{name}")\nclass {cls}:\n    def __init__(self, {params}): pass\n'


def v1(name="n1", cls="One", params="a=1"):
    return V1.format(name=name, cls=cls, params=params)


NAMES = "import holotype\nresult = holotype.list_models(zoo='src.model')"
# Runs each of several steps in one process, listing after each.
SAME = """
import os, pathlib, holotype
root = pathlib.Path("src/model")

def look():
    return [holotype.list_models(zoo="src.model"), len(holotype.list_problems())]

result = [look()]
"""


def steps(*lines):
    return SAME + "".join(f"{textwrap.dedent(line)}\nresult.append(look())\n" for line in lines)


CHANGES = {
    "a new file": (f"(root / 'v3.py').write_text({v1('v3', 'Three')!r})", ["n1", "v3"], 0),
    "a new folder": (
        f"(root / 'sub').mkdir(); (root / 'sub' / 'v3.py').write_text({v1('v3', 'Three')!r})",
        ["n1", "v3"],
        0,
    ),
    "an edit": (f"(root / 'v1.py').write_text({v1('v1b')!r})", ["v1b"], 0),
    "an edit of the same size": (f"(root / 'v1.py').write_text({v1('w1')!r})", ["w1"], 0),
    "an edit of the same size and time": (
        f"s = os.stat(root / 'v1.py'); (root / 'v1.py').write_text({v1('w1')!r});"
        "os.utime(root / 'v1.py', ns=(s.st_atime_ns, s.st_mtime_ns))",
        ["w1"],
        0,
    ),
    "a replacement": (
        f"(root / 'new').write_text({v1('w1')!r}); os.replace(root / 'new', root / 'v1.py')",
        ["w1"],
        0,
    ),
    "a rename": ("os.rename(root / 'v1.py', root / 'v9.py')", ["n1"], 0),
    "a deletion": ("os.unlink(root / 'v1.py')", [], 0),
    "a deletion of everything": ("__import__('shutil').rmtree(root)", None, 1),
    "breaking it": ("(root / 'v1.py').write_text('@')", [], 1),
    "only the time": ("os.utime(root / 'v1.py')", ["n1"], 0),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("imported", [False, True])
def test_a_change_shows_at_the_next_look(project, change, imported):
    line, names, problems = CHANGES[change]
    project.write({"src/model/__init__.py": "", "src/model/v1.py": v1()})
    code = steps("holotype.create_model('src.model/n1')" if imported else "pass")
    if names is None:
        code += f"{line}\nresult.append([[], len(holotype.list_problems())])\n"
        names = []
    else:
        code += f"{line}\nresult.append(look())\n"
    first, _, after = project.run(code)
    assert first == [["n1"], 0]
    assert after == [names, problems]
    if problems == 0:
        assert project.run(NAMES) == names


def test_fifty_edits_of_one_size_in_one_second(project):
    project.write({"src/model/__init__.py": "", "src/model/v1.py": v1()})
    code = f"""
    import pathlib, holotype
    path = pathlib.Path("src/model/v1.py")
    text = {v1("v%02d")!r}
    result = []
    for at in range(50):
        path.write_text(text.replace("%02d", "%02d" % at))
        result.append(holotype.list_models(zoo="src.model"))
    """
    assert project.run(code) == [[f"v{at:02d}"] for at in range(50)]


def test_a_broken_file_that_is_mended_works_at_once(project):
    project.write({"src/model/__init__.py": "", "src/model/v1.py": v1() + "def (\n"})
    code = f"""
    import pathlib, holotype
    before = [holotype.list_models(zoo="src.model"), holotype.exists("src.model/n1")]
    pathlib.Path("src/model/v1.py").write_text({v1()!r})
    result = [before, type(holotype.create_model("src.model/n1")).__name__]
    """
    assert project.run(code) == [[[], False], "One"]


def test_a_mended_file_may_be_imported_directly(project):
    project.write({"src/model/__init__.py": "", "src/model/v1.py": v1() + "def (\n"})
    code = f"""
    import pathlib, sys, holotype
    holotype.list_models()
    pathlib.Path("src/model/v1.py").write_text({v1(cls="Two")!r})
    sys.path.insert(0, ".")
    import src.model.v1
    result = [type(holotype.create_model("src.model/n1")).__name__, holotype.get_model_info("src.model/n1").class_name]
    """
    assert project.run(code) == ["Two", "Two"]


def test_a_renamed_class_is_no_duplicate_of_itself(project):
    project.write({"src/model/__init__.py": "", "src/model/v1.py": v1()})
    code = f"""
    import pathlib, sys, holotype
    holotype.list_models()
    pathlib.Path("src/model/v1.py").write_text({v1(cls="Renamed")!r})
    sys.path.insert(0, ".")
    import src.model.v1
    result = holotype.get_model_info("src.model/n1").class_name
    """
    assert project.run(code) == "Renamed"


def test_new_parameters_count_at_once(project):
    project.write({"src/model/__init__.py": "", "src/model/v1.py": v1()})
    code = f"""
    import pathlib, holotype
    holotype.list_models()
    pathlib.Path("src/model/v1.py").write_text({v1(params="b=1")!r})
    result = type(holotype.create_model("src.model/n1", b=2)).__name__
    """
    assert project.run(code) == "One"


def test_a_change_of_a_base_class_shows_in_what_derives_from_it(project):
    project.write(
        {
            "src/model/__init__.py": "",
            "src/model/base.py": "class Base:\n    def __init__(self, a=1): pass\n",
            "src/shared.py": 'class Root:\n    task = "first"\n',
            "src/model/v1.py": """
                from holotype import register_model
                from .base import Base
                from ..shared import Root
                @register_model("n1")
                class One(Base, Root): pass
                """,
        }
    )
    look = """
    import holotype
    i = holotype.get_model_info("src.model/n1")
    result = [[p.name for p in i.parameters], i.task]
    """
    assert project.run(look) == [["a"], "first"]
    project.write({"src/model/base.py": "class Base:\n    def __init__(self, b=1): pass\n"})
    assert project.run(look) == [["b"], "first"]
    project.write({"src/shared.py": 'class Root:\n    task = "other"\n'})
    assert project.run(look) == [["b"], "other"]


def test_a_registry_module_that_appears_later_makes_models(project):
    project.write(
        {
            "src/model/__init__.py": "",
            "src/model/v1.py": 'from .registry import register_model\n@register_model("n1")\nclass One: pass\n',
        }
    )
    assert project.run(NAMES) == []
    project.write({"src/model/registry.py": "from holotype import register_model\n"})
    assert project.run(NAMES) == ["n1"]
    (project.root / "src/model/registry.py").write_text("register_model = lambda name: lambda cls: cls\n")
    assert project.run(NAMES) == []


def test_a_sibling_that_appears_later_mends_a_model(project):
    project.write({"src/model/__init__.py": "", "src/model/v1.py": "from .later import x\n" + v1()})
    assert project.run(NAMES) == []
    project.write({"src/model/later.py": "x = 1\n"})
    assert project.run(NAMES) == ["n1"]


def test_a_module_that_becomes_a_package(project):
    project.write({"src/model/__init__.py": "", "src/model/v1.py": v1()})
    assert project.run(NAMES) == ["n1"]
    project.write({"src/model/v1/__init__.py": v1("v1-package")})
    assert project.run(NAMES) == ["v1-package"]
    (project.root / "src/model/v1/__init__.py").unlink()
    assert project.run(NAMES) == ["n1"]


def test_moving_the_whole_project(project, tmp_path):
    project.write({"src/model/__init__.py": "", "src/model/v1.py": v1()})
    assert project.run(NAMES) == ["n1"]
    moved = tmp_path / "moved"
    project.root.rename(moved)
    found = project.run("import holotype\nresult = holotype.get_model_info('src.model/n1').file", cwd=moved)
    assert found == str(moved / "src/model/v1.py")


def test_other_projects_stay_apart(project, other_project):
    project.write({"src/model/__init__.py": "", "src/model/v1.py": v1("here")})
    other_project.write({"src/model/__init__.py": "", "src/model/v1.py": v1("there")})
    for _ in range(2):
        assert project.run(NAMES) == ["here"]
        assert other_project.run(NAMES) == ["there"]
    code = f"""
    import os, holotype
    result = [holotype.list_models(zoo="src.model")]
    os.chdir({str(other_project.root)!r})
    result.append(holotype.list_models(zoo="src.model"))
    """
    assert project.run(code) == [["here"], ["there"]]


def test_what_a_session_registers_survives_looks(project):
    project.write({"src/model/__init__.py": "", "src/model/v1.py": v1()})
    code = f"""
    import pathlib, holotype
    @holotype.register_model("live")
    class Live: pass
    result = [holotype.list_models("live")]
    pathlib.Path("src/model/v2.py").write_text({v1("v2", "Two")!r})
    result.append(holotype.list_models(["live", "src.model/v2", "v2"], zoo=None))
    """
    first, second = project.run(code)
    assert first == ["live"]
    assert "live" in second
    assert "src.model/v2" in second


def test_a_file_of_the_zoo_that_is_run_as_a_script(project):
    project.write(
        {
            "src/model/__init__.py": "",
            "src/model/alone.py": """
                import json
                from holotype import create_model, list_models, register_model

                @register_model("alone")
                class Alone: pass

                if __name__ == "__main__":
                    print(json.dumps([list_models("*alone*"), type(create_model("alone")).__name__]))
                """,
        }
    )
    import subprocess
    import sys

    for command in (["-m", "src.model.alone"], ["src/model/alone.py"]):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=project.root,
            env=project.environment(),
            capture_output=True,
            text=True,
        )
        assert done.stdout == '[["alone"], "Alone"]\n', done.stderr


def test_only_the_module_of_the_model_asked_for_is_imported(project):
    project.write(
        {
            "src/model/__init__.py": "",
            "src/model/a.py": v1("a", "A"),
            "src/model/b.py": v1("b", "B"),
            "src/model/c.py": "from .b import B\n" + v1("c", "C"),
        }
    )
    code = """
    import sys, holotype
    def seen():
        return sorted(m for m in sys.modules if m.startswith("src.model."))
    result = [seen()]
    for name in "abc":
        holotype.get_model_info("src.model/" + name), holotype.check_config({"model": name})
    result.append(seen())
    holotype.create_model("src.model/a")
    result.append(seen())
    holotype.get_model_class("src.model/c")
    result += [seen(), "torch" in sys.modules]
    """
    assert project.run(code) == [
        [],
        [],
        ["src.model.a"],
        ["src.model.a", "src.model.b", "src.model.c"],
        False,
    ]


def test_five_hundred_files(project):
    files = {f"src/model/m{n // 100}/f{n}.py": v1(f"net_{n}", f"Net{n}") for n in range(500)}
    project.write({"src/model/__init__.py": "", **files})
    code = """
    import time, holotype
    started = time.process_time()
    names = holotype.list_models(zoo="src.model")
    result = [len(names), names[:3], time.process_time() - started]
    """
    count, first, _ = project.run(code)
    assert (count, first) == (500, ["net_0", "net_1", "net_2"])
    again = project.run(code)
    assert again[0] == 500
    assert again[2] < 0.25
    project.write({"src/model/m0/f0.py": v1("other", "Other")})
    assert project.run(code)[1] == ["net_1", "net_2", "net_3"]


def test_a_package_that_imports_all_of_its_many_files(project):
    files = {f"src/model/f{n}.py": v1(f"net_{n}", f"Net{n}") for n in range(300)}
    imports = "".join(f"from . import f{n}\n" for n in range(300))
    project.write({"src/model/__init__.py": imports, **files})
    code = """
    import time, holotype
    holotype.list_models()
    started = time.process_time()
    holotype.create_model("net_7")
    result = [time.process_time() - started, len(holotype.list_models(zoo="src.model"))]
    """
    seconds, count = project.run(code)
    assert count == 300
    assert seconds < 3
