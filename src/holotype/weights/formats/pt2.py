"""Programs of torch: ``.pt2`` files (`torch.export`) and TorchScript. They hold code."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.errors import CheckpointError
from holotype.weights.formats.interface import Contents, Program
from holotype.weights.formats.opened import OpenedFile, first_line
from holotype.weights.formats.safetensors import record_from
from holotype.weights.formats.zip import open_zip

if TYPE_CHECKING:
    import torch
    from torch import nn

ENDINGS = (".pt2",)
_MARKS = ("archive_format", "serialized_exported_program.json", "constants.pkl", "models/model.json")
_MOST_BATCH = 2**20
_RECORD = "holotype.json"
_LARGEST_RECORD = 2**24


def matches(front: bytes, members: Collection[str]) -> bool:
    """An archive with the marks of an exported program or of TorchScript."""
    return any(f"/{name}".endswith(f"/{mark}") for name in members for mark in _MARKS)


def inspect(file: OpenedFile) -> Contents:
    """The names in the archive, and the record that `export` wrote; nothing else is opened.

    Raises:
        CheckpointError: it is damaged.
    """
    with open_zip(file) as archive:
        return Contents(members=tuple(archive.namelist()), record=record_from(_texts(archive, file.path)))


def _texts(archive: zipfile.ZipFile, path: Path) -> dict[str, str]:
    own = [one for one in archive.infolist() if one.filename.endswith(f"/extra/{_RECORD}")]
    if len(own) != 1 or own[0].file_size > _LARGEST_RECORD:
        return {}
    try:
        texts = json.loads(archive.read(own[0]))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise CheckpointError(f"{path} is damaged: {first_line(error)}.", given=str(path)) from error
    except (ValueError, RecursionError):
        return {}
    return (
        {key: text for key, text in texts.items() if isinstance(text, str)} if isinstance(texts, dict) else {}
    )


def run(file: OpenedFile) -> Program:
    """The program in a file. This executes code from the file."""
    import torch

    with open_zip(file) as archive:
        scripted = any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist())
    module: Any
    if scripted:
        module = torch.jit.load(file.handle, map_location="cpu")  # type: ignore[no-untyped-call]
    else:
        with file.open() as opened:  # not by its path, for the reason below
            module = torch.export.load(opened).module()

    def program(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = module(*tensors)
        return tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)

    return program


def export(net: nn.Module, inputs: tuple[torch.Tensor, ...], path: Path, texts: Mapping[str, str]) -> None:
    """Write a network as a ``.pt2`` file that takes batches of any size."""
    import torch

    batch = torch.export.Dim("batch", min=1, max=_MOST_BATCH)
    program = torch.export.export(net, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs))
    with path.open("xb") as file:  # not by its path: torch wants this ending in a path
        torch.export.save(program, file, extra_files={_RECORD: json.dumps(texts)})
