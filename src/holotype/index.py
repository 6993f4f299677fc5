"""The index: what is known of a zoo without importing it.

`Index.look` walks a zoo's folder, reads the files that changed, links what a change can have touched, and
keeps the result in SQLite in the user's cache folder, by content. All of it can be deleted at any time. A
cache that is broken, full or read-only costs time and nothing else: the same code then runs on a database
in memory.
"""

from __future__ import annotations

import os
import sys
import time
from stat import S_IFREG

from holotype.home import cache_home
from holotype.zoo_finder import ZooSpec, locate

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from typing import Any, Self, TypeVar

    from holotype.link import Linked, Source

    T = TypeVar("T")
    # kind, name, sort key, task, network, module, line, via, needs, and detail: JSON, read when it is needed
    Row = tuple[str, str, str, str | None, str | None, str, int | None, str | None, str, str]

SCHEMA = 5  # raise it whenever `scan` or `link` write anything else: an older cache is then begun anew
ENVIRONMENT = "*environment*"  # stands among a zoo's outside modules if a trial import failed
TABLES = ("sizes.toml", "pretrained.toml")
_CREATE = """
CREATE TABLE zoos (key TEXT PRIMARY KEY, generation INTEGER, stamp TEXT, modules TEXT, outside TEXT);
CREATE TABLE files (zoo TEXT, module TEXT, path TEXT, stat TEXT, digest TEXT, facts TEXT, deps TEXT,
                    failed TEXT, PRIMARY KEY (zoo, module)) WITHOUT ROWID;
CREATE TABLE entries (zoo TEXT, module TEXT, kind TEXT, name TEXT, sort TEXT, task TEXT, network TEXT,
                      line INTEGER, via TEXT, needs TEXT, detail TEXT);
CREATE INDEX entries_by_file ON entries (zoo, module);
CREATE TABLE problems (zoo TEXT, module TEXT, path TEXT, line INTEGER, message TEXT, names TEXT);
CREATE INDEX problems_by_file ON problems (zoo, module);
CREATE TABLE counts (key TEXT PRIMARY KEY, params INTEGER);
CREATE TABLE projects (path TEXT PRIMARY KEY, content BLOB, zoos TEXT);
"""


class Snag:
    """A problem of one file, and the names that it disables."""

    __slots__ = ("line", "message", "module", "names", "path")

    def __init__(self, module: str, path: str, line: int | None, message: str, names: str) -> None:
        self.module, self.path, self.line, self.message = module, path, line, message
        self.names = tuple(names.split())


class Snapshot:
    """A zoo at one moment.

    Attributes:
        spec: the zoo.
        stamp: differs whenever a file of the zoo does.
        rows: its registrations, files in no particular order.
        snags: its problems.
        modules: its modules in registration order, as far as its ``__init__`` tells.
        outside: modules outside the zoo that matter to it.
    """

    __slots__ = ("modules", "outside", "rows", "snags", "spec", "stamp")

    def __init__(
        self,
        spec: ZooSpec,
        stamp: str,
        rows: list[Row],
        snags: list[Snag],
        modules: list[str],
        outside: list[str],
    ) -> None:
        self.spec, self.stamp, self.rows = spec, stamp, rows
        self.snags, self.modules, self.outside = snags, modules, outside


class _File:
    __slots__ = ("is_package", "path", "settled", "stat")

    def __init__(self, path: str, is_package: bool, stat: str, settled: bool) -> None:
        self.path, self.is_package, self.stat, self.settled = path, is_package, stat, settled


class _Overtaken(Exception):
    """Another process wrote the same zoo in the meantime."""


