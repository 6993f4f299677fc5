"""Optional packages: which extra installs which."""

from __future__ import annotations

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
