"""The domain of images: classes, objects, and encoders trained without labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holotype.domains import DatasetKind, Domain
from holotype.splits import PARTS

_COMMANDS = ("predict", "evaluate", "embed")
_WHOLE = frozenset({"images", "pixels"})
_ROLES = _WHOLE | {f"{part}_images" for part in PARTS}


def _problems(roles: frozenset[str], row: Mapping[str, Any]) -> list[str]:
    if roles - _ROLES or (len(roles) > 1 and roles & _WHOLE):
        return ["files: 'images' or 'pixels' stands alone, or those of the parts do"]
    return []


_IMAGES = DatasetKind(
    holds="images",
    roles=_ROLES,
    undivided=PARTS,
    read="holotype.vision.commands.data:read",
    problems=_problems,
)

DOMAIN = Domain(
    name="vision",
    recipe="holotype.vision.training.recipe:ImageRecipe",
    job="holotype.vision.training.job:ImageJob",
    commands={verb: f"holotype.vision.commands.{verb}:COMMAND" for verb in _COMMANDS},
    datasets=(_IMAGES,),
)
