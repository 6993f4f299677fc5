"""What must hold of every protein encoder: company, order, and what stands at padding do not matter."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from holotype.proteins.models.encoders.composition import Composition, ConjointTriad  # noqa: E402  # after the check
from holotype.proteins.models.encoders.esm import Esm2  # noqa: E402
from holotype.proteins.models.encoders.near import Near  # noqa: E402
from holotype.proteins.models.encoders.sequence_statistics import SequenceStatistics  # noqa: E402
from holotype.proteins.models.encoders.unirep import UniRep  # noqa: E402

ENCODERS = [
    (UniRep, {"depth": 2, "layers": "all"}),
    (UniRep, {"depth": 1}),
    (Near, {}),
    (Composition, {}),
    (ConjointTriad, {}),
    (SequenceStatistics, {}),
    (Esm2, {}),
]


@pytest.fixture(scope="module", params=ENCODERS, ids=lambda encoder: encoder[0].__name__)
def net(request):
    cls, params = request.param
    if cls is Esm2:
        pytest.importorskip("transformers")
    torch.manual_seed(3)
    return cls(**{**getattr(cls, "small_parameters", {}), **params}).double().eval().requires_grad_(False)


proteins = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=12)
batches = st.lists(proteins, min_size=1, max_size=5)


@settings(max_examples=25, deadline=None)
@given(batch=batches, extra=st.integers(0, 4), seed=st.integers(0, 2**16))
def test_a_protein_has_one_embedding(net, batch, extra, seed):
    tokens, lengths = net.collate(batch)
    tokens = torch.nn.functional.pad(tokens, (0, extra))
    padding = torch.arange(tokens.shape[1]) >= lengths[:, None]
    junk = torch.randint(-5, 1000, tokens.shape, generator=torch.Generator().manual_seed(seed))
    emb = net(tokens.where(~padding, junk), lengths)
    order = torch.randperm(len(batch), generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(net(tokens[order], lengths[order]), emb[order], atol=1e-6)
    for row, protein in zip(emb, batch, strict=True):
        alone = net(*net.collate([protein]))[0]
        rows = 1 if net.whole_protein else len(protein)
        assert alone.shape == (rows, net.embedding_dim)
        assert torch.allclose(row[:rows], alone, atol=1e-6)
        assert not row[rows:].any()


@settings(max_examples=25, deadline=None)
@given(protein=proteins)
def test_every_letter_has_its_own_token_wherever_it_stands(net, protein):
    tokens = net.tokenize(protein)
    assert tokens.dtype == torch.int64
    assert tokens.tolist() == [net.letters[letter] for letter in protein]
    assert set(tokens.tolist()) <= set(range(net.token_count))
