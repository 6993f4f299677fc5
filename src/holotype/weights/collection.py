"""Garbage collection, paused while a network is built and filled.

Loading makes thousands of objects and no garbage. A full collection that happens to fall into it walks all of
torch's objects, and costs as much as the load itself.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collection() -> Iterator[None]:
    """No automatic collection inside; also a decorator."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
