"""Providers: what hands entries to the catalog.

A provider has two methods: `stamp`, which is cheap and changes whenever the entries may have changed, and
`entries`. A zoo that is read from its files is one, and so are the registrations of the running process. An
installed package offers its own by an entry point of the group ``holotype.providers``; the value names a
provider, or a function without arguments (such as a class) that returns one:

    [project.entry-points."holotype.providers"]
    mylab = "mylab.catalog:LabModels"

Such a package is imported when names are listed, so its module must not import torch. Its entries are made by
`model_entry` and `weights_entry`.
"""

from __future__ import annotations

import os
import sys

from holotype.catalog.entries import Entry
from holotype.catalog.zoo_files import environment
from holotype.entry_points import entry_points, resolve

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any, Protocol

    from holotype.catalog.index import Index, Row, Snapshot
    from holotype.catalog.zoos import ZooSpec
    from holotype.records import Problem

    class Provider(Protocol):
        """Hands entries to the catalog."""

        def stamp(self) -> object:
            """A value that differs from the last one if the entries may have changed."""

        def entries(self) -> Iterable[Entry | Problem]:
            """Every entry there is now; and problems, which `list_problems` reports."""


GROUP = "holotype.providers"


class ScannedZoo:
    """A zoo that is read from its files."""

    def __init__(self, spec: ZooSpec, index: Index) -> None:
        self.spec, self._index = spec, index
        self._read: _Reading | None = None
        self._environment = ""

    def stamp(self) -> object:
        """The zoo as it is now; a package that was installed since may be one that a model needs."""
        return (self._index.look(self.spec), environment())

    def entries(self) -> list[Entry | Problem]:
        """What the files register, and what is wrong with them."""
        reading = self._reading()
        return [*reading.entries.values(), *reading.problems]

    def last(self) -> dict[tuple[str, str, str], Entry]:
        """The entries by their keys, as they were at the last look."""
        return self._reading().entries

    def _reading(self) -> _Reading:
        snapshot = self._index.last(self.spec)
        if self._read is None or self._read.snapshot is not snapshot or self._environment != environment():
            self._read, self._environment = _Reading(snapshot), environment()
        return self._read


class Session:
    """The registrations of the running process."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str, str], Entry] = {}
        self._version = 0

    def stamp(self) -> object:
        """How often something was registered that no file registers."""
        return self._version

    def entries(self) -> list[Entry]:
        """All of them, in their order."""
        return list(self._entries.values())

    def get(self, key: tuple[str, str, str]) -> Entry | None:
        """The entry under a key."""
        return self._entries.get(key)

    def add(self, entry: Entry, *, is_new: bool) -> None:
        """Add an entry, or replace the one under its key; `is_new` unless a file registers the same."""
        self._entries[entry.key] = entry
        self._version += is_new


class InstalledProvider:
    """A provider that an installed package offers. Whatever it raises becomes a problem.

    Args:
        folder: where the package is installed.
        name: of the entry point.
        value: ``"module:attribute"``.
    """

    def __init__(self, folder: str, name: str, value: str) -> None:
        self.folder, self.name, self.value = folder, name, value
        self._provider: Any = None
        self._error: BaseException | None = None

    def stamp(self) -> object:
        """The provider's, or why there is none."""
        try:
            if self._provider is None:
                found = resolve(self.value)
                self._provider = (
                    found if hasattr(found, "entries") and not isinstance(found, type) else found()
                )
            stamp = self._provider.stamp()
            self._error = None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - of another package: it must not end a listing
            self._error, stamp = error, repr(error)
        return (self.value, stamp)

    def entries(self) -> list[Entry | Problem]:
        """The provider's, or one problem."""
        from holotype.names import check_name
        from holotype.records import Problem

        found: list[Entry | Problem] = []
        try:
            if self._error is not None:
                raise self._error
            for entry in self._provider.entries():
                if not isinstance(entry, Problem):
                    check_name(entry.name, "name")
                    check_name(entry.zoo, "zoo name")
                    entry.position = len(found)
                found.append(entry)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - see above
            message = f"the provider {self.value!r} failed: {type(error).__name__}: {error}"
            return [Problem(self.name, message, self.folder)]
        return found


def installed_providers() -> Iterator[InstalledProvider]:
    """Those of all installed packages."""
    for folder, name, value in entry_points(GROUP):
        yield InstalledProvider(folder, name, value)


