"""Zoos are found by pyproject.toml, HOLOTYPE_ZOOS, entry points and code; a wrong word there breaks nothing."""

import sys

import pytest

ONE = 'from holotype import register_model\n@register_model("one")\nclass One: pass\n'
LOOK = """
import sys, holotype
zoos = {z.name: z.to_dict() for z in holotype.list_zoos()}
result = {
    "zoos": {name: [z["module"], z["found_by"], z["models"]] for name, z in zoos.items() if z["found_by"] != "first-party"},
    "names": holotype.list_models("*one"),
    "problems": [str(p) for p in holotype.list_problems()],
    "imported": [m for m in sys.modules if m.partition(".")[0] in ("src", "nets", "lab", "torch")],
    "built": [type(holotype.create_model(n)).__name__ for n in holotype.list_models("*one")],
}
"""


def check(found, zoos, names=("one",), problems=0):
    assert found["zoos"] == zoos
    assert found["names"] == list(names)
    assert len(found["problems"]) == problems, found["problems"]
    assert found["imported"] == []
    assert found["built"] == ["One"] * len(names)


def test_a_list_in_pyproject(project):
    project.write({"src/model/one.py": ONE, "src/model/__init__.py": "", "src/__init__.py": ""})
    check(project.run(LOOK), {"src.model": ["src.model", "pyproject", 1]})


def test_from_a_folder_below(project):
    project.write({"src/model/one.py": ONE, "src/model/__init__.py": "", "deep/er/x": ""})
    check(project.run(LOOK, cwd=project.root / "deep/er"), {"src.model": ["src.model", "pyproject", 1]})


def test_a_table_in_pyproject_names_the_zoo(project):
    project.write(
        {"src/model/one.py": ONE, "src/model/__init__.py": ""},
        pyproject='[tool.holotype.zoos]\nmine = "src.model"\n',
    )
    check(project.run(LOOK), {"mine": ["src.model", "pyproject", 1]})
    assert project.run(
        "import holotype\nresult = [holotype.exists('mine/one'), holotype.zoo('src.model').list_models(),"
        " holotype.zoo('mine').list_models(), holotype.zoo('src.model.deeper').list_models()]"
    ) == [True, ["one"], ["one"], ["one"]]


def test_the_src_layout(project):
    project.write(
        {"src/lab/one.py": ONE, "src/lab/__init__.py": ""}, pyproject='[tool.holotype]\nzoos = ["lab"]\n'
    )
    check(project.run(LOOK), {"lab": ["lab", "pyproject", 1]})


def test_a_zoo_of_one_module(project):
    project.write({"nets.py": ONE}, pyproject='[tool.holotype]\nzoos = ["nets"]\n')
    check(project.run(LOOK), {"nets": ["nets", "pyproject", 1]})


def test_packages_without_init(project):
    project.write({"src/model/one.py": ONE, "src/model/deep/two.py": ONE.replace("one", "two")})
    check(project.run(LOOK), {"src.model": ["src.model", "pyproject", 2]})


def test_the_environment(project):
    project.write({"src/model/one.py": ONE, "nets.py": ONE.replace("one", "two")}, pyproject=None)
    found = project.run(LOOK, HOLOTYPE_ZOOS="mine=src.model,nets")
    check(found, {"mine": ["src.model", "environment", 1], "nets": ["nets", "environment", 1]})


def test_the_environment_and_pyproject_name_the_same(project):
    project.write({"src/model/one.py": ONE})
    check(project.run(LOOK, HOLOTYPE_ZOOS=" src.model , "), {"src.model": ["src.model", "pyproject", 1]})


