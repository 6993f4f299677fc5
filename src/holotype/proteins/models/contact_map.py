"""`contact_map`: predicts which residues of two proteins touch, and scores the peaks of that map.

Source: Sledzieski et al. 2021, "D-SCRIPT translates genome to phenome with sequence-based, structure-aware,
genome-scale predictions of protein-protein interactions", STAR Methods:

    projection    z = ReLU(W1 x + b1), dropout 0.5                                       (d = 100)
    contact       t_ij = ReLU(norm(W2 [|z_i - z_j|, z_i * z_j] + b2))                    (h = 50)
                  C = sigmoid(convolution of t, 7 x 7, the kernel equal to its transpose)
    interaction   w_i = exp(-lambda ((i - (n + 1) / 2) / ((n + 1) / 2))^2)
                  Y_ij = C_ij (theta + (1 - theta) w_i w_j)
                  Q = ReLU(Y - mean(Y) - gamma var(Y)),    p = sum(Q) / (number of Q > 0, plus 1)
                  logit = k (p - x0),    k = 20 at the start

Differs: layer norm over the h channels of t stands where batch norm does, and none before the sigmoid, so
that neither padding nor the other pairs of a batch have an effect, even in training, and a map can be
computed in parts. The kernel is symmetric, 0 <= theta <= 1 and lambda, gamma >= 0 by construction, not by
clamping after each step. x0 is learned, and begins where the p of a fresh network is (published: 0.5 always),
so that the first probabilities are not all near 0. `forward` returns the logit: its sigmoid is the published
activation.

Memory: a map is computed some rows at a time, and in training again for the gradient, so that a pair of
residues takes some dozens of bytes, not h or 2 d numbers. A pair of 2,000 x 2,000 residues takes 70 MiB, and
500 MiB in training (measured); both grow with La Lb. A compiled or exported graph computes the map at
once.

Shapes: B pairs; La, Lb residues (padded), I rows of the map at a time; D embedding width; d, h as above.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from holotype import register_model
from holotype.proteins.models.blocks import (
    Symmetry,
    count_problems,
    init_weights,
    probability_problems,
    refuse,
)
from holotype.proteins.models.interface import BaseProteinModel, Prepared, Residues

_VALUES_AT_ONCE = 2**21  # of |z_i - z_j|: 8 MiB


@register_model(
    "contact_map",
    description="Predicts which residues of two proteins touch, and scores what stands out of the map",
    features=["contact_map", "convolution", "interpretable", "symmetric"],
    complexity="high",
    params=108_706,
    paper_reference="Sledzieski et al. 2021 (D-SCRIPT), STAR Methods",
    recommended_use_cases=["scoring_given_pairs", "explaining_predictions"],
)
class ContactMapProteinClassifier(BaseProteinModel):
    """Projection -> |difference|, product of all pairs of residues -> convolution -> map -> what stands out.

    Args:
        input_dim: D, the width of the residue embeddings; 960 is ESM-C 300M.
        projection_dim: d, the width of the projection.
        hidden_dim: h, channels before the convolution.
        kernel_size: of the convolution; an odd number.
        dropout: probability after the projection.

    Raises:
        ParameterError: a parameter is out of range.
    """

    small_parameters: ClassVar[Mapping[str, object]] = {
        "input_dim": 12,
        "projection_dim": 8,
        "hidden_dim": 6,
        "kernel_size": 3,
    }
    symmetry: Symmetry = "average"

    def __init__(
        self,
        input_dim: int = 960,
        projection_dim: int = 100,
        hidden_dim: int = 50,
        kernel_size: int = 7,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        counts = {
            "input_dim": input_dim,
            "projection_dim": projection_dim,
            "hidden_dim": hidden_dim,
            "kernel_size": kernel_size,
        }
        problems = count_problems(counts) + probability_problems({"dropout": dropout})
        if not problems and not kernel_size % 2:
            problems.append(f"kernel_size={kernel_size}: expected an odd number, so that it has a middle")
        refuse(self, problems)
        self.input_dim = input_dim
        self.projection = nn.Sequential(nn.Linear(input_dim, projection_dim), nn.ReLU(), nn.Dropout(dropout))
        self.difference = nn.Linear(projection_dim, hidden_dim)  # the two halves of W2
        self.product = nn.Linear(projection_dim, hidden_dim, bias=False)
        self.norm = nn.LayerNorm(hidden_dim)
        self.kernel = nn.Parameter(torch.empty(1, hidden_dim, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(()))
        self.theta = nn.Parameter(torch.tensor(2.0))  # through a sigmoid: 0.88
        self.lambda_ = nn.Parameter(torch.tensor(-2.0))  # through softplus: 0.13
        self.gamma = nn.Parameter(torch.tensor(-2.0))  # likewise
        self.slope = nn.Parameter(torch.tensor(20.0))
        self.midpoint = nn.Parameter(torch.tensor(0.1))
        self.apply(init_weights)
        nn.init.xavier_uniform_(self.kernel)

    def forward(self, emb_a: Tensor, emb_b: Tensor, lengths_a: Tensor, lengths_b: Tensor) -> Tensor:
        """Score whether two proteins interact.

        Shapes, arguments, result and errors: as for `BaseProteinModel.forward`.
        """
        a, b = self.check_pair(emb_a, emb_b, lengths_a, lengths_b)
        return self.score_residues(self.prepare_residues(a), a.padding, self.prepare_residues(b), b.padding)

    def contact_map(self, emb_a: Tensor, emb_b: Tensor, lengths_a: Tensor, lengths_b: Tensor) -> Tensor:
        """Estimate for each pair of residues whether they touch, if the proteins interact.

        It is learned from interactions only, so it explains the score and does not predict a structure.

        Args:
            emb_a: (B, La, D), as for `forward`.
            emb_b: (B, Lb, D).
            lengths_a: (B,).
            lengths_b: (B,).

        Returns:
            (B, La, Lb) probabilities, 0 at padding.

        Raises:
            ShapeError: as for `forward`.
        """
        a, b = self.check_pair(emb_a, emb_b, lengths_a, lengths_b)
        (z_a,), _ = self.prepare_residues(a)
        (z_b,), _ = self.prepare_residues(b)
        map_BAB = self._map(z_a, a.padding, z_b, b.padding).sigmoid()
        return map_BAB.masked_fill(_outside(a.padding, b.padding), 0)

    def prepare_residues(self, residues: Residues) -> Prepared:
        """The projection of each residue, (B, L, d)."""
        return Prepared((self.projection(residues.emb),))

    def score_residues(self, a: Prepared, padding_a: Tensor, b: Prepared, padding_b: Tensor) -> Tensor:
        """The map of each pair, and the logit of what stands out of it."""
        (z_a,), _ = a
        (z_b,), _ = b
        logits_BAB = self._map(z_a, padding_a, z_b, padding_b)
        # Sums over millions of cells: in float32 at least.
        contacts_BAB = logits_BAB.to(torch.promote_types(logits_BAB.dtype, torch.float32)).sigmoid()
        theta, lambda_, gamma = self.theta.sigmoid(), F.softplus(self.lambda_), F.softplus(self.gamma)
        near_BA1, near_B1B = _nearness(padding_a, lambda_)[:, :, None], _nearness(padding_b, lambda_)[:, None]
        weighted_BAB = contacts_BAB * (theta + (1 - theta) * near_BA1 * near_B1B)
        outside_BAB = _outside(padding_a, padding_b)
        weighted_BAB = weighted_BAB.masked_fill(outside_BAB, 0)
        cells_B = padding_a.logical_not().sum(1) * padding_b.logical_not().sum(1)
        mean_B = weighted_BAB.sum((1, 2)) / cells_B
        # With 0 at padding, the mean of squares needs no other map.
        variance_B = (weighted_BAB.square().sum((1, 2)) / cells_B - mean_B.square()).clamp(min=0)
        threshold_B = mean_B + gamma * variance_B
        above_BAB = (weighted_BAB - threshold_B[:, None, None]).relu().masked_fill(outside_BAB, 0)
        outstanding_B = above_BAB.sum((1, 2)) / (above_BAB.detach().sign().sum((1, 2)) + 1)
        logits_B = self.slope * (outstanding_B - self.midpoint)
        return logits_B.to(logits_BAB.dtype)

    def _map(self, z_a: Tensor, padding_a: Tensor, z_b: Tensor, padding_b: Tensor) -> Tensor:
        """(B, La, d) and (B, Lb, d) -> (B, La, Lb) logits of contacts; at padding, anything."""
        z_a = z_a.masked_fill(padding_a.unsqueeze(-1), 0)
        z_b = z_b.masked_fill(padding_b.unsqueeze(-1), 0)
        inside_BAB = _outside(padding_a, padding_b).logical_not()
        kernel = (self.kernel + self.kernel.mT) / 2
        (batch, rows, width), columns, side = z_a.shape, z_b.shape[1], kernel.shape[-1] // 2
        if torch.compiler.is_compiling() or torch.compiler.is_exporting():
            spread = self._spread(z_a, z_b, inside_BAB, kernel)
        else:
            spread = z_a.new_zeros(batch, rows + 2 * side, columns + 2 * side)
            at_once = max(1, _VALUES_AT_ONCE // max(1, batch * columns * width))
            for start in range(0, rows, at_once):
                some = slice(start, start + at_once)
                given = (z_a[:, some], z_b, inside_BAB[:, some], kernel)
                if torch.is_grad_enabled() and at_once < rows:
                    part = checkpoint(self._spread, *given, use_reentrant=False, preserve_rng_state=False)
                else:
                    part = self._spread(*given)
                spread[:, start : start + part.shape[1]] += part
        logits: Tensor = spread[:, side : side + rows, side : side + columns] + self.bias
        return logits

    def _spread(self, z_BId: Tensor, z_BJd: Tensor, inside_BIJ: Tensor, kernel: Tensor) -> Tensor:
        """The contribution of some rows to the convolution, (B, I + s, Lb + s), s = kernel size - 1.

        A transposed view of a convolution to one channel: each cell adds its product with the kernel to its
        neighbours.
        """
        gap_BIJd = z_BId[:, :, None] - z_BJd[:, None]
        gap_BIJd = gap_BIJd.abs() if gap_BIJd.requires_grad else gap_BIJd.abs_()
        # sum_d W_hd z_id z_jd as a matrix product for each i: z_i * z_j is never made.
        weighted_BIdh = z_BId[..., None] * self.product.weight.T
        t_BIJh = self.difference(gap_BIJd) + torch.matmul(z_BJd[:, None], weighted_BIdh)
        t_BIJh = self.norm(t_BIJh).relu() * inside_BIJ[..., None]
        size = kernel.shape[-1]
        taps_BkC = torch.matmul(kernel.flip(-1, -2).flatten(2)[0].T, t_BIJh.flatten(1, 2).mT)
        shape = (t_BIJh.shape[1] + size - 1, t_BIJh.shape[2] + size - 1)
        return F.fold(taps_BkC, shape, size).squeeze(1)


def _nearness(padding_BL: Tensor, lambda_: Tensor) -> Tensor:
    """How near each residue is to the middle of its protein, (B, L); 1 there."""
    half_B1 = (padding_BL.logical_not().sum(1, keepdim=True) + 1).to(lambda_.dtype) / 2
    position_L = torch.arange(1, padding_BL.shape[1] + 1, device=padding_BL.device)
    return (-lambda_ * ((position_L - half_B1) / half_B1).square()).exp()


def _outside(padding_a: Tensor, padding_b: Tensor) -> Tensor:
    """(B, La, Lb), True where either residue is padding."""
    return padding_a[:, :, None] | padding_b[:, None]
