"""A snapshot: what the index knows of a zoo at one moment, and how it lies in the database."""

from __future__ import annotations

import os
import sys

from holotype.catalog.zoos import ZooSpec

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    import sqlite3

    # kind, name, sort key, task, network, module, line, via, needs, and detail: JSON, read when it is needed
    Row = tuple[str, str, str, str | None, str | None, str, int | None, str | None, str, str]

SCHEMA = 9  # raise it whenever `scan` or `link` write anything else: an older cache is then begun anew
CREATE = """
CREATE TABLE zoos (key TEXT PRIMARY KEY, generation INTEGER, stamp TEXT, modules TEXT, outside TEXT);
CREATE TABLE files (zoo TEXT, module TEXT, path TEXT, stat TEXT, digest TEXT, facts TEXT, deps TEXT,
                    failed TEXT, PRIMARY KEY (zoo, module)) WITHOUT ROWID;
CREATE TABLE entries (zoo TEXT, module TEXT, kind TEXT, name TEXT, sort TEXT, task TEXT, network TEXT,
                      line INTEGER, via TEXT, needs TEXT, detail TEXT);
CREATE INDEX entries_by_file ON entries (zoo, module);
CREATE TABLE problems (zoo TEXT, module TEXT, path TEXT, line INTEGER, message TEXT, names TEXT);
CREATE INDEX problems_by_file ON problems (zoo, module);
CREATE TABLE counts (zoo TEXT, name TEXT, stamp TEXT, params INTEGER, PRIMARY KEY (zoo, name));
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
        counts: parameter counts by name, once somebody asked.
    """

    __slots__ = ("counts", "modules", "outside", "rows", "snags", "spec", "stamp")

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
        self.counts: dict[str, int] | None = None

    def holds(self, module: str, path: str | None) -> bool:
        """Is the file of a module still as it was?"""
        from holotype.catalog.zoo_files import stat_text

        try:
            return path is not None and f"{module} {stat_text(os.stat(path), 0)[0]}" in self.stamp
        except OSError:
            return False

    def digest(self) -> str:
        """The stamp in few characters."""
        from hashlib import sha256

        return sha256(self.stamp.encode("utf-8", "surrogatepass")).hexdigest()


class Overtaken(Exception):
    """Another process wrote the same zoo in the meantime."""


def key_of(spec: ZooSpec) -> bytes:
    """A zoo, as one Python sees it: another version reads other syntax, and has other packages installed."""
    python = f"{sys.version_info[0]}.{sys.version_info[1]} {sys.prefix}"
    # Bytes, because the name of a folder need not be text.
    return os.fsencode(f"{spec.root}\n{spec.module}\n{python}")


def load(
    db: sqlite3.Connection, spec: ZooSpec, stamp: str, modules: list[str], outside: list[str]
) -> Snapshot:
    """The snapshot that the database holds."""
    key = key_of(spec)
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
