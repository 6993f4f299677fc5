"""`v1`: the mean of the residues of each protein, then a perceptron on both means.

Source: the published classifier of that name for ESM-C embeddings (960 wide for ESM-C 300M), whose
checkpoints fit: same parameter names, shapes and order, 411,649 parameters. No paper describes it.

Differs: NaN at padding has no effect, impossible lengths are errors, and `symmetry` offers a score that does
not depend on the order of the two proteins.

Shapes: B pairs; L residues (padded); D embedding width; H hidden width.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from holotype import register_model
from holotype.proteins.models.blocks import check_parameters, init_weights, interaction_layer, masked_mean
from holotype.proteins.models.interface import BaseProteinModel, Residues


@register_model(
    "v1",
    description="Mean of each protein's residue embeddings, then an MLP on the pair",
    features=["average_pooling", "mlp_layers"],
    complexity="low",
    params=411_649,
    recommended_use_cases=["baseline", "scoring_all_pairs", "small_datasets"],
)
class SimplifiedProteinClassifier(BaseProteinModel):
    """Masked mean -> Linear, LayerNorm, ReLU, Dropout (one encoder for both proteins) -> head.

    Args:
        input_dim: D, the width of the residue embeddings; 960 is ESM-C 300M.
        hidden_dim: H, the width of a protein's vector.
        dropout: probability after the encoder and after each hidden layer of the head.
        symmetry: how the head treats the order of the two proteins: ``"none"`` (as published, order
            matters), ``"average"`` or ``"sum"``.

    Raises:
        ParameterError: a parameter is out of range.
    """

    encodes_alone: ClassVar[bool] = True

    def __init__(
        self,
        input_dim: int = 960,
        hidden_dim: int = 256,
        dropout: float = 0.3,
        symmetry: Literal["none", "average", "sum"] = "none",
    ) -> None:
        super().__init__()
        check_parameters(self, input_dim=input_dim, hidden_dim=hidden_dim, dropout=dropout, symmetry=symmetry)
        self.input_dim = input_dim
        self.symmetry = symmetry
        self.protein_encoder = nn.Sequential(
            nn.Linear(input_dim, hidden_dim),
            nn.LayerNorm(hidden_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.interaction_layer = interaction_layer(hidden_dim, dropout, symmetry)
        self.apply(init_weights)

    def encode_residues(self, residues: Residues) -> Tensor:
        """(B, L, D) residues -> (B, H)."""
        vector_BH: Tensor = self.protein_encoder(masked_mean(residues.emb, residues.padding))
        return vector_BH
