"""However a file writes it, the index says what running the file would register, without running it."""

import pytest

REGISTRY = "from holotype import register_model\n"

LOOK = """
import sys
import holotype

names = holotype.list_models(zoo="src.model", order="registered")
infos = {name: holotype.get_model_info("src.model/" + name.rpartition("/")[2]).to_dict() for name in names}
imported = sorted(m for m in sys.modules if m.split(".")[0] in ("src", "torch"))
problems = [str(p) for p in holotype.list_problems()]
built = {}
for name in names:
    network = holotype.create_model("src.model/" + name.rpartition("/")[2])
    built[name] = getattr(type(network), "__name__", None)
result = {"names": names, "infos": infos, "imported": imported, "problems": problems, "built": built}
"""

# Each: the files of src/model, and {name: {field: value}} of what is to be found.
SHAPES = {
    "literal arguments": (
        {
            "v1.py": '''
                from .registry import register_model

                @register_model(
                    "v1", task="protein_interaction", description="One" " line", features=["a", "b"],
                    complexity="low", paper_reference="Smith et al. 2024", depth=-3, ratio=1e-3,
                    nested={"list": [1, 2.5, None, True], "pair": (224, 224), "set": {1, 2}},
                )
                class One:
                    """What it is."""

                    def __init__(self, input_dim: int = 960, *, dropout: float = 0.3, mode: "str" = "a"):
                        pass
                '''
        },
        {
            "v1": {
                "kind": "class",
                "task": "protein_interaction",
                "description": "One line",
                "features": ["a", "b"],
                "complexity": "low",
                "paper_reference": "Smith et al. 2024",
                "depth": -3,
                "ratio": 1e-3,
                "nested": {"list": [1, 2.5, None, True], "pair": [224, 224], "set": [1, 2]},
                "class_name": "One",
                "module": "src.model.v1",
                "line": 8,
                "docstring": "What it is.",
            }
        },
    ),
    "a builder function": (
        {
            "v1.py": '''
                from .registry import register_model

                class Net:
                    pass

                @register_model("v1", task="protein_interaction")
                def build(width: int = 4, **kwargs):
                    """Builds it."""
                    return Net()
                '''
        },
        {
            "v1": {
                "kind": "builder",
                "class_name": "build",
                "docstring": "Builds it.",
                "open_parameters": True,
            }
        },
    ),
    "decorator under another name": (
        {"v1.py": 'from holotype import register_model as reg\n@reg("v1")\nclass One: pass\n'},
        {"v1": {"line": 3}},
    ),
    "attribute of the package": (
        {
            "v1.py": 'import holotype as ht\n@ht.register_model("v1", task=ht.Task.OBJECT_DETECTION)\nclass One: pass\n'
        },
        {"v1": {"task": "object_detection"}},
    ),
    "attribute of the registry": (
        {"v1.py": 'from holotype import registry\n@registry.register_model("v1")\nclass One: pass\n'},
        {"v1": {}},
    ),
    "attribute of the registry under its other name": (
        {
            "v1.py": 'from holotype import model_registry as r\nreg = r.register_model\n@reg("v1")\nclass One: pass\n'
        },
        {"v1": {}},
    ),
    "import of the module by its full name": (
        {"v1.py": 'import holotype.catalog.registry\n@holotype.register_model("v1")\nclass One: pass\n'},
        {"v1": {}},
    ),
    "a zoo's own registry module": (
        {
            "registry.py": """
                import holotype

                model_registry = holotype.zoo(__package__)
                register_model = model_registry.register_model
                create_model = model_registry.create_model
                """,
            "v1.py": 'from .registry import register_model\n@register_model("v1")\nclass One: pass\n',
            "v2.py": 'from . import registry\n@registry.register_model("v2")\nclass Two: pass\n',
            "v3.py": 'from .registry import model_registry as m\n@m.register_model("v3")\nclass Three: pass\n',
            "v4.py": 'from src.model.registry import register_model\n@register_model("v4")\nclass Four: pass\n',
        },
        {"v1": {}, "v2": {}, "v3": {}, "v4": {}},
    ),
    "a first-party zoo's decorator": (
        {"v1.py": 'from holotype.proteins import register_model\n@register_model("v1")\nclass One: pass\n'},
        {"v1": {"zoo": "src.model"}},
    ),
    "re-exported several times": (
        {
            "a.py": "from .b import reg as register\n",
            "b.py": "from .registry import register_model as reg\n",
            "v1.py": 'from .a import register\n@register("v1")\nclass One: pass\n',
        },
        {"v1": {}},
    ),
    "relative imports of several levels": (
        {
            "deep/__init__.py": "",
            "deep/er/__init__.py": "",
            "deep/er/v1.py": """
                from ...registry import register_model
                from ... import base

                @register_model("v1")
                class One(base.Base): pass
                """,
            "base.py": 'class Base:\n    task = "self_supervised_learning"\n',
        },
        {"v1": {"module": "src.model.deep.er.v1", "task": "self_supervised_learning"}},
    ),
    "star imports in a chain": (
        {
            "base.py": 'from .registry import *\nclass Base:\n    task = "object_detection"\n',
            "common.py": "from .base import *\nfrom math import *\n",
            "v1.py": 'from .common import *\nfrom os.path import *\n@register_model("v1")\nclass One(Base): pass\n',
        },
        {"v1": {"task": "object_detection"}},
    ),
    "star import of holotype itself": (
        {"v1.py": 'from holotype import *\n@register_model("v1")\nclass One: pass\n'},
        {"v1": {}},
    ),
    "two decorators on one class": (
        {
            "v1.py": 'from .registry import *\n@register_model("big")\n@register_model("small")\nclass One: pass\n'
        },
        {"small": {"class_name": "One"}, "big": {"class_name": "One"}},
    ),
    "a foreign decorator besides": (
        {
            "v1.py": """
                import functools
                from .registry import register_model

                def noted(cls):
                    return cls

                @register_model("v1")
                @noted
                class One:
                    def __init__(self, size: int = 3): pass
                """
        },
        {"v1": {"class_name": "One"}},
    ),
    "a dataclass": (
        {
            "v1.py": """
                import dataclasses
                from .registry import register_model

                @register_model("v1")
                @dataclasses.dataclass
                class One:
                    size: int = 3
                """
        },
        {"v1": {"parameters": None}},
    ),
    "decorating by a call": (
        {
            "v1.py": """
                from .registry import register_model

                class One: pass

                register_model("v1")(One)
                """
        },
        {"v1": {"class_name": "One"}},
    ),
    "decorating a class of another file by a call": (
        {
            "parts.py": "class Part:\n    def __init__(self, size: int = 1): pass\n",
            "v1.py": 'from .registry import register_model\nfrom .parts import Part\nregister_model("v1")(Part)\n',
        },
        {"v1": {"class_name": "Part"}},
    ),
    "assigning what the decorator returns": (
        {"v1.py": 'from .registry import *\nclass One: pass\nTwo = register_model("v1")(One)\n'},
        {"v1": {"class_name": "One"}},
    ),
    "the word in strings and comments": (
        {
            "v1.py": """
                from .registry import register_model

                # @register_model("commented")
                TEXT = '@register_model("quoted")'
                '''
                @register_model("documented")
                class Nothing: pass
                '''

                @register_model("v1")
                class One:
                    "register_model('inside')"
                """,
            "v2.py": '"""from holotype import register_model; register_model("doc")"""\n',
        },
        {"v1": {}},
    ),
    "functions that nobody calls": (
        {
            "v1.py": """
                from .registry import register_model

                def register_more():
                    @register_model("hidden")
                    class Hidden: pass

                class Holder:
                    def method(self):
                        return register_model("deeper")

                later = lambda: register_model("lambda")

                @register_model("v1")
                class One: pass
                """
        },
        {"v1": {}},
    ),
    "only for the type checker": (
        {
            "v1.py": """
                from __future__ import annotations
                import typing
                from typing import TYPE_CHECKING
                from .registry import register_model

                if TYPE_CHECKING:
                    import a_package_that_is_not_there
                    from .nowhere import Nothing

                    @register_model("never")
                    class Never: pass
                if typing.TYPE_CHECKING:
                    @register_model("never-either")
                    class NeverEither: pass
                elif True:
                    pass
                if not TYPE_CHECKING:
                    @register_model("v1")
                    class One: pass
                """
        },
        {"v1": {}},
    ),
    "only when run as a script": (
        {
            "v1.py": """
                from .registry import register_model

                @register_model("v1")
                class One: pass

                if __name__ == "__main__":
                    @register_model("script")
                    class Script: pass
                if "__main__" == __name__:
                    register_model("script-too")(One)
                if __name__ != "__main__":
                    @register_model("library")
                    class Library: pass
                """
        },
        {"v1": {}, "library": {}},
    ),
    "if and else": (
        {
            "v1.py": """
                import sys
                from .registry import register_model

                if sys.version_info >= (3, 0):
                    @register_model("new")
                    class New: pass
                else:
                    @register_model("old")
                    class Old: pass
                """
        },
        {"new": {}},
    ),
    "a decorator chosen by if and else": (
        {
            "v1.py": """
                import sys

                if sys.version_info >= (3, 0):
                    from holotype import register_model
                else:
                    def register_model(name):
                        return lambda cls: cls

                if sys.version_info < (3, 0):
                    register = lambda name: lambda cls: cls
                else:
                    from holotype import register_model as register

                @register_model("v1")
                class One: pass

                @register("v2")
                class Two: pass
                """
        },
        {"v1": {}, "v2": {}},
    ),
    "a decorator that may be missing": (
        {
            "v1.py": """
                try:
                    from holotype import register_model
                except ImportError:
                    def register_model(*args, **kwargs):
                        return lambda cls: cls

                @register_model("v1")
                class One: pass
                """
        },
        {"v1": {}},
    ),
    "a model that needs what is not there": (
        {
            "v1.py": """
                from .registry import register_model

                try:
                    import a_package_that_is_not_there
                except ImportError:
                    a_package_that_is_not_there = None
                else:
                    @register_model("fast")
                    class Fast: pass

                @register_model("v1")
                class One: pass
                """
        },
        {"v1": {}},
    ),
    "try, where the import succeeds": (
        {
            "v1.py": """
                from .registry import register_model

                try:
                    import json
                    @register_model("v1")
                    class One: pass
                except ImportError:
                    pass
                """
        },
        {"v1": {}},
    ),
    "an own registry stays its own": (
        {
            "v1.py": """
                from holotype import Registry
                import holotype

                mine = Registry()
                other = holotype.Registry()
                register_model = other.register_model

                @mine.register_model("mine")
                class Mine: pass

                @register_model("other")
                class Other: pass

                @holotype.register_model("v1")
                class One: pass
                """
        },
        {"v1": {}},
    ),
    "somebody else's register_model": (
        {
            "v1.py": """
                from json import loads as register_model
                TABLE = register_model('{"a": 1}')
                """,
            "v2.py": """
                REGISTERED = {}
                def register_model(name):
                    def decorate(cls):
                        REGISTERED[name] = cls
                        return cls
                    return decorate

                @register_model("theirs")
                class Theirs: pass
                """,
        },
        {},
    ),
    "circular imports between files": (
        {
            "v1.py": """
                from .registry import register_model
                from . import v2

                @register_model("v1")
                class One:
                    def other(self): return v2.Two
                """,
            "v2.py": """
                from .registry import register_model
                from . import v1

                @register_model("v2")
                class Two:
                    def other(self): return v1.One
                """,
        },
        {"v1": {}, "v2": {}},
    ),
    "names that lead in a circle": (
        {
            "a.py": "import typing\nif typing.TYPE_CHECKING:\n    from .b import Base\n",
            "b.py": "import typing\nif typing.TYPE_CHECKING:\n    from .a import Base\n",
            "v1.py": """
                from .registry import register_model
                import typing
                if typing.TYPE_CHECKING:
                    from .a import Base
                else:
                    Base = object

                @register_model("v1")
                class One(Base): pass
                """,
        },
        {"v1": {}},
    ),
    "one name, two classes of one file": (
        {
            "v1.py": """
                from .registry import register_model

                @register_model("a")
                class Net:
                    def __init__(self, x: int = 1): pass

                @register_model("b")
                class Net:
                    def __init__(self, y: int = 1): pass
                """
        },
        {"a": {}, "b": {}},
    ),
    "configs, weights and aliases": (
        {
            "v1.py": """
                import holotype
                from .registry import register_model

                @register_model("v1")
                class One:
                    task = "object_detection"
                    def __init__(self, size: int = 1, *, sides: list[int] = ()): pass

                holotype.register_model_config("v1_big", One, config={"size": 9, "sides": [1, 2]}, complexity="high")
                holotype.register_alias("uno", "v1")
                """
        },
        {
            "v1": {"aliases": ["uno"]},
            "v1_big": {
                "kind": "config",
                "config": {"size": 9, "sides": [1, 2]},
                "class_name": "One",
                "complexity": "high",
                "task": "object_detection",
            },
        },
    ),
    "a table of configs": (
        {
            "nets.py": "class Net:\n    def __init__(self, size: int = 1): pass\n",
            "sizes.toml": '[net_b10]\nclass = "nets.Net"\nconfig = {size = 10}\n[net_b2]\nclass = "nets.Net"\nconfig = {size = 2}\n',
        },
        {"net_b10": {"config": {"size": 10}, "line": 1}, "net_b2": {"config": {"size": 2}, "line": 4}},
    ),
    "an encoding cookie, a byte-order mark, DOS line ends": (
        {
            "v1.py": '# -*- coding: latin-1 -*-\nfrom holotype import register_model\n@register_model("v1", description="caf\xe9")\nclass One: pass\n'.encode(
                "latin-1"
            ),
            "v2.py": b'\xef\xbb\xbffrom holotype import register_model\r\n@register_model("v2")\r\nclass Two: pass\r\n',
        },
        {"v1": {"description": "caf\xe9"}, "v2": {"line": 3}},
    ),
    "a class in a class": (
        {
            "v1.py": """
                from .registry import register_model

                class Outer:
                    @register_model("v1")
                    class Inner: pass
                """
        },
        {"v1": {"class_name": "Outer.Inner"}},
    ),
    "a very long sum": (
        {
            "v1.py": 'from holotype import register_model\nTEXT = "a"'
            + ' + "b"' * 1500
            + '\n@register_model("v1")\nclass One: pass\n'
        },
        {"v1": {}},
    ),
    "a registry class of one's own that hands on": (
        {
            "registry.py": """
                import holotype

                class ModelRegistry:
                    def register(self, name, **metadata):
                        def decorate(cls):
                            return holotype.register_model(name, **metadata)(cls)
                        return decorate

                registry = ModelRegistry()
                register = registry.register
                """,
            "v1.py": 'from .registry import registry\n@registry.register("v1")\nclass One: pass\n',
            "v2.py": 'from .registry import register\n@register("v2")\nclass Two: pass\n',
        },
        {"v1": {"module": "src.model.v1"}, "v2": {"module": "src.model.v2"}},
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_index_says_what_running_would(project, shape):
    files, expected = SHAPES[shape]
    tree = {"src/model/__init__.py": "", "src/model/registry.py": REGISTRY}
    project.write(tree | {f"src/model/{name}": content for name, content in files.items()})
    found = project.run(LOOK)
    assert found["problems"] == []
    short = {name.rpartition("/")[2]: info for name, info in found["infos"].items()}
    assert sorted(short) == sorted(expected)
    assert found["imported"] == []
    for name, fields in expected.items():
        assert {key: short[name][key] for key in fields} == fields
        assert short[name]["problem"] is None
    for name, built in found["built"].items():
        if found["infos"][name]["kind"] != "builder":
            assert built == found["infos"][name]["class_name"].rpartition(".")[2]


PARAMETERS = {
    "its own": ("class One:\n    def __init__(self, a, b: int = 2, *, c='x'): pass", ["a", "b", "c"], False),
    "none at all": ("class One: pass", [], False),
    "any": ("class One:\n    def __init__(self, a=1, **kwargs): self.kwargs = kwargs", ["a"], True),
    "inherited from another file": (
        "from .base import Base\nclass One(Base): pass",
        ["width", "depth"],
        False,
    ),
    "handed on": (
        "from .base import Base\nclass One(Base):\n"
        "    def __init__(self, heads: int = 8, **kwargs):\n        super().__init__(**kwargs)",
        ["heads", "width", "depth"],
        False,
    ),
    "handed on, one of them fixed": (
        "from .base import Base\nclass One(Base):\n"
        "    def __init__(self, **kwargs):\n        super().__init__(depth=3, **kwargs)",
        ["width"],
        False,
    ),
    "handed on after one was taken out": (
        "from .base import Base\nclass One(Base):\n    def __init__(self, **kwargs):\n"
        "        self.mode = kwargs.pop('mode', 'x')\n        super().__init__(**kwargs)",
        [],
        True,
    ),
    "handed on to a base that hands on": (
        "from .base import Middle\nclass One(Middle):\n"
        "    def __init__(self, top: int = 1, **kw):\n        super().__init__(**kw)",
        ["top", "middle", "width", "depth"],
        False,
    ),
    "of the base of a generic base": (
        "from typing import Generic, TypeVar\nfrom .base import Base\nT = TypeVar('T')\n"
        "class Mid(Base, Generic[T]): pass\nclass One(Mid[int]): pass",
        ["width", "depth"],
        False,
    ),
    "of a mixin without a constructor and a base": (
        "from .base import Base\nclass Mixin:\n    def helper(self): pass\nclass One(Mixin, Base): pass",
        ["width", "depth"],
        False,
    ),
    "cooperative": (
        "from .base import Base\nclass Mixin:\n    def __init__(self, extra=1, **kw):\n        super().__init__(**kw)\n"
        "class One(Mixin, Base): pass",
        None,
        True,
    ),
    "of a diamond": (
        "from .base import Base\nclass A(Base): pass\nclass B(Base):\n    def __init__(self, other=1): pass\n"
        "class One(A, B): pass",
        None,
        True,
    ),
    "of circular bases": (
        "from .loop import Loop\nclass One(Loop): pass",
        None,
        True,
    ),
    "of an unknown base": (
        "from collections import OrderedDict\nclass One(OrderedDict): pass",
        None,
        True,
    ),
    "of a metaclass": (
        "import abc\nclass One(metaclass=abc.ABCMeta):\n    def __init__(self, a=1): pass",
        None,
        True,
    ),
    "defined under an if": (
        "from .base import Base\nclass One(Base):\n    if True:\n        def __init__(self, other=1): pass",
        None,
        True,
    ),
    "assigned": (
        "from .base import Base\ndef init(self, other=1): pass\nclass One(Base):\n    __init__ = init",
        None,
        True,
    ),
}


@pytest.mark.parametrize("case", PARAMETERS)
def test_the_constructor_is_read_or_left_open(project, case):
    text, names, is_open = PARAMETERS[case]
    head, at, rest = text.rpartition("class One")
    project.write(
        {
            "src/model/__init__.py": "",
            "src/model/base.py": """
                class Base:
                    def __init__(self, width: int = 1, depth: int = 2): pass
                class Middle(Base):
                    def __init__(self, middle=1, **kw):
                        super().__init__(**kw)
                """,
            "src/model/loop.py": "class Loop(Loop2): pass\nclass Loop2(Loop): pass\n",
            "src/model/v1.py": f'from holotype import register_model\n{head}@register_model("v1")\n{at}{rest}\n',
        }
    )
    info = project.run(
        "import holotype\ni = holotype.get_model_info('src.model/v1')\n"
        "result = [i.parameters and [p.name for p in i.parameters], i.open_parameters, str(i.problem or '')]"
    )
    assert info == [names, is_open, ""]


def test_the_parameters_of_a_mixin_and_its_base_can_be_given(project):
    project.write(
        {
            "src/model/__init__.py": "",
            "src/model/v1.py": """
                from holotype import register_model

                class Base:
                    def __init__(self, width=1): self.width = width
                class Mixin:
                    def __init__(self, extra=1, **kw):
                        super().__init__(**kw)
                        self.extra = extra
                @register_model("v1")
                class One(Mixin, Base): pass
                """,
        }
    )
    assert project.run(
        "import holotype\nn = holotype.create_model('src.model/v1', width=5, extra=6)\nresult = [n.width, n.extra]"
    ) == [5, 6]


def test_a_task_comes_from_a_base_class_in_another_file(project):
    project.write(
        {
            "src/model/__init__.py": "",
            "src/model/base.py": """
                from typing import ClassVar
                from holotype import Task
                class Base: task: ClassVar[str] = Task.MASKED_IMAGE_MODELING
                class Middle(Base): pass
                class Named: task = "my-task"
                """,
            "src/model/v1.py": """
                from holotype import register_model
                from holotype.proteins import BaseProteinModel
                from holotype import proteins
                import src.model.base
                from . import base as b

                @register_model("nearby")
                class Near(b.Middle): pass

                @register_model("dotted")
                class Dotted(src.model.base.Named): pass

                @register_model("ours")
                class Ours(BaseProteinModel): pass

                @register_model("ours-dotted")
                class OursToo(proteins.BaseProteinModel): pass

                @register_model("said", task="other")
                class Said(BaseProteinModel): pass

                @register_model("method")
                class Method:
                    def task(self): pass
                """,
        }
    )
    tasks = project.run(
        "import holotype, sys\n"
        "result = {n: holotype.get_model_info('src.model/' + n).task for n in holotype.list_models(zoo='src.model')}\n"
        "assert 'torch' not in sys.modules\n"
        "assert 'nearby' in holotype.list_models(task=holotype.Task.MASKED_IMAGE_MODELING)\n"
        "assert 'my-task' in holotype.list_tasks()"
    )
    assert tasks == {
        "nearby": "masked_image_modeling",
        "dotted": "my-task",
        "ours": "protein_interaction",
        "ours-dotted": "protein_interaction",
        "said": "other",
        "method": None,
    }


def test_a_task_that_is_computed_is_found_by_running(project):
    project.write(
        {
            "src/model/__init__.py": "",
            "src/model/base.py": 'TASKS = ["first", "second"]\nclass Base:\n    task = TASKS[1]\n',
            "src/model/v1.py": """
                from holotype import register_model
                from .base import Base

                @register_model("v1")
                class One(Base): pass
                """,
        }
    )
    assert project.run("import holotype\nresult = holotype.get_model_info('src.model/v1').task") == "second"


def test_a_method_named_task_is_no_task_when_registered_live(project):
    code = """
    import holotype
    @holotype.register_model("live")
    class Live:
        @property
        def task(self): pass
    result = holotype.get_model_info("live").task
    """
    assert project.run(code) is None
