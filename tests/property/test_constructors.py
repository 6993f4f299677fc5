"""Whatever a constructor keeps of its parameters, a loaded network equals `Class().load_state_dict(file)`.

The constructors are generated: each takes some of the habits below, in random order. What a habit keeps is seen
by a probe, a function that is called after loading.
"""

import copy
import functools

import numpy as np
import pytest
import torch
from torch import nn

from holotype.weights.empty import build_empty
from holotype.weights.fill import fill

W = 3
SHARED = nn.Parameter(torch.full((W,), 0.25))
HABITS = {}


def habit(function):
    HABITS[function.__name__] = function
    return function


def linear(net, name):
    setattr(net, name, nn.Linear(W, W))
    return getattr(net, name)


@habit
def a_layer(net, name):
    layer = linear(net, name)
    return lambda: layer(torch.ones(W))


@habit
def a_closure(net, name):
    kept = linear(net, name).weight
    return lambda: kept.sum()


@habit
def a_list_of_parameters(net, name):
    kept = list(linear(net, name).parameters())
    return lambda: sum(p.sum() for p in kept)


@habit
def a_dict_of_parameters(net, name):
    kept = dict(linear(net, name).named_parameters())
    return lambda: sum(p.square().sum() for p in kept.values())


@habit
def a_bound_method(net, name):
    layer = linear(net, name)
    kept = functools.partial(layer.forward, torch.ones(W))
    return lambda: kept()


@habit
def a_view(net, name):
    kept = linear(net, name).weight.T
    return lambda: kept.sum()


@habit
def a_detached_view(net, name):
    kept = linear(net, name).weight.data[0]
    return lambda: kept.sum()


@habit
def a_copy(net, name):
    kept = linear(net, name).weight.detach().clone()
    return lambda: kept.sum()


@habit
def a_number(net, name):
    kept = linear(net, name).weight.abs().max().item()
    return lambda: torch.tensor(kept)


@habit
def a_list_of_numbers(net, name):
    kept = linear(net, name).bias.tolist()
    return lambda: torch.tensor(kept)


@habit
def an_array(net, name):
    kept = linear(net, name).weight.detach().numpy()
    return lambda: torch.from_numpy(kept.copy()).sum()


@habit
def a_plain_tensor(net, name):
    setattr(net, name, torch.arange(W).float())
    return lambda: getattr(net, name).sum()


@habit
def a_tensor_on_the_device_of_a_parameter(net, name):
    layer = linear(net, name)
    kept = torch.arange(W, device=layer.weight.device).float()
    return lambda: layer(kept)


@habit
def a_tensor_like_a_parameter(net, name):
    kept = {"mask": torch.ones_like(linear(net, name).weight)}
    return lambda: kept["mask"].sum()


@habit
def a_buffer(net, name):
    net.register_buffer(name, torch.arange(W).float())
    kept = getattr(net, name)
    return lambda: kept.sum() + getattr(net, name).sum()


@habit
def a_buffer_that_is_not_saved(net, name):
    net.register_buffer(name, torch.arange(W).float().sin(), persistent=False)
    return lambda: getattr(net, name).sum()


@habit
def a_buffer_on_the_device_of_a_parameter(net, name):
    layer = linear(net, f"{name}_layer")
    net.register_buffer(name, torch.arange(W, device=layer.weight.device), persistent=False)
    return lambda: getattr(net, name).sum()


@habit
def a_buffer_made_of_a_parameter(net, name):
    layer = linear(net, f"{name}_layer")
    net.register_buffer(name, layer.weight.detach().mean(0), persistent=False)
    return lambda: getattr(net, name).sum()


@habit
def a_saved_buffer_made_of_a_parameter(net, name):
    layer = linear(net, f"{name}_layer")
    net.register_buffer(name, layer.weight.detach().abs())
    return lambda: getattr(net, name).sum()


@habit
def a_buffer_that_shares_memory_with_a_parameter(net, name):
    layer = linear(net, f"{name}_layer")
    net.register_buffer(name, layer.weight.detach(), persistent=False)
    return lambda: getattr(net, name).sum()


@habit
def a_tie(net, name):
    one, other = linear(net, f"{name}_a"), linear(net, f"{name}_b")
    other.weight = one.weight
    return lambda: other(torch.ones(W))


