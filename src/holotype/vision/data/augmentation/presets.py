"""The augmentation presets: their names, what they are for, and their options. Nothing here needs torch.

In a recipe: ``augmentation: standard``, or with options ``augmentation: {name: dino, local_crops: 4}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holotype.errors import ParameterError
from holotype.names import nearest

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
        kind: what it augments, one of `KINDS`.
        meaning: in a few words.
        options: by name.
        margin: how much larger than the network's input the images should be that it is given.
    """

    kind: str
    meaning: str
    options: Mapping[str, Option] = field(default_factory=dict)
    margin: float = 1.0


def _scale(default: float) -> Option:
    return Option(default, 0.01, 1.0, "smallest part of an image's area that a crop keeps")


_MIX = {
    "mixup": Option(0.0, 0.0, 10.0, "alpha of mixup; 0: none"),
    "cutmix": Option(0.0, 0.0, 10.0, "alpha of CutMix; 0: none"),
}
_TURNS = {
    "degrees": Option(10.0, 0.0, 180.0, "largest rotation either way"),
    "shift": Option(0.1, 0.0, 0.5, "largest shift, of the image's size"),
    "zoom": Option(0.1, 0.0, 0.9, "largest change of scale either way"),
}
_LOCAL = {
    "local_crops": Option(8, 0, 32, "how many small views", whole=True),
    "local_size": Option(96, 1, 4096, "height and width of the small views, in pixels", whole=True),
    "local_scale": Option(0.4, 0.02, 1.0, "where small views end and large ones begin, in parts of the area"),
}
_VIEWS = {"views": Option(2, 1, 16, "how many views", whole=True)}
_ONE_VIEW = {"views": Option(1, 1, 16, "how many views", whole=True)}

# (name, kind) -> preset: one name may mean one thing for classes and another for boxes.
PRESETS: Mapping[tuple[str, str], Preset] = {
    (name, preset.kind): preset
    for name, preset in (
        ("none", Preset("classification", "resized, and no more")),
        ("flip", Preset("classification", "mirrored, every second time")),
        (
            "light",
            Preset(
                "classification",
                "a crop of half of the area or more; mirrored",
                {"crop": _scale(0.5)},
                1.15,
            ),
        ),
        (
            "standard",
            Preset(
                "classification",
                "a crop, mirrored, colours jittered, one operation of TrivialAugment, a part erased",
                {
                    "crop": _scale(0.08),
                    "colour": Option(0.4, 0.0, 1.0, "strength of the colour jitter"),
                    "erasing": Option(0.25, 0.0, 1.0, "how often a part is erased"),
                    **_MIX,
                },
                1.15,
            ),
        ),
        (
            "digits",
            Preset(
                "classification", "turned, shifted and scaled a little; never mirrored", {**_TURNS, **_MIX}
            ),
        ),
        ("none", Preset("detection", "resized, and no more")),
        ("flip", Preset("detection", "mirrored, every second time")),
        (
            "light",
            Preset(
                "detection",
                "mirrored; made a little larger or smaller",
                {"jitter": Option(1.25, 1.0, 10.0, "largest factor of scale either way")},
            ),
        ),
        (
            "standard",
            Preset(
                "detection",
                "mirrored; made up to twice as large or half as large; colours jittered",
                {
                    "jitter": Option(2.0, 1.0, 10.0, "largest factor of scale either way"),
                    "colour": Option(0.2, 0.0, 1.0, "strength of the colour jitter"),
                },
            ),
        ),
        (
            "none",
            Preset(
                "views",
                "resized: the same view, as often as asked for",
                _ONE_VIEW,
            ),
        ),
        (
            "simclr",
            Preset(
                "views",
                "two views: crop, mirror, strong colour jitter, grey, blur (Chen et al. 2020)",
                {"crop": _scale(0.08), "strength": Option(1.0, 0.0, 2.0, "of the colour jitter"), **_VIEWS},
                1.15,
            ),
        ),
        (
            "byol",
            Preset(
                "views",
                "two views, blurred and solarised unlike (Grill et al. 2020)",
                {"crop": _scale(0.08)},
                1.15,
            ),
        ),
        (
            "dino",
            Preset("views", "two large views and some small ones (Caron et al. 2021)", dict(_LOCAL), 1.15),
        ),
        (
            "ijepa",
            Preset(
                "views", "one view: a crop, and no more (Assran et al. 2023)", {"crop": _scale(0.3)}, 1.15
            ),
        ),
        (
            "digits_views",
            Preset(
                "views",
                "views turned, shifted and scaled; small ones are crops; never mirrored",
                {
                    **_TURNS,
                    "degrees": Option(20.0, 0.0, 180.0, "largest rotation either way"),
                    "shift": Option(0.15, 0.0, 0.5, "largest shift, of the image's size"),
                    "zoom": Option(0.2, 0.0, 0.9, "largest change of scale either way"),
                    "contrast": Option(
                        0.0, 0.0, 1.0, "largest change of contrast and, by half, of brightness"
                    ),
                    "noise": Option(0.05, 0.0, 1.0, "standard deviation of the noise on each pixel"),
                    **_VIEWS,
                    **_LOCAL,
                    "local_crops": Option(0, 0, 32, "how many small views", whole=True),
                    "local_size": Option(16, 1, 4096, "height and width of the small views", whole=True),
                },
            ),
        ),
    )
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
        ParameterError: there is no such kind.
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
        close = nearest(name, known, count=1)
        others = [of for one, of in PRESETS if one == name]
        why = f" for {kind}" + (f" (it is for {', '.join(others)})" if others else "")
        return [
            f"no preset named {name!r}{why}"
            + (f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}")
        ]
    problems = []
    for key, one in value.items():
        if key == "name":
            continue
        option = preset.options.get(key)
        if option is None:
            close = nearest(str(key), preset.options, count=1)
            there = ", ".join(preset.options) or "none"
            hint = f"did you mean {close[0]!r}?" if close else f"{name!r} has {there}"
            problems.append(f"{key}: no such option; {hint}")
        elif (wrong := option.problem(one)) is not None:
            problems.append(f"{key}: {wrong}")
    return problems


def preset_options(value: str | Mapping[str, Any], kind: str) -> tuple[str, Preset, dict[str, float]]:
    """The name, the preset and all its options, the defaults filled in.

    Raises:
        ParameterError: it is none; it lists every problem.
    """
    problems = check_augmentation(value, kind)
    if problems:
        raise ParameterError(
            "this augmentation cannot be used:\n" + "\n".join(f"  - {problem}" for problem in problems),
            problems=problems,
            given=value,
        )
    given: dict[str, Any] = {"name": value} if isinstance(value, str) else dict(value)
    name = str(given.pop("name"))
    preset = PRESETS[name, kind]
    options: dict[str, float] = {key: option.default for key, option in preset.options.items()}
    return name, preset, options | given


def count_views(value: str | Mapping[str, Any]) -> tuple[int, int]:
    """How many large and how many small views an augmentation of kind ``"views"`` makes.

    Raises:
        ParameterError: it is none.
    """
    name, _, options = preset_options(value, "views")
    large = {"ijepa": 1, "byol": 2, "dino": 2}.get(name) or int(options["views"])
    return large, int(options.get("local_crops", 0))
