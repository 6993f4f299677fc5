"""Files on their way into the blobs: written, hashed, checked, made durable, named.

::

    blobs/partial/<64 hex>.<random>          the bytes so far; its writer holds a lock on it
    blobs/partial/<64 hex>.<random>.origin   where they come from, for whoever goes on with them

A crash before the last step, the link to the final name, leaves an unfinished file and never a wrong one. The
next writer of the same file takes its bytes over: a lock that can be taken shows that the former writer is
dead. The bytes are hashed again before they count.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from holotype.errors import FetchError, StoreError, VerificationError
from holotype.store.blobs import Blobs, Expected, blob_key
from holotype.store.folder import Folder, cannot, make_folder
from holotype.store.locks import try_lock
from holotype.text import size

# An unfinished file below this is not worth keeping for a later try when a download is given up.
_WORTH_KEEPING = 2**20
_ORIGIN = ".origin"
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class Incoming:
    """A file on its way into the blobs. Leaving the ``with`` before `commit` removes it.

    One exception: what came of a `resumable` file stays when it was given up or interrupted, so that a
    later process can go on with it; `Blobs.sweep` removes it after a day.

    Args:
        blobs: where it goes.
        expected: what is known of it.
        origin: what messages call the place it comes from.
        on_progress: called with the bytes so far and the total, or None if it is not known.
        resumable: its source can begin in the middle, so bytes that a dead process left are taken over.

    Attributes:
        size: how many bytes there are so far.
        validator: what the origin gave to recognise this very version of the file by, or None.
        mixed: True if the bytes come from more than one answer, so that they may not fit together.
    """

    def __init__(
        self,
        blobs: Blobs,
        expected: Expected,
        origin: str,
        on_progress: Callable[[int, int | None], None] | None = None,
        *,
        resumable: bool = False,
    ) -> None:
        self.blobs = blobs
        self.expected = expected
        self.origin = origin
        self.size = 0
        self.validator: str | None = None
        self.mixed = False
        self._on_progress = on_progress
        self._total: int | None = None
        self._hash = hashlib.sha256()
        self._resumable = resumable and expected.sha256 is not None
        folder = make_folder(blobs.partial)
        try:
            if not (self._resumable and self._take_over(folder)):
                self._create(folder)
        except OSError as error:
            raise cannot("write", folder, error) from error

    def __enter__(self) -> Incoming:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        given_up = isinstance(error, (FetchError, KeyboardInterrupt, SystemExit))
        if not (self._resumable and given_up and self.size >= _WORTH_KEEPING):
            self._remove()
        self._file.close()

    @property
    def can_go_on(self) -> bool:
        """May bytes be asked for from the middle? Only if a mixture would be noticed."""
        return self.size > 0 and (self.expected.sha256 is not None or self.validator is not None)

    @property
    def complete(self) -> bool:
        """Is all of it here already?"""
        return self.size > 0 and self._hash.hexdigest() == self.expected.sha256

    def begin(self, total: int | None, validator: str | None = None) -> None:
        """Start, or start again from nothing.

        Args:
            total: how many bytes the other side says will come, or None.
            validator: what the other side recognises this version of the file by.

        Raises:
            VerificationError: that is not the size of the file that is expected.
            StoreError: the disk does not have the room.
        """
        self.forget()
        self._check_room(total)
        self.validator = validator
        if self._resumable:
            # Before the first byte: whoever takes the bytes over must not lack it. It only saves time.
            with contextlib.suppress(OSError):
                text = json.dumps({"origin": self.origin, "validator": validator})
                self._beside(self.path).write_text(text, encoding="utf-8")
        self._report()

    def go_on(self, total: int | None) -> None:
        """Keep what there is; what comes next follows it.

        Args:
            total: how many bytes the other side says the whole file has, or None.

        Raises:
            VerificationError: that is not the size of the file that is expected.
            StoreError: the disk does not have the room.
        """
        self._check_room(total)
        self.mixed = True
        self._report()

    def forget(self) -> None:
        """Drop the bytes so far."""
        try:
            self._file.seek(0)
            self._file.truncate()
        except OSError as error:
            raise cannot("write", self.path, error) from error
        self.size = 0
        self.validator = None
        self.mixed = False
        self._hash = hashlib.sha256()

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
            raise cannot("write", self.path, error) from error
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
            ours = Folder(self.blobs.root).put_if_absent(blob_key(got), self.path)
            self._remove()
            looked = os.fstat(self._file.fileno())
        except StoreError:
            raise
        except OSError as error:
            raise cannot("write", final, error) from error
        if not ours:
            # Another process was first. Check its file: it may hold something else.
            found = self.blobs.find(got)
            if found is None:
                raise StoreError(f"{final} was damaged and is gone now; try again.", given=str(final))
            return found
        if (looked.st_size, looked.st_mtime_ns) == (written.st_size, written.st_mtime_ns):
            self.blobs.write_receipt(got, looked)
        return final

    def _create(self, folder: Path) -> None:
        for _ in range(100):
            path = self._new_name(folder)
            file = open(path, "x+b", buffering=0)  # noqa: SIM115, PTH123  # closed in __exit__
            # Between these two lines another process may have taken it for a dead one's.
            if try_lock(file.fileno()) is not False and _is_at(path, os.fstat(file.fileno())):
                self.path, self._file = path, file
                return
            file.close()
        raise OSError(f"a new file in {folder} is taken away each time")

    def _take_over(self, folder: Path) -> bool:
        """Make the largest file that a dead process left our own; remove the others."""
        dead: list[tuple[int, Path]] = []
        for path in folder.glob(f"{self.expected.sha256}.*"):
            with contextlib.suppress(OSError):
                if path.suffix != _ORIGIN:
                    dead.append((path.lstat().st_size, path))
        taken = False
        for length, path in sorted(dead, reverse=True):
            if self._try_to_take(path, only_remove=taken or length == 0):
                taken = True
        return taken

    def _try_to_take(self, path: Path, *, only_remove: bool) -> bool:
        file = _open_dead(path)
        if file is None:
            return False
        new = path
        try:
            looked = os.fstat(file.fileno())
            limit = self.expected.at_most
            # A second name means that it was published already; too large means that it is something else.
            useless = looked.st_nlink != 1 or (limit is not None and looked.st_size > limit)
            if only_remove or useless:
                path.unlink(missing_ok=True)
                self._beside(path).unlink(missing_ok=True)
                file.close()
                return False
            new = self._new_name(path.parent)
            path.rename(new)
            if not _is_at(new, looked):  # cannot happen while everybody respects the lock
                file.close()
                return False
            with contextlib.suppress(OSError):
                self._beside(path).rename(self._beside(new))
            self._hash = hashlib.file_digest(file, "sha256")
            self.size = file.seek(0, os.SEEK_END)
        except OSError:
            file.close()
            return False
        self.path, self._file = new, file
        origin = _read_origin(self._beside(new))
        if origin.get("origin") == self.origin and isinstance(origin.get("validator"), str):
            self.validator = origin["validator"]
        if limit is not None and self.size == limit and not self.complete:
            self.forget()
        return True

    def _new_name(self, folder: Path) -> Path:
        return folder / f"{self.expected.sha256 or 'unknown'}.{secrets.token_hex(8)}"

    @staticmethod
    def _beside(path: Path) -> Path:
        return path.with_name(path.name + _ORIGIN)

    def _remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._beside(self.path).unlink(missing_ok=True)

    def _check_room(self, total: int | None) -> None:
        if total is not None and not self.expected.size_fits(total):
            raise self._wrong(f"{total} bytes, as announced")
        self._total = total if total is not None else self.expected.size_bytes
        if self._total is None:
            return
        free = shutil.disk_usage(self.path.parent).free
        if self._total - self.size > free:
            raise StoreError(
                f"{self.origin} needs {size(self._total - self.size)}; "
                f"the disk of {self.blobs.root} has {size(free)} left.",
                given=self.origin,
                hint="Make room ('holotype cache prune'), or set HOLOTYPE_HOME to a folder on another disk.",
            )

    def _report(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self.size, self._total)

    def _wrong(self, got: str) -> VerificationError:
        return VerificationError(
            f"{self.origin} did not send the file that was published.\n"
            f"  expected: {self.expected}\n"
            f"  got:      {got}",
            given=self.origin,
            hint="Nothing was kept. If it was replaced on purpose, its entry needs the new hash and size.",
        )


def _open_dead(path: Path) -> Any:
    """An unfinished file, opened and locked; None if its writer lives, or may live."""
    for _ in range(2):
        try:
            descriptor = os.open(path, os.O_RDWR | _NO_FOLLOW)
        except PermissionError:
            # Its writer died between making it read-only and naming it.
            if not _make_writable(path):
                return None
            continue
        except OSError:
            return None
        looked = os.fstat(descriptor)
        if stat.S_ISREG(looked.st_mode) and try_lock(descriptor) and _is_at(path, looked):
            return os.fdopen(descriptor, "r+b", buffering=0)
        os.close(descriptor)
        return None
    return None


def _make_writable(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | _NO_FOLLOW)
    except OSError:
        return False
    try:
        looked = os.fstat(descriptor)
        # A file with two names is a blob already, and stays read-only.
        if not stat.S_ISREG(looked.st_mode) or looked.st_nlink != 1 or not try_lock(descriptor):
            return False
        os.fchmod(descriptor, 0o600)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _is_at(path: Path, looked: os.stat_result) -> bool:
    try:
        there = path.lstat()
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (looked.st_dev, looked.st_ino)


def _read_origin(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _NO_FOLLOW)) as file:
            origin: Any = json.loads(file.read(2**14))
    except (OSError, ValueError):
        return {}
    return origin if isinstance(origin, dict) else {}
