"""The store: files kept under their sha256, and the ways to get them. No torch in here.

`sources` parses addresses, `fetch` decides where to look and in which order; `folder`, `http`, `s3` and
`wheels` transfer the bytes, `guard` decides which machines may be contacted; `incoming` writes and checks
a file until it has its final name, `blobs` keeps files, and `cache` lists and removes them.
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
