"""``holotype compare``: `compare_runs`, printed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from holotype.domains import Command
from holotype.options import Options, from_0, share
from holotype.printing import BOLD, GREEN, coloured, fields, print_json, table
from holotype.text import plain

if TYPE_CHECKING:
    from holotype.proteins.evaluation.compare import Comparison


def _add_options(options: Options) -> None:
    options.add_argument(
        "runs", nargs="+", metavar="RUN", help="run folders, folders of reports, or files of predictions"
    )
    options.add_argument(
        "--metric", default="auroc", help="the metric to compare, such as average_precision (default: auroc)"
    )
    options.add_argument(
        "--on",
        default="all",
        metavar="CLASS",
        help="the pairs to compare on: all, C1, C2 or C3 (default: all)",
    )
    options.add_argument(
        "--threshold", type=share, default=0.5, help="call pairs positive from this score (default: 0.5)"
    )
    options.add_argument(
        "--resamples", type=from_0, default=2000, help="number of bootstrap resamples (default: 2000)"
    )
    options.add_argument("--seed", type=from_0, default=0, help="seed of the bootstrap (default: 0)")
    options.add_argument("--json", action="store_true", help="as JSON")


def _run(arguments: argparse.Namespace) -> int:
    """Compare runs on the same test pairs."""
    from holotype.proteins.evaluation.compare import compare_runs

    comparison = compare_runs(
        arguments.runs,
        metric=arguments.metric,
        subset=arguments.on,
        threshold=arguments.threshold,
        resamples=arguments.resamples,
        seed=arguments.seed,
    )
    if arguments.json:
        print_json(comparison.to_dict())
    else:
        _show(comparison)
    return 0


def _show(comparison: Comparison) -> None:
    """Print each run, then each difference and what it shows."""
    what = "all" if comparison.subset == "all" else comparison.subset
    print(
        coloured(
            f"{plain(comparison.metric)} on {what} pairs: {comparison.pairs:,}, "
            f"{comparison.positives:,} positive",
            BOLD,
        )
    )
    rows = [
        (run.name, f"{run.value:.4f}", f"{run.interval.low:.4f}–{run.interval.high:.4f}")
        for run in comparison.runs
    ]
    print(table(("RUN", "VALUE", "95 % INTERVAL"), rows))
    for one in comparison.differences:
        print()
        print(coloured(f"{plain(one.second)} less {plain(one.first)}", BOLD))
        low, high = one.interval
        shown = [
            ("difference", f"{one.value:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}"),
            ("p", _p(one.p, comparison.resamples)),
        ]
        print(fields(shown))
        if one.better is None:
            print("The difference is not significant.")
        else:
            print(coloured(f"{plain(one.better)} is better.", GREEN))


def _p(p: float, resamples: int) -> str:
    return f"at most {p:.1g}" if p <= 2 / (resamples + 1) else f"{p:.2g}"


COMMAND = Command(
    "pairs of proteins",
    _run,
    _add_options,
    usage=("RUN RUN ... [--metric NAME] [--on CLASS]",),
    notes="All runs must have been tested on the same pairs with the same labels.",
)
