"""All against all, on one core: pairs a second, beside a loop of ``forward``, and the peak of memory.

    python benchmarks/interactome.py [--proteins 2000] [--memory 20000] [--seed 0]

Networks are untrained and embeddings random: neither changes the work. Every figure is of one thread, in
seconds of processor time, which a busy machine changes little; wall-clock seconds are beside them. The loop
gives `forward` one pair at a time, of 100 to 600 residues each, fp16, as a file of embeddings holds them.
What is compared with it includes everything from there on: encoding, scoring, picking the best partners.
Both are measured in one run.

The peak is that of a child process that does nothing else; what it takes to import torch is told beside it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

import holotype
from holotype import create_model
from holotype.proteins.models.interface import BaseProteinModel
from holotype.proteins.prediction.interactome import score_all
from holotype.proteins.prediction.scoring import encode_batches
from holotype.tasks import Task

TOP_K = 20
LOOP_S = 3.0


class Made:
    """Random embeddings of some distinct proteins, named over and over: many proteins take no memory."""

    def __init__(self, count: int, dim: int, *, pooled: bool, seed: int, distinct: int = 64) -> None:
        rng = np.random.default_rng(seed)
        self.names = tuple(f"P{at}" for at in range(count))
        self.dim, self.record = dim, {}
        distinct = count if pooled else min(count, distinct)
        rows = [1 if pooled else int(rng.integers(100, 601)) for _ in range(distinct)]
        self._arrays = [rng.standard_normal((n, dim), np.float32).astype(np.float16) for n in rows]

    def __contains__(self, name: object) -> bool:
        return int(str(name)[1:]) < len(self.names)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[int(name[1:]) % len(self._arrays)]


def loop(net: torch.nn.Module, made: Made, seconds: float) -> float:
    """Pairs a second of processor time, one `forward` a pair."""
    rng, count = np.random.default_rng(1), 0
    names = made.names
    with torch.inference_mode():
        started = time.process_time()
        while time.process_time() - started < seconds:
            a, b = (torch.from_numpy(made[names[at]])[None] for at in rng.integers(0, len(names), 2))
            net(a, b, torch.tensor([a.shape[1]]), torch.tensor([b.shape[1]]))
            count += 1
        return count / (time.process_time() - started)


def all_pairs(net: torch.nn.Module, made: Made, **options: object) -> tuple[float, float, int]:
    """Processor seconds, wall seconds and scored pairs of the whole of `score_all`."""
    told = [(0, 0)]
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in score_all(net, made, made.names, progress=lambda *at: told.append(at), **options):
        pass
    return time.process_time() - cpu, time.perf_counter() - wall, told[-1][0]


def speed(count: int, seed: int) -> None:
    print(f"pooled embeddings, {count:,} proteins, top {TOP_K} of each, 1 thread, seed {seed}")
    print("| model | pairs scored | pairs/s (CPU) | pairs/s (wall) |\n|---|---:|---:|---:|")
    for name, params in POOLED:
        torch.manual_seed(seed)
        net = create_model(name, **params).eval()
        made = Made(count, net.input_dim, pooled=True, seed=seed)
        cpu, wall, pairs = all_pairs(net, made, top_k=TOP_K)
        told = ", ".join(f"{key}={value}" for key, value in params.items())
        print(f"| {name} {told} | {pairs:,} | {pairs / cpu:,.0f} | {pairs / wall:,.0f} |", flush=True)


def against_loop(count: int, seed: int, names: list[str]) -> None:
    print(f"\nper-residue embeddings (100 to 600 residues), {count:,} proteins, 1 thread, seed {seed}")
    print("| model | loop, pairs/s | score_all, pairs/s | times | encoding |\n|---|---:|---:|---:|---:|")
    for name in names:
        torch.manual_seed(seed)
        net = create_model(name).eval()
        made = Made(count, net.input_dim, pooled=False, seed=seed)
        slow = loop(net, made, LOOP_S)
        with torch.inference_mode():
            started = time.process_time()
            encode_batches(net, made, made.names)
            encoding = time.process_time() - started
        cpu, _, pairs = all_pairs(net, made, top_k=TOP_K)
        fast = pairs / cpu
        print(
            f"| {name} | {slow:.1f} | {fast:,.0f} | {fast / slow:,.0f} | {encoding / cpu:.0%} |", flush=True
        )


def memory(count: int, seed: int) -> None:
    """The peak of a child; see `peak`."""
    words = [sys.executable, __file__, "--peak", str(count), "--seed", str(seed)]
    print(subprocess.run(words, check=True, capture_output=True, text=True).stdout, end="", flush=True)


def peak(count: int, seed: int) -> None:
    import resource

    def mib() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    torch.manual_seed(seed)
    net = create_model("v1").eval()
    begun = mib()
    made = Made(count, net.input_dim, pooled=True, seed=seed)
    cpu, wall, pairs = all_pairs(net, made, top_k=TOP_K)
    print(
        f"\nall against all of {count:,} proteins, v1, top {TOP_K}: {pairs:,} pairs in {cpu:.0f} s CPU "
        f"({pairs / cpu:,.0f} pairs/s), {wall:.0f} s wall; peak {mib():.0f} MiB "
        f"(of which {begun:.0f} MiB before the first protein)"
    )


POOLED = [
    ("v1", {"symmetry": "none"}),
    ("v1", {"symmetry": "average"}),
    ("v1", {"symmetry": "sum"}),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--proteins", type=int, default=2000)
    parser.add_argument("--memory", type=int, default=20_000, help="proteins of the memory figure")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="*", help="models for the comparison with a loop (default: all)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.peak:
        return peak(given.peak, given.seed)

    models = [
        name
        for name in given.only or holotype.list_models(task=Task.PROTEIN_INTERACTION)
        if issubclass(holotype.get_model_class(name), BaseProteinModel)
        and holotype.get_model_class(name).encodes_alone
    ]
    speed(given.proteins, given.seed)
    against_loop(given.proteins, given.seed, models)
    if given.memory:
        memory(given.memory, given.seed)
    return None


if __name__ == "__main__":
    main()
