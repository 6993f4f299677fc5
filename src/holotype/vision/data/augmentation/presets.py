"""The augmentation presets: their names, what they are for, and their options. Nothing here needs torch.

In a recipe: ``augmentation: standard``, or with options ``augmentation: {name: dino, local_crops: 4}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holotype.errors import ParameterError
from holotype.mappings import key_problems
from holotype.names import nearest
from holotype.text import bulleted, did_you_mean

__all__ = [
    "KINDS",
    "PRESETS",
    "Option",
    "Preset",
    "check_augmentation",
    "count_views",
    "preset_options",
    "presets_of",
]

KINDS = ("classification", "detection", "views")


@dataclass(frozen=True)
class Option:
    """One number that a preset can be given.

    Attributes:
        default: what it is otherwise.
        low: the smallest value.
        high: the largest one.
        meaning: in a few words.
        whole: only whole numbers.
    """

    default: float
    low: float
    high: float
    meaning: str
    whole: bool = False

    def problem(self, value: object) -> str | None:
        """What is wrong with a value, or None."""
        kinds = (int,) if self.whole else (int, float)
        fits = isinstance(value, kinds) and not isinstance(value, bool)
        if fits and self.low <= value <= self.high:  # type: ignore[operator]  # a number; NaN is in no range
            return None
        return f"a {'whole ' if self.whole else ''}number from {self.low:g} to {self.high:g}, not {value!r}"


@dataclass(frozen=True)
class Preset:
    """One augmentation.

    Attributes:
        meaning: in a few words.
        options: by name.
        margin: how much larger than the network's input the images should be that it is given.
    """

    meaning: str
    options: Mapping[str, Option] = field(default_factory=dict)
    margin: float = 1.0


def _crop(default: float) -> Option:
    return Option(default, 0.01, 1.0, "smallest part of an image's area that a crop keeps")


def _degrees(default: float) -> Option:
    return Option(default, 0.0, 180.0, "largest rotation either way")


def _shift(default: float) -> Option:
    return Option(default, 0.0, 0.5, "largest shift, of the image's size")


def _zoom(default: float) -> Option:
    return Option(default, 0.0, 0.9, "largest change of scale either way")


def _rescale(default: float) -> Option:
    return Option(default, 1.0, 10.0, "largest factor of scale either way")


def _count(default: int) -> Option:
    return Option(default, 1, 16, "how many views", whole=True)


def _local(crops: int, size: int) -> dict[str, Option]:
    return {
        "local_crops": Option(crops, 0, 32, "how many small views", whole=True),
        "local_size": Option(size, 1, 4096, "height and width of the small views, in pixels", whole=True),
        "local_scale": Option(
            0.4, 0.02, 1.0, "where small views end and large ones begin, in parts of the area"
        ),
    }


_MIX = {
    "mixup": Option(0.0, 0.0, 10.0, "alpha of mixup; 0: none"),
    "cutmix": Option(0.0, 0.0, 10.0, "alpha of CutMix; 0: none"),
}

# (name, kind) -> preset: one name may mean one thing for classes and another for boxes.
PRESETS: Mapping[tuple[str, str], Preset] = {
    ("none", "classification"): Preset("resized, and no more"),
    ("flip", "classification"): Preset("mirrored, every second time"),
    ("light", "classification"): Preset(
        "a crop of half of the area or more; mirrored", {"crop": _crop(0.5)}, margin=1.15
    ),
    ("standard", "classification"): Preset(
        "a crop, mirrored, colours jittered, one operation of TrivialAugment, a part erased",
        {
            "crop": _crop(0.08),
            "colour": Option(0.4, 0.0, 1.0, "strength of the colour jitter"),
            "erasing": Option(0.25, 0.0, 1.0, "how often a part is erased"),
            **_MIX,
        },
        margin=1.15,
    ),
    ("digits", "classification"): Preset(
        "turned, shifted and scaled a little; never mirrored",
        {"degrees": _degrees(10.0), "shift": _shift(0.1), "zoom": _zoom(0.1), **_MIX},
    ),
    ("none", "detection"): Preset("resized, and no more"),
    ("flip", "detection"): Preset("mirrored, every second time"),
    ("light", "detection"): Preset("mirrored; made a little larger or smaller", {"jitter": _rescale(1.25)}),
    ("standard", "detection"): Preset(
        "mirrored; made up to twice as large or half as large; colours jittered",
        {"jitter": _rescale(2.0), "colour": Option(0.2, 0.0, 1.0, "strength of the colour jitter")},
    ),
    ("none", "views"): Preset("resized: the same view, as often as asked for", {"views": _count(1)}),
    ("simclr", "views"): Preset(
        "two views: crop, mirror, strong colour jitter, grey, blur (Chen et al. 2020)",
        {"crop": _crop(0.08), "strength": Option(1.0, 0.0, 2.0, "of the colour jitter"), "views": _count(2)},
        margin=1.15,
    ),
    ("byol", "views"): Preset(
        "two views, blurred and solarised unlike (Grill et al. 2020)", {"crop": _crop(0.08)}, margin=1.15
    ),
    ("dino", "views"): Preset(
        "two large views and some small ones (Caron et al. 2021)", _local(8, 96), margin=1.15
    ),
    ("ijepa", "views"): Preset(
        "one view: a crop, and no more (Assran et al. 2023)", {"crop": _crop(0.3)}, margin=1.15
    ),
    ("digits_views", "views"): Preset(
        "views turned, shifted and scaled; small ones are crops; never mirrored",
        {
            "degrees": _degrees(20.0),
            "shift": _shift(0.15),
            "zoom": _zoom(0.2),
            "contrast": Option(0.0, 0.0, 1.0, "largest change of contrast and, by half, of brightness"),
            "noise": Option(0.05, 0.0, 1.0, "standard deviation of the noise on each pixel"),
            "views": _count(2),
            **_local(0, 16),
        },
    ),
}


def presets_of(kind: str) -> list[str]:
    """The names of the presets of a kind."""
    return [name for name, of in PRESETS if of == kind]


def check_augmentation(value: object, kind: str) -> list[str]:
    """What is wrong with an augmentation of a recipe, a line each.

    Args:
        value: a preset's name, or a mapping of its name and options.
        kind: one of `KINDS`.

    Raises:
        ParameterError: an unknown kind.
    """
    if kind not in KINDS:
        raise ParameterError(
            f"no kind of augmentation named {kind!r}.", given=kind, nearest=nearest(str(kind), KINDS) or KINDS
        )
    known = presets_of(kind)
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        return [f"expected one of {', '.join(known)}, or a mapping of a name and options; got {value!r}"]
    name = value.get("name")
    if not isinstance(name, str):
        return [f"name: missing; one of {', '.join(known)}"]
    preset = PRESETS.get((name, kind))
    if preset is None:
        others = [of for one, of in PRESETS if one == name]
        why = f" for {kind}" + (f" (it is for {', '.join(others)})" if others else "")
        hint = did_you_mean(name, known, f"; there are {', '.join(known)}")
        return [f"no preset named {name!r}{why}{hint}"]
    problems = key_problems(value, ("name", *preset.options))
    for key, option in preset.options.items():
        if key in value and (wrong := option.problem(value[key])) is not None:
            problems.append(f"{key}: {wrong}")
    return problems


def preset_options(value: str | Mapping[str, Any], kind: str) -> tuple[str, Preset, dict[str, float]]:
    """The name, the preset and all its options, the defaults filled in.

    Raises:
        ParameterError: an unknown preset or option; it lists every problem.
    """
    problems = check_augmentation(value, kind)
    if problems:
        raise ParameterError(
            f"this augmentation cannot be used:\n{bulleted(problems)}",
            problems=problems,
            given=value,
        )
    given: dict[str, Any] = {"name": value} if isinstance(value, str) else dict(value)
    name = given.pop("name")
    preset = PRESETS[name, kind]
    defaults: dict[str, float] = {key: option.default for key, option in preset.options.items()}
    return name, preset, defaults | given


def count_views(value: str | Mapping[str, Any]) -> tuple[int, int]:
    """How many large and how many small views an augmentation of kind ``"views"`` makes.

    Raises:
        ParameterError: an unknown preset or option.
    """
    name, _, options = preset_options(value, "views")
    large = {"ijepa": 1, "byol": 2, "dino": 2}.get(name) or int(options["views"])
    return large, int(options.get("local_crops", 0))
