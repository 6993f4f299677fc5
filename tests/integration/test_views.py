"""A project that uses another zoo's functions as its own: its models are seen through that zoo, and go first."""

import pytest

from holotype import proteins

REGISTRY = """
from holotype.proteins import (
    create_model, get_available_models, get_model_class, model_registry, register_model
)
"""
MODEL = """
from holotype.proteins import BaseProteinModel
from .registry import register_model

@register_model({name!r}, description="of the project")
class Mine(BaseProteinModel):
    def __init__(self, width: int = 1) -> None:
        super().__init__()
"""
TREE = {
    "src/model/registry.py": REGISTRY,
    "src/model/v1.py": MODEL.format(name="v1"),
    "src/model/__init__.py": "from .registry import *\nfrom . import v1\n",
}
LOOK = """
from src.model import create_model, get_available_models, get_model_class, model_registry
import holotype
result = {
    "names": get_available_models(),
    "built": type(create_model("v1", width=3)).__module__,
    "class": get_model_class("v1").__name__,
    "told": model_registry.get_model_info("v1").description,
    "theirs": type(create_model("v2")).__name__,
    "exact": type(holotype.create_model("proteins/v1")).__name__,
    "own": type(holotype.create_model("src.model/v1")).__name__,
}
"""
NAMES = proteins.get_available_models()
EXPECTED = {
    "names": NAMES,
    "built": "src.model.v1",
    "class": "Mine",
    "told": "of the project",
    "theirs": "AttentionProteinClassifier",
    "exact": "SimplifiedProteinClassifier",
    "own": "Mine",
}


@pytest.mark.parametrize("named", [True, False], ids=["named in pyproject.toml", "named nowhere"])
def test_the_projects_class_is_built(project, named):
    if named:
        project.write(TREE)
    else:
        project.write(TREE, pyproject=None)
    assert project.run(LOOK) == EXPECTED


def test_a_new_file_is_seen_through_the_view(project):
    project.write({**TREE, "src/model/v3.py": MODEL.format(name="v3")})
    assert project.run(
        """
        from src.model import create_model, get_available_models, model_registry
        names = get_available_models()
        result = [names, type(create_model("v3")).__module__, model_registry.exists("src.model/v3")]
        """
    ) == [[*EXPECTED["names"], "v3"], "src.model.v3", True]


def test_among_all_zoos_the_name_stays_ambiguous(project):
    project.write(TREE)
    assert project.run(
        """
        import holotype
        try:
            holotype.create_model("v1")
        except holotype.HolotypeError as error:
            result = [type(error).__name__, list(error.nearest), holotype.list_models("v1")]
        """
    ) == ["AmbiguousNameError", ["proteins/v1", "src.model/v1"], ["proteins/v1", "src.model/v1"]]


def test_what_a_session_types_in_belongs_to_the_zoo_itself(project):
    project.write({}, pyproject=None)
    assert project.run(
        """
        import holotype
        from holotype.proteins import create_model, register_model
        @register_model("mine")
        def mine(): return "built"
        try:
            register_model("v1")(mine)
        except holotype.HolotypeError as error:
            result = [holotype.get_model_info("mine").zoo, create_model("mine"), type(error).__name__]
        """
    ) == ["proteins", "built", "DuplicateNameError"]
