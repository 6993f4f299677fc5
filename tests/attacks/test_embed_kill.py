"""``kill -9`` while proteins are embedded: what was written stays, and the same call finishes the rest.

A child embeds proteins with an encoder that computes almost nothing, so that most of its time is spent
writing. It is killed at a line of the writer's code, or at a moment; then the same file is gone on with, killed
again, and finished at last.
"""

import json
import random
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from holotype.proteins.data import embedding_writer
from holotype.proteins.data.embeddings import EmbeddingWriter, open_embeddings

RECORD = {"encoder": "tiny", "pooling": "none", "dtype": "float16", "dim": 16}
CHANCE = random.Random(3)  # noqa: S311  # not a secret
SEQUENCES = {f"p{at}": "ACDEFGHIKLMNPQRSTVWY"[at % 20] * CHANCE.randrange(1, 90) for at in range(40)}

# Runs the jobs of its standard input, each a line [path, "line" | "time", moment], in a fork that is killed.
DRIVER = textwrap.dedent(
    """
    import json, os, signal, sys, time
    import numpy as np
    from holotype.proteins.data import embedding_log, embedding_writer
    from holotype.proteins.data.embedding_writer import EmbeddingWriter

    record, sequences = json.loads(sys.stdin.readline())
    embedding_writer._INDEX_BYTES = 5000  # some indexes on the way

    def values(sequence):
        return np.full((len(sequence), record["dim"]), ord(sequence[0]), np.float32)

    def work(path):
        with EmbeddingWriter(path, record) as writer:
            for name in writer.missing(sequences):
                writer.add(name, sequences[name], values(sequences[name]))

    def traced(path, limit):
        seen = 0
        files = {embedding_log.__file__, embedding_writer.__file__}

        def trace(frame, event, argument):
            nonlocal seen
            if frame.f_code.co_filename not in files:
                return None
            seen += 1
            if seen == limit:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        work(path)
        sys.settrace(None)
        return seen

    for line in sys.stdin:
        path, how, moment = json.loads(line)
        if how == "count":
            print(traced(path, None), flush=True)
            continue
        child = os.fork()
        if child == 0:
            try:
                traced(path, moment) if how == "line" else work(path)
            finally:
                os._exit(0)
        if how == "time":
            time.sleep(moment)
            os.kill(child, signal.SIGKILL)
        print(json.dumps(os.WIFSIGNALED(os.waitpid(child, 0)[1])), flush=True)
    """
)


@pytest.fixture
def driver():
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def ask(*job):
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    process.stdin.write(json.dumps([RECORD, SEQUENCES]) + "\n")
    yield ask
    process.stdin.close()
    assert process.wait(timeout=20) == 0
    process.stdout.close()


def whole(embeddings):
    for name in embeddings.names:
        expected = np.full((len(SEQUENCES[name]), RECORD["dim"]), ord(SEQUENCES[name][0]), np.float16)
        np.testing.assert_array_equal(embeddings[name], expected)
    return set(embeddings.names)


def held(path):
    """The proteins of a file, as a reader and as the next writer see it."""
    if not path.exists() or path.stat().st_size < 64:
        return set()
    return whole(open_embeddings(path, unfinished=True))


def test_kill_9(driver, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding_writer.os, "fsync", lambda descriptor: None)
    total = driver(str(tmp_path / "counted.emb"), "count", 0)
    jobs = [("line", 1 + at * total // 60 + CHANCE.randrange(total // 60)) for at in range(60)]
    jobs += [("time", CHANCE.uniform(0, 0.05)) for _ in range(30)]
    killed, counts = 0, set()
    for number, (how, moment) in enumerate(jobs):
        path = tmp_path / f"{number}.emb"
        before = set()
        for at in (moment, moment // 3 if how == "line" else moment / 3):
            killed += driver(str(path), how, at)
            after = held(path)
            assert before <= after, "what was there stays"
            before = after
        counts.add(len(before))
        with EmbeddingWriter(path, RECORD) as writer:
            # At most the record that was being written is lost, so whatever a reader saw is there.
            assert set(SEQUENCES) - set(writer.missing(SEQUENCES)) == before
            for name in writer.missing(SEQUENCES):
                data = np.full((len(SEQUENCES[name]), RECORD["dim"]), ord(SEQUENCES[name][0]))
                writer.add(name, SEQUENCES[name], data)
        assert whole(open_embeddings(path)) == set(SEQUENCES)
        path.unlink()
    assert killed > 60, "most were reached"
    assert len(counts) > 10, "in the beginning, the middle and the end"


def test_a_killed_command_goes_on(project, tmp_path):
    """The real thing, from the outside: the process is killed between two proteins; the command is typed again."""
    project.write(
        {
            "src/model/slow.py": """
            import os, signal, torch
            from holotype import register_model

            @register_model("slow", task="protein_embedding")
            class Slow(torch.nn.Module):
                embedding_dim, max_residues = 2, None
                def tokenize(self, sequence):
                    return torch.tensor([ord(letter) for letter in sequence])
                def forward(self, tokens, lengths):
                    with open("ran", "a") as file:
                        file.write(f"{tokens.shape[1]}\\n")
                    if os.environ.get("KILL_AT") == str(tokens.shape[1]):
                        os.kill(os.getpid(), signal.SIGKILL)
                    return torch.stack([tokens, tokens], -1).float()
            """,
            "p.fasta": "".join(f">p{at}\n{'M' * at}\n" for at in range(1, 9)),
        }
    )
    command = [sys.executable, "-m", "holotype", "embed", "p.fasta", "-e", "slow", "-o", "p.emb"]
    command += ["--residues-per-batch", "1"]

    def run(**env):
        return subprocess.run(
            command,
            cwd=project.root,
            env=project.environment(**env),
            capture_output=True,
            text=True,
            check=False,
        )

    assert run(KILL_AT="4").returncode == -9
    assert (project.root / "ran").read_text() == "8\n7\n6\n5\n4\n"
    done = run()
    assert done.returncode == 0, done.stderr
    assert "26 of them already there" in done.stdout
    assert (project.root / "ran").read_text().removeprefix("8\n7\n6\n5\n4\n") == "4\n3\n2\n1\n"
    embeddings = open_embeddings(project.root / "p.emb")
    assert embeddings.names == tuple(f"p{at}" for at in range(8, 0, -1))
    assert all((embeddings[name] == ord("M")).all() for name in embeddings.names)
