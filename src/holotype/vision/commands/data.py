"""``holotype data info --read`` of images: what the files hold."""

from __future__ import annotations

from holotype.domains import Reading
from holotype.printing import table
from holotype.text import number, plain
from holotype.vision.data.load import load_image_dataset


def read(source: str) -> Reading:
    """Read a dataset by name."""
    dataset = load_image_dataset(source)
    rows = [(part, number(len(images)), images.digest) for part, images in dataset.splits.items()]
    shown = table(("PART", "IMAGES", "DIGEST"), rows)
    return Reading(
        name=dataset.name,
        facts={
            "parts": {part: len(images) for part, images in dataset.splits.items()},
            "classes": list(dataset.classes),
            "digests": dict(dataset.digests),
            "notes": list(dataset.notes),
            "split_by": dataset.split_by,
        },
        text=f"{shown}\nclasses: {plain(', '.join(dataset.classes))}",
    )
