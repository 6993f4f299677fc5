"""Exported programs: run, after the user said that they trust where they come from.

A weight file is data. A program is code: TorchScript and ``.pt2`` files say which operators to run on what,
may bring custom ones, and are read by a loader that was not made for files from strangers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.errors import CheckpointError, LoadingError
from holotype.weights.archives import open_archive
from holotype.weights.checkpoint import detect_format, import_torch
from holotype.weights.pinned import Pinned

if TYPE_CHECKING:
    import torch

Program = Callable[..., "tuple[torch.Tensor, ...]"]


def load_program(path: str | Path, *, trust: bool = False, sha256: str | None = None) -> Program:
    """Load an exported program: ``.pt2``, TorchScript or ONNX.

    Args:
        path: the file.
        trust: you know who made this file, and would run their code.
        sha256: refuse the file unless it has this hash.

    Returns:
        A function of tensors that returns a tuple of tensors.

    Raises:
        LoadingError: `trust` is not True; or the file holds weights, and no program.
        CheckpointError: it is damaged, or of no known format.
        VerificationError: it has another hash.
    """
    with Pinned(path) as pinned:
        if sha256 is not None:
            pinned.check_sha256(sha256)
        format = detect_format(pinned)
        if format not in ("pt2", "onnx"):
            raise LoadingError(
                f"{path} holds weights ({format}), not a program.",
                given=str(path),
                hint="Load it with load_checkpoint(path).",
            )
        if trust is not True:
            raise LoadingError(
                f"{path} holds a program, and loading it means running its author's code with your rights: "
                "it may do whatever you may do. It was not opened.",
                given=str(path),
                hint="If you trust where it comes from: load_program(path, trust=True). Otherwise ask for "
                "the weights as safetensors.",
            )
        import_torch()
        try:
            if format == "onnx":
                return run_onnx(pinned.handle)
            with (
                pinned.open() as file,
                open_archive(file, pinned.path, pinned.size, compressed=True) as archive,
            ):
                scripted = any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist())
            return run_torchscript(pinned.handle) if scripted else run_pt2(pinned)
        except LoadingError:
            raise
        except Exception as error:  # a broken file makes torch raise nearly anything
            text = str(error).strip().splitlines()
            raise CheckpointError(
                f"{path} cannot be loaded as a program: {text[0][:200] if text else type(error).__name__}",
                given=str(path),
            ) from error


def run_pt2(path: Path | Pinned) -> Program:
    """The program in a ``.pt2`` file."""
    import torch

    if isinstance(path, Pinned):
        with path.open() as file:  # torch asks for this ending where it is given a name
            module: Any = torch.export.load(file).module()
    else:
        module = torch.export.load(path).module()
    return lambda *tensors: _several(module(*tensors))


def run_torchscript(path: str) -> Program:
    """The program in a TorchScript file."""
    import torch

    module: Any = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    return lambda *tensors: _several(module(*tensors))


def run_onnx(path: str | Path) -> Program:
    """The program in an ONNX file, on the CPU."""
    import torch

    try:
        import onnxruntime  # type: ignore[import-untyped,import-not-found,unused-ignore]  # has no hints
    except ImportError as error:
        from holotype.extras import missing_extra

        raise missing_extra(error, "running ONNX") or error from error
    session = onnxruntime.InferenceSession(Path(path).read_bytes(), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def run(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        arrays = {
            name: tensor.detach().cpu().contiguous().numpy()
            for name, tensor in zip(names, tensors, strict=True)
        }
        return tuple(torch.from_numpy(array) for array in session.run(None, arrays))

    return run


def _several(outputs: Any) -> tuple[torch.Tensor, ...]:
    return tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)
