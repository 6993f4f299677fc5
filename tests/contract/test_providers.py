"""Packages offer entries of their own by an entry point; whatever goes wrong there is one line in the problems."""

import pytest

CATALOG = """
from holotype.catalog.providers import model_entry, weights_entry

class Lab:
    made = 0

    def stamp(self):
        return 1

    def entries(self):
        Lab.made += 1
        for width in (2, 10):
            yield model_entry(
                "lab", f"net{width}", build="lab_nets:build", task="object_detection", description="A net",
                params=width * 100,
            )
        yield weights_entry("lab", "net2_a", {
            "network": "net2", "tag": "a", "url": "https://example.org/w",
            "formats": {"pt": {"sha256": "0" * 64}},
        })
"""
NETS = """
class Net:
    def __init__(self, width, **given):
        self.width, self.given = width, given

def build(name, *, num_classes: int = 3):
    return Net(int(name.removeprefix("net")), num_classes=num_classes)
"""


@pytest.fixture
def lab(project, tmp_path):
    """A project beside which a package with a provider is installed."""
    site = tmp_path / "site-packages"
    info = site / "lab-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text("[holotype.providers]\nlab = lab_catalog:Lab\n")
    (site / "lab_catalog.py").write_text(CATALOG)
    (site / "lab_nets.py").write_text(NETS)
    project.write({"src/model/__init__.py": ""})
    project.site = site
    return project


def run(lab, code):
    return lab.run(code, PYTHONPATH=str(lab.site))


def test_its_entries_are_listed_described_and_built_like_any_other(lab):
    code = """
    import sys, holotype
    names = holotype.list_models(zoo="lab")
    info = holotype.get_model_info("lab/net10")
    known = [info.kind, info.task, info.description, info.params, info.parameters, info.open_parameters]
    zoo = next(zoo for zoo in holotype.list_zoos() if zoo.name == "lab")
    imported = "lab_nets" in sys.modules
    net = holotype.create_model("net10", num_classes=7)
    result = [
        names, known, holotype.get_model_info("net2").pretrained, holotype.list_pretrained_models(zoo="lab"),
        holotype.get_pretrained_metadata("net2_a").task, [zoo.found_by, zoo.models, zoo.pretrained, zoo.problems],
        imported, [net.width, net.given, net._holotype], holotype.list_models(where="params<500", zoo="lab"),
        "vit_b16" in holotype.list_models(),
    ]
    """
    assert run(lab, code) == [
        ["net2", "net10"],
        ["builder", "object_detection", "A net", 1000, None, True],
        ["net2_a"],
        ["net2_a"],
        "object_detection",
        ["provider", 2, 1, 0],
        False,
        [10, {"num_classes": 7}, {"architecture": "lab/net10", "config": {"num_classes": 7}}],
        ["net2"],
        True,
    ]


def test_its_entries_are_asked_for_again_only_when_its_stamp_changes(lab):
    code = """
    import holotype, lab_catalog
    for _ in range(3):
        holotype.list_models()
    @holotype.register_model("mine")
    class Mine: pass
    assert holotype.exists("mine") and holotype.exists("lab/net2")
    before = lab_catalog.Lab.made
    lab_catalog.Lab.stamp = lambda self: 2
    holotype.list_models()
    result = [before, lab_catalog.Lab.made]
    """
    assert run(lab, code) == [1, 2]


def test_parameters_are_checked_before_its_function_is_called(lab):
    code = """
    import holotype
    try:
        holotype.create_model("net2", classes=3)
    except holotype.HolotypeError as error:
        result = [type(error).__name__, list(error.problems)]
    """
    name, (problem,) = run(lab, code)
    assert name == "ParameterError" and problem.startswith("classes: no such parameter")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("class Lab", "import not_there\nclass Lab", "not_there"),
        ("class Lab", "class Other", "Lab"),
        ("return 1", "raise RuntimeError('no stamp')", "no stamp"),
        ("Lab.made += 1", "raise SystemExit(3)", "SystemExit"),
        ("def entries", "def other", "entries"),
        ('f"net{width}"', '"not a name"', "not a name"),
        ("params=width * 100", "params='many'", "params"),
    ],
)
def test_one_that_fails_is_a_problem_and_nothing_else(lab, old, new, message):
    (lab.site / "lab_catalog.py").write_text(CATALOG.replace(old, new))
    code = """
    import holotype
    result = [holotype.list_models(zoo="proteins")[:1], [str(p) for p in holotype.list_problems()]]
    """
    names, (problem,) = run(lab, code)
    assert names == ["composition"]
    assert "lab_catalog:Lab" in problem and message in problem


def test_a_function_that_cannot_be_imported_is_a_broken_model(lab):
    (lab.site / "lab_nets.py").write_text("import not_there\n")
    code = """
    import holotype
    try:
        holotype.create_model("net2")
    except holotype.HolotypeError as error:
        result = [type(error).__name__, str(error)]
    """
    name, text = run(lab, code)
    assert name == "BrokenModelError" and "lab_nets:build" in text and "not_there" in text
