"""``holotype check``: `check_config`, printed."""

from __future__ import annotations

import argparse

from holotype.catalog.registry import default_registry as registry
from holotype.mappings import read_mapping
from holotype.printing import GREEN, RED, coloured, print_json
from holotype.text import clean, plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("configs", nargs="+", metavar="FILE", help="a YAML or JSON config")
    parser.add_argument("-z", "--zoo", help="look names up in this zoo ('holotype zoos' lists them)")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print every problem of every config."""
    view = registry.zoo(arguments.zoo) if arguments.zoo else registry
    found = {path: view.check_config(path) for path in arguments.configs}
    recipes = {path for path in arguments.configs if not found[path] and "data" in read_mapping(path)}
    if arguments.json:
        print_json(found)
    else:
        for path, problems in found.items():
            verdict = coloured("ok", GREEN) if not problems else coloured(f"{len(problems)} wrong", RED)
            # Other sections of a config may be anybody's; of a recipe, there is more to check.
            more = f" (its model; all of a recipe: holotype train {plain(path)} --dry-run)"
            print(f"{plain(path)}: {verdict}{more if path in recipes else ''}")
            for problem in problems:
                first, *rest = clean(problem).splitlines() or [""]
                print(f"  - {first}")
                for line in rest:
                    print(f"    {line.strip()}")
    return 1 if any(found.values()) else 0
