"""``holotype info --measure``: `holotype.weights.measure.measure_model`, printed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from holotype.options import from_1
from holotype.printing import BOLD, coloured, fields
from holotype.text import counted, number, rate

if TYPE_CHECKING:
    from holotype.weights.measure import Measurement


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `holotype info` that measure."""
    parser.add_argument(
        "--measure",
        action="store_true",
        help="count the multiplications of an image model, and measure its speed here",
    )
    parser.add_argument(
        "--batch", type=from_1, metavar="N", help="images at once (with --measure; default: 1)"
    )
    parser.add_argument("--device", metavar="DEVICE", help="where to measure it (default: cpu)")


def problem(arguments: argparse.Namespace) -> str | None:
    """What is wrong with the options, or None."""
    for option, value in (("--batch N", arguments.batch), ("--device", arguments.device)):
        if value is not None and not arguments.measure:
            return f"{option} goes with --measure"
    return None


def of(name: str, arguments: argparse.Namespace) -> Measurement:
    """Measure one model."""
    from holotype.weights.measure import measure_model

    batch = 1 if arguments.batch is None else arguments.batch
    return measure_model(name, batch=batch, device=arguments.device or "cpu")


def as_text(found: Measurement) -> str:
    """The figures, and the conditions of the measurement."""
    images = counted(found.batch, "image")
    here = f"{found.device}, {counted(found.threads, 'thread')}"
    rows: list[tuple[str, object]] = [
        ("images", f"{found.size[0]} × {found.size[1]}, {found.dtype}"),
        ("parameters", number(found.params)),
        ("MACs", None if found.macs is None else f"{_short(found.macs)} an image"),
        ("activations", f"{_bytes(found.training_bytes)} kept to train on {images}"),
        ("", f"{_bytes(found.inference_bytes)} at most to run on {images}"),
        ("speed", f"{rate(found.images_per_s)} images/s, {images} at once"),
        ("", f"{here}, torch {found.torch}; median of {found.batches}"),
    ]
    return f"\n{coloured('measured', BOLD)}\n{fields(rows)}"


def _short(value: int) -> str:
    for size, sign in ((10**12, "T"), (10**9, "G"), (10**6, "M")):
        if value >= size:
            return f"{value / size:.3g} {sign}"
    return f"{value:,}"


def _bytes(value: int | None) -> str:
    return "unknown" if value is None else f"{value / 2**20:,.1f} MiB"
