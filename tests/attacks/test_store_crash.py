"""Processes that die, race and meet disks that refuse. Afterwards the store holds the truth or nothing."""

import contextlib
import errno
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from holotype.errors import FetchError, StoreError, VerificationError
from holotype.store.blobs import Blobs, Expected
from holotype.store.fetch import fetch, find_cached
from holotype.store.incoming import Incoming
from hostile import Server, send

SIZE = 8 * 2**20
DATA = random.Random(0).randbytes(SIZE)  # noqa: S311  # not a secret
SHA = hashlib.sha256(DATA).hexdigest()
FETCH = "import sys; from holotype.store.fetch import fetch; print(fetch(sys.argv[1], sha256=sys.argv[2]))"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLOTYPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HOLOTYPE_MIRRORS", raising=False)
    monkeypatch.delenv("HOLOTYPE_OFFLINE", raising=False)
    return tmp_path / "home"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def slow_server():
    """Sends in small pieces, so that there is a middle; counts its requests."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(SIZE))
            self.end_headers()
            try:
                for at in range(0, SIZE, SIZE // 32):
                    self.wfile.write(DATA[at : at + SIZE // 32])
                    time.sleep(0.02)
            except OSError:
                pass

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.requests = requests
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_address[1]}/weights.pt"
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def start(address, **options):
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, address, SHA],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def wait_until(condition, timeout_s=20.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def partial(home):
    folder = home / "blobs" / "partial"
    return list(folder.iterdir()) if folder.exists() else []


def test_kill_in_the_middle_of_a_download(slow_server, home):
    blob = Blobs().path(SHA)
    process = start(slow_server.url)
    try:
        wait_until(lambda: any(path.stat().st_size > SIZE // 8 for path in partial(home)))
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not blob.exists() and find_cached(SHA) is None
    assert len(partial(home)) == 2, "garbage, of use to whoever goes on: the bytes, and their origin"
    begun = time.monotonic()
    assert fetch(slow_server.url, sha256=SHA).read_bytes() == DATA
    assert time.monotonic() - begun < 20, "the dead one's lock holds nobody up"
    assert partial(home) == [], "the next one took it over"


def test_many_processes_download_once(slow_server):
    processes = [start(slow_server.url) for _ in range(16)]
    results = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 16, results
    assert {out.strip() for out, _ in results} == {str(Blobs().path(SHA))}
    assert Blobs().path(SHA).read_bytes() == DATA
    assert len(slow_server.requests) == 1


def test_many_processes_without_locks_are_still_right(source, home):
    code = f"import holotype.store.locks as locks; locks.fcntl = None; {FETCH}"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, source.as_uri(), SHA], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in processes:
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
    assert find_cached(SHA).read_bytes() == DATA
    assert partial(home) == []


def test_a_lock_whose_owner_hangs_is_not_waited_for(source, home, monkeypatch):
    import fcntl

    from holotype.store import fetch as module

    monkeypatch.setattr(module, "_HUNG_S", 0.3)
    lock = home / "locks" / f"{SHA}.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert fetch(source.as_uri(), sha256=SHA, timeout_s=0.1).read_bytes() == DATA


def test_threads(source):
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch(source.as_uri(), sha256=SHA))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(results) == {Blobs().path(SHA)} and len(results) == 6


@pytest.mark.parametrize("good", [True, False])
def test_a_link_in_the_place_of_a_blob(source, home, tmp_path, good):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(DATA if good else b"not it")
    blob = Blobs().path(SHA)
    blob.parent.mkdir(parents=True)
    blob.symlink_to(elsewhere)
    with pytest.warns(UserWarning, match="link"):
        path = fetch(source.as_uri(), sha256=SHA)
    assert path == blob and not path.is_symlink() and path.read_bytes() == DATA
    assert elsewhere.exists()


def test_a_dangling_link_and_a_folder_in_the_place_of_a_blob(source):
    blob = Blobs().path(SHA)
    blob.parent.mkdir(parents=True)
    blob.symlink_to("/nowhere/at/all")
    with pytest.warns(UserWarning, match="link"):
        assert fetch(source.as_uri(), sha256=SHA).read_bytes() == DATA
    blob.unlink()
    blob.mkdir()
    with pytest.warns(UserWarning, match="not a file"):
        assert fetch(source.as_uri(), sha256=SHA).read_bytes() == DATA


def test_a_pipe_in_the_place_of_a_blob_does_not_block(source):
    blob = Blobs().path(SHA)
    blob.parent.mkdir(parents=True)
    os.mkfifo(blob)
    with pytest.warns(UserWarning, match="not a file"):
        assert fetch(source.as_uri(), sha256=SHA).read_bytes() == DATA


def test_a_pipe_as_a_source_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FetchError):
        fetch((tmp_path / "pipe").as_uri(), sha256=SHA)


@pytest.fixture
def read_only():
    """Make folders refuse writing, to root as well: for a while nobody is root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    root = os.geteuid() == 0

    def lock():
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        if root:
            os.seteuid(65534)

    yield folder, lock
    if root:
        os.seteuid(0)
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


