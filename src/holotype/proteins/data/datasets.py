"""Datasets: pairs, the sequences of their proteins, and the parts they are divided into.

A zoo lists its datasets in a ``datasets.toml`` beside its code; nothing is imported to read it. Each file is
fetched by `holotype.store.fetch`, so that it is the published one or an error::

    [my_yeast]
    description = "Yeast two-hybrid of our lab"
    license = "CC0-1.0"
    protocol = "c3"                     # what its split promises; leave it out where there is none

    [my_yeast.files.train_pairs]        # or val_pairs, test_pairs; `pairs` where nothing is split
    url = "https://…"                   # or a path relative to this file
    sha256 = "…"
    size_bytes = 12345

    [my_yeast.files.sequences]          # or train_sequences …; all of them are joined
    url = "https://…"
    sha256 = "…"

A dataset of one's own needs no such table: a mapping, or a YAML file of it, will do, with paths relative to
that file::

    train: train.tsv                    # or `pairs: all.tsv`
    val: val.tsv
    test: test.tsv
    sequences: [human.fasta, virus.fasta.gz]
    split: {protocol: c3, seed: 1, max_identity: 0.4}     # only beside `pairs`
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from holotype.errors import (
    AmbiguousNameError,
    ConfigError,
    DataError,
    MetadataError,
    StoreError,
    UnknownDatasetError,
    UnknownZooError,
)
from holotype.files import sha256_of, write_file
from holotype.names import is_name, natural_key, nearest, split_qualified
from holotype.proteins.data.fasta import read_proteins
from holotype.proteins.data.pairs import PairTable, read_pairs, write_pairs

if TYPE_CHECKING:
    from holotype.catalog.zoos import ZooSpec
    from holotype.proteins.data.splits import Splits
    from holotype.store.progress import Progress

__all__ = [
    "PARTS",
    "Dataset",
    "DatasetFile",
    "DatasetInfo",
    "copy_dataset",
    "dataset_problems",
    "fetch_dataset",
    "get_dataset_info",
    "is_file",
    "list_datasets",
    "load_dataset",
    "split_files",
]

PARTS = ("train", "val", "test")
TABLE = "datasets.toml"
_ROLES = ("pairs", "sequences", *(f"{part}_{kind}" for part in PARTS for kind in ("pairs", "sequences")))
_IMAGE_ROLES = ("images", "pixels", *(f"{part}_images" for part in PARTS))  # see holotype.vision.data.load
_TEXTS = ("description", "license", "homepage", "paper", "protocol")
_LISTS = ("species", "notes")
_KEYS = ("name", "pairs", *PARTS, "sequences", "split")
_SPLIT_KEYS = ("protocol", "seed", "fractions", "max_identity", "tool")
_HASH = re.compile("[0-9a-f]{64}")
_HOW = "a dataset is a name, or a mapping {train:, val:, test:, sequences:} or {pairs:, sequences:} of paths"


@dataclass(frozen=True)
class DatasetFile:
    """One file of a dataset.

    Attributes:
        role: ``"pairs"``, ``"train_pairs"``, ``"sequences"`` and so on.
        url: where it comes from; any address that `holotype.store.sources` understands.
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
        files: what it consists of.
        description: one line.
        license: of the files, as an SPDX name where there is one.
        homepage: of those who publish it.
        paper: what to cite.
        protocol: what its split promises (``"c1"``, ``"c2"``, ``"c3"``), or None.
        species: whose proteins.
        notes: what a user should know.
        table: the file that lists it.
    """

    name: str
    zoo: str
    files: tuple[DatasetFile, ...]
    description: str = ""
    license: str | None = None
    homepage: str | None = None
    paper: str | None = None
    protocol: str | None = None
    species: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    table: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """The keys of `Dataset.splits`: some of train, val and test, or only ``pairs``."""
        roles = {file.role for file in self.files}
        if self.holds == "images":
            return tuple(part for part in PARTS if f"{part}_images" in roles) or PARTS
        return tuple(part for part in PARTS if f"{part}_pairs" in roles) or ("pairs",)

    @property
    def holds(self) -> str:
        """``"pairs"`` of proteins, or ``"images"``, which `holotype.vision.data.load` loads."""
        return "images" if any(file.role in _IMAGE_ROLES for file in self.files) else "pairs"

    @property
    def size_bytes(self) -> int | None:
        """Of all files together, or None where one is not known."""
        sizes = [file.size_bytes for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        import dataclasses

        made = dataclasses.asdict(self)
        for key in ("files", *_LISTS):
            made[key] = list(made[key])
        return {**made, "parts": list(self.parts), "size_bytes": self.size_bytes}


@dataclass(frozen=True)
class Dataset:
    """Pairs and sequences, read and cleaned.

    Attributes:
        name: as it was asked for.
        sequences: of every protein, by name.
        splits: the pairs of ``"train"``, ``"val"`` and ``"test"``, as far as there are any; or all of them
            as ``"pairs"`` where nothing is split. Every protein in them has a sequence.
        digests: role -> sha256 of the file's bytes.
        notes: what was found and put right, and what the publisher wants known.
        protocol: what the split promises, or None.
        info: the entry, if it is a registered one.
        split_by: how it was split here: protocol, seed and so on; or None.
    """

    name: str
    sequences: Mapping[str, str]
    splits: Mapping[str, PairTable]
    digests: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    protocol: str | None = None
    info: DatasetInfo | None = None
    split_by: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        parts = ", ".join(f"{part} {len(table):,}" for part, table in self.splits.items())
        return f"<Dataset {self.name}: {len(self.sequences):,} sequences; pairs: {parts}>"

    def split(
        self,
        protocol: str = "c3",
        *,
        seed: int,
        fractions: Sequence[float] = (0.8, 0.1, 0.1),
        max_identity: float | None = None,
        tool: str | None = None,
    ) -> Dataset:
        """This dataset, divided; see `holotype.proteins.data.splits.split_pairs`.

        Args:
            protocol: ``"c1"``, ``"c2"`` or ``"c3"``.
            seed: another one gives another split.
            fractions: of the pairs, for train, val and test.
            max_identity: under c2 and c3, keep proteins more alike than this on one side; at most, and by
                default, what the audit takes for near-duplicates.
            tool: what compares sequences, see `similarity.cluster_sequences`; by default the
                k-mer screen where there is no `max_identity`, and else the best that is installed.

        Raises:
            DataError: it is divided already, or cannot be divided in this way.
        """
        from holotype.proteins.data.similarity import NEAR_DUPLICATE, cluster_sequences
        from holotype.proteins.data.splits import check_protocol, split_pairs

        if "pairs" not in self.splits:
            raise DataError(
                f"{self.name} is divided already, into {', '.join(self.splits)}.",
                given=self.name,
                hint="Leave the split out, or give one file of pairs.",
            )
        check_protocol(protocol, clustered=max_identity is not None)
        pairs = self.splits["pairs"]
        clusters = None
        if max_identity is not None and not 0 < max_identity <= NEAR_DUPLICATE:
            raise DataError(
                f"max_identity is above 0 and at most {NEAR_DUPLICATE}, where near-duplicates begin; "
                f"not {max_identity!r}.",
                given=max_identity,
            )
        if protocol != "c1":
            used = {name: self.sequences[name] for name in pairs.proteins}
            if max_identity is None:
                clusters = cluster_sequences(used, max_identity=NEAR_DUPLICATE, tool=tool or "kmer")
            else:
                clusters = cluster_sequences(used, max_identity=max_identity, tool=tool)
        made = split_pairs(pairs, protocol=protocol, seed=seed, fractions=fractions, clusters=clusters)
        how: dict[str, Any] = {"protocol": protocol, "seed": seed, "fractions": list(fractions)}
        if clusters is not None:
            how |= {"max_identity": clusters.max_identity, "tool": clusters.tool, "clusters": clusters.count}
        return Dataset(
            name=self.name,
            sequences=self.sequences,
            splits=made,
            digests=self.digests,
            notes=(*self.notes, *made.notes),
            protocol=protocol,
            info=self.info,
            split_by=how,
        )


def list_datasets(*, zoo: str | None = None) -> list[str]:
    """The names of all registered datasets; one that two zoos have stands with its zoo.

    Args:
        zoo: only those of this zoo.

    Raises:
        UnknownZooError: there is none of that name.
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
    shown = [info.name if names.count(info.name) == 1 else f"{info.zoo}/{info.name}" for info in infos]
    return sorted(shown, key=natural_key)


