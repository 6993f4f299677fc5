"""The index: what is known of a zoo without importing it, kept between processes.

`Index.look` walks the folder of a zoo and compares it with what is kept. If something differs, it reads the
files that changed (`scan`), links the files that such a change can affect (`link`), imports those that the
source does not explain in a child process (`probe`), and keeps the result: one file for each zoo, in the
user's cache folder.

A kept file is written whole or not at all. One that is missing, damaged or from another version is built
again; a folder that cannot be written costs time and nothing else. The first line of each is a checksum, and
what the file is of. What every listing needs of a zoo is plain text, because importing `json` takes longer
than reading it:

    number of files in the stamp, number of rows
    modules outside the zoo on which it depends
    names that its registration order begins with
    problems: [[module, path, line, message, names], …]
    a line of the stamp for each file: module, state
    a row for each entry: kind, name, sort key, task, network, module, line, via, needs; a tab between them
    the details of each entry, as JSON, read when they are needed

A second file is read only if a file of the zoo has changed:

    {module: [path, stat, digest, deps, failed], …}
    the facts of each module, as JSON
"""

from __future__ import annotations

import os
import sys
import time
from zlib import crc32

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
    stat_text,
    walk,
)
from holotype.catalog.zoos import ZooSpec
from holotype.home import cache_home
from holotype.names import natural_key

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from holotype.catalog.link import Linked, Source

    Probe = Callable[[ZooSpec, str], dict[str, Any]]
    # kind, name, sort key, task, network, module, line, via, needs
    Row = tuple[str, str, str, str | None, str | None, str, int | None, str | None, str]

_MODULE = 5  # where a row names its module
SCHEMA = 11  # raise it whenever `scan` or `link` write anything else: older files are then not read
_UNREADABLE = (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError, SyntaxError)
_ABANDONED_S = 3600.0


class Snapshot:
    """A zoo at one moment.

    Attributes:
        spec: the zoo.
        stamp: differs whenever a file of the zoo does.
        outside: modules outside the zoo on which it depends.
        first: the names that its registration order begins with: `MODEL_ORDER` in its ``__init__``.
        rows: its registrations, files in no particular order.
        details: of each row, as JSON.
        problems: module, path, line, message and the disabled names of each.
        counts: parameter counts by name, once they were asked for.
    """

    def __init__(
        self,
        spec: ZooSpec,
        stamp: str = "",
        outside: list[str] | None = None,
        first: list[str] | None = None,
        rows: list[Row] | None = None,
        details: list[bytes] | None = None,
        problems: list[tuple[str, str, int | None, str, list[str]]] | None = None,
    ) -> None:
        self.spec, self.stamp, self.outside, self.first = spec, stamp, outside or [], first or []
        self.rows, self.details, self.problems = rows or [], details or [], problems or []
        self.counts: dict[str, int] | None = None

    def holds(self, module: str, path: str | None) -> bool:
        """Is the file of a module still as it was?"""
        try:
            return path is not None and f"{module} {stat_text(os.stat(path), 0)[0]}" in self.stamp
        except OSError:
            return False

    def to_lines(self) -> list[bytes]:
        """As it is kept."""
        stamp = self.stamp.split("\n")
        lines = [
            f"{len(stamp)} {len(self.rows)}",
            " ".join(self.outside),
            " ".join(self.first),
            _json(self.problems).decode() if self.problems else "",
            *stamp,
            *("\t".join(str(field or "") for field in row) for row in self.rows),
        ]
        return [*(line.encode("utf-8", "surrogatepass") for line in lines), *self.details]

    @classmethod
    def from_lines(cls, spec: ZooSpec, lines: list[bytes]) -> Snapshot:
        """What `to_lines` wrote.

        Raises:
            ValueError: they hold anything else.
        """
        files, count = map(int, lines[0].split())
        start, end = 4 + files, 4 + files + count
        head = [line.decode("utf-8", "surrogatepass") for line in lines[1:end]]
        rows: list[Row] = []
        for line in head[start - 1 :]:
            kind, name, sort, task, network, module, at, via, needs = line.split("\t")
            number = int(at) if at else None
            rows.append((kind, name, sort, task or None, network or None, module, number, via or None, needs))
        if len(lines) - end != len(rows):
            raise ValueError("details are missing")
        problems = []
        if head[2]:
            import json

            problems = [(m, p, n, text, names) for m, p, n, text, names in json.loads(head[2])]
        stamp = "\n".join(head[3 : start - 1])
        return cls(spec, stamp, head[0].split(), head[1].split(), rows, lines[end:], problems)


