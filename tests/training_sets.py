"""Small synthetic data for tests of training: proteins, pairs, and embeddings in memory or on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from holotype.proteins.data.embedding_writer import EmbeddingWriter
from holotype.proteins.data.pairs import PairTable

DIM = 6
LETTERS = "ACDEFGHIKLMNPQRSTVWY"


class MemoryEmbeddings:
    """What `holotype.proteins.data.embeddings.Embeddings` offers, from arrays; it counts what is read."""

    pooling = "none"

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.record = {"encoder": "test", "pooling": "none", "dim": DIM}
        self._arrays = arrays
        self.names = tuple(arrays)
        self.lengths = np.array([len(array) for array in arrays.values()], np.int64)
        self.dim = next(iter(arrays.values())).shape[1] if arrays else DIM
        self.read: list[str] = []

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> np.ndarray:
        self.read.append(name)
        return self._arrays[name]


def embeddings(
    count: int = 30, *, seed: int = 0, longest: int = 20, pooled: bool = False
) -> MemoryEmbeddings:
    rng = np.random.default_rng(seed)
    lengths = np.ones(count, int) if pooled else rng.integers(1, longest + 1, count)
    return MemoryEmbeddings(
        {f"p{at}": rng.normal(size=(length, DIM)).astype(np.float16) for at, length in enumerate(lengths)}
    )


def pairs(count: int = 100, *, proteins: int = 30, seed: int = 0, labels: bool = True) -> PairTable:
    rng = np.random.default_rng([seed, 1])
    names = tuple(f"p{at}" for at in range(proteins))
    a, b = rng.integers(0, proteins, (2, count)).astype(np.int32)
    return PairTable(names, a, b, rng.integers(0, 2, count).astype(np.int8) if labels else None)


def write_project(
    folder: Path, *, seed: int = 0, proteins: int = 18, per_part: int = 24
) -> dict[str, object]:
    """A dataset of user files whose three parts share no protein; a recipe over it.

    Whether two proteins interact depends on their composition, so that something can be learned.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    sequences: dict[str, str] = {}
    recipe_data: dict[str, object] = {"sequences": str(folder / "proteins.fasta")}
    for part in ("train", "val", "test"):
        names = [f"{part}{at}" for at in range(proteins)]
        kinds = [at % 2 for at in range(proteins)]
        for name, kind in zip(names, kinds, strict=True):
            letters = LETTERS[:10] if kind else LETTERS[10:]
            sequences[name] = "".join(rng.choice(list(letters), size=int(rng.integers(30, 60))))
        every = [(x, y) for x in range(proteins) for y in range(x)]
        chosen = rng.permutation(len(every))
        rows = [(*every[at], int(kinds[every[at][0]] == kinds[every[at][1]])) for at in chosen]
        yes = [row for row in rows if row[2]][: per_part // 2]
        no = [row for row in rows if not row[2]][: per_part // 2]
        path = folder / f"{part}.tsv"
        path.write_text("".join(f"{names[x]}\t{names[y]}\t{label}\n" for x, y, label in yes + no))
        recipe_data[part] = str(path)
    fasta = "".join(f">{name}\n{sequence}\n" for name, sequence in sequences.items())
    (folder / "proteins.fasta").write_text(fasta)
    record = {"encoder": "test", "pooling": "none", "dtype": "float16", "dim": DIM}
    with EmbeddingWriter(folder / "proteins.emb", record) as writer:
        table = rng.normal(size=(26, DIM))
        for name, sequence in sequences.items():
            writer.add(name, sequence, table[[ord(letter) - 65 for letter in sequence]])
    return {
        "model": {"name": "v1", "params": {"hidden_dim": 8, "dropout": 0.1}},
        "data": recipe_data,
        "encoder": {"file": str(folder / "proteins.emb")},
        "batch": {"pairs": 5},
        "trainer": {"max_epochs": 2, "log_steps": 1, "tensorboard": False, "accelerator": "cpu"},
        "optimizer": {"lr": 0.01},
        "seed": 3,
    }


def write_recipe(folder: Path, recipe: dict[str, object], name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_text(json.dumps(recipe))  # JSON is YAML
    return path
