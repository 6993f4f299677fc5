"""Random generators: seeded from numbers, and left as the caller had them."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from hashlib import sha256

import numpy as np
import torch


def seed_all(*numbers: object) -> None:
    """Seed Python, NumPy and torch from some numbers."""
    seed = int.from_bytes(sha256("/".join(map(str, numbers)).encode()).digest()[:8], "big") >> 1
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextlib.contextmanager
def own_randomness() -> Iterator[None]:
    """Leave the caller's random generators as they were."""
    python, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)