class Index:
    """Snapshots of zoos, kept between processes.

    Args:
        probe: imports one module in a child process and returns what it registered: see
            `holotype.probe.probe`. Without it, what cannot be read from source is a problem.
    """

    def __init__(self, probe: Callable[[ZooSpec, str], dict[str, Any]] | None = None) -> None:
        self._probe = probe
        self._snapshots: dict[ZooSpec, Snapshot] = {}
        self._memory: sqlite3.Connection | None = None
        self._pid = os.getpid()
        self._db: sqlite3.Connection | None = None
        self._held = 0
        self.cache_problem: str | None = None

    def __enter__(self) -> Self:
        """Hold one connection for several looks. It does not outlive them: a process may fork between."""
        self._held += 1
        return self

    def __exit__(self, *error: object) -> None:
        self._held -= 1
        if not self._held:
            self._disconnect()

    def look(self, spec: ZooSpec) -> Snapshot:
        """The zoo as it is now."""
        files = dict(_walk(spec))
        known = self._snapshots.get(spec)
        if known is not None and known.stamp == _stamp(files, self._outside(spec, known.outside)):
            return known
        snapshot = self._with_database(lambda db: self._read(db, spec, files))
        self._snapshots[spec] = snapshot
        return snapshot

    def known(self, spec: ZooSpec) -> Snapshot:
        """The zoo as it was at the last look."""
        return self._snapshots.get(spec) or self.look(spec)

    def count(self, key: str) -> int | None:
        """A parameter count that was remembered."""
        row = self._with_database(
            lambda db: db.execute("SELECT params FROM counts WHERE key = ?", (key,)).fetchone()
        )
        return None if row is None else int(row[0])

    def remember_count(self, key: str, params: int) -> None:
        """Remember a parameter count."""
        self._with_database(
            lambda db: db.execute("INSERT OR REPLACE INTO counts VALUES (?, ?)", (key, params))
        )

    # -- the database ----------------------------------------------------------------------------

    def recall(self, path: str, content: bytes) -> str | None:
        """What was read from a file that named zoos, if its content is still the same."""
        row = self._with_database(
            lambda db: db.execute(
                "SELECT content, zoos FROM projects WHERE path = ?", (os.fsencode(path),)
            ).fetchone()
        )
        return str(row[1]) if row is not None and row[0] == content else None

    def remember(self, path: str, content: bytes, zoos: str) -> None:
        """Remember what was read from a file that names zoos."""
        row = (os.fsencode(path), content, zoos)
        self._with_database(lambda db: db.execute("INSERT OR REPLACE INTO projects VALUES (?, ?, ?)", row))

    def _with_database(self, action: Callable[[sqlite3.Connection], T]) -> T:
        import sqlite3

        for attempt in range(3):
            if self._memory is not None and self._pid == os.getpid():
                return action(self._memory)
            try:
                db = self._db = self._db or _open(_path())
            except (sqlite3.Error, OSError, NotImplementedError) as error:
                self._give_up_on_file(error, discard=attempt == 0)
                continue
            try:
                return action(db)
            except _Overtaken:
                continue
            except sqlite3.Error as error:
                self._disconnect()
                self._give_up_on_file(error, discard=attempt == 0)
            finally:
                if not self._held:
                    self._disconnect()
        if self._memory is None:
            self._use_memory()
        assert self._memory is not None  # noqa: S101 - for the type checker
        return action(self._memory)

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _give_up_on_file(self, error: Exception, *, discard: bool) -> None:
        """A damaged cache is derived data: start over. One that cannot be written: work without."""
        import sqlite3

        damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        damaged = (
            damaged
            or "malformed" in str(error)
            or "no such table" in str(error)
            or "no such column" in str(error)
        )
        if damaged and discard:
            try:
                os.unlink(_path())
                return
            except OSError:
                pass
        self.cache_problem = f"{_path()}: {error}"
        self._use_memory()

    def _use_memory(self) -> None:
        import sqlite3

        self._pid = os.getpid()
        self._memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._memory.executescript(f"{_CREATE} PRAGMA user_version = {SCHEMA}")

    # -- reading a zoo ---------------------------------------------------------------------------

    def _read(self, db: sqlite3.Connection, spec: ZooSpec, files: dict[str, _File]) -> Snapshot:
        key = _key(spec)
        row = db.execute(
            "SELECT generation, stamp, modules, outside FROM zoos WHERE key = ?", (key,)
        ).fetchone()
        if row is not None:
            outside = row[3].split()
            if row[1] == _stamp(files, self._outside(spec, outside)):
                return _load(db, spec, row[1], row[2].split(), outside)
        return _Update(db, spec, files, self._probe, generation=0 if row is None else int(row[0])).run()

    def _outside(self, spec: ZooSpec, modules: list[str]) -> dict[str, _File]:
        return {module: _outside_file(spec, module) for module in modules}


def _path() -> str:
    return os.path.join(cache_home(), "index.sqlite")


