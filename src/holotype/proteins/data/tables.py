"""Text tables: a row a line, cells separated by tabs, else by commas, else by spaces; plain or gzip."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

from holotype.errors import DataError
from holotype.files import unreadable

GZIP = b"\x1f\x8b"
_LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The number, from 1, and the text of each line that is not blank.

    Raises:
        DataError: the file cannot be read, is not UTF-8 text, or is a damaged gzip file.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == GZIP
            file.seek(0)
            text = io.TextIOWrapper(gzip.GzipFile(fileobj=file) if packed else file, encoding="utf-8-sig")
            for number, line in enumerate(text, 1):
                if "\0" in line:
                    raise DataError(f"{path}:{number} is not text: it holds NUL bytes.", given=str(path))
                if not line.isspace():
                    yield number, line.rstrip("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text.", given=str(path)) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged_gzip(path, error) from error
    except OSError as error:
        raise unreadable(path, error) from error


def damaged_gzip(path: Path, problem: Exception) -> DataError:
    """The error for a gzip file that ends too early or has changed."""
    return DataError(
        f"{path} is a damaged gzip file: {problem}.",
        given=str(path),
        hint="Fetch it again; 'gzip -t FILE' tests it.",
    )


def separator_of(line: str) -> str | None:
    """What separates the cells of a table, from its first line; None for spaces."""
    return "\t" if "\t" in line else "," if "," in line else None


def cells_of(line: str, separator: str | None) -> list[str]:
    """The cells of a line, without the spaces and quotation marks around them."""
    if '"' in line:
        return [cell.strip().strip('"').strip() for cell in line.split(separator)]
    return [cell.strip() for cell in line.split(separator)]


def label_of(cell: str) -> int | None:
    """A label as 0 or 1, from 0, 1, 0.0, 1.0, true or false; None for anything else."""
    label = _LABELS.get(cell)
    if label is not None:
        return label
    number = number_of(cell)
    return int(number) if number in (0.0, 1.0) else _LABELS.get(cell.lower())


def number_of(cell: str) -> float | None:
    """A cell as a number; None where it is not one."""
    try:
        return float(cell)
    except ValueError:
        return None
