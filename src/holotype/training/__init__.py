"""Training: a recipe in, a run folder out. One loop for every objective.

    >>> from holotype.training import load_recipe
    >>> load_recipe({"model": "v1", "data": "bernett", "encoder": "unirep_64"}).optimizer.name
    'adamw'

Reading a recipe imports neither torch nor Lightning; training does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holotype.training.folder import RunResult
from holotype.training.recipe import Recipe, load_recipe
from holotype.training.registration import entry_of, register_run

if TYPE_CHECKING:
    from holotype.training.run import train

__all__ = ["Recipe", "RunResult", "entry_of", "load_recipe", "register_run", "train"]


def __getattr__(name: str) -> Any:
    if name != "train":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from holotype.training import run
    except ModuleNotFoundError as error:
        from holotype.extras import missing_extra

        raise missing_extra(error, "training") or error from error
    return run.train
