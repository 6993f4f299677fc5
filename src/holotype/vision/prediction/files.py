"""The images that files, folders and globs stand for, decoded ahead of the network; and pictures to write."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from glob import glob, has_magic
from itertools import islice
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from holotype.errors import DataError, ImageError, ParameterError
from holotype.files import check_new, writing
from holotype.vision.data.decode import AnyPath, image_extensions

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "FoundImages",
    "Progress",
    "Unreadable",
    "check_apart",
    "decoded",
    "find_images",
    "listed_paths",
    "picture_paths",
    "save_picture",
]

_THREADS = 8

Progress = Callable[[str, int, int], None]
"""Called with what is done, how many of them, and of how many."""
Key = TypeVar("Key")
Value = TypeVar("Value")


class Unreadable(NamedTuple):
    """A file that is no picture, or a damaged one, and why."""

    path: str
    reason: str


class FoundImages(NamedTuple):
    """What files, folders and globs stand for.

    Attributes:
        files: each file once, those of a folder sorted.
        skipped: what else is in the folders, or matches a glob: other files, and hidden ones.
    """

    files: tuple[str, ...]
    skipped: tuple[str, ...] = ()


def listed_paths(paths: AnyPath | Iterable[AnyPath]) -> list[str]:
    """One path or several, as text."""
    return [fspath(path) for path in ([paths] if isinstance(paths, (str, PathLike)) else paths)]


def find_images(paths: AnyPath | Iterable[AnyPath]) -> FoundImages:
    """The pictures that paths stand for.

    A file is taken whatever its name, even if it does not exist: reading it raises the error. Of a folder and
    the folders in it, the files are taken whose ending is that of a picture; so are those that match a glob.

    Args:
        paths: files, folders, globs such as ``"photos/**/*.jpg"``; one or several.

    Raises:
        DataError: a folder without pictures, or one that may not be read; or a glob that matches none.
    """
    files: dict[str, None] = {}
    skipped: dict[str, None] = {}
    for path in listed_paths(paths):
        if not path:  # the shell's variable was empty; as a path it would be the current folder
            raise DataError("a path of an image is empty.", given=path)
        folder = Path(path).is_dir()
        if folder:
            inside = _inside(path)
        elif has_magic(path) and not os.path.lexists(path):
            matches = sorted(glob(path, recursive=True))  # noqa: PTH207  # names stay as they were given
            inside = [
                one for match in matches for one in (_inside(match) if Path(match).is_dir() else [match])
            ]
        else:
            files[path] = None
            continue
        taken = [one for one in inside if _is_picture(one)]
        if not taken:
            what = "there is no picture in this folder" if folder else "no picture matches"
            others = f" ({len(inside):,} other files)" if inside else ""
            raise DataError(
                f"{path}: {what}{others}.",
                given=path,
                hint="Files that end in .jpg .png .webp .tif and the like are taken for pictures.",
            )
        files.update(dict.fromkeys(taken))
        skipped.update(dict.fromkeys(one for one in inside if not _is_picture(one)))
    return FoundImages(tuple(files), tuple(one for one in skipped if one not in files))


def _inside(folder: str) -> list[str]:
    """All files of a folder and of those in it, sorted; a folder that is linked to is entered once."""
    found: list[str] = []
    seen: set[str] = set()

    def refuse(error: OSError) -> None:  # not passed by in silence: pictures may be in there
        reason = error.strerror or error
        raise DataError(f"{error.filename} cannot be read: {reason}.", given=str(error.filename)) from error

    for inner, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(inner)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        found += [os.path.join(inner, name) for name in names]  # noqa: PTH118  # as the folder was given
    return sorted(found)


def _is_picture(path: str) -> bool:
    # `._photo.jpg` is what macOS writes beside `photo.jpg`: no picture.
    name = Path(path)
    return name.suffix.lower() in image_extensions() and not name.name.startswith(".")


def decoded(
    files: Sequence[Key],
    read: Callable[[Key], Value],
    *,
    batch_size: int,
    unreadable: list[Unreadable] | None = None,
) -> Iterator[list[tuple[Key, Value]]]:
    """Batches of what was read from files, in their order; threads read two batches ahead.

    Args:
        files: what to read: paths, or whatever `read` takes.
        read: a file → anything; called in threads.
        batch_size: how many at once; the last batch may be smaller.
        unreadable: where to note what cannot be read; None to stop there.

    Raises:
        ImageError: a file cannot be read, and `unreadable` is None.
        ParameterError: `batch_size` is no positive number.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ParameterError(f"batch_size is a whole number from 1, got {batch_size!r}.", given=batch_size)
    return _decoded(files, read, batch_size, unreadable)


