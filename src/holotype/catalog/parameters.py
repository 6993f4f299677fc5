"""Check parameters against a constructor's signature before anything is built.

Hints are read as text, so that what the index knows of a class that is not imported, and what `inspect`
knows of a live one, are checked by the same code. A hint that is not understood is not checked.
"""

from __future__ import annotations

import ast
import numbers
import os
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from holotype.errors import ParameterError
from holotype.frozen import FrozenList
from holotype.names import nearest
from holotype.records import Parameter
from holotype.text import shown

ANY = "anything"
_BY_POSITION = "can only be passed by position, and parameters are passed by name"


class PositionalOnly(Parameter):
    """A parameter before the ``/``: parameters are passed by name, so it cannot be given."""


_LOADED_BY_NAME = "; weights are loaded by the name of an entry: load_pretrained_model(ENTRY)"


def problems_with(
    params: Mapping[str, Any],
    parameters: Iterable[Parameter],
    *,
    open_parameters: bool = False,
    missing: bool = True,
) -> list[str]:
    """One line for each parameter that is unknown, missing, or of the wrong type.

    Args:
        params: what is to be passed, by name.
        parameters: the constructor's.
        open_parameters: it takes any further keyword.
        missing: report what is required and not given; False where more is given later.
    """
    known = {parameter.name: parameter for parameter in parameters}
    problems = []
    for name, value in params.items():
        parameter = known.get(name)
        if parameter is None:
            if not open_parameters:
                close = nearest(str(name), known, count=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                hint = _LOADED_BY_NAME if name == "pretrained" else hint
                problems.append(f"{name}: no such parameter{hint}")
        elif isinstance(parameter, PositionalOnly):
            if parameter.required or not open_parameters:  # otherwise it goes among the further keywords
                problems.append(f"{name}: {_BY_POSITION}")
        elif parameter.annotation is not None and not (
            value is None and not parameter.required and parameter.default_source == "None"
        ):
            expected = mismatch(value, parameter.annotation)
            if expected is not None:
                problems.append(
                    f"{name}: expected {expected}, got {_shown(value)}{_yaml_hint(value, expected)}"
                )
    for name, parameter in known.items() if missing else ():
        if parameter.required and name not in params:
            if isinstance(parameter, PositionalOnly):
                problems.append(f"{name}: {_BY_POSITION}")
                continue
            hint = f" ({parameter.annotation})" if parameter.annotation else ""
            problems.append(f"{name}: missing{hint}")
    return problems


def check(
    params: Mapping[str, Any],
    parameters: tuple[Parameter, ...],
    *,
    of: str,
    open_parameters: bool = False,
) -> None:
    """Raise one error that lists every problem.

    Args:
        params: what is to be passed, by name.
        parameters: the constructor's.
        of: the architecture's name, for the message.
        open_parameters: it takes any further keyword.

    Raises:
        ParameterError: at least one parameter is unknown, missing or of the wrong type.
    """
    problems = problems_with(params, parameters, open_parameters=open_parameters)
    if problems:
        raise ParameterError(
            f"the parameters do not fit {of!r}:\n" + "\n".join(f"  - {problem}" for problem in problems),
            problems=problems,
            given=dict(params),
            hint=f"See them all: holotype info {of}",
        )


def mismatch(value: Any, annotation: str) -> str | None:
    """What the hint expects, if `value` is certainly not that; None if it fits or is not checked."""
    hint = _parse(annotation)
    return None if _fits(value, hint) else _readable(hint)


@lru_cache(maxsize=1024)
def _parse(annotation: str) -> ast.expr:
    try:
        return ast.parse(annotation, mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        return ast.Constant(value=...)


def _name(hint: ast.expr) -> str:
    """The last part of a dotted name; the empty string for anything else."""
    if isinstance(hint, ast.Attribute):
        return hint.attr
    return hint.id if isinstance(hint, ast.Name) else ""


def _arguments(hint: ast.Subscript) -> list[ast.expr]:
    return hint.slice.elts if isinstance(hint.slice, ast.Tuple) else [hint.slice]


def _fits(value: Any, hint: ast.expr) -> bool:
    match hint:
        case ast.Constant(value=None):
            return value is None
        case ast.Constant(value=str(text)):
            return _fits(value, _parse(text))
        case ast.BinOp(op=ast.BitOr()):
            return _fits(value, hint.left) or _fits(value, hint.right)
        case ast.Subscript():
            return _fits_generic(value, _name(hint.value), _arguments(hint))
    return _fits_plain(value, _name(hint))


def _fits_plain(value: Any, name: str) -> bool:
    match name:
        case "int":
            return isinstance(value, numbers.Integral) and not isinstance(value, bool)
        case "float":
            return isinstance(value, numbers.Real) and not isinstance(value, bool)
        case "bool":
            return isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")
        case "str":
            return isinstance(value, str)
        case "bytes":
            return isinstance(value, bytes)
        case "None" | "NoneType":
            return value is None
        case "list" | "List" | "MutableSequence":
            return isinstance(value, (list, FrozenList))
        case "tuple" | "Tuple" | "Sequence" | "Collection":
            # YAML and JSON have lists only, so a list stands for a tuple.
            return isinstance(value, (list, tuple)) or (
                not isinstance(value, (str, bytes, Mapping, numbers.Number)) and hasattr(value, "__len__")
            )
        case "Iterable":
            return hasattr(value, "__iter__") and not isinstance(value, str)
        case "dict" | "Dict" | "Mapping" | "MutableMapping":
            return isinstance(value, Mapping)
        case "set" | "Set" | "frozenset" | "FrozenSet":
            return isinstance(value, (set, frozenset, list, tuple))
        case "Path" | "PathLike":
            return isinstance(value, (str, os.PathLike))
        case "Callable":
            return callable(value)
    return True


def _fits_generic(value: Any, name: str, arguments: list[ast.expr]) -> bool:
    match name:
        case "Optional":
            return value is None or _fits(value, arguments[0])
        case "Union":
            return any(_fits(value, argument) for argument in arguments)
        case "Annotated" | "Final" | "ClassVar":
            return _fits(value, arguments[0])
        case "Literal":
            choices = _choices(arguments)
            return len(choices) < len(arguments) or any(
                type(value) is type(choice) and value == choice for choice in choices
            )
        case "list" | "List" | "Sequence" | "Collection" | "Iterable" | "set" | "Set" | "frozenset":
            return _fits_plain(value, name) and (
                not isinstance(value, (list, tuple, set, frozenset))
                or all(_fits(item, arguments[0]) for item in value)
            )
        case "tuple" | "Tuple":
            if not _fits_plain(value, name) or not isinstance(value, (list, tuple)):
                return _fits_plain(value, name)
            if len(arguments) == 2 and isinstance(arguments[1], ast.Constant) and arguments[1].value is ...:
                return all(_fits(item, arguments[0]) for item in value)
            return len(value) == len(arguments) and all(map(_fits, value, arguments))
        case "dict" | "Dict" | "Mapping" | "MutableMapping":
            return isinstance(value, Mapping) and (
                len(arguments) != 2
                or all(_fits(key, arguments[0]) and _fits(item, arguments[1]) for key, item in value.items())
            )
    return _fits_plain(value, name)


def _choices(arguments: list[ast.expr]) -> list[Any]:
    choices = []
    for argument in arguments:
        try:
            choices.append(ast.literal_eval(argument))
        except (ValueError, TypeError):  # a name such as an enum member: only running it could tell
            continue
    return choices


def _readable(hint: ast.expr) -> str:
    if isinstance(hint, ast.Subscript) and _name(hint.value) == "Literal":
        return "one of " + ", ".join(repr(choice) for choice in _choices(_arguments(hint)))
    return ast.unparse(hint)


def _shown(value: Any) -> str:
    return f"{shown(value)} ({type(value).__name__})"


def _yaml_hint(value: Any, expected: str) -> str:
    """YAML 1.1 reads ``1e-3`` as text; say how to write the number."""
    expected = expected.removeprefix("Optional[")
    if isinstance(value, str) and expected.startswith(("int", "float")):
        try:
            number = float(value)
        except ValueError:
            return ""
        if number - number != 0:  # infinite, or not a number
            return ""
        if expected.startswith("int"):
            return f"; write {int(number)}, without quotes" if number.is_integer() else ""
        mantissa, e, exponent = repr(number).partition("e")
        written = mantissa if "." in mantissa else f"{mantissa}.0"
        return f"; write {written}{e}{exponent}, without quotes"
    return ""


# -- signatures ----------------------------------------------------------------------------------


def from_facts(facts: Mapping[str, Any] | None) -> tuple[tuple[Parameter, ...] | None, bool]:
    """The parameters that the index knows, and whether any further keyword is taken."""
    if facts is None:
        return None, True
    from holotype.catalog.values import NotLiteral, decode
    from holotype.frozen import freeze

    parameters = []
    for name, annotation, source, literal, kind in facts["params"]:
        try:
            default = freeze(decode(literal))
        except NotLiteral:
            default = None
        record = PositionalOnly if kind == "p" else Parameter
        parameters.append(
            record(
                name=name,
                annotation=annotation,
                required=source is None,
                default=default,
                default_source=source,
                keyword_only=kind == "k",
            )
        )
    return tuple(parameters), bool(facts.get("open"))


def to_facts(target: Any) -> dict[str, Any] | None:
    """The signature of a live class or function in the form in which the index keeps it."""
    import inspect

    from holotype.catalog.values import encode
    from holotype.errors import MetadataError
    from holotype.frozen import freeze

    try:
        if sys.version_info >= (3, 14):
            from annotationlib import Format

            signature = inspect.signature(target, annotation_format=Format.STRING)
        else:
            signature = inspect.signature(target)
    except (ValueError, TypeError, NameError):  # builtins and C classes have none; a hint may name nothing
        return None
    params: list[list[Any]] = []
    is_open = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            is_open = True
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        annotation = None
        if isinstance(parameter.annotation, str):
            annotation = parameter.annotation
        elif parameter.annotation is not parameter.empty:
            annotation = inspect.formatannotation(parameter.annotation).replace("typing.", "")
        source, literal = None, None
        if parameter.default is not parameter.empty:
            source = repr(parameter.default)
            try:
                literal = encode(freeze(parameter.default))
            except MetadataError:
                literal = None
        positional_only, keyword_only = parameter.POSITIONAL_ONLY, parameter.KEYWORD_ONLY
        kind = "p" if parameter.kind is positional_only else "k" if parameter.kind is keyword_only else "n"
        params.append([parameter.name, annotation, source, literal, kind])
    if isinstance(target, type):
        owner = next(cls for cls in target.__mro__ if "__init__" in vars(cls))
        # `nn.Module` takes *args, **kwargs, and wants none.
        if owner in (object, _torch_module(target)):
            return {"params": [], "open": False}
    return {"params": params, "open": is_open}


def _torch_module(target: Any) -> Any:
    """`torch.nn.Module` if `target` derives from it, found without importing torch."""
    for cls in getattr(target, "__mro__", ()):
        if cls.__module__ == "torch.nn.modules.module" and cls.__qualname__ == "Module":
            return cls
    return None
