"""The record on a network: its architecture's name and its complete config.

`create_model` attaches it, saving writes it into the file, and loading compares the two. It is stored in
the instance's ``__dict__`` as plain dicts and lists: copies, pickles and compiled networks carry it too, and
no ``state_dict`` contains it.
"""

from __future__ import annotations

from holotype.catalog.values import as_data

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from holotype.records import Parameter

KEY = "_holotype"
# What torch.compile and the parallel wrappers call the network that they wrap.
_WRAPPED = ("_orig_mod", "module")


def attach_record(
    network: Any,
    architecture: str,
    params: Mapping[str, Any],
    parameters: Iterable[Parameter] | None,
    target: Any,
) -> None:
    """Attach the record to a network; does nothing where the network takes no attributes.

    Args:
        network: just built.
        architecture: its qualified name.
        params: what it was built with.
        parameters: the constructor's, for the defaults; None if they are not known.
        target: the class or function that built it.
    """
    attributes = getattr(network, "__dict__", None)
    if isinstance(attributes, dict):
        config = complete_config(params, parameters, target)
        attributes[KEY] = {"architecture": architecture, "config": config}


def record_of(network: Any) -> dict[str, Any] | None:
    """The record of a network: ``{"architecture": …, "config": …}``, or None."""
    unwrapped = unwrap(network)
    found = getattr(unwrapped, "__dict__", {}).get(KEY)
    return found if isinstance(found, dict) else None


def unwrap(network: Any) -> Any:
    """The network inside `torch.compile` and parallel wrappers, or the network itself."""
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
    """The arguments of a constructor and the defaults of all other parameters, as plain data."""
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
        config[parameter.name] = as_data(value)
    config.update((name, as_data(value)) for name, value in params.items())
    return config
