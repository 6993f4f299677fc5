"""Weights that a training begins with: from a pretrained entry, a weight file, or another run's folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from holotype.catalog.network_record import record_of
from holotype.catalog.values import differences, from_data
from holotype.errors import ConfigError
from holotype.files import sha256_of
from holotype.training.folder import ENCODER, WEIGHTS
from holotype.vision.data.preprocessing import field_of
from holotype.vision.tasks import TASKS
from holotype.weights.inspect import inspect_file
from holotype.weights.open import find

# What may differ between an encoder and the weights that fill it: its head, and what has no tensors.
_MAY_DIFFER = ("num_classes", "in_channels", "size", "*drop*")
HEADS = ("classifier", "dist_classifier")


@dataclass(frozen=True)
class Initial:
    """An encoder with its weights.

    Attributes:
        net: the encoder.
        architecture: its qualified name.
        config: its complete parameters.
        classes: of its head, in order; empty where they are not recorded.
        statistics: mean and std that its pixels are normalised by, or None.
        record: where it comes from, for the lineage.
    """

    net: nn.Module
    architecture: str
    config: Mapping[str, Any]
    classes: tuple[str, ...] = ()
    statistics: tuple[list[float], list[float]] | None = None
    record: Mapping[str, Any] = field(default_factory=dict)


def load_initial(source: str, *, architecture: str | None = None) -> Initial:
    """Load the encoder that a training begins with.

    Args:
        source: a pretrained entry, a weight file, or a run's folder.
        architecture: what a file that does not say it belongs to.

    Raises:
        ConfigError: it holds no encoder.
        HolotypeError: what loading it raises.
    """
    found = find(source, run_files=(ENCODER, WEIGHTS))
    options: dict[str, Any] = {}
    if found.path is not None and inspect_file(found.path).architecture is None:
        options["architecture"] = architecture
    loaded, info = found.open(**options)
    sha256 = info.sha256 or sha256_of(info.path)
    net = _encoder_in(loaded, info.task, source)
    origin = record_of(net)
    if origin is None:
        raise ConfigError(f"from_pretrained: the architecture of {source} is unknown.", given=source)
    classes = sorted(info.class_to_idx, key=lambda name: info.class_to_idx[name])
    return Initial(
        net=net,
        architecture=str(origin["architecture"]),
        config=origin["config"],
        classes=tuple(classes) if net is loaded else (),
        statistics=_statistics(info),
        record={
            "source": source,
            "name": info.name,
            "network": str(origin["architecture"]),
            "sha256": sha256,
        },
    )


def statistics_of_entry(name: object) -> tuple[list[float], list[float]] | None:
    """Mean and std that a pretrained entry's pixels are normalised by; None if it is not an entry."""
    from holotype.catalog.registry import default_registry as registry

    if not isinstance(name, str) or registry.exists(name) or not registry.pretrained_exists(name):
        return None
    return _statistics(registry.get_pretrained_metadata(name))


def _statistics(info: Any) -> tuple[list[float], list[float]] | None:
    mean, std = (
        field_of(field_of(info, "preprocessing"), key) or field_of(field_of(info, "rgb_stats"), key)
        for key in ("mean", "std")
    )
    return (list(mean), list(std)) if mean and std and len(mean) == 3 else None


def _encoder_in(net: Any, recorded: str | None, source: str) -> nn.Module:
    task = str(getattr(net, "task", None) or recorded or "")
    if task not in TASKS or not TASKS[task].embeds:
        raise ConfigError(
            f"from_pretrained: {source} is for {task or 'something else'}; it holds no encoder of images.",
            given=source,
        )
    encoder: nn.Module = TASKS[task].encoder_in(net)
    return encoder


def fill(target: nn.Module, initial: Initial, *, head: bool = False) -> int:
    """Put the weights of an encoder into a network of the same architecture, or into what is left of it.

    Args:
        target: it stays on its device.
        initial: the weights; what depends on the size of images is interpolated.
        head: the last layer too.

    Returns:
        How many tensors were filled.

    Raises:
        ConfigError: the network is another one; the message lists every difference.
    """
    origin = record_of(target) or {"architecture": "", "config": {}}
    source = initial.net
    if origin["architecture"] != initial.architecture:
        raise other_architecture(initial, origin["architecture"])
    found = {
        key: text
        for key, text in differences(origin["config"], initial.config).items()
        if not any(fnmatchcase(key, glob) for glob in _MAY_DIFFER)
    }
    size: Any = getattr(target, "size", None)
    if not found and size is not None and size != getattr(source, "size", None):
        source.adjust_size(size)  # type: ignore[operator]  # what has a size has it
    theirs = source.state_dict()
    wanted = {
        name: tensor for name, tensor in target.state_dict().items() if head or not is_of_head(name, HEADS)
    }
    for name, tensor in wanted.items() if not found else ():
        if name not in theirs:
            found[name] = "not in the weights"
        elif theirs[name].shape != tensor.shape:
            found[name] = f"{tuple(tensor.shape)} here, {tuple(theirs[name].shape)} in the weights"
    if found:
        raise ConfigError(
            f"from_pretrained: {initial.record.get('source')} does not fit the network:\n"
            + "\n".join(f"  {key}: {text}" for key, text in list(found.items())[:8]),
            problems=[f"{key}: {text}" for key, text in found.items()],
            given=initial.record.get("source"),
        )
    target.load_state_dict({name: theirs[name] for name in wanted}, strict=False)
    return len(wanted)


def other_architecture(initial: Initial, wanted: str) -> ConfigError:
    """What to raise for weights of another architecture."""
    source = initial.record.get("source")
    return ConfigError(
        f"from_pretrained: {source} is {initial.architecture}, and what it is to fill is {wanted}.",
        given=source,
    )


def is_of_head(name: str, heads: Iterable[str]) -> bool:
    """Does a tensor's name belong to a head?"""
    return name.partition(".")[0] in set(heads)


def as_params(initial: Initial, without: Iterable[str]) -> dict[str, Any]:
    """The parameters that build its architecture as it is."""
    return {key: value for key, value in from_data(initial.config).items() if key not in set(without)}
