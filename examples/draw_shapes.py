"""Pictures of coloured shapes with boxes around them: data for detectors, made from a seed.

    python examples/draw_shapes.py shapes --count 16

writes ``shapes/images/`` and ``shapes/annotations.json``, in COCO's format.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("circle", "square", "triangle")

Shapes = tuple[list[Image.Image], list[np.ndarray], list[np.ndarray]]


def draw_shapes(count: int, size: int = 96, seed: int = 0, most: int = 3) -> Shapes:
    """Draw pictures with one to `most` shapes each, which do not overlap.

    Args:
        count: how many pictures.
        size: their side in pixels.
        seed: the same seed draws the same pictures.
        most: shapes in a picture.

    Returns:
        Pictures; for each its boxes, (n, 4) float32 x1, y1, x2, y2; for each its labels, (n,) int64, places
        in `SHAPES`.
    """
    rng = np.random.default_rng(seed)
    pictures, boxes, labels = [], [], []
    for _ in range(count):
        noise = rng.normal(rng.uniform(60, 200, 3), 12, (size, size, 3))
        picture = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
        placed: list[tuple[int, int, int, int]] = []
        classes = []
        for _ in range(int(rng.integers(1, most + 1))):
            box = _free_place(rng, size, placed)
            if box is None:
                continue
            classes.append(int(rng.integers(len(SHAPES))))
            placed.append(box)
            _draw(ImageDraw.Draw(picture), SHAPES[classes[-1]], box, _colour(rng, noise.mean((0, 1))))
        pictures.append(picture)
        boxes.append(np.array(placed, np.float32).reshape(-1, 4))
        labels.append(np.array(classes, np.int64))
    return pictures, boxes, labels


def _free_place(
    rng: np.random.Generator, size: int, placed: list[tuple[int, int, int, int]]
) -> tuple[int, int, int, int] | None:
    for _ in range(50):
        side = int(rng.integers(size // 5, size // 2 + 1))
        x, y = (int(at) for at in rng.integers(0, size - side + 1, 2))
        box = (x, y, x + side, y + side)
        if all(box[2] <= b[0] or b[2] <= box[0] or box[3] <= b[1] or b[3] <= box[1] for b in placed):
            return box
    return None


def _colour(rng: np.random.Generator, background: np.ndarray) -> tuple[int, int, int]:
    """A colour that can be told from the background."""
    while True:
        colour = rng.integers(0, 256, 3)
        if np.abs(colour - background).max() > 80:
            return (int(colour[0]), int(colour[1]), int(colour[2]))


def _draw(
    draw: ImageDraw.ImageDraw, shape: str, box: tuple[int, int, int, int], colour: tuple[int, int, int]
) -> None:
    x1, y1, x2, y2 = box[0], box[1], box[2] - 1, box[3] - 1  # Pillow counts the last pixel in
    if shape == "circle":
        draw.ellipse((x1, y1, x2, y2), fill=colour)
    elif shape == "square":
        draw.rectangle((x1, y1, x2, y2), fill=colour)
    else:
        draw.polygon(((x1, y2), (x2, y2), ((x1 + x2) / 2, y1)), fill=colour)


def write_coco(folder: Path, count: int, *, size: int = 96, seed: int = 0) -> None:
    """Draw pictures into ``folder/images``, and their boxes into ``folder/annotations.json``."""
    (folder / "images").mkdir(parents=True)
    pictures, boxes, labels = draw_shapes(count, size, seed)
    images, annotations = [], []
    for number, picture in enumerate(pictures, 1):
        name = f"{number:04d}.png"
        picture.save(folder / "images" / name)
        images.append({"id": number, "file_name": name, "width": size, "height": size})
        for (x1, y1, x2, y2), label in zip(
            boxes[number - 1].tolist(), labels[number - 1].tolist(), strict=True
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(SHAPES, 1)]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(whole))


def main() -> None:
    """Draw as the command line says."""
    parser = argparse.ArgumentParser(
        description="Draw pictures of shapes, with their boxes in COCO's format."
    )
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--count", type=int, default=16, help="pictures (default: 16)")
    parser.add_argument("--size", type=int, default=96, help="side in pixels (default: 96)")
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    given = parser.parse_args()
    write_coco(given.folder, given.count, size=given.size, seed=given.seed)


if __name__ == "__main__":
    main()
