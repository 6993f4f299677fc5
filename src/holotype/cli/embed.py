"""``holotype embed``: the options that all domains share; each domain embeds and prints."""

from __future__ import annotations

import argparse

from holotype.cli import by_domain

run = by_domain.run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILES",
        help="a model (an entry, a weight file, a run folder) and images: files, folders, globs; or, "
        "with -e, FASTA files, or names and sequences in two columns, plain or gzip",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="the file of embeddings; of images .parquet .npz .csv"
    )
    parser.add_argument("--device", default="cpu", help="such as cuda (default: cpu)")
    parser.add_argument("--overwrite", action="store_true", help="replace the file")
    parser.add_argument("--json", action="store_true", help="as JSON")
    by_domain.add_options(parser, "embed", model="files")
