"""``holotype embed`` of images: `holotype.vision.prediction.embeddings.embed_files`, printed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from holotype.cli.predict_images import bar, count, finish
from holotype.text import plain

_ENDINGS = (".safetensors", ".pt", ".npz")
# Options of protein embeddings, and what they are when nobody gives them.
_ONLY_PROTEINS = {
    **{"pooling": "none", "window": None, "overlap": 0, "compute_dtype": "float32", "dtype": "float16"},
    "residues_per_batch": None,
}


def add_arguments(group: Any) -> None:
    """The options of this verb that are for images."""
    group.add_argument("--batch-size", type=count, metavar="N", help="images at once (default: 16)")
    group.add_argument(
        "--skip-broken", action="store_true", help="exit with 0 though some images could not be read"
    )


def is_meant(first: str) -> bool:
    """Is the first word a model, and not a file of sequences?

    A model is a run's folder, a weight file, or a name in a registry.
    """
    from holotype.catalog.registry import default_registry as registry

    path = Path(first)
    if path.is_dir() or path.suffix.lower() in _ENDINGS:
        return True
    return not path.is_file() and (registry.pretrained_exists(first) or registry.exists(first))


def problem(arguments: argparse.Namespace) -> str | None:
    """What is wrong with a command that is about proteins."""
    for option, value in (("--batch-size", arguments.batch_size), ("--skip-broken", arguments.skip_broken)):
        if value:
            return f"{option} is for images: holotype embed MODEL IMAGES -o OUT.parquet"
    first = arguments.files[0]
    if arguments.encoder is not None and not Path(first).is_file() and is_meant(first):
        return (
            f"{plain(first)} is no file of sequences. To embed images with a model of them, leave out -e:\n"
            f"  holotype embed {plain(first)} IMAGES -o OUT.parquet"
        )
    return None


def run(arguments: argparse.Namespace) -> int:
    """Embed images into a file."""
    from holotype.vision.prediction.embeddings import embed_files
    from holotype.vision.prediction.model import check_image_task, task_of

    model, images = arguments.files[0], arguments.files[1:]
    check_image_task(model, task_of(model))
    wrong = _wrong(arguments, images)
    if wrong:
        print(f"holotype embed: {wrong}", file=sys.stderr)
        return 2
    with bar() as progress:
        report = embed_files(
            model,
            images,
            output=arguments.output,
            batch_size=16 if arguments.batch_size is None else arguments.batch_size,
            device=arguments.device,
            overwrite=arguments.overwrite,
            progress=progress,
        )
    return finish("embed", report, as_json=arguments.json, skip_broken=arguments.skip_broken)


def _wrong(arguments: argparse.Namespace, images: list[str]) -> str | None:
    model = plain(arguments.files[0])
    if not images:
        return f"{model} is a model: give the images, too: holotype embed {model} IMAGES -o OUT.parquet"
    if arguments.output is None:
        return "where to? give a file: -o OUT.parquet, OUT.npz or OUT.csv"
    for name, usual in _ONLY_PROTEINS.items():
        if getattr(arguments, name) != usual:
            option = f"--{name.replace('_', '-')}"
            return f"{option} is for proteins, and {model} is a model of images"
    return None
