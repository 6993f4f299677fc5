"""Names that are put together from parts, each of which sets some parameters: `grammar.toml` of a zoo.

::

    [vit]                                      a family
    class = "vit.ViT"                          what builds it: a module of the package, a class in it
    form = "vit_[{registers}_]{size}{patch}[_{part}]...[_{pool}][_{variant}]"
    listed = ["vit_{t,s,b}{32,16}", "vit_reg4_b16"]
    config = { rotary = false }                what every name of the family means

    [vit.registers]
    "reg{num_reg_tokens}" = {}                 a number in a name is a parameter

    [vit.size]
    b = { num_layers = 12, hidden_dim = 768 }  a part, and the parameters that it sets

    [vit.variant]
    "c{_}" = {}                                a number that only names what `listed` or `exactly` know

    [vit.exactly]
    vit_b16_c1 = { norm_layer_eps = 1e-5 }     what one name means beyond its parts

    [vit.apart]                                parts of which a name has one at most, and why
    "both are activations" = ["quick_gelu", "swiglu"]

    [vit.words]
    "reg{num_reg_tokens}" = "registers: {num_reg_tokens}"   what a part is called in descriptions, if not so

A family that says ``like = "vit"`` has all tables of that one, and its own rows besides.

In a form, ``{word}`` is one part out of the table of that name, ``[…]`` may be left out, and ``[…]...`` may
come as often as one likes. No part comes twice, and no two parts of a name set the same parameter. Every
such name builds; those in `listed` are shown in lists as well (``{t,s}`` there is one name for each).

Names are read by trying, at each place, each part that may stand there, and no place twice: a name takes
time in proportion to its length, whatever the form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from textwrap import wrap
from typing import Any, NamedTuple

from holotype.errors import MetadataError
from holotype.names import MAX_LENGTH, is_name, nearest

KEYS = frozenset({"form", "listed", "exactly", "config", "words", "apart"})
"""The keys of a family that are no metadata; the tables of its parts come besides."""

_PIECE = re.compile(r"\{(\w+)\}|(\[)|(\]\.\.\.)|(\])|([a-z0-9._-]+)")
_HOLE = re.compile(r"\{(\w+)\}")
_NUMBER = "([1-9][0-9]{0,3})"
_VARIANT = "_"
_LONGEST_FORM = 300
_MOST_PARTS = 500
_MOST_LISTED = 5_000


class Part(NamedTuple):
    """A part of a name: the table it is from, its row there, its text, and the parameters that it sets."""

    table: str
    row: str
    text: str
    sets: dict[str, Any]


@dataclass(frozen=True)
class _State:
    """A place in a form: what may come there, and where it leads; the last state has neither.

    Attributes:
        literal: text that comes here.
        table: or a part out of this table.
        to: the states that follow; without text or table, the one to prefer comes first.
        ends: only where a part of the name ends.
    """

    literal: str = ""
    table: str = ""
    to: tuple[int, ...] = ()
    ends: bool = False


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
        if not isinstance(form, str) or not 0 < len(form) <= _LONGEST_FORM:
            raise MetadataError(
                f"{family}.form is text of at most {_LONGEST_FORM} characters, got {form!r}.", given=form
            )
        self.form = form
        self.base = _parameters(row.get("config", {}), f"{family}.config")
        self.words = None if row.get("words") is None else _table(row["words"], f"{family}.words")
        self.apart = _groups(row.get("apart", {}), f"{family}.apart")
        self.exactly = _rows(row.get("exactly", {}), f"{family}.exactly")
        words = dict.fromkeys(_HOLE.findall(form))
        self.tables = {word: _rows(row.get(word), f"{family}.{word}") for word in words}
        self._patterns = {word: _patterns(table) for word, table in self.tables.items()}
        self._states = _compiled(form, family)
        self._listed = row.get("listed", [])

    @property
    def prefix(self) -> str:
        """The text that every name begins with; may be empty."""
        found = _PIECE.match(self.form)
        return (found[5] or "") if found else ""

    @cached_property
    def listed(self) -> tuple[str, ...]:
        """The names to show in lists.

        Raises:
            MetadataError: not a list of names, or too many.
        """
        if not isinstance(self._listed, (list, tuple)) or not all(isinstance(n, str) for n in self._listed):
            raise MetadataError(f"{self.family}.listed is a list of names.", given=self.family)
        names: dict[str, None] = {}
        for pattern in self._listed:
            for name in expand(pattern):
                names[name] = None
                if len(names) > _MOST_LISTED:
                    raise MetadataError(
                        f"{self.family}.listed is more than {_MOST_LISTED:,} names.", given=pattern
                    )
        return tuple(names)

    def config(self, name: str) -> dict[str, Any] | None:
        """The parameters that a name means; None if it is no name of this family."""
        parts = self.parts(name)
        if parts is None or self._contradiction(name, parts) is not None:
            return None
        config = dict(self.base)
        for part in parts:
            config.update(part.sets)
        return {**config, **self.exactly.get(name, {})}

    def described(self, name: str, family: str) -> str:
        """What a name is in words, after what its family is."""
        if self.words is None:
            return family
        said = [self._in_words(part, self.words) for part in self.parts(name) or ()]
        return ", ".join([family, *filter(None, said)])

    def _in_words(self, part: Part, table: Mapping[str, Any]) -> str:
        words = table.get(part.row, part.text.replace("_", " "))
        if not isinstance(words, str):
            raise MetadataError(f"{self.family}.words: {part.row!r} is text, got {words!r}.", given=words)
        return _HOLE.sub(lambda hole: str(part.sets.get(hole[1], part.text)), words)

    def parts(self, name: str) -> list[Part] | None:
        """The parts of a name from left to right; None if it does not fit the form."""
        if len(name) > MAX_LENGTH or not name.startswith(self.prefix):
            return None
        # Depth first with a stack of its own; what led nowhere once is not tried again.
        stack: list[tuple[int, int, tuple[Any, ...]]] = [(0, 0, ())]
        seen: set[tuple[int, int]] = set()
        while stack:
            at, place, found = stack.pop()
            if (at, place) in seen:
                continue
            seen.add((at, place))
            state = self._states[at]
            if state.ends and name[place : place + 1].isalnum():
                continue
            if at == len(self._states) - 1:
                if place == len(name):
                    return _unwound(found)
            elif state.literal:
                if name.startswith(state.literal, place):
                    stack.append((state.to[0], place + len(state.literal), found))
            elif state.table:
                for part in reversed(list(self._here(state.table, name, place))):
                    stack.append((state.to[0], place + len(part.text), (found, part)))
            else:
                stack.extend((to, place, found) for to in reversed(state.to))
        return None

    def explain(self, name: str) -> str | None:
        """What is wrong with a name that begins as those of this family do; None if nothing is."""
        parts = self.parts(name)
        if parts is not None:
            return self._contradiction(name, parts)
        if not self.prefix or not name.startswith(self.prefix):
            return None
        pieces = name.split("_")
        for count in range(len(pieces) - 1, 0, -1):
            parts = self.parts("_".join(pieces[:count]))
            if parts is not None:
                return self._after(parts, "_".join(pieces[count:]), pieces[count])
        return self._with_tables("It is not of this form", list(self.tables))

    def _here(self, table: str, name: str, place: int) -> Iterator[Part]:
        for row, holes, pattern in self._patterns[table]:
            found = pattern.match(name, place)
            if found:
                numbers = zip(holes, found.groups(), strict=True)
                sets = {hole: int(number) for hole, number in numbers if hole != _VARIANT}
                yield Part(table, row, found[0], {**self.tables[table][row], **sets})

    def _contradiction(self, name: str, parts: list[Part]) -> str | None:
        by_row: dict[tuple[str, str], Part] = {}
        by_parameter: dict[str, Part] = {}
        for part in parts:
            if (part.table, part.row) in by_row:
                return _twice(by_row[part.table, part.row], part)
            by_row[part.table, part.row] = part
            for parameter in part.sets:
                other = by_parameter.setdefault(parameter, part)
                if other is not part:
                    return f"{other.text!r} and {part.text!r} contradict each other: both set {parameter}."
        for why, rows in self.apart.items():
            together = [part.text for part in parts if part.row in rows]
            if len(together) > 1:
                return f"{together[0]!r} and {together[1]!r} do not go together: {why}."
        named = [part for part in parts if _VARIANT in _HOLE.findall(part.row)]
        if named and name not in self.exactly and name not in self.listed:
            known = [other for other in self.listed if other.endswith(f"_{named[0].text}")]
            there = f" Such variants are those that are listed: {', '.join(known)}." if known else ""
            return f"The variant {named[0].text!r} of it is not defined.{there}"
        return None

    def _after(self, parts: list[Part], rest: str, piece: str) -> str:
        """What is wrong with `rest`, which comes after these parts."""
        for table in self.tables:
            for part in self._here(table, rest, 0):
                if rest[len(part.text) :][:1] not in ("", "_"):
                    continue
                for other in parts:
                    if (other.table, other.row) == (part.table, part.row):
                        return _twice(other, part)
                    if other.table == part.table and not self._repeats(part.table):
                        return f"{other.text!r} and {part.text!r}: a name has only one {table}."
                return f"{part.text!r} is in the wrong place: names are {self.form}."
        order = list(self.tables)
        after = order.index(parts[-1].table) if parts else 0
        tables = [word for word in order[after:] if self._repeats(word) or word != parts[-1].table]
        near = nearest(piece, [_shown(row) for word in tables for row in self.tables[word]])
        close = f" (did you mean {near[0]!r}?)" if near else ""
        return self._with_tables(f"{piece!r} is no part of a name of this form{close}", tables)

    def _with_tables(self, what: str, tables: list[str]) -> str:
        lines = [what + ":", f"    {self.form}"]
        for word in tables:
            rows = ", ".join(_shown(row) for row in self.tables[word])
            lines += wrap(
                f"{word}: {rows}",
                96,
                initial_indent="    ",
                subsequent_indent="      ",
                break_on_hyphens=False,
            )
        return "\n".join(lines)

    def _repeats(self, table: str) -> bool:
        return any(state.table == table and state.ends for state in self._states)


def _unwound(found: tuple[Any, ...]) -> list[Part]:
    parts = []
    while found:
        found, part = found
        parts.append(part)
    return parts[::-1]


def _compiled(form: str, family: str) -> list[_State]:
    """A form as states; the last one is the end."""
    states: list[_State] = []
    opened: int | None = None
    at = 0

    def refuse(why: str) -> MetadataError:
        return MetadataError(f"the form of {family!r} cannot be read at {form[at:]!r}: {why}.", given=form)

    for piece in _PIECE.finditer(form):
        if piece.start() != at:
            break
        word, opens, again, closes, literal = piece.groups()
        here = len(states)
        if opens:
            if opened is not None:
                raise refuse("brackets in brackets")
            opened = here
            states.append(_State())  # its way past the group is known where the group ends
        elif again or closes:
            if opened is None:
                raise refuse("a bracket that is not opened")
            states[opened] = _State(to=(opened + 1, here + 1))
            # A repeated part must end where it stands, or `ls` would be found in `lsx`.
            states.append(_State(to=(opened,) if again else (here + 1,), ends=bool(again)))
            opened = None
        else:
            states.append(_State(literal=literal or "", table=word or "", to=(here + 1,)))
        at = piece.end()
    if at != len(form):
        raise refuse("expected {table}, [ ], [ ]... or text of a name")
    if opened is not None:
        raise refuse("a bracket is not closed")
    return [*states, _State()]


def _patterns(table: Mapping[str, Any]) -> list[tuple[str, list[str], re.Pattern[str]]]:
    """The rows of a table as (row, its holes, expression), the longest first."""
    found = []
    for row in sorted(table, key=len, reverse=True):
        expression = _NUMBER.join(re.escape(text) for text in _HOLE.split(row)[::2])
        found.append((row, _HOLE.findall(row), re.compile(expression)))
    return found


def families(table: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of a `grammar.toml`, each with what it takes from the one that it is like.

    Raises:
        MetadataError: a row is like one that is not above it.
    """
    complete: dict[str, dict[str, Any]] = {}
    for family, row in table.items():
        own = dict(_table(row, family))
        other = own.pop("like", None)
        base: Mapping[str, Any] = {}
        if other is not None:
            if not isinstance(other, str) or other not in complete:
                raise MetadataError(f"{family!r} is like {other!r}, and no family above it is.", given=other)
            base = complete[other]
        merged = {key: value for key, value in base.items() if key not in ("listed", "exactly")}
        for key, value in own.items():
            before = merged.get(key)
            if isinstance(before, Mapping) and isinstance(value, Mapping):
                merged[key] = {**before, **value}
            else:
                merged[key] = value
        complete[family] = merged
    return complete


