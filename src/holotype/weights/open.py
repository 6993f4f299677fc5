"""From a pretrained entry, a weight file or the folder of a training run to a network that is ready to run.

`find` resolves what a user gave; it fetches and loads nothing. `Found.open` loads it, by one of
`load_pretrained_model` and `load_checkpoint`. Both decide everything first: which file, which architecture
and config, how the network will be adapted, where it will run. Only then is anything fetched, verified,
mapped, compared with what it records, and assigned.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from holotype.catalog.values import differences, from_data
from holotype.errors import (
    DataError,
    HolotypeError,
    LoadingError,
    MismatchError,
    UnknownModelError,
    UnknownPretrainedError,
    UnknownZooError,
)
from holotype.store.fetch import decide, fetch_open
from holotype.weights.checkpoint import Checkpoint, read_checkpoint
from holotype.weights.formats import ENDINGS
from holotype.weights.formats.opened import OpenedFile
from holotype.weights.inspect import inspect_file
from holotype.weights.keys import compile_key_map, map_keys
from holotype.weights.model_info import LoadedModelInfo, model_info
from holotype.weights.plan import Plan, Wishes, as_size, builder, carry_out, plan
from holotype.weights.recorded import (
    check_record,
    has_head,
    known_params,
    recorded_architecture,
    resolution_of,
    resolve,
)
from holotype.weights.stated import (
    address_of,
    architecture_of,
    choose_format,
    class_names,
    config_of,
    stated_classes,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

    from holotype.catalog.registry import Zoo
    from holotype.progress import Progress
    from holotype.records import ModelInfo, PretrainedMetadata

WEIGHTS_OF_RUN = "model.safetensors"
"""The weight file in the folder of a training run."""
# What a file without an architecture may decide where its entry leaves it open.
_FROM_RECORD = frozenset({"num_classes", "in_channels", "size"})


@dataclass(frozen=True)
class Found:
    """What a user gave, resolved; nothing was fetched or loaded.

    Attributes:
        given: as the user wrote it.
        kind: what it is.
        path: the weight file, of a file or a run.
        entry: the record of an entry.
        architecture: the architecture, of an entry or an architecture; a file or a run is read to know it.
        registry: where names are looked up.
    """

    given: str
    kind: Literal["entry", "file", "run", "architecture"]
    path: Path | None = None
    entry: PretrainedMetadata | None = None
    architecture: ModelInfo | None = None
    registry: Zoo = field(kw_only=True, repr=False)

    @property
    def task(self) -> str | None:
        """The task that the entry, the file or the architecture states, or None. Reads a file's header.

        Raises:
            CheckpointError: the file is damaged, unsafe, or of no known format.
        """
        if self.path is None:
            stated = None if self.entry is None else self.entry.task
            return stated or (None if self.architecture is None else self.architecture.task)
        file = inspect_file(self.path)
        task = file.record.get("task")
        if isinstance(task, str) or file.architecture is None:
            return task if isinstance(task, str) else None
        try:
            return self.registry.get_model_info(resolve(file.architecture, self.registry)).task
        except UnknownModelError:
            return None

    def open(self, **options: Any) -> tuple[nn.Module, LoadedModelInfo]:
        """Build the network and fill it with its weights.

        Args:
            **options: as for `load_pretrained_model` (an entry) or `load_checkpoint` (a file or a run);
                `inference`, `device`, `dtype`, `num_classes`, `in_channels` and `size` are options of both.

        Raises:
            UnknownPretrainedError: an architecture, which has no weights of its own.
            HolotypeError: what these two functions raise.
        """
        if self.path is not None:
            return load_checkpoint(self.path, registry=self.registry, **options)
        if self.entry is not None:
            return load_pretrained_model(self.entry.qualified_name, registry=self.registry, **options)
        raise UnknownPretrainedError(
            f"{self.given!r} is an architecture: it has no weights of its own.",
            given=self.given,
            hint=f"See what was trained: holotype list --pretrained '*{self.given}*'",
        )

    def build(self) -> nn.Module:
        """The network; the weights of an entry are not fetched, those of a file are loaded.

        Raises:
            HolotypeError: what building or loading it raises.
        """
        if self.architecture is None:
            return self.open()[0]
        config = {} if self.entry is None else config_of(self.entry, self.architecture)
        return self.registry.create_model(self.architecture.qualified_name, **config)


def find(
    given: str | Path, *, run_files: Sequence[str] = (WEIGHTS_OF_RUN,), registry: Zoo | None = None
) -> Found:
    """Resolve what a user gave: a weight file, a training run's folder, a pretrained entry, an architecture.

    They are tried in this order.

    Args:
        given: a path or a name.
        run_files: the weight files to look for in the folder of a run, the preferred one first.
        registry: where to look names up; the default registry if None.

    Raises:
        DataError: a folder without weights, or a file that does not exist.
        UnknownPretrainedError: none of these.
        AmbiguousNameError: a name that occurs in two zoos.
    """
    registry = _default(registry)
    path, text = Path(given), str(given)
    if path.is_file():
        return Found(text, "file", path, registry=registry)
    inside = next((path / name for name in run_files if (path / name).is_file()), None)
    if inside is not None:
        return Found(text, "run", inside, registry=registry)
    try:
        return _named(text, registry)
    except (UnknownPretrainedError, UnknownZooError) as error:  # a path looks like a name in a zoo
        if path.is_dir():
            raise DataError(
                f"{path} is a folder without {run_files[-1]}.",
                given=text,
                hint="The folder of a finished training run has one: holotype train RECIPE",
            ) from error
        if isinstance(given, Path) or path.suffix.lower() in ENDINGS or len(path.parts) > 2:
            raise DataError(f"the file {path} does not exist.", given=text) from error
        raise


def open_model(given: str | Path, **options: Any) -> tuple[nn.Module, LoadedModelInfo]:
    """Load a pretrained entry, a weight file or a run; see `find` and `Found.open`."""
    return find(given, registry=options.pop("registry", None)).open(**options)


def _named(name: str, registry: Zoo) -> Found:
    try:
        entry = registry.get_pretrained_metadata(name)
    except UnknownPretrainedError as error:
        try:
            info = registry.get_model_info(name)
        except UnknownModelError as other:
            raise UnknownPretrainedError(
                f"{name!r} is not a pretrained entry, an architecture, a weight file or the folder of a "
                "training run.",
                given=name,
                nearest=error.nearest or other.nearest,
                hint=error.hint or "See the entries: holotype list --pretrained",
            ) from error
        return Found(name, "architecture", architecture=info, registry=registry)
    return Found(name, "entry", entry=entry, architecture=architecture_of(entry, registry), registry=registry)


def _default(registry: Zoo | None) -> Zoo:
    if registry is not None:
        return registry
    from holotype.catalog.registry import default_registry

    return default_registry


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
    registry: Zoo | None = None,
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
        allow_unverified: fetch a file that has no published sha256, with a warning.

    Returns:
        The network, and its description.

    Raises:
        UnknownPretrainedError, UnknownModelError, UnknownFormatError: with the nearest names.
        ParameterError, BrokenModelError, MissingExtraError: the network cannot be built.
        LoadingError: what was asked for is not possible.
        MismatchError: the file does not fit the network, or records another architecture or config.
        CheckpointError: the file is damaged or unsafe.
        VerificationError, OfflineError, FetchError, StoreError: see `holotype.store.fetch.fetch`.
    """
    registry = _default(registry)
    entry = registry.get_pretrained_metadata(name)
    chosen = choose_format(entry, format)
    file = entry.formats[chosen]
    request = decide(
        address_of(entry, chosen, registry),
        sha256=file.sha256,
        size=file.size_bytes,
        size_mib=file.file_size,
        allow_unverified=allow_unverified,
    )
    compile_key_map(entry.key_map)
    classes = class_names(entry, registry)
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
    architecture = architecture_of(entry, registry)
    network = architecture.qualified_name
    build = builder(registry.create_model, network)
    stated = config_of(entry, architecture)
    made = plan(entry.name, build, stated, wishes, num_classes=entry.num_classes, size=entry.resolution)
    published = entry.metadata.get("config_fingerprint")
    if published is not None:
        record = {"config_fingerprint": published}
        check_record(record, network, made.config, registry, origin=f"the entry {entry.name!r}")

    # One opened file from here on: what was hashed is what is read, even if its name is taken meanwhile.
    with (
        fetch_open(request, progress=progress) as opened,
        OpenedFile(opened.name, os.dup(opened.fileno())) as weights,
    ):
        checkpoint = read_checkpoint(weights, chosen).with_own_names(network, registry)
    decided = _decided_by_file(entry, set(stated), checkpoint, made, build, registry)
    resolution = as_size(decided.get("size")) or entry.resolution
    if decided:
        config = {**stated, **decided}
        made = plan(entry.name, build, config, wishes, num_classes=entry.num_classes, size=resolution)
    origin = f"the file of {entry.name!r}"
    bound = check_record(checkpoint.record, network, made.config, registry, origin=origin)
    net, report = carry_out(made, checkpoint.state, entry.key_map, origin)
    return net, model_info(
        checkpoint,
        made,
        report,
        bound=bound,
        name=entry.qualified_name,
        network=network,
        tag=entry.tag,
        task=entry.task,
        classes=classes,
        num_classes=stated_classes(entry),
        resolution=resolution,
        preprocessing=entry.preprocessing,
        sha256=file.sha256,
    )


