"""``holotype train``: `holotype.training.train`, with a bar while it runs and the figures in the end."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from holotype.printing import fields, print_json
from holotype.progress import Bar, watched
from holotype.text import plain

if TYPE_CHECKING:
    from holotype.training.folder import RunResult
    from holotype.training.loop import Progress
    from holotype.training.recipe import Recipe


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
    """Train, and print the figures."""
    from holotype.training.recipe import load_recipe

    recipe = load_recipe(arguments.recipe, arguments.overrides, output=arguments.output)
    if arguments.dry_run:
        return _dry_run(recipe, resume=arguments.resume, as_json=arguments.json)
    if _is_alone():  # then a folder that cannot be used is refused before torch is imported
        from holotype.training.folder import claim, folder_of

        finished = claim(recipe, folder_of(recipe), resume=arguments.resume)
        if finished is not None:
            _print(recipe, finished, as_json=arguments.json)
            return 0
    from holotype.training import train

    shown = _Shown() if _is_first() else None
    try:
        result = train(
            recipe,
            resume=arguments.resume,
            progress=shown,
            embedding=shown.amount if shown is not None and shown.bar is not None else None,
            tell=shown.say if shown is not None else None,
        )
    except KeyboardInterrupt as interrupted:
        if shown is not None:
            shown.close()
        print(f"holotype train: {plain(interrupted) or 'interrupted'}", file=sys.stderr)
        return 130
    finally:
        if shown is not None:
            shown.close()
    if _is_first():
        _print(recipe, result, as_json=arguments.json)
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


def _print(recipe: Recipe, result: RunResult, *, as_json: bool) -> None:
    if as_json:
        print_json({"folder": str(result.folder), "weights": str(result.weights), **result.to_dict()})
        return
    stopped = ", stopped early" if result.stopped_early else ""
    pairs = [
        ("model", plain(result.weights)),
        ("best epoch", f"{result.best_epoch} of {result.epochs}{stopped}"),
        ("validation", _figures(recipe, result.validation)),
    ]
    if result.test:
        pairs.append(("test", _figures(recipe, result.test)))
    for what, name in recipe.files.items():
        if (result.folder / name).is_file():
            pairs.append((what, plain(result.folder / name)))
    print(fields(pairs))


def _figures(recipe: Recipe, metrics: Mapping[str, float]) -> str:
    values = {key.removeprefix("val_"): value for key, value in metrics.items()}
    shown = [key for key in recipe.figures or values if key in values] or ["loss"]
    return ", ".join(f"{key.replace('_', ' ')} {values[key]:.3f}" for key in shown if key in values)


class _Shown:
    """A line for each stage and each epoch, as a batch system keeps them; a bar on a terminal."""

    def __init__(self) -> None:
        self.bar = Bar(unit="steps", stays=False) if watched() else None

    def __call__(self, progress: Progress) -> None:
        """Show where the training stands."""
        if progress.metrics:
            figures = [f"{key.replace('_', ' ')} {value:.4f}" for key, value in progress.metrics.items()]
            epoch = f"epoch {progress.epoch}/{progress.epochs}"
            self.say("  ".join([epoch, f"loss {progress.loss:.4f}", *figures]))
        elif self.bar is not None:
            self.bar.label, self.bar.unit = f"epoch {progress.epoch}/{progress.epochs}", "steps"
            self.bar(progress.step, progress.steps, f"loss {progress.loss:.4f}")

    def amount(self, done: int, total: int | None) -> None:
        """Show how many residues are embedded."""
        if self.bar is not None:
            self.bar.label, self.bar.unit = "", "residues"
            self.bar(done, total)

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if self.bar is not None:
            self.bar.say(line)
        else:
            print(plain(line), file=sys.stderr, flush=True)

    def close(self) -> None:
        """End a bar that is not finished."""
        if self.bar is not None:
            self.bar.close()
