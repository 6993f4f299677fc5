"""What holds the files of a store: a folder, or whatever else can do these three things."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol


class Opened(NamedTuple):
    """A file that is being read: the size of the whole file in bytes, and the bytes that were asked for."""

    size: int
    chunks: Iterator[bytes]


class Backend(Protocol):
    """The files of a store, by keys such as ``blobs/sha256/ab/<64 hex>``.

    A new kind is a class with these methods and a row in `holotype.store.sources.BACKENDS`.
    """

    def get(self, key: str, start: int = 0, stop: int | None = None) -> AbstractContextManager[Opened]:
        """Open a file, from the byte `start` to before the byte `stop` (its end if None).

        Raises:
            FetchError: it does not exist, or cannot be read.
        """

    def put_if_absent(self, key: str, file: Path) -> bool:
        """Store a file unless the key is taken; False if it is. Of many who try at once, one succeeds.

        Args:
            key: its key from now on.
            file: complete and durable. Its own name is gone afterwards, even if the key is taken.

        Raises:
            StoreError: it cannot be stored.
        """

    def list(self, prefix: str = "") -> Iterator[str]:
        """The keys that start with `prefix`, sorted.

        Raises:
            StoreError: they cannot be listed.
        """
