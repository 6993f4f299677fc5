"""What one has to know of a network that was just loaded, put together from file, entry and wishes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holotype.frozen import FrozenDict, freeze, thaw
from holotype.records import _Record
from holotype.weights.adapt import CHANNELS, Plan, as_size, other_statistics
from holotype.weights.build import LoadReport
from holotype.weights.checkpoint import Checkpoint


@dataclass(frozen=True, eq=False)
class LoadedModelInfo(_Record):
    """What one has to know of a network that was just loaded.

    Attributes:
        name: the pretrained entry, qualified; or the name in a file of one's own.
        network: its architecture, qualified.
        tag: what tells it from other entries of that architecture.
        task: what it is for.
        class_to_idx: from class name to the index of its output; empty where nobody says, or after
            the head was replaced.
        signature: shapes of inputs and outputs, 0 for any number, as in
            ``{"inputs": [{"data_shape": [0, 3, 224, 224]}], "outputs": [{"data_shape": [0, 1000]}]}``.
        rgb_stats: ``{"mean": […], "std": […]}`` of the pictures it was trained on; empty where unknown.
        resolution: (height, width) of its pictures, or None.
        preprocessing: how pictures become input: mean, std, interpolation, crop.
        sha256: of the weight file, or None if nobody published it.
        path: the weight file.
        format: its format.
        report: what happened to each tensor.
        bound: does the file itself record its architecture and config, and were they compared?
        config: the complete parameters of the network as it is now.
        record: everything else that the file says of itself.
    """

    name: str
    network: str
    tag: str | None
    task: str | None
    class_to_idx: Mapping[str, int]
    signature: Mapping[str, Any]
    rgb_stats: Mapping[str, Any]
    resolution: tuple[int, int] | None
    preprocessing: Mapping[str, Any]
    sha256: str | None
    path: str
    format: str
    report: LoadReport = field(default_factory=lambda: LoadReport(0))
    bound: bool = False
    config: Mapping[str, Any] = field(default_factory=FrozenDict)
    record: Mapping[str, Any] = field(default_factory=FrozenDict)


@dataclass(frozen=True)
class Told:
    """What is known of weights besides what their file says.

    Attributes:
        name: as in `LoadedModelInfo`; so are those that follow.
        network: …
        tag: …
        task: …
        classes: their names in the order of the outputs; may be empty.
        num_classes: how many outputs, or None.
        resolution: …
        preprocessing: …
        sha256: …
    """

    name: str
    network: str
    tag: str | None = None
    task: str | None = None
    classes: tuple[str, ...] = ()
    num_classes: int | None = None
    resolution: tuple[int, int] | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=FrozenDict)
    sha256: str | None = None


def describe(
    told: Told, checkpoint: Checkpoint, plan: Plan, report: LoadReport, *, bound: bool
) -> LoadedModelInfo:
    """Put together what the file says and what is told of it, the file first, as the wishes changed it."""
    record = checkpoint.record
    class_to_idx = record.get("class_to_idx")
    if not isinstance(class_to_idx, Mapping) or not class_to_idx:
        class_to_idx = {name: index for index, name in enumerate(told.classes)}
    if plan.new_classes is not None:
        class_to_idx = {}
    config = {**plan.config, **plan.changed}
    preprocessing = thaw(told.preprocessing or record.get("preprocessing") or {})
    rgb_stats = thaw(record.get("rgb_stats"))
    if not is_rgb_stats(rgb_stats):
        rgb_stats = {key: list(preprocessing.get(key, ())) for key in ("mean", "std")}
    if plan.channels is not None:
        for values in (rgb_stats, preprocessing):
            if is_rgb_stats(values):
                values.update(
                    {key: other_statistics(values[key], plan.channels[1]) for key in ("mean", "std")}
                )
    own_size = told.resolution or resolution_of(record.get("signature")) or as_size(plan.config.get("size"))
    resolution = plan.new_size or own_size
    if plan.new_size is not None and "size" in preprocessing:
        preprocessing["size"] = list(plan.new_size)
    return LoadedModelInfo(
        name=told.name,
        network=told.network,
        tag=told.tag,
        task=told.task,
        class_to_idx=freeze(class_to_idx),
        signature=freeze(_signature(record.get("signature"), told, plan, resolution, len(class_to_idx))),
        rgb_stats=freeze(rgb_stats) if is_rgb_stats(rgb_stats) else FrozenDict(),
        resolution=resolution,
        preprocessing=freeze(preprocessing),
        sha256=told.sha256,
        path=str(checkpoint.path),
        format=checkpoint.format,
        report=report,
        bound=bound,
        config=freeze(config),
        record=record,
    )


def _signature(
    signature: object, told: Told, plan: Plan, resolution: tuple[int, int] | None, named: int
) -> dict[str, Any]:
    outputs = plan.new_classes
    if not isinstance(signature, Mapping) or not signature:
        if resolution is None:
            return {}
        channels = next((plan.config[key] for key in CHANNELS if isinstance(plan.config.get(key), int)), 3)
        made: dict[str, Any] = {"inputs": [{"data_shape": [0, channels, *resolution]}]}
        own = plan.config.get("num_classes")
        total = told.num_classes or (own if isinstance(own, int) else None) or named or None
        if total is not None:
            made["outputs"] = [{"data_shape": [0, total]}]
    else:
        made = thaw(signature)
    if outputs is not None:
        made["outputs"] = [{"data_shape": [0, outputs]}]
    inputs = made.get("inputs")
    shape = (
        inputs[0].get("data_shape")
        if isinstance(inputs, list) and inputs and isinstance(inputs[0], dict)
        else 0
    )
    if isinstance(shape, list) and len(shape) == 4:
        if plan.channels is not None:
            shape[1] = plan.channels[1]
        if plan.new_size is not None:
            shape[2:] = list(plan.new_size)
    return made


def resolution_of(signature: object) -> tuple[int, int] | None:
    """(height, width) of the first input, if it is pictures."""
    try:
        shape = signature["inputs"][0]["data_shape"]  # type: ignore[index]  # whatever a file holds
        return as_size(list(shape[2:])) if len(shape) == 4 else None
    except (TypeError, KeyError, IndexError, ValueError):
        return None


def is_rgb_stats(value: object) -> bool:
    """Is it ``{"mean": […], "std": […]}`` of finite numbers?"""
    if not isinstance(value, Mapping) or not {"mean", "std"} <= set(value):
        return False
    return all(
        isinstance(value[key], (list, tuple))
        and len(value[key]) > 0
        and all(isinstance(n, (int, float)) and math.isfinite(n) for n in value[key])
        for key in ("mean", "std")
    )
