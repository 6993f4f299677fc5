"""``holotype evaluate`` of models of images: accuracy, average precision, or a probe; printed."""

from __future__ import annotations

import argparse
import sys
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from holotype.domains import Command
from holotype.options import Options, from_1
from holotype.printing import BOLD, DIM, coloured, fields, print_json, table, width
from holotype.progress import stage_bar
from holotype.text import number, plain
from holotype.vision.commands.report import UNITS, load

if TYPE_CHECKING:
    from holotype.vision.evaluation.evaluate import ClassificationReport, DetectionReport, ProbeReport

_MOST_CLASSES = 20


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
    from holotype.tasks import Task
    from holotype.vision.evaluation.evaluate import evaluate_classifier, evaluate_detector, probe_encoder
    from holotype.vision.prediction.model import image_task

    opened = load(arguments.model, arguments.device)
    detects = image_task(*opened) == Task.OBJECT_DETECTION
    data, split = _data(arguments)
    common: dict[str, Any] = {"split": split, "batch_size": arguments.batch_size or (4 if detects else 16)}
    report: ClassificationReport | DetectionReport | ProbeReport
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
        elif detects:
            report = evaluate_detector(opened, data, **common)
        else:
            report = evaluate_classifier(opened, data, **common)
    if arguments.json:
        print_json(report.to_dict())
    else:
        _show(report, arguments.model)
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


def _show(report: ClassificationReport | DetectionReport | ProbeReport, model: str) -> None:
    from holotype.vision.evaluation.evaluate import ClassificationReport, ProbeReport

    print(coloured(plain(model), BOLD))
    if isinstance(report, ProbeReport):
        _probe(report)
    elif isinstance(report, ClassificationReport):
        _classes(report)
    else:
        rows: list[tuple[str, object]] = [
            ("images", f"{number(report.images)} ({report.split} of {report.data})"),
            ("boxes", number(report.boxes)),
            ("mAP", f"{report.metrics['map']:.3f}  (mean over overlaps 0.50 to 0.95)"),
            ("mAP 50", f"{report.metrics['map_50']:.3f}"),
            ("mAP 75", f"{report.metrics['map_75']:.3f}"),
        ]
        print(fields(rows))
    for note in report.notes:
        for line in wrap(plain(note), width(), initial_indent="- ", subsequent_indent="  "):
            print(coloured(line, DIM))


def _share(value: float, interval: tuple[float, float] | None = None) -> str:
    around = f"  (95 % interval {interval[0]:.3f}–{interval[1]:.3f})" if interval else ""
    return f"{value:.3f}{around}"


def _probe(report: ProbeReport) -> None:
    result = report.result
    if result.method == "knn":
        how = f"{result.k} nearest neighbours, temperature {result.temperature:g}"
    else:
        how = f"logistic regression, L2 strength {result.strength:g}"
    print(
        fields(
            [
                ("probe", how),
                ("accuracy", _share(result.accuracy, result.interval)),
                ("right", f"{number(result.correct)} of {number(result.total)}"),
                (
                    "learned from",
                    f"{number(report.train)} images of {result.classes:,} classes",
                ),
                ("embeddings", f"{number(report.width)} numbers an image"),
                ("data", report.data),
            ]
        )
    )


def _classes(report: ClassificationReport) -> None:
    rows: list[tuple[str, object]] = [
        ("images", f"{number(report.images)} ({report.split} of {report.data})"),
        ("accuracy", _share(report.accuracy, report.interval)),
        ("balanced", _share(report.balanced_accuracy)),
    ]
    if report.top_5 is not None:
        rows.append(("top 5", _share(report.top_5)))
    print(fields(rows))
    print()
    ordered = sorted(report.per_class, key=lambda one: (one["recall"], one["class"]))
    cells = [
        (
            one["class"],
            number(one["images"]),
            f"{one['recall']:.3f}",
            "–" if one["precision"] is None else f"{one['precision']:.3f}",
        )
        for one in ordered[:_MOST_CLASSES]
    ]
    print(table(("CLASS", "IMAGES", "RECALL", "PRECISION"), cells))
    if len(ordered) > _MOST_CLASSES:
        print(
            coloured(f"and {len(ordered) - _MOST_CLASSES:,} more, with higher recall (--json has all)", DIM)
        )


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
