"""Holotype beside its peers, in one run: ``make bench``.

Every figure is the median of several whole processes, as the operating system accounts for them (user plus
system seconds, peak resident memory). Ratios compare runs that alternate, so they hold when the machine is
busy; the absolute figures do not.

    python benchmarks/run.py [--peers .venv-peers/bin/python] [--runs 7]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from loading import loading

LIST = "import holotype; names = holotype.list_models(); import sys; assert 'torch' not in sys.modules"
PEERS = {
    "timm": "import timm; timm.list_models()",
    "birder": "from birder.model_registry import registry; registry.list_models()",
    "torchvision": "import torchvision; torchvision.models.list_models()",
}
FILES = 2000


class Figure:
    """CPU seconds and peak MiB of one command, run several times."""

    def __init__(self) -> None:
        self.cpu_s: list[float] = []
        self.wall_s: list[float] = []
        self.peak_mib = 0.0

    def run(self, command: list[str], env: dict[str, str], cwd: str | None = None) -> None:
        """Run once and note what it took."""
        null = os.open(os.devnull, os.O_WRONLY)
        here = Path.cwd()
        started = time.perf_counter()
        try:
            os.chdir(cwd or here)
            actions = [(os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2)]
            pid = os.posix_spawn(command[0], command, env, file_actions=actions)
            _, status, used = os.wait4(pid, 0)
        finally:
            os.chdir(here)
            os.close(null)
        if status:
            raise SystemExit(f"failed: {' '.join(command)}")
        self.wall_s.append(time.perf_counter() - started)
        self.cpu_s.append(used.ru_utime + used.ru_stime)
        self.peak_mib = max(self.peak_mib, used.ru_maxrss / 1024)

    @property
    def cpu(self) -> float:
        return statistics.median(self.cpu_s)

    @property
    def wall(self) -> float:
        return statistics.median(self.wall_s)


def main() -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--peers", default=".venv-peers/bin/python", help="a Python with timm, birder, torchvision"
    )
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    peers = str(Path(arguments.peers).absolute())
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "HOME": home, "HOLOTYPE_HOME": f"{home}/cache"}
        for name in ("HOLOTYPE_ZOOS", "PYTHONDONTWRITEBYTECODE"):  # an installed package has its bytecode
            env.pop(name, None)
        print(
            f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, "
            f"{time.strftime('%Y-%m-%d')}, median of {arguments.runs} runs\n"
        )
        print(f"{'what':46}{'CPU s':>8}{'wall s':>8}{'MiB':>7}  {'target':20}beside")
        listing(env, peers, arguments.runs, cwd=home)
        many_files(env, arguments.runs, home)
        loading(env, peers, min(arguments.runs, 5))
        creating()  # last: from here on this process is large, and its children would begin as large


def line(what: str, figure: Figure, target: str = "", beside: str = "") -> None:
    print(f"{what:46}{figure.cpu:8.3f}{figure.wall:8.3f}{figure.peak_mib:7.1f}  {target:20}{beside}")


def listing(env: dict[str, str], peers: str, runs: int, cwd: str) -> None:
    """A cold process that imports and lists every name."""
    ours, command, bare, first = Figure(), Figure(), Figure(), Figure()
    first.run([sys.executable, "-c", LIST], env, cwd)
    theirs = {name: Figure() for name in PEERS} if Path(peers).exists() else {}
    for name in theirs:
        Figure().run([peers, "-c", PEERS[name]], env, cwd)  # warms the file cache, not counted
    for _ in range(runs):
        bare.run([sys.executable, "-c", "pass"], env, cwd)
        ours.run([sys.executable, "-c", LIST], env, cwd)
        command.run([str(Path(sys.executable).with_name("holotype")), "list"], env, cwd)
        for name, figure in theirs.items():
            figure.run([peers, "-c", PEERS[name]], env, cwd)
    line("python -c pass", bare)
    line("import and list every name, cold process", ours, "<= 0.06 CPU s, 30 MiB")
    line("  the very first time (no index yet)", first)
    line("holotype list, whole process", command, "<= 0.15 CPU s")
    for name, figure in theirs.items():
        line(f"  {name}: import and list", figure, "", f"ours / theirs {ours.cpu / figure.cpu:.3f}")
    if not theirs:
        print("  (no peers: make .venv-peers)")


def creating() -> None:
    """`create_model` against calling the class, in one process, alternating."""
    import holotype

    for name in ("v1", "v2"):
        cls = holotype.get_model_class(name)
        registry, direct = [], []
        for _ in range(60):
            started = time.perf_counter()
            cls(hidden_dim=32)
            direct.append(time.perf_counter() - started)
            started = time.perf_counter()
            holotype.create_model(name, hidden_dim=32)
            registry.append(time.perf_counter() - started)
        beyond = statistics.median(registry) - statistics.median(direct)
        print(f"create_model({name!r}) beyond calling the class: {beyond * 1e3:.3f} ms   target <= 1 ms")


def many_files(env: dict[str, str], runs: int, home: str) -> None:
    """A zoo of 2,000 model files."""
    root = Path(home) / "project"
    models = root / "many"
    models.mkdir(parents=True)
    (root / "pyproject.toml").write_text('[tool.holotype]\nzoos = ["many"]\n')
    (models / "__init__.py").write_text("")
    (models / "base.py").write_text("class Base:\n    task = 'testing'\n")
    for number in range(FILES):
        (models / f"m{number}.py").write_text(model_file(number))
    time.sleep(0.1)  # so that the files are older than the clock's tick, as a user's are
    command = [sys.executable, "-c", "import holotype; assert len(holotype.list_models(zoo='many')) >= 2000"]
    first, unchanged, changed = Figure(), Figure(), Figure()
    first.run(command, env, str(root))
    for turn in range(runs):
        unchanged.run(command, env, str(root))
        (models / "m7.py").write_text(model_file(7, note=f"turn {turn}"))
        time.sleep(0.1)
        changed.run(command, env, str(root))
        Figure().run(command, env, str(root))
    line(f"{FILES} files: first index", first, "<= 10 s")
    line(f"{FILES} files: list again, nothing changed", unchanged, "<= 0.060 s")
    line(f"{FILES} files: list again, one file changed", changed, "<= 0.080 s")


def model_file(number: int, note: str = "") -> str:
    return textwrap.dedent(
        f'''
        """Model {number}. {note}"""

        import torch
        from torch import nn

        from holotype import register_model

        from .base import Base


        @register_model("m{number}", description="Model number {number}", features=["a"], complexity="low")
        class Model{number}(Base):
            """A model among many."""

            def __init__(self, width: int = {number + 1}, depth: int = 2, dropout: float = 0.1) -> None:
                super().__init__()
                self.width = width
                self.depth = depth
                self.layers = [nn.Linear(width, width) for _ in range(depth)]

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                for layer in self.layers:
                    x = layer(x)
                return x
        '''
    )


if __name__ == "__main__":
    main()
