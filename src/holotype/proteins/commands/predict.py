"""``holotype predict`` for pairs of proteins: `predict_interactions`, printed."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from holotype.domains import Command
from holotype.options import Options
from holotype.printing import BOLD, DIM, GREEN, coloured, print_json
from holotype.progress import stage_bar
from holotype.text import counted, number, plain, rate

if TYPE_CHECKING:
    from holotype.proteins.prediction.interactions import PredictionReport

_UNITS = {"embedding": "residues", "encoding": "proteins", "scoring": "pairs"}


def _add_options(options: Options) -> None:
    options.add_argument("--fasta", metavar="FILE", help="the sequences of the proteins")
    options.add_argument("--pairs", metavar="TSV", help="score these pairs")
    options.add_argument("--all-vs-all", action="store_true", help="score all pairs")
    options.add_argument(
        "--bipartite", metavar="FILE", help="score each protein with each protein of this FASTA file"
    )
    options.add_argument(
        "--top-k", type=int, metavar="N", dest="top_n", help="only the N best partners of each protein"
    )
    options.add_argument(
        "--embeddings",
        metavar="EMB",
        action="append",
        help="a file of 'holotype embed'; repeatable (default: embed as for the model's training)",
    )
    options.add_argument("--max-residues", type=int, metavar="N", help="leave out longer proteins")
    options.add_argument(
        "--self", action="store_true", dest="self_pairs", help="also pair each protein with itself"
    )
    options.add_argument("--picture", metavar="PNG", help="draw the matrix of scores")
    options.add_argument("--engine", metavar="NAME", help="where to compute: local (default), or ray")
    options.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="number of workers of the Ray engine (default: all processors)",
    )


def _claims(arguments: argparse.Namespace) -> bool:
    return not arguments.inputs and bool(
        arguments.fasta
        or arguments.pairs
        or arguments.all_vs_all
        or arguments.bipartite
        or arguments.embeddings
    )


def _problem(arguments: argparse.Namespace) -> str | None:
    """What is wrong with the options."""
    given = {
        "--pairs": arguments.pairs,
        "--all-vs-all": arguments.all_vs_all,
        "--bipartite": arguments.bipartite,
    }
    asked = [option for option, value in given.items() if value]
    if arguments.inputs:
        first = (asked or ["--fasta"])[0]
        return f"{first} is for pairs of proteins, and {arguments.inputs[0]!r} is not read: give one of them"
    if len(asked) != 1:
        named = " and ".join(asked) if asked else "none of them"
        return f"which pairs? give one of --pairs TSV, --all-vs-all, --bipartite FILE; not {named}"
    if arguments.fasta is None and (arguments.embeddings is None or arguments.bipartite is not None):
        return "which proteins? give their sequences: --fasta X.fasta"
    if arguments.output is None:
        return "where to? give a file: -o OUT.tsv, or OUT.parquet"
    if arguments.workers is not None and arguments.engine != "ray":
        return "--workers goes with --engine ray"
    return None


def _run(arguments: argparse.Namespace) -> int:
    """Score pairs of proteins, and print what was done and what was not."""
    from holotype.errors import DataError
    from holotype.proteins.prediction.interactions import predict_interactions

    own = (arguments.fasta, arguments.pairs, arguments.all_vs_all, arguments.bipartite, arguments.embeddings)
    if arguments.inputs and not any(own):
        raise DataError(
            f"{arguments.name} scores pairs of proteins, not {arguments.inputs[0]!r}.",
            given=arguments.name,
            hint=f"holotype predict {arguments.name} --fasta X.fasta --all-vs-all -o OUT.tsv",
        )
    wrong = _problem(arguments)
    if wrong:
        print(f"holotype predict: {wrong}", file=sys.stderr)
        return 2
    with stage_bar(_UNITS) as bar:
        report = predict_interactions(
            arguments.name,
            output=arguments.output,
            fasta=arguments.fasta,
            pairs=arguments.pairs,
            all_vs_all=arguments.all_vs_all,
            bipartite=arguments.bipartite,
            embeddings=arguments.embeddings,
            top_k=arguments.top_n,
            threshold=arguments.threshold,
            max_residues=arguments.max_residues,
            include_self=arguments.self_pairs,
            picture=arguments.picture,
            overwrite=arguments.overwrite,
            engine=arguments.engine or "local",
            workers=arguments.workers,
            device=arguments.device,
            progress=bar,
        )
    if arguments.json:
        print_json(report.to_dict())
    else:
        _print(report, arguments.picture)
    return 0


def _print(report: PredictionReport, picture: str | None) -> None:
    print(f"{coloured(plain(report.output), BOLD)}  {coloured(counted(report.written, 'pair'), GREEN)}")
    calibrated = f"temperature {report.temperature:.4g}" if report.calibrated else "not calibrated"
    print(f"  model      {plain(report.model)} ({calibrated})")
    if report.encoder:
        print(f"  encoder    {plain(' + '.join(report.encoder))}")
    print(f"  scored     {number(report.pairs)}: {plain(report.rule)}")
    if report.threshold is not None:
        print(f"  listed     scores from {report.threshold:g} on")
    if report.resumed:
        print(f"  resumed    {number(report.resumed)} were scored before the interruption")
    if report.pairs > report.resumed:
        print(f"  speed      {rate(report.pairs_per_s)} pairs/s")
    if picture is not None:
        print(f"  picture    {plain(picture)}")
    for note in report.notes:
        print(coloured(f"  note       {plain(note)}", DIM))
    for left in report.not_scored:
        examples = f": {', '.join(left.examples)}" if left.examples else ""
        more = " …" if len(left.examples) < left.count and left.examples else ""
        print(f"  not scored {left.count:,} {plain(left.why)}{plain(examples)}{more}")


COMMAND = Command(
    "pairs of proteins",
    _run,
    _add_options,
    claims=_claims,
    usage=("MODEL --fasta X.fasta --all-vs-all -o OUT.tsv",),
    notes=(
        "Pairs of proteins:\n"
        "  holotype predict MODEL --fasta yeast.fasta \\\n"
        "      --all-vs-all --top-k 20 -o yeast.tsv\n"
        "  holotype predict runs/mine --fasta yeast.fasta \\\n"
        "      --pairs pairs.tsv -o scores.parquet\n"
        "An interrupted prediction continues from its last\n"
        "complete block when the same command is given again.\n"
        "What was not scored, and why, is printed and kept in\n"
        "OUT.report.json."
    ),
)
