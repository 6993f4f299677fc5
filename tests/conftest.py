"""Every test works in a cache and an environment of its own: nothing of the user's is read or written."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

PYPROJECT = '[tool.holotype]\nzoos = ["src.model"]\n'
# The child runs the code, then prints the value of `result` as its last line.
CHILD = """
import json, sys
scope = {"__name__": "__main__", "__builtins__": __builtins__}
exec(compile(sys.stdin.read(), "<test>", "exec"), scope)
print("\\n" + json.dumps(scope.get("result"), default=list))
"""


@pytest.fixture(scope="session", autouse=True)
def isolated_environment(tmp_path_factory):
    """No cache, zoo or task of the user's has a part in any test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("HOLOTYPE_") and name != "HOLOTYPE_MIRRORS":
                patch.delenv(name)
        patch.setenv("HOLOTYPE_HOME", str(tmp_path_factory.mktemp("holotype-home")))
        yield


class Project:
    """A user's project in a folder of its own, looked at by fresh processes.

    Attributes:
        root: its folder; the working directory of the processes.
        home: the cache folder of the processes.
    """

    def __init__(self, root, home):
        self.root, self.home = root, home
        root.mkdir(parents=True, exist_ok=True)

    def write(self, files, *, pyproject=PYPROJECT):
        """Write files, given as a mapping from path to text or bytes; the text may be indented."""
        if pyproject is not None:
            (self.root / "pyproject.toml").write_text(pyproject, encoding="utf-8")
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.write_text(textwrap.dedent(content).lstrip("\n"), encoding="utf-8")
        return self

    def environment(self, **env):
        base = {k: v for k, v in os.environ.items() if not k.startswith(("HOLOTYPE_", "PYTHON"))}
        return {**base, "HOLOTYPE_HOME": str(self.home), "PYTHONDONTWRITEBYTECODE": "1", **env}

    def start(self, code, *, cwd=None, **env):
        """A process that runs the code."""
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd or self.root,
            env=self.environment(**env),
            text=True,
        )
        process.stdin.write(textwrap.dedent(code))
        process.stdin.close()
        process.stdin = None
        return process

    def finish(self, process):
        """The value of `result` in a process that was started."""
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        return json.loads(out.splitlines()[-1])

    def run(self, code, *, cwd=None, **env):
        """Run code in a fresh process.

        Returns:
            The value of `result` there, by way of JSON.
        """
        return self.finish(self.start(code, cwd=cwd, **env))


@pytest.fixture
def project(tmp_path):
    """An empty project whose ``pyproject.toml`` names the zoo ``src.model``."""
    return Project(tmp_path / "project", tmp_path / "home")


@pytest.fixture
def other_project(tmp_path):
    """A second one, with the same cache."""
    return Project(tmp_path / "other", tmp_path / "home")


@pytest.fixture
def here(project, monkeypatch):
    """The same project as the working directory of this very process."""
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("HOLOTYPE_HOME", str(project.home))
    return project
