"""What a weight file holds, without loading it: format, tensors, record.

For safetensors and npz only headers are read; a ``.pt`` file is mapped, so that its numbers stay on the disk.
Programs (TorchScript, ``.pt2``) are listed and not opened.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holotype.frozen import FrozenDict, freeze
from holotype.records import _Record
from holotype.weights.checkpoint import plain_record
from holotype.weights.formats import FORMATS, detect_format
from holotype.weights.formats.interface import TensorInfo
from holotype.weights.formats.opened import OpenedFile
from holotype.weights.recorded import recorded_architecture

# Statistics that training keeps and no optimizer changes.
_NO_PARAMETERS = (".running_mean", ".running_var", ".num_batches_tracked")


@dataclass(frozen=True, eq=False)
class WeightFileInfo(_Record):
    """What a weight file holds.

    Attributes:
        path: the file.
        format: one of `holotype.records.FORMATS`.
        size_bytes: its size.
        tensors: its tensors.
        params: how many numbers, without the statistics of batch norms.
        dtypes: how many tensors of each dtype.
        architecture: the one it records, or None.
        config: the config it records; empty if it records none.
        record: everything else beside the tensors.
        left_out: keys whose values are not plain data.
        members: of a program: the names in the archive.
        state: where in the file these tensors stand, if it holds more than them.
        other_states: where other states stand.
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
    state: str | None = None
    other_states: tuple[str, ...] = ()
    holds_code: bool = False


def inspect_file(path: str | Path) -> WeightFileInfo:
    """Describe a weight file.

    Raises:
        CheckpointError: it is damaged, unsafe, or of no known format.
        MissingExtraError: this format needs a package that is not installed: torch for a ``.pt`` file, NumPy
            for ``.npz``, onnx for ONNX.
    """
    with OpenedFile(path) as file:
        format = detect_format(file)
        found = FORMATS[format].inspect(file)
        record, left_out = plain_record(found.record, file.path)
        left_out = tuple(name for name in left_out if name not in found.others)
    config = record.get("config")
    return WeightFileInfo(
        path=str(path),
        format=format,
        size_bytes=file.size,
        tensors=found.tensors,
        params=sum(math.prod(t.shape) for t in found.tensors if not t.name.endswith(_NO_PARAMETERS)),
        dtypes=FrozenDict(Counter(tensor.dtype for tensor in found.tensors)),
        architecture=recorded_architecture(record),
        config=config if isinstance(config, Mapping) else FrozenDict(),
        record=freeze({key: value for key, value in record.items() if key not in ("architecture", "config")}),
        left_out=left_out,
        members=found.members,
        state=found.key,
        other_states=found.others,
        holds_code=format == "pt2",
    )
