"""Run the examples of one page of Markdown, as a reader would: `python tests/docs/page.py docs/tour.md`.

The blocks of a page run from top to bottom, in one process and one empty folder:

- ``python`` blocks share a namespace. A block that starts with ``>>>`` is a doctest: its output counts.
- ``console`` blocks hold lines ``$ command``, each followed by what it prints. ``...`` stands for any
  text. A command of which no output is shown must succeed; one whose output is shown may fail, as an
  example of an error does. `NOT_RUN` lists what is not run (it installs, or takes minutes).
- Any block with ``file=NAME`` after its language is written to that file instead of being run.
- Other languages (``text``, ``yaml`` …) are not run.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FENCE = re.compile(r"^( *)(`{3,})\s*([^`]*)$")
NOT_RUN = ("pip", "git", "make", "docker", "open")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
TIMEOUT_S = 300


class ExampleError(AssertionError):
    """An example that does not do what its page says."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what else stands on the fence, its text, and its first line."""

    language: str
    options: dict[str, str]
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page."""
    found: list[Block] = []
    lines = page.splitlines()
    at = 0
    while at < len(lines):
        fence = FENCE.match(lines[at])
        at += 1
        if fence is None:
            continue
        indent, ticks, info = fence.groups()
        start = at
        while at < len(lines) and lines[at].strip() != ticks:
            at += 1
        if at == len(lines):
            raise ExampleError(f"line {start}: this block is never closed")
        body = [line.removeprefix(indent) for line in lines[start:at]]
        words = info.split() or ["text"]
        options = dict(word.partition("=")[::2] for word in words[1:])
        found.append(Block(words[0].lower(), options, "\n".join(body) + "\n", start + 1))
        at += 1
    return found


def commands(block: Block) -> list[tuple[int, str, str]]:
    """The commands of a console block: (line, command, the output shown)."""
    found: list[tuple[int, list[str], list[str]]] = []
    for line, text in enumerate(block.text.splitlines(), block.line):
        if text.startswith("$ "):
            found.append((line, [text[2:]], []))
        elif not found:
            raise ExampleError(f"line {line}: a console block starts with '$ command', not {text!r}")
        elif not found[-1][2] and found[-1][1][-1].endswith("\\"):
            found[-1][1].append(text)
        else:
            found[-1][2].append(text)
    return [(line, "\n".join(command), "\n".join(output).rstrip()) for line, command, output in found]


def is_run(command: str) -> bool:
    """Is this a command that the examples run? Settings before it (``NAME=value``) do not count."""
    words = shlex.split(command, comments=True)
    first = next((word for word in words if not re.match(r"[A-Z_]+=", word)), "")
    return first not in NOT_RUN and words[:3] not in (["python", "-m", "pip"], ["python", "-m", "venv"])


def matches(want: str, got: str) -> bool:
    """Does the output equal what the page shows? Trailing blanks do not count, ``...`` fits anything."""
    want, got = (
        "\n".join(line.rstrip() for line in text.strip("\n").splitlines()) + "\n" for text in (want, got)
    )
    return doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS)


def run_command(line: int, command: str, want: str) -> None:
    """Run one command of a console block."""
    if not is_run(command):
        return
    env = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "COLUMNS": "80",
        "NO_COLOR": "1",
    }
    done = subprocess.run(  # noqa: S602  # a shell, as a reader has; the text is our own docs
        command,
        shell=True,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
    )
    if not want:
        if done.returncode:
            raise ExampleError(f"line {line}: `{command}` exits with {done.returncode}:\n{done.stdout}")
    elif not matches(want, done.stdout):
        raise ExampleError(
            f"line {line}: `{command}` prints (exit code {done.returncode})\n{done.stdout}\n"
            f"-- where the page shows --\n{want}"
        )


def run_python(block: Block, name: str, namespace: dict[str, Any]) -> None:
    """Run one python block in the page's namespace."""
    if block.text.lstrip().startswith(">>>"):
        test = doctest.DocTestParser().get_doctest(block.text, namespace, name, name, block.line - 1)
        report: list[str] = []
        results = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append, clear_globs=False)
        namespace.update(test.globs)
        if results.failed:
            raise ExampleError("".join(report))
    else:
        # The line numbers of a traceback are those of the page.
        source = "\n" * (block.line - 1) + block.text
        exec(compile(source, name, "exec"), namespace)  # noqa: S102  # our own docs


def run_page(path: Path) -> None:
    """Run the examples of a page in the current folder."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(path.read_text(encoding="utf-8")):
        if "file" in block.options:
            file = Path(block.options["file"])
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            run_python(block, path.name, namespace)
        elif block.language == "console":
            for line, command, want in commands(block):
                run_command(line, command, want)


if __name__ == "__main__":
    page = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:  # never the reader's own: examples write files
        os.chdir(folder)
        sys.path[0] = folder
        try:
            run_page(page)
        except ExampleError as error:
            sys.exit(f"{sys.argv[1]}, {error}")
        except Exception:  # whatever an example raises: report it with the page's line numbers
            traceback.print_exc()
            sys.exit(1)
        finally:
            os.chdir(page.parent)
