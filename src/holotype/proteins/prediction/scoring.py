"""Scores of given pairs of proteins, each protein encoded once.

There are two kinds of models. A model that encodes proteins alone turns each into a vector, and pairs of
vectors are scored in large numbers at once. A model that looks at both proteins gets batches of pairs of
similar lengths; what it can compute of a protein without its partner is cached while there is room.

Batches depend only on the pairs, not on the cache: the same question has the same answer to the last bit.

Shapes: N proteins; P pairs; L residues (padded); D embedding width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from holotype.errors import DataError
from holotype.names import nearest
from holotype.proteins.models.interface import BaseProteinModel, Prepared, Residues
from holotype.text import listed

if TYPE_CHECKING:
    from holotype.proteins.data.pairs import PairTable

Progress = Callable[[int, int], None]
"""Called with the amount done and the total."""
Floats = np.ndarray[Any, np.dtype[np.float32]]
Integers = np.ndarray[Any, np.dtype[Any]]

RESIDUES_PER_BATCH = 16384
"""Residues of a batch, padding included."""
_PAIRS_AT_ONCE = 16384
# The memory of a model that looks at both proteins grows with the product of their lengths.
_PRODUCT_PER_BATCH = 2**20
_GROUP = 64  # proteins of a side whose pairs are scored together, so that their cached tensors are reused
_KEPT_BYTES = 2**28


class ProteinEmbeddings(Protocol):
    """The interface of embeddings here; `holotype.proteins.data.embeddings.Embeddings` has it.

    Attributes:
        dim: D, the width of a row.
        record: the encoder record.
    """

    dim: int
    record: Any

    def __contains__(self, name: object, /) -> bool:
        """Whether there is a protein of that name."""

    def __getitem__(self, name: str, /) -> np.ndarray[Any, Any]:
        """(rows, D): a row for each residue, or one row."""


def score_pairs(
    net: nn.Module,
    embeddings: ProteinEmbeddings,
    table: PairTable,
    *,
    residues_per_batch: int = RESIDUES_PER_BATCH,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> Floats:
    """Score pairs of proteins, in their order.

    Args:
        net: a protein interaction model. It is moved to `device` and used in evaluation mode.
        embeddings: of every protein that occurs in a pair.
        table: the pairs; the first protein of each is the model's first one.
        residues_per_batch: residues of a batch, padding included.
        device: where to run.
        progress: called with the pairs done and the pairs in all.

    Returns:
        (P,) logits, those of `forward` up to rounding.

    Raises:
        DataError: a protein has no embedding, or the embeddings have another width than the model takes.
    """
    used, places = np.unique(np.concatenate([table.a, table.b]), return_inverse=True)
    names = [table.proteins[index] for index in used]
    check_embeddings(net, embeddings, names)
    with evaluating(net, device):
        proteins = known_proteins(net, embeddings, names, residues_per_batch=residues_per_batch)
        return proteins.score(places[: len(table)], places[len(table) :], progress)


def known_proteins(
    net: nn.Module,
    embeddings: ProteinEmbeddings,
    names: Sequence[str],
    *,
    residues_per_batch: int = RESIDUES_PER_BATCH,
    progress: Progress | None = None,
) -> EncodedProteins | ResidueProteins:
    """Proteins, with everything that a model can compute of them without their partners."""
    if getattr(net, "encodes_alone", False) and isinstance(net, BaseProteinModel):
        encoded = encode_batches(net, embeddings, names, residues_per_batch, progress)
        return EncodedProteins(net, net.prepare(encoded))
    return ResidueProteins(net, embeddings, names, residues_per_batch)


class EncodedProteins:
    """Proteins as the vectors of a model that encodes alone.

    Args:
        net: the model, in evaluation mode.
        prepared: from its `prepare`; tensors whose first dimension is N.
    """

    def __init__(self, net: BaseProteinModel, prepared: tuple[Tensor, ...]) -> None:
        self.net, self.prepared = net, prepared

    def score(self, a: Integers, b: Integers, progress: Progress | None = None) -> Floats:
        """(P,) logits of the pairs a[p], b[p] of indices."""
        logits = np.empty(len(a), np.float32)
        for start in range(0, len(a), _PAIRS_AT_ONCE):
            at = slice(start, min(start + _PAIRS_AT_ONCE, len(a)))
            found = self.net.score_each(self._rows(a[at]), self._rows(b[at]))
            logits[at] = found.float().cpu().numpy()
            if progress is not None:
                progress(at.stop, len(a))
        return logits

    def block(self, rows: range | Integers, columns: range | Integers) -> Floats:
        """(R, C) logits of every pair of a row and a column."""
        found = self.net.score_block(self._rows(rows), self._rows(columns))
        block: Floats = found.float().cpu().numpy()
        return block

    def _rows(self, which: range | Integers) -> tuple[Tensor, ...]:
        if isinstance(which, range):
            return tuple(part[which.start : which.stop] for part in self.prepared)
        # A copy: torch warns about read-only arrays, and those of pairs are read-only.
        index = torch.from_numpy(np.array(which, np.int64)).to(self.prepared[0].device)
        return tuple(part[index] for part in self.prepared)


class ResidueProteins:
    """Proteins for a model that looks at both proteins of a pair.

    Args:
        net: the model, in evaluation mode.
        embeddings: of the proteins.
        names: the proteins.
        residues_per_batch: residues of a batch on either side, padding included.
    """

    def __init__(
        self,
        net: nn.Module,
        embeddings: ProteinEmbeddings,
        names: Sequence[str],
        residues_per_batch: int = RESIDUES_PER_BATCH,
    ) -> None:
        self.net, self.embeddings, self.names = net, embeddings, names
        self.lengths = np.array([len(embeddings[name]) for name in names], np.int64)
        self._most = residues_per_batch
        self._kept: OrderedDict[int, Prepared] = OrderedDict()
        self._kept_bytes = 0

    def score(self, a: Integers, b: Integers, progress: Progress | None = None) -> Floats:
        """(P,) logits of the pairs a[p], b[p] of indices."""
        logits, done = np.empty(len(a), np.float32), 0
        for at in pair_batches(self.lengths, a, b, self._most):
            first, padding_a = self._side(a[at])
            second, padding_b = self._side(b[at])
            if isinstance(self.net, BaseProteinModel):
                found = self.net.score_residues(first, padding_a, second, padding_b)
            else:
                lengths = ((~padding).sum(1) for padding in (padding_a, padding_b))
                found = self.net(first.residues[0], second.residues[0], *lengths)
            logits[at] = found.float().cpu().numpy()
            done += len(at)
            if progress is not None:
                progress(done, len(a))
        return logits

    def block(self, rows: range | Integers, columns: range | Integers) -> Floats:
        """(R, C) logits of every pair of a row and a column."""
        a = np.repeat(np.asarray(rows, np.int64), len(columns))
        b = np.tile(np.asarray(columns, np.int64), len(rows))
        return self.score(a, b).reshape(len(rows), len(columns))

    def _side(self, which: Integers) -> tuple[Prepared, Tensor]:
        """One side of a batch: the prepared proteins, padded, and (B, L) padding."""
        proteins = [self._protein(int(index)) for index in which]
        longest = int(self.lengths[which].max())
        residues = tuple(
            _padded(parts, longest) for parts in zip(*(p.residues for p in proteins), strict=True)
        )
        rest = tuple(torch.cat(parts) for parts in zip(*(p.proteins for p in proteins), strict=True))
        lengths = torch.as_tensor(self.lengths[which], device=residues[0].device)
        return Prepared(residues, rest), torch.arange(longest, device=lengths.device) >= lengths[:, None]

    def _protein(self, index: int) -> Prepared:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        # One at a time: in a batch, rounding would depend on which others are not cached.
        emb, padding = stacked(self.embeddings, [self.names[index]], parameter_of(self.net))
        residues = Residues(emb, padding)
        prepared = (
            self.net.prepare_residues(residues)
            if isinstance(self.net, BaseProteinModel)
            else Prepared((residues.emb,))
        )
        self._kept[index] = prepared
        self._kept_bytes += _bytes(prepared)
        while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
            self._kept_bytes -= _bytes(self._kept.popitem(last=False)[1])
        return prepared


def encode_batches(
    net: BaseProteinModel,
    embeddings: ProteinEmbeddings,
    names: Sequence[str],
    residues_per_batch: int = RESIDUES_PER_BATCH,
    progress: Progress | None = None,
) -> Tensor:
    """(N, H) vectors of proteins, from a model that encodes alone."""
    encoded: Tensor | None = None
    done = 0
    for batch in length_batches([len(embeddings[name]) for name in names], residues_per_batch):
        found = encode_batch(net, embeddings, [names[index] for index in batch])
        if encoded is None:
            encoded = found.new_empty(len(names), *found.shape[1:])
        encoded[torch.as_tensor(batch, device=found.device)] = found
        done += len(batch)
        if progress is not None:
            progress(done, len(names))
    if encoded is None:
        like = parameter_of(net)
        return net.encode(like.new_empty(0, 1, net.input_dim), torch.empty(0, dtype=torch.long))
    return encoded


def encode_batch(net: BaseProteinModel, embeddings: ProteinEmbeddings, names: Sequence[str]) -> Tensor:
    """(B, H) vectors of one batch."""
    emb, padding = stacked(embeddings, names, parameter_of(net))
    return net.encode(emb, (~padding).sum(1))


def length_batches(lengths: Sequence[int], residues_per_batch: int) -> list[Integers]:
    """Indices in batches of similar lengths, the longest first; no batch is empty."""
    order = np.argsort(-np.asarray(lengths, np.int64), kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, residues_per_batch // max(1, lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches


def pair_batches(
    lengths: Integers, a: Integers, b: Integers, residues_per_batch: int = RESIDUES_PER_BATCH
) -> Iterator[Integers]:
    """Positions of pairs, in batches of similar lengths in which the same proteins come soon again.

    Args:
        lengths: (N,) of the proteins.
        a: (P,) indices of first proteins.
        b: (P,) indices of second ones.
        residues_per_batch: the most residues of a side, padding included.
    """
    if not len(a):
        return
    ranks = []
    for side in (a, b):
        proteins, inverse = np.unique(side, return_inverse=True)
        rank = np.empty(len(proteins), np.int64)
        rank[np.argsort(lengths[proteins], kind="stable")] = np.arange(len(proteins))
        ranks.append(rank[inverse])
    first, second = ranks
    order = np.lexsort((first, second, second // _GROUP, first // _GROUP))
    start = 0
    while start < len(order):
        stop, longest_a, longest_b = start, 0, 0
        while stop < len(order):
            longest_a = max(longest_a, int(lengths[a[order[stop]]]))
            longest_b = max(longest_b, int(lengths[b[order[stop]]]))
            size = stop - start + 1
            full = size * max(longest_a, longest_b) > residues_per_batch
            if size > 1 and (full or size * longest_a * longest_b > _PRODUCT_PER_BATCH):
                break
            stop += 1
        yield order[start:stop]
        start = stop


def stacked(embeddings: ProteinEmbeddings, names: Sequence[str], like: Tensor) -> tuple[Tensor, Tensor]:
    """(B, L, D) embeddings in the dtype and on the device of `like`, and (B, L) padding."""
    arrays = [embeddings[name] for name in names]
    longest = max(len(array) for array in arrays)
    # Moved in the dtype of the file, which is often half as large.
    emb = np.zeros((len(arrays), longest, arrays[0].shape[1]), arrays[0].dtype)
    for row, array in enumerate(arrays):
        emb[row, : len(array)] = array
    lengths = torch.tensor([len(array) for array in arrays], device=like.device)
    padding = torch.arange(longest, device=like.device) >= lengths[:, None]
    return torch.from_numpy(emb).to(like.device).to(like.dtype), padding


def check_embeddings(net: nn.Module, embeddings: ProteinEmbeddings, names: Sequence[str]) -> None:
    """Refuse proteins without embeddings, and embeddings of another width than the model takes.

    Raises:
        DataError: the message names the first few proteins, or both widths.
    """
    missing = [name for name in names if name not in embeddings]
    if missing:
        known = [str(name) for name in getattr(embeddings, "names", ())]
        raise DataError(
            f"{len(missing):,} of {len(names):,} proteins have no embedding: {listed(missing)}.",
            given=missing[0],
            nearest=nearest(missing[0], known, 1),
            hint="Add them: holotype embed proteins.fasta --encoder … -o the-same.emb",
            problems=missing,
        )
    wanted = getattr(net, "input_dim", None)
    if names and isinstance(wanted, int) and embeddings.dim != wanted:
        raise DataError(
            f"the embeddings are {embeddings.dim} wide, and the model takes {wanted}.",
            given=embeddings.dim,
            hint="Embed the sequences with the encoder that the model was trained with.",
        )


@contextmanager
def evaluating(net: nn.Module, device: str | torch.device | None = None) -> Iterator[None]:
    """Evaluation mode without gradients, on a device; the training mode is restored afterwards."""
    was_training = net.training
    if device is not None:
        net.to(device)
    net.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        net.train(was_training)


def parameter_of(net: nn.Module) -> Tensor:
    """A parameter of the network, for its dtype and device."""
    return next(net.parameters(), torch.empty(0))


def _padded(parts: Sequence[Tensor], longest: int) -> Tensor:
    out = parts[0].new_zeros(len(parts), longest, *parts[0].shape[2:])
    for row, part in enumerate(parts):
        out[row, : part.shape[1]] = part[0]
    return out


def _bytes(prepared: Prepared) -> int:
    return sum(part.nbytes for part in (*prepared.residues, *prepared.proteins))
