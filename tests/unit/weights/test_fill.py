"""Building without memory, filling without copies."""

import threading

import pytest
import torch
from torch import nn

from holotype.errors import LoadingError, MismatchError
from holotype.weights.checkpoint import read_checkpoint
from holotype.weights.empty import build_empty
from holotype.weights.fill import fill


class Net(nn.Module):
    """Everything that makes loading hard."""

    def __init__(self, width=8):
        super().__init__()
        self.embed = nn.Linear(4, width)
        self.norm = nn.BatchNorm1d(width)
        self.token = nn.Parameter(torch.randn(1, width))
        self.frozen = nn.Parameter(torch.ones(width), requires_grad=False)
        self.decoder = nn.Linear(width, width, bias=False)
        self.decoder_again = nn.Linear(width, width, bias=False)
        self.decoder_again.weight = self.decoder.weight
        self.token._no_decay = True
        self.register_buffer("table", torch.arange(width).float().sin(), persistent=False)
        self.plain = torch.linspace(0, 1, 3)
        self.rates = [rate.item() for rate in torch.linspace(0, 0.1, 3)]

    def forward(self, x):
        return self.decoder_again(self.norm(self.embed(x)) * self.frozen + self.token + self.table)


def filled(net=None, state=None, **options):
    net = build_empty(Net) if net is None else net
    state = Net().state_dict() if state is None else state
    return net, fill(net, state, names={name: name for name in state}, **options)


def test_parameters_take_no_memory_and_the_rest_is_real():
    net = build_empty(Net)
    assert all(parameter.is_meta for parameter in net.parameters())
    assert torch.equal(net.table, torch.arange(8).float().sin())
    assert torch.equal(net.plain, torch.linspace(0, 1, 3))
    assert not any(buffer.is_meta for buffer in net.buffers())
    assert not net.frozen.requires_grad and net.token.requires_grad
    assert net.decoder.weight is net.decoder_again.weight


def test_a_filled_network_computes_the_same():
    original = Net().eval()
    net, report = filled(state=original.state_dict())
    x = torch.randn(5, 4)
    assert torch.equal(net.eval()(x), original(x))
    assert report.matched == len(original.state_dict()) and report.new == () == report.ignored


def test_attributes_ties_and_gradients_survive():
    net, _ = filled()
    assert net.token._no_decay
    assert net.decoder.weight is net.decoder_again.weight
    assert not net.frozen.requires_grad
    net(torch.randn(5, 4)).sum().backward()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None
                parameter -= parameter.grad


def test_a_shared_tensor_that_the_file_names_once():
    state = Net().state_dict()
    state.pop("decoder_again.weight")
    net, _ = filled(state=state)
    assert torch.equal(net.decoder_again.weight, state["decoder.weight"])


def test_no_parameter_is_copied(tmp_path):
    torch.save(Net().state_dict(), tmp_path / "x.pt")
    state = read_checkpoint(tmp_path / "x.pt", "pt").state
    net, _ = filled(state=state)
    for name, parameter in net.named_parameters():
        assert parameter.data_ptr() == state[name].data_ptr()


def test_other_threads_build_as_usual():
    inside, done = threading.Event(), threading.Event()
    elsewhere = []

    class Slow(nn.Module):
        def __init__(self):
            super().__init__()
            inside.set()
            done.wait(10)
            self.layer = nn.Linear(2, 2)

    def other():
        inside.wait(10)
        elsewhere.append(nn.Linear(2, 2))
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    net = build_empty(Slow)
    thread.join()
    assert net.layer.weight.is_meta and not elsewhere[0].weight.is_meta
    assert not nn.Linear(2, 2).weight.is_meta, "and it is over afterwards"


def test_a_constructor_that_loads_a_part():
    state = Net().state_dict()

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.before = nn.Linear(2, 2)
            empty = build_empty(Net)
            assert all(parameter.is_meta for parameter in empty.parameters())
            self.teacher, _ = filled(empty, state)
            self.after = nn.Linear(2, 2)

    net = build_empty(Outer)
    assert net.before.weight.is_meta and net.after.weight.is_meta
    assert torch.equal(net.teacher.token, state["token"])


