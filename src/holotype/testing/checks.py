"""The checks: each takes an architecture, and raises a `ConformanceError` that says what is wrong with it."""

from __future__ import annotations

import copy
import importlib
import math
import pickle
import random
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from holotype.tasks import Task
from holotype.testing.formats import OWN, round_trips
from holotype.testing.subjects import ConformanceError, Subject, described, difference, tensors_in
from holotype.text import listed

if TYPE_CHECKING:
    from torch import nn

Check = Callable[[Subject], None]

_ONE_ROW_A_SAMPLE = (Task.IMAGE_CLASSIFICATION, Task.PROTEIN_INTERACTION, Task.PROTEIN_EMBEDDING)
_SHOWN = 6
_SOURCE = re.compile(r"(?im)(?:^|[.;])[ \t]*(?:source|paper)s?:[ \t]*\n?[ \t]*\S")


# -- what every network must do ---------------------------------------------------------------------


def builds(subject: Subject) -> None:
    """It is built from its parameters and the seed alone."""
    if subject.problem is not None:
        raise ConformanceError(f"{subject.name!r} cannot be tested: {subject.problem}")
    first, second = subject.build(), subject.build()
    for (name, one), (_, other) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        changed = difference(one, other, exact=True)
        if changed:
            raise ConformanceError(
                f"built twice after the same torch.manual_seed, {subject.name!r} has other values in {name}: "
                f"{changed}.",
                hint="Initialise with torch's own random numbers.",
            )
    parameters = dict(first.named_parameters())
    plain = [
        name
        for name, value in _attributes(first)
        if value.requires_grad and id(value) not in {id(parameter) for parameter in parameters.values()}
    ]
    if plain:
        raise ConformanceError(
            f"{_listed(plain)}: requires a gradient, and is not an nn.Parameter: no optimizer has it."
        )


def builds_on_meta(subject: Subject) -> None:
    """It is built without memory for its tensors, with the same names and shapes."""
    import torch

    try:
        with torch.device("meta"):
            empty = subject.build()
    except ConformanceError as error:
        raise ConformanceError(
            f"on the meta device {error}", hint="A constructor must not look at the values of its tensors."
        ) from error.__cause__
    real = {name: _kind(value) for name, value in _state(subject.build()).items()}
    meta = {name: _kind(value) for name, value in _state(empty).items()}
    differing = [name for name in {**real, **meta} if real.get(name) != meta.get(name)]
    if differing:
        raise ConformanceError(f"built on the meta device, it has other tensors: {_listed(differing)}.")


def forwards(subject: Subject) -> None:
    """It returns finite tensors, one row for each sample, and leaves its arguments as they were."""
    net = subject.build().eval()
    for batch in (1, 3):
        inputs = subject.inputs(net, batch)
        before = copy.deepcopy(inputs)
        output = _run(net, inputs)
        changed = difference(before, inputs, exact=True)
        if changed:
            raise ConformanceError(f"forward changes its arguments: {changed}.")
        found = tensors_in(output)
        if not found:
            raise ConformanceError(f"forward returned {type(output).__name__} without a tensor in it.")
        for place, tensor in found.items():
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise ConformanceError(f"{place} of forward holds values that are not finite.")
        if subject.info.task in _ONE_ROW_A_SAMPLE:
            rows = next(iter(found.values())).shape[:1]
            if rows != (batch,):
                raise ConformanceError(
                    f"for {batch} samples, the output has {rows[0] if rows else 'no'} rows."
                )
            for at in range(batch):
                alone = _run(net, tuple(_row(value, at, batch) for value in inputs))
                changed = difference(
                    {key: _row(value, at, batch) for key, value in found.items()}, tensors_in(alone)
                )
                if changed:
                    raise ConformanceError(
                        f"in evaluation, sample {at} of {batch} gives another result than alone: {changed}."
                    )


