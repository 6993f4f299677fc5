"""The interface of protein encoders: a sequence in, a vector for each residue out.

Shapes: B proteins; L residues (padded); D embedding width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from holotype.errors import DataError, ParameterError, ShapeError
from holotype.tasks import Task


class ProteinEncoder(nn.Module):
    """A network that turns amino acids into vectors.

    A family sets `letters` and `embedding_dim`, and defines `embed_residues`. Batching and padding change
    only the rounding: a protein has the same embedding alone, among others, and in any order.

    Attributes:
        task: the task of these networks.
        capabilities: the checks of `holotype.testing` that they pass; a family may add more.
        letters: the token of every letter A to Z; several letters may share one.
        compute_dtypes: the dtypes of its matrix products, first that of its parameters; see
            `set_compute_dtype`.
        whole_protein: whether the class returns one vector for a whole protein, (B, 1, D), instead of one for
            each residue.
        embedding_dim: D.
        max_residues: the longest protein it takes; None for any length.
        residues_per_batch: residues, padding included, of a batch that runs well.
    """

    task = Task.PROTEIN_EMBEDDING
    capabilities: ClassVar[frozenset[str]] = frozenset()
    letters: ClassVar[Mapping[str, int]]
    compute_dtypes: ClassVar[tuple[str, ...]] = ("float32",)
    whole_protein: ClassVar[bool] = False
    embedding_dim: int
    max_residues: int | None = None
    residues_per_batch: int = 16_384

    def __init__(self) -> None:
        super().__init__()
        self.compute_dtype = "float32"

    def tokenize(self, sequence: str) -> Tensor:
        """One token for each letter.

        Args:
            sequence: upper-case letters A to Z; B, J, O, U, X and Z are as `letters` has them.

        Returns:
            (L,) int64.

        Raises:
            DataError: an empty sequence, or a character that is not an upper-case letter.
        """
        if not sequence:
            raise DataError("an empty sequence has no residues to embed.", given=sequence)
        if not (sequence.isascii() and sequence.isalpha() and sequence.isupper()):
            at, wrong = next((at, c) for at, c in enumerate(sequence) if c not in _LETTERS)
            raise DataError(
                f"{wrong!r} at place {at + 1} of a sequence is not an amino acid; expected A to Z.",
                given=wrong,
                hint="holotype.proteins.data.fasta.read_proteins corrects what FASTA files hold.",
            )
        codes = torch.frombuffer(bytearray(sequence, "ascii"), dtype=torch.uint8).long() - ord("A")
        return self._table()[codes]

    def collate(self, sequences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens and lengths of a batch, on the device of the network.

        Args:
            sequences: B of them, as `tokenize` takes them.

        Returns:
            (B, L) tokens, 0 at padding, and (B,) lengths, both int64.
        """
        if not sequences:
            return torch.zeros(0, 1, dtype=torch.long), torch.zeros(0, dtype=torch.long)
        tokens = nn.utils.rnn.pad_sequence([self.tokenize(s) for s in sequences], batch_first=True)
        device = next((p.device for p in self.parameters()), torch.device("cpu"))
        return tokens.to(device), torch.tensor([len(s) for s in sequences], device=device)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Embed proteins. Tokens at padding have no effect.

        Args:
            tokens: (B, L) from `tokenize`, padded with any values.
            lengths: (B,) true residue counts, 1 <= lengths <= L, any integer dtype.

        Returns:
            (B, L, D) embeddings of the residues, 0 at padding; (B, 1, D) where `whole_protein`.

        Raises:
            ShapeError: other shapes or dtypes, a length out of range, an unknown token, or a protein of more
                than `max_residues`.
        """
        lengths = self.check_batch(tokens, lengths)
        if self.whole_protein:
            return self.embed_residues(tokens, lengths)
        emb_BLD = self.embed_residues(tokens, lengths)
        return emb_BLD.masked_fill(padding_of(tokens, lengths).unsqueeze(-1), 0)

    def embed_residues(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Checked tokens (B, L) and lengths (B,) → (B, L, D), anything at padding. A family defines it."""
        raise NotImplementedError(f"{type(self).__name__} does not define embed_residues().")

    def set_compute_dtype(self, name: str) -> Self:
        """Set the dtype of large matrix products; parameters and results keep theirs.

        Raises:
            ParameterError: the network does not support it.
        """
        if name not in self.compute_dtypes:
            raise ParameterError(
                f"{type(self).__name__} computes in {' or '.join(self.compute_dtypes)}, got {name!r}.",
                given=name,
            )
        self.compute_dtype = name
        return self

    @property
    def token_count(self) -> int:
        """The number of tokens; each token is smaller."""
        return max(self.letters.values()) + 1

    def check_batch(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Check the arguments of `forward`; return the lengths as int64 on the device of the tokens."""
        if not isinstance(tokens, Tensor) or tokens.ndim != 2 or not _is_integer(tokens):
            raise ShapeError(
                f"tokens: expected (B, L) integers, got {_describe(tokens)}.",
                given=_describe(tokens),
                hint="encoder.collate(sequences) makes tokens and lengths of a batch.",
            )
        batch, longest = tokens.shape
        if not isinstance(lengths, Tensor) or lengths.shape != (batch,) or not _is_integer(lengths):
            raise ShapeError(
                f"lengths: expected ({batch},) integers, one for each protein in tokens, "
                f"got {_describe(lengths)}.",
                given=_describe(lengths),
            )
        lengths = lengths.to(tokens.device, torch.long)
        if tokens.is_meta or torch.compiler.is_exporting() or torch.compiler.is_compiling():
            return lengths  # there are no values to check
        wrong_B = (lengths < 1) | (lengths > longest)
        if wrong_B.any():
            at = int(wrong_B.nonzero()[0])
            raise ShapeError(
                f"lengths[{at}] is {int(lengths[at])}; tokens have room for 1 to {longest} residues.",
                given=int(lengths[at]),
            )
        if self.max_residues is not None and batch and int(lengths.max()) > self.max_residues:
            raise ShapeError(
                f"a protein of {int(lengths.max())} residues: {type(self).__name__} takes at most "
                f"{self.max_residues}.",
                given=int(lengths.max()),
                hint="Embed it in windows: see --window of holotype embed.",
            )
        strange = (tokens < 0) | (tokens >= self.token_count)
        if strange.any() and (strange & ~padding_of(tokens, lengths)).any():
            token = int(tokens[strange & ~padding_of(tokens, lengths)][0])
            raise ShapeError(
                f"tokens: {token} is not a token of {type(self).__name__}; expected 0 to "
                f"{self.token_count - 1}.",
                given=token,
            )
        return lengths

    def _table(self) -> Tensor:
        return torch.tensor([self.letters[letter] for letter in ascii_uppercase])


_LETTERS = frozenset(ascii_uppercase)


def padding_of(tokens: Tensor, lengths: Tensor) -> Tensor:
    """(B, L), True at padding."""
    return torch.arange(tokens.shape[1], device=tokens.device) >= lengths.unsqueeze(-1)


def letters_of(alphabet: str, *, unknown: int, first: int = 0, **others: int) -> dict[str, int]:
    """The token of every letter A to Z: its place in `alphabet`, what `others` says, or `unknown`.

    >>> letters_of("-MR", unknown=23)["R"]
    2
    """
    places = {letter: first + place for place, letter in enumerate(alphabet)}
    return {letter: others.get(letter, places.get(letter, unknown)) for letter in ascii_uppercase}


def _is_integer(value: Tensor) -> bool:
    return not (value.dtype.is_floating_point or value.dtype.is_complex or value.dtype is torch.bool)


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} of {value.dtype}"
    return f"a {type(value).__name__}"
