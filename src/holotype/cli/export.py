"""``holotype export``: prints what `holotype.weights.export.export` did."""

from __future__ import annotations

import argparse

from holotype.printing import print_json
from holotype.text import number, plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument(
        "name",
        metavar="NAME",
        help="a pretrained entry, a file that save_pretrained wrote, or a run's folder",
    )
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the new file")
    parser.add_argument(
        "--format", choices=("onnx", "pt2"), help="what to write (default: what FILE ends in)"
    )
    parser.add_argument(
        "--size", type=int, metavar="N", help="the side of the images in pixels, if not the default"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Load, export, and print how far the outputs differ."""
    from holotype.weights.export import export
    from holotype.weights.open import open_model

    net, info = open_model(arguments.name, inference=True, size=arguments.size)
    done = export(net, arguments.output, format=arguments.format, info=info, overwrite=arguments.overwrite)
    if arguments.json:
        print_json(done.to_dict())
        return 0
    batches = ", ".join(str(batch) for batch in sorted(done.batches))
    print(
        f"{plain(done.path)}: {number(done.size_bytes)} bytes; "
        f"largest difference {done.largest_difference:.2g} at outputs up to {done.scale:.2g} "
        f"(batches of {batches})"
    )
    return 0
