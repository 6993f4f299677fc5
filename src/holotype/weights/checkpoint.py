"""A weight file of any format as tensors and a record, without running anything that is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.errors import CheckpointError, MetadataError
from holotype.frozen import freeze
from holotype.weights.empty import garbage_collection_paused
from holotype.weights.formats import WEIGHTS, check_format, detect_format
from holotype.weights.formats.opened import OpenedFile
from holotype.weights.formats.pt import import_torch
from holotype.weights.recorded import with_own_names

if TYPE_CHECKING:
    import torch

    from holotype.catalog.registry import Zoo

_MOST_VALUES = 1_000_000


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a weight file holds.

    Attributes:
        state: the tensors by name. From a mapped file they cost no memory until they are used, and
            writing to them does not reach the file.
        record: everything else that is plain data: classes, signature, statistics, config.
        path: the file.
        format: its format.
        left_out: keys beside the weights that hold no plain data, such as an optimizer's.
        key: where in the file the weights stand, if it holds more than them.
        others: where other states stand; see `holotype.weights.formats.states`.
    """

    state: dict[str, torch.Tensor] = field(repr=False)
    record: Mapping[str, Any]
    path: Path
    format: str
    left_out: tuple[str, ...] = ()
    key: str | None = None
    others: tuple[str, ...] = ()

    def with_own_names(self, architecture: str, registry: Zoo) -> Checkpoint:
        """The same, its record's config in the names of an architecture; see `binding.with_own_names`."""
        return replace(self, record=with_own_names(self.record, architecture, registry))

    def in_memory(self) -> Checkpoint:
        """The same, independent of the file.

        A cached blob never changes, so it may stay mapped. A user's own file may be saved over: its mapped
        pages would vanish under the network, and take the process with them.
        """
        copies: dict[tuple[Any, ...], torch.Tensor] = {}
        state = {}
        for name, tensor in self.state.items():
            # Tensors that are one in the file stay one.
            key = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
            if key not in copies or not tensor.numel():
                copies[key] = tensor.clone()
            state[name] = copies[key]
        return replace(self, state=state)


@garbage_collection_paused()
def read_checkpoint(
    source: str | Path | OpenedFile, format: str | None = None, *, key: str | None = None
) -> Checkpoint:
    """Read a weight file.

    Args:
        source: the file, or one that was opened (and hashed) already. Its ending does not matter.
        format: one of `holotype.weights.formats.WEIGHTS`; detected if None.
        key: which of several states, such as ``"state_dict"``; see `holotype.weights.formats.states`.

    Raises:
        UnknownFormatError: no such format.
        LoadingError: a format of programs, a torch that is too old, or no state under `key`.
        CheckpointError: the file is damaged, asks for code to be run, or holds no weights.
        MissingExtraError: torch is not installed.
    """
    if format is not None:
        check_format(format)
    import_torch()
    if not isinstance(source, OpenedFile):
        with OpenedFile(source) as file:
            return read_checkpoint(file, format, key=key)
    path = source.path
    try:
        format = check_format(format or detect_format(source))
        found = WEIGHTS[format].read(source, key)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror or error}.", given=str(path)
        ) from error
    kept, left_out = plain_record(found.record, path)
    left_out = tuple(name for name in left_out if name not in found.others)
    return Checkpoint(found.tensors, kept, path, format, left_out, found.key, found.others)


def plain_record(record: Mapping[str, Any], path: Path) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The plain values of a record, frozen; and the keys of the others, such as an optimizer's tensors.

    Raises:
        CheckpointError: it holds too many values, or nests them too deeply.
    """
    kept = {}
    left = [_MOST_VALUES]
    for key, value in record.items():
        if not _count(value, left, 0):
            raise CheckpointError(
                f"{path} holds more than {_MOST_VALUES} values beside its tensors, or nests them too deeply.",
                given=str(path),
            )
        try:
            kept[key] = freeze(value, key)
        except MetadataError:
            continue
    return freeze(kept), tuple(key for key in record if key not in kept)


def _count(value: object, left: list[int], depth: int) -> bool:
    """Count values as often as they are reached: a list that holds itself has few values, and is endless."""
    left[0] -= 1
    if left[0] < 0 or depth > 100:
        return False
    if isinstance(value, Mapping):
        return all(_count(item, left, depth + 1) for item in value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(_count(item, left, depth + 1) for item in value)
    return True
