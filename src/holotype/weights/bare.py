"""What a weight file tells of its network where it records no config: classes, channels and size."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from holotype.errors import HolotypeError
from holotype.frozen import freeze
from holotype.weights.build import build_empty
from holotype.weights.describe import resolution_of

if TYPE_CHECKING:
    from torch import nn

    from holotype.weights.checkpoint import Checkpoint


class Classes(Protocol):
    """A registry, as far as it is needed here."""

    def get_model_class(self, name: str, /) -> type:
        """The class of an architecture."""


def params_of(record: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The parameters that signature, class names and config of a file's record stand for.

    Args:
        record: what the file says of itself.
        known: the parameters of the architecture.
    """
    params: dict[str, Any] = {}
    signature = record.get("signature")
    size = resolution_of(signature)
    if "size" in known and size is not None:
        params["size"] = size[0] if size[0] == size[1] else size
    try:
        channels = signature["inputs"][0]["data_shape"][1]  # type: ignore[index]  # whatever a file holds
        classes = signature["outputs"][0]["data_shape"][1]  # type: ignore[index]  # as above
    except (TypeError, KeyError, IndexError):
        channels = classes = None
    if size is not None and "in_channels" in known and type(channels) is int and channels > 0:
        params["in_channels"] = channels
    names = record.get("class_to_idx")
    if "num_classes" in known and type(classes) is int and classes >= 0:
        params["num_classes"] = classes
    elif "num_classes" in known and isinstance(names, Mapping) and names:
        params["num_classes"] = len(names)
    theirs = record.get("config")
    if isinstance(theirs, Mapping):
        params.update((key, value) for key, value in theirs.items() if key in known)
    return params


def in_our_words(checkpoint: Checkpoint, architecture: str, registry: Classes) -> Checkpoint:
    """A checkpoint whose config has the names of our parameters.

    A file that does not record its architecture may hold a config in its writer's words, and one of those may
    be the name of another parameter here. A class says so in its attribute `their_words`.
    """
    theirs = checkpoint.record.get("config")
    if isinstance(checkpoint.record.get("architecture"), str) or not isinstance(theirs, Mapping):
        return checkpoint
    try:
        words = getattr(registry.get_model_class(architecture), "their_words", {})
    except HolotypeError:
        return checkpoint  # a function builds it
    ours = {words.get(key, key): value for key, value in theirs.items()}
    return replace(checkpoint, record=freeze({**checkpoint.record, "config": ours}))


def has_head(
    names: Collection[str], build: Callable[[Mapping[str, Any]], nn.Module], config: Mapping[str, Any]
) -> bool:
    """Does a file hold the head of a network, or was it saved without?

    Args:
        names: what the file's tensors are called in the network.
        build: makes the network from parameters, `num_classes` among them.
        config: the parameters, with classes.
    """
    try:
        bare = set(build_empty(lambda: build({**config, "num_classes": 0})).state_dict())
    except HolotypeError:
        return True  # it cannot do without
    whole = set(build_empty(lambda: build(config)).state_dict())
    return not whole - bare or bool((whole - bare) & set(names))