class FileRecord:
    """What is kept of one file.

    Attributes:
        path: where it was.
        stat: its state; empty if a further edit might leave it the same.
        digest: the sha256 of its content.
        deps: the modules on which its registrations depend.
        failed: the environment in which its trial import failed, or empty.
        facts: of `scan`, as JSON.
    """

    __slots__ = ("deps", "digest", "facts", "failed", "path", "stat")

    def __init__(self, path: str, stat: str, digest: str, deps: list[str], failed: str, facts: bytes) -> None:
        self.path, self.stat, self.digest = path, stat, digest
        self.deps, self.failed, self.facts = deps, failed, facts


class Index:
    """Snapshots of zoos, kept between processes.

    Args:
        probe: imports one module in a child process and returns what it registers: see
            `holotype.catalog.probe.probe`. Without it, what cannot be read from source is a problem.

    Attributes:
        cache_problem: why nothing can be kept, or None.
        remembers_only: never read or run a file of a zoo that is not first-party.
    """

    def __init__(self, probe: Probe | None = None) -> None:
        self._probe = probe
        self._snapshots: dict[ZooSpec, Snapshot] = {}
        self._files: dict[ZooSpec, tuple[str, dict[str, FileRecord]]] = {}
        self.cache_problem: str | None = None
        self.remembers_only = False

    def look(self, spec: ZooSpec) -> Snapshot:
        """The zoo as it is now."""
        snapshot = self._snapshots.get(spec)
        if self.remembers_only and spec.found_by != "first-party":
            return snapshot or self._kept(spec)
        files = dict(walk(spec))
        if snapshot is None or not _is_current(snapshot, files):
            snapshot = self._kept(spec)  # another process may have seen the change first
            if not _is_current(snapshot, files):
                update = _Update(snapshot, self._records(snapshot), files, self._probe)
                snapshot = update.run()
                self._keep(snapshot, update.records)
            self._snapshots[spec] = snapshot
        return snapshot

    def last(self, spec: ZooSpec) -> Snapshot:
        """The zoo as it was at the last look."""
        return self._snapshots.get(spec) or self.look(spec)

    def forget(self, specs: list[ZooSpec]) -> None:
        """Read these zoos anew at the next look."""
        self._snapshots.clear()
        for spec in specs:
            try:
                os.unlink(_path(_key_of(spec), "entries"))
            except OSError:
                continue

    def counts(self, spec: ZooSpec) -> dict[str, int]:
        """The parameter counts that were remembered for a zoo as it was at the last look."""
        snapshot = self.last(spec)
        if snapshot.counts is None:
            import json

            try:
                snapshot.counts = dict(json.loads(_read(_key_of(spec), "counts", snapshot.stamp)[0]))
            except _UNREADABLE:
                snapshot.counts = {}
        return snapshot.counts

    def remember_count(self, spec: ZooSpec, name: str, params: int) -> None:
        """Remember a parameter count, until the zoo changes."""
        counts = self.counts(spec)
        counts[name] = params
        self._write(_key_of(spec), "counts", [_json(counts)], self.last(spec).stamp)

    def recall(self, path: str, content: bytes) -> list[tuple[str | None, str]] | None:
        """The names and modules of the zoos that a file names, if its content is still the same."""
        try:
            remembered, *lines = _read(path, "project")
            zoos = [line.decode().partition("=") for line in lines]
        except _UNREADABLE:
            return None
        return [(name or None, module) for module, _, name in zoos] if remembered == _hex(content) else None

    def remember(self, path: str, content: bytes, zoos: list[tuple[str | None, str]]) -> None:
        """Remember which zoos a file names."""
        lines = [f"{module}={name or ''}" for name, module in zoos]
        if all(line.isprintable() for line in lines) and not any("=" in module for _, module in zoos):
            self._write(path, "project", [_hex(content), *(line.encode() for line in lines)])

    def _kept(self, spec: ZooSpec) -> Snapshot:
        try:
            return Snapshot.from_lines(spec, _read(_key_of(spec), "entries"))
        except _UNREADABLE:
            return Snapshot(spec)

    def _records(self, snapshot: Snapshot) -> dict[str, FileRecord]:
        records = self._files.get(snapshot.spec)
        if records is None or records[0] != snapshot.stamp:
            try:
                table, *facts = _read(_key_of(snapshot.spec), "files", snapshot.stamp)
                import json

                kept: dict[str, list[Any]] = json.loads(table)
                both = zip(kept.items(), facts, strict=True)
                return {module: FileRecord(*[*record, fact]) for (module, record), fact in both}
            except _UNREADABLE:
                return {}
        return records[1]

    def _keep(self, snapshot: Snapshot, records: dict[str, FileRecord]) -> None:
        self._files[snapshot.spec] = (snapshot.stamp, records)
        table = {m: [r.path, r.stat, r.digest, r.deps, r.failed] for m, r in records.items()}
        facts = [record.facts for record in records.values()]
        key = _key_of(snapshot.spec)
        self._write(key, "files", [_json(table), *facts], snapshot.stamp)
        self._write(key, "entries", snapshot.to_lines())
        _remove_abandoned()

    def _write(self, key: str, part: str, lines: list[bytes], state: str = "") -> None:
        from holotype.files import write_file

        path = _path(key, part)
        content = b"\n".join(lines)
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            write_file(path, _first_line(key, part, content, state) + content)
        except (OSError, ValueError) as error:  # full, read-only, not a folder
            self.cache_problem = str(error)


