"""Options of commands: where a domain puts its own, and types that check what was typed."""

from __future__ import annotations

import argparse
from typing import Any, Protocol

from holotype.text import plain


class Options(Protocol):
    """Where a command puts its options: `argparse.ArgumentParser.add_argument`, and nothing else of it."""

    def add_argument(self, *names: str, **how: Any) -> argparse.Action:
        """Add an option or an argument."""
        ...


def from_0(text: str) -> int:
    """A whole number from 0 on."""
    return _whole_number(text, 0)


def from_1(text: str) -> int:
    """A whole number from 1 on."""
    return _whole_number(text, 1)


def share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"a number from 0 to 1, not {plain(text)!r}")
    return value


def _whole_number(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"a whole number from {least} on, not {plain(text)!r}")
    return value
