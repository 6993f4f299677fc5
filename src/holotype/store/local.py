"""Copying a file of this machine into the store."""

from __future__ import annotations

import errno
import os
import stat

from holotype.errors import FetchError, HolotypeError
from holotype.store.incoming import Incoming
from holotype.store.sources import FileSource

_CHUNK = 2**20


def receive(source: FileSource, incoming: Incoming, **options: object) -> None:
    """Write a file to `incoming`; there is nothing to wait for, so no option counts.

    Raises:
        FetchError: it cannot be read, or is not an ordinary file.
    """
    try:
        # A pipe in the place of a file would block; opened this way it is recognised.
        descriptor = os.open(
            source.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        )
        looked = os.fstat(descriptor)
        if not stat.S_ISREG(looked.st_mode):
            os.close(descriptor)
            raise IsADirectoryError(errno.EISDIR, "it is not an ordinary file")
        with open(descriptor, "rb") as file:  # noqa: PTH123  # a descriptor, not a path
            incoming.begin(looked.st_size)
            while chunk := file.read(_CHUNK):
                incoming.write(chunk)
    except HolotypeError:
        raise  # the incoming side's own: the disk, or the check
    except OSError as error:
        raise FetchError(
            f"{source.shown} cannot be read: {error.strerror or error}.", given=source.address
        ) from error
