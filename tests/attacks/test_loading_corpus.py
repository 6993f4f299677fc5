"""A corpus of malicious weight files: each is refused by every way in, and nothing in it is executed.

The files are built here and opened in a child process, under an audit hook that notes whatever a file could
gain: a program started, code run, a name looked up for a pickle, a module imported, a file written, a socket.
"""

import copyreg
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import textwrap
import warnings
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

STATE = {"w": torch.arange(100.0), "b": torch.ones(3)}
CORPUS = {}


def malicious(name):
    """Add a file to the corpus: a function of (path, marker) that writes it."""

    def add(build):
        assert name not in CORPUS
        CORPUS[name] = build
        return build

    return add


class Evil:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


# -- pickles ------------------------------------------------------------------------------------

CALLS = {
    "system": lambda marker: Evil(os.system, f"touch {marker}"),
    "popen": lambda marker: Evil(subprocess.Popen, ["touch", str(marker)]),
    "eval": lambda marker: Evil(eval, f"open({str(marker)!r}, 'w')"),
    "exec": lambda marker: Evil(exec, f"open({str(marker)!r}, 'w')"),
    "open": lambda marker: Evil(open, str(marker), "w"),
    "mkdir": lambda marker: Evil(os.mkdir, str(marker)),
    "import": lambda marker: Evil(__import__, "evil_module"),
    "partial": lambda marker: Evil(__import__("functools").partial(os.system, f"touch {marker}")),
    "getattr": lambda marker: Evil(getattr, Evil(__import__, "os"), "system"),
    "bytearray": lambda marker: Evil(bytearray, 2**40),
    "torch-load": lambda marker: Evil(torch.load, str(marker)),
    "jit-load": lambda marker: Evil(torch.jit.load, str(marker)),
    "hub": lambda marker: Evil(torch.hub.load, "someone/evil", "model"),
    "numpy": lambda marker: Evil(np.load, str(marker), None, True),
}
for call, make in CALLS.items():
    malicious(f"{call}.pt")(
        lambda path, marker, make=make: torch.save({"state": STATE, "x": make(marker)}, path)
    )
    malicious(f"{call}-legacy.pt")(
        lambda path, marker, make=make: torch.save(make(marker), path, _use_new_zipfile_serialization=False)
    )


def handmade(name, code):
    malicious(name)(lambda path, marker: path.write_bytes(code(str(marker).encode())))


handmade("alias.pt", lambda m: b"\x80\x02c__builtin__\neval\n(S'1'\ntR.")
handmade("posix.pt", lambda m: b"\x80\x02cposix\nsystem\n(S'touch " + m + b"'\ntR.")
handmade("nt.pt", lambda m: b"\x80\x02cnt\nsystem\n(S'touch " + m + b"'\ntR.")
handmade("inst.pt", lambda m: b"\x80\x02(S'touch " + m + b"'\nios\nsystem\n.")
handmade("obj.pt", lambda m: b"\x80\x02(cos\nsystem\nS'touch " + m + b"'\no.")
handmade("stack-global.pt", lambda m: b"\x80\x04\x8c\x02os\x8c\x06system\x93(S'touch " + m + b"'\ntR.")
handmade("newobj-ex.pt", lambda m: b"\x80\x04\x8c\x02os\x8c\x06system\x93)}\x92.")
handmade("dotted.pt", lambda m: b"\x80\x02ctorch\nserialization.os.system\n(S'touch " + m + b"'\ntR.")
handmade("build.pt", lambda m: b"\x80\x02ccollections\nOrderedDict\n)R}S'__class__'\ncos\nsystem\nsb.")
handmade("persistent.pt", lambda m: b"\x80\x02(S'module'\nS'os'\nS'system'\ntQ.")
handmade("text-id.pt", lambda m: b"\x80\x02Pos.system\n.")
handmade("long-text.pt", lambda m: b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"x.")
handmade("after-stop.pt", lambda m: pickle.dumps({}, 2) + b"cos\nsystem\n(S'touch " + m + b"'\ntR.")
handmade("proto-0.pt", lambda m: b"cos\nsystem\n(S'touch " + m + b"'\ntR.")


@malicious("extension.pt")
def extension(path, marker):
    path.write_bytes(b"\x80\x02\x82\x7b(S'touch " + str(marker).encode() + b"'\ntR.")


@malicious("endless-list.pt")
def endless_list(path, marker):
    bomb = []
    for _ in range(60):
        bomb = [bomb, bomb]
    torch.save({"state": STATE, "x": bomb}, path)


@malicious("one-number-a-terabyte.pt")
def expanded(path, marker):
    torch.save({"w": torch.ones(1).expand(2**38)}, path)


