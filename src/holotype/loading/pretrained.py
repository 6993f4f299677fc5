"""From the name of a pretrained entry to a network that is ready to run.

First everything is decided: which file, whether it can be read, where it will run, whether the network can
be built. Only then is anything fetched. Then: verify, build without memory, map the file, assign.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from holotype.errors import LoadingError, MetadataError, UnknownFormatError, UnknownModelError
from holotype.frozen import FrozenDict, freeze
from holotype.loading.build import LoadReport, build_empty, fill
from holotype.loading.checkpoint import READABLE, Checkpoint, check_format, import_torch, read_checkpoint
from holotype.loading.keys import compile_key_map, map_keys
from holotype.names import nearest
from holotype.records import PretrainedMetadata, _Record
from holotype.store.fetch import decide, fetch

if TYPE_CHECKING:
    import torch
    from torch import nn

    from holotype.records import ModelInfo
    from holotype.store.progress import Progress


class Registry(Protocol):
    """What is asked of a registry here; every registry and every zoo does it."""

    def get_pretrained_metadata(self, name: str) -> PretrainedMetadata:
        """The record of a pretrained entry."""

    def get_model_info(self, name: str) -> ModelInfo:
        """What is known of an architecture."""

    def create_model(self, name: str, /, **params: Any) -> nn.Module:
        """Build a network."""


@dataclass(frozen=True, eq=False)
class LoadedModelInfo(_Record):
    """What one has to know of a network that was just loaded.

    Attributes:
        name: the pretrained entry, qualified.
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


def load_pretrained_model(
    name: str,
    *,
    inference: bool = False,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    format: str | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    size: int | tuple[int, int] | None = None,
    registry: Registry | None = None,
    progress: Progress | bool | None = None,
    allow_unverified: bool = False,
) -> tuple[nn.Module, LoadedModelInfo]:
    """Build the network of a pretrained entry and fill it with its weights.

    Args:
        name: the entry, such as ``"efficientnet_lite0_imagenet1k"``; may be qualified by its zoo.
        inference: put it in evaluation mode, with gradients off.
        device: where it will run.
        dtype: the floating dtype of its parameters, such as ``"bfloat16"``; the network's own if None.
        format: which weight file; the first of `READABLE` that the entry has if None.
        num_classes: another number of classes: the head is replaced by a new, untrained one, and the
            report says so. 0 for no head.
        in_channels: must be the entry's own for now.
        size: must be the entry's own resolution for now.
        registry: where to look; the default registry if None.
        progress: a function of (bytes so far, total or None), or True or False for a bar or none.
        allow_unverified: fetch a file whose sha256 nobody published, with a warning.

    Returns:
        The network, and what there is to know of it.

    Raises:
        UnknownPretrainedError, UnknownModelError, UnknownFormatError: with the nearest names.
        ParameterError, BrokenModelError, MissingExtraError: the network cannot be built.
        LoadingError: what was asked for is not possible.
        MismatchError: the file does not fit the network.
        CheckpointError: the file is damaged or unsafe.
        VerificationError, OfflineError, FetchError, StoreError: see `holotype.store.fetch.fetch`.
    """
    if registry is None:
        from holotype.registries import default_registry

        registry = default_registry
    entry = registry.get_pretrained_metadata(name)
    chosen = _choose_format(entry, format)
    file = entry.formats[chosen]
    known = {
        "sha256": file.sha256,
        "size": file.size_bytes,
        "size_mib": file.file_size,
        "allow_unverified": allow_unverified,
    }
    decide(entry.url_of(chosen), **known)  # type: ignore[arg-type]  # one mapping of four types
    compile_key_map(entry.key_map)
    classes = _classes(entry, registry)
    _check_shape_wishes(entry, in_channels, size)
    torch_device, torch_dtype = _check_device(device), _check_dtype(dtype)
    architecture = _architecture(entry, registry)
    builder = registry
    net = build_empty(lambda: builder.create_model(architecture, **entry.config))
    new_head = _wants_new_head(entry, net, num_classes)

    path = fetch(entry.url_of(chosen), progress=progress, **known)  # type: ignore[arg-type]  # as above
    checkpoint = read_checkpoint(path, chosen)
    names = map_keys(checkpoint.state, entry.key_map, wanted=net.state_dict().keys())
    report = fill(net, checkpoint.state, names=names, dtype=torch_dtype, origin=f"the file of {entry.name!r}")
    if new_head:
        report = _replace_head(net, num_classes, report)
    net.to(device=torch_device, dtype=torch_dtype)
    if inference:
        net.eval().requires_grad_(False)
    info = _describe(entry, architecture, checkpoint, classes, num_classes if new_head else None, report)
    return net, info


