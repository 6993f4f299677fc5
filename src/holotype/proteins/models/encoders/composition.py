"""Composition of a protein: counts of residues, of pairs and of triads. Nothing is learnt.

Papers: Shen et al., "Predicting protein-protein interactions based only on sequences information", PNAS
2007 (conjoint triad); for amino-acid and dipeptide composition, Bhasin and Raghava, "Classification of
nuclear receptors based on amino acid composition and dipeptide composition", J. Biol. Chem. 2004.

Selenocysteine (U) counts as cysteine and pyrrolysine (O) as lysine; the ambiguous letters B, J, X and Z are
not counted.

Legend of shapes: B proteins, L residues.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from holotype.proteins.models.encoders.interface import ProteinEncoder, letters_of, padding_of

ALPHABET = "ACDEFGHIKLMNPQRSTVWY"
AMBIGUOUS = len(ALPHABET)
# Shen et al. 2007, table 1: classes of like dipole and side-chain volume.
CLASSES = ("AGV", "ILFP", "YMTS", "HNQW", "RK", "DE", "C")


class WeightFreeEncoder(ProteinEncoder):
    """One vector for a whole protein, from its sequence alone: without parameters, it needs no weights."""

    letters: ClassVar[Mapping[str, int]] = letters_of(
        ALPHABET, unknown=AMBIGUOUS, U=ALPHABET.index("C"), O=ALPHABET.index("K")
    )
    whole_protein: ClassVar[bool] = True
    residues_per_batch = 65_536


class Composition(WeightFreeEncoder):
    """The share of each amino acid, then of each pair of neighbours, in the order of `ALPHABET`: (B, 1, 420).

    Args:
        dipeptides: the pairs too; without them, (B, 1, 20).

    Source: Bhasin and Raghava 2004, equations 1 and 2.
    """

    def __init__(self, *, dipeptides: bool = True) -> None:
        super().__init__()
        self.dipeptides = dipeptides
        self.embedding_dim = 20 + 400 * dipeptides

    def embed_residues(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, L) tokens → (B, 1, D)."""
        known = (tokens < AMBIGUOUS) & ~padding_of(tokens, lengths)
        found = [_shares(_counts(tokens, known, 20))]
        if self.dipeptides:
            found.append(_shares(_counts(*_neighbours(tokens, known, 20, 2), 400)))
        return torch.cat(found, dim=1).unsqueeze(1)


class ConjointTriad(WeightFreeEncoder):
    """The frequency of each triad of classes of amino acids: (B, 1, 343).

    The counts f become (f - min f) / max f, so that long and short proteins are comparable.

    Source: Shen et al. 2007, "Conjoint triad method", equation 1 and table 1.
    """

    embedding_dim = 343

    def embed_residues(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, L) tokens → (B, 1, 343)."""
        known = (tokens < AMBIGUOUS) & ~padding_of(tokens, lengths)
        class_of = torch.tensor(
            [next(at for at, group in enumerate(CLASSES) if letter in group) for letter in ALPHABET] + [0],
            device=tokens.device,
        )
        classes = class_of[tokens.clamp(0, AMBIGUOUS)]
        counts = _counts(*_neighbours(classes, known, len(CLASSES), 3), len(CLASSES) ** 3)
        low, high = counts.amin(1, keepdim=True), counts.amax(1, keepdim=True)
        return ((counts - low) / high.clamp(min=1)).unsqueeze(1)


def _neighbours(codes: Tensor, known: Tensor, base: int, size: int) -> tuple[Tensor, Tensor]:
    """Words of `size` neighbours as numbers, and which have known residues only; both (B, L + 1 - size)."""
    longest = codes.shape[1] + 1 - size
    words, whole = torch.zeros_like(codes[:, : max(longest, 0)]), torch.ones_like(known[:, : max(longest, 0)])
    for at in range(size if longest > 0 else 0):
        words = words * base + codes[:, at : at + longest]
        whole = whole & known[:, at : at + longest]
    return words, whole


def _counts(codes: Tensor, counted: Tensor, kinds: int) -> Tensor:
    """(B, L) codes → (B, kinds), how often each occurs where `counted`."""
    found = torch.zeros(len(codes), kinds, device=codes.device)
    return found.scatter_add_(1, codes.where(counted, 0), counted.to(found.dtype))


def _shares(counts: Tensor) -> Tensor:
    return counts / counts.sum(1, keepdim=True).clamp(min=1)
