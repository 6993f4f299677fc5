"""Registering: what is taken, what is refused, what it says, and that nothing leaks."""

import copy
import enum
import pickle
import threading
import types
import warnings

import pytest

from holotype import Registry, Task
from holotype.errors import (
    AmbiguousNameError,
    DuplicateNameError,
    HolotypeError,
    InvalidNameError,
    MetadataError,
    ParameterError,
    RegistryError,
    UnknownModelError,
)


class Net:
    """A net."""

    task = Task.OBJECT_DETECTION

    def __init__(self, width: int = 1, sides: list[int] = (), **more):
        self.width, self.sides, self.more = width, sides, more


class Other:
    pass


def weights(network="net", **more):
    return {
        "network": network,
        "url": "https://example.org/w",
        "formats": {"pt": {"file_size": 1.5, "sha256": "ab" * 32}},
        **more,
    }


@pytest.fixture
def registry():
    return Registry()


@pytest.fixture(params=["registry", "zoo"])
def surface(request, registry):
    """A registry, and a view of one of its zoos: both offer the same."""
    return registry if request.param == "registry" else registry.zoo("mine")


def test_a_class(surface):
    decorated = surface.register_model(
        "net",
        description="A net",
        features=["a", "b"],
        complexity="low",
        paper_reference="Smith 2024",
        year=2024,
    )(Net)
    assert decorated is Net
    assert surface.list_models() == ["net"]
    assert surface.get_model_class("net") is Net
    info = surface.get_model_info("net")
    assert (info.kind, info.class_name, info.module) == ("class", "Net", __name__)
    assert info["description"] == info.description == "A net"
    assert info["features"] == ["a", "b"]
    assert info["complexity"] == "low"
    assert info["paper_reference"] == "Smith 2024"
    assert info.metadata == {"paper_reference": "Smith 2024", "year": 2024}
    assert info.task == Task.OBJECT_DETECTION == "object_detection"
    assert info.docstring == "A net."
    assert info.file == __file__
    assert [p.name for p in info.parameters] == ["width", "sides"]
    assert info.open_parameters
    assert surface.create_model("net", width=3).width == 3


def test_a_builder_function(surface):
    @surface.register_model("built", task="protein_interaction")
    def build(width: int = 2):
        """Builds."""
        return Net(width)

    assert surface.create_model("built", width=5).width == 5
    assert surface.get_model_info("built").kind == "builder"
    assert surface.get_model_info("built").docstring == "Builds."
    with pytest.raises(RegistryError, match="by the function") as error:
        surface.get_model_class("built")
    assert "create_model('built')" in str(error.value)
    with pytest.raises(ParameterError, match="width: expected int"):
        surface.create_model("built", width="5")


def test_a_config(surface):
    surface.register_model_config("wide", Net, config={"width": 9, "sides": [1, 2]}, description="Wide")
    info = surface.get_model_info("wide")
    assert (info.kind, info.description, info.task) == ("config", "Wide", "object_detection")
    assert info.config == {"width": 9, "sides": [1, 2]}
    assert next(p for p in info.parameters if p.name == "width").default == 9
    assert surface.create_model("wide").width == 9
    assert surface.create_model("wide").sides == [1, 2]
    assert surface.create_model("wide", width=1).width == 1
    assert surface.get_model_class("wide") is Net
    assert surface.check_config({"model": "wide"}) == []


def test_a_config_does_not_share_its_values_with_what_it_builds(registry):
    registry.register_model_config("wide", Net, config={"sides": [1, 2]})
    registry.create_model("wide").sides.append(3)
    assert registry.create_model("wide").sides == [1, 2]


def test_a_config_of_a_class_with_required_parameters():
    registry = Registry()

    class Strict:
        def __init__(self, a: int, b: int):
            self.sum = a + b

    registry.register_model_config("half", Strict, config={"a": 1})
    assert registry.create_model("half", b=2).sum == 3
    with pytest.raises(ParameterError, match="b: missing"):
        registry.create_model("half")
    with pytest.raises(ParameterError) as error:
        registry.register_model_config("bad", Strict, config={"c": 1, "a": "x"})
    assert len(error.value.problems) == 2
    assert not registry.exists("bad")


def test_weights(surface):
    surface.register_model("net")(Net)
    surface.register_weights("net_a", weights(tag="a", resolution=[384, 384], extra="kept"))
    assert surface.list_pretrained_models() == ["net_a"]
    meta = surface.get_pretrained_metadata("NET_A")
    assert (meta["network"], meta["tag"], meta["task"]) == ("net", "a", "object_detection")
    assert meta["resolution"] == (384, 384)
    assert list(meta["formats"]) == ["pt"]
    assert meta["extra"] == "kept"
    assert surface.get_model_info("net").pretrained == ["net_a"]
    assert surface.pretrained_exists("net_a")
    assert not surface.pretrained_exists("net")


