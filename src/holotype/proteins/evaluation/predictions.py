"""Files of predictions: ours, and any other tool's.

A file holds one pair a line: two protein names, the true label, the score, separated by tabs, else by commas,
else by spaces; plain or gzip. With a header, columns are found by name and there may be more of them; without
one they are in that order. Lines that begin with ``#`` are comments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from holotype.errors import DataError
from holotype.files import writing
from holotype.proteins.data.tables import cells_of, label_of, number_of, read_lines, separator_of
from holotype.proteins.evaluation.metrics import Floats, are_probabilities

if TYPE_CHECKING:
    from holotype.proteins.data.pairs import PairTable

COLUMNS = ("protein_a", "protein_b", "label", "score")
_ALIASES = {
    "protein_a": "protein_a protein_1 protein1 proteina protein a id_a id1 id_1 p1 seq1 seqa name_a name1",
    "protein_b": "protein_b protein_2 protein2 proteinb b id_b id2 id_2 p2 seq2 seqb name_b name2",
    "label": "label labels y y_true true truth target interaction interacts is_interaction ground_truth",
    "score": "score scores probability prob p pred preds prediction predictions y_pred y_score "
    "y_prob yhat p_interact",
    "logit": "logit logits",
    "class": "class pair_class",
}
_COLUMN_OF = {alias: column for column, aliases in _ALIASES.items() for alias in aliases.split()}
_CLASSES = {"c1": 1, "c2": 2, "c3": 3, "1": 1, "2": 2, "3": 3}


@dataclass(frozen=True)
class Predictions:
    """Labelled pairs and their scores.

    Attributes:
        pairs: P labelled pairs, in the order of the file.
        scores: (P,) probabilities or any real scores.
        logits: (P,) raw logits, before calibration, or None.
        classes: (P,) 1, 2 or 3 for C1, C2, C3, or None.
        source: the file.
        repeats: the number of lines left out because an earlier line has the same pair, in either order.
    """

    pairs: PairTable
    scores: Floats
    logits: Floats | None = None
    classes: NDArray[np.int8] | None = None
    source: str | None = None
    repeats: int = 0

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def labels(self) -> NDArray[np.int8]:
        """(P,) of 0 and 1."""
        assert self.pairs.labels is not None  # noqa: S101  # read_predictions requires labels
        return self.pairs.labels

    @property
    def probabilities(self) -> bool:
        """Whether all scores lie from 0 to 1."""
        return are_probabilities(self.scores)


def read_predictions(path: str | Path) -> Predictions:
    """Read a file of predictions; this module's docstring describes the formats.

    Raises:
        DataError: the file cannot be read, is not text, holds no pairs, lacks a column, or has a label that
            is not 0 or 1, a score that is not finite, or a pair with both labels; it names the line.
    """
    from holotype.proteins.data.pairs import PairTable

    path = Path(path)
    lines = ((number, line) for number, line in read_lines(path) if line[0] != "#")
    number, text = next(lines, (0, ""))
    if not text:
        raise DataError(f"{path} holds no predictions.", given=str(path), hint=_SHAPE)
    separator = separator_of(text)
    first = cells_of(text, separator)
    at, header = _columns(path, number, first)
    names: tuple[list[str], list[str]] = ([], [])
    labels: list[int] = []
    numbers: dict[str, list[float]] = {name: [] for name in ("score", "logit") if name in at}
    classes: list[int] = []
    rows: list[int] = []
    last = max(at.values())
    for row, line in lines if header else chain([(number, text)], lines):
        cells = cells_of(line, separator)
        if len(cells) <= last:
            raise _wrong(path, row, f"has {len(cells)} of {max(last + 1, len(first))} columns: {line[:80]!r}")
        for side, column in zip(names, COLUMNS[:2], strict=True):
            if not cells[at[column]]:
                raise _wrong(path, row, f"{column} is empty")
            side.append(cells[at[column]])
        given = cells[at["label"]]
        label = label_of(given)
        if label is None:
            raise _wrong(path, row, f"label is {given!r}, expected 0 or 1")
        labels.append(label)
        for column, values in numbers.items():
            values.append(_number(path, row, column, cells[at[column]]))
        if "class" in at:
            known = _CLASSES.get(cells[at["class"]].lower())
            if known is None:
                raise _wrong(path, row, f"class is {cells[at['class']]!r}, expected C1, C2 or C3")
            classes.append(known)
        rows.append(row)
    if not rows:
        raise DataError(f"{path} holds a header and no predictions.", given=str(path), hint=_SHAPE)
    pairs = PairTable.from_names(*names, labels)
    again = _repeats(path, pairs, rows)
    kept = np.flatnonzero(~again)
    return Predictions(
        pairs.take(kept),
        np.array(numbers["score"])[kept],
        np.array(numbers["logit"])[kept] if "logit" in numbers else None,
        np.array(classes, dtype=np.int8)[kept] if classes else None,
        source=str(path),
        repeats=int(again.sum()),
    )


_SHAPE = "Expected one pair a line: protein_a, protein_b, label (0 or 1), score."


def _columns(path: Path, number: int, first: list[str]) -> tuple[dict[str, int], bool]:
    """The place of each column, and whether the first line is a header."""
    at: dict[str, int] = {}
    for place, cell in enumerate(first):
        column = _COLUMN_OF.get(cell.strip("' ").lower().replace(" ", "_").replace("-", "_"))
        if column is not None:
            at.setdefault(column, place)
    missing = [column for column in COLUMNS if column not in at]
    # Proteins may be named A and B like columns, but no column is named 0.9.
    if len(at) < 2 or any(number_of(cell) is not None for cell in first):
        if len(first) < 4:
            raise _wrong(path, number, f"has {len(first)} columns, expected 4: {' '.join(first)[:80]!r}")
        if label_of(first[2]) is None and number_of(first[3]) is None:
            raise DataError(
                f"{path}, line {number}: neither a header nor a prediction: {' '.join(first)[:80]!r}",
                given=str(path),
                hint=_SHAPE,
            )
        return dict(zip(COLUMNS, range(4), strict=True)), False
    if missing:
        raise DataError(
            f"{path}, line {number}: the header lacks {' and '.join(missing)}; it has "
            f"{', '.join(first)[:200]}.",
            given=str(path),
            problems=missing,
            hint=_SHAPE,
        )
    return at, True


def _repeats(path: Path, pairs: PairTable, rows: list[int]) -> NDArray[np.bool_]:
    """(P,) whether an earlier line has the same pair. One with another label is an error."""
    assert pairs.labels is not None  # noqa: S101  # every line has one
    _, first, group = np.unique(pairs.keys(), return_index=True, return_inverse=True)
    earlier = first[group]
    other = np.flatnonzero(pairs.labels != pairs.labels[earlier])
    if other.size:
        at = int(other[0])
        raise DataError(
            f"{path}, line {rows[at]}: {pairs.names_a[at]} {pairs.names_b[at]} has label "
            f"{pairs.labels[at]}, and {pairs.labels[earlier[at]]} in line {rows[int(earlier[at])]}; "
            f"{other.size:,} lines contradict others.",
            given=str(path),
            hint="A pair and its reverse are one pair. Leave one label of each.",
        )
    return np.asarray(earlier != np.arange(len(pairs)))


def _number(path: Path, number: int, column: str, text: str) -> float:
    value = number_of(text)
    if value is None:
        raise _wrong(path, number, f"{column} is {text!r}, expected a number")
    if not math.isfinite(value):
        raise _wrong(path, number, f"{column} is {text!r}, expected a finite number")
    return value


def _wrong(path: Path, number: int, what: str) -> DataError:
    return DataError(f"{path}, line {number}: {what}.", given=str(path), hint=_SHAPE)


def write_predictions(
    path: str | Path,
    pairs: PairTable,
    scores: ArrayLike,
    *,
    logits: ArrayLike | None = None,
    classes: ArrayLike | None = None,
) -> Path:
    """Write labelled pairs and their scores as `read_predictions` reads them, wholly or not at all.

    Args:
        path: the file; an existing one is replaced.
        pairs: P labelled pairs.
        scores: (P,) calibrated probabilities.
        logits: (P,) before calibration.
        classes: (P,) 1, 2 or 3.

    Raises:
        DataError: the pairs have no labels, or an array is not (P,).
    """
    if pairs.labels is None:
        raise DataError("predictions are written with their labels, and these pairs have none.")
    columns: list[Any] = [pairs.names_a, pairs.names_b, pairs.labels.tolist()]
    header = list(COLUMNS)
    for name, values in (("score", scores), ("logit", logits)):
        if values is not None:
            columns.append([format(value, ".9g") for value in np.asarray(values, dtype=np.float64).tolist()])
            header += [name] if name not in header else []
    if classes is not None:
        columns.append([f"C{one}" for one in np.asarray(classes).tolist()])
        header.append("class")
    if {len(column) for column in columns} != {len(pairs)}:
        raise DataError(f"{len(pairs):,} pairs, and columns of {[len(column) for column in columns]}.")
    path = Path(path)
    with writing(path) as file:
        file.write(("\t".join(header) + "\n").encode())
        file.writelines(("\t".join(map(str, row)) + "\n").encode() for row in zip(*columns, strict=True))
    return path
