"""What addresses mean, and which are refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from holotype.errors import SourceError
from holotype.home import cache_home
from holotype.store.sources import FileSource, HttpSource, WheelSource, parse_source


def test_https():
    source = parse_source("https://host.org/a/b.pt?signature=secret", {})
    assert isinstance(source, HttpSource)
    assert source.url == "https://host.org/a/b.pt?signature=secret"
    assert "secret" not in source.shown


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "[::1]:80", "127.9.9.9"])
def test_plain_http_to_this_machine(host):
    assert parse_source(f"http://{host}/x", {}).url == f"http://{host}/x"


@pytest.mark.parametrize(
    "host", ["example.org", "10.0.0.1", "127.0.0.1.example.org", "localhost.example.org"]
)
def test_plain_http_elsewhere_is_refused(host):
    with pytest.raises(SourceError, match="HOLOTYPE_ALLOW_HTTP"):
        parse_source(f"http://{host}/x", {})
    assert parse_source(f"http://{host}/x", {"HOLOTYPE_ALLOW_HTTP": "1"})
    with pytest.raises(SourceError):
        parse_source(f"http://{host}/x", {"HOLOTYPE_ALLOW_HTTP": "0"})


def test_hub():
    source = parse_source("hf://org/repo@v1.0/sub/model.safetensors", {"HF_TOKEN": "secret"})
    assert source.url == "https://huggingface.co/org/repo/resolve/v1.0/sub/model.safetensors"
    assert source.token == "secret"  # noqa: S105  # no password
    assert "secret" not in repr(source)
    data = parse_source("hf://datasets/org/repo@refs%2Fpr%2F1/x.bin", {"HF_ENDPOINT": "https://hub.lab.org/"})
    assert data.url == "https://hub.lab.org/datasets/org/repo/resolve/refs%2Fpr%2F1/x.bin"
    assert data.token is None


@pytest.mark.parametrize(
    "address",
    [
        "hf://org/repo/file",
        "hf://org@main/file",
        "hf://org/repo@/file",
        "hf://org/repo@main",
        "hf://org",
        "hf://org/repo@main/../x",
        "hf://org/repo@..%2F..%2Fapi/x",
        "hf://-o/repo@main/x",
    ],
)
def test_bad_hub_addresses(address):
    with pytest.raises(SourceError):
        parse_source(address, {})


def test_hub_token_does_not_go_to_a_plain_endpoint():
    with pytest.raises(SourceError):
        parse_source("hf://o/r@main/f", {"HF_ENDPOINT": "http://hub.lab.org", "HF_TOKEN": "secret"})


def test_wheel():
    source = parse_source("pypi://some-weights==0.1.0/some_weights/models/net-1.pth")
    assert source == WheelSource(source.address, "some-weights", "0.1.0", "some_weights/models/net-1.pth")


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("pypi://package/path/x.pt", "names no version"),
        ("pypi://package==/path/x.pt", "names no version"),
        ("pypi://package>=1/path/x.pt", "not a package's name"),
        ("pypi://package==1.*/x.pt", "not one exact version"),
        ("pypi://package==1,<2/x.pt", "not one exact version"),
        ("pypi://--index-url==1/x.pt", "not a package's name"),
        ("pypi://package==--pre/x.pt", "not one exact version"),
        ("pypi://package==1.0", "names no file"),
        ("pypi://package==1.0/", "names no file"),
        ("pypi://package==1.0/../x.pt", "'..' is refused"),
        ("pypi://package==1.0/a/../../x.pt", "'..' is refused"),
        ("pypi://package==1.0//etc/passwd", "empty part"),
        ("pypi://package==1.0/a/./x.pt", "empty part"),
        ("pypi://package==1.0/a\\..\\x.pt", "backslashes"),
        ("pypi://package==1.0/C:/x.pt", "drives"),
        ("pypi://package==1.0/a\0b.pt", "control characters"),
    ],
)
def test_bad_wheel_addresses(address, says):
    with pytest.raises(SourceError, match=says):
        parse_source(address)


def test_file(tmp_path):
    path = tmp_path / "with space #1.pt"
    source = parse_source(path.as_uri())
    assert isinstance(source, FileSource)
    assert source.path == path
    assert parse_source("file://localhost/a/b").path == Path("/a/b")


@pytest.mark.parametrize("address", ["file://other/a", "file://", "file:///a%00b", "file:///a?b", "file://a"])
def test_bad_file_addresses(address):
    with pytest.raises(SourceError):
        parse_source(address)


@pytest.mark.parametrize(
    "address", ["", "model.pt", "/abs/model.pt", "C:\\x", " https://a.org/x", "https:///x"]
)
@pytest.mark.parametrize("suffix", ["", "\n", "\0"])
def test_not_an_address(address, suffix):
    with pytest.raises(SourceError):
        parse_source(address + suffix)


def test_unknown_scheme_names_the_nearest():
    with pytest.raises(SourceError, match="https://") as caught:
        parse_source("htps://host/x")
    assert caught.value.nearest[0] in ("https://", "http://")
    with pytest.raises(SourceError):
        parse_source("ftp://host/x")
    with pytest.raises(SourceError):
        parse_source(17)


def test_passwords_are_refused_and_not_repeated():
    with pytest.raises(SourceError) as caught:
        parse_source("https://user:hunter2@host.org/x", {})
    assert "hunter2" not in str(caught.value)


def test_cache_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOLOTYPE_HOME", str(tmp_path / "chosen"))
    assert cache_home() == str(tmp_path / "chosen")
    monkeypatch.delenv("HOLOTYPE_HOME")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_home() == str(tmp_path / "xdg" / "holotype")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_home() == str(tmp_path / ".cache" / "holotype")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_home() == str(tmp_path / "Library" / "Caches" / "holotype")
    assert not list(tmp_path.iterdir())


def test_the_store_needs_neither_torch_nor_the_network_stack():
    code = (
        "import sys, holotype.store.fetch, holotype.weights.open\n"
        "assert not {'torch', 'numpy', 'ssl', 'urllib.request'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ), timeout=60)
