"""The package of a zoo: its functions, and its classes, which are imported when they are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from holotype.catalog.registry import Zoo


def class_getter(package: str, classes: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a zoo's package.

    Args:
        package: its ``__name__``.
        classes: the module of each class, below the package.
    """

    def get(name: str) -> Any:
        if name not in classes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{classes[name]}"), name)

    return get


def public_names(namespace: Mapping[str, Any], zoo: Zoo, classes: Mapping[str, str]) -> list[str]:
    """The ``__all__`` of a zoo's package: `Task`, the zoo, its functions and its classes.

    Args:
        namespace: the package's ``globals()``.
        zoo: the zoo.
        classes: as for `class_getter`.
    """
    own = [
        name for name, value in namespace.items() if value is zoo or getattr(value, "__self__", None) is zoo
    ]
    return sorted([*own, "Task", *classes])
