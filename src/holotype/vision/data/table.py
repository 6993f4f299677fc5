"""One part of an image dataset: its images, opened one at a time, and what is known of each.

A table holds names and targets; a *source* holds the images themselves: files, members of archives, or
pixels in memory. Both can be pickled, for worker processes, and read from several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from os import cpu_count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from holotype.files import sha256_of, sha256_of_parts
from holotype.vision.data.decode import decode

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "FileSource",
    "Found",
    "ImageSource",
    "ImageTable",
    "LabelledBoxes",
    "PixelSource",
    "content_hash",
    "in_threads",
]

T = TypeVar("T")
R = TypeVar("R")


class LabelledBoxes(NamedTuple):
    """What is to be found in one image.

    Attributes:
        boxes: (n, 4) float32, x1 y1 x2 y2 in pixels of the original image.
        labels: (n,) int64, classes.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


class ImageSource(Protocol):
    """Where the images of a table are."""

    def content(self, at: int) -> Path | bytes | NDArray[np.uint8]:
        """A file, the bytes of one, or (height, width) grey pixels."""

    def select(self, indices: Sequence[int]) -> ImageSource:
        """Some of them, in this order."""


@dataclass(frozen=True, eq=False)
class ImageTable:
    """One part of an image dataset.

    Attributes:
        names: of the images, unique; never used as paths.
        source: the images.
        labels: (n,) int64 class of each, or None where nothing is labelled with one class.
        boxes: of each image, or None where nothing is labelled with boxes.
        digest: sha256 over names, sizes, contents and targets.
        hashes: sha256 of each image's content, or None where there is too much of it.
        sizes: (width, height) of each image as its annotations say, or None.
    """

    names: tuple[str, ...]
    source: ImageSource
    labels: NDArray[np.int64] | None = None
    boxes: tuple[LabelledBoxes, ...] | None = None
    digest: str = ""
    hashes: tuple[bytes, ...] | None = field(default=None, repr=False)
    sizes: tuple[tuple[int, int], ...] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"<ImageTable: {len(self):,} images, {self.kind}>"

    @property
    def kind(self) -> str:
        """``"classes"``, ``"boxes"`` or ``"unlabelled"``."""
        return "boxes" if self.boxes is not None else "unlabelled" if self.labels is None else "classes"

    def open(self, at: int) -> Image:
        """One image, 8-bit RGB, the right way up.

        Raises:
            ImageError: it cannot be read; the message names it.
            IndexError: `at` is out of range.
        """
        return self.decode(at)[0]

    def decode(self, at: int, *, at_least: tuple[int, int] | None = None) -> tuple[Image, tuple[int, int]]:
        """One image, made smaller while it is decoded where its format allows that (JPEG).

        Args:
            at: which one.
            at_least: (height, width) that the result must not go below.

        Returns:
            The image, and the (width, height) that it has without `at_least`.

        Raises:
            ImageError: it cannot be read; the message names it.
        """
        at = self._index(at)
        content = self.source.content(at)
        name = str(content) if isinstance(content, Path) else self.names[at]
        return decode(content, name, at_least=at_least, stored=self.sizes[at] if self.sizes else None)

    def target(self, at: int) -> int | LabelledBoxes | None:
        """The class of an image, its boxes, or None where it has neither."""
        at = self._index(at)
        if self.boxes is not None:
            return self.boxes[at]
        return None if self.labels is None else int(self.labels[at])

    def select(self, indices: Iterable[int]) -> ImageTable:
        """Some of the images, in this order. The digest is left out."""
        chosen = [self._index(at) for at in indices]
        return replace(
            self,
            names=tuple(self.names[at] for at in chosen),
            source=self.source.select(chosen),
            labels=None if self.labels is None else self.labels[chosen],
            boxes=None if self.boxes is None else tuple(self.boxes[at] for at in chosen),
            hashes=None if self.hashes is None else tuple(self.hashes[at] for at in chosen),
            sizes=None if self.sizes is None else tuple(self.sizes[at] for at in chosen),
            digest="",
        )

    def _index(self, at: int) -> int:
        if not -len(self) <= at < len(self):
            raise IndexError(f"image {at} of {len(self)}")
        return at % len(self)


@dataclass
class Found:
    """What a folder, archive, list or annotation file was found to hold, before its labels are numbered.

    Attributes:
        where: what messages call it.
        names: of the images, unique.
        source: the images.
        sizes_bytes: of each image's content.
        labels: the class name of each, or None.
        classes: all class names in their order, where the place itself says so.
        boxes: of each image, with labels that are positions in `classes`; or None.
        sizes: (width, height) of each, where annotations say so.
        pinned: what else its digest is made of: sha256 of annotations or of archives.
        closed: do the classes have to be the same in every part?
        notes: what was left out, in plain words.
    """

    where: str
    names: list[str]
    source: ImageSource
    sizes_bytes: list[int]
    labels: list[str] | None = None
    classes: tuple[str, ...] | None = None
    boxes: list[LabelledBoxes] | None = None
    sizes: list[tuple[int, int]] | None = None
    pinned: list[str] = field(default_factory=list)
    closed: bool = False
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class FileSource:
    """Images that are files."""

    paths: tuple[str, ...]

    def content(self, at: int) -> Path:
        """The file."""
        return Path(self.paths[at])

    def select(self, indices: Sequence[int]) -> FileSource:
        """Some of them."""
        return FileSource(tuple(self.paths[at] for at in indices))


@dataclass(frozen=True, eq=False)
class PixelSource:
    """Images in memory: (n, height, width) grey, 0 … 255."""

    pixels: NDArray[np.uint8]

    def content(self, at: int) -> NDArray[np.uint8]:
        """(height, width) pixels."""
        pixels: NDArray[np.uint8] = self.pixels[at]
        return pixels

    def select(self, indices: Sequence[int]) -> PixelSource:
        """Some of them."""
        return PixelSource(self.pixels[list(indices)])


def content_hash(content: Path | bytes | NDArray[np.uint8]) -> bytes:
    """The sha256 of an image's content, 32 bytes."""
    if isinstance(content, Path):
        return bytes.fromhex(sha256_of(content))
    return bytes.fromhex(sha256_of_parts(content if isinstance(content, bytes) else content.tobytes()))


def in_threads(function: Callable[[T], R], values: Iterable[T]) -> list[R]:
    """A function of each value, several at a time; what it raises is raised here."""
    with ThreadPoolExecutor(min(8, (cpu_count() or 1) + 1)) as pool:
        return list(pool.map(function, values))
