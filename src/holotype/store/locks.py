"""One download among many processes. A lock saves bandwidth; nothing here is needed to be correct."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: everybody downloads, and the first to finish wins
    fcntl = None  # type: ignore[assignment]

_POLL_S = 0.1


@contextlib.contextmanager
def at_most_one(path: Path, *, give_up: Callable[[], bool]) -> Iterator[bool]:
    """Wait for a lock; the ``with`` block runs in any case.

    The kernel drops the lock of a process that dies. One that lives and hangs is what `give_up` is for.

    Args:
        path: the lock's file.
        give_up: asked now and then while another process holds the lock; True ends the waiting.

    Yields:
        True if the lock is held.
    """
    descriptor = None
    held = False
    try:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        while descriptor is not None and not held:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = True
            except BlockingIOError:
                if give_up():
                    break
                time.sleep(_POLL_S)
            except OSError:
                break  # a file system without locks
        yield held
    finally:
        if held:
            # Whoever waits on the removed file and whoever makes a new one may now download
            # together; that costs bandwidth, once, and keeps the folder from filling up.
            with contextlib.suppress(OSError):
                path.unlink()
        if descriptor is not None:
            os.close(descriptor)


def no_growth(folder: Path, prefix: str, patience_s: float) -> Callable[[], bool]:
    """A predicate: has no file of `folder` whose name starts with `prefix` changed for so long?"""
    last: tuple[object, ...] = ()
    since = time.monotonic()

    def stalled() -> bool:
        nonlocal last, since
        seen = []
        with contextlib.suppress(OSError):
            for entry in os.scandir(folder):
                if entry.name.startswith(prefix):
                    looked = entry.stat(follow_symlinks=False)
                    seen.append((entry.name, looked.st_size, looked.st_mtime_ns))
        now = tuple(sorted(seen))
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > patience_s

    return stalled


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file until it is closed: False if another process holds it, None without locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def is_held(path: Path) -> bool:
    """Does a living process hold the lock of this file? False on systems without locks."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return False
    try:
        return try_lock(descriptor) is False
    finally:
        os.close(descriptor)
