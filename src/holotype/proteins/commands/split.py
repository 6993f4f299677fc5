"""``holotype split``: `split_files`, printed."""

from __future__ import annotations

import argparse
import sys

from holotype.domains import Command
from holotype.options import Options
from holotype.printing import print_json, prose
from holotype.splits import fraction_problem
from holotype.text import plain


def _add_options(options: Options) -> None:
    options.add_argument("pairs", metavar="PAIRS", help="a file of pairs (protein_a, protein_b, label)")
    options.add_argument(
        "--protocol",
        required=True,
        choices=("c1", "c2", "c3"),
        help="c1 divides pairs; c2 holds proteins out; c3 divides proteins (Park and Marcotte 2012)",
    )
    options.add_argument("--seed", type=int, required=True, metavar="N", help="seed of the split")
    options.add_argument(
        "-o", "--output", required=True, metavar="FOLDER", help="write the parts to this folder"
    )
    options.add_argument(
        "--fractions",
        type=_fractions,
        default=(0.8, 0.1, 0.1),
        metavar="T,V,T",
        help="fractions of train, val and test (default: 0.8,0.1,0.1)",
    )
    options.add_argument(
        "--sequences",
        action="append",
        metavar="FASTA",
        help="sequences, to keep near-duplicates in one part; repeatable",
    )
    options.add_argument(
        "--max-identity",
        type=float,
        metavar="P",
        help="keep proteins more similar than this in one part, such as 0.4 (needs --sequences)",
    )
    options.add_argument(
        "--tool",
        choices=("mmseqs", "cd-hit", "kmer"),
        help="the tool that compares sequences (default: the first installed; kmer is an approximation)",
    )
    options.add_argument("--overwrite", action="store_true", help="replace files that exist")
    options.add_argument("--json", action="store_true", help="as JSON")


def _run(arguments: argparse.Namespace) -> int:
    """Divide the pairs, write the parts, and print the result."""
    from holotype.proteins.data.datasets import split_files

    if arguments.sequences is None and (arguments.max_identity is not None or arguments.tool is not None):
        print("holotype split: --max-identity and --tool need --sequences", file=sys.stderr)
        return 2
    if arguments.max_identity is not None and sys.stderr.isatty():
        print("comparing sequences; with mmseqs or cd-hit this takes minutes", file=sys.stderr)
    made = split_files(
        arguments.pairs,
        arguments.output,
        protocol=arguments.protocol,
        seed=arguments.seed,
        fractions=arguments.fractions,
        sequences=arguments.sequences,
        max_identity=arguments.max_identity,
        tool=arguments.tool,
        overwrite=arguments.overwrite,
    )
    if arguments.json:
        print_json(made.to_dict())
        return 0
    for note in made.notes:
        print(prose(note, 0) if sys.stdout.isatty() else plain(note))
    print(f"written to {plain(arguments.output)}", file=sys.stderr)
    return 0


def _fractions(text: str) -> tuple[float, ...]:
    try:
        given = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"three numbers such as 0.8,0.1,0.1, not {text!r}") from None
    wrong = fraction_problem(given)
    if wrong:
        raise argparse.ArgumentTypeError(wrong)
    return given


COMMAND = Command(
    "pairs of proteins",
    _run,
    _add_options,
    usage=("PAIRS --protocol c1|c2|c3 --seed N -o FOLDER",),
    notes=(
        "Writes train.tsv, val.tsv, test.tsv, split.json and,\n"
        "with --sequences, dataset.yaml, which 'data:' of a\n"
        "recipe takes."
    ),
)
