"""A prediction on the workers of a Ray cluster: ``--engine ray``.

Sequences, proteins and blocks of pairs are cut into pieces that do not depend on the number of workers. Each
piece is computed by the same code as in one process, and the results are returned in order. With given
embeddings, the scores equal those of one process with one thread to the last bit. Embeddings that are
computed for the prediction are batched differently than in one process, and may differ in their last digit.

Without a cluster (``RAY_ADDRESS``, or one that the program is connected to), Ray starts one on this machine
and stops it afterwards. On several machines, embeddings and the user's cache folder must be on a shared file
system.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from holotype.errors import HolotypeError, MissingExtraError, ParameterError
from holotype.files import sha256_of_parts
from holotype.home import cache_home
from holotype.proteins.models.interface import BaseProteinModel
from holotype.proteins.prediction.engine import Progress, spec_of, stage_of
from holotype.proteins.prediction.interactome import Best, Question, Scores
from holotype.proteins.prediction.scoring import (
    RESIDUES_PER_BATCH,
    EncodedProteins,
    ProteinEmbeddings,
    ResidueProteins,
    encode_batch,
    evaluating,
    length_batches,
)

if TYPE_CHECKING:
    from torch import nn

_PIECE_RESIDUES = 2**18  # of the sequences that a worker embeds at once
# Pieces sent to a worker: one that it computes, and one that waits.
_AHEAD = 2


class RayEngine:
    """Workers of a Ray cluster; a context manager.

    Args:
        workers: their number; as many as the cluster has processors if None.
        device: only ``"cpu"``.

    Raises:
        MissingExtraError: Ray is not installed.
        ParameterError: another device.
        HolotypeError: the cluster cannot be reached.
    """

    name = "ray"

    def __init__(self, *, workers: int | None = None, device: str = "cpu") -> None:
        if device != "cpu":
            raise ParameterError(
                f"the Ray engine runs on CPUs only; device {device!r} needs the local engine.",
                given=device,
                hint="Leave out --device, or --engine ray.",
            )
        self._ray = _import_ray()
        self._wanted = workers
        self._workers: list[Any] = []
        self._ours = False

    def __enter__(self) -> RayEngine:
        ray = self._ray
        if not ray.is_initialized():
            # Otherwise Ray sends usage statistics and prints.
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            elsewhere = os.environ.get("RAY_ADDRESS")
            begun = {} if elsewhere else {"num_cpus": self._wanted, "include_dashboard": False}
            try:
                ray.init(log_to_driver=False, logging_level="ERROR", **begun)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise HolotypeError(
                    f"Ray cannot be reached{f' at {elsewhere}' if elsewhere else ''}: {_first_line(error)}.",
                    given=elsewhere,
                    hint="'ray status' shows a cluster; without RAY_ADDRESS, Ray starts one here.",
                ) from error
            self._ours = True
        processors = max(1, int(ray.cluster_resources().get("CPU", 1)))
        count = min(self._wanted or processors, processors)
        # Not restarted: a lost worker has lost its proteins; the finished blocks are kept.
        worker = ray.remote(num_cpus=1)(_Worker)
        own = {key: value for key, value in os.environ.items() if key.startswith("HOLOTYPE_")}
        self._workers = [worker.remote(own, list(sys.path)) for _ in range(count)]
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            self._ray.kill(worker)
        self._workers = []
        if self._ours:
            self._ray.shutdown()

    def embed(
        self, sequences: Mapping[str, str], records: Sequence[Mapping[str, Any]], progress: Progress | None
    ) -> ProteinEmbeddings:
        """Embeddings of sequences, in pieces; each is stored in the user's cache folder."""
        specs = [spec_of(record) for record in records]
        pieces = [{name: sequences[name] for name in names} for names in sequence_pieces(sequences)]
        stage, parts, done = stage_of(progress, "embedding"), [], 0
        for part, piece in zip(
            self._in_order("embed", ((one, specs) for one in pieces)), pieces, strict=True
        ):
            parts.append(part)
            done += sum(map(len, piece.values()))
            if stage is not None:
                stage(done, sum(map(len, sequences.values())))
        return Pieces(parts)

    def prepare(
        self, net: nn.Module, embeddings: ProteinEmbeddings, names: Sequence[str], progress: Progress | None
    ) -> None:
        """Encode the proteins in batches, and give all of them to every worker."""
        put = self._ray.put
        self._everywhere("load", put(net), put(embeddings), list(names))
        if not (isinstance(net, BaseProteinModel) and net.encodes_alone):
            return
        batches = length_batches([len(embeddings[name]) for name in names], RESIDUES_PER_BATCH)
        encoded: np.ndarray[Any, Any] | None = None
        stage, done = stage_of(progress, "encoding"), 0
        for batch, found in zip(batches, self._in_order("encode", ((b,) for b in batches)), strict=True):
            if encoded is None:
                encoded = np.empty((len(names), *found.shape[1:]), found.dtype)
            encoded[batch] = found
            done += len(batch)
            if stage is not None:
                stage(done, len(names))
        if encoded is not None:
            self._everywhere("take", put(encoded))

    def answers(self, question: Question, first: int) -> Iterator[Scores | list[Best]]:
        """The answers to the blocks of a question from a first one on, in order."""
        asked = self._ray.put(question)
        yield from self._in_order("answer", ((asked, block) for block in range(first, len(question.sizes))))

    def _everywhere(self, method: str, *arguments: Any) -> None:
        self._get([getattr(worker, method).remote(*arguments) for worker in self._workers])

    def _in_order(self, method: str, pieces: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """The results of pieces, in order; few pieces are sent at a time."""
        waiting: deque[Any] = deque()
        for at, piece in enumerate(pieces):
            if len(waiting) == _AHEAD * len(self._workers):
                yield self._get(waiting.popleft())
            worker = self._workers[at % len(self._workers)]
            waiting.append(getattr(worker, method).remote(*piece))
        while waiting:
            yield self._get(waiting.popleft())

    def _get(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, HolotypeError):
                raise error.cause from None
            raise
        except self._ray.exceptions.RayError as error:
            raise HolotypeError(
                f"a Ray worker was lost: {_first_line(error)}.",
                hint="Repeat the command: it continues from the last complete block. If memory ran out, use "
                "fewer workers.",
            ) from error


class _Worker:
    """A process that computes pieces, with one thread."""

    def __init__(self, environment: Mapping[str, str], path: list[str]) -> None:
        torch.set_num_threads(1)
        os.environ.update(environment)
        sys.path.extend(entry for entry in path if entry not in sys.path)

    def embed(self, sequences: Mapping[str, str], specs: Sequence[Mapping[str, Any]]) -> Any:
        from holotype.proteins.prediction.embedding import embeddings_for

        # A folder for each piece, because processes that write the same file wait for each other.
        key = sha256_of_parts("\0".join(sorted(sequences.values())))[:16]
        return embeddings_for(sequences, specs, folder=Path(cache_home(), "embeddings", "pieces", key))

    def load(self, net: nn.Module, embeddings: ProteinEmbeddings, names: list[str]) -> None:
        self._net, self._embeddings, self._names = net.eval(), embeddings, names
        self._proteins: EncodedProteins | ResidueProteins = ResidueProteins(net, embeddings, names)

    def encode(self, batch: np.ndarray[Any, Any]) -> Any:
        if not isinstance(self._net, BaseProteinModel):
            raise TypeError(type(self._net).__name__)  # `prepare` has looked
        with evaluating(self._net):
            return encode_batch(self._net, self._embeddings, [self._names[at] for at in batch]).numpy()

    def take(self, encoded: np.ndarray[Any, Any]) -> None:
        if not isinstance(self._net, BaseProteinModel):
            raise TypeError(type(self._net).__name__)
        with evaluating(self._net):
            # A copy: arrays that Ray shares among processes are read-only, and torch warns about them.
            self._proteins = EncodedProteins(self._net, self._net.prepare(torch.tensor(encoded)))

    def answer(self, question: Question, block: int) -> Scores | list[Best]:
        with evaluating(self._net):
            return question.answer(self._proteins, block)


class Pieces:
    """Embeddings of several files with different proteins, as one.

    Args:
        parts: embeddings of one record.
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = tuple(parts)
        self.names = tuple(name for part in parts for name in part.names)
        self.dim: int = parts[0].dim
        self.record = parts[0].record
        self._places = {name: at for at, part in enumerate(parts) for name in part.names}

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        rows: np.ndarray[Any, Any] = self.parts[self._places[name]][name]
        return rows

    def sequence_sha256(self, name: str) -> str:
        """The sha256 of the sequence that was embedded."""
        return str(self.parts[self._places[name]].sequence_sha256(name))


def sequence_pieces(sequences: Mapping[str, str], most: int = _PIECE_RESIDUES) -> list[list[str]]:
    """Names of sequences of similar lengths, in pieces of about so many residues."""
    pieces: list[list[str]] = []
    room = 0
    for name in sorted(sequences, key=lambda name: -len(sequences[name])):
        if not pieces or len(sequences[name]) > room:
            pieces.append([])
            room = most
        pieces[-1].append(name)
        room -= len(sequences[name])
    return pieces


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingExtraError(
            "the Ray engine needs Ray, which is not installed.",
            given="ray",
            hint='pip install "holotype[ray]"; or leave out --engine ray',
        ) from error
    return ray


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".")[:200] if lines else type(error).__name__
