"""The domain of images: classes, objects, and encoders trained without labels."""

from __future__ import annotations

from holotype.domains import Domain

DOMAIN = Domain(
    name="vision",
    recipe="holotype.vision.training.recipe:ImageRecipe",
    job="holotype.vision.training.job:ImageJob",
)
