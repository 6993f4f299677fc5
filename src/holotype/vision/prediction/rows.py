"""Rows as a file: CSV, JSON lines or Parquet. It is written completely or not at all."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TextIO

from holotype.errors import DataError
from holotype.extras import import_pyarrow
from holotype.files import check_new, writing_path

ENDINGS = (".csv", ".parquet", ".jsonl")
_ROWS_AT_ONCE = 4096

Kind = Literal["text", "number", "vector"]


class RowWriter(Protocol):
    """Writes rows in one format.

    Attributes:
        nested: are rows any mappings, as in JSON lines, and not values of the columns?
    """

    nested: ClassVar[bool]

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row: a value for each column; None, or nothing, where there is none."""

    def close(self) -> None:
        """Write what is left."""


@contextmanager
def row_file(
    path: str | Path, columns: Mapping[str, Kind], *, overwrite: bool = False
) -> Iterator[RowWriter]:
    """A new file of rows; it gets its name when the block ends without an error.

    Args:
        path: the file; its ending decides the format.
        columns: name → what is in it. A vector is spread over columns ``name_0, name_1, …`` in CSV.
        overwrite: replace a file that exists.

    Raises:
        DataError: the ending is none of `ENDINGS`, or the file exists already.
        MissingExtraError: Parquet, and pyarrow is not installed.
        OSError: it cannot be written; it names `path`.
    """
    path = Path(path)
    ending = check_rows(path, overwrite=overwrite)
    with writing_path(path, overwrite=overwrite) as temporary:
        writer = _WRITERS[ending](temporary, columns)
        try:
            yield writer
        finally:
            writer.close()


def check_rows(path: Path, *, overwrite: bool = False, endings: Sequence[str] = ENDINGS) -> str:
    """The ending of a file that may be written.

    Raises:
        DataError: another ending, a file that exists already, or a folder that does not exist.
        MissingExtraError: Parquet, and pyarrow is not installed.
    """
    ending = path.suffix.lower()
    if ending not in endings:
        raise DataError(
            f"{path}: this is written as {', '.join(endings[:-1])} or {endings[-1]}, "
            f"not as {ending or 'a file without an ending'}.",
            given=str(path),
            hint=f"-o {path.with_suffix(endings[0])}" if path.name else None,
        )
    if ending == ".parquet":
        import_pyarrow("out.csv")
    check_new(path, overwrite=overwrite)
    if not path.absolute().parent.is_dir():
        raise DataError(f"{path}: its folder does not exist.", given=str(path))
    return ending


def text(value: object) -> str:
    r"""A name as every reader takes it: bytes of a file name that are no UTF-8 become ``\xff``."""
    found = str(value)
    try:
        found.encode()
    except UnicodeEncodeError:
        return found.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return found


def _value(value: object) -> Any:
    if isinstance(value, (int, float)) or value is None:
        return value
    if isinstance(value, Mapping):
        return {key: _value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_value(item) for item in value]
    tolist = getattr(value, "tolist", None)  # of numpy and torch
    return text(value) if tolist is None else tolist()


class _Lines:
    """Ends lines with a line feed. `csv` quotes a carriage return only where it ends lines with one."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, line: str) -> int:
        return self._file.write(line.removesuffix("\r\n") + "\n")


class _Csv:
    nested: ClassVar[bool] = False

    def __init__(self, path: Path, columns: Mapping[str, Kind]) -> None:
        self._columns, self._begun = columns, False
        self._file = path.open("x", encoding="utf-8", newline="")
        self._csv = csv.writer(_Lines(self._file), lineterminator="\r\n")
        if "vector" not in columns.values():
            self._begin({})

    def _begin(self, row: Mapping[str, Any]) -> None:
        self._begun = True
        self._csv.writerow(
            [
                title
                for name, kind in self._columns.items()
                for title in ([f"{name}_{i}" for i in range(len(row[name]))] if kind == "vector" else [name])
            ]
        )

    def write(self, row: Mapping[str, Any]) -> None:
        if not self._begun:
            self._begin(row)
        cells: list[object] = []
        for name, kind in self._columns.items():
            value = row.get(name)
            if kind == "vector":
                cells += [f"{number:.7g}" for number in _value(value)]
            elif kind == "number" and isinstance(value, float):
                cells.append(f"{value:.6g}")
            else:
                cells.append("" if value is None else text(value))
        self._csv.writerow(cells)

    def close(self) -> None:
        self._file.close()


class _JsonLines:
    nested: ClassVar[bool] = True

    def __init__(self, path: Path, columns: Mapping[str, Kind]) -> None:
        self._file = path.open("x", encoding="utf-8", newline="\n")

    def write(self, row: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(_value(row), ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._file.close()


class _Parquet:
    nested: ClassVar[bool] = False

    def __init__(self, path: Path, columns: Mapping[str, Kind]) -> None:
        self._arrow, self._parquet = import_pyarrow("out.csv")
        self._path, self._columns = path, columns
        self._rows: list[Mapping[str, Any]] = []
        self._writer: Any = None

    def write(self, row: Mapping[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) == _ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        arrow = self._arrow
        if self._writer is None:
            kinds: dict[str, Any] = {"text": arrow.string(), "number": arrow.float32()}
            fields = []
            for name, kind in self._columns.items():
                if kind == "vector":
                    length = len(self._rows[0][name]) if self._rows else -1
                    fields.append((name, arrow.list_(arrow.float32(), length)))
                else:
                    fields.append((name, kinds[kind]))
            self._writer = self._parquet.ParquetWriter(self._path, arrow.schema(fields))
        rows = [{name: _value(row.get(name)) for name in self._columns} for row in self._rows]
        self._writer.write_table(arrow.Table.from_pylist(rows, schema=self._writer.schema))
        self._rows = []

    def close(self) -> None:
        if self._rows or self._writer is None:
            self._flush()
        self._writer.close()


_WRITERS: dict[str, Callable[[Path, Mapping[str, Kind]], RowWriter]] = {
    ".csv": _Csv,
    ".jsonl": _JsonLines,
    ".parquet": _Parquet,
}
