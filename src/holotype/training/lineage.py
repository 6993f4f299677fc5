"""Lineage: what a trained model was made from, so that it can be made again."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import holotype

if TYPE_CHECKING:
    from holotype.training.recipe import Recipe

_PACKAGES = ("torch", "numpy", "lightning")
_GIT_TIMEOUT_S = 10


def lineage_of(
    recipe: Recipe,
    *,
    dataset_digests: Mapping[str, str],
    world_size: int = 1,
    device: str = "cpu",
    **sources: Any,
) -> dict[str, Any]:
    """All that a training depends on, as plain data.

    Args:
        recipe: complete.
        dataset_digests: role -> sha256 of the file.
        world_size: processes.
        device: what they computed on.
        **sources: what else it depends on: the records of encoders, the weights that it began with.
    """
    whole = recipe.to_dict()
    whole.pop("output", None)  # a place on one machine
    made: dict[str, Any] = {
        "code": own_code(),
        "recipe": whole,
        "recipe_sha256": recipe.digest(),
        "datasets": dict(dataset_digests),
        "seed": recipe.seed,
        "command": command(sys.argv),
        "environment": environment(),
        "processes": world_size,
        "device": device,
    }
    made |= sources
    here = code_of(Path.cwd(), tracked=None)
    if here["commit"] and here["commit"] != made["code"]["commit"]:
        made["project"] = here  # a user's own models lie there
    return made


@cache
def own_code() -> dict[str, Any]:
    """`code_of` this package when it is first asked: what is imported then is what computes."""
    return code_of(Path(holotype.__file__).parent)


def code_of(folder: Path, tracked: str | None = "__init__.py") -> dict[str, Any]:
    """The commit that a folder is at, and whether anything was changed since.

    Args:
        folder: anywhere in a repository.
        tracked: a file that must belong to the repository; an installed package may lie in one that is
            not its own. Then only changes within the folder count.

    Returns:
        ``commit`` and ``dirty``; both None outside of a repository.
    """
    unknown = {"commit": None, "dirty": None}
    if tracked is not None and _git(folder, "ls-files", "--error-unmatch", tracked) is None:
        return unknown
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return unknown
    within = ["--", "."] if tracked is not None else []
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", *within)
    return {"commit": commit, "dirty": None if changed is None else bool(changed)}


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - no word of it comes from outside
            ["git", "-C", os.fspath(folder), *words],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def command(argv: list[str]) -> str:
    """What was typed, without the place where the program lies."""
    name = Path(argv[0]).name if argv and argv[0] else "python"
    words = ["holotype"] if name in ("__main__.py", "holotype") else ["python", name]
    return shlex.join([*words, *argv[1:]])


def environment() -> dict[str, str]:
    """Versions of what computes, and the kind of machine."""
    versions = {"python": platform.python_version(), "holotype": holotype.__version__}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {**versions, "platform": f"{platform.system()} {platform.machine()}"}
