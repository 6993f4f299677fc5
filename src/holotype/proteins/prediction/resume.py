"""Resuming an interrupted prediction.

Until the output OUT is complete, these files stand beside it:

- ``OUT.partial``: the listed pairs of the blocks that are done, appended, 12 bytes each;
- ``OUT.partial.json``: what was asked, the number of blocks done, and their bytes in ``OUT.partial``;
- ``OUT.partial.best``: for a ranking, the best partners so far instead, and the number of blocks.

Only what is on the disk is recorded as done, and each record replaces the one before atomically. So a process
that dies at any line leaves a state from which the same question gives the same bytes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from holotype.errors import DataError, HolotypeError, StoreError
from holotype.files import write_file
from holotype.proteins.prediction.interactome import Scores
from holotype.proteins.prediction.output import check_output
from holotype.proteins.prediction.scoring import Integers
from holotype.store.locks import try_lock

PAIR = np.dtype([("a", "<i4"), ("b", "<i4"), ("logit", "<f4")])
_EVERY_S = 2.0  # between two fsyncs
_READ_PAIRS = 2**17


class UnfinishedPrediction:
    """The scores so far of one prediction.

    Args:
        output: the file that will hold them.
        asked: the question, as plain data. Only the same question is resumed.
        overwrite: replace `output`, and discard the scores of another question.

    Attributes:
        blocks: the number of blocks done.

    Raises:
        DataError: `output` exists, the scores left there are of another question, or another process is
            writing them.
    """

    def __init__(self, output: Path, asked: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.output = output
        self._data, self._record, self._best = (
            output.with_name(f"{output.name}.partial{ending}") for ending in ("", ".json", ".best")
        )
        self.blocks = 0
        self._asked = json.loads(json.dumps(asked))
        self._bytes = 0
        self._last = time.monotonic()
        check_output(output, overwrite=overwrite)
        self._file = open(self._data, "a+b")  # noqa: SIM115, PTH123  # open, and so locked, until `close`
        try:
            if try_lock(self._file.fileno()) is False:
                raise DataError(
                    f"another process is writing {output}.",
                    given=str(output),
                    hint="Wait until it has finished, or stop it.",
                )
            check_output(output, overwrite=overwrite)  # again: that process may have finished just now
            self._resume(forget=overwrite)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> UnfinishedPrediction:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._file.close()
        except OSError as late:  # the rest of the buffer did not fit either
            error = error or late
        if isinstance(error, OSError) and not isinstance(error, HolotypeError):
            raise StoreError(
                f"{self.output} cannot be written: {error.strerror or error}.",
                given=str(self.output),
                hint="The scores so far are kept beside it: solve the problem and repeat the command.",
            ) from error

    def _resume(self, *, forget: bool) -> None:
        """Continue with the scores that an earlier process left."""
        left = self._read_record()
        same = left is not None and left["asked"] == self._asked
        if left is not None and not same and not forget:
            keys = sorted({*self._asked, *left["asked"]})
            differ = [key for key in keys if self._asked.get(key) != left["asked"].get(key)]
            raise DataError(
                f"{self._data} holds an interrupted prediction that differs in {', '.join(differ)}.",
                given=str(self._data),
                hint="Repeat that command to complete it, use --overwrite, or name another output.",
            )
        if left is not None and same and os.fstat(self._file.fileno()).st_size >= left["bytes"]:
            self.blocks, self._bytes = left["blocks"], left["bytes"]
        else:
            self._best.unlink(missing_ok=True)
        self._file.truncate(self._bytes)
        self._write_record()

    def _read_record(self) -> dict[str, Any] | None:
        try:
            left: Any = json.loads(self._record.read_bytes())
        except (OSError, ValueError):
            return None
        counts = [left.get("blocks"), left.get("bytes")] if isinstance(left, dict) else [None]
        if any(type(count) is not int or count < 0 for count in counts) or not isinstance(
            left["asked"], dict
        ):
            return None
        return dict(left)

    def _write_record(self) -> None:
        record = {"asked": self._asked, "blocks": self.blocks, "bytes": self._bytes}
        write_file(self._record, json.dumps(record).encode())
        self._last = time.monotonic()

    def append(self, scores: Scores) -> None:
        """Keep the listed pairs of the next block."""
        rows = np.empty(len(scores.a), PAIR)
        rows["a"], rows["b"], rows["logit"] = scores
        self._file.write(rows.tobytes())
        self._bytes += rows.nbytes
        self.blocks += 1
        if time.monotonic() - self._last >= _EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Write what was appended to the disk, then record it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._write_record()

    def keep(self, keys: Integers) -> None:
        """Note that a ranking includes the next block; save it from time to time."""
        self.blocks += 1
        if time.monotonic() - self._last >= _EVERY_S:
            head = np.array([self.blocks, *keys.shape], "<i8")
            write_file(self._best, head.tobytes() + np.ascontiguousarray(keys, "<i8").tobytes())
            self._last = time.monotonic()

    def best(self, shape: tuple[int, ...]) -> Integers | None:
        """The saved ranking, or None; `blocks` is then the number of blocks in it."""
        try:
            left = np.frombuffer(self._best.read_bytes(), "<i8")
        except (OSError, ValueError):
            return None
        if len(left) != 3 + shape[0] * shape[1] or tuple(left[1:3]) != shape or left[0] < 0:
            return None
        self.blocks = int(left[0])
        return left[3:].reshape(shape).astype(np.int64)

    def scores(self) -> Iterator[Scores]:
        """All listed pairs, in portions."""
        self._file.flush()
        self._file.seek(0)
        while chunk := self._file.read(_READ_PAIRS * PAIR.itemsize):
            rows = np.frombuffer(chunk, PAIR)
            yield Scores(rows["a"], rows["b"], rows["logit"])

    def remove(self) -> None:
        """Remove the files, once the output is complete."""
        for path in (self._best, self._record, self._data):
            path.unlink(missing_ok=True)
