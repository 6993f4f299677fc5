"""Filling a network with the tensors of a file: each checked, parameters without memory by reference."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from holotype.errors import LoadingError, MismatchError
from holotype.records import _Record
from holotype.text import listed
from holotype.weights.empty import RealParameters, filling, own_readers

if TYPE_CHECKING:
    import torch
    from torch import nn

_SHOWN = 8
# A counter that only momentum=None uses, and that files older than torch 0.4.1 lack.
_OPTIONAL = ".num_batches_tracked"


@dataclass(frozen=True, eq=False)
class LoadReport(_Record):
    """What happened to each tensor.

    Attributes:
        matched: how many tensors came from the file.
        converted: how many of them changed their dtype on the way.
        new: names in the network that the file does not hold; they are as the constructor made them.
        ignored: names in the file that were left out, by the key map or with an old head.
        adapted: names in the network whose numbers were made from the file's, for other channels or
            another size.
        state: where in the file the tensors stood, if it holds more than them.
        other_states: where other states stand in it, such as the weights before averaging.
    """

    matched: int
    converted: int = 0
    new: tuple[str, ...] = field(default=())
    ignored: tuple[str, ...] = field(default=())
    adapted: tuple[str, ...] = field(default=())
    state: str | None = None
    other_states: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        parts = [f"{self.matched} tensors loaded" + (f" from {self.state!r}" if self.state else "")]
        if self.converted:
            parts.append(f"{self.converted} of them converted")
        if self.adapted:
            parts.append(f"adapted: {listed(self.adapted, _SHOWN)}")
        if self.new:
            parts.append(f"new: {listed(self.new, _SHOWN)}")
        if self.ignored:
            parts.append(f"left out: {listed(self.ignored, _SHOWN)}")
        if self.other_states:
            parts.append(f"also in the file: {listed(self.other_states, _SHOWN)}")
        return "; ".join(parts)


def fill(
    net: nn.Module,
    state: Mapping[str, torch.Tensor],
    *,
    names: Mapping[str, str | None],
    dtype: torch.dtype | None = None,
    origin: str = "the file",
    allow_missing: Collection[str] = (),
    fresh: Callable[[], nn.Module] | None = None,
) -> LoadReport:
    """Put the tensors of a file into a network, as `load_state_dict` does; its empty parameters by reference.

    Args:
        net: made by `build_empty`, or any other.
        state: the tensors by their names in the file.
        names: what each of these names is called in the network, or None to leave it out.
        dtype: the floating dtype wanted; the network's own where it is None.
        origin: what messages call the file.
        allow_missing: names in the network that the file need not hold.
        fresh: builds the same network initialised, for the values of such names; needed where `net` is empty.

    Raises:
        MismatchError: names are missing or unexpected, or shapes differ; it lists all of them.
        LoadingError: something in the network is still empty afterwards.
    """
    import torch

    if dtype is not None:
        net.to(dtype=dtype)
    complete: Mapping[str, Any] = net.state_dict()
    own = {name: value for name, value in complete.items() if isinstance(value, torch.Tensor)}
    ties = _ties(net)
    given = _by_own_names(state, names, ties)
    may_lack = set(allow_missing)
    new = tuple(name for name in own if name not in given and (name.endswith(_OPTIONAL) or name in may_lack))
    in_file = {new: old for old, new in names.items()}
    translated = own_readers(net)
    _check(own, given, new, in_file, origin, lambda name: name.startswith(translated))

    filled: dict[str, Any] = {name: own[name] for name in new}
    if fresh is not None and any(own[name].is_meta for name in new):
        with RealParameters():
            initial = fresh().state_dict()
        filled.update({name: initial[name].to(own[name].dtype) for name in new})
    filled.update(
        {name: _value(tensor, own[name].dtype if name in own else None) for name, tensor in given.items()}
    )
    converted = sum(filled[name].dtype != tensor.dtype for name, tensor in given.items())
    _part_overlapping(filled, ties)
    # What a module keeps beside its tensors (`get_extra_state`) stays as the constructor made it.
    filled.update({name: value for name, value in complete.items() if name not in own})
    try:
        with filling():
            net.load_state_dict(filled, strict=True)
    except RuntimeError as error:
        if not translated:  # then the names and shapes were compared above
            raise
        raise MismatchError(f"{origin} does not fit the network: {error}", given=tuple(given)) from error
    left = [name for name, tensor in _tensors(net) if tensor.is_meta]
    if left:
        raise LoadingError(f"after loading, {listed(left, _SHOWN)} still hold no values.", given=tuple(left))
    ignored = tuple(old for old, new in names.items() if new is None)
    return LoadReport(matched=len(given), converted=converted, new=new, ignored=ignored)


def _by_own_names(
    state: Mapping[str, torch.Tensor], names: Mapping[str, str | None], ties: list[list[str]]
) -> dict[str, torch.Tensor]:
    """The file's tensors by their names in the network; a shared one by each of its names."""
    given = {new: state[old] for old, new in names.items() if new is not None}
    for group in ties:
        present = [name for name in group if name in given]
        given.update({name: given[present[0]] for name in group if present and name not in given})
    return given


