"""Augmentation: batches of images, changed at random while a network is trained.

It works on whole batches on their device, each image by numbers of its own, and draws from torch's global
generator only: the same seed gives the same images. `augmentation.presets` lists the presets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # as everyone calls it
from torch import Tensor

from holotype.errors import ParameterError, ShapeError
from holotype.vision.data.augmentation import colour
from holotype.vision.data.augmentation.geometry import (
    crops,
    identity,
    mirrored,
    move_boxes,
    placed,
    rectangles,
    resized,
    turns,
    uniform,
    windows,
)
from holotype.vision.data.augmentation.presets import preset_options
from holotype.vision.data.augmentation.trivial_augment import trivial_augment
from holotype.vision.data.resize import MEAN_COLOUR, size_of

__all__ = ["Augmentation", "make_augmentation"]

Change = Callable[[Tensor], Tensor]  # images -> images
Place = Callable[[Tensor], Tensor]  # images -> (B, 2, 3), where to look in each


class Augmentation:
    """What `make_augmentation` makes: call it with a batch.

    Attributes:
        name: of the preset.
        kind: ``"classification"``, ``"detection"`` or ``"views"``.
        options: all of them, the defaults filled in.
        size: (height, width) of the images it gives.
        read_size: (height, width) that the images it is given should have.
        view_sizes: (height, width) of each view; of one image for the other kinds.
        soft_targets: does it give (B, N) shares of the classes instead of (B,) labels?
    """

    def __init__(
        self,
        name: str,
        kind: str,
        options: Mapping[str, float],
        size: tuple[int, int],
        read_size: tuple[int, int],
        num_classes: int | None,
    ) -> None:
        self.name, self.kind, self.options, self.size, self.read_size = name, kind, options, size, read_size
        self.num_classes = num_classes
        self.soft_targets = bool(options.get("mixup", 0) or options.get("cutmix", 0))
        self._views = _MADE[kind](name, options, size)
        self.view_sizes = tuple(view.size for view in self._views)

    def __repr__(self) -> str:
        given = "".join(f", {key}={value:g}" for key, value in self.options.items())
        return f"<Augmentation {self.name} for {self.kind}, {self.size[0]} x {self.size[1]}{given}>"

    @torch.no_grad()
    def __call__(self, images: Tensor, targets: Tensor | None = None) -> Any:
        """Change a batch.

        Args:
            images: (B, 3, H, W) floats in [0, 1], of any size.
            targets: (B,) labels for classification (-1: none), (B, M, 5) boxes for detection; not for views.

        Returns:
            A list of views for kind ``"views"``; else (images, targets). Images are in [0, 1].

        Raises:
            ShapeError: images or targets of another shape.
            ParameterError: targets are missing, or given for views.
        """
        _check(images, targets, self.kind)
        made = [view(images) for view in self._views]
        if self.kind == "views":
            return [view for view, _ in made]
        [(changed, theta)] = made
        if self.kind == "detection" and targets is not None:
            before = (images.shape[-2], images.shape[-1])
            targets = move_boxes(targets, theta, before, self.size)
        return self._mixed(changed, targets) if self.soft_targets else (changed, targets)

    def _mixed(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mixup (Zhang et al. 2018, section 2) or CutMix (Yun et al. 2019, section 3.1), half and half."""
        if labels is None or self.num_classes is None:
            raise ParameterError("mixup and CutMix need labels, and num_classes.", given=labels)
        shares = F.one_hot(labels.clamp(min=0), self.num_classes).to(images.dtype)
        shares = shares * (labels >= 0)[:, None]
        alphas = [self.options[key] for key in ("mixup", "cutmix")]
        cut = alphas[1] > 0 and (alphas[0] == 0 or float(uniform(1, 0, 1)) < 0.5)
        alpha = torch.full((len(images),), float(alphas[int(cut)]), device="cpu")
        kept = torch.distributions.Beta(alpha, alpha).sample()
        other = torch.randperm(len(images), device="cpu").to(images.device)
        if cut:
            side = (1 - kept).clamp(min=0).sqrt()
            size = (images.shape[-2], images.shape[-1])
            centres = [uniform(len(images), 0, length) for length in size]
            inside = rectangles(centres, [side * length for length in size], size).to(images.device)
            images = torch.where(inside[:, None], images[other], images)
            kept = 1 - inside.to(images.dtype).mean((1, 2))
        else:
            kept = kept.to(images)
            images = torch.lerp(images[other], images, kept[:, None, None, None])
        return images, torch.lerp(shares[other], shares, kept[:, None])


