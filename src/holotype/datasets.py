"""The datasets that zoos list: their metadata, and their files, verified.

A zoo lists its datasets in a ``datasets.toml`` beside its code; nothing is imported to read it. Each file is
fetched by `holotype.store.fetch`, which raises an error if its content is not the published one::

    [my_yeast]
    description = "Yeast two-hybrid of our lab"
    license = "CC0-1.0"
    protocol = "c3"                     # of pairs: the protocol of its split; leave it out if none

    [my_yeast.files.train_pairs]        # or val_pairs, test_pairs; `pairs` where nothing is split
    url = "https://…"                   # or a path relative to this file
    sha256 = "…"
    size_bytes = 12345

    [my_yeast.files.sequences]          # or train_sequences …; all of them are joined
    url = "https://…"
    sha256 = "…"

The roles of the files decide the kind of the dataset, and so which domain reads it and which metadata it may
state: see `holotype.domains.DatasetKind`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.domains import DatasetKind, domains
from holotype.errors import (
    AmbiguousNameError,
    MetadataError,
    StoreError,
    UnknownDatasetError,
    UnknownZooError,
)
from holotype.files import check_new, make_folder, write_file
from holotype.mappings import as_yaml, key_problems
from holotype.names import is_name, natural_key, nearest, split_qualified
from holotype.splits import PARTS

if TYPE_CHECKING:
    from holotype.catalog.zoos import ZooSpec
    from holotype.progress import Progress

TABLE = "datasets.toml"
# What every dataset may state, and the type of each value; kinds of datasets declare more.
_METADATA: Mapping[str, type] = {
    "description": str,
    "license": str,
    "homepage": str,
    "paper": str,
    "notes": list,
}


@dataclass(frozen=True)
class DatasetFile:
    """One file of a dataset.

    Attributes:
        role: ``"pairs"``, ``"train_pairs"``, ``"sequences"`` and so on.
        url: any address that `holotype.store.sources` can read.
        sha256: of its bytes.
        size_bytes: its size, or None where that is not published.
    """

    role: str
    url: str
    sha256: str
    size_bytes: int | None = None


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a registered dataset before anything is fetched.

    Attributes:
        name: unqualified.
        zoo: the zoo that lists it.
        holds: ``"pairs"`` of proteins, ``"images"``, or what another domain reads.
        files: all its files.
        parts: some of train, val and test; or the parts that its kind gives an undivided dataset.
        description: one line.
        license: of the files, as an SPDX name where there is one.
        homepage: of its publisher.
        paper: what to cite.
        notes: what a user should know.
        metadata: what else its kind declares, such as the protocol of a split of pairs; None or () if not
            stated.
        table: the file that lists it.
    """

    name: str
    zoo: str
    holds: str
    files: tuple[DatasetFile, ...]
    parts: tuple[str, ...]
    description: str = ""
    license: str | None = None
    homepage: str | None = None
    paper: str | None = None
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, str | tuple[str, ...] | None] = field(default_factory=dict)
    table: str = ""

    @property
    def size_bytes(self) -> int | None:
        """Of all files together, or None where one is not known."""
        sizes = [file.size_bytes for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        import dataclasses

        made = dataclasses.asdict(self)
        made |= made.pop("metadata") | {"size_bytes": self.size_bytes}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in made.items()}


def list_datasets(*, zoo: str | None = None, holds: str | None = None) -> list[str]:
    """The names of all registered datasets; a name that two zoos use is qualified by its zoo.

    Args:
        zoo: only those of this zoo.
        holds: only those that hold this, such as ``"pairs"``.

    Raises:
        UnknownZooError: no zoo has that name.
    """
    infos = _read_tables()[0]
    if zoo is not None:
        zoos = [spec.name for spec in _zoos()]
        if zoo.lower() not in zoos:
            raise UnknownZooError(
                f"no zoo named {zoo!r}.", given=zoo, nearest=nearest(zoo, zoos), hint="holotype zoos"
            )
        infos = [info for info in infos if info.zoo == zoo.lower()]
    names = [info.name for info in infos]
    shown = [
        info.name if names.count(info.name) == 1 else f"{info.zoo}/{info.name}"
        for info in infos
        if holds in (None, info.holds)
    ]
    return sorted(shown, key=natural_key)


