"""What is in the cache, whether its files are unchanged, and what can be removed."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from holotype.errors import StoreError
from holotype.store.blobs import GRACE_S, Blobs, Check
from holotype.store.folder import cannot

if TYPE_CHECKING:
    from holotype.records import PretrainedMetadata

_NAME = re.compile("[0-9a-f]{64}")
_DAY_S = 24 * 3600.0


@dataclass(frozen=True)
class CachedFile:
    """A file in the cache.

    Attributes:
        path: where it is.
        kind: ``"blob"``, ``"quarantined"``, ``"embeddings"``, or ``"orphan"``: unfinished, and its writer
            has died.
        size_bytes: how large it is.
        modified: when it was last written to, in seconds since 1970.
        sha256: of a blob.
        used_by: the formats of pretrained entries that name a blob, as ``zoo/entry.format``.
    """

    path: str
    kind: str
    size_bytes: int
    modified: float
    sha256: str | None = None
    used_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verified:
    """The result of hashing one weight file again.

    Attributes:
        name: ``zoo/entry.format``, or the hash of a blob that no entry names.
        state: ``"ok"``, ``"changed"``, ``"missing"`` (it is not in the cache), or ``"no hash"`` (none was
            published).
        sha256: its published hash, or None.
        problem: what is wrong with a changed one.
        quarantined: where a changed one was moved.
    """

    name: str
    state: str
    sha256: str | None = None
    problem: str | None = None
    quarantined: str | None = None


def verify(entries: Iterable[PretrainedMetadata]) -> list[Verified]:
    """Hash the cached files of pretrained entries again, whatever is remembered of them.

    A file that has changed is quarantined; the next load fetches it anew.

    Returns:
        One line for each format of each entry.
    """
    blobs = Blobs()
    seen: dict[str, Check] = {}
    found = []
    for entry in entries:
        for format, file in entry.formats.items():
            name = f"{entry.qualified_name}.{format}"
            if file.sha256 is None:
                found.append(Verified(name, "no hash"))
                continue
            if file.sha256 not in seen:
                seen[file.sha256] = blobs.check(file.sha256)
            found.append(_verified(name, seen[file.sha256]))
    return found


def verify_cache(entries: Iterable[PretrainedMetadata]) -> list[Verified]:
    """Hash every blob in the cache again, also those of none of the entries; see `verify`."""
    blobs = Blobs()
    return [
        _verified(", ".join(file.used_by) or str(file.sha256), blobs.check(str(file.sha256)))
        for file in list_cache(entries)
        if file.kind == "blob"
    ]


def list_cache(entries: Iterable[PretrainedMetadata]) -> list[CachedFile]:
    """List what the cache holds: blobs, quarantined files, embeddings, and unfinished files of dead writers.

    Args:
        entries: what blobs may belong to.
    """
    blobs = Blobs()
    users: dict[str, list[str]] = {}
    for entry in entries:
        for format, file in entry.formats.items():
            if file.sha256 is not None:
                users.setdefault(file.sha256, []).append(f"{entry.qualified_name}.{format}")
    found = []
    for path in sorted((blobs.root / "blobs" / "sha256").glob("??/*")):
        if _NAME.fullmatch(path.name) and path.parent.name == path.name[:2]:
            found += _look(path, "blob", path.name, tuple(users.get(path.name, ())))
    for path in sorted((blobs.root / "quarantine").glob("*")):
        found += _look(path, "quarantined")
    for path in sorted((blobs.root / "embeddings").rglob("*.emb*")):
        if path.is_file():
            found += _look(path, "embeddings")
    for path in blobs.orphans():
        found += _look(path, "orphan")
    return found


def prune(
    entries: Iterable[PretrainedMetadata],
    *,
    unreferenced: bool = False,
    embeddings: bool = False,
    older_than_days: float | None = None,
    dry_run: bool = False,
) -> list[CachedFile]:
    """Remove quarantined files, and what writers that died left behind more than a day ago.

    Args:
        entries: every entry that is known here.
        unreferenced: also blobs that none of the entries names. Another project's entries may name them,
            and datasets are blobs as well; both are fetched again when they are needed.
        embeddings: also embeddings of proteins, kept from training and prediction; they are made again
            when needed.
        older_than_days: of all these, only what was last written to so many days ago.
        dry_run: remove nothing.

    Returns:
        What was removed, or would be.

    Raises:
        StoreError: something cannot be removed.
    """
    blobs = Blobs()
    removed = []
    for file in list_cache(entries):
        wanted = {
            "blob": unreferenced and not file.used_by,
            "quarantined": True,
            "embeddings": embeddings,
            "orphan": True,
        }
        if not wanted[file.kind]:
            continue
        if older_than_days is not None and time.time() - file.modified < older_than_days * _DAY_S:
            continue
        path = Path(file.path)
        if not dry_run and file.kind == "orphan":
            # Another process may have resumed it meanwhile.
            if path not in blobs.orphans(GRACE_S) or not blobs.remove_orphan(path):
                continue
        elif not dry_run:
            _remove(path)
            if file.sha256 is not None:
                (blobs.root / "receipts" / file.sha256[:2] / file.sha256).unlink(missing_ok=True)
        removed.append(file)
    return removed


def _verified(name: str, check: Check) -> Verified:
    return Verified(name, check.state, check.sha256, check.problem, check.quarantined)


def _look(
    path: Path, kind: str, sha256: str | None = None, used_by: tuple[str, ...] = ()
) -> list[CachedFile]:
    try:
        looked = path.lstat()
        size = looked.st_size
        if path.is_dir() and not path.is_symlink():
            size = sum(inner.lstat().st_size for inner in path.rglob("*"))
    except OSError:
        return []  # removed meanwhile
    return [CachedFile(str(path), kind, size, looked.st_mtime, sha256, used_by)]


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except StoreError:
        raise
    except OSError as error:
        raise cannot("remove", path, error) from error
