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


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, names: int = 1) -> str:
    """Rows in columns that fit the width.

    The last column gives way first, then those before it. Where that is not enough, each row puts what
    follows its name on a line of its own.

    Args:
        header: the columns' titles.
        rows: the cells.
        names: how many columns, from the left, hold names: these are never cut.
    """
    texts = [[plain(cell) for cell in row] for row in rows]
    room = width()
    natural = [max([len(title), *(len(row[at]) for row in texts)]) for at, title in enumerate(header)]
    sizes = list(natural)
    for at in range(len(header) - 1, names - 1, -1):
        excess = sum(sizes) + 2 * (len(sizes) - 1) - room
        if excess > 0:
            sizes[at] = max(min(natural[at], max(12, len(header[at]))), sizes[at] - excess)
    wrap = sum(sizes) + 2 * (len(sizes) - 1) > room
    lines = []
    for number, row in enumerate([list(header), *texts]):
        if wrap:
            kept = "  ".join(row[1:names])
            rest = "  ".join(row[names:])
            rest = f"{kept}  {_cut(rest, max(room - 6 - len(kept), 12))}" if kept else _cut(rest, room - 4)
            lines.append(coloured(row[0], BOLD) if number == 0 else row[0])
            if rest:
                lines.append(coloured(f"    {rest.rstrip()}", DIM))
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


def prose(text: str, indent: int = 2) -> str:
    """A docstring, its lines wrapped to the width and kept at their own indentation."""
    paragraphs: list[str] = []
    full = False
    for line in text.splitlines():
        # A line that was broken because it was full goes on in the next one.
        item = line.split(maxsplit=1)[:1] if line.strip() else [":"]
        if full and not item[0].endswith(":") and _indent(line) >= _indent(paragraphs[-1]):
            paragraphs[-1] += f" {line.strip()}"
        else:
            paragraphs.append(line)
        full = len(line) > 68
    lines = []
    for line in paragraphs:
        own = " " * (indent + _indent(line))
        hanging = own + ("    " if line.startswith(" ") else "")
        wrapped = textwrap.wrap(
            plain(line), width(), initial_indent=own, subsequent_indent=hanging, break_on_hyphens=False
        )
        lines.extend(wrapped or [""])
    return "\n".join(lines)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def number(value: int | None) -> str:
    """``740,609``, or a dash."""
    return "–" if value is None else f"{value:,}"


def print_json(value: Any) -> None:
    """JSON that git can compare."""
    print(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False, default=str))