def _open(path: str) -> sqlite3.Connection:
    import sqlite3

    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    db = sqlite3.connect(path, timeout=2, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA synchronous = OFF")  # a cache: losing it in a power cut costs one scan
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version != SCHEMA:
            if version:
                raise sqlite3.DatabaseError(f"no such table: the index has layout {version}, not {SCHEMA}")
            db.execute("BEGIN IMMEDIATE")
            if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                for statement in _CREATE.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {SCHEMA}")
            db.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    return db


def _key(spec: ZooSpec) -> bytes:
    """A zoo, as one Python sees it: another version reads other syntax, and has other packages installed."""
    python = f"{sys.version_info[0]}.{sys.version_info[1]} {sys.prefix}"
    # Bytes, because the name of a folder need not be text.
    return os.fsencode(f"{spec.root}\n{spec.module}\n{python}")


def _load(
    db: sqlite3.Connection, spec: ZooSpec, stamp: str, modules: list[str], outside: list[str]
) -> Snapshot:
    key = _key(spec)
    rows = db.execute(
        "SELECT kind, name, sort, task, network, module, line, via, needs, detail FROM entries WHERE zoo = ?",
        (key,),
    )
    snags = db.execute("SELECT module, path, line, message, names FROM problems WHERE zoo = ?", (key,))
    return Snapshot(
        spec,
        stamp,
        rows.fetchall(),
        [Snag(module, os.fsdecode(path), *rest) for module, path, *rest in snags],
        modules,
        outside,
    )


# -- files ---------------------------------------------------------------------------------------


def _stat_text(stat: os.stat_result, now_ns: int) -> tuple[str, bool]:
    """What tells one state of a file from another, and whether a later edit is sure to change it.

    A file edited twice within one tick of the file system's clock keeps its time; so a time that is too
    close to now does not count yet (and on file systems that keep whole seconds, "close" is longer).
    """
    modified, changed = stat.st_mtime_ns, stat.st_ctime_ns  # called for every file: keep it short
    window = 50_000_000 if modified % 1_000_000_000 else 2_000_000_000
    return (
        f"{modified},{stat.st_size},{stat.st_ino},{changed}",
        now_ns - modified > window and now_ns - changed > window,
    )


def _walk(spec: ZooSpec) -> Iterator[tuple[str, _File]]:
    """Every module and table of a zoo."""
    now = time.time_ns()
    if not spec.is_package:
        try:
            stat = os.stat(spec.path)
        except OSError:
            return
        yield spec.module, _File(spec.path, False, *_stat_text(stat, now))
        return
    seen: set[tuple[int, int]] = set()
    folders = [(spec.path, spec.module)]
    links: list[tuple[str, str]] = []
    while folders or links:
        # Links come last: a folder that is reached twice goes by its own name.
        folder, package = folders.pop() if folders else links.pop()
        try:
            stat = os.stat(folder)
            if (stat.st_dev, stat.st_ino) in seen:  # links may go in circles
                continue
            seen.add((stat.st_dev, stat.st_ino))
            with os.scandir(folder) as items:
                listed = list(items)
        except OSError:
            continue
        names = {item.name for item in listed}
        for item in listed:
            name = item.name
            if name[-3:] == ".py":
                stem = name[:-3]
                if not stem.isidentifier():
                    continue
                try:
                    stat = item.stat()
                    if stat.st_mode & 0o170000 != S_IFREG:
                        continue  # Python does not import it, and to read a pipe is to wait
                    text, settled = _stat_text(stat, now)
                except OSError:  # a link that points nowhere; a file deleted just now
                    continue
                if stem == "__init__":
                    yield package, _File(item.path, True, text, settled)
                elif stem in names and os.path.isfile(os.path.join(item.path[:-3], "__init__.py")):
                    continue  # Python prefers the package
                else:
                    yield f"{package}.{stem}", _File(item.path, False, text, settled)
            elif name in TABLES:
                try:
                    yield f"{package}:{name}", _File(item.path, False, *_stat_text(item.stat(), now))
                except OSError:
                    continue
            elif name.isidentifier() and name != "__pycache__":
                try:
                    if item.is_dir():
                        (links if item.is_symlink() else folders).append((item.path, f"{package}.{name}"))
                except OSError:
                    continue


def _follows(spec: ZooSpec, module: str) -> bool:
    """May names be followed into `module`, which is not part of the zoo?"""
    if module.startswith("holotype.zoos."):
        return True
    top = module.partition(".")[0]
    if top == spec.module.partition(".")[0]:
        return True
    return (
        not spec.root.endswith("-packages") and spec.found_by != "first-party" and _top_exists(spec.root, top)
    )


def _top_exists(root: str, top: str) -> bool:
    stem = os.path.join(root, top)
    return os.path.isfile(f"{stem}.py") or os.path.isfile(os.path.join(stem, "__init__.py"))


def _outside_file(spec: ZooSpec, module: str) -> _File:
    if module == ENVIRONMENT:
        return _File("", False, environment(), True)
    root = spec.root
    if module.startswith("holotype."):
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    found = locate(module, [root])
    if found is None:
        return _File("", False, "missing", True)
    path = found[1]
    is_package = not path.endswith(".py")
    if is_package:
        path = os.path.join(path, "__init__.py")
    try:
        return _File(path, is_package, *_stat_text(os.stat(path), time.time_ns()))
    except OSError:
        return _File("", False, "missing", True)


def _stamp(files: dict[str, _File], outside: dict[str, _File]) -> str:
    lines = [f"{module} {file.stat}" for module, file in files.items()]
    lines += [f"{module} {file.stat}" for module, file in outside.items()]
    lines.sort()
    return "\n".join(lines)


def environment() -> str:
    """Differs when a package was installed or removed: a failed import may then succeed."""
    times = []
    for folder in sys.path:
        try:
            times.append(str(os.stat(folder).st_mtime_ns) if folder.endswith("-packages") else "")
        except OSError:
            times.append("gone")
    return f"{sys.version_info[:3]} {' '.join(times)}"


# -- bringing a zoo up to date -------------------------------------------------------------------


class _Update:
    """One pass over the files of a zoo that changed."""

    def __init__(
        self,
        db: sqlite3.Connection,
        spec: ZooSpec,
        files: dict[str, _File],
        probe: Callable[[ZooSpec, str], dict[str, Any]] | None,
        *,
        generation: int,
    ) -> None:
        self.db, self.spec, self.files, self.probe, self.generation = db, spec, files, probe, generation
        self.key = _key(spec)
        self.sources: dict[str, Source | None] = {}
        self.digests: dict[str, str] = {}
        self.outside: dict[str, _File] = {}
        # module -> path, stat, digest, deps, failed
        self.old: dict[str, tuple[str, str, str, list[str], str]] = {}
        self.environment = environment()
        self.prebuilt: dict[str, Any] | None = None

    def run(self) -> Snapshot:
        for module, path, stat, digest, deps, failed in self.db.execute(
            "SELECT module, path, stat, digest, deps, failed FROM files WHERE zoo = ?", (self.key,)
        ):
            self.old[module] = (os.fsdecode(path), stat, digest, deps.split(), failed)
        changed = {module for module in self.files if self._changed(module, self.files[module])}
        changed |= {
            module for module in self.old if module not in self.files and self._outside_changed(module)
        }
        relink = [
            module
            for module in self.files
            if module in changed
            or module not in self.old
            or self.old[module][4] not in ("", self.environment)
            or not changed.isdisjoint(self.old[module][3])
        ]
        linked = self._link(relink)
        return self._write(linked, changed)

    def _changed(self, module: str, file: _File) -> bool:
        old = self.old.get(module)
        if old is not None and old[0] == file.path and old[1] == file.stat:
            return False
        if self.prebuilt is None:
            self.prebuilt = _prebuilt(self.spec) if not self.old else {}
        source, digest = _read_source(module, file, self.prebuilt)
        self.digests[module] = digest
        if old is not None and old[0] == file.path and old[2] == digest:
            return False
        self.sources[module] = source
        return True

    def _outside_changed(self, module: str) -> bool:
        """Has a module of another package, or a file that is gone, changed?"""
        if self.spec.holds(module.partition(":")[0]):
            return True  # it was a file of the zoo, and is no longer there
        file = self.outside[module] = _outside_file(self.spec, module)
        return self._changed(module, file)

    def _source_of(self, module: str) -> Source | None:
        if module in self.sources:
            return self.sources[module]
        file = self.files.get(module)
        if file is None:
            if self.spec.holds(module) or not _follows(self.spec, module):
                source = None
            else:
                file = self.outside.get(module) or _outside_file(self.spec, module)
                self.outside[module] = file
                source, self.digests[module] = _read_source(module, file)
        else:
            row = self.db.execute(
                "SELECT facts FROM files WHERE zoo = ? AND module = ?", (self.key, module)
            ).fetchone()
            import json

            source = _source(module, file, json.loads(row[0])) if row else _read_source(module, file)[0]
        self.sources[module] = source
        return source

    def _link(self, modules: list[str]) -> dict[str, tuple[Linked, bool]]:
        from holotype.link import Linker

        linker = Linker(self._source_of)
        linked: dict[str, tuple[Linked, bool]] = {}
        running: list[str] = []
        for module in modules:
            source = self._source_of(module)
            if source is None:
                continue
            result = linker.link(source)
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
                if name in self.files or self.spec.holds(name) or _follows(self.spec, name)
            ]
        outside = sorted({name for names in deps.values() for name in names if not self.spec.holds(name)})
        for module in outside:
            if module not in self.outside:
                self.outside[module] = _outside_file(self.spec, module)
        files = {**self.files, **{module: self.outside[module] for module in outside}}
        failed = {module: self.environment for module, (_, error) in linked.items() if error}
        failed |= {m: old[4] for m, old in self.old.items() if m not in linked and m in self.files and old[4]}
        if failed:
            outside.append(ENVIRONMENT)
            self.outside[ENVIRONMENT] = _outside_file(self.spec, ENVIRONMENT)
        stamp = _stamp(self.files, {module: self.outside[module] for module in outside})
        if not all(file.settled for file in files.values()):
            stamp += "\nunsettled"  # equal to no stamp: look at those files again next time
        modules = self._order()
        db = self.db
        db.execute("BEGIN IMMEDIATE")
        try:
            row = db.execute("SELECT generation FROM zoos WHERE key = ?", (self.key,)).fetchone()
            if (0 if row is None else int(row[0])) != self.generation:
                raise _Overtaken
            for module in self.old:
                if module not in files:
                    db.execute("DELETE FROM files WHERE zoo = ? AND module = ?", (self.key, module))
                    self._forget(module)
            for module, file in files.items():
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
            snapshot = _load(db, self.spec, stamp, modules, outside)
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

    def _write_file(self, module: str, file: _File, deps: list[str], failed: str, changed: bool) -> None:
        old = self.old.get(module)
        stat = file.stat if file.settled else ""
        if old is not None and not changed:
            if old[1] != stat or old[3] != deps or old[4] != failed:
                self.db.execute(
                    "UPDATE files SET stat = ?, deps = ?, failed = ? WHERE zoo = ? AND module = ?",
                    (stat, " ".join(deps), failed, self.key, module),
                )
            return
        import json

        source = self._source_of(module)
        if module not in self.digests:
            self.digests[module] = _read_source(module, file)[1]
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
        import json

        from holotype.names import natural_key

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


