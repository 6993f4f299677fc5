"""The file that was hashed is the file that is loaded, whatever happens to its name meanwhile."""

import hashlib
import os

import pytest
import torch

from holotype import Registry
from holotype.errors import CheckpointError, VerificationError
from holotype.weights import open as opening
from holotype.weights.checkpoint import read_checkpoint
from holotype.weights.formats.opened import OpenedFile


@pytest.fixture
def files(tmp_path):
    torch.save({"weight": torch.ones(2, 2)}, tmp_path / "good.pt")
    torch.save({"weight": torch.zeros(2, 2)}, tmp_path / "evil.pt")
    return tmp_path / "good.pt", tmp_path / "evil.pt"


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no names for open files here")  # noqa: PTH112
def test_a_file_that_takes_the_name_is_not_read(files):
    good, evil = files
    with OpenedFile(good) as pinned:
        before = pinned.sha256()
        evil.replace(good)
        assert read_checkpoint(pinned).state["weight"].sum() == 4
        assert pinned.sha256() == before != hashlib.sha256(good.read_bytes()).hexdigest()


def test_where_open_files_have_no_names_it_is_noticed(files, monkeypatch):
    good, evil = files
    monkeypatch.setattr(OpenedFile, "handle", property(lambda self: str(self.path)))
    with OpenedFile(good) as pinned:
        evil.replace(good)
        with pytest.raises(CheckpointError, match="changed while it was read"):
            read_checkpoint(pinned)


def test_a_file_that_is_written_to_is_noticed(files):
    good, _ = files
    with OpenedFile(good) as pinned:
        with good.open("ab") as file:
            file.write(b"x")
        with pytest.raises(CheckpointError):
            read_checkpoint(pinned)
    with OpenedFile(good) as pinned, pytest.raises(VerificationError):
        pinned.check_sha256("0" * 64)


def test_a_blob_replaced_after_it_was_verified(files, tmp_path, monkeypatch):
    good, evil = files
    monkeypatch.setenv("HOLOTYPE_HOME", str(tmp_path / "home"))
    registry = Registry()
    registry.register_model("net")(lambda: torch.nn.Linear(2, 2, bias=False))
    sha256 = hashlib.sha256(good.read_bytes()).hexdigest()
    registry.register_weights(
        "entry", {"network": "net", "url": good.as_uri(), "formats": {"pt": {"sha256": sha256}}}
    )
    real = opening.fetch_open

    def replaced(*args, **kwargs):
        opened = real(*args, **kwargs)
        evil.replace(opened.name)
        return opened

    monkeypatch.setattr(opening, "fetch_open", replaced)
    net, _ = opening.load_pretrained_model("entry", registry=registry)
    assert net.weight.sum() == 4
