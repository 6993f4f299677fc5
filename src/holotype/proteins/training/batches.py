"""Batches of pairs from embeddings on disk: planned by a budget of residues, each protein read once.

The plan of an epoch is a pure function of the pairs, the lengths, the seed and the epoch, so that a resumed
run, and any number of processes, sees the same batches. Embeddings stay in their file until a batch reads
them.

Shapes: P pairs; n proteins; L residues (padded); D embedding width.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from holotype.errors import DataError
from holotype.training.steps import Step

if TYPE_CHECKING:
    from holotype.proteins.data.embeddings import Embeddings
    from holotype.proteins.data.pairs import PairTable

_IN_MEMORY_BYTES = 1 << 30  # pooled embeddings up to this size are kept in one tensor
_CHUNK_RESIDUES = 16_384  # residues of the proteins that are encoded together
_PADDING = 0.15  # the share of padding in such a chunk
_BLOCK_PAIRS = 4096  # pairs among which those of like length are put together


class Proteins(NamedTuple):
    """Some proteins, padded to the longest.

    Attributes:
        emb: (n, L, D), 0 at padding.
        lengths: (n,).
    """

    emb: Tensor
    lengths: Tensor


# -- the plan ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """The batches of an epoch.

    Attributes:
        order: (P,) pairs, in the order in which they come.
        portions: where in `order` each portion begins, and where the last one ends.
        steps: where in `portions` each step begins, and where the last one ends.
    """

    order: np.ndarray
    portions: np.ndarray
    steps: np.ndarray

    def __len__(self) -> int:
        return len(self.steps) - 1


def plan_epoch(
    table: PairTable,
    lengths: np.ndarray,
    *,
    pairs: int | None,
    residues: int | None,
    accumulate: int = 1,
    sharing: int = 1,
    pairwise: bool = False,
    seed: int,
    epoch: int,
) -> Plan:
    """Shuffle the pairs and cut them into steps of the optimizer and portions of memory.

    A portion of proteins that are encoded alone costs the residues of its distinct proteins. A model that
    looks at both proteins pads each side to its longest one: its portions hold pairs of like length.
    A pair that is larger than the budget is a portion of its own.

    Args:
        table: the pairs.
        lengths: (n,) rows of each of its proteins.
        pairs: pairs of one batch; None for as many as `residues` allows.
        residues: the most residues of one portion; None for no limit.
        accumulate: batches of one step.
        sharing: up to so many pairs that have a protein in common come one after another, so that it is
            encoded once for all of them; without effect where both proteins are looked at at once.
        pairwise: is it for a model that looks at both proteins at once?
        seed: with `epoch`, decides the order.
        epoch: counted from 0.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(table))
    if sharing > 1 and not pairwise:
        order = _together(order, table, sharing, rng)
    cut = _cut_pairwise if pairwise else _cut_distinct
    if pairs is None:
        if residues is None:
            raise ValueError("give pairs, residues or both")
        if pairwise:
            order = _by_length(order, table, lengths, _BLOCK_PAIRS)
        portions = np.array(cut(order, table, lengths, residues))
        if pairwise:  # neighbours in length are neighbours no longer
            order, portions = _shuffled(order, portions, rng)
        return Plan(order, portions, _every(len(portions) - 1, accumulate))
    size = pairs * accumulate
    if residues is None or (not pairwise and int(lengths.max(initial=1)) * 2 * pairs <= residues):
        portions = _every(len(order), pairs)
        return Plan(order, portions, _every(len(portions) - 1, accumulate))
    if pairwise:
        order = _by_length(order, table, lengths, size)
    starts, steps = [0], [0]
    for begin in range(0, len(order), size):
        step = order[begin : begin + size]
        starts += [begin + end for end in cut(step, table, lengths, residues)[1:]]
        steps.append(len(starts) - 1)
    return Plan(order, np.array(starts), np.array(steps))


