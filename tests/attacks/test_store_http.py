"""Servers that lie, stall, break off and redirect. All of them run on this machine."""

import contextlib
import hashlib
import os
import socket
import ssl
import struct
import textwrap
import time
from email.utils import formatdate

import pytest

from holotype.errors import FetchError, OfflineError, VerificationError
from holotype.store import http
from holotype.store.fetch import fetch
from hostile import DATA, SHA, Server, redirect, send

# A key and a certificate for localhost that protect nothing, valid until 2119.
KEY = """
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgvht1yhjAfAvPqJS0DsH6IS3hXXFvD+j2NREzk2eELGuhRANCAAQF
yz6CawDLgiYCeX5BlzdJmmaKz/32ahF+DH/+sV75L5GojGgcSKMIJHFsb62XlBHfDKfGhJD/++dO3XuvYtKU
"""
CERTIFICATE = """
MIIBaDCCAQ2gAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwIBcNMjAwMTAxMDAwMDAwWhgPMjExOTAx
MDEwMDAwMDBaMBQxEjAQBgNVBAMMCWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABAXLPoJrAMuCJgJ5fkGXN0ma
ZorP/fZqEX4Mf/6xXvkvkaiMaBxIowgkcWxvrZeUEd8Mp8aEkP/7507de69i0pSjTjBMMBoGA1UdEQQTMBGCCWxvY2FsaG9zdIcE
fwAAATAPBgNVHRMBAf8EBTADAQH/MB0GA1UdDgQWBBSoR1nLQnyxYZ5gi50ZB4RkupsfWzAKBggqhkjOPQQDAgNJADBGAiEAuIku
IobTRLcy+5sVxFAl5PMaNImDwjUjIbFtYIe/ZaUCIQDvPoG9JMXpHBxN3PQn3joczi+xltcsLNPuVpHOZpid1A==
"""


def pem(kind, text):
    lines = textwrap.wrap("".join(text.split()), 64)
    return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", ""])


def stall(handler):
    send(DATA, only=1000)(handler)
    handler.wfile.flush()
    time.sleep(5)


def drip(handler):
    send(DATA, only=10)(handler)
    for _ in range(50):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.1)


