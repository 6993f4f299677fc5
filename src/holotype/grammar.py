"""Names that are put together from parts, each of which sets some parameters: `grammar.toml` of a zoo.

::

    [vit]                                      a family
    class = "vit.ViT"                          what builds it: a module of the package, a class in it
    form = "vit_[{registers}_]{size}[p]{patch}[_{part}]..."
    listed = ["vit_{t,s,b}{32,16}", "vit_reg4_b16"]

    [vit.registers]
    "reg{num_reg_tokens}" = {}                 a number in a name is a parameter

    [vit.size]
    b = { num_layers = 12, hidden_dim = 768 }  a part, and the parameters that it sets

    [vit.exactly]
    vit_b16_c1 = { norm_layer_eps = 1e-5 }     what one name means beyond its parts

A family that says ``like = "vit"`` has all tables of that one, and its own rows besides.

In a form, ``{word}`` is one part out of the table of that name, ``[…]`` may be left out, and ``[…]...`` may
come as often as one likes. What stands later in a name has the last word. Every name of the form builds;
those in `listed` are shown in lists as well (``{t,s}`` there is one name for each).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from holotype.errors import MetadataError
from holotype.names import nearest

_PIECE = re.compile(r"\{(\w+)\}|\[([^\[\]]*)\](\.\.\.)?|([a-z0-9._-]+)")
_HOLE = re.compile(r"\{(\w+)\}")
_BRACES = re.compile(r"\{([^{}]*)\}")
_END = "(?![a-z0-9])"
PARTS = frozenset({"form", "listed", "exactly", "config"})
"""The keys of a family that are no metadata; the tables of its parts come besides."""
_MOST = 10_000


class Grammar:
    """A family of names.

    Args:
        family: its name, for messages.
        row: the table as TOML gives it.

    Raises:
        MetadataError: the table does not hold together.
    """

    def __init__(self, family: str, row: Mapping[str, Any]) -> None:
        self.family = family
        form = row.get("form")
        if not isinstance(form, str):
            raise MetadataError(f"the grammar {family!r} has no form.", given=family)
        self.form = form
        self.base = _parameters(row.get("config", {}), f"{family}.config")
        self.exactly = {
            name: _parameters(value, f"{family}.exactly.{name}")
            for name, value in _table(row.get("exactly", {}), f"{family}.exactly").items()
        }
        self.tables = {
            word: {
                part: _parameters(value, f"{family}.{word}.{part}")
                for part, value in _table(row.get(word), f"{family}.{word}").items()
            }
            for word in dict.fromkeys(_HOLE.findall(form))
        }
        self._alternatives = {word: _alternatives(table) for word, table in self.tables.items()}
        self._pattern = re.compile(self._expression(form))
        listed = row.get("listed", [])
        if not isinstance(listed, (list, tuple)) or not all(isinstance(name, str) for name in listed):
            raise MetadataError(f"{family}.listed is a list of names.", given=family)
        self.listed = tuple(
            dict.fromkeys(islice((name for pattern in listed for name in expand(pattern)), _MOST))
        )

    def _expression(self, form: str) -> str:
        """The form as a regular expression; what `{word}` stands for is taken out later."""
        out, at = [], 0
        for piece in _PIECE.finditer(form):
            if piece.start() != at:
                break
            at = piece.end()
            word, optional, repeated, literal = piece.groups()
            if word is not None:
                out.append(f"(?:{self._alternatives[word]})")
            elif optional is not None:
                inner = self._expression(optional)
                out.append(f"(?:{inner}{_END if repeated else ''}){'*' if repeated else '?'}")
            else:
                out.append(re.escape(literal))
        if at != len(form):
            raise MetadataError(f"the form of {self.family!r} cannot be read from {form[at:]!r} on.", given=form)
        return "".join(out)

    def config(self, name: str) -> dict[str, Any] | None:
        """The parameters that a name means; None if it does not fit the form."""
        if not self._pattern.fullmatch(name):
            return None
        config = dict(self.base)
        for _, _, values in self._parts(name):
            config.update(values)
        config.update(self.exactly.get(name, {}))
        return config

    def explain(self, name: str) -> str | None:
        """Why a name that begins like one of this family does not fit; None if it is none of its."""
        start = _PIECE.match(self.form)
        literal = start[4] if start else None
        if not literal or not name.startswith(literal):
            return None
        pieces = name.split("_")
        for count in range(len(pieces) - 1, 0, -1):
            if self._pattern.fullmatch("_".join(pieces[:count])):
                repeated = re.findall(r"\[[^\[\]]*\{(\w+)\}[^\[\]]*\]\.\.\.", self.form)
                known = [part for word in repeated for part in self.tables[word]]
                near = nearest(pieces[count], known)
                return (
                    f"{pieces[count]!r} is none of the parts that a {self.family} name may have"
                    + (f" (did you mean {near[0]!r}?)" if near else "")
                    + f": {', '.join(known)}"
                )
        tables = "; ".join(f"{word}: {', '.join(table)}" for word, table in self.tables.items())
        return f"names of {self.family} are {self.form}, with {tables}"

    def _parts(self, name: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """(table, part, parameters) from left to right; the name fits."""
        yield from _walk(self.form, name, self.tables, self._alternatives, self._expression)


def _walk(
    form: str,
    text: str,
    tables: Mapping[str, Mapping[str, dict[str, Any]]],
    alternatives: Mapping[str, str],
    expression: Any,
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    pieces = [piece for piece in _PIECE.finditer(form)]
    grouped = "".join(f"({expression(piece[0])})" for piece in pieces)
    found = re.fullmatch(grouped, text)
    assert found is not None  # noqa: S101  # the caller has matched the whole form
    for piece, part in zip(pieces, found.groups(), strict=True):
        word, optional, repeated, _ = piece.groups()
        if not part:
            continue
        if word is not None:
            yield word, part, _values(tables[word], part)
        elif optional is not None and repeated:
            one = re.compile(f"{expression(optional)}{_END}")
            for again in one.finditer(part):
                yield from _walk(optional, again[0], tables, alternatives, expression)
        elif optional is not None:
            yield from _walk(optional, part, tables, alternatives, expression)


def _values(table: Mapping[str, dict[str, Any]], part: str) -> dict[str, Any]:
    if part in table:
        return table[part]
    for key, values in table.items():
        holes = _HOLE.findall(key)
        found = re.fullmatch(_regex(key, capture=True), part) if holes else None
        if found:
            numbers = zip(holes, found.groups(), strict=True)
            return {**values, **{hole: int(number) for hole, number in numbers if hole != "_"}}
    raise AssertionError(part)  # the pattern was made from the same table


def _alternatives(table: Mapping[str, Any]) -> str:
    """The parts of a table as a regular expression, the longest first."""
    return "|".join(_regex(key) for key in sorted(table, key=len, reverse=True))


def _regex(key: str, *, capture: bool = False) -> str:
    number = "([1-9][0-9]{0,3})" if capture else "[1-9][0-9]{0,3}"
    return number.join(re.escape(text) for text in re.split(r"\{\w+\}", key))


def families(table: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of a `grammar.toml`, each with what it takes from the one that it is like.

    Raises:
        MetadataError: a row is like one that is not above it.
    """
    complete: dict[str, dict[str, Any]] = {}
    for family, row in table.items():
        own = dict(_table(row, family))
        other = own.pop("like", None)
        if other is not None and other not in complete:
            raise MetadataError(f"{family!r} is like {other!r}, and no family above it is.", given=other)
        base = complete.get(other, {}) if other is not None else {}
        merged = {key: value for key, value in base.items() if key not in ("listed", "exactly")}
        for key, value in own.items():
            before = merged.get(key)
            both = isinstance(before, Mapping) and isinstance(value, Mapping)
            merged[key] = {**before, **value} if both else value
        complete[family] = merged
    return complete


def expand(pattern: str) -> Iterator[str]:
    """``"a{b,c}"`` → ``"ab"``, ``"ac"``."""
    found = _BRACES.search(pattern)
    if found is None:
        yield pattern
        return
    for choice in found[1].split(","):
        yield from expand(pattern[: found.start()] + choice.strip() + pattern[found.end() :])


def _table(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise MetadataError(f"{what} is a table, got {value!r}.", given=what)
    return value


def _parameters(value: Any, what: str) -> dict[str, Any]:
    return dict(_table(value, what))