def _decoded(
    files: Sequence[Key],
    read: Callable[[Key], Value],
    batch_size: int,
    unreadable: list[Unreadable] | None,
) -> Iterator[list[tuple[Key, Value]]]:
    rest = iter(files)
    waiting: deque[tuple[Key, Future[Value]]] = deque()
    batch: list[tuple[Key, Value]] = []
    pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), thread_name_prefix="pictures")
    try:
        while True:
            room = 2 * batch_size - len(waiting)
            waiting.extend((path, pool.submit(read, path)) for path in islice(rest, room))
            if not waiting:
                break
            path, future = waiting.popleft()
            try:
                batch.append((path, future.result()))
            except ImageError as error:
                if unreadable is None:
                    raise
                unreadable.append(Unreadable(str(path), str(error).splitlines()[0]))
            if len(batch) == batch_size:
                yield batch
                batch = []
        if batch:
            yield batch
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def picture_paths(files: Sequence[str], folder: str | Path, *, overwrite: bool = False) -> dict[str, Path]:
    """Where to write a picture for each file: under its own name, in the folders that it is in.

    Args:
        files: what the pictures are made from.
        folder: where they go; made when the first is written.
        overwrite: replace pictures that are there.

    Returns:
        For each file a path: ``.jpg`` for a JPEG, else ``.png``.

    Raises:
        DataError: one is there already, or is a file that is read.
    """
    if not files:
        return {}
    parents = [Path(os.path.normpath(Path(file).absolute())).parent for file in files]
    common = os.path.commonpath(parents)
    found: dict[str, Path] = {}
    taken: set[Path] = set()
    for file, parent in zip(files, parents, strict=True):
        name = Path(file)
        ending = ".jpg" if name.suffix.lower() in (".jpg", ".jpeg", ".jpe", ".jfif") else ".png"
        place = Path(folder) / parent.relative_to(common)
        target = place / f"{name.stem}{ending}"
        if target in taken:  # `a.png` beside `a.gif`
            target = place / f"{name.name}{ending}"
        taken.add(target)
        found[file] = target
    if Path(folder).exists() and not Path(folder).is_dir():
        raise DataError(
            f"{folder} is not a folder, so no pictures can be written into it.", given=str(folder)
        )
    check_apart(found)
    check_new(*found.values(), overwrite=overwrite)
    return found


def check_apart(places: Mapping[str, Path]) -> None:
    """Refuse to draw over what is read.

    Raises:
        DataError: a picture would replace one of the files.
    """
    sources = {os.path.realpath(file) for file in places}
    for file, target in places.items():
        if os.path.realpath(target) in sources:
            raise DataError(
                f"{target} is a picture that is read, and would be replaced by what is drawn for {file}.",
                given=str(target),
                hint="Name another place for what is drawn.",
            )


def enlarged(image: Image, times: int) -> Image:
    """A picture with `times` times as many pixels a side, each of them a square."""
    from PIL import Image as pillow  # noqa: N813  # a module

    if times == 1:
        return image
    return image.resize((image.width * times, image.height * times), pillow.Resampling.NEAREST)


def save_picture(image: Image, path: Path) -> None:
    """Write a picture completely or not at all, and the folders that it lies in."""
    kind = "JPEG" if path.suffix.lower() in (".jpg", ".jpeg") else "PNG"
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path) as file:
        image.save(file, format=kind, **({"quality": 92} if kind == "JPEG" else {}))
