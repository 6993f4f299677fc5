"""What is put to the test: the architectures of a zoo, what they declare, and inputs for them."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from holotype.catalog.registry import Zoo, default_registry
from holotype.errors import HolotypeError, RegistryError, UnknownZooError
from holotype.names import nearest
from holotype.records import ModelInfo
from holotype.tasks import Task

if TYPE_CHECKING:
    from torch import nn

    ExampleInputs = Callable[[nn.Module, int], tuple[Any, ...]]

CAPABILITIES: Mapping[str, str] = {
    "num_classes": "takes `num_classes=`; with 0 it returns the embedding, as `reset_classifier(0)` does",
    "reset_classifier": "has `reset_classifier(num_classes)`, which replaces the head and nothing else",
    "in_channels": "takes `in_channels=`, any number from 1 on",
    "size": "takes `size=`, pixels or (height, width), and then images of that size",
    "symmetric": "scoring (b, a) gives what scoring (a, b) gives; an attribute `symmetric` says the same",
    "encodes_alone": "has `encode` and `score`, which together give what `forward` gives; an attribute "
    "`encodes_alone = True` says the same",
    "compile": "`torch.compile(fullgraph=True)` works",
    "export": "`torch.export` works, for any number of samples",
    "trains_otherwise": "in training, `forward` does something else on purpose: it returns losses, or "
    "masks at random",
}
"""What an architecture may declare, and what that promises."""

SEED = 20_240_229
_LETTERS = 2 * ascii_uppercase


class ConformanceError(HolotypeError, AssertionError):
    """A network fails a check that every network must pass, or one of a capability that it declares."""


@dataclass(frozen=True)
class Subject:
    """An architecture, as the suite sees it.

    Attributes:
        name: its name in the zoo.
        zoo: its zoo.
        info: what the registry knows of it.
        capabilities: what it declares.
        small: parameters that make a small network of it, for quick tests.
        example_inputs: the zoo's own way to make inputs, or None.
        problem: why it cannot be imported, or None.
    """

    name: str
    zoo: Zoo
    info: ModelInfo
    capabilities: frozenset[str] = frozenset()
    small: Mapping[str, Any] = field(default_factory=dict)
    example_inputs: ExampleInputs | None = None
    problem: str | None = None

    def build(self, *, seed: int = SEED, small: bool = True, **params: Any) -> nn.Module:
        """The network; the same one for the same seed."""
        import torch

        torch.manual_seed(seed)
        given = {**self.small, **params} if small else params
        try:
            net: object = self.create(small=small, **params)
        except Exception as error:
            raise ConformanceError(f"{self.call(given)} raised {described(error)}") from error
        if not isinstance(net, torch.nn.Module):
            raise ConformanceError(
                f"{self.call(given)} returned {type(net).__name__}, which is not an nn.Module."
            )
        return net

    def create(self, *, small: bool = True, **params: Any) -> nn.Module:
        """The network as a user gets it: no seed, and errors as they come."""
        return self.zoo.create_model(self.name, **({**self.small, **params} if small else params))

    def inputs(self, net: nn.Module, batch: int = 2, *, seed: int = SEED) -> tuple[Any, ...]:
        """Arguments for `net`, the same ones for the same seed."""
        import torch

        torch.manual_seed(seed)
        own = getattr(net, "example_inputs", None)
        try:
            if self.example_inputs is not None:
                made: object = self.example_inputs(net, batch)
            elif callable(own):
                made = own(batch)
            else:
                made = self._default_inputs(net, batch)
        except ConformanceError:
            raise
        except Exception as error:
            raise ConformanceError(f"making inputs raised {described(error)}") from error
        if not isinstance(made, tuple):
            raise ConformanceError(
                f"example_inputs({batch}) returned {type(made).__name__}, not a tuple of arguments."
            )
        return made

    def _default_inputs(self, net: nn.Module, batch: int) -> tuple[Any, ...]:
        import torch

        if self.info.task == Task.IMAGE_CLASSIFICATION:
            size = getattr(net, "size", None) or self.info.metadata.get("resolution") or 224
            height, width = (size, size) if isinstance(size, int) else size
            return (torch.randn(batch, getattr(net, "in_channels", 3), height, width),)
        if self.info.task == Task.PROTEIN_INTERACTION:
            width, (len_a, len_b) = getattr(net, "input_dim", 960), (7, 5)
            lengths_a = torch.arange(batch) % len_a + 1
            lengths_b = len_b - torch.arange(batch) % len_b
            emb_a, emb_b = torch.randn(batch, len_a, width), torch.randn(batch, len_b, width)
            return emb_a, emb_b, lengths_a, lengths_b
        if self.info.task == Task.PROTEIN_EMBEDDING:
            proteins = [_LETTERS[at % 26 :][: 9 - 2 * at % 9] for at in range(batch)]
            tokens = [torch.as_tensor(net.tokenize(protein)) for protein in proteins]  # type: ignore[operator]  # a method
            lengths = torch.tensor([len(protein) for protein in proteins])
            return torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True), lengths
        raise ConformanceError(
            f"the inputs of {self.name!r} are not known (task: {self.info.task}).",
            hint="Give its class a method example_inputs(self, batch) that returns a tuple of arguments, or "
            "write conformance(…, example_inputs=function), called with the network and a batch size.",
        )

    def call(self, params: Mapping[str, Any]) -> str:
        """The call that builds it, for messages."""
        text = "".join(f", {name}={value!r}" for name, value in params.items())
        return f"create_model({self.name!r}{text})"


def find_zoo(zoo: str | Zoo) -> Zoo:
    """A zoo by its name; a package that is not a zoo yet is added as one.

    Raises:
        UnknownZooError: neither.
    """
    if not isinstance(zoo, str):
        return zoo
    known = [info.name for info in default_registry.list_zoos()]
    if zoo.lower() in known:
        return default_registry.zoo(zoo)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m pytest` does
    try:
        return default_registry.add_zoo(zoo)
    except UnknownZooError as error:
        raise UnknownZooError(
            f"no zoo named {zoo!r}, and no such package below the working directory or on sys.path.",
            given=zoo,
            nearest=nearest(zoo, known),
            hint="See them all: holotype zoos",
        ) from error


def subjects(
    zoo: str | Zoo, *, example_inputs: ExampleInputs | None = None, names: Iterable[str] | None = None
) -> list[Subject]:
    """The architectures of a zoo, in the order in which they were registered.

    Raises:
        UnknownZooError, UnknownModelError: no such zoo, no such name in it.
        ConformanceError: there are none.
    """
    view = find_zoo(zoo)
    chosen = view.get_available_models() if names is None else list(names)
    if not chosen:
        problems = "".join(f"\n  {problem}" for problem in view.list_problems())
        raise ConformanceError(
            f"the zoo {view.name!r} has no architectures, so there is nothing to test.{problems}",
            hint=f"See what was found: holotype list --zoo {view.name}",
        )
    found = []
    for name in chosen:
        info = view.get_model_info(name)
        declared, small, problem = _declarations(view, info)
        found.append(Subject(info.name, view, info, declared, small, example_inputs, problem))
    return found


def _declarations(view: Zoo, info: ModelInfo) -> tuple[frozenset[str], Mapping[str, Any], str | None]:
    """Capabilities, small parameters, and what is wrong: from the class and from what was registered."""
    target: type | None = None
    if info.problem is not None:
        return frozenset(), {}, str(info.problem)
    if info.kind != "builder":
        try:
            target = view.get_model_class(info.name)
        except RegistryError as error:
            # A registered config may be of a builder function.
            if not _is_function(error):
                return frozenset(), {}, str(error)
        except HolotypeError as error:  # a missing optional package
            return frozenset(), {}, str(error)
    declared: set[str] = set()
    small: dict[str, Any] = {}
    for said in (getattr(target, "capabilities", None), info.metadata.get("capabilities")):
        if callable(said) or said is None:
            continue
        if isinstance(said, str) or not isinstance(said, Iterable):
            return frozenset(), {}, f"capabilities is a set of names, got {said!r}."
        declared.update(said)
    for given in (getattr(target, "small_parameters", None), info.metadata.get("small_parameters")):
        if isinstance(given, Mapping):
            small.update(given)
        elif given is not None and not callable(given):
            return frozenset(), {}, f"small_parameters is a mapping of parameters, got {given!r}."
    unknown = sorted(declared - set(CAPABILITIES), key=str)
    if unknown:
        close = nearest(str(unknown[0]), CAPABILITIES)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        known = ", ".join(CAPABILITIES)
        return frozenset(), {}, f"{unknown[0]!r} is not a capability.{hint} They are: {known}."
    for capability in ("symmetric", "encodes_alone"):
        if getattr(target, capability, None) is True:
            declared.add(capability)
    return frozenset(declared), small, None


def _is_function(error: RegistryError) -> bool:
    return type(error) is RegistryError and "is built by the function" in str(error)


def described(error: BaseException) -> str:
    """An exception in one paragraph."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# -- outputs ------------------------------------------------------------------------------------


