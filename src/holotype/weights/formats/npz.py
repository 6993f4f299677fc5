"""``.npz`` files: read-only, arrays of plain numbers and nothing else.

Each member's header is checked before room is made for its numbers. Arrays of Python objects are pickles, and
refused.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from holotype.errors import CheckpointError
from holotype.weights.formats.interface import Contents, TensorInfo
from holotype.weights.formats.opened import OpenedFile, first_line
from holotype.weights.formats.states import State, only_state
from holotype.weights.formats.zip import open_zip

if TYPE_CHECKING:
    import torch

ENDINGS = (".npz",)
LARGEST_EXPANSION = 100
_FREE_EXPANSION = 2**28
# Those that torch has, too.
_DTYPES = frozenset(
    [
        "float64",
        "float32",
        "float16",
        "complex64",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint64",
        "uint32",
        "uint16",
        "uint8",
        "bool",
    ]
)


def matches(front: bytes, members: Collection[str]) -> bool:
    """A zip archive of arrays alone."""
    return bool(members) and all(name.endswith(".npy") for name in members)


def inspect(file: OpenedFile) -> Contents:
    """List the arrays; no numbers are read."""
    tensors = []
    with _members(file) as (archive, members):
        for name, info in members.items():
            with _damage(file, name), archive.open(info) as member:
                dtype, shape = _header(member, info.file_size)
            tensors.append(TensorInfo(name, dtype.name, shape))
    return Contents(tuple(tensors))


def read(file: OpenedFile, key: str | None = None) -> State:
    """The arrays as tensors; there is no record.

    Raises:
        CheckpointError: the file is damaged, claims more than it has, or holds anything but numbers.
        LoadingError: a `key`.
    """
    only_state(file.path, key)
    import numpy as np
    import torch
    from numpy.lib import format as npy

    state: dict[str, torch.Tensor] = {}
    with _members(file) as (archive, members):
        for name, info in members.items():
            with _damage(file, name):
                with archive.open(info) as member:
                    _header(member, info.file_size)
                with archive.open(info) as member:
                    loaded: Any = npy.read_array(member, allow_pickle=False)
            native = loaded.astype(loaded.dtype.newbyteorder("="), copy=True)
            state[name] = torch.from_numpy(np.ascontiguousarray(native).reshape(loaded.shape))
    if not state:
        raise CheckpointError(f"{file.path} holds no state dict: it is empty.", given=str(file.path))
    return State(state, {})


@contextmanager
def _members(file: OpenedFile) -> Iterator[tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]]:
    with open_zip(file) as archive:
        infos = archive.infolist()
        total = sum(info.file_size for info in infos)
        if total > max(_FREE_EXPANSION, LARGEST_EXPANSION * file.size):
            raise _damaged(file, f"{file.size} bytes claim to hold {total}")
        for info in infos:
            if not info.filename.endswith(".npy"):
                raise _damaged(file, f"{info.filename!r:.80} is not an array")
        yield archive, {info.filename.removesuffix(".npy"): info for info in infos}


def _header(member: IO[bytes], size: int) -> tuple[Any, tuple[int, ...]]:
    """The dtype (NumPy's) and shape in the header of an array, checked against the member's size in bytes."""
    from numpy.lib import format as npy

    version = npy.read_magic(member)
    if version == (1, 0):
        shape, _, dtype = npy.read_array_header_1_0(member)
    elif version == (2, 0):
        shape, _, dtype = npy.read_array_header_2_0(member)
    else:  # only arrays of structures have a later version
        raise ValueError("it holds structures, not numbers")
    if dtype.name not in _DTYPES:
        raise ValueError(f"it holds {dtype.name}, not numbers; nothing in it was executed")
    if not all(0 <= n < 2**48 for n in shape) or member.tell() + math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"{size} bytes do not hold shape {shape}"[:200])
    return dtype, shape


@contextmanager
def _damage(file: OpenedFile, name: str) -> Iterator[None]:
    """Whatever reading a broken member raises, as an error that names it."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        OSError,
        EOFError,
        SyntaxError,
        TypeError,
        RecursionError,
        MemoryError,
    ) as error:
        raise _damaged(file, f"{name}: {first_line(error)}") from error


def _damaged(file: OpenedFile, problem: str) -> CheckpointError:
    return CheckpointError(f"{file.path} is not a usable npz file: {problem}.", given=str(file.path))
