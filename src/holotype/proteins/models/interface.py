"""The interface of protein interaction models, and the checks of its inputs.

Shapes: B pairs; L residues (padded); D embedding width; H hidden width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from holotype.errors import PairwiseModelError, ShapeError
from holotype.proteins.models import factored
from holotype.proteins.models.blocks import Symmetry, interaction_logits
from holotype.tasks import Task

_PAIRS_AT_ONCE = 8192


class Residues(NamedTuple):
    """Checked embeddings of a batch of proteins.

    Attributes:
        emb: (B, L, D) in the dtype of the model, 0 at padding.
        padding: (B, L), True at padding.
    """

    emb: Tensor
    padding: Tensor


class Prepared(NamedTuple):
    """What a model that looks at both proteins can compute of each one alone.

    Attributes:
        residues: tensors (B, L, ...), a value for each residue; values at padding have no effect.
        proteins: tensors (B, ...), a value for each protein.
    """

    residues: tuple[Tensor, ...]
    proteins: tuple[Tensor, ...] = ()


class BaseProteinModel(nn.Module):
    """A model that scores whether two proteins interact.

    A model that encodes each protein alone declares ``encodes_alone = True`` and defines
    `encode_residues`, `input_dim`, `symmetry` and `interaction_layer`; `forward`, `encode` and `score`
    follow. Any other model defines `forward`, and may define `prepare_residues` and `score_residues`.

    To score many pairs, prediction calls `encode` and `prepare` once for each protein, then `score_each` or
    `score_block`; for a model that does not encode alone, `prepare_residues` and `score_residues`. All of
    them return what `forward` returns, up to rounding; a model overrides them where it has a faster way.

    Attributes:
        task: the task of these models.
        capabilities: the checks of `holotype.testing` that they pass; a family may add more.
        small_parameters: parameters of a small network, for tests.
        encodes_alone: whether the class turns each protein into a vector without looking at the other one. If
            so, N proteins are encoded once and `score` takes all pairs of them.
        input_dim: D, the width of the embeddings.
        symmetry: how the order of the two proteins is treated; see
            `holotype.proteins.models.blocks.interaction_logits`.
    """

    task = Task.PROTEIN_INTERACTION
    capabilities: ClassVar[frozenset[str]] = frozenset({"compile", "export"})
    small_parameters: ClassVar[Mapping[str, object]] = {"input_dim": 12, "hidden_dim": 16}
    encodes_alone: ClassVar[bool] = False
    input_dim: int
    symmetry: Symmetry = "none"
    interaction_layer: nn.Module

    @property
    def symmetric(self) -> bool:
        """Whether (b, a) has the same score as (a, b). Declared by the class and checked by tests."""
        return self.symmetry != "none"

    def forward(self, emb_a: Tensor, emb_b: Tensor, lengths_a: Tensor, lengths_b: Tensor) -> Tensor:
        """Score whether two proteins interact.

        Shapes: B pairs; La, Lb residues (padded); D embedding width. Values at padding have no effect, not
        even NaN. An empty batch gives an empty result.

        Args:
            emb_a: (B, La, D) residue embeddings of the first protein, any float dtype.
            emb_b: (B, Lb, D) residue embeddings of the second protein.
            lengths_a: (B,) true residue counts, 1 <= lengths_a <= La, any integer dtype.
            lengths_b: (B,) the same of the second protein.

        Returns:
            (B,) logits in the dtype of the model; apply a sigmoid for a probability.

        Raises:
            ShapeError: D differs from `input_dim`, the batches differ, or a length is out of range. (In a
                compiled graph a length out of range raises RuntimeError, and in an exported one it is not
                checked.)
        """
        a, b = self.check_pair(emb_a, emb_b, lengths_a, lengths_b)
        return self.score_vectors(self.encode_residues(a), self.encode_residues(b))

    def encode(self, emb: Tensor, lengths: Tensor) -> Tensor:
        """Turn each protein into a vector, for `score`.

        Args:
            emb: (B, L, D) residue embeddings, padded, any float dtype.
            lengths: (B,) true residue counts, 1 <= lengths <= L.

        Returns:
            (B, H) in the dtype of the model.

        Raises:
            PairwiseModelError: the model looks at both proteins at once.
            ShapeError: as for `forward`.
        """
        self._require_encodes_alone("encode")
        return self.encode_residues(self._check("", emb, lengths))

    def score(self, enc_a: Tensor, enc_b: Tensor) -> Tensor:
        """Score pairs of encoded proteins: ``score(encode(a), encode(b))`` equals ``forward``.

        Args:
            enc_a: (B, H) first proteins, from `encode`.
            enc_b: (B, H) second proteins.

        Returns:
            (B,) logits.

        Raises:
            PairwiseModelError: the model looks at both proteins at once.
            ShapeError: the two do not have the same shape (B, H).
        """
        self._require_encodes_alone("score")
        if enc_a.ndim != 2 or enc_a.shape != enc_b.shape:
            raise ShapeError(
                f"enc_a and enc_b: expected the same shape (B, H), as encode() returns it; "
                f"got {tuple(enc_a.shape)} and {tuple(enc_b.shape)}.",
                given=(tuple(enc_a.shape), tuple(enc_b.shape)),
            )
        return self.score_vectors(enc_a, enc_b)

    def score_vectors(self, a_BH: Tensor, b_BH: Tensor) -> Tensor:
        """Vectors from `encode_residues`, (B, H) each -> (B,) logits; for another head, override it."""
        return interaction_logits(self.interaction_layer, a_BH, b_BH, self.symmetry)

    def prepare(self, enc: Tensor) -> tuple[Tensor, ...]:
        """Compute once what scoring needs of each protein.

        The first layer of the head is split into a part for each protein:
        `holotype.proteins.models.factored`.

        Args:
            enc: (N, H) proteins, from `encode`.

        Returns:
            Tensors whose first dimension is N; `score_each` and `score_block` take any rows of them.

        Raises:
            PairwiseModelError: the model looks at both proteins at once.
        """
        self._require_encodes_alone("prepare")
        if self._factors(enc):
            return factored.prepare(self.interaction_layer, enc, self.symmetry)  # type: ignore[arg-type]  # checked
        return (enc,)

    def score_each(self, prepared_a: tuple[Tensor, ...], prepared_b: tuple[Tensor, ...]) -> Tensor:
        """Score pairs of prepared proteins: row p of one with row p of the other.

        Returns:
            (P,) logits, those of `forward` up to rounding.
        """
        if len(prepared_a) > 1:
            head: nn.Sequential = self.interaction_layer  # type: ignore[assignment]  # `prepare` checked it
            return factored.score_each(head, prepared_a, prepared_b, self.symmetry)
        return self.score(prepared_a[0], prepared_b[0])

    def score_block(self, prepared_a: tuple[Tensor, ...], prepared_b: tuple[Tensor, ...]) -> Tensor:
        """Score every pair of two sets of prepared proteins, Na and Nb of them.

        Returns:
            (Na, Nb) logits, those of `forward` up to rounding.
        """
        if len(prepared_a) > 1:
            head: nn.Sequential = self.interaction_layer  # type: ignore[assignment]  # `prepare` checked it
            return factored.score_block(head, prepared_a, prepared_b, self.symmetry)
        (a,), (b,) = prepared_a, prepared_b
        rows = max(1, _PAIRS_AT_ONCE // max(1, len(b)))
        parts = [
            self.score(part.repeat_interleave(len(b), 0), b.repeat(len(part), *[1] * (b.ndim - 1)))
            for part in torch.split(a, rows)
        ]
        return torch.cat(parts).view(len(a), len(b)) if len(a) else a.new_empty(0, len(b))

    def _factors(self, enc: Tensor) -> bool:
        own = type(self)
        standard = (own.score, own.score_vectors) == (BaseProteinModel.score, BaseProteinModel.score_vectors)
        standard = standard and hasattr(self, "interaction_layer")
        return standard and factored.can_factor(self.interaction_layer, enc, self.symmetry)

    def prepare_residues(self, residues: Residues) -> Prepared:
        """Compute of each protein what does not depend on its partner, for `score_residues`.

        For models that do not encode alone. By default the embeddings themselves.
        """
        return Prepared((residues.emb,))

    def score_residues(self, a: Prepared, padding_a: Tensor, b: Prepared, padding_b: Tensor) -> Tensor:
        """Score pairs of proteins that `prepare_residues` prepared.

        Args:
            a: of B first proteins; its tensors may be expanded along B, so they must not be written to.
            padding_a: (B, La), True at padding.
            b: of B second proteins.
            padding_b: (B, Lb).

        Returns:
            (B,) logits, those of `forward` up to rounding.
        """
        lengths_a, lengths_b = padding_a.logical_not().sum(1), padding_b.logical_not().sum(1)
        logits: Tensor = self.forward(a.residues[0], b.residues[0], lengths_a, lengths_b)
        return logits

    def encode_residues(self, residues: Residues) -> Tensor:
        """Checked residues -> (B, H). Models that encode each protein alone define it."""
        raise NotImplementedError(
            f"{type(self).__name__} defines neither forward() nor encode_residues(); "
            "a BaseProteinModel needs one of them."
        )

    def check_pair(
        self, emb_a: Tensor, emb_b: Tensor, lengths_a: Tensor, lengths_b: Tensor
    ) -> tuple[Residues, Residues]:
        """Check the arguments of `forward`, and set padding to 0.

        Raises:
            ShapeError: as for `forward`.
        """
        a = self._check("_a", emb_a, lengths_a)
        b = self._check("_b", emb_b, lengths_b)
        if a.emb.shape[0] != b.emb.shape[0]:
            raise ShapeError(
                f"emb_a holds {a.emb.shape[0]} proteins and emb_b {b.emb.shape[0]}; expected as many.",
                given=(tuple(emb_a.shape), tuple(emb_b.shape)),
            )
        return a, b

    def _check(self, suffix: str, emb: Tensor, lengths: Tensor) -> Residues:
        padding_BL = _check_batch(suffix, emb, lengths, self.input_dim)
        dtype = next(self.parameters()).dtype
        # Before the first layer: otherwise NaN in padding would reach the gradients.
        return Residues(emb.to(dtype).masked_fill(padding_BL.unsqueeze(-1), 0), padding_BL)

    def _require_encodes_alone(self, method: str) -> None:
        if not self.encodes_alone:
            raise PairwiseModelError(
                f"{type(self).__name__} has no {method}(): it looks at both proteins of a pair at once.",
                given=type(self).__name__,
                hint="Call model(emb_a, emb_b, lengths_a, lengths_b). Classes whose `encodes_alone` is True "
                "have encode() and score().",
            )


def _check_batch(suffix: str, emb: Tensor, lengths: Tensor, input_dim: int) -> Tensor:
    """Check one side of a batch of pairs; return its padding, (B, L), True at padding."""
    if not isinstance(emb, Tensor) or emb.ndim != 3 or not emb.dtype.is_floating_point:
        raise ShapeError(
            f"emb{suffix}: expected (B, L, {input_dim}) floats, got {_describe(emb)}.", given=_shape(emb)
        )
    batch, longest, width = emb.shape
    if width != input_dim:
        raise ShapeError(
            f"emb{suffix}: expected (B, L, {input_dim}), got {_describe(emb)}.",
            given=_shape(emb),
            hint=f"The model was built with input_dim={input_dim}; embeddings of this width need "
            f"input_dim={width}.",
        )
    if not isinstance(lengths, Tensor) or lengths.dtype.is_floating_point or lengths.dtype.is_complex:
        raise ShapeError(
            f"lengths{suffix}: expected ({batch},) integers, got {_describe(lengths)}.", given=_shape(lengths)
        )
    if lengths.shape != (batch,) or lengths.dtype is torch.bool:
        raise ShapeError(
            f"lengths{suffix}: expected ({batch},) integers, one for each protein in emb{suffix}, "
            f"got {_describe(lengths)}.",
            given=_shape(lengths),
        )
    lengths_B = lengths.long()
    _check_range(suffix, lengths_B, longest)
    return torch.arange(longest, device=emb.device) >= lengths_B.to(emb.device).unsqueeze(-1)


def _check_range(suffix: str, lengths_B: Tensor, longest: int) -> None:
    if lengths_B.is_meta or torch.compiler.is_exporting():
        return  # there are no values to check
    wrong_B = (lengths_B < 1) | (lengths_B > longest)
    if torch.compiler.is_compiling():
        torch._assert_async(wrong_B.any().logical_not(), f"lengths{suffix}: expected 1 to L residues")
    elif wrong_B.any():
        at = int(wrong_B.nonzero()[0])
        length = int(lengths_B[at])
        raise ShapeError(
            f"lengths{suffix}[{at}] is {length}; emb{suffix} has room for 1 to {longest} residues."
            if length
            else f"lengths{suffix}[{at}] is 0: an empty protein cannot be scored.",
            given=length,
        )


def _shape(value: object) -> object:
    return tuple(value.shape) if isinstance(value, Tensor) else value


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} of {value.dtype}"
    return f"a {type(value).__name__}"
