"""The zoo of the proteins: a file in this folder with a decorated class is a new model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # isort: off
    # Models are listed in this order; the encoders come after them.
    from . import (  # noqa: F401
        interface,
        mean_pool,
        attention,
        cross_attention,
        bilinear,
        symmetric_mlp,
        intra_inter,
        contact_map,
    )
    # isort: on