def test_weights_whose_sha256_is_a_placeholder_warn_and_count_as_missing(surface):
    surface.register_model("net")(Net)
    with pytest.warns(UserWarning, match="'net_a' has no sha256 for pt"):
        surface.register_weights("net_a", weights(formats={"pt": {"file_size": 358.4, "sha256": "<sha256>"}}))
    assert surface.get_pretrained_metadata("net_a").formats["pt"].sha256 is None


def test_weights_are_checked_wholly_and_at_once(registry):
    registry.register_model("net")(Net)
    with pytest.raises(MetadataError) as error:
        registry.register_weights(
            "w",
            {
                "network": "net",
                "resolution": (1, 2, 3),
                "params": "many",
                "formats": {"pt": {"sha256": "xyz"}, "zip": {}, "npz": {"size": 3}},
            },
        )
    for what in ("resolution", "params", "sha256", "'zip'", "'size'", "url"):
        assert what in str(error.value)
    with pytest.raises(UnknownModelError, match="nett"):
        registry.register_weights("w", weights("nett"))
    for wrong in (None, [], "text", {}):
        with pytest.raises(MetadataError):
            registry.register_weights("w", wrong)
    assert registry.list_pretrained_models() == []


def test_an_alias(surface):
    surface.register_model("net")(Net)
    surface.register_alias("n", "net")
    assert surface.get_model_info("n").name == "net"
    assert surface.get_model_info("net").aliases == ["n"]
    assert surface.list_models() == ["net"]
    assert surface.exists("n")
    assert type(surface.create_model("N")) is Net
    surface.register_alias("nn", "n")
    assert surface.get_model_class("nn") is Net
    surface.register_weights("w", weights("n"))
    assert surface.list_pretrained_models(network="nn") == ["w"]
    assert surface.get_model_info("net").pretrained == ["w"]


def test_a_deprecated_alias_warns_whoever_uses_it(surface):
    surface.register_model("net")(Net)
    surface.register_alias("old", "net", deprecated="say net instead")
    for use in (surface.get_model_info, surface.get_model_class, surface.create_model):
        with pytest.warns(FutureWarning, match="'old' is a deprecated name .*: say net instead") as caught:
            use("old")
        assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert surface.exists("old")
        surface.list_models()
        surface.get_model_info("net")


def test_an_alias_of_nothing_or_of_itself(surface):
    surface.register_model("net")(Net)
    with pytest.raises(UnknownModelError, match="nett") as error:
        surface.register_alias("n", "nett")
    assert "net" in error.value.nearest
    with pytest.raises(DuplicateNameError):
        surface.register_alias("net", "net")
    with pytest.raises(DuplicateNameError):
        surface.register_model("other")(Other)
        surface.register_alias("other", "net")


def test_a_duplicate_names_both_places(surface):
    surface.register_model("net")(Net)
    with pytest.raises(DuplicateNameError) as error:
        surface.register_model("net")(Other)
    text = str(error.value)
    assert f"{__name__}:Net" in text
    assert f"{__name__}:Other" in text
    assert text.count(__file__) == 2
    assert "replace=True" in text
    assert isinstance(error.value, ValueError)
    assert surface.get_model_class("net") is Net


def test_duplicates_of_every_kind(registry):
    registry.register_model("net")(Net)
    registry.register_alias("n", "net")
    registry.register_weights("w", weights())
    with pytest.raises(DuplicateNameError):
        registry.register_model_config("net", Other, config={})
    with pytest.raises(DuplicateNameError):
        registry.register_model("n")(Other)
    registry.register_model("net2")(Other)
    with pytest.raises(DuplicateNameError):
        registry.register_weights("w", weights("net2"))
    registry.register_weights("net", weights())  # an entry may have an architecture's name
    assert registry.get_pretrained_metadata("net").network == "net"
    assert registry.get_model_class("net") is Net


def test_the_same_again_replaces_itself(surface):
    for _ in range(2):
        surface.register_model("net", description="again")(Net)
        surface.register_model_config("wide", Net, config={"width": 2})
        surface.register_weights("w", weights())
        surface.register_alias("n", "net")
    assert surface.list_models() == ["net", "wide"]


