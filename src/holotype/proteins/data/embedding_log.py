"""The format of a file of embeddings: records, indexes, and what can be read after a crash.

The file is a log. It only grows, by whole records, each at a multiple of 64 bytes::

    head      64 bytes; then JSON: what made the embeddings (the encoder record)
    protein   64 bytes; then the name; then the rows, little-endian; each part filled up to 64 bytes
    protein   …
    index     64 bytes; then JSON with the names; then their places, lengths, hashes; then the end mark
    protein   …                          added later, and followed by
    index     …                          of these only; it holds the place of the index before it

Every head carries its own checksum and those of what follows it. An index is written only after everything
before it is on the disk. A process that is killed leaves a file without an end mark: the next writer reads
the heads, drops what is incomplete (the one record that was being written), and continues. A record before
an index that does not match its checksum is damage, and raises an error.
"""

from __future__ import annotations

import errno
import json
import mmap
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from holotype.errors import DataError, StoreError
from holotype.frozen import freeze, thaw
from holotype.text import bulleted

Record = Mapping[str, Any]
DTYPES: Mapping[str, np.dtype[Any]] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}
POOLINGS = ("none", "mean", "mean+std", "mean+max", "mean+std+max")
"""The rows of a protein: its residues, or statistics over them, side by side (std: of the population)."""
FEATURES = ("architecture", "config_fingerprint", "weights_sha256", "pooling", "window", "overlap", "dim")
"""The fields of a record that decide which numbers come out; the others decide only how they are rounded."""

BLOCK = 64
HEAD, PROTEIN, INDEX, END = b"HOLOEMB1", b"protein\n", b"indexes\n", b"the end\n"
# A head: 8 bytes for the kind; the checksum of the rest of the head; then these: the checksums of text and
# data, their sizes, and the sha256 of the sequence.
_REST = struct.Struct("<IIIQ32s")


class Entries:
    """The proteins of a file: lists while it is written, arrays once it is read."""

    def __init__(self, names: list[str], places: Any, rows: Any, checksums: Any, sequences: Any) -> None:
        self.names = names
        self.places = places
        self.rows = rows
        self.checksums = checksums
        self.sequences = sequences

    @classmethod
    def empty(cls) -> Entries:
        """No proteins yet."""
        return cls([], [], [], [], [])

    def add(self, name: str, place: int, rows: int, checksum: int, digest: bytes) -> None:
        """Add a protein."""
        self.names.append(name)
        self.places.append(place)
        self.rows.append(rows)
        self.checksums.append(checksum)
        self.sequences.append(np.frombuffer(digest, np.uint8))

    def arrays(self) -> Entries:
        """The same proteins, as arrays."""
        return Entries(
            self.names,
            np.asarray(self.places, "<i8"),
            np.asarray(self.rows, "<i8"),
            np.asarray(self.checksums, "<u4"),
            np.asarray(self.sequences, np.uint8).reshape(-1, 32),
        )

    def first(self, count: int) -> Entries:
        """The first `count` proteins."""
        return Entries(
            *(part[:count] for part in (self.names, self.places, self.rows, self.checksums, self.sequences))
        )

    def take(self, at: np.ndarray, names: list[str]) -> Entries:
        """The proteins at these indices, under other names."""
        return Entries(names, self.places[at], self.rows[at], self.checksums[at], self.sequences[at])

    def encode(self, *, previous: int, finished: bool) -> tuple[bytes, bytes]:
        """The text and the data of an index."""
        own = self.arrays()
        text = json.dumps({"names": own.names, "previous": previous, "finished": finished}).encode()
        return text, b"".join(
            array.tobytes() for array in (own.places, own.rows, own.checksums, own.sequences)
        )

    @classmethod
    def decode(cls, text: memoryview, data: memoryview) -> tuple[Entries, int, bool]:
        """The proteins of an index, the place of the index before it, and whether its writer finished."""
        header = json.loads(bytes(text))
        n = len(header["names"])
        if len(data) != n * 52:
            raise ValueError("the arrays are not as long as the names")
        entries = cls(
            header["names"],
            np.frombuffer(data, "<i8", n),
            np.frombuffer(data, "<i8", n, 8 * n),
            np.frombuffer(data, "<u4", n, 16 * n),
            np.frombuffer(data, np.uint8, 32 * n, 20 * n).reshape(n, 32),
        )
        return entries, int(header["previous"]), bool(header["finished"])

    @classmethod
    def join(cls, several: Sequence[Entries]) -> Entries:
        """The proteins of several indexes, one after the other."""
        if len(several) == 1:
            return several[0]
        parts = [one.arrays() for one in several]
        return cls(
            [name for one in parts for name in one.names],
            *(
                np.concatenate([getattr(one, key) for one in parts])
                for key in ("places", "rows", "checksums", "sequences")
            ),
        )


class Contents(NamedTuple):
    """The contents of a file.

    Attributes:
        entries: all whole proteins.
        unindexed: the proteins that are in no index yet.
        last_index: where the last index begins; 0 if there is none.
        end: where the last whole record ends.
        complete: whether the file ends with an index of a writer that finished.
    """

    entries: Entries
    unindexed: Entries
    last_index: int
    end: int
    complete: bool


