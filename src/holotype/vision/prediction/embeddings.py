"""Embeddings of pictures: what a network knows of them before its last layer, as a table or arrays.

>>> from holotype.vision.prediction.embeddings import embed_images
>>> names, vectors = embed_images("efficientnet_lite0_imagenet1k", ["cat.jpg"])  # doctest: +SKIP
>>> vectors.shape  # doctest: +SKIP
(1, 1280)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from holotype.errors import DataError
from holotype.files import writing
from holotype.vision.data.decode import AnyPath, open_image
from holotype.vision.data.preprocessing import Preprocessing
from holotype.vision.prediction.classification import ImagesReport
from holotype.vision.prediction.files import Progress, Unreadable, find_images, listed_paths
from holotype.vision.prediction.model import Model, applied, image_task, model_name, opened, refuse
from holotype.vision.prediction.rows import check_rows, row_file, text
from holotype.vision.tasks import TASKS

__all__ = ["ENDINGS", "ImageEmbeddings", "embed_files", "embed_images", "embedding_of"]

ENDINGS = (".parquet", ".npz", ".csv", ".jsonl")


class ImageEmbeddings(NamedTuple):
    """Embeddings of pictures.

    Attributes:
        names: the files, as they were given.
        vectors: (n, F) float32, a row for each.
    """

    names: tuple[str, ...]
    vectors: np.ndarray[Any, np.dtype[np.float32]]


def embedding_of(net: nn.Module, info: object, name: str = "the network") -> tuple[
    Callable[[Tensor], Tensor], str | None
]:  # fmt: skip
    """What embeds images, (B, C, H, W) → (B, F), and what there is to say about it.

    Of a classifier it is what its last layer looks at; of a self-supervised model, its embedding; of a masked
    image model, that of its encoder, which sees the whole picture.

    Raises:
        DataError: the network has no embedding.
    """
    task = image_task(net, info)
    facts = TASKS.get(task)
    if facts is not None and not facts.embeds:
        raise refuse(name, task, "embedding whole images")
    source = net if facts is None or hasattr(net, "embedding") else facts.encoder_in(net)
    note = None if facts is None or not facts.note else facts.note.format(name=name)
    embed = getattr(source, "embedding", None)
    if not callable(embed):
        raise DataError(f"{name} ({type(source).__name__}) has no embedding.", given=name)
    return embed, note


def embed_images(
    name: Model,
    paths: AnyPath | Iterable[AnyPath],
    *,
    batch_size: int = 16,
    device: str = "cpu",
    progress: Progress | None = None,
) -> ImageEmbeddings:
    """Embed pictures.

    Args:
        name: a pretrained entry, a weight file, or a run's folder; or a network and its record.
        paths: one file or several.
        batch_size: how many pictures at once; threads decode the next ones meanwhile.
        device: where to run.
        progress: called with ``"embedding images"``, and how many of how many files are done.

    Returns:
        The names, and their embeddings in the same order.

    Raises:
        ImageError: a file is no picture; the message names it.
        DataError: the model does not embed.
    """
    files = listed_paths(paths)
    net, info = opened(name, device)
    embed, _ = embedding_of(net, info, model_name(name, info))
    parts = list(_embedded(net, embed, Preprocessing.of(info), files, batch_size, None, progress))
    names = tuple(name for names, _ in parts for name in names)
    vectors = [vectors for _, vectors in parts]
    width = int(getattr(net, "num_features", 0))
    joined = np.concatenate(vectors) if vectors else np.zeros((0, width), np.float32)
    return ImageEmbeddings(names, joined)


def embed_files(
    name: Model,
    paths: AnyPath | Iterable[AnyPath],
    *,
    output: str | Path,
    batch_size: int = 16,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ImagesReport:
    """Embed files, folders and globs into a file.

    ``.parquet``: columns ``path`` and ``embedding``, a list of fixed length; ``.npz``: arrays ``paths`` and
    ``embeddings``; ``.csv``: ``path, embedding_0, embedding_1, …``. A file that cannot be read is reported,
    and the others go on.

    Args:
        name: as for `embed_images`; so are `batch_size` and `device`.
        paths: see `holotype.vision.prediction.files.find_images`.
        output: the file; one of `ENDINGS`.
        batch_size: …
        device: …
        overwrite: replace the file.
        progress: as for `embed_images`.

    Raises:
        DataError: there is no picture, the file is there already, or the model does not embed.
    """
    output = Path(output)
    ending = check_rows(output, overwrite=overwrite, endings=ENDINGS)
    found = find_images(paths)
    net, info = opened(name, device)
    embed, note = embedding_of(net, info, model_name(name, info))
    unreadable: list[Unreadable] = []
    names: list[str] = []
    kept: list[Any] = []
    began, width = time.perf_counter(), 0
    parts = _embedded(net, embed, Preprocessing.of(info), found.files, batch_size, unreadable, progress)
    columns: dict[str, Any] = {"path": "text", "embedding": "vector"}
    with row_file(output, columns, overwrite=overwrite) if ending != ".npz" else nullcontext() as table:
        for own, vectors in parts:
            names += own
            width = vectors.shape[1]
            if table is None:
                kept.append(vectors)
                continue
            for path, vector in zip(own, vectors, strict=True):
                table.write({"path": text(path), "embedding": vector})
    if ending == ".npz":
        joined = np.concatenate(kept) if kept else np.zeros((0, 0), np.float32)
        with writing(output, overwrite=overwrite) as file:
            paths_written = np.array([text(path) for path in names], dtype=np.str_)
            np.savez(file, paths=paths_written, embeddings=joined)
    return ImagesReport(
        model=model_name(name, info),
        images=len(names),
        unreadable=tuple(unreadable),
        skipped=found.skipped,
        output=str(output),
        rows=len(names),
        notes=(*((f"{width:,} numbers an image",) if width else ()), *((note,) if note else ())),
        seconds=time.perf_counter() - began,
    )


def _embedded(
    net: nn.Module,
    embed: Callable[[Tensor], Tensor],
    how: Preprocessing,
    files: Sequence[str],
    batch_size: int,
    unreadable: list[Unreadable] | None,
    progress: Progress | None,
) -> Iterator[tuple[list[str], Any]]:
    batches = applied(
        net,
        lambda images: embed(images).float().cpu().numpy(),
        files,
        lambda path: (how(open_image(path)), None),
        stage="embedding images",
        batch_size=batch_size,
        unreadable=unreadable,
        progress=progress,
    )
    return (([path for path, _, _ in batch], vectors) for batch, vectors in batches)