def backwards(subject: Subject) -> None:
    """In training, every parameter receives a finite gradient."""
    import torch

    net = subject.build().train()
    if subject.info.task == Task.PROTEIN_EMBEDDING and not _state(net):
        return  # statistics of the sequence, without parameters
    output = _run(net, subject.inputs(net, 4), grad=True)
    terms = [tensor for tensor in tensors_in(output).values() if tensor.requires_grad]
    if not terms:
        raise ConformanceError("no output of forward depends on a parameter: nothing can be trained.")
    torch.manual_seed(1)
    loss = torch.stack([(term.double() * torch.rand_like(term.double())).sum() for term in terms]).sum()
    try:
        torch.autograd.backward(loss)
    except Exception as error:
        raise ConformanceError(f"backward raised {described(error)}") from error
    learned = [(name, value) for name, value in net.named_parameters() if value.requires_grad]
    none = [name for name, value in learned if value.grad is None]
    if none:
        raise ConformanceError(
            f"{len(none)} of {len(learned)} parameters receive no gradient: {_listed(none)}.",
            hint="forward does not use them. Remove them, or say requires_grad_(False).",
        )
    wild = [
        name for name, value in learned if value.grad is not None and not bool(value.grad.isfinite().all())
    ]
    if wild:
        raise ConformanceError(f"gradients that are not finite: {_listed(wild)}.")


def eval_is_deterministic(subject: Subject) -> None:
    """In evaluation, the same arguments give the same result, and nothing in the network changes."""
    net = subject.build().eval()
    inputs = subject.inputs(net)
    before = {name: value.clone() for name, value in _state(net).items()}
    first = _run(net, inputs, seed=1)
    random.seed(1)
    second = _run(net, inputs, seed=2)
    changed = difference(first, second, exact=True)
    if changed:
        raise ConformanceError(
            f"in evaluation, the same arguments give another result the second time: {changed}.",
            hint="forward uses random numbers, or counts its calls; make that depend on `self.training`.",
        )
    for name, value in _state(net).items():
        if difference(before[name], value, exact=True):
            raise ConformanceError(f"in evaluation, forward changes {name}.")


def training_differs_only_by_dropout_and_norm(subject: Subject) -> None:
    """In training, nothing differs but what dropout and batch statistics make differ."""
    net = subject.build().eval()
    inputs = subject.inputs(net, 4)
    expected = _run(net, inputs)
    net.train()
    still = [name for name, module in net.named_modules() if not module.training]
    if still:
        raise ConformanceError(f"after train(), {_listed(still)} are not in training mode.")
    for module in net.modules():
        if _says_so(module):
            module.training = False
    changed = difference(expected, _run(net, inputs))
    if changed:
        raise ConformanceError(
            f"without dropout and batch statistics, training and evaluation still differ: {changed}.",
            hint="If that is on purpose, declare the capability 'trains_otherwise'; a module that drops "
            "something at random says so by its name, or by the name of its rate ('drop' is in it).",
        )


def leaves_no_trace(subject: Subject) -> None:
    """Two networks share nothing, and neither building nor running one changes what is outside it."""
    import torch

    settings = _settings()
    first = subject.build().eval()
    inputs = subject.inputs(first)
    expected = _run(first, inputs)
    expected_state = {name: value.clone() for name, value in _state(first).items()}
    second = subject.build(seed=2)
    shared = [
        name
        for name, value in _state(second).items()
        if value.numel() and any(value.data_ptr() == own.data_ptr() for own in _state(first).values())
    ]
    if shared:
        raise ConformanceError(f"two networks share the memory of {_listed(shared)}.")
    output = _run(second.train(), subject.inputs(second, 4, seed=3), grad=True)
    for term in tensors_in(output).values():
        if term.requires_grad:
            torch.autograd.backward(term.double().sum(), retain_graph=True)
    with torch.no_grad():
        for value in second.parameters():
            value.add_(1.0)
    changed = difference(expected, _run(first, inputs), exact=True)
    for name, value in _state(first).items():
        changed = changed or difference({name: expected_state[name]}, {name: value}, exact=True)
    if changed:
        raise ConformanceError(
            f"after a second network was built and trained, the first gives another result: {changed}.",
            hint="Something is kept outside the networks: a class attribute, a default argument, a global.",
        )
    again = _run(subject.build().eval(), inputs)
    changed = difference(expected, again, exact=True)
    if changed:
        raise ConformanceError(
            f"built again from the same parameters and seed, it gives another result: {changed}.",
            hint="Something outside the network changed: a class attribute, a default argument, a global.",
        )
    altered = [name for name, value in _settings().items() if settings[name] != value]
    if altered:
        raise ConformanceError(f"it changes the whole program's {_listed(altered)}.")
    _leaves_random_numbers(subject)


