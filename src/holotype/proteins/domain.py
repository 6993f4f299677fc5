"""The domain of proteins: whether two of them interact, and embeddings of their sequences."""

from __future__ import annotations

from holotype.domains import Domain

DOMAIN = Domain(
    name="proteins",
    recipe="holotype.proteins.training.recipe:ProteinRecipe",
    job="holotype.proteins.training.job:ProteinJob",
)
