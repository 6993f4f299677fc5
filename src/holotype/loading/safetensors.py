"""Reading a safetensors file: the header is judged first, then the file is mapped, not copied.

The format: 8 bytes with the length of the header, the header as JSON (name to dtype, shape and place),
then the tensors' bytes. It cannot hold code; what a hostile one can do is lie about places and sizes.
"""

from __future__ import annotations

import json
import math
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.errors import CheckpointError

if TYPE_CHECKING:
    import torch

LARGEST_HEADER = 16 * 2**20
MOST_TENSORS = 100_000
_NAME = re.compile(r"[A-Za-z0-9._/-]{1,512}", re.ASCII)
# The format's name of a dtype: torch's name, bytes for each element.
_DTYPES = {
    "F64": ("float64", 8),
    "F32": ("float32", 4),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "C64": ("complex64", 8),
    "I64": ("int64", 8),
    "I32": ("int32", 4),
    "I16": ("int16", 2),
    "I8": ("int8", 1),
    "U64": ("uint64", 8),
    "U32": ("uint32", 4),
    "U16": ("uint16", 2),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
}


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a file, mapped privately, and the text in its header.

    Raises:
        CheckpointError: it is damaged, or not such a file.
    """
    import torch

    try:
        header, start, size = _header(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.", given=str(path)) from error
    metadata = _metadata(path, header.pop("__metadata__", {}))
    places = _places(path, header, size - start)
    # Private: what training writes into the tensors never reaches the file.
    storage: Any = torch.UntypedStorage.from_file(str(path), False, size) if size > start else None
    state: dict[str, torch.Tensor] = {}
    for name, (dtype_name, shape, begin, end) in places.items():
        dtype = getattr(torch, dtype_name)
        if storage is None or begin == end:
            state[name] = torch.empty(shape, dtype=dtype)
            continue
        flat = torch.empty(0, dtype=torch.uint8).set_(storage, start + begin, (end - begin,), (1,))
        if (flat.data_ptr()) % dtype.itemsize:
            flat = flat.clone()  # the writer did not align it; a view would be refused
        state[name] = flat.view(dtype).view(shape)
    return state, metadata


def _header(path: Path) -> tuple[dict[str, Any], int, int]:
    """The header, where the tensors' bytes start, and the size of the file."""
    with path.open("rb") as file:
        size = path.stat().st_size
        prefix = file.read(8)
        if len(prefix) < 8:
            raise _damaged(path, f"it ends after {len(prefix)} bytes")
        (length,) = struct.unpack("<Q", prefix)
        if length > LARGEST_HEADER:
            raise _damaged(path, f"its header claims {length} bytes; at most {LARGEST_HEADER} are read")
        text = file.read(length)
    if len(text) < length:
        raise _damaged(path, f"its header claims {length} bytes and has {len(text)}")
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"its header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a mapping")
    return header, 8 + length, size


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name is there twice")
    return result


def _metadata(path: Path, metadata: object) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise _damaged(path, "'__metadata__' is not a mapping of text")
    return metadata


def _places(
    path: Path, header: dict[str, Any], available: int
) -> dict[str, tuple[str, tuple[int, ...], int, int]]:
    if len(header) > MOST_TENSORS:
        raise _damaged(path, f"{len(header)} tensors; at most {MOST_TENSORS} are read")
    places: dict[str, tuple[str, tuple[int, ...], int, int]] = {}
    for name, entry in header.items():
        if not _NAME.fullmatch(name):
            raise _damaged(path, f"{name!r:.80} is not a tensor's name")
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise _damaged(path, f"{name}: expected dtype, shape and data_offsets")
        dtype, width = _DTYPES.get(str(entry["dtype"]), ("", 0))
        shape, offsets = entry["shape"], entry["data_offsets"]
        if not width:
            raise _damaged(path, f"{name}: unknown dtype {entry['dtype']!r:.40}")
        if not _counts(shape) or not _counts(offsets) or len(offsets) != 2:
            raise _damaged(path, f"{name}: shape and data_offsets are lists of whole numbers")
        begin, end = offsets
        if begin > end or end > available:
            raise _damaged(path, f"{name}: bytes {begin} to {end} of {available} are not there")
        if math.prod(shape) * width != end - begin:
            raise _damaged(path, f"{name}: {end - begin} bytes do not hold shape {tuple(shape)}")
        places[name] = (dtype, tuple(shape), begin, end)
    reached = 0
    for name, (_, _, begin, end) in sorted(places.items(), key=lambda item: item[1][2:]):
        if begin != reached:
            raise _damaged(path, f"{name} overlaps its neighbour, or leaves a gap before it")
        reached = end
    if reached != available:
        raise _damaged(path, f"{available - reached} bytes at its end belong to no tensor")
    return places


def _counts(value: object) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**48 for n in value)


def _damaged(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(f"{path} is not a usable safetensors file: {problem}.", given=str(path))
