"""Building a network that takes no memory for its parameters.

Parameters go to torch's meta device in the moment they are registered: they have a shape and no memory,
so initialising them costs nothing. Everything else a constructor makes (buffers, tables, plain tensors)
is made for real, so that what no checkpoint holds, such as a table of rotary frequencies, is right.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from holotype.errors import HolotypeError

if TYPE_CHECKING:
    from torch import nn

# What initialisation does in place, and torch cannot do on the meta device without `torch._dynamo`.
_FILLS = frozenset({"normal_", "exponential_", "erfinv_", "clamp_", "abs_", "eye_"})


def build_empty(build: Callable[[], nn.Module]) -> nn.Module:
    """Call a constructor such that parameters take no memory; where that fails, as usual.

    Args:
        build: returns the network.

    Raises:
        HolotypeError: what `build` raises passes through, and so does any other exception that it
            raises when called as usual.
    """
    try:
        with _EmptyParameters(), _without_initialisation():
            return build()
    except HolotypeError:
        raise
    except Exception:  # noqa: BLE001  # a constructor that looks at its parameters' values can fail anyhow
        return build()


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


class _EmptyParameters:
    """While it is entered, parameters that this thread registers go to the meta device."""

    _local = threading.local()
    _installed = False
    _installing = threading.Lock()

    def __enter__(self) -> None:
        self._install()
        self._outer = getattr(self._local, "made", None)
        # Keyed by identity, with the original kept alive: one parameter registered twice stays one.
        self._local.made = {}

    def __exit__(self, *error: object) -> None:
        self._local.made = self._outer

    @classmethod
    def _install(cls) -> None:
        # For good, and idle in every other thread: taking such a hook away while another thread
        # builds a network would break that one.
        with cls._installing:
            if not cls._installed:
                from torch.nn.modules.module import register_module_parameter_registration_hook

                register_module_parameter_registration_hook(cls._hook)
                cls._installed = True

    @classmethod
    def _hook(cls, module: nn.Module, name: str, parameter: Any) -> Any:
        made = getattr(cls._local, "made", None)
        if made is None or parameter is None:
            return None
        import torch

        if type(parameter) is not torch.nn.Parameter or parameter.is_meta:
            return None
        if id(parameter) not in made:
            empty = torch.nn.Parameter(
                torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad
            )
            vars(empty).update(vars(parameter))
            made[id(parameter)] = (parameter, empty)
        return made[id(parameter)][1]


@contextmanager
def _without_initialisation() -> Iterator[None]:
    """Parameters on the meta device are not initialised: it changes nothing, and imports torch's compiler."""
    from torch.overrides import TorchFunctionMode

    class Mode(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            kwargs = kwargs or {}
            if func.__name__ in _FILLS:
                tensor = args[0] if args else kwargs["tensor"]
                if tensor.is_meta:
                    return tensor
            return func(*args, **kwargs)

    with Mode():
        yield


class RealParameters(_EmptyParameters):
    """The opposite, inside the other: a constructor may load a part of its network, such as a teacher."""

    def __enter__(self) -> None:
        self._outer = getattr(self._local, "made", None)
        self._local.made = None
