"""The domains that ship with Holotype, and their tasks. It holds strings only: every listing imports it.

Each domain is a package ``holotype.NAME``: ``NAME.models`` is its zoo, ``NAME.domain:DOMAIN`` what serves its
tasks (see `holotype.domains`).
"""

FIRST_PARTY = {
    "proteins": ("protein_interaction", "protein_embedding"),
    "vision": (
        "image_classification",
        "object_detection",
        "masked_image_modeling",
        "self_supervised_learning",
    ),
}
# The one whose models `holotype.get_available_models()` lists; every function lists those of the others too.
DEFAULT_ZOO = "proteins"
