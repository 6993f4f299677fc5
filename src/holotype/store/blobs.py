"""Blobs: files named by their sha256. The one place that gives a file its final name.

::

    blobs/sha256/ab/<64 hex>       the files, read-only
    blobs/partial/                 what is being written; see `holotype.store.incoming`
    receipts/ab/<64 hex>           what a file looked like when its hash was last computed
    quarantine/<64 hex>.<random>   files that were not what their name says

A path can be given another file between being checked and being opened. Whoever reads weights therefore
opens the file first, and reads or maps the opened file:

    with Blobs().open_verified(sha256) as file:     # None if it is not there
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

It is the file that was hashed, even if another one has its name now. Code that needs a path can be given
``/proc/self/fd/<file.fileno()>`` on Linux. `holotype.store.fetch.fetch_open` fetches and does this.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import stat
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from holotype.errors import StoreError, VerificationError
from holotype.files import sha256_of
from holotype.home import cache_home
from holotype.store.folder import cannot, link_if_absent, make_private
from holotype.store.locks import is_held

_SHA256 = re.compile("[0-9a-f]{64}")
_RECEIPT_FIELDS = ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
GRACE_S = 24 * 3600.0
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
        return self.root / blob_key(sha256)

    def find(self, sha256: str) -> Path | None:
        """The path of the file of this hash, or None. It has been hashed and has not changed since.

        A file that is not what its name says is moved to the quarantine, with a warning.

        Raises:
            VerificationError: such a file exists and cannot be moved.
            StoreError: it cannot be read.
        """
        file = self.open_verified(sha256)
        if file is None:
            return None
        file.close()
        return self.path(sha256)

    def open_verified(self, sha256: str) -> BinaryIO | None:
        """The file of this hash, opened for reading, or None; see the top of this module.

        A file that is not what its name says is moved to the quarantine, with a warning.

        Raises:
            VerificationError: such a file exists and cannot be moved.
            StoreError: it cannot be read.
        """
        file, problem, aside = self._examine(check_sha256(sha256), trust_receipt=True)
        if problem is not None and aside is not None:
            warnings.warn(
                f"{self.path(sha256)} was not what its name says ({problem}). "
                f"It was moved to {aside} and will be fetched again.",
                stacklevel=3,
            )
        return file

    def check(self, sha256: str) -> Check:
        """Hash the file of this hash again, whatever is remembered of it. A bad one is quarantined."""
        sha256 = check_sha256(sha256)
        try:
            file, problem, aside = self._examine(sha256, trust_receipt=False)
        except StoreError as error:
            return Check(sha256, "changed", str(error).splitlines()[0])
        if file is not None:
            file.close()
            return Check(sha256, "ok")
        if problem is None:
            return Check(sha256, "missing")
        return Check(sha256, "changed", problem, str(aside) if aside else None)

    def _examine(
        self, sha256: str, *, trust_receipt: bool
    ) -> tuple[BinaryIO | None, str | None, Path | None]:
        """The opened file; else what was wrong with it, and where it was moved."""
        path = self.path(sha256)
        try:
            descriptor = os.open(path, _OPEN)
        except FileNotFoundError:
            return None, None, None
        except OSError as error:
            if path.is_symlink():
                problem = "it is a link to another file"
                return None, problem, self._quarantine(path, path.lstat(), problem)
            if error.errno == errno.ENOTDIR:
                return None, None, None
            raise cannot("read", path, error) from error
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            os.close(descriptor)
            return None, "it is not a file", self._quarantine(path, before, "it is not a file")
        file = open(path, "rb", opener=lambda *_: descriptor)  # noqa: SIM115  # the caller's; keeps its name
        try:
            if trust_receipt and _receipt(before) == self._read_receipt(sha256):
                return file, None, None
            got = sha256_of(file)
            after = os.fstat(descriptor)
            if got == sha256 and _receipt(before) == _receipt(after):
                self.write_receipt(sha256, after)
                file.seek(0)
                return file, None, None
        except OSError as error:
            file.close()
            raise cannot("read", path, error) from error
        except BaseException:
            file.close()
            raise
        file.close()
        problem = f"its sha256 is {got}" if got != sha256 else "it changed while it was read"
        return None, problem, self._quarantine(path, before, problem)

    def sweep(self, older_than_s: float = GRACE_S) -> int:
        """Remove what crashed writers left behind; returns how many things it removed."""
        removed = 0
        for orphan in self.orphans(older_than_s):
            removed += self.remove_orphan(orphan)
        return removed

    def orphans(self, older_than_s: float = GRACE_S) -> list[Path]:
        """Files without a living writer that have not changed for so long."""
        found = []
        # Besides unfinished files: receipts that were never renamed, and locks of processes that died.
        for pattern in ("blobs/partial/*", "receipts/*/.*", "locks/*.lock"):
            for path in self.root.glob(pattern):
                try:
                    old = time.time() - path.lstat().st_mtime >= older_than_s
                except OSError:
                    continue  # removed meanwhile
                if old and not is_held(path):
                    found.append(path)
        return sorted(found)

    def remove_orphan(self, path: Path) -> bool:
        """Remove one of `orphans`; False if that cannot be, or has been done."""
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError:
            return False
        return True

    def _read_receipt(self, sha256: str) -> dict[str, int] | None:
        try:
            receipt: Any = json.loads((self.root / "receipts" / sha256[:2] / sha256).read_bytes())
        except (OSError, ValueError):
            return None
        return receipt if isinstance(receipt, dict) else None

    def write_receipt(self, sha256: str, looked: os.stat_result) -> None:
        """Remember what a file looked like when it was hashed."""
        # It only saves time, so a read-only cache does not matter.
        late = time.time_ns() - looked.st_ctime_ns
        if 0 <= late < _TICK_NS:
            time.sleep((_TICK_NS - late) / 1e9)
        folder = self.root / "receipts" / sha256[:2]
        temporary = folder / f".{secrets.token_hex(8)}"
        try:
            make_private(folder)
            temporary.write_text(json.dumps(_receipt(looked)), encoding="ascii")
            temporary.replace(folder / sha256)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _quarantine(self, path: Path, looked: os.stat_result, problem: str) -> Path | None:
        """Move a bad file aside; None if another process was faster."""
        aside = self.root / "quarantine" / f"{path.name}.{secrets.token_hex(4)}"
        try:
            make_private(aside.parent)
            path.rename(aside)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise VerificationError(
                f"{path} is not what its name says ({problem}), and cannot be moved aside: {error.strerror}.",
                given=str(path),
                hint="Remove it, or set HOLOTYPE_HOME to another folder.",
            ) from error
        moved = aside.lstat()
        if (moved.st_dev, moved.st_ino) != (looked.st_dev, looked.st_ino):
            # Between looking and moving, another process put a good file there: give it back.
            link_if_absent(aside, path)
            aside.unlink(missing_ok=True)
            return None
        return aside


@dataclass(frozen=True)
class Check:
    """The result of hashing a blob again.

    Attributes:
        sha256: which blob.
        state: ``"ok"``, ``"missing"``, or ``"changed"``.
        problem: what is wrong with a changed one.
        quarantined: where a changed one was moved, or None where it could not be.
    """

    sha256: str
    state: str
    problem: str | None = None
    quarantined: str | None = None


def blob_key(sha256: str) -> str:
    """The key under which a store in the layout of this library keeps the file of this hash."""
    return f"blobs/sha256/{sha256[:2]}/{sha256}"


def _receipt(looked: os.stat_result) -> dict[str, int]:
    return {name.removeprefix("st_"): getattr(looked, name) for name in _RECEIPT_FIELDS}