def test_entry_points(project, tmp_path):
    site = tmp_path / "extra" / "site-packages"
    info = site / "lab-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text(
        "[console_scripts]\nx = y:z\n\n[holotype.zoos]\n# a comment\nLab = lab.models\n\n[other]\nq = r\n"
    )
    (info / "METADATA").write_text("Name: lab\nVersion: 1.0\n")
    (site / "lab" / "models").mkdir(parents=True)
    (site / "lab" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (site / "lab" / "models" / "__init__.py").write_text("")
    (site / "lab" / "models" / "one.py").write_text(ONE)
    project.write({}, pyproject=None)
    look = LOOK.replace(
        '[type(holotype.create_model(n)).__name__ for n in holotype.list_models("*one")]', '["One"]'
    )
    check(project.run(look, PYTHONPATH=str(site)), {"lab": ["lab.models", "entry point", 1]})


@pytest.mark.parametrize(
    "name",
    ["gone", "src.gone", "not a module", "", "..", "src.model.", "os.path.join.x.y", "src/model", "1two"],
)
def test_a_zoo_that_is_not_there(project, name):
    project.write({"src/model/one.py": ONE}, pyproject=f"[tool.holotype]\nzoos = ['src.model', '{name}']\n")
    found = project.run(LOOK)
    check(found, {"src.model": ["src.model", "pyproject", 1]}, problems=1)
    assert "pyproject.toml" in found["problems"][0]
    assert name in found["problems"][0]


@pytest.mark.parametrize(
    "text",
    [
        '[tool.holotype]\nzoos = "src.model"\n',
        "[tool.holotype]\nzoos = 3\n",
        "[tool.holotype]\nzoos = true\n",
        "[tool.holotype]\nzoos = [1]\n",
        "[tool.holotype]\nzoos = [['src.model']]\n",
        "[tool.holotype.zoos]\nmine = 3\n",
        "[tool]\nholotype = 3\n",
        "[tool.holotype\n",
        "[tool.holotype]\nzoos = ['src.model']\nzoos = []\n",
        b"[tool.holotype]\n# \xff\xfe\nzoos = ['src.model']\n",
    ],
)
def test_a_pyproject_that_cannot_be_understood_is_a_problem_and_no_crash(project, text):
    project.write({"src/model/one.py": ONE}, pyproject=None)
    (project.root / "pyproject.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    found = project.run(LOOK)
    check(found, {}, names=(), problems=1)
    assert "pyproject.toml" in found["problems"][0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tool = 3 # holotype\n",
        "[tool]\n# holotype\n",
        "[[tool]]\nx = 1 # holotype\n",
        "[tool.holotype]\n",
    ],
)
def test_a_pyproject_that_names_nothing(project, text):
    project.write({"src/model/one.py": ONE}, pyproject=text)
    check(project.run(LOOK), {}, names=())


def test_two_zoos_of_one_name(project):
    project.write(
        {"src/model/one.py": ONE, "nets/one.py": ONE},
        pyproject='[tool.holotype.zoos]\nproteins = "src.model"\nnets = "nets"\n',
    )
    found = project.run(LOOK)
    check(found, {"nets": ["nets", "pyproject", 1]}, problems=1)
    assert "second zoo named 'proteins'" in found["problems"][0]


def test_added_by_code(project):
    project.write({"src/model/one.py": ONE}, pyproject=None)
    code = """
    import holotype
    mine, empty = holotype.Registry(["src.model"]), holotype.Registry()
    view = holotype.registry.add_zoo("src.model", name="added")
    result = [mine.list_models(), empty.list_models(), view.list_models(), holotype.exists("added/one"),
              [z.found_by for z in mine.list_zoos()], type(mine.create_model("one")).__name__]
    try:
        holotype.registry.add_zoo("gone")
    except LookupError as error:
        result.append(type(error).__name__)
    """
    assert project.run(code) == [["one"], [], ["one"], True, ["code"], "One", "UnknownZooError"]


def test_the_working_directory_may_be_gone(project):
    project.write({"src/model/one.py": ONE})
    code = """
    import os, tempfile, holotype
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)
    result = "v1" in holotype.list_models()
    """
    assert project.run(code) is True


def test_a_zoo_named_by_the_environment_is_found_below_the_working_directory(project):
    project.write({"src/model/one.py": ONE}, pyproject=None)
    assert project.run(
        "import sys\nsys.path = [p for p in sys.path if p]\nimport holotype\nresult = holotype.list_models('one')",
        HOLOTYPE_ZOOS="src.model",
    ) == ["one"]


def test_listing_imports_nothing_heavy(project):
    project.write({"src/model/one.py": ONE})
    code = """
    import sys, holotype
    holotype.list_models(), holotype.list_models(task="protein_interaction", zoo="proteins"), holotype.list_tasks()
    listed = {m.partition(".")[0] for m in sys.modules}
    holotype.get_model_info("v1"), holotype.check_config({"model": {"name": "v1", "params": {"hidden": 1}}})
    holotype.list_pretrained_models(), holotype.list_zoos(), holotype.list_problems()
    result = [sorted(listed & {"torch", "numpy", "yaml", "src"}),
              sorted({m.partition(".")[0] for m in sys.modules} & {"torch", "numpy", "src"})]
    """
    assert project.run(code) == [[], []]
    assert sys.version_info >= (3, 11)


@pytest.mark.parametrize(
    ("init", "names"),
    [
        ("", ["a2", "a10", "b1", "b0"]),  # by file, b0 below b1 in its file
        ('MODEL_ORDER = ["b0", "a10"]', ["b0", "a10", "a2", "b1"]),
        ('MODEL_ORDER = ("b0", "gone", "a10")', ["b0", "a10", "a2", "b1"]),
        ("MODEL_ORDER = sorted([])", ["a2", "a10", "b1", "b0"]),
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import m_b, m_a10",
            ["a2", "a10", "b1", "b0"],
        ),
    ],
)
def test_the_order_of_registration_is_stated_or_that_of_files_and_lines(project, init, names):
    head = "from holotype import register_model\n"
    one = '@register_model("{0}")\nclass M_{0}: pass\n'
    project.write(
        {
            "src/model/__init__.py": init + "\n",
            "src/model/m_a10.py": head + one.format("a10"),
            "src/model/m_a2.py": head + one.format("a2"),
            "src/model/m_b.py": head + one.format("b1") + one.format("b0"),
        }
    )
    code = "import holotype\nresult = holotype.zoo('src.model').get_available_models()"
    assert project.run(code) == names