def reset(handler):
    send(DATA, only=70_000)(handler)
    handler.wfile.flush()
    # No orderly end: the other side gets a reset.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLOTYPE_HOME", str(tmp_path / "home"))
    for name in ("HOLOTYPE_MIRRORS", "HOLOTYPE_OFFLINE", "HOLOTYPE_ALLOW_HTTP", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    # A proxy that does not exist: loopback must not go through it.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr(http, "_BACKOFF_S", 0.01)
    yield tmp_path / "home"
    blobs = tmp_path / "home" / "blobs"
    assert not list((blobs / "partial").glob("*")), "nothing unfinished is left"
    for path in (blobs / "sha256").rglob("*"):
        if path.is_file():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


@pytest.fixture
def slept(monkeypatch):
    seconds = []
    monkeypatch.setattr(http, "_sleep", seconds.append)
    return seconds


@pytest.fixture
def context(tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    key.write_text(pem("PRIVATE KEY", KEY))
    certificate.write_text(pem("CERTIFICATE", CERTIFICATE))
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return made


def get(server, path="/weights.pt", **options):
    return fetch(server.url + path, **{"sha256": SHA, **options})


def test_a_plain_download():
    with Server(send()) as server:
        assert get(server, size=len(DATA)).read_bytes() == DATA
        assert get(server).read_bytes() == DATA
    assert len(server.requests) == 1, "the second time it was cached"


def test_without_a_length():
    with Server(send(length=False)) as server:
        assert get(server).read_bytes() == DATA


def test_chunked():
    def behave(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for at in range(0, len(DATA), 5000):
            piece = DATA[at : at + 5000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    with Server(behave) as server:
        assert get(server).read_bytes() == DATA


def test_over_tls(context):
    with Server(send(), context=context) as server:
        assert get(server).read_bytes() == DATA


def test_an_untrusted_certificate_is_final(context, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    with Server(send(), context=context) as server, pytest.raises(FetchError, match="not trusted"):
        get(server)


@pytest.mark.parametrize(
    "bad", [send(DATA[:-1] + b"!"), send(DATA[:-1] + b"!", length=False), send(b"<html>")]
)
def test_wrong_bytes(bad):
    with Server(bad) as server, pytest.raises(VerificationError) as caught:
        get(server)
    assert SHA in str(caught.value) and server.url in str(caught.value)
    assert len(server.requests) == 1, "the same lie is not asked for again"


def test_a_wrong_size_is_refused_before_the_body():
    with Server(send(length=10**15, only=0)) as server, pytest.raises(VerificationError, match="announced"):
        get(server, size=len(DATA))


def test_endless_bodies_are_cut():
    def endless(handler):
        send(length=False, only=0)(handler)
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(DATA)

    with Server(endless) as server, pytest.raises(VerificationError, match="more than"):
        get(server, size=len(DATA))
    with Server(endless) as server, pytest.raises(VerificationError, match="more than"):
        get(server, size_mib=0.5)


def test_more_than_the_disk_has(home):
    from holotype.errors import StoreError

    with Server(send(length=2**60, only=0)) as server, pytest.raises(StoreError, match=r"has .* left"):
        get(server)


def test_cut_short_and_then_whole():
    with Server(send(only=1000), send(only=1000), send()) as server:
        assert get(server).read_bytes() == DATA
    assert len(server.requests) == 3


def test_always_cut_short(slept):
    with Server(send(only=1000)) as server, pytest.raises(FetchError, match="after 1000 of") as caught:
        get(server)
    assert not isinstance(caught.value, VerificationError)
    assert len(server.requests) == http.ATTEMPTS
    assert slept == sorted(slept), "each pause is longer"


def test_cut_short_without_a_length():
    with Server(send(DATA[:1000], length=False)) as server, pytest.raises(VerificationError):
        get(server)


def test_a_reset_and_then_whole():
    with Server(reset, send()) as server:
        assert get(server).read_bytes() == DATA


def test_a_server_that_stalls(slept):
    with Server(stall) as server:
        start = time.monotonic()
        with pytest.raises(FetchError, match=r"nothing came for 0.2 s"):
            get(server, timeout_s=0.2)
        assert time.monotonic() - start < 4


def test_a_server_that_never_answers(slept):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(FetchError, match=r"nothing came for 0.2 s"):
            fetch(f"http://127.0.0.1:{port}/x", sha256=SHA, timeout_s=0.2)


def test_a_server_that_drips(slept):
    with Server(drip) as server, pytest.raises(FetchError, match="only"):
        get(server, timeout_s=0.3)


def test_nobody_listens(slept):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(FetchError, match="tried 5 times"):
        fetch(f"http://127.0.0.1:{port}/x", sha256=SHA)
    assert len(slept) == 4


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_busy_and_then_there(status, slept):
    with Server(send(b"", status=status), send()) as server:
        assert get(server).read_bytes() == DATA


def test_retry_after_is_respected(slept):
    later = formatdate(time.time() + 60, usegmt=True)
    busy = [send(b"", status=429, extra=[("Retry-After", text)]) for text in ("7", later, "nonsense")]
    with Server(*busy, send()) as server:
        assert get(server).read_bytes() == DATA
    assert slept[0] == 7.0
    assert 55 < slept[1] <= 60
    assert slept[2] < 1


def test_retry_after_at_once_is_no_reason_to_hammer(slept):
    with Server(send(b"", status=503, extra=[("Retry-After", "0")]), send()) as server:
        assert get(server).read_bytes() == DATA
    assert slept[0] > 0


def test_pauses_grow_and_differ():
    pauses = [[http._delay(attempt) for _ in range(50)] for attempt in range(1, 12)]
    for attempt, some in enumerate(pauses, 1):
        whole = min(http._BACKOFF_MOST_S, http._BACKOFF_S * 2 ** (attempt - 1))
        assert all(whole / 2 <= pause <= whole for pause in some) and len(set(some)) > 10


def test_retry_after_too_long(slept):
    busy = send(b"", status=503, extra=[("Retry-After", "86400")])
    with Server(busy) as server, pytest.raises(FetchError, match="wait 86400 s"):
        get(server)
    assert slept == [] and len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_final_answers(status, slept):
    with Server(send(b"no", status=status)) as server, pytest.raises(FetchError, match=str(status)):
        get(server)
    assert len(server.requests) == 1


def test_a_partial_answer_to_a_whole_question():
    with Server(send(DATA[:500], status=206)) as server, pytest.raises(VerificationError):
        get(server)


def test_a_packed_answer_is_refused():
    packed = send(extra=[("Content-Encoding", "gzip")])
    with Server(packed) as server, pytest.raises(FetchError, match="packed"):
        get(server)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(status):
    with Server(send()) as there, Server(redirect(there.url + "/x", status)) as here:
        assert get(here).read_bytes() == DATA


def test_a_relative_redirect():
    with Server(redirect("/other?signature=1"), send()) as server:
        assert get(server).read_bytes() == DATA
    assert server.requests[1][0] == "/other?signature=1"


def test_redirects_without_end():
    with Server(redirect("/again")) as server, pytest.raises(FetchError):
        get(server)
    assert len(server.requests) < 30


def test_https_to_http_is_refused(context):
    with Server(send()) as plain, Server(redirect(plain.url + "/x"), context=context) as server:
        with pytest.raises(FetchError, match="not encrypted"):
            get(server)
        assert plain.requests == []


@pytest.mark.parametrize(
    "target", ["http://example.org/x", "file:///etc/passwd", "ftp://example.org/x", "//", "data:,x"]
)
def test_redirects_to_what_would_be_refused(target):
    with Server(redirect(target)) as server, pytest.raises(FetchError):
        get(server)


def test_a_token_stays_with_its_host(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    with Server(send()) as elsewhere, Server(redirect("/moved"), redirect(elsewhere.url + "/x")) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert fetch("hf://org/repo@main/model.pt", sha256=SHA).read_bytes() == DATA
    assert hub.requests[0][0] == "/org/repo/resolve/main/model.pt"
    assert [headers.get("Authorization") for _, headers in hub.requests] == ["Bearer secret"] * 2
    assert [headers.get("Authorization") for _, headers in elsewhere.requests] == [None]


def test_a_missing_token_is_named(monkeypatch):
    with Server(send(b"", status=401)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(FetchError, match="set HF_TOKEN"):
            fetch("hf://org/repo@main/model.pt", sha256=SHA)


def test_a_mirror_on_the_web(monkeypatch, slept):
    with Server(send()) as mirror:
        monkeypatch.setenv("HOLOTYPE_MIRRORS", mirror.url)
        monkeypatch.setenv("HOLOTYPE_OFFLINE", "1")
        assert fetch("https://nowhere.invalid/x", sha256=SHA).read_bytes() == DATA
    assert mirror.requests[0][0] == f"/blobs/sha256/{SHA[:2]}/{SHA}"
    with pytest.raises(OfflineError, match="the mirrors do not have it"):
        fetch("https://nowhere.invalid/x", sha256="1" * 64)


def test_a_mirror_over_tls(monkeypatch, context):
    with Server(send(), context=context) as mirror:
        monkeypatch.setenv("HOLOTYPE_MIRRORS", f"{mirror.url}/store/")
        monkeypatch.setenv("HOLOTYPE_OFFLINE", "1")
        assert fetch("https://nowhere.invalid/x", sha256=SHA).read_bytes() == DATA
    assert mirror.requests[0][0] == f"/store/blobs/sha256/{SHA[:2]}/{SHA}"


def test_a_mirror_with_one_bit_changed_is_passed_over_for_another(monkeypatch):
    changed = bytearray(DATA)
    changed[1234] ^= 1
    with Server(send(bytes(changed))) as bad, Server(send()) as good:
        monkeypatch.setenv("HOLOTYPE_MIRRORS", os.pathsep.join([bad.url, good.url]))
        with pytest.warns(UserWarning, match="a mirror is wrong"):
            assert fetch("https://nowhere.invalid/x", sha256=SHA).read_bytes() == DATA


def test_a_mirror_that_fails_is_passed_over(monkeypatch, slept):
    with Server(send(b"", status=404)) as mirror, Server(send()) as server:
        monkeypatch.setenv("HOLOTYPE_MIRRORS", mirror.url)
        assert get(server).read_bytes() == DATA


def test_unverified_only_on_demand_and_with_a_warning():
    with Server(send()) as server:
        with pytest.raises(VerificationError):
            get(server, sha256=None)
        assert server.requests == []
        with pytest.warns(UserWarning, match="no published sha256"):
            assert get(server, sha256=None, allow_unverified=True).read_bytes() == DATA


def test_signatures_stay_out_of_messages(slept):
    with Server(send(b"", status=404)) as server, pytest.raises(FetchError) as caught:
        get(server, "/weights.pt?signature=hunter2")
    assert "hunter2" not in str(caught.value)