@malicious("meta.pt")
def meta(path, marker):
    torch.save({"w": torch.empty(2**40, device="meta")}, path)


@malicious("a-module.pt")
def whole_module(path, marker):
    torch.save(torch.nn.Linear(2, 2), path)


@malicious("torchscript.pt")
def torchscript(path, marker):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.ReLU()).save(str(path))


# -- archives -----------------------------------------------------------------------------------


def rezip(path, change=None, extra=(), **options):
    buffer = io.BytesIO()
    torch.save(STATE, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w", **options) as new:
        for info in old.infolist():
            data = old.read(info)
            new.writestr(info.filename, change(info.filename, data) if change else data)
        for name, data in extra:
            new.writestr(name, data)


EXTRA_NAMES = {
    "climbs": "../evil",
    "absolute": "/etc/evil",
    "climbs-inside": "archive/../../evil",
    "backslash": "archive\\..\\evil",
    "drive": "C:evil",
    "newline": "archive/a\nb",
    "second-archive": "other/data.pkl",
    "second-root": "other/x",
    "script": "archive/constants.pkl",
    "deep-pickle": "archive/code/data.pkl",
}
for label, member in EXTRA_NAMES.items():
    malicious(f"member-{label}.pt")(
        lambda path, marker, member=member: rezip(
            path, extra=[(member, pickle.dumps(CALLS["system"](marker)))]
        )
    )


@malicious("member-twice.pt")
def twice(path, marker):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rezip(path, extra=[("archive/data.pkl", pickle.dumps(CALLS["system"](marker), 2))])


@malicious("member-twice-by-case.pt")
def twice_by_case(path, marker):
    rezip(path, extra=[("archive/DATA.pkl", b"x")])


@malicious("member-link.pt")
def link_member(path, marker):
    info = zipfile.ZipInfo("archive/link")
    info.external_attr = 0o120777 << 16
    rezip(path, extra=[(info, "/etc/passwd")])


@malicious("member-nul.pt")
def nul_member(path, marker):
    rezip(path, extra=[("archive/evilXname", b"x")])
    path.write_bytes(path.read_bytes().replace(b"evilXname", b"evil\0name"))


@malicious("names-disagree.pt")
def disagree(path, marker):
    rezip(path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"archive/data.pkl", b"archive/dat2.pkl", 1))


@malicious("bomb.pt")
def bomb(path, marker):
    rezip(path, extra=[("archive/data/9", bytes(2**24))], compression=zipfile.ZIP_DEFLATED)


@malicious("html-in-front.pt")
def in_front(path, marker):
    rezip(path)
    path.write_bytes(b"PK\3\4<html>" + path.read_bytes())


@malicious("html-behind.pt")
def behind(path, marker):
    rezip(path)
    path.write_bytes(path.read_bytes() + b"<html>")


@malicious("archive-behind.pt")
def archive_behind(path, marker):
    rezip(path)
    first = path.read_bytes()
    torch.save(CALLS["system"](marker), path)
    path.write_bytes(first + path.read_bytes())


@malicious("archive-in-comment.pt")
def in_comment(path, marker):
    torch.save(CALLS["system"](marker), path)
    hidden = path.read_bytes()
    rezip(path)
    data = path.read_bytes()
    path.write_bytes(data[:-2] + struct.pack("<H", len(hidden)) + hidden)


@malicious("nested.pt")
def nested(path, marker):
    torch.save(CALLS["system"](marker), path)
    inner = path.read_bytes()
    rezip(path, change=lambda name, data: inner if name.endswith("data.pkl") else data)


@malicious("truncated.pt")
def truncated(path, marker):
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:-30])


@malicious("pickle-called.safetensors")
def pickle_as_safetensors(path, marker):
    torch.save(CALLS["system"](marker), path)


@malicious("pickle-called.npz")
def pickle_as_npz(path, marker):
    path.write_bytes(pickle.dumps(CALLS["system"](marker)))


@malicious("pickle-called.onnx")
def pickle_as_onnx(path, marker):
    torch.save({"state": STATE, "x": CALLS["eval"](marker)}, path)


# -- npz ----------------------------------------------------------------------------------------


def npy(header, body=b""):
    text = header.encode() + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + body


def npz(name, *members):
    def build(path, marker):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, data in members:
                archive.writestr(member, data)

    malicious(name)(build)


