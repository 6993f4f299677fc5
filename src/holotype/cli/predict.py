"""``holotype predict``: the options that all domains share; each domain predicts and prints."""

from __future__ import annotations

import argparse

from holotype.cli import by_domain

run = by_domain.run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("name", metavar="MODEL", help="a pretrained entry, a weight file, or a run folder")
    inputs = parser.add_argument(
        "inputs",
        nargs="+",
        default=[],
        metavar="FILES",
        help="files, folders or globs, such as images; pairs of proteins are given by options",
    )
    # Not nargs="*", which takes none as soon as an option stands before the first.
    inputs.required = False
    parser.add_argument("-o", "--output", metavar="OUT", help="the table to write")
    parser.add_argument("--threshold", type=float, metavar="P", help="the least score that is listed")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument("--device", default="cpu", help="such as cuda (default: cpu)")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    by_domain.add_options(parser, "predict", model="name")
