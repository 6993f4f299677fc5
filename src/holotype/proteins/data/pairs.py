"""Pairs of proteins, with or without a label; and the files that hold them.

A file holds one pair a line: ``protein_a  protein_b  label``, separated by tabs, else by commas, else by
spaces; plain or gzip, UTF-8, any line ending. The first line may be a header, and then the columns are found
by their names (``protein_a``, ``protein2``, ``id_a``, ``label`` and the like) and may be more. Lines that
begin with ``#`` are comments.

The rules, each counted in `PairReport`:

================  ===========================================================================================
what is found     what happens
================  ===========================================================================================
duplicate         a pair that is repeated, as (a, b) or as (b, a), is kept once: its first line
contradiction     a pair with both labels is dropped: nothing says which label is right
self-pair         a protein with itself is kept, as homodimers are real
unknown protein   a pair one of whose proteins has no sequence is dropped
label             0 or 1, also ``0.0``, ``1.0``, ``true`` or ``false``; anything else is an error
missing column    an error that names the line, and so is an empty name
================  ===========================================================================================
"""

from __future__ import annotations

import gzip
from array import array
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holotype.errors import DataError, StoreError
from holotype.files import check_new, write_file
from holotype.proteins.data.tables import cells_of, label_of, read_lines, separator_of
from holotype.text import SHOWN, bulleted, counted

__all__ = ["PairReport", "PairTable", "align", "read_pairs", "write_pairs"]

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

_NAMES = ("protein_?", "protein?", "id_?", "id?", "uniprot_?", "uniprot?", "node?", "interactor_?")
_A = frozenset(name.replace("?", sign) for name in _NAMES for sign in "a1")
_B = frozenset(name.replace("?", sign) for name in _NAMES for sign in "b2")
_LABEL = frozenset({"label", "labels", "y", "interaction", "interacts", "target"})
_HEADER_HINT = "Name the columns protein_a, protein_b and label in the first line, or leave the header out."


@dataclass(frozen=True)
class PairReport:
    """What the rules of this module found in pairs, and what they dropped.

    Attributes:
        rows: pairs read; ``rows == kept + duplicates + contradictory_rows + unknown``.
        kept: pairs left.
        positives: kept pairs with label 1.
        negatives: kept pairs with label 0.
        self_pairs: kept pairs of a protein with itself.
        duplicates: rows dropped because an earlier row has the same pair.
        swapped: duplicates with the two proteins in the other order.
        contradictory: pairs dropped because they have both labels.
        contradictory_rows: the rows of contradictory pairs.
        unknown: rows dropped because a protein has no sequence.
        unknown_proteins: how many such proteins there are.
        examples: the first few of each kind, as text.
    """

    rows: int = 0
    kept: int = 0
    positives: int = 0
    negatives: int = 0
    self_pairs: int = 0
    duplicates: int = 0
    swapped: int = 0
    contradictory: int = 0
    contradictory_rows: int = 0
    unknown: int = 0
    unknown_proteins: int = 0
    examples: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        made = {one.name: getattr(self, one.name) for one in fields(self)}
        made["examples"] = {kind: list(texts) for kind, texts in self.examples.items()}
        return made

    def lines(self) -> list[str]:
        """One sentence for each kind of finding; empty if there is none."""
        findings = [
            (self.duplicates, f"{counted(self.duplicates, 'repeated pair')} left out"
             f" ({self.swapped} of them the other way round)", "duplicates"),
            (self.contradictory, f"{counted(self.contradictory, 'pair')} with both labels left out"
             f" ({counted(self.contradictory_rows, 'line')})", "contradictory"),
            (self.unknown, f"{counted(self.unknown, 'pair')} left out, as "
             f"{counted(self.unknown_proteins, 'protein')} "
             f"{'has' if self.unknown_proteins == 1 else 'have'} no sequence", "unknown"),
            (self.self_pairs, f"{counted(self.self_pairs, 'pair')} of a protein with itself, kept",
             "self_pairs"),
        ]  # fmt: skip
        return [
            f"{text}: {', '.join(self.examples[kind])}{' …' if count > len(self.examples[kind]) else ''}"
            if self.examples.get(kind)
            else text
            for count, text, kind in findings
            if count
        ]

    def after(self, later: PairReport) -> PairReport:
        """This report together with a later one, of the pairs that this one kept."""
        counts = {
            one.name: getattr(self, one.name) + getattr(later, one.name)
            for one in fields(self)
            if one.name in _ADDED
        }
        return replace(later, rows=self.rows, examples={**later.examples, **self.examples}, **counts)


