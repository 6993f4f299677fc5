"""From an address and a hash to a file: cache, mirrors, source, and what to say when none has it."""

import hashlib
import io

import pytest

from holotype.errors import FetchError, OfflineError, SourceError, VerificationError
from holotype.progress import Bar, reporter
from holotype.store.blobs import Blobs
from holotype.store.fetch import decide, fetch, find_cached, split_mirrors
from store_files import put

DATA = bytes(range(256)) * 4096
SHA = hashlib.sha256(DATA).hexdigest()
NOWHERE = "https://nowhere.invalid/weights.pt"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLOTYPE_HOME", str(tmp_path / "home"))
    for name in ("HOLOTYPE_MIRRORS", "HOLOTYPE_OFFLINE", "HOLOTYPE_ALLOW_HTTP"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def no_network(monkeypatch):
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.pt"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    root = tmp_path / "mirror"
    path = root / "blobs" / "sha256" / SHA[:2] / SHA
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    monkeypatch.setenv("HOLOTYPE_MIRRORS", str(root))
    return path


def test_a_file_is_copied_into_the_cache(source, home):
    path = fetch(source.as_uri(), sha256=SHA, size=len(DATA))
    assert path.read_bytes() == DATA
    assert path.is_relative_to(home)
    source.unlink()
    assert fetch(source.as_uri(), sha256=SHA) == path == find_cached(SHA.upper())


def test_a_file_of_this_machine_needs_no_hash(source):
    assert fetch(source.as_uri(), sha256=None).read_bytes() == DATA


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FetchError, match="cannot be read"):
        fetch((tmp_path / "no.pt").as_uri(), sha256=SHA)
    with pytest.raises(FetchError, match="not an ordinary file"):
        fetch(tmp_path.as_uri(), sha256=SHA)


def test_the_mirror_comes_first(mirror, no_network):
    assert fetch(NOWHERE, sha256=SHA).read_bytes() == DATA


def test_several_mirrors(mirror, tmp_path, monkeypatch, no_network):
    import os

    monkeypatch.setenv(
        "HOLOTYPE_MIRRORS", os.pathsep.join([str(tmp_path / "no"), "", str(tmp_path / "mirror")])
    )
    assert fetch(NOWHERE, sha256=SHA).read_bytes() == DATA


def test_a_mirror_that_lies_is_passed_over(mirror, source):
    mirror.write_bytes(DATA[:-1] + b"!")
    with pytest.warns(UserWarning, match="a mirror is wrong"):
        path = fetch(source.as_uri(), sha256=SHA)
    assert path.read_bytes() == DATA


def test_a_mirror_without_it_is_named_when_all_fails(mirror, tmp_path):
    mirror.unlink()
    with pytest.raises(FetchError) as caught:
        fetch((tmp_path / "no.pt").as_uri(), sha256=SHA)
    assert str(mirror) in "".join(caught.value.__notes__)


def test_offline(monkeypatch, source, mirror, no_network, home):
    monkeypatch.setenv("HOLOTYPE_OFFLINE", "1")
    assert fetch(NOWHERE, sha256=SHA).read_bytes() == DATA, "from the mirror"
    mirror.unlink()
    assert fetch(NOWHERE, sha256=SHA).read_bytes() == DATA, "from the cache"
    other = "1" * 64
    with pytest.raises(OfflineError) as caught:
        fetch(NOWHERE, sha256=other, size=7)
    text = str(caught.value)
    assert NOWHERE in text and other in text and str(home) in text and "HOLOTYPE_MIRRORS" in text
    with pytest.raises(OfflineError):
        fetch("pypi://package==1.0/x.pt", sha256=other)
    assert fetch(source.as_uri(), sha256=SHA)


@pytest.mark.parametrize("value", ["0", "", "false", "no"])
def test_offline_can_be_off(monkeypatch, value):
    monkeypatch.setenv("HOLOTYPE_OFFLINE", value)
    assert decide(NOWHERE, sha256=SHA).offline is False


def test_a_hash_is_required(no_network):
    with pytest.raises(VerificationError, match="allow_unverified"):
        fetch(NOWHERE, sha256=None)
    with pytest.raises(VerificationError, match="64 hex digits"):
        fetch(NOWHERE, sha256="abc")
    with pytest.raises(SourceError):
        fetch("weights.pt", sha256=SHA)


