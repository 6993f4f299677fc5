"""Rows as a file: CSV, JSON lines or Parquet. It is there wholly or not at all."""

from __future__ import annotations

import csv
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TextIO

from holotype.errors import DataError, MissingExtraError

ENDINGS = (".csv", ".parquet", ".jsonl")
_ROWS_AT_ONCE = 4096

Kind = Literal["text", "number", "vector"]


class RowFile:
    """A new file of rows; a context, at whose end the file gets its name, unless an error ended it.

    Attributes:
        path: the file.
        ending: of its name.

    Args:
        path: the file; its ending tells the format.
        columns: name → what is in it. A vector is spread over columns ``name_0, name_1, …`` in CSV.
        overwrite: replace a file that is there.

    Raises:
        DataError: the ending is none of `ENDINGS`, or the file is there already.
        MissingExtraError: Parquet, and pyarrow is not installed.
    """

    def __init__(self, path: str | Path, columns: Mapping[str, Kind], *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.ending = ending = check_rows(self.path, overwrite=overwrite)
        self._overwrite = overwrite
        self._temporary = unfinished(self.path)
        with naming(self.path):
            self._writer = _WRITERS[ending](self._temporary, columns)

    def __enter__(self) -> RowFile:
        return self

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row: a value for each column; None, or nothing, where there is none."""
        with naming(self.path):
            self._writer.write(row)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            with naming(self.path):
                self._writer.close()
                if kind is None:
                    finish(self._temporary, self.path, overwrite=self._overwrite)
        finally:
            self._temporary.unlink(missing_ok=True)


def check_rows(path: Path, *, overwrite: bool = False, endings: Sequence[str] = ENDINGS) -> str:
    """The ending of a file that may be written.

    Raises:
        DataError: another ending, or a file that is there already.
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
        _pyarrow()
    check_new(path, overwrite=overwrite)
    return ending


def check_new(path: Path, *, overwrite: bool, folder: bool = True) -> None:
    """Refuse a file that is there, or (with `folder`) whose folder is not.

    Raises:
        DataError: so it is.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder.", given=str(path))
    if path.exists() and not overwrite:
        raise DataError(
            f"{path} is there already.",
            given=str(path),
            hint="Give --overwrite to replace it (in Python: overwrite=True), or another name.",
        )
    if folder and not path.absolute().parent.is_dir():
        raise DataError(f"{path}: there is no such folder.", given=str(path))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """What the disk refuses names the file that is meant, not the unfinished one, or none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def unfinished(path: Path) -> Path:
    """A name beside a file, for what is to become it."""
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")


def finish(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Give a complete file its name.

    Raises:
        DataError: another file has taken that name meanwhile.
    """
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    check_new(path, overwrite=overwrite)
    temporary.replace(path)


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
    def __init__(self, path: Path, columns: Mapping[str, Kind]) -> None:
        self._file = path.open("x", encoding="utf-8", newline="\n")

    def write(self, row: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(_value(row), ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._file.close()


class _Parquet:
    def __init__(self, path: Path, columns: Mapping[str, Kind]) -> None:
        self._arrow, self._parquet = _pyarrow()
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


_WRITERS: dict[str, Callable[[Path, Mapping[str, Kind]], Any]] = {
    ".csv": _Csv,
    ".jsonl": _JsonLines,
    ".parquet": _Parquet,
}


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow  # type: ignore[import-untyped]  # it has no types
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError(
            "writing Parquet needs pyarrow, which is not installed.",
            given="pyarrow",
            hint='pip install "holotype[parquet]"; or write text: -o out.csv',
        ) from error
    return pyarrow, parquet
