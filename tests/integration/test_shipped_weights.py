"""Weights that lie beside a zoo's code: a fresh install loads them with no network at all."""

import hashlib
import re
import sys

import pytest
import torch

import holotype
from holotype.errors import MetadataError, VerificationError

MODEL = """
import torch
from holotype import register_model

@register_model("tiny")
class Tiny(torch.nn.Module):
    def __init__(self, width: int = 3):
        super().__init__()
        self.layer = torch.nn.Linear(width, 1)

    def forward(self, x):
        return self.layer(x)
"""
TABLE = """
[tiny_shipped]
network = "tiny"
url = "{url}"
[tiny_shipped.config]
width = 3
[tiny_shipped.formats.safetensors]
sha256 = "{sha256}"
"""


@pytest.fixture
def shipped(here, monkeypatch):
    """A zoo with a weight file; a function that writes its table."""
    monkeypatch.setenv("HOLOTYPE_OFFLINE", "1")
    monkeypatch.delenv("HOLOTYPE_MIRRORS", raising=False)
    here.write({"src/__init__.py": "", "src/model/__init__.py": "", "src/model/tiny.py": MODEL})
    file = here.root / "src/model/weights/tiny_shipped.safetensors"
    file.parent.mkdir()
    net = holotype.create_model("tiny")
    holotype.save_pretrained(net, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()

    def table(url="weights", sha256=digest):
        here.write({"src/model/pretrained.toml": TABLE.format(url=url, sha256=sha256)})

    yield net, table, file
    for module in [name for name in sys.modules if name.partition(".")[0] == "src"]:
        del sys.modules[module]
    sys.path[:] = [folder for folder in sys.path if folder != str(here.root)]


@pytest.mark.parametrize("url", ["weights", "weights/tiny_shipped.safetensors"])
def test_loads_offline(shipped, url):
    net, table, _ = shipped
    table(url)
    loaded, _ = holotype.load_pretrained_model("tiny_shipped", inference=True)
    assert torch.equal(loaded.layer.weight, net.layer.weight)


def test_a_file_outside_the_zoo_is_refused(shipped):
    _, table, _ = shipped
    table("../../elsewhere")
    with pytest.raises(MetadataError, match="outside its zoo"):
        holotype.load_pretrained_model("tiny_shipped")


def test_a_missing_file_is_told_with_its_path(shipped):
    _, table, file = shipped
    table()
    file.unlink()
    with pytest.raises(MetadataError, match=re.escape(str(file.resolve()))):
        holotype.load_pretrained_model("tiny_shipped")


def test_other_bytes_are_refused(shipped):
    _, table, _ = shipped
    table(sha256="0" * 64)
    with pytest.raises(VerificationError):
        holotype.load_pretrained_model("tiny_shipped")


def test_an_entry_of_a_session_has_no_folder():
    with pytest.raises(MetadataError, match="beside the zoo's code"):
        registry = holotype.Registry()
        registry.register_model("net_of_a_session")(torch.nn.Identity)
        registry.register_weights(
            "entry_of_a_session",
            {
                "network": "net_of_a_session",
                "url": "weights",
                "formats": {"safetensors": {"sha256": "0" * 64}},
            },
        )
        holotype.load_pretrained_model("entry_of_a_session", registry=registry)
