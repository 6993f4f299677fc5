"""Writing a network into a file that alone suffices to load it back.

The header of a safetensors file holds, as text and JSON, what a bare state dict leaves out: the name of the
architecture, the complete config and its fingerprint, classes, preprocessing, signature, metrics and the
licence. See ``docs/weights.md``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.catalog.network_record import KEY, record_of, unwrap
from holotype.catalog.values import as_data, as_json, as_python, fingerprint, from_data
from holotype.errors import LoadingError, MetadataError, MismatchError
from holotype.files import writing
from holotype.frozen import thaw
from holotype.records import metrics_from
from holotype.tasks import Task
from holotype.text import listed
from holotype.weights.empty import build_empty
from holotype.weights.fill import is_lazy
from holotype.weights.formats import WRITABLE, format_to_write, safetensors
from holotype.weights.formats.pt import import_torch
from holotype.weights.plan import CHANNELS, as_size, builder

if TYPE_CHECKING:
    import torch
    from torch import nn

    from holotype.catalog.registry import Zoo

_SHOWN = 8
# What a network may change after it was built; an attribute of this name has the new value.
_FOLLOWED = ("num_classes", "in_channels", "input_channels", "size")
_OURS = frozenset({"architecture", "config", "config_fingerprint", "format", "holotype_version"})


def save_pretrained(
    net: nn.Module,
    path: str | Path,
    *,
    name: str | None = None,
    info: Mapping[str, Any] | None = None,
    classes: Iterable[str] | Mapping[str, int] | None = None,
    signature: Mapping[str, Any] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    rgb_stats: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | Iterable[Mapping[str, Any]] = (),
    license: str | None = None,
    architecture: str | None = None,
    config: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    registry: Zoo | None = None,
    **metadata: Any,
) -> Path:
    """Write a network, and all that is needed to load it back, into one file.

    Args:
        net: built by `create_model`, or loaded; on any device, compiled or wrapped or not.
        path: the file; its name ends in ``.safetensors`` (as one without an ending is), ``.pt`` or ``.pth``.
        name: the name of these weights.
        info: what was loaded with the network: its classes, signature, preprocessing and statistics are
            kept where they still fit and nothing else is given.
        classes: the class names in the order of the outputs, or a mapping from name to index.
        signature: shapes of inputs and outputs; made from the config if it determines them.
        preprocessing: how images become input: mean, std, interpolation, crop.
        rgb_stats: mean and std of each channel; those of `preprocessing` if None.
        metrics: measured figures: ``{"accuracy": 0.9}``, or with what they were measured on:
            ``[{"name": "accuracy", "value": 0.9, "dataset": …, "split": …}]``.
        license: an SPDX name.
        architecture: for a network that `create_model` did not build: what to build it with.
        config: likewise, its parameters.
        overwrite: replace an existing file.
        registry: where the architecture is registered; the default registry if None.
        **metadata: anything else to keep: text, numbers, booleans, None, or lists and mappings of these.

    Returns:
        The path.

    Raises:
        LoadingError: the network's architecture is not known; or the file exists already.
        UnknownFormatError: the name of the file ends in something else.
        MismatchError: the network is no longer what its architecture and config build.
        MetadataError: a value is not plain data, or contradicts the network.
    """
    torch = import_torch()
    if registry is None:
        from holotype.catalog.registry import default_registry

        registry = default_registry
    path = Path(path)
    format = format_to_write(path) if path.suffix else "safetensors"
    inner: nn.Module = unwrap(net)
    name_of, complete = _identity(inner, architecture, config, registry)
    state, kept = tensors_of(inner)
    complete = _checked(inner, state, name_of, complete, registry)
    record = described(inner, complete, info or {}, classes, signature, preprocessing, rgb_stats)
    given = metrics if isinstance(metrics, Mapping) else list(metrics)
    record.update({"name": name, "metrics": metrics_from(as_python(given)), "license": license, **metadata})
    record.setdefault("task", None)
    if record["task"] is None:
        record["task"] = registry.get_model_info(name_of).task
    texts = safetensors.header_texts(record)
    texts.update(binding_texts(name_of, complete))
    with torch.no_grad(), writing(path, overwrite=overwrite, error=LoadingError) as file:
        if format == "safetensors":
            safetensors.write_with_texts(file, state, texts)
        else:
            WRITABLE[format].write(file, state, safetensors.record_from(texts))
    if kept:
        warnings.warn(
            f"{path} holds tensors only; what {', '.join(kept[:_SHOWN])} keeps besides is not in it.",
            stacklevel=2,
        )
    return path


def binding_texts(architecture: str, config: Mapping[str, Any]) -> dict[str, str]:
    """The part of a header that binds weights to an architecture and its config."""
    import holotype

    return {
        "format": "pt",  # what others look for: the tensors are torch's
        "holotype_version": holotype.__version__,
        "architecture": architecture,
        "config": as_json(config),
        "config_fingerprint": fingerprint(config),
    }


def tensors_of(net: nn.Module) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The tensors of a network, a shared parameter once; and the names of other values."""
    import torch

    first: dict[int, str] = {}
    twice: set[str] = set()
    for name, parameter in net.named_parameters(remove_duplicate=False):
        if first.setdefault(id(parameter), name) != name:
            twice.add(name)
    state: Mapping[str, Any] = net.state_dict()
    kept = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    tensors = {name: v for name, v in state.items() if isinstance(v, torch.Tensor) and name not in twice}
    return tensors, kept


