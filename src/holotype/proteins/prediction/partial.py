"""What an interrupted prediction leaves behind, and how it goes on from there.

Beside the output OUT there are, until it is complete:

- ``OUT.partial``: the listed pairs of the blocks that are done, appended, 12 bytes each;
- ``OUT.partial.json``: what was asked, how many blocks are done, and how much of ``OUT.partial`` they are;
- ``OUT.partial.best``: of a ranking, the best partners so far instead, and of how many blocks.

Only what is on the disk is recorded as done, and a record replaces the one before in one step. So a process
that dies at any line leaves a state from which the same question is answered to the same bytes.
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
from holotype.files import replace_file
from holotype.proteins.prediction.interactome import Scores
from holotype.proteins.prediction.pairs import Integers
from holotype.store.locks import try_lock

PAIR = np.dtype([("a", "<i4"), ("b", "<i4"), ("logit", "<f4")])
_EVERY_S = 2.0  # how often to wait for the disk
_READ_PAIRS = 2**17


class Partial:
    """The answers so far to one question.

    Args:
        output: the file that it will become.
        asked: what is asked, as plain data. Only the same question is gone on with.
        overwrite: replace `output`, and forget what is left of another question.

    Attributes:
        blocks: how many blocks are done.

    Raises:
        DataError: `output` is there already, what is left is of another question, or another process
            is at it.
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
                    hint="Wait for it, or stop it.",
                )
            check_output(output, overwrite=overwrite)  # again: it may just have finished
            self._go_on(forget=overwrite)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._file.close()
        except OSError as late:  # what was still to be written does not fit either
            error = error or late
        if isinstance(error, OSError) and not isinstance(error, HolotypeError):
            raise StoreError(
                f"cannot write {self.output}: {error.strerror or error}.",
                given=str(self.output),
                hint="What is done is kept beside it: put that right, and give the same command again.",
            ) from error

    def _go_on(self, *, forget: bool) -> None:
        """Take over what an earlier process has left."""
        left = self._read_record()
        same = left is not None and left["asked"] == self._asked
        if left is not None and not same and not forget:
            keys = sorted({*self._asked, *left["asked"]})
            differ = [key for key in keys if self._asked.get(key) != left["asked"].get(key)]
            raise DataError(
                f"{self._data} holds what an interrupted prediction left, and that was asked something else "
                f"({', '.join(differ)}).",
                given=str(self._data),
                hint="Give that command again to complete it, --overwrite to begin anew, or another output.",
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
        replace_file(self._record, json.dumps(record).encode())
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
        """Put what was appended on the disk, then record it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._write_record()

    def keep(self, keys: Integers) -> None:
        """Keep a ranking that the next block is in, now and then."""
        self.blocks += 1
        if time.monotonic() - self._last >= _EVERY_S:
            head = np.array([self.blocks, *keys.shape], "<i8")
            replace_file(self._best, head.tobytes() + np.ascontiguousarray(keys, "<i8").tobytes())
            self._last = time.monotonic()

    def best(self, shape: tuple[int, ...]) -> Integers | None:
        """The ranking that was kept, or None; `blocks` then tells how many blocks are in it."""
        try:
            left = np.frombuffer(self._best.read_bytes(), "<i8")
        except (OSError, ValueError):
            return None
        if len(left) != 3 + shape[0] * shape[1] or tuple(left[1:3]) != shape or left[0] < 0:
            return None
        self.blocks = int(left[0])
        return left[3:].reshape(shape).astype(np.int64)

    def scores(self) -> Iterator[Scores]:
        """All listed pairs, some at a time."""
        self._file.flush()
        self._file.seek(0)
        while chunk := self._file.read(_READ_PAIRS * PAIR.itemsize):
            rows = np.frombuffer(chunk, PAIR)
            yield Scores(rows["a"], rows["b"], rows["logit"])

    def remove(self) -> None:
        """Clear up, when the output is complete."""
        for path in (self._best, self._record, self._data):
            path.unlink(missing_ok=True)


def check_output(output: Path, *, overwrite: bool) -> None:
    """Refuse an output that cannot be written, or that is there already.

    Raises:
        DataError: and nothing was changed.
    """
    if output.is_dir():
        raise DataError(
            f"{output} is a folder.", given=str(output), hint=f"Name a file: -o {output}/scores.tsv"
        )
    if output.exists() and not overwrite:
        raise DataError(
            f"{output} is there already.",
            given=str(output),
            hint="Give --overwrite to replace it, or another -o.",
        )
    if not output.parent.is_dir():
        raise DataError(
            f"{output}: there is no folder {output.parent}.",
            given=str(output),
            hint=f"mkdir -p {output.parent}",
        )
    if not os.access(output.parent, os.W_OK):
        raise DataError(f"{output}: the folder {output.parent} may not be written to.", given=str(output))
