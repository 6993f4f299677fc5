"""Which zoos there are, and where their files lie. Nothing is imported to find out.

In this order: the first-party zoos; those that ``[tool.holotype] zoos`` of the nearest ``pyproject.toml``
names; those in ``HOLOTYPE_ZOOS``; entry points of installed packages in the group ``holotype.zoos``.
"""

from __future__ import annotations

import os
import sys

from holotype.entry_points import entry_points, import_path
from holotype.first_party import FIRST_PARTY

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Protocol

    from holotype.records import Problem

    class Memo(Protocol):
        """Remembers what a file says, by its content, so that it need not be parsed again."""

        def recall(self, path: str, content: bytes) -> list[tuple[str | None, str]] | None:
            """What was remembered for this very content, or None."""

        def remember(self, path: str, content: bytes, zoos: list[tuple[str | None, str]]) -> None:
            """Remember names and modules of zoos."""


SESSION = "session"  # the zoo of what is typed in
PROBING = "HOLOTYPE_PROBING"  # set in the child process of `holotype.catalog.probe`
ZOOS_GROUP = "holotype.zoos"
HOLOTYPE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class ZooSpec:
    """A zoo and where it is.

    Attributes:
        name: its name.
        module: the package (or single module) that is the zoo.
        root: the folder that has to be importable for `module` to be found.
        path: the package's folder, or the module's file.
        found_by: who named it.
    """

    __slots__ = ("found_by", "module", "name", "path", "root")

    def __init__(self, name: str, module: str, root: str, path: str, found_by: str) -> None:
        self.name, self.module, self.root, self.path, self.found_by = name, module, root, path, found_by

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ZooSpec) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def __repr__(self) -> str:
        return f"ZooSpec{self._parts()!r}"

    def _parts(self) -> tuple[str, ...]:
        return (self.name, self.module, self.root, self.path, self.found_by)

    @property
    def is_package(self) -> bool:
        """False for a zoo that is one file."""
        return not self.path.endswith(".py")

    @property
    def folder(self) -> str:
        """The folder of its files."""
        return self.path if self.is_package else os.path.dirname(self.path)

    def holds(self, module: str) -> bool:
        """Is `module` part of this zoo?"""
        return module == self.module or module.startswith(f"{self.module}.")


def _problem(where: str, message: str) -> Problem:
    """A zoo that was named and is not found, or a file that names zoos and cannot be read."""
    from holotype.records import Problem

    return Problem("-", message, where)


def is_probing() -> bool:
    """Is this the child process of a trial import?"""
    return PROBING in os.environ


def find_zoos(
    extra: tuple[ZooSpec, ...] = (), memo: Memo | None = None
) -> tuple[list[ZooSpec], list[Problem]]:
    """Every zoo, and what went wrong on the way.

    Args:
        extra: zoos that code added; they come after those of the project.
        memo: what was read from `pyproject.toml` before.
    """
    specs: list[ZooSpec] = []
    problems: list[Problem] = []
    for name in FIRST_PARTY:
        folder = os.path.join(HOLOTYPE_ROOT, "holotype", name, "models")
        specs.append(ZooSpec(name, f"holotype.{name}.models", HOLOTYPE_ROOT, folder, "first-party"))
    candidates: list[ZooSpec | Problem] = [
        *_from_pyproject(memo),
        *_from_environment(),
        *extra,
        *_from_entry_points(),
    ]
    for found in candidates:
        if not isinstance(found, ZooSpec):
            problems.append(found)
            continue
        if any(os.path.realpath(spec.path) == os.path.realpath(found.path) for spec in specs):
            continue
        same_name = next((spec for spec in specs if spec.name == found.name), None)
        if same_name is not None:
            problems.append(
                _problem(
                    found.path,
                    f"a second zoo named {found.name!r} ({found.found_by}); the first is {same_name.path}",
                )
            )
            continue
        specs.append(found)
    return specs, problems


def locate(module: str, roots: list[str]) -> tuple[str, str] | None:
    """Find a module below some folders.

    Returns:
        ``(root, path)``: the first folder that holds it, and the package's folder or the module's file.
    """
    parts = module.split(".")
    stems = [(root, os.path.join(root or ".", *parts)) for root in roots]
    for root, stem in stems:
        if os.path.isfile(os.path.join(stem, "__init__.py")):
            return root, stem
        if os.path.isfile(f"{stem}.py"):
            return root, f"{stem}.py"
    # As for Python, a plain folder counts only where no folder of the path has more.
    return next(((root, stem) for root, stem in stems if os.path.isdir(stem)), None)


