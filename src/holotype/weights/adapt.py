"""The tensors of a network made fit for another number of channels or classes, or another size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from holotype.weights.fill import LoadReport

if TYPE_CHECKING:
    import torch
    from torch import nn


def other_channels(filters: torch.Tensor, channels: int) -> torch.Tensor:
    """Filters for another number of input channels, from those there are.

    With C channels in `filters` and N wanted: the new channels repeat the old ones in turn, and each old
    filter is shared out among its copies (N > C), or every new channel gets the mean of the old ones, times
    C / N (N < C). Either way an input whose channels are all alike gives what it gave before; a single
    channel of grey, what the same picture gave in colours.

    Args:
        filters: (O, C, ...) weights.
        channels: N.

    Returns:
        (O, N, ...), of the same dtype.
    """
    import torch

    before = filters.shape[1]
    wide = filters.detach().to(torch.promote_types(filters.dtype, torch.float32))
    if channels < before:
        made = wide.mean(1, keepdim=True).mul(before / channels).expand(-1, channels, *wide.shape[2:])
    else:
        which = torch.arange(channels) % before
        copies = torch.bincount(which, minlength=before)[which].to(wide.dtype)
        made = wide[:, which] / copies.view(1, -1, *(1 for _ in wide.shape[2:]))
    return made.to(filters.dtype).contiguous()


def other_statistics(values: Sequence[float], channels: int) -> list[float]:
    """A mean or a deviation of each channel, for the channels that `other_channels` makes."""
    if channels < len(values):
        return [sum(values) / len(values)] * channels
    return [values[at % len(values)] for at in range(channels)]


def replace_head(net: nn.Module, num_classes: int | None, report: LoadReport) -> LoadReport:
    """Let a network replace its head; the report says which tensors are new, and which were dropped."""
    before = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    identities = {name: id(parameter) for name, parameter in net.named_parameters()}
    net.reset_classifier(num_classes)  # type: ignore[operator]  # asked for in `plan`
    after = net.state_dict()
    kept = {name for name, parameter in net.named_parameters() if identities.get(name) == id(parameter)}
    parameters = {name for name, _ in net.named_parameters()}
    new = tuple(name for name in after if name not in before or (name in parameters and name not in kept))
    dropped = tuple(name for name in before if name not in after or name in new)
    return replace(
        report,
        matched=report.matched - len(dropped),
        new=(*report.new, *new),
        ignored=(*report.ignored, *dropped),
    )


def adjust_size(net: nn.Module, size: tuple[int, int]) -> list[str]:
    """Let a network adjust itself to another size; returns the names of the tensors that it changed."""
    before = {name: (tuple(tensor.shape), tensor.data_ptr()) for name, tensor in net.state_dict().items()}
    net.adjust_size(size)  # type: ignore[operator]  # asked for in `plan`
    after = {name: (tuple(tensor.shape), tensor.data_ptr()) for name, tensor in net.state_dict().items()}
    return [name for name in after if after[name] != before.get(name)]
