"""``holotype evaluate``: `evaluate_model` or `evaluate_file`, printed; images are in `evaluate_images`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from holotype.cli import evaluate_images
from holotype.printing import BOLD, DIM, GREEN, RED, YELLOW, coloured, fields, print_json, table, width
from holotype.text import plain

if TYPE_CHECKING:
    from holotype.proteins.evaluation.evaluate import Evaluation, Value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="a pretrained entry, a weight file, or a run folder"
    )
    parser.add_argument(
        "--predictions", metavar="FILE", help="any tool's: protein_a, protein_b, label, score"
    )
    parser.add_argument("--data", metavar="NAME", help="a dataset ('holotype data list'), or its YAML file")
    parser.add_argument("--split", default="test", metavar="PART", help="which of its parts (default: test)")
    parser.add_argument(
        "--train",
        metavar="FILE",
        help="the pairs that were learned from, if not those of --data; or images to learn a probe from",
    )
    parser.add_argument("--sequences", nargs="+", metavar="FASTA", help="for the baseline of lengths")
    parser.add_argument(
        "--embeddings", nargs="+", metavar="FILE", help="of the proteins, from 'holotype embed'"
    )
    parser.add_argument("--validation", metavar="FILE", help="predictions to fit a temperature on")
    parser.add_argument("--ranks-only", action="store_true", help="the scores are not probabilities")
    parser.add_argument("--threshold", type=_share, default=0.5, help="positive from here on (default: 0.5)")
    parser.add_argument("--resamples", type=_count, default=1000, help="of the bootstrap (default: 1000)")
    parser.add_argument("--seed", type=_count, default=0, help="of the bootstrap (default: 0)")
    parser.add_argument("--device", default="cpu", help="such as cuda (default: cpu)")
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", help="write report.html and evaluation.json there"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier report")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    evaluate_images.add_arguments(parser.add_argument_group("images"))
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "examples:\n"
        "  holotype evaluate MODEL --data bernett -o report\n"
        "  holotype evaluate CLASSIFIER --images photos/test\n"
        "  holotype evaluate DETECTOR --images val2017/ \\\n"
        "      --coco instances_val2017.json\n"
        "  holotype evaluate ENCODER --train photos/train \\\n"
        "      --test photos/test --method linear\n"
        "  holotype evaluate ENCODER --data digits --method knn"
    )


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is below 0")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{value:g} is not from 0 to 1")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, write the report, and print the figures."""
    if evaluate_images.is_meant(arguments):
        return evaluate_images.run(arguments)
    wrong = _problem(arguments)
    if wrong:
        print(f"holotype evaluate: {wrong}", file=sys.stderr)
        return 2
    evaluation = _of_file(arguments) if arguments.predictions else _of_model(arguments)
    if arguments.json:
        print_json(evaluation.to_dict())
    else:
        show(evaluation)
    if arguments.output:
        from holotype.proteins.evaluation.report import HTML

        print(f"report: {plain(Path(arguments.output) / HTML)}", file=sys.stderr)
    return 0


def _problem(arguments: argparse.Namespace) -> str | None:
    if bool(arguments.model) == bool(arguments.predictions):
        return "give a model or --predictions FILE" + (", not both" if arguments.model else "")
    if arguments.model and not arguments.data:
        return "a model is evaluated on a dataset: --data NAME ('holotype data list' lists them)"
    for option in ("validation", "ranks_only", "sequences") if arguments.model else ():
        if getattr(arguments, option):
            return f"--{option.replace('_', '-')} goes with --predictions"
    if arguments.validation and arguments.ranks_only:
        return "--validation makes probabilities of the scores; --ranks-only says that they are none"
    return None


def _of_model(arguments: argparse.Namespace) -> Evaluation:
    from holotype.proteins.evaluation.evaluate import evaluate_model

    return evaluate_model(
        arguments.model,
        arguments.data,
        split=arguments.split,
        train=arguments.train,
        embeddings=arguments.embeddings,
        output=arguments.output,
        overwrite=arguments.overwrite,
        threshold=arguments.threshold,
        resamples=arguments.resamples,
        seed=arguments.seed,
        device=arguments.device,
        progress=_progress(),
    )


