"""Embeddings of proteins in a file that is mapped, not read: 20,000 proteins open in milliseconds.

::

    embeddings = open_embeddings("yeast.emb")
    embeddings["YAL001C"]                    # (residues, D), a view of the file

`embedding_log` describes the format, `embedding_writer` writes it. The rows of a protein are compared with
their checksum when they are first used.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from holotype.errors import DataError
from holotype.files import unreadable
from holotype.names import nearest
from holotype.proteins.data.embedding_log import (
    DTYPES,
    FEATURES,
    Entries,
    Record,
    contents,
    damaged,
    differences,
    map_file,
    read_head,
)
from holotype.proteins.data.embedding_writer import EmbeddingWriter, hash_sequence, other_sequence
from holotype.text import bulleted, counted, listed

__all__ = [
    "EmbeddingWriter",
    "Embeddings",
    "JoinedEmbeddings",
    "check_same_features",
    "embed_command",
    "hash_sequence",
    "open_embeddings",
]


class Embeddings:
    """Embeddings of proteins, read-only, in a mapped file; `open_embeddings` returns it.

    Attributes:
        path: the file.
        names: the proteins, in the order in which they were written.
        lengths: (N,) int64, the rows of each protein: its residues, or 1 where they were pooled.
        dim: D, the width of a row.
        dtype: of the numbers.
        pooling: ``"none"``, or statistics over the residues: ``"mean"``, ``"mean+std"``, …
        record: the encoder record; see `check_same_features`.
        complete: whether the last writer finished.
    """

    path: str
    record: Any  # of several files: a tuple of records

    def __init__(self, path: str, record: Record, entries: Entries, mapped: memoryview, *, complete: bool):
        self.path = path
        self.record = record
        self.dim = int(record["dim"])
        self.dtype = DTYPES[record["dtype"]]
        self.pooling = str(record["pooling"])
        self.complete = complete
        self.names: tuple[str, ...] = tuple(entries.names)
        self.lengths = np.asarray(entries.rows, np.int64)
        self.lengths.flags.writeable = False
        self._entries = entries
        self._mapped = mapped
        self._places = {name: at for at, name in enumerate(self.names)}
        self._checked = np.zeros(len(self.names), bool)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __repr__(self) -> str:
        return f"<embeddings of {len(self):,} proteins, {self.dim} wide, in {self.path}>"

    def __getitem__(self, name: str) -> np.ndarray:
        """The rows of a protein.

        Returns:
            (rows, D), a read-only view of the file: nothing is copied.

        Raises:
            DataError: no such protein; or its rows have changed since they were written.
        """
        at = self._at(name)
        entries = self._entries
        rows, start = int(entries.rows[at]), int(entries.places[at])
        size = rows * self.dim * self.dtype.itemsize
        data = self._mapped[start : start + size]
        if not self._checked[at]:
            if len(data) != size or zlib.crc32(data) != entries.checksums[at]:
                raise damaged(self.path, f"the embedding of {name!r} has changed")
            self._checked[at] = True
        return np.frombuffer(data, self.dtype).reshape(rows, self.dim)

    def sequence_sha256(self, name: str) -> str:
        """The sha256 of the sequence that was embedded, in hexadecimal."""
        digest: np.ndarray = self._entries.sequences[self._at(name)]
        return digest.tobytes().hex()

    def select(self, proteins: Iterable[str] | Mapping[str, str]) -> Embeddings:
        """Some of the proteins of the same file, in this order.

        Args:
            proteins: their names; or a mapping from name to sequence, which are then compared with the
                sequences that were embedded.

        Raises:
            DataError: the file lacks a protein, or has it with another sequence.
        """
        wanted = list(proteins)
        missing = [name for name in wanted if name not in self._places]
        if missing:
            raise self._missing(missing)
        if isinstance(proteins, Mapping):
            self.check_sequences(proteins)
        return self.rename({name: name for name in wanted})

    def check_sequences(self, sequences: Mapping[str, str]) -> None:
        """Compare the sequences of the proteins that are in the file with those that were embedded.

        Raises:
            DataError: some differ; `problems` lists them all.
        """
        changed = [
            name
            for name, sequence in sequences.items()
            if name in self and self.sequence_sha256(name) != hash_sequence(sequence).hex()
        ]
        if changed:
            raise other_sequence(self.path, changed)

    def rename(self, names: Mapping[str, str]) -> Embeddings:
        """Some of the proteins under other names: a mapping from the new name to the one in the file.

        Raises:
            DataError: the file lacks a protein.
        """
        at = np.array([self._at(name) for name in names.values()], np.int64)
        chosen = Embeddings(
            self.path, self.record, self._entries.take(at, list(names)), self._mapped, complete=self.complete
        )
        chosen._checked = self._checked[at]
        return chosen

    def verify(self) -> None:
        """Compare every protein with its checksum.

        Raises:
            DataError: one has changed.
        """
        for name in self.names:
            self[name]

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.path, self.names, self._entries.places)

    def _at(self, name: str) -> int:
        try:
            return self._places[name]
        except KeyError:
            raise self._missing([name]) from None

    def _missing(self, names: Sequence[str]) -> DataError:
        return DataError(
            f"{self.path} lacks {listed([repr(name) for name in names], 3)}; it holds "
            f"{counted(len(self), 'protein')}.",
            given=list(names[:8]),
            nearest=nearest(names[0], self.names) if len(names) == 1 else (),
            hint=f"Add them: {_adding(self)}",
        )


class JoinedEmbeddings(Embeddings):
    """Several embeddings of the same proteins, side by side: the width is the sum of the widths."""

    def __init__(self, parts: Sequence[Embeddings]) -> None:
        first = parts[0]
        for other in parts[1:]:
            _check_joinable(first, other)
        self.parts = tuple(parts)
        self.path = " + ".join(part.path for part in parts)
        self.record = tuple(part.record for part in parts)
        self.names = first.names
        self.lengths = first.lengths
        self.dim = sum(part.dim for part in parts)
        self.dtype = np.result_type(*(part.dtype for part in parts))
        poolings = {part.pooling for part in parts}
        self.pooling = first.pooling if len(poolings) == 1 else "mixed"
        self.complete = all(part.complete for part in parts)
        self._places = first._places

    def __getitem__(self, name: str) -> np.ndarray:
        """(rows, D) of all parts side by side; a new array."""
        joined: np.ndarray = np.concatenate([part[name] for part in self.parts], axis=1, dtype=self.dtype)
        return joined

    def sequence_sha256(self, name: str) -> str:
        """The sha256 of the sequence that was embedded."""
        return self.parts[0].sequence_sha256(name)

    def select(self, proteins: Iterable[str] | Mapping[str, str]) -> Embeddings:
        """Some of the proteins, in this order; see `Embeddings.select`."""
        wanted = proteins if isinstance(proteins, Mapping) else tuple(proteins)
        return JoinedEmbeddings([part.select(wanted) for part in self.parts])

    def rename(self, names: Mapping[str, str]) -> Embeddings:
        """Some of the proteins under other names; see `Embeddings.rename`."""
        return JoinedEmbeddings([part.rename(names) for part in self.parts])

    def verify(self) -> None:
        """Compare every protein of every part with its checksum."""
        for part in self.parts:
            part.verify()

    def __reduce__(self) -> tuple[Any, ...]:
        return JoinedEmbeddings, (self.parts,)


def open_embeddings(
    path: str | Path | Sequence[str | Path], *, unfinished: bool = False
) -> Embeddings | JoinedEmbeddings:
    """Open a file of embeddings, or several to join side by side.

    Args:
        path: a file; or a list of files, whose embeddings of the first file's proteins are joined along D.
        unfinished: also open a file whose writer was killed or is still running, with what it holds so far.

    Raises:
        DataError: it is not a file of embeddings, is damaged or unfinished; or the files do not fit together.
    """
    if not isinstance(path, (str, Path)):
        paths = list(path)
        if not paths:
            raise DataError("no file of embeddings was given.")
        parts = [open_embeddings(one, unfinished=unfinished) for one in paths]
        if len(parts) == 1:
            return parts[0]
        return JoinedEmbeddings([parts[0], *(part.select(parts[0].names) for part in parts[1:])])
    try:
        with Path(path).open("rb") as file:
            mapped = map_file(file, path)
    except OSError as error:
        if isinstance(error, DataError):
            raise
        raise unreadable(path, error) from error
    record, begin = read_head(mapped, path)
    found = contents(mapped, path, record, begin)
    if not (found.complete or unfinished):
        raise DataError(
            f"{path} is unfinished: it holds {counted(len(found.entries.names), 'protein')}, and its "
            "writer was stopped or is still running.",
            given=str(path),
            hint="Repeat the 'holotype embed' command: it continues where it stopped.",
        )
    return Embeddings(str(path), record, found.entries.arrays(), mapped, complete=found.complete)


def check_same_features(
    wanted: Record | Sequence[Record], have: Record | Sequence[Record], *, what: str = "the model"
) -> None:
    """Refuse embeddings that were not made like those a model was trained on.

    Weights, architecture, pooling and windows must be the same. The dtypes of computation and storage only
    round the numbers, and may differ.

    Args:
        wanted: the encoder record of the model, or several; see `Embeddings.record`.
        have: the record of the embeddings, or several.
        what: the model in messages.

    Raises:
        DataError: the message lists the fields that differ and the command that makes the right embeddings.
    """
    theirs, ours = _records(wanted), _records(have)
    type_this = "\n  ".join(map(embed_command, theirs))
    if len(theirs) != len(ours):
        raise DataError(
            f"{what} takes the embeddings of {counted(len(theirs), 'encoder')} side by side; these are of "
            f"{len(ours)}.",
            given=[one.get("encoder") for one in ours],
            hint=type_this,
        )
    problems = [
        line
        for one, other in zip(theirs, ours, strict=True)
        for line in differences(one, other, FEATURES, f"in {what}", "in the embeddings")
    ]
    if problems:
        made = " + ".join(str(one.get("encoder")) for one in theirs)
        raise DataError(
            f"these embeddings are not what {what} was trained on ({made}):\n{bulleted(problems)}",
            problems=problems,
            given=[dict(one) for one in ours],
            hint=type_this,
        )


def embed_command(record: Record) -> str:
    """The command that makes embeddings with this record from a FASTA file."""
    words = ["holotype embed FASTA -o OUT --encoder", str(record.get("encoder"))]
    for key, default in (
        ("pooling", "none"),
        ("window", None),
        ("overlap", 0),
        ("compute_dtype", "float32"),
        ("dtype", "float16"),
    ):
        if (value := record.get(key, default)) != default:
            words += [f"--{key.replace('_', '-')}", str(value)]
    return " ".join(words)


def _records(records: Record | Sequence[Record]) -> list[Record]:
    return [records] if isinstance(records, Mapping) else list(records)


def _adding(embeddings: Embeddings) -> str:
    """The command that adds proteins to a file."""
    if isinstance(embeddings, JoinedEmbeddings):
        return "; ".join(map(_adding, embeddings.parts))
    return embed_command(embeddings.record).replace("OUT", embeddings.path)


def _check_joinable(first: Embeddings, other: Embeddings) -> None:
    changed = np.flatnonzero((first._entries.sequences != other._entries.sequences).any(axis=1))
    if len(changed):
        raise DataError(
            f"{first.names[changed[0]]!r} has another sequence in {first.path} than in {other.path}.",
            given=first.names[changed[0]],
        )
    differ = np.flatnonzero(first.lengths != other.lengths)
    if len(differ):
        at = differ[0]
        raise DataError(
            f"{first.names[at]!r} has {first.lengths[at]:,} rows in {first.path} (pooling {first.pooling}) "
            f"and {other.lengths[at]:,} in {other.path} (pooling {other.pooling}).",
            given=(first.pooling, other.pooling),
            hint="Embed with the same --pooling.",
        )


def _reopen(path: str, names: tuple[str, ...], places: np.ndarray) -> Embeddings:
    """The embeddings that another process pickled."""
    whole = open_embeddings(path, unfinished=True)
    by_place = {place: name for name, place in zip(whole.names, whole._entries.places.tolist(), strict=True)}
    try:
        return whole.rename({n: by_place[p] for n, p in zip(names, places.tolist(), strict=True)})
    except KeyError:
        raise damaged(path, "it is not the file that was pickled") from None
