"""The layout of a file of embeddings: records, indexes, and what a file holds after a crash.

The file is a log. It only ever grows, by whole records, each at a multiple of 64 bytes::

    head      64 bytes; then JSON: what made the embeddings (the encoder record)
    protein   64 bytes; then the name; then the rows, little-endian; each part filled up to 64 bytes
    protein   …
    index     64 bytes; then JSON with the names; then their places, lengths, hashes; then the end mark
    protein   …                          added later, and followed by
    index     …                          of these alone; it tells where the index before it is

Every head carries its own checksum and those of what follows it. An index is written only after everything
before it is on the disk. A process that is killed leaves a file without an end mark: the next writer reads
the heads, drops what is incomplete (the one record that was being written), and goes on. What stands before
an index and does not fit its checksum is damage, and an error.
"""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from holotype.errors import DataError, StoreError
from holotype.frozen import freeze, thaw
from holotype.names import nearest

Record = Mapping[str, Any]
DTYPES: Mapping[str, np.dtype[Any]] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}
POOLINGS = ("none", "mean", "mean+std", "mean+max", "mean+std+max")
"""What a protein's rows are: its residues, or statistics over them, side by side (std: of the population)."""

BLOCK = 64
HEAD, PROTEIN, INDEX, END = b"HOLOEMB1", b"protein\n", b"indexes\n", b"the end\n"
# A head: 8 bytes that tell the kind; the checksum of all else in it; then these: the checksums of text and
# data, their sizes, and 32 bytes that tell the sequence.
_REST = struct.Struct("<IIIQ32s")


class Entries:
    """What is known of proteins in a file: lists while it grows, arrays once it is read."""

    def __init__(self, names: list[str], places: Any, rows: Any, checksums: Any, sequences: Any) -> None:
        self.names, self.places, self.rows, self.checksums, self.sequences = (
            names,
            places,
            rows,
            checksums,
            sequences,
        )

    @classmethod
    def empty(cls) -> Entries:
        """None, and room for more."""
        return cls([], [], [], [], [])

    def add(self, name: str, place: int, rows: int, checksum: int, digest: bytes) -> None:
        """Note one more."""
        self.names.append(name)
        self.places.append(place)
        self.rows.append(rows)
        self.checksums.append(checksum)
        self.sequences.append(np.frombuffer(digest, np.uint8))

    def arrays(self) -> Entries:
        """The same as arrays."""
        return Entries(
            self.names,
            np.asarray(self.places, "<i8"),
            np.asarray(self.rows, "<i8"),
            np.asarray(self.checksums, "<u4"),
            np.asarray(self.sequences, np.uint8).reshape(-1, 32),
        )

    def first(self, count: int) -> Entries:
        """The first so many."""
        return Entries(
            *(part[:count] for part in (self.names, self.places, self.rows, self.checksums, self.sequences))
        )

    def take(self, at: np.ndarray, names: list[str]) -> Entries:
        """Some of them, under other names."""
        return Entries(names, self.places[at], self.rows[at], self.checksums[at], self.sequences[at])

    def encode(self, *, previous: int, finished: bool) -> tuple[bytes, bytes]:
        """Text and data of an index."""
        own = self.arrays()
        text = json.dumps({"names": own.names, "previous": previous, "finished": finished}).encode()
        return text, b"".join(
            array.tobytes() for array in (own.places, own.rows, own.checksums, own.sequences)
        )

    @classmethod
    def decode(cls, text: memoryview, data: memoryview) -> tuple[Entries, int, bool]:
        """The proteins of an index, where the index before it is, and whether its writer was done."""
        told = json.loads(bytes(text))
        n = len(told["names"])
        if len(data) != n * 52:
            raise ValueError("the arrays are not as long as the names")
        entries = cls(
            told["names"],
            np.frombuffer(data, "<i8", n),
            np.frombuffer(data, "<i8", n, 8 * n),
            np.frombuffer(data, "<u4", n, 16 * n),
            np.frombuffer(data, np.uint8, 32 * n, 20 * n).reshape(n, 32),
        )
        return entries, int(told["previous"]), bool(told["finished"])

    @classmethod
    def join(cls, several: Sequence[Entries]) -> Entries:
        """One after the other."""
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


