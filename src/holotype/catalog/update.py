"""Bring the snapshot of a zoo up to date: read the files that changed, link what that can have touched."""

from __future__ import annotations

import json
import os

from holotype.catalog.link import Linked, Linker
from holotype.catalog.snapshot import Overtaken, Snapshot, key_of, load
from holotype.catalog.zoo_files import (
    ENVIRONMENT,
    File,
    as_source,
    environment,
    follows,
    outside_file,
    prebuilt_facts,
    read_source,
    stamp_of,
)
from holotype.catalog.zoos import ZooSpec
from holotype.names import natural_key

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from typing import Any

    from holotype.catalog.link import Source


class Update:
    """One pass over the files of a zoo that changed."""

    def __init__(
        self,
        db: sqlite3.Connection,
        spec: ZooSpec,
        files: dict[str, File],
        probe: Callable[[ZooSpec, str], dict[str, Any]] | None,
        *,
        generation: int,
    ) -> None:
        self.db, self.spec, self.files, self.probe, self.generation = db, spec, files, probe, generation
        self.key = key_of(spec)
        self.sources: dict[str, Source | None] = {}
        self.digests: dict[str, str] = {}
        self.outside: dict[str, File] = {}
        # module -> path, stat, digest, deps, failed. Files with equal deps share one list of them.
        self.old: dict[str, tuple[bytes, str, str, list[str], str]] = {}
        self.environment = environment()
        self.prebuilt: dict[str, Any] | None = None

    def run(self) -> Snapshot:
        """Read, link, write; return the zoo as it is now."""
        split: dict[str, list[str]] = {}
        for module, path, stat, digest, deps, failed in self.db.execute(
            "SELECT module, path, stat, digest, deps, failed FROM files WHERE zoo = ?", (self.key,)
        ):
            if deps not in split:
                split[deps] = deps.split()
            self.old[module] = (path, stat, digest, split[deps], failed)
        changed = {module for module in self.files if self._changed(module, self.files[module])}
        changed |= {
            module for module in self.old if module not in self.files and self._outside_changed(module)
        }
        touched = {id(deps) for deps in split.values() if not changed.isdisjoint(deps)}
        relink = [
            module
            for module in self.files
            if module in changed
            or (old := self.old.get(module)) is None
            or old[4] not in ("", self.environment)
            or id(old[3]) in touched
        ]
        linked = self._link(relink)
        return self._write(linked, changed)

    def _changed(self, module: str, file: File) -> bool:
        old = self.old.get(module)
        if old is not None and old[1] == file.stat:  # a file that was moved has another ctime
            return False
        if self.prebuilt is None:
            self.prebuilt = prebuilt_facts(self.spec) if not self.old else {}
        source, digest = read_source(module, file, self.prebuilt)
        self.digests[module] = digest
        if old is not None and old[2] == digest and old[0] == os.fsencode(file.path):
            return False
        self.sources[module] = source
        return True

    def _outside_changed(self, module: str) -> bool:
        """Has a module of another package, or a file that is gone, changed?"""
        if self.spec.holds(module.partition(":")[0]):
            return True  # it was a file of the zoo, and is no longer there
        file = self.outside[module] = outside_file(self.spec, module)
        return self._changed(module, file)

    def _source_of(self, module: str) -> Source | None:
        if module in self.sources:
            return self.sources[module]
        file = self.files.get(module)
        if file is None:
            if self.spec.holds(module) or not follows(self.spec, module):
                source = None
            else:
                file = self.outside.get(module) or outside_file(self.spec, module)
                self.outside[module] = file
                source, self.digests[module] = read_source(module, file)
        else:
            row = self.db.execute(
                "SELECT facts FROM files WHERE zoo = ? AND module = ?", (self.key, module)
            ).fetchone()
            source = as_source(module, file, json.loads(row[0])) if row else read_source(module, file)[0]
        self.sources[module] = source
        return source

    def _link(self, modules: list[str]) -> dict[str, tuple[Linked, bool]]:

        linker = Linker(self._source_of)
        linked: dict[str, tuple[Linked, bool]] = {}
        running: list[str] = []
        for module in modules:
            source = self._source_of(module)
            if source is None:
                continue
            try:
                result = linker.link(source)
            except Exception as error:  # noqa: BLE001 - whatever a file holds, it disables its own models only
                result = Linked([], [[None, f"cannot be understood: {_told(error)}", []]], [], False, "", [])
            linked[module] = (result, False)
            if result.running:
                running.append(module)
        for module, outcome in zip(running, self._try_imports(running), strict=True):
            source = self._source_of(module)
            result = linked[module][0]
            # What it computes may come from any module that it imports.
            imports = linker.imports(source) if source is not None else set()
            result.deps = sorted({*result.deps, *imports} - {module})
            linked[module] = (result, _run(result, outcome))
        return linked

    def _try_imports(self, modules: list[str]) -> list[dict[str, Any]]:
        if not modules:
            return []
        probe = self.probe
        if probe is None:
            return [{"error": [None, "only importing it could tell what it registers"]} for _ in modules]
        if len(modules) == 1:
            return [probe(self.spec, modules[0])]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            return list(pool.map(lambda module: probe(self.spec, module), modules))

    def _write(self, linked: dict[str, tuple[Linked, bool]], changed: set[str]) -> Snapshot:
        deps = {module: old[3] for module, old in self.old.items() if module in self.files}
        for module, (result, _) in linked.items():
            deps[module] = [
                name
                for name in result.deps
                if name in self.files or self.spec.holds(name) or follows(self.spec, name)
            ]
        every = {id(names): names for names in deps.values()}.values()
        outside = sorted(name for name in set().union(*every) if not self.spec.holds(name))
        for module in outside:
            if module not in self.outside:
                self.outside[module] = outside_file(self.spec, module)
        files = {**self.files, **{module: self.outside[module] for module in outside}}
        failed = {module: self.environment for module, (_, error) in linked.items() if error}
        failed |= {m: old[4] for m, old in self.old.items() if m not in linked and m in self.files and old[4]}
        if failed:
            outside.append(ENVIRONMENT)
            self.outside[ENVIRONMENT] = outside_file(self.spec, ENVIRONMENT)
        stamp = stamp_of(self.files, {module: self.outside[module] for module in outside})
        if not all(file.settled for file in files.values()):
            stamp += "\nunsettled"  # equal to no stamp: look at those files again next time
        modules = self._order()
        db = self.db
        db.execute("BEGIN IMMEDIATE")
        try:
            row = db.execute("SELECT generation FROM zoos WHERE key = ?", (self.key,)).fetchone()
            if (0 if row is None else int(row[0])) != self.generation:
                raise Overtaken
            for module in self.old:
                if module not in files:
                    db.execute("DELETE FROM files WHERE zoo = ? AND module = ?", (self.key, module))
                    self._forget(module)
            for module, file in files.items():
                old = self.old.get(module)
                if (
                    old
                    and old[1] == file.stat
                    and module not in linked
                    and module not in changed
                    and file.settled
                ):
                    continue
                self._write_file(
                    module, file, deps.get(module, []), failed.get(module, ""), module in changed
                )
            for module, (result, _) in linked.items():
                self._forget(module)
                self._write_entries(module, result)
            db.execute(
                "INSERT OR REPLACE INTO zoos VALUES (?, ?, ?, ?, ?)",
                (self.key, self.generation + 1, stamp, " ".join(modules), " ".join(outside)),
            )
            self._forget_lost_zoos()
            snapshot = load(db, self.spec, stamp, modules, outside)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return snapshot

    def _forget_lost_zoos(self) -> None:
        """Projects come and go; the cache does not keep those whose folder is gone."""
        for (key,) in self.db.execute("SELECT key FROM zoos").fetchall():
            if key != self.key and not os.path.isdir(key.partition(b"\n")[0]):
                for table in ("files", "entries", "problems"):
                    self.db.execute(f"DELETE FROM {table} WHERE zoo = ?", (key,))  # noqa: S608 - our names
                self.db.execute("DELETE FROM zoos WHERE key = ?", (key,))

    def _forget(self, module: str) -> None:
        self.db.execute("DELETE FROM entries WHERE zoo = ? AND module = ?", (self.key, module))
        self.db.execute("DELETE FROM problems WHERE zoo = ? AND module = ?", (self.key, module))

    def _write_file(self, module: str, file: File, deps: list[str], failed: str, changed: bool) -> None:
        old = self.old.get(module)
        stat = file.stat if file.settled else ""
        if old is not None and not changed:
            if old[1] != stat or old[3] != deps or old[4] != failed:
                self.db.execute(
                    "UPDATE files SET stat = ?, deps = ?, failed = ? WHERE zoo = ? AND module = ?",
                    (stat, " ".join(deps), failed, self.key, module),
                )
            return
        source = self._source_of(module)
        if module not in self.digests:
            self.digests[module] = read_source(module, file)[1]
        self.db.execute(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.key,
                module,
                os.fsencode(file.path),
                stat,
                self.digests[module],
                json.dumps(source.facts if source else {}),
                " ".join(deps),
                failed,
            ),
        )

    def _write_entries(self, module: str, result: Linked) -> None:
        path = self.files[module].path
        self.db.executemany(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    self.key,
                    module,
                    entry["kind"],
                    entry["name"],
                    natural_key(entry["name"]),
                    entry.get("task"),
                    entry.get("network"),
                    entry.get("line"),
                    entry.get("via"),
                    result.needs,
                    json.dumps(entry, separators=(",", ":")),
                )
                for entry in result.entries
            ],
        )
        self.db.executemany(
            "INSERT INTO problems VALUES (?, ?, ?, ?, ?, ?)",
            [
                (self.key, module, os.fsencode(path), line, _text(message), " ".join(names))
                for line, message, names in result.problems
            ],
        )

    def _order(self) -> list[str]:
        """The modules that the zoo's own ``__init__`` imports, in that order."""
        source = self._source_of(self.spec.module) if self.spec.is_package else None
        if source is None:
            return []
        prefix = self.spec.module
        return [
            f"{prefix}{name}"
            for name in source.facts.get("submodules", ())
            if f"{prefix}{name}" in self.files
        ]


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def _text(message: str) -> str:
    """A message may quote the name of a folder that is not text."""
    return message.encode("utf-8", "replace").decode("utf-8")


def _run(result: Linked, outcome: dict[str, Any]) -> bool:
    """Put what a file registers when it runs in place of what could be read from it; True if that failed."""
    if outcome.get("error"):
        line, message = outcome["error"]
        names = list(dict.fromkeys([*(entry["name"] for entry in result.entries), *result.guess]))
        result.problems.append([line, message, names])
        return True
    result.deps = sorted({*result.deps, *outcome.get("modules", ())})
    result.entries = outcome["entries"]
    return False
