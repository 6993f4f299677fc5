"""What `load_pretrained_model` and `load_checkpoint` return beside the network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from holotype.frozen import FrozenDict, freeze, thaw
from holotype.records import _Record
from holotype.weights.adapt import other_statistics
from holotype.weights.checkpoint import Checkpoint
from holotype.weights.fill import LoadReport
from holotype.weights.plan import CHANNELS, Plan, as_size
from holotype.weights.recorded import resolution_of


@dataclass(frozen=True, eq=False)
class LoadedModelInfo(_Record):
    """A network that was loaded.

    Attributes:
        name: the pretrained entry, qualified; or the name that the file records.
        network: its architecture, qualified.
        tag: what distinguishes the entry from others of that architecture.
        task: what it is for.
        class_to_idx: from class name to the index of its output; empty if the names are not known, or
            the head was replaced.
        signature: shapes of inputs and outputs, 0 for any number, as in
            ``{"inputs": [{"data_shape": [0, 3, 224, 224]}], "outputs": [{"data_shape": [0, 1000]}]}``.
        rgb_stats: ``{"mean": […], "std": […]}`` of the images it was trained on; empty if unknown.
        resolution: (height, width) of its images, or None.
        preprocessing: how images become input: mean, std, interpolation, crop.
        sha256: the published hash of the weight file, or None.
        path: the weight file.
        format: its format.
        report: what happened to each tensor.
        bound: True if the file records its architecture and config, so that they were compared.
        config: the complete parameters of the network as it is now.
        record: everything else that the file records.
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


def model_info(
    checkpoint: Checkpoint,
    plan: Plan,
    report: LoadReport,
    *,
    bound: bool,
    name: str,
    network: str,
    tag: str | None,
    task: str | None,
    classes: Sequence[str] = (),
    num_classes: int | None = None,
    resolution: tuple[int, int] | None,
    preprocessing: Mapping[str, Any],
    sha256: str | None,
) -> LoadedModelInfo:
    """Combine what the file records with what is stated elsewhere, the file first, as adapted by the plan.

    `classes` are class names in the order of the outputs, for a file that records none; `num_classes` is the
    number of outputs, if something states it. The rest is as in `LoadedModelInfo`.
    """
    record = checkpoint.record
    class_to_idx = record.get("class_to_idx")
    if not isinstance(class_to_idx, Mapping) or not class_to_idx:
        class_to_idx = {name: index for index, name in enumerate(classes)}
    if plan.new_classes is not None:
        class_to_idx = {}
    config = {**plan.config, **plan.changed}
    pixels = thaw(preprocessing or record.get("preprocessing") or {})
    rgb_stats = thaw(record.get("rgb_stats"))
    if not is_rgb_stats(rgb_stats):
        rgb_stats = {key: list(pixels.get(key, ())) for key in ("mean", "std")}
    if plan.channels is not None:
        for values in (rgb_stats, pixels):
            if is_rgb_stats(values):
                values.update(
                    {key: other_statistics(values[key], plan.channels[1]) for key in ("mean", "std")}
                )
    signature = record.get("signature")
    resolution = resolution or resolution_of(signature) or as_size(plan.config.get("size"))
    if plan.new_size is not None:
        resolution = plan.new_size
        if "size" in pixels:
            pixels["size"] = list(plan.new_size)
    own = plan.config.get("num_classes")
    outputs = num_classes or (own if isinstance(own, int) else None) or len(class_to_idx) or None
    return LoadedModelInfo(
        name=name,
        network=network,
        tag=tag,
        task=task,
        class_to_idx=freeze(class_to_idx),
        signature=freeze(_signature(signature, plan, resolution, outputs)),
        rgb_stats=freeze(rgb_stats) if is_rgb_stats(rgb_stats) else FrozenDict(),
        resolution=resolution,
        preprocessing=freeze(pixels),
        sha256=sha256,
        path=str(checkpoint.path),
        format=checkpoint.format,
        report=replace(report, state=checkpoint.key, other_states=checkpoint.others),
        bound=bound,
        config=freeze(config),
        record=record,
    )


def _signature(
    recorded: object, plan: Plan, resolution: tuple[int, int] | None, outputs: int | None
) -> dict[str, Any]:
    """The recorded signature, or one made from resolution and number of outputs, as adapted by the plan."""
    made: dict[str, Any]
    if isinstance(recorded, Mapping) and recorded:
        made = thaw(recorded)
    elif resolution is None:
        return {}
    else:
        channels = next((plan.config[key] for key in CHANNELS if isinstance(plan.config.get(key), int)), 3)
        made = {"inputs": [{"data_shape": [0, channels, *resolution]}]}
        if outputs is not None:
            made["outputs"] = [{"data_shape": [0, outputs]}]
    if plan.new_classes is not None:
        made["outputs"] = [{"data_shape": [0, plan.new_classes]}]
    try:
        shape = made["inputs"][0]["data_shape"]
    except (TypeError, KeyError, IndexError):
        return made  # whatever a file holds
    if isinstance(shape, list) and len(shape) == 4:
        if plan.channels is not None:
            shape[1] = plan.channels[1]
        if plan.new_size is not None:
            shape[2:] = list(plan.new_size)
    return made


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
