"""Optional packages: which extra installs which."""

from __future__ import annotations

from typing import Any

from holotype.errors import MissingExtraError

EXTRAS = {
    "torch": "torch",
    "numpy": "torch",
    "PIL": "vision",
    "obstore": "s3",
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "export",
    "lightning": "training",
    "tensorboard": "training",
    "matplotlib": "report",
    "transformers": "esm",
    "pyarrow": "parquet",
    "pycocotools": "vision-training",
    "scipy": "vision-training",
    "ray": "ray",
}


def missing_extra(error: ImportError, what: str) -> MissingExtraError | None:
    """The error to raise instead, if what could not be imported comes with one of Holotype's extras.

    Args:
        error: as Python raised it.
        what: what needs the package, to begin the message with.
    """
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return None
    return MissingExtraError(
        f"{what} needs {package}, which is not installed.",
        given=package,
        hint=f'pip install "holotype[{EXTRAS[package]}]"',
    )


def import_pyarrow(instead: str) -> tuple[Any, Any]:
    """The modules ``pyarrow`` and ``pyarrow.parquet``.

    Args:
        instead: a file name with which the output would be text.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow  # type: ignore[import-untyped]  # it has no types
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError(
            "writing Parquet needs pyarrow, which is not installed.",
            given="pyarrow",
            hint=f'pip install "holotype[parquet]"; or write text: -o {instead}',
        ) from error
    return pyarrow, parquet
