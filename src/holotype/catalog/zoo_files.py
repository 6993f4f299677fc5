"""The files of a zoo: which there are, whether one changed, and the facts of each.

The wheel of a zoo may bring the facts of its files along, so that the first look at an installed zoo parses
nothing: a build writes what `facts_of_folder` returns to `_facts.json` in the zoo's folder. They are found by
the sha256 of a file's content; a file that has changed since is read.
"""

from __future__ import annotations

import os
import sys
import time
from stat import S_IFREG

from holotype.catalog.zoos import HOLOTYPE_ROOT, ZooSpec, locate
from holotype.entry_points import import_path
from holotype.first_party import FIRST_PARTY

TYPE_CHECKING = False  # as `typing` has it, without importing it: every command pays for this module
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from holotype.catalog.link import Source

ENVIRONMENT = "*environment*"  # stands among a zoo's outside modules if a trial import failed
PREBUILT = "_facts.json"
_FIRST_PARTY = tuple(f"holotype.{name}." for name in FIRST_PARTY)
TABLES = ("sizes.toml", "pretrained.toml", "grammar.toml", "counts.toml")


class File:
    """One file at one moment; `settled` is False while a further edit might leave `stat` the same."""

    __slots__ = ("is_package", "path", "settled", "stat")

    def __init__(self, path: str, is_package: bool, stat: str, settled: bool) -> None:
        self.path, self.is_package, self.stat, self.settled = path, is_package, stat, settled


def stat_text(stat: os.stat_result, now_ns: int) -> tuple[str, bool]:
    """The state of a file as text, and whether a later edit certainly changes it.

    A file edited twice within one tick of the file system's clock keeps its time; so a time that is too
    close to now does not count yet (and on file systems that keep whole seconds, "close" is longer).
    """
    modified, changed = stat.st_mtime_ns, stat.st_ctime_ns  # called for every file: keep it short
    window = 50_000_000 if modified % 1_000_000_000 else 2_000_000_000
    return (
        f"{modified},{stat.st_size},{stat.st_ino},{changed}",
        now_ns - modified > window and now_ns - changed > window,
    )


def walk(spec: ZooSpec) -> Iterator[tuple[str, File]]:
    """Every module and table of a zoo."""
    now = time.time_ns()
    if not spec.is_package:
        try:
            stat = os.stat(spec.path)
        except OSError:
            return
        yield spec.module, File(spec.path, False, *stat_text(stat, now))
        return
    seen: set[tuple[int, int]] = set()
    folders = [(spec.path, spec.module)]
    links: list[tuple[str, str]] = []
    while folders or links:
        # Links come last: a folder that is reached twice has its own name.
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
                    text, settled = stat_text(stat, now)
                except OSError:  # a link that points nowhere; a file deleted just now
                    continue
                if stem == "__init__":
                    yield package, File(item.path, True, text, settled)
                elif stem in names and os.path.isfile(os.path.join(item.path[:-3], "__init__.py")):
                    continue  # Python prefers the package
                else:
                    yield f"{package}.{stem}", File(item.path, False, text, settled)
            elif name in TABLES:
                try:
                    stat = item.stat()
                except OSError:
                    continue
                if stat.st_mode & 0o170000 == S_IFREG:
                    yield f"{package}:{name}", File(item.path, False, *stat_text(stat, now))
            elif name.isidentifier() and name != "__pycache__":
                try:
                    if item.is_dir():
                        (links if item.is_symlink() else folders).append((item.path, f"{package}.{name}"))
                except OSError:
                    continue


def follows(spec: ZooSpec, module: str) -> bool:
    """May names be followed into `module`, which is not part of the zoo?"""
    if f"{module}.".startswith(_FIRST_PARTY):
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


