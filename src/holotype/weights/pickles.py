"""Which names a pickle may ask for, found by reading it and not by running it.

torch's restricted reader has a list of its own, and any library in the process may lengthen that. This one
is fixed, and shorter: tensors, their storages and dtypes, and plain containers.
"""

from __future__ import annotations

import pickletools
from functools import lru_cache
from pathlib import Path
from typing import IO

from holotype.errors import CheckpointError

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
