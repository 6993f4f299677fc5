"""What the module of a weight format offers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from holotype.records import _Record
from holotype.weights.formats.opened import OpenedFile
from holotype.weights.formats.states import State

if TYPE_CHECKING:
    import torch
    from torch import nn

Program = Callable[..., "tuple[torch.Tensor, ...]"]
"""Takes tensors, returns a tuple of tensors."""


@dataclass(frozen=True, eq=False)
class TensorInfo(_Record):
    """A tensor in a file: its name, its dtype as torch calls it, and its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Contents:
    """What a file holds, found without loading it.

    Attributes:
        tensors: its tensors.
        record: what it holds besides.
        members: of a program: the names in the archive.
        key: where in the file these tensors stand, if it holds more than one state.
        others: where its other states stand.
    """

    tensors: tuple[TensorInfo, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    key: str | None = None
    others: tuple[str, ...] = ()


class Format(Protocol):
    """Any format."""

    ENDINGS: Sequence[str]
    """What the names of its files end in, in lower case."""

    def matches(self, front: bytes, members: Collection[str]) -> bool:
        """Is a file of this format?

        Args:
            front: its first 16 bytes.
            members: the names in it if it is a zip archive, else empty.
        """

    def inspect(self, file: OpenedFile) -> Contents:
        """List what a file holds, reading headers only where the format allows it.

        Raises:
            CheckpointError: it is damaged or unsafe.
            MissingExtraError: this format needs a package that is not installed.
        """


class WeightFormat(Format, Protocol):
    """A format that can be read into a network."""

    def read(self, file: OpenedFile, key: str | None = None) -> State:
        """The tensors by name, mapped where possible, and everything else in the file.

        Args:
            file: the file.
            key: which state, of a file that holds several.

        Raises:
            CheckpointError: it is damaged, unsafe, or holds no weights.
            LoadingError: it holds no state under `key`.
        """


class WritableFormat(WeightFormat, Protocol):
    """A format that can also be written."""

    def write(self, file: BinaryIO, state: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> None:
        """Write tensors and a record of plain data.

        Raises:
            CheckpointError: a tensor cannot be kept in this format.
            MetadataError: the record cannot be kept in it.
        """


class ProgramFormat(Format, Protocol):
    """A format of exported programs."""

    def run(self, file: OpenedFile) -> Program:
        """The program in a file. This executes code from the file."""

    def export(
        self, net: nn.Module, inputs: tuple[torch.Tensor, ...], path: Path, texts: Mapping[str, str]
    ) -> None:
        """Write a network as a program that takes batches of any size.

        Args:
            net: in evaluation mode.
            inputs: an example, batch first.
            path: the new file.
            texts: what to keep beside the program.
        """
