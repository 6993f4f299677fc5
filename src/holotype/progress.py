"""Progress: one line on stderr that is redrawn, if stderr is a terminal."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from holotype.text import duration, plain

Progress = Callable[[int, int | None], None]
_EVERY_S = 0.1


def watched() -> bool:
    """Is stderr a terminal?"""
    return sys.stderr is not None and sys.stderr.isatty()


def reporter(progress: Progress | bool | None, label: str, unit: str = "MiB") -> Progress | None:
    """What to call with the amount so far and the total.

    Args:
        progress: a function of one's own, True for a bar, False for nothing; None for a bar if
            stderr is a terminal.
        label: what the bar shows first.
        unit: what is counted; ``"MiB"`` for bytes.
    """
    if callable(progress):
        return progress
    return Bar(label, unit) if (watched() if progress is None else progress) else None


@contextmanager
def stage_bar(units: Mapping[str, str]) -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar for work of several stages, to be called with the stage, the amount so far and the total.

    Args:
        units: stage -> what is counted.

    Yields:
        None where stderr is no terminal.
    """
    if not watched():
        yield None
        return
    bar = Bar(stays=False)

    def show(stage: str, done: int, total: int) -> None:
        bar.label, bar.unit = stage, units.get(stage, "")
        bar(done, total)

    try:
        yield show
    finally:
        bar.close()


class Bar:
    """A bar: label, percentage, amount, speed, time left.

    Args:
        label: what it shows first; may be changed between calls, which begins a new bar.
        unit: what is counted, for example ``"pairs"``. ``"MiB"`` takes bytes.
        stays: a finished bar stays on the screen; otherwise it is erased.
    """

    def __init__(self, label: str = "", unit: str = "", *, stays: bool = True) -> None:
        self.label, self.unit, self.stays = label, unit, stays
        self._label = label
        self._start = self._drawn = 0.0
        self._base: int | None = None
        self._last = 0
        self._open = self._finished = False

    def __call__(self, done: int, total: int | None, note: str = "") -> None:
        """Draw it, unless it was drawn a moment ago.

        Args:
            done: how much is done, with what an earlier process did.
            total: how much there is; None if that is not known.
            note: shown at the end, for example a loss.
        """
        now = time.monotonic()
        if self.label != self._label:
            self.close()
            self._label, self._base, self._drawn = self.label, None, 0.0
        if self._base is None or done < self._last or self._finished:
            # What an earlier process did does not count for this one's speed.
            self._start, self._base, self._finished = now, done, False
        self._last = done
        finished = total is not None and done >= total
        if now - self._drawn < _EVERY_S and not finished:
            return
        self._drawn, self._finished = now, finished
        self._draw(self.line(done, total, now - self._start, note), ends=finished and self.stays)

    def say(self, text: str) -> None:
        """A line of its own, which stays; the bar is drawn below it."""
        self._draw(plain(text), ends=True, whole=True)

    def close(self) -> None:
        """End a line that was never finished, so that what is printed next stands below it."""
        if self._open:
            self._open = False
            sys.stderr.write("\n" if self.stays else "\r\x1b[K")
            sys.stderr.flush()

    def line(self, done: int, total: int | None, elapsed_s: float, note: str = "") -> str:
        """The text of the bar."""
        label = plain(self.label)
        parts = [label if len(label) <= 40 else f"…{label[-39:]}"] if label else []
        if total:
            parts.append(f"{100 * done // total}%")
        speed = (done - (self._base or 0)) / elapsed_s if elapsed_s > 0 else 0.0
        if self.unit == "MiB":
            amount = f"{done / 2**20:.1f}/{total / 2**20:.1f}" if total else f"{done / 2**20:.1f}"
            rate = f"{speed / 2**20:.1f} MiB/s"
        else:
            amount = f"{done:,}/{total:,}" if total else f"{done:,}"
            rate = f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s"
        parts.append(f"{amount} {self.unit}".strip())
        if note:
            parts.append(plain(note))
        if speed > 0:
            parts.append(rate)
            if total and done < total:
                parts.append(f"{duration((total - done) / speed)} left")
        return "  ".join(parts)

    def _draw(self, text: str, *, ends: bool, whole: bool = False) -> None:
        room = max(shutil.get_terminal_size((80, 24)).columns, 40) - 1
        shown = text if whole or len(text) <= room else text[:room]
        end = "\n" if ends else ""
        sys.stderr.write(f"\r{shown}\x1b[K{end}")
        sys.stderr.flush()
        self._open = not ends