def get_dataset_info(name: str) -> DatasetInfo:
    """What is known of a dataset. Nothing is fetched.

    Args:
        name: such as ``"bernett"`` or ``"proteins/bernett"``; case does not matter.

    Raises:
        UnknownDatasetError: there is none of that name.
        AmbiguousNameError: several zoos have one.
    """
    infos, problems = _read_tables()
    zoo, bare = split_qualified(str(name))
    found = [info for info in infos if info.name == bare and zoo in (None, info.zoo)]
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
        UnknownDatasetError: there is none of that name.
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
    """Fetch every file of a dataset, and put copies into a folder, with ``dataset.yaml`` to load them by.

    Args:
        name: a registered dataset.
        folder: made if need be.
        overwrite: replace files that are there.
        progress: as for `holotype.store.fetch.fetch`.

    Returns:
        role -> the copy, such as ``folder/train_pairs.tsv``; and ``"dataset"`` -> the YAML file.

    Raises:
        DataError: a file is there already.
        UnknownDatasetError, StoreError: as for `fetch_dataset`.
    """
    info = get_dataset_info(name) if isinstance(name, str) else name
    folder = Path(folder)
    copies = {file.role: folder / f"{file.role}{_suffix(file.url)}" for file in info.files}
    listed: dict[str, Any] = {
        "name": info.name,
        **{role.removesuffix("_pairs"): to.name for role, to in copies.items() if role.endswith("pairs")},
        "sequences": [to.name for role, to in copies.items() if role.endswith("sequences")],
    }
    if info.protocol is not None:
        listed["split"] = {"protocol": info.protocol}
    _refuse_existing([*copies.values(), folder / "dataset.yaml"], overwrite=overwrite)
    files = fetch_dataset(info, progress=progress)
    _make(folder)
    for role, to in copies.items():
        write_file(to, files[role].read_bytes(), error=StoreError)
    if info.holds == "images":
        return dict(copies)
    _write_yaml(folder / "dataset.yaml", listed)
    return {**copies, "dataset": folder / "dataset.yaml"}


