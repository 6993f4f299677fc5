"""The index: what is known of a zoo without importing it.

`Index.look` walks a zoo's folder, reads the files that changed, links what a change can have touched, and
keeps the result in SQLite in the user's cache folder, by content. All of it can be deleted at any time. A
cache that is broken, full or read-only costs time and nothing else: the same code then runs on a database
in memory.
"""

from __future__ import annotations

import os

from holotype.catalog.snapshot import CREATE, SCHEMA, Overtaken, Snapshot, key_of, load
from holotype.catalog.zoo_files import File, outside_file, stamp_of, walk
from holotype.catalog.zoos import ZooSpec
from holotype.home import cache_home

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from typing import Any, Self, TypeVar

    T = TypeVar("T")


class Index:
    """Snapshots of zoos, kept between processes.

    Args:
        probe: imports one module in a child process and returns what it registered: see
            `holotype.catalog.probe.probe`. Without it, what cannot be read from source is a problem.
    """

    def __init__(self, probe: Callable[[ZooSpec, str], dict[str, Any]] | None = None) -> None:
        self._probe = probe
        self._snapshots: dict[ZooSpec, Snapshot] = {}
        self._memory: sqlite3.Connection | None = None
        self._pid = os.getpid()
        self._db: sqlite3.Connection | None = None
        self._held = 0
        self.cache_problem: str | None = None
        self.remembers_only = False

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
        if self.remembers_only and spec.found_by != "first-party":
            return self._with_database(lambda db: self._recall(db, spec))
        files = dict(walk(spec))
        known = self._snapshots.get(spec)
        if known is not None and known.stamp == stamp_of(files, self._outside(spec, known.outside)):
            return known
        snapshot = self._with_database(lambda db: self._read(db, spec, files))
        self._snapshots[spec] = snapshot
        return snapshot

    def known(self, spec: ZooSpec) -> Snapshot:
        """The zoo as it was at the last look."""
        return self._snapshots.get(spec) or self.look(spec)

    def forget(self, specs: list[ZooSpec]) -> None:
        """Read these zoos anew at the next look."""
        self._snapshots.clear()

        def delete(db: sqlite3.Connection) -> None:
            for spec in specs:
                for table in ("files", "entries", "problems"):
                    db.execute(f"DELETE FROM {table} WHERE zoo = ?", (key_of(spec),))  # noqa: S608 - our names
                db.execute("DELETE FROM zoos WHERE key = ?", (key_of(spec),))

        self._with_database(delete)

    def counts(self, spec: ZooSpec) -> dict[str, int]:
        """The parameter counts that were remembered for a zoo as it was at the last look."""
        snapshot = self.known(spec)
        if snapshot.counts is None:
            key = (key_of(spec), snapshot.digest())
            rows = self._with_database(
                lambda db: db.execute(
                    "SELECT name, params FROM counts WHERE zoo = ? AND stamp = ?", key
                ).fetchall()
            )
            snapshot.counts = dict(rows)
        return snapshot.counts

    def remember_count(self, spec: ZooSpec, name: str, params: int) -> None:
        """Remember a parameter count, until the zoo changes."""
        self.counts(spec)[name] = params
        row = (key_of(spec), name, self.known(spec).digest(), params)
        self._with_database(lambda db: db.execute("INSERT OR REPLACE INTO counts VALUES (?, ?, ?, ?)", row))

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
            except Overtaken:
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

        fine = (sqlite3.OperationalError, sqlite3.ProgrammingError)
        damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, fine)
        # SQLite has one code for all of these.
        damaged = damaged or any(word in str(error) for word in ("malformed", "no such", "has no column"))
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
        self._memory.executescript(f"{CREATE} PRAGMA user_version = {SCHEMA}")

    # -- reading a zoo ---------------------------------------------------------------------------

    def _read(self, db: sqlite3.Connection, spec: ZooSpec, files: dict[str, File]) -> Snapshot:
        key = key_of(spec)
        row = db.execute(
            "SELECT generation, stamp, modules, outside FROM zoos WHERE key = ?", (key,)
        ).fetchone()
        if row is not None:
            outside = row[3].split()
            if row[1] == stamp_of(files, self._outside(spec, outside)):
                return load(db, spec, row[1], row[2].split(), outside)
        from holotype.catalog.update import Update

        return Update(db, spec, files, self._probe, generation=0 if row is None else int(row[0])).run()

    def _recall(self, db: sqlite3.Connection, spec: ZooSpec) -> Snapshot:
        query = "SELECT stamp, modules, outside FROM zoos WHERE key = ?"
        row = db.execute(query, (key_of(spec),)).fetchone()
        if row is None:
            return Snapshot(spec, "", [], [], [], [])
        return load(db, spec, row[0], row[1].split(), row[2].split())

    def _outside(self, spec: ZooSpec, modules: list[str]) -> dict[str, File]:
        return {module: outside_file(spec, module) for module in modules}


def _path() -> str:
    return os.path.join(cache_home(), f"index-{SCHEMA}.sqlite")


def _open(path: str) -> sqlite3.Connection:
    import sqlite3

    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    db = sqlite3.connect(path, timeout=2, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA synchronous = OFF")  # a cache: losing it in a power cut costs one scan
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version != SCHEMA:
            if version:
                raise sqlite3.DatabaseError(f"this file has layout {version}, not {SCHEMA}")
            db.execute("BEGIN IMMEDIATE")
            if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                for statement in CREATE.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {SCHEMA}")
            db.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    return db
