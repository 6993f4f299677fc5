"""Dividing images into parts, and looking for what two parts have in common.

Which part an image is in depends on its own name and the seed, and on nothing else: each class is divided
in about the asked proportions, and an image that is added later moves no other. Images of one content count
as one. Only a class too small to reach every part is put right by hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import combinations

from holotype.errors import LeakageError
from holotype.splits import PARTS
from holotype.text import SHOWN, bulleted
from holotype.vision.data.table import ImageTable

__all__ = ["divide", "raise_if_shared"]


def divide(
    names: Sequence[str],
    classes: Sequence[int] | None,
    hashes: Sequence[bytes] | None,
    *,
    fractions: Sequence[float],
    seed: int,
) -> dict[str, list[int]]:
    """Divide images into train, val and test.

    Args:
        names: of the images.
        classes: of each, so that each class reaches every part; or None.
        hashes: of each image's content, so that equal images stay together; or None.
        fractions: for train, val and test, 1 in all.
        seed: another one gives another division.

    Returns:
        part -> positions, in their order. A part of fraction 0 is left out.
    """
    groups: dict[object, list[int]] = {}
    for at in sorted(range(len(names)), key=names.__getitem__):
        groups.setdefault(names[at] if hashes is None else hashes[at], []).append(at)
    total = sum(fractions)
    edges, reached = [], 0.0
    for fraction in fractions:
        reached += fraction / total
        edges.append(reached)
    wanted = [part for part in range(len(PARTS)) if fractions[part] > 0]
    of_class: dict[int, list[tuple[float, int, list[int]]]] = {}
    for members in groups.values():
        draw = _draw(names[members[0]], seed)
        part = next((part for part in wanted if draw < edges[part]), wanted[-1])
        label = 0 if classes is None else int(classes[members[0]])
        of_class.setdefault(label, []).append((draw, part, members))
    chosen: list[list[int]] = [[] for _ in PARTS]
    for units in of_class.values():
        for _, part, members in _reach_all(sorted(units), wanted, edges):
            chosen[part] += members
    return {PARTS[part]: sorted(chosen[part]) for part in wanted}


def _draw(name: str, seed: int) -> float:
    """A number from 0 to 1 that only the name and the seed decide."""
    digest = hashlib.sha256(f"{seed}\n{name}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def _reach_all(
    units: list[tuple[float, int, list[int]]], wanted: list[int], edges: list[float]
) -> list[tuple[float, int, list[int]]]:
    """Give each part one of a class's images at least, as long as there are enough; training comes first."""
    for part in wanted:
        if any(one[1] == part for one in units):
            continue
        counts = [sum(one[1] == other for one in units) for other in range(len(PARTS))]
        # From a part that has several; or, for an earlier part's sake, from a later one.
        rank = wanted.index(part)
        spare = [at for at, one in enumerate(units) if counts[one[1]] > 1 or wanted.index(one[1]) > rank]
        if not spare:
            continue
        low = edges[part - 1] if part else 0.0
        middle = (low + edges[part]) / 2
        nearest = min(spare, key=lambda at: (abs(units[at][0] - middle), units[at][0]))
        units[nearest] = (units[nearest][0], part, units[nearest][2])
    return units


def raise_if_shared(splits: Mapping[str, ImageTable]) -> None:
    """Refuse parts that have an image in common, by its content.

    Raises:
        LeakageError: two parts have; it names some.
    """
    lines = []
    for one, other in combinations(splits, 2):
        mine, theirs = splits[one], splits[other]
        if mine.hashes is None or theirs.hashes is None:
            continue
        known = dict(zip(reversed(mine.hashes), reversed(mine.names), strict=True))
        pairs = zip(theirs.hashes, theirs.names, strict=True)
        both = [(name, known[key]) for key, name in pairs if key in known]
        if both:
            examples = "; ".join(f"{name} is {twin}" for name, twin in both[:SHOWN])
            more = "; …" if len(both) > SHOWN else ""
            verb = "is" if len(both) == 1 else "are"
            found = f"{len(both):,} of {len(theirs):,} images of {other} {verb} in {one}"
            lines.append(f"{found}: {examples}{more}")
    if lines:
        raise LeakageError(
            "the same images are in two parts of the data.\n" + bulleted(lines),
            problems=lines,
            hint="Remove them from one part, or let Holotype split the images: "
            "{images: DIR, split: {fractions: [0.8, 0.1, 0.1], seed: 0}}.",
        )
