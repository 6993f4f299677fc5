"""Printing for people: tables that fit the terminal, colours that stay on it; and JSON for programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "31", "32", "33"


def width() -> int:
    """Columns to fill: the terminal's, or 80 where there is none."""
    return max(40, shutil.get_terminal_size((80, 24)).columns) if sys.stdout.isatty() else 80


def coloured(text: str, code: str) -> str:
    """`text` in a colour on a terminal (unless NO_COLOR is set), as it is elsewhere."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\033[{code}m{text}\033[0m"


def plain(text: object) -> str:
    """One line without control characters: what a stranger registered must not drive a terminal."""
    return "".join(c if c.isprintable() else " " for c in " ".join(str(text).split()))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows in columns that fit the width.

    The first column, names, is never cut; the last gives way first, then those before it. A row that
    still does not fit keeps its name whole and puts the rest on a line of its own.
    """
    texts = [[plain(cell) for cell in row] for row in rows]
    room = width()
    natural = [max(len(header[at]), *(len(row[at]) for row in texts)) if texts else len(header[at]) for at in range(len(header))]
    sizes = list(natural)
    for at in range(len(header) - 1, 0, -1):
        excess = sum(sizes) + 2 * (len(sizes) - 1) - room
        if excess > 0:
            least = min(natural[at], 24 if at == len(header) - 1 else max(8, len(header[at])))
            sizes[at] = max(least, sizes[at] - excess)
    wrap = sum(sizes) + 2 * (len(sizes) - 1) > room
    lines = []
    for number, row in enumerate([list(header), *texts]):
        if wrap:
            rest = "  ".join(_cut(cell, size) for cell, size in zip(row[1:], sizes[1:], strict=True) if cell)
            rest = _cut(rest, room - 4).rstrip()
            lines.append(coloured(row[0], BOLD) if number == 0 else row[0])
            if rest:
                lines.append(coloured(f"    {rest}", DIM))
            continue
        cells = [_cut(cell, size).ljust(size) for cell, size in zip(row, sizes, strict=True)]
        line = "  ".join(cells).rstrip()
        lines.append(coloured(line, BOLD) if number == 0 else line)
    return "\n".join(lines)


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else f"{text[: size - 1].rstrip()}…"


def fields(pairs: Iterable[tuple[str, object]]) -> str:
    """Labelled values, wrapped under their labels; what is missing is shown as missing."""
    rows = [(label, "–" if value in (None, "", (), []) else value) for label, value in pairs]
    size = max(len(label) for label, _ in rows)
    lines = []
    for label, value in rows:
        text = str(value) if isinstance(value, str) and "/" in value and " " not in value else plain(value)
        wrapped = textwrap.wrap(text, width() - size - 2, break_long_words=False, break_on_hyphens=False)
        for at, line in enumerate(wrapped or [""]):
            head = coloured(label.ljust(size), DIM) if at == 0 else " " * size
            lines.append(f"{head}  {line}")
    return "\n".join(lines)


def number(value: int | None) -> str:
    """``740,609``, or a dash."""
    return "–" if value is None else f"{value:,}"


def print_json(value: Any) -> None:
    """JSON that git can compare."""
    print(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False, default=str))