def test_a_cached_file_of_another_size_than_published(source):
    fetch(source.as_uri(), sha256=SHA)
    with pytest.raises(VerificationError, match="one of the two is wrong"):
        fetch(NOWHERE, sha256=SHA, size=5)


def test_size_is_checked_first(source):
    with pytest.raises(VerificationError, match="as announced"):
        fetch(source.as_uri(), sha256=SHA, size=5)
    with pytest.raises(VerificationError, match="as announced"):
        fetch(source.as_uri(), sha256=SHA, size_mib=99.9)
    assert fetch(source.as_uri(), sha256=SHA, size_mib=1.0)


def test_a_changed_blob_is_fetched_again(source, home):
    path = fetch(source.as_uri(), sha256=SHA)
    path.chmod(0o644)
    path.write_bytes(b"something else")
    with pytest.warns(UserWarning, match="fetched again"):
        assert fetch(source.as_uri(), sha256=SHA).read_bytes() == DATA
    assert len(list((home / "quarantine").iterdir())) == 1


@pytest.mark.parametrize(
    ("value", "mirrors"),
    [
        ("", []),
        ("/a", ["/a"]),
        ("/a:/b", ["/a", "/b"]),
        (":/a::/b:", ["/a", "/b"]),
        ("https://h.org/s", ["https://h.org/s"]),
        ("/a:https://h.org:8443/s:/b", ["/a", "https://h.org:8443/s", "/b"]),
        ("https://h.org:8443:http://127.0.0.1:80/s", ["https://h.org:8443", "http://127.0.0.1:80/s"]),
        ("file:///a:/b", ["file:///a", "/b"]),
    ],
)
def test_splitting_mirrors(value, mirrors):
    assert split_mirrors(value, ":") == mirrors


def test_deciding_touches_nothing(home, no_network):
    request = decide(
        NOWHERE, sha256=SHA, environ={"HOLOTYPE_MIRRORS": "https://mirror.invalid/s", "HOLOTYPE_OFFLINE": "1"}
    )
    assert request.offline
    assert request.mirrors[0].url == f"https://mirror.invalid/s/blobs/sha256/{SHA[:2]}/{SHA}"
    assert not home.exists()


def test_progress_is_told(source):
    seen = []
    fetch(source.as_uri(), sha256=SHA, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, len(DATA)) and seen[-1] == (len(DATA), len(DATA))


def test_nothing_is_printed_when_piped(source, capfd):
    fetch(source.as_uri(), sha256=SHA)
    assert capfd.readouterr() == ("", "")


def test_a_bar_goes_to_stderr(source, capfd):
    fetch(source.as_uri(), sha256=SHA, progress=True)
    out, err = capfd.readouterr()
    assert out == "" and "100%" in err and "source.pt" in err
    assert reporter(False, "x") is None


def test_the_text_of_a_bar():
    bar = Bar("model.pt", "MiB")
    assert bar.line(2**20, 4 * 2**20, 1.0) == "model.pt  25%  1.0/4.0 MiB  1.0 MiB/s  0:03 left"
    assert bar.line(2**20, None, 0.0) == "model.pt  1.0 MiB"


def test_what_was_there_before_is_no_part_of_the_speed():
    bar = Bar("model.pt", "MiB")
    bar(3 * 2**20, 4 * 2**20)  # taken over from a process that died
    assert bar.line(3 * 2**20 + 2**19, 4 * 2**20, 1.0).endswith("0.5 MiB/s  0:01 left")


def test_a_bar_that_is_not_finished_ends_its_line(capfd):
    bar = Bar("model.pt", "MiB")
    bar(1, None)
    bar.close()
    bar.close()
    assert capfd.readouterr().err.count("\n") == 1


def test_what_another_put_there_meanwhile_is_used(home, monkeypatch):
    from holotype.store import fetch as module

    real = module.at_most_one

    def waiting(path, *, give_up):
        put(Blobs(), io.BytesIO(DATA))  # another process, while we wait
        return real(path, give_up=give_up)

    monkeypatch.setattr(module, "at_most_one", waiting)
    assert fetch(NOWHERE, sha256=SHA).read_bytes() == DATA
