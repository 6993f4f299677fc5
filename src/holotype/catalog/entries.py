"""Entries: one registration each; and the catalog, which is all of them together."""

from __future__ import annotations

import os
import sys

from holotype.names import natural_key, split_qualified

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from holotype.catalog.grammar import Grammar
    from holotype.catalog.zoos import ZooSpec
    from holotype.records import ModelInfo, Parameter, PretrainedMetadata, Problem

    Identity = tuple[Any, ...]


class Entry:
    """One registration.

    Args:
        kind: ``"class"``, ``"builder"``, ``"config"``, ``"alias"``, ``"weights"``; ``"grammar"`` for a family
            of names; ``"broken"`` for a name whose file cannot be read.
        name: unqualified.
        zoo: its zoo.
        task: what it is for, or None.
        module: the module that registers it.
        line: where, or None.
        detail: everything else that was registered, as a dict or as its JSON: see `holotype.catalog.link`.
            ``build`` (``"module:function"``) names a function that builds the network: it is called with the
            entry's name and the parameters.
        network: of weights, the name of the architecture.
        sort: its sort key among names.

    Attributes:
        architecture: of weights, zoo and name of the architecture, once the catalog has looked it up.
        position: its place in the order that its zoo states; the same for all those that it does not name.
        from_session: this process registered it, and no file that the index reads has it.
        rivals: what several files of its zoo register under its name.
        stamp: the state of its file when this process registered it.
        via: the zoo through whose functions it was registered, if that is not its own.
        obj: the class or function, once this process has it.
        origin: the module whose import registered it.
        problem: why it cannot be used.
        counted: its number of parameters, where the index cannot remember it.
    """

    __slots__ = (
        "_detail",
        "architecture",
        "counted",
        "from_session",
        "kind",
        "line",
        "module",
        "name",
        "network",
        "obj",
        "origin",
        "position",
        "problem",
        "rivals",
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
        detail: dict[str, Any] | bytes,
        network: str | None = None,
        sort: str | None = None,
    ) -> None:
        self.kind, self.name, self.zoo, self.task = kind, name, zoo, task
        self.module, self.line, self.network = module, line, network
        self._detail = detail
        self.sort = sort or natural_key(name)
        self.architecture = (zoo, network or "")
        self.position = 0
        self.from_session = False
        self.rivals: list[Identity] = []
        self.obj: Any = None
        self.origin: str | None = None
        self.problem: Problem | None = None
        self.counted: int | None = None
        self.via: str | None = None
        self.stamp: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        return f"<Entry {self.kind} {self.qualified_name}>"

    @property
    def qualified_name(self) -> str:
        """``zoo/name``."""
        return f"{self.zoo}/{self.name}"

    @property
    def place_in_zoo(self) -> tuple[Any, ...]:
        """Sorts the entries of a zoo as they were registered: as it states, then by file, then by line."""
        return (self.position, natural_key(self.module), self.line or 0)

    @property
    def key(self) -> tuple[str, str, str]:
        """Zoo, table and name: no two entries of a catalog share one."""
        return (self.zoo, self.kind if self.kind in ("weights", "grammar") else "model", self.name)

    @property
    def detail(self) -> dict[str, Any]:
        """Everything that was registered."""
        if isinstance(self._detail, bytes):
            import json

            try:
                self._detail = dict(json.loads(self._detail))
            except (
                ValueError,
                TypeError,
                RecursionError,
            ) as error:  # its checksum fits, though
                from holotype.errors import BrokenModelError
                from holotype.home import cache_home

                raise BrokenModelError(
                    f"what the index keeps of {self.name!r} cannot be read: {error}",
                    given=self.name,
                    hint=f"Delete the index in {cache_home()}; it is built again.",
                ) from error
        return self._detail

    def identity(self) -> Identity:
        """Equal for two registrations if the second is the first, made again."""
        detail = self.detail
        if self.kind == "weights":
            return (self.kind, self.module, str(self.network).rpartition("/")[2])
        if self.kind == "alias":
            return (self.kind, self.module, str(detail["target"]).rpartition("/")[2])
        # A class may be registered by another module than its own.
        return (self.kind, detail.get("module", self.module), detail.get("qualname"))

    def is_imported(self) -> bool:
        """Is the module that registered it imported? Python drops a module whose import failed."""
        return self.module in sys.modules or self.origin in sys.modules

    def place(self) -> str:
        """Where it is registered, for a message."""
        detail = self.detail
        where = f"{self.module}:{detail['qualname']}" if detail.get("qualname") else self.module
        return f"{where}  ({detail.get('path') or 'typed in'}:{self.line})"

    def module_to_import(self) -> str:
        """The module to import for its class."""
        if ":" in self.module:  # a row of a table beside the code
            return str(self.detail["class_module"])
        return self.module

    def config(self) -> dict[str, Any]:
        """The parameters that a registered config fixes."""
        if self.kind != "config":
            return {}
        from holotype.catalog.values import decode

        return dict(decode(self.detail["config"]))

    def member(self, name: str, config: dict[str, Any]) -> Entry:
        """Of a family of names: the architecture of one of them."""
        from holotype.catalog.values import encode

        detail = {key: value for key, value in self.detail.items() if key != "grammar"}
        detail |= {"kind": "config", "config": encode(config)}
        detail["description"] = _grammar(self).described(name, detail.get("description", ""))
        made = Entry("config", name, self.zoo, self.task, self.module, self.line, detail)
        made.problem = self.problem
        return made

    def parameters(self) -> tuple[tuple[Parameter, ...] | None, bool]:
        """The constructor's parameters, a config's values as defaults; and whether it takes any keyword."""
        if self.kind == "broken":
            return None, True
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

    def _attributes(self) -> dict[str, Any]:
        """The class attributes that are plain, own or inherited."""
        from holotype.catalog.scan import is_plain

        detail = self.detail
        if "attributes" not in detail and isinstance(self.obj, type):
            detail["attributes"] = {
                name: value
                for cls in reversed(self.obj.__mro__)
                for name, value in vars(cls).items()
                if not name.startswith("__") and (value is None or is_plain(value))
            }
        found: dict[str, Any] = detail.get("attributes") or {}
        return {name: value for name, value in found.items() if value is not None}

    def to_facts(self) -> dict[str, Any]:
        """Complete, as `holotype.catalog.link` writes it."""
        signature, doc, attributes = self._signature(), self._docstring(), self._attributes()
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
            "attributes": attributes,
        }

    def summary(self, params: int | None) -> dict[str, Any]:
        """What a list shows of an architecture."""
        from holotype.catalog.values import decode

        metadata = self.detail.get("metadata", {}).get("$dict", {})
        size = decode(metadata.get("resolution"))
        is_size = isinstance(size, tuple | list) and [type(side) for side in size] == [int, int]
        declared = metadata.get("params")
        return {
            "params": params if params is not None else declared if isinstance(declared, int) else None,
            "size": tuple(size) if is_size else None,
            "task": self.task,
            "zoo": self.zoo,
            "description": self.detail.get("description", ""),
        }

    def info(self, *, params: int | None, pretrained: tuple[str, ...], aliases: tuple[str, ...]) -> ModelInfo:
        """The record of an architecture."""
        from holotype.catalog.values import decode
        from holotype.frozen import FrozenDict, FrozenList, freeze
        from holotype.records import ModelInfo

        detail = self.detail
        metadata = freeze(decode(detail.get("metadata", {"$dict": {}})))
        parameters, is_open = self.parameters()
        return ModelInfo(
            name=self.name,
            zoo=self.zoo,
            kind="class" if self.kind == "broken" else self.kind,
            task=self.task,
            description=detail.get("description", ""),
            features=FrozenList(detail.get("features", ())),
            complexity=detail.get("complexity"),
            class_name=detail.get("qualname"),
            module=self.module if ":" not in self.module else detail.get("class_module"),
            file=detail.get("path"),
            line=self.line,
            docstring=self._docstring(),
            class_attributes=FrozenDict(self._attributes()),
            parameters=parameters,
            open_parameters=is_open,
            config=freeze(self.config()),
            params=params if params is not None else metadata.get("params"),
            pretrained=FrozenList(pretrained),
            aliases=FrozenList(aliases),
            problem=self.problem,
            metadata=metadata,
        )

    def pretrained(self, *, task: str | None) -> PretrainedMetadata:
        """The record of a pretrained entry."""
        from dataclasses import replace

        from holotype.catalog.values import decode
        from holotype.records import PretrainedMetadata

        record = PretrainedMetadata.parse(self.name, self.zoo, decode(self.detail["metadata"]))
        return record if record.task is not None else replace(record, task=task)


