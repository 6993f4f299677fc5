"""Reading an ``.npz`` file: arrays of plain numbers, and nothing else.

Each member's header is judged before room is made for its numbers; arrays of Python objects are pickles, and
refused.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.errors import CheckpointError
from holotype.weights.archives import open_archive
from holotype.weights.pinned import Pinned

if TYPE_CHECKING:
    import torch

LARGEST_EXPANSION = 100
_FREE_EXPANSION = 2**28
_LONGEST_HEADER = 2**16
# What numpy calls a dtype without its byte order, and torch's name for it.
DTYPES = {
    "f8": "float64",
    "f4": "float32",
    "f2": "float16",
    "c8": "complex64",
    "i8": "int64",
    "i4": "int32",
    "i2": "int16",
    "i1": "int8",
    "u8": "uint64",
    "u4": "uint32",
    "u2": "uint16",
    "u1": "uint8",
    "b1": "bool",
}


@dataclass(frozen=True)
class Array:
    """One member: its dtype as numpy writes it, its shape, and where its numbers begin."""

    member: zipfile.ZipInfo
    dtype: str
    shape: tuple[int, ...]
    start: int


def read_npz(pinned: Pinned) -> dict[str, torch.Tensor]:
    """The arrays of a file as tensors.

    Raises:
        CheckpointError: it is damaged, claims more than it has, or holds anything but numbers.
    """
    import numpy as np
    import torch

    state: dict[str, torch.Tensor] = {}
    with pinned.open() as file, open_archive(file, pinned.path, pinned.size, compressed=True) as archive:
        for name, array in arrays_of(archive, pinned.path, pinned.size).items():
            try:
                data = archive.read(array.member)
                # Judged already; numpy's own reader has the last word on order and shape.
                loaded: Any = np.load(io.BytesIO(data), allow_pickle=False)
            except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError) as error:
                raise _damaged(pinned.path, f"{name}: {str(error)[:200]}") from error
            if loaded.shape != array.shape or loaded.dtype.str != array.dtype:
                raise _damaged(pinned.path, f"{name} can be read in two ways")
            native = loaded.astype(loaded.dtype.newbyteorder("="), copy=True)
            state[name] = torch.from_numpy(np.ascontiguousarray(native).reshape(loaded.shape))
    return state


def arrays_of(archive: zipfile.ZipFile, path: Path, size: int) -> dict[str, Array]:
    """What the members say of themselves; no numbers are read.

    Raises:
        CheckpointError: as `read_npz`.
    """
    infos = archive.infolist()
    total = sum(info.file_size for info in infos)
    if total > max(_FREE_EXPANSION, LARGEST_EXPANSION * size):
        raise _damaged(path, f"{size} bytes claim to hold {total}")
    found: dict[str, Array] = {}
    for info in infos:
        if not info.filename.endswith(".npy"):
            raise _damaged(path, f"{info.filename!r:.80} is no array")
        name = info.filename.removesuffix(".npy")
        try:
            with archive.open(info) as member:
                array = _array(info, member.read(_LONGEST_HEADER))
        except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, SyntaxError) as error:
            raise _damaged(path, f"{name}: {str(error)[:200]}") from error
        found[name] = array
    return found


def _array(info: zipfile.ZipInfo, front: bytes) -> Array:
    import ast

    if front[:6] != b"\x93NUMPY" or front[6:8] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise ValueError("it is no array of numpy")
    wide = 2 if front[6] == 1 else 4
    start = 8 + wide + int.from_bytes(front[8 : 8 + wide], "little")
    if start > len(front):
        raise ValueError("its header is too long, or cut short")
    try:
        header = ast.literal_eval(front[8 + wide : start].decode("latin-1").strip())
    except (RecursionError, MemoryError, TypeError) as error:
        raise ValueError("its header cannot be read") from error
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise ValueError("its header is none of numpy's")
    dtype, shape = header["descr"], header["shape"]
    if not isinstance(dtype, str) or dtype[1:] not in DTYPES or dtype[0] not in "<>|=":
        raise ValueError(f"it holds {str(dtype)[:40]}, not numbers; nothing in it was executed")
    if not isinstance(shape, tuple) or not all(type(n) is int and 0 <= n < 2**48 for n in shape):
        raise ValueError("its shape is none")
    if len(shape) > 32 or start + math.prod(shape) * int(dtype[2:]) != info.file_size:
        raise ValueError(f"{info.file_size} bytes do not hold shape {shape}"[:200])
    return Array(info, dtype, shape, start)


def _damaged(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(f"{path} is not a usable npz file: {problem}.", given=str(path))
