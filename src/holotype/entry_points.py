"""What installed packages offer by entry points, and the objects that addresses ``"module:OBJECT"`` name.

`importlib.metadata` finds entry points in 50 ms; this reads the few files that matter in under 2 ms.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def import_path() -> list[str]:
    """The folders in `sys.path`."""
    return [folder for folder in sys.path if isinstance(folder, str)]


_entry_points: dict[str, tuple[int, list[tuple[str, str, str]]]] = {}


def entry_points(group: str) -> Iterator[tuple[str, str, str]]:
    """The entry points of a group of Holotype's, in all installed packages: folder, name, value."""
    for folder in import_path():
        if not folder or folder.endswith(".zip") or os.path.basename(folder) == "lib-dynload":
            continue
        try:
            changed = os.stat(folder).st_mtime_ns
        except OSError:
            continue
        known = _entry_points.get(folder)
        if known is None or known[0] != changed:
            known = _entry_points[folder] = (changed, list(_entry_points_in(folder)))
        yield from ((folder, name, value) for found, name, value in known[1] if found == group)


def resolve(address: str) -> Any:
    """The object at an address ``"module:OBJECT"``; its module is imported."""
    from importlib import import_module

    module, _, name = address.partition(":")
    found: Any = import_module(module.strip())
    for part in filter(None, name.strip().split(".")):
        found = getattr(found, part)
    return found


def _entry_points_in(folder: str) -> Iterator[tuple[str, str, str]]:
    """Group, name and value of Holotype's entry points."""
    try:
        with os.scandir(folder) as items:
            infos = [item.path for item in items if item.name.endswith((".dist-info", ".egg-info"))]
    except OSError:
        return
    for info in infos:
        try:
            with open(os.path.join(info, "entry_points.txt"), "rb") as file:
                content = file.read()
        except OSError:
            continue
        if b"holotype." not in content:
            continue
        group = ""
        for line in content.decode("utf-8", errors="replace").splitlines():
            line = line.strip()
            if line.startswith("[") and line.endswith("]"):
                group = line[1:-1].strip()
            elif group.startswith("holotype.") and "=" in line and not line.startswith(("#", ";")):
                name, _, value = line.partition("=")
                yield group, name.strip().lower(), value.strip()
