"""``holotype convert``: `holotype.weights.convert.convert`, printed."""

from __future__ import annotations

import argparse

from holotype.printing import print_json
from holotype.text import number, plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("source", metavar="IN", help="a safetensors, .pt or .npz file")
    parser.add_argument("target", metavar="OUT", help="the new file, ending in .safetensors or .pt")
    parser.add_argument("--key", help="which state of a file that holds several (default: an average first)")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Convert, and print what was compared."""
    from holotype.weights.convert import convert

    done = convert(arguments.source, arguments.target, key=arguments.key, overwrite=arguments.overwrite)
    if arguments.json:
        print_json(done.to_dict())
        return 0
    print(
        f"{plain(done.target)}: {done.tensors} tensors, {number(done.size_bytes)} bytes; equal to the source"
    )
    if done.state:
        rest = f"; not converted: {', '.join(done.other_states)}" if done.other_states else ""
        print(f"state: {plain(done.state)}{plain(rest)}")
    if done.left_out:
        print(f"left out, no plain data: {plain(', '.join(done.left_out))}")
    return 0
