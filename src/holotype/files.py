"""Files as a whole: written so that a crash leaves the old one or the new one, and hashed."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the block ends without an error.

    Raises:
        OSError: it cannot be written; `path` is as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_file(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a file wholly, or not at all; see `replacing`."""
    with replacing(path) as file:
        file.write(content)
    return Path(path)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The hash of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
