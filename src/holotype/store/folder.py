"""A folder as a store, and the files of this machine that are copied into one."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

from holotype.errors import FetchError, StoreError
from holotype.store.backend import Opened

_CHUNK = 2**20
# A pipe in the place of a file would block; opened this way it is recognised.
_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class Folder:
    """A folder as a backend of a store; see `holotype.store.backend.Backend`.

    Args:
        root: the folder. Nothing is created before something is stored in it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, key: str, start: int = 0, stop: int | None = None) -> AbstractContextManager[Opened]:
        """Open a file, or a part of it."""
        return read_file(self.root / key, start, stop)

    def put_if_absent(self, key: str, file: Path) -> bool:
        """Move a file of the same file system to its key, durably; False if the key is taken."""
        target = self.root / key
        make_folder(target.parent)
        try:
            done = link_if_absent(file, target)
            # At once: losing the other name changes the file's ctime, which whoever hashes it compares.
            file.unlink(missing_ok=True)
            sync_folder(target.parent)
        except OSError as error:
            raise cannot("write", target, error) from error
        return done

    def list(self, prefix: str = "") -> Iterator[str]:
        """The keys that start with `prefix`, sorted."""
        keys = (path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())
        return iter(sorted(key for key in keys if key.startswith(prefix)))


@contextmanager
def read_file(
    path: Path, start: int = 0, stop: int | None = None, *, shown: str | None = None
) -> Iterator[Opened]:
    """Open a file of this machine; see `Backend.get`.

    Args:
        path: the file.
        start: the first byte.
        stop: the byte after the last one; the end if None.
        shown: what messages call it; its path if None.

    Raises:
        FetchError: it cannot be read, or is not an ordinary file.
    """
    shown = shown or str(path)
    with _open(path, shown) as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(start)
        yield Opened(size, _chunks(file, None if stop is None else stop - start, shown))


def _open(path: Path, shown: str) -> BinaryIO:
    """Open an ordinary file; `shown` is what messages call it."""
    try:
        descriptor = os.open(path, _OPEN)
    except OSError as error:
        raise _unreadable(shown, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _unreadable(shown, IsADirectoryError(errno.EISDIR, "it is not an ordinary file"))
    return open(descriptor, "rb")  # noqa: PTH123  # a descriptor, not a path


def _chunks(file: BinaryIO, count: int | None, shown: str) -> Iterator[bytes]:
    """The next `count` bytes of a file, or all of them, piece by piece."""
    left = count
    try:
        while chunk := file.read(_CHUNK if left is None else max(0, min(_CHUNK, left))):
            yield chunk
            left = None if left is None else left - len(chunk)
    except OSError as error:
        raise _unreadable(shown, error) from error


def _unreadable(shown: str, error: OSError) -> FetchError:
    return FetchError(f"{shown} cannot be read: {error.strerror or error}.", given=shown)


def link_if_absent(source: Path, target: Path) -> bool:
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


def make_folder(folder: Path) -> Path:
    """Make a private folder, and those above it.

    Raises:
        StoreError: it cannot be made.
    """
    try:
        return make_private(folder)
    except OSError as error:
        raise cannot("write", folder, error) from error


def make_private(folder: Path) -> Path:
    """Make a folder, and those above it, that only their owner may enter."""
    # `mkdir(parents=True)` would give the mode to the last one only.
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise
    except FileNotFoundError:
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
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


def cannot(verb: str, path: Path, error: OSError) -> StoreError:
    """The error to raise for what the file system refused."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        hint = "The disk is full: make room, or set HOLOTYPE_HOME to a folder on another disk."
    elif verb == "write":
        hint = "Set HOLOTYPE_HOME to a folder that you may write to."
    else:
        hint = None
    stored = StoreError(f"cannot {verb} {path}: {error.strerror or error}.", given=str(path), hint=hint)
    stored.errno = error.errno
    return stored