def test_a_notebook_cell_that_runs_twice(registry):
    cell = "@register_model('live', description=text)\nclass Live:\n    def __init__(self, x=1): self.x = x\n"
    notebook = {"__name__": "__main__", "register_model": registry.register_model}

    def run(text, description=""):
        notebook["text"] = description
        exec(compile(text, "<cell>", "exec"), notebook)  # noqa: S102 - that is what a notebook does

    for description in ("first", "second"):
        run(cell, description)
        assert registry.get_model_info("live").description == description
        assert type(registry.create_model("live", x=2)) is notebook["Live"]
    assert registry.list_models() == ["live"]
    assert registry.get_model_info("live").zoo == "session"
    assert registry.get_model_info("live").file is None
    run(cell.replace("x=1", "y=1").replace("self.x = x", "self.y = y"))
    assert registry.create_model("live", y=5).y == 5
    renamed = cell.replace("class Live", "class Renamed")
    with pytest.raises(DuplicateNameError):
        run(renamed)
    run(renamed.replace("=text", "=text, replace=True"))
    assert registry.get_model_info("live").class_name == "Renamed"


def test_replacing_on_purpose(surface):
    surface.register_model("net")(Net)
    surface.register_model("net", replace=True)(Other)
    assert surface.get_model_class("net") is Other
    surface.register_model("net")(Net)  # what was replaced stays so, also when its module is run again
    assert surface.get_model_class("net") is Other
    surface.register_model("net", replace=True)(Net)
    assert surface.get_model_class("net") is Net


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("ResNet", "resnet"),
        ("my model", "my_model"),
        ("a/b", "a_b"),
        ("-x", "x"),
        ("_private", "private"),
        ("caf\xe9", "caf"),
        ("x\n", "x"),
        ("", None),
        ("..", None),
        ("x" * 201, None),
        ("*", None),
    ],
)
def test_names_outside_the_grammar(surface, name, suggested):
    surface.register_model("net")(Net)
    attempts = [
        lambda: surface.register_model(name)(Net),
        lambda: surface.register_model_config(name, Net, config={}),
        lambda: surface.register_weights(name, weights()),
        lambda: surface.register_alias(name, "net"),
    ]
    for attempt in attempts:
        with pytest.raises(InvalidNameError) as error:
            attempt()
        assert list(error.value.nearest) == ([suggested] if suggested else [])
        assert isinstance(error.value, ValueError)
    assert surface.list_models() == ["net"]


@pytest.mark.parametrize("name", [None, 3, b"x", ["x"], Net])
def test_names_that_are_no_text(surface, name):
    with pytest.raises(InvalidNameError):
        surface.register_model(name)
    with pytest.raises(HolotypeError):
        surface.register_alias(name, "net")
    with pytest.raises(HolotypeError):
        surface.get_model_info(name)
    assert surface.exists(name) is False


def test_the_decorator_without_parentheses(surface):
    with pytest.raises(InvalidNameError, match=r"@register_model\('my_model'\)"):

        @surface.register_model
        class Bare:
            pass


@pytest.mark.parametrize("target", [None, 3, "net", {}])
def test_what_is_registered_can_be_called(surface, target):
    with pytest.raises(RegistryError):
        surface.register_model("x")(target)
    with pytest.raises(RegistryError):
        surface.register_model_config("x", target, config={})
    assert surface.list_models() == []


def test_look_ups_ignore_case_and_space_around(surface):
    surface.register_model("net.v-1_x")(Net)
    for name in ("net.v-1_x", "NET.V-1_X", "Net.v-1_x", " net.v-1_x "):
        assert surface.exists(name)
        assert surface.get_model_class(name) is Net


def test_what_was_passed_in_may_change_afterwards(surface):
    features, nested = ["a"], {"deep": [1, {"er": 2}]}
    config, entry = {"sides": [1]}, weights(config={"width": 1}, metrics=[{"name": "acc", "value": 0.5}])
    surface.register_model("net", features=features, nested=nested)(Net)
    surface.register_model_config("wide", Net, config=config)
    surface.register_weights("w", entry)
    features.append("b")
    nested["deep"][1]["er"] = 9
    config["sides"].append(2)
    entry["config"]["width"] = 9
    entry["formats"]["pt"]["sha256"] = "0" * 64
    entry["metrics"][0]["value"] = 1.0
    info = surface.get_model_info("net")
    assert info.features == ["a"]
    assert info["nested"] == {"deep": [1, {"er": 2}]}
    assert surface.get_model_info("wide").config == {"sides": [1]}
    meta = surface.get_pretrained_metadata("w")
    assert meta.config == {"width": 1}
    assert meta.formats["pt"].sha256 == "ab" * 32
    assert meta.metrics == [{"name": "acc", "value": 0.5}]


