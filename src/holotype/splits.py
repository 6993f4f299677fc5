"""The parts that datasets of every domain are divided into."""

from __future__ import annotations

import math
from collections.abc import Iterable

PARTS = ("train", "val", "test")


def fraction_problem(fractions: object) -> str | None:
    """Why these are not the fractions of a split into train, val and test; None if they are."""
    if isinstance(fractions, str) or not isinstance(fractions, Iterable):
        return f"expected three numbers for train, val and test, got {fractions!r}"
    given = list(fractions)
    if len(given) != 3 or not all(
        isinstance(one, (int, float)) and not isinstance(one, bool) and math.isfinite(one) for one in given
    ):
        return f"expected three numbers for train, val and test, got {given!r}"
    if min(given) < 0 or abs(sum(given) - 1) > 1e-6:
        return f"expected fractions that sum to 1, got {', '.join(f'{one:g}' for one in given)}"
    if given[0] == 0 or given[1] == given[2] == 0:
        return "a split has a train part, and one of val and test"
    return None
