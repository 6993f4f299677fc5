"""A finished run as a pretrained entry: to load by name, to fine-tune, or as the backbone of a detector."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.catalog.zoos import SESSION
from holotype.errors import DataError
from holotype.files import sha256_of
from holotype.frozen import thaw
from holotype.training.folder import ENCODER, RESULT, WEIGHTS

if TYPE_CHECKING:
    from holotype.catalog.registry import Registry
    from holotype.records import PretrainedMetadata


def entry_of(folder: str | PathLike[str], name: str, *, tag: str | None = None) -> dict[str, Any]:
    """The row of ``pretrained.toml`` for a finished run; for its encoder, if it had no labels.

    Args:
        folder: the run's.
        name: of the entry.
        tag: distinguishes it from other entries of its architecture; by default what `name` adds to it.

    Returns:
        The fields of `holotype.PretrainedMetadata` as plain data, with the run's lineage.

    Raises:
        DataError: the run is not finished.
        CheckpointError: its weights are damaged.
    """
    from holotype.weights.inspect import inspect_file
    from holotype.weights.recorded import resolution_of

    folder = Path(folder)
    path = next((folder / file for file in (ENCODER, WEIGHTS) if (folder / file).is_file()), None)
    if path is None or not (folder / RESULT).is_file():
        raise DataError(
            f"{folder} is not the folder of a finished run.",
            given=str(folder),
            hint=f"A run that was interrupted goes on with: holotype train {folder} --resume",
        )
    file = inspect_file(path)
    record, config = file.record, thaw(file.config)
    network = str(file.architecture)
    short = network.rpartition("/")[2]
    classes = sorted(record.get("class_to_idx") or {}, key=lambda one: record["class_to_idx"][one])
    entry: dict[str, Any] = {
        "network": network,
        "tag": tag or name.removeprefix(f"{short}_"),
        "task": record.get("task"),
        "description": f"{short} trained on {record.get('dataset')}",
        "resolution": list(resolution_of(record.get("signature")) or ()),
        "num_classes": config.get("num_classes"),
        "classes": classes,
        "params": file.params,
        "dataset": record.get("dataset"),
        "metrics": thaw(record.get("metrics") or ()),
        "preprocessing": thaw(record.get("preprocessing") or {}),
        "config": config,
        "lineage": thaw(record.get("lineage") or {}),
        "formats": {
            "safetensors": {
                "url": path.resolve().as_uri(),
                "sha256": sha256_of(path),
                "size_bytes": path.stat().st_size,
            }
        },
    }
    return {key: value for key, value in entry.items() if value not in (None, [], {}, "")}


def register_run(
    folder: str | PathLike[str],
    name: str,
    *,
    tag: str | None = None,
    replace: bool = False,
    registry: Registry | None = None,
) -> PretrainedMetadata:
    """Make a finished run a pretrained entry of this session.

    Afterwards ``load_pretrained_model(name)``, ``from_pretrained: name`` in a recipe and
    ``create_model("retinanet", backbone=name)`` find it.

    Args:
        folder: the run's.
        name: of the entry.
        tag: see `entry_of`.
        replace: replace an entry of that name.
        registry: where to register it; the default registry if None.

    Returns:
        The entry.

    Raises:
        DataError: the run is not finished.
        InvalidNameError, DuplicateNameError: of the name.
    """
    if registry is None:
        from holotype.catalog.registry import default_registry

        registry = default_registry
    session = registry.zoo(SESSION)
    session.register_weights(name, entry_of(folder, name, tag=tag), replace=replace)
    return session.get_pretrained_metadata(name)
