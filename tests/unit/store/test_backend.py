"""Where a store's files are: a folder, another kind of place in one class and one row; and another scheme."""

import hashlib
import threading
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from holotype.errors import FetchError, OfflineError
from holotype.store.backend import Opened
from holotype.store.blobs import Blobs, blob_key
from holotype.store.fetch import fetch
from holotype.store.folder import Folder
from holotype.store.sources import BACKENDS, SCHEMES, Source

DATA = b"weights " * 1000
SHA = hashlib.sha256(DATA).hexdigest()
NOWHERE = "https://nowhere.invalid/net.safetensors"


class Memory:
    """A backend whose files are in a dictionary."""

    def __init__(self):
        self.files = {}
        self.read = []

    @contextmanager
    def get(self, key, start=0, stop=None):
        if key not in self.files:
            raise FetchError(f"no file {key}.", given=key)
        self.read.append((key, start))
        data = self.files[key]
        yield Opened(len(data), iter([data[start:stop]]))

    def put_if_absent(self, key, file):
        data = file.read_bytes()
        file.unlink()
        return self.files.setdefault(key, data) is data

    def list(self, prefix=""):
        return iter(sorted(key for key in self.files if key.startswith(prefix)))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLOTYPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOLOTYPE_OFFLINE", "1")
    return tmp_path / "home"


@pytest.fixture(params=["folder", "memory"])
def backend(request, tmp_path):
    return Folder(tmp_path / "store") if request.param == "folder" else Memory()


def put(backend, key, data, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(data)
    done = backend.put_if_absent(key, file)
    assert not file.exists()
    return done


def content(backend, key, *part):
    with backend.get(key, *part) as opened:
        return opened.size, b"".join(opened.chunks)


def test_what_is_put_is_there_whole_and_in_part(backend, tmp_path):
    assert put(backend, "a/b", DATA, tmp_path)
    assert content(backend, "a/b") == (len(DATA), DATA)
    assert content(backend, "a/b", 5) == (len(DATA), DATA[5:])
    assert content(backend, "a/b", 5, 9) == (len(DATA), DATA[5:9])
    assert content(backend, "a/b", len(DATA)) == (len(DATA), b"")


def test_a_key_is_taken_once(backend, tmp_path):
    assert put(backend, "a/b", b"first", tmp_path)
    assert not put(backend, "a/b", b"second", tmp_path)
    assert content(backend, "a/b") == (5, b"first")


def test_the_keys_are_listed(backend, tmp_path):
    for key in ("b/2", "a/1", "b/1"):
        put(backend, key, b"x", tmp_path)
    assert list(backend.list()) == ["a/1", "b/1", "b/2"]
    assert list(backend.list("b/")) == ["b/1", "b/2"]


def test_what_does_not_exist_is_an_error(backend):
    with pytest.raises(FetchError, match="a/b"), backend.get("a/b"):
        pass


def test_a_folder_in_the_place_of_a_file_cannot_be_read(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(FetchError, match="not an ordinary file"), Folder(tmp_path).get("a"):
        pass


def test_of_many_who_put_at_once_one_succeeds(tmp_path):
    folder = Folder(tmp_path / "store")
    files = [tmp_path / str(number) for number in range(8)]
    for file in files:
        file.write_bytes(file.name.encode())
    start, done = threading.Barrier(8), []

    def work(file):
        start.wait()
        if folder.put_if_absent("key", file):
            done.append(file.name)

    threads = [threading.Thread(target=work, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 1
    assert content(folder, "key") == (1, done[0].encode())


def test_a_mirror_of_another_kind_is_one_class_and_one_row(monkeypatch):
    memory = Memory()
    memory.files[blob_key(SHA)] = DATA
    monkeypatch.setitem(BACKENDS, "memory", lambda address, rest, environ: memory)
    monkeypatch.setenv("HOLOTYPE_MIRRORS", "memory://shelf")
    assert fetch(NOWHERE, sha256=SHA).read_bytes() == DATA
    assert Blobs().find(SHA) is not None
    assert memory.read == [(blob_key(SHA), 0)]


def test_such_a_mirror_is_not_believed(monkeypatch):
    memory = Memory()
    memory.files[blob_key(SHA)] = DATA[:-1] + b"!"
    monkeypatch.setitem(BACKENDS, "memory", lambda address, rest, environ: memory)
    monkeypatch.setenv("HOLOTYPE_MIRRORS", "memory://shelf")
    with pytest.warns(UserWarning, match="a mirror is wrong"), pytest.raises(OfflineError):
        fetch(NOWHERE, sha256=SHA)
    assert Blobs().find(SHA) is None


def test_such_a_mirror_goes_on_where_a_killed_process_stopped(monkeypatch, home):
    memory = Memory()
    memory.files[blob_key(SHA)] = DATA
    monkeypatch.setitem(BACKENDS, "memory", lambda address, rest, environ: memory)
    monkeypatch.setenv("HOLOTYPE_MIRRORS", "memory://shelf")
    left = home / "blobs" / "partial" / f"{SHA}.0123456789abcdef"
    left.parent.mkdir(parents=True)
    left.write_bytes(DATA[:100])
    assert fetch(NOWHERE, sha256=SHA).read_bytes() == DATA
    assert memory.read == [(blob_key(SHA), 100)]
    assert list(left.parent.iterdir()) == []


@dataclass(frozen=True)
class Twice(Source):
    """A source of another scheme."""

    word: str
    remote = False

    def receive(self, incoming, *, timeout_s, attempts=None, public_only=False):
        incoming.begin(2 * len(self.word))
        incoming.write(2 * self.word.encode())


def test_another_scheme_is_one_class_and_one_row(monkeypatch):
    monkeypatch.setitem(SCHEMES, "twice", lambda address, rest, environ: Twice(address, rest))
    sha256 = hashlib.sha256(b"lala").hexdigest()
    assert fetch("twice://la", sha256=sha256).read_bytes() == b"lala"
