"""Images that are files: folders with a subfolder for each class, and lists (CSV, TSV) of paths and labels.

::

    images/cat/1.jpg                     path,label
    images/cat/more/2.png                images/1.jpg,cat
    images/dog/3.jpg                     ../elsewhere/3.jpg,dog
"""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from holotype.errors import DataError
from holotype.names import nearest
from holotype.text import SHOWN, bulleted, counted, listed
from holotype.vision.data.decode import image_extensions
from holotype.vision.data.table import FileSource, Found

__all__ = ["LIST_ENDINGS", "parts_of", "read_folder", "read_list"]

LIST_ENDINGS = (".csv", ".tsv")
_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
_PATHS = ("path", "file", "filename", "file_name", "image", "image_path", "name")
_LABELS = ("label", "class", "class_name", "target", "category")


def parts_of(folder: Path) -> dict[str, Path]:
    """The parts that a folder is divided into, if it has subfolders such as ``train`` and ``val``.

    Raises:
        DataError: two subfolders for one part, or the folder cannot be read.
    """
    there = {path.name.lower(): path for path in _subfolders(folder)}
    found: dict[str, Path] = {}
    for part, names in _FOLDERS.items():
        hits = [there[name] for name in names if name in there]
        if len(hits) > 1:
            raise DataError(
                f"{folder}: both {hits[0].name} and {hits[1].name} look like its {part} part.",
                given=str(folder),
                hint="Name the parts: {train: DIR, val: DIR, test: DIR}.",
            )
        if hits:
            found[part] = hits[0]
    # A folder of one class named 'test' would be no part of anything.
    return found if "train" in found and (len(found) > 1 or len(there) == 1) else {}


def has_classes(folder: Path) -> bool:
    """Has it subfolders, which `read_folder` takes for classes?

    Raises:
        DataError: it cannot be read.
    """
    return bool(_subfolders(folder))


def read_folder(folder: Path, *, root: Path | None = None) -> Found:
    """The images of a folder; its first-level subfolders are the classes, in the order of their names.

    Without subfolders the images are unlabelled. Images may lie deeper than their class's folder. Names that
    begin with a dot are not looked at; links are followed.

    Raises:
        DataError: it cannot be read, or has no image, or a class of it has none.
    """
    subfolders = _subfolders(folder)
    walk = _Walk(folder)
    if not subfolders:
        files = sorted(walk.files(folder, deep=False))
        return _found(folder, files, None, None, walk.notes())
    files, labels = [], []
    empty = []
    for sub in subfolders:
        inside = sorted(walk.files(sub, deep=True))
        if not inside:
            empty.append(sub.name)
        files += inside
        labels += [sub.name] * len(inside)
    loose = sum(1 for _ in _Walk(folder).files(folder, deep=False))
    notes = walk.notes()
    if loose:
        notes.append(f"{folder}: {counted(loose, 'image')} beside the class folders left out")
    if empty and files:
        raise DataError(
            f"{folder}: no image in {listed(empty)}.",
            given=str(folder),
            problems=[f"{name}: no image" for name in empty],
            hint="Each subfolder is a class; remove those that are none.",
        )
    return _found(folder, files, labels, tuple(sub.name for sub in subfolders), notes)


def read_list(path: Path) -> Found:
    """The images of a list: a column of paths, from the list's own folder on, and perhaps one of labels.

    A first line such as ``path,label`` names the columns; without one, the first column holds the paths and
    the second the labels.

    Raises:
        DataError: it cannot be read, or names files that are not there, or one file with two labels.
    """
    rows, at_path, at_label = _rows(path)
    labels: dict[str, str | None] = {}
    notes, problems = [], []
    repeats = 0
    for line, row in rows:
        name = row[at_path].strip() if at_path < len(row) else ""
        label = row[at_label].strip() if at_label is not None and at_label < len(row) else None
        if not name or "\0" in name:
            problems.append(f"line {line}: no path")
        elif at_label is not None and not label:
            problems.append(f"line {line}: no label")
        elif name not in labels:
            labels[name] = label
        elif labels[name] != label:
            problems.append(f"line {line}: {name} is {label!r} here and {labels[name]!r} before")
        else:
            repeats += 1
    _refuse(path, problems)
    if repeats:
        notes.append(f"{path.name}: {counted(repeats, 'line')} repeated, counted once")
    names = list(labels)
    sizes, missing = [], []
    for name in names:
        size = _size(path.parent / name)
        if size is None:
            missing.append(name)
        sizes.append(size or 0)
    if missing:
        raise DataError(
            f"{path}: {len(missing):,} of {len(names):,} files do not exist: {listed(missing)}.",
            given=str(path),
            problems=missing,
            hint=f"Paths start from {path.parent}.",
        )
    if not names:
        raise DataError(f"{path} lists no image.", given=str(path))
    _refuse_empty(path, names, sizes)
    return Found(
        where=str(path),
        names=names,
        source=FileSource(tuple(str(path.parent / name) for name in names)),
        sizes_bytes=sizes,
        labels=None if at_label is None else [str(labels[name]) for name in names],
        notes=notes,
    )


