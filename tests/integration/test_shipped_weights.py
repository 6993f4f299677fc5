"""Weights that lie beside a zoo's code: a fresh install loads them with no network at all."""

import hashlib
import re

import pytest
import torch
from safetensors.torch import load_file

import holotype
from holotype.errors import MetadataError

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
LOAD = """
import holotype
try:
    net, _ = holotype.load_pretrained_model("tiny_shipped", inference=True)
    result = net.layer.weight.tolist()
except holotype.HolotypeError as error:
    result = f"{type(error).__name__}: {error}"
"""


@pytest.fixture
def shipped(project):
    """A zoo with a weight file; a function that writes its table and loads the entry in a fresh process."""
    project.write({"src/__init__.py": "", "src/model/__init__.py": "", "src/model/tiny.py": MODEL})
    file = project.root / "src/model/weights/tiny_shipped.safetensors"
    file.parent.mkdir()
    project.run(f"import holotype; holotype.save_pretrained(holotype.create_model('tiny'), {str(file)!r})")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()

    def load(url="weights", sha256=digest):
        project.write({"src/model/pretrained.toml": TABLE.format(url=url, sha256=sha256)})
        return project.run(LOAD, HOLOTYPE_OFFLINE="1")

    return load, file


@pytest.mark.parametrize("url", ["weights", "weights/tiny_shipped.safetensors"])
def test_loads_offline(shipped, url):
    load, file = shipped
    assert load(url) == load_file(file)["layer.weight"].tolist()


def test_a_file_outside_the_zoo_is_refused(shipped):
    load, _ = shipped
    assert re.search("MetadataError.*outside its zoo", load("../../elsewhere"))


def test_a_missing_file_is_told_with_its_path(shipped):
    load, file = shipped
    file.unlink()
    assert str(file.resolve()) in load()


def test_other_bytes_are_refused(shipped):
    load, _ = shipped
    assert load(sha256="0" * 64).startswith("VerificationError")


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
