"""Statistics of a sequence in sliding windows: scales, charge, moments, complexity.

Papers: hydropathy in windows, Kyte and Doolittle, J. Mol. Biol. 1982; side-chain volume, Zamyatnin, Prog.
Biophys. Mol. Biol. 1972; polarity, Grantham, Science 1974; propensities for helix and strand, Chou and
Fasman, Adv. Enzymol. 1978; disorder (TOP-IDP), Campen et al., Protein Pept. Lett. 2008; hydrophobic moment,
Eisenberg, Weiss and Terwilliger, Nature 1982; entropy of windows, Wootton and Federhen, Comput. Chem. 1993.

A mean over a protein hides stretches that differ from the rest: a membrane helix, a disordered tail, a patch
of charge. So each scale is averaged in windows of several widths, and the vector holds the spread of these
averages (deviation and quantiles). It is computed for one protein at a time.

Legend of shapes: B proteins, L residues, S scales, W windows.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from holotype.proteins.models.encoders.composition import ALPHABET, AMBIGUOUS, WeightFreeEncoder

# In the order of ALPHABET: A C D E F G H I K L M N P Q R S T V W Y.
# fmt: off
SCALES = {
    "hydropathy": (
        1.8, 2.5, -3.5, -3.5, 2.8, -0.4, -3.2, 4.5, -3.9, 3.8,
        1.9, -3.5, -1.6, -3.5, -4.5, -0.8, -0.7, 4.2, -0.9, -1.3,
    ),
    "volume": (
        88.6, 108.5, 111.1, 138.4, 189.9, 60.1, 153.2, 166.7, 168.6, 166.7,
        162.9, 114.1, 112.7, 143.8, 173.4, 89.0, 116.1, 140.0, 227.8, 193.6,
    ),
    "polarity": (
        8.1, 5.5, 13.0, 12.3, 5.2, 9.0, 10.4, 5.2, 11.3, 4.9,
        5.7, 11.6, 8.0, 10.5, 10.5, 9.2, 8.6, 5.9, 5.4, 6.2,
    ),
    "charge": (
        0, 0, -1, -1, 0, 0, 0.1, 0, 1, 0,
        0, 0, 0, 0, 1, 0, 0, 0, 0, 0,
    ),
    "helix": (
        1.42, 0.70, 1.01, 1.51, 1.13, 0.57, 1.00, 1.08, 1.16, 1.21,
        1.45, 0.67, 0.57, 1.11, 0.98, 0.77, 0.83, 1.06, 1.08, 0.69,
    ),
    "strand": (
        0.83, 1.19, 0.54, 0.37, 1.38, 0.75, 0.87, 1.60, 0.74, 1.30,
        1.05, 0.89, 0.55, 1.10, 0.93, 0.75, 1.19, 1.70, 1.37, 1.47,
    ),
    "disorder": (
        0.060, 0.020, 0.192, 0.736, -0.697, 0.166, 0.303, -0.486, 0.586, -0.326,
        -0.397, 0.007, 0.987, 0.318, 0.180, 0.341, 0.059, -0.121, -0.884, -0.510,
    ),
    "aromatic": (
        0, 0, 0, 0, 1, 0, 0.5, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 1, 1,
    ),
}
# fmt: on
GROUPS = ("DE", "KR", "P", "G", "C", "ST", "NQ", "FWY", "ILMV", "S", "Q", "AL")
SCALE_WINDOWS = (5, 9, 15, 21, 41, 81)
SCALE_QUANTILES = (0.0, 0.05, 0.15, 0.5, 0.85, 0.95, 1.0)
GROUP_WINDOWS = (11, 31, 81)
GROUP_QUANTILES = (0.5, 0.9, 1.0)
MOMENT_ANGLES = (100.0, 170.0, 360 / 3.5)  # degrees a residue: helix, strand, heptad
MOMENT_WINDOWS = (11, 18, 36)
MOMENT_QUANTILES = (0.05, 0.5, 0.95, 1.0)
CHARGE_WINDOW = 11
CHARGES = 8
ENTROPY_WINDOW = 25
ENTROPY_QUANTILES = (0.0, 0.05, 0.25)
LAGS = (1, 2, 3, 4, 5, 7, 10, 11, 14, 18, 22, 28, 33)
PARTS = 8
QUARTERS = 4
TAIL = 25
# A stretch is defined by a scale, the width of its windows, and the least mean in standard deviations over
# the amino acids. For hydropathy that is about 1.6, Kyte and Doolittle's threshold for membrane-spanning
# segments.
STRETCHES = (("hydropathy", 19, 0.7), ("disorder", 21, 0.25))
ENDS = ((0, 12), (12, 30), (30, 60), (-12, None), (-40, -12))


class _Tables(NamedTuple):
    """The look-up tables for residues."""

    scales: Tensor  # (20, S), each of mean 0 and deviation 1 over the amino acids
    groups: Tensor  # (20, 12)
    kinds: Tensor  # (20, 20)


class SequenceStatistics(WeightFreeEncoder):
    """One vector for a whole protein, (B, 1, D): statistics of its sequence that need no training.

    In this order: composition; log L; scales in windows; groups of amino acids in windows; hydrophobic
    moments; charge; entropy in windows; autocorrelation of scales; scales along eight parts; scales at both
    ends; composition of quarters and of both tails; membrane helices and disorder.

    Source: our own selection of the scales and methods listed at the top of this module.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embedding_dim = (
            20
            + 1
            + len(SCALES) * len(SCALE_WINDOWS) * (1 + len(SCALE_QUANTILES))
            + len(GROUPS) * len(GROUP_WINDOWS) * (1 + len(GROUP_QUANTILES))
            + len(MOMENT_ANGLES) * len(MOMENT_WINDOWS) * (2 + len(MOMENT_QUANTILES))
            + CHARGES
            + 3
            + len(ENTROPY_QUANTILES)
            + len(SCALES) * (len(LAGS) + PARTS + len(ENDS))
            + 20 * (QUARTERS + 2)
            + 3 * len(STRETCHES)
        )

    def embed_residues(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, L) tokens → (B, 1, D)."""
        tables = _tables(tokens.device)
        found = [tables.scales.new_zeros(0, self.embedding_dim)]
        for row, length in zip(tokens, lengths.tolist(), strict=True):
            known = row[:length][row[:length] < AMBIGUOUS]
            vector = _statistics(known, tables) if len(known) else tables.scales.new_zeros(self.embedding_dim)
            found.append(vector.unsqueeze(0))
        return torch.cat(found).unsqueeze(1)


def _tables(device: torch.device) -> _Tables:
    scales = torch.tensor(list(SCALES.values()), dtype=torch.float64).T
    scales = (scales - scales.mean(0)) / scales.std(0, correction=0)
    groups = torch.tensor([[letter in group for group in GROUPS] for letter in ALPHABET])
    return _Tables(scales.float().to(device), groups.float().to(device), torch.eye(20, device=device))


def _statistics(codes: Tensor, tables: _Tables) -> Tensor:
    """(L,) codes of one protein, L at least 1 → (D,)."""
    length = len(codes)
    scales_LS, groups_LG, kinds_L20 = (table[codes] for table in tables)
    composition = kinds_L20.mean(0)
    found = [composition, composition.new_tensor([math.log(length)])]
    for width in SCALE_WINDOWS:
        found += _spread(_windows(scales_LS, width), SCALE_QUANTILES)
    for width in GROUP_WINDOWS:
        found += _spread(_windows(groups_LG, width), GROUP_QUANTILES)
    for angle in MOMENT_ANGLES:
        turn = torch.arange(length, device=codes.device, dtype=torch.float64) * math.radians(angle)
        waves = torch.stack((turn.cos(), turn.sin()), dim=1).float() * scales_LS[:, :1]
        for width in MOMENT_WINDOWS:
            moment = _windows(waves, width).norm(dim=1, keepdim=True)
            found += [moment.mean(0), *_spread(moment, MOMENT_QUANTILES)]
    found.append(_charge(tables, codes))
    shares = _windows(kinds_L20, ENTROPY_WINDOW)
    entropy = torch.special.entr(shares).sum(1, keepdim=True)
    found += [
        entropy.mean(0),
        *_spread(entropy, ENTROPY_QUANTILES),
        torch.special.entr(composition).sum().view(1),
    ]
    centred = scales_LS - scales_LS.mean(0)
    variance = centred.square().mean(0) + 1e-6
    found += [
        (centred[:-lag] * centred[lag:]).mean(0) / variance if length > lag else torch.zeros_like(variance)
        for lag in LAGS
    ]
    # Where a protein is too short to have a part, the mean of the whole protein is used.
    mean = scales_LS.mean(0)
    cuts = [length * part // PARTS for part in range(PARTS + 1)]
    pieces = [scales_LS[begin:end] for begin, end in pairwise(cuts)]
    pieces += [scales_LS[begin:end] for begin, end in ENDS]
    found += [piece.mean(0) if len(piece) else mean for piece in pieces]
    quarters = [length * part // QUARTERS for part in range(QUARTERS + 1)]
    pieces = [kinds_L20[begin:end] for begin, end in pairwise(quarters)]
    pieces += [kinds_L20[:TAIL], kinds_L20[-TAIL:]]
    found += [piece.mean(0) if len(piece) else composition for piece in pieces]
    for name, width, least in STRETCHES:
        at = list(SCALES).index(name)
        found.append(_stretches(_windows(scales_LS[:, at : at + 1], width).squeeze(1) > least))
    return torch.cat(found)


def _stretches(inside_W: Tensor) -> Tensor:
    """The share of windows inside, the number of stretches, and the longest, as log(1 + n): (3,)."""
    steps = torch.nn.functional.pad(inside_W.int(), (1, 1)).diff()
    begins, ends = (steps == 1).nonzero().squeeze(1), (steps == -1).nonzero().squeeze(1)
    longest = (ends - begins).amax() if len(begins) else torch.zeros_like(inside_W.sum())
    count = torch.full_like(longest, len(begins))
    return torch.stack((inside_W.float().mean(), count.float().log1p(), longest.float().log1p()))


def _charge(tables: _Tables, codes: Tensor) -> Tensor:
    """Net and absolute charge, their spread in windows, and the charge at both ends: (8,)."""
    charge = torch.tensor(SCALES["charge"], device=codes.device)[codes]
    local = _windows(charge.unsqueeze(1), CHARGE_WINDOW).squeeze(1)
    return torch.stack(
        (
            charge.mean(),
            charge.abs().mean(),
            local.std(correction=0),
            local.abs().amax(),
            charge.sum() / 10,
            charge.clamp(min=0).mean(),
            charge[:30].mean(),
            charge[-30:].mean(),
        )
    )


def _windows(x_LS: Tensor, width: int) -> Tensor:
    """(L, S) → (W, S), the mean in each window; a protein shorter than a window is one window."""
    width = min(width, len(x_LS))
    # In double precision, because differences of long sums lose digits.
    sums = torch.nn.functional.pad(x_LS.double().cumsum(0), (0, 0, 1, 0))
    return ((sums[width:] - sums[:-width]) / width).float()


def _spread(x_WS: Tensor, quantiles: tuple[float, ...]) -> list[Tensor]:
    """Deviation and quantiles over the windows, (S,) each; a quantile is the value of the nearest rank."""
    ordered = x_WS.sort(dim=0).values
    ranks = [math.floor(quantile * (len(x_WS) - 1) + 0.5) for quantile in quantiles]
    return [x_WS.std(dim=0, correction=0), *(ordered[rank] for rank in ranks)]