def make_augmentation(
    preset: str | Mapping[str, Any],
    size: int | Sequence[int],
    *,
    kind: str = "classification",
    num_classes: int | None = None,
) -> Augmentation:
    """An augmentation, to be called with batches.

    Args:
        preset: a name, or a mapping of it and options: ``{"name": "dino", "local_crops": 4}``.
        size: of the images it gives, (height, width) or one number for both.
        kind: ``"classification"``, ``"detection"`` or ``"views"``.
        num_classes: how many classes there are; needed for mixup and CutMix only.

    Raises:
        ParameterError: an unknown preset, option or kind; it lists every problem.
    """
    name, made, options = preset_options(preset, kind)
    height, width = size_of(size)
    if num_classes is None and (options.get("mixup") or options.get("cutmix")):
        raise ParameterError(f"{name!r} with mixup or CutMix needs num_classes.", given=preset)
    read_size = (round(height * made.margin), round(width * made.margin))
    return Augmentation(name, kind, options, (height, width), read_size, num_classes)


# -- what the presets do -------------------------------------------------------------------------------


class _View:
    """One result for each image: a place in it, and then changes. Without a place, the image is resized."""

    def __init__(
        self, size: tuple[int, int], place: Place | None, *changes: Change, fill: Tensor | None = None
    ) -> None:
        self.size, self.place, self.changes, self.fill = size, place, changes, fill

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) → (B, 3, h, w), and the (B, 2, 3) places."""
        if self.place is None or not len(images):
            return resized(images, self.size), identity(len(images))
        theta = self.place(images)
        view = placed(images, theta, self.size, fill=self.fill)
        for change in self.changes:
            view = change(view)
        return view.clamp(0, 1), theta


def _classification(name: str, options: Mapping[str, float], size: tuple[int, int]) -> list[_View]:
    if name == "none":
        return [_View(size, None)]
    if name == "flip":
        return [_View(size, lambda images: mirrored(identity(len(images))))]
    if name == "digits":
        return [_View(size, _turned(options))]
    changes: list[Change] = []
    if options.get("colour"):
        changes.append(_jitter(options["colour"]))
    if name == "standard":
        changes.append(trivial_augment)
    if options.get("erasing"):
        changes.append(_sometimes(options["erasing"], _erased))
    return [_View(size, _cropped(options["crop"]), *changes)]


def _detection(name: str, options: Mapping[str, float], size: tuple[int, int]) -> list[_View]:
    if name == "none":
        return [_View(size, None)]
    most = options.get("jitter", 1.0)
    changes = [_jitter(options["colour"])] if options.get("colour") else []
    fill = torch.tensor(MEAN_COLOUR) / 255
    return [_View(size, lambda images: mirrored(_rescaled(len(images), most)), *changes, fill=fill)]


def _views(name: str, options: Mapping[str, float], size: tuple[int, int]) -> list[_View]:
    count, small = int(options.get("views", 2)), int(options.get("local_crops", 0))
    local = (int(options.get("local_size", 0)),) * 2
    if name == "none":
        return [_View(size, None)] * count
    if name == "ijepa":  # Assran et al. 2023, appendix A.1: crops only
        return [_View(size, lambda images: crops(len(images), options["crop"], 1.0))]
    if name == "digits_views":
        changes = [_ink(options["contrast"]), _noise(options["noise"])]
        most = options["local_scale"]
        part = _View(local, lambda images: crops(len(images), most / 2, most), *changes)
        return [_View(size, _turned(options), *changes)] * count + [part] * small
    if name == "simclr":  # Chen et al. 2020, appendix A
        jitter = _jitter(options["strength"], (0.8, 0.8, 0.8, 0.2))
        changes = [_sometimes(0.8, jitter), _GREYED, _blurred(0.5, size)]
        return [_View(size, _cropped(options["crop"]), *changes)] * count
    # Grill et al. 2020, appendix B, table 6; Caron et al. 2021, section 3.1 and appendix.
    jittered = [_sometimes(0.8, _jitter(1.0, (0.4, 0.4, 0.2, 0.1))), _GREYED]
    low = options["local_scale"] if name == "dino" else options["crop"]
    views = [
        _View(size, _cropped(low), *jittered, _blurred(1.0, size)),
        _View(size, _cropped(low), *jittered, _blurred(0.1, size), _sometimes(0.2, _solarized)),
    ]
    if small:
        part = _View(local, _cropped(min(0.05, low / 2), low), *jittered, _blurred(0.5, local))
        views += [part] * small
    return views


_MADE = {"classification": _classification, "detection": _detection, "views": _views}


# -- places --------------------------------------------------------------------------------------------


def _cropped(low: float, high: float = 1.0) -> Place:
    return lambda images: mirrored(crops(len(images), low, high))


def _turned(options: Mapping[str, float]) -> Place:
    def place(images: Tensor) -> Tensor:
        aspect = images.shape[-2] / images.shape[-1]
        return turns(len(images), options["degrees"], options["shift"], options["zoom"], aspect)

    return place


def _rescaled(count: int, most: float) -> Tensor:
    """(B, 2, 3): each image larger or smaller by up to a factor, and anywhere in its frame."""
    scale = torch.exp(uniform(count, -1, 1) * math.log(most))
    room = (1 - 1 / scale).abs()
    return windows(1 / scale, 1 / scale, uniform(count, -1, 1) * room, uniform(count, -1, 1) * room)


# -- changes -------------------------------------------------------------------------------------------


def _sometimes(chance: float, change: Change) -> Change:
    """The change for some of the images only, each chosen by itself."""

    def changed(images: Tensor) -> Tensor:
        chosen = (uniform(len(images), 0, 1) < chance).nonzero()[:, 0].to(images.device)
        if not len(chosen):
            return images
        return images.index_copy(0, chosen, change(images.index_select(0, chosen)))

    return changed


def _jitter(strength: float, of: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 0.25)) -> Change:
    """Brightness, contrast, saturation and hue in any order, each changed by up to a part of the strength."""
    most = [min(part * strength, 1.0 if at < 3 else 0.5) for at, part in enumerate(of)]
    changes = (colour.brightness, colour.contrast, colour.saturation, colour.hue)

    def change(images: Tensor) -> Tensor:
        for at in torch.randperm(4, device="cpu").tolist():
            amount = uniform(len(images), -most[at], most[at])
            if most[at]:
                images = changes[at](images, amount if at == 3 else 1 + amount).clamp(0, 1)
        return images

    return change


_GREYED = _sometimes(0.2, lambda images: colour.grey(images).expand_as(images))


def _blurred(chance: float, size: tuple[int, int]) -> Change:
    side = max(3, min(size) // 10 // 2 * 2 + 1)  # a tenth of the image, and odd
    return _sometimes(
        chance,
        lambda images: colour.blur(images, uniform(len(images), 0.1, 2.0), min(side, 2 * min(size) - 1)),
    )


def _solarized(images: Tensor) -> Tensor:
    return colour.solarize(images, torch.full((len(images),), 0.5))


def _erased(images: Tensor) -> Tensor:
    """A grey rectangle in each image: Zhong et al. 2020, "Random Erasing Data Augmentation", section 4.

    Differs: a rectangle that would not fit is cut to the image instead of drawn again.
    """
    count, (height, width) = len(images), (images.shape[-2], images.shape[-1])
    area = uniform(count, 0.02, 0.33) * height * width
    ratio = torch.exp(uniform(count, math.log(0.3), math.log(3.3)))
    sides = [(area * ratio).sqrt().clamp(max=height), (area / ratio).sqrt().clamp(max=width)]
    centres = [
        side / 2 + uniform(count, 0, 1) * (length - side)
        for side, length in zip(sides, (height, width), strict=True)
    ]
    inside = rectangles(centres, sides, (height, width)).to(images.device)
    return images.masked_fill(inside[:, None], 0.5)


def _ink(most: float) -> Change:
    """Each image times 1 ± `most`, plus or minus half of it, so that the amount of ink says nothing."""

    def change(images: Tensor) -> Tensor:
        factor, offset = 1 + uniform(len(images), -most, most), uniform(len(images), -most, most) / 2
        return images * factor.to(images)[:, None, None, None] + offset.to(images)[:, None, None, None]

    return change if most else lambda images: images


def _noise(deviation: float) -> Change:
    def add(images: Tensor) -> Tensor:
        return images + deviation * torch.randn(images.shape, device="cpu").to(images)

    return add


def _check(images: Tensor, targets: Tensor | None, kind: str) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point() or 0 in images.shape[2:]:
        raise ShapeError(
            f"images: expected (B, 3, H, W) floats, got {tuple(images.shape)} {images.dtype}.",
            given=tuple(images.shape),
        )
    if targets is None:
        return
    if kind == "views":
        raise ParameterError("views are made of images alone, without targets.", given=tuple(targets.shape))
    fits = (
        targets.ndim == 3 and targets.shape[2] == 5 and targets.is_floating_point()
        if kind == "detection"
        else targets.ndim == 1
    )
    if not fits or len(targets) != len(images):
        wanted = "(B, M, 5) floats" if kind == "detection" else "(B,) labels"
        raise ShapeError(
            f"targets: expected {wanted} for {len(images)} images, got {tuple(targets.shape)}.",
            given=tuple(targets.shape),
        )