class _Update:
    """One pass over the files of a zoo of which some have changed.

    Args:
        old: what was known of the zoo.
        kept: what the index keeps of its files; empty if that is lost.
        files: what there is now.
        probe: see `Index`.
    """

    def __init__(
        self, old: Snapshot, kept: dict[str, FileRecord], files: dict[str, File], probe: Probe | None
    ) -> None:
        self.spec, self.kept, self.files, self.probe = old.spec, kept, files, probe
        self.old = old if kept else Snapshot(self.spec)
        self.records: dict[str, FileRecord] = {}
        self.sources: dict[str, Source | None] = {}
        self.digests: dict[str, str] = {}
        self.outside: dict[str, File] = {}
        self.environment = environment()
        self.prebuilt = prebuilt_facts(self.spec) if not kept else {}

    def run(self) -> Snapshot:
        """The zoo as it is now."""
        changed = {module for module, file in self.files.items() if self._changed(module, file)}
        changed |= {m for m in self.kept if m not in self.files and self._outside_changed(m)}
        linked = self._link([module for module in self.files if self._is_affected(module, changed)])
        return self._joined(linked, changed)

    def _is_affected(self, module: str, changed: set[str]) -> bool:
        """Can a change have an effect on what a module registers?"""
        if module in changed or module not in self.kept:
            return True
        kept = self.kept[module]
        return kept.failed not in ("", self.environment) or not changed.isdisjoint(kept.deps)

    def _changed(self, module: str, file: File) -> bool:
        old = self.kept.get(module)
        if old is not None and old.stat == file.stat:  # a file that was moved has another ctime
            return False
        source, digest = read_source(module, file, self.prebuilt)
        self.digests[module] = digest
        if old is not None and old.digest == digest and old.path == file.path:
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
        if module not in self.sources:
            self.sources[module] = self._find_source(module)
        return self.sources[module]

    def _find_source(self, module: str) -> Source | None:
        file = self.files.get(module)
        if file is None:
            if self.spec.holds(module) or not follows(self.spec, module):
                return None
            file = self.outside.setdefault(module, outside_file(self.spec, module))
        elif module in self.kept:
            import json

            return as_source(module, file, json.loads(self.kept[module].facts))
        source, self.digests[module] = read_source(module, file, self.prebuilt)
        return source

    def _link(self, modules: list[str]) -> dict[str, tuple[Linked, bool]]:
        """What each module contributes, and whether its trial import failed."""
        from holotype.catalog.link import Linked, Linker

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
                message = f"cannot be understood: {type(error).__name__}: {error}"[:500]
                result = Linked([], [[None, message, []]], [], False, "", [])
            linked[module] = (result, False)
            if result.running:
                running.append(module)
        for module, outcome in zip(running, self._try_imports(running), strict=True):
            source = self._source_of(module)
            result = linked[module][0]
            # What it computes may come from any module that it imports.
            imports = linker.imports(source) if source is not None else set()
            result.deps = sorted({*result.deps, *imports} - {module})
            linked[module] = (result, result.replace_by(outcome))
        return linked

    def _try_imports(self, modules: list[str]) -> list[dict[str, Any]]:
        probe = self.probe
        if probe is None:
            return [{"error": [None, "only importing it shows what it registers"]} for _ in modules]
        if len(modules) < 2:
            return [probe(self.spec, module) for module in modules]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            return list(pool.map(lambda module: probe(self.spec, module), modules))

    def _joined(self, linked: dict[str, tuple[Linked, bool]], changed: set[str]) -> Snapshot:
        """What was linked now, and what is kept of the other files."""
        deps, failed = self._dependencies(linked)
        outside = sorted(name for name in set().union(*deps.values()) if not self.spec.holds(name))
        around = {module: self.outside.get(module) or outside_file(self.spec, module) for module in outside}
        for module, file in {**self.files, **around}.items():
            self.records[module] = self._record(
                module, file, changed, deps.get(module, []), failed.get(module, "")
            )
        if any(failed.values()):
            outside.append(ENVIRONMENT)
            around[ENVIRONMENT] = outside_file(self.spec, ENVIRONMENT)
        stamp = stamp_of(self.files, around)
        if not all(file.settled for file in [*self.files.values(), *around.values()]):
            stamp += "\nunsettled"  # equal to no stamp: look at those files again next time
        rows, details = self._rows(linked)
        return Snapshot(self.spec, stamp, outside, self._first(), rows, details, self._problems(linked))

    def _dependencies(
        self, linked: dict[str, tuple[Linked, bool]]
    ) -> tuple[dict[str, list[str]], dict[str, str]]:
        """Of each file, the modules on which it depends, and the environment in which its import failed."""
        deps = {module: old.deps for module, old in self.kept.items() if module in self.files}
        failed = {module: old.failed for module, old in self.kept.items() if module in self.files}
        for module, (result, error) in linked.items():
            deps[module] = [
                name
                for name in result.deps
                if name in self.files or self.spec.holds(name) or follows(self.spec, name)
            ]
            failed[module] = self.environment if error else ""
        return deps, failed

    def _rows(self, linked: dict[str, tuple[Linked, bool]]) -> tuple[list[Row], list[bytes]]:
        """The registrations, and the details of each."""
        kept = self.files.keys() - linked.keys()
        both = list(zip(self.old.rows, self.old.details, strict=True))
        both = [(row, detail) for row, detail in both if row[_MODULE] in kept]
        for module, (result, _) in linked.items():
            both += [(_row(module, result, entry), _json(entry)) for entry in result.entries]
        return [row for row, _ in both], [detail for _, detail in both]

    def _problems(
        self, linked: dict[str, tuple[Linked, bool]]
    ) -> list[tuple[str, str, int | None, str, list[str]]]:
        kept = self.files.keys() - linked.keys()
        problems = [problem for problem in self.old.problems if problem[0] in kept]
        for module, (result, _) in linked.items():
            path = self.files[module].path
            problems += [(module, path, line, text, names) for line, text, names in result.problems]
        return problems

    def _first(self) -> list[str]:
        source = self._source_of(self.spec.module)
        return list(source.facts.get("first", ())) if source is not None else []

    def _record(self, module: str, file: File, changed: set[str], deps: list[str], failed: str) -> FileRecord:
        stat = file.stat if file.settled else ""
        kept = self.kept.get(module)
        if kept is not None and module not in changed:
            digest = self.digests.get(module, kept.digest)
            return FileRecord(file.path, stat, digest, deps, failed, kept.facts)
        source = self._source_of(module)
        if module not in self.digests:
            self.digests[module] = read_source(module, file)[1]
        facts = _json(source.facts if source else {})
        return FileRecord(file.path, stat, self.digests[module], deps, failed, facts)