def get_dataset_info(name: str) -> DatasetInfo:
    """What is known of a dataset. Nothing is fetched.

    Args:
        name: such as ``"bernett"`` or ``"proteins/bernett"``; case does not matter.

    Raises:
        UnknownDatasetError: no dataset has that name.
        AmbiguousNameError: several zoos have one.
    """
    infos, problems = _read_tables()
    zoo, short = split_qualified(str(name))
    found = [info for info in infos if info.name == short and zoo in (None, info.zoo)]
    if len(found) == 1:
        return found[0]
    if found:
        qualified = [f"{info.zoo}/{info.name}" for info in found]
        raise AmbiguousNameError(
            f"{len(found)} zoos have a dataset named {name!r}.", given=name, nearest=qualified
        )
    broken = "".join(f"\n  Not read: {problem}" for problem in problems)
    raise UnknownDatasetError(
        f"no dataset named {name!r}.{broken}",
        given=name,
        nearest=nearest(str(name), list_datasets()),
        hint=f"See all {len(infos)}: holotype data list",
    )


def dataset_problems() -> list[str]:
    """What is wrong with the ``datasets.toml`` of any zoo, a line each; such datasets are not listed."""
    return _read_tables()[1]


def fetch_dataset(name: str | DatasetInfo, *, progress: Progress | bool | None = None) -> dict[str, Path]:
    """Fetch every file of a dataset into the cache, verified.

    Args:
        name: a registered dataset.
        progress: as for `holotype.store.fetch.fetch`.

    Returns:
        role -> a read-only file in the cache.

    Raises:
        UnknownDatasetError: no dataset has that name.
        StoreError: what `holotype.store.fetch.fetch` raises: offline, not found, other bytes.
    """
    from holotype.store.fetch import fetch

    info = get_dataset_info(name) if isinstance(name, str) else name
    return {
        file.role: fetch(file.url, sha256=file.sha256, size=file.size_bytes, progress=progress)
        for file in info.files
    }


def copy_dataset(
    name: str | DatasetInfo,
    folder: str | Path,
    *,
    overwrite: bool = False,
    progress: Progress | bool | None = None,
) -> dict[str, Path]:
    """Fetch every file of a dataset and copy it to a folder, with a ``dataset.yaml`` if its kind has one.

    Args:
        name: a registered dataset.
        folder: created if it does not exist.
        overwrite: replace files that exist.
        progress: as for `holotype.store.fetch.fetch`.

    Returns:
        role -> the copy, such as ``folder/train_pairs.tsv``; and ``"dataset"`` -> the YAML file.

    Raises:
        DataError: a file exists already.
        UnknownDatasetError, StoreError: as for `fetch_dataset`.
    """
    info = get_dataset_info(name) if isinstance(name, str) else name
    folder = Path(folder)
    copies = {file.role: folder / f"{file.role}{_suffix(file.url)}" for file in info.files}
    described_by = kind_of(info.holds).described_by
    check_new(*copies.values(), folder / "dataset.yaml", overwrite=overwrite)
    files = fetch_dataset(info, progress=progress)
    make_folder(folder)
    for role, to in copies.items():
        write_file(to, files[role].read_bytes(), error=StoreError)
    if described_by is None:
        return dict(copies)
    named = {role: to.name for role, to in copies.items()}
    write_file(folder / "dataset.yaml", as_yaml(described_by(info, named)), error=StoreError)
    return {**copies, "dataset": folder / "dataset.yaml"}


def is_registered(name: str, holds: str | None = None) -> bool:
    """Whether a zoo lists a dataset of that name, which holds these things."""
    zoo, short = split_qualified(name)
    return any(
        info.name == short and zoo in (None, info.zoo) and holds in (None, info.holds)
        for info in _read_tables()[0]
    )


def dataset_kinds() -> list[DatasetKind]:
    """The kinds of datasets of all domains."""
    return [kind for domain in domains() for kind in domain.datasets]


def kind_of(holds: str) -> DatasetKind:
    """The kind of the datasets that hold ``"pairs"``, ``"images"`` and so on."""
    return next(kind for kind in dataset_kinds() if kind.holds == holds)


def _suffix(url: str) -> str:
    name = url.rpartition("/")[2].lower()
    kind = next((one for one in (".tsv", ".csv", ".txt", ".fasta", ".fa", ".tar") if one in name), ".txt")
    return f"{kind}.gz" if name.endswith(".gz") else kind


# -- the tables of the zoos ----------------------------------------------------------------------------


