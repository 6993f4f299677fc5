"""Which state of a checkpoint is loaded: a file may hold weights, their average, what an optimizer keeps.

The rule:

1. A file that is nothing but tensors by name is the state.
2. An average of the weights (``state_dict_ema``, ``model_ema``, ``ema``, ``teacher``, …) goes before the
   weights of the last step, as its authors evaluate it; but only if it has every name that these have.
3. Then come ``state``, ``state_dict``, ``model_state_dict``, ``model``, ``module``, ``net``, … in this order.
4. A single state under any other key is taken. Of several, the user has to name one.

What an optimizer, a scheduler or a callback keeps is none of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from holotype.errors import CheckpointError, LoadingError
from holotype.names import nearest
from holotype.text import listed

if TYPE_CHECKING:
    import torch

AVERAGES = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "params_ema",
    "ema_model",
    "ema",
    "averaged",
    "teacher",
)
WEIGHTS = (
    "state",
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
    "network",
    "params",
    "weights",
)
_OTHERS = frozenset(
    {"optimizer", "optimizers", "optimizer_states", "optimizer_state_dict", "opt", "callbacks"}
)
_OTHERS |= {
    "scheduler",
    "lr_scheduler",
    "lr_schedulers",
    "scaler",
    "grad_scaler",
    "loops",
    "rng",
    "rng_states",
}
_DEEPEST = 3
_COUNTER = "n_averaged"  # of `torch.optim.swa_utils.AveragedModel`


class State(NamedTuple):
    """The state of a file that is loaded, and what else it holds.

    Attributes:
        tensors: by name.
        record: everything beside the states.
        key: where in the file it stands, dotted; None if the file is nothing but it.
        others: where other states stand.
    """

    tensors: dict[str, torch.Tensor]
    record: dict[str, Any]
    key: str | None = None
    others: tuple[str, ...] = ()


def choose(content: Mapping[Any, Any], path: Path, key: str | None = None) -> State:
    """The state to load.

    Args:
        content: of the file.
        path: the file, for messages.
        key: the one to load, dotted, in place of the rule above.

    Raises:
        CheckpointError: it holds no state.
        LoadingError: there is no state under `key`, or several could be meant.
    """
    if key is None and _is_state(content):
        return State(*_without_counter(dict(content)))
    found = dict(_states(content, "", 0, {}))
    if key is None:
        key = _preferred(found, content, path)
    elif key not in found:
        raise LoadingError(
            f"{path} holds no state under {key!r}; it holds {listed(list(found)) or 'none'}.",
            given=key,
            nearest=nearest(key, found),
        )
    first = key.partition(".")[0]
    record = {str(name): value for name, value in content.items() if name != first}
    tensors, counter = _without_counter(dict(found[key]))
    others = tuple(name for name in found if name != key and not name.startswith(f"{key}."))
    return State(tensors, {**record, **counter}, key, others)


def only_state(path: Path, key: str | None) -> None:
    """Refuse a key for a file whose format holds one state.

    Raises:
        LoadingError: a key was given.
    """
    if key is not None:
        raise LoadingError(f"{path} holds one state; there is none under {key!r}.", given=key)


def _preferred(found: Mapping[str, Mapping[str, Any]], content: Mapping[Any, Any], path: Path) -> str:
    weights = [name for word in WEIGHTS for name in found if word in name.split(".")]
    averages = [name for word in AVERAGES for name in found if word in name.split(".")]
    weights = [name for name in weights if name not in averages]
    needed = _plain_names(found[weights[0]]) if weights else set()
    ranked = [*(name for name in averages if needed <= _plain_names(found[name])), *weights]
    if ranked:
        return ranked[0]
    if len(found) > 1:
        raise LoadingError(
            f"{path} holds {len(found)} states: {listed(list(found))}.",
            given=str(path),
            hint="Name the one to load: key=… in Python, --key … on the command line.",
        )
    if found:
        return next(iter(found))
    # What was probably meant as the state, to say what is wrong with it.
    inner = next((content[word] for word in WEIGHTS if isinstance(content.get(word), Mapping)), content)
    wrong = [
        f"{name!r:.80} ({type(value).__name__})" for name, value in inner.items() if not _fits(name, value)
    ]
    problem = f"not tensors: {listed(wrong)}" if wrong else "it is empty"
    raise CheckpointError(f"{path} holds no state dict: {problem}.", given=str(path))


def _states(
    content: Mapping[Any, Any], prefix: str, depth: int, looked: dict[int, bool]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every state within a mapping, with its dotted key.

    Each mapping is looked at once (`looked`: is it a state?): a small file can nest one in itself many times.
    """
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Mapping) or name.lower() in _OTHERS:
            continue
        is_new = id(value) not in looked
        if is_new:
            looked[id(value)] = _is_state(value)
        if looked[id(value)]:
            yield f"{prefix}{name}", value
        elif is_new and depth < _DEEPEST:
            yield from _states(value, f"{prefix}{name}.", depth + 1, looked)


def _is_state(value: Mapping[Any, Any]) -> bool:
    return bool(value) and all(_fits(name, tensor) for name, tensor in value.items())


def _fits(name: object, value: object) -> bool:
    import torch

    return isinstance(name, str) and bool(name) and "\0" not in name and isinstance(value, torch.Tensor)


def _without_counter(state: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """A state without the counter of an average, which stands beside the ``module.`` that is averaged."""
    rest = {name: tensor for name, tensor in state.items() if name != _COUNTER}
    if len(rest) < len(state) and rest and all(name.startswith("module.") for name in rest):
        return rest, {_COUNTER: int(state[_COUNTER])}
    return state, {}


def _plain_names(state: Mapping[str, Any]) -> set[str]:
    from holotype.weights.keys import common_prefix

    state = {name: value for name, value in state.items() if name != _COUNTER}
    length = len(common_prefix(state))
    return {name[length:] for name in state}
