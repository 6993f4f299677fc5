"""``holotype predict`` of images: classes, boxes, reconstructions, saliency; printed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

from holotype.domains import Command
from holotype.entry_points import resolve
from holotype.options import Options, from_1
from holotype.printing import BOLD, coloured, table
from holotype.progress import stage_bar
from holotype.text import plain
from holotype.vision.commands.report import UNITS, finish, load
from holotype.vision.tasks import ImageTask, facts_of

if TYPE_CHECKING:
    from holotype.vision.prediction.classification import ImagesReport

_TYPED = {"output": "-o", "top": "-k"}  # options that are typed otherwise than they are called


def _add_options(options: Options) -> None:
    options.add_argument("-k", "--top", type=from_1, metavar="N", help="how many classes (default: 5)")
    options.add_argument(
        "--batch-size", type=from_1, metavar="N", help="images at once (default: 16; detectors: 4)"
    )
    options.add_argument(
        "--pictures", metavar="FOLDER", help="draw boxes, or what a masked image model reconstructs"
    )
    options.add_argument(
        "--saliency", metavar="PNG", help="draw what decides for a class; for several images, a folder"
    )
    options.add_argument("--of-class", metavar="NAME", help="what decides for this class (with --saliency)")
    options.add_argument("--seed", type=int, metavar="N", help="of the masks (default: 0)")
    options.add_argument(
        "--skip-broken", action="store_true", help="exit with 0 even if some images could not be read"
    )


def _typed(name: str) -> str:
    return _TYPED.get(name, f"--{name.replace('_', '-')}")


def _wrong(message: str) -> int:
    print(f"holotype predict: {message}", file=sys.stderr)
    return 2


def _problem(arguments: argparse.Namespace) -> str | None:
    """What is wrong with the command itself."""
    if arguments.saliency is not None:
        others = ("output", "pictures", "threshold", "top", "batch_size", "seed")
        given = [_typed(name) for name in others if getattr(arguments, name) is not None]
        if given:
            return f"--saliency only draws pictures; {given[0]} does not go with it"
    elif arguments.of_class is not None:
        return "--of-class goes with --saliency"
    return None


def _run(arguments: argparse.Namespace) -> int:
    """Classify, detect or reconstruct, as the model does."""
    from holotype.vision.prediction.model import image_task, refuse
    from holotype.vision.prediction.rows import check_rows

    if not arguments.inputs:
        return _wrong("which images? give files, folders or globs")
    wrong = _problem(arguments)
    if wrong:
        return _wrong(wrong)
    if arguments.output is not None:  # before a model is fetched
        check_rows(Path(arguments.output), overwrite=arguments.overwrite)
    opened = load(arguments.name, arguments.device)
    task = image_task(*opened)
    facts = facts_of(task)
    if not facts.predict:
        raise refuse(arguments.name, task, "predicting")
    wrong = _unfit(arguments, facts)
    if wrong:
        return _wrong(wrong)
    if arguments.saliency is not None:
        return _saliency(arguments, opened)
    report = resolve(facts.predict)(arguments, opened, facts)
    return finish("predict", report, as_json=arguments.json, skip_broken=arguments.skip_broken)


def _unfit(arguments: argparse.Namespace, facts: ImageTask) -> str | None:
    """Which option is not for a model of this task."""
    what = f"{plain(arguments.name)} is {facts.noun}"
    for name in ("top", "saliency", "pictures", "threshold", "output", "seed", "batch_size"):
        if name not in facts.options and getattr(arguments, name) is not None:
            return f"{what}, which {_typed(name)} is not for"
    if "output" not in facts.options and arguments.pictures is None:
        return f"{what}, whose predictions are pictures: give --pictures FOLDER"
    return None


def classify(arguments: argparse.Namespace, opened: Any, facts: ImageTask) -> ImagesReport:
    """Classify images, and print the classes that are written nowhere."""
    from holotype.vision.prediction.classification import predict_files

    with stage_bar(UNITS) as progress:
        report = predict_files(
            opened,
            arguments.inputs,
            output=arguments.output,
            top_k=5 if arguments.top is None else arguments.top,
            batch_size=arguments.batch_size or facts.batch_size,
            overwrite=arguments.overwrite,
            progress=progress,
        )
    if not arguments.json:
        for prediction in report.results:
            print(coloured(plain(prediction.path), BOLD))
            for name, probability in prediction.classes:
                print(f"  {probability:7.2%}  {plain(name)}")
    return report


def detect(arguments: argparse.Namespace, opened: Any, facts: ImageTask) -> ImagesReport:
    """Detect objects, and print those that are written nowhere."""
    from holotype.vision.prediction.detections import detect_files

    with stage_bar(UNITS) as progress:
        report = detect_files(
            opened,
            arguments.inputs,
            output=arguments.output,
            pictures=arguments.pictures,
            threshold=0.5 if arguments.threshold is None else arguments.threshold,
            batch_size=arguments.batch_size or facts.batch_size,
            overwrite=arguments.overwrite,
            progress=progress,
        )
    if not arguments.json:
        for found in report.results:
            print(coloured(plain(found.path), BOLD))
            if not found.objects:
                print("  nothing")
                continue
            rows = [
                (one.name, f"{one.score:.2f}", *(f"{edge:.0f}" for edge in one[2:6])) for one in found.objects
            ]
            print(indent(table(("CLASS", "SCORE", "X1", "Y1", "X2", "Y2"), rows), "  "))
    return report


def reconstruct(arguments: argparse.Namespace, opened: Any, facts: ImageTask) -> ImagesReport:
    """Draw what a masked image model reconstructs."""
    from holotype.vision.prediction.reconstructions import reconstruct_files

    with stage_bar(UNITS) as progress:
        return reconstruct_files(
            opened,
            arguments.inputs,
            pictures=arguments.pictures,
            seed=arguments.seed or 0,
            overwrite=arguments.overwrite,
            progress=progress,
        )


def _saliency(arguments: argparse.Namespace, opened: Any) -> int:
    from holotype.errors import ImageError
    from holotype.vision.prediction.classification import ImagesReport
    from holotype.vision.prediction.files import Unreadable, check_apart, find_images, picture_paths
    from holotype.vision.prediction.model import model_name
    from holotype.vision.prediction.saliency import check_picture, class_of, saliency_picture, save_saliency

    files = find_images(arguments.inputs).files
    if len(files) == 1 and Path(arguments.saliency).suffix:
        places = {files[0]: Path(arguments.saliency)}
        check_apart(places)
    else:
        places = picture_paths(files, arguments.saliency, overwrite=arguments.overwrite)
    for place in places.values():
        check_picture(place, overwrite=arguments.overwrite)
    index = None if arguments.of_class is None else class_of(opened[1], arguments.of_class)
    unreadable: list[Unreadable] = []
    drawn: list[str] = []
    with stage_bar(UNITS) as progress:
        for file in files:
            try:
                picture = saliency_picture(opened, file, class_index=index)
            except ImageError as error:
                unreadable.append(Unreadable(file, str(error).splitlines()[0]))
                continue
            save_saliency(picture, places[file], overwrite=arguments.overwrite)
            drawn.append(str(places[file]))
            if progress is not None:
                progress("drawing", len(drawn) + len(unreadable), len(files))
    name = model_name(arguments.name, opened[1])
    report = ImagesReport(name, len(drawn), tuple(unreadable), pictures=tuple(drawn))
    return finish("predict", report, as_json=arguments.json, skip_broken=arguments.skip_broken)


COMMAND = Command(
    "images",
    _run,
    _add_options,
    usage=("MODEL IMAGES ... [-o OUT.csv]",),
    notes=(
        "Images:\n"
        "  holotype predict efficientnet_lite0_imagenet1k \\\n"
        "      owl.jpg\n"
        "  holotype predict efficientnet_lite0_imagenet1k \\\n"
        "      photos/ -o classes.csv\n"
        "  holotype predict runs/detector street/ \\\n"
        "      -o boxes.csv --pictures drawn/\n"
        "Those that cannot be read are listed, the others go on,\n"
        "and the exit code is 1."
    ),
)