def _identity(
    net: nn.Module, architecture: str | None, config: Mapping[str, Any] | None, registry: Zoo
) -> tuple[str, dict[str, Any]]:
    origin = record_of(net)
    if architecture is None:
        if origin is None:
            raise LoadingError(
                f"the architecture of this {type(net).__name__} is not recorded.",
                given=type(net).__name__,
                hint="Build it with create_model(name, …), or name it: save_pretrained(net, path, "
                "architecture=…, config=…).",
            )
        return str(origin["architecture"]), {**origin["config"], **as_data(config or {})}
    found = registry.get_model_info(architecture).qualified_name
    if origin is not None and origin["architecture"] != found:
        raise MismatchError(
            f"this network was built as {origin['architecture']!r}, not as {found!r}.", given=architecture
        )
    given = {**(origin or {}).get("config", {}), **as_data(config or {})}
    made = build_empty(lambda: builder(registry.create_model, found)(given))
    complete = (record_of(made) or {}).get("config") or {}
    return found, {**as_data(given), **complete}


def _checked(
    net: nn.Module, state: Mapping[str, torch.Tensor], name: str, config: dict[str, Any], registry: Zoo
) -> dict[str, Any]:
    """The config that builds a network with exactly these tensors."""
    config = dict(config)
    for key in _FOLLOWED:
        now = getattr(net, key, None)
        if key not in config or now is None:
            continue
        now, before = as_data(now), config[key]
        if type(now) is bool or not isinstance(now, (int, list)) or now == before:
            continue
        if key == "size":
            if as_size(now) is None or as_size(now) == as_size(before):
                continue
            both = as_size(now) or (0, 0)
            now = both[0] if isinstance(before, int) and both[0] == both[1] else list(both)
        config[key] = now
    build = builder(registry.create_model, name)
    rebuilt = build_empty(lambda: build(config))
    unknown = [key for key, tensor in state.items() if is_lazy(tensor)]
    if unknown:
        raise LoadingError(
            f"the shapes of {listed(unknown)} are not known yet: they belong to lazy modules.",
            given=tuple(unknown),
            hint="Run the network on one batch before saving it.",
        )
    found = {key: tuple(tensor.shape) for key, tensor in state.items()}
    expected = {
        key: found.get(key, ()) if is_lazy(tensor) else tuple(tensor.shape)
        for key, tensor in tensors_of(rebuilt)[0].items()
    }
    wrong = [
        f"{key}: {found.get(key, 'not there')} here, {expected.get(key, 'not there')} by its config"
        for key in {**found, **expected}
        if found.get(key) != expected.get(key)
    ]
    if wrong:
        raise MismatchError(
            f"this network is no longer what {name!r} and its config build:\n"
            + "\n".join(f"  {line}" for line in wrong[:_SHOWN])
            + (f"\n  … and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""),
            given=tuple(wrong),
            hint="Give what was changed: save_pretrained(net, path, config={…}); or register what "
            "it has become.",
        )
    lost = {key for key in config if key not in from_data(config)}
    if lost:
        made = (getattr(rebuilt, "__dict__", {}).get(KEY) or {}).get("config", {})
        changed = sorted(key for key in lost if made.get(key) != config[key])
        if changed:
            raise LoadingError(
                f"{', '.join(changed)}: not plain data, so a file cannot keep it.",
                given=tuple(changed),
                hint="Register the architecture with that parameter fixed (register_model_config).",
            )
    return config


def described(
    net: nn.Module,
    config: Mapping[str, Any],
    info: Mapping[str, Any],
    classes: Iterable[str] | Mapping[str, int] | None = None,
    signature: Mapping[str, Any] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    rgb_stats: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The task, classes, signature and preprocessing of a network: as given, or as `info` has them.

    Raises:
        MetadataError: the classes are not those of the network.
    """
    total = config.get("num_classes")
    total = total if type(total) is int else None
    class_to_idx = _class_to_idx(classes, total)
    if class_to_idx is None:
        known = info.get("class_to_idx") or {}
        class_to_idx = dict(known) if total in (None, len(known)) else {}
    channels = next((config[key] for key in CHANNELS if type(config.get(key)) is int), None)
    size = as_size(config.get("size")) or as_size(list(info.get("resolution") or ()))
    task = info.get("task") or getattr(net, "task", None)
    made: dict[str, Any] = thaw(signature or {})
    if not made and size is not None:
        made = {"inputs": [{"data_shape": [0, channels or 3, *size]}]}
        if total is not None and task != Task.OBJECT_DETECTION:
            made["outputs"] = [{"data_shape": [0, total]}]
    if not made:
        made = thaw(info.get("signature") or {})
    told = thaw(preprocessing if preprocessing is not None else info.get("preprocessing") or {})
    if rgb_stats is None:
        same = {key: told[key] for key in ("mean", "std") if key in told}
        rgb_stats = same if len(same) == 2 else info.get("rgb_stats") or {}
    return {
        "class_to_idx": class_to_idx,
        "signature": made,
        "preprocessing": told,
        "rgb_stats": thaw(rgb_stats),
        "task": task,
    }


def _class_to_idx(
    classes: Iterable[str] | Mapping[str, int] | None, total: int | None
) -> dict[str, int] | None:
    if classes is None:
        return None
    if isinstance(classes, str):
        raise MetadataError(f"classes are several names, got {classes!r}.", given=classes)
    if isinstance(classes, Mapping):
        found = dict(classes)
    else:
        names = list(classes)
        found = {name: index for index, name in enumerate(names)}
        if len(found) != len(names):
            raise MetadataError("classes contain a name twice.", given=tuple(names))
    if sorted(found.values()) != list(range(len(found))) or not all(isinstance(name, str) for name in found):
        raise MetadataError("classes map each name to an index of its own, starting at 0.", given=found)
    if total is not None and len(found) != total:
        raise MetadataError(f"the network has {total} classes, and {len(found)} are named.", given=found)
    return found
