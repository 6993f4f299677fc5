"""Zip archives, checked before anything is taken out: ``.pt``, ``.npz`` and ``.pt2`` files are zip archives.

Two readers of one archive may see different contents: a name that occurs twice, a second directory in a
comment, bytes in front. Whatever allows that is refused, so that what is checked here is what others read.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from holotype.errors import CheckpointError
from holotype.weights.formats.opened import OpenedFile, first_line

MOST_MEMBERS = 200_000
LONGEST_NAME = 1024
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCAL = struct.Struct("<4s5H3L2H")


@contextmanager
def open_zip(file: OpenedFile) -> Iterator[zipfile.ZipFile]:
    """Open an archive that can be read in one way only; its members are stored or deflated.

    Raises:
        CheckpointError: it is damaged, or built to be misread.
    """
    with file.open() as opened:
        try:
            archive = zipfile.ZipFile(opened)
        except (
            zipfile.BadZipFile,
            OSError,
            ValueError,
            NotImplementedError,
            OverflowError,
            struct.error,
        ) as error:
            raise CheckpointError(
                f"{file.path} is damaged, or was cut short: {first_line(error)}.", given=str(file.path)
            ) from error
        try:
            problem = _problem(archive, opened, file.size)
        except (OSError, ValueError, struct.error) as error:
            problem = first_line(error)
        if problem:
            raise CheckpointError(f"{file.path} is not a usable archive: {problem}.", given=str(file.path))
        yield archive


def _problem(archive: zipfile.ZipFile, file: BinaryIO, size: int) -> str | None:
    infos = archive.infolist()
    names = [info.orig_filename for info in infos]
    if len(infos) > MOST_MEMBERS:
        return f"{len(infos)} members"
    if len({name.casefold() for name in names}) != len(names):
        return "it holds a member twice"
    for name in names:
        if not name or len(name) > LONGEST_NAME or any(ord(c) < 32 or c in "\\:" for c in name):
            return f"a member's name cannot be used: {name!r:.80}"
        if ".." in name.split("/") or name.startswith("/"):
            return f"a member's name leads out of the archive: {name!r:.80}"
    for info in infos:
        if (info.external_attr >> 16) & 0o170000 == 0o120000:
            return f"the member {info.filename!r:.80} is a link"
        if info.flag_bits & 1:
            return "encrypted members"
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return "members compressed in a way that is not read"
        if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
            return f"the member {info.filename!r:.80} has two sizes"
    directory = _directory(file, size)
    if directory is None:
        return "it does not end where its directory ends, so another file may be hidden in it"
    return _overlap(file, infos, directory)


def _directory(file: BinaryIO, size: int) -> int | None:
    """Where the directory starts, if the archive is nothing but members, directory and end."""
    file.seek(max(0, size - _END.size))
    tail = file.read(_END.size)
    if len(tail) < _END.size:
        return None
    mark, disk, first_disk, _, _, length, start, comment = _END.unpack(tail)
    end = size - _END.size
    if mark != b"PK\5\6" or comment or disk not in (0, 0xFFFF) or first_disk not in (0, 0xFFFF):
        return None
    if end >= _LOCATOR.size + _END64.size:
        file.seek(end - _LOCATOR.size)
        mark64, _, at, _ = _LOCATOR.unpack(file.read(_LOCATOR.size))
        if mark64 == b"PK\6\7":
            end -= _LOCATOR.size + _END64.size
            file.seek(end)
            found = _END64.unpack(file.read(_END64.size))
            if found[0] != b"PK\6\6" or at != end or found[1] != _END64.size - 12:
                return None
            if length not in (found[8], 0xFFFFFFFF) or start not in (found[9], 0xFFFFFFFF):
                return None
            length, start = found[8], found[9]
    return start if start + length == end else None


def _overlap(file: BinaryIO, infos: list[zipfile.ZipInfo], directory: int) -> str | None:
    """Do the members follow each other, each under the name that the directory gives it?"""
    reached = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < reached:
            return f"the member {info.filename!r:.80} overlaps another one"
        if info.header_offset - reached > 64:  # at most a descriptor of the member before
            return "there are bytes between its members"
        file.seek(info.header_offset)
        head = file.read(_LOCAL.size)
        if len(head) < _LOCAL.size:
            return "a member is cut short"
        mark, _, flags, method, _, _, _, _, _, name_length, extra_length = _LOCAL.unpack(head)
        name = file.read(name_length)
        coded = info.orig_filename.encode("utf-8" if flags & 0x800 else "cp437", errors="replace")
        if mark != b"PK\3\4" or name != coded or method != info.compress_type or flags & 1:
            return f"the member {info.filename!r:.80} is described in two ways"
        reached = info.header_offset + _LOCAL.size + name_length + extra_length + info.compress_size
    if reached > directory or directory - reached > 64:
        return "there are bytes between its members and its directory"
    return None