def split_files(
    pairs: str | Path,
    folder: str | Path,
    *,
    protocol: str = "c3",
    seed: int,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    sequences: str | Path | Sequence[str | Path] | None = None,
    max_identity: float | None = None,
    tool: str | None = None,
    overwrite: bool = False,
) -> Splits:
    """Divide a file of pairs, and write the parts to a folder.

    ``train.tsv``, ``val.tsv`` and ``test.tsv`` hold the pairs, ``split.json`` how they came about; with
    sequences there is a ``dataset.yaml``, so that `load_dataset` takes the folder.

    Args:
        pairs: as for `holotype.proteins.data.pairs.read_pairs`.
        folder: made if need be.
        protocol: as for `Dataset.split`, and so are the other arguments below.
        seed: another one gives another split.
        fractions: of the pairs, for train, val and test.
        sequences: FASTA files; without them, similar proteins are not kept on one side.
        max_identity: keep proteins more alike than this on one side.
        tool: what compares sequences.
        overwrite: replace files that are there.

    Raises:
        DataError: a file that cannot be used, is there already, or pairs that cannot be divided in this way.
    """
    from holotype.proteins.data.splits import split_pairs

    folder = Path(folder)
    names = [*(f"{part}.tsv" for part in PARTS), "split.json", "dataset.yaml"]
    own = [folder / name for name in names if (folder / name).resolve() == Path(pairs).resolve()]
    if own:
        raise DataError(f"{own[0]} is what is to be split; it is not replaced.", given=str(own[0]))
    _refuse_existing([folder / name for name in names], overwrite=overwrite)
    files = [Path(pairs)]
    how: dict[str, Any] = {}
    if sequences is None:
        made = split_pairs(found := read_pairs(pairs), protocol=protocol, seed=seed, fractions=fractions)
        told = list(found.report.lines()) if found.report else []
        if protocol != "c1":
            told.append("no sequences were given: similar proteins may be on two sides")
        made.notes = (*told, *made.notes)
    else:
        listed = [Path(one) for one in ([sequences] if isinstance(sequences, (str, Path)) else sequences)]
        dataset = load_dataset({"pairs": Path(pairs), "sequences": listed})
        divided = dataset.split(
            protocol, seed=seed, fractions=fractions, max_identity=max_identity, tool=tool
        )
        made, how, files = cast("Splits", divided.splits), dict(divided.split_by or {}), [*files, *listed]
        made.notes = divided.notes
    _make(folder)
    for part in PARTS:
        (folder / f"{part}.tsv").unlink(missing_ok=True)  # an earlier split may have had more parts
        if part in made:
            write_pairs(folder / f"{part}.tsv", made[part])
    record = {
        **made.to_dict(),
        **how,
        "inputs": {path.name: _sha256(path) for path in files},
        "outputs": {f"{part}.tsv": _sha256(folder / f"{part}.tsv") for part in made},
        "notes": list(made.notes),
    }
    write_file(folder / "split.json", (json.dumps(record, indent=2) + "\n").encode(), error=StoreError)
    (folder / "dataset.yaml").unlink(missing_ok=True)
    if sequences is not None:
        listed_from = [_seen_from(folder, path) for path in files[1:]]
        _write_yaml(
            folder / "dataset.yaml",
            {
                **{part: f"{part}.tsv" for part in made},
                "sequences": listed_from,
                "split": {"protocol": protocol},
            },
        )
    return made