def _choose_format(entry: PretrainedMetadata, format: str | None) -> str:
    if format is not None:
        if format in entry.formats:
            return check_format(format)
        raise UnknownFormatError(
            f"{entry.name!r} has no {format!r} file; it has: {', '.join(entry.formats)}.",
            given=format,
            nearest=nearest(str(format), entry.formats),
        )
    for preferred in READABLE:
        if preferred in entry.formats:
            return preferred
    raise LoadingError(
        f"{entry.name!r} comes as {', '.join(entry.formats)} only; "
        f"{' and '.join(READABLE)} can be loaded into a network.",
        given=entry.name,
    )


def _architecture(entry: PretrainedMetadata, registry: Registry) -> str:
    """The qualified name of an entry's architecture: of its own zoo, or else of any."""
    if "/" not in entry.network:
        try:
            return registry.get_model_info(f"{entry.zoo}/{entry.network}").qualified_name
        except UnknownModelError:
            pass
    try:
        return registry.get_model_info(entry.network).qualified_name
    except UnknownModelError as error:
        error.add_note(f"The pretrained entry {entry.qualified_name!r} fills that architecture.")
        raise


def _check_shape_wishes(
    entry: PretrainedMetadata, in_channels: int | None, size: int | tuple[int, int] | None
) -> None:
    own_channels = _own_channels(entry)
    if in_channels is not None and in_channels != own_channels:
        raise LoadingError(
            f"{entry.name!r} was trained with {own_channels} input channels; loading it with {in_channels} "
            "is not possible yet.",
            given=in_channels,
        )
    if size is not None:
        wanted = (size, size) if isinstance(size, int) else tuple(size)
        if wanted != entry.resolution:
            own = " x ".join(map(str, entry.resolution)) if entry.resolution else "an unknown number of"
            raise LoadingError(
                f"{entry.name!r} was trained on {own} pixels; loading it for {' x '.join(map(str, wanted))} "
                "is not possible yet.",
                given=size,
            )


def _own_channels(entry: PretrainedMetadata) -> int:
    for key in ("in_channels", "input_channels"):
        if isinstance(entry.config.get(key), int):
            return int(entry.config[key])
    return 3


def _check_device(device: str | torch.device) -> torch.device:
    torch = import_torch()
    try:
        found = torch.device(device)
        if found.type == "meta":
            raise RuntimeError("it has no memory for weights")
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).strip().split("\n")[0].split(". ")[0].rstrip(".") or type(error).__name__
        raise LoadingError(
            f"the device {str(device)!r} cannot be used here: {reason}.", given=device
        ) from error
    return found  # type: ignore[no-any-return]  # the module came as Any


def _check_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype is None:
        return None
    torch = import_torch()
    floating = {
        name: value
        for name in ("float32", "float64", "float16", "bfloat16")
        if (value := getattr(torch, name, None)) is not None
    }
    found = floating.get(dtype.removeprefix("torch.")) if isinstance(dtype, str) else dtype
    if found not in floating.values():
        raise LoadingError(
            f"{dtype!r} is not a dtype for weights; expected one of {', '.join(floating)}.",
            given=dtype,
            nearest=nearest(dtype, floating) if isinstance(dtype, str) else (),
        )
    return found


def _wants_new_head(entry: PretrainedMetadata, net: nn.Module, num_classes: int | None) -> bool:
    if num_classes is None or num_classes == _own_classes(entry):
        return False
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 0:
        raise LoadingError(f"num_classes is 0 (no head) or more, got {num_classes!r}.", given=num_classes)
    if not callable(getattr(net, "reset_classifier", None)):
        raise LoadingError(
            f"{entry.network!r} cannot replace its head: it has no method reset_classifier(num_classes).",
            given=num_classes,
        )
    return True


def _own_classes(entry: PretrainedMetadata) -> int | None:
    if entry.num_classes is not None:
        return entry.num_classes
    own = entry.config.get("num_classes")
    return own if isinstance(own, int) else None


def _replace_head(net: nn.Module, num_classes: int | None, report: LoadReport) -> LoadReport:
    before = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    identities = {name: id(parameter) for name, parameter in net.named_parameters()}
    net.reset_classifier(num_classes)  # type: ignore[operator]  # asked for in _wants_new_head
    after = net.state_dict()
    kept = {name for name, parameter in net.named_parameters() if identities.get(name) == id(parameter)}
    parameters = {name for name, _ in net.named_parameters()}
    new = tuple(name for name in after if name not in before or (name in parameters and name not in kept))
    dropped = tuple(name for name in before if name not in after or name in new)
    return LoadReport(
        matched=report.matched - len(dropped),
        converted=report.converted,
        new=(*report.new, *new),
        ignored=(*report.ignored, *dropped),
    )