def _of_file(arguments: argparse.Namespace) -> Evaluation:
    from holotype.proteins.evaluation.evaluate import evaluate_file
    from holotype.proteins.evaluation.report import check_folder, write_report

    if arguments.output:
        check_folder(Path(arguments.output), overwrite=arguments.overwrite)
    train: Any = arguments.train
    sequences: Any = None
    if arguments.data:
        from holotype.proteins.data.datasets import load_dataset

        dataset = load_dataset(arguments.data)
        sequences = dataset.sequences
        train = train if train is not None else dataset.splits.get("train")
    if arguments.sequences:
        from holotype.proteins.data.fasta import read_proteins

        sequences = read_proteins(*arguments.sequences)
    embeddings = None
    if arguments.embeddings:
        from holotype.proteins.data.embeddings import open_embeddings

        embeddings = open_embeddings(arguments.embeddings)
    evaluation = evaluate_file(
        arguments.predictions,
        train=train,
        sequences=sequences,
        embeddings=embeddings,
        validation=arguments.validation,
        probabilities=False if arguments.ranks_only else None,
        threshold=arguments.threshold,
        resamples=arguments.resamples,
        seed=arguments.seed,
    )
    if arguments.output:
        write_report(evaluation, arguments.output, overwrite=arguments.overwrite)
    return evaluation


def _progress() -> Callable[[int, int], None] | None:
    if not sys.stderr.isatty():
        return None

    def show_it(done: int, total: int) -> None:
        sys.stderr.write(f"\rscoring  {done:,}/{total:,} pairs\x1b[K" + ("\n" if done >= total else ""))
        sys.stderr.flush()

    return show_it


_COLOURS = {"better": GREEN, "level": YELLOW, "worse": RED, "unknown": YELLOW}


def show(evaluation: Evaluation) -> None:
    """Print the verdict, the headline's figures, those of each class, and the baselines."""
    from holotype.proteins.evaluation.metrics import METRICS

    one = evaluation.headline
    print(coloured(plain(evaluation.title), BOLD))
    what = one.text if one.name == "all" else f"{one.name}: {one.text}"
    print(
        fields(
            [
                ("pairs", f"{len(evaluation.labels):,}, {int(evaluation.labels.sum()):,} of them positive"),
                ("headline", f"{what}; {one.pairs:,} pairs, {one.positives:,} positive"),
            ]
        )
    )
    print()
    for line in wrap(plain(evaluation.verdict), width()):
        print(coloured(line, _COLOURS[evaluation.state]))
    print()
    rows = [
        (METRICS[name].title, _number(value), _interval(value))
        for name, value in one.metrics.items()
        if not value.why
    ]
    print(table(("METRIC", "VALUE", "95 % INTERVAL"), rows))
    if len(evaluation.shown) > 1:
        print()
        classes = [
            (s.name, f"{s.pairs:,}", _number(s.metrics["auroc"]), _interval(s.metrics["auroc"]),
             _number(s.metrics["average_precision"]))
            for s in evaluation.shown
        ]  # fmt: skip
        print(table(("PAIRS", "NUMBER", "AUROC", "95 % INTERVAL", "AP"), classes))
    print()
    order = sorted(one.baselines.items(), key=lambda item: -_or_none(item[1]["auroc"]))
    baselines = [
        (name, _number(values["auroc"]), _interval(values["auroc"]), _number(values["average_precision"]))
        for name, values in order
    ]
    print(table(("BASELINE", "AUROC", "95 % INTERVAL", "AP"), baselines))
    told = [f"{METRICS[name].title}: {value.why}" for name, value in one.metrics.items()
            if value.why and evaluation.probabilities]  # fmt: skip
    if told or evaluation.notes:
        print()
    for note in (*told, *evaluation.notes):
        for line in wrap(plain(note), width(), initial_indent="- ", subsequent_indent="  "):
            print(coloured(line, DIM))


def _or_none(value: Value) -> float:
    return value.value if value.value == value.value else -1.0


def _number(value: Value) -> str:
    return "–" if value.value != value.value else f"{value.value:.3f}"


def _interval(value: Value) -> str:
    low, high = value.interval
    return "–" if low != low else f"{low:.3f}{' to ' if low < 0 else '–'}{high:.3f}"