class Head(NamedTuple):
    """The 64 bytes that every record begins with, and where its parts are.

    Attributes:
        kind: the kind of record.
        text_checksum: of the text.
        data_checksum: of the data.
        text_size: bytes of the text.
        data_size: bytes of the data; in an end mark, the place of its index.
        digest: the sha256 of a protein's sequence.
        place: where the record begins.
    """

    kind: bytes
    text_checksum: int
    data_checksum: int
    text_size: int
    data_size: int
    digest: bytes
    place: int

    @property
    def data_place(self) -> int:
        """Where the data begin."""
        return self.place + BLOCK + filled(self.text_size)

    @property
    def end(self) -> int:
        """Where the next record begins."""
        if self.kind == END:
            return self.place + BLOCK
        return self.data_place + filled(self.data_size) + (BLOCK if self.kind == INDEX else 0)

    def text(self, mapped: memoryview) -> memoryview | None:
        """The text; None if it does not match its checksum."""
        start = self.place + BLOCK
        text = mapped[start : start + self.text_size]
        return text if len(text) == self.text_size and zlib.crc32(text) == self.text_checksum else None

    def data(self, mapped: memoryview) -> memoryview | None:
        """The data; None if they do not match their checksum."""
        data = mapped[self.data_place : self.data_place + self.data_size]
        return data if len(data) == self.data_size and zlib.crc32(data) == self.data_checksum else None


def pack(kind: bytes, text: bytes, data_size: int, data_checksum: int = 0, digest: bytes = b"") -> bytes:
    """The bytes of a head."""
    rest = _REST.pack(zlib.crc32(text), data_checksum, len(text), data_size, digest)
    return kind + zlib.crc32(kind + rest).to_bytes(4, "little") + rest


def head_at(mapped: memoryview, place: int) -> Head | None:
    """The head at a place; None if no whole and unchanged head is there."""
    head = bytes(mapped[place : place + BLOCK]) if place >= 0 else b""
    kind, checksum, rest = head[:8], head[8:12], head[12:]
    if len(head) < BLOCK or zlib.crc32(kind + rest) != int.from_bytes(checksum, "little"):
        return None
    text_checksum, data_checksum, text_size, data_size, digest = _REST.unpack(rest)
    return Head(kind, text_checksum, data_checksum, text_size, data_size, digest, place)


def filled(size: int) -> int:
    """`size`, rounded up to a multiple of 64."""
    return -(-size // BLOCK) * BLOCK


def head_bytes(record: Record) -> bytes:
    """The head and record with which a file begins."""
    text = json.dumps({"record": record, "layout": 1}, sort_keys=True).encode()
    return pack(HEAD, text, 0) + text + bytes(-len(text) % BLOCK)


def read_head(mapped: memoryview, path: str | Path) -> tuple[Record, int]:
    """The encoder record of a file, and the place of its first protein."""
    if bytes(mapped[:8]) != HEAD:
        raise DataError(
            f"{path} is not a file of embeddings.",
            given=str(path),
            hint="'holotype embed FASTA -o OUT' writes one.",
        )
    head = head_at(mapped, 0)
    text = head.text(mapped) if head else None
    if head is None or text is None:
        raise damaged(path, "its beginning has changed")
    try:
        record = checked_record(json.loads(bytes(text))["record"])
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, f"its record cannot be read ({error})") from error
    return record, head.end


def contents(mapped: memoryview, path: str | Path, record: Record, begin: int) -> Contents:
    """The contents of a file: from its indexes, or from its records where its end is missing.

    Raises:
        DataError: it is damaged.
    """
    row_bytes = record["dim"] * DTYPES[record["dtype"]].itemsize
    found = _by_index(mapped, path) or _by_scan(mapped, path, begin, row_bytes)
    own = found.entries.arrays()
    if len(own.names) and (
        own.places.min() < begin or own.rows.min() < 1 or len(set(own.names)) < len(own.names)
    ):
        raise damaged(path, "an index is not consistent")
    return found


def _by_index(mapped: memoryview, path: str | Path) -> Contents | None:
    """The contents according to the indexes; None if the file does not end with one."""
    mark = head_at(mapped, len(mapped) - BLOCK)
    if mark is None or mark.kind != END:
        return None
    several: list[Entries] = []
    place, end, complete = mark.data_size, len(mapped), None
    while place:
        entries, previous, finished, index_end = _read_index(mapped, path, place)
        if complete is None:
            complete = finished
        if not previous < place or index_end > end or (not several and index_end != end):
            raise damaged(path, "its indexes do not follow each other")
        several.append(entries)
        place, end = previous, place
    return Contents(Entries.join(several[::-1]), Entries.empty(), mark.data_size, len(mapped), bool(complete))


def _read_index(mapped: memoryview, path: str | Path, place: int) -> tuple[Entries, int, bool, int]:
    """The proteins of an index, the place of the one before it, whether its writer finished, and its end."""
    head = head_at(mapped, place)
    if head is not None and head.kind == INDEX:
        text, data = head.text(mapped), head.data(mapped)
        if text is not None and data is not None:
            try:
                entries, previous, finished = Entries.decode(text, data)
            except (ValueError, KeyError, TypeError) as error:
                raise damaged(path, f"an index cannot be read ({error})") from error
            return entries, previous, finished, head.end
    raise damaged(path, "an index has changed")


