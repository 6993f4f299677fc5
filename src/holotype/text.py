"""Text for people: counts, sizes, short lists, values, hints; and what a terminal may safely print."""

from __future__ import annotations

from holotype.names import nearest

TYPE_CHECKING = False  # as `typing` has it, without importing it: listing pays for this module
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

SHOWN = 5  # how many of many names a message shows
_VALUE = 60  # characters of a value in a message


def did_you_mean(given: object, known: Iterable[str], otherwise: str = "") -> str:
    """The end of a message: ``"; did you mean 'lr'?"`` if a known name is near, else `otherwise`."""
    close = nearest(str(given), known, count=1)
    return f"; did you mean {close[0]!r}?" if close else otherwise


def listed(items: Sequence[object], most: int = SHOWN) -> str:
    """``a, b, c and 12 more``."""
    text = ", ".join(map(str, items[:most]))
    return text if len(items) <= most else f"{text} and {len(items) - most:,} more"


def bulleted(lines: Sequence[str], most: int | None = None) -> str:
    """Lines below a message, each with a dash; beyond `most` of them, ``… and 12 more``."""
    shown = [f"  - {line}" for line in (lines if most is None else lines[:most])]
    if most is not None and len(lines) > most:
        shown.append(f"  … and {len(lines) - most:,} more")
    return "\n".join(shown)


def counted(count: int, one: str, many: str | None = None) -> str:
    """``1 pair``, ``3,227 pairs``; `many` is the plural where it is not `one` and an s."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def number(value: int | None) -> str:
    """``740,609``, or a dash for what is not known."""
    return "–" if value is None else f"{value:,}"


def size(count: float | None) -> str:
    """Bytes as ``812 B``, ``1.5 MiB`` or ``2.4 GiB``; a dash for what is not known."""
    if count is None:
        return "–"
    for unit, exponent in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << exponent:
            return f"{count / (1 << exponent):,.1f} {unit}"
    return f"{count:.0f} B"


def rate(value: float) -> str:
    """So many a second: ``0.25``, ``12.3``, ``27,800``."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """``0:07``, ``12:30``, ``1:02:03``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def shown(value: object) -> str:
    """The `repr` of a value, as far as it fits in a message."""
    import reprlib

    from holotype.frozen import FrozenList

    class Short(reprlib.Repr):
        """Builds no more than is shown: a few hundred bytes of YAML can stand for gigabytes."""

        def repr1(self, x: Any, level: int) -> str:
            if isinstance(x, dict):
                return self.repr_dict(x, level)
            if isinstance(x, FrozenList):
                return self.repr_list(x, level)  # type: ignore[arg-type]  # it prints as a list
            return super().repr1(x, level)

        def repr_int(self, x: int, level: int) -> str:
            try:
                return super().repr_int(x, level)
            except ValueError:  # Python refuses to write thousands of digits
                return f"a number of {x.bit_length()} bits"

    short = Short()
    short.maxlevel = 4
    short.maxdict = short.maxlist = short.maxtuple = short.maxset = short.maxfrozenset = 8
    short.maxstring = short.maxlong = short.maxother = _VALUE
    text = short.repr(value)
    return text if len(text) <= _VALUE else f"{text[: _VALUE - 3]}…"


def in_one_line(message: object) -> str:
    """A message of several lines, such as an error's, in one."""
    return " ".join(line.strip() for line in str(message).splitlines())


def plain(text: object) -> str:
    """One line without control characters: nothing that a stranger wrote may drive a terminal."""
    return _printable(" ".join(str(text).split()))


def clean(text: object) -> str:
    """The same for a message of several lines, whose line breaks and indentation are kept."""
    return "\n".join(map(_printable, str(text).split("\n")))


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