def _decided_by_file(
    entry: PretrainedMetadata,
    stated: set[str],
    checkpoint: Checkpoint,
    made: Plan,
    build: Callable[[Mapping[str, Any]], nn.Module],
    registry: Zoo,
) -> dict[str, Any]:
    """The parameters that a file records, where its entry leaves them open and the defaults differ."""
    record, recorded = checkpoint.record, recorded_architecture(checkpoint.record)
    found: dict[str, Any] = {}
    if recorded is None:
        found = known_params(record, made.config)
        # Of another library's file the tensors decide, also where a registered config says otherwise.
        found = {key: value for key, value in found.items() if key in _FROM_RECORD - stated}
        if found.get("num_classes"):
            held = {name for name in map_keys(checkpoint.state, entry.key_map).values() if name is not None}
            complete = held.issuperset(made.net.state_dict())
            if not complete and not has_head(held, build, {**made.config, "num_classes": 1}):
                found["num_classes"] = 0
    elif resolve(recorded, registry) == (architecture := architecture_of(entry, registry)).qualified_name:
        stated = {*stated, *architecture.config}
        theirs = record.get("config")
        found = from_data(theirs if isinstance(theirs, Mapping) else {})
        found = {key: value for key, value in found.items() if key in made.config and key not in stated}
    if entry.resolution is not None and as_size(found.get("size")) not in (None, entry.resolution):
        del found["size"]
    return {key: found[key] for key in differences({key: made.config[key] for key in found}, found)}


