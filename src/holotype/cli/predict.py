"""``holotype predict``: `predict_interactions`, printed; images are in `holotype.cli.predict_images`."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from holotype.cli import predict_images
from holotype.printing import BOLD, DIM, GREEN, coloured, print_json
from holotype.text import number, plain

if TYPE_CHECKING:
    from holotype.proteins.prediction.interactions import PredictionReport

_EVERY_S = 0.2
_UNITS = {
    **{"embedding": "residues", "encoding": "proteins", "scoring": "pairs"},
    **dict.fromkeys(("classifying", "detecting", "reconstructing", "embedding images"), "images"),
}
_ONLY_PROTEINS = (
    *("fasta", "pairs", "all_vs_all", "bipartite", "embeddings"),
    *("top_n", "max_residues", "self_pairs", "picture", "engine", "workers"),
)
_BOTH = ("output", "threshold", "overwrite")
_OPTIONS = {"output": "-o", "top_n": "--top-k", "self_pairs": "--self"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.usage = (
        "holotype predict MODEL IMAGES ... [-o OUT.csv]\n"
        "       holotype predict MODEL --fasta X.fasta --all-vs-all -o OUT.tsv"
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "examples:\n"
        "  holotype predict efficientnet_lite0_imagenet1k \\\n"
        "      owl.jpg\n"
        "  holotype predict efficientnet_lite0_imagenet1k \\\n"
        "      photos/ -o classes.csv\n"
        "  holotype predict runs/detector street/ \\\n"
        "      -o boxes.csv --pictures drawn/\n"
        "  holotype predict MODEL --fasta yeast.fasta \\\n"
        "      --all-vs-all --top-k 20 -o yeast.tsv\n"
        "  holotype predict runs/mine --fasta yeast.fasta \\\n"
        "      --pairs pairs.tsv -o scores.parquet\n\n"
        "MODEL is a pretrained entry, a .safetensors file, or\n"
        "the folder of a training run.\n\n"
        "Of images: those that cannot be read are told, the\n"
        "others go on, and the exit code is 1.\n\n"
        "Of proteins: an interrupted prediction goes on from\n"
        "its last complete block when the same command is\n"
        "given again. What was not scored, and why, is printed\n"
        "and kept in OUT.report.json."
    )
    parser.add_argument("name", metavar="MODEL", help="a model ('holotype list --pretrained' lists entries)")
    images = parser.add_argument(
        "images",
        nargs="+",
        default=[],
        metavar="IMAGES",
        help="files, folders or globs, for a model of images",
    )
    # Not nargs="*", which takes none as soon as an option stands before the first.
    images.required = False
    parser.add_argument(
        "-o", "--output", metavar="OUT", help="a table: .csv .jsonl .parquet, or .tsv of pairs"
    )
    parser.add_argument(
        "--threshold", type=float, metavar="P", help="least score of boxes (default: 0.5), or of pairs"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    parser.add_argument("--device", default="cpu", help="such as cuda (default: cpu)")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    photos = parser.add_argument_group("images")
    predict_images.add_arguments(photos)
    group = parser.add_argument_group("pairs of proteins")
    group.add_argument("--fasta", metavar="FILE", help="the sequences")
    group.add_argument("--pairs", metavar="TSV", help="score these pairs")
    group.add_argument("--all-vs-all", action="store_true", help="score all pairs")
    group.add_argument("--bipartite", metavar="FILE", help="score each protein with each of these")
    group.add_argument("--top-k", type=int, metavar="N", dest="top_n", help="only the N best of each protein")
    group.add_argument(
        "--embeddings",
        metavar="EMB",
        action="append",
        help="a file of 'holotype embed', several to be joined; otherwise made as for the model's training",
    )
    group.add_argument("--max-residues", type=int, metavar="N", help="leave out longer proteins")
    group.add_argument("--self", action="store_true", dest="self_pairs", help="also pair each with itself")
    group.add_argument("--picture", metavar="PNG", help="draw the matrix of scores")
    group.add_argument("--engine", metavar="NAME", help="local (default), or ray")
    group.add_argument("--workers", type=int, metavar="N", help="of the Ray engine (default: all processors)")


def run(arguments: argparse.Namespace) -> int:
    """Predict what the arguments are about: images, or pairs of proteins."""
    given = [name for name in _ONLY_PROTEINS if getattr(arguments, name) not in (None, False)]
    problem = _problem(arguments, given)
    if problem:
        print(f"holotype predict: {problem}", file=sys.stderr)
        return 2
    return predict_images.run(arguments) if arguments.images else _proteins(arguments)


def _problem(arguments: argparse.Namespace, given: list[str]) -> str | None:
    """What is wrong with the command itself."""
    options = [_OPTIONS.get(name, f"--{name.replace('_', '-')}") for name in given]
    if arguments.images and given:
        photo = plain(arguments.images[0])
        if given == ["picture"]:
            return "--picture is for pairs of proteins; of images: --pictures FOLDER, or --saliency FILE"
        return f"{options[0]} is for pairs of proteins, and {photo!r} would be a photograph: give one of them"
    if arguments.images:
        return predict_images.problem(arguments)
    photos = predict_images.given(arguments)
    if not given and not any(getattr(arguments, name) not in (None, False) for name in _BOTH):
        return (
            "give image files, or proteins:\n"
            "  holotype predict ENTRY photo.jpg\n"
            "  holotype predict MODEL --fasta X.fasta --all-vs-all -o OUT.tsv"
        )
    if arguments.top is not None:
        return "-k/--top is for classes of photographs; partners of each protein: --top-k N"
    if photos:
        return f"{photos[0]} is for images: give files or folders of them"
    asked = [option for option in options if option in ("--pairs", "--all-vs-all", "--bipartite")]
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


def _proteins(arguments: argparse.Namespace) -> int:
    """Score pairs of proteins, and print what was done and what was not."""
    from holotype.proteins.prediction.interactions import predict_interactions

    watched = sys.stderr is not None and sys.stderr.isatty()
    bar = Bar() if watched else None
    try:
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
    finally:
        if bar is not None:
            bar.close()
    if arguments.json:
        print_json(report.to_dict())
        return 0
    _print_report(report, arguments.picture)
    return 0


def _print_report(report: PredictionReport, picture: str | None) -> None:
    print(f"{coloured(plain(report.output), BOLD)}  {coloured(f'{report.written:,} pairs', GREEN)}")
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
        print(f"  speed      {_count(report.pairs_per_s)} pairs/s")
    if picture is not None:
        print(f"  picture    {plain(picture)}")
    for note in report.notes:
        print(coloured(f"  note       {plain(note)}", DIM))
    for left in report.not_scored:
        examples = f": {', '.join(left.examples)}" if left.examples else ""
        more = " …" if len(left.examples) < left.count and left.examples else ""
        print(f"  not scored {left.count:,} {plain(left.why)}{plain(examples)}{more}")


class Bar:
    """One line on stderr: what is done, how fast, and how long it will take."""

    def __init__(self) -> None:
        self._stage = ""
        self._began = self._drawn = 0.0
        self._before = 0
        self._open = False

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Draw it, unless it was drawn a moment ago."""
        now = time.monotonic()
        if stage != self._stage:
            self.close()
            self._stage, self._began, self._before, self._drawn = stage, now, done, 0.0
        if now - self._drawn < _EVERY_S and done < total:
            return
        self._drawn, self._open = now, True
        sys.stderr.write(f"\r{self.line(done, total, now - self._began)}\x1b[K")
        sys.stderr.flush()

    def close(self) -> None:
        """End the line, so that what is printed next stands below it."""
        if self._open:
            self._open = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def line(self, done: int, total: int, elapsed_s: float) -> str:
        """The text of the bar; short enough for 60 columns."""
        if not total:
            return f"{self._stage} …"
        speed = (done - self._before) / elapsed_s if elapsed_s > 0 else 0.0
        unit = _UNITS.get(self._stage, "")
        parts = [f"{self._stage} {100 * done // total}%", f"{_count(done)}/{_count(total)} {unit}"]
        if speed > 0:
            parts.append(f"{_count(speed)}/s")
            left = int((total - done) / speed)
            clock = f"{left // 60 % 60}:{left % 60:02d}"
            parts.append(f"{left // 3600} h {clock} left" if left >= 3600 else f"{clock} left")
        return "  ".join(parts)


def _count(value: float) -> str:
    """``950``, ``12.3k``, ``4.56M``."""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{sign}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