def names_its_source(subject: Subject) -> None:
    """Its docstring, or that of its file, says where it is from."""
    module = subject.info.module
    texts = [subject.info.docstring or ""]
    if module is not None:
        with suppress(ImportError):
            texts.append(importlib.import_module(module).__doc__ or "")
    if not any(_SOURCE.search(text) for text in texts):
        raise ConformanceError(
            f"the docstring of {subject.info.class_name} names no source, nor does that of {module}.",
            hint="Add a line such as 'Source: Vaswani et al. 2017, section 3.2' or 'Source: our own work'.",
        )


def copies_and_pickles(subject: Subject) -> None:
    """`copy.deepcopy` and `pickle` give a network that does the same."""
    net = subject.build().eval()
    inputs = subject.inputs(net)
    expected = _run(net, inputs)
    ways: dict[str, Callable[[], nn.Module]] = {
        "copy.deepcopy": lambda: copy.deepcopy(net),
        "pickle": lambda: pickle.loads(pickle.dumps(net)),  # noqa: S301  # what was just written
    }
    for how, make in ways.items():
        try:
            other = make()
        except Exception as error:
            raise ConformanceError(
                f"{how} raised {described(error)}",
                hint="Keep no lambdas, local classes or open files in a network.",
            ) from error
        changed = difference(expected, _run(other, inputs))
        if changed:
            raise ConformanceError(f"after {how}, it gives another result: {changed}.")


def saves_and_loads(subject: Subject, format: str) -> None:
    """Saved and loaded, it is the same network."""
    net = _moved(subject)
    if not _state(net) and format != OWN:
        return  # files of tensors and nothing else
    inputs = subject.inputs(net)
    expected = _run(net, inputs)
    with tempfile.TemporaryDirectory() as folder:
        try:
            other = round_trips()[format](subject, net, Path(folder))
        except Exception as error:
            raise ConformanceError(f"saving and loading as {format} raised {described(error)}") from error
        before, after = _state(net), _state(other)
        lost = [name for name in {**before, **after} if (name in before) != (name in after)]
        if lost:
            raise ConformanceError(f"saved and loaded as {format}, it has other tensors: {_listed(lost)}.")
        for name, value in before.items():
            changed = difference(value, after[name], exact=True)
            if changed:
                raise ConformanceError(f"saved and loaded as {format}, {name} has changed: {changed}.")
        changed = difference(expected, _run(other.eval(), inputs))
        if changed:
            raise ConformanceError(
                f"saved and loaded as {format}, it gives another result: {changed}.",
                hint="A value that matters is neither a parameter nor a buffer, nor made by the constructor.",
            )


# -- what it declares ---------------------------------------------------------------------------------


def reset_classifier(subject: Subject) -> None:
    """`reset_classifier` replaces the head and nothing else."""
    net = subject.build().eval()
    before = {name: value.clone() for name, value in _state(net).items()}
    learn = {name: value.requires_grad for name, value in net.named_parameters()}
    inputs = subject.inputs(net)
    method = getattr(net, "reset_classifier", None)
    if not callable(method):
        raise ConformanceError("it declares 'reset_classifier' and has no such method.")
    method(7)
    output = _run(net, inputs)
    _expect_width(output, 7, "reset_classifier(7)")
    after = _state(net)
    heads = {name for name in {**before, **after} if name not in before or name not in after}
    heads |= {name for name in before if name in after and before[name].shape != after[name].shape}
    body = [name for name in before if name in after and name not in heads]
    if not body:
        raise ConformanceError("reset_classifier(7) leaves no tensor as it was.")
    touched = [
        name
        for name in body
        if difference(before[name], after[name], exact=True) and not _of_head(name, heads)
    ]
    if touched:
        raise ConformanceError(f"reset_classifier(7) changes what is not the head: {_listed(touched)}.")
    frozen = [
        name for name, value in net.named_parameters() if value.requires_grad is not learn.get(name, True)
    ]
    if frozen:
        raise ConformanceError(f"after reset_classifier(7), {_listed(frozen)} learn otherwise than before.")
    wrong = [name for name, module in net.named_modules() if module.training]
    if wrong:
        raise ConformanceError(
            f"after reset_classifier(7) in evaluation, {_listed(wrong)} are in training mode."
        )
    net.double()
    method(4)
    kinds = {value.dtype for value in net.parameters()}
    if len(kinds) > 1:
        raise ConformanceError("reset_classifier makes a head of another dtype than the rest of the network.")
    if "num_classes" in subject.capabilities:
        net.float()
        method(0)
        fresh = subject.build(num_classes=0)
        if list(_state(net)) != list(_state(fresh)):
            raise ConformanceError("reset_classifier(0) leaves other tensors than num_classes=0 does.")


