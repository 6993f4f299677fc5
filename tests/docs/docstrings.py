"""Run the examples of a module's docstrings in a process of their own: what one registers stays with it.

The processes are forked from one that has imported torch, which takes each of them two seconds otherwise.
"""

from __future__ import annotations

import doctest
import importlib
import multiprocessing
import os
import sys
from pathlib import Path

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["torch", "doctest"])


def examples_of(module: str, folder: Path) -> str:
    """Run a module's examples in a folder; returns what they printed if they fail, or if there are none."""
    output = folder / "output"
    process = _PROCESSES.Process(target=_run, args=(module, output))
    process.start()
    process.join()
    if not process.exitcode:
        return ""
    return output.read_text(encoding="utf-8") or f"exit code {process.exitcode}"


def _run(module: str, output: Path) -> None:
    with output.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(output.parent)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    results = doctest.testmod(importlib.import_module(module), optionflags=flags)
    if results.failed or not results.attempted:
        print(results)
        sys.exit(1)
