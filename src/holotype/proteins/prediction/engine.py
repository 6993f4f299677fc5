"""Where the work of a prediction is done: here, in this process; or in `ray_engine`, on several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from holotype.proteins.prediction.interactome import Best, Question, Scores
from holotype.proteins.prediction.pairs import ProteinEmbeddings, evaluating, known_proteins

if TYPE_CHECKING:
    from torch import nn

Progress = Callable[[str, int, int], None]
"""Called with what is done ("embedding", "encoding", "scoring", "writing"), how much, and of how much."""


class Engine(Protocol):
    """Where the work is done."""

    def embed(
        self, sequences: Mapping[str, str], records: Sequence[Mapping[str, Any]], progress: Progress | None
    ) -> ProteinEmbeddings:
        """Embeddings of sequences, made as those were that the records tell of."""

    def prepare(
        self, net: nn.Module, embeddings: ProteinEmbeddings, names: Sequence[str], progress: Progress | None
    ) -> None:
        """Get ready to score pairs of these proteins."""

    def answers(self, question: Question, first: int) -> Iterator[Scores | list[Best]]:
        """The answers to the blocks of a question from a first one on, in order."""


class LocalEngine:
    """This process.

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
        """Embeddings of sequences, from the user's cache where they are there."""
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
    """The part of an encoder record that says how to embed."""
    keys = ("pooling", "dtype", "compute_dtype", "window", "overlap")
    return {"name": record["encoder"], **{key: record[key] for key in keys if record.get(key) is not None}}


def stage_of(progress: Progress | None, stage: str) -> Callable[[int, int | None], None] | None:
    """A callable for one stage of what is done, or None."""
    return None if progress is None else lambda done, total: progress(stage, done, total or 0)
