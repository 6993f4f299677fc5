"""``holotype verify``: prints `holotype.store.verify`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import TYPE_CHECKING

from holotype.printing import GREEN, RED, coloured, print_json
from holotype.text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holotype.records import PretrainedMetadata
    from holotype.store.cache import Verified


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="pretrained entries ('holotype list -p')")
    parser.add_argument("--all", action="store_true", help="all entries")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.epilog = (
        "A file that has changed is moved to quarantine, and the next load fetches it again. "
        "The exit code is then 1."
    )


def run(arguments: argparse.Namespace) -> int:
    """Hash the cached files of entries again, and print the results."""
    from holotype.store.cache import verify

    if bool(arguments.names) == arguments.all:
        print("holotype verify: give the names of entries, or --all", file=sys.stderr)
        return 2
    return report(verify(entries(arguments.names)), as_json=arguments.json)


def entries(names: Sequence[str] = ()) -> list[PretrainedMetadata]:
    """The pretrained entries of these names; every one that is known if there are none."""
    from holotype.catalog.registry import default_registry as registry

    return registry.get_pretrained_metadatas(names or registry.list_pretrained_models())


def report(found: list[Verified], *, as_json: bool) -> int:
    """Print what was verified; returns 1 if a file has changed."""
    changed = sum(one.state == "changed" for one in found)
    if as_json:
        print_json([dataclasses.asdict(one) for one in found])
        return 1 if changed else 0
    colours = {"ok": GREEN, "changed": RED}
    for one in found:
        state = coloured(f"{one.state:8}", colours.get(one.state, "0"))
        print(f"{state} {plain(one.name)}")
        if one.state == "changed":
            print(f"         {plain(one.problem)}")
            print(
                f"         moved to {plain(one.quarantined)}"
                if one.quarantined
                else "         and could not be moved"
            )
    counts = {state: sum(one.state == state for one in found) for state in ("ok", "missing", "no hash")}
    told = [f"{count} {state}" for state, count in counts.items() if count]
    print(", ".join([*told, f"{changed} changed"]), file=sys.stderr)
    return 1 if changed else 0
