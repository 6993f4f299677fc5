"""``holotype zoos``: `list_zoos`, printed."""

from __future__ import annotations

import argparse
import os

from holotype.cli.show import print_json, table
from holotype.registries import default_registry as registry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print each zoo, where it was found and how much it holds."""
    zoos = registry.list_zoos()
    if arguments.json:
        print_json([zoo.to_dict() for zoo in zoos])
        return 0
    rows = [
        (zoo.name, zoo.models, zoo.pretrained, zoo.problems, zoo.found_by, _short(zoo.folder or ""))
        for zoo in zoos
    ]
    print(table(("ZOO", "MODELS", "PRETRAINED", "PROBLEMS", "FOUND BY", "FOLDER"), rows))
    return 0


def _short(folder: str) -> str:
    relative = os.path.relpath(folder) if folder else ""
    return relative if len(relative) < len(folder) else folder
