"""What the commands for images have in common: loading a model, a bar, and the summary of what was done."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from holotype.printing import BOLD, DIM, GREEN, coloured, print_json
from holotype.text import number, plain, rate

if TYPE_CHECKING:
    from holotype.vision.prediction.classification import ImagesReport

# Stage -> what is counted.
UNITS = dict.fromkeys(
    ("classifying", "detecting", "reconstructing", "embedding images", "drawing", "measuring"), "images"
)


def load(name: str, device: str) -> Any:
    """A model of images, and its record, which calls it what the command called it."""
    from holotype.vision.prediction.model import load_image_model

    net, info = load_image_model(name, device=device)
    return net, replace(info, name=name)


def finish(verb: str, report: ImagesReport, *, as_json: bool, skip_broken: bool) -> int:
    """Print what was done and what was not; the exit code."""
    if as_json:
        # What is written nowhere else is the answer itself.
        answer = report.output is None and not report.pictures
        print_json([one.to_dict() for one in report.results] if answer else report.to_dict())
    else:
        _print(report)
    for path, reason in report.unreadable:
        text = plain(reason)
        # The reason names the file, unless it is about what is in it.
        print(
            f"holotype {verb}: {text if plain(path) in text else f'{plain(path)}: {text}'}", file=sys.stderr
        )
    if report.unreadable:
        count = len(report.unreadable)
        images = "image" if count == 1 else "images"
        total = count + report.images
        print(f"holotype {verb}: {count:,} {images} of {total:,} could not be read", file=sys.stderr)
    return 1 if report.unreadable and not skip_broken else 0


def _print(report: ImagesReport) -> None:
    """The summary; nothing where the results were printed and nothing else is to say."""
    if report.output is not None:
        rows = f"{report.rows:,} {'row' if report.rows == 1 else 'rows'}"
        print(f"{coloured(plain(report.output), BOLD)}  {coloured(rows, GREEN)}")
    if report.output is not None or report.pictures:
        print(f"  model      {plain(report.model)}")
        speed = f", {rate(report.images / report.seconds)} a second" if report.seconds else ""
        print(f"  images     {number(report.images)}{speed}")
    if report.pictures:
        more = f" and {len(report.pictures) - 1:,} more" if len(report.pictures) > 1 else ""
        print(f"  pictures   {plain(report.pictures[0])}{more}")
    notes = list(report.notes)
    if report.skipped:
        count = len(report.skipped)
        notes.append(f"{count:,} other {'file' if count == 1 else 'files'} skipped")
    for note in notes:
        print(coloured(f"  note       {plain(note)}", DIM))