def _sha256(content: bytes) -> Any:
    # `hashlib` loads OpenSSL, for 7 ms; the standard library's own `random` goes the same way round it.
    try:
        from _sha2 import sha256  # type: ignore[import-not-found]  # Python 3.12 and later
    except ImportError:
        try:
            from _sha256 import sha256  # type: ignore[import-not-found]  # Python 3.11
        except ImportError:
            from hashlib import sha256
    return sha256(content)


def _read_source(
    module: str, file: _File, prebuilt: dict[str, Any] | None = None
) -> tuple[Source | None, str]:
    """The facts of a file and the digest of its content."""
    if not file.path:
        return None, ""
    try:
        with open(file.path, "rb") as stream:
            content = stream.read()
    except OSError as error:
        return _source(
            module, file, {"error": [None, f"cannot be read: {error.strerror or error}"]}
        ), "unreadable"
    digest = _sha256(content).hexdigest()
    if file.path.endswith(".toml"):
        return _source(module, file, _scan_table(content)), digest
    facts = (prebuilt or {}).get(digest)
    if facts is None:
        from holotype.scan import scan

        facts = scan(content)
    return _source(module, file, facts), digest


def _prebuilt(spec: ZooSpec) -> dict[str, Any]:
    """The facts that the zoo's wheel brought along."""
    if not spec.is_package or not os.path.isfile(os.path.join(spec.path, "_facts.json")):
        return {}
    from holotype.prebuilt import read

    return read(spec.path)


def _source(module: str, file: _File, facts: dict[str, Any]) -> Source:
    from holotype.link import Source

    return Source(module, file.path, file.is_package, facts)


def _scan_table(content: bytes) -> dict[str, Any]:
    """The rows of a TOML table, and the line each starts at."""
    import json
    import tomllib

    try:
        text = content.decode("utf-8")
        table = tomllib.loads(text)
        json.dumps(table)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError) as error:
        return {"error": [None, f"is not a table that can be read: {error}"]}
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("[") and not line.startswith("[["):
            lines.setdefault(line.strip("[] \t").split("#")[0].strip().strip("\"'"), number)
    return {"table": table, "lines": lines}
