"""From sequences to embeddings: an encoder by its name, batches of like lengths, one file.

::

    embed(read_proteins("yeast.fasta"), "unirep_256", "yeast.emb")

Proteins are sorted by length and batched by a budget of residues, the longest first. Each is written as soon
as it is computed, so the same call continues after a kill. A protein that is too long for its encoder is an
error unless windows are given; no protein is left out.
"""

from __future__ import annotations

import json
import secrets
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from holotype.errors import ConfigError, DataError
from holotype.files import check_new, sha256_of_parts
from holotype.home import cache_home
from holotype.proteins.data.embedding_writer import EmbeddingWriter, check_same_record, hash_sequence
from holotype.proteins.data.embeddings import Embeddings, JoinedEmbeddings, open_embeddings
from holotype.proteins.prediction.encoders import EncoderOrigin, EncoderSpec, find_encoder, load, load_encoder
from holotype.store.folder import make_folder
from holotype.store.locks import is_held
from holotype.text import counted, listed

__all__ = ["EncoderSpec", "embed", "embeddings_for", "load_encoder", "windows"]

Progress = Callable[[int, int | None], None]
_RESIDUES_PER_BATCH = 16_384
_SHOWN = 8
_POLL_S = 0.2


def embed(
    sequences: Mapping[str, str],
    spec: EncoderSpec | str | Mapping[str, Any],
    path: str | Path,
    *,
    progress: Progress | None = None,
    residues_per_batch: int | None = None,
    resume: bool = True,
    overwrite: bool = False,
    device: str | torch.device = "cpu",
) -> Embeddings:
    """Embed proteins into a file.

    Proteins that the file holds are not computed again, so the same call continues after an interruption, and
    a call with more sequences adds them.

    Args:
        sequences: name → sequence, upper-case letters A–Z; see `holotype.proteins.data.fasta.read_proteins`.
        spec: the encoder.
        path: the file.
        progress: called with the residues done and all residues; first with those the file held.
        residues_per_batch: residues, padding included, of a batch; chosen by the encoder if None. It changes
            speed and memory, and numbers only by rounding.
        resume: continue an existing file; if False, such a file is an error.
        overwrite: replace an existing file.
        device: where the network runs.

    Returns:
        The embeddings of these proteins, in their order. The file may hold more.

    Raises:
        DataError: a sequence cannot be embedded (empty, not letters, too long, its embedding not finite); or
            the file holds other embeddings, or the same name with another sequence, or has a writer.
        ConfigError: the encoder does not support what `spec` asks for.
        StoreError: the file cannot be written.
    """
    spec = EncoderSpec.parse(spec)
    path = Path(path)
    _check_sequences(sequences)
    if residues_per_batch is not None and residues_per_batch < 1:
        raise ConfigError(
            f"residues_per_batch: expected 1 or more, got {residues_per_batch}.", given=residues_per_batch
        )
    _check_device(device)
    if not resume:
        check_new(path, overwrite=overwrite)
    source = find_encoder(spec)
    there = None if overwrite else _all_there(sequences, spec, source, path)
    if there is not None:
        if progress is not None:
            total = sum(map(len, sequences.values()))
            progress(total, total)
        return there
    net, record = load(spec, source)
    pieces = _pieces(sequences, net, spec)
    with EmbeddingWriter(path, record, overwrite=overwrite) as writer:
        _fill(writer, sequences, pieces, net, spec, residues_per_batch, device, progress)
    return open_embeddings(path).select(sequences)


