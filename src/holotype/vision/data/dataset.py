"""An image dataset, made of what folders, archives and lists hold: classes numbered, contents hashed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from holotype.errors import DataError
from holotype.files import sha256_of_parts
from holotype.names import natural_key
from holotype.text import bulleted, listed
from holotype.vision.data.shards import ShardSource, shard_digests
from holotype.vision.data.splits import divide, raise_if_shared
from holotype.vision.data.table import Found, ImageTable, content_hash, in_threads

if TYPE_CHECKING:
    from holotype.datasets import DatasetInfo

__all__ = ["HASHED_BYTES", "ImageDataset", "assembled", "divided"]

# Above this, names and sizes stand for contents: reading a million photographs takes an hour.
HASHED_BYTES = 4 * 2**30


@dataclass(frozen=True)
class ImageDataset:
    """Images in parts, with their classes.

    Attributes:
        name: as it was asked for.
        splits: ``"train"``, ``"val"`` and ``"test"``, as far as there are any.
        classes: names, by label; empty where nothing is labelled.
        digests: part -> sha256 over names, sizes, contents and targets.
        notes: what was left out or put right, in plain words.
        info: the entry, if it is a registered one.
        split_by: how it was divided here: fractions and seed; or None.
    """

    name: str
    splits: Mapping[str, ImageTable]
    classes: tuple[str, ...]
    digests: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    info: DatasetInfo | None = None
    split_by: Mapping[str, Any] | None = None

    @property
    def kind(self) -> str:
        """What the targets are: ``"classes"``, ``"boxes"`` or ``"unlabelled"``."""
        return next(iter(self.splits.values())).kind

    def __repr__(self) -> str:
        parts = ", ".join(f"{part} {len(table):,}" for part, table in self.splits.items())
        of = f"; {len(self.classes)} classes" if self.classes else ""
        return f"<ImageDataset {self.name}: {self.kind}; images: {parts}{of}>"


def assembled(
    name: str, found: Mapping[str, Found], *, notes: Sequence[str] = (), info: DatasetInfo | None = None
) -> ImageDataset:
    """Number the classes, hash the images, and refuse images that two parts share."""
    classes = _classes(found)
    found_notes = [note for one in found.values() for note in one.notes]
    hashed = sum(sum(one.sizes_bytes) for one in found.values()) <= HASHED_BYTES
    if not hashed:
        found_notes.append(
            f"more than {HASHED_BYTES / 2**30:g} GiB: names and sizes stand for contents in the digests, and "
            "nothing was looked up in two parts"
        )
    splits = {part: _table(one, classes, hashed=hashed, notes=found_notes) for part, one in found.items()}
    raise_if_shared(splits)
    if len(classes) == 1:
        found_notes.append(f"there is only one class, {classes[0]!r}")
    return ImageDataset(
        name=name,
        splits=splits,
        classes=classes,
        digests={part: table.digest for part, table in splits.items()},
        notes=(*found_notes, *notes),
        info=info,
    )


def divided(
    name: str,
    found: Found,
    split: Mapping[str, Any],
    *,
    notes: Sequence[str] = (),
    info: DatasetInfo | None = None,
) -> ImageDataset:
    """Divide images by `split`, a mapping of fractions and seed.

    Raises:
        DataError: there are too few of them.
    """
    whole = assembled(name, {"train": found})
    table = whole.splits["train"]
    fractions, seed = [float(one) for one in split["fractions"]], int(split["seed"])
    parts = divide(
        table.names,
        None if table.labels is None else table.labels.tolist(),
        table.hashes,
        fractions=fractions,
        seed=seed,
    )
    empty = [part for part, chosen in parts.items() if not chosen]
    if empty:
        raise DataError(
            f"{found.where}: {len(table)} different images are too few for {', '.join(parts)}; "
            f"{', '.join(empty)} would be empty.",
            given=found.where,
        )
    splits = {}
    all_notes = list(whole.notes)
    for part, chosen in parts.items():
        some = table.select(chosen)
        splits[part] = _with_digest(some, [found.sizes_bytes[at] for at in chosen], found.pinned)
        lacking = (
            [] if some.labels is None else sorted(set(range(len(whole.classes))) - set(some.labels.tolist()))
        )
        if lacking:
            all_notes.append(f"{part}: no image of {listed([whole.classes[at] for at in lacking])}")
    return ImageDataset(
        name=name,
        splits=splits,
        classes=whole.classes,
        digests={part: one.digest for part, one in splits.items()},
        notes=(*all_notes, *notes),
        info=info,
        split_by={"fractions": fractions, "seed": seed},
    )


def _classes(found: Mapping[str, Found]) -> tuple[str, ...]:
    """The classes of all parts, if they agree."""
    kinds = {part: _kind(one) for part, one in found.items()}
    if len(set(kinds.values())) > 1:
        each = ", ".join(f"{part} has {kind}" for part, kind in kinds.items())
        raise DataError(f"the parts are not of one kind: {each}.", given=kinds)
    kind = next(iter(kinds.values()))
    if kind == "no labels":
        return ()
    fixed = {part: one.classes for part, one in found.items() if one.classes is not None}
    if fixed:
        first, classes = next(iter(fixed.items()))
        problems = [
            line
            for part, other in fixed.items()
            if other != classes
            for line in _differing(first, classes, part, other)
        ]
    else:
        first = "train" if "train" in found else next(iter(found))
        classes = tuple(sorted(set(found[first].labels or ()), key=natural_key))
        problems = []
    for part, one in found.items():
        unknown = sorted(set(one.labels or ()) - set(classes), key=natural_key) if part not in fixed else []
        if unknown:
            problems.append(f"{part} has {listed(unknown)}, {first} does not")
        lacking = sorted(set(classes) - set(one.labels or classes), key=natural_key)
        if lacking and not unknown and part not in fixed:
            one.notes.append(f"{part}: no image of {listed(lacking)}")
    if problems:
        raise DataError(
            f"the classes differ between the parts:\n{bulleted(problems)}", problems=problems, given=None
        )
    return classes


def _kind(one: Found) -> str:
    return "boxes" if one.boxes is not None else "classes" if one.labels is not None else "no labels"


def _differing(first: str, classes: tuple[str, ...], part: str, other: tuple[str, ...]) -> list[str]:
    lines = []
    for has, mine, lacks, theirs in ((first, classes, part, other), (part, other, first, classes)):
        only = [name for name in mine if name not in theirs]
        if only:
            lines.append(f"{has} has {listed(only)}, {lacks} does not")
    return lines or [f"{part} has the same categories as {first} under other ids"]


def _table(one: Found, classes: tuple[str, ...], *, hashed: bool, notes: list[str]) -> ImageTable:
    number = {name: at for at, name in enumerate(classes)}
    labels = None if one.labels is None else np.array([number[name] for name in one.labels], np.int64)
    try:
        hashes = (
            in_threads(lambda at: content_hash(one.source.content(at)), range(len(one.names)))
            if hashed
            else None
        )
        if isinstance(one.source, ShardSource) and hashed and not one.pinned:
            one.pinned += shard_digests(one.source)
    except OSError as error:
        where = error.filename or one.where
        raise DataError(f"{where} cannot be read: {error.strerror or error}.", given=str(where)) from error
    if hashes is not None and labels is not None:
        first = dict(zip(reversed(hashes), reversed(range(len(hashes))), strict=True))
        twice = [(at, first[key]) for at, key in enumerate(hashes) if labels[at] != labels[first[key]]]
        if twice:
            pair = " and ".join(one.names[at] for at in twice[0])
            notes.append(f"{one.where}: {len(twice):,} images are in two classes, such as {pair}")
    made = ImageTable(
        names=tuple(one.names),
        source=one.source,
        labels=labels,
        boxes=None if one.boxes is None else tuple(one.boxes),
        hashes=None if hashes is None else tuple(hashes),
        sizes=None if one.sizes is None else tuple(one.sizes),
    )
    return _with_digest(made, one.sizes_bytes, one.pinned)


def _with_digest(table: ImageTable, sizes_bytes: Sequence[int], pinned: Sequence[str]) -> ImageTable:
    lines = []
    for at, name in enumerate(table.names):
        content = "" if table.hashes is None else table.hashes[at].hex()
        label = "" if table.labels is None else str(table.labels[at])
        lines.append(f"{name!r}\t{sizes_bytes[at]}\t{content}\t{label}\n")
    return replace(table, digest=sha256_of_parts(*sorted(lines), *(f"{one}\n" for one in pinned)))
