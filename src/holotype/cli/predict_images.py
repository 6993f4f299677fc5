"""``holotype predict`` of images: classes, boxes, reconstructions, saliency; printed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

from holotype.printing import BOLD, DIM, GREEN, coloured, print_json, table
from holotype.text import number, plain

if TYPE_CHECKING:
    from holotype.vision.prediction.classification import ImagesReport

_OPTIONS = {
    "output": "-o",
    "top": "-k",
    "batch_size": "--batch-size",
    "pictures": "--pictures",
    "saliency": "--saliency",
    "of_class": "--of-class",
    "seed": "--seed",
    "skip_broken": "--skip-broken",
}


def add_arguments(group: Any) -> None:
    """The options of this verb that are for images."""
    group.add_argument("-k", "--top", type=count, metavar="N", help="how many classes (default: 5)")
    group.add_argument(
        "--batch-size", type=count, metavar="N", help="images at once (default: 16; detectors: 4)"
    )
    group.add_argument(
        "--pictures", metavar="FOLDER", help="draw boxes, or what a masked image model reconstructs"
    )
    group.add_argument(
        "--saliency", metavar="PNG", help="draw what the network goes by; for several images, a folder"
    )
    group.add_argument("--of-class", metavar="NAME", help="what speaks for this class (with --saliency)")
    group.add_argument("--seed", type=int, metavar="N", help="of the masks (default: 0)")
    group.add_argument(
        "--skip-broken", action="store_true", help="exit with 0 though some images could not be read"
    )


def count(text: str) -> int:
    """A number of things, for `argparse`."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 on, not {plain(text)!r}")
    return value


def rate(value: float) -> str:
    """How many a second."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def load(name: str, device: str) -> Any:
    """A model of images, and its record, which calls it what the command called it."""
    from holotype.vision.prediction.model import load_image_model

    net, info = load_image_model(name, device=device)
    return net, replace(info, name=name)


def given(arguments: argparse.Namespace) -> list[str]:
    """Which of these options were given."""
    return [
        option
        for name, option in _OPTIONS.items()
        if name != "output" and getattr(arguments, name) not in (None, False)
    ]


def problem(arguments: argparse.Namespace) -> str | None:
    """What is wrong with the command itself."""
    if arguments.saliency is not None:
        others = ("output", "pictures", "threshold", "top", "batch_size", "seed")
        for name, option in ((name, _OPTIONS.get(name, f"--{name}")) for name in others):
            if getattr(arguments, name) is not None:
                return f"--saliency draws pictures of what a classifier goes by; {option} does not go with it"
    elif arguments.of_class is not None:
        return "--of-class goes with --saliency"
    return None


def run(arguments: argparse.Namespace) -> int:
    """Classify, detect or reconstruct, as the model does."""
    from holotype.tasks import Task
    from holotype.vision.prediction.model import image_task, refuse
    from holotype.vision.prediction.rows import check_rows

    if arguments.output is not None:  # before a model is fetched
        check_rows(Path(arguments.output), overwrite=arguments.overwrite)
    opened = load(arguments.name, arguments.device)
    task = image_task(*opened)
    if task == Task.SELF_SUPERVISED_LEARNING:
        raise refuse(arguments.name, task, "predicting")
    wrong = _unfit(arguments, task)
    if wrong:
        print(f"holotype predict: {wrong}", file=sys.stderr)
        return 2
    if arguments.saliency is not None:
        return _saliency(arguments, opened)
    act = {Task.OBJECT_DETECTION: _detect, Task.MASKED_IMAGE_MODELING: _reconstruct}
    report = next((do for one, do in act.items() if one == task), _classify)(arguments, opened)
    return finish("predict", report, as_json=arguments.json, skip_broken=arguments.skip_broken)


def _unfit(arguments: argparse.Namespace, task: str) -> str | None:
    """Which option is not for a model of this task."""
    from holotype.tasks import Task

    detects, masked = task == Task.OBJECT_DETECTION, task == Task.MASKED_IMAGE_MODELING
    what = "a detector" if detects else "a masked image model" if masked else "a classifier"
    fits = {
        "top": not (detects or masked),
        "saliency": not (detects or masked),
        "pictures": detects or masked,
        "threshold": detects,
        "output": not masked,
        "seed": masked,
        "batch_size": not masked,
    }
    for name, good in fits.items():
        if not good and getattr(arguments, name) is not None:
            option = _OPTIONS.get(name, f"--{name}")
            return f"{plain(arguments.name)} is {what}, which {option} is not for"
    if masked and arguments.pictures is None:
        return (
            f"{plain(arguments.name)} is a masked image model, which names nothing and paints pictures: "
            "give --pictures FOLDER"
        )
    return None


@contextmanager
def bar() -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar on a terminal."""
    from holotype.cli.predict import Bar

    drawn = Bar() if sys.stderr is not None and sys.stderr.isatty() else None
    try:
        yield drawn
    finally:
        if drawn is not None:
            drawn.close()


