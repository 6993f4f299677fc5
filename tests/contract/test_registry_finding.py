"""Finding: filters, order, tasks, zoos, `where`; and what is said when nothing is there under a name."""

import warnings

import pytest

import holotype
from holotype import Registry, Task
from holotype.errors import (
    FilterError,
    InvalidNameError,
    MissingFieldError,
    UnknownFormatError,
    UnknownModelError,
    UnknownPretrainedError,
    UnknownTaskError,
    UnknownZooError,
)


class Net:
    """A net.

    Args:
        width: how wide.
    """

    def __init__(self, width: int = 4, *, depth: float = 1.5, mode=None):
        pass


def entry(network, **more):
    return {"network": network, "url": "https://x.org/w", "formats": {"pt": {"sha256": "0" * 64}}, **more}


@pytest.fixture(scope="module")
def registry():
    registry = Registry()
    vision, proteins = registry.zoo("vision"), registry.zoo("proteins")
    for at in (10, 2, 1):
        vision.register_model(
            f"net_b{at}",
            task="image_classification",
            features=["conv", f"b{at}"],
            params=at * 1_000_000,
            license="MIT",
        )(type(f"B{at}", (Net,), {"__module__": __name__}))
    vision.register_model("det", task=Task.OBJECT_DETECTION, complexity="high", size={"deep": {"er": 3}})(Net)
    proteins.register_model("v2", task=Task.PROTEIN_INTERACTION, year=2024, tag="1.10")(
        type("V2", (Net,), {"__module__": __name__})
    )
    proteins.register_model("v1", task="my-task")(type("V1", (Net,), {"__module__": __name__}))
    vision.register_weights(
        "net_b1_a", entry("net_b1", tag="a", metrics=[{"name": "accuracy", "value": 0.8}])
    )
    vision.register_weights("net_b1_b", entry("net_b1", tag="b", license="apache-2.0", params=3))
    vision.register_weights("net_b10_a", entry("net_b10", formats={"safetensors": {"sha256": "1" * 64}}))
    proteins.register_weights(
        "v1_yeast", entry("v1", dataset="yeast", metrics=[{"name": "accuracy", "value": 0.7}])
    )
    return registry


