"""Weights belong to one architecture and one config: what a file records is compared with what it is to fill.

Shapes prove nothing. Two vision transformers that differ in their activation, in an epsilon or in the
temperature of their rotary embedding have the same tensors and compute different things.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any, Protocol

from holotype.catalog.values import differences, fingerprint
from holotype.errors import MismatchError, RegistryError

SESSION = "session"


class Names(Protocol):
    """A registry, as far as it is needed here."""

    def get_model_info(self, name: str) -> Any:
        """What is known of an architecture."""


def check_record(
    record: Mapping[str, Any],
    architecture: str,
    config: Mapping[str, Any],
    registry: Names,
    *,
    origin: str,
    allow: Collection[str] = (),
) -> bool:
    """Refuse a file whose record names another architecture or config than it is to fill.

    Args:
        record: what the file says of itself.
        architecture: what it is to fill, qualified.
        config: the complete config of that network.
        registry: knows which names are aliases.
        origin: how messages call the file.
        allow: globs of config keys that may differ.

    Returns:
        Does the file record what it belongs to? If not, nothing could be compared.

    Raises:
        MismatchError: something differs; the message names each key with both values.
    """
    recorded, theirs = record.get("architecture"), record.get("config")
    mark = record.get("config_fingerprint")
    bound = isinstance(recorded, str) and (isinstance(theirs, Mapping) or isinstance(mark, str))
    if isinstance(theirs, Mapping) and isinstance(mark, str) and fingerprint(theirs) != mark:
        raise MismatchError(
            f"{origin} contradicts itself: the fingerprint of its config is {fingerprint(theirs)[:16]}…, and "
            f"it says {mark[:16]}….",
            given=mark,
            hint="It was edited or damaged; get it from its publisher again.",
        )
    found: dict[str, str] = {}
    if isinstance(recorded, str) and not _same(resolve(recorded, registry), architecture):
        found["architecture"] = f"{architecture} here, {recorded} in the file"
    if isinstance(theirs, Mapping):
        # A config without a record of its architecture (Birder's) holds what was changed, in its own words.
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
            hint=f"If that is meant, build the network so: {', '.join(keys)} as in the file."
            if keys
            else None,
        )
    return bound


def resolve(name: str, registry: Names) -> str:
    """The qualified name behind a recorded one: aliases are followed, what is unknown stays as it is."""
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
    # "session" is where a notebook's models are: no zoo that could be told from another one.
    (zoo_a, _, name_a), (zoo_b, _, name_b) = one.partition("/"), other.partition("/")
    return SESSION in (zoo_a, zoo_b) and name_a == name_b
