"""Blobs: files named by their sha256. The one place that gives a file its final name.

::

    blobs/sha256/ab/<64 hex>       the files, read-only
    blobs/partial/                 what is being written; garbage after a crash, swept after a day
    receipts/ab/<64 hex>           what a file looked like when its hash was last computed
    quarantine/<64 hex>.<random>   files that were not what their name says

A file is written under a unique name, hashed on the way, checked, made durable, and only then linked
to its final name. Whatever happens before that last step leaves garbage, never a lie.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from holotype.errors import StoreError, VerificationError
from holotype.home import cache_home

_SHA256 = re.compile("[0-9a-f]{64}")
_RECEIPT_FIELDS = ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
_GRACE_S = 24 * 3600.0
# Two changes within one tick of the file system's clock look like one. No tick is longer than this
# on the file systems of today's machines.
_TICK_NS = 12_000_000
_OPEN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def check_sha256(sha256: str) -> str:
    """Return the hash in lower case.

    Raises:
        VerificationError: it is not 64 hex digits.
    """
    if isinstance(sha256, str) and _SHA256.fullmatch(sha256.lower()):
        return sha256.lower()
    raise VerificationError(f"a sha256 is 64 hex digits, got {sha256!r}.", given=sha256)


@dataclass(frozen=True)
class Expected:
    """What is known of a file before it comes.

    Attributes:
        sha256: its hash, or None.
        size_bytes: its exact size, or None.
        size_mib: its size in MiB as published, rounded to 0.1; or None.
    """

    sha256: str | None = None
    size_bytes: int | None = None
    size_mib: float | None = None

    def __post_init__(self) -> None:
        if self.sha256 is not None:
            object.__setattr__(self, "sha256", check_sha256(self.sha256))

    def size_fits(self, size: int) -> bool:
        """Can a file of this size be the one?"""
        if self.size_bytes is not None:
            return size == self.size_bytes
        return self.size_mib is None or abs(size / 2**20 - self.size_mib) <= 0.1

    @property
    def at_most(self) -> int | None:
        """No more bytes than this are read; None where nothing is known."""
        if self.size_bytes is not None:
            return self.size_bytes
        return None if self.size_mib is None else int((self.size_mib + 0.1) * 2**20) + 1

    def __str__(self) -> str:
        parts = [f"sha256 {self.sha256}"] if self.sha256 else []
        if self.size_bytes is not None:
            parts.append(f"{self.size_bytes} bytes")
        elif self.size_mib is not None:
            parts.append(f"{self.size_mib} MiB")
        return ", ".join(parts) or "anything"


class Blobs:
    """The blobs under one folder.

    Args:
        root: the folder; the user's cache where it is None. Nothing is created before it is written to.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.root = Path(cache_home() if root is None else root)

    def __repr__(self) -> str:
        return f"Blobs({str(self.root)!r})"

    @property
    def partial(self) -> Path:
        """Where files are while they are written: in the file system of their final place."""
        return self.root / "blobs" / "partial"

    def path(self, sha256: str) -> Path:
        """Where the file of this hash is, if it is there."""
        return blob_path(self.root, sha256)

    def find(self, sha256: str) -> Path | None:
        """The file of this hash, or None. What it returns has been hashed and not changed since.

        A file that is not what its name says is moved to the quarantine, with a warning.

        Raises:
            VerificationError: such a file is there and cannot be moved.
            StoreError: it cannot be read.
        """
        path = self.path(sha256)
        try:
            descriptor = os.open(path, _OPEN)
        except FileNotFoundError:
            return None
        except OSError as error:
            if path.is_symlink():
                self._quarantine(path, path.lstat(), "it is a link to another file")
                return None
            if error.errno == errno.ENOTDIR:
                return None
            raise _cannot("read", path, error) from error
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            os.close(descriptor)
            self._quarantine(path, before, "it is not a file")
            return None
        with open(descriptor, "rb") as file:  # noqa: PTH123  # a descriptor, not a path
            if _receipt(before) == self._read_receipt(sha256):
                return path
            try:
                got = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise _cannot("read", path, error) from error
            after = os.fstat(descriptor)
            if got == sha256 and _receipt(before) == _receipt(after):
                self._write_receipt(sha256, after)
                return path
        problem = f"its sha256 is {got}" if got != sha256 else "it changed while it was read"
        self._quarantine(path, before, problem)
        return None

    def put(self, stream: BinaryIO, *, sha256: str | None = None, size: int | None = None) -> Path:
        """Keep what a stream holds, unless it is there already.

        Raises:
            VerificationError: it is not what was expected; nothing was kept.
            StoreError: it cannot be written.
        """
        expected = Expected(sha256, size)
        if expected.sha256 is not None and (found := self.find(expected.sha256)) is not None:
            return found
        with Incoming(self, expected, "the stream") as incoming:
            incoming.begin(None)
            while chunk := stream.read(2**20):
                incoming.write(chunk)
            return incoming.commit()

    def sweep(self, older_than_s: float = _GRACE_S) -> int:
        """Remove what crashed writers left behind; returns how many things it removed."""
        removed = 0
        try:
            leftovers = list(self.partial.iterdir())
        except OSError:
            return 0
        for leftover in leftovers:
            try:
                if time.time() - leftover.lstat().st_mtime < older_than_s:
                    continue
                if leftover.is_dir() and not leftover.is_symlink():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink()
                removed += 1
            except OSError:
                continue  # somebody else swept it, or it is not ours to remove
        return removed

    def make_partial_folder(self) -> Path:
        """The folder for unfinished files, made if need be.

        Raises:
            StoreError: it cannot be made.
        """
        return _make_folder(self.partial)

    def _read_receipt(self, sha256: str) -> dict[str, int] | None:
        try:
            receipt: Any = json.loads((self.root / "receipts" / sha256[:2] / sha256).read_bytes())
        except (OSError, ValueError):
            return None
        return receipt if isinstance(receipt, dict) else None

    def _write_receipt(self, sha256: str, looked: os.stat_result) -> None:
        # Only saves time, so a cache that cannot be written is no reason to fail.
        late = time.time_ns() - looked.st_ctime_ns
        if 0 <= late < _TICK_NS:
            time.sleep((_TICK_NS - late) / 1e9)
        folder = self.root / "receipts" / sha256[:2]
        temporary = folder / f".{secrets.token_hex(8)}"
        try:
            _make_private(folder)
            temporary.write_text(json.dumps(_receipt(looked)), encoding="ascii")
            temporary.replace(folder / sha256)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _quarantine(self, path: Path, looked: os.stat_result, problem: str) -> None:
        aside = self.root / "quarantine" / f"{path.name}.{secrets.token_hex(4)}"
        try:
            _make_private(aside.parent)
            path.rename(aside)
        except FileNotFoundError:
            return  # another process was faster
        except OSError as error:
            raise VerificationError(
                f"{path} is not what its name says ({problem}), and cannot be moved aside: {error.strerror}.",
                given=str(path),
                hint="Remove it, or set HOLOTYPE_HOME to another folder.",
            ) from error
        moved = aside.lstat()
        if (moved.st_dev, moved.st_ino) != (looked.st_dev, looked.st_ino):
            # Between looking and moving, another process put a good file there: give it back.
            _link_if_absent(aside, path)
            aside.unlink(missing_ok=True)
            return
        warnings.warn(
            f"{path} was not what its name says ({problem}). "
            f"It was moved to {aside} and will be fetched again.",
            stacklevel=4,
        )