def is_other_module(path: str, symbol: str) -> bool:
    """Is a relative import one of a folder without ``__init__.py``, or of a compiled module?

    Args:
        path: the file that imports.
        symbol: what it imports, with one dot a level.
    """
    level = len(symbol) - len(symbol.lstrip("."))
    stem = os.path.join(os.path.dirname(path), *[".."] * (level - 1), *symbol.strip(".").split("."))
    if os.path.isdir(stem):
        return True
    folder, name = os.path.split(stem)
    try:
        with os.scandir(folder) as items:
            names = [item.name for item in items]
    except OSError:
        return False
    return any(one.startswith(f"{name}.") and one.endswith((".so", ".pyd", ".pyc")) for one in names)


def named_zoo(
    module: str, name: str | None, roots: list[str], where: str, found_by: str
) -> ZooSpec | Problem:
    """The zoo of a name that a project, a variable or a package gives, or why it is not found."""
    from holotype.errors import InvalidNameError
    from holotype.names import check_name

    if not all(part.isidentifier() for part in module.split(".")):
        return _problem(where, f"{module!r} is not the dotted name of a module")
    try:
        name = check_name(module.lower() if name is None else name, "zoo name")
    except InvalidNameError as error:
        return _problem(where, str(error))
    found = locate(module, roots) or _ask_finders(module)
    if found is None:
        return _problem(where, f"names the zoo {module!r}, and no such module is found there or on sys.path")
    root, path = found
    return ZooSpec(name, module, os.path.abspath(root), os.path.abspath(path), found_by)


def _ask_finders(module: str) -> tuple[str, str] | None:
    """Ask the import system where a module would come from, without importing its parents."""
    path: Any = None
    spec: Any = None
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(".".join(parts[:count]), path) if find else None
            if spec is not None:
                break
        if spec is None:
            return None
        path = spec.submodule_search_locations
        if path is None and count < len(parts):
            return None
    where = str(next(iter(path))) if path is not None else str(spec.origin)
    if path is None and not where.endswith(".py"):
        return None
    root = where.removesuffix(".py")
    for _ in parts:
        root = os.path.dirname(root)
    return root, where


def nearest_pyproject() -> str | None:
    """The closest ``pyproject.toml`` at or above the working directory."""
    try:
        folder = os.getcwd()
    except OSError:  # the working directory has been deleted
        return None
    while True:
        path = os.path.join(folder, "pyproject.toml")
        if os.path.isfile(path):
            return path
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def _from_pyproject(memo: Memo | None) -> Iterator[ZooSpec | Problem]:
    path = nearest_pyproject()
    if path is None:
        return
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        yield _problem(path, f"cannot be read: {error.strerror or error}")
        return
    if b"holotype" not in content:
        return
    zoos = memo.recall(path, content) if memo is not None else None
    if zoos is None:
        found = _zoos_named_in(content)
        if isinstance(found, str):
            yield _problem(path, found)
            return
        zoos = found
        if memo is not None:
            memo.remember(path, content, zoos)
    folder = os.path.dirname(path)
    roots = [folder, os.path.join(folder, "src"), *import_path()]
    for name, module in zoos:
        yield named_zoo(module, name, roots, path, "pyproject")


def _zoos_named_in(content: bytes) -> list[tuple[str | None, str]] | str:
    """Names and modules that a `pyproject.toml` gives, or what is wrong with it."""
    import tomllib

    try:
        table = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # TOML, UTF-8, endless digits or brackets
        return f"is not TOML: {error}"
    tool = table.get("tool")
    settings = tool.get("holotype", {}) if isinstance(tool, dict) else {}
    zoos = settings.get("zoos", []) if isinstance(settings, dict) else None
    unknown = sorted(set(settings) - {"zoos"}) if isinstance(settings, dict) else []
    if unknown:
        return f"[tool.holotype] has the key {unknown[0]!r}, and there is only 'zoos'"
    if isinstance(zoos, list):
        zoos = [(None, module) for module in zoos]
    elif isinstance(zoos, dict):
        zoos = list(zoos.items())
    else:
        zoos = None
    if zoos is None or not all(isinstance(module, str) for _, module in zoos):
        return '[tool.holotype] zoos is a list such as ["src.model"], or a table name = "module"'
    return zoos


def _from_environment() -> Iterator[ZooSpec | Problem]:
    for item in os.environ.get("HOLOTYPE_ZOOS", "").replace(os.pathsep, ",").split(","):
        if item := item.strip():
            name, equals, module = item.rpartition("=")
            yield named_zoo(
                module.strip(),
                name.strip() if equals else None,
                [".", *import_path()],
                "HOLOTYPE_ZOOS",
                "environment",
            )


def _from_entry_points() -> Iterator[ZooSpec | Problem]:
    for folder, name, value in entry_points(ZOOS_GROUP):
        module = value.partition(":")[0].partition("[")[0].strip()
        yield named_zoo(module, name, import_path(), folder, "entry point")