def test_what_comes_out_cannot_be_changed(surface):
    surface.register_model("net", features=["a"], nested={"deep": [1]})(Net)
    surface.register_weights("w", weights())
    info, meta = surface.get_model_info("net"), surface.get_pretrained_metadata("w")
    attempts = [
        lambda: info["nested"].update(x=1),
        lambda: info["nested"]["deep"].append(1),
        lambda: info.features.append("b"),
        lambda: info.metadata.clear(),
        lambda: setattr(info, "name", "x"),
        lambda: delattr(info, "name"),
        lambda: info.__setitem__("name", "x"),
        lambda: meta.formats.pop("pt"),
        lambda: setattr(meta.formats["pt"], "sha256", "x"),
        lambda: meta.config.setdefault("x", 1),
        lambda: setattr(info.parameters[0], "default", 5),
    ]
    for attempt in attempts:
        with pytest.raises((TypeError, AttributeError)):
            attempt()
    names = surface.list_models()
    names.append("x")
    assert surface.list_models() == ["net"]
    assert surface.get_model_info("net") == info


def test_records_are_copied_and_pickled(surface):
    surface.register_model("net", features=["a"], nested={"deep": [1, (2, {3})]})(Net)
    info = surface.get_model_info("net")
    for twin in (copy.copy(info), copy.deepcopy(info), pickle.loads(pickle.dumps(info))):  # noqa: S301 - our own bytes
        assert twin == info
        assert hash(twin) == hash(info)


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    "value",
    [
        "text",
        1,
        1.5,
        True,
        None,
        b"bytes",
        [1, [2]],
        (1, 2),
        {1, 2},
        {"a": {"b": []}},
        Colour.RED,
        float("inf"),
    ],
)
def test_any_plain_metadata(surface, value):
    surface.register_model("net", anything=value)(Net)
    assert surface.get_model_info("net")["anything"] == value


@pytest.mark.parametrize("value", [object(), lambda: 1, Net, {1: 2}, [object()], 1j, types])
def test_metadata_that_cannot_be_kept(surface, value):
    with pytest.raises(MetadataError, match="anything"):
        surface.register_model("net", anything=value)
    assert surface.list_models() == []


def test_metadata_that_contains_itself(surface):
    loop = []
    loop.append(loop)
    with pytest.raises(MetadataError):
        surface.register_model("net", anything=loop)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(MetadataError):
        surface.register_model("net", anything=deep)


def test_registries_share_nothing():
    one, two = Registry(), Registry()
    one.register_model("net")(Net)
    assert two.list_models() == []
    two.register_model("net")(Other)
    assert one.get_model_class("net") is Net
    import holotype

    assert "net" not in holotype.list_models()
    assert "v1" not in one.list_models()
    assert [z.name for z in one.list_zoos()] == [one.get_model_info("net").zoo]


def test_zoos_of_one_registry(registry):
    a, b = registry.zoo("a"), registry.zoo("B")
    a.register_model("net")(Net)
    b.register_model("net")(Other)
    a.register_model("only")(Net)
    assert registry.list_models() == ["a/net", "b/net", "only"]
    assert all(registry.exists(name) for name in registry.list_models())
    assert a.list_models() == ["net", "only"]
    assert b.list_models() == ["net"]
    assert b.get_model_class("net") is Other
    assert registry.get_model_class("A/Net") is Net
    with pytest.raises(AmbiguousNameError) as error:
        registry.get_model_class("net")
    assert set(error.value.nearest) == {"a/net", "b/net"}
    assert isinstance(error.value, LookupError)
    assert not registry.exists("net")
    with pytest.raises(UnknownModelError):
        a.get_model_class("b/net")
    assert a.get_model_class("a/net") is Net
    with pytest.raises(UnknownModelError):
        b.get_model_class("only")
    for zoo in (a, b):
        zoo.register_weights("w", weights("net"))
        zoo.register_alias("n", "net")
    assert registry.list_pretrained_models() == ["a/w", "b/w"]
    assert all(registry.pretrained_exists(name) for name in registry.list_pretrained_models())
    with pytest.raises(AmbiguousNameError):
        registry.get_pretrained_metadata("w")
    assert registry.get_model_info("b/n").class_name == "Other"
    assert {z.name: (z.models, z.pretrained) for z in registry.list_zoos()} == {"a": (2, 1), "b": (1, 1)}


def test_a_name_that_another_zoo_has_as_an_alias_is_listed_so_that_it_can_be_looked_up(registry):
    a, b = registry.zoo("a"), registry.zoo("b")
    a.register_model("net")(Net)
    b.register_model("other")(Other)
    b.register_alias("net", "other")
    assert registry.list_models() == ["a/net", "other"]
    assert all(registry.exists(name) for name in registry.list_models())


