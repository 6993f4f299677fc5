"""Files in an object store, by obstore, from a small server on this machine that answers as S3 does."""

import sys
import time

import pytest

from holotype.errors import FetchError, MissingExtraError, SourceError, VerificationError
from holotype.store import http
from holotype.store.blobs import Blobs
from holotype.store.fetch import fetch
from holotype.store.folder import make_folder
from holotype.store.sources import S3Source, parse_source
from hostile import DATA, SHA, Server, hang_up, send, serve

ADDRESS = "s3://models/nets/weights.pt"
DATED = [("Last-Modified", "Wed, 01 Jan 2025 00:00:00 GMT")]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLOTYPE_HOME", str(tmp_path / "home"))
    for name in ("HOLOTYPE_MIRRORS", "HOLOTYPE_OFFLINE", "HOLOTYPE_ALLOW_HTTP", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    # Were they used, they would fail.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr(http, "_BACKOFF_S", 0.01)


@pytest.fixture
def bucket(monkeypatch):
    servers = []

    def start(*behaviours):
        server = Server(*behaviours)
        servers.append(server)
        server.__enter__()
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        return server

    yield start
    for server in servers:
        server.__exit__()


def test_a_file_of_a_bucket(bucket):
    server = bucket(serve(extra=DATED))
    assert fetch(ADDRESS, sha256=SHA, size=len(DATA)).read_bytes() == DATA
    path, headers = server.requests[0]
    assert path == "/models/nets/weights.pt"
    assert "authorization" not in {name.lower() for name in headers}, "no credentials, no signature"
    assert len(server.requests) == 1


def test_credentials_of_the_environment_sign(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    server = bucket(serve(extra=DATED))
    assert fetch(ADDRESS, sha256=SHA).read_bytes() == DATA
    headers = {name.lower(): value for name, value in server.requests[0][1].items()}
    assert "Credential=someone/" in headers["authorization"] and "hunter2" not in str(headers)


def test_it_goes_on_where_it_ended(bucket):
    server = bucket(serve(extra=DATED, only=len(DATA) // 2), serve(extra=DATED))
    assert fetch(ADDRESS, sha256=SHA).read_bytes() == DATA
    assert not list(Blobs().partial.iterdir())
    assert len(server.requests) == 2


def test_what_a_dead_process_left_is_gone_on_with(bucket):
    server = bucket(serve(extra=DATED))
    folder = make_folder(Blobs().partial)
    (folder / f"{SHA}.dead").write_bytes(DATA[:400_000])
    assert fetch(ADDRESS, sha256=SHA).read_bytes() == DATA
    assert server.server.sent == len(DATA) - 400_000


def test_wrong_bytes(bucket):
    bucket(serve(DATA[:-1] + b"!", extra=DATED))
    with pytest.raises(VerificationError):
        fetch(ADDRESS, sha256=SHA)


@pytest.mark.parametrize("status", [403, 404])
def test_final_answers(bucket, status):
    server = bucket(send(b"<Error><Code>No</Code></Error>", status=status))
    with pytest.raises(FetchError, match="s3://models/nets"):
        fetch(ADDRESS, sha256=SHA)
    assert len(server.requests) == 1


def test_busy_or_gone_and_then_there(bucket):
    bucket(send(b"", status=503), hang_up, serve(extra=DATED))
    assert fetch(ADDRESS, sha256=SHA).read_bytes() == DATA


def test_a_store_that_stalls(bucket):
    def half(handler):
        send(DATA, only=1000, extra=DATED)(handler)
        handler.wfile.flush()
        time.sleep(2)

    bucket(half)
    begun = time.monotonic()
    with pytest.raises(FetchError, match="tried 5 times"):
        fetch(ADDRESS, sha256=SHA, timeout_s=0.2)
    assert time.monotonic() - begun < 8


def test_a_replaced_file_is_fetched_whole(bucket):
    def gone(handler):
        send(b"<Error/>", status=412)(handler)

    old = serve(b"x" * len(DATA), etag='"old"', extra=DATED, only=len(DATA) // 2)
    bucket(old, gone, serve(etag='"new"', extra=DATED))
    assert fetch(ADDRESS, sha256=SHA).read_bytes() == DATA


def test_a_mirror_in_a_bucket(bucket, monkeypatch):
    server = bucket(serve(extra=DATED))
    monkeypatch.setenv("HOLOTYPE_MIRRORS", "s3://models/store")
    monkeypatch.setenv("HOLOTYPE_OFFLINE", "1")
    assert fetch("https://nowhere.invalid/x", sha256=SHA).read_bytes() == DATA
    assert server.requests[0][0] == f"/models/store/blobs/sha256/{SHA[:2]}/{SHA}"


def test_without_obstore_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MissingExtraError, match=r"holotype\[s3\]"):
        fetch(ADDRESS, sha256=SHA)


def test_what_addresses_mean():
    assert parse_source("s3://b-1.x/a/b", {}) == S3Source("s3://b-1.x/a/b", "b-1.x", "a/b")
    for bad in ("s3://", "s3://b/x", "s3://bucket", "s3://bucket/", "s3://bu..cket/x", "s3://bucket/../x"):
        with pytest.raises(SourceError):
            parse_source(bad, {})
    with pytest.raises(SourceError, match="not encrypted"):
        parse_source(ADDRESS, {"AWS_ENDPOINT_URL": "http://store.invalid"})
