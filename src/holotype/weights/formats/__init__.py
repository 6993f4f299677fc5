"""Formats of weight files: one module for each, registered here.

A new format is a module with the functions of `holotype.weights.formats.interface`, and its name in
`holotype.records.FORMATS`. What it can do is read from the functions that it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from holotype import records
from holotype.errors import CheckpointError, LoadingError, UnknownFormatError
from holotype.names import nearest
from holotype.weights.formats.interface import Format, ProgramFormat, WeightFormat, WritableFormat
from holotype.weights.formats.opened import OpenedFile
from holotype.weights.formats.zip import open_zip

_MODULES: Mapping[str, Any] = {name: import_module(f"{__name__}.{name}") for name in records.FORMATS}


def _with(function: str) -> dict[str, Any]:
    return {name: module for name, module in _MODULES.items() if hasattr(module, function)}


WEIGHTS: Mapping[str, WeightFormat] = _with("read")
"""Formats that can be read into a network, the preferred one first."""
WRITABLE: Mapping[str, WritableFormat] = _with("write")
"""Those of them that can be written."""
PROGRAMS: Mapping[str, ProgramFormat] = _with("run")
"""Formats of exported programs, which hold code."""
FORMATS: Mapping[str, Format] = {**PROGRAMS, **WEIGHTS}
"""All of them, in the order in which an unknown file is compared with them."""
ENDINGS = tuple(ending for one in WEIGHTS.values() for ending in one.ENDINGS)
"""What the names of weight files end in."""


def format_to_write(path: Path, format: str | None = None) -> str:
    """The format to write a file in: the one given, or that of its name's ending.

    Raises:
        UnknownFormatError: it cannot be written.
    """
    endings = {ending: name for name, one in WRITABLE.items() for ending in one.ENDINGS}
    chosen = format or endings.get(path.suffix.lower(), "")
    if chosen not in WRITABLE:
        raise UnknownFormatError(
            f"{format or path.name!r} is not a format that can be written; {' and '.join(WRITABLE)} can.",
            given=format or str(path),
            nearest=nearest(str(format or path.suffix), WRITABLE),
            hint=f"Let the name end in {' or '.join(endings)}.",
        )
    return chosen


def detect_format(file: OpenedFile) -> str:
    """The format that a file's first bytes and, in a zip archive, its members' names show.

    Raises:
        CheckpointError: none of the known formats.
    """
    members: tuple[str, ...] = ()
    with file.open() as opened:
        front = opened.read(16)
    if front[:2] == b"PK":
        with open_zip(file) as archive:
            members = tuple(archive.namelist())
    found = next((name for name, format in FORMATS.items() if format.matches(front, members)), None)
    if found is None:
        looks = f"it starts with {front[:8]!r}" if front else "it is empty"
        if members:
            looks = f"it is a zip archive of {members[0]!r:.80}, …"
        raise CheckpointError(
            f"{file.path} is not a weight file of a known format: {looks}.", given=str(file.path)
        )
    return found


def check_format(format: str) -> str:
    """Return `format` if files of it can be read into a network.

    Raises:
        UnknownFormatError: no such format.
        LoadingError: a format of programs.
    """
    if format in WEIGHTS:
        return format
    if format not in FORMATS:
        raise UnknownFormatError(
            f"no weight format named {format!r}; known are {', '.join(FORMATS)}.",
            given=format,
            nearest=nearest(str(format), FORMATS),
        )
    raise LoadingError(
        f"{format!r} files cannot be loaded into a network: they hold a program, not only weights. "
        f"{', '.join(WEIGHTS)} files can.",
        given=format,
        hint="Run it with holotype.weights.program.load_program(path, trust=True), if you trust its author.",
    )
