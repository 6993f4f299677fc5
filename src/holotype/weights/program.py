"""Exported programs: run, once the user has said that they trust the author.

A weight file is data. A program is code: TorchScript, ``.pt2`` and ONNX files name the operators to run, may
bring custom ones, and are read by loaders that were not made for files from strangers.
"""

from __future__ import annotations

from pathlib import Path

from holotype.errors import CheckpointError, HolotypeError, LoadingError
from holotype.weights.formats import PROGRAMS, detect_format
from holotype.weights.formats.interface import Program
from holotype.weights.formats.opened import OpenedFile, first_line
from holotype.weights.formats.pt import import_torch


def load_program(path: str | Path, *, trust: bool = False, sha256: str | None = None) -> Program:
    """Load an exported program: ``.pt2``, TorchScript or ONNX.

    Args:
        path: the file.
        trust: True if you know who made this file, and would run their code.
        sha256: refuse the file unless it has this hash.

    Returns:
        A function of tensors that returns a tuple of tensors.

    Raises:
        LoadingError: `trust` is not True; or the file holds weights, not a program.
        CheckpointError: it is damaged, or of no known format.
        VerificationError: it has another hash.
        MissingExtraError: an ONNX file, and onnxruntime is not installed.
    """
    with OpenedFile(path) as file:
        if sha256 is not None:
            file.check_sha256(sha256)
        format = detect_format(file)
        if format not in PROGRAMS:
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
            return PROGRAMS[format].run(file)
        except HolotypeError:
            raise
        except Exception as error:  # a broken file makes torch raise nearly anything
            raise CheckpointError(
                f"{path} cannot be loaded as a program: {first_line(error)}", given=str(path)
            ) from error
