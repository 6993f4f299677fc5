"""Where a network comes from: its architecture's name and its complete config, kept on the network itself.

`create_model` leaves the record; saving writes it into the file; loading compares. It lies in the instance's
``__dict__`` as plain dicts and lists, so that copies, pickles and compiled networks carry it too, and no
``state_dict`` does.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from holotype.records import Parameter

KEY = "_holotype"
# What torch.compile and the parallel wrappers call the network that they wrap.
_WRAPPED = ("_orig_mod", "module")


def stamp(
    network: Any,
    architecture: str,
    params: Mapping[str, Any],
    parameters: Iterable[Parameter] | None,
    target: Any,
) -> Any:
    """Leave the record on a network; where it takes no attributes, do nothing.

    Args:
        network: just built.
        architecture: its qualified name.
        params: what it was built with.
        parameters: the constructor's, for the defaults; None where nobody knows them.
        target: the class or function that built it.

    Returns:
        The network.
    """
    attributes = getattr(network, "__dict__", None)
    if isinstance(attributes, dict):
        config = complete_config(params, parameters, target)
        attributes[KEY] = {"architecture": architecture, "config": config}
    return network


def origin_of(network: Any) -> dict[str, Any] | None:
    """The record of a network: ``{"architecture": …, "config": …}``, or None where there is none."""
    unwrapped = unwrap(network)
    found = getattr(unwrapped, "__dict__", {}).get(KEY)
    return found if isinstance(found, dict) else None


def unwrap(network: Any) -> Any:
    """The network inside `torch.compile` and parallel wrappers; itself where there are none."""
    while KEY not in getattr(network, "__dict__", {}):
        inner = getattr(network, "_modules", None) or {}
        name = next((name for name in _WRAPPED if set(inner) == {name}), None)
        if name is None:
            break
        network = inner[name]
    return network


def complete_config(
    params: Mapping[str, Any], parameters: Iterable[Parameter] | None, target: Any
) -> dict[str, Any]:
    """What a constructor was given, with the defaults of everything it was not given, as plain data."""
    config: dict[str, Any] = {}
    live: Mapping[str, Any] | None = None
    for parameter in parameters or ():
        if parameter.required or parameter.name in params:
            continue
        value = parameter.default
        if value is None and parameter.default_source != "None":  # not a literal: ask the live signature
            if live is None:
                import inspect

                live = inspect.signature(target).parameters
            value = getattr(live.get(parameter.name), "default", parameter.default_source)
        config[parameter.name] = plain(value)
    config.update((name, plain(value)) for name, value in params.items())
    return config


def plain(value: Any) -> Any:
    """A value as JSON has it. What is no data becomes ``{"not_data": its name}``, which can be compared."""
    if value is None or isinstance(value, (bool, int)):
        return value if value is None or type(value) in (bool, int) else int(value)
    if isinstance(value, str):
        return str(getattr(value, "value", value))
    if isinstance(value, float):
        if value - value != 0:  # infinite, or no number
            return {"float": repr(float(value))}
        return float(value)
    if hasattr(value, "items"):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item) for item in value), key=repr)
    if hasattr(value, "__fspath__"):
        return str(value)
    named = value if hasattr(value, "__qualname__") else type(value)
    text = str(value) if type(value).__module__ == "torch" else f"{named.__module__}.{named.__qualname__}"
    return {"not_data": text}


def data_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a recorded config that can be passed to a constructor again."""
    kept = {}
    for key, value in config.items():
        if isinstance(value, dict) and set(value) == {"float"}:
            kept[key] = float(value["float"])
        elif not (isinstance(value, dict) and set(value) == {"not_data"}):
            kept[key] = value
    return kept


def canonical(config: Mapping[str, Any]) -> str:
    """A config as JSON that equal configs share: keys sorted, ``1.0`` and ``1`` alike."""
    import json

    return json.dumps(_whole(plain(config)), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def as_json(config: Mapping[str, Any]) -> str:
    """A config as JSON to read it back from: a float stays one."""
    import json

    return json.dumps(plain(config), sort_keys=True, ensure_ascii=True)


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
        text = repr(_whole(plain(value)))
    return text if len(text) <= 80 else f"{text[:79]}…"


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return value