def load_dataset(
    source: str | Path | Mapping[str, Any],
    *,
    relative_to: str | Path | None = None,
    progress: Progress | bool | None = None,
) -> Dataset:
    """Read a dataset: pairs and sequences, with every rule of `holotype.proteins.data.pairs` applied.

    Args:
        source: the name of a registered dataset; a YAML file (or a folder that holds ``dataset.yaml``, as
            ``holotype split`` writes it); or a mapping of paths as at the top of this module. A mapping may
            also be ``{name: guo_yeast, split: {protocol: c3, seed: 1}}``; name may be such a file.
        relative_to: the folder that paths of a mapping start from; by default the working directory.
        progress: as for `holotype.store.fetch.fetch`.

    Raises:
        UnknownDatasetError: no dataset, and no file, has that name.
        ConfigError: a mapping that makes no dataset; it lists every problem.
        DataError: a file that cannot be used, or in which no pair is left.
        StoreError: a file of a registered dataset cannot be fetched.
    """
    if isinstance(source, Mapping):
        return _from_mapping(source, Path(relative_to or "."), None, progress)
    path = _as_path(source, Path(relative_to or "."))
    if path is None:
        return _registered(str(source), progress)
    from holotype.mappings import read_mapping

    return _from_mapping(read_mapping(path), path.parent, path, progress)


def is_file(source: str | Path) -> bool:
    """Does `load_dataset` take this for a file or folder, not for a registered name?"""
    return _as_path(source, Path()) is not None


def _registered_as(name: str) -> bool:
    zoo, bare = split_qualified(name)
    return any(info.name == bare and zoo in (None, info.zoo) for info in _read_tables()[0])


def _suffix(url: str) -> str:
    name = url.rpartition("/")[2].lower()
    kind = next((one for one in (".tsv", ".csv", ".txt", ".fasta", ".fa", ".tar") if one in name), ".txt")
    return f"{kind}.gz" if name.endswith(".gz") else kind


def _refuse_existing(paths: list[Path], *, overwrite: bool) -> None:
    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        raise DataError(
            f"{there[0]} exists already" + (f", and {len(there) - 1} more." if len(there) > 1 else "."),
            given=str(there[0]),
            hint="Give another folder, or --overwrite (overwrite=True).",
        )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be made: {error.strerror or error}.", given=str(folder)) from error


