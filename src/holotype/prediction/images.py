"""Classify photographs: open, crop, resize and normalise as the weights expect, then the top classes.

>>> from holotype.prediction import predict
>>> predict("efficientnet_lite0_imagenet1k", ["cat.jpg"])[0].top  # doctest: +SKIP
ClassProbability(name='tabby', probability=0.53)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any, NamedTuple

import torch
from torch import nn

from holotype.data.pictures import AnyPath, Preprocessing, field_of, open_image
from holotype.errors import ParameterError


class ClassProbability(NamedTuple):
    """A class and how probable the network finds it."""

    name: str
    probability: float


@dataclass(frozen=True)
class ImagePrediction:
    """What a network sees in one picture.

    Attributes:
        path: the file, as it was given.
        classes: the most probable classes, best first.
    """

    path: str
    classes: tuple[ClassProbability, ...]

    @property
    def top(self) -> ClassProbability:
        """The most probable class."""
        return self.classes[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, ready for JSON."""
        return {"path": self.path, "classes": [found._asdict() for found in self.classes]}


def predict_images(
    net: nn.Module,
    model_info: object,
    paths: AnyPath | Iterable[AnyPath],
    *,
    top_k: int = 5,
    batch_size: int = 16,
) -> list[ImagePrediction]:
    """Classify pictures with a network that is loaded already.

    Args:
        net: the network; it is used in evaluation mode and on the device where it is.
        model_info: what was loaded with it: preprocessing, resolution, class names.
        paths: one file or several.
        top_k: how many classes to name.
        batch_size: how many pictures to classify at once.

    Returns:
        One prediction a file, in the order given.

    Raises:
        ImageError: a file is not a picture; the message names it.
    """
    for name, value in (("top_k", top_k), ("batch_size", batch_size)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ParameterError(f"{name} is a whole number from 1 on, got {value!r}.", given=value)
    files = [fspath(path) for path in ([paths] if isinstance(paths, (str, PathLike)) else paths)]
    how = Preprocessing.of(model_info)
    names = _class_names(model_info)
    like = next(net.parameters(), torch.empty(0))
    was_training = net.training
    net.eval()
    try:
        with torch.inference_mode():
            found = []
            for batch in _batches(files, batch_size):
                images = torch.stack([how(open_image(path)) for path in batch])
                logits = net(images.to(device=like.device, dtype=like.dtype))
                probabilities = logits.float().softmax(1)
                best = probabilities.topk(min(top_k, probabilities.shape[1]), dim=1)
                for path, values, classes in zip(
                    batch, best.values.tolist(), best.indices.tolist(), strict=True
                ):
                    found.append(_prediction(path, values, classes, names))
            return found
    finally:
        net.train(was_training)


def predict(
    name: str,
    paths: AnyPath | Iterable[AnyPath],
    *,
    top_k: int = 5,
    batch_size: int = 16,
    device: str = "cpu",
) -> list[ImagePrediction]:
    """Classify pictures with a pretrained entry.

    Args:
        name: the entry, such as ``"efficientnet_lite0_imagenet1k"``.
        paths: one file or several.
        top_k: how many classes to name.
        batch_size: how many pictures to classify at once.
        device: where to run.
    """
    from holotype.loading.pretrained import load_pretrained_model

    net, model_info = load_pretrained_model(name, inference=True, device=device)
    return predict_images(net, model_info, paths, top_k=top_k, batch_size=batch_size)


def _class_names(model_info: object) -> dict[int, str]:
    class_to_idx = field_of(model_info, "class_to_idx")
    return {int(index): str(name) for name, index in (class_to_idx or {}).items()}


def _prediction(
    path: str, probabilities: list[float], classes: list[int], names: Mapping[int, str]
) -> ImagePrediction:
    return ImagePrediction(
        path,
        tuple(
            ClassProbability(names.get(index, str(index)), probability)
            for index, probability in zip(classes, probabilities, strict=True)
        ),
    )


def _batches(files: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(files), size):
        yield files[start : start + size]