def expand(pattern: str) -> Iterator[str]:
    """``"a{b,c}"`` → ``"ab"``, ``"ac"``; braces do not nest.

    Raises:
        MetadataError: it is longer than names and their alternatives are.
    """
    if len(pattern) > 20 * MAX_LENGTH:
        raise MetadataError(f"{pattern[:40]!r}… is no pattern of names: too long.", given=pattern)
    texts = re.split(r"\{([^{}]*)\}", pattern)
    choices = [[choice.strip() for choice in text.split(",")] for text in texts[1::2]]
    counters = [0] * len(choices)
    while True:
        yield texts[0] + "".join(
            choice[at] + text for choice, at, text in zip(choices, counters, texts[2::2], strict=True)
        )
        for place in reversed(range(len(counters))):
            counters[place] += 1
            if counters[place] < len(choices[place]):
                break
            counters[place] = 0
        else:
            return


def _shown(row: str) -> str:
    return _HOLE.sub("{N}", row)


def _twice(one: Part, other: Part) -> str:
    if one.text == other.text:
        return f"{one.text!r} is there twice."
    return f"{one.text!r} and {other.text!r} are the same part twice."


def _rows(value: Any, what: str) -> dict[str, dict[str, Any]]:
    table = _table(value, what)
    if len(table) > _MOST_PARTS:
        raise MetadataError(f"{what} has more than {_MOST_PARTS} rows.", given=what)
    rows = {}
    for part, sets in table.items():
        text = _HOLE.sub("1", part)
        if not part or not is_name(f"x{text}"):
            raise MetadataError(f"{what}: {part[:40]!r} cannot be a part of a name.", given=part)
        rows[part] = _parameters(sets, f"{what}.{part}")
    return rows


def _groups(value: Any, what: str) -> dict[str, list[str]]:
    groups = dict(_table(value, what))
    for why, rows in groups.items():
        if not isinstance(rows, (list, tuple)) or not all(isinstance(row, str) for row in rows):
            raise MetadataError(f"{what}: {why!r} is a list of parts, got {rows!r}.", given=rows)
    return groups


def _table(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise MetadataError(f"{what} is a table, got {value!r}.", given=what)
    return value


def _parameters(value: Any, what: str) -> dict[str, Any]:
    return dict(_table(value, what))
