"""What a network of images costs: parameters, multiplications, memory of activations, images a second.

What depends on shapes alone is found out with tensors that have no values, where nothing is computed and no
memory is taken. Multiplications are counted on the meta device, where attention is plain matrix products, and
memory as the device's own kernels take it. Only the speed is measured.
"""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from holotype.errors import (
    ConfigError,
    DataError,
    HolotypeError,
    ParameterError,
    UnknownModelError,
    UnknownPretrainedError,
)
from holotype.weights.open import find

__all__ = ["Measurement", "activation_bytes", "count_macs", "measure", "measure_model", "peak_bytes"]

_SECONDS = 1.0
_LEAST, _MOST = 3, 50


@dataclass(frozen=True)
class Measurement:
    """What a network costs.

    Attributes:
        params: numbers that are learned, shared ones counted once.
        size: (height, width) of the images.
        batch: how many images at once.
        macs: multiply-accumulates of one image, in evaluation: those of convolutions, matrix products and
            attention, which is what papers count; None where they cannot be counted.
        training_bytes: activations that a forward pass of the batch keeps for the backward pass, in training;
            without parameters, their gradients and the optimizer's state. None where it cannot be found out.
        inference_bytes: the most that tensors made in a forward pass of the batch take at one time, without
            gradients; the images and the parameters are not in it, nor what a kernel takes for itself.
        images_per_s: in evaluation: the batch by the median time of some forward passes.
        batches: how many passes were timed, after one that was not.
        device: where they ran.
        threads: of the processor.
        dtype: of the parameters and images.
        torch: its version.
    """

    params: int
    size: tuple[int, int]
    batch: int
    macs: int | None
    training_bytes: int | None
    inference_bytes: int | None
    images_per_s: float
    batches: int
    device: str
    threads: int
    dtype: str
    torch: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**asdict(self), "size": list(self.size)}


def measure(
    net: nn.Module,
    *,
    batch: int = 1,
    size: int | tuple[int, int] | None = None,
    device: str | torch.device = "cpu",
) -> Measurement:
    """Measure a network that takes images.

    Args:
        net: it is moved to the device, and put into the mode it was in when this is done.
        batch: how many images at once.
        size: of the images, in pixels or as (height, width); the network's own if None.
        device: where to time it.

    Raises:
        ParameterError: a batch below 1, or one that does not fit into the memory; or the network
            does not say which images it takes.
        ConfigError: the device cannot be used.
        ShapeError: a size that the network does not take.
    """
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise ParameterError(f"batch is a whole number from 1 on, got {batch!r}.", given=batch)
    height, width = _size(net, size)
    channels = int(getattr(net, "in_channels", 3))
    was_training = net.training
    like = next((one for one in net.parameters() if one.is_floating_point()), torch.empty(0))
    shape = (channels, height, width)
    try:
        # On the device: what computes values and cannot do without is computed there.
        net = _on(net, device)
        macs = _unless_impossible(lambda: count_macs(net, shape))
        training = _unless_impossible(lambda: activation_bytes(net, shape, batch))
        inference = _unless_impossible(lambda: peak_bytes(net, shape, batch))
        times = _times(net.eval(), torch.zeros(batch, *shape, dtype=like.dtype, device=device))
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        raise ParameterError(
            f"{batch:,} images of {height} x {width} at once do not fit into the memory.", given=batch
        ) from error
    finally:
        net.train(was_training)
    return Measurement(
        params=sum(one.numel() for one in net.parameters()),
        size=(height, width),
        batch=batch,
        macs=macs,
        training_bytes=training,
        inference_bytes=inference,
        images_per_s=batch / statistics.median(times),
        batches=len(times),
        device=_device_name(device),
        threads=torch.get_num_threads(),
        dtype=str(like.dtype).removeprefix("torch."),
        torch=torch.__version__,
    )


def measure_model(
    name: str | Path,
    *,
    batch: int = 1,
    size: int | tuple[int, int] | None = None,
    device: str | torch.device = "cpu",
) -> Measurement:
    """Measure a model of images by its name.

    The weights do not matter, so those of a pretrained entry are not fetched.

    Args:
        name: an architecture, a pretrained entry, a weight file, or the folder of a training run.
        batch: as for `measure`.
        size: as for `measure`.
        device: as for `measure`.

    Raises:
        UnknownModelError: no such model.
        DataError: it takes no images.
        And as `measure`.
    """
    try:
        net = find(name).build()
    except UnknownPretrainedError as error:
        raise UnknownModelError(
            f"no architecture, pretrained entry or weight file named {str(name)!r}.",
            given=str(name),
            nearest=error.nearest,
            hint="See them all: holotype list, holotype list --pretrained",
        ) from error
    if not hasattr(net, "size"):
        raise DataError(
            f"{name} ({type(net).__name__}) is not a network of images, and cannot be measured.",
            given=str(name),
            hint="Its parameters: holotype info --params",
        )
    return measure(net, batch=batch, size=size, device=device)


