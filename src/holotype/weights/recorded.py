"""What a weight file records about its architecture and config, compared with the network that it is to fill.

Shapes prove nothing. Two vision transformers that differ in their activation, in an epsilon or in the
temperature of their rotary embedding have the same tensors and compute different things.

A file that `save_pretrained` wrote records both. Birder's files record the shapes of inputs and outputs, the
class names and the parameters that were changed; a bare state dict records nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from holotype.catalog.values import differences, fingerprint
from holotype.catalog.zoos import SESSION
from holotype.errors import HolotypeError, MismatchError, RegistryError
from holotype.frozen import freeze
from holotype.weights.empty import build_empty
from holotype.weights.plan import as_size

if TYPE_CHECKING:
    from torch import nn

    from holotype.catalog.registry import Zoo


def recorded_architecture(record: Mapping[str, Any]) -> str | None:
    """The architecture that a file records, as it is written there; None if it records none."""
    found = record.get("architecture")
    return found if isinstance(found, str) else None


def check_record(
    record: Mapping[str, Any],
    architecture: str,
    config: Mapping[str, Any],
    registry: Zoo,
    *,
    origin: str,
    allow: Collection[str] = (),
) -> bool:
    """Refuse a file whose record names another architecture or config than those of the network.

    Args:
        record: what the file records.
        architecture: that of the network, qualified.
        config: the complete config of the network.
        registry: for resolving aliases.
        origin: what messages call the file.
        allow: globs of config keys that may differ.

    Returns:
        True if the file records an architecture and a config; False if nothing could be compared.

    Raises:
        MismatchError: something differs; the message names each key with both values.
    """
    recorded, theirs = recorded_architecture(record), record.get("config")
    mark = record.get("config_fingerprint")
    bound = recorded is not None and (isinstance(theirs, Mapping) or isinstance(mark, str))
    if isinstance(theirs, Mapping) and isinstance(mark, str) and fingerprint(theirs) != mark:
        raise MismatchError(
            f"{origin} contradicts itself: the fingerprint of its config is {fingerprint(theirs)[:16]}…, and "
            f"it says {mark[:16]}….",
            given=mark,
            hint="It was edited or damaged; get it from its publisher again.",
        )
    found: dict[str, str] = {}
    if recorded is not None and not _same(resolve(recorded, registry), architecture):
        found["architecture"] = f"{architecture} here, {recorded} in the file"
    if isinstance(theirs, Mapping):
        # A config without an architecture (Birder's) holds only the parameters that were changed.
        known = theirs if bound else {key: value for key, value in theirs.items() if key in config}
        here = config if bound else {key: config[key] for key in known}
        found.update(differences(here, known))
    elif isinstance(mark, str) and mark != fingerprint(config):
        found["config_fingerprint"] = f"{fingerprint(config)} here, {mark} in the file"
    found = {key: text for key, text in found.items() if not any(fnmatchcase(key, glob) for glob in allow)}
    if found:
        keys = [key for key in found if key not in ("architecture", "config_fingerprint")]
        raise MismatchError(
            f"{origin} holds weights of another network, though their shapes may fit:\n"
            + "\n".join(f"  {key}: {text}" for key, text in found.items()),
            given=tuple(found),
            hint=f"If you want the network of the file, set {', '.join(keys)} as in the file."
            if keys
            else None,
        )
    return bound


def resolve(name: str, registry: Zoo) -> str:
    """The qualified name of a recorded architecture, aliases followed; an unknown name as it is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the file cannot know that its name is old
            return str(registry.get_model_info(name).qualified_name)
    except RegistryError:
        zoo, _, short = name.partition("/")
        return resolve(short, registry) if zoo == SESSION and short else name


def _same(one: str, other: str) -> bool:
    if one == other:
        return True
    # "session" is the zoo of every notebook's models, so it does not distinguish two architectures.
    (zoo_a, _, name_a), (zoo_b, _, name_b) = one.partition("/"), other.partition("/")
    return SESSION in (zoo_a, zoo_b) and name_a == name_b


def known_params(record: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The parameters that follow from the signature, class names and config of a record without architecture.

    Args:
        record: what the file records, with the parameters named as here (`with_own_names`).
        known: the parameters of the architecture; others are left out.
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


def with_own_names(record: Mapping[str, Any], architecture: str, registry: Zoo) -> Mapping[str, Any]:
    """A record without an architecture, its config's parameters named as the architecture names them.

    Another library may call a parameter something else, even by the name of another parameter here. The
    attribute `foreign_names` of a class maps such names to its own.
    """
    theirs = record.get("config")
    if recorded_architecture(record) is not None or not isinstance(theirs, Mapping):
        return record
    try:
        names = getattr(registry.get_model_class(architecture), "foreign_names", {})
    except HolotypeError:
        return record  # a function builds it
    renamed: Mapping[str, Any] = freeze(
        {**record, "config": {names.get(key, key): value for key, value in theirs.items()}}
    )
    return renamed


def has_head(
    names: Collection[str], build: Callable[[Mapping[str, Any]], nn.Module], config: Mapping[str, Any]
) -> bool:
    """Does a file hold the head of a network, or was it saved without?

    Args:
        names: the names of the file's tensors in the network.
        build: makes the network from parameters, `num_classes` among them.
        config: the parameters, with classes.
    """
    try:
        without = set(build_empty(lambda: build({**config, "num_classes": 0})).state_dict())
    except HolotypeError:
        return True  # it cannot be built without a head
    complete = set(build_empty(lambda: build(config)).state_dict())
    return not complete - without or bool((complete - without) & set(names))


def resolution_of(signature: object) -> tuple[int, int] | None:
    """(height, width) of the first input, if it is a batch of images."""
    try:
        shape = signature["inputs"][0]["data_shape"]  # type: ignore[index]  # whatever a file holds
        return as_size(list(shape[2:])) if len(shape) == 4 else None
    except (TypeError, KeyError, IndexError, ValueError):
        return None
