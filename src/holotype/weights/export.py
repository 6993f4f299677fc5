"""A network as a program that runs without its Python code: ONNX, or PyTorch's exported programs (``.pt2``).

The batch may have any size. What was written is read again, run on several batches, and compared with the
network itself; it gets its name only if the outputs agree.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holotype.catalog.network_record import record_of, unwrap
from holotype.errors import LoadingError, MissingExtraError, UnknownFormatError
from holotype.files import check_new, writing_path
from holotype.names import nearest
from holotype.records import _Record
from holotype.weights.formats import PROGRAMS
from holotype.weights.formats.opened import OpenedFile, first_line
from holotype.weights.formats.pt import import_torch
from holotype.weights.formats.safetensors import header_texts
from holotype.weights.plan import as_size
from holotype.weights.save import binding_texts, described

if TYPE_CHECKING:
    import torch
    from torch import nn

_BATCHES = (2, 1, 3)  # the first one is exported with; 1 is where a batch that is not dynamic shows


@dataclass(frozen=True, eq=False)
class Export(_Record):
    """What was exported.

    Attributes:
        path: the file.
        format: ``"pt2"`` or ``"onnx"``.
        size_bytes: its size.
        largest_difference: between its outputs and the network's, over all batches tried.
        scale: the largest output of the network, to judge that by.
        batches: the batch sizes that were tried.
    """

    path: str
    format: str
    size_bytes: int
    largest_difference: float
    scale: float
    batches: tuple[int, ...]


def export(
    net: nn.Module,
    path: str | Path,
    *,
    format: str | None = None,
    info: Mapping[str, Any] | None = None,
    example: Callable[[int], tuple[torch.Tensor, ...]] | None = None,
    tolerance: float = 1e-3,
    overwrite: bool = False,
) -> Export:
    """Export a network.

    Args:
        net: it is exported as it computes in evaluation mode, and stays as it is.
        path: the file.
        format: ``"pt2"`` or ``"onnx"``; that of the file's ending if None.
        info: what was loaded with it: its signature describes the inputs, and the file keeps its classes,
            signature and preprocessing.
        example: makes inputs for a batch size; by default the network's method ``example_inputs(batch)``,
            its signature, or its `in_channels` and `size`.
        tolerance: how far outputs may differ, relative to the largest one.
        overwrite: replace a file of that name.

    Raises:
        UnknownFormatError: neither of the two.
        MissingExtraError: ``"onnx"`` needs packages that are not installed.
        LoadingError: it cannot be exported, or what was exported computes something else.
    """
    torch = import_torch()
    path = Path(path)
    chosen = format or path.suffix.removeprefix(".").lower()
    if chosen not in PROGRAMS:
        raise UnknownFormatError(
            f"{chosen!r} is not a format to export to; {' and '.join(PROGRAMS)} are.",
            given=chosen,
            nearest=nearest(chosen, PROGRAMS),
        )
    program = PROGRAMS[chosen]
    check_new(path, overwrite=overwrite, error=LoadingError)
    inner: nn.Module = unwrap(net)
    make = example or (lambda batch: example_inputs(inner, batch, info or {}))
    modes = [(module, module.training) for module in inner.modules()]
    try:
        inner.eval()
        inputs = [make(batch) for batch in _BATCHES]
        origin = record_of(inner)
        config = {} if origin is None else origin["config"]
        texts = header_texts(described(inner, config, info or {}))
        if origin is not None:
            texts.update(binding_texts(str(origin["architecture"]), config))
        with (
            writing_path(path, overwrite=overwrite, error=LoadingError) as temporary,
            torch.no_grad(),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # the exporters' own, about their future
            try:
                program.export(inner, inputs[0], temporary, texts)
            except MissingExtraError:
                raise
            except Exception as error:
                raise LoadingError(
                    f"{type(inner).__name__} cannot be exported to {chosen}: {first_line(error)}.",
                    given=chosen,
                    hint="Its forward may branch on values, or use what that format does not have.",
                ) from error
            with OpenedFile(temporary) as file:
                run = program.run(file)
                largest, scale = _largest_difference(inner, run, inputs)
            if not largest <= tolerance * max(scale, 1.0):
                raise LoadingError(
                    f"the exported program differs from the network by up to {largest:.3g}, at outputs up to "
                    f"{scale:.3g}. Nothing was kept.",
                    given=largest,
                )
            size = temporary.stat().st_size
    finally:
        for module, training in modes:
            module.training = training
    return Export(str(path), chosen, size, largest, scale, _BATCHES)


def example_inputs(net: nn.Module, batch: int, info: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
    """Random inputs that a network takes.

    Raises:
        LoadingError: neither the network nor `info` describes them.
    """
    import torch

    like = next(net.parameters(), torch.empty(0))
    kind: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
    own = getattr(net, "example_inputs", None)
    if callable(own):
        return tuple(own(batch))
    shapes = _shapes(info.get("signature"))
    size, channels = as_size(_plain_size(getattr(net, "size", None))), getattr(net, "in_channels", None)
    width = getattr(net, "input_dim", None)
    if shapes:
        return tuple(torch.randn(batch, *shape, **kind) for shape in shapes)
    if size is not None and isinstance(channels, int):
        return (torch.randn(batch, channels, *size, **kind),)
    if isinstance(width, int):  # a pair of proteins, of 7 and 5 residues
        lengths = [torch.full((batch,), n, device=like.device) for n in (7, 5)]
        return (torch.randn(batch, 7, width, **kind), torch.randn(batch, 5, width, **kind), *lengths)
    raise LoadingError(
        f"the inputs of {type(net).__name__} are not known.",
        given=type(net).__name__,
        hint="Pass example=lambda batch: (tensor, …), or give its class a method example_inputs(batch).",
    )


def _plain_size(size: object) -> object:
    return list(size) if isinstance(size, tuple) else size


def _shapes(signature: object) -> list[list[int]]:
    try:
        shapes = [list(part["data_shape"])[1:] for part in signature["inputs"]]  # type: ignore[index]
    except (TypeError, KeyError):
        return []
    return shapes if all(type(n) is int and n > 0 for shape in shapes for n in shape) else []


def _largest_difference(
    net: nn.Module,
    run: Callable[..., tuple[torch.Tensor, ...]],
    inputs: Iterable[tuple[torch.Tensor, ...]],
) -> tuple[float, float]:
    largest = scale = 0.0
    for given in inputs:
        expected = net(*given)
        expected = expected if isinstance(expected, (tuple, list)) else (expected,)
        got = run(*given)
        if len(got) != len(expected) or any(a.shape != b.shape for a, b in zip(got, expected, strict=True)):
            return float("inf"), scale
        for one, other in zip(got, expected, strict=True):
            if other.numel():
                apart = (one.double() - other.cpu().double()).abs().max().item()
                largest = max(largest, apart if apart == apart else float("inf"))
                scale = max(scale, other.abs().max().item())
    return largest, scale