def count_macs(net: nn.Module, shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates of one image (C, H, W), in evaluation mode."""

    def run(tensors: Mapping[str, Tensor], image: Tensor) -> int:
        with FlopCounterMode(display=False) as counter:
            torch.func.functional_call(net, dict(tensors), (image,))
        return int(counter.get_total_flops()) // 2

    with torch.no_grad():
        return _by_shapes(net, (1, *shape), run, _on_meta, training=False)


def activation_bytes(net: nn.Module, shape: tuple[int, int, int], batch: int = 1) -> int:
    """Bytes that a forward pass in training mode keeps for the backward pass, each memory counted once."""

    def run(tensors: Mapping[str, Tensor], images: Tensor) -> int:
        own = {_storage(one) for one in (*tensors.values(), images)}
        kept: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            if _storage(tensor) not in own:
                kept[_storage(tensor)] = tensor  # held, so that no other memory gets its name
            return tensor

        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            out = torch.func.functional_call(net, dict(tensors), (images,))
            found = sum(one.untyped_storage().nbytes() for one in kept.values())
        del out
        return found

    return _by_shapes(net, (batch, *shape), run, _as_here, training=True)


def peak_bytes(net: nn.Module, shape: tuple[int, int, int], batch: int = 1) -> int:
    """The most bytes that tensors made in a forward pass in evaluation mode take at one time."""

    def run(tensors: Mapping[str, Tensor], images: Tensor) -> int:
        with _Peak((*tensors.values(), images)) as watch:
            torch.func.functional_call(net, dict(tensors), (images,))
        return int(watch.most)

    with torch.no_grad():
        return _by_shapes(net, (batch, *shape), run, _as_here, training=False)


class _Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Counts the memory of tensors that operations make, as long as they live."""

    def __init__(self, own: tuple[Tensor, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.now = self.most = 0
        self._known = {_storage(one) for one in own}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, Tensor) and _storage(one) not in self._known:
                self._watch(one)
        return made

    def _watch(self, tensor: Tensor) -> None:
        memory, key, size = tensor.untyped_storage(), _storage(tensor), tensor.untyped_storage().nbytes()
        self._known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(memory, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _by_shapes(
    net: nn.Module,
    shape: tuple[int, ...],
    run: Callable[[Mapping[str, Tensor], Tensor], int],
    without_values: Callable[[], tuple[AbstractContextManager[object], Callable[[Tensor], Tensor]]],
    *,
    training: bool,
) -> int:
    """Run it with tensors that have no values; where the network looks at values, with some."""
    tensors: dict[str, Tensor] = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    like = next((one for one in tensors.values() if one.is_floating_point()), torch.empty(0))
    images = torch.empty(1, dtype=like.dtype, device=like.device).expand(shape)
    was_training = net.training
    net.train(training)
    try:
        # No mask that is drawn is to be seen in the numbers drawn afterwards.
        with torch.random.fork_rng(devices=[]):
            try:
                mode, empty = without_values()
                with mode:
                    return run({name: empty(one) for name, one in tensors.items()}, empty(images))
            except HolotypeError:
                raise
            except Exception:  # noqa: BLE001  # whatever reading a value that is not there leads to
                # Copies: a batch norm counts its batches.
                copies = {
                    name: one.detach().clone().requires_grad_(one.requires_grad)
                    for name, one in tensors.items()
                }
                return run(copies, torch.zeros(shape, dtype=like.dtype, device=like.device))
    finally:
        net.train(was_training)


def _on_meta() -> tuple[AbstractContextManager[object], Callable[[Tensor], Tensor]]:
    """Tensors of the meta device."""
    return nullcontext(), lambda tensor: _empty(tensor, "meta")


def _as_here() -> tuple[AbstractContextManager[object], Callable[[Tensor], Tensor]]:
    """Tensors that pretend to be on their device, so that its kernels are chosen."""
    # What a constructor keeps as a plain attribute is a real tensor.
    mode: Any = FakeTensorMode(allow_non_fake_inputs=True)
    return mode, lambda tensor: _empty(tensor, tensor.device)


def _empty(tensor: Tensor, device: str | torch.device) -> Tensor:
    strides = (
        tensor.stride() if 0 not in tensor.stride() else torch.empty(tensor.shape, device="meta").stride()
    )
    made = torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=device)
    return made.requires_grad_(tensor.requires_grad)


def _unless_impossible(count: Callable[[], int]) -> int | None:
    try:
        return count()
    except HolotypeError:
        raise
    except Exception:  # noqa: BLE001  # such as a batch norm that needs two images to train
        return None


def _times(net: nn.Module, images: Tensor) -> list[float]:
    """Seconds of each forward pass, some of them, for about a second."""
    gpu = images.device.type == "cuda"

    def once() -> float:
        if gpu:
            torch.cuda.synchronize(images.device)
        began = time.perf_counter()
        net(images)
        if gpu:
            torch.cuda.synchronize(images.device)
        return time.perf_counter() - began

    times: list[float] = []
    with torch.inference_mode():
        once()
        while len(times) < _LEAST or (sum(times) < _SECONDS and len(times) < _MOST):
            times.append(once())
    return times


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _size(net: nn.Module, size: int | tuple[int, int] | None) -> tuple[int, int]:
    asked: Any = getattr(net, "size", None) if size is None else size
    both = (asked, asked) if isinstance(asked, int) else tuple(asked or ())
    if len(both) != 2 or not all(isinstance(one, int) and one > 0 for one in both):
        raise ParameterError(
            f"{type(net).__name__} does not say which images it takes: give their size, not {size!r}.",
            given=size,
        )
    return (both[0], both[1])


def _is_out_of_memory(error: Exception) -> bool:
    """Torch has a type for that on accelerators only."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(sign in str(error) for sign in ("can't allocate memory", "not enough memory", "Storage size"))


def _on(net: nn.Module, device: str | torch.device) -> nn.Module:
    try:
        return net.to(device)
    except (RuntimeError, AssertionError) as error:  # torch was built without it, or there is none
        text = str(error).splitlines()[0]
        raise ConfigError(f"device {device} cannot be used: {text}", given=str(device)) from error


def _device_name(device: str | torch.device) -> str:
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else str(device)
