"""The plan of a load: from a file's tensors to a network with the classes, channels and size asked for.

One way for every source and every zoo. `plan` decides, on networks that take no memory and before anything
is fetched; `carry_out` fills and changes. A network offers what it can by its parameters and methods:

- ``num_classes``: the head is replaced by a new one. ``reset_classifier(num_classes)`` does it if the network
  has that method; otherwise its constructor's `num_classes` does.
- ``in_channels``: the constructor's `in_channels` (or `input_channels`). The filters that look at the input
  are made from the old ones (`other_channels`).
- ``size``: where no tensor of the state depends on the constructor's `size`, that is all. Otherwise
  ``adjust_size(size)`` interpolates what does, such as position embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from holotype.catalog.network_record import KEY, record_of
from holotype.catalog.values import as_data, from_data
from holotype.errors import LoadingError
from holotype.names import nearest
from holotype.weights.adapt import adjust_size, other_channels, replace_head
from holotype.weights.empty import build_empty, garbage_collection_paused
from holotype.weights.fill import LoadReport, fill
from holotype.weights.formats.pt import import_torch
from holotype.weights.keys import map_keys

if TYPE_CHECKING:
    import torch
    from torch import nn

CHANNELS = ("in_channels", "input_channels")
SIZES = ("size", "image_size", "img_size")


@dataclass(frozen=True)
class Wishes:
    """What the caller asks for; None leaves it as the weights have it.

    Attributes:
        num_classes: outputs of the head; 0 for no head.
        in_channels: channels of the input.
        size: (height, width) of the input.
        device: where the network will be.
        dtype: the floating dtype of its parameters.
        inference: evaluation mode, without gradients.
        allow_missing: globs of names in the network that the file need not hold.
        allow_unexpected: globs of names in the file (as they are called in the network) to leave out.
    """

    num_classes: int | None = None
    in_channels: int | None = None
    size: tuple[int, int] | None = None
    device: torch.device | None = None
    dtype: torch.dtype | None = None
    inference: bool = False
    allow_missing: tuple[str, ...] = ()
    allow_unexpected: tuple[str, ...] = ()

    @classmethod
    def checked(
        cls,
        *,
        num_classes: int | None = None,
        in_channels: int | None = None,
        size: int | Sequence[int] | None = None,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype | None = None,
        inference: bool = False,
        allow_missing: str | Iterable[str] = (),
        allow_unexpected: str | Iterable[str] = (),
    ) -> Wishes:
        """What a caller gave, checked without any network.

        Raises:
            LoadingError: it cannot be had, whatever the network.
        """
        if num_classes is not None and (type(num_classes) is not int or num_classes < 0):
            raise LoadingError(f"num_classes is 0 (no head) or more, got {num_classes!r}.", given=num_classes)
        if in_channels is not None and (type(in_channels) is not int or in_channels < 1):
            raise LoadingError(f"in_channels is 1 or more, got {in_channels!r}.", given=in_channels)
        both = as_size(size)
        if size is not None and both is None:
            raise LoadingError(f"size is a number of pixels or (height, width), got {size!r}.", given=size)
        return cls(
            num_classes,
            in_channels,
            both,
            check_device(device),
            check_dtype(dtype),
            inference,
            _globs(allow_missing, "allow_missing"),
            _globs(allow_unexpected, "allow_unexpected"),
        )


@dataclass
class Plan:
    """A network ready to be filled, and what happens to it afterwards.

    Attributes:
        name: what messages call it.
        build: makes the network from parameters.
        given: the parameters that the file's tensors belong to, as far as they are stated.
        wishes: what was asked for.
        net: empty, except for what its constructor made besides parameters.
        config: the complete config that the file's tensors belong to.
        overrides: parameters that `net` was built with instead of those of `config`.
        channels: (in the file, wanted), where they differ.
        filters: the tensors to make from the file's, for other channels.
        new_names: tensors that the file has for another head.
        reset_head: replace the head by ``reset_classifier``.
        adjust: call ``adjust_size`` with this.
        changed: what differs from `config` in the end.
    """

    name: str
    build: Callable[[Mapping[str, Any]], nn.Module]
    given: Mapping[str, Any]
    wishes: Wishes
    net: nn.Module
    config: dict[str, Any]
    overrides: dict[str, Any] = field(default_factory=dict)
    channels: tuple[int, int] | None = None
    filters: frozenset[str] = frozenset()
    new_names: frozenset[str] = frozenset()
    reset_head: bool = False
    adjust: tuple[int, int] | None = None
    changed: dict[str, Any] = field(default_factory=dict)

    @property
    def new_classes(self) -> int | None:
        """The number of classes of the new head; None if the head is the file's."""
        return self.wishes.num_classes if self.reset_head or "num_classes" in self.changed else None

    @property
    def new_size(self) -> tuple[int, int] | None:
        """The size, if it is not the file's."""
        return self.wishes.size if self.adjust or any(key in self.changed for key in SIZES) else None

    def fresh(self, **changes: Any) -> nn.Module:
        """Build `net` again as usual, its parameters initialised, with other parameters if given."""
        return self.build({**self.given, **self.overrides, **changes})