def load_checkpoint(
    path: str | Path,
    *,
    architecture: str | None = None,
    config: Mapping[str, Any] | None = None,
    format: str | None = None,
    key: str | None = None,
    sha256: str | None = None,
    inference: bool = False,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    size: int | tuple[int, int] | None = None,
    key_map: Mapping[str, str] | None = None,
    allow_missing: str | Iterable[str] = (),
    allow_unexpected: str | Iterable[str] = (),
    allow_config: str | Iterable[str] = (),
    registry: Zoo | None = None,
) -> tuple[nn.Module, LoadedModelInfo]:
    """Build the network that a weight file belongs to, and fill it.

    Args:
        path: a safetensors, ``.pt`` or ``.npz`` file. Its ending does not matter.
        architecture: the architecture; needed where the file does not record it. Where it does, another one
            is refused.
        config: parameters of the architecture; those that the file records otherwise are refused.
        format: the format of the file; detected if None.
        key: which state of a file that holds several, such as ``"state_dict"`` beside its average; by default
            see `holotype.weights.formats.states`. The report says which it was.
        sha256: refuse the file unless it has this hash.
        inference: put the network in evaluation mode, with gradients off.
        device: where it will run.
        dtype: the floating dtype of its parameters; the network's own if None.
        num_classes: another number of classes: a new, untrained head. 0 for no head.
        in_channels: another number of input channels; see `holotype.weights.adapt.other_channels`.
        size: another side in pixels, or (height, width).
        key_map: how names in the file become the network's; see `holotype.weights.keys`.
        allow_missing: globs of names in the network that the file need not hold; they stay as initialised.
        allow_unexpected: globs of names in the file to leave out.
        allow_config: globs of parameters that may differ from what the file records.
        registry: where to look; the default registry if None.

    Returns:
        The network, and its description.

    Raises:
        CheckpointError: the file is damaged or unsafe, or of no known format.
        MismatchError: it belongs to another architecture or config, or does not fit.
        VerificationError: it has another hash.
        LoadingError: what was asked for is not possible; or the architecture is not known.
        UnknownModelError, ParameterError, BrokenModelError: the network cannot be built.

    Example:
        >>> import torch, holotype
        >>> from holotype.weights.open import load_checkpoint
        >>> net, info = load_checkpoint("finetuned.safetensors", inference=True)  # doctest: +SKIP
    """
    registry = _default(registry)
    if key_map:
        compile_key_map(key_map)
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
    allow = (allow_config,) if isinstance(allow_config, str) else tuple(allow_config)
    wanted = None if architecture is None else registry.get_model_info(architecture).qualified_name
    with OpenedFile(path) as file:
        if sha256 is not None:
            file.check_sha256(sha256)
        checkpoint = read_checkpoint(file, format, key=key).in_memory()
        file.check_same()  # so what was copied is what was hashed
    recorded = recorded_architecture(checkpoint.record)
    if wanted is None and recorded is None:
        raise LoadingError(
            f"{path} does not record which architecture it belongs to.",
            given=str(path),
            hint="Name it: load_checkpoint(path, architecture=…).  See them all: holotype list",
        )
    chosen = wanted or registry.get_model_info(resolve(str(recorded), registry)).qualified_name
    checkpoint = checkpoint.with_own_names(chosen, registry)
    params = {**_recorded_params(checkpoint.record, chosen, registry), **(config or {})}
    try:
        made = plan(Path(path).name, builder(registry.create_model, chosen), params, wishes)
    except HolotypeError as error:
        if wanted is not None and recorded is not None and resolve(recorded, registry) != wanted:
            raise MismatchError(
                f"{path} holds weights of another network:\n"
                f"  architecture: {wanted} here, {recorded} in the file",
                given=("architecture",),
            ) from error
        raise
    bound = check_record(checkpoint.record, chosen, made.config, registry, origin=str(path), allow=allow)
    if not bound:
        warnings.warn(
            f"{path} does not record which architecture and config it belongs to: only its names and shapes "
            f"could be compared with {chosen!r}.",
            stacklevel=2,
        )
    net, report = carry_out(made, checkpoint.state, key_map, str(path))
    record = checkpoint.record
    preprocessing = record.get("preprocessing")
    preprocessing = preprocessing if isinstance(preprocessing, Mapping) else {}
    resolution = resolution_of(record.get("signature")) or as_size(preprocessing.get("size"))
    name, tag, task = (_text(record.get(key)) for key in ("name", "tag", "task"))
    return net, model_info(
        checkpoint,
        made,
        report,
        bound=bound,
        name=name or Path(path).stem,
        network=chosen,
        tag=tag,
        task=task,
        resolution=resolution or as_size(made.config.get("size")),
        preprocessing=preprocessing,
        sha256=sha256.lower() if sha256 else None,
    )


def _recorded_params(record: Mapping[str, Any], architecture: str, registry: Zoo) -> dict[str, Any]:
    """The parameters that a file records for an architecture; none if it belongs to another one."""
    recorded, config = recorded_architecture(record), record.get("config")
    if recorded is None:
        parameters = registry.get_model_info(architecture).parameters or ()
        return known_params(record, {parameter.name for parameter in parameters})
    if resolve(recorded, registry) != architecture or not isinstance(config, Mapping):
        return {}
    return from_data(config)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
