"""Small models, sequences and embeddings for tests of predictions."""

import hashlib

import numpy as np
import torch

from holotype.proteins import create_model

WIDTH = 12
RECORD = {
    "encoder": "proteins/made_up",
    "architecture": "proteins/made_up",
    "config_fingerprint": "f" * 64,
    "weights_sha256": None,
    "pooling": "none",
    "window": None,
    "overlap": 0,
    "compute_dtype": "float32",
    "dtype": "float16",
    "dim": WIDTH,
}
ALONE = ["v1", "v2", "multihead_attention"]
SYMMETRIES = ["none", "average", "sum"]


def model(name="v1", *, seed=0, **params):
    """A small model, the same at each call; its norms and biases are not the regular ones of a new one."""
    torch.manual_seed(seed)
    sizes = {"input_dim": WIDTH, "hidden_dim": 16} | ({} if name == "v1" else {"num_heads": 2})
    net = create_model(name, **(sizes | params)).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return net


def sequences(count, *, seed=1, longest=9):
    rng = np.random.default_rng(seed)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    return {f"P{at}": "".join(rng.choice(letters, rng.integers(1, longest + 1))) for at in range(count)}


class InMemory:
    """Embeddings that are in no file."""

    def __init__(self, proteins, *, seed=2, dim=WIDTH, rows=None):
        rng = np.random.default_rng(seed)
        self.names, self.dim, self.record, self._sequences = tuple(proteins), dim, RECORD, dict(proteins)
        self._arrays = {
            name: rng.standard_normal((rows or len(text), dim)).astype(np.float16)
            for name, text in proteins.items()
        }

    def __contains__(self, name):
        return name in self._arrays

    def __getitem__(self, name):
        return self._arrays[name]

    def sequence_sha256(self, name):
        return hashlib.sha256(self._sequences[name].encode()).hexdigest()


def forward_one(net, embeddings, a, b):
    """The logit of one pair, from `forward` and nothing else."""
    first, second = (torch.from_numpy(embeddings[name].copy())[None] for name in (a, b))
    with torch.inference_mode():
        lengths = (torch.tensor([side.shape[1]]) for side in (first, second))
        return float(net(first, second, *lengths))


def write_fasta(path, proteins):
    path.write_text("".join(f">{name} some protein\n{text}\n" for name, text in proteins.items()))
    return path


def write_embeddings(path, proteins, *, record=RECORD, seed=2):
    """A file of embeddings, the numbers of `InMemory`."""
    from holotype.proteins.data.embeddings import EmbeddingWriter

    values = InMemory(proteins, seed=seed, dim=record["dim"])
    with EmbeddingWriter(path, record) as writer:
        for name, text in proteins.items():
            writer.add(name, text, values[name])
    return path


def save(net, path, *, temperature=2.0, encoder=RECORD):
    """A weight file as training leaves it."""
    from holotype.weights.save import save_pretrained

    told = {} if encoder is None else {"encoder": encoder}
    if temperature is not None:
        told["calibration"] = {"temperature": temperature}
    return save_pretrained(net, path, **told)


def read_table(path):
    """The rows of an output, as a list of mappings."""
    lines = path.read_text().splitlines()
    header = lines[0].split("\t")
    return [dict(zip(header, line.split("\t"), strict=True)) for line in lines[1:]]