@garbage_collection_paused()
def plan(
    name: str,
    build: Callable[[Mapping[str, Any]], nn.Module],
    config: Mapping[str, Any],
    wishes: Wishes,
    *,
    num_classes: int | None = None,
    size: tuple[int, int] | None = None,
) -> Plan:
    """Decide how to get from a file's tensors to the network that is wanted. Touches no file.

    Args:
        name: what messages call it.
        build: makes the network from parameters.
        config: the parameters that the file's tensors belong to.
        wishes: what is asked for.
        num_classes: the file's own, if something else than the config states it.
        size: likewise.

    Raises:
        LoadingError: the network cannot be adapted so.
        HolotypeError: what building it raises.
    """
    own = build_empty(lambda: build(config))
    complete = {**as_data(config), **((record_of(own) or {}).get("config") or {})}
    made = Plan(name, build, config, wishes, own, complete)
    _plan_channels(made)
    _plan_size(made, size)
    _plan_head(made, num_classes)
    return made


def _plan_channels(made: Plan) -> None:
    wanted = made.wishes.in_channels
    key = next((key for key in CHANNELS if key in made.config), None)
    own = made.config.get(key) if key else None
    if wanted is None or wanted == own:
        return
    if key is None or not isinstance(own, int):
        raise LoadingError(
            f"{made.name!r} cannot take {wanted} input channels: its architecture has "
            f"no parameter {' or '.join(CHANNELS)}.",
            given=wanted,
        )
    other = build_empty(lambda: made.fresh(**{key: wanted}))
    made.filters = _filters(made.net, other, own, wanted, made.name)
    made.channels, made.net = (own, wanted), other
    made.overrides[key] = made.changed[key] = wanted


def _plan_size(made: Plan, own: tuple[int, int] | None) -> None:
    wanted = made.wishes.size
    key = next((key for key in SIZES if key in made.config), None)
    own = own or as_size(made.config.get(key) if key else None)
    if wanted is None or wanted == own:
        return
    depends: list[str] = []
    if key is not None:
        square = wanted[0] == wanted[1] and isinstance(made.config[key], int)
        value = wanted[0] if square else wanted
        other = build_empty(lambda: made.fresh(**{key: value}))
        depends = _differing(made.net, other)
        made.changed[key] = as_data(value)
        if not depends:
            made.net, made.overrides[key] = other, value
            return
    if not callable(getattr(made.net, "adjust_size", None)):
        what = f"{', '.join(depends[:3])} depend on it" if depends else "it has no parameter size"
        raise LoadingError(
            f"{made.name!r} cannot be loaded for {wanted[0]} x {wanted[1]} pixels: {what}, and "
            "its architecture has no method adjust_size(size).",
            given=wanted,
        )
    made.adjust = wanted


def _plan_head(made: Plan, own: int | None) -> None:
    wanted = made.wishes.num_classes
    own = own if own is not None else made.config.get("num_classes")
    if wanted is None or wanted == own:
        return
    if callable(getattr(made.net, "reset_classifier", None)):
        made.reset_head = True
    elif "num_classes" in made.config:
        other = build_empty(lambda: made.fresh(num_classes=wanted))
        made.new_names = frozenset(_differing(made.net, other))
        made.net, made.overrides["num_classes"] = other, wanted
    else:
        raise LoadingError(
            f"{made.name!r} cannot replace its head: its architecture has neither a method "
            "reset_classifier(num_classes) nor a parameter num_classes.",
            given=wanted,
        )
    if "num_classes" in made.config:
        made.changed["num_classes"] = wanted