def _together(order: np.ndarray, table: PairTable, sharing: int, rng: np.random.Generator) -> np.ndarray:
    """Put pairs of a protein that has many into groups, and shuffle the groups."""
    count = np.bincount(np.concatenate([table.a, table.b]), minlength=len(table.proteins))
    a, b = table.a[order], table.b[order]
    hub = np.where(count[a] >= count[b], a, b)
    by_hub = np.argsort(hub, kind="stable")
    first = np.searchsorted(hub[by_hub], hub[by_hub])  # where the pairs of this hub begin
    within = (np.arange(len(order)) - first) // sharing
    starts = np.flatnonzero(np.diff(hub[by_hub], prepend=-1) | np.diff(within, prepend=-1))
    sizes = np.diff(np.append(starts, len(order)))
    place = np.repeat(rng.permutation(len(starts)), sizes)
    return order[by_hub[np.argsort(place, kind="stable")]]


def _every(count: int, size: int) -> np.ndarray:
    return np.append(np.arange(0, count, size), count)


def _by_length(order: np.ndarray, table: PairTable, lengths: np.ndarray, block: int) -> np.ndarray:
    """Sort each block of pairs by their longer, then by their shorter protein."""
    in_a, in_b = lengths[table.a[order]], lengths[table.b[order]]
    blocks = np.arange(len(order)) // block
    return order[np.lexsort((np.minimum(in_a, in_b), np.maximum(in_a, in_b), blocks))]


def _cut_distinct(order: np.ndarray, table: PairTable, lengths: np.ndarray, residues: int) -> list[int]:
    starts, spent = [0], 0
    seen = [-1] * len(lengths)  # the portion in which a protein came last
    size = lengths.tolist()
    for at, (a, b) in enumerate(zip(table.a[order].tolist(), table.b[order].tolist(), strict=True)):
        portion = len(starts)
        cost = (size[a] if seen[a] != portion else 0) + (size[b] if seen[b] != portion and a != b else 0)
        if spent + cost > residues and at > starts[-1]:
            starts.append(at)
            portion += 1
            spent = 0
            cost = size[a] + (size[b] if a != b else 0)
        seen[a] = seen[b] = portion
        spent += cost
    return [*starts, len(order)] if len(order) else [0]


def _cut_pairwise(order: np.ndarray, table: PairTable, lengths: np.ndarray, residues: int) -> list[int]:
    starts, longest_a, longest_b = [0], 0, 0
    in_a, in_b = lengths[table.a[order]].tolist(), lengths[table.b[order]].tolist()
    for at, (a, b) in enumerate(zip(in_a, in_b, strict=True)):
        longest_a, longest_b = max(longest_a, a), max(longest_b, b)
        if (at + 1 - starts[-1]) * (longest_a + longest_b) > residues and at > starts[-1]:
            starts.append(at)
            longest_a, longest_b = a, b
    return [*starts, len(order)] if len(order) else [0]


