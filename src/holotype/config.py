"""Configs: the part of a YAML or JSON file that picks a model.

::

    model:
      name: v2
      params: {input_dim: 960, hidden_dim: 256, num_heads: 8}

A config names registered models only, never a dotted import path. Other top-level keys are left alone: they
belong to whoever trains.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from holotype.errors import ConfigError, RegistryError
from holotype.names import nearest
from holotype.parameters import problems_with, shown

if TYPE_CHECKING:
    from holotype.surface import Surface

_HOW = 'a config holds {"model": {"name": …, "params": {…}}}'


def problems_of(surface: Surface, config: Mapping[str, Any] | str | os.PathLike[str]) -> list[str]:
    """Every problem of a config; an empty list if a network can be built from it."""
    try:
        mapping = read(config)
    except ConfigError as error:
        return list(error.problems) or [str(error)]
    name, params, problems = _model_of(mapping)
    if name is None:
        return problems
    try:
        info = surface.get_model_info(name)
    except RegistryError as error:
        return [*problems, f"model.name: {error}"]
    if info.problem is not None:
        return [*problems, f"model.name: {name!r} cannot be used: {info.problem}"]
    if info.parameters is not None:
        found = problems_with(
            {**info.config, **params}, info.parameters, open_parameters=info.open_parameters
        )
        problems += [f"model.params.{problem}" for problem in found]
    return problems


def read_model(
    surface: Surface, config: Mapping[str, Any] | str | os.PathLike[str]
) -> tuple[str, dict[str, Any]]:
    """The model's name and parameters. Building it tells whether they fit.

    Raises:
        ConfigError: this is no config; it lists every problem, those of the parameters too.
    """
    mapping = read(config)
    name, params, problems = _model_of(mapping)
    if problems or name is None:
        problems = problems_of(surface, mapping)
        what = "the config" if isinstance(config, Mapping) else str(config)
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise ConfigError(f"{what} cannot be used:\n{lines}", problems=problems, given=config)
    return name, params


def _model_of(mapping: Mapping[str, Any]) -> tuple[str | None, dict[str, Any], list[str]]:
    if "model" not in mapping:
        near = nearest("model", [str(key) for key in mapping], count=1)
        hint = f"; did you mean to write 'model' instead of {near[0]!r}?" if near else ""
        return None, {}, [f"model: missing; {_HOW}{hint}"]
    model = mapping["model"]
    if isinstance(model, str):
        model = {"name": model}
    if not isinstance(model, Mapping):
        return None, {}, [f"model: expected a mapping, got {shown(model)}; {_HOW}"]
    problems = []
    for key in model:
        if key not in ("name", "params"):
            close = nearest(str(key), ("name", "params"), count=1)
            hint = f"; did you mean {close[0]!r}?" if close else "; there are 'name' and 'params'"
            problems.append(f"model.{key}: no such key{hint}")
    name = model.get("name")
    if name is None:
        problems.append("model.name: missing")
    elif not isinstance(name, str):
        problems.append(f"model.name: expected text, got {shown(name)} ({type(name).__name__})")
        name = None
    params = model.get("params")
    if params is None:
        params = {}
    if not isinstance(params, Mapping):
        problems.append(f"model.params: expected a mapping, got {shown(params)} ({type(params).__name__})")
        params = {}
    for key in params:
        if not isinstance(key, str):
            problems.append(f"model.params: the key {shown(key)} is not text")
    return name, {key: value for key, value in params.items() if isinstance(key, str)}, problems


def read(config: Mapping[str, Any] | str | os.PathLike[str]) -> Mapping[str, Any]:
    """A config as a mapping, from a mapping or from a YAML or JSON file.

    Raises:
        ConfigError: no such file, no YAML, a key given twice, or no mapping.
    """
    if isinstance(config, Mapping):
        return config
    if not isinstance(config, (str, os.PathLike)):
        raise ConfigError(f"a config is a mapping or a path, not {shown(config)}.", given=config)
    import json
    from pathlib import Path

    import yaml

    is_json = os.fspath(config).lower().endswith(".json")
    try:
        text = Path(config).read_text(encoding="utf-8-sig")
        if is_json:
            content = _read_json(text)
        else:
            content = read_yaml(text)
    except FileNotFoundError:
        raise ConfigError(f"there is no file {os.fspath(config)!r}.", given=config) from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{os.fspath(config)} is not JSON: {error}", given=config) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{os.fspath(config)} cannot be read: {error}", given=config) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{os.fspath(config)} is not YAML: {error}", given=config) from error
    except RecursionError as error:
        raise ConfigError(f"{os.fspath(config)} is nested too deeply.", given=config) from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{os.fspath(config)} holds {shown(content)}; {_HOW}.", given=config)
    return content


def _read_json(text: str) -> Any:
    """JSON has numbers that YAML reads as text (``1e-3``), and may be indented by tabs."""
    import json

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            keys = [key for key, _ in pairs]
            again = next(key for key in keys if keys.count(key) > 1)
            raise json.JSONDecodeError(f"the key {again!r} is given twice", text, 0)
        return mapping

    return json.loads(text, object_pairs_hook=unique)


def read_yaml(text: str) -> Any:
    """What a YAML text holds.

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


def _loader() -> type[Any]:
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

    return Loader


def _identity(key_node: Any) -> object:
    return (key_node.tag, key_node.value) if isinstance(key_node.value, str) else id(key_node)
