"""``holotype evaluate`` of pairs of proteins: `evaluate_model` or `evaluate_file`, printed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from holotype.domains import Command
from holotype.options import Options, from_0, share
from holotype.printing import BOLD, DIM, GREEN, RED, YELLOW, coloured, fields, print_json, table, width
from holotype.progress import reporter
from holotype.text import plain

if TYPE_CHECKING:
    from holotype.proteins.evaluation.results import Evaluation, Value


def _add_options(options: Options) -> None:
    options.add_argument(
        "--predictions", metavar="FILE", help="predictions of any tool: protein_a, protein_b, label, score"
    )
    options.add_argument(
        "--sequences", nargs="+", metavar="FASTA", help="sequences of the proteins, for the length baseline"
    )
    options.add_argument(
        "--embeddings", nargs="+", metavar="FILE", help="embeddings of the proteins, from 'holotype embed'"
    )
    options.add_argument("--validation", metavar="FILE", help="predictions to fit a temperature on")
    options.add_argument("--ranks-only", action="store_true", help="the scores are not probabilities")
    options.add_argument(
        "--threshold", type=share, default=0.5, help="call pairs positive from this score (default: 0.5)"
    )
    options.add_argument(
        "--resamples", type=from_0, default=1000, help="number of bootstrap resamples (default: 1000)"
    )
    options.add_argument(
        "-o", "--output", metavar="FOLDER", help="write report.html and evaluation.json to this folder"
    )
    options.add_argument("--overwrite", action="store_true", help="replace an earlier report")


def _claims(arguments: argparse.Namespace) -> bool:
    return arguments.predictions is not None


def _run(arguments: argparse.Namespace) -> int:
    """Evaluate, write the report, and print the figures."""
    wrong = _problem(arguments)
    if wrong:
        print(f"holotype evaluate: {wrong}", file=sys.stderr)
        return 2
    evaluation = _of_file(arguments) if arguments.predictions else _of_model(arguments)
    if arguments.json:
        print_json(evaluation.to_dict())
    else:
        _show(evaluation)
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
        return "--validation makes the scores probabilities, --ranks-only treats them as ranks: give one"
    return None


def _of_model(arguments: argparse.Namespace) -> Evaluation:
    from holotype.proteins.evaluation.evaluate import evaluate_model

    bar = reporter(None, "scoring", "pairs")
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
        progress=bar,
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


_COLOURS = {"better": GREEN, "level": YELLOW, "worse": RED, "unknown": YELLOW}


def _show(evaluation: Evaluation) -> None:
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
    reasons = [f"{METRICS[name].title}: {value.why}" for name, value in one.metrics.items()
            if value.why and evaluation.probabilities]  # fmt: skip
    if reasons or evaluation.notes:
        print()
    for note in (*reasons, *evaluation.notes):
        for line in wrap(plain(note), width(), initial_indent="- ", subsequent_indent="  "):
            print(coloured(line, DIM))


def _or_none(value: Value) -> float:
    return value.value if value.value == value.value else -1.0


def _number(value: Value) -> str:
    return "–" if value.value != value.value else f"{value.value:.3f}"


def _interval(value: Value) -> str:
    low, high = value.interval
    return "–" if low != low else f"{low:.3f}{' to ' if low < 0 else '–'}{high:.3f}"


COMMAND = Command(
    "pairs of proteins",
    _run,
    _add_options,
    claims=_claims,
    usage=("MODEL --data NAME [-o FOLDER]", "--predictions FILE [--train FILE]"),
    notes="Pairs of proteins:\n  holotype evaluate MODEL --data bernett -o report",
)