def _classify(arguments: argparse.Namespace, opened: Any) -> ImagesReport:
    from holotype.vision.prediction.classification import predict_files

    with bar() as progress:
        report = predict_files(
            opened,
            arguments.images,
            output=arguments.output,
            top_k=5 if arguments.top is None else arguments.top,
            batch_size=16 if arguments.batch_size is None else arguments.batch_size,
            overwrite=arguments.overwrite,
            progress=progress,
        )
    if not arguments.json:
        for prediction in report.results:
            print(coloured(plain(prediction.path), BOLD))
            for name, probability in prediction.classes:
                print(f"  {probability:7.2%}  {plain(name)}")
    return report


def _detect(arguments: argparse.Namespace, opened: Any) -> ImagesReport:
    from holotype.vision.prediction.detections import detect_files

    with bar() as progress:
        report = detect_files(
            opened,
            arguments.images,
            output=arguments.output,
            pictures=arguments.pictures,
            threshold=0.5 if arguments.threshold is None else arguments.threshold,
            batch_size=4 if arguments.batch_size is None else arguments.batch_size,
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


def _reconstruct(arguments: argparse.Namespace, opened: Any) -> ImagesReport:
    from holotype.vision.prediction.reconstructions import reconstruct_files

    with bar() as progress:
        return reconstruct_files(
            opened,
            arguments.images,
            pictures=arguments.pictures,
            seed=arguments.seed or 0,
            overwrite=arguments.overwrite,
            progress=progress,
        )


def _saliency(arguments: argparse.Namespace, opened: Any) -> int:
    from holotype.errors import ImageError
    from holotype.vision.prediction.classification import ImagesReport, model_name
    from holotype.vision.prediction.files import Unreadable, check_apart, find_images, picture_paths
    from holotype.vision.prediction.saliency import check_picture, class_of, saliency_picture, save_saliency

    files = find_images(arguments.images).files
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
    with bar() as progress:
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


def finish(verb: str, report: ImagesReport, *, as_json: bool, skip_broken: bool) -> int:
    """Print what was done and what was not; the exit code."""
    if as_json:
        # What is written nowhere else is the answer itself.
        answer = report.output is None and not report.pictures
        print_json([one.to_dict() for one in report.results] if answer else report.to_dict())
    else:
        _print(report)
    for path, reason in report.unreadable:
        told = plain(reason)
        # The reason names the file, unless it is about what is in it.
        print(
            f"holotype {verb}: {told if plain(path) in told else f'{plain(path)}: {told}'}", file=sys.stderr
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
    told = list(report.notes)
    if report.skipped:
        count = len(report.skipped)
        told.append(f"{count:,} other {'file' if count == 1 else 'files'} skipped")
    for note in told:
        print(coloured(f"  note       {plain(note)}", DIM))
