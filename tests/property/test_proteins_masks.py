"""What must hold of every protein model, whatever the batch: padding, company and order do not matter."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holotype.proteins.models.attention import (
    AttentionProteinClassifier,
    MultiHeadAttentionProteinClassifier,
)
from holotype.proteins.models.bilinear import SymmetricBilinearProteinClassifier
from holotype.proteins.models.contact_map import ContactMapProteinClassifier
from holotype.proteins.models.cross_attention import CrossAttentionProteinClassifier
from holotype.proteins.models.intra_inter import IntraInterAttentionProteinClassifier
from holotype.proteins.models.mean_pool import SimplifiedProteinClassifier
from holotype.proteins.models.symmetric_mlp import SymmetricMLPProteinClassifier

WIDTH = 6
SYMMETRIES = ["none", "average", "sum"]
JUNK = [0.0, 1e30, -1e30, float("inf"), float("-inf"), float("nan")]


def _build(cls, **params):
    torch.manual_seed(3)
    model = cls(input_dim=WIDTH, hidden_dim=8, **params).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model.eval()


MODELS = [
    _build(cls, symmetry=symmetry, **params)
    for symmetry in SYMMETRIES
    for cls, params in [
        (SimplifiedProteinClassifier, {}),
        (AttentionProteinClassifier, {"num_heads": 2}),
        (MultiHeadAttentionProteinClassifier, {"num_heads": 2}),
        (CrossAttentionProteinClassifier, {"num_heads": 2}),
    ]
]
POOLED = {"groups": [2, 4], "pooling": "mean+std+max"}
ALWAYS_SYMMETRIC = [
    _build(SymmetricBilinearProteinClassifier, rank=3, **POOLED),
    _build(SymmetricMLPProteinClassifier, **POOLED),
    _build(IntraInterAttentionProteinClassifier, num_heads=2, positions="none"),
    _build(IntraInterAttentionProteinClassifier, num_heads=2, positions="rotary"),
    _build(ContactMapProteinClassifier, projection_dim=8, kernel_size=3),
]
MODELS += ALWAYS_SYMMETRIC
knows_positions = ALWAYS_SYMMETRIC[-2:]
ids = [f"{type(model).__name__}-{model.symmetry}" for model in MODELS]
every_model = pytest.mark.parametrize("model", MODELS, ids=ids)

lengths = st.integers(1, 6)
pairs = st.lists(st.tuples(lengths, lengths), min_size=1, max_size=4)
seeds = st.integers(0, 2**31)
extra = st.tuples(st.integers(0, 4), st.integers(0, 4))


def proteins(sizes, seed):
    """Unpadded proteins: a list of (L, D)."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, WIDTH, generator=generator, dtype=torch.float64) for n in sizes]


def pad(batch, extra=0, junk=0.0):
    """A list of (L, D) -> (B, L, D) and lengths; padding holds `junk`."""
    sizes = torch.tensor([len(protein) for protein in batch])
    emb = torch.full((len(batch), int(sizes.max()) + extra, WIDTH), junk, dtype=torch.float64)
    for row, protein in zip(emb, batch, strict=True):
        row[: len(protein)] = protein
    return emb, sizes


def score(model, a, b, extra=(0, 0), junk=0.0):
    (emb_a, lengths_a), (emb_b, lengths_b) = pad(a, extra[0], junk), pad(b, extra[1], junk)
    with torch.no_grad():
        return model(emb_a, emb_b, lengths_a, lengths_b)


def same(left, right):
    torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9)


@every_model
@given(pairs=pairs, seed=seeds, extra=extra, junk=st.sampled_from(JUNK))
@settings(max_examples=25, deadline=None)
def test_padding_never_changes_a_result(model, pairs, seed, extra, junk):
    a, b = proteins([n for n, _ in pairs], seed), proteins([n for _, n in pairs], seed + 1)
    same(score(model, a, b, extra, junk), score(model, a, b))


@every_model
@given(pairs=pairs, seed=seeds, junk=st.sampled_from(JUNK))
@settings(max_examples=25, deadline=None)
def test_company_never_changes_a_result(model, pairs, seed, junk):
    a, b = proteins([n for n, _ in pairs], seed), proteins([n for _, n in pairs], seed + 1)
    alone = [score(model, [one], [other]) for one, other in zip(a, b, strict=True)]
    same(score(model, a, b, junk=junk), torch.cat(alone))


@every_model
@given(pairs=pairs, seed=seeds)
@settings(max_examples=25, deadline=None)
def test_order_of_a_pair(model, pairs, seed):
    """f(a, b) = f(b, a), where that is declared."""
    a, b = proteins([n for n, _ in pairs], seed), proteins([n for _, n in pairs], seed + 1)
    if model.symmetric:
        same(score(model, a, b), score(model, b, a))
    else:
        assert not score(model, a, b).allclose(score(model, b, a), rtol=1e-9, atol=1e-9)


@every_model
@given(pairs=pairs, seed=seeds)
@settings(max_examples=15, deadline=None)
def test_order_of_residues(model, pairs, seed):
    """Most models know no positions; the embeddings carry them."""
    if model in knows_positions:
        pairs = [(6, 6)]
    a, b = proteins([n for n, _ in pairs], seed), proteins([n for _, n in pairs], seed + 1)
    if model in knows_positions:
        turned = score(model, [p.flip(0) for p in a], b)
        assert not score(model, a, b).allclose(turned, rtol=1e-9, atol=1e-9)
        return
    same(score(model, a, b), score(model, [p.flip(0) for p in a], b))


@every_model
@given(pairs=pairs, seed=seeds, extra=extra)
@settings(max_examples=15, deadline=None)
def test_padding_never_changes_a_gradient(model, pairs, seed, extra):
    a, b = proteins([n for n, _ in pairs], seed), proteins([n for _, n in pairs], seed + 1)

    def gradients(extra, junk):
        (emb_a, lengths_a), (emb_b, lengths_b) = pad(a, extra[0], junk), pad(b, extra[1], junk)
        loss = model(emb_a, emb_b, lengths_a, lengths_b).square().sum()
        return torch.autograd.grad(loss, list(model.parameters()))

    for with_junk, without in zip(gradients(extra, float("nan")), gradients((0, 0), 0.0), strict=True):
        same(with_junk, without)


@pytest.mark.parametrize(
    "model",
    [m for m in MODELS if m.encodes_alone],
    ids=[i for i, m in zip(ids, MODELS, strict=True) if m.encodes_alone],
)
@given(sizes=st.lists(lengths, min_size=1, max_size=4), seed=seeds, extra=st.integers(0, 4))
@settings(max_examples=15, deadline=None)
def test_encoding_each_protein_once_scores_all_pairs(model, sizes, seed, extra):
    batch = proteins(sizes, seed)
    with torch.no_grad():
        encoded = model.encode(*pad(batch, extra, float("nan")))
    for i, one in enumerate(batch):
        for j, other in enumerate(batch):
            with torch.no_grad():
                together = model.score(encoded[i : i + 1], encoded[j : j + 1])
            same(together, score(model, [one], [other]))
