"""Values of plain types as JSON, in two forms.

*Encoded* (`encode`, `decode`): each value comes back as it was, also a tuple, a set or bytes. The index keeps
what was registered in this form.
*As data* (`as_data`, `from_data`): what any program reads, with lists for tuples. Weight files and runs keep
their configs in this form; two configs are compared by it, and by its `fingerprint`.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class NotLiteral(Exception):
    """An expression whose value only running it could tell."""


def encode(value: Any) -> Any:
    """A frozen value as JSON from which `decode` makes it again, tuples, sets and bytes too."""
    if isinstance(value, dict):
        return {"$dict": {key: encode(item) for key, item in value.items()}}
    if isinstance(value, (frozenset, set)):
        return {"$set": sorted((encode(item) for item in value), key=repr)}
    if isinstance(value, tuple) and type(value) is tuple:
        return {"$tuple": [encode(item) for item in value]}
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    return value


def decode(value: Any) -> Any:
    """The value that `encode`, or a scan of its source, wrote as JSON.

    Raises:
        NotLiteral: it holds a symbol.
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if isinstance(value, dict):
        if "$tuple" in value:
            return tuple(decode(item) for item in value["$tuple"])
        if "$set" in value:
            return frozenset(decode(item) for item in value["$set"])
        if "$dict" in value:
            return {key: decode(item) for key, item in value["$dict"].items()}
        if "$bytes" in value:
            return bytes.fromhex(value["$bytes"])
        raise NotLiteral
    return value


def as_python(value: Any) -> Any:
    """A value with Python's numbers for those of NumPy and torch, also inside lists, tuples and mappings."""
    kind = type(value)
    if kind is dict:
        made = {key: as_python(item) for key, item in value.items()}
        return made if any(made[key] is not value[key] for key in value) else value
    if kind in (list, tuple):
        items = [as_python(item) for item in value]
        return kind(items) if any(a is not b for a, b in zip(items, value, strict=True)) else value
    is_number = kind.__module__.partition(".")[0] in ("numpy", "torch") and getattr(value, "ndim", None) == 0
    return value.item() if is_number and hasattr(value, "item") else value


def as_data(value: Any) -> Any:
    """A value as JSON can hold it.

    An object that is not data becomes ``{"not_data": its name}``, which can be compared; an infinite or NaN
    float becomes ``{"float": its repr}``.
    """
    if value is None or isinstance(value, (bool, int)):
        return value if value is None or type(value) in (bool, int) else int(value)
    if isinstance(value, str):
        return str(getattr(value, "value", value))
    if isinstance(value, float):
        if value - value != 0:  # infinite, or no number
            return {"float": repr(float(value))}
        return float(value)
    if hasattr(value, "items"):
        return {str(key): as_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_data(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((as_data(item) for item in value), key=repr)
    if hasattr(value, "__fspath__"):
        return str(value)
    named = value if hasattr(value, "__qualname__") else type(value)
    text = str(value) if type(value).__module__ == "torch" else f"{named.__module__}.{named.__qualname__}"
    return {"not_data": text}


def from_data(config: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a recorded config that can be passed to a constructor again."""
    kept = {}
    for key, value in config.items():
        if isinstance(value, dict) and set(value) == {"float"}:
            kept[key] = float(value["float"])
        elif not (isinstance(value, dict) and set(value) == {"not_data"}):
            kept[key] = value
    return kept


def canonical(config: Mapping[str, Any]) -> str:
    """A config as JSON that is the same for equal configs: keys sorted, ``1.0`` written as ``1``."""
    import json

    return json.dumps(_whole(as_data(config)), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def as_json(config: Mapping[str, Any]) -> str:
    """A config as JSON from which it can be read back: a float stays a float."""
    import json

    return json.dumps(as_data(config), sort_keys=True, ensure_ascii=True)


def fingerprint(config: Mapping[str, Any]) -> str:
    """The sha256 of a config's canonical JSON."""
    from hashlib import sha256

    return sha256(canonical(config).encode("ascii")).hexdigest()


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, str]:
    """What differs between two configs, by key: ``100 here, 10000 in the file``."""
    found = {}
    for key in [*here, *(key for key in there if key not in here)]:
        if key not in there:
            found[key] = f"{shown(here[key])} here, not in the file"
        elif key not in here:
            found[key] = f"not here, {shown(there[key])} in the file"
        elif canonical({"": here[key]}) != canonical({"": there[key]}):
            found[key] = f"{shown(here[key])} here, {shown(there[key])} in the file"
    return found


def shown(value: Any) -> str:
    """A config's value for a message."""
    if isinstance(value, dict) and len(value) == 1 and set(value) <= {"float", "not_data"}:
        text = str(next(iter(value.values())))
    else:
        text = repr(_whole(as_data(value)))
    return text if len(text) <= 80 else f"{text[:79]}…"


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return value