GOOD = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", bytes(8))
npz(
    "objects-declared.npz",
    ("w.npy", npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"cos\n.")),
)
npz("code-as-header.npz", ("w.npy", npy("__import__('os').system('true')")))
npz("shape.npz", ("w.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2**40,)}")))
npz(
    "terabyte.npz",
    ("w.npy", npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**40},)}}", bytes(8))),
)
npz("negative.npz", ("w.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}", bytes(8))))
npz("pickle-member.npz", ("w.npy", GOOD), ("x.pkl", pickle.dumps(Evil(os.system, "true"))))
npz("climbing.npz", ("../w.npy", GOOD))
npz("deep-header.npz", ("w.npy", npy("(" * 5000 + ")" * 5000)))
npz(
    "compressed-bomb.npz",
    ("w.npy", npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**29},)}}") + bytes(2**29)),
)


@malicious("objects.npz")
def objects(path, marker):
    with path.open("wb") as file:
        np.savez(file, w=np.array([CALLS["system"](marker)], dtype=object))


# -- safetensors --------------------------------------------------------------------------------


def header(name, text, body=b"", length=None):
    def build(path, marker):
        content = text() if callable(text) else text
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        path.write_bytes(struct.pack("<Q", len(data) if length is None else length) + data + body)

    malicious(name)(build)


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


