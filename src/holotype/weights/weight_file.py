"""What a weight file says of itself, without loading it: format, tensors, record.

For safetensors and npz only headers are read, for ONNX the structure without its numbers; a ``.pt`` file is
mapped, so that its numbers stay on the disk. Programs (TorchScript, ``.pt2``) are listed and not opened.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from holotype.errors import CheckpointError
from holotype.frozen import FrozenDict, freeze
from holotype.records import _Record
from holotype.weights.archives import open_archive
from holotype.weights.checkpoint import detect_format, read_checkpoint, record_of
from holotype.weights.npz import DTYPES, arrays_of
from holotype.weights.pinned import Pinned
from holotype.weights.safetensors import read_header

# Statistics that training keeps and no optimizer changes.
_NO_PARAMETERS = (".running_mean", ".running_var", ".num_batches_tracked")
_ONNX_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 9: "bool"} | {
    10: "float16",
    11: "float64",
    16: "bfloat16",
}


@dataclass(frozen=True, eq=False)
class TensorInfo(_Record):
    """A tensor in a file: its name, dtype and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class WeightFileInfo(_Record):
    """What a weight file says of itself.

    Attributes:
        path: the file.
        format: one of `holotype.records.FORMATS`.
        size_bytes: its size.
        tensors: what is in it.
        params: how many numbers, without the statistics of batch norms.
        dtypes: how many tensors of each dtype.
        architecture: the one it records, or None.
        config: the config it records; empty where there is none.
        record: everything else beside the tensors.
        left_out: keys that hold no plain data.
        members: of a program: what is in the archive.
        holds_code: is it a program, which loading would run?
    """

    path: str
    format: str
    size_bytes: int
    tensors: tuple[TensorInfo, ...] = ()
    params: int = 0
    dtypes: Mapping[str, int] = field(default_factory=FrozenDict)
    architecture: str | None = None
    config: Mapping[str, Any] = field(default_factory=FrozenDict)
    record: Mapping[str, Any] = field(default_factory=FrozenDict)
    left_out: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    holds_code: bool = False


def describe_file(path: str | Path) -> WeightFileInfo:
    """Tell what a weight file is.

    Raises:
        CheckpointError: it is damaged, unsafe, or of no known format.
        MissingExtraError: a ``.pt`` file, and torch is not installed.
    """
    with Pinned(path) as pinned:
        format = detect_format(pinned)
        tensors: list[TensorInfo] = []
        record: Mapping[str, Any] = {}
        left_out: tuple[str, ...] = ()
        members: tuple[str, ...] = ()
        with pinned.open() as file:
            if format == "safetensors":
                header = read_header(file, pinned.path, pinned.size)
                tensors = [
                    TensorInfo(name, place.dtype, place.shape) for name, place in header.places.items()
                ]
                record = record_of(header.metadata)
            elif format == "npz":
                with open_archive(file, pinned.path, pinned.size, compressed=True) as archive:
                    arrays = arrays_of(archive, pinned.path, pinned.size)
                tensors = [TensorInfo(name, DTYPES[a.dtype[1:]], a.shape) for name, a in arrays.items()]
            elif format == "onnx":
                tensors, record = _onnx(file, pinned)
            elif format == "pt2":
                with open_archive(file, pinned.path, pinned.size, compressed=True) as archive:
                    members = tuple(archive.namelist())
        if format == "pt":
            checkpoint = read_checkpoint(pinned, format)
            record, left_out = checkpoint.record, checkpoint.left_out
            tensors = [
                TensorInfo(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
                for name, tensor in checkpoint.state.items()
            ]
    dtypes: dict[str, int] = {}
    for tensor in tensors:
        dtypes[tensor.dtype] = dtypes.get(tensor.dtype, 0) + 1
    architecture, config = record.get("architecture"), record.get("config")
    return WeightFileInfo(
        path=str(path),
        format=format,
        size_bytes=pinned.size,
        tensors=tuple(tensors),
        params=sum(math.prod(t.shape) for t in tensors if not t.name.endswith(_NO_PARAMETERS)),
        dtypes=FrozenDict(dtypes),
        architecture=architecture if isinstance(architecture, str) else None,
        config=freeze(config) if isinstance(config, Mapping) else FrozenDict(),
        record=freeze({key: value for key, value in record.items() if key not in ("architecture", "config")}),
        left_out=left_out,
        members=members,
        holds_code=format == "pt2",
    )


# -- ONNX: protocol buffers, walked without a library ----------------------------------------------


def _onnx(file: BinaryIO, pinned: Pinned) -> tuple[list[TensorInfo], dict[str, Any]]:
    tensors: list[TensorInfo] = []
    record: dict[str, Any] = {}
    try:
        for number, value, end in _fields(file, 0, pinned.size):
            if number == 1:
                record["ir_version"] = value
            elif number in (2, 3):
                record["producer" if number == 2 else "producer_version"] = _text(file, value, end)
            elif number == 14:
                pair = {n: _text(file, v, e) for n, v, e in _fields(file, value, end) if n in (1, 2)}
                record[pair.get(1, "")] = pair.get(2, "")
            elif number == 7:
                for inner, begin, stop in _fields(file, value, end):
                    if inner == 5:
                        tensors.append(_initializer(file, begin, stop))
    except (ValueError, OverflowError) as error:
        raise CheckpointError(
            f"{pinned.path} is not a usable ONNX file: {error}.", given=str(pinned.path)
        ) from error
    if not record and not tensors:
        raise CheckpointError(f"{pinned.path} is not a usable ONNX file.", given=str(pinned.path))
    return tensors, {
        key: text for key, text in record_of({k: str(v) for k, v in record.items()}).items() if key
    }


def _initializer(file: BinaryIO, begin: int, end: int) -> TensorInfo:
    name, dtype, shape = "", "?", []
    for number, value, stop in _fields(file, begin, end):
        if number == 1 and stop < 0:
            shape.append(value)
        elif number == 1:  # packed
            file.seek(value)
            while file.tell() < stop:
                shape.append(_varint(file))
        elif number == 2:
            dtype = _ONNX_DTYPES.get(value, "?")
        elif number == 8:
            name = _text(file, value, stop)
    return TensorInfo(name, dtype, tuple(shape))


def _fields(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Field number, value and -1; or field number, begin and end of bytes."""
    at = begin
    while at < end:
        file.seek(at)
        key = _varint(file)
        kind = key & 7
        if kind == 0:
            value, stop = _varint(file), -1
            at = file.tell()
        elif kind == 2:
            length = _varint(file)
            value = file.tell()
            stop = at = value + length
        elif kind in (1, 5):
            value, stop = 0, -1
            at = file.tell() + (8 if kind == 1 else 4)
        else:
            raise ValueError(f"a field of kind {kind}")
        if at > end:
            raise ValueError("a field goes beyond its end")
        yield key >> 3, value, stop


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("it is cut short")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number without end")


def _text(file: BinaryIO, begin: int, end: int) -> str:
    if end < begin or end - begin > 2**20:
        raise ValueError("a text that is too long")
    file.seek(begin)
    return file.read(end - begin).decode("utf-8", errors="replace")
