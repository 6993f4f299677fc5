"""From one weight format to another, with all that the file says of itself, and compared afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.errors import CheckpointError, LoadingError, MetadataError, UnknownFormatError
from holotype.frozen import thaw
from holotype.names import nearest
from holotype.records import _Record
from holotype.weights.checkpoint import Checkpoint, import_torch, read_checkpoint
from holotype.weights.safetensors import check_free, give_name, new_file, write_safetensors
from holotype.weights.save import header_texts

if TYPE_CHECKING:
    import torch

WRITABLE = {".safetensors": "safetensors", ".pt": "pt", ".pth": "pt"}


@dataclass(frozen=True, eq=False)
class Conversion(_Record):
    """What was converted.

    Attributes:
        source: the file that was read.
        target: the file that was written.
        tensors: how many; each was compared, bit for bit.
        size_bytes: of the new file.
        left_out: what stands beside the weights and is no plain data, such as an optimizer.
    """

    source: str
    target: str
    tensors: int
    size_bytes: int
    left_out: tuple[str, ...] = ()


def convert(
    source: str | Path, target: str | Path, *, format: str | None = None, overwrite: bool = False
) -> Conversion:
    """Write the weights and the record of one file into another one.

    Args:
        source: a safetensors, ``.pt`` or ``.npz`` file.
        target: the new file; its ending says the format.
        format: ``"safetensors"`` or ``"pt"``, where the ending does not.
        overwrite: replace a file of that name.

    Raises:
        UnknownFormatError: no format that can be written.
        CheckpointError: the source is damaged or unsafe, or what was written differs from it.
        LoadingError: the target is there already, or cannot be written.
    """
    torch = import_torch()
    source, target = Path(source), Path(target)
    chosen = format or WRITABLE.get(target.suffix.lower())
    if chosen not in WRITABLE.values():
        raise UnknownFormatError(
            f"{format or target.name!r} is no format that can be written; safetensors and pt can.",
            given=format or str(target),
            nearest=nearest(str(format or target.suffix), ("safetensors", "pt")),
        )
    check_free(target, overwrite=overwrite)
    read = read_checkpoint(source)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        record, left_out = _keepable(read.record)
        if chosen == "safetensors":
            write_safetensors(temporary, read.state, header_texts(record))
        else:
            with new_file(temporary) as file:
                torch.save({"state": _apart(read.state), **record}, file)
        _compare(read, read_checkpoint(temporary, chosen), record, target)
        size = temporary.stat().st_size
        give_name(temporary, target, overwrite=overwrite)
    except OSError as error:
        raise LoadingError(f"{target} cannot be written: {error.strerror}.", given=str(target)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return Conversion(str(source), str(target), len(read.state), size, (*read.left_out, *left_out))


def _keepable(record: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    kept = {}
    for key, value in record.items():
        try:
            if header_texts({key: value}):
                kept[key] = thaw(value)
        except MetadataError:
            continue
    return kept, tuple(key for key, value in record.items() if key not in kept and value)


def _apart(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors with memory of their own: mapped ones view one file, and torch would save all of it."""
    copies: dict[object, torch.Tensor] = {}
    made = {}
    for name, tensor in state.items():
        same = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()) if tensor.numel() else name
        if same not in copies:
            copies[same] = tensor.detach().clone()
        made[name] = copies[same]
    return made


def _compare(old: Checkpoint, new: Checkpoint, record: Mapping[str, Any], target: Path) -> None:
    wrong = [
        name for name in {**old.state, **new.state} if not _equal(old.state.get(name), new.state.get(name))
    ]
    if wrong or thaw(new.record) != record:
        raise CheckpointError(
            f"what was written to {target} differs from its source in "
            f"{', '.join(wrong[:5]) or 'its record'}. Nothing was kept.",
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