def _read_tables() -> tuple[list[DatasetInfo], list[str]]:
    """Every dataset of every zoo, and what is wrong with their tables."""
    infos: list[DatasetInfo] = []
    problems: list[str] = []
    for spec in _zoos():
        seen: dict[str, str] = {}
        for path in _tables_of(Path(spec.path)):
            for info in _read_table(path, spec.name, problems):
                if info.name in seen:
                    problems.append(f"{path}: [{info.name}] is in {seen[info.name]} already")
                    continue
                seen[info.name] = str(path)
                infos.append(info)
    return infos, problems


def _zoos() -> list[ZooSpec]:
    from holotype.catalog.registry import default_registry
    from holotype.catalog.zoos import find_zoos

    return find_zoos(default_registry._state.added)[0]


def _tables_of(path: Path) -> Iterator[Path]:
    """Every ``datasets.toml`` of a zoo; for a zoo of one file, the one beside it."""
    if path.suffix == ".py":
        if (path.parent / TABLE).is_file():
            yield path.parent / TABLE
        return
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(one for one in folders if one.isidentifier() and one != "__pycache__")
        if TABLE in files:
            yield Path(folder) / TABLE


def _read_table(path: Path, zoo: str, problems: list[str]) -> Iterator[DatasetInfo]:
    import tomllib

    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # TOML, UTF-8, endless brackets
        problems.append(f"{path}: {error}")
        return
    for name, row in table.items():
        try:
            yield _info(name, row, zoo, path)
        except MetadataError as error:
            problems.append(f"{path}: [{name}] {error}")


def _info(name: str, row: object, zoo: str, table: Path) -> DatasetInfo:
    if not isinstance(row, dict):
        raise MetadataError("is not a table")
    kinds = dataset_kinds()
    known = sorted({role for kind in kinds for role in kind.roles})
    wrong: list[str] = []
    if not is_name(name):
        wrong.append("is not a name: lower-case letters, digits, '.', '_' and '-' only")
    given = row.get("files")
    read = (
        [_file(role, one, table, known, wrong) for role, one in given.items()]
        if isinstance(given, dict)
        else []
    )
    files = tuple(file for file in read if file is not None)
    roles = frozenset(file.role for file in files)
    kind = next((one for one in kinds if roles & one.roles), None)
    metadata = _METADATA if kind is None else {**_METADATA, **kind.metadata}
    wrong += key_problems(row, (*metadata, "files"))
    stated = _stated(row, metadata, wrong)
    if kind is None:
        wrong.append("files: none of a known role")
    else:
        wrong += kind.problems(roles, row)
    if wrong or kind is None:
        raise MetadataError("; ".join(wrong))
    parts = tuple(part for part in PARTS if f"{part}_{kind.holds}" in roles) or kind.undivided
    own = {key: stated.pop(key) for key in kind.metadata}
    stated["description"] = stated["description"] or ""
    return DatasetInfo(name, zoo, kind.holds, files, parts, table=str(table), metadata=own, **stated)


def _stated(row: Mapping[str, Any], metadata: Mapping[str, type], wrong: list[str]) -> dict[str, Any]:
    """The metadata of a dataset; None, or () for a list, where the table does not state it."""
    stated: dict[str, Any] = {}
    for key, expected in metadata.items():
        value = row.get(key, () if expected is list else None)
        if expected is list and key in row:
            if not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
                wrong.append(f"{key}: expected a list of texts")
                continue
            value = tuple(value)
        elif expected is str and not isinstance(value, str | None):
            wrong.append(f"{key}: expected text")
        stated[key] = value
    return stated


def _file(role: str, one: object, table: Path, known: list[str], wrong: list[str]) -> DatasetFile | None:
    if role not in known:
        wrong.append(f"files.{role}: no such role; there are {', '.join(known)}")
        return None
    if not isinstance(one, dict) or not isinstance(one.get("url"), str):
        wrong.append(f"files.{role}: no url")
        return None
    sha256, size = one.get("sha256"), one.get("size_bytes")
    if not (isinstance(sha256, str) and re.fullmatch("[0-9a-fA-F]{64}", sha256)):
        wrong.append(f"files.{role}: no sha256 of 64 hexadecimal digits")
        return None
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        wrong.append(f"files.{role}: size_bytes is not a size")
        return None
    wrong += key_problems(one, ("url", "sha256", "size_bytes"), f"files.{role}")
    url = one["url"]
    if "://" not in url:
        url = (table.parent / url).absolute().as_uri()
    return DatasetFile(role, url, sha256.lower(), size)