def _seen_from(folder: Path, path: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # on another drive of Windows
        return str(path.absolute())


def _write_yaml(path: Path, mapping: Mapping[str, Any]) -> None:
    from holotype.mappings import as_yaml

    write_file(path, as_yaml(mapping), error=StoreError)


def _as_path(source: str | Path, folder: Path) -> Path | None:
    """The YAML file that is meant, or None for a registered name."""
    path = folder / source
    looks_like_one = isinstance(source, Path) or str(source).endswith((".yaml", ".yml", ".json"))
    if isinstance(source, str) and not looks_like_one and _registered_as(source):
        return None  # a folder of that name is written ./name
    if path.is_dir() and ((path / "dataset.yaml").is_file() or isinstance(source, Path)):
        return path / "dataset.yaml"
    if looks_like_one:
        return path
    if path.is_dir():
        raise DataError(
            f"{path} is a folder without a dataset.yaml.",
            given=str(source),
            hint="Write one: {train: train.tsv, val: val.tsv, test: test.tsv, sequences: FASTA}.",
        )
    if path.is_file():
        raise DataError(
            f"{path} is a file of pairs or sequences, perhaps; a dataset needs both.",
            given=str(source),
            hint="Write {pairs: FILE, sequences: FILE} or {train: …, val: …, test: …, sequences: …}.",
        )
    if os.sep in str(source) and not is_name(str(source).rpartition("/")[2]):
        return path
    return None


def _registered(name: str, progress: Progress | bool | None) -> Dataset:
    info = get_dataset_info(name)
    if info.holds == "images":
        raise DataError(
            f"{name} holds images, not pairs of proteins.",
            given=name,
            hint=f"Load it: holotype.vision.data.load.load_image_dataset({info.name!r})",
        )
    files = fetch_dataset(info, progress=progress)
    pairs = {role.removesuffix("_pairs"): path for role, path in files.items() if role.endswith("pairs")}
    sequences = [path for role, path in files.items() if role.endswith("sequences")]
    digests = {file.role: file.sha256 for file in info.files}
    return _read(info.name, pairs, sequences, digests, notes=info.notes, protocol=info.protocol, info=info)


def _from_mapping(
    mapping: Mapping[str, Any], folder: Path, file: Path | None, progress: Progress | bool | None
) -> Dataset:
    mapping = {key: _without_none(value) for key, value in mapping.items() if value is not None}
    problems = _mapping_problems(mapping)
    if problems:
        what = str(file) if file is not None else "the dataset"
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise ConfigError(f"{what} cannot be used:\n{lines}", problems=problems, given=mapping)
    split = mapping.get("split")
    files = {part: folder / Path(mapping[part]).expanduser() for part in ("pairs", *PARTS) if part in mapping}
    if not files:
        # A file names a registered dataset only: two files might name each other.
        dataset = (
            load_dataset(mapping["name"], relative_to=folder, progress=progress)
            if file is None
            else _registered(mapping["name"], progress)
        )
    else:
        given = mapping["sequences"]
        listed = [given] if isinstance(given, (str, os.PathLike)) else given
        sequences = [folder / Path(one).expanduser() for one in listed]
        roles = {("pairs" if part == "pairs" else f"{part}_pairs"): path for part, path in files.items()}
        roles |= {
            "sequences" if len(sequences) == 1 else f"sequences_{at}": path
            for at, path in enumerate(sequences, 1)
        }
        name = str(mapping.get("name") or (file.parent.name if file and file.stem == "dataset" else None)
                   or (file.stem if file else next(iter(files.values())).name.partition(".")[0]))  # fmt: skip
        digests = {role: _sha256(path) for role, path in roles.items()}
        protocol = split.get("protocol") if isinstance(split, Mapping) and "pairs" not in files else None
        dataset = _read(name, files, sequences, digests, protocol=protocol)
    if split is None or (files and "pairs" not in files):
        return dataset
    fractions = split.get("fractions", (0.8, 0.1, 0.1))
    return dataset.split(
        split["protocol"],
        seed=split["seed"],
        fractions=tuple(fractions),
        max_identity=split.get("max_identity"),
        tool=split.get("tool"),
    )


def _without_none(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: one for key, one in value.items() if one is not None}


def _mapping_problems(mapping: Mapping[str, Any]) -> list[str]:
    problems = []
    for key in mapping:
        if key not in _KEYS:
            close = nearest(str(key), _KEYS, count=1)
            problems.append(
                f"{key}: no such key" + (f"; did you mean {close[0]!r}?" if close else f"; {_HOW}")
            )
    parts = [part for part in PARTS if part in mapping]
    paths = (str, os.PathLike)
    if not parts and "pairs" not in mapping:
        if "name" not in mapping:
            problems.append(f"no pairs: {_HOW}")
        elif "sequences" in mapping:
            problems.append("sequences: a registered dataset has its own")
    else:
        if parts and "pairs" in mapping:
            problems.append(f"pairs: either this or {', '.join(parts)}")
        if "sequences" not in mapping:
            problems.append("sequences: missing; a FASTA file, or a list of them")
    for key in ("pairs", *PARTS):
        if key in mapping and not (isinstance(mapping[key], paths) and str(mapping[key])):
            problems.append(f"{key}: expected a path, got {mapping[key]!r}")
    given = mapping.get("sequences", "x")
    listed = [given] if isinstance(given, paths) else given
    if not (isinstance(listed, (list, tuple)) and listed and all(isinstance(o, paths) and o for o in listed)):
        problems.append(f"sequences: expected a path or a list of paths, got {given!r}")
    if "name" in mapping and not isinstance(mapping["name"], str):
        problems.append(f"name: expected text, got {mapping['name']!r}")
    if "split" in mapping:
        problems += [f"split.{one}" for one in _split_problems(mapping["split"], divided=bool(parts))]
    return problems


def _split_problems(split: object, *, divided: bool) -> list[str]:
    from holotype.proteins.data.similarity import NEAR_DUPLICATE, TOOLS
    from holotype.proteins.data.splits import PROTOCOLS, fraction_problem

    if not isinstance(split, Mapping):
        return [f" expected a mapping such as {{protocol: c3, seed: 1}}, got {split!r}"]
    allowed = ("protocol",) if divided else _SPLIT_KEYS
    problems = [
        f"{key}: " + ("the files are divided already; only 'protocol' has a meaning" if divided else
                      f"no such key; there are {', '.join(_SPLIT_KEYS)}")
        for key in split
        if key not in allowed
    ]  # fmt: skip
    if split.get("protocol") not in PROTOCOLS:
        problems.append(f"protocol: one of {', '.join(PROTOCOLS)}, not {split.get('protocol')!r}")
    if divided:
        return problems
    seed = split.get("seed")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        problems.append(f"seed: a whole number from 0, not {seed!r}")
    wrong = fraction_problem(split.get("fractions", (0.8, 0.1, 0.1)))
    if wrong:
        problems.append(f"fractions: {wrong}")
    identity = split.get("max_identity")
    if identity is not None and not (isinstance(identity, (int, float)) and 0 < identity <= NEAR_DUPLICATE):
        problems.append(f"max_identity: above 0, at most {NEAR_DUPLICATE}, not {identity!r}")
    tool = split.get("tool")
    if tool is not None and tool not in TOOLS:
        problems.append(f"tool: one of {', '.join(TOOLS)}, not {tool!r}")
    return problems


def _read(
    name: str,
    pairs: Mapping[str, Path],
    sequences: list[Path],
    digests: Mapping[str, str],
    *,
    notes: tuple[str, ...] = (),
    protocol: str | None = None,
    info: DatasetInfo | None = None,
) -> Dataset:
    proteins = read_proteins(*sequences)
    splits = {}
    # A fetched file is named by its hash, which tells a reader nothing.
    roles = {sha256: role for role, sha256 in digests.items()}
    found = [
        f"sequences: {_HASH.sub(lambda hit: roles.get(hit[0], hit[0]), note)}" for note in proteins.notes
    ]
    for part in ("pairs", *PARTS):
        if part not in pairs:
            continue
        table = read_pairs(pairs[part], labelled=True).clean(known=proteins)
        report = table.report
        if not len(table):
            lines = report.lines() if report else []
            raise DataError(
                f"{pairs[part]}: no pair is left.\n" + "\n".join(f"  {line}" for line in lines),
                given=str(pairs[part]),
                hint="Do the names in the pairs stand in the sequences, letter by letter?",
            )
        splits[part] = table
        found += [f"{part}: {line}" for line in (report.lines() if report else [])]
    return Dataset(
        name=name,
        sequences=proteins,
        splits=splits,
        digests=dict(digests),
        notes=(*found, *notes),
        protocol=protocol,
        info=info,
    )


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        there = [str(one) for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.",
            given=str(path),
            nearest=nearest(str(path), there),
        ) from error


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

    return find_zoos(default_registry._added)[0]


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
    wrong: list[str] = []
    if not is_name(name):
        wrong.append("is no name: lower-case letters, digits, '.', '_' and '-' only")
    if not isinstance(row, dict):
        raise MetadataError("is no table")
    for key in row:
        if key not in (*_TEXTS, *_LISTS, "files"):
            wrong.append(f"{key}: no such key")
    texts = {key: row[key] for key in _TEXTS if key in row}
    lists = {key: row[key] for key in _LISTS if key in row}
    wrong += [f"{key}: expected text" for key, value in texts.items() if not isinstance(value, str)]
    for key, value in lists.items():
        if not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            wrong.append(f"{key}: expected a list of texts")
    if texts.get("protocol") not in (None, "c1", "c2", "c3"):
        wrong.append(f"protocol: one of c1, c2, c3, not {texts['protocol']!r}")
    given = row.get("files")
    files = []
    if isinstance(given, dict):
        for role, one in given.items():
            file = _file(role, one, table, wrong)
            if file is not None:
                files.append(file)
    roles = {file.role for file in files}
    if roles & set(_IMAGE_ROLES):
        if roles - set(_IMAGE_ROLES) or (len(roles) > 1 and roles & {"images", "pixels"}):
            wrong.append("files: 'images' or 'pixels' stands alone, or those of the parts do")
    elif not any(role.endswith("pairs") for role in roles):
        wrong.append("files: no pairs")
    if not roles & set(_IMAGE_ROLES) and not any(role.endswith("sequences") for role in roles):
        wrong.append("files: no sequences")
    if "pairs" in roles and any(role.endswith("_pairs") for role in roles):
        wrong.append("files: either 'pairs' or those of the parts")
    if wrong:
        raise MetadataError("; ".join(wrong))
    texts.setdefault("description", "")
    species, notes = (tuple(lists.get(key, ())) for key in _LISTS)
    return DatasetInfo(name, zoo, tuple(files), table=str(table), species=species, notes=notes, **texts)


def _file(role: str, one: object, table: Path, wrong: list[str]) -> DatasetFile | None:
    if role not in (*_ROLES, *_IMAGE_ROLES):
        wrong.append(f"files.{role}: no such role; there are {', '.join((*_ROLES, *_IMAGE_ROLES))}")
        return None
    if not isinstance(one, dict) or not isinstance(one.get("url"), str):
        wrong.append(f"files.{role}: no url")
        return None
    sha256, size = one.get("sha256"), one.get("size_bytes")
    if not (isinstance(sha256, str) and re.fullmatch("[0-9a-fA-F]{64}", sha256)):
        wrong.append(f"files.{role}: no sha256 of 64 hexadecimal digits")
        return None
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        wrong.append(f"files.{role}: size_bytes is no size")
        return None
    unknown = sorted(set(one) - {"url", "sha256", "size_bytes"})
    wrong += [f"files.{role}.{key}: no such key" for key in unknown]
    url = one["url"]
    if "://" not in url:
        url = (table.parent / url).absolute().as_uri()
    return DatasetFile(role, url, sha256.lower(), size)
