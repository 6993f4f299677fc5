"""All pairs of proteins, or of two sets of them, scored in blocks; and the best partners of each protein.

Memory does not grow with the number of pairs. The pairs are scored in blocks, some rows of the matrix at a
time; the answer of a block is a list of pairs, or the best partners so far.

The rules:

- A protein is not paired with itself unless `include_self` is set.
- A symmetric model scores each unordered pair once, and a list has it once: the protein that is first in the
  file comes first.
- A model that distinguishes (a, b) from (b, a) scores both, and a list has both.
- The best partners are listed for each protein, best first, so that a pair may be in the lists of both of its
  proteins. Of two sets, the proteins of the first have partners in the second.
- Equal logits are ranked by the order of the file.

Shapes: N proteins; R rows and C columns of a block; K best partners; P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import nn

from holotype.errors import DataError, ParameterError
from holotype.proteins.prediction.scoring import (
    RESIDUES_PER_BATCH,
    EncodedProteins,
    Floats,
    Integers,
    Progress,
    ProteinEmbeddings,
    ResidueProteins,
    check_embeddings,
    evaluating,
    known_proteins,
)

_BLOCK_PAIRS = 2**20
# For a model that looks at both proteins: the pairs that an interruption may lose, and the rows of a block.
_SLOW_BLOCK_PAIRS, _SLOW_ROWS = 2**14, (8, 64)
_NOTHING = np.iinfo(np.int64).min
"""The key of no partner, less than the key of any logit."""


class Scores(NamedTuple):
    """Scored pairs: indices of proteins, and logits; (P,) each."""

    a: Integers
    b: Integers
    logits: Floats


class Best(NamedTuple):
    """Keys of the best partners of some proteins: (rows, K) int64, see `_keys`, in no order."""

    rows: Integers
    keys: Integers


class Question(Protocol):
    """The pairs to score, in blocks that do not depend on each other."""

    @property
    def top_k(self) -> int | None:
        """The number of partners ranked for each protein; None where pairs are listed."""

    @property
    def sizes(self) -> list[int]:
        """The number of pairs of each block that are listed or ranked."""

    def answer(self, proteins: EncodedProteins | ResidueProteins, block: int) -> Scores | list[Best]:
        """Score one block."""


@dataclass(frozen=True, eq=False)
class PairList:
    """Given pairs, in their order.

    Attributes:
        a: (P,) indices of first proteins.
        b: (P,) indices of second ones.
        at_once: pairs of a block.
        top_k: None, as given pairs are not ranked.
    """

    a: Integers
    b: Integers
    at_once: int = _BLOCK_PAIRS
    top_k: int | None = None

    @property
    def sizes(self) -> list[int]:
        """Pairs of each block."""
        return [min(self.at_once, len(self.a) - start) for start in range(0, len(self.a), self.at_once)]

    def answer(self, proteins: EncodedProteins | ResidueProteins, block: int) -> Scores:
        """Score one block."""
        at = slice(block * self.at_once, (block + 1) * self.at_once)
        a, b = self.a[at], self.b[at]
        logits = proteins.score(a, b)
        _check_finite(logits, a, b)
        return Scores(a.astype(np.int32), b.astype(np.int32), logits)


@dataclass(frozen=True, eq=False)
class Grid:
    """All pairs of two sets of proteins, which may be the same.

    Attributes:
        rows: indices of the proteins of the first set, each once, ascending.
        columns: of the second set.
        symmetric: whether the model gives both orders of a pair the same score.
        top_k: list only the best partners of each row, at most this many; None to list all pairs.
        least_logit: list only pairs of at least this logit.
        include_self: also pair each protein with itself.
        high: rows of a block.
    """

    rows: Integers
    columns: Integers
    symmetric: bool
    top_k: int | None = None
    least_logit: float | None = None
    include_self: bool = False
    high: int = 64

    @property
    def _square(self) -> bool:
        return len(self.rows) == len(self.columns) and bool(np.array_equal(self.rows, self.columns))

    @property
    def _halved(self) -> bool:
        """Whether each unordered pair is scored once."""
        return self.symmetric and self._square

    @cached_property
    def sizes(self) -> list[int]:
        """The number of pairs of each block that are scored and wanted."""
        counts = []
        for rows in self._blocks():
            if self._halved:
                # Row i with the columns after it: each pair is scored once and ranked for both proteins.
                left = np.arange(len(self.columns) - rows.start, len(self.columns) - rows.stop, -1)
                counts.append(int(left.sum()) - (0 if self.include_self else len(rows)))
            elif self.top_k is not None:
                own = (
                    0
                    if self.include_self
                    else int(np.isin(self.rows[rows.start : rows.stop], self.columns).sum())
                )
                counts.append(len(rows) * len(self.columns) - own)
            else:
                counts.append(int(self._wanted(rows, range(len(self.columns))).sum()))
        return counts

    def answer(self, proteins: EncodedProteins | ResidueProteins, block: int) -> Scores | list[Best]:
        """Score one block."""
        rows = self._blocks()[block]
        columns = range(rows.start if self._halved else 0, len(self.columns))
        a, b = self.rows[rows.start : rows.stop], self.columns[columns.start :]
        logits = proteins.block(_as_range(a), _as_range(b))
        _check_finite(logits, a, b)
        if self._halved:
            # Both halves of the square on the diagonal were scored; only one is used.
            corner = logits[:, : len(rows)]
            np.copyto(corner, corner.T.copy(), where=np.tri(len(rows), dtype=bool))
        if self.top_k is not None:
            return self._best(logits, rows, columns)
        keep = self._wanted(rows, columns)
        if self.least_logit is not None:
            keep &= logits >= self.least_logit
        row, column = keep.nonzero()
        return Scores(a[row].astype(np.int32), b[column].astype(np.int32), logits[keep])

    def _best(self, logits: Floats, rows: range, columns: range) -> list[Best]:
        most = self.top_k or 1
        a, b = self.rows[rows.start : rows.stop], self.columns[columns.start :]
        keys = _keys(logits, b)
        if not self.include_self:
            keys[a[:, None] == b] = _NOTHING
        found = [Best(np.arange(rows.start, rows.stop), largest(keys, most))]
        if self._halved and rows.stop < len(self.rows):
            # The rows of this block are also partners of all proteins after them.
            keys = _keys(logits[:, len(rows) :].T, a)
            found.append(Best(np.arange(rows.stop, len(self.rows)), largest(keys, most)))
        return found

    def _wanted(self, rows: range, columns: range) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """(R, C) whether a pair is listed."""
        a = self.rows[rows.start : rows.stop, None]
        b = self.columns[None, columns.start : columns.stop]
        wanted = np.ones((a.shape[0], b.shape[1]), bool)
        if not self.include_self:
            wanted &= a != b
        if self.symmetric:
            # A pair that occurs in both orders counts in the order of the file.
            both = np.isin(a, self.columns) & np.isin(b, self.rows)
            wanted &= ~(both & (a > b))
        return wanted

    def _blocks(self) -> list[range]:
        count = len(self.rows)
        return [range(start, min(start + self.high, count)) for start in range(0, count, self.high)]


class Ranking:
    """The best partners so far of each row of a grid.

    Attributes:
        keys: (rows, K) int64, in no order.
    """

    def __init__(self, grid: Grid, keys: Integers | None = None) -> None:
        self._grid = grid
        self.keys = np.full((len(grid.rows), grid.top_k or 1), _NOTHING) if keys is None else keys

    def add(self, found: Sequence[Best]) -> None:
        """Add the answer of a block. The order of the blocks has no effect."""
        for rows, keys in found:
            at = slice(int(rows[0]), int(rows[-1]) + 1)
            self.keys[at] = largest(np.concatenate([self.keys[at], keys], axis=1), self.keys.shape[1])

    def scores(self) -> Scores:
        """The pairs: row by row, best first."""
        ordered = -np.sort(-self.keys, axis=1)
        keep = ordered != _NOTHING
        partners, logits = _unpacked(ordered[keep])
        a = np.repeat(self._grid.rows, keep.sum(1))
        if self._grid.least_logit is not None:
            likely = logits >= self._grid.least_logit
            a, partners, logits = a[likely], partners[likely], logits[likely]
        return Scores(a.astype(np.int32), partners, logits)


def grid(
    net: nn.Module,
    rows: Integers,
    columns: Integers | None = None,
    *,
    top_k: int | None = None,
    least_logit: float | None = None,
    include_self: bool = False,
) -> Grid:
    """All pairs of proteins, in blocks of a size that suits the model.

    Args:
        net: the model.
        rows: indices of the proteins, ascending.
        columns: indices of the other set; the same set if None.
        top_k: as in `Grid`.
        least_logit: as in `Grid`.
        include_self: as in `Grid`.

    Raises:
        ParameterError: `top_k` is less than 1.
    """
    if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
        raise ParameterError(f"top_k: expected a whole number, at least 1, got {top_k!r}.", given=top_k)
    columns = rows if columns is None else columns
    wide = max(1, len(columns))
    if getattr(net, "encodes_alone", False):
        high = max(1, min(512, _BLOCK_PAIRS // wide))
    else:
        high = min(max(_SLOW_BLOCK_PAIRS // wide, _SLOW_ROWS[0]), _SLOW_ROWS[1])
    if top_k is not None:
        top_k = min(top_k, wide)
    symmetric = bool(getattr(net, "symmetric", False))
    return Grid(rows, columns, symmetric, top_k, least_logit, include_self, high)


def pair_list(net: nn.Module, a: Integers, b: Integers) -> PairList:
    """Given pairs, in blocks of a size that suits the model."""
    return PairList(a, b, _BLOCK_PAIRS if getattr(net, "encodes_alone", False) else _SLOW_BLOCK_PAIRS)


def score_all(
    net: nn.Module,
    embeddings: ProteinEmbeddings,
    names: Sequence[str],
    against: Sequence[str] | None = None,
    *,
    top_k: int | None = None,
    threshold: float | None = None,
    temperature: float = 1.0,
    include_self: bool = False,
    residues_per_batch: int = RESIDUES_PER_BATCH,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> Iterator[Scores]:
    """Score all pairs of some proteins, or of two sets of them, by the rules of this module.

    Args:
        net: a protein interaction model. It is moved to `device` and used in evaluation mode.
        embeddings: of all these proteins.
        names: the proteins, each once.
        against: a second set, each protein once; the same proteins if None.
        top_k: only the best partners of each protein, at most this many.
        threshold: only pairs of at least this probability.
        temperature: logits are divided by it for that probability.
        include_self: also pair each protein with itself.
        residues_per_batch: residues of a batch, padding included.
        device: where to run.
        progress: called with the pairs done and the pairs in all.

    Yields:
        Pairs in the order of the file, in portions; indices count through `names`, then through the new names
        of `against`. With `top_k`, all pairs at once at the end.

    Raises:
        DataError: a protein has no embedding or a name is given twice, or the model returns NaN.
        ParameterError: `top_k`, `threshold` or `temperature` is out of range.
    """
    everybody, rows, columns = index_sets(names, against)
    check_embeddings(net, embeddings, everybody)
    least = least_logit(threshold, temperature)
    question = grid(net, rows, columns, top_k=top_k, least_logit=least, include_self=include_self)
    ranking = Ranking(question) if top_k is not None else None
    total, done = sum(question.sizes), 0
    with evaluating(net, device):
        proteins = known_proteins(net, embeddings, everybody, residues_per_batch=residues_per_batch)
    for block, size in enumerate(question.sizes):
        with evaluating(net, device):
            found = question.answer(proteins, block)
        done += size
        if progress is not None:
            progress(done, total)
        if isinstance(found, Scores):
            yield found
        elif ranking is not None:
            ranking.add(found)
    if ranking is not None:
        yield ranking.scores()


def index_sets(
    names: Sequence[str], against: Sequence[str] | None = None
) -> tuple[tuple[str, ...], Integers, Integers]:
    """All names, each once, and the indices of either set among them.

    Raises:
        DataError: a name is given twice in one set.
    """
    for given in (names, against or ()):
        if len(set(given)) != len(given):
            twice = next(name for at, name in enumerate(given) if name in given[:at])
            raise DataError(f"the protein {twice!r} is given twice.", given=twice)
    places: dict[str, int] = {}
    rows, columns = (
        np.array([places.setdefault(name, len(places)) for name in given], np.int64)
        for given in (names, names if against is None else against)
    )
    return tuple(places), rows, np.sort(columns)


def least_logit(threshold: float | None, temperature: float) -> float | None:
    """The logit of a calibrated probability.

    Raises:
        ParameterError: the threshold is not a probability, or the temperature is not above 0.
    """
    if not temperature > 0:
        raise ParameterError(
            f"temperature: expected a number above 0, got {temperature!r}.", given=temperature
        )
    if threshold is None:
        return None
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
        raise ParameterError(
            f"threshold: expected a probability, 0 to 1, got {threshold!r}.", given=threshold
        )
    with np.errstate(divide="ignore"):
        return float(temperature * (np.log(threshold) - np.log1p(-threshold)))


def probabilities(logits: Floats, temperature: float) -> Floats:
    """Calibrated probabilities of logits, float32."""
    scaled = np.asarray(logits, np.float64) / temperature
    small = np.exp(-np.abs(scaled))
    found: Floats = (np.where(scaled >= 0, 1.0, small) / (1.0 + small)).astype(np.float32)
    return found


def largest(keys: Integers, count: int) -> Integers:
    """(rows, count): the largest keys of each row, in no order, padded where there are fewer."""
    if keys.shape[1] <= count:
        filled = np.full((len(keys), count), _NOTHING)
        filled[:, : keys.shape[1]] = keys
        return filled
    return np.partition(keys, keys.shape[1] - count, axis=1)[:, -count:]


def _keys(logits: Floats, partners: Integers) -> Integers:
    """(R, C) logits and (C,) partners as int64 keys that sort by logit, then by the order of the file.

    The upper half holds the bits of the logit as an integer of the same order, the lower half the partner,
    the first one largest. So all keys differ, and the largest ones do not depend on the order of the blocks.
    """
    bits = np.ascontiguousarray(logits + np.float32(0)).view(np.int32)  # -0 becomes 0
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ordered.astype(np.int64) << 32) | (0xFFFFFFFF - partners.astype(np.int64))


def _unpacked(keys: Integers) -> tuple[Integers, Floats]:
    """The partners and logits of keys."""
    ordered = (keys >> 32).astype(np.int32)
    bits = ordered ^ ((ordered >> 31) & 0x7FFFFFFF)
    return (0xFFFFFFFF - (keys & 0xFFFFFFFF)).astype(np.int32), bits.view(np.float32)


def _as_range(indices: Integers) -> range | Integers:
    """Consecutive indices as a range, which needs no copy."""
    if len(indices) and indices[-1] - indices[0] == len(indices) - 1:
        return range(int(indices[0]), int(indices[-1]) + 1)
    return indices


def _check_finite(logits: Floats, a: Integers, b: Integers) -> None:
    wrong = np.isnan(logits)
    if wrong.any():
        at = np.unravel_index(int(wrong.argmax()), logits.shape)
        raise DataError(
            f"the model returned NaN for proteins {int(a[at[0]])} and {int(b[at[-1]])} (counted from 0).",
            hint="Its weights or the embeddings hold NaN or infinite values.",
        )
