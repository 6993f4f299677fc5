"""`v2` and `multihead_attention`: self-attention over the residues of a protein, then their mean.

Source: the published classifiers of these names for ESM-C embeddings, whose checkpoints fit: same
parameter names, shapes and order, 740,609 and 2,056,961 parameters. Attention and encoder layers are those of
Vaswani et al. 2017, "Attention Is All You Need" (sections 3.1 and 3.2.2), without position encoding: a
language model's embeddings carry the position already.

Differs: NaN at padding has no effect, impossible lengths are errors, and `symmetry` offers a score that does
not depend on the order of the two proteins.

Shapes: B pairs; L residues (padded); D embedding width; H hidden width.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from holotype import register_model
from holotype.proteins.models.blocks import (
    EncoderLayer,
    MultiHeadAttention,
    check_parameters,
    init_weights,
    interaction_layer,
    masked_mean,
    vector_encoder,
)
from holotype.proteins.models.interface import BaseProteinModel, Residues


@register_model(
    "v2",
    description="One self-attention over each protein's residues, then their mean and an MLP on the pair",
    features=["self_attention", "average_pooling", "mlp_layers"],
    complexity="medium",
    params=740_609,
    paper_reference="Vaswani et al. 2017, section 3.2.2 (the attention; the classifier has no paper)",
)
class AttentionProteinClassifier(BaseProteinModel):
    """Projection -> multi-head attention, no residual -> masked mean -> encoder -> head.

    Args:
        input_dim: D, the width of the residue embeddings; 960 is ESM-C 300M.
        hidden_dim: H, the width of the projection and of a protein's vector; a multiple of `num_heads`.
        dropout: probability in the attention, after the encoder and after each hidden layer of the
            head.
        num_heads: attention heads.
        symmetry: how the head treats the order of the two proteins: ``"none"`` (as published, order
            matters), ``"average"`` or ``"sum"``.

    Raises:
        ParameterError: a parameter is out of range, or `hidden_dim` is not divisible by `num_heads`.
    """

    encodes_alone: ClassVar[bool] = True

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
        self.protein_encoder = vector_encoder(hidden_dim, dropout)
        self.interaction_layer = interaction_layer(hidden_dim, dropout, symmetry)
        self.apply(init_weights)

    def encode_residues(self, residues: Residues) -> Tensor:
        """(B, L, D) residues -> (B, H)."""
        attention = self.self_attention
        q_BLH, k_BLH, v_BLH = attention.project(self.input_projection(residues.emb))
        x_BLH = attention.attend(q_BLH, k_BLH, v_BLH, residues.padding)
        # The mean is taken before the attention's last linear layer, which is the same and cheaper.
        mean_BH = attention.out_proj(masked_mean(x_BLH, residues.padding))
        vector_BH: Tensor = self.protein_encoder(mean_BH)
        return vector_BH


@register_model(
    "multihead_attention",
    description="Transformer encoder over each protein's residues, then their mean and an MLP on the pair",
    features=["transformer_encoder", "residual_connections", "layer_norm", "average_pooling", "mlp_layers"],
    complexity="high",
    params=2_056_961,
    paper_reference="Vaswani et al. 2017, section 3.1 (the encoder layers; the classifier has no paper)",
)
class MultiHeadAttentionProteinClassifier(BaseProteinModel):
    """Projection -> post-norm encoder layers -> masked mean -> encoder -> head.

    Args:
        input_dim: D, the width of the residue embeddings; 960 is ESM-C 300M.
        hidden_dim: H, the width of the layers and of a protein's vector; a multiple of `num_heads`.
        dropout: probability in each encoder layer, after the encoder and after each hidden layer of
            the head.
        num_heads: attention heads of each layer.
        num_layers: encoder layers, each with a feed-forward of width 4 H.
        symmetry: how the head treats the order of the two proteins: ``"none"`` (as published, order
            matters), ``"average"`` or ``"sum"``.

    Raises:
        ParameterError: a parameter is out of range, or `hidden_dim` is not divisible by `num_heads`.
    """

    encodes_alone: ClassVar[bool] = True

    def __init__(
        self,
        input_dim: int = 960,
        hidden_dim: int = 256,
        dropout: float = 0.3,
        num_heads: int = 8,
        num_layers: int = 2,
        symmetry: Literal["none", "average", "sum"] = "none",
    ) -> None:
        super().__init__()
        check_parameters(
            self,
            input_dim=input_dim,
            hidden_dim=hidden_dim,
            num_heads=num_heads,
            num_layers=num_layers,
            dropout=dropout,
            symmetry=symmetry,
        )
        self.input_dim = input_dim
        self.symmetry = symmetry
        self.input_projection = nn.Linear(input_dim, hidden_dim)
        self.attention_layers = nn.ModuleList(
            EncoderLayer(hidden_dim, num_heads, dropout) for _ in range(num_layers)
        )
        self.protein_encoder = vector_encoder(hidden_dim, dropout)
        self.interaction_layer = interaction_layer(hidden_dim, dropout, symmetry)
        self.apply(init_weights)

    def encode_residues(self, residues: Residues) -> Tensor:
        """(B, L, D) residues -> (B, H)."""
        x_BLH = self.input_projection(residues.emb)
        for layer in self.attention_layers:
            x_BLH = layer(x_BLH, residues.padding)
        vector_BH: Tensor = self.protein_encoder(masked_mean(x_BLH, residues.padding))
        return vector_BH
