"""Files as a whole: written completely or not at all, never replaced unasked, and hashed."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from holotype.errors import DataError, HolotypeError
from holotype.names import nearest

AnyPath = str | os.PathLike[str]


@contextmanager
def writing_path(
    path: AnyPath, *, overwrite: bool = True, error: type[HolotypeError] | None = None
) -> Iterator[Path]:
    """A temporary path beside `path`, for a writer that opens files itself; it becomes `path` at the end.

    The block must create the file. It is flushed to the disk before it gets its name.

    Args:
        path: the file to write.
        overwrite: replace a file that exists; otherwise refuse it, also if it appears meanwhile.
        error: what to raise, instead of OSError, if the disk refuses; a refusal to overwrite raises it too
            (by default DataError).

    Raises:
        DataError: or `error`: `path` exists and `overwrite` is False.
        OSError: or `error`: it cannot be written; its `filename` is `path`, and `path` is as it was.
    """
    path = Path(path)
    refusal = error or DataError
    check_new(path, overwrite=overwrite, error=refusal)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        _give_name(temporary, path, overwrite=overwrite, error=refusal)
    except OSError as problem:
        if isinstance(problem, HolotypeError):
            raise
        if error is not None:
            raise error(
                f"{path} cannot be written: {problem.strerror or problem}.", given=str(path)
            ) from problem
        raise OSError(problem.errno, problem.strerror or str(problem), str(path)) from problem
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(
    path: AnyPath, *, overwrite: bool = True, error: type[HolotypeError] | None = None
) -> Iterator[BinaryIO]:
    """A file to write to, which becomes `path` when the block ends without an error; see `writing_path`."""
    with writing_path(path, overwrite=overwrite, error=error) as temporary, temporary.open("xb") as file:
        yield file


def write_file(
    path: AnyPath, content: bytes, *, overwrite: bool = True, error: type[HolotypeError] | None = None
) -> Path:
    """Write a file wholly, or not at all; see `writing_path`."""
    with writing(path, overwrite=overwrite, error=error) as file:
        file.write(content)
    return Path(path)


def check_new(*paths: AnyPath, overwrite: bool = False, error: type[HolotypeError] = DataError) -> None:
    """Refuse files that exist, and folders under their names.

    Raises:
        DataError: or `error`: the first of them exists and `overwrite` is False, or is a folder.
    """
    for path in map(Path, paths):
        if path.is_dir():
            raise error(f"{path} is a folder.", given=str(path), hint="Name a file in it.")
        if not overwrite and os.path.lexists(path):  # a broken link is taken, too
            raise error(
                f"{path} exists already.",
                given=str(path),
                hint="Choose another name, or replace it: --overwrite (in Python: overwrite=True).",
            )


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, unless it exists.

    Raises:
        DataError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be made: {error.strerror or error}.", given=str(folder)) from error


def unreadable(path: AnyPath, problem: OSError) -> DataError:
    """The error for a file that cannot be read; where it does not exist, with the nearest names beside it."""
    path = Path(path)
    there: list[str] = []
    if isinstance(problem, FileNotFoundError) and path.parent.is_dir():
        there = [str(other) for other in path.parent.iterdir() if other.is_file()]
    return DataError(
        f"{path} cannot be read: {problem.strerror or problem}.",
        given=str(path),
        nearest=nearest(str(path), there),
    )


def sha256_of(file: AnyPath | BinaryIO) -> str:
    """The SHA-256 of a file's content, in hexadecimal; an open file is read from where it stands."""
    if isinstance(file, str | os.PathLike):
        with Path(file).open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # it only has to be readable


def sha256_of_parts(*parts: str | bytes) -> str:
    """The SHA-256 of texts (as UTF-8) and bytes, one after the other, in hexadecimal."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part)
    return digest.hexdigest()


def _give_name(temporary: Path, path: Path, *, overwrite: bool, error: type[HolotypeError]) -> None:
    if overwrite:
        temporary.replace(path)
        return
    try:
        path.hardlink_to(temporary)  # fails if another process took the name meanwhile
    except FileExistsError:
        check_new(path, error=error)
        raise
    except (OSError, NotImplementedError):  # no hard links here
        check_new(path, error=error)
        temporary.replace(path)
