"""Splits of pairs by what training has seen of a pair (Park and Marcotte 2012, Nature Methods 9:1134).

========  ==================================================  ==============================================
protocol  of a test pair, training has seen                   how the pairs are divided
========  ==================================================  ==============================================
``c1``    possibly both proteins                              pairs at random
``c2``    exactly one protein                                 some proteins are held out
``c3``    neither protein                                     the proteins are divided; each set has its own
========  ==================================================  ==============================================

Under c2 and c3 the pairs that fit no set are dropped and counted. Under c3 these are the pairs that cross
from one set to another, so proteins are divided such that few pairs cross and each set gets its share of the
pairs and of the positives. With clusters, similar proteins stay in one part.

A split depends only on the names, the pairs, the labels and the seed: not on the order of the rows, on which
protein of a pair comes first, or on the platform.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holotype.errors import DataError
from holotype.proteins.data.pairs import PairTable, align, counts_in_words
from holotype.splits import PARTS, fraction_problem
from holotype.text import listed

__all__ = ["PROTOCOLS", "Splits", "check_protocol", "pair_classes", "split_pairs"]

PROTOCOLS = ("c1", "c2", "c3")
_DROPPED = -1
_DRAWS = 64


class Splits(dict[str, PairTable]):
    """The parts by name, in the order train, val, test.

    Attributes:
        protocol: ``"c1"``, ``"c2"`` or ``"c3"``.
        seed: of the random numbers.
        fractions: the shares that were asked for.
        dropped: the number of pairs in no part.
        notes: a sentence for each part, and for what was dropped.
    """

    protocol: str
    seed: int
    fractions: tuple[float, ...]
    dropped: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "protocol": self.protocol,
            "seed": self.seed,
            "fractions": list(self.fractions),
            "dropped": self.dropped,
            "parts": {name: table.counts() for name, table in self.items()},
        }


def split_pairs(
    pairs: PairTable,
    *,
    protocol: str = "c3",
    seed: int,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    clusters: Mapping[str, Any] | None = None,
) -> Splits:
    """Divide pairs into train, val and test.

    Args:
        pairs: what to divide; the rules of `pairs` are applied first, because a repeated pair could
            be in two parts.
        protocol: ``"c1"``, ``"c2"`` or ``"c3"``.
        seed: a whole number from 0.
        fractions: shares of the kept pairs for train, val and test. A part of 0 is left out.
        clusters: name -> cluster of every protein; proteins of one cluster stay in one part.

    Returns:
        The parts; rows in the order of `pairs`.

    Raises:
        DataError: an argument is out of range, or a part would be empty.

    Source: Park and Marcotte 2012; differs: the proteins of c3 are divided by a local search that keeps as
    many pairs as it can (as Bernett et al. 2024 do with a graph partitioner), not at random.
    """
    check_protocol(protocol, clustered=clusters is not None)
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise DataError(f"a seed is a whole number from 0, not {seed!r}.", given=seed)
    wrong = fraction_problem(fractions)
    if wrong:
        raise DataError(f"fractions: {wrong}.", given=fractions, hint="Such as 0.8,0.1,0.1")
    cleaned = pairs.clean()
    notes = list(cleaned.report.lines()) if cleaned.report and pairs.report is None else []
    part = _divide(cleaned, protocol, np.random.Generator(np.random.PCG64(int(seed))), fractions, clusters)
    made = Splits()
    for at, name in enumerate(PARTS):
        chosen = np.flatnonzero(part == at)
        if fractions[at] and not len(chosen):
            raise DataError(
                f"under {protocol}, {name} would be empty: {len(cleaned):,} pairs of "
                f"{len(cleaned.proteins):,} proteins cannot be divided in this way.",
                given=protocol,
                hint="Give more pairs, a larger fraction, or another protocol"
                + (", or fewer proteins in one cluster." if clusters is not None else "."),
            )
        if fractions[at]:
            made[name] = replace(cleaned.take(chosen).compact(), report=None, source=None)
    made.protocol, made.seed, made.fractions = protocol, int(seed), tuple(float(f) for f in fractions)
    made.dropped = int((part == _DROPPED).sum())
    made.notes = (*notes, *_notes(made, cleaned, clusters))
    return made


def check_protocol(protocol: object, *, clustered: bool = False) -> None:
    """Refuse an unknown protocol, and clusters where the protocol has no use for them.

    Raises:
        DataError: the protocol is unknown, or is c1 with clusters.
    """
    if protocol not in PROTOCOLS:
        raise DataError(
            f"no protocol named {protocol!r}: c1 divides pairs, c2 holds proteins out, c3 divides proteins.",
            given=protocol,
            nearest=[one for one in PROTOCOLS if one == str(protocol).lower()],
        )
    if protocol == "c1" and clustered:
        raise DataError(
            "c1 lets training see both proteins of a test pair, so keeping similar ones apart has no effect.",
            given=protocol,
            hint="Choose c3, or leave the similarity out.",
        )


def pair_classes(train: PairTable, test: PairTable) -> NDArray[np.int8]:
    """Park and Marcotte's class of each test pair.

    Args:
        train: P training pairs.
        test: Q test pairs.

    Returns:
        (Q,) int8: 1 if both proteins are in a training pair, 2 if one is, 3 if neither is. A protein paired
        with itself is 1 or 3.
    """
    train, test = align(train, test)
    seen = np.zeros(len(train.proteins), bool)
    seen[train.used()] = True
    return (3 - seen[test.a].astype(np.int8) - seen[test.b]).astype(np.int8)


def _divide(
    pairs: PairTable,
    protocol: str,
    rng: np.random.Generator,
    fractions: Sequence[float],
    clusters: Mapping[str, Any] | None,
) -> NDArray[np.int64]:
    """(P,) the part of each pair: 0, 1, 2, or `_DROPPED`."""
    # Pairs are divided in an order of their own, by names, the smaller one first.
    rank = np.empty(len(pairs.proteins), np.int64)
    rank[np.array(sorted(range(len(rank)), key=pairs.proteins.__getitem__), np.int64)] = np.arange(len(rank))
    low = np.minimum(rank[pairs.a], rank[pairs.b])
    high = np.maximum(rank[pairs.a], rank[pairs.b])
    order = np.lexsort((high, low))
    low, high = low[order], high[order]
    labels = None if pairs.labels is None else pairs.labels[order].astype(np.int64)
    shares = np.array(fractions, float)
    if protocol == "c1":
        ordered = _divide_pairs(len(low), labels, shares, rng)
    else:
        group = _groups(sorted(pairs.proteins), clusters)
        low, high = group[low], group[high]
        divide = _hold_out if protocol == "c2" else _partition
        ordered = divide(int(group.max(initial=-1)) + 1, low, high, labels, shares, rng)
    part = np.empty(len(ordered), np.int64)
    part[order] = ordered
    return _drop_unseen(pairs, part) if protocol == "c2" else part


def _shuffled(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """A permutation made from `Generator.random`, whose stream numpy keeps the same in all versions."""
    return np.argsort(rng.random(count), kind="stable")


def _cut(count: int, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """(count,) 0, 1 and 2 in runs as long as the shares say; where possible, none is empty."""
    ends = np.floor(np.cumsum(shares) * count + 0.5).astype(np.int64)
    ends[-1] = count
    sizes = np.diff(ends, prepend=0)
    for at in np.flatnonzero((sizes == 0) & (shares > 0)):
        largest = int(sizes.argmax())
        if sizes[largest] > 1:
            sizes[largest] -= 1
            sizes[at] += 1
    return np.repeat(np.arange(len(shares)), sizes)


def _divide_pairs(
    count: int, labels: NDArray[np.int64] | None, shares: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """c1: each label separately, so that every part has its share of both."""
    part = np.empty(count, np.int64)
    kinds = [np.arange(count)] if labels is None else [np.flatnonzero(labels == one) for one in (0, 1)]
    for rows in kinds:
        part[rows[_shuffled(len(rows), rng)]] = _cut(len(rows), shares)
    return part


def _groups(names: list[str], clusters: Mapping[str, Any] | None) -> NDArray[np.int64]:
    """The group of each protein; groups are numbered by their first name."""
    if clusters is None:
        return np.arange(len(names))
    missing = [name for name in names if name not in clusters]
    if missing:
        raise DataError(
            f"{len(missing):,} proteins are in no cluster: {listed(missing)}.",
            given=missing[0],
            hint="Give the sequences of all proteins of the pairs.",
        )
    number: dict[Any, int] = {}
    return np.fromiter((number.setdefault(clusters[name], len(number)) for name in names), np.int64)


class _Best:
    """The best division so far: it keeps many pairs, and each part has its share of both labels."""

    def __init__(self, count: int, labels: NDArray[np.int64] | None, shares: NDArray[np.float64]) -> None:
        self._count, self._labels, self._shares = count, labels, shares
        self._rate = 0.0 if labels is None else float(labels.sum()) / max(count, 1)
        # By the rarer label: a part with half as many of these is half as good, however rare they are.
        self._rarer = min(self._rate, 1 - self._rate)
        self.quality = -math.inf
        self.part: NDArray[np.int64] = np.zeros(count, np.int64)
        self.kept = self.balance = shares

    def look(self, part: NDArray[np.int64]) -> None:
        """Measure a division; keep it if it is the best."""
        parts = len(self._shares)
        inside = part >= 0
        sizes = np.bincount(part[inside], minlength=parts)
        total = max(int(sizes.sum()), 1)
        self.kept = sizes / total
        off = float(np.abs(self.kept - self._shares).max())
        uneven = 0.0
        self.balance = np.full(parts, self._rate)
        if self._labels is not None and self._rarer > 0:
            positive = np.bincount(part[inside], self._labels[inside], parts)
            self.balance = np.where(sizes > 0, positive / np.maximum(sizes, 1), self._rate)
            uneven = float(np.abs(self.balance - self._rate).max()) / self._rarer
        empty = int(((sizes == 0) & (self._shares > 0)).sum())
        quality = total / max(self._count, 1) - 3 * max(off - 0.003, 0) - max(uneven - 0.02, 0) - 10 * empty
        if quality > self.quality:
            self.quality, self.part = quality, part

    def tilt(self) -> NDArray[np.float64]:
        """The positives that each part lacks, in units of the rarer label."""
        return (self._rate - self.balance) / self._rarer if self._rarer > 0 else 0 * self.balance

    def weights(self, tilt: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The weight of a positive and of a negative pair in each part; 1 on average."""
        larger = max(self._rate, 1 - self._rate)
        return 1 + tilt * (1 - self._rate) / larger, 1 - tilt * self._rate / larger