def tensors_in(value: Any, place: str = "") -> dict[str, Any]:
    """Every tensor of an output, by its place in it; tuples, lists, mappings and dataclasses are entered."""
    import torch

    if isinstance(value, torch.Tensor):
        return {place or "the output": value}
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, (tuple, list)):
        items = enumerate(value)
    elif hasattr(value, "__dataclass_fields__"):
        items = vars(value).items()
    found: dict[str, Any] = {}
    for key, inner in items:
        found.update(tensors_in(inner, f"{place}[{key!r}]"))
    return found


def difference(before: Any, after: Any, *, exact: bool = False) -> str | None:
    """How two outputs differ, in words; None where they are the same (but for rounding, unless `exact`)."""
    first, second = tensors_in(before), tensors_in(after)
    if list(first) != list(second):
        return f"it returns {_structure(second)} where it returned {_structure(first)}"
    for place, one in first.items():
        other = second[place]
        if one.shape != other.shape:
            return f"{place} has shape {tuple(other.shape)} where it had {tuple(one.shape)}"
        if one.dtype != other.dtype:
            return f"{place} is {other.dtype} where it was {one.dtype}"
        one, other = one.detach().double(), other.detach().double()
        gap = float((one - other).abs().nan_to_num(math.inf).max()) if one.numel() else 0.0
        same = one.isnan() == other.isnan()
        gap = 0.0 if bool(same.all()) and bool(one.isnan().all()) and one.numel() else gap
        largest = float(one.abs().nan_to_num(0.0).max()) if one.numel() else 0.0
        if gap > (0.0 if exact else 1e-5 + 1e-4 * largest):
            return f"{place} differs by up to {gap:.3g} (its largest value is {largest:.3g})"
    return None


def _structure(tensors: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{place} {tuple(tensor.shape)}" for place, tensor in tensors.items())
    return shown or "no tensor"
