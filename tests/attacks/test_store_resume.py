"""Going on where a download ended, in this process or in one that is dead. Bytes are counted."""

import collections
import fcntl
import hashlib
import json
import os
import random
import subprocess
import sys
import time

import pytest

from holotype.errors import FetchError, VerificationError
from holotype.store import http, incoming
from holotype.store.blobs import Blobs, Expected
from holotype.store.fetch import fetch, find_cached
from holotype.store.folder import make_folder
from holotype.store.incoming import Incoming
from hostile import Server, hang_up, redirect, send, serve

DATA = random.Random(3).randbytes(3 * 2**20)  # noqa: S311  # not a secret
SHA = hashlib.sha256(DATA).hexdigest()
HALF = len(DATA) // 2


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLOTYPE_HOME", str(tmp_path / "home"))
    for name in ("HOLOTYPE_MIRRORS", "HOLOTYPE_OFFLINE", "HOLOTYPE_ALLOW_HTTP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(http, "_BACKOFF_S", 0.01)
    yield tmp_path / "home"
    for path in (tmp_path / "home" / "blobs" / "sha256").rglob("*"):
        if path.is_file():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def get(server, **options):
    return fetch(f"{server.url}/weights.pt", **{"sha256": SHA, **options})


def leave_behind(server, data=DATA[:HALF], *, etag='"1"', name="dead", sha256=SHA):
    """What a process that was killed leaves."""
    folder = make_folder(Blobs().partial)
    path = folder / f"{sha256}.{name}"
    path.write_bytes(data)
    origin = {"origin": f"{server.url}/weights.pt", "validator": etag}
    (folder / f"{path.name}.origin").write_text(json.dumps(origin))
    return path


def leftovers():
    folder = Blobs().partial
    return sorted(folder.iterdir()) if folder.exists() else []


def ranges(server):
    return [headers.get("Range") for _, headers in server.requests]


def test_a_broken_connection_costs_no_byte_twice():
    with Server(serve(DATA, only=HALF), serve(DATA)) as server:
        assert get(server).read_bytes() == DATA
        second = server.requests[1][1]
        assert second["If-Range"] == '"1"' and second["Range"] == f"bytes={HALF}-"
        assert server.server.sent == len(DATA)
    assert leftovers() == []


def test_resets_at_random_offsets():
    chance = random.Random(7)  # noqa: S311  # not a secret
    resets = [serve(DATA, only=chance.randrange(1, len(DATA)), abrupt=True) for _ in range(4)]
    for _ in range(5):
        with Server(*resets, serve(DATA)) as server:
            path = get(server)
            assert path.read_bytes() == DATA
            path.unlink()
    assert leftovers() == []


def test_a_server_that_ignores_ranges_starts_again():
    with Server(serve(DATA, only=HALF), serve(DATA, ignore_range=True)) as server:
        assert get(server).read_bytes() == DATA
    assert ranges(server)[1] is not None


def test_a_replaced_file_is_fetched_whole():
    with Server(serve(b"x" * len(DATA), etag='"old"', only=HALF), serve(DATA, etag='"new"')) as server:
        assert get(server).read_bytes() == DATA
        assert len(server.requests) == 2


def test_a_server_that_ignores_if_range():
    def rude(handler):
        del handler.headers["If-Range"]
        serve(DATA, etag='"new"')(handler)

    with Server(serve(b"x" * len(DATA), etag='"old"', only=HALF), rude) as server:
        assert get(server).read_bytes() == DATA
    assert ranges(server)[-1] is None


def test_a_mixture_without_any_validator_is_noticed_by_its_hash():
    with Server(serve(b"x" * len(DATA), etag=None, only=HALF), serve(DATA, etag=None)) as server:
        assert get(server).read_bytes() == DATA
    assert ranges(server)[-1] is None and len(server.requests) == 3


@pytest.mark.parametrize(
    "answer",
    ["bytes 0-9/10", "bytes 5-", "", "bytes */10", "pages 1-2/3", "bytes 99999999-99999999/5"],
)
def test_a_wrong_content_range_starts_again(answer):
    wrong = send(DATA[:10], status=206, extra=[("Content-Range", answer)])
    with Server(serve(DATA, only=HALF), wrong, serve(DATA)) as server:
        assert get(server).read_bytes() == DATA
    assert ranges(server)[2] is None


def test_a_part_from_elsewhere_is_refused_though_no_hash_would_tell():
    def wrong(handler):
        start = int(handler.headers["Range"][6:-1])
        extra = [("ETag", '"1"'), ("Content-Range", f"bytes {start - 5}-{len(DATA) - 1}/{len(DATA)}")]
        send(DATA[start - 5 :], status=206, extra=extra)(handler)

    server = Server(serve(DATA, only=HALF), wrong, serve(DATA))
    with server, pytest.warns(UserWarning, match="no published"):
        assert get(server, sha256=None, allow_unverified=True).read_bytes() == DATA


def test_a_range_that_cannot_be_had_starts_again():
    with Server(serve(DATA, only=HALF), send(b"", status=416), serve(DATA)) as server:
        assert get(server).read_bytes() == DATA
    assert ranges(server)[2] is None


def test_a_range_of_a_file_of_another_size_is_refused():
    other = send(b"y", status=206, extra=[("Content-Range", f"bytes {HALF}-{HALF}/{HALF + 1}")])
    with Server(other) as server:
        leave_behind(server)
        with pytest.raises(VerificationError, match="as announced"):
            get(server, size=len(DATA))
    assert leftovers() == []


def test_a_part_of_the_rest_is_followed_by_another():
    def piece(handler):
        start = int(handler.headers["Range"][6:-1])
        part = DATA[start : start + 2**19]
        extra = [("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(DATA)}")]
        send(part, status=206, extra=extra)(handler)

    with Server(piece) as server:
        leave_behind(server)
        assert get(server).read_bytes() == DATA
    assert len(server.requests) == 3


def test_tries_that_get_ahead_are_not_counted(monkeypatch):
    monkeypatch.setattr(http, "_AHEAD_BYTES", 2**17)
    with Server(serve(DATA, only=2**18)) as server:
        assert get(server).read_bytes() == DATA
    assert len(server.requests) == 12 > http.ATTEMPTS


def test_an_unverified_file_goes_on_only_with_a_validator():
    for etag, expected in (('"1"', True), (None, False)):
        server = Server(serve(DATA, only=HALF, etag=etag), serve(DATA, etag=etag))
        with server, pytest.warns(UserWarning, match="no published"):
            assert get(server, sha256=None, allow_unverified=True).read_bytes() == DATA
        assert (ranges(server)[1] is not None) == expected


def test_what_a_dead_process_left_is_gone_on_with():
    with Server(serve(DATA)) as server:
        leave_behind(server)
        assert get(server).read_bytes() == DATA
        assert server.server.sent == len(DATA) - HALF
        assert server.requests[0][1]["If-Range"] == '"1"'
    assert leftovers() == []


def test_all_that_a_dead_process_left_is_used_without_asking():
    with Server(serve(DATA)) as server:
        leave_behind(server, DATA).chmod(0o444)
        assert get(server, size=len(DATA)).read_bytes() == DATA
        assert server.requests == []
    assert leftovers() == []


def test_bytes_from_elsewhere_go_on_without_their_validator():
    with Server(serve(DATA, etag='"another"')) as server:
        path = leave_behind(server)
        path.with_name(f"{path.name}.origin").write_text(
            '{"origin": "https://nowhere.invalid/x", "validator": "1"}'
        )
        assert get(server).read_bytes() == DATA
        assert "If-Range" not in server.requests[0][1]
        assert server.server.sent == len(DATA) - HALF


@pytest.mark.parametrize("origin", [b"", b"{", b"[]", b'{"validator": 5}', b"\xff" * 99])
def test_a_broken_note_of_the_origin_does_no_harm(origin):
    with Server(serve(DATA)) as server:
        path = leave_behind(server)
        path.with_name(f"{path.name}.origin").write_bytes(origin)
        assert get(server).read_bytes() == DATA
    assert leftovers() == []


@pytest.mark.parametrize("size", [HALF, len(DATA), len(DATA) + 5])
def test_damaged_bytes_of_a_dead_process_cost_time_only(size):
    with Server(serve(DATA)) as server:
        leave_behind(server, (b"!" + DATA[1:] + b"12345")[:size])
        assert get(server, size=len(DATA)).read_bytes() == DATA
    assert leftovers() == []


def test_the_most_is_taken_and_the_rest_removed():
    with Server(serve(DATA)) as server:
        leave_behind(server, DATA[:100], name="a")
        leave_behind(server, DATA[:HALF], name="b")
        leave_behind(server, DATA[:200], name="c")
        assert get(server).read_bytes() == DATA
        assert server.server.sent == len(DATA) - HALF
    assert leftovers() == []


def test_what_a_living_process_writes_is_left_alone():
    with Server(serve(DATA)) as server:
        path = leave_behind(server)
        os.utime(path, (0, 0))
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert get(server).read_bytes() == DATA
            assert server.server.sent == len(DATA)
            Blobs().sweep(0)
            assert path in leftovers()
            assert file.read() == DATA[:HALF]
    Blobs().sweep(0)
    assert leftovers() == []


def test_every_download_removes_what_is_old_and_spares_what_is_not():
    with Server(serve(DATA)) as server:
        old = leave_behind(server, sha256="1" * 64)
        recent = leave_behind(server, sha256="2" * 64)
        os.utime(old, (0, 0))
        assert get(server).read_bytes() == DATA
        assert not old.exists() and recent.exists()


def test_a_link_among_unfinished_files_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(DATA[:HALF])
    with Server(serve(DATA)) as server:
        folder = make_folder(Blobs().partial)
        (folder / f"{SHA}.soft").symlink_to(victim)
        (folder / f"{SHA}.hard").hardlink_to(victim)
        os.mkfifo(folder / f"{SHA}.pipe")
        assert get(server).read_bytes() == DATA
        assert server.server.sent == len(DATA)
    assert victim.read_bytes() == DATA[:HALF] and victim.stat().st_nlink == 1


def test_two_that_want_the_same_remains_share_nothing():
    with Server(serve(DATA)) as server:
        leave_behind(server)
    origin = f"{server.url}/weights.pt"
    one = Incoming(Blobs(), Expected(SHA), origin, resumable=True)
    with one, Incoming(Blobs(), Expected(SHA), origin, resumable=True) as two:
        assert (one.size, two.size) == (HALF, 0)
        assert one.path != two.path


def test_many_at_once_take_the_same_remains_over_once():
    """Nothing but the lock on the remains keeps them apart."""
    code = (
        "import contextlib, sys\n"
        "from holotype.store import fetch\n"
        "fetch.at_most_one = lambda path, give_up: contextlib.nullcontext()\n"
        "sys.stdin.readline()\n"
        "fetch.fetch(sys.argv[1], sha256=sys.argv[2])\n"
    )
    with Server(serve(DATA)) as server:
        leave_behind(server)
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code, f"{server.url}/weights.pt", SHA], stdin=subprocess.PIPE
            )
            for _ in range(6)
        ]
        for process in processes:
            process.stdin.write(b"go\n")
            process.stdin.close()
        assert [process.wait(timeout=60) for process in processes] == [0] * 6
        assert sum(asked is not None for asked in ranges(server)) <= 1
    assert find_cached(SHA).read_bytes() == DATA
    assert leftovers() == []