def _shuffled(
    order: np.ndarray, portions: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    sizes = np.diff(portions)
    new = rng.permutation(len(sizes))
    pieces = [order[portions[i] : portions[i + 1]] for i in new]
    return (np.concatenate(pieces) if pieces else order), np.append(0, np.cumsum(sizes[new]))


# -- what a batch holds --------------------------------------------------------------------------


class PairReader:
    """The pairs of one split, and their proteins' embeddings.

    Args:
        embeddings: of every protein in `table`; they stay in their file, unless they are pooled and small.
        table: the pairs.
        pairwise: is it for a model that looks at both proteins at once?
        device: where batches are put.

    Raises:
        DataError: a protein has no embedding.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        table: PairTable,
        *,
        pairwise: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        table = table.compact()
        self.embeddings, self.table, self.pairwise = embeddings, table, pairwise
        self.device = torch.device(device)
        at = {name: index for index, name in enumerate(embeddings.names)}
        missing = [name for name in table.proteins if name not in at]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(table.proteins)} proteins have no embedding: "
                f"{', '.join(missing[:5])}{', …' if len(missing) > 5 else ''}.",
                given=missing[0],
                hint="Embed them into the same file: holotype embed PROTEINS.fasta -o FILE",
            )
        self.lengths = np.asarray(embeddings.lengths)[[at[name] for name in table.proteins]].astype(np.int64)
        self._pooled = self._in_memory()

    def __len__(self) -> int:
        return len(self.table)

    def batch(self, indices: np.ndarray, *, weight: float = 1.0) -> PairBatch:
        """The pairs of these rows of the table."""
        return PairBatch(self, np.asarray(indices), weight)

    def proteins(self) -> Iterator[Proteins]:
        """Each protein of the pairs once, in chunks of like length."""
        order = np.argsort(-self.lengths, kind="stable")
        for begin, end in _chunks(self.lengths[order], alike=True):
            yield self._read(order[begin:end])

    def _in_memory(self) -> Tensor | None:
        count, dim = len(self.table.proteins), self.embeddings.dim
        if not count or int(self.lengths.max()) > 1 or count * dim * 4 > _IN_MEMORY_BYTES:
            return None
        rows = [np.asarray(self.embeddings[name]) for name in self.table.proteins]
        return torch.from_numpy(np.concatenate(rows)).to(self.device)

    def _read(self, proteins: np.ndarray) -> Proteins:
        """Some proteins, padded to the longest."""
        lengths = self.lengths[proteins]
        if self._pooled is not None:
            where = torch.from_numpy(proteins).to(self.device)
            ones = torch.ones(len(proteins), dtype=torch.int64, device=self.device)
            return Proteins(self._pooled[where].unsqueeze(1), ones)
        names = self.table.proteins
        rows = [np.asarray(self.embeddings[names[protein]]) for protein in proteins]
        longest = int(lengths.max(initial=1))
        dtype = rows[0].dtype if rows else np.dtype(np.float32)
        emb = np.zeros((len(rows), longest, self.embeddings.dim), dtype)
        for row, into in zip(rows, emb, strict=True):
            into[: len(row)] = row
        return Proteins(self._moved(torch.from_numpy(emb)), self._moved(torch.from_numpy(lengths)))

    def _moved(self, tensor: Tensor) -> Tensor:
        if self.device.type != "cuda":
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)


class PairBatch:
    """Some pairs; each distinct protein of theirs is read once.

    Attributes:
        a: (P,) index of the first protein among the distinct ones.
        b: (P,) likewise of the second one.
        labels: (P,) 0 or 1, float32; -1 where there are none.
        weight: of every pair in the loss; 0 where a process has no pair of its own and computes along.
    """

    def __init__(self, reader: PairReader, indices: np.ndarray, weight: float = 1.0) -> None:
        table, self.weight, self._reader = reader.table, weight, reader
        both = np.concatenate([table.a[indices], table.b[indices]]).astype(np.int64)
        distinct, where = np.unique(both, return_inverse=True)
        by_length = np.argsort(-reader.lengths[distinct], kind="stable")
        rank = np.empty_like(by_length)
        rank[by_length] = np.arange(len(by_length))
        self._proteins = distinct[by_length]  # the longest first
        pairs = torch.from_numpy(rank[where.reshape(-1)]).to(reader.device)
        self.a, self.b = pairs[: len(indices)], pairs[len(indices) :]
        if table.labels is None:
            self.labels = torch.full((len(indices),), -1.0, device=reader.device)
        else:
            labels = np.asarray(table.labels)[indices].astype(np.float32)
            self.labels = torch.from_numpy(labels).to(reader.device)
        self._loaded: list[Proteins] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def distinct(self) -> int:
        """How many proteins it has."""
        return len(self._proteins)

    def proteins(self) -> Iterator[Proteins]:
        """The distinct proteins in the order that `a` and `b` mean, in chunks of like length.

        Read when they are asked for: no more than one chunk is in memory, unless `load` was called.
        """
        if self._loaded is not None:
            yield from self._loaded
            return
        lengths = self._reader.lengths[self._proteins]
        for begin, end in _chunks(lengths, alike=not self._reader.pairwise):
            yield self._reader._read(self._proteins[begin:end])

    def sides(self) -> tuple[Proteins, Proteins]:
        """The first and the second protein of each pair, each side padded to its longest."""
        every = self._reader._read(self._proteins) if self._loaded is None else self._loaded[0]
        return _side(every, self.a), _side(every, self.b)

    def load(self) -> PairBatch:
        """Read everything now."""
        if self._loaded is None:
            whole = self._reader.pairwise
            self._loaded = [self._reader._read(self._proteins)] if whole else list(self.proteins())
        return self


def _side(every: Proteins, pairs: Tensor) -> Proteins:
    lengths = every.lengths[pairs]
    longest = int(lengths.max()) if len(lengths) else 1
    return Proteins(every.emb[:, :longest][pairs], lengths)


def _chunks(lengths: np.ndarray, *, alike: bool) -> Iterator[tuple[int, int]]:
    """Cut lengths that fall into runs with little padding and no more than so many residues."""
    begin, longest, residues = 0, 0, 0
    if len(lengths) and lengths[0] == 1:
        step = _CHUNK_RESIDUES
        yield from ((at, min(at + step, len(lengths))) for at in range(0, len(lengths), step))
        return
    for at, length in enumerate(lengths.tolist()):
        padded = (at + 1 - begin) * longest
        if at > begin and (
            padded > _CHUNK_RESIDUES or (alike and padded - residues - length > _PADDING * padded)
        ):
            yield begin, at
            begin, longest, residues = at, 0, 0
        longest = max(longest, length)
        residues += length
    if len(lengths):
        yield begin, len(lengths)


# -- what the loop takes -------------------------------------------------------------------------


class PairBatches:
    """The training pairs as steps, for one of several processes.

    Args:
        reader: pairs and embeddings.
        pairs: pairs of one batch, in all processes together.
        residues: residues of one portion, likewise.
        accumulate: batches of one step.
        sharing: see `plan_epoch`.
        seed: decides the order.
        rank: which process this is.
        world_size: how many there are.
    """

    def __init__(
        self,
        reader: PairReader,
        *,
        pairs: int | None = None,
        residues: int | None = None,
        accumulate: int = 1,
        sharing: int = 1,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.reader, self._rank, self._world_size = reader, rank, world_size
        self._how = {
            "pairs": pairs,
            "residues": residues,
            "accumulate": accumulate,
            "sharing": sharing,
            "seed": seed,
        }
        self._plan: tuple[int, Plan] | None = None

    def plan(self, epoch: int) -> Plan:
        """The plan of an epoch; the last one is kept."""
        if self._plan is None or self._plan[0] != epoch:
            reader = self.reader
            made = plan_epoch(
                reader.table,
                reader.lengths,
                pairwise=reader.pairwise,
                epoch=epoch,
                **self._how,  # type: ignore[arg-type]  # one mapping of several types
            )
            self._plan = epoch, made
        return self._plan[1]

    def steps_in(self, epoch: int) -> int:
        """How many steps an epoch has."""
        return len(self.plan(epoch))

    def steps(self, epoch: int, first: int = 0) -> Iterator[Step]:
        """The steps of an epoch, from `first` on."""
        plan = self.plan(epoch)
        for number in range(first, len(plan)):
            bounds = plan.portions[plan.steps[number] : plan.steps[number + 1] + 1]
            portions = [self._mine(plan.order[begin:end]) for begin, end in itertools.pairwise(bounds)]
            yield Step(portions, int(bounds[-1] - bounds[0]))

    def _mine(self, pairs: np.ndarray) -> PairBatch:
        # Every other pair: where pairs are sorted by length, each process gets short and long ones.
        mine = pairs[self._rank :: self._world_size]
        # All processes compute as many portions, since each waits for the gradients of the others.
        return self.reader.batch(mine) if len(mine) else self.reader.batch(pairs[:1], weight=0.0)


class PairsToScore:
    """All pairs of a split, in order, for measuring; those of one of several processes.

    Proteins that are encoded alone are encoded once for all pairs.
    """

    def __init__(
        self, reader: PairReader, *, residues: int | None = None, rank: int = 0, world_size: int = 1
    ) -> None:
        self.reader = reader
        self._residues = residues or _CHUNK_RESIDUES
        self._mine = np.arange(rank, len(reader), world_size)

    def __iter__(self) -> Iterator[PairBatch]:
        reader = self.reader
        if not len(self._mine):
            return
        if not reader.pairwise:
            yield reader.batch(self._mine)
            return
        order = _by_length(self._mine, reader.table, reader.lengths, len(self._mine))
        bounds = _cut_pairwise(order, reader.table, reader.lengths, self._residues)
        for begin, end in itertools.pairwise(bounds):
            yield reader.batch(order[begin:end])