class Found(NamedTuple):
    """What a file holds.

    Attributes:
        entries: all whole proteins.
        unindexed: those that no index names yet.
        last_index: where the last index begins; 0 if there is none.
        end: where the last whole record ends.
        complete: does the file end with an index of a writer that was done?
    """

    entries: Entries
    unindexed: Entries
    last_index: int
    end: int
    complete: bool


class Head(NamedTuple):
    """The 64 bytes that every record begins with, and where its parts are.

    Attributes:
        kind: of record.
        text_checksum: of the text.
        data_checksum: of the data.
        text_size: bytes of the text.
        data_size: bytes of the data; in an end mark, where its index begins.
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
        """The text; None if it is not what was written."""
        start = self.place + BLOCK
        text = mapped[start : start + self.text_size]
        return text if len(text) == self.text_size and zlib.crc32(text) == self.text_checksum else None

    def data(self, mapped: memoryview) -> memoryview | None:
        """The data; None if they are not what was written."""
        data = mapped[self.data_place : self.data_place + self.data_size]
        return data if len(data) == self.data_size and zlib.crc32(data) == self.data_checksum else None


def pack(kind: bytes, text: bytes, data_size: int, data_checksum: int = 0, digest: bytes = b"") -> bytes:
    """A head."""
    rest = _REST.pack(zlib.crc32(text), data_checksum, len(text), data_size, digest)
    return kind + zlib.crc32(kind + rest).to_bytes(4, "little") + rest


def head_at(mapped: memoryview, place: int) -> Head | None:
    """The head at a place; None if there is none, whole and unchanged."""
    head = bytes(mapped[place : place + BLOCK]) if place >= 0 else b""
    kind, checksum, rest = head[:8], head[8:12], head[12:]
    if len(head) < BLOCK or zlib.crc32(kind + rest) != int.from_bytes(checksum, "little"):
        return None
    text_checksum, data_checksum, text_size, data_size, digest = _REST.unpack(rest)
    return Head(kind, text_checksum, data_checksum, text_size, data_size, digest, place)


def filled(size: int) -> int:
    """`size`, up to the next multiple of 64."""
    return -(-size // BLOCK) * BLOCK


def head_bytes(record: Record) -> bytes:
    """What a file begins with."""
    text = json.dumps({"record": record, "layout": 1}, sort_keys=True).encode()
    return pack(HEAD, text, 0) + text + bytes(-len(text) % BLOCK)


def read_head(mapped: memoryview, path: str | Path) -> tuple[Record, int]:
    """The encoder record of a file, and where its records begin."""
    if bytes(mapped[:8]) != HEAD:
        raise DataError(
            f"{path} is no file of embeddings.",
            given=str(path),
            hint="'holotype embed FASTA -o OUT' makes one.",
        )
    head = head_at(mapped, 0)
    text = head.text(mapped) if head else None
    if head is None or text is None:
        raise damaged(path, "its beginning has changed")
    try:
        record = checked_record(json.loads(bytes(text))["record"])
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, f"its record cannot be understood ({error})") from error
    return record, head.end


def contents(mapped: memoryview, path: str | Path, record: Record, begin: int) -> Found:
    """What a file holds: by its indexes, or by its records where its end is missing.

    Raises:
        DataError: it is damaged.
    """
    row_bytes = record["dim"] * DTYPES[record["dtype"]].itemsize
    found = _by_index(mapped, path) or _by_scan(mapped, path, begin, row_bytes)
    own = found.entries.arrays()
    if len(own.names) and (
        own.places.min() < begin or own.rows.min() < 1 or len(set(own.names)) < len(own.names)
    ):
        raise damaged(path, "an index tells what cannot be")
    return found


def _by_index(mapped: memoryview, path: str | Path) -> Found | None:
    """What the indexes of a file tell; None if it does not end with one."""
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
    return Found(Entries.join(several[::-1]), Entries.empty(), mark.data_size, len(mapped), bool(complete))


def _read_index(mapped: memoryview, path: str | Path, place: int) -> tuple[Entries, int, bool, int]:
    """The proteins of one index; where the one before it is; was the writer done; where it ends."""
    head = head_at(mapped, place)
    if head is not None and head.kind == INDEX:
        text, data = head.text(mapped), head.data(mapped)
        if text is not None and data is not None:
            try:
                entries, previous, finished = Entries.decode(text, data)
            except (ValueError, KeyError, TypeError) as error:
                raise damaged(path, f"an index cannot be understood ({error})") from error
            return entries, previous, finished, head.end
    raise damaged(path, "an index has changed")


def _by_scan(mapped: memoryview, path: str | Path, begin: int, row_bytes: int) -> Found:
    """What a file without an end mark holds, from the heads of its records."""
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
            # What an index was written after is on the disk; see the top of this file.
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
        raise damaged(path, f"the record at byte {at:,} has changed, and whole ones follow it")
    # Since the last index, nobody waited for the disk: after a power cut, the data may be missing.
    for number, (place, rows) in enumerate(zip(unindexed.places, unindexed.rows, strict=True)):
        if zlib.crc32(mapped[place : place + rows * row_bytes]) != unindexed.checksums[number]:
            at = place - BLOCK - filled(len(unindexed.names[number].encode("utf-8", "surrogatepass")))
            unindexed = unindexed.first(number)
            break
    return Found(Entries.join([indexed, unindexed]), unindexed, last_index, at, complete=False)


def _index_after(mapped: memoryview, at: int) -> bool:
    """Is there a whole index somewhere behind a place?"""
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
        DataError: it lacks what the file itself needs, or cannot be kept as JSON.
    """
    problems = []
    if not isinstance(record, Mapping):
        raise DataError(f"an encoder record is a mapping, got {type(record).__name__}.", given=record)
    if type(record.get("dim")) is not int or record["dim"] < 1:
        problems.append(f"dim: 1 or more, got {record.get('dim')!r}")
    if record.get("dtype") not in DTYPES:
        problems.append(f"dtype: {' or '.join(DTYPES)}, got {record.get('dtype')!r}")
    if record.get("pooling") not in POOLINGS:
        problems.append(f"pooling: one of {', '.join(POOLINGS)}, got {record.get('pooling')!r}")
    if problems:
        raise DataError(
            "\n".join(["that is no encoder record:", *(f"  {one}" for one in problems)]),
            problems=problems,
            given=dict(record),
        )
    plain: dict[str, Any] = thaw(freeze(record))
    return plain


