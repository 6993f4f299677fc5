"""safetensors files: read (the header is checked first, then the file is mapped, not copied) and written.

The format: 8 bytes with the length of the header, the header as JSON (name to dtype, shape and place),
then the tensors' bytes. It cannot hold code; a hostile file can only give wrong places and sizes.
A record is kept as text in the header: text as it is, structures as JSON.
"""

from __future__ import annotations

import json
import math
import mmap
import re
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from holotype.errors import CheckpointError, MetadataError
from holotype.frozen import freeze, thaw
from holotype.weights.formats.interface import Contents, TensorInfo
from holotype.weights.formats.opened import OpenedFile
from holotype.weights.formats.states import State, only_state

if TYPE_CHECKING:
    import torch

ENDINGS = (".safetensors",)
LARGEST_HEADER = 16 * 2**20
MOST_TENSORS = 100_000
_MOST_AXES = 64
TEXTS = frozenset(
    {
        "architecture",
        "config_fingerprint",
        "dataset",
        "description",
        "format",
        "holotype_version",
        "license",
        "name",
        "paper",
        "tag",
        "task",
    }
)
"""Keys of a record that are text as they stand, also where the text looks like JSON."""
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


@dataclass(frozen=True)
class Place:
    """Where a tensor is: its dtype (as torch calls it), its shape, and its bytes after the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """What the header of a file holds, all of it checked.

    Attributes:
        places: the tensors by name.
        metadata: the text beside them.
        start: where the tensors' bytes begin.
    """

    places: dict[str, Place]
    metadata: dict[str, str]
    start: int


def matches(front: bytes, members: Collection[str]) -> bool:
    """The length of a header, then a JSON mapping."""
    return front[8:9] == b"{" and int.from_bytes(front[:8], "little") < 2**40


def inspect(file: OpenedFile) -> Contents:
    """What the header lists. Needs no torch."""
    with file.open() as opened:
        header = read_header(opened, file.path, file.size)
    tensors = tuple(TensorInfo(name, place.dtype, place.shape) for name, place in header.places.items())
    return Contents(tensors, record_from(header.metadata))


def read(file: OpenedFile, key: str | None = None) -> State:
    """The tensors, mapped privately, and the record in the header.

    Raises:
        CheckpointError: it is damaged, or not a safetensors file.
        LoadingError: a `key`.
    """
    only_state(file.path, key)
    import torch

    size = file.size
    with file.open() as opened:
        header = read_header(opened, file.path, size)
        # Private: what training writes into the tensors never reaches the file.
        mapped = None
        if size > header.start:
            try:
                mapped = mmap.mmap(opened.fileno(), size, access=mmap.ACCESS_COPY)
            except (OSError, ValueError) as error:  # cut short since
                raise _damaged(file.path, "it cannot be mapped") from error
    file.check_same()
    state: dict[str, torch.Tensor] = {}
    for name, place in header.places.items():
        dtype, count = getattr(torch, place.dtype), place.end - place.begin
        if mapped is None or not count:
            state[name] = torch.empty(place.shape, dtype=dtype)
            continue
        # A storage of its own: what saves or copies one tensor takes no more than it.
        flat = torch.frombuffer(mapped, dtype=torch.uint8, count=count, offset=header.start + place.begin)
        if flat.data_ptr() % dtype.itemsize:
            flat = flat.clone()  # the writer did not align it; a view would be refused
        state[name] = flat.view(dtype).view(place.shape)
    return State(state, record_from(header.metadata))


def write(file: BinaryIO, state: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> None:
    """Write tensors, and a record as the text of the header."""
    write_with_texts(file, state, header_texts(record))


def read_header(file: BinaryIO, path: Path, size: int) -> Header:
    """Read and check the header; no tensor is touched.

    Args:
        file: at its start.
        path: for messages.
        size: of the file.

    Raises:
        CheckpointError: it is damaged, or not a safetensors file.
    """
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
        header = json.loads(
            text.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"its header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a mapping")
    metadata = _metadata(path, header.pop("__metadata__", {}))
    return Header(_places(path, header, size - 8 - length), metadata, 8 + length)


def write_with_texts(file: BinaryIO, state: Mapping[str, torch.Tensor], texts: Mapping[str, str]) -> None:
    """Write tensors and text.

    Args:
        file: empty.
        state: the tensors by name, on any device.
        texts: the text for the header.

    Raises:
        CheckpointError: something in `state` cannot be kept in this format.
    """
    import torch

    codes = {getattr(torch, name): code for code, (name, _) in _DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(texts)} if texts else {}
    # Widest first, so that each tensor starts at a multiple of its own width and can be mapped.
    order = sorted(state, key=lambda name: -state[name].element_size())
    at = 0
    for name in order:
        tensor = state[name]
        if not _NAME.fullmatch(name) or name == "__metadata__":
            raise CheckpointError(f"{name!r:.80} cannot name a tensor in a safetensors file.", given=name)
        if tensor.dtype not in codes or tensor.layout != torch.strided or tensor.is_meta:
            raise CheckpointError(
                f"{name} ({tensor.dtype}, {tensor.layout}, {tensor.device}) cannot be kept in a safetensors "
                "file.",
                given=name,
            )
        length = tensor.numel() * tensor.element_size()
        shape = list(tensor.shape)
        header[name] = {"dtype": codes[tensor.dtype], "shape": shape, "data_offsets": [at, at + length]}
        at += length
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    text += b" " * (-len(text) % 8)
    if len(text) > LARGEST_HEADER or len(state) > MOST_TENSORS:
        raise CheckpointError(
            f"a header of {len(text)} bytes for {len(state)} tensors is too large for a safetensors file.",
            given=len(state),
        )
    file.write(struct.pack("<Q", len(text)) + text)
    for name in order:
        if state[name].numel():
            flat = state[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            file.write(flat.numpy().data)


def header_texts(record: Mapping[str, Any]) -> dict[str, str]:
    """A record as the header keeps it: text as it is, structures as JSON, nothing that is empty.

    Raises:
        MetadataError: a value is not plain data.
    """
    texts = {}
    for key, value in record.items():
        if value is None or (isinstance(value, (str, list, tuple, Mapping)) and not value):
            continue
        if key in TEXTS:
            if not isinstance(value, str):
                raise MetadataError(f"{key} is text, got {value!r:.80}.", given=value)
            texts[key] = value
            continue
        try:
            texts[key] = json.dumps(thaw(freeze(value, key)), ensure_ascii=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            if isinstance(error, MetadataError):
                raise
            raise MetadataError(f"{key} cannot be kept as JSON: {error}.", given=key) from error
    return texts


def record_from(texts: Mapping[str, str]) -> dict[str, Any]:
    """The record that a header's texts stand for; what is not JSON stays text."""
    return {key: text if key in TEXTS else _unpacked(text) for key, text in texts.items()}


