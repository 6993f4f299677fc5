"""Checkpoints: a weight file as tensors and a record, without running anything that is in it.

A ``.pt`` file is a pickle, and a pickle is a program. torch's restricted reader (``weights_only``) knows
tensors and plain values and refuses the rest; there is no way around it here, neither a parameter nor
a second attempt.
"""

from __future__ import annotations

import io
import json
import mmap
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from holotype.errors import (
    CheckpointError,
    LoadingError,
    MetadataError,
    MissingExtraError,
    UnknownFormatError,
)
from holotype.frozen import freeze
from holotype.names import nearest
from holotype.records import FORMATS
from holotype.weights.archives import open_archive
from holotype.weights.collection import paused_collection
from holotype.weights.pickles import check_pickle, refusal
from holotype.weights.pinned import Pinned

if TYPE_CHECKING:
    import torch

READABLE = ("safetensors", "pt", "npz")
"""Formats that can be read, the preferred one first."""

OLDEST_TORCH = (2, 10)
# Where wrappers keep the weights; the first of them is Birder's layout.
_STATE_KEYS = ("state", "state_dict", "model_state_dict", "model")
_EXPANSION = 2**26  # one number may stand for a few, but not for a memory full of them
_MOST_VALUES = 1_000_000
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
_LARGEST_PICKLE = 2**28
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


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
    """

    state: dict[str, torch.Tensor] = field(repr=False)
    record: Mapping[str, Any]
    path: Path
    format: str
    left_out: tuple[str, ...] = ()

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


@paused_collection()
def read_checkpoint(source: str | Path | Pinned, format: str | None = None) -> Checkpoint:
    """Read a weight file.

    Args:
        source: the file, or one that was opened (and hashed) already. Its ending does not matter.
        format: one of `READABLE`; what the file looks like if None.

    Raises:
        UnknownFormatError: no such format.
        LoadingError: a format that cannot be read into a network, or a torch that is too old.
        CheckpointError: the file is damaged, asks for code to be run, or holds no weights.
        MissingExtraError: torch is not installed.
    """
    if format is not None:
        check_format(format)
    import_torch()
    if not isinstance(source, Pinned):
        with Pinned(source) as pinned:
            return read_checkpoint(pinned, format)
    path = source.path
    try:
        format = check_format(format or detect_format(source))
        if format == "safetensors":
            from holotype.weights.safetensors import read_safetensors

            state, texts = read_safetensors(source)
            return _checkpoint(state, record_of(texts), path, format)
        if format == "npz":
            from holotype.weights.npz import read_npz

            state, record = _split(read_npz(source), path)
        else:
            content = _load_pt(source)
            state, record = _split(content, path)
        return _checkpoint(state, record, path, format)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror or error}.", given=str(path)
        ) from error


def _checkpoint(
    state: dict[str, torch.Tensor], record: Mapping[str, Any], path: Path, format: str
) -> Checkpoint:
    kept = _plain(record, path)
    return Checkpoint(state, kept, path, format, tuple(key for key in record if key not in kept))


def detect_format(pinned: Pinned) -> str:
    """What a file looks like from its first bytes and, in an archive, its members' names.

    Raises:
        CheckpointError: like none of the known formats.
    """
    with pinned.open() as file:
        front = file.read(16)
        if front[:2] == b"PK":
            with open_archive(file, pinned.path, pinned.size, compressed=True) as archive:
                names = archive.namelist()
            tails = {name.partition("/")[2] or name for name in names}
            if any(t in tails for t in ("archive_format", "serialized_exported_program.json")) or any(
                name.endswith("models/model.json") for name in names
            ):
                return "pt2"
            if any(name.endswith("/constants.pkl") for name in names):
                return "pt2"
            if names and all(name.endswith(".npy") for name in names):
                return "npz"
            return "pt"
    if len(front) >= 9 and front[8:9] == b"{" and int.from_bytes(front[:8], "little") < 2**40:
        return "safetensors"
    if front[:1] == b"\x80":
        return "pt"
    if front[:1] == b"\x08" and len(front) > 4 and front[2:3] in (b"\x12", b"\x1a", b"\x22", b"\x3a", b"B"):
        return "onnx"
    looks = f"it starts with {front[:8]!r}" if front else "it is empty"
    raise CheckpointError(
        f"{pinned.path} is no weight file of a known format: {looks}.", given=str(pinned.path)
    )


def check_format(format: str) -> str:
    """Return `format` if a file of it can be read into a network.

    Raises:
        UnknownFormatError: no such format.
        LoadingError: a format of another kind.
    """
    if format in READABLE:
        return format
    if format not in FORMATS:
        raise UnknownFormatError(
            f"no weight format named {format!r}; known are {', '.join(FORMATS)}.",
            given=format,
            nearest=nearest(str(format), FORMATS),
        )
    raise LoadingError(
        f"{format!r} files cannot be loaded into a network: they hold a program, not only weights. "
        f"{', '.join(READABLE)} files can.",
        given=format,
        hint="Run it with holotype.weights.program.load_program(path, trust=True), if you trust its author.",
    )


def import_torch() -> Any:
    """The module ``torch``, if it is there and safe to read files with.

    Raises:
        MissingExtraError: it is not installed.
        LoadingError: it is too old.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(
            "loading weights needs torch, which is not installed.",
            given="torch",
            hint='Install it: pip install "holotype[torch]"',
        ) from error
    found = re.match(r"(\d+)\.(\d+)", str(torch.__version__))
    if found is None or (int(found[1]), int(found[2])) < OLDEST_TORCH:
        raise LoadingError(
            f"torch {torch.__version__} is too old to read weight files safely: before "
            f"{'.'.join(map(str, OLDEST_TORCH))} its restricted reader has known holes, through which a file "
            "can run code.",
            given=str(torch.__version__),
            hint='Update it: pip install --upgrade "holotype[torch]"',
        )
    return torch


