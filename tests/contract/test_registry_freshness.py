"""What a registry knows is what the files say now; and it looks no more often than it must."""

import time
from pathlib import Path

import pytest

import holotype.catalog.index
from holotype import Registry, Task
from holotype.catalog.index import SCHEMA
from holotype.errors import MetadataError

GOOD = """
from holotype import register_model

@register_model("good")
class Good:
    def __init__(self, a: int = 1): self.a = a
"""
PLAIN = {"src/model/__init__.py": "", "src/model/good.py": GOOD}


def test_an_edited_size_is_built_without_another_look(project):
    sizes = '[small]\nclass = "good.Good"\nconfig = {a = 3}\n'
    project.write({**PLAIN, "src/model/sizes.toml": sizes})
    time.sleep(0.1)  # the file's time counts by then
    code = """
    import pathlib, holotype
    before = [holotype.create_model("small").a for _ in range(2)]
    path = pathlib.Path("src/model/sizes.toml")
    path.write_text(path.read_text().replace("a = 3", "a = 7"))
    result = [*before, holotype.create_model("small").a]
    """
    assert project.run(code) == [3, 3, 7]


@pytest.mark.parametrize("ask", ["type(holotype.create_model('good')).__module__", "holotype.get_model_info('good').module"])  # fmt: skip
def test_a_renamed_file_is_found_without_another_look(project, ask):
    project.write(PLAIN)
    time.sleep(0.1)
    code = f"""
    import os, holotype
    before = holotype.exists("good")
    os.rename("src/model/good.py", "src/model/better.py")
    result = [before, {ask}]
    """
    assert project.run(code) == [True, "src.model.better"]


def test_a_file_that_is_gone_is_not_built(project):
    project.write(PLAIN)
    time.sleep(0.1)
    code = """
    import os, holotype
    before = holotype.exists("good")
    os.unlink("src/model/good.py")
    try:
        holotype.create_model("good")
    except holotype.HolotypeError as error:
        result = [before, type(error).__name__]
    """
    assert project.run(code) == [True, "UnknownModelError"]


def test_building_many_models_gathers_the_catalog_seldom(project):
    """Also while each of them is being imported, and so registers itself."""
    files = {
        f"src/model/m{n}.py": f'from holotype import register_model\n@register_model("m{n}")\nclass M{n}: pass\n'
        for n in range(30)
    }
    project.write({"src/model/__init__.py": "", **files})
    time.sleep(0.1)
    code = """
    import holotype
    from holotype.catalog import entries, registry
    holotype.list_models()
    made = []
    class Counted(entries.Catalog):
        def __init__(self, *args, **kwargs):
            made.append(1)
            super().__init__(*args, **kwargs)
    registry.Catalog = entries.Catalog = Counted
    names = [type(holotype.create_model(f"m{n}")).__name__ for n in range(30)]
    result = [names == [f"M{n}" for n in range(30)], len(made)]
    """
    right, made = project.run(code)
    assert right
    assert made <= 3


def test_caches_of_two_layouts_do_not_touch_each_other(here, monkeypatch):
    here.write(PLAIN)
    assert Registry(zoos=["src.model"]).list_models() == ["good"]
    folder = here.home / f"index-{SCHEMA}"
    content = {path: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(holotype.catalog.index, "SCHEMA", SCHEMA + 1)  # a version of Holotype that is newer
    assert Registry(zoos=["src.model"]).list_models() == ["good"]
    assert (here.home / f"index-{SCHEMA + 1}").is_dir()
    assert {path: path.read_bytes() for path in folder.iterdir()} == content


def test_a_registry_of_ones_own_builds_what_a_loop_registers(project):
    text = """
    from holotype import register_model
    for n in (1, 2):
        @register_model(f"net{n}")
        class Net:
            size = n
            def __init__(self, width: int = 1): self.width = width
    """
    project.write({**PLAIN, "src/model/loop.py": text}, pyproject=None)
    code = """
    import holotype
    mine = holotype.Registry(zoos=["src.model"])
    result = [mine.list_models(), [mine.create_model(f"net{n}", width=5).size for n in (1, 2)],
              mine.create_model("net2", width=5).width, mine.get_model_class("net1").size]
    """
    assert project.run(code) == [["good", "net1", "net2"], [1, 2], 5, 1]


def test_a_failed_trial_import_is_tried_again_on_refresh(here, monkeypatch):
    """What it needs may come from anywhere: no file of the zoo has changed."""
    text = """
    import os
    from holotype import register_model
    for n in (1, 2):
        register_model(f"{os.environ['PREFIX']}{n}")(type("Net", (), {}))
    """
    here.write({**PLAIN, "src/model/loop.py": text})
    monkeypatch.delenv("PREFIX", raising=False)
    registry = Registry(zoos=["src.model"])
    assert registry.list_models() == ["good"]
    assert "PREFIX" in str(registry.list_problems()[0])
    monkeypatch.setenv("PREFIX", "net")
    registry.refresh()
    assert registry.list_models() == ["good", "net1", "net2"]
    assert registry.list_problems() == []


# -- what a session registers --------------------------------------------------------------------


@pytest.mark.parametrize(
    "metadata", [{"file": "x"}, {"zoo": "x"}, {"params": "3M"}, {"aliases": []}], ids=str
)
def test_metadata_under_a_name_that_means_something_else(metadata):
    registry = Registry()
    (key,) = metadata
    with pytest.raises(MetadataError, match=key):
        registry.register_model("net", **metadata)(type("Net", (), {}))
    with pytest.raises(MetadataError, match=key):
        registry.register_model_config("net", Path, config={}, **metadata)
    assert registry.list_models() == []


@pytest.mark.parametrize("parameter", ["in_channels", "input_channels"])
def test_channels_go_to_the_parameter_that_the_class_has(parameter):
    registry = Registry()
    scope = {}
    exec(  # noqa: S102 - one class for each name of a parameter
        "class Net:\n"
        f"    def __init__(self, num_classes: int, {parameter}: int = 3):\n"
        f"        self.given = (num_classes, {parameter})\n",
        scope,
    )
    registry.register_model("net")(scope["Net"])
    assert registry.net_factory("net", 10, 1).given == (10, 1)
    assert registry.net_factory("net", 10).given == (10, 3)


@pytest.mark.parametrize("ask", ["list_models", "list_pretrained_models"])
def test_a_task_given_by_position_is_told_how_to_be_given(ask):
    registry = Registry()
    with pytest.raises((TypeError, ValueError), match="task="):
        getattr(registry, ask)(Task.IMAGE_CLASSIFICATION)
