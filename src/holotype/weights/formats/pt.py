"""``.pt`` files: pickles, read without executing anything that is in them.

A pickle is a program. It is read as data first, and refused if it asks for any name outside a short list;
then torch's restricted reader (``weights_only``) loads it. Nothing bypasses either.
Torch has a list of its own, which any library in the process may lengthen; the list here is fixed, and
shorter: tensors, their storages and dtypes, and plain containers.
"""

from __future__ import annotations

import io
import mmap
import pickle
import pickletools
import re
import zipfile
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from holotype.errors import CheckpointError, LoadingError, MissingExtraError
from holotype.weights.formats.interface import Contents, TensorInfo
from holotype.weights.formats.opened import OpenedFile, first_line
from holotype.weights.formats.states import State, choose
from holotype.weights.formats.zip import open_zip

if TYPE_CHECKING:
    import torch

ENDINGS = (".pt", ".pth")
OLDEST_TORCH = (2, 10)
_EXPANSION = 2**26  # one number may stand for a few, but not for a memory full of them
_LARGEST_PICKLE = 2**28
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
_CONTAINERS = {
    "collections OrderedDict",
    "collections Counter",
    "builtins set",
    "__builtin__ set",
    "builtins complex",
    "__builtin__ complex",
    "torch Size",
    "torch Tensor",
    "torch device",
    "torch.nn.parameter Parameter",
    "torch.serialization _get_layout",
    "torch.storage UntypedStorage",
    "torch.storage TypedStorage",
    "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_tensor_v3",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_parameter_with_state",
    "torch._tensor _rebuild_from_type_v2",
}
# Opcodes that reach a name in another way than GLOBAL does.
_OTHER_WAYS = frozenset({"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEWOBJ_EX", "PERSID"})
_LEGACY_PICKLES = 5  # magic number, protocol, system, content, names of storages


def matches(front: bytes, members: Collection[str]) -> bool:
    """A pickle, alone or in an archive."""
    return front[:1] == b"\x80" or any(name.rpartition("/")[2] == "data.pkl" for name in members)


def inspect(file: OpenedFile) -> Contents:
    """What is in it; the file is mapped, so its numbers stay on the disk."""
    state = read(file)
    tensors = tuple(
        TensorInfo(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, tensor in state.tensors.items()
    )
    return Contents(tensors, state.record, key=state.key, others=state.others)


def read(file: OpenedFile, key: str | None = None) -> State:
    """A state dict of a file, bare or wrapped, and what stands beside it.

    Raises:
        CheckpointError: the file is damaged, asks for code to be run, or holds no state dict.
        LoadingError: it holds none under `key`.
    """
    content = _load(file)
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{file.path} holds a {type(content).__name__}, not a mapping from names to tensors.",
            given=str(file.path),
        )
    state = choose(content, file.path, key)
    _check_sizes(state.tensors, file.path)
    return state


def write(file: BinaryIO, state: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> None:
    """Write the layout that `read` and Birder understand: ``{"state": …, key: value, …}``."""
    import torch

    torch.save({"state": _apart(state), **record}, file)


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


def _load(file: OpenedFile) -> object:
    torch = import_torch()
    path = file.path
    with file.open() as opened:
        start = opened.read(4)
        zipped = start == b"PK\x03\x04"
        if zipped:
            _check_archive(file)
        elif not start.startswith(b"\x80"):  # the first byte of every pickle since Python 2.3
            looks = f"it starts with {start!r}" if start else "it is empty"
            raise CheckpointError(f"{path} is not a .pt file: {looks}.", given=str(path))
        else:
            # Mapped: a pickle that claims a text of 2**60 bytes gets no more than there are.
            with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                check_pickle(cast("IO[bytes]", mapped), path, legacy=True)
    try:
        # Files written before torch 1.6 are not zip archives and cannot be mapped. If the program has asked
        # torch to share mappings, nothing is mapped either: training would then write into the file.
        private = torch.serialization.get_default_mmap_options() != _map_shared()
        content = torch.load(file.handle, map_location="cpu", weights_only=True, mmap=zipped and private)
    except pickle.UnpicklingError as error:
        wanted = _GLOBAL.search(str(error))
        what = f"asks for {wanted[1]}" if wanted else "is damaged, or holds more than tensors"
        raise refusal(path, what) from error
    except Exception as error:  # a broken file makes torch raise nearly anything
        raise CheckpointError(
            f"{path} is damaged, or not a .pt file: {first_line(error)}.", given=str(path)
        ) from error
    file.check_same()
    return content


def _map_shared() -> int | None:
    return getattr(mmap, "MAP_SHARED", None)


def _check_archive(file: OpenedFile) -> None:
    """Refuse what torch never writes, and every pickle that asks for more than tensors."""
    path = file.path
    with open_zip(file) as archive:
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
            raise CheckpointError(f"{path} is damaged: {first_line(error)}.", given=str(path)) from error
    check_pickle(io.BytesIO(content), path)


def _check_sizes(state: Mapping[str, torch.Tensor], path: Path) -> None:
    import torch

    for name, tensor in state.items():
        held = 0 if tensor.is_meta or tensor.layout != torch.strided else tensor.untyped_storage().nbytes()
        if tensor.is_meta or tensor.numel() * tensor.element_size() > held + _EXPANSION:
            raise CheckpointError(
                f"{path}: {name!r:.80} claims {tuple(tensor.shape)} and has {held} bytes.", given=str(path)
            )


def import_torch() -> Any:
    """The module ``torch``, if it is installed and reads files safely.

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


@lru_cache(maxsize=1)
def allowed_names() -> frozenset[str]:
    """Every name that a file of weights may ask for, as ``module name``."""
    import torch

    dtypes = {f"torch {name}" for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)}
    storages = {f"torch {cls.__name__}" for cls in torch._storage_classes if cls.__module__ == "torch"}
    return frozenset(_CONTAINERS | dtypes | storages)


def check_pickle(stream: IO[bytes], path: Path, *, legacy: bool = False) -> None:
    """Refuse a pickle that asks for a name outside the list.

    Args:
        stream: at its start; no more of it is held in memory than it has bytes.
        path: for messages.
        legacy: five pickles follow each other, as torch wrote them before 1.6.

    Raises:
        CheckpointError: it asks for another name, or is damaged.
    """
    wanted: str | None = None
    try:
        for _ in range(_LEGACY_PICKLES if legacy else 1):
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name == "GLOBAL" and argument not in allowed_names():
                    wanted = str(argument).replace(" ", ".")
                elif opcode.name in _OTHER_WAYS:
                    wanted = f"{wanted or 'names'} in a way that torch never writes ({opcode.name})"
                if wanted is not None:
                    raise refusal(path, f"asks for {wanted}"[:300])
    except CheckpointError:
        raise
    except Exception as error:  # a broken pickle makes pickletools raise nearly anything
        raise refusal(path, "is damaged, or holds more than tensors") from error


def refusal(path: Path, what: str) -> CheckpointError:
    """The error for a pickle that is not read."""
    return CheckpointError(
        f"{path} {what}. It was refused; nothing in it was executed.",
        given=str(path),
        hint="Ask its publisher for a safetensors file, or for one that holds tensors only.",
    )
