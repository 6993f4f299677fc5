"""Mappings that people write: YAML and JSON files, read strictly; and what is wrong with their keys."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from holotype.errors import ConfigError
from holotype.text import did_you_mean, shown


def read_mapping(source: Mapping[str, Any] | str | os.PathLike[str], how: str = "") -> Mapping[str, Any]:
    """A mapping as it is, or one from a YAML or JSON file (``.json``).

    Args:
        source: a mapping or a path.
        how: what such a mapping holds, for the message if the file holds something else.

    Raises:
        ConfigError: no such file, not YAML, a key given twice, or not a mapping.
    """
    if isinstance(source, Mapping):
        return source
    if not isinstance(source, str | os.PathLike):
        raise ConfigError(
            f"expected a mapping or the path of a YAML file, got {shown(source)}.", given=source
        )
    import json
    from pathlib import Path

    import yaml

    path = os.fspath(source)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        content = _read_json(text) if path.lower().endswith(".json") else read_yaml(text)
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path!r}.", given=source) from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is not JSON: {error}", given=source) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", given=source) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}", given=source) from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply.", given=source) from error
    if not isinstance(content, Mapping):
        expected = f"; {how}" if how else ""
        raise ConfigError(f"{path} holds {shown(content)}, not a mapping{expected}.", given=source)
    return content


def key_problems(mapping: Mapping[Any, Any], known: Collection[str], where: str = "") -> list[str]:
    """A line for each key that is not among the known ones, with the nearest of them."""
    prefix = f"{where}." if where else ""
    there = f"; there are {', '.join(known)}"
    return [
        f"{prefix}{key}: no such key{did_you_mean(key, known, there)}" for key in mapping if key not in known
    ]


def read_yaml(text: str) -> Any:
    """What a YAML text holds. ``1e-3``, ``1E5`` and ``.5`` are numbers, as in YAML 1.2.

    Raises:
        YAMLError: it is not YAML, gives a key twice, or holds a value that is none (``2020-99-99``).
    """
    import yaml

    try:
        return yaml.load(text, Loader=_loader())  # noqa: S506 - derives from SafeLoader
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    # PyYAML lets through what Python raises for !!bool maybe, !!int '', !!timestamp soon and 2020-99-99.
    except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
        raise yaml.YAMLError(f"a value in it cannot be read: {error}") from error


def as_yaml(mapping: Mapping[str, Any]) -> bytes:
    """A mapping as YAML, its keys in their order."""
    import yaml

    return yaml.safe_dump(dict(mapping), sort_keys=False, allow_unicode=True).encode()


def _read_json(text: str) -> Any:
    import json

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            keys = [key for key, _ in pairs]
            again = next(key for key in keys if keys.count(key) > 1)
            raise json.JSONDecodeError(f"the key {again!r} is given twice", text, 0)
        return mapping

    return json.loads(text, object_pairs_hook=unique)


def _loader() -> type[Any]:
    import re

    import yaml

    class Loader(yaml.SafeLoader):
        """SafeLoader that refuses a key given twice instead of keeping the last."""

        def flatten_mapping(self, node: Any) -> None:
            """Keep each merged key once: a few nested ``<<: [*a, *a, …]`` stand for gigabytes."""
            own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
            super().flatten_mapping(node)
            merged = node.value[: len(node.value) - len(own)]
            last = {_identity(key): (key, value) for key, value in merged}
            for key in own:
                last.pop(_identity(key), None)
            node.value[: len(merged)] = last.values()

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: dict[Any, Any] = {}
            for key_node, _ in node.value:
                if key_node.tag == "tag:yaml.org,2002:merge":
                    continue
                key = self.construct_object(key_node, deep=True)
                if isinstance(key, str) and key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key!r} is given twice", key_node.start_mark
                    )
                if isinstance(key, str):
                    seen[key] = True
            return super().construct_mapping(node, deep)

    # YAML 1.1 takes a number with an exponent for text, unless it has both a point and a sign.
    exponent = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", exponent, list("-+.0123456789"))
    return Loader


def _identity(key_node: Any) -> object:
    return (key_node.tag, key_node.value) if isinstance(key_node.value, str) else id(key_node)