def embeddings_for(
    sequences: Mapping[str, str],
    specs: EncoderSpec | str | Mapping[str, Any] | Iterable[EncoderSpec | str | Mapping[str, Any]],
    *,
    folder: str | Path | None = None,
    progress: Progress | None = None,
    device: str | torch.device = "cpu",
) -> Embeddings:
    """The embeddings of proteins, from the user's cache folder as far as it has them.

    The cache has one file for each encoder with its weights, code and settings, in which a protein is named
    by its sequence. So a sequence that was embedded for one set of proteins is reused for any other set,
    under any name. Processes that need the same file wait for each other.

    Args:
        sequences: name → sequence.
        specs: the encoder; or several, whose embeddings are joined side by side.
        folder: where to keep the files; ``embeddings`` in `holotype.home.cache_home` if None.
        progress: as for `embed`, for each encoder.
        device: where networks run.

    Returns:
        The embeddings of these proteins, in their order, under their names.

    Raises:
        As `embed`.
    """
    several = [specs] if isinstance(specs, (EncoderSpec, str, Mapping)) else list(specs)
    if not several:
        raise ConfigError("no encoder was given.", given=several)
    _check_sequences(sequences)
    _check_device(device)
    place = make_folder(Path(folder) if folder is not None else Path(cache_home()) / "embeddings")
    parts = [_cached(sequences, EncoderSpec.parse(one), place, progress, device) for one in several]
    return parts[0] if len(parts) == 1 else JoinedEmbeddings(parts)


class _Piece(NamedTuple):
    """A part of a protein that is embedded at once: all of it, or a window."""

    name: str
    start: int
    size: int


def _check_sequences(sequences: Mapping[str, str]) -> None:
    if not sequences:
        raise DataError("no proteins were given.", given=sequences)
    for name, sequence in sequences.items():
        if not isinstance(name, str) or not name:
            raise DataError(f"{name!r} is not the name of a protein.", given=name)
        if not isinstance(sequence, str) or not sequence:
            raise DataError(f"{name!r} has no sequence.", given=name)
        if not (sequence.isascii() and sequence.isalpha() and sequence.isupper()):
            raise DataError(
                f"the sequence of {name!r} holds other characters than upper-case letters A to Z.",
                given=name,
                hint="holotype.proteins.data.fasta.read_proteins corrects what FASTA files hold.",
            )


def _check_device(device: str | torch.device) -> None:
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        text = str(error).splitlines()[0]
        raise ConfigError(f"device {device} cannot be used: {text}", given=str(device)) from error


def _pieces(sequences: Mapping[str, str], net: Any, spec: EncoderSpec) -> dict[str, list[_Piece]]:
    """The pieces of each protein.

    Raises:
        DataError: proteins are too long; the message names them.
    """
    if spec.window is None:
        limit = net.max_residues
        long = {n: len(s) for n, s in sequences.items() if limit is not None and len(s) > limit}
        if long:
            shown = sorted(long, key=lambda name: (-long[name], name))
            raise DataError(
                f"{spec.name!r} takes at most {limit:,} residues, and {counted(len(long), 'protein')} "
                f"{'have' if len(long) > 1 else 'has'} more: "
                f"{listed([f'{name} ({long[name]:,})' for name in shown], _SHOWN)}.",
                problems=[f"{name}: {long[name]} residues" for name in shown],
                given=shown[:_SHOWN],
                hint=f"Embed them in windows: holotype embed --window {limit} --overlap {limit // 10}. "
                "For a model that was trained without windows, leave them out: "
                f"holotype predict --max-residues {limit}",
            )
    return {
        name: [_Piece(name, *place) for place in windows(len(sequence), spec.window, spec.overlap)]
        for name, sequence in sequences.items()
    }


def windows(length: int, window: int | None, overlap: int) -> list[tuple[int, int]]:
    """Starts and sizes of the windows: all of one size, the last one ends where the protein ends.

    >>> windows(25, 10, 2)
    [(0, 10), (8, 10), (15, 10)]
    >>> windows(7, 10, 2)
    [(0, 7)]
    """
    if window is None or length <= window:
        return [(0, length)]
    starts = [*range(0, length - window, window - overlap), length - window]
    return [(start, window) for start in starts]