def _classes(entry: PretrainedMetadata, registry: Registry) -> tuple[str, ...]:
    """The class names that an entry tells, itself or in a file beside its zoo's code."""
    if entry.classes is None:
        return ()
    names = entry.classes if not isinstance(entry.classes, str) else _class_file(entry, registry)
    doubled = (
        sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    )
    if doubled:
        raise MetadataError(
            f"the classes of {entry.name!r} name some twice: {', '.join(doubled[:5])}.", given=entry.name
        )
    own = _own_classes(entry)
    if own is not None and own != len(names):
        raise MetadataError(
            f"{entry.name!r} tells {own} classes apart and names {len(names)}.", given=entry.name
        )
    return tuple(names)


def _class_file(entry: PretrainedMetadata, registry: Registry) -> tuple[str, ...]:
    name = str(entry.classes)
    # Zoos are known to the registry as a whole; one zoo's view of it keeps it behind `_registry`.
    zoos = getattr(getattr(registry, "_registry", registry), "list_zoos", None)
    folder = next((zoo.folder for zoo in (zoos() if zoos else ()) if zoo.name == entry.zoo), None)
    if folder is None:
        raise MetadataError(
            f"the classes of {entry.name!r} are in the file {name!r}, "
            f"and the zoo {entry.zoo!r} has no folder.",
            given=name,
            hint="Give the names themselves, as a list.",
        )
    base = Path(folder).resolve()
    path = (base / name).resolve()
    if not path.is_relative_to(base):
        raise MetadataError(f"the file of classes {name!r} of {entry.name!r} is outside its zoo.", given=name)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MetadataError(
            f"the classes of {entry.name!r} cannot be read from {path}: {error}.", given=name
        ) from error
    while lines and not lines[-1].strip():
        lines.pop()
    return tuple(line.strip() for line in lines)


def _describe(
    entry: PretrainedMetadata,
    architecture: str,
    checkpoint: Checkpoint,
    classes: tuple[str, ...],
    new_classes: int | None,
    report: LoadReport,
) -> LoadedModelInfo:
    """Put together what the file says of itself and what the entry says of it; the file counts first."""
    record = checkpoint.record
    class_to_idx = record.get("class_to_idx")
    if not isinstance(class_to_idx, Mapping) or not class_to_idx:
        class_to_idx = {name: index for index, name in enumerate(classes)}
    outputs = _own_classes(entry) or len(class_to_idx) or None
    if new_classes is not None:
        class_to_idx, outputs = {}, new_classes
    signature = record.get("signature")
    resolution = entry.resolution or _resolution(signature)
    if not isinstance(signature, Mapping) or not signature:
        signature = {}
        if resolution is not None:
            signature = {"inputs": [{"data_shape": [0, _own_channels(entry), *resolution]}]}
            if outputs is not None:
                signature["outputs"] = [{"data_shape": [0, outputs]}]
    elif new_classes is not None:
        signature = {**signature, "outputs": [{"data_shape": [0, new_classes]}]}
    rgb_stats = record.get("rgb_stats")
    if not _is_rgb_stats(rgb_stats):
        rgb_stats = {key: list(entry.preprocessing.get(key, ())) for key in ("mean", "std")}
    return LoadedModelInfo(
        name=entry.qualified_name,
        network=architecture,
        tag=entry.tag,
        task=entry.task,
        class_to_idx=freeze(class_to_idx),
        signature=freeze(signature),
        rgb_stats=freeze(rgb_stats) if _is_rgb_stats(rgb_stats) else FrozenDict(),
        resolution=resolution,
        preprocessing=entry.preprocessing,
        sha256=entry.formats[checkpoint.format].sha256,
        path=str(checkpoint.path),
        format=checkpoint.format,
        report=report,
    )


def _resolution(signature: object) -> tuple[int, int] | None:
    try:
        shape = signature["inputs"][0]["data_shape"]  # type: ignore[index]  # whatever a file holds
        height, width = shape[2:]
    except (TypeError, KeyError, IndexError, ValueError):
        return None
    return (height, width) if type(height) is int and type(width) is int and min(height, width) > 0 else None


def _is_rgb_stats(value: object) -> bool:
    if not isinstance(value, Mapping) or not {"mean", "std"} <= set(value):
        return False
    return all(
        isinstance(value[key], (list, tuple))
        and len(value[key]) > 0
        and all(isinstance(n, (int, float)) and math.isfinite(n) for n in value[key])
        for key in ("mean", "std")
    )
