"""``kill -9`` at 230 moments: afterwards the next process gets the right bytes, and no garbage grows old.

Most of the moments are lines: a child that runs one job is killed when it reaches the n-th line of the
store's code, for n spread over the whole job, so that every step is hit however short it is. The others
are moments in time; a job may be done before. The children are forks of one small process, so that each
costs milliseconds.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import textwrap
import time

import pytest

from hostile import Server, send

DATA = random.Random(5).randbytes(2**18)  # noqa: S311  # not a secret
SHA = hashlib.sha256(DATA).hexdigest()

# Runs the jobs of its standard input, each a line [job, "line" | "time", moment], and tells what it found.
DRIVER = textwrap.dedent(
    """
    import hashlib, json, os, random, signal, sys, time, warnings
    import holotype.store.cache, holotype.store.fetch, holotype.store.http, holotype.store.wheels
    from holotype.store.blobs import Blobs
    from holotype.store.fetch import fetch

    url, source, sha256 = sys.argv[1:]
    warnings.simplefilter("ignore")
    holotype.store.http._BACKOFF_S = 0.01
    blobs = Blobs()
    blob = blobs.path(sha256)

    def download():
        fetch(url, sha256=sha256)

    def publish():
        fetch(source, sha256=sha256)

    def quarantine():
        fetch(source, sha256=sha256)

    def prepare(job):
        if job != "quarantine":
            blob.unlink(missing_ok=True)
            return
        fetch(source, sha256=sha256)
        blob.chmod(0o644)
        with blob.open("r+b") as file:
            file.write(b"damaged")

    def count_lines(job, limit):
        seen = 0
        folder = os.path.dirname(holotype.store.__file__)

        def trace(frame, event, argument):
            nonlocal seen
            if not frame.f_code.co_filename.startswith(folder):
                return None
            seen += 1
            if seen == limit:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        globals()[job]()
        sys.settrace(None)
        return seen

    for line in sys.stdin:
        job, how, moment = json.loads(line)
        prepare(job)
        if how == "count":
            print(json.dumps(count_lines(job, None)), flush=True)
            continue
        child = os.fork()
        if child == 0:
            try:
                count_lines(job, moment) if how == "line" else globals()[job]()
            finally:
                os._exit(0)
        if how == "time":
            time.sleep(moment)
            os.kill(child, signal.SIGKILL)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        there = blob.exists()
        honest = not there or job == "quarantine" or hashlib.sha256(blob.read_bytes()).hexdigest() == sha256
        begun = time.monotonic()
        path = fetch(url if job == "download" else source, sha256=sha256)
        print(json.dumps({
            "killed": killed, "there": there, "honest": honest, "took_s": time.monotonic() - begun,
            "right": hashlib.sha256(path.read_bytes()).hexdigest() == sha256,
        }), flush=True)
    """
)


def slowly(handler):
    """In 16 pieces, from where it is asked to begin, so that there is a middle."""
    start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
    extra = [("ETag", '"1"'), ("Content-Range", f"bytes {start}-{len(DATA) - 1}/{len(DATA)}")]
    send(DATA[start:], status=206 if start else 200, extra=extra, only=0)(handler)
    for at in range(start, len(DATA), len(DATA) // 16):
        handler.wfile.write(DATA[at : at + len(DATA) // 16])
        time.sleep(0.001)


@pytest.fixture
def driver(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(DATA)
    environment = {**os.environ, "HOLOTYPE_HOME": str(tmp_path / "home")}
    environment.pop("HOLOTYPE_MIRRORS", None)
    with Server(slowly) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, f"{server.url}/weights.pt", source.as_uri(), SHA],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

        def ask(*job):
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()
        assert process.wait(timeout=20) == 0
        process.stdout.close()


@pytest.mark.parametrize(
    ("job", "lines", "times"), [("download", 50, 40), ("publish", 50, 20), ("quarantine", 50, 20)]
)
def test_kill_9(driver, job, lines, times, tmp_path):
    chance = random.Random(job)  # noqa: S311  # not a secret
    total = driver(job, "count", 0)
    step = total / lines
    moments = [("line", 1 + int(at * step + chance.uniform(0, step - 1))) for at in range(lines)]
    moments += [("time", chance.uniform(0, 0.04)) for _ in range(times)]
    outcomes = []
    for how, moment in moments:
        found = driver(job, how, moment)
        assert found["right"] and found["honest"], (how, moment, found)
        assert found["took_s"] < 5, "nothing is stuck"
        outcomes.append(found)
    killed = [found["killed"] for found in outcomes]
    # Under load fewer, larger pieces come, and so fewer lines run than were counted.
    assert sum(killed[:lines]) > lines // 2, "the lines were reached"
    assert any(killed[lines:])
    if job == "download":
        assert {found["there"] for found in outcomes} == {True, False}, "before and after the name was given"
    # What is left is garbage that ages: after its grace period nothing of it is there.
    home = tmp_path / "home"
    left = [*(home / "blobs" / "partial").iterdir(), *(home / "receipts").glob("*/.*")]
    unfinished = sum(path.stat().st_size for path in left if path.stat().st_nlink == 1)
    for path in left:
        os.utime(path, (0, 0))
    sweep = "from holotype.store.blobs import Blobs; Blobs().sweep()"
    subprocess.run([sys.executable, "-c", sweep], check=True, env={**os.environ, "HOLOTYPE_HOME": str(home)})
    assert not any(path.exists() for path in left)
    if job == "download":
        assert unfinished <= len(DATA), "each took over what the one before it had left"
