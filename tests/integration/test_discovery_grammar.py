"""A `grammar.toml` in a zoo: names nobody listed, seen by every way to look at a registry; and broken ones."""

import sys

import pytest

import holotype
from holotype import Registry
from holotype.errors import UnknownModelError, UnknownPretrainedError

NET = """
class Net:
    task = "scoring"
    def __init__(self, width: int = 1, depth: int = 1, norm: bool = False): self.width, self.depth = width, depth
"""
GOOD = """
from holotype import register_model

@register_model("good")
class Good:
    def __init__(self, width: int = 1): self.width = width
"""
GRAMMAR = """
[tower]
class = "nets.Net"
description = "A tower"
license = "MIT"
form = "tower_{size}{depth}[_{part}]..."
listed = ["tower_{s,b}2"]

[tower.size]
s = { width = 4 }
b = { width = 8 }

[tower.depth]
"{depth}" = {}

[tower.part]
norm = { norm = true }
"""
FILES = {"src/model/__init__.py": "", "src/model/nets.py": NET, "src/model/good.py": GOOD}


@pytest.fixture
def look(here):
    """Write a project, and look at it in this very process; what that imports goes with the test."""
    before = set(sys.modules), list(sys.path)

    def look(grammar=GRAMMAR, **more):
        here.write({**FILES, "src/model/grammar.toml": grammar, **more})
        return Registry(zoos=["src.model"])

    yield look
    for name in [name for name in sys.modules if name.partition(".")[0] == "src" and name not in before[0]]:
        del sys.modules[name]
    sys.path[:] = before[1]


def told(registry):
    return "\n".join(str(problem) for problem in registry.list_problems())


def test_listed_names_are_models_like_any_other(look):
    registry = look()
    assert registry.list_models() == ["good", "tower_b2", "tower_s2"]
    assert registry.list_models(task="scoring", where="license=MIT") == ["tower_b2", "tower_s2"]
    info = registry.get_model_info("tower_b2")
    assert (info.kind, info.task, info.description, info.class_name) == (
        "config",
        "scoring",
        "A tower",
        "Net",
    )
    assert dict(info.config) == {"width": 8, "depth": 2}
    assert "grammar" not in info.metadata and "form" not in info.metadata
    assert next(zoo for zoo in registry.list_zoos() if zoo.name == "src.model").models == 3
    assert told(registry) == ""


@pytest.mark.parametrize("name", ["tower_b7", "TOWER_B7", "src.model/tower_b7", "SRC.Model/Tower_b7"])
def test_unlisted_names_are_found_by_every_way(look, name):
    registry = look()
    assert registry.exists(name) and registry.zoo("src.model").exists(name)
    for view in (registry, registry.zoo("src.model")):
        info = view.get_model_info(name)
        assert (info.name, info.zoo, dict(info.config)) == ("tower_b7", "src.model", {"width": 8, "depth": 7})
        assert view.create_model(name, width=5).depth == 7
        assert view.get_model_class(name).__name__ == "Net"
    assert registry.list_models("tower_b7") == []  # it is nobody's choice until somebody makes it
    assert not registry.exists("tower_b7_nor") and not registry.exists("other/tower_b7")
    assert registry.check_config({"model": {"name": name, "params": {"width": 3}}}) == []
    assert registry.check_config({"model": {"name": name, "params": {"widht": 3}}})


def test_a_name_that_is_almost_one_is_explained(look):
    registry = look()
    for view in (registry, registry.zoo("src.model")):
        with pytest.raises(UnknownModelError) as error:
            view.create_model("tower_b2_nrm")
        text = str(error.value)
        assert "'nrm' is no part of a name of this form (did you mean 'norm'?):" in text
        assert "part: norm" in text and "tower_b2" in error.value.nearest
        assert max(map(len, text.splitlines())) < 100
    with pytest.raises(UnknownModelError, match="'norm' is there twice"):
        registry.get_model_info("tower_b2_norm_norm")
    with pytest.raises(UnknownModelError) as error:
        registry.get_model_info("nothing_like_it")
    assert "form" not in str(error.value)


def test_what_is_registered_comes_before_what_can_be_read(look):
    registry = look()
    view = registry.zoo("src.model")
    view.register_model_config("tower_b9", view.get_model_class("tower_s2"), config={"width": 99})
    assert view.create_model("tower_b9").width == 99
    assert registry.create_model("tower_b9").width == 99
    assert registry.list_models("tower_b9") == ["tower_b9"]