def num_classes(subject: Subject) -> None:
    """It takes any number of classes, and 0 for the embedding."""
    for count in (0, 1, 7):
        net = subject.build(num_classes=count).eval()
        output = _run(net, subject.inputs(net))
        if count:
            _expect_width(output, count, f"num_classes={count}")
            continue
        embedding = next(iter(tensors_in(output).values()), None)
        if embedding is None or embedding.ndim < 2 or not embedding.shape[-1]:
            raise ConformanceError("with num_classes=0, it returns no embedding.")
        whole = subject.build(num_classes=7)
        extra = [name for name in _state(net) if name not in _state(whole)]
        if extra:
            raise ConformanceError(
                f"with num_classes=0, it has tensors that it lacks otherwise: {_listed(extra)}."
            )
        if len(_state(net)) == len(_state(whole)):
            raise ConformanceError("with num_classes=0, it has a head all the same.")


def in_channels(subject: Subject) -> None:
    """It takes images of other channel counts."""
    import torch

    for count in (1, 4, 6):
        net = subject.build(in_channels=count).eval()
        inputs = subject.inputs(net)
        shape = next((tuple(value.shape) for value in inputs if isinstance(value, torch.Tensor)), ())
        if len(shape) != 4 or shape[1] != count:
            raise ConformanceError(
                f"built with in_channels={count}, its example inputs have shape {shape}.",
                hint="Keep the number in an attribute `in_channels`, or define example_inputs(batch).",
            )
        _finite(_run(net, inputs), f"with in_channels={count}")


def size(subject: Subject) -> None:
    """It takes images of other sizes, and such that are not square."""
    import torch

    own = getattr(subject.build(), "size", None)
    if own is None:
        raise ConformanceError("it declares 'size' and keeps no attribute `size`.")
    height, width = (own, own) if isinstance(own, int) else own
    for wanted in ((2 * height, 2 * width), (2 * height, width)):
        net = subject.build(size=wanted).eval()
        inputs = subject.inputs(net)
        shape = next((tuple(value.shape) for value in inputs if isinstance(value, torch.Tensor)), ())
        if shape[2:] != wanted:
            raise ConformanceError(f"built with size={wanted}, its example inputs have shape {shape}.")
        _finite(_run(net, inputs), f"with size={wanted}")


def symmetric(subject: Subject) -> None:
    """The order of the two proteins does not matter, where it is declared not to."""
    net = subject.build().eval()
    emb_a, emb_b, lengths_a, lengths_b = subject.inputs(net)
    said = getattr(net, "symmetric", "symmetric" in subject.capabilities)
    changed = difference(
        _run(net, (emb_a, emb_b, lengths_a, lengths_b)), _run(net, (emb_b, emb_a, lengths_b, lengths_a))
    )
    if said and changed:
        raise ConformanceError(
            f"it declares to be symmetric, and scoring (b, a) is not scoring (a, b): {changed}."
        )
    if not said and not changed:
        raise ConformanceError("it is symmetric, and its attribute `symmetric` says that it is not.")