ALL = ["det", "net_b1", "net_b2", "net_b10", "v1", "v2"]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({}, ALL),
        ({"include_filter": "*"}, ALL),
        ({"include_filter": "net_*"}, ["net_b1", "net_b2", "net_b10"]),
        ({"include_filter": "*NET*"}, ["net_b1", "net_b2", "net_b10"]),
        ({"include_filter": ["v?", "DET"]}, ["det", "v1", "v2"]),
        ({"include_filter": ("v1",)}, ["v1"]),
        ({"include_filter": "net_b[12]"}, ["net_b1", "net_b2"]),
        ({"include_filter": "net_b1"}, ["net_b1"]),
        ({"include_filter": "vision/*"}, ["det", "net_b1", "net_b2", "net_b10"]),
        ({"include_filter": ["proteins/v1", "det"]}, ["det", "v1"]),
        ({"include_filter": "nothing*"}, []),
        ({"include_filter": ""}, []),
        ({"include_filter": []}, []),
        ({"exclude": "net*"}, ["det", "v1", "v2"]),
        ({"exclude": ["NET*", "v1"]}, ["det", "v2"]),
        ({"exclude": "vision/*"}, ["v1", "v2"]),
        ({"exclude": "*"}, []),
        ({"include_filter": "v*", "exclude": "v1"}, ["v2"]),
        ({"task": Task.IMAGE_CLASSIFICATION}, ["net_b1", "net_b2", "net_b10"]),
        ({"task": "object_detection"}, ["det"]),
        ({"task": "OBJECT_DETECTION"}, ["det"]),
        ({"task": "my-task"}, ["v1"]),
        ({"task": Task.MASKED_IMAGE_MODELING}, []),
        ({"zoo": "proteins"}, ["v1", "v2"]),
        ({"zoo": "Vision", "include_filter": "*1*"}, ["net_b1", "net_b10"]),
        ({"zoo": "proteins", "task": "object_detection"}, []),
        ({"pretrained": True}, ["net_b1", "net_b10", "v1"]),
        ({"pretrained": False}, ["det", "net_b2", "v2"]),
        ({"where": "features=conv"}, ["net_b1", "net_b2", "net_b10"]),
        ({"where": "features~b1*"}, ["net_b1", "net_b10"]),
        ({"where": "complexity=HIGH"}, ["det"]),
        ({"where": "size.deep.er=3"}, ["det"]),
        ({"where": "size.deep.er=4"}, []),
        ({"where": "year=2024"}, ["v2"]),
        ({"where": "tag=1.10"}, ["v2"]),
        ({"where": "zoo=proteins"}, ["v1", "v2"]),
        ({"where": "name!=v1", "zoo": "proteins"}, ["v2"]),
        ({"where": []}, ALL),
        ({"order": "registered"}, ["net_b10", "net_b2", "net_b1", "det", "v2", "v1"]),
        ({"order": "registered", "zoo": "vision"}, ["net_b10", "net_b2", "net_b1", "det"]),
    ],
)
def test_filters(registry, arguments, names):
    assert registry.list_models(**arguments) == names


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("params<5e6", ["net_b1", "net_b2"]),
        ("params>=2M", ["net_b2", "net_b10"]),
        (["params>1M", "license=mit"], ["net_b2", "net_b10"]),
    ],
)
def test_models_without_a_count_are_left_out_with_a_warning(registry, where, names):
    with pytest.warns(UserWarning, match="params is not known of 3 of 6"):
        assert registry.list_models(where=where) == names


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({}, ["net_b1_a", "net_b1_b", "net_b10_a", "v1_yeast"]),
        ({"include_filter": "*_A"}, ["net_b1_a", "net_b10_a"]),
        ({"include_filter": ["*yeast*", "*_b"]}, ["net_b1_b", "v1_yeast"]),
        ({"exclude": "net*"}, ["v1_yeast"]),
        ({"task": Task.IMAGE_CLASSIFICATION}, ["net_b1_a", "net_b1_b", "net_b10_a"]),
        ({"task": Task.OBJECT_DETECTION}, []),
        ({"zoo": "proteins"}, ["v1_yeast"]),
        ({"network": "net_b1"}, ["net_b1_a", "net_b1_b"]),
        ({"network": "Vision/NET_B10"}, ["net_b10_a"]),
        ({"network": "det"}, []),
        ({"format": "safetensors"}, ["net_b10_a"]),
        ({"format": "npz"}, []),
        ({"where": "metrics.accuracy>0.75"}, ["net_b1_a"]),
        ({"where": "license=apache-2.0"}, ["net_b1_b"]),
        ({"order": "registered"}, ["net_b1_a", "net_b1_b", "net_b10_a", "v1_yeast"]),
    ],
)
def test_filters_of_pretrained_entries(registry, arguments, names):
    assert registry.list_pretrained_models(**arguments) == names


def test_every_name_listed_can_be_looked_up():
    for name in holotype.list_models():
        assert holotype.get_model_info(name).problem is None
    for name in holotype.list_pretrained_models():
        assert holotype.get_pretrained_metadata(name).name == name.rpartition("/")[2]


