"""Reading configs: what a file gives, and what is refused. The rest is in tests/contract."""

import pytest

from holotype.config import read
from holotype.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.yaml", "x: 1\ny: [1, 2]\n", {"x": 1, "y": [1, 2]}),
        ("a.yaml", "base: &b {x: 1}\ny: {<<: *b, z: 2}\n", {"base": {"x": 1}, "y": {"x": 1, "z": 2}}),
        ("a.yaml", "base: &b {x: 1}\ny: {<<: *b, x: 2}\n", {"base": {"x": 1}, "y": {"x": 2}}),
        ("a.yaml", "rate: 1e-3\n", {"rate": "1e-3"}),
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
    ],
)
def test_what_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=name):
        read(tmp_path / name)


def test_a_mapping_is_taken_as_it_is():
    mapping = {"x": 1}
    assert read(mapping) is mapping