def _batches(pieces: Iterable[_Piece], residues: int) -> Iterator[list[_Piece]]:
    """Batches of pieces of similar size, the largest first; at most so many padded residues, or one piece."""
    batch: list[_Piece] = []
    for piece in sorted(pieces, key=lambda piece: -piece.size):
        if batch and (len(batch) + 1) * batch[0].size > residues:
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch


def _fill(
    writer: EmbeddingWriter,
    sequences: Mapping[str, str],
    pieces: Mapping[str, Sequence[_Piece]],
    net: Any,
    spec: EncoderSpec,
    residues_per_batch: int | None,
    device: str | torch.device,
    progress: Progress | None,
    labels: Mapping[str, str] | None = None,
) -> None:
    """Compute and write the proteins that the file lacks."""
    missing = writer.missing(sequences)
    total = sum(map(len, sequences.values()))
    done = total - sum(len(sequences[name]) for name in missing)
    if progress is not None:
        progress(done, total)
    if not missing:
        return
    net = net.to(device)
    budget: int = residues_per_batch or getattr(net, "residues_per_batch", None) or _RESIDUES_PER_BATCH
    open_windows: dict[str, _Windows] = {}
    for batch in _batches((piece for name in missing for piece in pieces[name]), budget):
        for piece, rows in zip(batch, _run(net, sequences, batch, device), strict=True):
            name, sequence = piece.name, sequences[piece.name]
            if len(pieces[name]) > 1:
                joined = open_windows.setdefault(name, _Windows(len(sequence), len(pieces[name])))
                whole = joined.add(piece.start, rows)
                if whole is None:
                    continue
                del open_windows[name]
                rows = whole
            writer.add(name, sequence, _pooled(rows, spec.pooling), label=(labels or {}).get(name))
            done += len(sequence)
        if progress is not None:
            progress(done, total)


class _Windows:
    """The embedding of a long protein, assembled from its windows; overlaps are averaged."""

    def __init__(self, length: int, count: int) -> None:
        self._length, self._left = length, count
        self._sum: np.ndarray | None = None
        self._times = np.zeros((length, 1), np.float32)

    def add(self, start: int, rows: np.ndarray) -> np.ndarray | None:
        """The whole embedding once all windows were added, else None."""
        if self._sum is None:
            self._sum = np.zeros((self._length, rows.shape[1]), np.float32)
        self._sum[start : start + len(rows)] += rows
        self._times[start : start + len(rows)] += 1
        self._left -= 1
        return None if self._left else self._sum / self._times


def _pooled(rows: np.ndarray, pooling: str) -> np.ndarray:
    """(L, D) → (1, D) for each statistic, side by side; or the rows unchanged. Not rounded yet."""
    if pooling == "none" or (len(rows) == 1 and pooling == "mean"):
        return rows
    statistics = {
        "mean": lambda: rows.mean(axis=0, dtype=np.float64, keepdims=True),
        "std": lambda: rows.std(axis=0, dtype=np.float64, keepdims=True),
        "max": lambda: rows.max(axis=0, keepdims=True),
    }
    return np.concatenate([statistics[one]() for one in pooling.split("+")], axis=1).astype(np.float32)


def _run(
    net: Any, sequences: Mapping[str, str], batch: Sequence[_Piece], device: str | torch.device
) -> Iterator[np.ndarray]:
    """(rows, D) in single precision for each piece."""
    texts = [sequences[piece.name][piece.start : piece.start + piece.size] for piece in batch]
    tokens = torch.nn.utils.rnn.pad_sequence([net.tokenize(text) for text in texts], batch_first=True)
    lengths = torch.tensor([len(text) for text in texts])
    try:
        with torch.inference_mode():
            emb = net(tokens.to(device), lengths.to(device)).float().cpu().numpy()
    except torch.OutOfMemoryError as error:
        if len(batch) == 1:
            raise DataError(
                f"{batch[0].name!r} ({batch[0].size:,} residues) does not fit in the memory of {device}.",
                given=batch[0].name,
                hint="Embed long proteins in windows: --window 1000 --overlap 100; or use another device.",
            ) from error
        emb = None
    if emb is None:
        # Outside the handler, so that the memory is free again.
        middle = len(batch) // 2
        yield from _run(net, sequences, batch[:middle], device)
        yield from _run(net, sequences, batch[middle:], device)
        return
    whole = bool(getattr(net, "whole_protein", False))
    if emb.shape != (len(batch), 1 if whole else tokens.shape[1], net.embedding_dim):
        raise DataError(
            f"{type(net).__name__} returned embeddings of shape {emb.shape} for {len(batch)} proteins of up "
            f"to {tokens.shape[1]} residues and embedding_dim {net.embedding_dim}.",
            given=emb.shape,
        )
    for rows, text in zip(emb, texts, strict=True):
        yield rows if whole else rows[: len(text)]