def _load_pt(pinned: Pinned) -> object:
    import torch

    path = pinned.path
    with pinned.open() as file:
        start = file.read(4)
        zipped = start == b"PK\x03\x04"
        if zipped:
            _check_pt_archive(file, pinned)
        elif not start.startswith(b"\x80"):  # the first byte of every pickle since Python 2.3
            looks = f"it starts with {start!r}" if start else "it is empty"
            raise CheckpointError(f"{path} is not a .pt file: {looks}.", given=str(path))
        else:
            # Mapped: a pickle that claims a text of 2**60 bytes gets no more than there are.
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                check_pickle(cast("IO[bytes]", mapped), path, legacy=True)
    try:
        # Files written before torch 1.6 are no zip and cannot be mapped. Nor is anything mapped where the
        # program has asked torch to share mappings: training would then write into the file.
        private = torch.serialization.get_default_mmap_options() != _map_shared()
        content = torch.load(pinned.handle, map_location="cpu", weights_only=True, mmap=zipped and private)
    except pickle.UnpicklingError as error:
        wanted = _GLOBAL.search(str(error))
        what = f"asks for {wanted[1]}" if wanted else "is damaged, or holds more than tensors"
        raise refusal(path, what) from error
    except Exception as error:  # a broken file makes torch raise nearly anything
        raise CheckpointError(
            f"{path} is damaged, or not a .pt file: {_first_line(error)}.", given=str(path)
        ) from error
    pinned.check_same()
    return content


def _map_shared() -> int | None:
    return getattr(mmap, "MAP_SHARED", None)


def _check_pt_archive(file: BinaryIO, pinned: Pinned) -> None:
    """Refuse what torch never writes, and every pickle that asks for more than tensors."""
    path = pinned.path
    with open_archive(file, path, pinned.size, compressed=True) as archive:
        infos = archive.infolist()
        names = [info.filename for info in infos]
        pickles = [info for info in infos if info.filename.rpartition("/")[2] == "data.pkl"]
        problem = None
        if any(name.rpartition("/")[2] == "constants.pkl" for name in names):
            problem = "it is a TorchScript program, which is code"
        elif any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            problem = "compressed members"
        elif any(info.file_size > _LARGEST_PICKLE for info in infos if info.filename.endswith(".pkl")):
            problem = "a pickle of more than 256 MiB"
        elif len(pickles) != 1:
            problem = f"{len(pickles) or 'no'} data.pkl in it"
        elif len({name.partition("/")[0] for name in names}) != 1:
            problem = "several archives in one"
        if problem:
            raise CheckpointError(f"{path} is not a .pt file of weights: {problem}.", given=str(path))
        try:
            content = archive.read(pickles[0])
        except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged: {_first_line(error)}.", given=str(path)) from error
    check_pickle(io.BytesIO(content), path)


def _split(content: object, path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights and record: a bare state dict, or one that is wrapped with other things."""
    import torch

    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}, not a mapping from names to tensors.", given=str(path)
        )
    state: Mapping[Any, Any] = content
    record: dict[str, Any] = {}
    for key in _STATE_KEYS:
        inner = content.get(key)
        if isinstance(inner, Mapping):
            state = inner
            record = {str(name): value for name, value in content.items() if name != key}
            break
    wrong = [
        f"{name!r:.80} ({type(value).__name__})"
        for name, value in state.items()
        if not isinstance(name, str) or not name or "\0" in name or not isinstance(value, torch.Tensor)
    ]
    if wrong or not state:
        shown = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        problem = f"not tensors: {shown}" if wrong else "it is empty"
        raise CheckpointError(f"{path} holds no state dict: {problem}.", given=str(path))
    for name, tensor in state.items():
        held = 0 if tensor.is_meta or tensor.layout != torch.strided else tensor.untyped_storage().nbytes()
        if tensor.is_meta or tensor.numel() * tensor.element_size() > held + _EXPANSION:
            raise CheckpointError(
                f"{path}: {name!r:.80} claims {tuple(tensor.shape)} and has {held} bytes.", given=str(path)
            )
    return dict(state), record


def _plain(record: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """The plain values of a record; an optimizer's tensors, say, are left behind."""
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
    frozen: Mapping[str, Any] = freeze(kept)
    return frozen


def _count(value: object, left: list[int], depth: int) -> bool:
    """Count values as often as they are reached: a list of lists of one list has few, and is endless."""
    left[0] -= 1
    if left[0] < 0 or depth > 100:
        return False
    if isinstance(value, Mapping):
        return all(_count(item, left, depth + 1) for item in value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(_count(item, left, depth + 1) for item in value)
    return True


def record_of(texts: Mapping[str, str]) -> dict[str, Any]:
    """The record in a safetensors header: text there, structures kept in it as JSON."""
    return {key: text if key in TEXTS else _unpacked(text) for key, text in texts.items()}


def _unpacked(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".")[:200] if lines else type(error).__name__