def test_a_constructor_that_looks_at_its_values():
    class Looking(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.scale = self.layer.weight.abs().max().item()

    net = build_empty(Looking)
    assert not net.layer.weight.is_meta and isinstance(net.scale, float)
    state = {name: torch.zeros_like(tensor) for name, tensor in net.state_dict().items()}
    filled(net, state)
    assert net.layer.weight.abs().sum() == 0


def test_a_constructor_that_fails_fails_as_usual():
    class Failing(nn.Module):
        def __init__(self):
            super().__init__()
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        build_empty(Failing)
    assert not nn.Linear(2, 2).weight.is_meta


def test_every_difference_is_listed():
    state = Net().state_dict()
    state["extra"] = torch.zeros(1)
    state["token"] = torch.zeros(1, 9)
    state["frozen"] = torch.ones(8, dtype=torch.int8)
    del state["embed.bias"]
    with pytest.raises(MismatchError) as caught:
        filled(state=state, origin="the file")
    text = str(caught.value)
    for part in (
        "1 not in the file",
        "embed.bias",
        "1 not in the network",
        "extra",
        "(1, 9)",
        "(1, 8)",
        "torch.int8",
    ):
        assert part in text
    assert len(caught.value.given) == 4


def test_long_lists_are_cut():
    with pytest.raises(MismatchError, match="and 92 more"):
        filled(state={**Net().state_dict(), **{f"x{i}": torch.zeros(1) for i in range(100)}})


def test_a_broadcastable_shape_is_still_another_shape():
    state = Net().state_dict()
    state["frozen"] = torch.ones(1)
    with pytest.raises(MismatchError):
        filled(state=state)


def test_names_are_told_in_both_languages():
    net = build_empty(Net)
    state = {f"old.{name}": tensor for name, tensor in Net().state_dict().items()}
    names = {name: name.removeprefix("old.") for name in state}
    names["old.token"] = "other"
    with pytest.raises(MismatchError, match=r"other \(in the file: old.token\)"):
        fill(net, state, names=names)


def test_the_counter_that_old_files_lack():
    state = Net().state_dict()
    del state["norm.num_batches_tracked"]
    net, report = filled(state=state)
    assert report.new == ("norm.num_batches_tracked",)
    assert net.norm.num_batches_tracked.item() == 0


def test_names_left_out():
    net, state = build_empty(Net), {**Net().state_dict(), "ema": torch.zeros(1)}
    report = fill(net, state, names={name: None if name == "ema" else name for name in state})
    assert report.ignored == ("ema",) and "left out: ema" in str(report)


def test_dtypes():
    state = {name: t.half() if t.is_floating_point() else t for name, t in Net().state_dict().items()}
    net, report = filled(state=state)
    assert net.token.dtype == torch.float32, "the network's own"
    assert report.converted == 10 and "converted" in str(report)
    net, _ = filled(dtype=torch.bfloat16)
    assert net.token.dtype == torch.bfloat16 and net.norm.num_batches_tracked.dtype == torch.int64


def test_memory_that_the_file_shares_and_the_network_does_not():
    block = torch.randn(8, 8)
    values = block[0].clone()
    state = Net().state_dict()
    state["embed.bias"], state["norm.weight"] = block[0], block[0]
    state["frozen"] = torch.ones(1).expand(8)
    net, _ = filled(state=state)
    with torch.no_grad():
        net.embed.bias.zero_()
        net.frozen[0] = 5
    assert torch.equal(net.norm.weight, values)
    assert net.frozen[1] == 1


def test_extra_state_stays():
    class Extra(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.value = 3

        def get_extra_state(self):
            return self.value

        def set_extra_state(self, value):
            self.value = value

    net = build_empty(Extra)
    state = {"layer.weight": torch.ones(2, 2), "layer.bias": torch.ones(2)}
    filled(net, state)
    assert net.value == 3


def test_what_stays_empty_is_an_error():
    class Empty(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.register_buffer("hole", torch.empty(2, device="meta"), persistent=False)

    with pytest.raises(LoadingError, match="hole"):
        filled(build_empty(Empty), {"layer.weight": torch.ones(2, 2), "layer.bias": torch.ones(2)})


def test_a_first_load_does_not_import_the_compiler(project):
    """Initialising parameters on the meta device would: 1.5 seconds of CPU in each process that loads a network."""
    found = project.run(
        """
        import sys
        import holotype

        vision = {"num_classes": 2, "size": 64}
        for name, params in {"vit_t16": vision, "convnext_v2_atto": vision, "hieradet_tiny": vision, "v2": {}}.items():
            path = holotype.save_pretrained(holotype.create_model(name, **params), f"{name}.safetensors")
            holotype.load_checkpoint(path)
        result = "torch._dynamo" in sys.modules
        """
    )
    assert not found


class Normed(nn.Module):
    """Weight norm as torch has it since 2.0; files of before have `weight_g` and `weight_v`."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 4, 2))


def test_names_that_a_module_translates_itself():
    class Before(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(3, 3)
            self.conv = nn.utils.weight_norm(nn.Conv1d(3, 4, 2))

    with pytest.warns(FutureWarning, match="weight_norm"):
        old = Before()
    net, _ = filled(build_empty(Normed), old.state_dict())
    x = torch.randn(1, 3, 5)
    torch.testing.assert_close(net.conv(x), old.conv(x))


def test_a_module_that_reads_its_state_in_its_own_way():
    class Renamed(nn.Module):
        def __init__(self):
            super().__init__()
            self.gamma = nn.Parameter(torch.ones(2))
            self.seen = []

        def _load_from_state_dict(self, state_dict, prefix, *more):
            if f"{prefix}scale" in state_dict:
                state_dict[f"{prefix}gamma"] = state_dict.pop(f"{prefix}scale") * 2
            super()._load_from_state_dict(state_dict, prefix, *more)

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Renamed()
            self.layer = nn.Linear(2, 2)
            self.called = []
            self.register_load_state_dict_post_hook(lambda module, keys: module.called.append("after"))

    state = {
        "inner.scale": torch.full((2,), 3.0),
        **{f"layer.{k}": v for k, v in nn.Linear(2, 2).state_dict().items()},
    }
    net, _ = filled(build_empty(Outer), state)
    assert net.inner.gamma.tolist() == [6.0, 6.0] and net.called == ["after"]
    for wrong in ({"inner.other": torch.ones(2)}, {}, {"inner.scale": torch.ones(3)}):
        rest = {name: value for name, value in state.items() if not name.startswith("inner")}
        with pytest.raises(MismatchError, match="gamma"):
            filled(build_empty(Outer), {**rest, **wrong})
    with pytest.raises(MismatchError, match=r"layer\.weight"):
        filled(build_empty(Outer), {**state, "layer.weight": torch.ones(3, 3)})


@pytest.mark.parametrize("way", ["data", "slice", "transposed", "cast", "spread"])
def test_a_module_that_copies_into_its_parameters_itself(way):
    class Copying(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2, 2))

        def _load_from_state_dict(self, state_dict, prefix, *more):
            value = state_dict[f"{prefix}weight"]
            with torch.no_grad():
                if way == "data":
                    self.weight.data.copy_(value)
                elif way == "slice":
                    self.weight[0].copy_(value[0])
                elif way == "transposed":
                    self.weight.copy_(value.T.contiguous().T)
                elif way == "cast":
                    self.weight.copy_(value.double())
                else:
                    self.weight.copy_(value[:1])

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Copying()
            self.layer = nn.Linear(2, 2)

    state = {**Outer().state_dict(), "inner.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}
    expected = Outer()
    expected.load_state_dict({name: value.clone() for name, value in state.items()})
    net, _ = filled(build_empty(Outer), state)
    assert torch.equal(net.inner.weight, expected.inner.weight) and net.inner.weight.dtype == torch.float32
    assert torch.equal(net.layer.weight, state["layer.weight"])


def test_what_copying_refuses_is_refused():
    class Overlapping(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2, 2))

        def _load_from_state_dict(self, *arguments):
            super()._load_from_state_dict(*arguments)
            with torch.no_grad():
                self.weight.copy_(self.weight.T)

    with pytest.raises(MismatchError, match="single memory location"):
        filled(build_empty(Overlapping), {"weight": torch.arange(4.0).view(2, 2)})


def test_building_empty_does_not_touch_a_parameter_of_another_network():
    shared = nn.Parameter(torch.tensor([1.0, 2.0]))

    class Sharing(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared = shared
            self.layer = nn.Linear(2, 2)

    first = Sharing()
    second = build_empty(Sharing)
    assert first.shared is second.shared is shared
    assert second.layer.weight.is_meta and shared.tolist() == [1.0, 2.0]


def test_a_lazy_module_takes_the_shape_of_the_file():
    class Lazy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.LazyLinear(3)

    state = {"layer.weight": torch.ones(3, 5), "layer.bias": torch.zeros(3)}
    net, _ = filled(build_empty(Lazy), state)
    assert net.layer(torch.ones(2, 5)).tolist() == [[5.0] * 3] * 2


def test_what_modules_make_for_themselves_keeps_its_values(project):
    """At import, at an import inside a constructor, once for all networks, in a class body."""
    project.write(
        {
            "src/helper.py": "import torch\nLAYER = torch.nn.Linear(2, 2)\nVALUES = torch.nn.Parameter(torch.ones(2))\n"
            "HALF = torch.nn.init.ones_(LAYER.bias).detach() / 2\n",
            "src/model/net.py": """
import functools
import torch
from torch import nn
from holotype import register_model

PROJECTION = nn.Linear(2, 2)

@functools.cache
def shared():
    return nn.Linear(2, 2)

@register_model("net")
class Net(nn.Module):
    scale = nn.ParameterList([torch.full((2,), 3.0)])

    def __init__(self):
        super().__init__()
        from src import helper
        self.helper = [helper]
        self.layer = nn.Linear(2, 2)
        self.cached = [shared()]
        Net.kept = nn.Linear(2, 2)

    def forward(self, x):
        return self.layer(x)
""",
        }
    )
    project.run(
        """
        import holotype
        holotype.save_pretrained(holotype.create_model("net"), "net.safetensors")
        result = None
        """
    )
    found = project.run(
        """
        import holotype

        holotype.load_checkpoint("net.safetensors")
        holotype.load_checkpoint("net.safetensors")
        from src import helper
        from src.model import net
        layers = (net.PROJECTION, helper.LAYER, net.shared(), net.Net.kept)
        values = [*(p for layer in layers for p in layer.parameters()), helper.VALUES, *net.Net.scale]
        assert not any(p.is_meta for p in values)
        assert all(p.isfinite().all() and 0 < p.abs().max() < 4 for p in values)
        result = [helper.VALUES.tolist(), helper.HALF.tolist(), net.Net.scale[0].tolist()]
        """
    )
    assert found == [[1.0, 1.0], [0.5, 0.5], [3.0, 3.0]]
