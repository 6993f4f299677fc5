"""Entries: one registration each, read from source or made in this process; and all of them together."""

from __future__ import annotations

import os
import sys

from holotype.names import natural_key, split_qualified

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    from typing import Any

    from holotype.catalog.grammar import Grammar
    from holotype.catalog.snapshot import Snapshot
    from holotype.catalog.zoos import NotFound, ZooSpec
    from holotype.records import ModelInfo, Parameter, PretrainedMetadata


class Trouble:
    """A `Problem` before anybody asks for it."""

    __slots__ = ("file", "line", "message", "names", "zoo")

    def __init__(
        self, zoo: str, message: str, file: str | None, line: int | None, names: tuple[str, ...]
    ) -> None:
        self.zoo, self.message, self.file, self.line, self.names = zoo, message, file, line, names

    def __str__(self) -> str:
        place = self.file or f"zoo {self.zoo}"
        return f"{place}{f':{self.line}' if self.line else ''}: {self.message}"


class Entry:
    """One registration.

    Attributes:
        kind: ``"class"``, ``"builder"``, ``"config"``, ``"alias"``, ``"weights"``, or ``"grammar"``: a
            family of names, which is no model.
        name: unqualified.
        zoo: its zoo.
        sort: its place among names.
        task: what it is for, or None.
        module: the module that registers it.
        line: where, or None.
        network: of weights, the architecture's name.
        network_zoo: of weights, the zoo of their architecture.
        stamp: the state of its file when this process registered it.
        via: the zoo through whose functions it was registered, if that is not its own.
        obj: the class or function, once this process has it.
        origin: the module whose import registered it.
        problem: why it cannot be used.
        from_session: no file that the index reads has it.
        counted: its number of parameters, if this process counted them and nobody else can remember.
    """

    __slots__ = (
        "_detail",
        "counted",
        "from_session",
        "kind",
        "line",
        "module",
        "name",
        "network",
        "network_zoo",
        "obj",
        "origin",
        "problem",
        "sort",
        "stamp",
        "task",
        "via",
        "zoo",
    )

    def __init__(
        self,
        kind: str,
        name: str,
        zoo: str,
        task: str | None,
        module: str,
        line: int | None,
        detail: dict[str, Any] | str,
        network: str | None = None,
        sort: str | None = None,
    ) -> None:
        self.kind, self.name, self.zoo, self.task = kind, name, zoo, task
        self.module, self.line, self.network = module, line, network
        self._detail = detail
        self.sort = sort or natural_key(name)
        self.obj: Any = None
        self.origin: str | None = None
        self.problem: Trouble | None = None
        self.from_session = True
        self.counted: int | None = None
        self.network_zoo = zoo
        self.via: str | None = None
        self.stamp: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        return f"<Entry {self.kind} {self.zoo}/{self.name}>"

    @property
    def detail(self) -> dict[str, Any]:
        """All that was registered, as `holotype.catalog.link` writes it."""
        if isinstance(self._detail, str):
            import json

            self._detail = dict(json.loads(self._detail))
        return self._detail

    def identity(self) -> tuple[Any, ...]:
        """What makes two registrations the same one, made again."""
        detail = self.detail
        if self.kind == "weights":
            return (self.kind, self.module, str(self.network).rpartition("/")[2])
        if self.kind == "alias":
            return (self.kind, self.module, str(detail["target"]).rpartition("/")[2])
        # A class may be registered by another module than its own.
        return (self.kind, detail.get("module", self.module), detail.get("qualname"))

    def imported(self) -> bool:
        """Is the module still there that registered it? Python drops one whose import failed."""
        return self.module in sys.modules or self.origin in sys.modules

    def place(self) -> str:
        """Where it is registered, for a message."""
        detail = self.detail
        where = f"{self.module}:{detail['qualname']}" if detail.get("qualname") else self.module
        return f"{where}  ({detail.get('path') or 'typed in'}:{self.line})"

    def import_module(self) -> str:
        """The module to import for its class."""
        if ":" in self.module:  # a row of a table beside the code
            return str(self.detail["class_module"])
        return self.module

    def config(self) -> dict[str, Any]:
        """The parameters that a registered config fixes."""
        if self.kind != "config":
            return {}
        from holotype.catalog.scan import decode

        return dict(decode(self.detail["config"]))

    def member(self, name: str, config: dict[str, Any]) -> Entry:
        """Of a family of names: the architecture that one of them means."""
        from holotype.catalog.scan import encode_value

        detail = {key: value for key, value in self.detail.items() if key != "grammar"}
        detail |= {"kind": "config", "config": encode_value(config)}
        detail["description"] = _grammar(self).described(name, detail.get("description", ""))
        made = Entry("config", name, self.zoo, self.task, self.module, self.line, detail)
        made.from_session, made.problem = False, self.problem
        return made

    def parameters(self) -> tuple[tuple[Parameter, ...] | None, bool]:
        """The constructor's parameters, a config's values as defaults; and whether it takes any keyword."""
        from holotype.catalog.parameters import from_facts

        parameters, is_open = from_facts(self._signature())
        config = self.config()
        if parameters is None or not config:
            return parameters, is_open
        from dataclasses import replace

        from holotype.frozen import freeze

        fixed = tuple(
            replace(p, required=False, default=freeze(config[p.name]), default_source=repr(config[p.name]))
            if p.name in config
            else p
            for p in parameters
        )
        return fixed, is_open

    def _signature(self) -> dict[str, Any] | None:
        detail = self.detail
        if "signature" not in detail and self.obj is not None:
            from holotype.catalog.parameters import to_facts

            detail["signature"] = to_facts(self.obj)
        signature: dict[str, Any] | None = detail.get("signature")
        return signature

    def _docstring(self) -> str | None:
        detail = self.detail
        if "doc" not in detail and self.obj is not None:
            detail["doc"] = (
                self.obj.__dict__.get("__doc__") if isinstance(self.obj, type) else self.obj.__doc__
            )
        doc = detail.get("doc")
        if not doc:
            return None
        import inspect

        return inspect.cleandoc(doc)

    def to_facts(self) -> dict[str, Any]:
        """Complete, as `holotype.catalog.link` writes it."""
        signature, doc = self._signature(), self._docstring()
        return {
            **self.detail,
            "kind": self.kind,
            "name": self.name,
            "task": self.task,
            "network": self.network,
            "module": self.module,
            "line": self.line,
            "via": self.via,
            "signature": signature,
            "doc": doc,
        }

    def info(self, *, params: int | None, pretrained: tuple[str, ...], aliases: tuple[str, ...]) -> ModelInfo:
        """The record of an architecture."""
        from holotype.catalog.scan import decode
        from holotype.frozen import FrozenList, freeze
        from holotype.records import ModelInfo, Problem

        detail = self.detail
        metadata = freeze(decode(detail.get("metadata", {"$dict": {}})))
        declared = metadata.get("params")
        if params is None and isinstance(declared, int):
            params = declared
        problem = self.problem
        parameters, is_open = self.parameters() if detail.get("kind") != "broken" else (None, True)
        return ModelInfo(
            name=self.name,
            zoo=self.zoo,
            kind=self.kind,
            task=self.task,
            description=detail.get("description", ""),
            features=FrozenList(detail.get("features", ())),
            complexity=detail.get("complexity"),
            class_name=detail.get("qualname"),
            module=self.module if ":" not in self.module else detail.get("class_module"),
            file=detail.get("path"),
            line=self.line,
            docstring=self._docstring(),
            parameters=parameters,
            open_parameters=is_open,
            config=freeze(self.config()),
            params=params,
            pretrained=FrozenList(pretrained),
            aliases=FrozenList(aliases),
            problem=Problem(problem.zoo, problem.message, problem.file, problem.line, problem.names)
            if problem
            else None,
            metadata=metadata,
        )

    def pretrained(self, *, task: str | None) -> PretrainedMetadata:
        """The record of a pretrained entry."""
        from dataclasses import replace

        from holotype.catalog.scan import decode
        from holotype.records import PretrainedMetadata

        record = PretrainedMetadata.parse(self.name, self.zoo, decode(self.detail["metadata"]))
        return record if record.task is not None else replace(record, task=task)


