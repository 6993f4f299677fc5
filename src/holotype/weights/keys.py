r"""Key maps: how the names in a weight file become the names in a network, as data.

A key map is an ordered mapping from regular expressions to replacements, as it stands in the `key_map`
of a pretrained entry. For every name in the file:

1. A wrapper's prefix (``module.``, ``model.``, ``_orig_mod.``) that *all* names of the file carry is taken
   off first, so rules never mention it. (It stays where the network's own names carry it too.) Any other
   prefix (``net.``, ``encoder.``) is taken off if every name is the network's own without it.
2. The rules run in order. Each is one ``re.sub`` on what the earlier rules left, so a rule may do the
   front of a name (``^_blocks\.3\.``) and a later one its middle (``\._expand_conv\.``).
3. A name that no rule matched is an error: a map that leaves something out is a wrong map. Keep a name
   on purpose with a rule that gives it back (``'^classifier\.' = 'classifier.'``).
4. A name that becomes empty is left out on purpose, and reported: ``'^ema_.*$' = ''``.
5. Two names that become the same one are an error.

Without a key map (or with an empty one) only step 1 happens.

A replacement is what ``re.sub`` takes (``\1``, ``\g<name>``) and one thing more, because a network that
groups its blocks in stages and one that numbers them through name the same block ``stage3.1`` and ``6``:

``{1:1+2+2+6+5}``
    the number that group 1 matched, counted through stages of 1, 2, 2, 6 and 5 blocks, as
    ``<stage>.<block in that stage>``, both from 0. A number beyond the last block is an error.

In TOML, single quotes keep the backslashes as they are, and the order is kept::

    [efficientnet_lite0_imagenet1k.key_map]
    '^_conv_stem\.' = 'stem.0.'
    '^_bn0\.' = 'stem.1.'
    '^_conv_head\.' = 'features.0.0.'
    '^_bn1\.' = 'features.0.1.'
    '^_fc\.' = 'classifier.'
    # Block 0 does not expand, so its two parts come one place earlier.
    '^_blocks\.0\._depthwise_conv\.' = 'body.stage0.0.block.0.0.'
    '^_blocks\.0\._bn1\.' = 'body.stage0.0.block.0.1.'
    '^_blocks\.0\._project_conv\.' = 'body.stage0.0.block.1.0.'
    '^_blocks\.0\._bn2\.' = 'body.stage0.0.block.1.1.'
    '^_blocks\.(\d+)\.' = 'body.stage{1:1+2+2+6+5}.'
    '\._expand_conv\.' = '.block.0.0.'
    '\._bn0\.' = '.block.0.1.'
    '\._depthwise_conv\.' = '.block.1.0.'
    '\._bn1\.' = '.block.1.1.'
    '\._project_conv\.' = '.block.2.0.'
    '\._bn2\.' = '.block.2.1.'

No torch in here: names in, names out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping

from holotype.errors import MetadataError, MismatchError
from holotype.text import listed

PREFIXES = ("module.", "model.", "_orig_mod.")
_COUNTED = re.compile(r"\{(\w+):(\d+(?:\+\d+)*)\}")
_SHOWN = 10

Rule = Callable[[str], str | None]
"""Takes a name; gives the new one, or None where the rule does not match."""


def map_keys(
    names: Iterable[str], key_map: Mapping[str, str] | None = None, *, wanted: Collection[str] = ()
) -> dict[str, str | None]:
    r"""The name in the network of every name in a weight file.

    Args:
        names: the names in the file.
        key_map: the rules; see the top of this module.
        wanted: the network's own names, which decide about prefixes.

    Returns:
        From each name in the file to the network's, or to None where a rule leaves it out.

    Raises:
        MetadataError: the map itself is wrong: a bad expression, a bad replacement.
        MismatchError: names that no rule matched, that collide, or a block beyond the last stage.

    >>> map_keys(["module._fc.bias"], {r"^_fc\.": "classifier."})
    {'module._fc.bias': 'classifier.bias'}
    """
    names = list(names)
    length = len(common_prefix(names, wanted))
    stripped = {name: name[length:] for name in names}
    if not key_map:
        return dict(stripped)
    rules = compile_key_map(key_map)
    mapped: dict[str, str | None] = {}
    unmapped: list[str] = []
    for name, new in stripped.items():
        matched = False
        for rule in rules:
            changed = rule(new)
            if changed is not None:
                matched, new = True, changed
        if not matched:
            unmapped.append(name)
        mapped[name] = new or None
    if unmapped:
        raise MismatchError(
            f"the key map has no rule for {listed(unmapped, _SHOWN)}.",
            given=tuple(unmapped),
            hint="Add a rule for them, or one with an empty replacement to leave them out.",
        )
    _refuse_collisions(mapped)
    return mapped


def common_prefix(names: Collection[str], wanted: Collection[str] = ()) -> str:
    """The wrapper prefixes that all `names` carry and `wanted` do not, joined; maybe empty.

    >>> common_prefix(["_orig_mod.module.a", "_orig_mod.module.b"])
    '_orig_mod.module.'
    """
    found = ""
    while names:
        for prefix in PREFIXES:
            longer = found + prefix
            # A name that is nothing but the prefix would become empty: then it is not a wrapper's.
            if all(name.startswith(longer) and len(name) > len(longer) for name in names):
                break
        else:
            break
        if wanted and all(name.startswith(prefix) for name in wanted):
            break
        found = longer
    return found + _fitting_prefix({name[len(found) :] for name in names}, frozenset(wanted))


def _fitting_prefix(names: Collection[str], wanted: frozenset[str]) -> str:
    """Any other prefix that all names carry, if every name is one of the wanted without it."""
    found = ""
    while names and wanted and not wanted.issuperset(names):
        prefix, dot, _ = next(iter(names)).partition(".")
        if not dot or not all(name.startswith(prefix + dot) for name in names):
            return ""
        found += prefix + dot
        names = {name[len(prefix) + 1 :] for name in names}
    return found


def compile_key_map(key_map: Mapping[str, str]) -> list[Rule]:
    """The rules of a key map, ready to run; a wrong one is a MetadataError that names it."""
    return [_rule(pattern, replacement) for pattern, replacement in key_map.items()]


def _rule(pattern: str, replacement: str) -> Rule:
    if not isinstance(pattern, str) or not isinstance(replacement, str):
        raise MetadataError(
            f"a key map holds text to text, got {pattern!r} to {replacement!r}.", given=(pattern, replacement)
        )
    try:
        compiled = re.compile(pattern)
        fill = _template(compiled, replacement)
    except (re.error, IndexError, KeyError, ValueError) as error:
        raise MetadataError(
            f"the rule {pattern!r} = {replacement!r} of the key map is wrong: {error}.",
            given=(pattern, replacement),
        ) from None

    def rule(name: str) -> str | None:
        new, count = compiled.subn(fill, name)
        return new if count else None

    return rule


def _template(pattern: re.Pattern[str], replacement: str) -> Callable[[re.Match[str]], str]:
    """A replacement as a function of the match: plain pieces and counted stages in turn."""
    pieces: list[Callable[[re.Match[str]], str]] = []
    at = 0
    for found in _COUNTED.finditer(replacement):
        pieces.append(_plain(pattern, replacement[at : found.start()]))
        pieces.append(_counted(pattern, *found.groups()))
        at = found.end()
    pieces.append(_plain(pattern, replacement[at:]))
    return lambda match: "".join(piece(match) for piece in pieces)


def _plain(pattern: re.Pattern[str], text: str) -> Callable[[re.Match[str]], str]:
    if "\\" not in text:
        return lambda match: text
    # `expand` judges a template only at a match; an empty alternative matches always, and has
    # the same groups, so that a bad template is found when the map is read.
    probe = re.compile(f"(?:{pattern.pattern})|", pattern.flags).match("\0")
    if probe is not None:
        probe.expand(text)
    return lambda match: match.expand(text)


def _counted(pattern: re.Pattern[str], group: str, counts: str) -> Callable[[re.Match[str]], str]:
    which: int | str = int(group) if group.isdigit() else group
    known = pattern.groups >= which if isinstance(which, int) else which in pattern.groupindex
    if not known:
        raise ValueError(f"it has no group {group}")
    blocks = [(s, b) for s, count in enumerate(counts.split("+")) for b in range(int(count))]

    def fill(match: re.Match[str]) -> str:
        number = match.group(which)
        if number is None or not number.isascii() or not number.isdigit() or int(number) >= len(blocks):
            raise MismatchError(
                f"{match.string!r}: {number!r} is not the number of one of the {len(blocks)} blocks in "
                f"stages of {counts.replace('+', ', ')}.",
                given=match.string,
            )
        return "{}.{}".format(*blocks[int(number)])

    return fill


def _refuse_collisions(mapped: Mapping[str, str | None]) -> None:
    sources: dict[str, list[str]] = {}
    for old, new in mapped.items():
        if new is not None:
            sources.setdefault(new, []).append(old)
    clashes = [f"{' and '.join(olds)} → {new}" for new, olds in sources.items() if len(olds) > 1]
    if clashes:
        raise MismatchError(
            f"the key map gives several names in the file the same name: {listed(clashes, _SHOWN)}.",
            given=tuple(clashes),
        )
