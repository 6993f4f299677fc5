"""The formats in which a network is saved and loaded again, as the library offers them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from holotype.testing.subjects import ConformanceError, Subject

if TYPE_CHECKING:
    from torch import nn

    RoundTrip = Callable[[Subject, nn.Module, Path], nn.Module]

OWN = "safetensors"
"""The format of `save_pretrained`, whose files alone suffice to load a network."""


def round_trips() -> Mapping[str, RoundTrip]:
    """For each format that can be loaded, what saves a network in a folder and loads it back."""
    from holotype.weights.formats import WRITABLE

    bare = {name: partial(_bare, name) for name in WRITABLE}
    return {**bare, OWN: _own, "npz": _npz}


def _own(subject: Subject, net: nn.Module, folder: Path) -> nn.Module:
    """The library's own file, which alone suffices to load the network back."""
    from holotype.weights.open import load_checkpoint
    from holotype.weights.save import save_pretrained

    path = folder / "net.safetensors"
    save_pretrained(net, path, registry=subject.zoo)
    other, info = load_checkpoint(path, registry=subject.zoo)
    if info.network != subject.info.qualified_name:
        raise ConformanceError(f"{subject.info.qualified_name!r} comes back as {info.network!r}.")
    return other


def _bare(format: str, subject: Subject, net: nn.Module, folder: Path) -> nn.Module:
    """A file of tensors and nothing else."""
    from holotype.weights.formats import WRITABLE

    path = folder / "net"
    with path.open("xb") as file:
        WRITABLE[format].write(file, net.state_dict(), {})
    return _load_bare(subject, path)


def _npz(subject: Subject, net: nn.Module, folder: Path) -> nn.Module:
    import numpy as np

    path = folder / "net.npz"
    np.savez(path, **{name: value.detach().numpy() for name, value in net.state_dict().items()})
    return _load_bare(subject, path)


def _load_bare(subject: Subject, path: Path) -> nn.Module:
    """Load a file that holds tensors only."""
    from holotype.weights.open import load_checkpoint

    with warnings.catch_warnings():
        # That nothing in the file binds it to the architecture is known here.
        warnings.filterwarnings("ignore", ".*does not record which architecture", UserWarning)
        return load_checkpoint(
            path, architecture=subject.name, config=dict(subject.small), registry=subject.zoo
        )[0]
