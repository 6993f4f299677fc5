"""The steps of a training, as a source of batches provides them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

_T = TypeVar("_T")


class Step(NamedTuple):
    """The examples of one step of the optimizer.

    Attributes:
        portions: batches whose gradients are summed, for this process.
        total: the number of examples in them, including those of all other processes.
    """

    portions: Sequence[Any]
    total: int


class TrainingBatches(Protocol):
    """The source of a training's steps."""

    def steps_in(self, epoch: int) -> int:
        """The number of steps of an epoch."""
        ...

    def steps(self, epoch: int, first: int = 0) -> Iterator[Step]:
        """The steps of an epoch, starting at `first`; every call yields the same."""
        ...


def read_ahead(steps: Iterable[_T], depth: int = 2) -> Iterator[_T]:
    """The same steps; a thread reads the next ones while the accelerator computes."""
    ready: queue.Queue[tuple[_T | None, BaseException | None]] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: tuple[_T | None, BaseException | None]) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def read() -> None:
        try:
            for step in steps:
                for portion in getattr(step, "portions", ()):
                    if hasattr(portion, "load"):
                        portion.load()
                put((step, None))
                if stop.is_set():
                    return
            put((None, None))
        except BaseException as error:  # noqa: BLE001 - raised again where it can be seen
            put((None, error))

    thread = threading.Thread(target=read, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            step, error = ready.get()
            if error is not None:
                raise error
            if step is None:
                return
            yield step
    finally:
        stop.set()
        thread.join()
