"""Building: parameters are checked, all at once, before anything is built or imported."""

import pytest

from holotype import Registry
from holotype.errors import BrokenModelError, ConfigError, ParameterError, UnknownModelError

BUILT = []


class Net:
    def __init__(
        self,
        hidden_dim: int,
        dropout: float = 0.1,
        *,
        mode: "str | None" = None,
        sizes: tuple[int, int] = (1, 2),
        use_bias: bool = True,
    ):
        BUILT.append(self)
        self.given = {
            "hidden_dim": hidden_dim,
            "dropout": dropout,
            "mode": mode,
            "sizes": sizes,
            "use_bias": use_bias,
        }


class Open:
    def __init__(self, width: int = 1, **more):
        self.given = {"width": width, **more}


class Classifier:
    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        size: int | tuple[int, int] = 224,
        depth: int = 1,
    ):
        self.given = (num_classes, in_channels, size, depth)


class Plain:
    def __init__(self, num_classes: int = 10):
        self.given = num_classes


@pytest.fixture
def registry():
    BUILT.clear()
    registry = Registry()
    registry.register_model("net")(Net)
    registry.register_model("open")(Open)
    registry.register_model("classifier")(Classifier)
    registry.register_model("plain")(Plain)
    return registry


def test_every_problem_is_told_at_once(registry):
    with pytest.raises(ParameterError) as error:
        registry.create_model("net", hiden_dim=3, dropout="0.1", sizes=[1, 2, 3], use_bias=1, wings=2)
    assert BUILT == []
    problems = "\n".join(error.value.problems)
    assert len(error.value.problems) == 6
    assert "hiden_dim: no such parameter; did you mean 'hidden_dim'?" in problems
    assert "hidden_dim: missing (int)" in problems
    assert "dropout: expected float, got '0.1' (str)" in problems
    assert "sizes: expected tuple[int, int], got [1, 2, 3] (list)" in problems
    assert "use_bias: expected bool, got 1 (int)" in problems
    assert "wings: no such parameter" in problems
    assert all(problem in str(error.value) for problem in error.value.problems)
    assert "holotype info net" in str(error.value)
    assert isinstance(error.value, TypeError) and isinstance(error.value, ValueError)


def test_what_fits_is_passed_on_as_it_is(registry):
    sizes = [3, 4]
    given = registry.create_model("NET", hidden_dim=8, dropout=1, sizes=sizes, mode=None).given
    assert given == {"hidden_dim": 8, "dropout": 1, "mode": None, "sizes": [3, 4], "use_bias": True}
    assert given["sizes"] is sizes


@pytest.mark.parametrize("value", [True, 1.0, "1", None, [1]])
def test_an_int_is_an_int(registry, value):
    with pytest.raises(ParameterError, match="hidden_dim: expected int"):
        registry.create_model("net", hidden_dim=value)


def test_open_constructors_take_any_keyword_and_still_check_those_they_name(registry):
    assert registry.create_model("open", width=2, other=[1]).given == {"width": 2, "other": [1]}
    with pytest.raises(ParameterError, match="width: expected int"):
        registry.create_model("open", width="2", other=1)


def test_parameters_named_like_those_of_create_model(registry):
    assert registry.create_model("open", name="x", registry="y").given == {
        "width": 1,
        "name": "x",
        "registry": "y",
    }


def test_an_error_of_the_constructor_comes_through(registry):
    @registry.register_model("fails")
    class Fails:
        def __init__(self):
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        registry.create_model("fails")


def test_from_a_mapping(registry):
    config = {"model": {"name": "net", "params": {"hidden_dim": 3}}, "training": {"epochs": 3}}
    assert registry.create_from_config(config).given["hidden_dim"] == 3
    assert registry.check_config(config) == []
    assert type(registry.create_from_config({"model": "open"})) is Open
    assert type(registry.create_from_config({"model": {"name": "plain", "params": None}})) is Plain


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", "model:\n  name: net\n  params: {hidden_dim: 3, dropout: 0.5}\n"),
        ("c.yml", "model: {name: NET, params: &p {hidden_dim: 3, dropout: 0.5}}\nother: *p\n"),
        ("c.json", '{\n\t"model": {"name": "net", "params": {"hidden_dim": 3, "dropout": 5e-1}}}'),
        ("c.yaml", "\ufeffmodel: {name: net, params: {hidden_dim: 3, dropout: 0.5}}\n"),
        (
            "c.txt",
            "base: &b {hidden_dim: 3, dropout: 1}\nmodel: {name: net, params: {<<: *b, dropout: 0.5}}\n",
        ),
    ],
)
@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_from_a_file(registry, tmp_path, name, text, kind):
    (tmp_path / name).write_text(text, encoding="utf-8")
    network = registry.create_from_config(kind(tmp_path / name))
    assert (network.given["hidden_dim"], network.given["dropout"]) == (3, 0.5)
    assert registry.check_config(kind(tmp_path / name)) == []


