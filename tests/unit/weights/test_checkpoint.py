"""Weight files: what is read, and what is refused."""

import copy
import hashlib
import json
import pickle
import struct

import pytest
import torch

from holotype.errors import CheckpointError, LoadingError, UnknownFormatError
from holotype.weights import checkpoint as module
from holotype.weights.checkpoint import read_checkpoint
from holotype.weights.formats.safetensors import write as write_safetensors
from holotype.weights.inspect import inspect_file

STATE = {"a.weight": torch.randn(4, 3), "a.bias": torch.randn(4), "n": torch.tensor(7)}


def same(state):
    assert list(state) == list(STATE)
    assert all(torch.equal(state[name], STATE[name]) for name in STATE)


def test_a_bare_state_dict(tmp_path):
    torch.save(STATE, tmp_path / "x.pt")
    read = read_checkpoint(tmp_path / "x.pt", "pt")
    same(read.state)
    assert read.record == {} and read.format == "pt"
    assert "tensor" not in repr(read)


def test_birders_layout(tmp_path):
    record = {
        "birder_version": "0.4.1",
        "task": "image_classification",
        "signature": {"inputs": [{"data_shape": [0, 3, 8, 8]}], "outputs": [{"data_shape": [0, 2]}]},
        "class_to_idx": {"cat": 0, "dog": 1},
        "rgb_stats": {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)},
        "config": {"drop": 0.1},
    }
    torch.save({"state": STATE, **record}, tmp_path / "x")
    read = read_checkpoint(tmp_path / "x", "pt")
    same(read.state)
    assert read.record == record


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_other_wrappings(tmp_path, key):
    torch.save({key: STATE, "epoch": 3, "optimizer": {"momentum": torch.zeros(2)}}, tmp_path / "x.pt")
    read = read_checkpoint(tmp_path / "x.pt", "pt")
    same(read.state)
    assert read.record == {"epoch": 3}


OTHER = {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in STATE.items()}
OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}


@pytest.mark.parametrize(
    ("content", "key", "others"),
    [
        ({"state_dict": OTHER, "state_dict_ema": STATE}, "state_dict_ema", ("state_dict",)),
        ({"model_ema": STATE, "model": OTHER}, "model_ema", ("model",)),
        ({"params": OTHER, "params_ema": STATE}, "params_ema", ("params",)),
        ({"student": OTHER, "teacher": STATE, "optimizer": OPTIMIZER}, "teacher", ("student",)),
        ({"state": OTHER, "ema": {"decay": 0.99, "module": STATE}}, "ema.module", ("state",)),
        ({"ema": {f"module.{k}": v for k, v in STATE.items()}, "net": OTHER}, "ema", ("net",)),
        ({"net": STATE}, "net", ()),
        ({"network": STATE, "epoch": 3}, "network", ()),
        ({"model": {"state_dict": STATE}, "optimizer": OPTIMIZER}, "model.state_dict", ()),
        ({"my_encoder": STATE, "optimizer": OPTIMIZER, "callbacks": {"x": STATE}}, "my_encoder", ()),
        ({"state_dict": STATE, "ema": {"weight": torch.zeros(1)}}, "state_dict", ("ema",)),
        ({"state_dict": STATE, "discriminator": OTHER}, "state_dict", ("discriminator",)),
    ],
)
def test_the_state_that_is_loaded_and_what_else_is_there(tmp_path, content, key, others):
    torch.save(content, tmp_path / "x.pt")
    read = read_checkpoint(tmp_path / "x.pt", "pt")
    assert (read.key, read.others) == (key, others)
    same({name.removeprefix("module."): tensor for name, tensor in read.state.items()})
    assert not set(others) & set(read.left_out)
    told = inspect_file(tmp_path / "x.pt")
    assert (told.state, told.other_states) == (key, others)
    for other in others:
        assert read_checkpoint(tmp_path / "x.pt", "pt", key=other).key == other


def test_one_mapping_in_many_places_is_looked_at_once(tmp_path):
    """Three levels of 3,000 keys each, in a file of some 200 kB: 27,000,000,000 places."""
    content = {"weight": 1.0}
    for _ in range(3):
        content = dict.fromkeys((f"k{n}" for n in range(3000)), content)
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        read_checkpoint(tmp_path / "x.pt", "pt")
    shared = {"model": STATE, "backup": STATE}
    torch.save(shared, tmp_path / "y.pt")
    assert read_checkpoint(tmp_path / "y.pt", "pt").others == ("backup",)


def test_the_average_of_swa(tmp_path):
    averaged = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(2, 2))
    torch.save(averaged.state_dict(), tmp_path / "x.pt")
    read = read_checkpoint(tmp_path / "x.pt", "pt")
    assert set(read.state) == {"module.weight", "module.bias"} and read.record == {"n_averaged": 0}