def _by_scan(mapped: memoryview, path: str | Path, begin: int, row_bytes: int) -> Contents:
    """The contents of a file without an end mark, from the heads of its records."""
    indexed, unindexed = Entries.empty(), Entries.empty()
    at, last_index = begin, 0
    while (head := head_at(mapped, at)) is not None and head.end <= len(mapped):
        text = head.text(mapped)
        if text is None:
            break
        if head.kind == INDEX:
            mark = head_at(mapped, head.end - BLOCK)
            if mark is None or mark.kind != END:
                break
            # Everything before an index is on the disk; see the top of this file.
            _read_index(mapped, path, at)
            indexed, unindexed = Entries.join([indexed, unindexed]), Entries.empty()
            last_index = at
        elif head.kind == PROTEIN and head.data_size and not head.data_size % row_bytes:
            name = bytes(text).decode("utf-8", "surrogatepass")
            rows = head.data_size // row_bytes
            unindexed.add(name, head.data_place, rows, head.data_checksum, head.digest)
        else:
            break
        at = head.end
    if at < len(mapped) and _index_after(mapped, at):
        raise damaged(path, f"the record at byte {at:,} has changed, and whole records follow it")
    # After the last index, no fsync was done: data may be missing after a power cut.
    for number, (place, rows) in enumerate(zip(unindexed.places, unindexed.rows, strict=True)):
        if zlib.crc32(mapped[place : place + rows * row_bytes]) != unindexed.checksums[number]:
            at = place - BLOCK - filled(len(unindexed.names[number].encode("utf-8", "surrogatepass")))
            unindexed = unindexed.first(number)
            break
    return Contents(Entries.join([indexed, unindexed]), unindexed, last_index, at, complete=False)


def _index_after(mapped: memoryview, at: int) -> bool:
    """Whether a whole index follows somewhere after a place."""
    start = filled(at + 1)
    if start >= len(mapped):
        return False
    words = np.frombuffer(mapped, "<u8", (len(mapped) - start) // 8, start)[:: BLOCK // 8]
    places = np.flatnonzero(words == int.from_bytes(INDEX, "little")) * BLOCK + start
    return any(
        head is not None and head.data(mapped) for head in (head_at(mapped, p) for p in places.tolist())
    )


def checked_record(record: object) -> dict[str, Any]:
    """The record as plain data.

    Raises:
        DataError: it lacks a field that the file needs, or cannot be written as JSON.
    """
    problems = []
    if not isinstance(record, Mapping):
        raise DataError(f"an encoder record must be a mapping, got {type(record).__name__}.", given=record)
    if type(record.get("dim")) is not int or record["dim"] < 1:
        problems.append(f"dim: expected 1 or more, got {record.get('dim')!r}")
    if record.get("dtype") not in DTYPES:
        problems.append(f"dtype: expected {' or '.join(DTYPES)}, got {record.get('dtype')!r}")
    if record.get("pooling") not in POOLINGS:
        problems.append(f"pooling: expected one of {', '.join(POOLINGS)}, got {record.get('pooling')!r}")
    if problems:
        raise DataError(
            f"this is not an encoder record:\n{bulleted(problems)}",
            problems=problems,
            given=dict(record),
        )
    plain: dict[str, Any] = thaw(freeze(record))
    return plain


def differences(one: Record, other: Record, keys: Iterable[str], here: str, there: str) -> list[str]:
    """A line for each of these fields that is not the same in two records.

    >>> differences({"dim": 64}, {"dim": 256}, ["dim"], "in the file", "now")
    ['dim: 64 in the file, 256 now']
    """
    return [
        f"{key}: {_shown(one.get(key))} {here}, {_shown(other.get(key))} {there}"
        for key in keys
        if one.get(key) != other.get(key)
    ]


def _shown(value: object) -> str:
    """A field of a record for a message; of a hash, only its beginning."""
    return repr(value) if not isinstance(value, str) or len(value) != 64 else f"{value[:12]}…"


def map_file(file: Any, path: str | Path) -> memoryview:
    """A file as bytes that are read on use."""
    try:
        # Everything read later is a view of this one: the map lives as long as any view.
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (ValueError, OSError) as error:  # an empty file cannot be mapped
        raise DataError(f"{path} is not a file of embeddings: {error}.", given=str(path)) from error


def damaged(path: str | Path, what: str) -> DataError:
    """The error for a file that has changed since it was written."""
    return DataError(
        f"{path} is damaged: {what}.",
        given=str(path),
        hint="Write it again: the same 'holotype embed' command with --overwrite.",
    )


def refused(path: Path, error: OSError) -> StoreError:
    """The error for a write that the file system refused."""
    full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
    stored = StoreError(
        f"{path} cannot be written: {error.strerror or error}.",
        given=str(path),
        hint="What was written before is kept: free some space and repeat the command." if full else None,
    )
    stored.errno = error.errno
    return stored