def _all_there(
    sequences: Mapping[str, str], spec: EncoderSpec, source: EncoderOrigin, path: Path
) -> Embeddings | None:
    """The embeddings, if a finished file holds them all; this needs no network.

    Raises:
        DataError: it holds other embeddings, or other sequences; raised before weights are fetched.
    """
    if not path.exists():
        return None
    try:
        found = open_embeddings(path, unfinished=True)
    except DataError:
        return None  # the writer raises the error, or replaces an incomplete head
    there = found.record
    if (there["pooling"], spec.pooling) == ("mean", "none"):
        return None  # an encoder of whole proteins records "mean", which only the network knows
    known = {key: value for key, value in asdict(spec).items() if key != "name"}
    known["weights_sha256"] = source.weights_sha256
    if source.architecture is not None:
        known["architecture"] = source.architecture
    check_same_record(there, {**there, **known}, path)
    chosen = found.select({name: sequence for name, sequence in sequences.items() if name in found})
    return chosen if found.complete and len(chosen) == len(sequences) else None


def _cached(
    sequences: Mapping[str, str],
    spec: EncoderSpec,
    folder: Path,
    progress: Progress | None,
    device: str | torch.device,
) -> Embeddings:
    source = find_encoder(spec)
    path = folder / _cache_name(spec, source)
    keys = {name: hash_sequence(sequence).hex() for name, sequence in sequences.items()}
    loaded = None
    while True:
        there = _open_cache(path)
        names = {key: name for name, key in keys.items() if there is None or key not in there}
        if there is not None and not names:
            return there.rename(keys)
        if path.exists() and is_held(path):
            time.sleep(_POLL_S)  # another process writes them; there is no signal when it finishes
            continue
        missing = {key: sequences[name] for key, name in names.items()}
        net, record = loaded = loaded or load(spec, source)
        _pieces(
            {names[key]: sequence for key, sequence in missing.items()}, net, spec
        )  # errors need the names
        pieces = _pieces(missing, net, spec)
        try:
            with EmbeddingWriter(path, record) as writer:
                _fill(writer, missing, pieces, net, spec, None, device, progress, labels=names)
        except DataError:
            if not is_held(path):
                raise


def _cache_name(spec: EncoderSpec, source: EncoderOrigin) -> str:
    """A name for everything that decides which numbers are computed."""
    import holotype

    settings = {key: value for key, value in asdict(spec).items() if key != "name"}
    how = [source.architecture, source.weights_sha256, source.settings, settings]
    if source.weights_sha256 is None:
        how.append(holotype.__version__)
    key = sha256_of_parts(json.dumps(how, sort_keys=True))
    return f"{Path(source.encoder).stem}-{key[:20]}.emb"


def _open_cache(path: Path) -> Embeddings | None:
    """A file of the cache. A damaged one is moved aside, because it can be computed again."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    try:
        return open_embeddings(path, unfinished=True)
    except DataError as error:
        if is_held(path):
            return None  # its head is being written
        aside = path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}")
        path.replace(aside)
        warnings.warn(f"{error.args[0]}\n  It was moved to {aside} and is computed again.", stacklevel=2)
        return None
