"""``holotype zoos``: `list_zoos`, printed."""

from __future__ import annotations

import argparse
import os
from typing import Any

from holotype.catalog.registry import default_registry as registry
from holotype.printing import BOLD, coloured, fields, print_json, table
from holotype.records import ZooInfo


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


def zoo_as_dict(zoo: ZooInfo) -> dict[str, Any]:
    """All that is known of a zoo, and the names of its models, for JSON."""
    return {**zoo.to_dict(), "names": registry.list_models(zoo=zoo.name)}


def zoo_as_text(zoo: ZooInfo) -> str:
    """The same, for people."""
    lines = [
        coloured(zoo.name, BOLD),
        fields((key.replace("_", " "), value) for key, value in zoo.to_dict().items() if key != "name"),
    ]
    names = registry.list_models(zoo=zoo.name)
    if names:
        infos = registry.get_model_infos(names)
        rows = [(name, i.task or "–", i.description) for name, i in zip(names, infos, strict=True)]
        lines += ["", table(("NAME", "TASK", "DESCRIPTION"), rows)]
    return "\n".join(lines)


def _short(folder: str) -> str:
    try:
        relative = os.path.relpath(folder) if folder else ""
    except (ValueError, OSError):  # on another drive of Windows; from a working directory that is gone
        return folder
    return relative if len(relative) < len(folder) else folder
