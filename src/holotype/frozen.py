"""Values that cannot be changed: what goes into a registry and what comes out of it.

A frozen value still compares equal to the plain one it was made from, and `json.dumps` takes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, NoReturn

from holotype.errors import MetadataError

_SCALARS = (str, int, float, bool, bytes, type(None))


def _refuse(self: object, *args: object, **kwargs: object) -> NoReturn:
    raise TypeError(f"{type(self).__name__} cannot be changed; make a copy with thaw() first")


class FrozenDict(dict[str, Any]):
    """A dict that refuses every change."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]  # frozen, so it may be hashed
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[object, ...]:
        return (FrozenDict, (dict(self),))

    def __copy__(self) -> FrozenDict:
        return self

    def __deepcopy__(self, memo: object) -> FrozenDict:
        return self


class FrozenList(tuple[Any, ...]):
    """A tuple that prints as, and equals, the list it was made from."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, list):
            other = tuple(other)
        return tuple.__eq__(self, other) if isinstance(other, tuple) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return tuple.__hash__(self)

    def __repr__(self) -> str:
        return repr(list(self))

    def __reduce__(self) -> tuple[object, ...]:
        return (FrozenList, (tuple(self),))


def freeze(value: Any, where: str = "metadata") -> Any:
    """A frozen deep copy of `value`.

    Args:
        value: scalars, strings, lists, tuples, sets and mappings with text keys, nested at will.
        where: what the error calls the place of a value that cannot be frozen.

    Raises:
        MetadataError: a value of another type, a key that is not text, or a structure that
            contains itself.
    """
    try:
        return _freeze(value, where, ())
    except RecursionError:
        raise MetadataError(f"{where} is nested too deeply.", given=where) from None


def _freeze(value: Any, where: str, parents: tuple[int, ...]) -> Any:
    if isinstance(value, str) and type(value) is not str:
        return str.__str__(value) if not hasattr(value, "value") else str(value.value)
    if isinstance(value, _SCALARS):
        return value
    if id(value) in parents:
        raise MetadataError(f"{where} contains itself.", given=where)
    parents = (*parents, id(value))
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise MetadataError(f"{where} has the key {key!r}; keys are text.", given=key)
        return FrozenDict({str(k): _freeze(v, f"{where}.{k}", parents) for k, v in value.items()})
    if isinstance(value, tuple) and not isinstance(value, FrozenList):
        return tuple(_freeze(v, f"{where}[{i}]", parents) for i, v in enumerate(value))
    if isinstance(value, (list, FrozenList)):
        return FrozenList(_freeze(v, f"{where}[{i}]", parents) for i, v in enumerate(value))
    if isinstance(value, (set, frozenset)):
        return frozenset(_freeze(v, where, parents) for v in value)
    if isinstance(value, PurePath):
        return str(value)
    raise MetadataError(
        f"{where} holds a {type(value).__name__} ({value!r:.60}); metadata is text, numbers, "
        "booleans, None, and lists or mappings of these.",
        given=value,
    )


def thaw(value: Any) -> Any:
    """A deep copy of a frozen value in plain lists and dicts, for `json.dumps` or for changing."""
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, (frozenset, set)):
        return sorted((thaw(item) for item in value), key=repr)
    if isinstance(value, (tuple, list)):
        return [thaw(item) for item in value]
    return value