@pytest.mark.parametrize(
    ("call", "error", "nearest"),
    [
        (lambda r: r.list_models(task="image_clasification"), UnknownTaskError, "image_classification"),
        (lambda r: r.list_models(task="mytask"), UnknownTaskError, "my-task"),
        (lambda r: r.list_models(task=3), UnknownTaskError, None),
        (lambda r: r.list_models(zoo="protein"), UnknownZooError, "proteins"),
        (lambda r: r.list_models(zoo=3), UnknownZooError, None),
        (lambda r: r.list_models(where="licence=mit"), FilterError, "license"),
        (lambda r: r.list_models(where="complexty=low"), FilterError, "complexity"),
        (lambda r: r.list_models(where="params"), FilterError, None),
        (lambda r: r.list_models(where="params<many"), FilterError, None),
        (lambda r: r.list_models(where="__import__('os')"), FilterError, None),
        (lambda r: r.list_models(where=[3]), FilterError, None),
        (lambda r: r.list_models(3), TypeError, None),
        (lambda r: r.list_models([3]), InvalidNameError, None),
        (lambda r: r.list_models(exclude=[None]), InvalidNameError, None),
        (lambda r: r.list_models(order="size"), ValueError, None),
        (lambda r: r.list_pretrained_models(task="detection"), UnknownTaskError, "object_detection"),
        (lambda r: r.list_pretrained_models(zoo="visoin"), UnknownZooError, "vision"),
        (lambda r: r.list_pretrained_models(network="net_b11"), UnknownModelError, "net_b1"),
        (lambda r: r.list_pretrained_models(format="safetensor"), UnknownFormatError, "safetensors"),
        (lambda r: r.list_pretrained_models(where="dateset=yeast"), FilterError, "dataset"),
        (lambda r: r.list_pretrained_models(order=""), ValueError, None),
        (lambda r: r.get_model_info("nte_b2"), UnknownModelError, "net_b2"),
        (lambda r: r.get_model_info("v3"), UnknownModelError, "v1"),
        (lambda r: r.get_model_info("vision/v1"), UnknownModelError, None),
        (lambda r: r.get_model_info("visoin/det"), UnknownZooError, "vision"),
        (lambda r: r.get_model_info(""), UnknownModelError, None),
        (lambda r: r.get_model_info("/"), UnknownModelError, None),
        (lambda r: r.get_model_class("dett"), UnknownModelError, "det"),
        (lambda r: r.create_model("dett"), UnknownModelError, "det"),
        (lambda r: r.get_pretrained_metadata("net_b1_c"), UnknownPretrainedError, "net_b1_a"),
        (lambda r: r.get_pretrained_metadata("net_b1"), UnknownPretrainedError, "net_b1_a"),
        (lambda r: r.get_pretrained_metadata("vison/net_b1_a"), UnknownZooError, "vision"),
        (lambda r: r.zoo("vision").list_models(zoo="visoin"), UnknownZooError, "vision"),
        (lambda r: r.zoo("vision").list_models(task="image"), UnknownTaskError, "image_classification"),
    ],
)
def test_what_is_unknown_is_told_with_the_nearest(registry, call, error, nearest):
    with pytest.raises(error) as caught:
        call(registry)
    if nearest is not None:
        assert nearest in caught.value.nearest
        assert f"Did you mean: {', '.join(caught.value.nearest)}?" in str(caught.value)


def test_errors_are_also_what_python_would_raise(registry):
    for call in (lambda: registry.get_model_info("nope"), lambda: registry.get_pretrained_metadata("nope")):
        with pytest.raises(LookupError):
            call()
    with pytest.raises(ValueError):
        registry.list_models(task="nope")


def test_a_pretrained_entry_is_no_architecture(registry):
    with pytest.raises(UnknownModelError, match="load_pretrained_model"):
        registry.create_model("net_b1_a")
    assert not registry.exists("net_b1_a")
    assert registry.pretrained_exists("NET_B1_A")
    assert not registry.pretrained_exists("net_b1")


def test_a_typo_in_an_error_of_a_view_says_the_zoo(registry):
    with pytest.raises(UnknownModelError) as error:
        registry.zoo("proteins").get_model_info("v9")
    assert "holotype list --zoo proteins" in str(error.value)
    assert set(error.value.nearest) <= {"v1", "v2"}


def test_tasks(registry):
    assert registry.list_tasks() == [*(str(task) for task in Task), "my-task"]
    assert registry.zoo("proteins").list_tasks() == ["protein_interaction", "my-task"]
    assert Registry().list_tasks() == [str(task) for task in Task]


def test_zoos(registry):
    found = {zoo.name: zoo for zoo in registry.list_zoos()}
    assert (found["vision"].models, found["vision"].pretrained, found["vision"].found_by) == (4, 3, "session")
    zoos = {zoo.name: zoo for zoo in holotype.list_zoos()}
    assert zoos["proteins"].found_by == zoos["vision"].found_by == "first-party"
    assert zoos["proteins"].models >= 4
    assert zoos["vision"].problems == 0


def test_an_empty_registry():
    empty = Registry()
    assert empty.list_models() == empty.list_pretrained_models() == empty.get_available_models() == []
    assert empty.list_models("x*", task=Task.OBJECT_DETECTION, where="anything<3", pretrained=True) == []
    assert empty.list_zoos() == empty.list_problems() == []
    with pytest.raises(UnknownModelError):
        empty.get_model_info("v1")


