"""Files that want to run code, exhaust memory, or lie. Nothing is executed, and no wrong tensor comes out."""

import io
import os
import pickle
import pickletools
import sys
import tarfile
import zipfile

import pytest
import torch

from holotype.errors import CheckpointError
from holotype.weights.checkpoint import read_checkpoint

STATE = {"w": torch.arange(1000.0), "b": torch.ones(3)}


class Evil:
    """Pickles to a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "executed"


def payloads(marker):
    touch = f"touch {marker}"
    code = f"open({str(marker)!r}, 'w').close()"
    return {
        "system": Evil(os.system, touch),
        "eval": Evil(eval, f"__import__('os').system({touch!r})"),
        "exec": Evil(exec, code),
        "open": Evil(open, str(marker), "w"),
        "hidden": {"w": torch.zeros(2), "optimizer": [Evil(os.system, touch)]},
        "partial": Evil(__import__("functools").partial(os.system, touch)),
        "torch.load": Evil(torch.load, str(marker)),
        "jit": Evil(torch.jit.load, str(marker)),
    }


NAMES = sorted(payloads("x"))


def harmless_proof(payload, marker):
    """Show that the payload is real: the ordinary reader runs it."""
    pickle.loads(pickle.dumps(payload))  # noqa: S301  # that is the point
    assert marker.exists()
    marker.unlink()


def test_the_payloads_are_real(marker):
    for name in ("system", "eval", "exec", "partial"):
        harmless_proof(payloads(marker)[name], marker)


@pytest.mark.parametrize("wrapping", ["zip", "legacy", "plain", "plain-0", "plain-2"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("forced", [False, True])
def test_no_pickle_is_executed(tmp_path, marker, monkeypatch, name, wrapping, forced):
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = tmp_path / "x.pt"
    payload = payloads(marker)[name]
    if wrapping.startswith("plain"):
        protocol = int(wrapping.rpartition("-")[2]) if "-" in wrapping else None
        path.write_bytes(pickle.dumps(payload, protocol=protocol))
    else:
        torch.save(payload, path, _use_new_zipfile_serialization=wrapping == "zip")
    seen = []
    active = [True]

    def audit(event, arguments):
        if active[0] and event in ("os.system", "subprocess.Popen", "exec", "os.posix_spawn", "os.exec"):
            seen.append((event, arguments))

    # torch compiles a few things of its own when it reads its first file.
    warm = tmp_path / "warm.pt"
    torch.save(STATE, warm)
    read_checkpoint(warm, "pt")
    sys.addaudithook(audit)
    try:
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(path, "pt")
    finally:
        active[0] = False
    assert not marker.exists() and seen == []
    assert str(path) in str(caught.value)


def test_the_message_names_what_was_asked_for(tmp_path, marker):
    torch.save(payloads(marker)["eval"], tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"eval.*nothing in it was executed"):
        read_checkpoint(tmp_path / "x.pt", "pt")


@pytest.mark.parametrize("new", [True, False])
def test_truncated_anywhere(tmp_path, new):
    torch.save(STATE, tmp_path / "whole", _use_new_zipfile_serialization=new)
    whole = (tmp_path / "whole").read_bytes()
    for length in [*range(0, 200), *range(200, len(whole) - 1, 53), len(whole) - 1]:
        (tmp_path / "x.pt").write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            read_checkpoint(tmp_path / "x.pt", "pt")


def test_flipped_bytes_never_crash(tmp_path):
    """Whether the numbers are right is what the hash is for; here the reader has to survive."""
    for new in (True, False):
        torch.save({"w": torch.ones(4)}, tmp_path / "whole", _use_new_zipfile_serialization=new)
        whole = (tmp_path / "whole").read_bytes()
        for at in range(0, len(whole), 3):
            damaged = bytearray(whole)
            damaged[at] ^= 0x41
            (tmp_path / "x.pt").write_bytes(damaged)
            try:
                read = read_checkpoint(tmp_path / "x.pt", "pt")
            except CheckpointError:
                continue
            assert all(isinstance(tensor, torch.Tensor) for tensor in read.state.values())


def test_other_files(tmp_path):
    (tmp_path / "html").write_bytes(b"<!DOCTYPE html><html>404</html>")
    (tmp_path / "empty").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with tarfile.open(tmp_path / "tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("x"))
    (tmp_path / "gzip").write_bytes(b"\x1f\x8b" + bytes(50))
    torch.save(STATE, tmp_path / "pt")
    for path in tmp_path.iterdir():
        with pytest.raises(CheckpointError):
            read_checkpoint(path, "safetensors")
        if path.name != "pt":
            with pytest.raises(CheckpointError):
                read_checkpoint(path, "pt")


def test_a_torchscript_program_is_refused(tmp_path):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "x.pt"))
    with pytest.raises(CheckpointError, match="code"):
        read_checkpoint(tmp_path / "x.pt", "pt")


def rezip(source, target, change=None, *, compression=zipfile.ZIP_STORED, extra=()):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for info in old.infolist():
            data = old.read(info)
            new.writestr(info.filename, change(info.filename, data) if change else data)
        for name, data in extra:
            new.writestr(name, data)


def test_a_zip_bomb(tmp_path):
    torch.save({"w": torch.zeros(2**22)}, tmp_path / "whole")
    rezip(tmp_path / "whole", tmp_path / "x.pt", compression=zipfile.ZIP_DEFLATED)
    assert (tmp_path / "x.pt").stat().st_size < 2**20
    with pytest.raises(CheckpointError, match="compressed"):
        read_checkpoint(tmp_path / "x.pt", "pt")


@pytest.mark.parametrize("name", ["../escape", "/etc/escape", "x/../../escape"])
def test_member_names_that_climb_out(tmp_path, name):
    torch.save(STATE, tmp_path / "whole")
    rezip(tmp_path / "whole", tmp_path / "x.pt", extra=[(name, b"x")])
    with pytest.raises(CheckpointError, match="leads out"):
        read_checkpoint(tmp_path / "x.pt", "pt")


def test_doubled_members(tmp_path):
    torch.save(STATE, tmp_path / "whole")
    with zipfile.ZipFile(tmp_path / "whole") as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
    with pytest.warns(UserWarning, match="Duplicate"):
        rezip(tmp_path / "whole", tmp_path / "x.pt", extra=[(name, pickle.dumps({}))])
    with pytest.raises(CheckpointError, match="twice"):
        read_checkpoint(tmp_path / "x.pt", "pt")


def replace_number(data, old, new):
    """Replace an integer in a pickle of protocol 2."""

    def coded(number):
        out = io.BytesIO()
        out.write(pickle.dumps(number, protocol=2)[2:-1])
        return out.getvalue()

    assert data.count(coded(old)) >= 1, pickletools.genops(data)
    return data.replace(coded(old), coded(new))


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("claim", [1001, 60_000, 2**31 - 1])
def test_a_tensor_larger_than_its_bytes(tmp_path, claim, mapped, monkeypatch):
    """No memory beyond the file is ever shown."""
    torch.save({"w": torch.full((1000,), 7.0)}, tmp_path / "whole")

    def change(name, data):
        return replace_number(data, 1000, claim) if name.endswith("data.pkl") else data

    rezip(tmp_path / "whole", tmp_path / "x.pt", change)
    if not mapped:
        monkeypatch.setattr(torch.serialization, "get_default_mmap_options", lambda: 1)
    try:
        read = read_checkpoint(tmp_path / "x.pt", "pt")
    except CheckpointError:
        return
    size = (tmp_path / "x.pt").stat().st_size
    assert read.state["w"].untyped_storage().nbytes() <= size
    assert read.state["w"].numel() * 4 <= size