def test_states_of_which_none_is_meant(tmp_path):
    torch.save({"generator": STATE, "discriminator": OTHER}, tmp_path / "x.pt")
    with pytest.raises(LoadingError, match=r"holds 2 states: generator, discriminator.\n.*--key"):
        read_checkpoint(tmp_path / "x.pt", "pt")
    same(read_checkpoint(tmp_path / "x.pt", "pt", key="generator").state)
    with pytest.raises(LoadingError, match=r"no state under 'generater'(.|\n)*generator"):
        read_checkpoint(tmp_path / "x.pt", "pt", key="generater")
    with (tmp_path / "x.safetensors").open("wb") as file:
        write_safetensors(file, STATE, {})
    with pytest.raises(LoadingError, match="holds one state"):
        read_checkpoint(tmp_path / "x.safetensors", key="ema")


def test_a_module_named_model_is_no_wrapping(tmp_path):
    state = {"model": torch.zeros(2), "state": torch.zeros(1)}
    torch.save(state, tmp_path / "x.pt")
    assert set(read_checkpoint(tmp_path / "x.pt", "pt").state) == {"model", "state"}


def test_files_from_before_torch_1_6(tmp_path):
    torch.save(STATE, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    same(read_checkpoint(tmp_path / "x.pth", "pt").state)


@pytest.mark.parametrize("format", ["pt", "safetensors"])
def test_tensors_are_mapped_and_the_file_is_safe_from_them(tmp_path, format):
    path = tmp_path / "x"
    if format == "pt":
        torch.save(STATE, path)
    else:
        write(path, STATE)
    path.chmod(0o444)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    state = read_checkpoint(path, format).state
    for tensor in state.values():
        tensor.fill_(3)
    assert torch.equal(state["a.bias"], torch.full((4,), 3.0))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_a_program_that_shares_its_mappings_does_not_share_ours(tmp_path):
    import mmap

    torch.save(STATE, tmp_path / "x.pt")
    before = (tmp_path / "x.pt").read_bytes()
    with torch.serialization.set_default_mmap_options(mmap.MAP_SHARED):
        read_checkpoint(tmp_path / "x.pt", "pt").state["a.bias"].fill_(3)
    assert (tmp_path / "x.pt").read_bytes() == before


@pytest.mark.parametrize(
    "content", [[1], 5, {}, {"a": 1}, {1: torch.zeros(1)}, {"state": {"a": [1]}}, {"": torch.zeros(1)}]
)
def test_files_without_weights(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "x.pt", "pt")


def test_not_there(tmp_path):
    for format in ("pt", "safetensors"):
        with pytest.raises(CheckpointError, match="cannot be read"):
            read_checkpoint(tmp_path / "x", format)
        with pytest.raises(CheckpointError, match="cannot be read"):
            read_checkpoint(tmp_path, format)


def test_formats(tmp_path):
    with pytest.raises(UnknownFormatError, match="safetensors"):
        read_checkpoint(tmp_path / "x", "safetensor")
    with pytest.raises(LoadingError, match="cannot be loaded into a network"):
        read_checkpoint(tmp_path / "x", "onnx")


@pytest.mark.parametrize("version", ["2.9.1", "1.13.0+cpu", "nightly"])
def test_an_old_torch_is_refused(tmp_path, monkeypatch, version):
    torch.save(STATE, tmp_path / "x.pt")
    monkeypatch.setattr(torch, "__version__", version)
    with pytest.raises(LoadingError, match="too old"):
        read_checkpoint(tmp_path / "x.pt", "pt")


def test_without_torch(tmp_path, monkeypatch):
    import sys

    from holotype.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"holotype\[torch\]"):
        module.import_torch()


# safetensors: the writer here shares nothing with the reader.

CODES = {
    torch.float32: "F32",
    torch.int64: "I64",
    torch.bfloat16: "BF16",
    torch.bool: "BOOL",
    torch.uint8: "U8",
}


def write(path, state, metadata=None, pad=True):
    header = {} if metadata is None else {"__metadata__": metadata}
    body = b""
    for name, tensor in state.items():
        data = bytes(tensor.contiguous().flatten().view(torch.uint8).tolist())
        places = [len(body), len(body) + len(data)]
        header[name] = {"dtype": CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": places}
        body += data
    raw(path, json.dumps(header), body, pad=pad)


def raw(path, header, body=b"", *, length=None, pad=False):
    text = header if isinstance(header, bytes) else header.encode()
    if pad:
        text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)


