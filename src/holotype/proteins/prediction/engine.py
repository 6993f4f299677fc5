"""Engines, which compute a prediction: this process here, or Ray workers in `ray_engine`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from holotype.proteins.prediction.interactome import Best, Question, Scores
from holotype.proteins.prediction.scoring import ProteinEmbeddings, evaluating, known_proteins

if TYPE_CHECKING:
    from torch import nn

Progress = Callable[[str, int, int], None]
"""Called with the stage ("embedding", "encoding", "scoring", "writing"), the amount done, and the total."""


class Engine(Protocol):
    """What computes a prediction."""

    def embed(
        self, sequences: Mapping[str, str], records: Sequence[Mapping[str, Any]], progress: Progress | None
    ) -> ProteinEmbeddings:
        """Embeddings of sequences, made as the encoder records say."""

    def prepare(
        self, net: nn.Module, embeddings: ProteinEmbeddings, names: Sequence[str], progress: Progress | None
    ) -> None:
        """Prepare for scoring pairs of these proteins."""

    def answers(self, question: Question, first: int) -> Iterator[Scores | list[Best]]:
        """The answers to the blocks of a question from a first one on, in order."""


class LocalEngine:
    """Computes in this process.

    Args:
        device: where to run.
    """

    name = "local"

    def __init__(self, device: str = "cpu") -> None:
        self._device = device

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def embed(
        self, sequences: Mapping[str, str], records: Sequence[Mapping[str, Any]], progress: Progress | None
    ) -> ProteinEmbeddings:
        """Embeddings of sequences, from the user's cache as far as it has them."""
        from holotype.proteins.prediction.embedding import embeddings_for

        specs = [spec_of(record) for record in records]
        return embeddings_for(sequences, specs, progress=stage_of(progress, "embedding"), device=self._device)

    def prepare(
        self, net: nn.Module, embeddings: ProteinEmbeddings, names: Sequence[str], progress: Progress | None
    ) -> None:
        """Encode the proteins."""
        self._net = net
        with evaluating(net, self._device):
            self._proteins = known_proteins(net, embeddings, names, progress=stage_of(progress, "encoding"))

    def answers(self, question: Question, first: int) -> Iterator[Scores | list[Best]]:
        """One block after the other."""
        for block in range(first, len(question.sizes)):
            with evaluating(self._net, self._device):
                found = question.answer(self._proteins, block)
            yield found


def spec_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The encoder specification of a record."""
    keys = ("pooling", "dtype", "compute_dtype", "window", "overlap")
    return {"name": record["encoder"], **{key: record[key] for key in keys if record.get(key) is not None}}


def stage_of(progress: Progress | None, stage: str) -> Callable[[int, int | None], None] | None:
    """A progress callback for one stage, or None."""
    return None if progress is None else lambda done, total: progress(stage, done, total or 0)
