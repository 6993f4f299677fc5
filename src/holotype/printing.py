"""Printing for people: tables that fit the terminal, colours that stay on it; and JSON for programs."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from holotype.text import plain

BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "31", "32", "33"


def width() -> int:
    """Columns to fill: the terminal's, or 80 where there is none."""
    return max(40, shutil.get_terminal_size((80, 24)).columns) if sys.stdout.isatty() else 80


def coloured(text: str, code: str) -> str:
    """`text` in a colour on a terminal (unless NO_COLOR is set), as it is elsewhere."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\033[{code}m{text}\033[0m"


def columns(text: str) -> int:
    """How many columns of a terminal `text` takes: East Asian signs take two, combining marks none."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(char: str) -> int:
    import unicodedata

    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _wrap(text: str, room: int, first: str = "", later: str = "") -> list[str]:
    """Lines of at most `room` columns, broken at spaces and at East Asian signs; no word is cut.

    Args:
        text: what to wrap.
        room: columns.
        first: the indentation of the first line.
        later: the indentation of the lines after it.
    """
    lines: list[str] = []
    line, empty = first, True
    for word in text.split():
        space = " "
        for piece in [word] if word.isascii() else _pieces(word):
            if not empty and columns(line) + len(space) + columns(piece) > room:
                lines.append(line)
                line, empty = later, True
            line += piece if empty else space + piece
            empty, space = False, ""
    return lines if empty else [*lines, line]


def _pieces(word: str) -> list[str]:
    """A word, taken apart where a line may be broken: around each sign that is two columns wide."""
    pieces: list[str] = []
    wide = True
    for char in word:
        size = _columns(char)
        if not pieces or size == 2 or (size == 1 and wide):
            pieces.append(char)
        else:
            pieces[-1] += char
        wide = size == 2 or (size == 0 and wide)
    return pieces


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
    natural = [max([len(title), *(columns(row[at]) for row in texts)]) for at, title in enumerate(header)]
    sizes = list(natural)
    for at in range(len(header) - 1, names - 1, -1):
        excess = sum(sizes) + 2 * (len(sizes) - 1) - room
        if excess > 0:
            sizes[at] = max(min(natural[at], max(12, len(header[at]))), sizes[at] - excess)
    wrap = sum(sizes) + 2 * (len(sizes) - 1) > room
    if wrap:
        aligned = sum(natural[1:]) + 2 * (len(natural) - 2) <= room - 4
        sizes = natural if aligned else [0] * len(natural)
    lines = []
    for number, row in enumerate([list(header), *texts]):
        if wrap:
            rest = "  ".join(map(_padded, row[1:], sizes[1:])).rstrip()
            lines.append(coloured(row[0], BOLD) if number == 0 else row[0])
            if rest:
                lines.append(coloured(f"    {_cut(rest, room - 4)}", DIM))
            continue
        cells = [_padded(_cut(cell, size), size) for cell, size in zip(row, sizes, strict=True)]
        line = "  ".join(cells).rstrip()
        lines.append(coloured(line, BOLD) if number == 0 else line)
    return "\n".join(lines)


def _cut(text: str, size: int) -> str:
    if columns(text) <= size:
        return text
    while text and columns(text) >= size:
        text = text[: min(len(text) - 1, size - 1)]
    return f"{text.rstrip()}…"


def _padded(text: str, size: int) -> str:
    return text + " " * (size - columns(text))


def fields(pairs: Iterable[tuple[str, object]]) -> str:
    """Labelled values, wrapped under their labels; what is missing is shown as missing."""
    rows = [(plain(label), plain("–" if value in (None, "", (), []) else value)) for label, value in pairs]
    size = max(columns(label) for label, _ in rows)
    lines = []
    for label, text in rows:
        for at, line in enumerate(_wrap(text, width() - size - 2) or [""]):
            head = coloured(_padded(label, size), DIM) if at == 0 else " " * size
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
        lines.extend(_wrap(plain(line), width(), own, hanging) or [""])
    return "\n".join(lines)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def print_json(value: Any) -> None:
    """JSON that git can compare, and a terminal show: what it would obey, or cannot write, is escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    text = json.dumps(
        value, indent=2, ensure_ascii=not encoding.lower().startswith("utf"), sort_keys=False, default=str
    )
    print(re.sub("[^\n -~]", lambda found: _escaped(found[0]), text))


def _escaped(char: str) -> str:
    return char if char.isprintable() else json.dumps(char)[1:-1]
