"""``holotype list``: `list_models` or `list_pretrained_models`, printed."""

from __future__ import annotations

import argparse
import sys

from holotype.catalog.registry import default_registry as registry
from holotype.printing import DIM, YELLOW, coloured, print_json, table
from holotype.text import clean, plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("include", nargs="*", metavar="GLOB", help="names to list, such as '*convnext*'")
    parser.add_argument(
        "-x", "--exclude", action="append", default=[], metavar="GLOB", help="names to leave out"
    )
    parser.add_argument("-t", "--task", help="only for this task ('holotype tasks' lists them)")
    parser.add_argument("-z", "--zoo", help="only of this zoo ('holotype zoos' lists them)")
    parser.add_argument(
        "-w", "--where", action="append", metavar="KEY<VALUE", help="compare metadata, such as 'params<30e6'"
    )
    parser.add_argument(
        "-p", "--pretrained", action="store_true", help="pretrained entries, not architectures"
    )
    parser.add_argument(
        "--refresh", action="store_true", help="read every file anew, try failed imports again"
    )
    parser.add_argument("--problems", action="store_true", help="what keeps models from being used")
    parser.add_argument("--order", choices=["name", "registered"], default="name", help="default: name")
    parser.add_argument("-q", "--names", action="store_true", help="names alone, one a line")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print what was asked for."""
    if arguments.refresh:
        registry.refresh()
    if arguments.problems:
        return _problems(arguments)
    asked = registry.list_pretrained_models if arguments.pretrained else registry.list_models
    names = asked(
        arguments.include or "*",
        exclude=arguments.exclude,
        task=arguments.task,
        zoo=arguments.zoo,
        where=arguments.where,
        order=arguments.order,
    )
    if arguments.names and arguments.json:
        print_json(names)
    elif arguments.names:
        print("\n".join(names), end="\n" if names else "")
    elif arguments.pretrained:
        _pretrained(names, as_json=arguments.json)
    else:
        _models(names, as_json=arguments.json)
    count = len(registry.list_problems())
    if count and not arguments.json and not arguments.names:
        things = "problem" if count == 1 else "problems"
        print(coloured(f"{count} {things}: holotype list --problems", YELLOW), file=sys.stderr)
    return 0


def _models(names: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json([info.to_dict() for info in registry.get_model_infos(names)])
    elif names:
        lines = registry.get_model_lines(names)
        rows = [
            (name, task or "–", zoo, description)
            for name, (task, zoo, description) in zip(names, lines, strict=True)
        ]
        print(table(("NAME", "TASK", "ZOO", "DESCRIPTION"), rows))
    else:
        print("no architecture matches", file=sys.stderr)


def _pretrained(names: list[str], *, as_json: bool) -> None:
    entries = registry.get_pretrained_metadatas(names)
    if as_json:
        print_json([entry.to_dict() for entry in entries])
    elif entries:
        rows = [
            (name, entry.network, ", ".join(entry.formats), entry.description)
            for name, entry in zip(names, entries, strict=True)
        ]
        print(table(("NAME", "ARCHITECTURE", "FORMATS", "DESCRIPTION"), rows, names=2))
    else:
        print("no pretrained entry matches", file=sys.stderr)


def _problems(arguments: argparse.Namespace) -> int:
    problems = [p for p in registry.list_problems() if arguments.zoo in (None, p.zoo)]
    if arguments.json:
        print_json([problem.to_dict() for problem in problems])
        return 1 if problems else 0
    for problem in problems:
        print(plain(problem.place))
        for line in problem.message.splitlines():
            print(f"    {plain(line)}")
        if problem.names:
            print(coloured(f"    disables: {', '.join(map(plain, problem.names))}", DIM))
    if registry.cache_problem:
        print(
            "the index cannot be kept, so each command reads every file again:\n"
            f"    {clean(registry.cache_problem)}",
            file=sys.stderr,
        )
    if not problems:
        print("no problems", file=sys.stderr)
    return 1 if problems else 0
