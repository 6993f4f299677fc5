"""Progress of a download: a bar on a terminal, nothing where nobody looks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

Progress = Callable[[int, int | None], None]
_EVERY_S = 0.1


def reporter(progress: Progress | bool | None, label: str) -> Progress | None:
    """What to call with the bytes so far and the total.

    Args:
        progress: a function of one's own, True for a bar, False for nothing; None for a bar if
            stderr is a terminal.
        label: what the bar calls the file.
    """
    if callable(progress):
        return progress
    if progress is None:
        progress = sys.stderr is not None and sys.stderr.isatty()
    return Bar(label) if progress else None


class Bar:
    """One line on stderr that is drawn again and again."""

    def __init__(self, label: str) -> None:
        self._label = label if len(label) <= 40 else f"…{label[-39:]}"
        self._start = time.monotonic()
        self._drawn = 0.0
        self._last = 0
        self._base: int | None = None
        self._open = False
        self._finished = False

    def __call__(self, done: int, total: int | None) -> None:
        """Draw it, unless it was drawn a moment ago."""
        now = time.monotonic()
        if self._base is None or done < self._last or self._finished:
            # What an earlier process brought is no part of this one's speed.
            self._start, self._base, self._finished = now, done, False
        self._last = done
        finished = total is not None and done >= total
        if now - self._drawn < _EVERY_S and not finished:
            return
        self._drawn, self._finished, self._open = now, finished, not finished
        end = "\n" if finished else ""
        sys.stderr.write(f"\r{self.line(done, total, now - self._start)}\x1b[K{end}")
        sys.stderr.flush()

    def close(self) -> None:
        """End a line that was never finished, so that what is printed next stands below it."""
        if self._open:
            self._open = False
            sys.stderr.write("\n")
            sys.stderr.flush()

    def line(self, done: int, total: int | None, elapsed_s: float) -> str:
        """The text of the bar."""
        speed = (done - (self._base or 0)) / elapsed_s if elapsed_s > 0 else 0.0
        parts = [self._label, f"{done / 2**20:.1f}"]
        if total:
            parts = [self._label, f"{100 * done // total}%", f"{done / 2**20:.1f}/{total / 2**20:.1f}"]
        parts.append("MiB")
        if speed:
            parts.append(f"{speed / 2**20:.1f} MiB/s")
            if total and done < total:
                left = int((total - done) / speed)
                parts.append(f"{left // 60}:{left % 60:02d} left")
        return "  ".join(parts)
