"""Augmentation: batches of images, changed at random while a network is trained.

It works on whole batches on their device, each image by numbers of its own, and draws from torch's global
generator only: the same seed gives the same images. `augmentation_presets` lists the presets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # as everyone calls it
from torch import Tensor

from holotype.errors import ParameterError, ShapeError
from holotype.extras import missing_extra
from holotype.vision.data.augmentation.geometry import (
    crops,
    identity,
    mirrored,
    move_boxes,
    placed,
    resized,
    turns,
    uniform,
)
from holotype.vision.data.augmentation.presets import check_augmentation, preset_options

__all__ = ["Augmentation", "check_augmentation", "make_augmentation"]

Change = Callable[[Tensor], Tensor]  # images -> images
Place = Callable[[Tensor], Tensor]  # images -> (B, 2, 3), where to look in each

# The colour of padding: ImageNet's mean, as in holotype.vision.data.resize.
_FILL = (124 / 255, 116 / 255, 104 / 255)


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
        self.view_sizes: tuple[tuple[int, int], ...] = (size,)
        self._changes: list[Change] = []
        if kind == "classification":
            self._changes = _colour_changes(name, options)
        elif kind == "detection":
            jitter = _jitter(options["colour"]) if options.get("colour") else None
            self._changes = [jitter] if jitter is not None else []
        else:
            self._views = _views(name, options, size)
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
            ParameterError: targets are missing, or not wanted.
        """
        _check(images, targets, self.kind, soft=self.soft_targets)
        if self.kind == "views":
            return [view(images) for view in self._views]
        if self.kind == "detection":
            return self._with_boxes(images, targets)
        images = self._placed(images)
        for change in self._changes:
            images = change(images) if len(images) else images
        images = images.clamp(0, 1)
        return self._mixed(images, targets) if self.soft_targets else (images, targets)

    def _placed(self, images: Tensor) -> Tensor:
        count = len(images)
        if self.name == "none" or not count:
            return resized(images, self.size)
        if self.name == "flip":
            return placed(resized(images, self.size), mirrored(identity(count)), self.size)
        if self.name == "digits":
            return placed(images, _turned(images, self.options), self.size)
        return placed(images, mirrored(crops(count, self.options["crop"], 1.0)), self.size)

    def _with_boxes(self, images: Tensor, boxes: Tensor | None) -> tuple[Tensor, Tensor | None]:
        before = (images.shape[-2], images.shape[-1])
        theta = identity(len(images))
        if "jitter" in self.options:
            theta = _jittered(len(images), self.options["jitter"])
        if self.name != "none":
            theta = mirrored(theta)
        if boxes is not None:
            boxes = move_boxes(boxes, theta, before, self.size)
        if self.name == "none" or not len(images):
            return resized(images, self.size), boxes
        images = placed(images, theta, self.size, fill=torch.tensor(_FILL))
        for change in self._changes:
            images = change(images)
        return images.clamp(0, 1), boxes

    def _mixed(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mixup (Zhang et al. 2018, section 2) or CutMix (Yun et al. 2019, section 3.1), half and half."""
        if labels is None or self.num_classes is None:
            raise ParameterError("mixup and CutMix need labels, and num_classes.", given=labels)
        shares = F.one_hot(labels.clamp(min=0), self.num_classes).to(images.dtype)
        shares = shares * (labels >= 0)[:, None]
        alphas = [self.options[key] for key in ("mixup", "cutmix")]
        cut = alphas[1] > 0 and (alphas[0] == 0 or float(uniform(1, 0, 1)) < 0.5)
        alpha = torch.full((len(images),), float(alphas[int(cut)]), device="cpu")
        kept = torch.distributions.Beta(alpha, alpha).sample().to(images)
        other = torch.randperm(len(images), device="cpu").to(images.device)
        if cut:
            inside = _rectangles(kept, (images.shape[-2], images.shape[-1]))
            images = torch.where(inside[:, None], images[other], images)
            kept = 1 - inside.to(images.dtype).mean((1, 2))
        else:
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
        MissingExtraError: kornia is needed, and not installed.
    """
    name, made, options = preset_options(preset, kind)
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in pair):
        raise ParameterError(f"size: (height, width) in pixels, got {size!r}.", given=size)
    if num_classes is None and (options.get("mixup") or options.get("cutmix")):
        raise ParameterError(f"{name!r} with mixup or CutMix needs num_classes.", given=preset)
    read_size = (round(pair[0] * made.margin), round(pair[1] * made.margin))
    return Augmentation(name, kind, options, (pair[0], pair[1]), read_size, num_classes)


# -- views ---------------------------------------------------------------------------------------------