def model_entry(
    zoo: str,
    name: str,
    *,
    build: str,
    task: str | None = None,
    description: str = "",
    features: Iterable[str] = (),
    complexity: str | None = None,
    **metadata: Any,
) -> Entry:
    """An architecture, for a provider.

    Args:
        zoo: its zoo.
        name: it matches ``[a-z0-9][a-z0-9._-]*``.
        build: ``"module:function"``; ``function(name, **params)`` returns the network.
        task: what it is for.
        description: one line.
        features: what it is made of.
        complexity: ``"low"`` … ``"very_high"``.
        **metadata: anything else, as for `register_model`.

    Raises:
        MetadataError: metadata that cannot be kept.
    """
    from holotype.catalog.link import described
    from holotype.frozen import freeze

    fields = {"description": description, "features": list(features), "complexity": complexity, **metadata}
    module, _, function = build.partition(":")
    detail = {**described(freeze(fields, f"metadata of {name!r}")), "build": build, "qualname": function}
    return Entry(
        "builder", name, zoo, task and str(task), module, None, {**detail, "signature": None, "doc": None}
    )


def weights_entry(zoo: str, name: str, metadata: Mapping[str, Any]) -> Entry:
    """A pretrained entry, for a provider.

    Args:
        zoo: its zoo.
        name: it matches ``[a-z0-9][a-z0-9._-]*``.
        metadata: the fields of `PretrainedMetadata`.

    Raises:
        MetadataError: it lists every field that is missing or wrong.
    """
    from holotype.catalog.values import encode
    from holotype.frozen import freeze
    from holotype.records import PretrainedMetadata

    record = PretrainedMetadata.parse(name, zoo, metadata)
    detail = {"metadata": encode(freeze(metadata))}
    return Entry("weights", name, zoo, record.task, zoo, None, detail, record.network.lower())


class _Reading:
    """The entries of a snapshot: which of two with one name counts, and what each needs that is not there."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot, self.spec = snapshot, snapshot.spec
        self._order = {name: at for at, name in enumerate(snapshot.first)}
        self.entries: dict[tuple[str, str, str], Entry] = {}
        self.problems: list[Problem] = []
        self._available: dict[str, bool] = {}
        for problem in snapshot.problems:
            self._add_broken(*problem)
        for row, detail in zip(snapshot.rows, snapshot.details, strict=True):
            self._add(row, detail)

    def _add_broken(self, module: str, path: str, line: int | None, message: str, names: list[str]) -> None:
        problem = self._problem(message, path, line, *names)
        for name in names:
            entry = Entry("broken", name, self.spec.name, None, module, line, {"path": path})
            entry.problem = problem
            self.entries.setdefault(entry.key, entry)

    def _add(self, row: Row, detail: bytes) -> None:
        kind, name, sort, task, network, module, line, via, needs = row
        entry = Entry(kind, name, self.spec.name, task, module, line, detail, network, sort)
        entry.via = via
        entry.position = self._order.get(name, len(self._order))
        other = self.entries.get(entry.key)
        if other is not None and other.kind != "broken":
            entry = self._chosen(other, entry)
        elif other is not None and other.module == module:
            entry.problem = other.problem  # its own file could be read, and cannot be imported
        missing = self._missing(needs) if needs and entry.problem is None else None
        if missing is not None:
            package, at = missing
            message = f"needs the package {package!r}, which is not installed"
            entry.problem = self._problem(message, str(entry.detail.get("path")), at, name)
        self.entries[entry.key] = entry

    def _chosen(self, one: Entry, other: Entry) -> Entry:
        """Two files of the zoo register a name: the one that says `replace` counts, or none does."""
        first, second = sorted((one, other), key=lambda entry: entry.place_in_zoo)
        if first.problem is not None and second.problem is None:
            second.problem, first.problem = first.problem, None  # a third one: the problem goes on
        for chosen, left in ((second, first), (first, second)):
            if chosen.detail.get("replace"):
                chosen.rivals = [*one.rivals, *other.rivals, left.identity()]
                return chosen
        second.rivals = [*one.rivals, *other.rivals, first.identity(), second.identity()]
        message = f"{first.name!r} is registered twice: {first.place()} and {second.place()}"
        second.problem = self._problem(message, second.detail.get("path"), second.line, first.name)
        return second

    def _problem(self, message: str, path: str | None, line: int | None, *names: str) -> Problem:
        from holotype.records import Problem

        problem = Problem(self.spec.name, message, path, line, names)
        self.problems.append(problem)
        return problem

    def _missing(self, needs: str) -> tuple[str, int] | None:
        """The first package that is not installed, and the line that imports it."""
        for need in needs.split(" "):
            root, _, line = need.rpartition(":")
            found = self._available.get(root)
            if found is None:
                found = self._available[root] = _is_installed(root, self.spec)
            if not found:
                return root, int(line)
        return None


def _is_installed(root: str, spec: ZooSpec) -> bool:
    if root in sys.modules:
        return True
    from importlib.machinery import PathFinder

    if spec.found_by != "first-party" and PathFinder.find_spec(root, [os.fspath(spec.root)]) is not None:
        return True
    finders = [getattr(finder, "find_spec", None) for finder in sys.meta_path]
    return any(find is not None and find(root, None) is not None for find in finders)