BAD_FILES = {
    "not YAML": ("model: [", "is not YAML"),
    "a tab": ("model:\n\tname: net", "is not YAML"),
    "empty": ("", "holds None"),
    "a list": ("[1, 2]", "holds [1, 2], not a mapping"),
    "text": ("net", "holds 'net', not a mapping"),
    "a key twice": ("model: {name: net}\nmodel: {name: open}\n", "'model' is given twice"),
    "an inner key twice": (
        "model: {name: net, params: {hidden_dim: 1, hidden_dim: 2}}",
        "'hidden_dim' is given twice",
    ),
    "a Python object": ("model: !!python/object/apply:os.getcwd []", "is not YAML"),
    "another encoding": (b"model: \xff\xfe\x00", "cannot be read"),
    "an endless alias": ("a: &a [*a]\nmodel: *a\n", "model"),
    "nested deeply": ("[" * 5000, "is not YAML"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_files_that_are_no_config(registry, tmp_path, case):
    content, message = BAD_FILES[case]
    path = tmp_path / "config.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=r"config\.yaml") as error:
        registry.create_from_config(path)
    assert message in str(error.value)
    assert len(registry.check_config(path)) >= 1


@pytest.mark.parametrize("text", ['{"model": {"name": "open"}, "model": 3}', '{"model": ', "", "[" * 100_000])
def test_json_that_is_no_config(registry, tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json"):
        registry.create_from_config(path)


@pytest.mark.parametrize("path", ["gone.yaml", "", ".", "a\0b", "model:\n  name: net\n"])
def test_files_that_are_not_there(registry, path):
    with pytest.raises(ConfigError):
        registry.create_from_config(path)
    assert len(registry.check_config(path)) == 1


@pytest.mark.parametrize("config", [None, 3, ["model"], ("model", "net"), b"model"])
def test_what_is_neither_mapping_nor_path(registry, config):
    with pytest.raises((ConfigError, TypeError)):
        registry.create_from_config(config)


@pytest.mark.parametrize(
    ("config", "messages"),
    [
        ({}, ["model: missing"]),
        ({"modle": {"name": "net"}}, ["did you mean to write 'model' instead of 'modle'?"]),
        ({"model": None}, ["model: expected a mapping"]),
        ({"model": 3}, ["model: expected a mapping"]),
        ({"model": ["net"]}, ["model: expected a mapping"]),
        ({"model": {}}, ["model.name: missing"]),
        (
            {"model": {"name": 3, "params": 4}},
            ["model.name: expected text", "model.params: expected a mapping"],
        ),
        (
            {"model": {"nam": "net", "parms": {}}},
            ["did you mean 'name'?", "did you mean 'params'?", "name: missing"],
        ),
        ({"model": {"name": "net", "params": {1: 2}}}, ["key 1 is not text"]),
        ({"model": {"name": "net", "params": [1]}}, ["model.params: expected a mapping"]),
    ],
)
def test_mappings_of_the_wrong_shape(registry, config, messages):
    with pytest.raises(ConfigError) as error:
        registry.create_from_config(config)
    problems = registry.check_config(config)
    for message in messages:
        assert any(message in problem for problem in problems)
        assert message in str(error.value)
    assert BUILT == []


def test_check_config_lists_every_problem(registry):
    problems = registry.check_config(
        {"model": {"name": "net", "params": {"hiden_dim": 1, "dropout": "1e-3"}, "x": 1}}
    )
    text = "\n".join(problems)
    assert len(problems) == 4
    assert "model.x: no such key" in text
    assert "model.params.hiden_dim: no such parameter; did you mean 'hidden_dim'?" in text
    assert "model.params.dropout: expected float, got '1e-3' (str); write 0.001, without quotes" in text
    assert "model.params.hidden_dim: missing (int)" in text


def test_a_config_names_registered_models_and_no_import_paths(registry):
    for name in ("torch.nn.Linear", "os.system", "builtins:eval", f"{__name__}.Net", "net()"):
        config = {"model": {"name": name, "params": {}}}
        with pytest.raises(UnknownModelError):
            registry.create_from_config(config)
        (problem,) = registry.check_config(config)
        assert name in problem
    assert BUILT == []


def test_parameters_that_do_not_fit_a_config(registry):
    with pytest.raises(ParameterError):
        registry.create_from_config({"model": {"name": "net", "params": {"nope": 1}}})


def test_net_factory(registry):
    assert registry.net_factory("classifier", 5).given == (5, 3, 224, 1)
    assert registry.net_factory("classifier", num_classes=500, input_channels=1, size=(3, 4)).given == (
        500,
        1,
        (3, 4),
        1,
    )
    assert registry.net_factory("classifier", 5, config={"depth": 7, "num_classes": 9}).given == (
        5,
        3,
        224,
        7,
    )
    assert registry.net_factory("plain", 5).given == 5
    assert registry.net_factory("open", 5).given == {"width": 1, "num_classes": 5, "in_channels": 3}
    for arguments in ({"input_channels": 1}, {"size": 3}, {"config": {"depth": 1}}):
        with pytest.raises(ParameterError):
            registry.net_factory("plain", 5, **arguments)
    with pytest.raises(ParameterError):
        registry.net_factory("net", 5)


def test_a_config_holding_lists_is_checked_as_such(registry):
    class Listed:
        def __init__(
            self,
            dims: list[int] = (),
            pairs: tuple[tuple[int, int], ...] = (),
            table: dict[str, list[int]] | None = None,
        ):
            self.given = (dims, pairs, table)

    config = {"dims": [1, 2], "pairs": [[1, 2]], "table": {"a": [1]}}
    registry.register_model_config("listed", Listed, config=config)
    assert registry.check_config({"model": "listed"}) == []
    assert registry.create_model("listed").given == ([1, 2], [[1, 2]], {"a": [1]})
    assert type(registry.create_model("listed").given[0]) is list


CHECK = """
import sys, holotype
problems = holotype.check_config(CONFIG)
result = [len(problems), "torch" in sys.modules, "src.model.v1" in sys.modules]
"""


def test_checking_a_config_imports_nothing(project):
    project.write(
        {
            "src/model/__init__.py": "",
            "src/model/v1.py": """
                from holotype import register_model
                from holotype.proteins import BaseProteinModel

                @register_model("mine")
                class Mine(BaseProteinModel):
                    def __init__(self, hidden_dim: int, dropout: float = 0.1): super().__init__()
                """,
            "good.yaml": "model: {name: mine, params: {hidden_dim: 3}}\n",
            "bad.yaml": "model: {name: mine, params: {hiden_dim: 3, dropout: 1e-3}}\n",
            "v2.yaml": "model: {name: v2, params: {num_heads: eight, nheads: 3}}\n",
        }
    )
    for config, count in (("good.yaml", 0), ("bad.yaml", 2), ("v2.yaml", 2)):
        assert project.run(CHECK.replace("CONFIG", repr(config))) == [count, False, False]


def test_what_fits_by_the_index_but_fails_to_import(project):
    project.write(
        {
            "src/model/__init__.py": "",
            "src/model/v1.py": 'from holotype import register_model\n@register_model("mine")\nclass Mine: pass\nraise OSError(3)\n',
        }
    )
    code = """
    import holotype
    result = []
    for call in (holotype.create_model, holotype.get_model_class):
        try:
            call("mine")
        except holotype.HolotypeError as error:
            result.append([type(error).__name__, isinstance(error, ImportError), "v1.py" in str(error), "OSError: 3" in str(error)])
    """
    assert project.run(code) == [["BrokenModelError", True, True, True]] * 2
    assert issubclass(BrokenModelError, ImportError)
