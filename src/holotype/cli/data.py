"""``holotype data``: the functions of `holotype.datasets`, printed; the domain of a dataset reads it."""

from __future__ import annotations

import argparse
import sys

from holotype.datasets import DatasetInfo
from holotype.domains import DatasetKind
from holotype.entry_points import resolve
from holotype.printing import BOLD, coloured, fields, print_json, table
from holotype.text import number, plain, size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    ls = actions.add_parser("list", help="list the datasets of all zoos")
    ls.add_argument("--zoo", help="only those of this zoo")
    get = actions.add_parser(
        "get",
        help="fetch the files of a dataset, verified",
        description="Fetch every file of a dataset into the cache, check its sha256, and print its path.",
    )
    get.add_argument("name", help="a dataset ('holotype data list' lists them)")
    get.add_argument(
        "-o", "--output", metavar="FOLDER", help="copy them to this folder, named by their roles"
    )
    get.add_argument("--overwrite", action="store_true", help="replace files that exist")
    info = actions.add_parser(
        "info",
        help="describe a dataset",
        description="Describe a dataset; with --read, also what its files hold, and whether its split "
        "is as it states.",
    )
    info.add_argument("name", help="a dataset, or a YAML file")
    info.add_argument("--read", action="store_true", help="fetch and read it, and audit its split")
    for action in (ls, get, info):
        action.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Do what the action says."""
    action = {"list": _list, "get": _get, "info": _info}[arguments.action]
    return action(arguments)


def _list(arguments: argparse.Namespace) -> int:
    from holotype.datasets import dataset_problems, get_dataset_info, list_datasets

    infos = {name: get_dataset_info(name) for name in list_datasets(zoo=arguments.zoo)}
    if arguments.json:
        print_json([info.to_dict() for info in infos.values()])
    else:
        rows = [
            (name, ", ".join(info.parts), size(info.size_bytes), info.license or "–", info.description)
            for name, info in infos.items()
        ]
        print(table(("NAME", "PARTS", "SIZE", "LICENSE", "DESCRIPTION"), rows))
    for problem in dataset_problems():
        print(f"holotype data: not read: {plain(problem)}", file=sys.stderr)
    return 0


def _get(arguments: argparse.Namespace) -> int:
    from holotype.datasets import copy_dataset, fetch_dataset

    if arguments.output is None:
        files = fetch_dataset(arguments.name)
    else:
        files = copy_dataset(arguments.name, arguments.output, overwrite=arguments.overwrite)
    if arguments.json:
        print_json({role: str(path) for role, path in files.items()})
        return 0
    for role, path in files.items():
        print(f"{role:16} {plain(path)}")
    return 0


def _info(arguments: argparse.Namespace) -> int:
    from holotype.datasets import dataset_kinds, get_dataset_info, kind_of

    own = next((kind for kind in dataset_kinds() if kind.claims(arguments.name)), None)
    if own is not None:
        return _read(arguments, own, None)
    known = get_dataset_info(arguments.name)
    if arguments.read:
        return _read(arguments, kind_of(known.holds), known)
    if arguments.json:
        print_json(known.to_dict())
    else:
        _print_info(known)
    return 0


def _read(arguments: argparse.Namespace, kind: DatasetKind, known: DatasetInfo | None) -> int:
    """Describe what the files of a dataset hold, by the domain that reads it."""
    reading = resolve(kind.read)(arguments.name)
    if arguments.json:
        print_json({"name": reading.name, "info": known.to_dict() if known else None, **reading.facts})
    else:
        if known is not None:
            _print_info(known)
            print()
        else:
            print(coloured(plain(reading.name), BOLD))
        print(reading.text)
    return 0 if reading.ok else 1


def _print_info(info: DatasetInfo) -> None:
    from holotype.store.fetch import find_cached

    print(coloured(plain(info.name), BOLD))
    print(
        fields(
            [
                ("description", info.description),
                ("zoo", info.zoo),
                ("parts", ", ".join(info.parts)),
                *(
                    (key, ", ".join(value) if isinstance(value, tuple) else value)
                    for key, value in info.metadata.items()
                ),
                ("license", info.license),
                ("paper", info.paper),
                ("homepage", info.homepage),
                *(("note", note) for note in info.notes),
            ]
        )
    )
    rows = [
        (file.role, number(file.size_bytes), "yes" if find_cached(file.sha256) else "no", file.sha256)
        for file in info.files
    ]
    print()
    print(table(("FILE", "BYTES", "CACHED", "SHA256"), rows))
