"""From a file, its bytes or grey pixels to an 8-bit RGB picture, the right way up."""

from __future__ import annotations

import io
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from holotype.errors import HolotypeError, ImageError
from holotype.extras import missing_extra

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

__all__ = ["AnyPath", "decode", "image_extensions", "open_image", "pixels_of", "readable_formats"]

AnyPath = str | PathLike[str]

# Formats that Pillow hands to another program, or only names.
_NOT_READ = frozenset({"EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5", "FITS", "PDF"})
_ORIENTATION = 0x0112  # the EXIF tag
_QUARTER_TURNS = (5, 6, 7, 8)  # its values that exchange width and height


def open_image(image: Image | AnyPath) -> Image:
    """Open a picture as 8-bit RGB, the right way up.

    Turned as its EXIF data says; transparent parts on white; palettes, greyscale, CMYK and 16-bit
    greyscale converted; of an animation the first frame.

    Raises:
        ImageError: it cannot be read; the message names the file.
    """
    if not isinstance(image, (str, PathLike)):
        return _as_rgb(image, "the picture")
    path, reader = fspath(image), pillow()
    with _image_errors(path):
        # Opening a pipe that nobody writes to would block for ever.
        if not stat.S_ISREG(kind := Path(path).stat().st_mode) and not stat.S_ISDIR(kind):
            raise ImageError(f"{path} is a pipe or a device, not a file.", given=path)
        with reader.open(path, formats=readable_formats()) as opened:
            return _as_rgb(opened, path)


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
        name: the image's name in messages.
        at_least: (height, width): a JPEG is decoded at an eighth, a quarter or half of its size if the
            result does not go below this.
        stored: the (width, height) that annotations refer to. An image that has this size only before it
            is turned as its EXIF data says is not turned.

    Returns:
        8-bit RGB, and the (width, height) of the undiminished image.

    Raises:
        ImageError: it cannot be read, or its size is not `stored`.
    """
    if isinstance(content, np.ndarray):
        grey = pillow().frombytes("L", content.shape[::-1], np.ascontiguousarray(content).tobytes())
        return grey.convert("RGB"), grey.size
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    with _image_errors(name), pillow().open(file, formats=readable_formats()) as opened:
        whole = opened.size
        turned = opened.format in ("JPEG", "TIFF", "PNG", "WEBP", "MPO") and (
            opened.getexif().get(_ORIENTATION, 1) in _QUARTER_TURNS
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
            opened.getexif().pop(_ORIENTATION, None)
            opened.info.pop("exif", None)
        return _as_rgb(opened, name), upright


def pixels_of(image: Image) -> Tensor:
    """An RGB picture → (3, H, W) uint8."""
    import torch  # reading a dataset without decoding it needs none

    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return flat.view(image.height, image.width, 3).permute(2, 0, 1).contiguous()


@lru_cache(maxsize=1)
def image_extensions() -> frozenset[str]:
    """The endings of files that are read as images, such as ``".jpg"``."""
    known = pillow().registered_extensions().items()
    return frozenset(end for end, kind in known if kind in pillow().OPEN and kind not in _NOT_READ)


@lru_cache(maxsize=1)
def readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read, such as ``"JPEG"``: none that runs another program."""
    pillow().init()
    return tuple(kind for kind in pillow().OPEN if kind not in _NOT_READ)


def pillow() -> Any:
    """The module `PIL.Image`.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise missing_extra(error, "reading pictures") or error from error
    return Image


@contextmanager
def _image_errors(name: str) -> Iterator[None]:
    """Raise an ImageError that names the image for whatever a decoder raises."""
    try:
        yield
    except HolotypeError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist.", given=name) from error
    except IsADirectoryError as error:
        raise ImageError(
            f"{name} is a folder, not a picture.", given=name, hint="Name the pictures in it."
        ) from error
    except PermissionError as error:
        raise ImageError(f"{name} may not be read.", given=name) from error
    except pillow().UnidentifiedImageError as error:
        raise ImageError(f"{name} is not a picture of any format that is read here.", given=name) from error
    except Exception as error:  # on damaged files decoders raise exceptions of many types
        reason = str(error) or type(error).__name__
        raise ImageError(f"{name} is damaged or cannot be decoded: {reason}", given=name) from error


def _as_rgb(image: Image, name: str) -> Image:
    from PIL import ImageOps

    # A copy in any case: the caller's picture and the open file stay as they are.
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "F":
        raise ImageError(
            f"{name} holds floating-point pixels of an unknown range.",
            given=name,
            hint="Save it with 8 or 16 bits a pixel.",
        )
    if upright.mode.startswith("I"):
        return _from_16_bits(upright, name).convert("RGB")
    if upright.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in upright.info:
        seen = upright.convert("RGBA")
        on_white = pillow().new("RGBA", seen.size, (255, 255, 255, 255))
        return pillow().alpha_composite(on_white, seen).convert("RGB")  # type: ignore[no-any-return]  # a picture
    return upright.convert("RGB")


def _from_16_bits(image: Image, name: str) -> Image:
    """0 … 65535 → 0 … 255; Pillow's own conversion would cut everything above 255 to white."""
    values = np.asarray(image.convert("I"))
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"{name} holds pixels outside 0 … 65535.", given=name)
    scaled = np.rint(values / 257).astype(np.uint8)
    return pillow().frombytes("L", image.size, scaled.tobytes())  # type: ignore[no-any-return]  # a picture
