"""``holotype evaluate`` of models of images: accuracy, average precision, or a probe; printed."""

from __future__ import annotations

import argparse
import sys
from textwrap import wrap
from typing import Any

from holotype.domains import Command
from holotype.entry_points import resolve
from holotype.options import Options, from_1
from holotype.printing import BOLD, DIM, coloured, print_json, width
from holotype.progress import stage_bar
from holotype.text import plain
from holotype.vision.commands.report import UNITS, load
from holotype.vision.tasks import facts_of


def _add_options(options: Options) -> None:
    options.add_argument("--images", metavar="DIR", help="to classify: a subfolder for each class")
    options.add_argument("--coco", metavar="FILE", help="the boxes in --images, for a detector")
    options.add_argument("--test", metavar="DIR", help="to test a probe on that learns from --train")
    options.add_argument(
        "--method", choices=("knn", "linear"), help="of the probe: nearest neighbours, or logistic regression"
    )
    options.add_argument("-k", type=from_1, metavar="N", help="neighbours (default: 20)")
    options.add_argument("--batch-size", type=from_1, metavar="N", help="images at once (default: 16)")


def _run(arguments: argparse.Namespace) -> int:
    """Evaluate and print the figures."""
    wrong = _problem(arguments)
    if wrong:
        print(f"holotype evaluate: {wrong}", file=sys.stderr)
        return 2
    from holotype.vision.evaluation.evaluate import probe_encoder
    from holotype.vision.prediction.model import image_task

    opened = load(arguments.model, arguments.device)
    facts = facts_of(image_task(*opened))
    data, split = _data(arguments)
    common: dict[str, Any] = {"split": split, "batch_size": arguments.batch_size or facts.batch_size}
    with stage_bar(UNITS) as common["progress"]:
        if arguments.method is not None or arguments.test is not None:
            report = probe_encoder(
                opened,
                data,
                method=arguments.method or "knn",
                k=20 if arguments.k is None else arguments.k,
                seed=arguments.seed,
                **common,
            )
        else:
            report = resolve(facts.evaluate)(opened, data, **common)
    if arguments.json:
        print_json(report.to_dict())
        return 0
    print(coloured(plain(arguments.model), BOLD))
    print(report.to_text())
    for note in report.notes:
        for line in wrap(plain(note), width(), initial_indent="- ", subsequent_indent="  "):
            print(coloured(line, DIM))
    return 0


def _problem(arguments: argparse.Namespace) -> str | None:
    if not arguments.model:
        return "which model? holotype evaluate MODEL --images DIR"
    places = {
        "--data": arguments.data,
        "--images": arguments.images,
        "--test": arguments.test,
    }
    chosen = [option for option, value in places.items() if value]
    if len(chosen) != 1:
        named = " and ".join(chosen) if chosen else "none of them"
        return (
            f"which images? give one of --images DIR, --data NAME, --train DIR with --test DIR; not {named}"
        )
    if bool(arguments.train) != bool(arguments.test):
        return "a probe learns from some images and is tested on others: --train DIR --test DIR"
    if arguments.coco and not arguments.images:
        return "--coco FILE describes the images of --images DIR"
    if arguments.k is not None and (arguments.method == "linear" or not (arguments.method or arguments.test)):
        return "-k are the neighbours of a probe: --method knn"
    if arguments.images and arguments.method:
        return "a probe needs images to learn from: --train DIR --test DIR, or --data NAME"
    return None


def _data(arguments: argparse.Namespace) -> tuple[Any, str]:
    """What `load_image_dataset` takes, and the part to measure on."""
    if arguments.test:
        return {"train": arguments.train, "test": arguments.test}, "test"
    if arguments.images:
        images: Any = arguments.images
        if arguments.coco:
            images = {"images": arguments.images, "annotations": arguments.coco}
        return {"test": images}, "test"
    return arguments.data, arguments.split


COMMAND = Command(
    "images",
    _run,
    _add_options,
    usage=("MODEL --images DIR [--coco FILE]", "MODEL --train DIR --test DIR [--method NAME]"),
    notes=(
        "Images:\n"
        "  holotype evaluate CLASSIFIER --images photos/test\n"
        "  holotype evaluate DETECTOR --images val2017/ \\\n"
        "      --coco instances_val2017.json\n"
        "  holotype evaluate ENCODER --train photos/train \\\n"
        "      --test photos/test --method linear\n"
        "  holotype evaluate ENCODER --data digits --method knn"
    ),
)
