"""Baselines that use no sequence, or learn nothing.

A model that does not beat them has not been shown to use more than how often a protein was studied, or how
long it is. On pairs whose proteins training has not seen (C3), the baselines of the training graph are
constant.

Source: Park & Marcotte, Flaws in evaluation schemes for pair-input computational predictions, Nature
Methods 2012; Bernett et al., Cracking the black box of deep sequence-based protein-protein interaction
prediction, Briefings in Bioinformatics 2024 (which uses degrees and sequence similarity alike).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from holotype.errors import DataError
from holotype.proteins.evaluation.metrics import Floats, auroc
from holotype.text import listed

if TYPE_CHECKING:
    from holotype.proteins.data.embeddings import Embeddings
    from holotype.proteins.data.pairs import PairTable

BASELINES: Mapping[str, str] = {
    "majority": "the same answer for every pair: the commoner label",
    "degree_sum": "known interactions of both proteins in training, added",
    "degree_product": "known interactions of both proteins in training, multiplied",
    "label_ratio": "log ratio of positive to negative training pairs of both proteins, added",
    "unseen_count": "number of the two proteins that training has seen",
    "length": "the lengths of both sequences, multiplied",
    "embedding_cosine": "cosine of the two proteins' mean embeddings",
}


def baseline_scores(
    train: PairTable | None,
    test: PairTable,
    sequences: Mapping[str, str] | None = None,
    embeddings: Embeddings | None = None,
) -> dict[str, Floats]:
    """Score test pairs by each baseline whose input is given.

    Shapes: P test pairs.

    Args:
        train: the labelled training pairs: for ``degree_*``, ``label_ratio``, ``unseen_count``, the commoner
            label, and whether pairs of short or of long proteins interact more.
        test: the pairs to score.
        sequences: name -> sequence, for ``length``.
        embeddings: of the test proteins, for ``embedding_cosine``.

    Returns:
        name -> (P,) scores, higher: more probably positive. The names are those of `BASELINES`.

    Raises:
        DataError: training pairs have no labels, or a test protein has no sequence or embedding.
    """
    scores: dict[str, Floats] = {}
    if train is not None:
        scores |= _of_training(train, test)
    if sequences is not None:
        scores["length"] = _length(train, test, sequences)
    if embeddings is not None:
        scores["embedding_cosine"] = _cosine(test, embeddings)
    return scores


def _of_training(train: PairTable, test: PairTable) -> dict[str, Floats]:
    if train.labels is None:
        raise DataError("the training pairs have no labels, so degrees cannot be counted.")
    positive, negative = (
        dict(zip(train.proteins, train.degrees(label).tolist(), strict=True)) for label in (1, 0)
    )
    p = np.array([positive.get(name, 0) for name in test.proteins], dtype=np.float64)
    n = np.array([negative.get(name, 0) for name in test.proteins], dtype=np.float64)
    # One more of each, so that a protein seen once has little weight; relative to the ratio of the whole set.
    prior = np.log((train.labels == 1).sum() + 1) - np.log((train.labels == 0).sum() + 1)
    ratio = np.where(p + n > 0, np.log(p + 1) - np.log(n + 1) - prior * (p + n) / (p + n + 2), 0.0)
    seen = (p + n > 0).astype(np.float64)
    a, b = test.a, test.b
    return {
        "majority": np.full(len(test), float(train.labels.mean() >= 0.5) if len(train) else 0.0),
        "degree_sum": p[a] + p[b],
        "degree_product": p[a] * p[b],
        "label_ratio": ratio[a] + ratio[b],
        "unseen_count": seen[a] + seen[b],
    }


def _length(train: PairTable | None, test: PairTable, sequences: Mapping[str, str]) -> Floats:
    scores = _log_lengths(test, sequences)
    if train is None or train.labels is None or not len(train):
        return scores
    if any(name not in sequences for name in train.proteins):
        return scores
    # The only thing it learns: whether pairs of long or of short proteins interact more.
    return -scores if auroc(train.labels, _log_lengths(train, sequences)) < 0.5 else scores


def _log_lengths(pairs: PairTable, sequences: Mapping[str, str]) -> Floats:
    _require(pairs, sequences, "sequence")
    lengths = np.zeros(len(pairs.proteins))
    for at in pairs.used().tolist():
        lengths[at] = np.log(max(len(sequences[pairs.proteins[at]]), 1))
    return np.asarray(lengths[pairs.a] + lengths[pairs.b])


def _cosine(test: PairTable, embeddings: Embeddings) -> Floats:
    _require(test, embeddings, "embedding")
    unit = np.zeros((len(test.proteins), embeddings.dim), dtype=np.float32)
    for at in test.used().tolist():
        # In float64: the squares of half-precision numbers overflow.
        mean = np.asarray(embeddings[test.proteins[at]]).mean(axis=0, dtype=np.float64)
        length = float(np.linalg.norm(mean))
        unit[at] = mean / length if length > 0 else 0
    scores = np.empty(len(test))
    for start in range(0, len(test), 4096):  # so that P × D numbers are never in memory at once
        part = slice(start, start + 4096)
        scores[part] = np.einsum("pd,pd->p", unit[test.a[part]], unit[test.b[part]])
    return scores


def _require(pairs: PairTable, have: Any, what: str) -> None:
    used = pairs.used_names()
    missing = [name for name in used if name not in have]
    if missing:
        raise DataError(
            f"{len(missing):,} of {len(used):,} proteins of the pairs have no {what}: {listed(missing)}.",
            given=missing[0],
            problems=missing,
        )