def _row(module: str, result: Linked, entry: dict[str, Any]) -> Row:
    return (
        entry["kind"],
        entry["name"],
        natural_key(entry["name"]),
        entry.get("task"),
        entry.get("network"),
        module,
        entry.get("line"),
        entry.get("via"),
        result.needs,
    )


def _is_current(snapshot: Snapshot, files: dict[str, File]) -> bool:
    outside = {module: outside_file(snapshot.spec, module) for module in snapshot.outside}
    return snapshot.stamp == stamp_of(files, outside)


def _json(value: Any) -> bytes:
    import json

    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _hex(content: bytes) -> bytes:
    return content.hex().encode()


def _key_of(spec: ZooSpec) -> str:
    """A zoo, as one Python sees it: another version reads other syntax, and has other packages installed."""
    return f"{spec.root}\n{spec.module}\n{sys.version_info[0]}.{sys.version_info[1]} {sys.prefix}"


def _folder() -> str:
    return os.path.join(cache_home(), f"index-{SCHEMA}")


def _path(key: str, part: str) -> str:
    # Two keys with one checksum replace each other's file again and again: slow, and still right.
    return os.path.join(_folder(), f"{_checksum(key)}.{part}")


def _checksum(text: str) -> str:
    return f"{crc32(text.encode('utf-8', 'surrogatepass')):08x}"