def _hold_out(
    groups: int,
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    labels: NDArray[np.int64] | None,
    shares: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """c2: the best of many random sets of proteins to hold out."""
    best = _Best(len(low), labels, shares)
    degree = np.bincount(low, minlength=groups) + np.bincount(high, minlength=groups)
    total = max(int(degree.sum()), 1)
    held = shares[1:] / 2  # a pair of val has one protein in val, and one in train
    for _ in range(_DRAWS):
        order = _shuffled(groups, rng)
        upto = np.cumsum(degree[order]) / total
        side = np.empty(groups, np.int64)
        ends = np.cumsum(held)
        side[order] = np.where(upto <= ends[0], 1, np.where(upto <= ends[1], 2, 0))
        one, other = side[low], side[high]
        part = np.where((one > 0) & (other > 0), _DROPPED, np.maximum(one, other))
        best.look(part)
        held = held * np.clip(1 + 0.5 * (shares[1:] / np.maximum(best.kept[1:], 1e-9) - 1), 0.5, 1.5)
    return best.part


def _drop_unseen(pairs: PairTable, part: NDArray[np.int64]) -> NDArray[np.int64]:
    """c2: drop the pairs of val and test of which training sees neither protein."""
    seen = np.zeros(len(pairs.proteins), bool)
    train = part == 0
    seen[pairs.a[train]] = seen[pairs.b[train]] = True
    unseen = (part > 0) & ~(seen[pairs.a] | seen[pairs.b])
    return np.where(unseen, _DROPPED, part)


def _partition(
    groups: int,
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    labels: NDArray[np.int64] | None,
    shares: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """c3: divide the groups so that few pairs cross, by a local search.

    Each round moves some groups to the part in which they have more partners than its size alone would give
    (modularity), as far as that part has room. The room of a part depends on its share of pairs so far, and
    pairs of the label that a part lacks count more there.
    """
    parts = len(shares)
    best = _Best(len(low), labels, shares)
    between = low != high
    one = np.concatenate([low[between], high[between]])
    other = np.concatenate([high[between], low[between]])
    positive = None if labels is None else np.tile(labels[between], 2).astype(float)
    degree = (np.bincount(low, minlength=groups) + np.bincount(high, minlength=groups)).astype(float)
    total = max(float(degree.sum()), 1.0)
    room = shares * total
    open_ = shares > 0
    side = np.empty(groups, np.int64)
    order = _shuffled(groups, rng)
    upto = (np.cumsum(degree[order]) - degree[order] / 2) / total
    side[order] = np.minimum(np.searchsorted(np.cumsum(shares)[:-1], upto, side="right"), parts - 1)
    tilt = np.zeros(parts)
    every = np.arange(groups)
    # As many rounds as a few seconds allow, from the number of pairs: the same on every machine.
    for _ in range(int(np.clip(4e7 / max(len(low), 1), 40, 400))):
        in_one = side[low]
        best.look(np.where(in_one == side[high], in_one, _DROPPED))
        room = room * np.clip(1 + 0.1 * (shares / np.maximum(best.kept, 1e-9) - 1), 0.8, 1.25)
        room = room * (total / room.sum())
        tilt = np.clip(tilt + 0.2 * best.tilt(), -1, 1)
        cells = one * parts + side[other]
        partners = np.bincount(cells, minlength=groups * parts).reshape(groups, parts).astype(float)
        if positive is not None:
            with_one = np.bincount(cells, positive, groups * parts).reshape(groups, parts)
            for_one, for_zero = best.weights(tilt)
            partners = with_one * for_one + (partners - with_one) * for_zero
        volume = np.bincount(side, degree, parts)
        pull = partners - 0.5 * degree[:, None] * volume / total
        pull[every, side] += 0.5 * degree * degree / total  # a group is not its own neighbour
        pull[:, ~open_] = -np.inf
        _move_groups(side, pull, room, degree, rng)
    return best.part


def _move_groups(
    side: NDArray[np.int64],
    pull: NDArray[np.float64],
    room: NDArray[np.float64],
    degree: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Move some groups to the part that pulls them most, while it has room; then some out of parts too full.

    Shapes: G groups; S parts.

    Args:
        side: (G,) the part of each group.
        pull: (G, S), -inf for parts that take no groups.
        room: (S,) the degrees that each part may hold.
        degree: (G,) the pairs of each group.
        rng: chooses the groups that may move.
    """
    every = np.arange(len(side))
    volume = np.bincount(side, degree, len(room))
    target = pull.argmax(1)
    gain = pull[every, target] - pull[every, side]
    # Some at a time: if all moved at once, neighbours would swap places without end.
    moving = (rng.random(len(side)) < 0.3) & (gain > 1e-9)
    for part in range(len(room)):
        chosen = np.flatnonzero(moving & (target == part))
        chosen = chosen[np.argsort(-gain[chosen] / degree[chosen], kind="stable")]
        fits = np.cumsum(degree[chosen]) <= room[part] * 1.03 - volume[part]
        side[chosen[fits]] = part
    volume = np.bincount(side, degree, len(room))
    for full in np.flatnonzero(volume > room * 1.03):
        chosen = np.flatnonzero((side == full) & (rng.random(len(side)) < 0.3))
        elsewhere = pull[chosen]
        elsewhere[:, full] = -np.inf
        to = elsewhere.argmax(1)
        loss = pull[chosen, full] - elsewhere[np.arange(len(chosen)), to]
        least = np.argsort(loss / np.maximum(degree[chosen], 1), kind="stable")
        fits = np.cumsum(degree[chosen[least]]) <= volume[full] - room[full] * 1.03
        side[chosen[least][fits]] = to[least][fits]


def _notes(made: Splits, pairs: PairTable, clusters: Mapping[str, Any] | None) -> list[str]:
    notes = [f"{name}: {counts_in_words(table.counts())}" for name, table in made.items()]
    if made.dropped:
        why = {
            "c2": "have no protein, or only held-out ones, in training",
            "c3": "cross from one part to another",
        }
        notes.append(
            f"dropped: {made.dropped:,} of {len(pairs):,} pairs ({made.dropped / len(pairs):.1%}), which "
            f"{why[made.protocol]}"
        )
    return notes + [f"clusters: {note}" for note in getattr(clusters, "notes", ())]
