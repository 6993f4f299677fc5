"""``holotype embed`` of images: `holotype.vision.prediction.embeddings.embed_files`, printed."""

from __future__ import annotations

import argparse
import sys

from holotype.domains import Command
from holotype.options import Options, from_1
from holotype.progress import stage_bar
from holotype.text import plain
from holotype.vision.commands.report import UNITS, finish


def _add_options(options: Options) -> None:
    options.add_argument("--batch-size", type=from_1, metavar="N", help="images at once (default: 16)")
    options.add_argument(
        "--skip-broken", action="store_true", help="exit with 0 even if some images could not be read"
    )


def _run(arguments: argparse.Namespace) -> int:
    """Embed images into a file."""
    from holotype.vision.prediction.embeddings import embed_files

    model, images = arguments.files[0], arguments.files[1:]
    wrong = _wrong(arguments, images)
    if wrong:
        print(f"holotype embed: {wrong}", file=sys.stderr)
        return 2
    with stage_bar(UNITS) as progress:
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
    return None


COMMAND = Command(
    "images",
    _run,
    _add_options,
    usage=("MODEL IMAGES ... -o OUT.parquet",),
    notes=("Images that cannot be read are listed, the others go on,\nand the exit code is 1."),
)