@pytest.mark.parametrize("pad", [True, False])
def test_safetensors(tmp_path, pad):
    state = {
        **STATE,
        "half": torch.randn(3, 5).bfloat16(),
        "flags": torch.tensor([True, False, True]),
        "none": torch.zeros(0, 4),
        "after": torch.randn(2, 2),
    }
    write(tmp_path / "x", state, {"task": "image_classification", "class_to_idx": '{"cat": 0}'}, pad=pad)
    read = read_checkpoint(tmp_path / "x", "safetensors")
    assert all(torch.equal(read.state[name], state[name]) for name in state)
    assert read.state["none"].shape == (0, 4)
    assert read.record == {"task": "image_classification", "class_to_idx": {"cat": 0}}


def test_safetensors_as_others_write_it(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(STATE, tmp_path / "x", metadata={"format": "pt"})
    same({name: read_checkpoint(tmp_path / "x", "safetensors").state[name] for name in STATE})


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ({"a": entry()}, b"1234567"),
        ({"a": entry()}, b"123456789"),
        ({"a": entry(offsets=(0, 4))}, b"1234"),
        ({"a": entry(offsets=(8, 0))}, b"12345678"),
        ({"a": entry(offsets=(-8, 0))}, b"12345678"),
        ({"a": entry(shape=(-2,))}, b"12345678"),
        ({"a": entry(shape=(2**40, 2**40))}, b"12345678"),
        ({"a": entry(shape=(True, 2))}, b"12345678"),
        ({"a": entry(shape=(2.0,))}, b"12345678"),
        ({"a": entry(dtype="F31")}, b"12345678"),
        ({"a": entry(dtype=["F32"])}, b"12345678"),
        ({"a": entry(), "b": entry()}, b"12345678"),
        ({"a": entry(), "b": entry(offsets=(4, 12))}, b"12345678abcd"),
        ({"a": entry(), "b": entry(offsets=(12, 20))}, b"12345678abcd12345678"),
        ({"a": {**entry(), "extra": 1}}, b"12345678"),
        ({"a": None}, b""),
        ({"a\0b": entry()}, b"12345678"),
        ({"a b": entry()}, b"12345678"),
        ({"": entry()}, b"12345678"),
        ({"__metadata__": {"a": 1}}, b""),
        ({"__metadata__": []}, b""),
        ([], b""),
        ("text", b""),
    ],
)
def test_headers_that_lie(tmp_path, header, body):
    raw(tmp_path / "x", json.dumps(header), body)
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "x", "safetensors")


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"", None),
        (b"{", None),
        (b"\xff\xfe", None),
        (b"[" * 100_000, None),
        (b"{}", 2**63),
        (b"{}", 17 * 2**20),
        (b"{}", 50),
        (json.dumps({"a": entry()})[:-1].encode() + b', "a": {}}', None),
    ],
)
def test_broken_headers(tmp_path, header, length):
    raw(tmp_path / "x", header, length=length)
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "x", "safetensors")


def test_every_truncation_of_a_safetensors_file_is_noticed(tmp_path):
    write(tmp_path / "x", STATE)
    whole = (tmp_path / "x").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "x").write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            read_checkpoint(tmp_path / "x", "safetensors")


@pytest.fixture
def mapped(tmp_path):
    """A network with parameters and buffers of several dtypes over a mapped file, and the file."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(64, 64),
        torch.nn.BatchNorm1d(64),
        torch.nn.Linear(64, 64).half(),
        torch.nn.Linear(64, 2),
    )
    with (tmp_path / "x.safetensors").open("wb") as file:
        write_safetensors(file, net.state_dict(), {})
    net.load_state_dict(read_checkpoint(tmp_path / "x.safetensors").state, assign=True)
    return net, tmp_path / "x.safetensors"


def test_a_part_of_a_mapped_network_is_saved_in_its_own_size(mapped, tmp_path):
    net, path = mapped
    before = path.read_bytes()
    torch.save(net[3].state_dict(), tmp_path / "head.pt")
    assert (tmp_path / "head.pt").stat().st_size < 4000
    assert len(pickle.dumps(net[3])) < 4000
    assert copy.deepcopy(net[3].weight).untyped_storage().nbytes() == 512
    torch.save(net.state_dict(), tmp_path / "all.pt")  # the counter of a batch norm is int64
    assert (tmp_path / "all.pt").stat().st_size < 1.2 * path.stat().st_size
    again = torch.load(tmp_path / "all.pt", weights_only=True)
    assert all(torch.equal(again[name], tensor) for name, tensor in net.state_dict().items())
    with torch.no_grad():
        net[0].weight.zero_()
    assert path.read_bytes() == before and net[0].bias.abs().sum() > 0


def test_a_mapped_network_goes_to_other_processes_and_programs(mapped, tmp_path):
    net, _ = mapped
    head = net[3].eval()
    program = torch.export.export(head, (torch.ones(1, 64),))
    torch.export.save(program, tmp_path / "head.pt2")
    assert (tmp_path / "head.pt2").stat().st_size < 40_000
    expected = head.weight.detach().clone()
    head.share_memory()
    assert torch.equal(head.weight, expected)