def test_a_read_only_cache(read_only, source, monkeypatch):
    home, lock = read_only
    monkeypatch.setenv("HOLOTYPE_HOME", str(home))
    path = fetch(source.as_uri(), sha256=SHA)
    for receipt in (home / "receipts").rglob(SHA):
        receipt.unlink()
    other = "1" * 64
    lock()
    with pytest.raises(PermissionError):
        (home / "probe").touch()
    assert fetch("https://nowhere.invalid/x", sha256=SHA) == path, (
        "no receipt can be written, and none is needed"
    )
    with pytest.raises(StoreError, match="HOLOTYPE_HOME"):
        fetch("https://nowhere.invalid/x", sha256=other)


def test_a_read_only_cache_with_a_bad_blob(read_only, source, monkeypatch):
    home, lock = read_only
    monkeypatch.setenv("HOLOTYPE_HOME", str(home))
    path = fetch(source.as_uri(), sha256=SHA)
    path.chmod(0o644)
    path.write_bytes(b"changed")
    lock()
    with pytest.raises(VerificationError, match="cannot be moved aside"):
        fetch("https://nowhere.invalid/x", sha256=SHA)


def test_a_cache_that_is_a_file(tmp_path, source, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOLOTYPE_HOME", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="HOLOTYPE_HOME"):
        fetch(source.as_uri(), sha256=SHA)


def test_a_full_disk(home, source, monkeypatch):
    class Full:
        def __init__(self, file):
            self.file, self.written = file, 0

        def write(self, data):
            self.written += len(data)
            if self.written > SIZE // 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(data)

        def __getattr__(self, name):
            return getattr(self.file, name)

    real = Incoming.__init__

    def init(self, *args, **kwargs):
        real(self, *args, **kwargs)
        self._file = Full(self._file)

    monkeypatch.setattr(Incoming, "__init__", init)
    with pytest.raises(StoreError, match="The disk is full") as caught:
        fetch(source.as_uri(), sha256=SHA)
    assert caught.value.errno == errno.ENOSPC and not isinstance(caught.value, FetchError)
    assert partial(home) == [] and find_cached(SHA) is None


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB, where we may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting needs root; test_a_write_that_the_kernel_refuses does the same by a limit")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_too_small_is_noticed_before_a_byte_comes(small_disk, slow_server, monkeypatch):
    monkeypatch.setenv("HOLOTYPE_HOME", str(small_disk / "home"))
    with pytest.raises(StoreError, match=r"needs 8\.0 MiB; the disk of .* has [34]\.\d MiB left") as caught:
        fetch(slow_server.url, sha256=SHA)
    assert "holotype cache prune" in str(caught.value)
    assert partial(small_disk / "home") == []


@pytest.mark.parametrize("length", [True, False])
def test_a_disk_that_fills_up(small_disk, monkeypatch, length):
    """Whether its size is told or not, and though there was room when the download began."""
    home = small_disk / "home"
    monkeypatch.setenv("HOLOTYPE_HOME", str(home))
    part = DATA[: 3 * 2**20]
    sha256 = hashlib.sha256(part).hexdigest()

    real = Incoming.begin

    def begin(self, *args):
        real(self, *args)
        (small_disk / "other").write_bytes(b"x" * 2 * 2**20)

    with Server(send(part, length=length)) as server:
        monkeypatch.setattr(Incoming, "begin", begin)
        with pytest.raises(StoreError, match="The disk is full"):
            fetch(f"{server.url}/x", sha256=sha256)
        assert partial(home) == [], "what was written gives its room back"
        assert find_cached(sha256) is None
        monkeypatch.setattr(Incoming, "begin", real)
        (small_disk / "other").unlink()
        assert fetch(f"{server.url}/x", sha256=sha256).read_bytes() == part


def test_a_disk_without_room_for_a_receipt(small_disk, source, monkeypatch):
    home = small_disk / "home"
    monkeypatch.setenv("HOLOTYPE_HOME", str(home))
    part = DATA[: 2**20]
    source.write_bytes(part)
    sha256 = hashlib.sha256(part).hexdigest()
    path = fetch(source.as_uri(), sha256=sha256)
    (home / "receipts" / sha256[:2] / sha256).unlink()
    with contextlib.suppress(OSError), (small_disk / "other").open("wb") as file:
        file.write(b"x" * 4 * 2**20)
    assert fetch(source.as_uri(), sha256=sha256) == path


def test_a_write_that_the_kernel_refuses(home, source):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    process = start(source.as_uri(), preexec_fn=limit)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1 and "StoreError" in error and "cannot write" in error
    assert partial(home) == [] and find_cached(SHA) is None


def test_a_good_blob_is_not_quarantined_for_a_bad_one(home):
    """Between looking and moving, another process put the right file there."""
    blobs = Blobs()
    path = blobs.path(SHA)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"bad")
    looked = path.lstat()
    path.rename(home / "bad")
    path.write_bytes(DATA)
    blobs._quarantine(path, looked, "it was bad")
    assert path.read_bytes() == DATA
    assert list((home / "quarantine").iterdir()) == []


def test_an_incoming_file_is_not_readable_under_its_final_name_before_the_end(home):
    blobs = Blobs()
    with Incoming(blobs, Expected(SHA), "here") as incoming:
        incoming.begin(SIZE)
        incoming.write(DATA[:-1])
        assert not blobs.path(SHA).exists()
        incoming.write(DATA[-1:])
        assert not blobs.path(SHA).exists()
        incoming.commit()
    assert blobs.path(SHA).read_bytes() == DATA
