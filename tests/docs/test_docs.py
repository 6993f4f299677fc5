"""The docs hold: their examples run, their links lead somewhere, and so for every docstring."""

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import page as runner  # beside this file
import pytest
from docstrings import examples_of

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if path.exists()]
LINKED = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
WITH_EXAMPLES = [path for path in sorted(SOURCE.rglob("*.py")) if ">>> " in path.read_text("utf-8")]


def relative(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_examples_of_a_page(path, tmp_path):
    done = subprocess.run(
        [sys.executable, Path(runner.__file__), path],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=relative)
def test_examples_of_docstrings(path, tmp_path):
    parts = path.relative_to(SOURCE).with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    assert examples_of(module, tmp_path) == ""


# -- links --------------------------------------------------------------------------------------


def without_code(text):
    text = re.sub(r"(?ms)^ *(`{3,}).*?^ *\1 *$", "", text)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    found = set()
    for heading in re.findall(r"(?m)^#+ +(.+?) *#*$", re.sub(r"(?ms)^ *(`{3,}).*?^ *\1 *$", "", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.lower())
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 0
        while (f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(f"{slug}-{number}" if number else slug)
    return found


def dead_links(path):
    text = path.read_text("utf-8")
    targets = re.findall(r"\]\(\s*<?([^)\s>]+)", without_code(text))
    targets += re.findall(r"(?m)^\[[^\]]+\]:\s+<?(\S+?)>?$", without_code(text))
    for target in targets:
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue  # elsewhere in the world
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        if not file.exists():
            yield f"{target}: no such file"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text("utf-8")):
            yield f"{target}: no such heading"


@pytest.mark.parametrize("path", LINKED, ids=relative)
def test_links_lead_somewhere(path):
    assert list(dead_links(path)) == []


def test_the_security_page_names_tests_that_exist():
    page = (ROOT / "docs" / "security.md").read_text("utf-8")
    paths = re.findall(r"`((?:attacks|contract|integration|unit)/[^`]+\.py)`", page)
    assert paths
    assert [path for path in paths if not list((ROOT / "tests").glob(path))] == []


ENTRY_POINT_GROUPS = {"holotype.zoos", "holotype.providers", "holotype.domains"}


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_what_a_page_names_exists(path):
    names = set(re.findall(r"`(holotype(?:\.\w+)+)(?:\([^`]*)?`", path.read_text("utf-8")))
    missing = [name for name in sorted(names - ENTRY_POINT_GROUPS) if not resolves(name)]
    assert missing == []


def resolves(name):
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


# -- the runner itself: a check that cannot fail is worth nothing -----------------------------------


def page(tmp_path, text):
    path = tmp_path / "page.md"
    path.write_text(text.replace("'''", "```"), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "'''python\nx = 1\n'''\ntext\n'''python\nassert x == 1\n'''\n",
        "'''python\nx = 2\n'''\n'''python\n>>> x\n2\n>>> y = x\n'''\n'''python\nassert y == 2\n'''\n",
        "'''console\n$ echo one; echo two; echo three\none\n...\nthree\n'''\n",
        "'''console\n$ echo one \\\n    two\none two\n'''\n",
        "'''console\n$ echo wrong >&2; exit 1\nwrong\n'''\n",
        "'''console\n$ pip install no-such-thing-at-all\n$ NAME=x make nothing\n'''\n",
        "'''yaml file=a/b.yaml\nkey: 1\n'''\n'''console\n$ cat a/b.yaml\nkey: 1\n'''\n",
        "'''yaml\nnot: run\n'''\n'''\nnot run either\n'''\n",
        "- a list\n\n  '''python\n  x = 1\n  assert x\n  '''\n",
    ],
)
def test_the_runner_accepts(text, tmp_path, monkeypatch):
    path = page(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    runner.run_page(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("'''console\n$ echo one\ntwo\n'''\n", "line 2: `echo one` prints"),
        ("'''console\n$ echo one; echo two\none\n'''\n", "line 2"),
        ("\n'''console\n$ exit 3\n'''\n", "line 3: `exit 3` exits with 3"),
        ("'''console\n$ no-such-command-at-all\n'''\n", "exits with 127"),
        ("'''console\nholotype list\n'''\n", "starts with"),
        ("'''python\n>>> 1 + 1\n3\n'''\n", "Expected:"),
        ("'''python\nx = 1\n", "never closed"),
    ],
)
def test_the_runner_refuses(text, message, tmp_path, monkeypatch):
    path = page(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(runner.ExampleError, match=re.escape(message)):
        runner.run_page(path)


def test_a_failing_example_names_the_line_of_its_page(tmp_path):
    path = page(tmp_path, "# Title\n\n'''python\nx = 1\nassert x == 2\n'''\n")
    done = subprocess.run([sys.executable, Path(runner.__file__), path], capture_output=True, text=True)
    assert done.returncode == 1
    assert 'page.md", line 5' in done.stderr


def test_dead_links_are_seen(tmp_path):
    (tmp_path / "other.md").write_text("# A `code` heading: two\n", encoding="utf-8")
    path = tmp_path / "page.md"
    path.write_text(
        "[a](other.md) [b](other.md#a-code-heading-two) [c](gone.md) [d](other.md#gone) [e](#here)\n"
        "[f](https://example.org/x) `[g](code.md)`\n\n# Here\n\n[h]: lost.md\n",
        encoding="utf-8",
    )
    assert list(dead_links(path)) == [
        "gone.md: no such file",
        "other.md#gone: no such heading",
        "lost.md: no such file",
    ]


@pytest.mark.parametrize(
    ("examples", "message"),
    [(">>> 1 + 1\n3", "Got:\n    2"), ("no example", "attempted=0"), (">>> import os; os._exit(3)", "3")],
)
def test_docstrings_that_fail(examples, message, tmp_path, monkeypatch):
    (tmp_path / "with_examples.py").write_text(f'"""\n{examples}\n"""\n')
    monkeypatch.syspath_prepend(tmp_path)
    assert message in examples_of("with_examples", tmp_path)
