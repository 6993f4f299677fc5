"""Checkpoints: a weight file as tensors and a record, without running anything that is in it.

A ``.pt`` file is a pickle, and a pickle is a program. torch's restricted reader (``weights_only``) knows
tensors and plain values and refuses the rest; there is no way around it here, neither a parameter nor
a second attempt.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    import torch

READABLE = ("safetensors", "pt")
"""Formats that can be read, the preferred one first."""

OLDEST_TORCH = (2, 10)
# Where wrappers keep the weights; the first of them is Birder's layout.
_STATE_KEYS = ("state", "state_dict", "model_state_dict", "model")
_MOST_ENTRIES = 200_000
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
    """

    state: dict[str, torch.Tensor] = field(repr=False)
    record: Mapping[str, Any]
    path: Path
    format: str


def read_checkpoint(path: str | Path, format: str) -> Checkpoint:
    """Read a weight file.

    Args:
        path: the file; its ending does not matter.
        format: one of `READABLE`.

    Raises:
        UnknownFormatError: no such format.
        LoadingError: a format that cannot be read into a network, or a torch that is too old.
        CheckpointError: the file is damaged, asks for code to be run, or holds no weights.
        MissingExtraError: torch is not installed.
    """
    check_format(format)
    import_torch()
    path = Path(path)
    if format == "safetensors":
        from holotype.loading.safetensors import read_safetensors

        state, texts = read_safetensors(path)
        record = {key: _unpacked(text) for key, text in texts.items()}
        return Checkpoint(state, _plain(record), path, format)
    content = _load_pt(path)
    state, record = _split(content, path)
    return Checkpoint(state, _plain(record), path, format)


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
        f"{format!r} files cannot be loaded into a network; {' and '.join(READABLE)} can.", given=format
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


def _load_pt(path: Path) -> object:
    import torch

    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.", given=str(path)) from error
    zipped = start == b"PK\x03\x04"
    if zipped:
        _check_zip(path)
    elif not start.startswith(b"\x80"):  # the first byte of every pickle since Python 2.3
        looks = f"it starts with {start!r}" if start else "it is empty"
        raise CheckpointError(f"{path} is not a .pt file: {looks}.", given=str(path))
    try:
        # Files written before torch 1.6 are no zip and cannot be mapped. Nor is anything mapped where the
        # program has asked torch to share mappings: training would then write into the file.
        private = torch.serialization.get_default_mmap_options() != _map_shared()
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped and private)
    except pickle.UnpicklingError as error:
        wanted = _GLOBAL.search(str(error))
        what = f"asks for {wanted[1]}" if wanted else "is damaged, or holds more than tensors"
        raise CheckpointError(
            f"{path} {what}. It was refused; nothing in it was executed.",
            given=str(path),
            hint="Ask its publisher for a safetensors file, or for one that holds tensors only.",
        ) from error
    except Exception as error:  # a broken file makes torch raise nearly anything
        raise CheckpointError(
            f"{path} is damaged, or not a .pt file: {_first_line(error)}.", given=str(path)
        ) from error


def _map_shared() -> int | None:
    import mmap

    return getattr(mmap, "MAP_SHARED", None)


def _check_zip(path: Path) -> None:
    """Refuse what torch never writes: compressed, overlapping, doubled or escaping members."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(
            f"{path} is damaged, or was cut short: {_first_line(error)}.", given=str(path)
        ) from error
    names = [info.orig_filename for info in infos]
    problem = None
    if len(infos) > _MOST_ENTRIES:
        problem = f"{len(infos)} members"
    elif len(set(names)) != len(names):
        problem = "a member is there twice"
    elif any(name.endswith("/constants.pkl") for name in names):
        problem = "it is a TorchScript program, which is code"
    elif any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in infos):
        problem = "compressed members"
    elif sum(info.file_size for info in infos) > path.stat().st_size:
        problem = "its members claim more bytes than it has"
    elif any("\0" in name or ".." in name.split("/") or name.startswith("/") for name in names):
        problem = "a member's name leads out of the archive"
    elif any(info.file_size > _LARGEST_PICKLE for info in infos if info.filename.endswith(".pkl")):
        problem = "a pickle of more than 256 MiB"
    elif not any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
        problem = "no data.pkl in it"
    if problem:
        raise CheckpointError(f"{path} is not a .pt file of weights: {problem}.", given=str(path))


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
    return dict(state), record


def _plain(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The plain values of a record; an optimizer's tensors, say, are left behind."""
    kept = {}
    for key, value in record.items():
        try:
            kept[key] = freeze(value, key)
        except MetadataError:
            continue
    frozen: Mapping[str, Any] = freeze(kept)
    return frozen


def _unpacked(text: str) -> Any:
    # A safetensors header holds text only; structures are kept in it as JSON.
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".")[:200] if lines else type(error).__name__
