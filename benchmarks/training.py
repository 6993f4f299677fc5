"""Training of a per-residue model on Bernett's pairs: our batches against naive ones, in one run.

    python benchmarks/training.py [--pairs 512] [--longest 2000] [--seed 0] [--model v2]

Naive is what most published training scripts do: random batches of 32 pairs, each side padded to its
longest protein, `forward` on both sides. Ours is the recipe's batching: portions of so many residues,
proteins of like length together, each distinct protein of a batch read and encoded once. The same network,
the same pairs, AdamW in both; CPU seconds of one process, so that they hold on a busy machine.

Measured is the beginning of an epoch, over the pairs whose proteins have at most `--longest` residues:
padding to longer ones (up to 14,507) takes more memory than a laptop has. It spares the naive way its worst
batches, so the ratio is a lower bound. The embeddings have the true lengths and random values.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import nn

import holotype
from holotype.proteins.data.datasets import load_dataset
from holotype.proteins.data.embedding_writer import EmbeddingWriter
from holotype.proteins.data.embeddings import Embeddings, open_embeddings
from holotype.proteins.data.pairs import PairTable
from holotype.proteins.training.batches import PairBatches, PairReader
from holotype.proteins.training.objectives import PairObjective
from holotype.training.optimizers import make_optimizer
from holotype.training.recipe import load_recipe

NAIVE_PAIRS = 32


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=512, help="how far into the epoch")
    parser.add_argument("--longest", type=int, default=2000, help="residues of the longest protein in it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="v2", help="v2, multihead_attention or cross_attention")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipe = load_recipe(
        Path(__file__).parents[1] / "recipes" / "proteins" / f"{arguments.model}_bernett.yaml"
    )
    data = load_dataset("bernett")
    every = data.splits["train"]
    rng = np.random.default_rng(arguments.seed)
    short = np.array([len(data.sequences[name]) <= arguments.longest for name in every.proteins])
    allowed = np.flatnonzero(short[every.a] & short[every.b])
    table = every.take(allowed).compact()
    dim = 64
    with tempfile.TemporaryDirectory() as folder:
        embeddings = write_embeddings(Path(folder) / "sample.emb", table, data.sequences, dim, rng)
        lengths = np.array([len(data.sequences[name]) for name in table.proteins])
        params = {**recipe.model.params, "input_dim": dim}
        print(
            f"{platform.python_implementation()} {platform.python_version()}, torch {torch.__version__}, one "
            f"thread, {time.strftime('%Y-%m-%d')}, seed {arguments.seed}\n{recipe.model.name} {params}\n"
            f"{arguments.pairs:,} pairs of an epoch over {len(table):,} (those of {len(every):,} with "
            f"at most {arguments.longest} residues a protein; {len(table.proteins):,} proteins, median "
            f"length {int(np.median(lengths))})\nbatch: {recipe.batch}\n",
            flush=True,
        )
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            ours.append(measure(params, recipe, our_epoch, embeddings, table, arguments.pairs))
            theirs.append(measure(params, recipe, naive_epoch, embeddings, table, arguments.pairs))
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(f"{'':28}{'CPU s':>9}{'pairs/s':>10}")
    for what, cpu_s in (("ours", mine), (f"naive, batches of {NAIVE_PAIRS}", other)):
        print(f"{what:28}{cpu_s:9.1f}{arguments.pairs / cpu_s:10.1f}")
    print(f"\nours is {other / mine:.2f} x faster; target >= 3 x")


def write_embeddings(
    path: Path, table: PairTable, sequences, dim: int, rng: np.random.Generator
) -> Embeddings:
    record = {"encoder": "random", "pooling": "none", "dtype": "float16", "dim": dim}
    with EmbeddingWriter(path, record) as writer:
        for name in table.proteins:
            sequence = sequences[name]
            writer.add(name, sequence, rng.standard_normal((len(sequence), dim), np.float32))
    return open_embeddings(path)


def measure(params, recipe, epoch, embeddings, table, pairs: int) -> float:
    torch.manual_seed(0)
    net = holotype.create_model(recipe.model.name, **params).train()
    optimizer = make_optimizer(net, recipe.optimizer)

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    begun = time.process_time()
    epoch(net, step, embeddings, table, recipe, pairs)
    return time.process_time() - begun


def our_epoch(net, step, embeddings: Embeddings, table: PairTable, recipe, pairs: int) -> None:
    reader = PairReader(embeddings, table, pairwise=not net.encodes_alone)
    objective = PairObjective()
    batches = PairBatches(
        reader, pairs=recipe.batch.pairs, residues=recipe.batch.residues, sharing=recipe.batch.sharing
    )
    for batch in itertools.islice(batches.steps(0), -(-pairs // recipe.batch.pairs)):
        for portion in batch.portions:
            (objective(net, portion).loss / batch.total).backward()
        step()


def naive_epoch(net, step, embeddings: Embeddings, table: PairTable, recipe, pairs: int) -> None:
    names_a, names_b = table.names_a, table.names_b
    order = np.random.default_rng(recipe.seed).permutation(len(table))[:pairs]
    for begin in range(0, len(order), NAIVE_PAIRS):
        batch = order[begin : begin + NAIVE_PAIRS]
        (emb_a, lengths_a), (emb_b, lengths_b) = (
            padded([torch.from_numpy(embeddings[names[at]].astype(np.float32)) for at in batch])
            for names in (names_a, names_b)
        )
        labels = torch.tensor(table.labels[batch].astype(np.float32))
        logits = net(emb_a, emb_b, lengths_a, lengths_b)
        nn.functional.binary_cross_entropy_with_logits(logits, labels).backward()
        step()


def padded(rows: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([len(row) for row in rows])
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths


if __name__ == "__main__":
    main()
