"""Formats: reading npz, converting, describing without loading, exporting."""

import json
import sys
import zipfile

import numpy as np
import pytest
import torch

from holotype import load_checkpoint, records, save_pretrained
from holotype.cli import main
from holotype.errors import CheckpointError, LoadingError, MissingExtraError, UnknownFormatError
from holotype.weights.checkpoint import read_checkpoint
from holotype.weights.convert import convert
from holotype.weights.export import export
from holotype.weights.formats import FORMATS, PROGRAMS, WEIGHTS, WRITABLE
from holotype.weights.formats.interface import ProgramFormat, WeightFormat, WritableFormat
from holotype.weights.formats.states import State
from holotype.weights.inspect import inspect_file
from holotype.weights.program import load_program
from loading_nets import images, make_registry


@pytest.fixture
def registry():
    return make_registry()


@pytest.fixture
def net(registry):
    return registry.create_model("toy_vit", activation="relu").eval()


@pytest.fixture
def saved(net, registry, tmp_path):
    return save_pretrained(
        net, tmp_path / "x.safetensors", name="mine", classes=list("abcde"), license="MIT", registry=registry
    )


# -- npz ----------------------------------------------------------------------------------------

ARRAYS = {
    "a/w": np.arange(6, dtype="<f4").reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big": np.arange(3, dtype=">i4"),
    "scalar": np.float32(3),
    "flags": np.array([True, False]),
    "none": np.zeros((0, 4), "f2"),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    save(tmp_path / "x.npz", **ARRAYS)
    read = read_checkpoint(tmp_path / "x.npz")
    assert read.format == "npz" and set(read.state) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert read.state[name].shape == array.shape and read.state[name].tolist() == array.tolist()
    described = inspect_file(tmp_path / "x.npz")
    assert {t.name: (t.dtype, t.shape) for t in described.tensors} == {
        name: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, tensor in read.state.items()
    }


@pytest.mark.parametrize("array", [np.array([object()]), np.array(["x"]), np.zeros(2, [("a", "f4")])])
def test_npz_of_anything_but_numbers(tmp_path, array):
    np.savez(tmp_path / "x.npz", w=array)
    with pytest.raises(CheckpointError, match=r"nothing in it was executed|cannot be read|not numbers"):
        read_checkpoint(tmp_path / "x.npz")


def test_npz_that_claims_more_than_it_has(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", w=np.zeros(2**27, "u1"), v=np.zeros(2**28, "u1"))
    with pytest.raises(CheckpointError, match="claim to hold"):
        read_checkpoint(tmp_path / "x.npz")


def test_a_net_from_npz(net, registry, tmp_path):
    np.savez(tmp_path / "x.npz", **{name: tensor.numpy() for name, tensor in net.state_dict().items()})
    with pytest.warns(UserWarning, match="does not record"):
        again, _ = load_checkpoint(
            tmp_path / "x.npz",
            architecture="toy_vit",
            config={"activation": "relu"},
            inference=True,
            registry=registry,
        )
    x = images()
    assert torch.equal(again(x), net(x))


# -- convert ------------------------------------------------------------------------------------


def test_there_and_back(net, registry, saved, tmp_path):
    done = convert(saved, tmp_path / "y.pt")
    assert done.tensors == 10 and done.left_out == ()
    content = torch.load(tmp_path / "y.pt", weights_only=True)
    assert content["class_to_idx"]["b"] == 1 and content["license"] == "MIT" and "state" in content
    assert (tmp_path / "y.pt").stat().st_size < 2 * saved.stat().st_size + 8000, "each tensor once"
    convert(tmp_path / "y.pt", tmp_path / "z.safetensors")
    x = images()
    for path in (tmp_path / "y.pt", tmp_path / "z.safetensors"):
        again, info = load_checkpoint(path, inference=True, registry=registry)
        assert torch.equal(again(x), net(x)) and info.bound and info.name == "mine"
    assert read_checkpoint(saved).record == read_checkpoint(tmp_path / "z.safetensors").record


def test_what_is_no_data_is_left_out_and_told(tmp_path, capsys):
    state = {
        "w": torch.tensor([float("nan"), -0.0]),
        "n": torch.zeros(2, 0),
        "long": torch.arange(3),
        "half": torch.ones(3).bfloat16(),
    }
    content = {"state_dict": state, "optimizer": {"m": torch.zeros(2)}, "epoch": 3, "loss": float("nan")}
    torch.save(content, tmp_path / "x.pth")
    assert main(["convert", str(tmp_path / "x.pth"), str(tmp_path / "y.safetensors")]) == 0
    assert "left out, no plain data: optimizer, loss" in capsys.readouterr().out
    read = read_checkpoint(tmp_path / "y.safetensors")
    convert(tmp_path / "y.safetensors", tmp_path / "z.pt")
    assert read.record == {"epoch": 3} and torch.equal(read.state["half"], state["half"])


def test_what_cannot_be_converted(saved, tmp_path):
    with pytest.raises(UnknownFormatError, match="safetensors and pt"):
        convert(saved, tmp_path / "x.npz")
    with pytest.raises(LoadingError, match="exists already"):
        convert(saved, saved)
    (tmp_path / "junk.pt").write_bytes(b"junk")
    with pytest.raises(CheckpointError):
        convert(tmp_path / "junk.pt", tmp_path / "new.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["junk.pt", "x.safetensors"]


# -- info ---------------------------------------------------------------------------------------


def test_a_file_is_described_in_every_format(net, saved, tmp_path):
    convert(saved, tmp_path / "x.pt")
    for path in (saved, tmp_path / "x.pt"):
        told = inspect_file(path)
        assert told.architecture == "loading_nets/toy_vit" and told.config["activation"] == "relu"
        assert told.params == sum(p.numel() for p in net.parameters()) and told.dtypes == {"float32": 10}
        assert told.record["license"] == "MIT" and not told.holds_code


def test_describing_safetensors_needs_no_torch(saved, capsys):
    import subprocess

    code = (
        "import sys; from holotype.weights.inspect import inspect_file;"
        f"print(inspect_file({str(saved)!r}).params, 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[1:] == ["False", "False"]
    assert main(["info", str(saved)]) == 0
    text = capsys.readouterr().out
    assert "loading_nets/toy_vit" in text and "pos_embedding" in text and "activation=relu" in text
    assert main(["info", str(saved), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "safetensors"


def test_describing_what_is_no_weight_file(tmp_path, capsys):
    (tmp_path / "x").write_text("hello")
    assert main(["info", str(tmp_path / "x")]) == 1
    assert "not a weight file" in capsys.readouterr().err


# -- programs -----------------------------------------------------------------------------------


@pytest.fixture
def small(registry):
    return registry.create_model("toy_conv").eval()


@pytest.mark.parametrize("format", ["pt2", "onnx"])
def test_an_exported_program_computes_the_same(small, tmp_path, format, registry):
    if format == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(package)
    small.train()
    about = {
        "class_to_idx": {"bee": 0, "fly": 1, "moth": 2},
        "preprocessing": {"mean": [0.5] * 3, "std": [0.2] * 3},
    }
    done = export(
        small, tmp_path / f"x.{format}", info=about, example=lambda batch: (torch.randn(batch, 3, 16, 16),)
    )
    assert done.format == format and done.largest_difference < 1e-5 * max(done.scale, 1)
    assert small.training, "as it was"
    assert [p.name for p in tmp_path.iterdir()] == [f"x.{format}"]
    told = inspect_file(done.path)
    assert told.format == format and told.holds_code == (format == "pt2")
    assert told.architecture == "loading_nets/toy_conv"
    assert {key: told.record[key] for key in about} == about
    if format == "onnx":
        assert {t.name: t.shape for t in told.tensors}["head.weight"] == (3, 4)
    with pytest.raises(LoadingError, match=r"running its author's code.*\n.*trust=True"):
        load_program(done.path)
    run = load_program(done.path, trust=True)
    x = torch.randn(5, 3, 16, 16)
    torch.testing.assert_close(run(x)[0], small.eval()(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(LoadingError, match="program"):
        load_checkpoint(done.path, architecture="toy_conv", registry=registry)
    with pytest.raises(LoadingError, match="exists already"):
        export(small, done.path, example=lambda batch: (torch.randn(batch, 3, 16, 16),))


def test_classes_of_another_network_are_not_exported(small, tmp_path):
    kwargs = {"example": lambda batch: (torch.randn(batch, 3, 16, 16),)}
    export(small, tmp_path / "x.pt2", info={"class_to_idx": {"a": 0, "b": 1}}, **kwargs)
    assert "class_to_idx" not in inspect_file(tmp_path / "x.pt2").record


@pytest.mark.parametrize("text", ["[" * 5000, "[1]", '{"config": 3}', "\x00", '{"a": 1}'])
def test_a_program_with_a_broken_record_is_described_without_it(small, tmp_path, text):
    export(small, tmp_path / "x.pt2", example=lambda batch: (torch.randn(batch, 3, 16, 16),))
    with zipfile.ZipFile(tmp_path / "x.pt2") as old, zipfile.ZipFile(tmp_path / "y.pt2", "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, text if "holotype" in info.filename else old.read(info))
    found = inspect_file(tmp_path / "y.pt2")
    assert found.format == "pt2" and found.architecture is None and found.members


def test_a_program_with_a_flipped_bit_in_its_record_is_damaged(small, tmp_path):
    export(small, tmp_path / "x.pt2", example=lambda batch: (torch.randn(batch, 3, 16, 16),))
    content = bytearray((tmp_path / "x.pt2").read_bytes())
    content[content.find(b"config_fingerprint")] ^= 1
    (tmp_path / "x.pt2").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        inspect_file(tmp_path / "x.pt2")


def test_what_cannot_be_exported(small, tmp_path, monkeypatch):
    class Branching(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    inputs = {"example": lambda batch: (torch.randn(batch, 2),)}
    with pytest.raises(LoadingError, match="Branching cannot be exported"):
        export(Branching(), tmp_path / "x.pt2", **inputs)
    with pytest.raises(UnknownFormatError, match="pt2"):
        export(small, tmp_path / "x.pt", **inputs)
    with pytest.raises(LoadingError, match="example="):
        export(torch.nn.ReLU(), tmp_path / "x.pt2")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"holotype\[export\]"):
        export(small, tmp_path / "x.onnx", **inputs)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_torchscript_asks_for_trust(small, tmp_path):
    torch.jit.trace(small, torch.randn(1, 3, 16, 16)).save(str(tmp_path / "x.pt"))
    assert inspect_file(tmp_path / "x.pt").holds_code
    with pytest.raises(LoadingError, match="trust=True"):
        load_program(tmp_path / "x.pt")
    x = torch.randn(1, 3, 16, 16)
    assert torch.equal(load_program(tmp_path / "x.pt", trust=True)(x)[0], small(x))
    with pytest.raises(LoadingError, match="holds weights"):
        torch.save({"w": torch.zeros(1)}, tmp_path / "y.pt")
        load_program(tmp_path / "y.pt", trust=True)


def test_an_archive_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError):
        inspect_file(tmp_path / "x.zip")


# -- the table of formats -----------------------------------------------------------------------


def test_each_format_has_what_the_interface_lists():
    assert set(FORMATS) == set(records.FORMATS)
    for kind, table in ((WeightFormat, WEIGHTS), (WritableFormat, WRITABLE), (ProgramFormat, PROGRAMS)):
        wanted = [name for name in dir(kind) if not name.startswith("_")]
        for name, module in table.items():
            assert all(hasattr(module, one) for one in wanted), name
            assert all(ending == ending.lower() and ending.startswith(".") for ending in module.ENDINGS)


def test_another_format_is_one_module_and_one_row(tmp_path, monkeypatch):
    class Text:
        ENDINGS = (".txt",)

        @staticmethod
        def matches(front, members):
            return front.startswith(b"numbers")

        @staticmethod
        def read(file, key=None):
            with file.open() as opened:
                return State({"w": torch.tensor([float(word) for word in opened.read().split()[1:]])}, {})

    monkeypatch.setitem(WEIGHTS, "text", Text)
    monkeypatch.setitem(FORMATS, "text", Text)
    (tmp_path / "x").write_text("numbers 1 2 3")
    read = read_checkpoint(tmp_path / "x")
    assert read.format == "text" and read.state["w"].tolist() == [1, 2, 3]
    convert(tmp_path / "x", tmp_path / "x.safetensors")
    assert read_checkpoint(tmp_path / "x.safetensors").state["w"].tolist() == [1, 2, 3]


def test_onnx_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    (tmp_path / "x.onnx").write_bytes(b"\x08\x0a\x12\x07pytorch")
    with pytest.raises(MissingExtraError, match=r"holotype\[export\]"):
        inspect_file(tmp_path / "x.onnx")
