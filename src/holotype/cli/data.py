"""``holotype data``: the functions of `holotype.proteins.data.datasets`, printed."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from holotype.printing import BOLD, coloured, fields, print_json, prose, table
from holotype.text import number, plain

if TYPE_CHECKING:
    from holotype.proteins.data.datasets import DatasetInfo


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
    get.add_argument("--overwrite", action="store_true", help="replace files that are there")
    info = actions.add_parser(
        "info",
        help="tell all that is known of a dataset",
        description="Tell all that is known of a dataset; with --read, what is in it, and whether its "
        "split keeps its promise.",
    )
    info.add_argument("name", help="a dataset, or a YAML file of one's own")
    info.add_argument("--read", action="store_true", help="fetch and read it, and audit its split")
    for action in (ls, get, info):
        action.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Do what the action says."""
    action = {"list": _list, "get": _get, "info": _info}[arguments.action]
    return action(arguments)


def _list(arguments: argparse.Namespace) -> int:
    from holotype.proteins.data.datasets import dataset_problems, get_dataset_info, list_datasets

    infos = {name: get_dataset_info(name) for name in list_datasets(zoo=arguments.zoo)}
    if arguments.json:
        print_json([info.to_dict() for info in infos.values()])
    else:
        rows = [
            (name, ", ".join(info.parts), _size(info.size_bytes), info.license or "–", info.description)
            for name, info in infos.items()
        ]
        print(table(("NAME", "PARTS", "SIZE", "LICENSE", "DESCRIPTION"), rows))
    for problem in dataset_problems():
        print(f"holotype data: not read: {plain(problem)}", file=sys.stderr)
    return 0


def _get(arguments: argparse.Namespace) -> int:
    from holotype.proteins.data.datasets import copy_dataset, fetch_dataset

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
    from holotype.proteins.data.datasets import get_dataset_info, is_file

    known = None if is_file(arguments.name) else get_dataset_info(arguments.name)
    if arguments.read or known is None:
        return _read(arguments, known)
    if arguments.json:
        print_json(known.to_dict())
    else:
        _print_info(known)
    return 0


def _print_info(info: DatasetInfo) -> None:
    from holotype.store.fetch import find_cached

    print(coloured(plain(info.name), BOLD))
    print(
        fields(
            [
                ("description", info.description),
                ("zoo", info.zoo),
                ("species", ", ".join(info.species)),
                ("parts", ", ".join(info.parts)),
                ("protocol", info.protocol),
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


def _read_images(arguments: argparse.Namespace, known: DatasetInfo) -> int:
    from holotype.vision.data.load import load_image_dataset

    dataset = load_image_dataset(arguments.name)
    if arguments.json:
        print_json(
            {
                "name": dataset.name,
                "info": known.to_dict(),
                "parts": {part: len(images) for part, images in dataset.splits.items()},
                "classes": list(dataset.classes),
                "digests": dict(dataset.digests),
                "notes": list(dataset.notes),
                "split_by": dataset.split_by,
            }
        )
        return 0
    _print_info(known)
    print()
    rows = [(part, number(len(images)), images.digest) for part, images in dataset.splits.items()]
    print(table(("PART", "IMAGES", "DIGEST"), rows))
    print(f"classes: {plain(', '.join(dataset.classes))}")
    return 0


def _read(arguments: argparse.Namespace, known: DatasetInfo | None) -> int:
    if known is not None and known.holds == "images":
        return _read_images(arguments, known)
    from holotype.proteins.data.audit import audit_splits
    from holotype.proteins.data.datasets import load_dataset

    dataset = load_dataset(arguments.name)
    audit = audit_splits(dataset.splits, dataset.sequences, protocol=dataset.protocol)
    if arguments.json:
        reports = {part: pairs.report.to_dict() for part, pairs in dataset.splits.items() if pairs.report}
        print_json(
            {
                "name": dataset.name,
                "info": known.to_dict() if known else None,
                "sequences": len(dataset.sequences),
                "digests": dict(dataset.digests),
                "reports": reports,
                "notes": list(dataset.notes),
                "split_by": dataset.split_by,
                "audit": audit.to_dict(),
            }
        )
    else:
        if known is not None:
            _print_info(known)
            print()
        else:
            print(coloured(plain(dataset.name), BOLD))
        for line in (
            *dataset.notes[: len(dataset.notes) - len(known.notes if known else ())],
            *audit.lines(),
        ):
            print(prose(line, 0) if sys.stdout.isatty() else plain(line))
    return 0 if audit.ok else 1


def _size(size_bytes: int | None) -> str:
    return "–" if size_bytes is None else f"{size_bytes / 2**20:.1f} MiB"
