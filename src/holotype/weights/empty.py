"""Building a network that takes no memory for its parameters, and filling it.

A parameter loses its memory the moment a module registers it: the object stays, its tensor goes to torch's
meta device, and initialising it costs nothing. Filling gives the same object the tensor of a file. So
whatever else holds the parameter (a tie, a closure, a list, an optimiser) holds the loaded one.

What a constructor derives from a parameter (a view, a copy, a number) cannot be had without its memory. The
build is then repeated as usual, and the tensors of the file are copied into it, as `load_state_dict` does.
See ADR 14.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from holotype.errors import HolotypeError

if TYPE_CHECKING:
    import torch
    from torch import nn

# What initialisation does in place. On the meta device it changes nothing, and some of it imports torch's
# compiler. Those of `torch.nn.init` are here, too.
_FILLS = frozenset(
    {"abs_", "add_", "bernoulli_", "cauchy_", "clamp_", "clip_", "constant_", "dirac_", "div_", "erfinv_"}
    | {"exponential_", "eye_", "fill_", "geometric_", "kaiming_normal_", "kaiming_uniform_", "log_normal_"}
    | {"mul_", "normal_", "ones_", "orthogonal_", "random_", "sparse_", "sub_", "trunc_normal_", "uniform_"}
    | {"xavier_normal_", "xavier_uniform_", "zero_", "zeros_"}
)


def build_empty(build: Callable[[], nn.Module]) -> nn.Module:
    """Call a constructor such that parameters take no memory; as usual where it needs their values.

    Args:
        build: returns the network.

    Raises:
        HolotypeError: what `build` raises passes through, and so does any other exception that it
            raises when called as usual.
    """
    with garbage_collection_paused():
        trial = _Trial()
        net = None
        try:
            with trial, _without_initialisation(trial):
                net = build()
        except HolotypeError:
            trial.take_back()
            raise
        except Exception:  # noqa: BLE001, S110  # a constructor that looks at its parameters' values can fail
            pass
        if net is None or not trial.stands(net):
            net = None
            trial.take_back()
            with RealParameters():
                net = build()
        return net


@contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """No automatic garbage collection inside; also a decorator.

    Loading makes thousands of objects and no garbage. A full collection meanwhile walks all of torch's
    objects, and costs as much as the load itself.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Local(threading.local):
    trial: _Trial | None = None


_local = _Local()
_installing = threading.Lock()
_installed = False


@dataclass
class _Emptied:
    """A parameter without memory.

    Attributes:
        parameter: the object that the constructor made and registered.
        memory: another one, which holds its tensor meanwhile.
        skipped: how it would have been initialised.
    """

    parameter: nn.Parameter
    memory: nn.Parameter
    skipped: list[Callable[[nn.Parameter], Any]] = field(default_factory=list)


class _Trial:
    """While it is entered, parameters that this thread registers lose their memory."""

    def __init__(self) -> None:
        _install()
        self.emptied: dict[int, _Emptied] = {}

    def __enter__(self) -> None:
        self._outer, _local.trial = _local.trial, self
        if self._outer is None:
            gc.collect(0)  # from here on, the youngest generation is what the constructor makes
        self._collections = _collections()

    def __exit__(self, *error: object) -> None:
        _local.trial = self._outer

    def empty(self, parameter: nn.Parameter) -> None:
        """Take the memory of a parameter, if nothing but itself can need it."""
        import torch

        if type(parameter) is not torch.nn.Parameter or parameter.is_meta or id(parameter) in self.emptied:
            return
        storage = parameter.untyped_storage()
        whole = storage.nbytes() == parameter.numel() * parameter.element_size()
        if parameter.layout != torch.strided or not storage.resizable() or not whole or _being_imported():
            return
        memory = torch.nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad
        )
        try:
            _swap(parameter, memory)
        except RuntimeError:  # a view of it was taken, or a weak reference
            return
        self.emptied[id(parameter)] = _Emptied(parameter, memory)

    def stands(self, net: nn.Module) -> bool:
        """Does the network need nothing of its parameters but themselves?"""
        if _collections() != self._collections or own_readers(net):
            return False
        tensors = _young_tensors()
        made_here = {id(tensor) for tensor in tensors}
        for key in [key for key in self.emptied if key not in made_here]:
            self._give_back(key)  # it is older than this network: another one uses it
        registered = {id(tensor) for tensor in net.parameters()}
        known = registered | self.emptied.keys()
        outer = self._outer
        while outer is not None:
            known |= outer.emptied.keys()
            outer = outer._outer
        derived = [weakref.ref(tensor) for tensor in tensors if tensor.is_meta and id(tensor) not in known]
        del tensors
        if any(ref() is not None for ref in derived):
            return False
        if any(_hooked(one.parameter) for one in self.emptied.values()):
            return False
        for key in [key for key in self.emptied if key not in registered]:
            self._give_back(key)
        return not self._shared_memory()

    def take_back(self) -> None:
        """Give every parameter that is left its memory again."""
        for key in list(self.emptied):
            self._give_back(key)

    def _give_back(self, key: int) -> None:
        """A parameter that is not of the network keeps its values; nothing happens to one that is gone."""
        one = self.emptied.pop(key)
        if sys.getrefcount(one.parameter) <= 2:  # that of `one`, and of the call
            return
        import torch

        with contextlib.suppress(RuntimeError), torch.no_grad():  # something derived from it is still there
            _swap(one.parameter, one.memory)
            for call in one.skipped:
                call(one.parameter)

    def _shared_memory(self) -> bool:
        """Does anything else use the memory that a parameter had, so that filling it would be seen there?"""
        from torch.multiprocessing import reductions

        weak: Any = reductions.StorageWeakRef
        memories = [weak(one.memory.untyped_storage()) for one in self.emptied.values()]
        self.emptied.clear()
        two_on_one = len(set(memories)) < len(memories)
        return two_on_one or any(not memory.expired() for memory in memories)