def outside_file(spec: ZooSpec, module: str) -> File:
    """The file of a module that is not part of the zoo; without a path if there is none."""
    if module == ENVIRONMENT:
        return File("", False, environment(), True)
    found = locate(module, [HOLOTYPE_ROOT if module.startswith("holotype.") else spec.root])
    if found is None:
        return File("", False, "missing", True)
    path = found[1]
    is_package = not path.endswith(".py")
    if is_package:
        path = os.path.join(path, "__init__.py")
    try:
        return File(path, is_package, *stat_text(os.stat(path), time.time_ns()))
    except OSError:
        return File("", False, "missing", True)


def stamp_of(files: dict[str, File], outside: dict[str, File]) -> str:
    """A text that differs whenever one of these files does."""
    lines = [f"{module} {file.stat}" for module, file in files.items()]
    lines += [f"{module} {file.stat}" for module, file in outside.items()]
    lines.sort()
    return "\n".join(lines)


def environment() -> str:
    """Differs when a package was installed or removed: a failed import may then succeed."""
    times = []
    for folder in import_path():
        try:
            times.append(str(os.stat(folder).st_mtime_ns) if folder.endswith("-packages") else "")
        except OSError:
            times.append("gone")
    return f"{sys.version_info[:3]} {' '.join(times)}"


def read_source(module: str, file: File, prebuilt: dict[str, Any] | None = None) -> tuple[Source | None, str]:
    """The facts of a file and the digest of its content."""
    from holotype.files import sha256_of_parts

    if not file.path:
        return None, ""
    try:
        with open(file.path, "rb") as stream:
            content = stream.read()
    except OSError as error:
        return as_source(
            module, file, {"error": [None, f"cannot be read: {error.strerror or error}"]}
        ), "unreadable"
    digest = sha256_of_parts(content)
    if file.path.endswith(".toml"):
        return as_source(module, file, _scan_table(content)), digest
    facts = (prebuilt or {}).get(digest)
    if facts is None:
        from holotype.catalog.scan import scan

        facts = scan(content)
    return as_source(module, file, facts), digest


def prebuilt_facts(spec: ZooSpec) -> dict[str, Any]:
    """The facts that the zoo's wheel brought along, by digest; empty if there are none that can be used."""
    path = os.path.join(spec.path, PREBUILT)
    if not spec.is_package or not os.path.isfile(path):
        return {}
    import json

    try:
        with open(path, "rb") as file:
            content = json.load(file)
        facts = content["facts"] if content["scanner"] == _scanner() else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return facts if isinstance(facts, dict) else {}


def facts_of_folder(folder: str | os.PathLike[str]) -> str:
    """The content of `_facts.json` for a zoo's folder."""
    import json

    from holotype.catalog.scan import scan
    from holotype.files import sha256_of_parts

    facts = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".py"):
                with open(os.path.join(parent, name), "rb") as file:
                    content = file.read()
                facts[sha256_of_parts(content)] = scan(content)
    return json.dumps({"scanner": _scanner(), "facts": facts}, separators=(",", ":"), sort_keys=True)


def _scanner() -> str:
    """The digest of the scanner's source: facts from another scanner are not used."""
    from holotype.catalog import scan
    from holotype.files import sha256_of

    return sha256_of(scan.__file__)


def as_source(module: str, file: File, facts: dict[str, Any]) -> Source:
    """A file and its facts, as the linker takes them."""
    from holotype.catalog.link import Source

    return Source(module, file.path, file.is_package, facts)


def _scan_table(content: bytes) -> dict[str, Any]:
    """The rows of a TOML table, and the line each starts at."""
    import json
    import tomllib

    try:
        text = content.decode("utf-8")
        table = tomllib.loads(text)
        json.dumps(table)
    except (ValueError, TypeError, RecursionError) as error:  # TOML, UTF-8, dates, endless digits or brackets
        return {"error": [None, f"is not a table that can be read: {error}"]}
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("[") and not line.startswith("[["):
            lines.setdefault(line.strip("[] \t").split("#")[0].strip().strip("\"'"), number)
    return {"table": table, "lines": lines}
