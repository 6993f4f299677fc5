"""A file that is opened once: what is checked, hashed and mapped is one file, whatever its name becomes."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from holotype.errors import CheckpointError, VerificationError
from holotype.files import sha256_of

_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class OpenedFile:
    """An open file.

    Args:
        path: its path; links are followed.
        descriptor: an open descriptor to use instead, closed in the end; the path is for messages then.

    Raises:
        CheckpointError: it cannot be read, or is not an ordinary file (a folder, a pipe, a device).
    """

    def __init__(self, path: str | Path, descriptor: int | None = None) -> None:
        self.path = Path(path)
        try:
            self.descriptor = os.open(self.path, _OPEN) if descriptor is None else descriptor
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise CheckpointError(f"{self.path} cannot be read: {reason}.", given=str(path)) from error
        self._looked = os.fstat(self.descriptor)
        if not stat.S_ISREG(self._looked.st_mode):
            os.close(self.descriptor)
            reason = (
                os.strerror(errno.EISDIR)
                if stat.S_ISDIR(self._looked.st_mode)
                else "it is not an ordinary file"
            )
            raise CheckpointError(f"{self.path} cannot be read: {reason}.", given=str(path))

    def __enter__(self) -> OpenedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.descriptor)

    @property
    def size(self) -> int:
        """In bytes."""
        return self._looked.st_size

    @property
    def handle(self) -> str:
        """A path that opens this very file, even after its name was given to another one."""
        by_number = f"/proc/self/fd/{self.descriptor}"
        try:
            if os.path.samestat(os.stat(by_number), self._looked):  # noqa: PTH116  # may be missing
                return by_number
        except OSError:
            pass
        return str(self.path)  # no such folder here; `check_same` notices a change

    def open(self) -> BinaryIO:
        """A reader of its own, at the start. All readers share one position: use one at a time."""
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        return open(os.dup(self.descriptor), "rb")  # noqa: PTH123  # a descriptor, not a path

    def sha256(self) -> str:
        """Its hash, of all its bytes."""
        with self.open() as file:
            return sha256_of(file)

    def check_sha256(self, sha256: str) -> None:
        """Refuse it unless it has this hash.

        Raises:
            VerificationError: it has another one.
        """
        got = self.sha256()
        if got != sha256.lower():
            raise VerificationError(
                f"{self.path} is not the file that was published: its sha256 is {got}, not {sha256.lower()}.",
                given=str(self.path),
            )

    def check_same(self) -> None:
        """Refuse it if it was written to, or replaced under its name where only the name could be used.

        Raises:
            CheckpointError: it was.
        """
        looks = [os.fstat(self.descriptor)]
        if self.handle == str(self.path):
            try:
                looks.append(self.path.stat())
            except OSError as error:
                raise self._changed() from error
        for looked in looks:
            if _identity(looked) != _identity(self._looked):
                raise self._changed()

    def _changed(self) -> CheckpointError:
        return CheckpointError(
            f"{self.path} changed while it was read.",
            given=str(self.path),
            hint="Try again once it is written.",
        )


def _identity(looked: os.stat_result) -> tuple[int, ...]:
    # Not the ctime: another process may give the file a second name meanwhile.
    return looked.st_dev, looked.st_ino, looked.st_size, looked.st_mtime_ns


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without its full stop; the error's type if it has no text."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".")[:200] if lines else type(error).__name__