def map_file(file: Any, path: str | Path) -> memoryview:
    """A file as bytes that are read when they are used."""
    try:
        # What is opened later has to be a view of this: the map lives as long as any of them.
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (ValueError, OSError) as error:  # an empty file cannot be mapped
        raise DataError(f"{path} is no file of embeddings: {error}.", given=str(path)) from error


def damaged(path: str | Path, what: str) -> DataError:
    """The error for a file that is not as it was written."""
    return DataError(
        f"{path} is damaged: {what}.",
        given=str(path),
        hint="Make it anew: the same 'holotype embed' command with --overwrite.",
    )


def opened(path: Path) -> Any:
    """A file to read.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.open("rb")
    except OSError as error:
        there: list[str] = []
        with contextlib.suppress(OSError):
            there = [str(other) for other in path.parent.iterdir() if other.is_file()]
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.",
            given=str(path),
            nearest=nearest(str(path), there) if isinstance(error, FileNotFoundError) else (),
        ) from error


def refused(path: Path, error: OSError) -> StoreError:
    """The error for what the file system refused."""
    full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
    stored = StoreError(
        f"cannot write {path}: {error.strerror or error}.",
        given=str(path),
        hint="What was written before is kept: make room, and type the same command again." if full else None,
    )
    stored.errno = error.errno
    return stored