def _first_line(key: str, part: str, content: bytes, state: str) -> bytes:
    return f"{crc32(content):08x} {_checksum(state)} {part} {key!a}\n".encode("ascii")


def _read(key: str, part: str, state: str = "") -> list[bytes]:
    """The lines that are kept under a key.

    Args:
        key: what they are of.
        part: ``"entries"``, ``"files"``, ``"counts"`` or ``"project"``.
        state: of what they are of, when they were written.

    Raises:
        OSError, ValueError: there are none, they are of another state, or they are damaged.
    """
    with open(_path(key, part), "rb") as file:
        first, content = file.readline(), file.read()
    if first != _first_line(key, part, content, state):
        raise ValueError("of another key or state, or damaged")
    return content.split(b"\n")


def _remove_abandoned() -> None:
    """Remove what is kept of projects whose folder is gone, and files that a killed process left."""
    from ast import literal_eval

    try:
        with os.scandir(_folder()) as items:
            paths = [item.path for item in items]
    except OSError:
        return
    for path in paths:
        try:
            if os.path.basename(path).startswith("."):
                gone = time.time() - os.stat(path).st_mtime > _ABANDONED_S
            else:
                with open(path, "rb") as file:
                    key = str(literal_eval(file.readline().split(b" ", 3)[3].decode()))
                gone = not os.path.exists(key.partition("\n")[0])
            if gone:
                os.unlink(path)
        except _UNREADABLE:
            continue
