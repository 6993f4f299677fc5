"""The formats in which a network is saved and loaded again, as the library offers them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from holotype.testing.subjects import Subject

if TYPE_CHECKING:
    from torch import nn

    RoundTrip = Callable[[Subject, nn.Module, Path], nn.Module]


def round_trips() -> Mapping[str, RoundTrip]:
    """For each format, what saves a network in a folder and loads it back.

    Whatever `holotype.loading` learns to write is one more row here; the suite tests every row.
    """
    return {"pt": _pt}


def _pt(subject: Subject, net: nn.Module, folder: Path) -> nn.Module:
    import torch

    from holotype.loading.build import build_empty, fill
    from holotype.loading.checkpoint import read_checkpoint
    from holotype.loading.keys import map_keys

    path = folder / "net.pt"
    torch.save(net.state_dict(), path)
    other = build_empty(subject.create)
    checkpoint = read_checkpoint(path, "pt")
    names = map_keys(checkpoint.state, wanted=other.state_dict().keys())
    fill(other, checkpoint.state, names=names)
    return other
