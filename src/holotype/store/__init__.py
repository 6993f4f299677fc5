"""The store: files kept under their sha256, and the ways to get them. No torch in here.

Deciding and acting are apart: `sources` says where bytes are, `fetch` in which order to try; `http`, `s3`
and `wheels` move them, `addresses` says which machines may be asked; `incoming` takes bytes down until
they have a name, `blobs` keeps them, and `cache` tells what is there and removes what can go.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it, without importing it
if TYPE_CHECKING:
    from holotype.store.cache import list_cache, prune, verify, verify_cache

__all__ = ["list_cache", "prune", "verify", "verify_cache"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from holotype.store import cache

        return getattr(cache, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
