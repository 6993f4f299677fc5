"""``holotype create``: `create_model` or `create_from_config`, and the size of what was built."""

from __future__ import annotations

import argparse
from typing import Any

from holotype.catalog.registry import default_registry as registry
from holotype.errors import ConfigError, RegistryError
from holotype.printing import fields, print_json
from holotype.text import number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.usage = "holotype create [-h] [-c FILE] [--json] [NAME] [KEY=VALUE ...]"
    # Not nargs="?" and "*", which take nothing as soon as an option stands before the first.
    parser.add_argument("name", metavar="NAME", help="an architecture").required = False
    params = parser.add_argument(
        "params",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="parameters, such as hidden_dim=128",
    )
    params.required = False
    parser.add_argument("-c", "--config", metavar="FILE", help="take name and parameters from this YAML file")
    parser.add_argument("-z", "--zoo", help="look names up in this zoo ('holotype zoos' lists them)")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Build the network and print what it is."""
    if (arguments.name is None) == (arguments.config is None):
        raise ConfigError("give the name of an architecture, or --config FILE.")
    view = registry.zoo(arguments.zoo) if arguments.zoo else registry
    if arguments.config is not None:
        network = view.create_from_config(arguments.config)
    else:
        network = view.create_model(arguments.name, **_params(arguments.params))
    try:
        parameters = list(network.parameters())
    except AttributeError as error:
        raise RegistryError(
            f"what {arguments.name or arguments.config!r} builds is not an nn.Module that works: {error}.",
            given=network,
            hint="Does its __init__ call super().__init__(), and does its builder return a network?",
        ) from error
    about: dict[str, Any] = {
        "class": f"{type(network).__module__}.{type(network).__qualname__}",
        "params": sum(parameter.numel() for parameter in parameters),
        "trainable": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        "size_bytes": sum(parameter.numel() * parameter.element_size() for parameter in parameters),
    }
    if arguments.json:
        print_json(about)
    else:
        size = f"{about['size_bytes'] / 2**20:.1f} MiB"
        pairs = [("class", about["class"]), ("parameters", number(about["params"])), ("memory", size)]
        if about["trainable"] != about["params"]:
            pairs.append(("trainable", number(about["trainable"])))
        print(fields(pairs))
    return 0


def _params(words: list[str]) -> dict[str, Any]:
    import yaml

    from holotype.mappings import read_yaml

    params = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ConfigError(f"{word!r} is not key=value.", given=word, hint="Write hidden_dim=128.")
        try:
            params[key] = read_yaml(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"{word!r}: the value is not YAML: {error}", given=word) from error
    return params
