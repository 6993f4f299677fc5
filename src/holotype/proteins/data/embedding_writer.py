"""Writing a file of embeddings: one protein at a time, so that a kill loses at most one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from holotype.errors import DataError, StoreError
from holotype.proteins.data.embedding_log import (
    BLOCK,
    DTYPES,
    END,
    FEATURES,
    INDEX,
    PROTEIN,
    Entries,
    Record,
    checked_record,
    contents,
    differences,
    filled,
    head_bytes,
    map_file,
    pack,
    read_head,
    refused,
)
from holotype.store.locks import try_lock
from holotype.text import bulleted, listed

# An unfinished file is read again from its last index on, so indexes must not be far apart.
_INDEX_BYTES = 2**28
_INDEX_S = 60.0


def hash_sequence(sequence: str) -> bytes:
    """The sha256 of a sequence, 32 bytes."""
    return hashlib.sha256(sequence.encode("ascii", "replace")).digest()


class EmbeddingWriter:
    """Adds proteins to a file of embeddings, which it creates if it does not exist.

    Whatever happens, the file holds every protein that was added before, whole. Leaving the ``with`` block
    marks it as finished, unless an exception leaves it. A file has one writer at a time.

    Args:
        path: the file.
        record: the encoder record; an existing file must have the same.
        overwrite: replace an existing file.

    Raises:
        DataError: the file does not hold embeddings, holds other ones, is damaged, or has a writer already.
        StoreError: the file cannot be written.

    Example:
        >>> import tempfile, numpy as np
        >>> from holotype.proteins.data.embeddings import open_embeddings
        >>> path = tempfile.mkdtemp() + "/two.emb"
        >>> with EmbeddingWriter(path, {"dim": 3, "dtype": "float16", "pooling": "none"}) as writer:
        ...     writer.add("P1", "MKT", np.ones((3, 3)))
        >>> open_embeddings(path)["P1"].shape
        (3, 3)
    """

    def __init__(self, path: str | Path, record: Record, *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.record = checked_record(record)
        self._dim = int(self.record["dim"])
        self._dtype = DTYPES[self.record["dtype"]]
        self._file = _open_to_write(self.path, self.record, overwrite=overwrite)
        try:
            self._take_over()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> EmbeddingWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close(finished=error is None)
        except StoreError:
            if error is None:
                raise

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __len__(self) -> int:
        return len(self._known)

    def missing(self, sequences: Mapping[str, str]) -> list[str]:
        """The proteins that are not in the file yet.

        Raises:
            DataError: a protein is in the file with another sequence.
        """
        changed = []
        missing = []
        for name, sequence in sequences.items():
            before = self._known.get(name)
            if before is None:
                missing.append(name)
            elif before != hash_sequence(sequence):
                changed.append(name)
        if changed:
            raise other_sequence(self.path, changed)
        return missing

    def add(self, name: str, sequence: str, values: np.ndarray, *, label: str | None = None) -> None:
        """Add a protein.

        Args:
            name: if the file has it with the same sequence already, nothing is added.
            sequence: the sequence that was embedded.
            values: (rows, D) numbers: a row for each residue, or 1 row. They are rounded to the file's dtype.
            label: the name of the protein in error messages, where it is not `name`.

        Raises:
            DataError: the file has the protein with another sequence; the shape is wrong; a value is not
                finite, or too large for the dtype.
            StoreError: the file cannot be written. It is as it was.
        """
        digest = hash_sequence(sequence)
        if name in self._known:
            if self._known[name] != digest:
                raise other_sequence(self.path, [name])
            return
        data = self._rounded(label or name, values)
        text = name.encode("utf-8", "surrogatepass")
        # One write for each record: a kill falls between records, hardly ever inside one.
        place, checksum = self._append(PROTEIN, text, data.tobytes(), digest)
        self._known[name] = digest
        self._new.add(name, place, len(data), checksum, digest)
        if self._end - self._indexed >= _INDEX_BYTES or time.monotonic() - self._indexed_at >= _INDEX_S:
            self._write_index(finished=False)

    def close(self, *, finished: bool = True) -> None:
        """Stop writing; with `finished`, mark the file as complete."""
        if self._file.closed:
            return
        try:
            if self._new.names or (finished and not self._complete):
                self._write_index(finished=finished)
        finally:
            self._file.close()

    def _take_over(self) -> None:
        """Read the existing contents; drop what a killed writer left incomplete."""
        size = os.fstat(self._file.fileno()).st_size
        self._known: dict[str, bytes] = {}
        self._new = Entries.empty()
        self._complete, self._last_index = False, 0
        self._indexed_at = time.monotonic()
        if size == 0:
            self._end = self._indexed = 0
            self._put(head_bytes(self.record))
            self._indexed = self._end
            return
        mapped = map_file(self._file, self.path)
        record, begin = read_head(mapped, self.path)
        check_same_record(record, self.record, self.path)
        found = contents(mapped, self.path, record, begin)
        digests = [row.tobytes() for row in found.entries.arrays().sequences]
        self._known = dict(zip(found.entries.names, digests, strict=True))
        self._new, self._last_index = found.unindexed, found.last_index
        self._complete, self._end, self._indexed = found.complete, found.end, found.end
        if found.end < size:
            self._file.truncate(found.end)

    def _rounded(self, name: str, values: np.ndarray) -> np.ndarray:
        values = np.asarray(values)
        if values.ndim != 2 or values.shape[1] != self._dim or not len(values):
            raise DataError(
                f"the embedding of {name!r} has the shape {values.shape}; expected (rows, {self._dim}).",
                given=values.shape,
            )
        with np.errstate(over="ignore", invalid="ignore"):
            data: np.ndarray = np.ascontiguousarray(values, self._dtype)
        if not np.isfinite(data).all():
            raise not_finite(name, values, str(self.record["dtype"]))
        return data

    def _append(self, kind: bytes, text: bytes, data: bytes, digest: bytes = b"") -> tuple[int, int]:
        """Write a record; return the place of its data and their checksum."""
        checksum = zlib.crc32(data)
        head = pack(kind, text, len(data), checksum, digest)
        start = self._end + BLOCK + filled(len(text))
        parts = [head, text, bytes(-len(text) % BLOCK), data, bytes(-len(data) % BLOCK)]
        if kind == INDEX:
            parts.append(pack(END, b"", self._end))
        self._put(b"".join(parts))
        self._complete = False
        return start, checksum

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        at = self._end
        try:
            self._file.seek(at)
            while view:
                written = self._file.write(view)
                view, at = view[written:], at + written
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
            raise refused(self.path, error) from error
        self._end = at

    def _write_index(self, *, finished: bool) -> None:
        try:
            os.fsync(self._file.fileno())
            place = self._end
            self._append(INDEX, *self._new.encode(previous=self._last_index, finished=finished))
            os.fsync(self._file.fileno())
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            raise refused(self.path, error) from error
        self._complete = finished
        self._last_index, self._new = place, Entries.empty()
        self._indexed, self._indexed_at = self._end, time.monotonic()


def not_finite(name: str, values: np.ndarray, dtype: str) -> DataError:
    """The error for an embedding that holds NaN or infinity, or would after rounding to `dtype`."""
    if np.isfinite(values).all():
        largest = float(np.abs(values).max())
        return DataError(
            f"the embedding of {name!r} reaches {largest:.4g}; {dtype} ends at {np.finfo(dtype).max:.0f}.",
            given=name,
            hint="Store it wider: --dtype float32",
        )
    row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
    return DataError(
        f"the embedding of {name!r} holds NaN or infinite values, first in row {row + 1}.",
        given=name,
        hint="Nothing of it was written. If --compute-dtype is not float32, try float32.",
    )


def check_same_record(there: Record, wanted: Record, path: Path) -> None:
    """Refuse to add embeddings of one kind to a file of another.

    Raises:
        DataError: the message lists the fields that differ.
    """
    keys = (*FEATURES, "compute_dtype", "dtype")
    problems = differences(there, wanted, keys, "in the file", "now")
    if problems:
        raise DataError(
            f"{path} holds other embeddings, of {there.get('encoder')}:\n{bulleted(problems)}",
            problems=problems,
            given=str(path),
            hint="Choose another file with -o, or replace this one with --overwrite.",
        )


def _open_to_write(path: Path, record: Record, *, overwrite: bool) -> Any:
    """The file, locked, at its beginning: empty, or a file of embeddings."""
    if overwrite and path.exists():
        with _open_locked(path):  # no other process writes it
            fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            file = _open_locked(fresh)
            try:
                fresh.replace(path)
            except OSError as error:
                file.close()
                fresh.unlink(missing_ok=True)
                raise refused(path, error) from error
            return file
    file = _open_locked(path)
    start = head_bytes(record)
    begun = file.read(len(start))
    if len(begun) < len(start) and start.startswith(begun):
        file.truncate(0)  # new, or its writer was killed in the very beginning
    return file


def _open_locked(path: Path) -> Any:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
    try:
        file = os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0)
    except OSError as error:
        raise refused(path, error) from error
    try:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise DataError(f"{path} is not a regular file.", given=str(path))
        taken = try_lock(file.fileno()) is False
        if taken or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            raise DataError(
                f"{path} is being written by another process.",
                given=str(path),
                hint="Wait until it has finished, or choose another file with -o.",
            )
    except BaseException:
        file.close()
        raise
    return file


def other_sequence(path: str | Path, names: Sequence[str]) -> DataError:
    """The error for proteins of a file that are given with other sequences than were embedded."""
    return DataError(
        f"{path} holds {listed([repr(name) for name in names], 3)} with another sequence.",
        given=list(names[:8]),
        problems=names,
        hint="Give them other names, choose another file with -o, or replace this one with --overwrite.",
    )
