"""One part of an image dataset: its images, opened one at a time, and what is known of each.

A table holds names and targets; a *source* holds the images themselves: files, members of archives, or
pixels in memory. Both can be pickled, for worker processes, and read from several threads at once.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from os import cpu_count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from holotype.errors import HolotypeError, ImageError
from holotype.extras import missing_extra

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "FileSource",
    "Found",
    "ImageSource",
    "ImageTable",
    "LabelledBoxes",
    "PixelSource",
    "decode",
    "image_extensions",
    "in_threads",
    "readable_formats",
    "sha256_of",
]

T = TypeVar("T")
R = TypeVar("R")

# Formats that Pillow hands to another program, or only names.
_NOT_READ = frozenset({"EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5", "FITS", "PDF"})


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
            IndexError: there is no such image.
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


def decode(
    content: Path | bytes | NDArray[np.uint8],
    name: str,
    *,
    at_least: tuple[int, int] | None = None,
    stored: tuple[int, int] | None = None,
) -> tuple[Image, tuple[int, int]]:
    """Decode one image.

    Args:
        content: a file, the bytes of one, or grey pixels.
        name: what messages call it.
        at_least: (height, width): a JPEG is decoded at an eighth, a quarter or half of its size if the
            result does not go below this.
        stored: the (width, height) that annotations speak of. An image that has it before, and not after, it
            is turned as its EXIF data says is left as it is stored.

    Returns:
        8-bit RGB, and the (width, height) of the undiminished image.

    Raises:
        ImageError: it cannot be read, or is not of the size that it should be.
    """
    pillow = _pillow()
    if isinstance(content, np.ndarray):
        grey = pillow.frombytes("L", content.shape[::-1], np.ascontiguousarray(content).tobytes())
        return grey.convert("RGB"), grey.size
    from holotype.vision.data.pictures import open_image

    try:
        file = io.BytesIO(content) if isinstance(content, bytes) else content
        with pillow.open(file, formats=readable_formats()) as opened:
            whole = opened.size
            turned = opened.format in ("JPEG", "TIFF", "PNG", "WEBP", "MPO") and (
                opened.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            )
            as_stored = stored is not None and whole == stored and turned and whole[0] != whole[1]
            upright = whole[::-1] if turned and not as_stored else whole
            if stored is not None and upright != stored:
                raise ImageError(
                    f"{name} has {upright[0]} x {upright[1]} pixels; its annotations are for "
                    f"{stored[0]} x {stored[1]}.",
                    given=name,
                )
            if at_least is not None and opened.format in ("JPEG", "MPO"):
                height, width = at_least
                opened.draft(None, (height, width) if turned and not as_stored else (width, height))
            if as_stored:
                opened.load()
                opened.getexif().pop(0x0112, None)
                opened.info.pop("exif", None)
            return open_image(opened), upright
    except ImageError as error:
        if str(error).startswith(name):
            raise
        raise ImageError(f"{name}: {error}", given=name) from error
    except HolotypeError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{name}: there is no such file.", given=name) from error
    except PermissionError as error:
        raise ImageError(f"{name} may not be read.", given=name) from error
    except pillow.UnidentifiedImageError as error:
        raise ImageError(f"{name} is not a picture of any format that is read here.", given=name) from error
    except Exception as error:  # on damaged files decoders raise whatever they stumble over
        reason = str(error) or type(error).__name__
        raise ImageError(f"{name} is damaged or cannot be decoded: {reason}", given=name) from error


@lru_cache(maxsize=1)
def image_extensions() -> frozenset[str]:
    """The endings of files that are read as images, such as ``".jpg"``."""
    pillow = _pillow()
    known = pillow.registered_extensions().items()
    return frozenset(end for end, kind in known if kind in pillow.OPEN and kind not in _NOT_READ)


@lru_cache(maxsize=1)
def readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read, such as ``"JPEG"``: none that runs another program."""
    pillow = _pillow()
    pillow.init()
    return tuple(kind for kind in pillow.OPEN if kind not in _NOT_READ)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise missing_extra(error, "reading pictures") or error from error
    return Image


def sha256_of(content: Path | bytes | NDArray[np.uint8]) -> bytes:
    """The sha256 of an image's content, 32 bytes."""
    if isinstance(content, Path):
        with content.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    return hashlib.sha256(content if isinstance(content, bytes) else content.tobytes()).digest()


def in_threads(function: Callable[[T], R], values: Iterable[T]) -> list[R]:
    """A function of each value, several at a time; what it raises is raised here."""
    with ThreadPoolExecutor(min(8, (cpu_count() or 1) + 1)) as pool:
        return list(pool.map(function, values))
