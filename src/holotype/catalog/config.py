"""Configs: the part of a YAML or JSON file that picks a model.

::

    model:
      name: v2
      params: {input_dim: 960, hidden_dim: 256, num_heads: 8}

A config names registered models only, never a dotted import path. Other top-level keys are left alone: they
belong to the training.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from holotype.catalog.parameters import problems_with
from holotype.errors import ConfigError, RegistryError
from holotype.mappings import key_problems, read_mapping
from holotype.names import nearest
from holotype.records import ModelInfo
from holotype.text import bulleted, shown

Config = Mapping[str, Any] | str | os.PathLike[str]
InfoOf = Callable[[str], ModelInfo]  # `get_model_info` of a registry or a zoo

_HOW = 'a config holds {"model": {"name": …, "params": {…}}}'


def problems_of(get_model_info: InfoOf, config: Config) -> list[str]:
    """Every problem of a config; an empty list if a network can be built from it."""
    try:
        mapping = read_mapping(config, _HOW)
    except ConfigError as error:
        return list(error.problems) or [str(error)]
    name, params, problems = _model_of(mapping)
    if name is None:
        return problems
    try:
        info = get_model_info(name)
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


def read_model(get_model_info: InfoOf, config: Config) -> tuple[str, dict[str, Any]]:
    """The model's name and parameters. They are checked when it is built.

    Raises:
        ConfigError: it is not a config; the error lists every problem, those of the parameters too.
    """
    mapping = read_mapping(config, _HOW)
    name, params, problems = _model_of(mapping)
    if problems or name is None:
        problems = problems_of(get_model_info, mapping)
        what = "the config" if isinstance(config, Mapping) else str(config)
        raise ConfigError(f"{what} cannot be used:\n{bulleted(problems)}", problems=problems, given=config)
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
    problems = key_problems(model, ("name", "params"), "model")
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