class _View:
    """One of several views: a place in the image, and then changes."""

    def __init__(self, size: tuple[int, int], place: Place | None, *changes: Change) -> None:
        self.size, self.place, self.changes = size, place, changes

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, 3, h, w)."""
        if self.place is None or not len(images):
            return resized(images, self.size)
        view = placed(images, self.place(images), self.size)
        for change in self.changes:
            view = change(view)
        return view.clamp(0, 1)


def _turned(images: Tensor, options: Mapping[str, float]) -> Tensor:
    aspect = images.shape[-2] / images.shape[-1]
    return turns(len(images), options["degrees"], options["shift"], options["zoom"], aspect)


def _views(name: str, options: Mapping[str, float], size: tuple[int, int]) -> list[_View]:
    count, small = int(options.get("views", 2)), int(options.get("local_crops", 0))
    local = (int(options.get("local_size", 0)),) * 2

    def cropped(low: float, high: float = 1.0) -> Place:
        return lambda images: mirrored(crops(len(images), low, high))

    if name == "none":
        return [_View(size, None)] * count
    if name == "ijepa":  # Assran et al. 2023, appendix A.1: crops, and nothing made by hand
        return [_View(size, lambda images: crops(len(images), options["crop"], 1.0))]
    if name == "digits_views":
        changes = [_contrast(options["contrast"]), _noise(options["noise"])]
        turned = _View(size, lambda images: _turned(images, options), *changes)
        most = options["local_scale"]
        part = _View(local, lambda images: crops(len(images), most / 2, most), *changes)
        return [turned] * count + [part] * small
    if name == "simclr":  # Chen et al. 2020, appendix A
        strength = options["strength"]
        changes = [_jitter(strength, (0.8, 0.8, 0.8, 0.2), chance=0.8), _greyed(), _blurred(size, 0.5)]
        return [_View(size, cropped(options["crop"]), *changes)] * count
    # Grill et al. 2020, appendix B, table 6; Caron et al. 2021, section 3.1 and appendix.
    colour = [_jitter(1.0, (0.4, 0.4, 0.2, 0.1), chance=0.8), _greyed()]
    low = options["local_scale"] if name == "dino" else options["crop"]
    views = [
        _View(size, cropped(low), *colour, _blurred(size, 1.0)),
        _View(size, cropped(low), *colour, _blurred(size, 0.1), _solarised(0.2)),
    ]
    if name == "dino" and small:
        views += [_View(local, cropped(min(0.05, low / 2), low), *colour, _blurred(local, 0.5))] * small
    return views


# -- changes of colour, by kornia ----------------------------------------------------------------------


def _kornia() -> Any:
    try:
        import kornia.augmentation
    except ImportError as error:
        raise missing_extra(error, "augmentation") or error from error
    return kornia.augmentation


def _colour_changes(name: str, options: Mapping[str, float]) -> list[Change]:
    if name != "standard":
        return []
    from holotype.vision.data.augmentation.trivial_augment import trivial_augment

    changes = [_jitter(options["colour"])] if options["colour"] else []
    changes.append(trivial_augment)
    if options["erasing"]:
        # Zhong et al. 2020, "Random Erasing Data Augmentation", section 4.
        changes.append(
            _kornia().RandomErasing(p=options["erasing"], scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0.5)
        )
    return changes


def _jitter(
    strength: float, of: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 0.25), *, chance: float = 1.0
) -> Change:
    """Brightness, contrast, saturation and hue, each changed by up to a part of the strength."""
    most = [min(part * strength, 1.0 if at < 3 else 0.5) for at, part in enumerate(of)]
    change: Change = _kornia().ColorJitter(*most, p=chance)
    return change


def _greyed() -> Change:
    change: Change = _kornia().RandomGrayscale(p=0.2)
    return change


def _blurred(size: tuple[int, int], chance: float) -> Change:
    side = max(3, min(size) // 10 // 2 * 2 + 1)  # a tenth of the image, and odd
    change: Change = _kornia().RandomGaussianBlur((side, side), (0.1, 2.0), p=chance)
    return change


def _solarised(chance: float) -> Change:
    change: Change = _kornia().RandomSolarize(thresholds=(0.5, 0.5), additions=(0.0, 0.0), p=chance)
    return change


def _contrast(most: float) -> Change:
    """Each image times 1 ± `most`, and plus or minus half of it: how much ink there is tells nothing then."""

    def change(images: Tensor) -> Tensor:
        factor, offset = 1 + uniform(len(images), -most, most), uniform(len(images), -most, most) / 2
        return images * factor.to(images)[:, None, None, None] + offset.to(images)[:, None, None, None]

    return change if most else lambda images: images


def _noise(deviation: float) -> Change:
    def add(images: Tensor) -> Tensor:
        return images + deviation * torch.randn(images.shape, device="cpu").to(images)

    return add


# -- parts ---------------------------------------------------------------------------------------------


def _jittered(count: int, most: float) -> Tensor:
    """(B, 2, 3): each image larger or smaller by up to a factor, and anywhere in its frame."""
    scale = torch.exp(uniform(count, -1, 1) * torch.tensor(most).log())
    room = (1 - 1 / scale).abs()
    x, y = uniform(count, -1, 1) * room, uniform(count, -1, 1) * room
    zero = torch.zeros(count, device="cpu")
    return torch.stack([torch.stack([1 / scale, zero, x], 1), torch.stack([zero, 1 / scale, y], 1)], 1)


def _rectangles(kept: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, H, W) bool: in each image a rectangle of 1 - kept of the area, cut at the edges."""
    side = (1 - kept).clamp(min=0).sqrt()
    inside = []
    for length in size:
        centre = uniform(len(kept), 0, length).to(kept)
        first, last = (centre - side * length / 2).round(), (centre + side * length / 2).round()
        at = torch.arange(length, device=kept.device)
        inside.append((at >= first[:, None]) & (at < last[:, None]))
    return inside[0][:, :, None] & inside[1][:, None, :]


def _check(images: Tensor, targets: Tensor | None, kind: str, *, soft: bool) -> None:
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
