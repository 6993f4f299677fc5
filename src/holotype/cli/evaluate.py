"""``holotype evaluate``: the options that all domains share; each domain measures and prints."""

from __future__ import annotations

import argparse

from holotype.cli import by_domain
from holotype.options import from_0

run = by_domain.run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="a pretrained entry, a weight file, or a run folder"
    )
    parser.add_argument("--data", metavar="NAME", help="a dataset ('holotype data list'), or its YAML file")
    parser.add_argument("--split", default="test", metavar="PART", help="which of its parts (default: test)")
    parser.add_argument(
        "--train",
        metavar="FILE",
        help="the pairs that were learned from, if not those of --data; or images to learn a probe from",
    )
    parser.add_argument("--seed", type=from_0, default=0, help="of all random choices (default: 0)")
    parser.add_argument("--device", default="cpu", help="such as cuda (default: cpu)")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    by_domain.add_options(parser, "evaluate", model="model")
