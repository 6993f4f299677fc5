"""From the name of a pretrained entry to a network that is ready to run.

First everything is decided: which file, whether it can be read, where it will run, whether the network can
be built, how it will be adapted. Only then is anything fetched. Then: verify, map the file, compare what it
records, assign.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from holotype.errors import LoadingError, MetadataError, UnknownFormatError, UnknownModelError
from holotype.names import nearest
from holotype.records import PretrainedMetadata
from holotype.store.fetch import decide, fetch_open
from holotype.weights.adapt import Plan, Wishes, as_size, builder, carry_out, plan
from holotype.weights.bare import has_head, in_our_words, params_of
from holotype.weights.binding import check_record
from holotype.weights.checkpoint import READABLE, Checkpoint, check_format, read_checkpoint
from holotype.weights.describe import LoadedModelInfo, Told, describe
from holotype.weights.keys import compile_key_map, map_keys
from holotype.weights.pinned import Pinned

__all__ = ["LoadedModelInfo", "load_pretrained_model"]

if TYPE_CHECKING:
    import torch
    from torch import nn

    from holotype.records import ModelInfo
    from holotype.store.progress import Progress


_ASKED = frozenset({"num_classes", "in_channels", "size"})
"""What a file is asked for where its entry does not say it."""


class Registry(Protocol):
    """What is asked of a registry here; every registry and every zoo does it."""

    def get_pretrained_metadata(self, name: str) -> PretrainedMetadata:
        """The record of a pretrained entry."""

    def get_model_info(self, name: str) -> ModelInfo:
        """What is known of an architecture."""

    def get_model_class(self, name: str, /) -> type:
        """The class of an architecture."""

    def create_model(self, name: str, /, **params: Any) -> nn.Module:
        """Build a network."""


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
    allow_missing: str | Iterable[str] = (),
    allow_unexpected: str | Iterable[str] = (),
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
        in_channels: another number of input channels: the first filters are made from the old ones; see
            `holotype.weights.adapt.other_channels`.
        size: another side in pixels, or (height, width); position embeddings are interpolated.
        allow_missing: globs of names in the network that the file need not hold; they stay as initialised.
        allow_unexpected: globs of names in the file to leave out.
        registry: where to look; the default registry if None.
        progress: a function of (bytes so far, total or None), or True or False for a bar or none.
        allow_unverified: fetch a file whose sha256 nobody published, with a warning.

    Returns:
        The network, and what there is to know of it.

    Raises:
        UnknownPretrainedError, UnknownModelError, UnknownFormatError: with the nearest names.
        ParameterError, BrokenModelError, MissingExtraError: the network cannot be built.
        LoadingError: what was asked for is not possible.
        MismatchError: the file does not fit the network, or records another architecture or config.
        CheckpointError: the file is damaged or unsafe.
        VerificationError, OfflineError, FetchError, StoreError: see `holotype.store.fetch.fetch`.
    """
    if registry is None:
        from holotype.catalog.registry import default_registry

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
    address = _address(entry, chosen, registry)
    decide(address, **known)  # type: ignore[arg-type]  # one mapping of four types
    compile_key_map(entry.key_map)
    classes = _classes(entry, registry)
    wishes = Wishes.checked(
        num_classes=num_classes,
        in_channels=in_channels,
        size=size,
        device=device,
        dtype=dtype,
        inference=inference,
        allow_missing=allow_missing,
        allow_unexpected=allow_unexpected,
    )
    architecture = _architecture(entry, registry)
    build = builder(registry.create_model, architecture)
    config = config_of(entry, architecture, registry)
    made = plan(
        entry.name,
        build,
        config,
        wishes,
        num_classes=entry.num_classes,
        size=entry.resolution,
    )
    published = entry.metadata.get("config_fingerprint")
    if published is not None:
        record = {"config_fingerprint": published}
        check_record(record, architecture, made.config, registry, origin=f"the entry {entry.name!r}")

    origin = f"the file of {entry.name!r}"
    # One opened file from here on: what was hashed is what is read, whatever takes its name meanwhile.
    with (
        fetch_open(address, progress=progress, **known) as opened,  # type: ignore[arg-type]  # as above
        Pinned(opened.name, os.dup(opened.fileno())) as pinned,
    ):
        checkpoint = in_our_words(read_checkpoint(pinned, chosen), architecture, registry)
    told_by_file = _unsaid(entry, config, checkpoint, made, build, architecture, registry)
    if told_by_file:
        made = plan(
            entry.name,
            build,
            {**config, **told_by_file},
            wishes,
            num_classes=told_by_file.get("num_classes", entry.num_classes),
            size=as_size(told_by_file.get("size")) or entry.resolution,
        )
    bound = check_record(checkpoint.record, architecture, made.config, registry, origin=origin)
    net, report = carry_out(made, checkpoint.state, entry.key_map, origin)
    told = Told(
        name=entry.qualified_name,
        network=architecture,
        tag=entry.tag,
        task=entry.task,
        classes=classes,
        num_classes=_own_classes(entry),
        resolution=entry.resolution,
        preprocessing=entry.preprocessing,
        sha256=file.sha256,
    )
    return net, describe(told, checkpoint, made, report, bound=bound)


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


