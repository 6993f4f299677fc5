"""Files of scored pairs: tab-separated text, or Parquet.

Columns: ``protein_a protein_b [label] score logit``. The score is a calibrated probability,
sigmoid(logit / temperature); the label column is written if the pairs have labels.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from holotype.errors import DataError
from holotype.extras import import_pyarrow
from holotype.files import check_new
from holotype.proteins.prediction.interactome import Scores, probabilities
from holotype.proteins.prediction.scoring import Integers

ENDINGS = (".tsv", ".parquet")


def check_ending(path: Path) -> str:
    """The format of a path, by its ending.

    Raises:
        DataError: the ending is not in `ENDINGS`.
        MissingExtraError: the format is Parquet, and pyarrow is not installed.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise DataError(
            f"{path}: the output must end in {' or '.join(ENDINGS)}, not in {ending or 'nothing'}.",
            given=str(path),
            hint=f"-o {path.with_suffix('.tsv')}",
        )
    if ending == ".parquet":
        import_pyarrow("scores.tsv")
    return ending


def check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse an output that exists or whose folder cannot be written to.

    Raises:
        DataError: nothing was changed.
    """
    check_new(path, overwrite=overwrite)
    if not path.parent.is_dir():
        raise DataError(
            f"{path}: no folder named {path.parent}.", given=str(path), hint=f"mkdir -p {path.parent}"
        )
    if not os.access(path.parent, os.W_OK):
        raise DataError(f"{path}: the folder {path.parent} is not writable.", given=str(path))


def write_table(
    path: Path,
    ending: str,
    names: Sequence[str],
    parts: Iterable[Scores],
    temperature: float,
    labels: Integers | None = None,
) -> int:
    """Write scored pairs to a new file.

    Args:
        path: the file.
        ending: its format, one of `ENDINGS`; the path may have another ending.
        names: the proteins that the indices refer to.
        parts: the pairs, in portions.
        temperature: the logits are divided by it.
        labels: of all pairs, in the same order.

    Returns:
        The number of pairs.
    """
    rows = 0
    with _WRITERS[ending](path, names, labels is not None) as writer:
        for part in parts:
            own = None if labels is None else labels[rows : rows + len(part.a)]
            writer.write(part, probabilities(part.logits, temperature), own)
            rows += len(part.a)
    return rows


class _Text:
    def __init__(self, path: Path, names: Sequence[str], labelled: bool) -> None:
        self._names = names
        self._file = path.open("w", encoding="utf-8", newline="\n")
        label = "label\t" if labelled else ""
        self._file.write(f"protein_a\tprotein_b\t{label}score\tlogit\n")

    def __enter__(self) -> _Text:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def write(self, part: Scores, scores: Any, labels: Integers | None) -> None:
        columns: list[Iterable[Any]] = [
            map(self._names.__getitem__, part.a.tolist()),
            map(self._names.__getitem__, part.b.tolist()),
            *([] if labels is None else [labels.tolist()]),
            scores.tolist(),
            part.logits.tolist(),
        ]
        line = "%s\t%s\t%.6g\t%.6g\n" if labels is None else "%s\t%s\t%d\t%.6g\t%.6g\n"
        # One format string for all lines takes half the time of one for each.
        values = tuple(itertools.chain.from_iterable(zip(*columns, strict=True)))
        self._file.write(line * len(part.a) % values)


class _Parquet:
    def __init__(self, path: Path, names: Sequence[str], labelled: bool) -> None:
        self._arrow, parquet = import_pyarrow("scores.tsv")
        # Names are stored once, pairs as indices into them.
        self._names = self._arrow.array(names, self._arrow.string())
        name = self._arrow.dictionary(self._arrow.int32(), self._arrow.string())
        kinds = [("protein_a", name), ("protein_b", name)]
        kinds += [("label", self._arrow.int8())] if labelled else []
        kinds += [("score", self._arrow.float32()), ("logit", self._arrow.float32())]
        self._schema = self._arrow.schema(kinds)
        self._writer = parquet.ParquetWriter(path, self._schema)

    def __enter__(self) -> _Parquet:
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close()

    def write(self, part: Scores, scores: Any, labels: Integers | None) -> None:
        named = [
            self._arrow.DictionaryArray.from_arrays(self._arrow.array(side, self._arrow.int32()), self._names)
            for side in (part.a, part.b)
        ]
        numbers = [*([] if labels is None else [labels]), scores, part.logits]
        columns = [*named, *(self._arrow.array(np.ascontiguousarray(column)) for column in numbers)]
        self._writer.write_table(self._arrow.Table.from_arrays(columns, schema=self._schema))


_WRITERS: dict[str, Callable[[Path, Sequence[str], bool], Any]] = {".tsv": _Text, ".parquet": _Parquet}