def embeds_proteins(subject: Subject) -> None:
    """Letters have tokens; residues, or proteins, have vectors; padding and company change none."""
    import torch

    net: Any = subject.build().eval()
    for letter in ascii_uppercase:
        try:
            tokens = torch.as_tensor(net.tokenize(letter))
        except Exception as error:
            raise ConformanceError(f"tokenize({letter!r}) raised {described(error)}") from error
        if tokens.shape != (1,) or tokens.dtype != torch.int64:
            raise ConformanceError(
                f"tokenize({letter!r}) returned {tuple(tokens.shape)} of {tokens.dtype}, "
                "not (1,) of torch.int64."
            )
    tokens, lengths = subject.inputs(net, 5)
    whole = getattr(net, "whole_protein", False) is True
    expected = _run(net, (tokens, lengths))
    shape = (5, 1 if whole else tokens.shape[1], net.embedding_dim)
    if tuple(expected.shape) != shape:
        raise ConformanceError(f"forward returned {tuple(expected.shape)}, not {shape}.")
    padding = torch.arange(tokens.shape[1]) >= lengths[:, None]
    if not whole and bool(expected[padding].count_nonzero()):
        raise ConformanceError("embeddings are not 0 at padding.")
    rows = 1 if whole else int(lengths.max())
    others = {
        "with more padding": (torch.nn.functional.pad(tokens, (0, 3)), lengths),
        "with other tokens at padding": (tokens.masked_fill(padding, int(tokens[0, 0])), lengths),
        "in another order": (tokens.flip(0), lengths.flip(0)),
    }
    for how, inputs in others.items():
        got = _run(net, inputs)[:, :rows]
        changed = difference(expected[:, :rows], got.flip(0) if how == "in another order" else got)
        if changed:
            raise ConformanceError(f"{how}, proteins have other embeddings: {changed}.")
    for at, length in enumerate(lengths.tolist()):
        alone = _run(net, (tokens[at : at + 1, :length], lengths[at : at + 1]))
        changed = difference(expected[at : at + 1, : alone.shape[1]], alone)
        if changed:
            raise ConformanceError(f"alone, a protein of {length} residues has another embedding: {changed}.")


def encodes_alone(subject: Subject) -> None:
    """`encode` and `score` give what `forward` gives."""
    net: Any = subject.build().eval()
    inputs = subject.inputs(net, 3)
    for method in ("encode", "score"):
        if not callable(getattr(net, method, None)):
            raise ConformanceError(f"it declares 'encodes_alone' and has no method {method}().")
    expected = _run(net, inputs)
    got = _run(lambda *given: net.score(net.encode(*given[::2]), net.encode(*given[1::2])), inputs)
    changed = difference(expected, got)
    if changed:
        raise ConformanceError(f"score(encode(a), encode(b)) is not forward(a, b): {changed}.")


def compiles(subject: Subject) -> None:
    """`torch.compile` compiles it as one graph."""
    import torch

    net = subject.build().eval()
    inputs = subject.inputs(net)
    expected = _run(net, inputs)
    torch.compiler.reset()
    try:
        with torch.no_grad():
            got = torch.compile(net, fullgraph=True, backend="eager")(*inputs)
    except Exception as error:
        raise ConformanceError(f"torch.compile(fullgraph=True) raised {described(error)}") from error
    finally:
        torch.compiler.reset()
    changed = difference(expected, got)
    if changed:
        raise ConformanceError(f"compiled, it gives another result: {changed}.")


def exports(subject: Subject) -> None:
    """`torch.export` exports it, for any number of samples."""
    import torch

    net = subject.build().eval()
    batch = 3  # 0 and 1 would be taken for constants
    inputs = subject.inputs(net, batch)
    any_number = torch.export.Dim.DYNAMIC
    shapes = tuple(
        {0: any_number} if isinstance(value, torch.Tensor) and value.shape[:1] == (batch,) else None
        for value in inputs
    )
    try:
        with torch.no_grad():
            program: Any = torch.export.export(net, inputs, dynamic_shapes=shapes).module()
    except Exception as error:
        raise ConformanceError(f"torch.export for any number of samples raised {described(error)}") from error
    for number in (batch, 5):
        other = subject.inputs(net, number)
        changed = difference(_run(net, other), _run(program, other))
        if changed:
            raise ConformanceError(f"exported, it gives another result for {number} samples: {changed}.")


ALWAYS: tuple[Check, ...] = (
    builds,
    builds_on_meta,
    forwards,
    backwards,
    eval_is_deterministic,
    leaves_no_trace,
    names_its_source,
    copies_and_pickles,
)
DECLARED: dict[str, Check] = {
    "reset_classifier": reset_classifier,
    "num_classes": num_classes,
    "in_channels": in_channels,
    "size": size,
    "encodes_alone": encodes_alone,
    "compile": compiles,
    "export": exports,
}


def checks_of(subject: Subject) -> list[Check]:
    """The checks that an architecture must pass, without the snapshot and the formats."""
    if subject.problem is not None:
        return [builds]
    found = list(ALWAYS)
    if "trains_otherwise" not in subject.capabilities:
        found.append(training_differs_only_by_dropout_and_norm)
    if "symmetric" in subject.capabilities or subject.info.task == Task.PROTEIN_INTERACTION:
        found.append(symmetric)
    if subject.info.task == Task.PROTEIN_EMBEDDING:
        found.append(embeds_proteins)
    return found + [check for capability, check in DECLARED.items() if capability in subject.capabilities]


