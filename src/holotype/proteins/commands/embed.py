"""``holotype embed`` of sequences: `holotype.proteins.prediction.embedding.embed`, printed."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.domains import Command
from holotype.options import Options
from holotype.printing import fields, print_json, table
from holotype.progress import Bar, watched
from holotype.text import number, plain, size

if TYPE_CHECKING:
    from holotype.proteins.data.embeddings import Embeddings
    from holotype.proteins.data.fasta import Proteins

_HEAD_ROWS = 10


def _add_options(options: Options) -> None:
    options.add_argument(
        "-e", "--encoder", metavar="NAME", help="an encoder ('holotype list --task protein_embedding')"
    )
    options.add_argument(
        "--pooling",
        choices=("none", "mean", "mean+std", "mean+max", "mean+std+max"),
        default="none",
        help="a row for each residue (none, the default) or for each protein",
    )
    options.add_argument(
        "--window", type=int, metavar="N", help="embed longer proteins in windows of N residues"
    )
    options.add_argument(
        "--overlap", type=int, default=0, metavar="N", help="residues that windows share (default: 0)"
    )
    options.add_argument(
        "--compute-dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="the precision of the encoder (default: float32)",
    )
    options.add_argument(
        "--dtype",
        choices=("float16", "float32"),
        default="float16",
        help="the precision of the stored embeddings (default: float16)",
    )
    options.add_argument(
        "--residues-per-batch", type=int, metavar="N", help="residues in one batch; fewer need less memory"
    )
    options.add_argument(
        "--info", action="store_true", help="instead, describe and check files of embeddings"
    )


def _claims(arguments: argparse.Namespace) -> bool:
    from holotype.weights.formats import ENDINGS

    first = Path(arguments.files[0])
    is_file = first.is_file() and first.suffix.lower() not in ENDINGS
    return arguments.info or arguments.encoder is not None or is_file


def _run(arguments: argparse.Namespace) -> int:
    """Embed proteins into a file, or describe such files."""
    from holotype.errors import DataError

    if arguments.info:
        return _inspect(arguments.files, as_json=arguments.json)
    first = arguments.files[0]
    if not _claims(arguments):
        raise DataError(
            f"{first} is a model of proteins, which reads sequences: give a file of them, and an encoder.",
            given=first,
            hint=f"holotype embed X.fasta --encoder {first} -o OUT.emb",
        )
    wrong = _problem(arguments)
    if wrong:
        print(f"holotype embed: {wrong}", file=sys.stderr)
        return 2
    from holotype.proteins.data.fasta import read_proteins

    _check_output(arguments.output, arguments.files)
    proteins = read_proteins(*arguments.files)
    for note in proteins.notes:
        print(f"holotype embed: {plain(note)}", file=sys.stderr)
    return _embed(arguments, proteins)


def _problem(arguments: argparse.Namespace) -> str | None:
    """What is wrong with the options."""
    from holotype.catalog.registry import default_registry as registry
    from holotype.weights.formats import ENDINGS

    first = plain(arguments.files[0])
    missing = [f"--{name}" for name in ("encoder", "output") if getattr(arguments, name) is None]
    if missing:
        message = f"give {' and '.join(missing)}"
        if arguments.encoder is None:
            message += f"\n  {first} is not a model of images: holotype embed MODEL IMAGES -o OUT.parquet"
        return message
    path = Path(first)
    is_model = registry.exists(first) or registry.pretrained_exists(first)
    if not path.is_file() and (path.is_dir() or path.suffix.lower() in ENDINGS or is_model):
        return (
            f"{first} is not a file of sequences. To embed images with a model of them, leave out -e:\n"
            f"  holotype embed {first} IMAGES -o OUT.parquet"
        )
    return None


def _check_output(output: str, inputs: list[str]) -> None:
    """Refuse an output that is also an input."""
    from holotype.errors import DataError

    for path in inputs:
        if Path(output).exists() and Path(path).exists() and Path(output).samefile(path):
            raise DataError(f"{output} is read and cannot be written too.", given=output)


def _embed(arguments: argparse.Namespace, proteins: Proteins) -> int:
    from holotype.proteins.prediction.embedding import embed

    spec = {
        "name": arguments.encoder,
        "pooling": arguments.pooling,
        "window": arguments.window,
        "overlap": arguments.overlap,
        "compute_dtype": arguments.compute_dtype,
        "dtype": arguments.dtype,
    }
    seen = _Residues(arguments.encoder)
    try:
        embeddings = embed(
            proteins,
            spec,
            arguments.output,
            progress=seen,
            residues_per_batch=arguments.residues_per_batch,
            overwrite=arguments.overwrite,
            device=arguments.device,
        )
    finally:
        seen.close()
    facts: dict[str, Any] = {
        **_facts(embeddings),
        "residues": sum(map(len, proteins.values())),
        "residues_already_there": seen.base,
        "residues_per_s": round(seen.speed) if seen.speed else None,
    }
    if arguments.json:
        print_json(facts)
        return 0
    new = facts["residues"] - seen.base
    done = f"{number(facts['residues'])}, {number(seen.base)} of them already there" if seen.base else None
    print(
        fields(
            [
                ("file", f"{facts['file']} ({size(facts['size_bytes'])})"),
                ("proteins", number(facts["proteins"])),
                ("residues", done or number(facts["residues"])),
                *_made_by(facts["record"]),
                ("speed", f"{number(facts['residues_per_s'])} residues/s" if new and seen.speed else "–"),
            ]
        )
    )
    return 0


def _inspect(paths: list[str], *, as_json: bool) -> int:
    from holotype.proteins.data.embeddings import open_embeddings

    several = []
    for path in paths:
        embeddings = open_embeddings(path, unfinished=True)
        embeddings.verify()
        several.append(_facts(embeddings))
        if as_json:
            continue
        facts = several[-1]
        rows = list(zip(embeddings.names, embeddings.lengths.tolist(), strict=True))
        print(
            fields(
                [
                    ("file", f"{facts['file']} ({size(facts['size_bytes'])})"),
                    ("proteins", number(facts["proteins"])),
                    ("rows", number(facts["rows"])),
                    (
                        "state",
                        "complete" if facts["complete"] else "unfinished: repeat the command that made it",
                    ),
                    *_made_by(facts["record"]),
                ]
            )
        )
        print()
        print(table(("protein", "rows"), [(name, number(count)) for name, count in rows[:_HEAD_ROWS]]))
        if len(rows) > _HEAD_ROWS:
            print(f"… and {number(len(rows) - _HEAD_ROWS)} more")
    if as_json:
        print_json(several)
    return 0


def _facts(embeddings: Embeddings) -> dict[str, Any]:
    return {
        "file": str(embeddings.path),
        "size_bytes": Path(embeddings.path).stat().st_size,
        "proteins": len(embeddings),
        "rows": int(embeddings.lengths.sum()),
        "dim": embeddings.dim,
        "complete": embeddings.complete,
        "record": dict(embeddings.record),
    }


def _made_by(record: Mapping[str, Any]) -> list[tuple[str, object]]:
    """The encoder record for people."""
    pooling = record.get("pooling")
    shape = "one for each residue" if pooling == "none" else f"{pooling} of residues"
    computed = record.get("compute_dtype", "float32")
    if record.get("window") is not None:
        computed += f", windows of {record['window']} that share {record.get('overlap', 0)}"
    return [
        ("encoder", record.get("encoder")),
        ("weights", (record.get("weights_sha256") or "none")[:16]),
        ("rows of", f"{number(record.get('dim'))} {record.get('dtype')}, {shape}"),
        ("computed", computed),
    ]


class _Residues:
    """Counts the embedded residues, and shows them on a terminal.

    Attributes:
        base: residues that the file had before; 0 until the first call.
        speed: residues per second since then, or None.
    """

    def __init__(self, label: str) -> None:
        self._bar = Bar(label, "residues") if watched() else None
        self._began: float | None = None
        self.base = 0
        self.speed: float | None = None

    def __call__(self, done: int, total: int | None) -> None:
        """Update the count and the bar."""
        now = time.monotonic()
        if self._began is None:
            self._began, self.base = now, done
        elif now > self._began:
            self.speed = (done - self.base) / (now - self._began)
        if self._bar is not None and (done != total or done > self.base):
            self._bar(done, total)

    def close(self) -> None:
        """End an unfinished line of the terminal."""
        if self._bar is not None:
            self._bar.close()


COMMAND = Command(
    "proteins",
    _run,
    _add_options,
    claims=_claims,
    usage=("FASTA ... -e ENCODER -o FILE", "--info FILE ..."),
    notes=(
        "Proteins: after an interruption, the same command continues\n"
        "where it stopped; with more sequences, it adds them. No\n"
        "protein is left out: one that is too long for the encoder\n"
        "is an error until --window is given."
    ),
)
