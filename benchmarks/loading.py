"""Loading 1.2 GB of weights, beside timm and Birder, in one run: a part of ``make bench``.

A plain transformer of ViT-L's size (304 M parameters) is written as safetensors and in Birder's layout of
``.pt``, put into a cache, and loaded by fresh processes that alternate with those of the peers, each of which
loads its own ViT-L from a file that it wrote itself. Each process measures itself, from after its imports:
CPU seconds until the network is there, the same with what the first forward reads, and the peak of its
resident memory (mapped pages count) relative to the size of the file.

    python benchmarks/loading.py [--peers .venv-peers/bin/python] [--runs 5]

Needs 5 GB of disk for a while. CPU only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

DISK_GB = 5
NETWORK = '''
"""A plain vision transformer of ViT-L's size.

Source: Dosovitskiy et al. 2020, "An Image is Worth 16x16 Words", table 1, ViT-Large.
"""

import torch
from torch import nn

from holotype import register_model


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(attended.transpose(1, 2).flatten(2))
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x))))


@register_model("plain_vit_l16", task="image_classification")
class PlainViT(nn.Module):
    def __init__(self, num_classes: int = 1000, width: int = 1024, depth: int = 24, heads: int = 16):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, 197, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])
'''

WRITE = """
import hashlib, json, os, torch, holotype
from holotype.store.fetch import fetch

torch.manual_seed(0)
net = holotype.create_model("plain_vit_l16")
try:
    from holotype.weights.save import save_pretrained
    save_pretrained(net, "w.safetensors")
except ImportError:
    from safetensors.torch import save_file
    save_file(net.state_dict(), "w.safetensors")
torch.save({
    "state": net.state_dict(), "birder_version": "0", "task": "image_classification",
    "signature": {"inputs": [{"data_shape": [0, 3, 224, 224]}], "outputs": [{"data_shape": [0, 1000]}]},
    "class_to_idx": {}, "rgb_stats": {"mean": [0.5] * 3, "std": [0.5] * 3},
}, "w.pt")
result = {"params": sum(p.numel() for p in net.parameters())}
del net
for fmt in ("safetensors", "pt"):
    path = os.path.abspath(f"w.{fmt}")
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    blob = fetch("file://" + path, sha256=sha256, progress=False)
    result[fmt] = {"sha256": sha256, "size_bytes": os.path.getsize(path), "blob": str(blob)}
    os.unlink(path)
print(json.dumps(result))
"""

ENTRY = """
[plain_vit_l16_bench]
network = "plain_vit_l16"
tag = "bench"
resolution = [224, 224]
num_classes = 1000
config = {{ num_classes = 1000, width = 1024, depth = 24, heads = 16 }}

[plain_vit_l16_bench.formats.safetensors]
url = "https://example.org/w.safetensors"
sha256 = "{safetensors[sha256]}"
size_bytes = {safetensors[size_bytes]}

[plain_vit_l16_bench.formats.pt]
url = "https://example.org/w.pt"
sha256 = "{pt[sha256]}"
size_bytes = {pt[size_bytes]}
"""

# Goes around the imports and the load of every library alike.
MEASURE = """
import json, resource, sys, time
{imports}
import torch

def resident(key):
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))
    except OSError:  # no Linux: the peak so far, which is at least what the imports took
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

images = torch.zeros(1, 3, 224, 224)
before = resident("VmRSS")
try:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew
except OSError:
    pass
started_wall, started = time.perf_counter(), time.process_time()
{load}
loaded_wall, loaded = time.perf_counter() - started_wall, time.process_time() - started
net.eval()
with torch.no_grad():
    net(images)
forward = time.process_time() - started
peak = resident("VmHWM") - before
with torch.no_grad():
    again = time.process_time()
    net(images)
    again = time.process_time() - again
# Of the first forward, what a later one does not take: a mapped file is read then.
forward = max(loaded, forward - again)
print(json.dumps({{"cpu": loaded, "wall": loaded_wall, "forward": forward, "peak": peak}}))
"""
OURS = (
    "import holotype",
    "net, _ = holotype.load_pretrained_model('plain_vit_l16_bench', format='{}', inference=True)",
)
OWN = ("safetensors", "pt")
HASH = """
import hashlib, json, sys, time
wall, cpu = time.perf_counter(), time.process_time()
with open(sys.argv[1], "rb") as file:
    hashlib.file_digest(file, "sha256")
