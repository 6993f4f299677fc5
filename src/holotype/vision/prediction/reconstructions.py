"""What a masked image model makes of pictures of which it sees a part: original, masked, reconstructed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from holotype.vision.data.decode import AnyPath, open_image
from holotype.vision.data.preprocessing import Preprocessing
from holotype.vision.prediction.classification import ImagesReport
from holotype.vision.prediction.files import (
    Progress,
    Unreadable,
    decoded,
    enlarged,
    find_images,
    listed_paths,
    picture_paths,
    save_picture,
)
from holotype.vision.prediction.model import Model, evaluating, image_task, model_name, opened, refuse

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Reconstruction", "reconstruct_files", "reconstruct_images", "side_by_side"]

_GAP = 4
_DRAWN = 160  # pixels of a picture's height, at least


class Reconstruction(NamedTuple):
    """One picture, what the network saw of it, and what it made of that.

    Attributes:
        path: the file.
        original: (3, H, W), from 0 to 1.
        masked: likewise; what was hidden is grey, or as the model shows it.
        reconstructed: likewise.
        mask: (h, w), 1 where a patch was hidden.
    """

    path: str
    original: Tensor
    masked: Tensor
    reconstructed: Tensor
    mask: Tensor


def reconstruct_images(
    name: Model, paths: AnyPath | Iterable[AnyPath], *, seed: int = 0, device: str = "cpu"
) -> list[Reconstruction]:
    """Hide a part of each picture, and let a masked image model reconstruct it.

    Args:
        name: a pretrained entry, a weight file, or a run's folder; or a network and its record.
        paths: one file or several.
        seed: of the masks; each picture has its own, by its place in the list.
        device: where to run.

    Raises:
        ImageError: a file is no picture.
        DataError: the model is not a masked image model.
    """
    files = listed_paths(paths)
    net, info = opened(name, device)
    how = _checked(name, net, info)
    batches = decoded(files, lambda path: how(open_image(path)), batch_size=1)
    return [_one(net, how, path, image, seed, at) for at, [(path, image)] in enumerate(batches)]


def reconstruct_files(
    name: Model,
    paths: AnyPath | Iterable[AnyPath],
    *,
    pictures: str | Path,
    seed: int = 0,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ImagesReport:
    """For each file, folder or glob a picture: original, masked and reconstructed side by side.

    Args:
        name: as for `reconstruct_images`; so are `seed` and `device`.
        paths: see `holotype.vision.prediction.files.find_images`.
        pictures: the folder to write into.
        seed: …
        device: …
        overwrite: replace pictures that are there.
        progress: called with ``"reconstructing"``, and how many of how many files are done.

    Raises:
        DataError: there is no picture, one is there already, or the model is not a masked image model.
    """
    found = find_images(paths)
    places = picture_paths(found.files, pictures, overwrite=overwrite)
    net, info = opened(name, device)
    how = _checked(name, net, info)
    unreadable: list[Unreadable] = []
    drawn: list[str] = []
    began = time.perf_counter()
    # One at a time, so that no picture's mask depends on which others are read.
    batches = decoded(found.files, lambda p: how(open_image(p)), batch_size=1, unreadable=unreadable)
    at = {path: place for place, path in enumerate(found.files)}
    for [(path, image)] in batches:
        done = _one(net, how, path, image, seed, at[path])
        save_picture(side_by_side(done), places[path])
        drawn.append(str(places[path]))
        if progress is not None:
            progress("reconstructing", len(drawn) + len(unreadable), len(found.files))
    return ImagesReport(
        model=model_name(name, info),
        images=len(drawn),
        unreadable=tuple(unreadable),
        skipped=found.skipped,
        pictures=tuple(drawn),
        notes=(f"masks drawn with seed {seed}",),
        seconds=time.perf_counter() - began,
    )


def side_by_side(one: Reconstruction) -> Image:
    """Original, masked and reconstructed in one picture; small ones enlarged by a whole factor."""
    from PIL import Image as pillow  # noqa: N813  # a module

    height, width = one.original.shape[1:]
    joined = pillow.new("RGB", (3 * width + 2 * _GAP, height), "white")
    for at, tensor in enumerate((one.original, one.masked, one.reconstructed)):
        pixels = (tensor.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
        joined.paste(
            pillow.frombytes("RGB", (width, height), pixels.numpy().tobytes()), (at * (width + _GAP), 0)
        )
    return enlarged(joined, max(1, -(-_DRAWN // height)))


def _checked(name: Model, net: nn.Module, info: object) -> Preprocessing:
    if not callable(getattr(net, "reconstruct", None)):
        raise refuse(model_name(name, info), image_task(net, info), "reconstructing masked images")
    return Preprocessing.of(info)


def _one(
    net: nn.Module, how: Preprocessing, path: str, image: Tensor, seed: int, place: int
) -> Reconstruction:
    mean, std = torch.tensor(how.mean)[:, None, None], torch.tensor(how.std)[:, None, None]
    reconstruct: Any = net.reconstruct
    with evaluating(net) as like:
        devices = [like.device] if like.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed((seed * 1_000_003 + place) % 2**63)
            masked, made, mask = reconstruct(image[None].to(device=like.device, dtype=like.dtype))

    def shown(tensor: Tensor) -> Tensor:
        return (tensor.float().cpu() * std + mean).clamp(0, 1)

    return Reconstruction(path, shown(image), shown(masked[0]), shown(made[0]), mask[0].float().cpu())
