"""Names: their grammar, their order, and the nearest one to a typo."""

from __future__ import annotations

from itertools import groupby

from holotype.errors import InvalidNameError, ParameterError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

GRAMMAR = "[a-z0-9][a-z0-9._-]*"
MAX_LENGTH = 200
_FIRST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_ALLOWED = _FIRST | frozenset("._-")


def check_name(name: object, what: str = "name") -> str:
    """Return `name` if it fits the grammar.

    Args:
        name: what the caller gave.
        what: how the error calls it, for example ``"zoo name"``.

    Raises:
        InvalidNameError: it does not fit; the error suggests one that does.
    """
    if isinstance(name, str) and len(name) <= MAX_LENGTH and _fits(name):
        return str(name)
    if not isinstance(name, str):
        raise InvalidNameError(
            f"{name!r} is not a {what}: expected text, got {type(name).__name__}.", given=name
        )
    if len(name) > MAX_LENGTH:
        raise InvalidNameError(
            f"a {what} of {len(name)} characters is too long: at most {MAX_LENGTH}.", given=name
        )
    suggestion = "".join(c if c in _ALLOWED else "_" for c in name.lower()).lstrip("._-").rstrip("_")
    raise InvalidNameError(
        f"{name!r} is not a {what}: lower-case letters, digits, '.', '_' and '-' "
        "only, starting with a letter or digit.",
        given=name,
        nearest=[suggestion] if suggestion else [],
    )


def _fits(name: str) -> bool:
    return name[:1] in _FIRST and _ALLOWED.issuperset(name) if name else False


def is_name(name: str) -> bool:
    """Does it fit the grammar?"""
    return len(name) <= MAX_LENGTH and _fits(name)


def split_qualified(name: str) -> tuple[str | None, str]:
    """Split ``"zoo/model"`` into its lower-cased parts; the zoo is None if it is not given."""
    zoo, slash, model = name.strip().lower().rpartition("/")
    return (zoo if slash else None), model


def natural_key(name: str) -> str:
    """A sort key under which ``b2`` comes before ``b10``. Ties fall back to the text itself."""
    parts = []
    for digits, run in groupby(name, str.isdecimal):
        part = "".join(run)
        if digits:
            part = part.lstrip("0") or "0"
            part = f"{len(part):03}{part}"  # the longer number is the larger one
        parts.append(part)
    return f"{''.join(parts)} {name}"


def patterns(globs: str | Iterable[str], what: str = "filter") -> list[str]:
    """The globs of one argument as a list, lower-cased."""
    if isinstance(globs, str):
        globs = (globs,)
    elif not hasattr(globs, "__iter__"):
        raise ParameterError(
            f"a {what} is a glob such as '*convnext*', or several; got {globs!r}.", given=globs
        )
    result = []
    for glob in globs:
        if hasattr(glob, "value") and not isinstance(globs, str):
            raise InvalidNameError(
                f"{glob!r} is a task, not a {what}.", given=glob, hint=f"Write task={glob!s}."
            )
        if not isinstance(glob, str):
            raise InvalidNameError(
                f"a {what} is a glob such as '*convnext*', or several; got {glob!r}.", given=glob
            )
        result.append(glob.lower())
    return result


def matcher(globs: list[str]) -> Callable[[str], bool]:
    """A predicate: does a lower-case name match any of these globs?"""
    if "*" in globs:
        return lambda name: True
    if all(not set("*?[") & set(glob) for glob in globs):
        exact = frozenset(globs)
        return lambda name: name in exact
    import re
    from fnmatch import translate

    match = re.compile("|".join(translate(glob) for glob in globs)).match
    return lambda name: match(name) is not None


def nearest(given: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names closest to a typo, best first; empty if none is close.

    One that another library spells differently comes first: ``vit_base_patch16_224`` is ``vit_b16``.
    """
    from difflib import get_close_matches

    candidates = list(dict.fromkeys(known))
    given = given.lower()
    short = {name.rpartition("/")[2]: name for name in reversed(candidates)}
    # Another library's tag (`resnet50.a1_in1k`) is no part of the name, unless names have dots here.
    dotted = any("." in name for name in short)
    same = _condensed(given if dotted else given.partition(".")[0])
    close = [full for name, full in short.items() if _condensed(name) == same]
    cutoff = 0.5 if len(given) <= 3 else 0.6  # 'v3' is as close to 'v2' as two characters can be
    close += get_close_matches(given, candidates, n=count, cutoff=cutoff)
    close += [short[name] for name in get_close_matches(given, list(short), n=count, cutoff=cutoff)]
    if not close and len(given) >= 3:
        close = sorted((name for name in candidates if given in name), key=lambda n: (len(n), n))
    return list(dict.fromkeys(close))[:count]


def _condensed(name: str) -> str:
    """A name without what libraries spell differently: separators, words for sizes, input sizes."""
    import re

    name = re.sub(r"_(?:224|256|384|448|512|518)$", "", name.removeprefix("tf_"))
    name = re.sub(r"_(tiny|small|medium|base|large|huge|giant)(?=_patch|_?\d)", lambda m: "_" + m[1][0], name)
    return re.sub(r"_v1(?=_|$)|patch(?=\d)|[_-]", "", name)
