"""``holotype cache``: prints `list_cache`, `prune` and `verify_cache` of `holotype.store`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from typing import TYPE_CHECKING

from holotype.cli.verify import entries, report
from holotype.printing import print_json, table
from holotype.text import counted, plain, size

if TYPE_CHECKING:
    from holotype.store.cache import CachedFile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    ls = actions.add_parser("ls", help="list the files, and the entries that use them")
    verify = actions.add_parser("verify", help="hash every file again, and quarantine those that changed")
    prune = actions.add_parser(
        "prune",
        help="remove files that are not needed",
        description="Remove quarantined files and what crashed downloads left behind more than a day ago; "
        "with --unreferenced also files that no entry known here names, with --embeddings also "
        "embeddings of proteins.",
    )
    prune.add_argument(
        "--unreferenced", action="store_true", help="also files that no entry known here names"
    )
    prune.add_argument("--embeddings", action="store_true", help="also embeddings of proteins")
    prune.add_argument(
        "--older-than",
        type=_days,
        metavar="DAYS",
        help="remove only files that are at least this many days old",
    )
    prune.add_argument("--dry-run", action="store_true", help="list the files, and remove nothing")
    for action in (ls, verify, prune):
        action.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run one of the actions."""
    from holotype.store import cache

    known = entries()
    if arguments.action == "verify":
        return report(cache.verify_cache(known), as_json=arguments.json)
    if arguments.action == "ls":
        return _ls(cache.list_cache(known), as_json=arguments.json)
    removed = cache.prune(
        known,
        unreferenced=arguments.unreferenced,
        embeddings=arguments.embeddings,
        older_than_days=arguments.older_than,
        dry_run=arguments.dry_run,
    )
    if arguments.json:
        print_json([dataclasses.asdict(file) for file in removed])
        return 0
    for file in removed:
        print(f"{_kind(file):12} {size(file.size_bytes):>10}  {plain(file.path)}")
    verb = "would be removed" if arguments.dry_run else "removed"
    print(f"{_count(removed)} {verb}", file=sys.stderr)
    if not arguments.unreferenced:
        unnamed = [file for file in cache.list_cache(known) if file.kind == "blob" and not file.used_by]
        if unnamed:
            print(
                f"no entry known here names {_count(unnamed)}: holotype cache prune --unreferenced",
                file=sys.stderr,
            )
    return 0


def _ls(files: list[CachedFile], *, as_json: bool) -> int:
    from holotype.home import cache_home

    if as_json:
        print_json([dataclasses.asdict(file) for file in files])
        return 0
    rows = [
        (
            (file.sha256 or file.path.rpartition("/")[2])[:12],
            size(file.size_bytes),
            time.strftime("%Y-%m-%d", time.localtime(file.modified)),
            ", ".join(file.used_by) or f"({_kind(file)})",
        )
        for file in files
    ]
    if rows:
        print(table(("SHA256", "SIZE", "SINCE", "USED BY"), rows))
    print(f"{_count(files)} in {plain(cache_home())}", file=sys.stderr)
    return 0


def _kind(file: CachedFile) -> str:
    return "unreferenced" if file.kind == "blob" else file.kind


def _count(files: list[CachedFile]) -> str:
    return f"{counted(len(files), 'file')}, {size(sum(file.size_bytes for file in files))}"


def _days(text: str) -> float:
    days = float(text)
    if not 0 <= days < 1e6:
        raise argparse.ArgumentTypeError(f"a number of days, not {text!r}")
    return days