def _rows(path: Path) -> tuple[list[tuple[int, list[str]]], int, int | None]:
    """The lines of a list with their numbers, and which columns hold paths and labels."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
            rows = [(reader.line_num, row) for row in reader if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read as a list of images: {reason}.", given=str(path)) from error
    if not rows:
        raise DataError(f"{path} lists no image.", given=str(path))
    head = [cell.strip().lower() for cell in rows[0][1]]
    at_path = next((head.index(one) for one in _PATHS if one in head), None)
    at_label = next((head.index(one) for one in _LABELS if one in head), None)
    if at_path is not None and (at_label is not None or len(head) == 1):
        return rows[1:], at_path, at_label
    width = len(head)
    if width > 2:
        raise DataError(
            f"{path}: {width} columns, and no first line that says which are the paths and the labels.",
            given=str(path),
            nearest=nearest("path", head),
            hint="Begin it with: path,label",
        )
    return rows, 0, 1 if width == 2 else None


class _Walk:
    """Looks for images, and counts other files.

    Attributes:
        others: endings of files that are not images -> how many.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.others: dict[str, int] = {}

    def files(
        self, folder: Path, *, deep: bool, above: frozenset[tuple[int, int]] = frozenset()
    ) -> Iterator[str]:
        """Paths of the images in a folder, relative to the root."""
        known = image_extensions()
        above |= {_identity(folder)}
        folders = []
        for entry in _entries(folder):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if deep:
                    folders.append(Path(entry.path))
            elif os.path.splitext(entry.name)[1].lower() in known:  # noqa: PTH122  # for a million names
                yield os.path.relpath(entry.path, self.root)
            else:
                ending = os.path.splitext(entry.name)[1].lower() or "without ending"  # noqa: PTH122
                self.others[ending] = self.others.get(ending, 0) + 1
        for sub in folders:
            if _identity(sub) not in above:  # a link to a folder that it lies in
                yield from self.files(sub, deep=True, above=above)

    def notes(self) -> list[str]:
        if not self.others:
            return []
        kinds = ", ".join(f"{ending} {count:,}" for ending, count in sorted(self.others.items()))
        return [
            f"{self.root}: {counted(sum(self.others.values()), 'file')} left out that are not images: {kinds}"
        ]


def _found(
    folder: Path,
    files: list[str],
    labels: list[str] | None,
    classes: tuple[str, ...] | None,
    notes: list[str],
) -> Found:
    if not files:
        raise DataError(
            f"{folder} holds no image.",
            given=str(folder),
            hint="Images lie in one subfolder for each class, or, unlabelled, in the folder itself.",
        )
    paths = [folder / name for name in files]
    sizes = [_size(path) for path in paths]
    gone = [name for name, size in zip(files, sizes, strict=True) if size is None]
    if gone:
        raise DataError(f"{folder}: {listed(gone)} cannot be read.", given=str(folder), problems=gone)
    known = [size or 0 for size in sizes]
    _refuse_empty(folder, files, known)
    return Found(
        where=str(folder),
        names=[Path(name).as_posix() for name in files],
        source=FileSource(tuple(str(path) for path in paths)),
        sizes_bytes=known,
        labels=labels,
        classes=classes,
        closed=classes is not None,
        notes=notes,
    )


def _subfolders(folder: Path) -> list[Path]:
    return sorted(
        (
            Path(entry.path)
            for entry in _entries(folder)
            if entry.is_dir() and not entry.name.startswith((".", "__MACOSX"))
        ),
        key=lambda path: path.name,
    )


def _identity(folder: Path) -> tuple[int, int]:
    what = folder.stat()
    return what.st_dev, what.st_ino


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        there = [path.name for path in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise DataError(
            f"{folder} cannot be read as a folder of images: {error.strerror or error}.",
            given=str(folder),
            nearest=nearest(folder.name, there),
        ) from error


def _size(path: Path) -> int | None:
    """In bytes; None if it is not a file."""
    try:
        what = path.stat()
    except (OSError, ValueError):
        return None
    return what.st_size if stat.S_ISREG(what.st_mode) else None


def _refuse_empty(where: Path, names: list[str], sizes: list[int]) -> None:
    empty = [name for name, size in zip(names, sizes, strict=True) if size == 0]
    if empty:
        raise DataError(
            f"{where}: {counted(len(empty), 'image')} of 0 bytes: {listed(empty)}.",
            given=str(where),
            problems=empty,
        )


def _refuse(where: Path, problems: list[str]) -> None:
    if problems:
        lines = bulleted(problems, SHOWN)
        raise DataError(f"{where} cannot be used:\n{lines}", given=str(where), problems=problems)
