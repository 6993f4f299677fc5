"""The shape of the package: no two files import each other in a circle, be it in a function or for types alone."""

import ast
from pathlib import Path

import holotype

ROOT = Path(holotype.__file__).parent
# Circles that are left from the former tree; each goes with its import.
LEFT = [
    {"holotype.cli.predict", "holotype.cli.predict_images"},
    {f"holotype.proteins.evaluation.{name}" for name in ("evaluate", "plots", "report")},
]


def module_of(path):
    parts = ("holotype", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports(module):
    """The modules of the package that a file imports anywhere.

    What an ``__init__`` imports under TYPE_CHECKING is left out: there it names what its `__getattr__` fetches.
    """
    path = MODULES[module]
    is_package = path.name == "__init__.py"
    package = module.split(".") if is_package else module.split(".")[:-1]
    found = set()
    todo = [ast.parse(path.read_bytes())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            inner = {f"{base}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= inner or {base}
        elif not (is_package and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            todo.extend(ast.iter_child_nodes(node))
    return (found & MODULES.keys()) - {module}


def circles(graph):
    """The sets of modules that reach each other."""
    reached = {}
    for start in graph:
        todo, seen = list(graph[start]), set()
        while todo:
            module = todo.pop()
            if module not in seen:
                seen.add(module)
                todo.extend(graph[module])
        reached[start] = seen
    return {
        frozenset(other for other in graph if other in reached[module] and module in reached[other])
        for module in graph
        if module in reached[module]
    }


def test_no_two_files_import_each_other_in_a_circle():
    found = circles({module: imports(module) for module in MODULES})
    assert [sorted(circle) for circle in found if circle not in LEFT] == []


def test_a_circle_would_be_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == {frozenset("bc")}