print(json.dumps({"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}))
"""

PEERS = {
    "timm": (
        "import timm, safetensors.torch as st\n"
        "st.save_file(timm.create_model('vit_large_patch16_224').state_dict(), 'timm.safetensors')",
        "import timm",
        "net = timm.create_model('vit_large_patch16_224', checkpoint_path='timm.safetensors')",
        "timm.safetensors",
    ),
    "birder": (
        "import os, torch; os.makedirs('models', exist_ok=True)\n"
        "from birder.common import fs_ops\n"
        "from birder.model_registry import registry\n"
        "net = registry.net_factory('vit_l16', 1000, 3, size=(224, 224))\n"
        "signature = {'inputs': [{'data_shape': [0, 3, 224, 224]}], 'outputs': [{'data_shape': [0, 1000]}]}\n"
        "stats = {'mean': (0.5, 0.5, 0.5), 'std': (0.5, 0.5, 0.5)}\n"
        "fs_ops.checkpoint_model('vit_l16', 1, net, signature, {}, stats, None, None, None, None)",
        "import birder; from birder.common import fs_ops",
        "file, cpu = 'models/vit_l16_1.pt', torch.device('cpu')\n"
        "net, _ = fs_ops.load_model(cpu, 'vit_l16', path=file, inference=True)",
        "models/vit_l16_1.pt",
    ),
}


def loading(env: dict[str, str], peers: str, runs: int) -> None:
    """Measure, and print one line for each way to load."""
    with tempfile.TemporaryDirectory() as folder:
        free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
        if free < DISK_GB * 1e9:
            print(f"loading 1.2 GB: left out, {folder} has no {DISK_GB} GB free")
            return
        ours = Bench(sys.executable, Path(folder), {**env, "HOLOTYPE_HOME": f"{folder}/cache"})
        theirs = Bench(peers, Path(folder), env) if Path(peers).exists() else None
        _measure(ours, theirs, runs)


class Bench:
    """One Python, and the folder in which its processes run."""

    def __init__(self, python: str, folder: Path, env: dict[str, str]) -> None:
        self.python, self.folder = python, folder
        # As on a user's machine, where modules are compiled once; the first turn does it, and is not counted.
        unset = ("HOLOTYPE_MIRRORS", "HOLOTYPE_OFFLINE", "PYTHONDONTWRITEBYTECODE")
        self.env = {key: value for key, value in env.items() if key not in unset}
        # One thread: those that wait for each other on a busy machine count as CPU seconds, too.
        self.env["OMP_NUM_THREADS"] = "1"
        self.env |= {"HOLOTYPE_ZOOS": "bench_zoo", "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}

    def run(self, code: str, *arguments: str) -> dict[str, Any]:
        """The last line that a fresh process prints, as JSON."""
        done = subprocess.run(
            [self.python, "-c", code, *arguments],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"failed: {code}\n{done.stderr[-3000:]}")
        lines = done.stdout.strip().splitlines()
        return json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}

    def load(self, imports: str, load: str) -> dict[str, Any]:
        """The figures of one process that imports and loads."""
        return self.run(MEASURE.format(imports=imports, load=load))


def _measure(ours: Bench, theirs: Bench | None, runs: int) -> None:
    folder = ours.folder
    zoo = folder / "bench_zoo"
    zoo.mkdir()
    (zoo / "__init__.py").write_text("", encoding="utf-8")
    (zoo / "plain_vit.py").write_text(textwrap.dedent(NETWORK).lstrip(), encoding="utf-8")
    facts = ours.run(WRITE)
    (zoo / "pretrained.toml").write_text(ENTRY.format(**facts).lstrip(), encoding="utf-8")
    size = facts["safetensors"]["size_bytes"]
    print(
        f"\nloading {facts['params'] / 1e6:.0f} M parameters, {size / 1e9:.2f} GB; median of {runs} processes"
    )
    print(f"{'what':42}{'CPU s':>8}{'wall s':>8}{'peak':>7}  {'target':24}beside")

    sizes = {"safetensors": size, "pt": facts["pt"]["size_bytes"]}
    ways = {fmt: (ours, OURS[0], OURS[1].format(fmt)) for fmt in OWN}
    for name, (write, imports, load, file) in PEERS.items() if theirs else ():
        theirs.run(write)
        ways[name] = (theirs, imports, load)
        sizes[name] = (folder / file).stat().st_size
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    for turn in range(runs + 1):
        for name, (bench, imports, load) in ways.items():
            figures = bench.load(imports, load)
            if turn:  # the first of each warms the file cache
                found[name].append(figures)
    best = {key: _middle(found["safetensors"], key) for key in ("cpu", "forward")}
    for name, figures in found.items():
        cpu, both = _middle(figures, "cpu"), _middle(figures, "forward")
        if name in OWN:
            what, target = f"cached, verified, warm: {name}", "<= 0.25 CPU s, 1.05 x"
            beside = f"with reading it in the first forward {both:.3f}"
        else:
            what, target = f"  {name}, its own file", ""
            beside = f"theirs / ours {cpu / best['cpu']:.0f} (target >= 10), "
            beside += f"with the first forward {both / best['forward']:.0f}"
        peak = _middle(figures, "peak") / sizes[name]
        print(f"{what:42}{cpu:8.3f}{_middle(figures, 'wall'):8.3f}{peak:7.2f}  {target:24}{beside}")
    _first_loads(ours, facts["safetensors"]["blob"], runs)


def _first_loads(ours: Bench, blob: str, runs: int) -> None:
    """Loads after which nothing is remembered, so that every byte is hashed, beside hashing alone."""
    loads, hashes = [], []
    for _ in range(runs):
        for receipt in (ours.folder / "cache" / "receipts").rglob("*"):
            if receipt.is_file():
                receipt.unlink()
        hashes.append(ours.run(HASH, blob))
        loads.append(ours.load(OURS[0], OURS[1].format("safetensors")))
    ratio = _middle(loads, "cpu") / _middle(hashes, "cpu")
    wall = _middle(loads, "wall") / _middle(hashes, "wall")
    for what, figures in (("sha256 of the file alone", hashes), ("first load, with full hashing", loads)):
        print(f"{what:42}{_middle(figures, 'cpu'):8.3f}{_middle(figures, 'wall'):8.3f}")
    print(f"  first load / hashing alone: {ratio:.2f} CPU, {wall:.2f} wall   target <= 1.15")


def _middle(figures: list[dict[str, Any]], key: str) -> float:
    return statistics.median(figure[key] for figure in figures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", default=".venv-peers/bin/python", help="a Python with timm and birder")
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    loading(dict(os.environ), str(Path(given.peers).absolute()), given.runs)