# -- helpers ----------------------------------------------------------------------------------------


def _run(net: Callable[..., Any], inputs: tuple[Any, ...], *, grad: bool = False, seed: int = 0) -> Any:
    import torch

    torch.manual_seed(seed)
    try:
        with torch.set_grad_enabled(grad):
            return net(*inputs)
    except Exception as error:
        shapes = ", ".join(str(tuple(value.shape)) for value in tensors_in(inputs).values())
        raise ConformanceError(f"forward on {shapes} raised {described(error)}") from error


def _state(net: nn.Module) -> dict[str, Any]:
    import torch

    return {name: value for name, value in net.state_dict().items() if isinstance(value, torch.Tensor)}


def _kind(value: Any) -> tuple[Any, Any]:
    return tuple(value.shape), value.dtype


def _attributes(net: nn.Module) -> Iterator[tuple[str, Any]]:
    import torch

    for name, module in net.named_modules():
        for key, value in vars(module).items():
            if isinstance(value, torch.Tensor):
                yield f"{name}.{key}".lstrip("."), value


def _row(value: Any, at: int, batch: int) -> Any:
    import torch

    return value[at : at + 1] if isinstance(value, torch.Tensor) and value.shape[:1] == (batch,) else value


def _says_so(module: nn.Module) -> bool:
    """Does a module say, by its class or its attributes, that it does something else in training?"""
    from torch import nn

    name = type(module).__name__.lower()
    if isinstance(module, nn.modules.batchnorm._NormBase) or "drop" in name or "stochasticdepth" in name:
        return True
    return any(
        "drop" in key.lower() and isinstance(value, (int, float)) for key, value in vars(module).items()
    )


def _moved(subject: Subject) -> nn.Module:
    """A network whose every tensor differs from what its constructor makes."""
    import torch

    net = subject.build(seed=5)
    torch.manual_seed(6)
    with torch.no_grad():
        for value in _state(net).values():
            if value.is_floating_point():
                value.mul_(1 + 0.1 * torch.rand_like(value)).add_(0.01)
            elif value.dtype == torch.int64:
                value.add_(1)
    return net.eval()


def _expect_width(output: Any, width: int, where: str) -> None:
    logits = next(iter(tensors_in(output).values()), None)
    if logits is None or logits.shape[-1:] != (width,):
        shape = "nothing" if logits is None else tuple(logits.shape)
        raise ConformanceError(f"with {where}, its output is {shape}, not {width} wide.")


def _finite(output: Any, where: str) -> None:
    found = tensors_in(output)
    if not found or not all(math.isfinite(float(value.double().sum())) for value in found.values()):
        raise ConformanceError(f"{where}, its output is not finite.")


def _of_head(name: str, heads: set[str]) -> bool:
    owner = name.rpartition(".")[0]
    return any(head.rpartition(".")[0] == owner for head in heads)


def _settings() -> dict[str, Any]:
    """What of the whole program a network has no business to change."""
    import torch

    return {
        "default dtype": torch.get_default_dtype(),
        "default device": str(torch.get_default_device()),
        "number of threads": torch.get_num_threads(),
        "gradient mode": torch.is_grad_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "matmul precision": torch.get_float32_matmul_precision(),
    }


def _leaves_random_numbers(subject: Subject) -> None:
    """Seeding inside a constructor or `forward` makes every later random number of the program the same."""
    import torch

    inputs = subject.inputs(subject.build())
    ends = []
    for seed in (11, 12):
        torch.manual_seed(seed)
        random.seed(seed)
        net = subject.create().eval()
        with torch.no_grad():
            net(*inputs)
        ends.append((torch.get_rng_state(), random.getstate()))
    if torch.equal(ends[0][0], ends[1][0]):
        raise ConformanceError("building or running it seeds torch's random numbers for the whole program.")
    if ends[0][1] == ends[1][1]:
        raise ConformanceError("building or running it seeds Python's random numbers for the whole program.")


@contextmanager
def untouched() -> Iterator[None]:
    """Run a check such that the random numbers of the program are afterwards as they were before."""
    import torch

    with torch.random.fork_rng(devices=[]):
        own = random.getstate()
        try:
            yield
        finally:
            random.setstate(own)


def _listed(names: list[str]) -> str:
    return listed([repr(name) for name in names], _SHOWN)