class Catalog:
    """All entries at one moment. It does not change.

    Args:
        specs: the zoos that are read from files.
        provided: what the providers hand over: entries, and problems that belong to no entry.
        session: what this process registered, in that order.
    """

    def __init__(
        self, specs: list[ZooSpec], provided: Iterable[Entry | Problem], session: list[Entry]
    ) -> None:
        self.specs = specs
        self.problems: list[Problem] = []
        self._zoo_order = {spec.name: at for at, spec in enumerate(specs)}
        self._session_order = {id(entry): at for at, entry in enumerate(session)}
        tables: dict[tuple[str, str, str], Entry] = {}
        for found in provided:
            if isinstance(found, Entry):
                tables.setdefault(found.key, found)
            else:
                self.problems.append(found)
        self._add_session(session, tables)
        self._tables = tables
        usable = [entry for entry in tables.values() if entry.problem is None or entry.kind == "grammar"]
        self.models = [e for e in usable if e.kind not in ("grammar", "weights", "alias")]
        self.weights = [e for e in usable if e.kind == "weights"]
        self.grammars = [e for e in usable if e.kind == "grammar"]
        self._by_name: dict[str, list[Entry]] = {}
        self._weights_by_name: dict[str, list[Entry]] = {}
        self._is_grouped = False
        self._aliases: dict[tuple[str, str], list[str]] = {}
        for entry in usable:
            if entry.kind == "alias":
                self._aliases.setdefault(self._target(entry.zoo, entry.detail["target"]), []).append(
                    entry.name
                )
        for entry in self.weights:
            given = entry.detail["network"] if entry.from_session else entry.network
            entry.architecture = self._target(entry.zoo, str(given))

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
        if not self._is_grouped:
            self._group_by_name()
        found = self._by_name.get(name, [])
        return found if zoo is None else [entry for entry in found if entry.zoo == zoo]

    def find_in_grammars(self, zoo: str | None, name: str) -> list[Entry]:
        """Architectures that are not listed, under a name that the grammar of a zoo can read."""
        found = []
        for family in self.grammars:
            if zoo in (None, family.zoo):
                config = _grammar(family).config(name)
                if config is not None:
                    found.append(family.member(name, config))
        return found

    def find_any(self, zoo: str | None, name: str) -> list[Entry]:
        """What `find` finds, or else `find_in_grammars`."""
        return self.find(zoo, name) or self.find_in_grammars(zoo, name)

    def find_weights(self, name: str) -> list[Entry]:
        """Pretrained entries under a name."""
        if not self._is_grouped:
            self._group_by_name()
        return self._weights_by_name.get(name, [])

    def explain(self, zoo: str | None, name: str) -> str | None:
        """What is wrong with a name that looks like one of a grammar's."""
        reasons = [_grammar(family).explain(name) for family in self.grammars if zoo in (None, family.zoo)]
        return next((reason for reason in reasons if reason is not None), None)

    def seen_through(self, zoo: str, entries: list[Entry]) -> list[Entry]:
        """Of these entries, those registered through a zoo, and its own whose names these do not take."""
        added = [entry for entry in entries if entry.via == zoo]
        taken = {entry.name for entry in added}
        return [entry for entry in entries if entry.zoo == zoo and entry.name not in taken] + added

    def get(self, key: tuple[str, str, str]) -> Entry | None:
        """The entry under a zoo, a table (``"model"``, ``"weights"``) and a name."""
        return self._tables.get(key)

    def zoo_names(self) -> list[str]:
        """Every zoo's name."""
        names = [spec.name for spec in self.specs]
        return list(dict.fromkeys([*names, *(entry.zoo for entry in self._tables.values())]))

    def pretrained_of(self, model: Entry) -> tuple[str, ...]:
        """The names of the pretrained entries of an architecture."""
        return tuple(e.name for e in self.weights if e.architecture == (model.zoo, model.name))

    def aliases_of(self, model: Entry) -> tuple[str, ...]:
        """The other names of an architecture."""
        return tuple(self._aliases.get((model.zoo, model.name), ()))

    def registration_key(self, entry: Entry) -> tuple[Any, ...]:
        """Sorts entries as they were registered: zoo by zoo, what this process registered last."""
        zoo = self._zoo_order.get(entry.zoo, len(self._zoo_order))
        if entry.from_session:
            return (zoo, 1, self._session_order.get(id(entry), 0))
        return (zoo, 0, *entry.place_in_zoo)

    def _group_by_name(self) -> None:
        models: dict[str, list[Entry]] = {}
        weights: dict[str, list[Entry]] = {}
        for (_, table, name), entry in self._tables.items():
            if table != "grammar":
                (weights if table == "weights" else models).setdefault(name, []).append(entry)
        # Only now, for other threads look here without a lock.
        self._by_name, self._weights_by_name, self._is_grouped = models, weights, True

    def _target(self, zoo: str, target: str, depth: int = 0) -> tuple[str, str]:
        """Zoo and name of what an entry of `zoo` refers to: its zoo's own, or else the only one."""
        other, name = split_qualified(target)
        found = self._tables.get((other or zoo, "model", name))
        if found is None and other is None:
            anywhere = self.find(None, name)
            found = anywhere[0] if len(anywhere) == 1 else None
        if found is None:
            read = self.find_in_grammars(other or zoo, name)
            read = read or ([] if other else self.find_in_grammars(None, name))
            found = read[0] if len(read) == 1 else None
        if found is None:
            return other or zoo, name
        if found.kind == "alias" and depth < 8:
            return self._target(found.zoo, str(found.detail["target"]), depth + 1)
        return found.zoo, found.name

    def _add_session(self, session: list[Entry], tables: dict[tuple[str, str, str], Entry]) -> None:
        """Add what this process registered; an entry that a file has too keeps what the file says."""
        specs = {spec.name: spec for spec in self.specs}
        for entry in session:
            static = tables.get(entry.key)
            spec = specs.get(entry.zoo)
            of_a_file = spec is not None and spec.holds(entry.module)
            if of_a_file and not entry.is_imported():
                continue
            if static is not None and static.identity() == entry.identity():
                if _same_file(static.detail.get("path"), entry.detail.get("path")):
                    static.obj = entry.obj
                continue
            if of_a_file and entry.stamp != file_stamp(entry.detail.get("path")):
                continue  # its file was edited or deleted after the import; the index knows better
            tables[entry.key] = entry


def _grammar(family: Entry) -> Grammar:
    if family.obj is None:
        from holotype.catalog.grammar import Grammar
        from holotype.catalog.values import decode

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
