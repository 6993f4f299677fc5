"""Import one module in a child process, and report what it registers.

For files whose registrations cannot be read from source: names made in a loop, arguments that are computed.
The child inherits the environment; it is ended after ``HOLOTYPE_PROBE_TIMEOUT_S`` seconds (60).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from holotype.catalog.link import REGISTERING
from holotype.catalog.zoos import PROBING, ZooSpec
from holotype.entry_points import import_path

_CHILD = (
    "import json, sys\n"
    "task = json.load(sys.stdin)\n"
    "sys.path[:] = task['path']\n"
    "from holotype.catalog.probe import child\n"
    "from holotype.catalog.registry import default_registry\n"
    "child(task, default_registry.registered_by)\n"
)


def probe(spec: ZooSpec, module: str) -> dict[str, Any]:
    """Import `module` in a child process.

    Returns:
        ``entries``, as `holotype.catalog.link` makes them, and ``modules``: those of the zoo imported;
        or ``error``: ``[line, message]``.
    """
    path = [item or os.getcwd() for item in import_path()]
    if spec.root not in path:
        path.insert(0, spec.root)
    task = {"module": module, "zoo": spec.module, "path": path}
    try:
        timeout_s = float(os.environ.get("HOLOTYPE_PROBE_TIMEOUT_S", "60"))
    except ValueError:
        timeout_s = 0.0
    if not 0.0 < timeout_s < 1e6:
        timeout_s = 60.0
    try:
        done = subprocess.run(  # noqa: S603 - this very interpreter
            [sys.executable, "-c", _CHILD],
            input=json.dumps(task).encode(),
            capture_output=True,
            timeout=timeout_s,
            env={**os.environ, PROBING: "1"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": [None, f"importing it took longer than {timeout_s:g} s"]}
    except OSError as error:
        return {"error": [None, f"no child process to import it in: {error}"]}
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(b"{") and line.endswith(b"}"):
            result: dict[str, Any] = json.loads(line)
            return result
    last = done.stderr.decode("utf-8", errors="replace").strip().splitlines()[-1:]
    return {"error": [None, f"importing it ended the process ({done.returncode}): {' '.join(last)}"]}


def child(task: dict[str, Any], registered_by: Callable[[str], list[dict[str, Any]]]) -> None:
    """The child's side: import, then print one line of JSON."""
    out = os.dup(1)
    os.dup2(2, 1)  # what the module prints must not be taken for the answer
    result: dict[str, Any]
    try:
        import importlib

        importlib.import_module(task["module"])
        entries = registered_by(task["module"])
        prefix = task["zoo"] + "."
        result = {
            "entries": entries,
            "modules": sorted(name for name in sys.modules if name == task["zoo"] or name.startswith(prefix)),
        }
    except BaseException as error:  # noqa: BLE001 - whatever the module does at import, even sys.exit
        result = {"error": [_line_in(error, task["module"]), _message(error)]}
    os.write(out, b"\n" + json.dumps(result).encode() + b"\n")
    sys.stdout.flush()
    os._exit(0)  # no waiting for threads that the module started


def _message(error: BaseException) -> str:
    message = f"importing it failed: {type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, NameError) and error.name in REGISTERING:
        message += f"; write: from holotype import {error.name}"
    return message


def _line_in(error: BaseException, module: str) -> int | None:
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__") == module:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