def _value(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """A tensor in the network's dtype, each element with a place of its own."""
    value = tensor.detach() if dtype is None else tensor.detach().to(dtype)
    # An expanded tensor has one number in the place of many: fine to read, wrong to train.
    return value if value.is_contiguous() or _dense(value) else value.contiguous()


def _check(
    own: Mapping[str, torch.Tensor],
    given: Mapping[str, torch.Tensor],
    new: Iterable[str],
    in_file: Mapping[str | None, str],
    origin: str,
    is_translated: Callable[[str], bool],
) -> None:
    def called(name: str) -> str:
        old = in_file.get(name, name)
        return name if old == name else f"{name} (in the file: {old})"

    left = {*new, *filter(is_translated, {**own, **given})}
    missing = [name for name in own if name not in given and name not in left]
    unexpected = [called(name) for name in given if name not in own and name not in left]
    shapes = [
        f"{called(name)}: {tuple(tensor.shape)} in the file, {tuple(own[name].shape)} in the network"
        for name, tensor in given.items()
        if name in own and not is_lazy(own[name]) and name not in left and tensor.shape != own[name].shape
    ]
    # Whole numbers in the place of real ones are quantised weights, and mean nothing without their scale.
    kinds = [
        f"{called(name)}: {tensor.dtype} in the file, {own[name].dtype} in the network"
        for name, tensor in given.items()
        if name in own and _kind(tensor) != _kind(own[name])
    ]
    lines = []
    for what, names in (
        ("not in the file", missing),
        ("not in the network", unexpected),
        ("of another shape", shapes),
        ("of another kind", kinds),
    ):
        if names:
            lines.append(f"  {len(names)} {what}:")
            lines.extend(f"    {name}" for name in names[:_SHOWN])
            if len(names) > _SHOWN:
                lines.append(f"    … and {len(names) - _SHOWN} more")
    if lines:
        raise MismatchError(
            f"{origin} does not fit the network:\n" + "\n".join(lines),
            given=(*missing, *unexpected, *shapes, *kinds),
        )


def is_lazy(tensor: torch.Tensor) -> bool:
    """Does its shape depend on the first batch?"""
    from torch.nn import parameter

    return bool(parameter.is_lazy(tensor))


def _kind(tensor: torch.Tensor) -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()


def _ties(net: nn.Module) -> list[list[str]]:
    """Groups of names that stand for one and the same parameter."""
    groups: dict[int, list[str]] = {}
    for name, parameter in net.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _part_overlapping(filled: dict[str, torch.Tensor], ties: list[list[str]]) -> None:
    """Copy tensors that share memory though the network keeps them apart: training would mix them."""
    same = {name: group[0] for group in ties for name in group}
    ranges = sorted(
        (tensor.data_ptr(), tensor.data_ptr() + tensor.numel() * tensor.element_size(), name)
        for name, tensor in filled.items()
        if tensor.numel() and not tensor.is_meta
    )
    reached, last = 0, ""
    for begin, end, name in ranges:
        if begin < reached and same.get(name, name) != same.get(last, last):
            filled[name] = filled[name].clone()
            continue
        if end > reached:
            reached, last = end, name


def _dense(tensor: torch.Tensor) -> bool:
    """Does every element have a place of its own, without gaps, in whatever order?"""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True


def _tensors(net: nn.Module) -> Iterable[tuple[str, torch.Tensor]]:
    yield from net.named_parameters()
    yield from net.named_buffers()