@habit
def a_tie_of_a_transposed_layer(net, name):
    one = linear(net, f"{name}_a")
    return lambda: nn.functional.linear(torch.ones(W), one.weight.T)


@habit
def two_parameters_on_one_tensor(net, name):
    values = torch.ones(W)
    setattr(net, f"{name}_a", nn.Parameter(values))
    setattr(net, f"{name}_b", nn.Parameter(values))
    return lambda: getattr(net, f"{name}_a").sum() * 2 + getattr(net, f"{name}_b").sum()


@habit
def a_tensor_under_a_parameter(net, name):
    kept = torch.ones(W)
    setattr(net, name, nn.Parameter(kept))
    return lambda: kept.sum()


@habit
def an_array_under_a_parameter(net, name):
    values = torch.ones(W).numpy()
    setattr(net, name, nn.Parameter(torch.from_numpy(values)))
    return lambda: torch.tensor(values.sum())


@habit
def parts_of_one_tensor(net, name):
    whole = torch.ones(2 * W)
    setattr(net, f"{name}_a", nn.Parameter(whole[:W]))
    setattr(net, f"{name}_b", nn.Parameter(whole[W:]))
    return lambda: whole.sum()


@habit
def a_parameter_kept_before_it_is_registered(net, name):
    kept = nn.Parameter(torch.ones(W))
    setattr(net, name, kept)
    return lambda: kept.sum()


@habit
def a_view_taken_before_it_is_registered(net, name):
    parameter = nn.Parameter(torch.ones(W))
    kept = parameter[:2]
    setattr(net, name, parameter)
    return lambda: kept.sum()


@habit
def a_parameter_that_is_replaced(net, name):
    first = linear(net, name)
    setattr(net, name, nn.Linear(W, W))
    return lambda: getattr(net, name)(torch.ones(W)).sum() + 0 * len(list(first.parameters()))


@habit
def a_layer_that_no_module_knows(net, name):
    net.__dict__[name] = [nn.Linear(W, W)]
    with torch.no_grad():
        net.__dict__[name][0].weight.fill_(0.5)
        net.__dict__[name][0].bias.zero_()
    return lambda: net.__dict__[name][0](torch.ones(W))


@habit
def a_copied_layer(net, name):
    setattr(net, f"{name}_copy", copy.deepcopy(linear(net, name)))
    return lambda: getattr(net, f"{name}_copy")(torch.ones(W))


@habit
def a_copied_layer_that_no_module_knows(net, name):
    kept = [copy.deepcopy(linear(net, name))]
    return lambda: kept[0](torch.ones(W))


@habit
def an_optimizer(net, name):
    kept = torch.optim.SGD(linear(net, name).parameters(), lr=0.1)
    return lambda: sum(p.sum() for p in kept.param_groups[0]["params"])


@habit
def a_hook_on_a_parameter(net, name):
    layer = linear(net, name)
    layer.weight.register_hook(lambda gradient: gradient * 3)
    return lambda: layer(torch.ones(W))


@habit
def a_hook_on_a_module(net, name):
    layer = linear(net, name)
    weight = layer.weight
    layer.register_forward_hook(lambda module, inputs, output: output + weight.sum())
    return lambda: layer(torch.ones(W))


@habit
def a_scaled_initialisation(net, name):
    layer = linear(net, name)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    with torch.no_grad():
        layer.weight.mul_(0.5)
        layer.bias[0] = 7.0
    return lambda: layer(torch.ones(W))


@habit
def an_orthogonal_initialisation(net, name):
    layer = linear(net, name)
    nn.init.orthogonal_(layer.weight)
    return lambda: layer(torch.ones(W))


@habit
def a_decision_by_value(net, name):
    layer = linear(net, name)
    kept = 2.0 if (layer.weight.abs() < 10).all() else 3.0
    return lambda: torch.tensor(kept)


@habit
def weight_norm(net, name):
    setattr(net, name, nn.utils.parametrizations.weight_norm(nn.Linear(W, W)))
    return lambda: getattr(net, name)(torch.ones(W))


@habit
def an_orthogonal_parametrization(net, name):
    setattr(net, name, nn.utils.parametrizations.orthogonal(nn.Linear(W, W)))
    return lambda: getattr(net, name)(torch.ones(W))


