"""``holotype list``: `list_models` or `list_pretrained_models`, printed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from holotype.catalog.registry import default_registry as registry
from holotype.errors import UnknownNameError
from holotype.names import nearest
from holotype.printing import DIM, YELLOW, coloured, columns, print_json, table, width
from holotype.text import clean, counted, did_you_mean, plain

# In the order of their importance: what does not fit into the width is left out from the right.
MODELS = ("name", "params", "size", "pretrained", "task", "zoo", "description")
PRETRAINED = ("name", "network", "params", "size", "metric", "license", "task", "zoo", "description")
_SHOWN_IF_VARIED = ("task", "zoo")  # for one task or one zoo alone they would repeat themselves
_MISSING = "–"
_CUT_TO = {"license": 12, "description": 24}  # the width from which a part of these is worth showing


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
        "--columns", metavar="A,B,…", help=f"what to show: {', '.join(dict.fromkeys(MODELS + PRETRAINED))}"
    )
    parser.add_argument("--sort", metavar="COLUMN", help="sort by a column, smallest first")
    parser.add_argument("--order", choices=["name", "registered"], default="name", help="default: name")
    parser.add_argument(
        "--refresh", action="store_true", help="read every file again, try failed imports again"
    )
    parser.add_argument("--problems", action="store_true", help="what keeps models from being used")
    parser.add_argument("-q", "--names", action="store_true", help="names alone, one a line")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print what was asked for."""
    if arguments.refresh:
        registry.refresh()
    if arguments.problems:
        return _problems(arguments)
    known = PRETRAINED if arguments.pretrained else MODELS
    chosen = _columns(arguments.columns.split(",") if arguments.columns else [], known)
    (key,) = _columns([arguments.sort or "name"], known)
    asked = registry.list_pretrained_models if arguments.pretrained else registry.list_models
    names = asked(
        arguments.include or "*",
        exclude=arguments.exclude,
        task=arguments.task,
        zoo=arguments.zoo,
        where=arguments.where,
        order=arguments.order,
    )
    if arguments.sort:
        rows = _rows(names, pretrained=arguments.pretrained)
        names = [row["name"] for row in sorted(rows, key=lambda row: _sort_key(row[key]))]
    if arguments.names and arguments.json:
        print_json(names)
    elif arguments.names:
        print("\n".join(names), end="\n" if names else "")
    elif arguments.json:
        infos = registry.get_pretrained_metadatas if arguments.pretrained else registry.get_model_infos
        print_json([info.to_dict() for info in infos(names)])
    elif names:
        print(_table(_rows(names, pretrained=arguments.pretrained), chosen, known))
    else:
        print(_nothing(arguments), file=sys.stderr)
    count = len(registry.list_problems())
    if count and not arguments.json and not arguments.names:
        print(coloured(f"{counted(count, 'problem')}: holotype list --problems", YELLOW), file=sys.stderr)
    return 0


def _nothing(arguments: argparse.Namespace) -> str:
    """The message for an empty list, with what a name without a glob may have meant."""
    text = f"no {'pretrained entry' if arguments.pretrained else 'architecture'} matches"
    asked = registry.list_pretrained_models if arguments.pretrained else registry.list_models
    for given in arguments.include:
        if not set("*?[") & set(given):
            text += f" {plain(given)!r}{did_you_mean(given, asked(), '')}"
            text += f"\n  Part of a name needs a glob: holotype list '*{plain(given)}*'"
    return text


def _columns(given: Sequence[str], known: Sequence[str]) -> list[str]:
    """Names of columns.

    Raises:
        UnknownNameError: one is not known.
    """
    found = [name.strip().lower() for name in given]
    for name in found:
        if name not in known:
            raise UnknownNameError(
                f"no column named {name!r}; there are {', '.join(known)}.",
                given=name,
                nearest=nearest(name, known),
            )
    return found


def _rows(names: list[str], *, pretrained: bool) -> list[dict[str, Any]]:
    """The value of each column for each name."""
    if not pretrained:
        lines = registry.get_model_lines(names)
        return [{"name": name, **line} for name, line in zip(names, lines, strict=True)]
    return [
        {
            "name": name,
            "network": entry.network,
            "params": entry.params,
            "size": entry.resolution,
            "metric": _best(entry.metrics),
            "license": entry.license,
            "task": entry.task,
            "zoo": entry.zoo,
            "description": entry.description,
        }
        for name, entry in zip(names, registry.get_pretrained_metadatas(names), strict=True)
    ]


def _table(rows: list[dict[str, Any]], chosen: list[str], known: Sequence[str]) -> str:
    cells = {name: [_cell(name, row[name]) for row in rows] for name in chosen or known}
    names = 2 if "network" in cells else 1
    if not chosen:
        # A column without values, or with one value alone for all, does not help to choose.
        repeated = [name for name in _SHOWN_IF_VARIED if len(set(cells[name])) < 2]
        empty = [name for name, column in cells.items() if set(column) == {_MISSING}]
        for name in {*repeated, *empty} - {"name"}:
            del cells[name]
        cells = _fitting(cells)
    return table([name.upper() for name in cells], list(zip(*cells.values(), strict=True)), names=names)


def _fitting(cells: dict[str, list[str]]) -> dict[str, list[str]]:
    """The columns that fit into the width beside those before them."""
    room = width()
    sizes = {name: max(map(columns, [name, *column])) for name, column in cells.items()}
    used, shown = sizes["name"], ["name"]
    if sizes["name"] + 2 + sizes.get("network", 0) > room:  # `table` puts the rest on a line of its own
        used, room = 0, room - 4
    for name in list(cells)[1:]:
        left = room - used - 2
        if min(sizes[name], _CUT_TO.get(name, sizes[name])) <= left:
            shown.append(name)
            used += 2 + min(sizes[name], left)
    return {name: cells[name] for name in shown}


def _cell(name: str, value: Any) -> str:
    if value in (None, ""):
        return _MISSING
    if name == "params":
        return _short(value)
    if name == "size":
        height, width = value
        return str(height) if height == width else f"{height}×{width}"
    if name == "metric":
        return f"{value[0]} {value[1]:g}"
    return str(value)


def _short(count: int) -> str:
    """``86.6 M``."""
    for unit, factor in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return str(count)


def _best(metrics: Sequence[Any]) -> tuple[str, float] | None:
    """The first metric of an entry, at its highest value."""
    found = [
        (str(metric["name"]), float(metric["value"]))
        for metric in metrics
        if isinstance(metric, Mapping) and isinstance(metric.get("value"), int | float) and "name" in metric
    ]
    return max((value for value in found if value[0] == found[0][0]), default=None)


def _sort_key(value: Any) -> tuple[Any, ...]:
    """Numbers by size, text without regard to case, what is missing last."""
    if value in (None, ""):
        return (1,)
    return (0, value.lower()) if isinstance(value, str) else (0, value)


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