header("length.safetensors", b"{}      ", length=2**39)
header("long-header.safetensors", lambda: b"{" + b" " * 2**24 + b"}")
header("deep.safetensors", b'{"a":' * 50_000)
header(
    "twice.safetensors",
    json.dumps({"a": entry()})[:-1].encode() + b', "a": ' + json.dumps(entry()).encode() + b"}",
    bytes(8),
)
header("overlap.safetensors", {"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12))
header("same-place.safetensors", {"a": entry(), "b": entry()}, bytes(8))
header("gap.safetensors", {"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20))
header("negative.safetensors", {"a": entry(offsets=(-8, 0))}, bytes(8))
header("backwards.safetensors", {"a": entry(offsets=(8, 0))}, bytes(8))
header("beyond.safetensors", {"a": entry(offsets=(0, 2**40), shape=(2**38,))}, bytes(8))
header("product.safetensors", {"a": entry(shape=(2**32, 2**32))}, bytes(8))
header("axes.safetensors", {"a": entry(shape=(*[1] * 100_000, 2))}, bytes(8))
header("climbs.safetensors", {"../../evil": entry()}, bytes(8))
header("absolute.safetensors", {"/etc/evil": entry()}, bytes(8))
header("nul.safetensors", {"a\0b": entry()}, bytes(8))
header("control.safetensors", {"a\x1b[31m": entry()}, bytes(8))
header("dtype.safetensors", {"a": entry(dtype="O")}, bytes(8))
header(
    "infinite.safetensors", b'{"a": {"dtype": "F32", "shape": [Infinity], "data_offsets": [0, 8]}}', bytes(8)
)
header("polyglot.safetensors", {"a": entry()}, bytes(8) + b"PK\5\6" + bytes(18))
header("many.safetensors", lambda: {f"a{n}": entry(shape=(0,), offsets=(0, 0)) for n in range(100_001)})
header("metadata.safetensors", {"__metadata__": {"a": {"b": 1}}, "a": entry()}, bytes(8))


# -- no files at all, or others -----------------------------------------------------------------


@malicious("pipe.pt")
def pipe(path, marker):
    os.mkfifo(path)


@malicious("device.pt")
def device(path, marker):
    path.symlink_to("/dev/zero")


@malicious("loop.pt")
def loop(path, marker):
    path.symlink_to(path)


@malicious("folder.pt")
def folder(path, marker):
    path.mkdir()


handmade("empty.pt", lambda m: b"")
handmade("page.pt", lambda m: b"<!DOCTYPE html><html>404</html>")
handmade("onnx-endless.onnx", lambda m: b"\x08\x08\x12\xff\xff\xff\xff\xff\xff\xff\x7f" + b"x" * 20)

CHILD = """
    import json, os, pathlib, sys, warnings
    import torch
    from torch import nn
    from holotype import Registry, load_checkpoint
    from holotype.errors import HolotypeError
    from holotype.weights.checkpoint import read_checkpoint
    from holotype.weights.convert import convert
    from holotype.weights.program import load_program
    from holotype.weights.inspect import inspect_file

    warnings.simplefilter("ignore")
    folder, good, out = (pathlib.Path(word) for word in sys.argv[1:4])
    # What other libraries may have done; it must not matter.
    mine = [os.system, eval, exec, open, getattr, __import__, bytearray, torch.load]
    torch.serialization.add_safe_globals(mine)
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    registry = Registry()
    registry.register_model("net")(nn.Identity)
    WAYS = {
        "load": lambda path: load_checkpoint(path, architecture="net", registry=registry),
        "read": read_checkpoint,
        "pt": lambda path: read_checkpoint(path, "pt"),
        "safetensors": lambda path: read_checkpoint(path, "safetensors"),
        "npz": lambda path: read_checkpoint(path, "npz"),
        "convert": lambda path: convert(path, out / "x.safetensors"),
        "program": load_program,
    }
    for path in good.iterdir():  # torch and numpy import and compile a few things at their first file
        for way in WAYS.values():
            try:
                way(path)
            except HolotypeError:
                pass
        inspect_file(path)
        for made in out.iterdir():
            made.unlink()

    seen, watching = [], [False]
    FORBIDDEN = {
        "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.mkdir", "os.rename", "os.remove",
        "shutil.move", "exec", "subprocess.Popen", "pickle.find_class", "socket.connect",
        "ctypes.dlopen", "import",
    }
    WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def hook(event, arguments):
        if not watching[0]:
            return
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        if event in FORBIDDEN or writes:
            seen.append(f"{event} {arguments!r:.200}")

    sys.addaudithook(hook)
    result = {}
    for path in sorted(folder.iterdir()):
        told = result[path.name] = {}
        for name, way in {**WAYS, "describe": inspect_file}.items():
            seen.clear()
            watching[0] = True
            try:
                way(path)
                told[name] = "ACCEPTED"
            except HolotypeError as error:
                told[name] = type(error).__name__
            except BaseException as error:
                told[name] = f"UNTYPED {error!r:.200}"
            finally:
                watching[0] = False
            if seen:
                told[name] += f" DID {seen[:3]}"
    print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    marker = tmp_path_factory.mktemp("marker") / "executed"
    good, out = tmp_path_factory.mktemp("good"), tmp_path_factory.mktemp("out")
    modules = tmp_path_factory.mktemp("modules")
    (modules / "evil_module.py").write_text(f"open({str(marker)!r}, 'w').close()")
    torch.save(STATE, good / "new.pt")
    torch.save(STATE, good / "old.pt", _use_new_zipfile_serialization=False)
    np.savez_compressed(good / "x.npz", w=np.ones(3))
    (good / "x.onnx").write_bytes(
        onnx.helper.make_model(onnx.helper.make_graph([], "x", [], [])).SerializeToString()
    )
    text = json.dumps({"a": entry()}).encode()
    (good / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    assert not copyreg._inverted_registry.get(0x7B)
    for name, build in CORPUS.items():
        build(folder / name, marker)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(modules), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(folder), str(good), str(out)],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert not marker.exists() and list(out.iterdir()) == []
    return json.loads(done.stdout.splitlines()[-1])


def test_the_corpus_is_large():
    assert len(CORPUS) >= 40


@pytest.mark.parametrize("name", CORPUS)
def test_refused_by_every_way_in_and_nothing_happens(results, name):
    told = dict(results[name])
    described = told.pop("describe")
    # Telling what is in a program opens it no more than a list of its members does.
    assert described.endswith("Error") or (described == "ACCEPTED" and name in DESCRIBED), described
    assert all(answer.endswith("Error") for answer in told.values()), told


DESCRIBED = {"torchscript.pt", "member-script.pt"}


def test_the_payloads_are_real(tmp_path):
    """The ordinary readers run them: a corpus that harms nobody would prove nothing."""
    for call in ("system", "eval", "exec", "open", "mkdir"):
        marker = tmp_path / call
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # files left open
            pickle.loads(pickle.dumps(CALLS[call](marker)))  # noqa: S301  # that is the point
        assert marker.exists()


def test_the_hook_sees_what_it_should(tmp_path):
    code = textwrap.dedent(CHILD).replace(
        "way(path)\n            told", "way(path); os.system('true')\n            told"
    )
    (tmp_path / "good").mkdir()
    (tmp_path / "files").mkdir()
    (tmp_path / "out").mkdir()
    torch.save(STATE, tmp_path / "good" / "x.pt")
    torch.save(STATE, tmp_path / "files" / "x.pt")
    code = code.replace("                way(path)\n", "                os.system('true'); way(path)\n")
    arguments = [str(tmp_path / name) for name in ("files", "good", "out")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert "os.system" in json.loads(done.stdout.splitlines()[-1])["x.pt"]["read"]
    assert Path(arguments[2]).exists()


def test_the_honest_twins_are_read(tmp_path):
    """What the corpus is made from is accepted: it is the malice that is refused."""
    from holotype.weights.checkpoint import read_checkpoint

    rezip(tmp_path / "x.pt")
    assert torch.equal(read_checkpoint(tmp_path / "x.pt").state["w"], STATE["w"])
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", GOOD)
    assert read_checkpoint(tmp_path / "x.npz").state["w"].tolist() == [0, 0]
    text = json.dumps({"a": entry(), "b": entry(offsets=(8, 16))}).encode()
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(text)) + text + bytes(16))
    assert set(read_checkpoint(tmp_path / "x").state) == {"a", "b"}
