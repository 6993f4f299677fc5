"""No catalog and no redirect leads into a private network, whatever a name server says."""

import socket
import time

import pytest

from holotype.errors import FetchError, SourceError
from holotype.store import guard, http
from holotype.store.fetch import fetch
from holotype.store.guard import kind
from hostile import DATA, SHA, Server, redirect, send

NOWHERE = "0.0.0.0"  # noqa: S104  # nothing listens there


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLOTYPE_HOME", str(tmp_path / "home"))
    for name in ("HOLOTYPE_MIRRORS", "HOLOTYPE_OFFLINE", "http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(http, "_BACKOFF_S", 0.01)


@pytest.fixture
def names(monkeypatch):
    """A name server of our own: each name has its answers, the last one for good."""
    answers, asked = {}, []

    def resolve(host, port, *args, **kwargs):
        asked.append(host)
        known = answers.get(host, [host])
        address = known.pop(0) if len(known) > 1 else known[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return answers, asked


@pytest.fixture
def no_connection(monkeypatch):
    def refuse(self, address):
        raise AssertionError(f"{address} was connected to")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def public_loopback(monkeypatch):
    """127.0.0.1 plays a public address, 127.0.0.2 a private one."""
    plays = {"127.0.0.1": "public", "127.0.0.2": "private"}
    real = guard.kind
    monkeypatch.setattr(guard, "kind", lambda address: plays.get(address) or real(address))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", "public"),
        ("2606:4700::1111", "public"),
        ("127.0.0.1", "loopback"),
        ("127.9.9.9", "loopback"),
        ("::1", "loopback"),
        ("10.0.0.1", "private"),
        ("172.16.0.1", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private"),
        ("fd00::1", "private"),
        ("169.254.169.254", "link-local"),
        ("fe80::1%eth0", "link-local"),
        (NOWHERE, "reserved"),
        ("::", "reserved"),
        ("255.255.255.255", "reserved"),
        ("224.0.0.1", "reserved"),
        ("ff02::1", "reserved"),
        ("::ffff:10.0.0.1", "private"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:8.8.8.8", "public"),
        ("64:ff9b::a00:1", "private"),
        ("64:ff9b::808:808", "public"),
        ("2002:7f00:1::", "loopback"),
    ],
)
def test_kinds(address, expected):
    assert kind(address) == expected


@pytest.mark.parametrize("host", ["10.1.2.3", "169.254.169.254", "[fd00::5]", "[::ffff:10.0.0.1]", NOWHERE])
def test_a_redirect_to_a_private_address(host, monkeypatch):
    connected = []
    real = socket.socket.connect

    def connect(self, address):
        connected.append(address[0])
        assert address[0].startswith("127.")
        return real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    with Server(redirect(f"https://{host}/x")) as server, pytest.raises(FetchError, match="redirect"):
        fetch(f"{server.url}/x", sha256=SHA)
    assert connected == ["127.0.0.1"] and len(server.requests) == 1


def test_a_redirect_from_a_public_to_a_private_machine(public_loopback):
    with Server(send(), host="127.0.0.2") as inside, Server(redirect(f"{inside.url}/x")) as server:
        with pytest.raises(FetchError, match=r"a redirect leads to 127\.0\.0\.2, a private address"):
            fetch(f"{server.url}/x", sha256=SHA)
        assert inside.requests == []


def test_a_redirect_to_a_name_of_a_private_machine(public_loopback, names):
    names[0]["localhost"] = ["127.0.0.2"]
    with Server(send(), host="127.0.0.2") as inside:
        port = inside.server.server_address[1]
        server = Server(redirect(f"http://localhost:{port}/x"))
        with server, pytest.raises(FetchError, match="localhost, a private address"):
            fetch(f"{server.url}/x", sha256=SHA)
        assert inside.requests == []


def test_a_redirect_within_the_same_kind_is_followed():
    with Server(send()) as there, Server(redirect(f"{there.url}/x")) as server:
        assert fetch(f"{server.url}/x", sha256=SHA).read_bytes() == DATA


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", NOWHERE])
def test_a_remote_catalog_names_public_machines_only(names, no_connection, address):
    names[0]["weights.invalid"] = [address]
    with pytest.raises(SourceError, match="remote catalog must be public"):
        fetch("https://weights.invalid/x", sha256=SHA, from_remote_catalog=True)


def test_a_remote_catalog_cannot_name_files_of_this_machine(tmp_path):
    (tmp_path / "x").write_bytes(DATA)
    with pytest.raises(SourceError, match="a remote catalog names it"):
        fetch((tmp_path / "x").as_uri(), sha256=SHA, from_remote_catalog=True)


def test_a_remote_catalog_may_name_files_of_the_hub_that_the_user_chose(monkeypatch):
    with Server(send()) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert fetch("hf://org/repo@main/x", sha256=SHA, from_remote_catalog=True).read_bytes() == DATA


def test_mirrors_are_the_users_choice_whoever_names_the_file(monkeypatch, names):
    with Server(send()) as mirror:
        monkeypatch.setenv("HOLOTYPE_MIRRORS", mirror.url)
        path = fetch("https://nowhere.invalid/x", sha256=SHA, from_remote_catalog=True)
    assert path.read_bytes() == DATA


def test_a_remote_catalog_may_name_a_public_machine(public_loopback):
    with Server(send()) as server:
        assert fetch(f"{server.url}/x", sha256=SHA, from_remote_catalog=True).read_bytes() == DATA


def test_a_name_is_resolved_once(names, public_loopback):
    """A name server that first shows a public address and then a private one."""
    with Server(send()) as server, Server(send(), host="127.0.0.2") as inside:
        names[0]["localhost"] = ["127.0.0.1", "127.0.0.2"]
        url = f"http://localhost:{server.server.server_address[1]}/x"
        assert fetch(url, sha256=SHA, from_remote_catalog=True).read_bytes() == DATA
        assert names[1] == ["localhost"]
        assert inside.requests == []


def test_behind_a_proxy_the_target_is_still_checked(monkeypatch, names):
    names[0]["weights.invalid"] = ["10.0.0.1"]
    with Server(send()) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("HOLOTYPE_ALLOW_HTTP", "1")
        with pytest.raises(SourceError, match="must be public"):
            fetch("http://weights.invalid/x", sha256=SHA, from_remote_catalog=True)
        assert proxy.requests == []
        assert fetch("http://weights.invalid/x", sha256=SHA).read_bytes() == DATA
        assert proxy.requests[0][0] == "http://weights.invalid/x"


def test_a_redirect_behind_a_proxy_is_checked(monkeypatch, names):
    names[0].update({"weights.invalid": ["8.8.8.8"], "inside.invalid": ["10.0.0.1"]})
    with Server(redirect("http://inside.invalid/x")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("HOLOTYPE_ALLOW_HTTP", "1")
        with pytest.raises(FetchError, match=r"inside\.invalid, a private address"):
            fetch("http://weights.invalid/x", sha256=SHA)
        assert len(proxy.requests) == 1


def test_headers_that_drip_are_not_waited_for(monkeypatch):
    monkeypatch.setattr(http, "_sleep", lambda seconds: None)

    def drip(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        for _ in range(100):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.05)

    begun = time.monotonic()
    with Server(drip) as server, pytest.raises(FetchError, match="head of the answer"):
        fetch(f"{server.url}/x", sha256=SHA, timeout_s=0.15)
    assert time.monotonic() - begun < 6
