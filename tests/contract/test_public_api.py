"""The public surface is what `public_api.txt` says. A change to it is a decision, made visible in that file.

After a change on purpose:  .venv/bin/python tests/contract/test_public_api.py --write
"""

import dataclasses
import difflib
import enum
import inspect
import subprocess
import sys
from pathlib import Path

import holotype

SNAPSHOT = Path(__file__).with_name("public_api.txt")
REGENERATE = ".venv/bin/python tests/contract/test_public_api.py --write"


class Written(str):
    """An annotation that prints as it is written, without quotes."""

    __repr__ = str.__str__


def signature(name, value):
    """One line for a function: its name, parameters and result, as they are written."""
    found = inspect.signature(value)
    parameters = [
        p.replace(annotation=Written(p.annotation)) if isinstance(p.annotation, str) else p
        for p in found.parameters.values()
    ]
    result = found.return_annotation
    result = Written(result) if isinstance(result, str) else result
    return f"{name}{found.replace(parameters=parameters, return_annotation=result)}"


def members(cls):
    """The public methods and properties that a class itself, or a base of ours, defines."""
    for name in sorted(dir(cls)):
        if name.startswith("_"):
            continue
        owner = next((base for base in cls.__mro__ if name in vars(base)), None)
        if owner is None or not owner.__module__.startswith("holotype"):
            continue
        value = vars(owner)[name]
        if isinstance(value, property):
            yield f"{name} (property)"
        elif isinstance(value, (classmethod, staticmethod)):
            yield signature(name, value.__func__)
        elif inspect.isfunction(value):
            yield signature(name, value)


def describe(name, value):
    if inspect.isclass(value):
        bases = ", ".join(base.__name__ for base in value.__bases__)
        yield f"class {name}({bases})"
        if issubclass(value, enum.Enum):
            yield from (f"    {member.name} = {member.value!r}" for member in value)
        if dataclasses.is_dataclass(value):
            yield from (f"    {field.name}: {field.type}" for field in dataclasses.fields(value))
        yield from (f"    {member}" for member in members(value))
    elif callable(value) and not type(value).__module__.startswith("holotype"):
        yield f"def {signature(name, value)}"
    else:
        yield f"{name}: {type(value).__name__}"


def surface():
    lines = []
    for name in sorted(holotype.__all__, key=str.lower):
        lines += describe(name, getattr(holotype, name))
    return "\n".join(lines) + "\n"


def test_the_public_surface_is_the_recorded_one():
    recorded, found = SNAPSHOT.read_text("utf-8"), surface()
    changes = "\n".join(
        difflib.unified_diff(recorded.splitlines(), found.splitlines(), "recorded", "found", lineterm="")
    )
    assert not changes, f"{changes}\nIf this is meant: {REGENERATE}"


def test_what_is_exported_is_listed_and_nothing_else():
    assert len(set(holotype.__all__)) == len(holotype.__all__)
    assert set(dir(holotype)) >= set(holotype.__all__)
    for name in holotype.__all__:
        assert getattr(holotype, name) is not None


def test_public_functions_are_annotated_and_documented():
    def missing(name, function):
        parameters = list(inspect.signature(function).parameters.values())
        bare = [p.name for p in parameters if p.annotation is p.empty and p.name not in ("self", "cls")]
        if bare or inspect.signature(function).return_annotation is inspect.Signature.empty:
            yield f"{name}: no type hint on {', '.join(bare) or 'the result'}"
        if not function.__doc__:
            yield f"{name}: no docstring"

    problems = []
    for name in holotype.__all__:
        value = getattr(holotype, name)
        if inspect.isclass(value):
            if not value.__doc__:
                problems.append(f"{name}: no docstring")
            for member, method in inspect.getmembers(value, inspect.isfunction):
                if not member.startswith("_") and method.__module__.startswith("holotype"):
                    problems += missing(f"{name}.{member}", method)
        elif inspect.isroutine(value):
            problems += missing(name, value)
    assert problems == []


def test_importing_and_listing_pulls_in_nothing_heavy():
    code = (
        "import sys, holotype\n"
        "holotype.list_models(), holotype.get_model_info('v1'), dir(holotype)\n"
        "print(*{'torch', 'numpy', 'PIL', 'yaml'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"usage: {REGENERATE}")
    SNAPSHOT.write_text(surface(), encoding="utf-8")
    print(f"wrote {SNAPSHOT}")
