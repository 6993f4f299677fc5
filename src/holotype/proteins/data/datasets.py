"""Datasets of proteins: pairs, the sequences of their proteins, and the parts that they are divided into.

Zoos list datasets: see `holotype.datasets`. Your own dataset is a mapping, or a YAML file with one,
with paths relative to that file::

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from holotype.datasets import DatasetInfo, fetch_dataset, get_dataset_info, is_registered
from holotype.errors import ConfigError, DataError, StoreError
from holotype.files import check_new, make_folder, sha256_of, write_file
from holotype.mappings import as_yaml, key_problems, read_mapping
from holotype.names import is_name, nearest
from holotype.proteins.data.fasta import read_proteins
from holotype.proteins.data.pairs import PairTable, read_pairs, write_pairs
from holotype.splits import PARTS, fraction_problem
from holotype.text import bulleted

if TYPE_CHECKING:
    from holotype.progress import Progress
    from holotype.proteins.data.splits import Splits

_KEYS = ("name", "pairs", *PARTS, "sequences", "split")
_SPLIT_KEYS = ("protocol", "seed", "fractions", "max_identity", "tool")
_HASH = re.compile("[0-9a-f]{64}")
_HOW = "a dataset is a name, or a mapping {train:, val:, test:, sequences:} or {pairs:, sequences:} of paths"


@dataclass(frozen=True)
class Dataset:
    """Pairs and sequences, read and cleaned.

    Attributes:
        name: as it was asked for.
        sequences: of every protein, by name.
        splits: the pairs of ``"train"``, ``"val"`` and ``"test"``, as far as there are any; or all of them
            as ``"pairs"`` where nothing is split. Every protein in them has a sequence.
        digests: role -> sha256 of the file's bytes.
        notes: what was corrected, and the notes of the publisher.
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
            seed: of the random numbers.
            fractions: of the pairs, for train, val and test.
            max_identity: under c2 and c3, keep proteins more similar than this in one part; at most, and by
                default, the threshold of the audit for near-duplicates.
            tool: the tool that compares sequences, see `similarity.cluster_sequences`; by default the
                k-mer screen where there is no `max_identity`, otherwise the best that is installed.

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

    ``train.tsv``, ``val.tsv`` and ``test.tsv`` hold the pairs, ``split.json`` records how they were
    made; with sequences there is a ``dataset.yaml``, so that `load_dataset` takes the folder.

    Args:
        pairs: as for `holotype.proteins.data.pairs.read_pairs`.
        folder: created if it does not exist.
        protocol: as for `Dataset.split`, and so are the other arguments below.
        seed: of the random numbers.
        fractions: of the pairs, for train, val and test.
        sequences: FASTA files; without them, similar proteins may be in different parts.
        max_identity: keep proteins more similar than this in one part.
        tool: the tool that compares sequences.
        overwrite: replace files that exist.

    Raises:
        DataError: a file cannot be used or exists already, or the pairs cannot be divided in this way.
    """
    from holotype.proteins.data.splits import split_pairs

    folder = Path(folder)
    names = [*(f"{part}.tsv" for part in PARTS), "split.json", "dataset.yaml"]
    own = [folder / name for name in names if (folder / name).resolve() == Path(pairs).resolve()]
    if own:
        raise DataError(f"{own[0]} is the input, so it is not replaced.", given=str(own[0]))
    check_new(*(folder / name for name in names), overwrite=overwrite)
    files = [Path(pairs)]
    how: dict[str, Any] = {}
    if sequences is None:
        made = split_pairs(found := read_pairs(pairs), protocol=protocol, seed=seed, fractions=fractions)
        told = list(found.report.lines()) if found.report else []
        if protocol != "c1":
            told.append("no sequences were given: similar proteins may be in different parts")
        made.notes = (*told, *made.notes)
    else:
        listed = [Path(one) for one in ([sequences] if isinstance(sequences, (str, Path)) else sequences)]
        dataset = load_dataset({"pairs": Path(pairs), "sequences": listed})
        divided = dataset.split(
            protocol, seed=seed, fractions=fractions, max_identity=max_identity, tool=tool
        )
        made, how, files = cast("Splits", divided.splits), dict(divided.split_by or {}), [*files, *listed]
        made.notes = divided.notes
    make_folder(folder)
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
        described = {
            **{part: f"{part}.tsv" for part in made},
            "sequences": [_seen_from(folder, path) for path in files[1:]],
            "split": {"protocol": protocol},
        }
        write_file(folder / "dataset.yaml", as_yaml(described), error=StoreError)
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
        ConfigError: the mapping is not a dataset; the message lists every problem.
        DataError: a file that cannot be used, or in which no pair is left.
        StoreError: a file of a registered dataset cannot be fetched.
    """
    if isinstance(source, Mapping):
        return _from_mapping(source, Path(relative_to or "."), None, progress)
    path = _as_path(source, Path(relative_to or "."))
    if path is None:
        return _registered(str(source), progress)
    return _from_mapping(read_mapping(path), path.parent, path, progress)


def is_file(source: str | Path) -> bool:
    """Whether `load_dataset` reads this as a file or folder, not as a registered name."""
    return _as_path(source, Path()) is not None


def _seen_from(folder: Path, path: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # on another drive of Windows
        return str(path.absolute())


def _as_path(source: str | Path, folder: Path) -> Path | None:
    """The YAML file that is meant, or None for a registered name."""
    path = folder / source
    looks_like_one = isinstance(source, Path) or str(source).endswith((".yaml", ".yml", ".json"))
    if isinstance(source, str) and not looks_like_one and is_registered(source):
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
            f"{path} is one file; a dataset needs pairs and sequences.",
            given=str(source),
            hint="Write {pairs: FILE, sequences: FILE} or {train: …, val: …, test: …, sequences: …}.",
        )
    if os.sep in str(source) and not is_name(str(source).rpartition("/")[2]):
        return path
    return None


def _registered(name: str, progress: Progress | bool | None) -> Dataset:
    info = get_dataset_info(name)
    if info.holds != "pairs":
        raise DataError(f"{name} holds {info.holds}, not pairs of proteins.", given=name)
    files = fetch_dataset(info, progress=progress)
    pairs = {role.removesuffix("_pairs"): path for role, path in files.items() if role.endswith("pairs")}
    sequences = [path for role, path in files.items() if role.endswith("sequences")]
    digests = {file.role: file.sha256 for file in info.files}
    protocol = cast("str | None", info.metadata["protocol"])
    return _read(info.name, pairs, sequences, digests, notes=info.notes, protocol=protocol, info=info)


def _from_mapping(
    mapping: Mapping[str, Any], folder: Path, file: Path | None, progress: Progress | bool | None
) -> Dataset:
    mapping = {key: _without_none(value) for key, value in mapping.items() if value is not None}
    problems = _mapping_problems(mapping)
    if problems:
        what = str(file) if file is not None else "the dataset"
        raise ConfigError(f"{what} cannot be used:\n{bulleted(problems)}", problems=problems, given=mapping)
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
    problems = key_problems(mapping, _KEYS)
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
    from holotype.proteins.data.splits import PROTOCOLS

    if not isinstance(split, Mapping):
        return [f" expected a mapping such as {{protocol: c3, seed: 1}}, got {split!r}"]
    if divided:
        others = [key for key in split if key != "protocol"]
        problems = [f"{key}: the files are divided already; only 'protocol' has a meaning" for key in others]
    else:
        problems = key_problems(split, _SPLIT_KEYS)
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