class Incoming:
    """A file on its way into the blobs. Leaving the ``with`` before `commit` removes it.

    Args:
        blobs: where it goes.
        expected: what is known of it.
        origin: how messages call the place it comes from.
        on_progress: called with the bytes so far and the total, or None where nobody knows it.
    """

    def __init__(
        self,
        blobs: Blobs,
        expected: Expected,
        origin: str,
        on_progress: Callable[[int, int | None], None] | None = None,
    ) -> None:
        self.blobs = blobs
        self.expected = expected
        self.origin = origin
        self.size = 0
        self._on_progress = on_progress
        self._total: int | None = None
        self._hash = hashlib.sha256()
        folder = blobs.make_partial_folder()
        # The hash in the name is for a later process that wants to go on where this one died.
        self.path = folder / f"{expected.sha256 or 'unknown'}.{os.getpid()}.{secrets.token_hex(8)}"
        try:
            self._file = open(self.path, "xb", buffering=0)  # noqa: SIM115, PTH123  # closed in __exit__
        except OSError as error:
            raise _cannot("write", folder, error) from error

    def __enter__(self) -> Incoming:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)

    def begin(self, total: int | None) -> None:
        """Start, or start again from nothing.

        Args:
            total: how many bytes the other side says will come, or None.

        Raises:
            VerificationError: that is not the size of the file that is expected.
            StoreError: the disk does not have the room.
        """
        if total is not None and not self.expected.size_fits(total):
            raise self._wrong(f"{total} bytes, as announced")
        self._total = total if total is not None else self.expected.size_bytes
        if self._total is not None:
            free = shutil.disk_usage(self.path.parent).free
            if self._total > free:
                raise StoreError(
                    f"{self.origin} needs {_mib(self._total)}; "
                    f"the disk of {self.blobs.root} has {_mib(free)} left.",
                    given=self.origin,
                    hint="Make room, or set HOLOTYPE_HOME to a folder on another disk.",
                )
        try:
            self._file.seek(0)
            self._file.truncate()
        except OSError as error:
            raise _cannot("write", self.path, error) from error
        self.size = 0
        self._hash = hashlib.sha256()
        self._report()

    def write(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            VerificationError: they are more than the file has.
            StoreError: they cannot be written.
        """
        limit = self.expected.at_most
        if limit is not None and self.size + len(chunk) > limit:
            raise self._wrong(f"more than {limit} bytes")
        view = memoryview(chunk)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise _cannot("write", self.path, error) from error
        self._hash.update(chunk)
        self.size += len(chunk)
        self._report()

    def commit(self) -> Path:
        """Check it, make it durable, and give it its name.

        Raises:
            VerificationError: it is not the file that was expected.
            StoreError: the file system refuses.
        """
        got = self._hash.hexdigest()
        if not self.expected.size_fits(self.size) or self.expected.sha256 not in (None, got):
            raise self._wrong(f"sha256 {got}, {self.size} bytes")
        final = self.blobs.path(got)
        try:
            if hasattr(os, "fchmod"):
                os.fchmod(self._file.fileno(), 0o444)
            else:
                self.path.chmod(0o444)
            os.fsync(self._file.fileno())
            written = os.fstat(self._file.fileno())
            _make_folder(final.parent)
            ours = _link_if_absent(self.path, final)
            self.path.unlink(missing_ok=True)
            _sync_folder(final.parent)
            looked = os.fstat(self._file.fileno())
        except StoreError:
            raise
        except OSError as error:
            raise _cannot("write", final, error) from error
        if not ours:
            # Somebody put it there before us. Look at it: it may be something else under that name.
            found = self.blobs.find(got)
            if found is None:
                raise StoreError(f"{final} was damaged and is gone now; try again.", given=str(final))
            return found
        if (looked.st_size, looked.st_mtime_ns) == (written.st_size, written.st_mtime_ns):
            self.blobs._write_receipt(got, looked)
        return final

    def _report(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self.size, self._total)

    def _wrong(self, got: str) -> VerificationError:
        return VerificationError(
            f"{self.origin} did not give the file that was published.\n"
            f"  expected: {self.expected}\n"
            f"  got:      {got}",
            given=self.origin,
            hint="Nothing was kept. If it was replaced on purpose, its entry needs the new hash and size.",
        )


def blob_path(root: Path, sha256: str) -> Path:
    """Where a store in the layout of this library keeps the file of this hash."""
    return root / "blobs" / "sha256" / sha256[:2] / sha256


def _receipt(looked: os.stat_result) -> dict[str, int]:
    return {name.removeprefix("st_"): getattr(looked, name) for name in _RECEIPT_FIELDS}


def _link_if_absent(source: Path, target: Path) -> bool:
    """Give a file a second name unless that is taken; False if it is."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        return False
    except (OSError, NotImplementedError):
        # No hard links here (FAT, some network shares). Replacing is as good: it is the same content.
        if target.exists() or target.is_symlink():
            return False
        source.replace(target)
    return True


def _make_folder(folder: Path) -> Path:
    try:
        return _make_private(folder)
    except OSError as error:
        raise _cannot("write", folder, error) from error


def _make_private(folder: Path) -> Path:
    """Make a folder, and those above it, that only their owner may enter."""
    # `mkdir(parents=True)` would give the mode to the last one only.
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise
    except FileNotFoundError:
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):
        return  # Windows keeps folders durable by itself, and cannot open them
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot
            raise
    finally:
        os.close(descriptor)


def _cannot(verb: str, path: Path, error: OSError) -> StoreError:
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        hint = "The disk is full: make room, or set HOLOTYPE_HOME to a folder on another disk."
    elif verb == "write":
        hint = "Set HOLOTYPE_HOME to a folder that you may write to."
    else:
        hint = None
    stored = StoreError(f"cannot {verb} {path}: {error.strerror or error}.", given=str(path), hint=hint)
    stored.errno = error.errno
    return stored


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