def config_of(entry: PretrainedMetadata, architecture: str, registry: Registry) -> Mapping[str, Any]:
    """An entry's parameters: its config and, where that does not say it, the backbone that the entry has."""
    if entry.backbone is None or "backbone" in entry.config:
        return entry.config
    parameters = registry.get_model_info(architecture).parameters or ()
    takes_one = any(parameter.name == "backbone" for parameter in parameters)
    return {**entry.config, "backbone": entry.backbone} if takes_one else entry.config


def _unsaid(
    entry: PretrainedMetadata,
    config: Mapping[str, Any],
    checkpoint: Checkpoint,
    made: Plan,
    build: Callable[[Mapping[str, Any]], nn.Module],
    architecture: str,
    registry: Registry,
) -> dict[str, Any]:
    """What only the file tells: parameters that the entry leaves open. A file of our own is compared."""
    if isinstance(checkpoint.record.get("architecture"), str):
        return {}
    known = {parameter.name for parameter in registry.get_model_info(architecture).parameters or ()}
    said = set(config) | ({"num_classes"} if entry.num_classes is not None else set())
    found = {key: value for key, value in params_of(checkpoint.record, known).items() if key in _ASKED - said}
    if found.get("num_classes"):
        held = {name for name in map_keys(checkpoint.state, entry.key_map).values() if name is not None}
        complete = held.issuperset(made.net.state_dict())
        if not complete and not has_head(held, build, {**config, "num_classes": 1}):
            found["num_classes"] = 0
    return {key: value for key, value in found.items() if made.config.get(key) != value}


def _own_classes(entry: PretrainedMetadata) -> int | None:
    if entry.num_classes is not None:
        return entry.num_classes
    own = entry.config.get("num_classes")
    return own if isinstance(own, int) else None


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
    path = _beside_the_code(entry, registry, name, "classes", "Give the names themselves, as a list.")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MetadataError(
            f"the classes of {entry.name!r} cannot be read from {path}: {error}.", given=name
        ) from error
    while lines and not lines[-1].strip():
        lines.pop()
    return tuple(line.strip() for line in lines)


def _address(entry: PretrainedMetadata, format: str, registry: Registry) -> str:
    """Where a file of an entry is; a path without a scheme is that of a file beside the zoo's code."""
    address = entry.url_of(format)
    if "://" in address:
        return address
    how = "Write file:///folder/name for any other file of this machine."
    path = _beside_the_code(entry, registry, address, f"{format} file", how)
    if not path.is_file():
        raise MetadataError(
            f"the {format} file of {entry.name!r} is not there: {path}.",
            given=address,
            hint="A file that comes with a package is missing: install the package again.",
        )
    return path.as_uri()


def _beside_the_code(entry: PretrainedMetadata, registry: Registry, name: str, what: str, hint: str) -> Path:
    """The path of a file that lies in the folder of an entry's zoo."""
    # Zoos are known to the registry as a whole; one zoo's view of it keeps it behind `_registry`.
    zoos = getattr(getattr(registry, "_registry", registry), "list_zoos", None)
    folder = next((zoo.folder for zoo in (zoos() if zoos else ()) if zoo.name == entry.zoo), None)
    if folder is None:
        raise MetadataError(
            f"the {what} of {entry.name!r}: {name!r} is the name of a file beside the zoo's code, "
            f"and the zoo {entry.zoo!r} has no folder.",
            given=name,
            hint=hint,
        )
    base = Path(folder).resolve()
    path = (base / name).resolve()
    if not path.is_relative_to(base):
        raise MetadataError(
            f"the {what} of {entry.name!r}: {name!r} is outside its zoo.", given=name, hint=hint
        )
    return path