class RealParameters:
    """The opposite, inside the other: a constructor may load a part of its network, such as a teacher."""

    def __enter__(self) -> None:
        self._outer, _local.trial = _local.trial, None

    def __exit__(self, *error: object) -> None:
        _local.trial = self._outer


@contextmanager
def filling() -> Iterator[None]:
    """While it is entered, copying into a parameter without memory gives it the tensor that is copied."""
    import torch
    from torch.overrides import TorchFunctionMode

    meta = torch.Tensor.is_meta.__get__  # type: ignore[attr-defined]  # a descriptor in C

    class Mode(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            if func == meta:
                return False  # `load_state_dict` would warn that copying does nothing
            if func is torch.Tensor.copy_ and type(args[0]) is torch.nn.Parameter:
                own, source = args[0], args[1]
                if own.is_meta:
                    _swap(own, torch.nn.Parameter(source, requires_grad=own.requires_grad))
                    return own
                if own.data_ptr() == source.data_ptr() and own.stride() == source.stride():
                    return own  # a tie, which has this tensor already
            return func(*args, **(kwargs or {}))

    with RealParameters(), Mode():
        yield


@contextmanager
def _without_initialisation(trial: _Trial) -> Iterator[None]:
    """Parameters without memory are not initialised."""
    from torch.overrides import TorchFunctionMode

    class Mode(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            kwargs = kwargs or {}
            if func.__name__ in _FILLS:
                tensor = args[0] if args else kwargs["tensor"]
                if tensor.is_meta:
                    one = trial.emptied.get(id(tensor))
                    if one is not None:
                        # Without the tensor itself, which it would keep alive.
                        rest, named = args[1:], {key: kwargs[key] for key in kwargs if key != "tensor"}
                        one.skipped.append(lambda parameter: func(parameter, *rest, **named))
                    return tensor
            return func(*args, **kwargs)

    with Mode():
        yield


def _install() -> None:
    # For good, and idle in every other thread: taking such a hook away while another thread
    # builds a network would break that one.
    global _installed
    with _installing:
        if not _installed:
            from torch.nn.modules.module import register_module_parameter_registration_hook

            register_module_parameter_registration_hook(_registered)
            _installed = True


def _registered(module: nn.Module, name: str, parameter: Any) -> None:
    if _local.trial is not None and parameter is not None:
        _local.trial.empty(parameter)


def _swap(one: nn.Parameter, other: nn.Parameter) -> None:
    """Exchange the tensors of two parameters; each keeps its attributes."""
    import torch

    torch.utils.swap_tensors(one, other)  # type: ignore[no-untyped-call]  # torch gives it no types
    vars(one).update(vars(other))
    vars(other).clear()


def own_readers(net: nn.Module) -> tuple[str, ...]:
    """The prefixes of modules that read a state in their own way, such as one with older names."""
    from torch.nn import Module

    found = []
    for path, module in net.named_modules():
        own = type(module)._load_from_state_dict is not Module._load_from_state_dict
        if module._load_state_dict_pre_hooks or (own and not type(module).__module__.startswith("torch.nn.")):
            found.append(f"{path}." if path else "")
    return tuple(found)


def _hooked(parameter: nn.Parameter) -> bool:
    """Does something hang on the tensor itself, and not on the object?"""
    hooks = getattr(parameter, "_backward_hooks", None) or getattr(
        parameter, "_post_accumulate_grad_hooks", None
    )
    return bool(hooks) or bool(weakref.getweakrefs(parameter))


def _young_tensors() -> list[torch.Tensor]:
    """The tensors made since garbage was last collected."""
    import torch

    kinds: dict[type, bool] = {}
    found: list[torch.Tensor] = []
    for one in gc.get_objects(generation=0):
        kind = type(one)
        if kind not in kinds:
            kinds[kind] = issubclass(kind, torch.Tensor)
        if kinds[kind]:
            found.append(one)
    return found


def _collections() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())


def _being_imported() -> bool:
    """Is this part of an import? What a module makes for itself belongs to no network."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code is not build_empty.__code__:
        if frame.f_code.co_name == "<module>":
            return True
        frame = frame.f_back
    return False