def _unpacked(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice")
    return result


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _metadata(path: Path, metadata: object) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise _damaged(path, "'__metadata__' is not a mapping of text")
    return metadata


def _places(path: Path, header: dict[str, Any], available: int) -> dict[str, Place]:
    if len(header) > MOST_TENSORS:
        raise _damaged(path, f"{len(header)} tensors; at most {MOST_TENSORS} are read")
    places: dict[str, Place] = {}
    for name, entry in header.items():
        if not _NAME.fullmatch(name) or name.startswith("/") or ".." in name.split("/"):
            raise _damaged(path, f"{name!r:.80} is not a tensor's name")
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise _damaged(path, f"{name}: expected dtype, shape and data_offsets")
        dtype, width = _DTYPES.get(str(entry["dtype"]), ("", 0))
        shape, offsets = entry["shape"], entry["data_offsets"]
        if not width:
            raise _damaged(path, f"{name}: unknown dtype {entry['dtype']!r:.40}")
        if not _counts(shape) or not _counts(offsets) or len(offsets) != 2:
            raise _damaged(path, f"{name}: shape and data_offsets are lists of whole numbers")
        if len(shape) > _MOST_AXES:
            raise _damaged(path, f"{name}: {len(shape)} axes; at most {_MOST_AXES} are read")
        begin, end = offsets
        if begin > end or end > available:
            raise _damaged(path, f"{name}: bytes {begin} to {end} of {available} are not there")
        if math.prod(shape) * width != end - begin:
            raise _damaged(path, f"{name}: {end - begin} bytes do not hold shape {tuple(shape)}")
        places[name] = Place(dtype, tuple(shape), begin, end)
    reached = 0
    for name, place in sorted(places.items(), key=lambda item: (item[1].begin, item[1].end)):
        if place.begin != reached:
            raise _damaged(path, f"{name} overlaps its neighbour, or leaves a gap before it")
        reached = place.end
    if reached != available:
        raise _damaged(path, f"{available - reached} bytes at its end belong to no tensor")
    return places


def _counts(value: object) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**48 for n in value)


def _damaged(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(f"{path} is not a usable safetensors file: {problem}.", given=str(path))