@pytest.mark.parametrize("name", [None, "", 3, "A b", "/"])
def test_zoo_names(registry, name):
    with pytest.raises(InvalidNameError):
        registry.zoo(name)


def test_a_class_of_another_package_belongs_to_who_registers_it(registry):
    registry.register_model("lock")(threading.Thread)
    own = registry.get_model_info("lock").zoo
    registry.register_model("net")(Net)
    assert registry.get_model_info("net").zoo == own


def test_many_threads_register_and_list_at_once(registry):
    errors, done = [], threading.Event()

    def register(start):
        try:
            for at in range(start, start + 60):
                cls = type(f"Net{at}", (), {"__module__": __name__})
                registry.register_model(f"net{at}", at=at)(cls)
                assert registry.get_model_info(f"net{at}")["at"] == at
                assert registry.create_model(f"net{at}") is not None
        except Exception as error:
            errors.append(error)

    def look():
        try:
            while not done.is_set():
                for name in registry.list_models():
                    registry.get_model_info(name)
                registry.list_zoos()
        except Exception as error:
            errors.append(error)

    writers = [threading.Thread(target=register, args=(start,)) for start in range(0, 480, 60)]
    readers = [threading.Thread(target=look) for _ in range(2)]
    for thread in readers + writers:
        thread.start()
    for thread in writers:
        thread.join(60)
    done.set()
    for thread in readers:
        thread.join(60)
    assert errors == []
    assert registry.list_models() == [f"net{at}" for at in range(480)]
    assert registry.list_models(order="registered")[-1].startswith("net")


def test_threads_that_claim_one_name(registry):
    outcomes = []
    barrier = threading.Barrier(8)

    def claim(at):
        cls = type(f"Net{at}", (), {"__module__": __name__})
        barrier.wait()
        try:
            registry.register_model("net")(cls)
            outcomes.append(cls)
        except DuplicateNameError:
            outcomes.append(None)

    threads = [threading.Thread(target=claim, args=(at,)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [outcome for outcome in outcomes if outcome]
    assert registry.get_model_class("net") is winner


def test_threads_that_build_at_once(here):
    here.write(
        {
            "src/model/__init__.py": "",
            "src/model/slow.py": "import time\ntime.sleep(0.1)\nfrom holotype import register_model\n@register_model('slow')\nclass Slow: pass\n",
        }
    )
    code = """
    import threading, holotype
    built = []
    threads = [threading.Thread(target=lambda: built.append(type(holotype.create_model("slow")).__name__)) for _ in range(8)]
    [t.start() for t in threads], [t.join(30) for t in threads]
    result = built
    """
    assert here.run(code) == ["Slow"] * 8


def test_the_default_registry_takes_what_an_own_one_takes(project):
    project.write({}, pyproject=None)
    code = """
    import holotype

    @holotype.register_model("mine", features=("a",), task="my-task")
    class Mine:
        def __init__(self, a: int = 1): self.a = a

    @holotype.zoo("garden").register_model("rose")
    def rose(): return 3

    holotype.register_model_config("mine5", Mine, config={"a": 5})
    holotype.register_alias("m", "mine")
    holotype.register_weights("mine_w", {"network": "mine", "url": "https://x.org", "formats": {"pt": {"sha256": "0" * 64}}})
    holotype.register_weights("lite_w", {"network": "efficientnet_lite0", "url": "https://x.org", "formats": {"pt": {"sha256": "0" * 64}}})
    result = [
        holotype.list_models(["mine*", "rose"], order="registered"),
        holotype.create_model("mine5").a,
        holotype.get_model_info("m").name,
        holotype.list_pretrained_models("*_w"),
        holotype.get_model_info("efficientnet_lite0").pretrained,
        holotype.get_pretrained_metadata("lite_w").task,
        "my-task" in holotype.list_tasks(),
        sorted(z.name for z in holotype.list_zoos()),
        holotype.registry is holotype.model_registry,
        holotype.get_available_models()[-3:],
        holotype.create_model("garden/rose"),
    ]
    for name, cls in (("v1", Mine), ("mine", int)):
        try:
            holotype.zoo("proteins").register_model(name)(cls)
        except holotype.HolotypeError as error:
            result.append(type(error).__name__)
    """
    assert project.run(code) == [
        ["mine", "rose", "mine5"],
        5,
        "mine",
        ["lite_w", "mine_w"],
        ["efficientnet_lite0_imagenet1k", "lite_w"],
        "image_classification",
        True,
        ["garden", "proteins", "session", "vision"],
        True,
        ["mine", "rose", "mine5"],
        3,
        "DuplicateNameError",
    ]
