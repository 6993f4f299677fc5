"""ONNX programs: read with the package ``onnx``, run with ``onnxruntime``, written with ``onnxscript``."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.errors import CheckpointError, LoadingError
from holotype.extras import missing_extra
from holotype.weights.formats.interface import Contents, Program, TensorInfo
from holotype.weights.formats.opened import OpenedFile, first_line
from holotype.weights.formats.safetensors import record_from

if TYPE_CHECKING:
    import torch
    from torch import nn

ENDINGS = (".onnx",)
_LARGEST = 2**31 - 2**24  # one protocol buffer
_MOST_BATCH = 2**20


def matches(front: bytes, members: Collection[str]) -> bool:
    """A protocol buffer that starts with the version of the format, then with what follows it."""
    return (
        front[:1] == b"\x08" and len(front) > 4 and front[2:3] in (b"\x12", b"\x1a", b"\x22", b"\x3a", b"B")
    )


def inspect(file: OpenedFile) -> Contents:
    """The weights and the metadata of a model; nothing is executed.

    Raises:
        CheckpointError: it is damaged.
        MissingExtraError: the package ``onnx`` is not installed.
    """
    onnx = _package("onnx", "reading ONNX")
    try:
        with file.open() as opened:
            model = onnx.load_model_from_string(opened.read())
        tensors = tuple(
            TensorInfo(one.name, _dtype(onnx, one.data_type), tuple(one.dims))
            for one in model.graph.initializer
        )
    except Exception as error:  # whatever a broken file makes protobuf raise
        raise CheckpointError(
            f"{file.path} is not a usable ONNX file: {first_line(error)}.", given=str(file.path)
        ) from error
    about = {
        "ir_version": str(model.ir_version),
        "producer": model.producer_name,
        "producer_version": model.producer_version,
        **{pair.key: pair.value for pair in model.metadata_props},
    }
    return Contents(tensors, record_from({key: text for key, text in about.items() if key and text}))


def run(file: OpenedFile) -> Program:
    """The program in a file, on the CPU. This executes code from the file."""
    import torch

    runtime = _package("onnxruntime", "running ONNX")
    with file.open() as opened:
        session = runtime.InferenceSession(opened.read(), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def program(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        arrays = {
            name: tensor.detach().cpu().contiguous().numpy()
            for name, tensor in zip(names, tensors, strict=True)
        }
        return tuple(torch.from_numpy(array) for array in session.run(None, arrays))

    return program


def export(net: nn.Module, inputs: tuple[torch.Tensor, ...], path: Path, texts: Mapping[str, str]) -> None:
    """Write a network as an ONNX file that takes batches of any size.

    Raises:
        MissingExtraError: a package for exporting is not installed.
        LoadingError: it is too large for one file.
    """
    import torch

    for package in ("onnx", "onnxscript", "onnxruntime"):
        _package(package, "ONNX")
    if sum(p.numel() * p.element_size() for p in net.parameters()) > _LARGEST:
        raise LoadingError("an ONNX file holds at most 2 GB", given=str(path))
    batch = torch.export.Dim("batch", min=1, max=_MOST_BATCH)
    shapes = tuple({0: batch} for _ in inputs)
    made: Any = torch.onnx.export(net, inputs, dynamo=True, dynamic_shapes=shapes, verbose=False)
    made.model.metadata_props.update(texts)
    made.save(str(path), external_data=False)


def _package(name: str, use: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise missing_extra(error, use) or error from error


def _dtype(onnx: Any, code: int) -> str:
    names = {**dict(onnx.TensorProto.DataType.items())}
    found = next((name for name, value in names.items() if value == code), "?").lower()
    return {"float": "float32", "double": "float64"}.get(found, found)
