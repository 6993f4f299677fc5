"""`cross_attention`: residues attend to their own protein and to the partner.

Source: the published classifier of that name for ESM-C embeddings, whose checkpoints fit: same parameter
names, shapes and order, 1,003,777 parameters. The attention is that of Vaswani et al. 2017, "Attention Is All
You Need", section 3.2.2; one set of weights serves a -> b and b -> a.

Differs: NaN at padding has no effect, impossible lengths are errors, and `symmetry` offers a score that does
not depend on the order of the two proteins.

Shapes: B pairs; La, Lb residues (padded); D embedding width; H hidden width.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from holotype import register_model
from holotype.proteins.models.blocks import (
    MultiHeadAttention,
    check_parameters,
    init_weights,
    interaction_layer,
    interaction_logits,
    masked_mean,
    vector_encoder,
)
from holotype.proteins.models.interface import BaseProteinModel, Prepared, Residues


@register_model(
    "cross_attention",
    description="Residues attend to their own protein and to the partner, then means and an MLP on the pair",
    features=["cross_attention", "self_attention", "average_pooling", "mlp_layers"],
    complexity="high",
    params=1_003_777,
    paper_reference="Vaswani et al. 2017, section 3.2.2 (the attention; the classifier has no paper)",
    recommended_use_cases=["scoring_given_pairs"],
)
class CrossAttentionProteinClassifier(BaseProteinModel):
    """Projection -> mean of self-attention + mean of cross-attention -> encoder -> head.

    A protein's vector depends on its partner, so this model has no `encode` and no `score`.

    Args:
        input_dim: D, the width of the residue embeddings; 960 is ESM-C 300M.
        hidden_dim: H, the width of the projection and of a protein's vector; a multiple of `num_heads`.
        dropout: probability in the attentions, after the encoder and after each hidden layer of the
            head.
        num_heads: heads of each attention.
        symmetry: how the head treats the order of the two proteins: ``"none"`` (as published, order
            matters), ``"average"`` or ``"sum"``.

    Raises:
        ParameterError: a parameter is out of range, or `hidden_dim` is not divisible by `num_heads`.
    """

    encodes_alone: ClassVar[bool] = False

    def __init__(
        self,
        input_dim: int = 960,
        hidden_dim: int = 256,
        dropout: float = 0.3,
        num_heads: int = 8,
        symmetry: Literal["none", "average", "sum"] = "none",
    ) -> None:
        super().__init__()
        check_parameters(
            self,
            input_dim=input_dim,
            hidden_dim=hidden_dim,
            num_heads=num_heads,
            dropout=dropout,
            symmetry=symmetry,
        )
        self.input_dim = input_dim
        self.symmetry = symmetry
        self.input_projection = nn.Linear(input_dim, hidden_dim)
        self.self_attention = MultiHeadAttention(hidden_dim, num_heads, dropout)
        self.cross_attention = MultiHeadAttention(hidden_dim, num_heads, dropout)
        self.protein_encoder = vector_encoder(hidden_dim, dropout)
        self.interaction_layer = interaction_layer(hidden_dim, dropout, symmetry)
        self.apply(init_weights)

    def forward(self, emb_a: Tensor, emb_b: Tensor, lengths_a: Tensor, lengths_b: Tensor) -> Tensor:
        """Score whether two proteins interact.

        Shapes, arguments, result and errors: as for `BaseProteinModel.forward`.
        """
        a, b = self.check_pair(emb_a, emb_b, lengths_a, lengths_b)
        x_BLH, y_BLH = self.input_projection(a.emb), self.input_projection(b.emb)
        return interaction_logits(
            self.interaction_layer,
            self._encode_beside(x_BLH, a.padding, y_BLH, b.padding),
            self._encode_beside(y_BLH, b.padding, x_BLH, a.padding),
            self.symmetry,
        )

    def prepare_residues(self, residues: Residues) -> Prepared:
        """Query, key, value of each residue for the cross-attention; the mean of the self-attention."""
        x_BLH = self.input_projection(residues.emb)
        within_BLH = self.self_attention(x_BLH, x_BLH, residues.padding)
        return Prepared(self.cross_attention.project(x_BLH), (masked_mean(within_BLH, residues.padding),))

    def score_residues(self, a: Prepared, padding_a: Tensor, b: Prepared, padding_b: Tensor) -> Tensor:
        """Score pairs of prepared proteins; only the attention between the two remains."""
        return interaction_logits(
            self.interaction_layer,
            self._add_partner(a, padding_a, b, padding_b),
            self._add_partner(b, padding_b, a, padding_a),
            self.symmetry,
        )

    def _add_partner(
        self, own: Prepared, own_padding_BL: Tensor, other: Prepared, other_padding_BL: Tensor
    ) -> Tensor:
        """The vector (B, H) of one protein in the presence of the other."""
        query, (_, key, value) = own.residues[0], other.residues
        across_BLH = self.cross_attention.attend(query, key, value, other_padding_BL)
        # The mean is taken before the last linear layer, which is the same and cheaper.
        across_BH = self.cross_attention.out_proj(masked_mean(across_BLH, own_padding_BL))
        vector_BH: Tensor = self.protein_encoder(own.proteins[0] + across_BH)
        return vector_BH

    def _encode_beside(
        self, own_BLH: Tensor, own_padding_BL: Tensor, other_BLH: Tensor, other_padding_BL: Tensor
    ) -> Tensor:
        """The vector (B, H) of one protein in the presence of the other."""
        within_BLH = self.self_attention(own_BLH, own_BLH, own_padding_BL)
        across_BLH = self.cross_attention(own_BLH, other_BLH, other_padding_BL)
        # One mean of the sum is the sum of the two means.
        vector_BH: Tensor = self.protein_encoder(masked_mean(within_BLH + across_BLH, own_padding_BL))
        return vector_BH
