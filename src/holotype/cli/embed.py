"""``holotype embed``: `holotype.proteins.prediction.embedding.embed`, printed; for images, `embed_images`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.cli import embed_images
from holotype.printing import fields, print_json, table, width
from holotype.text import number, plain

if TYPE_CHECKING:
    from holotype.proteins.data.embeddings import Embeddings
    from holotype.proteins.data.fasta import Proteins

_EVERY_S = 0.2
_HEAD_ROWS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.usage = (
        "holotype embed FASTA ... -e ENCODER -o FILE\n"
        "       holotype embed MODEL IMAGES ... -o OUT.parquet\n"
        "       holotype embed --info FILE ..."
    )
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FASTA",
        help="FASTA, or name and sequence in two columns; plain or gzip. Or a model of images (a pretrained "
        "entry, a weight file, a run's folder), and images: files, folders, globs",
    )
    parser.add_argument(
        "-e", "--encoder", metavar="NAME", help="an encoder ('holotype list --task protein_embedding')"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="the file of embeddings: new, or to add to; of images .parquet .npz .csv",
    )
    parser.add_argument(
        "--pooling",
        choices=("none", "mean", "mean+std", "mean+max", "mean+std+max"),
        default="none",
        help="a row for each residue (none, the default) or for each protein",
    )
    parser.add_argument(
        "--window", type=int, metavar="N", help="embed longer proteins in windows of N residues"
    )
    parser.add_argument(
        "--overlap",
        type=int,
        default=0,
        metavar="N",
        help="residues that windows share (default: 0)",
    )
    parser.add_argument(
        "--compute-dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="what the encoder multiplies in (default: float32)",
    )
    parser.add_argument(
        "--dtype", choices=("float16", "float32"), default="float16", help="what is stored (default: float16)"
    )
    parser.add_argument(
        "--residues-per-batch", type=int, metavar="N", help="residues at once, if memory is short (or plenty)"
    )
    parser.add_argument("--device", default="cpu", help="such as cuda (default: cpu)")
    parser.add_argument("--overwrite", action="store_true", help="replace the file")
    parser.add_argument(
        "--info", action="store_true", help="instead: tell what files of embeddings hold, and check them"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    embed_images.add_arguments(parser.add_argument_group("images"))
    parser.epilog = (
        "Whatever stops it, the same command goes on where it stopped; with more sequences, it adds them. "
        "No protein is left out: one that is too long for the encoder is an error until --window is given. "
        "Images that cannot be read are told, the others go on, and the exit code is 1."
    )


def run(arguments: argparse.Namespace) -> int:
    """Embed proteins into a file, or tell what such files hold."""
    if arguments.info:
        return _tell(arguments.files, as_json=arguments.json)
    if arguments.encoder is None and embed_images.is_meant(arguments.files[0]):
        return embed_images.run(arguments)
    wrong = embed_images.problem(arguments)
    if wrong:
        print(f"holotype embed: {wrong}", file=sys.stderr)
        return 2
    missing = [name for name in ("encoder", "output") if getattr(arguments, name) is None]
    if missing:
        print(f"holotype embed: give {' and '.join(f'--{name}' for name in missing)}", file=sys.stderr)
        if arguments.encoder is None:
            first = plain(arguments.files[0])
            print(
                f"  {first} is no model of images: holotype embed MODEL IMAGES -o OUT.parquet",
                file=sys.stderr,
            )
        return 2
    from holotype.proteins.data.fasta import read_proteins

    _check_output(arguments.output, arguments.files)
    proteins = read_proteins(*arguments.files)
    for note in proteins.notes:
        print(f"holotype embed: {plain(note)}", file=sys.stderr)
    return _embed(arguments, proteins)


def _check_output(output: str, inputs: list[str]) -> None:
    """Refuse to write into what is read."""
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
    bar = ResidueBar(arguments.encoder, visible=sys.stderr is not None and sys.stderr.isatty())
    try:
        embeddings = embed(
            proteins,
            spec,
            arguments.output,
            progress=bar,
            residues_per_batch=arguments.residues_per_batch,
            overwrite=arguments.overwrite,
            device=arguments.device,
        )
    finally:
        bar.close()
    told: dict[str, Any] = {
        **_facts(embeddings),
        "residues": sum(map(len, proteins.values())),
        "residues_already_there": bar.base,
        "residues_per_s": round(bar.speed) if bar.speed else None,
    }
    if arguments.json:
        print_json(told)
        return 0
    new = told["residues"] - bar.base
    done = f"{number(told['residues'])}, {number(bar.base)} of them already there" if bar.base else None
    print(
        fields(
            [
                ("file", f"{told['file']} ({_size(told['size_bytes'])})"),
                ("proteins", number(told["proteins"])),
                ("residues", done or number(told["residues"])),
                *_made_by(told["record"]),
                ("speed", f"{number(told['residues_per_s'])} residues/s" if new and bar.speed else "–"),
            ]
        )
    )
    return 0


def _tell(paths: list[str], *, as_json: bool) -> int:
    from holotype.proteins.data.embeddings import open_embeddings

    several = []
    for path in paths:
        embeddings = open_embeddings(path, unfinished=True)
        embeddings.verify()
        several.append(_facts(embeddings))
        if as_json:
            continue
        told = several[-1]
        rows = list(zip(embeddings.names, embeddings.lengths.tolist(), strict=True))
        print(
            fields(
                [
                    ("file", f"{told['file']} ({_size(told['size_bytes'])})"),
                    ("proteins", number(told["proteins"])),
                    ("rows", number(told["rows"])),
                    ("state", "complete" if told["complete"] else "unfinished: embed again to go on"),
                    *_made_by(told["record"]),
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


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.1f} MiB"


class ResidueBar:
    """Progress in residues: one line on a terminal, drawn again and again; nothing elsewhere.

    Attributes:
        base: residues that were there before.
        speed: residues per second since then, or None.
    """

    def __init__(self, label: str, *, visible: bool) -> None:
        self._label = plain(label)[-30:]
        self._visible = visible
        self._start = self._drawn = 0.0
        self._open = False
        self.base = 0
        self.speed: float | None = None

    def __call__(self, done: int, total: int | None) -> None:
        """Note it, and draw it unless that was done a moment ago."""
        now = time.monotonic()
        if not self._start:
            self._start, self.base = now, done
        elif now > self._start:
            self.speed = (done - self.base) / (now - self._start)
        finished = done == total
        drawn = now - self._drawn < _EVERY_S and not finished
        if not self._visible or drawn or (finished and not self._open):
            return
        self._drawn, self._open = now, not finished
        line = self.line(done, total or 0)[: max(width(), 40) - 1]
        print(f"\r{line}\x1b[K", end="\n" if finished else "", file=sys.stderr, flush=True)

    def line(self, done: int, total: int) -> str:
        """The text."""
        parts = [f"{100 * done // total if total else 100}%", f"{done:,}/{total:,} residues"]
        if self.speed:
            left = int((total - done) / self.speed)
            clock = f"{left // 60 % 60:02d}:{left % 60:02d}"
            clock = f"{left // 3600}:{clock}" if left >= 3600 else clock
            parts += [f"{self.speed:,.0f}/s", f"{clock} left"]
        return "  ".join([*parts, self._label])

    def close(self) -> None:
        """End a line that was never finished."""
        if self._open:
            self._open = False
            print(file=sys.stderr, flush=True)