@habit
def spectral_norm(net, name):
    setattr(net, name, nn.utils.parametrizations.spectral_norm(nn.Linear(W, W)))
    return lambda: getattr(net, name).eval()(torch.ones(W))


@habit
def a_recurrent_layer(net, name):
    setattr(net, name, nn.LSTM(W, W))
    return lambda: getattr(net, name)(torch.ones(1, 1, W))[0]


@habit
def attention(net, name):
    setattr(net, name, nn.MultiheadAttention(W, 1))
    return lambda: getattr(net, name)(*[torch.ones(1, 1, W)] * 3)[0]


@habit
def a_batch_norm(net, name):
    setattr(net, name, nn.BatchNorm1d(W))
    return lambda: getattr(net, name).eval()(torch.ones(2, W))


@habit
def lists_and_dicts_of_modules(net, name):
    layers = nn.ModuleDict({"a b": nn.ModuleList([nn.Linear(W, W)]), "c": nn.ParameterList([torch.ones(W)])})
    setattr(net, name, layers)
    return lambda: layers["a b"][0](torch.ones(W)) + layers["c"][0]


@habit
def a_frozen_parameter(net, name):
    setattr(net, name, nn.Parameter(torch.ones(W), requires_grad=False))
    return lambda: getattr(net, name).sum()


@habit
def a_parameter_that_another_network_has_too(net, name):
    setattr(net, name, SHARED)
    return lambda: getattr(net, name).sum()


@habit
def a_weight_kept_as_an_attribute(net, name):
    layer = linear(net, name)
    net.__dict__[f"{name}_kept"] = layer.weight
    return lambda: net.__dict__[f"{name}_kept"].sum()


@habit
def a_loaded_part(net, name):
    layer = nn.Linear(W, W)
    layer.load_state_dict({"weight": torch.eye(W), "bias": torch.zeros(W)})
    setattr(net, name, layer)
    return lambda: layer(torch.ones(W))


def constructor(habits, nested):
    class Net(nn.Module):
        def __init__(self):
            torch.manual_seed(0)
            super().__init__()
            self.probes = [HABITS[each](self, f"part{at}") for at, each in enumerate(habits)]
            if nested:
                self.inner = constructor(habits[:2], None)()
                self.probes += self.inner.probes

    return Net


def outcome(net):
    """What the probes see, and what training would do."""
    net.eval()
    seen = [probe() for probe in net.probes]
    total = sum(value.sum() for value in seen)
    parameters = [p for p in net.parameters() if p.requires_grad]
    slopes = (
        torch.autograd.grad(total, parameters, allow_unused=True)
        if parameters and total.requires_grad
        else []
    )
    return [value.detach().clone() for value in seen], [None if s is None else s.clone() for s in slopes]


def compare(make):
    torch.manual_seed(1)
    original = make()
    state = {
        name: torch.rand_like(value) + 1 if value.is_floating_point() else value.clone()
        for name, value in original.state_dict().items()
    }
    for name, one in dict(original.named_parameters(remove_duplicate=False)).items():
        first = next(n for n, other in original.named_parameters() if other is one)
        state[name] = state[first]  # a file that a network with this tie wrote
    expected = make()
    expected.load_state_dict({name: value.clone() for name, value in state.items()})
    wanted, slopes = outcome(expected)
    loaded = build_empty(make)
    fill(loaded, {name: value.clone() for name, value in state.items()}, names={name: name for name in state})
    found, got = outcome(loaded)
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(other, one)
    for one, other in zip(slopes, got, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(other, one)
    assert not any(tensor.is_meta for tensor in [*loaded.parameters(), *loaded.buffers(), SHARED])


@pytest.mark.parametrize("name", HABITS)
def test_each_habit_alone(name):
    compare(constructor([name], None))


@pytest.mark.parametrize("seed", range(10))
def test_generated_constructors_load_as_load_state_dict_does(seed):
    chance = np.random.default_rng(seed)
    for _ in range(50):
        habits = list(chance.choice(sorted(HABITS), chance.integers(2, 6)))
        print(", ".join(habits))  # the last line is shown of a test that fails
        compare(constructor(habits, chance.random() < 0.3))
