"""``holotype tasks``: `list_tasks`, with counts."""

from __future__ import annotations

import argparse

from holotype.catalog.registry import default_registry as registry
from holotype.printing import print_json, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print each task and how many models and entries it has."""
    counts = [
        {
            "task": task,
            "models": len(registry.list_models(task=task)),
            "pretrained": len(registry.list_pretrained_models(task=task)),
        }
        for task in registry.list_tasks()
    ]
    if arguments.json:
        print_json(counts)
    else:
        print(table(("TASK", "MODELS", "PRETRAINED"), [list(count.values()) for count in counts]))
    return 0
