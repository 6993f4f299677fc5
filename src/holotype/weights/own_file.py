"""From a user's own weight file to a network.

A file that `save_pretrained` wrote says what it belongs to, and suffices. Birder's files say much about
the data and nothing about the architecture; bare state dicts say nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.catalog.values import from_data
from holotype.errors import HolotypeError, LoadingError, MismatchError
from holotype.weights.adapt import Plan, Wishes, as_size, builder, carry_out, plan
from holotype.weights.bare import in_our_words, params_of
from holotype.weights.binding import check_record, resolve
from holotype.weights.checkpoint import Checkpoint, read_checkpoint
from holotype.weights.describe import LoadedModelInfo, Told, describe, resolution_of
from holotype.weights.keys import compile_key_map
from holotype.weights.pinned import Pinned

if TYPE_CHECKING:
    import torch
    from torch import nn

    from holotype.weights.pretrained import Registry


def load_checkpoint(
    path: str | Path,
    *,
    architecture: str | None = None,
    config: Mapping[str, Any] | None = None,
    format: str | None = None,
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
    registry: Registry | None = None,
) -> tuple[nn.Module, LoadedModelInfo]:
    """Build the network that a weight file belongs to, and fill it.

    Args:
        path: a safetensors, ``.pt`` or ``.npz`` file. Its ending does not matter.
        architecture: the architecture; needed where the file does not record it. Where it does, another one
            is refused.
        config: parameters of the architecture; those that the file records otherwise are refused.
        format: what the file is; what it looks like if None.
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
        The network, and what there is to know of it.

    Raises:
        CheckpointError: the file is damaged or unsafe, or of no known format.
        MismatchError: it belongs to another architecture or config, or does not fit.
        VerificationError: it has another hash.
        LoadingError: what was asked for is not possible; or nothing says which architecture it is.
        UnknownModelError, ParameterError, BrokenModelError: the network cannot be built.

    Example:
        >>> import torch, holotype
        >>> from holotype.weights.own_file import load_checkpoint
        >>> net, info = load_checkpoint("finetuned.safetensors", inference=True)  # doctest: +SKIP
    """
    if registry is None:
        from holotype.catalog.registry import default_registry

        registry = default_registry
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
    with Pinned(path) as pinned:
        if sha256 is not None:
            pinned.check_sha256(sha256)
        checkpoint = read_checkpoint(pinned, format).in_memory()
        pinned.check_same()  # so what was copied is what was hashed
    record, origin = checkpoint.record, str(path)
    recorded = record.get("architecture")
    if not isinstance(recorded, str):
        recorded = None
    if wanted is None and recorded is None:
        raise LoadingError(
            f"{path} does not say which architecture it belongs to.",
            given=str(path),
            hint="Name it: load_checkpoint(path, architecture=…).  See them all: holotype list",
        )
    chosen = wanted or registry.get_model_info(resolve(str(recorded), registry)).qualified_name
    checkpoint = in_our_words(checkpoint, chosen, registry)
    params = _params(checkpoint, recorded is not None, chosen, registry, config or {})
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
    bound = check_record(checkpoint.record, chosen, made.config, registry, origin=origin, allow=allow)
    if not bound:
        warnings.warn(
            f"{path} does not record which architecture and config it belongs to: that its names and shapes "
            f"fit {chosen!r} is all that can be checked.",
            stacklevel=2,
        )
    net, report = carry_out(made, checkpoint.state, key_map, origin)
    return net, describe(_told(checkpoint, chosen, made, sha256), checkpoint, made, report, bound=bound)


def _params(
    checkpoint: Checkpoint, bound: bool, chosen: str, registry: Registry, config: Mapping[str, Any]
) -> dict[str, Any]:
    """What to build with: the caller's word, then the file's."""
    record = checkpoint.record
    theirs = record.get("config")
    if bound and resolve(str(record.get("architecture")), registry) == chosen:
        return {**from_data(theirs if isinstance(theirs, Mapping) else {}), **config}
    if bound:
        return dict(config)
    parameters = registry.get_model_info(chosen).parameters
    known = {parameter.name for parameter in parameters or ()}
    # A bare file: its head tells the number of classes, and its signature channels and size.
    return {**params_of(record, known), **config}


def _told(checkpoint: Checkpoint, architecture: str, made: Plan, sha256: str | None) -> Told:
    record = checkpoint.record

    def text(key: str) -> str | None:
        value = record.get(key)
        return value if isinstance(value, str) else None

    preprocessing = record.get("preprocessing")
    size = resolution_of(record.get("signature"))
    if size is None and isinstance(preprocessing, Mapping):
        size = as_size(preprocessing.get("size"))
    return Told(
        name=text("name") or checkpoint.path.stem,
        network=architecture,
        tag=text("tag"),
        task=text("task"),
        resolution=size or as_size(made.config.get("size")),
        preprocessing=preprocessing if isinstance(preprocessing, Mapping) else {},
        sha256=sha256.lower() if sha256 else None,
    )