@garbage_collection_paused()
def carry_out(
    made: Plan, state: Mapping[str, torch.Tensor], key_map: Mapping[str, str] | None, origin: str
) -> tuple[nn.Module, LoadReport]:
    """Fill the network of a plan, and change what the plan says.

    Args:
        made: the plan; it can be used once.
        state: the file's tensors.
        key_map: how their names become the network's.
        origin: what messages call the file.

    Raises:
        MismatchError: the tensors do not fit.
    """
    net, wishes = made.net, made.wishes
    own = net.state_dict()
    names = map_keys(state, key_map, wanted=own.keys())
    tensors = dict(state)
    adapted: list[str] = []
    for old, new in names.items():
        if new is None:
            continue
        if new in made.new_names or (new not in own and _fits(new, wishes.allow_unexpected)):
            names[old] = None
        elif new in made.filters and made.channels is not None:
            before, after = made.channels
            if tensors[old].ndim > 1 and tensors[old].shape[1] == before:
                tensors[old] = other_channels(tensors[old], after)
                adapted.append(new)
    may_lack = {name for name in own if name in made.new_names or _fits(name, wishes.allow_missing)}
    report = fill(
        net,
        tensors,
        names=names,
        dtype=wishes.dtype,
        origin=origin,
        allow_missing=may_lack,
        fresh=made.fresh,
    )
    if made.reset_head:
        report = replace_head(net, wishes.num_classes, report)
    if made.adjust is not None:
        adapted += adjust_size(net, made.adjust)
    report = replace(report, adapted=tuple(adapted))
    net.to(device=wishes.device, dtype=wishes.dtype)
    if wishes.inference:
        net.eval().requires_grad_(False)
    found = record_of(net)
    if found is not None:
        config = {**found["config"], **{key: as_data(value) for key, value in made.changed.items()}}
        vars(net)[KEY] = {**found, "config": config}
    return net, report


def as_size(value: object) -> tuple[int, int] | None:
    """``224`` and ``[224, 224]`` as (height, width); None for anything else."""
    both = (value, value) if type(value) is int else value
    if not isinstance(both, (tuple, list)) or len(both) != 2:
        return None
    height, width = both
    if type(height) is not int or type(width) is not int or min(height, width) < 1:
        return None
    return height, width


def check_device(device: str | torch.device) -> torch.device:
    """The device, if it can be used here.

    Raises:
        LoadingError: it cannot.
    """
    torch = import_torch()
    try:
        found = torch.device(device)
        if found.type == "meta":
            raise RuntimeError("it has no memory for weights")
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).strip().split("\n")[0].split(". ")[0].rstrip(".") or type(error).__name__
        raise LoadingError(
            f"the device {str(device)!r} cannot be used here: {reason}.", given=device
        ) from error
    return found  # type: ignore[no-any-return]  # the module came as Any


def check_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """The floating dtype, from its name.

    Raises:
        LoadingError: it is none for weights.
    """
    if dtype is None:
        return None
    torch = import_torch()
    floating = {
        name: value
        for name in ("float32", "float64", "float16", "bfloat16")
        if (value := getattr(torch, name, None)) is not None
    }
    found = floating.get(dtype.removeprefix("torch.")) if isinstance(dtype, str) else dtype
    if found not in floating.values():
        raise LoadingError(
            f"{dtype!r} is not a dtype for weights; expected one of {', '.join(floating)}.",
            given=dtype,
            nearest=nearest(dtype, floating) if isinstance(dtype, str) else (),
        )
    return found


def builder(create: Callable[..., nn.Module], architecture: str) -> Callable[[Mapping[str, Any]], nn.Module]:
    """`create_model` of one architecture, as `plan` calls it."""
    return lambda config: create(architecture, **from_data(config))


def _shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(tensor.shape) for name, tensor in net.state_dict().items() if hasattr(tensor, "shape")
    }


def _differing(one: nn.Module, other: nn.Module) -> list[str]:
    """The tensors that only one of two networks has, or that they have in different shapes."""
    here, there = _shapes(one), _shapes(other)
    return [name for name in {**here, **there} if here.get(name) != there.get(name)]


def _filters(own: nn.Module, other: nn.Module, before: int, after: int, name: str) -> frozenset[str]:
    here, there = _shapes(own), _shapes(other)
    differing = _differing(own, other)
    for tensor in differing:
        one, two = here.get(tensor, ()), there.get(tensor, ())
        expected = (*one[:1], after, *one[2:])
        if len(one) < 2 or one[1] != before or two != expected:
            raise LoadingError(
                f"{name!r} cannot be adapted to {after} input channels: {tensor} {one} would be {two}, "
                "which is not a filter over the input.",
                given=after,
            )
    return frozenset(differing)


def _fits(name: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _globs(value: str | Iterable[str], what: str) -> tuple[str, ...]:
    globs = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(glob, str) and glob for glob in globs):
        raise LoadingError(f"{what} holds globs such as 'classifier.*', got {value!r}.", given=value)
    return globs