_ADDED = frozenset(
    ("duplicates", "swapped", "contradictory", "contradictory_rows", "unknown", "unknown_proteins")
)


@dataclass(frozen=True, eq=False)
class PairTable:
    """Pairs as indices into a list of names.

    Shapes: P pairs of N proteins. The arrays cannot be written to.

    Attributes:
        proteins: N names, each once.
        a: (P,) int32, the first protein of each pair.
        b: (P,) int32, the second one.
        labels: (P,) int8 of 0 and 1, or None.
        report: what `clean` or `read_pairs` found; None for pairs that were not checked.
        source: the file they were read from, or None.

    Raises:
        DataError: the arrays do not fit each other, an index is out of range, or a label is neither 0 nor 1.
    """

    proteins: tuple[str, ...]
    a: Int32
    b: Int32
    labels: NDArray[np.int8] | None = None
    report: PairReport | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        names = tuple(self.proteins)
        object.__setattr__(self, "proteins", names)
        object.__setattr__(self, "a", _indices("a", self.a, len(names)))
        object.__setattr__(self, "b", _indices("b", self.b, len(names)))
        if len(self.a) != len(self.b):
            raise DataError(f"{len(self.a)} first proteins and {len(self.b)} second ones do not make pairs.")
        if self.labels is not None:
            object.__setattr__(self, "labels", _labels(self.labels, len(self.a)))

    @classmethod
    def from_names(
        cls, a_names: Sequence[str], b_names: Sequence[str], labels: Iterable[int] | None = None
    ) -> PairTable:
        """Pairs from two lists of names. No rule is applied (see `clean`).

        Args:
            a_names: P names.
            b_names: P names.
            labels: P labels, 0 or 1, or None.

        Raises:
            DataError: the lists differ in length, or a label is neither 0 nor 1.
        """
        ids: dict[str, int] = {}
        a = np.fromiter((ids.setdefault(name, len(ids)) for name in a_names), np.int32)
        b = np.fromiter((ids.setdefault(name, len(ids)) for name in b_names), np.int32)
        made = None if labels is None else np.asarray(labels if hasattr(labels, "__len__") else list(labels))
        return cls(tuple(ids), a, b, made)

    def __len__(self) -> int:
        return len(self.a)

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same pairs of names with the same labels, in the same order."""
        if not isinstance(other, PairTable):
            return NotImplemented
        if len(self) != len(other) or (self.labels is None) != (other.labels is None):
            return False
        mine, theirs = align(self, other)
        same = np.array_equal(mine.a, theirs.a) and np.array_equal(mine.b, theirs.b)
        return same and (self.labels is None or np.array_equal(self.labels, _known(other.labels)))

    __hash__ = None  # type: ignore[assignment]  # arrays within

    def __repr__(self) -> str:
        return (
            f"<PairTable: {len(self)} {'pairs' if self.labels is None else 'labelled pairs'} "
            f"of {len(self.proteins)} proteins>"
        )

    @property
    def names_a(self) -> list[str]:
        """(P,) names of the first proteins."""
        return [self.proteins[at] for at in self.a.tolist()]

    @property
    def names_b(self) -> list[str]:
        """(P,) names of the second proteins."""
        return [self.proteins[at] for at in self.b.tolist()]

    def take(self, indices: NDArray[Any] | Sequence[int] | slice) -> PairTable:
        """The pairs at these indices, in this slice or of this (P,) mask; `proteins` stays as it is."""
        chosen = indices if isinstance(indices, slice) else np.asarray(indices)
        if not isinstance(chosen, slice) and chosen.size == 0:
            chosen = chosen.astype(np.int64)
        labels = None if self.labels is None else self.labels[chosen]
        return PairTable(self.proteins, self.a[chosen], self.b[chosen], labels, source=self.source)

    def used(self) -> Int32:
        """The indices of the proteins that occur in a pair, ascending."""
        seen = np.zeros(len(self.proteins), bool)
        seen[self.a] = seen[self.b] = True
        return np.flatnonzero(seen).astype(np.int32)

    def used_names(self) -> list[str]:
        """The names of the proteins that occur in a pair."""
        return [self.proteins[at] for at in self.used().tolist()]

    def compact(self) -> PairTable:
        """The same pairs; `proteins` holds only the names that occur in them."""
        used = self.used()
        place = np.zeros(len(self.proteins), np.int32)
        place[used] = np.arange(len(used), dtype=np.int32)
        return replace(self, proteins=tuple(self.used_names()), a=place[self.a], b=place[self.b])

    def keys(self) -> Int64:
        """(P,) a number for each pair, equal for (a, b) and (b, a).

        Numbers are comparable within a table, and among tables that `align` returned together.
        """
        low, high = np.minimum(self.a, self.b), np.maximum(self.a, self.b)
        return low.astype(np.int64) * max(len(self.proteins), 1) + high

    def degrees(self, label: int | None = None) -> Int32:
        """(N,) the number of pairs of each protein; a pair of a protein with itself counts once.

        Args:
            label: count only the pairs with this label.
        """
        chosen = slice(None) if label is None else _known(self.labels) == label
        a, b = self.a[chosen], self.b[chosen]
        count = np.bincount(a, minlength=len(self.proteins))
        return (count + np.bincount(b[a != b], minlength=len(self.proteins))).astype(np.int32)

    def clean(self, known: Container[str] | None = None) -> PairTable:
        """Apply the rules of this module; `report` of the result counts what was found.

        Args:
            known: the names that have a sequence; None for all names.
        """
        rows = len(self)
        keep = np.ones(rows, bool)
        examples: dict[str, tuple[str, ...]] = {}
        unknown_proteins = 0
        if known is not None:
            lost = np.fromiter((name not in known for name in self.proteins), bool, len(self.proteins))
            lost_used = self.used()[lost[self.used()]]
            unknown_proteins = len(lost_used)
            examples["unknown"] = tuple(self.proteins[at] for at in lost_used[:SHOWN].tolist())
            keep &= ~(lost[self.a] | lost[self.b])
        unknown = rows - int(keep.sum())

        at = np.flatnonzero(keep)
        keys = self.keys()[at]
        unique, first, group = np.unique(keys, return_index=True, return_inverse=True)
        bad = np.zeros(len(unique), bool)
        if self.labels is not None:
            positive = np.bincount(group, self.labels[at], len(unique))
            bad = (positive > 0) & (positive < np.bincount(group, minlength=len(unique)))
        is_first = np.zeros(len(at), bool)
        is_first[first] = True
        in_bad = bad[group]
        again = ~is_first & ~in_bad
        turned = again & (self.a[at] != self.a[at[first[group]]])
        left = at[is_first & ~in_bad]

        examples["contradictory"] = self.examples(at[np.sort(first[bad])])
        examples["duplicates"] = self.examples(at[again])
        kept = self.take(left)
        alone = kept.a == kept.b
        examples["self_pairs"] = tuple(self.proteins[one] for one in kept.a[alone][:SHOWN].tolist())
        positives = 0 if kept.labels is None else int(kept.labels.sum(dtype=np.int64))
        report = PairReport(
            rows=rows,
            kept=len(kept),
            positives=positives,
            negatives=0 if kept.labels is None else len(kept) - positives,
            self_pairs=int(alone.sum()),
            duplicates=int(again.sum()),
            swapped=int(turned.sum()),
            contradictory=int(bad.sum()),
            contradictory_rows=int(in_bad.sum()),
            unknown=unknown,
            unknown_proteins=unknown_proteins,
            examples={kind: texts for kind, texts in examples.items() if texts},
        )
        if self.report is not None:
            report = self.report.after(report)
        return replace(kept.compact(), report=report)

    def counts(self) -> dict[str, Any]:
        """``pairs`` and ``proteins``; with labels, ``positives`` and ``positive_rate``, too."""
        counts: dict[str, Any] = {"pairs": len(self), "proteins": len(self.used())}
        if self.labels is not None:
            positives = int(self.labels.sum(dtype=np.int64))
            counts |= {"positives": positives, "positive_rate": positives / max(len(self), 1)}
        return counts

    def examples(self, rows: Int64) -> tuple[str, ...]:
        """The first few of the pairs at these indices, as ``"A B"``."""
        some = self.take(rows[:SHOWN])
        return tuple(f"{a} {b}" for a, b in zip(some.names_a, some.names_b, strict=True))


def counts_in_words(counts: Mapping[str, Any]) -> str:
    """``120 pairs of 45 proteins, 50.0% positive``, from `PairTable.counts`."""
    rate = f", {counts['positive_rate']:.1%} positive" if "positive_rate" in counts else ""
    return f"{counts['pairs']:,} pairs of {counts['proteins']:,} proteins{rate}"


def align(*tables: PairTable) -> list[PairTable]:
    """The same pairs over one common list of proteins, so that indices and keys can be compared."""
    first = tables[0].proteins if tables else ()
    if all(table.proteins is first for table in tables):
        return list(tables)
    ids: dict[str, int] = {}
    places = [
        np.fromiter((ids.setdefault(name, len(ids)) for name in table.proteins), np.int32) for table in tables
    ]
    names = tuple(ids)
    return [
        replace(table, proteins=names, a=place[table.a], b=place[table.b])
        for table, place in zip(tables, places, strict=True)
    ]


def read_pairs(path: str | Path, *, labelled: bool | None = None) -> PairTable:
    """Read a file of pairs and apply the rules of this module.

    Args:
        path: the file; this module's docstring describes the formats.
        labelled: True requires labels, False ignores them, None reads them if the file has any.

    Returns:
        The pairs in the order of the file; `report` counts what was found.

    Raises:
        DataError: the file cannot be read, is not text, holds no pairs, lacks a column, or has labels other
            than 0 and 1.
    """
    path = Path(path)
    ids: dict[str, int] = {}
    a, b, labels = array("i"), array("i"), array("b")
    wrong: list[str] = []
    wrong_count = 0
    columns: tuple[int, int, int | None] | None = None
    separator: str | None = None
    for number, line in read_lines(path):
        if columns is None:
            separator = separator_of(line)
            cells = cells_of(line, separator)
            columns, is_header = _columns(cells, labelled, f"{path}:{number}")
            if line[0] == "#" and not is_header:
                columns = None  # a comment above all
                continue
            if is_header:
                continue
        elif line[0] == "#":
            continue
        cells = cells_of(line, separator)
        at_a, at_b, at_label = columns
        need = max(at_a, at_b, at_label or 0)
        if len(cells) <= need or not cells[at_a] or not cells[at_b]:
            raise _short(path, number, line, separator, labelled=at_label is not None)
        if at_label is not None:
            label = label_of(cells[at_label])
            if label is None:
                wrong_count += 1
                if len(wrong) < SHOWN:
                    wrong.append(f"{path}:{number} has {cells[at_label]!r}")
                continue
            labels.append(label)
        a.append(ids.setdefault(cells[at_a], len(ids)))
        b.append(ids.setdefault(cells[at_b], len(ids)))
    if wrong:
        more = wrong_count - len(wrong)
        shown = [*wrong, f"… and {more:,} more"] if more else wrong
        raise DataError(
            f"{path}: labels must be 0 or 1; {counted(wrong_count, 'line')} "
            f"{'has' if wrong_count == 1 else 'have'} another one:\n{bulleted(shown)}",
            given=str(path),
            hint="Turn scores into 0 and 1 first. " + _HEADER_HINT,
            problems=wrong,
        )
    if columns is None or not a:
        raise DataError(f"{path} holds no pairs.", given=str(path))
    table = PairTable(
        tuple(ids),
        np.frombuffer(a, np.intc).astype(np.int32, copy=False),
        np.frombuffer(b, np.intc).astype(np.int32, copy=False),
        np.frombuffer(labels, np.int8) if columns[2] is not None else None,
        source=str(path),
    )
    return replace(table.clean(), source=str(path))


def write_pairs(path: str | Path, table: PairTable, *, overwrite: bool = False) -> None:
    """Write pairs as tab-separated text with a header; gzip if the name ends in ``.gz``.

    Args:
        path: the file. It appears complete or not at all.
        table: what to write.
        overwrite: replace a file that exists.

    Raises:
        DataError: the file exists, or a name holds a tab or a line break.
        StoreError: the file cannot be written.
    """
    check_new(path, overwrite=overwrite)
    # A name that `read_pairs` would take for a comment, strip or split is refused rather than changed.
    bad = [n for n in table.proteins if n != n.strip().strip('"') or not n or n[0] == "#" or _splits(n)]
    if bad:
        raise DataError(f"{bad[0]!r} cannot be the name of a protein in a file.", given=bad[0])
    columns = [table.names_a, table.names_b]
    header = "protein_a\tprotein_b"
    if table.labels is not None:
        columns.append([str(label) for label in table.labels.tolist()])
        header += "\tlabel"
    lines = [header, *map("\t".join, zip(*columns, strict=True))]
    content = "".join(f"{line}\n" for line in lines).encode()
    if Path(path).suffix == ".gz":
        content = gzip.compress(content, mtime=0)  # the same pairs give the same bytes
    write_file(path, content, error=StoreError)


def _columns(cells: list[str], labelled: bool | None, place: str) -> tuple[tuple[int, int, int | None], bool]:
    """The columns of both proteins and of the label, and whether these cells are a header."""
    words = [cell.lower().lstrip("#").strip().replace(" ", "_") for cell in cells]
    at_a = next((at for at, word in enumerate(words) if word in _A), None)
    at_b = next((at for at, word in enumerate(words) if word in _B), None)
    at_label = next((at for at, word in enumerate(words) if word in _LABEL), None)
    # Proteins may have such names: with a label beside them, or numbered and alone, they are not titles.
    is_row = label_of(words[2]) is not None if len(words) > 2 else words[0][-1:] == "1"
    if at_a is not None and at_b is not None and not is_row:
        if labelled and at_label is None:
            raise DataError(
                f"{place}: no column is named 'label'; there are {', '.join(map(repr, cells))}.",
                given=cells,
                hint=_HEADER_HINT,
            )
        return (at_a, at_b, None if labelled is False else at_label), True
    has_label = labelled if labelled is not None else len(cells) > 2
    if len(cells) > 2 and words[2] in _LABEL:
        return (0, 1, None if labelled is False else 2), True  # two titles of one's own, and a label
    return (0, 1, 2 if has_label else None), False


def _short(path: Path, number: int, line: str, separator: str | None, *, labelled: bool) -> DataError:
    wanted = "two proteins and a label" if labelled else "two proteins"
    by = {"\t": "tabs", ",": "commas", None: "spaces"}[separator]
    shown = line if len(line) <= 60 else f"{line[:60]}…"
    return DataError(
        f"{path}:{number}: expected {wanted}, separated by {by}; got {shown!r}.",
        given=line,
        hint=_HEADER_HINT,
    )


def _splits(name: str) -> bool:
    return "\t" in name or len(name.splitlines()) != 1 or "\0" in name


def _indices(name: str, values: NDArray[Any], count: int) -> Int32:
    array_ = np.asarray(values)
    if array_.ndim != 1 or (array_.size and not np.issubdtype(array_.dtype, np.integer)):
        raise DataError(f"{name}: expected (P,) integers, got {array_.shape} of {array_.dtype}.")
    if array_.size and not (int(array_.min()) >= 0 and int(array_.max()) < count):
        raise DataError(f"{name}: an index is outside the {count} proteins.")
    return _sealed(array_.astype(np.int32, copy=False))


def _labels(values: NDArray[Any], count: int) -> NDArray[np.int8]:
    array_ = np.asarray(values)
    if array_.shape != (count,):
        raise DataError(f"labels: expected ({count},), one for each pair, got {array_.shape}.")
    if not np.isin(array_, (0, 1)).all():
        raise DataError("labels are 0 or 1.", given=sorted(set(array_.tolist()))[:SHOWN])
    return _sealed(array_.astype(np.int8, copy=False))


def _sealed(values: NDArray[Any]) -> NDArray[Any]:
    sealed = values.view()
    sealed.flags.writeable = False
    return sealed


def _known(labels: NDArray[np.int8] | None) -> NDArray[np.int8]:
    if labels is None:
        raise DataError("these pairs have no labels.")
    return labels
