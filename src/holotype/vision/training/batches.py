"""Batches of images: decoded ahead in threads, kept in memory where they are few, the same whenever asked.

Nothing here is random but the order, which is a pure function of the seed and the epoch: augmentation happens
in the objective, within the step.

Legend of shapes: B images of a batch, H and W pixels, M boxes of an image (padded), n images of a table.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from holotype.errors import ImageError
from holotype.training.steps import Step
from holotype.vision.data.preprocessing import Preprocessing
from holotype.vision.data.resize import read_image
from holotype.vision.data.table import ImageTable

_KEPT_BYTES = 1 << 30  # decoded images up to this size stay in memory
_AHEAD = 2  # batches that are decoded while one is computed
_UNLABELLED = -1

_T = TypeVar("_T")


class ImageReader:
    """The images of one part at one size, and their targets.

    Args:
        table: the images.
        size: (height, width).
        mode: how a picture is brought to it; see `holotype.vision.data.resize.resize_to`.
        exact: bring what has no boxes there as `holotype predict` does, to the last bit; that is slower.
        device: where batches are put.
        unreadable: called with the position of an image that cannot be read, before the error is raised.
    """

    def __init__(
        self,
        table: ImageTable,
        size: tuple[int, int],
        *,
        mode: str = "crop",
        exact: bool = False,
        device: torch.device | str = "cpu",
        unreadable: Callable[[int], None] | None = None,
    ) -> None:
        self.table, self.size, self.mode, self.device = table, size, mode, torch.device(device)
        how = Preprocessing(size, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear")
        self._exact = how if exact and table.boxes is None else None
        self._unreadable = unreadable
        count = len(table)
        kept = count * 3 * size[0] * size[1] <= _KEPT_BYTES
        self._pixels = torch.empty(count if kept else 0, 3, *size, dtype=torch.uint8)
        self._there = np.zeros(count, bool)
        if table.boxes is not None:
            self._most = max((len(one.labels) for one in table.boxes), default=0)
            self._boxes = torch.full((count, self._most, 5), float(_UNLABELLED))
        self._contents = torch.tensor([[size[1], size[0]]]).repeat(count, 1)
        labels = np.full(count, _UNLABELLED) if table.labels is None else table.labels
        self._labels = torch.from_numpy(labels.astype(np.int64))
        self._pool = ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1), "read-images")
        weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def labelled(self) -> bool:
        """Has every image a class?"""
        return bool(len(self)) and bool((self._labels != _UNLABELLED).all())

    def batch(self, indices: np.ndarray, *, weight: float = 1.0) -> ImageBatch:
        """These images; they are being read from now on."""
        reads = {int(at): self._pool.submit(self._read, int(at)) for at in indices if not self._there[at]}
        return ImageBatch(self, np.asarray(indices), reads, weight)

    def _read(self, at: int) -> Tensor:
        """One image as (3, H, W) uint8."""
        try:
            if self._exact is not None:
                pixels = (self._exact(self.table.open(at)) * 255).round().to(torch.uint8)
            else:
                pixels, place = read_image(self.table, at, self.size, self.mode)
        except ImageError:
            if self._unreadable is not None:
                self._unreadable(at)
            raise
        if self.table.boxes is not None:
            found = self.table.boxes[at]
            self._contents[at] = torch.tensor(place.content[::-1])
            moved = torch.cat(
                [place.to_result(found.boxes), torch.as_tensor(found.labels)[:, None].float()], dim=1
            )
            self._boxes[at, : len(moved)] = moved
        if len(self._pixels):
            self._pixels[at] = pixels
            self._there[at] = True  # the last thing: other threads look at it
        return pixels

    def _targets(self, indices: np.ndarray) -> Tensor:
        where = torch.from_numpy(indices)
        return self._labels[where] if self.table.boxes is None else self._boxes[where]

    def _moved(self, tensor: Tensor) -> Tensor:
        if self.device.type != "cuda":
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)


class ImageBatch:
    """Some images and their targets.

    Attributes:
        weight: of every image in the loss; 0 where a process has no image of its own and computes along.
    """

    def __init__(
        self, reader: ImageReader, indices: np.ndarray, reads: dict[int, Future[Tensor]], weight: float
    ) -> None:
        self.weight = weight
        self._reader, self._indices, self._reads = reader, indices, reads
        self._loaded: tuple[Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def images(self) -> Tensor:
        """(B, 3, H, W) float32, from 0 to 1, on the device."""
        return self._all()[0].float() / 255

    @property
    def targets(self) -> Tensor:
        """(B,) classes, -1 where there is none; or (B, M, 5) x1 y1 x2 y2 label, label -1 at padding."""
        return self._all()[1]

    @property
    def contents(self) -> Tensor:
        """(B, 2): width and height of what is picture; the rest, on the right and below, is padding."""
        self._all()
        reader = self._reader
        return reader._contents[torch.from_numpy(self._indices)].to(reader.device)

    def load(self) -> ImageBatch:
        """Have everything on the device now.

        Raises:
            ImageError: an image cannot be read; the message names it.
        """
        self._all()
        return self

    def cancel(self) -> None:
        """Read no further."""
        for read in self._reads.values():
            read.cancel()

    def _all(self) -> tuple[Tensor, Tensor]:
        if self._loaded is None:
            reader, pixels = self._reader, {at: read.result() for at, read in self._reads.items()}
            if len(reader._pixels):
                images = reader._pixels[torch.from_numpy(self._indices)]
            else:
                images = torch.stack([pixels[int(at)] for at in self._indices])
            self._loaded = reader._moved(images), reader._moved(reader._targets(self._indices))
            self._reads = {}
        return self._loaded


class ImageBatches:
    """The training images as steps, for one of several processes.

    Images are shuffled for each epoch; an incomplete batch at its end is left out, unless it is the only one.

    Args:
        reader: images and targets.
        images: images of one batch, in all processes together.
        portion: the most of them that are in memory at once, likewise; None for all.
        accumulate: batches of one step.
        seed: decides the order.
        rank: which process this is.
        world_size: how many there are.
    """

    def __init__(
        self,
        reader: ImageReader,
        *,
        images: int,
        portion: int | None = None,
        accumulate: int = 1,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.reader = reader
        self._portion = min(portion or images, images)
        self._batch, self._step = images, images * accumulate
        self._seed, self._rank, self._world_size = seed, rank, world_size

    def order(self, epoch: int) -> np.ndarray:
        """Which image comes when."""
        return np.random.default_rng([self._seed, epoch]).permutation(len(self.reader))

    def steps_in(self, epoch: int) -> int:
        """How many steps an epoch has."""
        return max(1, len(self.reader) // self._step)

    def steps(self, epoch: int, first: int = 0) -> Iterator[Step]:
        """The steps of an epoch, from `first` on."""
        order = self.order(epoch)
        return _ahead(
            self._step_of(order[number * self._step : (number + 1) * self._step])
            for number in range(first, self.steps_in(epoch))
        )

    def _step_of(self, images: np.ndarray) -> Step:
        batches = [images[at : at + self._batch] for at in range(0, len(images), self._batch)]
        cuts = [(one, at) for one in batches for at in range(0, len(one), self._portion)]
        return Step([self._mine(one[at : at + self._portion]) for one, at in cuts], len(images))

    def _mine(self, images: np.ndarray) -> ImageBatch:
        mine = images[self._rank :: self._world_size]
        # All processes compute as many portions, since each waits for the gradients of the others.
        return self.reader.batch(mine) if len(mine) else self.reader.batch(images[:1], weight=0.0)


def fewest_at_once(count: int, images: int, portion: int | None, accumulate: int = 1) -> int:
    """How many images the smallest portion of an epoch has, in all processes together.

    Args:
        count: of the training images.
        images: of one batch.
        portion: see `ImageBatches`; so is `accumulate`.
        accumulate: …
    """
    step = min(count, images * accumulate)  # incomplete only where it is the only one
    sizes = {images, step % images or images} if step > images else {step}
    most = min(portion or images, images)
    return min(size % most or most for size in sizes)


class ImagesToMeasure:
    """All images of a part in order, in batches of about the same size; those of one of several processes."""

    def __init__(self, reader: ImageReader, *, images: int, rank: int = 0, world_size: int = 1) -> None:
        self.reader = reader
        mine = np.arange(rank, len(reader), world_size)
        self._batches = (
            np.array_split(mine, -(-len(mine) // max(1, images // world_size))) if len(mine) else []
        )

    def __iter__(self) -> Iterator[ImageBatch]:
        return _ahead(self.reader.batch(one) for one in self._batches)


def _ahead(made: Iterable[_T]) -> Iterator[_T]:
    """The same, with the next ones made already: what makes them begins to read."""
    source = iter(made)
    waiting = deque(islice(source, 1))
    try:
        while waiting:
            waiting.extend(islice(source, 1 + _AHEAD - len(waiting)))
            yield waiting.popleft()
    finally:
        for one in waiting:
            for batch in _batches_of(one):
                batch.cancel()


def _batches_of(one: object) -> Sequence[ImageBatch]:
    return [one] if isinstance(one, ImageBatch) else one.portions if isinstance(one, Step) else ()
