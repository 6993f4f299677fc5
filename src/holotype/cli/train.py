"""``holotype train``: `holotype.training.train`, with a bar while it runs and the figures in the end."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from holotype.printing import fields, print_json
from holotype.text import plain

if TYPE_CHECKING:
    from holotype.training.folder import RunResult
    from holotype.training.loop import Progress
    from holotype.training.recipe import Recipe

_EVERY_S = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, or a run folder to continue")
    overrides = parser.add_argument(
        "overrides",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="such as trainer.max_epochs=3 optimizer.lr=0.01",
    )
    overrides.required = False  # not nargs="*", which takes none as soon as an option stands before the first
    parser.add_argument("-o", "--output", metavar="FOLDER", help="the run folder (default: runs/NAME_seedN)")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run, or begin it")
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, print the complete recipe, and stop"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.epilog = (
        "Ctrl-C saves a checkpoint first. Under torchrun or Slurm all processes share the work: "
        "'torchrun --nproc-per-node 4 -m holotype train RECIPE'."
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, and print what came of it."""
    from holotype.training.recipe import load_recipe

    recipe = load_recipe(arguments.recipe, arguments.overrides, output=arguments.output)
    if arguments.dry_run:
        return _dry_run(recipe, resume=arguments.resume, as_json=arguments.json)
    if _is_alone():  # then a folder that cannot be used is told before torch is imported
        from holotype.training.folder import claim, folder_of

        finished = claim(recipe, folder_of(recipe), resume=arguments.resume)
        if finished is not None:
            _print(finished, as_json=arguments.json)
            return 0
    from holotype.training import train

    bar = _Bar() if sys.stderr is not None and sys.stderr.isatty() else None
    log = _log if _is_first() else None  # what a batch system keeps: stages, notes on the data, epochs
    try:
        result = train(
            recipe,
            resume=arguments.resume,
            progress=bar or (_log_epoch if log else None),
            embedding=bar.embedding if bar is not None else None,
            tell=bar.tell if bar is not None else log,
        )
    except KeyboardInterrupt as interrupted:
        if bar is not None:
            bar.close()
        print(f"holotype train: {plain(interrupted) or 'interrupted'}", file=sys.stderr)
        return 130
    finally:
        if bar is not None:
            bar.close()
    if _is_first():
        _print(result, as_json=arguments.json)
    return 0


_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # what torchrun, Lightning and Slurm number processes by


def _is_alone() -> bool:
    return not any(rank in os.environ for rank in _RANKS)


def _is_first() -> bool:
    """Of the processes that torchrun or Slurm started, only the first one prints."""
    return all(os.environ.get(rank, "0") == "0" for rank in _RANKS)


def _dry_run(recipe: Recipe, *, resume: bool, as_json: bool) -> int:
    from holotype.training.folder import claim, folder_of

    folder = folder_of(recipe)
    claim(recipe, folder, resume=resume)
    whole = {**recipe.to_dict(), "output": str(folder)}
    if as_json:
        print_json(whole)
        return 0
    import yaml

    print(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True), end="")
    sys.stdout.flush()
    print("nothing was started: this was a dry run", file=sys.stderr)
    return 0


def _print(result: RunResult, *, as_json: bool) -> None:
    if as_json:
        print_json({"folder": str(result.folder), "weights": str(result.weights), **result.to_dict()})
        return
    from holotype.training.folder import ENCODER, REPORT

    stopped = ", stopped early" if result.stopped_early else ""
    pairs = [
        ("model", plain(result.weights)),
        ("best epoch", f"{result.best_epoch} of {result.epochs}{stopped}"),
        ("validation", _figures(result.validation)),
    ]
    if result.test:
        pairs.append(("test", _figures(result.test)))
    for what, name in (("encoder", ENCODER), ("report", REPORT)):
        if (result.folder / name).is_file():
            pairs.append((what, plain(result.folder / name)))
    print(fields(pairs))


_SHOWN = ("auroc", "average_precision", "accuracy", "mcc", "ece", "map", "map_50", "knn_accuracy")


def _figures(metrics: Mapping[str, float]) -> str:
    values = {key.removeprefix("val_"): value for key, value in metrics.items()}
    shown = [key for key in _SHOWN if key in values] or ["loss"]
    return ", ".join(f"{key.replace('_', ' ')} {values[key]:.3f}" for key in shown if key in values)


def _log(line: str) -> None:
    print(plain(line), file=sys.stderr, flush=True)


def _log_epoch(progress: Progress) -> None:
    if progress.metrics:
        _log(_epoch(progress))


def _epoch(progress: Progress) -> str:
    figures = [f"{key.replace('_', ' ')} {value:.4f}" for key, value in progress.metrics.items()]
    return "  ".join([f"epoch {progress.epoch}/{progress.epochs}", f"loss {progress.loss:.4f}", *figures])


class _Bar:
    """One line on stderr that is drawn again and again; a line that stays for each epoch."""

    def __init__(self) -> None:
        self._drawn = 0.0
        self._open = False
        self._begun: dict[int, tuple[float, int]] = {}

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        begun, first = self._begun.setdefault(progress.epoch, (now, progress.step))
        if not progress.metrics and now - self._drawn < _EVERY_S:
            return
        self._drawn = now
        if progress.metrics:
            self._draw(_epoch(progress), stays=True)
            return
        done = progress.step - first
        parts = [f"epoch {progress.epoch}/{progress.epochs}", f"{progress.step}/{progress.steps}"]
        parts.append(f"loss {progress.loss:.4f}")
        if done and now > begun:
            speed = done / (now - begun)
            left = int((progress.steps - progress.step) / speed)
            parts += [f"{speed:.1f} steps/s", f"{left // 60}:{left % 60:02d} left"]
        self._draw("  ".join(parts), stays=False)

    def embedding(self, done: int, total: int | None) -> None:
        """Residues that are embedded."""
        now = time.monotonic()
        begun, first = self._begun.setdefault(0, (now, done))
        finished = total is not None and done >= total
        if now - self._drawn < _EVERY_S and not finished:
            return
        self._drawn = now
        parts = [f"  {done:,}/{total:,} residues" if total else f"  {done:,} residues"]
        if done > first and now > begun:
            speed = (done - first) / (now - begun)
            left = int(((total or done) - done) / speed)
            parts += [f"{speed:,.0f} residues/s", f"{left // 60}:{left % 60:02d} left"]
        self._draw("  ".join(parts), stays=finished)

    def tell(self, line: str) -> None:
        """A line of its own."""
        self._draw(plain(line), stays=True)

    def close(self) -> None:
        """End a line that was never finished."""
        if self._open:
            self._open = False
            sys.stderr.write("\n")
            sys.stderr.flush()

    def _draw(self, text: str, *, stays: bool) -> None:
        import shutil

        room = shutil.get_terminal_size((80, 24)).columns - 1
        shown = text if stays or len(text) <= room else text[:room]
        end = "\n" if stays else ""
        sys.stderr.write(f"\r{shown}\x1b[K{end}")
        sys.stderr.flush()
        self._open = not stays
