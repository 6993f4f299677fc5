"""From one weight format to another, with everything that the file records, and compared afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.errors import CheckpointError, LoadingError, MetadataError
from holotype.files import check_new, writing_path
from holotype.frozen import thaw
from holotype.records import _Record
from holotype.text import listed
from holotype.weights.checkpoint import Checkpoint, read_checkpoint
from holotype.weights.formats import WRITABLE, format_to_write
from holotype.weights.formats.pt import import_torch
from holotype.weights.formats.safetensors import header_texts

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Conversion(_Record):
    """What was converted.

    Attributes:
        source: the file that was read.
        target: the file that was written.
        tensors: how many; each was compared, bit for bit.
        size_bytes: of the new file.
        left_out: what was beside the weights and is not plain data, such as an optimizer's state.
        state: where in the source the weights stood, if it holds more than them.
        other_states: where other states stand in it; they are not in the new file.
    """

    source: str
    target: str
    tensors: int
    size_bytes: int
    left_out: tuple[str, ...] = ()
    state: str | None = None
    other_states: tuple[str, ...] = ()


def convert(
    source: str | Path,
    target: str | Path,
    *,
    format: str | None = None,
    key: str | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Write the weights and the record of one file into another one.

    Args:
        source: a safetensors, ``.pt`` or ``.npz`` file.
        target: the new file; its ending determines the format.
        format: ``"safetensors"`` or ``"pt"``, instead of the ending.
        key: which state of the source, if it holds several; see `holotype.weights.formats.states`.
        overwrite: replace a file of that name.

    Raises:
        UnknownFormatError: a format that cannot be written.
        CheckpointError: the source is damaged or unsafe, or what was written differs from it.
        LoadingError: the target exists already, or cannot be written.
    """
    import_torch()
    source, target = Path(source), Path(target)
    chosen = format_to_write(target, format)
    check_new(target, overwrite=overwrite, error=LoadingError)
    read = read_checkpoint(source, key=key)
    record, left_out = _keepable(read.record)
    with writing_path(target, overwrite=overwrite, error=LoadingError) as temporary:
        with temporary.open("xb") as file:
            WRITABLE[chosen].write(file, read.state, record)
        _compare(read, read_checkpoint(temporary, chosen), record, target)
        size = temporary.stat().st_size
    left_out = (*read.left_out, *left_out)
    return Conversion(str(source), str(target), len(read.state), size, left_out, read.key, read.others)


def _keepable(record: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    kept = {}
    for key, value in record.items():
        try:
            if header_texts({key: value}):
                kept[key] = thaw(value)
        except MetadataError:
            continue
    return kept, tuple(key for key, value in record.items() if key not in kept and value)


def _compare(old: Checkpoint, new: Checkpoint, record: Mapping[str, Any], target: Path) -> None:
    wrong = [
        name for name in {**old.state, **new.state} if not _equal(old.state.get(name), new.state.get(name))
    ]
    if wrong or thaw(new.record) != record:
        raise CheckpointError(
            f"what was written to {target} differs from its source in "
            f"{listed(wrong) or 'its record'}. Nothing was kept.",
            given=str(target),
        )


def _equal(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    """Bit for bit, so that NaN equals itself and -0 is not 0."""
    import torch

    if one is None or other is None or one.dtype != other.dtype or one.shape != other.shape:
        return False
    if not one.numel():
        return True
    bits = [tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other)]
    return torch.equal(*bits)