def test_an_interrupted_download_stays_for_the_next(monkeypatch):
    def interrupt(done, total):
        if done > 2 * 2**20:
            raise KeyboardInterrupt

    with Server(serve(DATA)) as server:
        with pytest.raises(KeyboardInterrupt):
            get(server, progress=interrupt)
        before = server.server.sent
        assert before == len(DATA)
        assert len(leftovers()) == 2
        assert get(server).read_bytes() == DATA
        assert server.server.sent - before < 2**20
    assert leftovers() == []


def test_a_wrong_file_and_little_are_not_kept():
    with Server(serve(DATA[:-1] + b"?")) as server, pytest.raises(VerificationError):
        get(server)
    assert leftovers() == []
    server = Server(serve(DATA, only=incoming._WORTH_KEEPING // 8), send(b"", status=404))
    with server, pytest.raises(FetchError):
        get(server)
    assert leftovers() == []


def test_what_one_address_began_another_ends(monkeypatch):
    with Server(serve(DATA, only=HALF)) as mirror, Server(serve(DATA, etag='"other"')) as server:
        monkeypatch.setattr("holotype.store.fetch._MIRROR_ATTEMPTS", 1)
        monkeypatch.setenv("HOLOTYPE_MIRRORS", mirror.url)
        assert get(server).read_bytes() == DATA
        assert server.server.sent < len(DATA)
    assert leftovers() == []


def test_a_range_survives_a_redirect():
    with Server(serve(DATA, only=HALF), serve(DATA)) as there:
        with Server(redirect(there.url + "/signed?x=1")) as server:
            assert get(server).read_bytes() == DATA
        assert there.requests[1][1]["Range"].startswith("bytes=")
        assert there.server.sent < 2 * len(DATA)


def test_kill_9_and_then_go_on(home):
    code = "import sys; from holotype.store.fetch import fetch; fetch(sys.argv[1], sha256=sys.argv[2])"
    sent = collections.Counter()

    def slow(handler):
        start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        extra = [("ETag", '"1"'), ("Content-Range", f"bytes {start}-{len(DATA) - 1}/{len(DATA)}")]
        send(DATA[start:], status=206 if start else 200, extra=extra, only=0)(handler)
        for at in range(start, len(DATA), 2**16):
            handler.wfile.write(DATA[at : at + 2**16])
            sent[start] += len(DATA[at : at + 2**16])
            time.sleep(0.01)

    with Server(slow) as server:
        url = f"{server.url}/weights.pt"
        had = 0
        for round_ in range(1, 4):
            process = subprocess.Popen([sys.executable, "-c", code, url, SHA])
            enough = round_ * len(DATA) // 5
            end = time.monotonic() + 20
            while not any(path.stat().st_size > enough for path in leftovers()):
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.002)
            process.kill()
            process.wait()
            now = max(path.stat().st_size for path in leftovers())
            assert now > had, "each went on where the one before it died"
            had = now
        assert fetch(url, sha256=SHA).read_bytes() == DATA
    starts = [int((r or "bytes=0-")[6:-1]) for r in ranges(server)]
    assert len(starts) == 4 and starts == sorted(starts) and len(set(starts)) == 4
    assert starts[3] == had, "the last one asked for exactly what was missing"
    assert sent[had] == len(DATA) - had, "and no byte more was served"
    assert leftovers() == [] and find_cached(SHA) is not None


def test_a_hang_up_before_any_byte_is_tried_again():
    with Server(hang_up, hang_up, serve(DATA)) as server:
        assert get(server).read_bytes() == DATA
