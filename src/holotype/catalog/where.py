"""`where`: typed comparisons on metadata, such as ``params<30e6`` or ``license=apache-2.0``.

A comparison is ``key operator value``. Keys may be dotted (``metrics.accuracy``). Operators are ``<``,
``<=``, ``>``, ``>=``, ``=``, ``!=`` and ``~`` (a glob). Numbers compare as numbers, everything else as
text without regard to case; on a list, ``=`` and ``~`` ask whether any item fits. What is missing fits
nothing: a key that no record has is an error, and a number that is not known of some records (None) is a
warning. Nothing is ever evaluated.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from holotype.errors import FilterError
from holotype.names import nearest

_COMPARISON = re.compile(r"\s*([A-Za-z_][\w.\-]*)\s*(<=|>=|!=|==|<|>|=|~)\s*(.*?)\s*", re.DOTALL)
_FACTORS = {"k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}
_ORDERING = ("<", "<=", ">", ">=")
_MISSING = object()

Comparison = tuple[str, str, Any, str]  # key, operator, value, and the value as it was written


def parse(where: str | Iterable[str] | None) -> list[Comparison]:
    """The comparisons of one `where` argument; all of them have to hold.

    Raises:
        FilterError: one cannot be understood.
    """
    if where is None:
        return []
    texts = [where] if isinstance(where, str) else list(where)
    comparisons: list[Comparison] = []
    for text in texts:
        found = _COMPARISON.fullmatch(text) if isinstance(text, str) else None
        if found is None or not found[3]:
            raise FilterError(
                f"{text!r} is not a comparison.",
                given=text,
                hint="Write key, operator, value: params<30e6, license=apache-2.0, features=attention",
            )
        key, operator, value = found.groups()
        operator = "=" if operator == "==" else operator
        parsed = _value(value)
        if operator in _ORDERING and not isinstance(parsed, float):
            raise FilterError(
                f"{text!r}: {operator} compares numbers, and {value!r} is not a number.",
                given=text,
                hint="Numbers may be written 30e6 or 30M.",
            )
        quoted = isinstance(parsed, str)
        comparisons.append((key, operator, parsed, (parsed if quoted else value).lower()))
    return comparisons


def _value(text: str) -> Any:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    lowered = text.lower()
    if lowered in ("true", "false"):
        return lowered == "true"
    if lowered in ("none", "null"):
        return None
    try:
        return float(lowered.replace("_", ""))
    except ValueError:
        pass
    if lowered[-1] in _FACTORS:
        try:
            return float(lowered[:-1]) * _FACTORS[lowered[-1]]
        except ValueError:
            pass
    return text


def fitting(records: Sequence[Mapping[str, Any]], where: str | Iterable[str] | None) -> list[bool]:
    """Which records does a `where` argument fit? Warns of records whose number is not known.

    Raises:
        FilterError: a comparison cannot be understood, or its key is in none of the records.
    """
    comparisons = parse(where)
    for key, operator, *_ in comparisons:
        found = [_lookup(record, key) for record in records]
        if records and all(value is _MISSING for value in found):
            known = dict.fromkeys(name for record in records for name in _keys(record))
            raise FilterError(f"no model here has the key {key!r}.", given=key, nearest=nearest(key, known))
        unknown = sum(value is None for value in found)
        if unknown and operator in _ORDERING:
            warnings.warn(
                f"{key} is not known of {unknown} of {len(records)}, which are left out", stacklevel=4
            )
    fits = predicate(comparisons)
    return [fits(record) for record in records]


def _keys(record: Mapping[str, Any]) -> Iterator[str]:
    """The keys of a record; those within its mappings, and names of its metrics, are dotted."""
    for key, value in record.items():
        yield key
        if isinstance(value, Mapping):
            yield from (f"{key}.{inner}" for inner in value)
        elif isinstance(value, (list, tuple)):
            named = [item["name"] for item in value if isinstance(item, Mapping) and "name" in item]
            yield from (f"{key}.{name}" for name in named)


def predicate(comparisons: list[Comparison]) -> Callable[[Mapping[str, Any]], bool]:
    """Do all the comparisons hold for a record?"""
    return lambda record: all(
        _holds(_lookup(record, key), op, value, text) for key, op, value, text in comparisons
    )


def _lookup(record: Any, key: str) -> Any:
    if isinstance(record, Mapping):
        if key in record:
            return record[key]
        head, dot, rest = key.partition(".")
        return _lookup(record[head], rest) if dot and head in record else _MISSING
    if isinstance(record, (list, tuple)):
        # Metrics are a list of {name, value, …}: `metrics.accuracy` is the value of that name.
        for item in record:
            if isinstance(item, Mapping) and str(item.get("name", "")).lower() == key.lower():
                return item.get("value", _MISSING)
    return _MISSING


def _holds(found: Any, operator: str, value: Any, text: str) -> bool:
    if found is _MISSING or (found is None and value is not None):
        return False
    if isinstance(found, (list, tuple, set, frozenset)):
        if operator == "!=":
            return not any(_holds(item, "=", value, text) for item in found)
        return any(_holds(item, operator, value, text) for item in found)
    if operator == "~":
        return fnmatchcase(str(found).lower(), text)
    if operator in ("=", "!="):
        if isinstance(value, float) and isinstance(found, (int, float)) and not isinstance(found, bool):
            equal = found == value
        elif value is None or isinstance(value, bool):
            equal = found is value
        else:
            equal = str(found).lower() == text  # a tag such as "1.10" is no number
        return equal == (operator == "=")
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        return False
    match operator:
        case "<":
            return bool(found < value)
        case "<=":
            return bool(found <= value)
        case ">":
            return bool(found > value)
    return bool(found >= value)