def test_info_tells_everything(registry):
    info = registry.get_model_info("vision/det")
    assert info.description == ""
    assert info.features == []
    assert info.complexity == "high"
    assert info["size"] == {"deep": {"er": 3}}
    assert info.class_name == "Net"
    assert info.module == __name__
    assert info.file == __file__
    assert info.line > 0
    assert info.docstring.startswith("A net.\n\nArgs:")
    assert [(p.name, p.annotation, p.default, p.required, p.keyword_only) for p in info.parameters] == [
        ("width", "int", 4, False, False),
        ("depth", "float", 1.5, False, True),
        ("mode", None, None, False, True),
    ]
    assert info.pretrained == [] and info.aliases == [] and info.problem is None and info.params is None
    assert dict(info)["size"] == info["size"]
    with pytest.raises(MissingFieldError) as error:
        info["complexty"]
    assert "complexity" in error.value.nearest
    with pytest.raises(KeyError):
        info["nope"]
    assert info.get("nope", 3) == 3
    assert "size" in info and "nope" not in info


def test_available_models_are_in_registration_order(registry):
    assert registry.get_available_models() == ["net_b10", "net_b2", "net_b1", "det", "v2", "v1"]
    assert registry.zoo("proteins").get_available_models() == ["v2", "v1"]
    assert holotype.get_available_models()[:4] == ["v1", "v2", "multihead_attention", "cross_attention"]
    from holotype import proteins

    available = proteins.get_available_models()
    assert available[:4] == ["v1", "v2", "multihead_attention", "cross_attention"]
    # Interaction models first, then encoders in the order of their table.
    tasks = [holotype.get_model_info(f"proteins/{name}").task for name in available]
    assert tasks == sorted(tasks, key=lambda task: task != holotype.Task.PROTEIN_INTERACTION)
    encoders = available[tasks.index(holotype.Task.PROTEIN_EMBEDDING) :]
    assert encoders[:3] == ["unirep_64", "unirep_256", "unirep_1900"]


def test_one_name_needs_no_list(registry):
    assert [info.name for info in registry.get_model_infos("net_b1")] == ["net_b1"]
    assert [entry.name for entry in registry.get_pretrained_metadatas("net_b1_a")] == ["net_b1_a"]
    assert registry.get_model_lines("net_b1") == registry.get_model_lines(["net_b1"])


def test_looking_warns_of_nothing(registry):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        registry.list_models(where="complexity=low")
        holotype.list_problems()
    assert holotype.list_problems() == []


def test_where_on_many_models_is_quick(here):
    import time

    files = {
        f"src/model/f{n}.py": f'from holotype import register_model\n@register_model("net_{n}", size={n})\nclass N{n}: pass\n'
        for n in range(400)
    }
    here.write({"src/model/__init__.py": "", **files})
    registry = Registry(["src.model"])
    assert len(registry.list_models()) == 400
    started = time.process_time()
    assert registry.list_models(where="size<10") == [f"net_{n}" for n in range(10)]
    assert time.process_time() - started < 0.5


def test_parameters_are_counted_on_request_and_remembered(project):
    files = {
        "src/model/__init__.py": "",
        "src/model/net.py": """
            from torch import nn
            from holotype import register_model

            @register_model("net")
            class Net(nn.Module):
                def __init__(self, width: int = 100_000):
                    super().__init__()
                    self.big, self.fixed = nn.Linear(width, width), nn.Parameter(nn.Parameter.__new__(nn.Parameter), False)
            """,
    }
    project.write(files)
    look = """
    import sys, holotype
    result = [holotype.get_model_info("net").params, "torch" in sys.modules, holotype.list_models("net", where="params<1e9")]
    """
    assert project.run(look) == [None, False, []]
    # 40 GB, were they not counted on the meta device.
    count = "import holotype\nresult = [holotype.count_parameters('net', width=2), holotype.count_parameters('NET')]"
    assert project.run(count) == [6, 10_000_100_000]
    assert project.run(look.replace("1e9", "1e11")) == [10_000_100_000, False, ["net"]]
    project.write({"src/model/net.py": files["src/model/net.py"] + "\n# edited"})
    assert project.run(look)[0] is None