def test_entries_of_unlisted_names(look):
    registry = look()
    file = {"sha256": "ab" * 32}
    registry.register_weights(
        "tower_b7_x", {"network": "tower_b7", "tag": "x", "url": "https://x.org/y", "formats": {"pt": file}}
    )
    assert registry.get_model_info("tower_b7").pretrained == ["tower_b7_x"]
    assert registry.list_pretrained_models(network="tower_b7") == ["tower_b7_x"]
    assert registry.get_pretrained_metadata("tower_b7_x").task == "scoring"
    with pytest.raises(UnknownPretrainedError, match="is an architecture"):
        registry.get_pretrained_metadata("tower_b8")


def test_an_alias_of_an_unlisted_name(look):
    registry = look()
    registry.register_alias("mine", "tower_b7")
    assert registry.create_model("mine").depth == 7


def test_parameters_counted_beforehand(look, here):
    registry = look()
    assert registry.get_model_info("tower_b2").params is None
    registry = look(**{"src/model/counts.toml": "tower_b2 = 1_234\ntower_s2 = 12\n"})
    assert registry.get_model_info("tower_b2").params == 1234
    with pytest.warns(UserWarning, match="params is not known of 1 of 3"):
        assert registry.list_models(where="params<100") == ["tower_s2"]
    assert not told(registry) and registry.get_model_info("tower_b7").params is None
    registry = look(**{"src/model/counts.toml": "tower_b2 = 'many'\n"})
    assert "params is a whole number" in told(registry) and registry.exists("good")
    registry = look(**{"src/model/counts.toml": "tower_b2 ="})
    assert "counts.toml" in told(registry) and registry.exists("tower_b2")


def test_descriptions_out_of_parts(look):
    registry = look(GRAMMAR + '[tower.words]\nb = "big"\n"{depth}" = "{depth} floors"\n')
    assert registry.get_model_info("tower_b2").description == "A tower, big, 2 floors"
    assert registry.get_model_info("tower_s9_norm").description == "A tower, s, 9 floors, norm"


FORM = 'form = "tower_{size}"\n'


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        ("[tower", "toml"),
        ("tower = 3\n", "table"),
        ("[tower]\n", "form"),
        (f'[tower]\nclass = "nets.Net"\n{FORM}', "tower.size"),
        (f'[tower]\nclass = "nets.Nought"\n{FORM}size = {{ s = {{}} }}\n', "no class"),
        (f"[tower]\n{FORM}size = {{ s = {{}} }}\n", "no class"),
        (f'[tower]\nclass = "nets.Net"\nlisted = ["tower_x"]\n{FORM}size = {{ s = {{}} }}\n', "does not fit"),
        (f'[tower]\nclass = "nets.Net"\nlisted = 3\n{FORM}size = {{ s = {{}} }}\n', "list of names"),
        (
            f'[tower]\nclass = "nets.Net"\nlisted = ["tower_s"]\n{FORM}size = {{ s = {{ nought = 1 }} }}\n',
            "nought",
        ),
        (f'[tower]\nclass = "nets.Net"\n{FORM}size = {{ s = 1979-05-27 }}\n', "table"),
        ('[tower]\nlike = "nothing"\n', "like"),
        ('[tower]\nclass = "nets.Net"\nform = "(a+)+{size}"\nsize = { s = {} }\n', "form"),
        ('[TOWER]\nclass = "nets.Net"\nform = "tower_{size}"\nsize = { s = {} }\n', "family"),
        (
            '[tower]\nclass = "nets.Net"\nform = "tower_{size}"\nsize = { s = {} }\n'
            f'listed = ["tower_{"{s,t,u,v}" * 40}"]\n',
            "more than",
        ),
    ],
)
def test_a_broken_grammar_is_a_problem_of_that_file_alone(look, grammar, words):
    registry = look(grammar)
    assert registry.list_models() == ["good"]
    assert registry.exists("good")
    assert not registry.exists("tower_s")
    assert words.lower() in told(registry).lower()
    assert "grammar.toml" in told(registry)


def test_the_vision_zoo_reads_names_that_nobody_listed():
    assert holotype.exists("vit_reg8_b14_pn_ls") and holotype.exists("vision/VIT_reg8_b14_pn_ls")
    config = holotype.get_model_info("vit_reg8_b14_pn_ls").config
    assert (config["num_reg_tokens"], config["pre_norm"], config["layer_scale_init_value"]) == (8, True, 1e-5)
    with pytest.raises(UnknownModelError, match="a name has only one pool"):
        holotype.create_model("vit_b16_ap_avg")
