"""The figures of a training, as ``metrics.csv`` and for TensorBoard."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from holotype.extras import missing_extra
from holotype.training.folder import replace_file


class Logs:
    """``metrics.csv``, and TensorBoard if wanted; a continued run drops what came after its checkpoint.

    Args:
        folder: the run folder.
        columns: figures on the validation examples.
        after_step: the last step that is to be kept.
        tensorboard: write ``tensorboard/`` too.
    """

    def __init__(self, folder: Path, columns: Iterable[str], *, after_step: int, tensorboard: bool) -> None:
        self._columns = ["step", "epoch", "learning_rate", "loss", "epoch_loss", *columns, "elapsed_s"]
        path = folder / "metrics.csv"
        kept = _rows_until(path, after_step, self._columns) if after_step else []
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
        replace_file(path, text.getvalue().encode())
        self._file = path.open("a", encoding="utf-8", newline="")
        self._csv = csv.DictWriter(self._file, self._columns, lineterminator="\n", restval="")
        self._board: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ModuleNotFoundError as error:
                raise missing_extra(error, "trainer.tensorboard") or error from error
            self._board = SummaryWriter(
                str(folder / "tensorboard"), purge_step=after_step + 1 if after_step else None
            )

    def write(self, row: Mapping[str, float]) -> None:
        """One row; it is on disk when this returns."""
        self._csv.writerow({key: _figure(value) for key, value in row.items()})
        self._file.flush()
        if self._board is not None:
            for key, value in row.items():
                if key not in ("step", "epoch", "elapsed_s"):
                    self._board.add_scalar(key, value, int(row["step"]))

    def close(self) -> None:
        """Write what is left, and close."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def _figure(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))


def _rows_until(path: Path, step: int, columns: list[str]) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return []
    # A line that a crash cut short has no last column.
    whole = [row for row in rows if set(row) == set(columns) and row["elapsed_s"]]
    return [row for row in whole if row["step"].isdigit() and int(row["step"]) <= step]
