"""Reading configs: what a file gives, and what is refused. The rest is in tests/contract."""

import time

import pytest

from holotype import Registry
from holotype.errors import ConfigError, ParameterError
from holotype.mappings import read_mapping as read


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.yaml", "x: 1\ny: [1, 2]\n", {"x": 1, "y": [1, 2]}),
        ("a.yaml", "base: &b {x: 1}\ny: {<<: *b, z: 2}\n", {"base": {"x": 1}, "y": {"x": 1, "z": 2}}),
        ("a.yaml", "base: &b {x: 1}\ny: {<<: *b, x: 2}\n", {"base": {"x": 1}, "y": {"x": 2}}),
        ("a.yaml", "rate: 1e-3\n", {"rate": 0.001}),
        ("a.json", '{"rate": 1e-3}', {"rate": 0.001}),
        ("A.JSON", '\ufeff{\n\t"x": [1, null]}', {"x": [1, None]}),
        ("a.yaml", '{"x": 1}', {"x": 1}),
        ("noend", "x: 1", {"x": 1}),
    ],
)
def test_what_a_file_gives(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "x: 1\nx: 2\n"),
        ("a.yaml", "a: {b: {c: 1, c: 2}}\n"),
        ("a.json", '{"a": {"c": 1, "c": 2}}'),
        ("a.json", "{'a': 1}"),
        ("a.yaml", "--- {a: 1}\n--- {b: 1}\n"),
        ("a.yaml", "!!python/name:os.system x"),
        ("a.yaml", "? [1, 2]\n: 3\n"),
        ("a.yaml", "x: \x01"),
        ("a.yaml", "x: 2020-99-99"),
        ("a.yaml", "x: !!bool maybe"),
        ("a.yaml", "x: !!int ''"),
        ("a.yaml", "x: !!timestamp soon"),
        ("a.yaml", "[" * 5000),
    ],
)
def test_what_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=name):
        read(tmp_path / name)


def test_a_mapping_is_taken_as_it_is():
    mapping = {"x": 1}
    assert read(mapping) is mapping


def bomb(levels=9, *, merged=False):
    """Nine times nine times … the same thing: some hundred bytes that stand for gigabytes."""
    lines = ["l0: &l0 {k: 1}"]
    for level in range(1, levels + 1):
        nine = ", ".join([f"*l{level - 1}"] * 9)
        lines.append(f"l{level}: &l{level} {{<<: [{nine}]}}" if merged else f"l{level}: &l{level} [{nine}]")
    return "\n".join([*lines, ""])


@pytest.mark.parametrize(
    "text",
    [
        bomb() + "model: *l9\n",
        bomb() + "model: {name: *l9}\n",
        bomb() + "model: {name: net, params: *l9}\n",
        bomb() + "model: {name: net, params: {size: *l9}}\n",
        bomb() + "model: {name: net, params: {size: {a: *l9, b: [*l9]}}}\n",
        bomb(merged=True) + "model: {name: net, params: {size: *l9}}\n",
        "- " + bomb().replace("\n", "\n- "),
    ],
    ids=["model", "name", "params", "a parameter", "inside a parameter", "merged", "the file"],
)
def test_a_few_bytes_that_stand_for_gigabytes(tmp_path, text):
    registry = Registry()

    @registry.register_model("net")
    def net(size: int):
        return size

    path = tmp_path / "config.yaml"
    path.write_text(text)
    start = time.monotonic()
    (problem, *_) = registry.check_config(path)
    assert time.monotonic() - start < 2
    assert len(problem) < 300


def test_what_is_merged_is_what_yaml_says():
    from holotype.mappings import read_yaml

    text = "o: {i: &a {<<: {x: 1, y: 1}, x: 2}}\nu: {<<: [*a, {y: 3, z: 3}], w: 4}\n"
    assert read_yaml(text) == {"o": {"i": {"x": 2, "y": 1}}, "u": {"x": 2, "y": 1, "z": 3, "w": 4}}


def test_a_config_that_is_none_tells_its_parameters_problems_too():
    registry = Registry()

    @registry.register_model("net")
    def net(size: int):
        return size

    config = {"model": {"name": "net", "params": {"size": "x"}, "more": 1}}
    with pytest.raises(ConfigError) as error:
        registry.create_from_config(config)
    assert list(error.value.problems) == registry.check_config(config)
    assert len(error.value.problems) == 2
    with pytest.raises(ParameterError):
        registry.create_from_config({"model": {"name": "net", "params": {"size": "x"}}})