class Catalog:
    """All entries at one moment. It does not change.

    Args:
        specs: the zoos.
        snapshots: what the index knows of each.
        live: what this process registered, in its order.
        lost: zoos that were named and not found.
    """

    def __init__(
        self, specs: list[ZooSpec], snapshots: list[Snapshot], live: list[Entry], lost: list[NotFound]
    ) -> None:
        self.specs = specs
        self._snapshots, self._lost = snapshots, lost
        self.problems: list[Trouble] = [Trouble("-", one.message, one.where, None, ()) for one in lost]
        self._zoo_order = {spec.name: at for at, spec in enumerate(specs)}
        self._orders: dict[str, dict[str, int]] = {}
        self._live_order = {id(entry): at for at, entry in enumerate(live)}
        self._available: dict[str, bool] = {}
        self._rivals: dict[tuple[str, str, str], list[tuple[Any, ...]]] = {}
        tables: dict[tuple[str, str, str], Entry] = {}
        for snapshot in snapshots:
            self._read(snapshot, tables)
        self._join(live, tables)
        self.models: list[Entry] = []
        self.weights: list[Entry] = []
        self.grammars: list[Entry] = []
        self._aliases: dict[tuple[str, str], list[str]] = {}
        aliases: list[Entry] = []
        for entry in tables.values():
            if entry.kind == "grammar":
                self.grammars.append(entry)
            elif entry.kind == "weights" and entry.problem is None:
                self.weights.append(entry)
            elif entry.problem is not None:
                continue
            elif entry.kind != "alias":
                self.models.append(entry)
            else:
                aliases.append(entry)
        self._tables = tables
        self._by_name: dict[str, list[Entry]] = {}
        self._weights_by_name: dict[str, list[Entry]] = {}
        self._sorted = False
        for entry in aliases:
            self._aliases.setdefault(self._home_of(entry.zoo, entry.detail["target"]), []).append(entry.name)
        for entry in self.weights:
            given = entry.detail["network"] if entry.from_session else entry.network
            entry.network_zoo, entry.network = self._home_of(entry.zoo, str(given))

    def joined_with(self, live: list[Entry]) -> Catalog:
        """The same files, with what this process has registered since."""
        return Catalog(self.specs, self._snapshots, live, self._lost)

    def _sort_by_name(self) -> None:
        models: dict[str, list[Entry]] = {}
        weights: dict[str, list[Entry]] = {}
        for (_, table, name), entry in self._tables.items():
            if table != "grammar":
                (weights if table == "weights" else models).setdefault(name, []).append(entry)
        # Only now, for other threads look here without a lock.
        self._by_name, self._weights_by_name, self._sorted = models, weights, True

    def ambiguous(self, *, weights: bool) -> frozenset[str]:
        """The names that several zoos have."""
        seen: set[str] = set()
        twice: set[str] = set()
        for _, table, name in self._tables:
            if table == ("weights" if weights else "model"):
                (twice if name in seen else seen).add(name)
        return frozenset(twice)

    def find(self, zoo: str | None, name: str) -> list[Entry]:
        """Architectures and aliases under a name; broken ones too, or another would take their place."""
        if not self._sorted:
            self._sort_by_name()
        found = self._by_name.get(name, [])
        if zoo is not None:
            found = [entry for entry in found if entry.zoo == zoo]
        return found

    def spelt(self, zoo: str | None, name: str) -> list[Entry]:
        """Architectures that nobody listed, and whose name the grammar of a zoo can read."""
        found = []
        for family in self.grammars:
            if zoo in (None, family.zoo):
                config = _grammar(family).config(name)
                if config is not None:
                    found.append(family.member(name, config))
        return found

    def known(self, zoo: str | None, name: str) -> list[Entry]:
        """What `find` finds, or else `spelt`."""
        return self.find(zoo, name) or self.spelt(zoo, name)

    def explain(self, zoo: str | None, name: str) -> str | None:
        """What is wrong with a name that looks like one of a grammar's."""
        told = [_grammar(family).explain(name) for family in self.grammars if zoo in (None, family.zoo)]
        return next((text for text in told if text is not None), None)

    def seen_through(self, zoo: str, entries: list[Entry]) -> list[Entry]:
        """What is seen through a zoo: what was registered through it, and of its own what that leaves."""
        added = [entry for entry in entries if entry.via == zoo]
        taken = {entry.name for entry in added}
        return [entry for entry in entries if entry.zoo == zoo and entry.name not in taken] + added

    def weights_named(self, name: str) -> list[Entry]:
        """Pretrained entries under a name."""
        if not self._sorted:
            self._sort_by_name()
        return self._weights_by_name.get(name, [])

    def in_table(self, table: str, zoo: str, name: str) -> Entry | None:
        """One entry of one zoo."""
        return self._tables.get((zoo, table, name))

    def rivals(self, table: str, zoo: str, name: str) -> list[tuple[Any, ...]]:
        """The identities of what files of a zoo register under a name that another file has, too."""
        return self._rivals.get((zoo, table, name), [])

    def zoo_names(self) -> list[str]:
        """Every zoo's name."""
        names = [spec.name for spec in self.specs]
        return list(dict.fromkeys([*names, *(entry.zoo for entry in self._tables.values())]))

    def pretrained_of(self, model: Entry) -> tuple[str, ...]:
        """The entries that fill an architecture."""
        return tuple(e.name for e in self.weights if (e.network_zoo, e.network) == (model.zoo, model.name))

    def aliases_of(self, model: Entry) -> tuple[str, ...]:
        """The other names of an architecture."""
        return tuple(self._aliases.get((model.zoo, model.name), ()))

    def registration_key(self, entry: Entry) -> tuple[Any, ...]:
        """Sorts entries as they were registered.

        Files of a zoo come in the order in which its ``__init__`` imports them, then by name; what a session
        registered comes last.
        """
        zoos = self._zoo_order
        if entry.from_session:
            return (zoos.get(entry.zoo, len(zoos)), 1, self._live_order.get(id(entry), 0))
        order = self._orders.get(entry.zoo, {})
        position = order.get(entry.module, len(order))
        return (zoos.get(entry.zoo, len(zoos)), 0, position, natural_key(entry.module), entry.line or 0)

    # -- putting it together ---------------------------------------------------------------------

    def _read(self, snapshot: Snapshot, tables: dict[tuple[str, str, str], Entry]) -> None:
        zoo = snapshot.spec.name
        self._orders[zoo] = {module: at for at, module in enumerate(snapshot.modules)}
        for snag in snapshot.snags:
            trouble = Trouble(zoo, snag.message, snag.path, snag.line, snag.names)
            self.problems.append(trouble)
            for name in snag.names:
                entry = Entry(
                    "class", name, zoo, None, snag.module, snag.line, {"path": snag.path, "kind": "broken"}
                )
                entry.problem, entry.from_session = trouble, False
                tables.setdefault((zoo, "model", name), entry)
        for kind, name, sort, task, network, module, line, via, needs, detail in snapshot.rows:
            entry = Entry(kind, name, zoo, task, module, line, detail, network, sort)
            entry.from_session, entry.via = False, via
            key = (zoo, kind if kind in ("weights", "grammar") else "model", name)
            missing = self._missing(needs) if needs else None
            other = tables.get(key)
            if other is not None and (other.problem is None or other.detail.get("kind") != "broken"):
                entry = self._one_of(other, entry)
            elif other is not None and other.detail.get("kind") == "broken" and other.module == module:
                entry.problem = other.problem  # its own file could be read, and cannot be imported
            if missing is not None and entry.problem is None:
                package, line = missing
                message = f"needs the package {package!r}, which is not installed"
                entry.problem = Trouble(zoo, message, str(entry.detail.get("path")), line, (name,))
                self.problems.append(entry.problem)
            tables[key] = entry

    def _one_of(self, one: Entry, other: Entry) -> Entry:
        """Two files of one zoo claim a name: the one that says `replace`, or neither."""
        first, second = sorted((one, other), key=self.registration_key)
        if first.problem is not None and second.problem is None:
            second.problem, first.problem = first.problem, None  # a third one: the problem goes on
        key = (first.zoo, "weights" if first.kind == "weights" else "model", first.name)
        rivals = self._rivals.setdefault(key, [])
        for one, other in ((second, first), (first, second)):
            if one.detail.get("replace"):
                rivals.append(other.identity())
                return one
        message = f"{first.name!r} is registered twice: {first.place()} and {second.place()}"
        path = second.detail.get("path")
        rivals += [first.identity(), second.identity()]
        second.problem = Trouble(first.zoo, message, path, second.line, (first.name,))
        self.problems.append(second.problem)
        return second

    def _missing(self, needs: str) -> tuple[str, int] | None:
        for need in needs.split(" "):
            root, _, line = need.rpartition(":")
            found = self._available.get(root)
            if found is None:
                found = self._available[root] = self._installed(root)
            if not found:
                return root, int(line)
        return None

    def _installed(self, root: str) -> bool:
        if root in sys.modules:
            return True
        path = [spec.root for spec in self.specs if spec.found_by != "first-party"]
        from importlib.machinery import PathFinder

        if PathFinder.find_spec(root, path) is not None:
            return True
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if find is not None and find(root, None) is not None:
                return True
        return False

    def _home_of(self, zoo: str, target: str, depth: int = 0) -> tuple[str, str]:
        """Zoo and name of what an entry of `zoo` refers to: its zoo's own, or else the only one."""
        other, name = split_qualified(target)
        found = self._tables.get((other or zoo, "model", name))
        if found is None and other is None:
            anywhere = self.find(None, name)
            found = anywhere[0] if len(anywhere) == 1 else None
        if found is None:
            read = self.spelt(other or zoo, name) or ([] if other else self.spelt(None, name))
            found = read[0] if len(read) == 1 else None
        if found is None:
            return other or zoo, name
        if found.kind == "alias" and depth < 8:
            return self._home_of(found.zoo, str(found.detail["target"]), depth + 1)
        return found.zoo, found.name

    def _join(self, live: list[Entry], tables: dict[tuple[str, str, str], Entry]) -> None:
        """Add what this process registered; an entry that the index has too keeps what the index says."""
        read = {spec.name: spec for spec in self.specs}
        for entry in live:
            key = (entry.zoo, "weights" if entry.kind == "weights" else "model", entry.name)
            static = tables.get(key)
            spec = read.get(entry.zoo)
            if spec is not None and spec.holds(entry.module) and not entry.imported():
                continue
            if static is not None and static.identity() == entry.identity():
                if _same_file(static.detail.get("path"), entry.detail.get("path")):
                    static.obj = entry.obj
                continue
            if (
                spec is not None
                and spec.holds(entry.module)
                and entry.stamp != file_stamp(entry.detail.get("path"))
            ):
                continue  # its file was edited or deleted after the import; the index knows better
            tables[key] = entry


def _grammar(family: Entry) -> Grammar:
    if family.obj is None:
        from holotype.catalog.grammar import Grammar
        from holotype.catalog.scan import decode

        family.obj = Grammar(family.name, decode(family.detail["grammar"]))
    grammar: Grammar = family.obj
    return grammar


def _same_file(one: str | None, other: str | None) -> bool:
    return one == other or not one or not other or os.path.realpath(one) == os.path.realpath(other)


def file_stamp(path: str | None) -> tuple[int, ...] | None:
    """Differs between two states of a file; None where there is none."""
    try:
        stat = os.stat(path) if path else None
    except OSError:
        return None
    return None if stat is None else (stat.st_mtime_ns, stat.st_size, stat.st_ctime_ns)


def zoo_for_module(module: str, session: str) -> str:
    """The zoo of a module that belongs to none: its package, or the session."""
    package = module.rpartition(".")[0] or module
    name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in package.lower()).lstrip(
        "._-"
    )
    return session if module == "__main__" or not name else name
