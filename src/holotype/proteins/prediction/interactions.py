"""Protein interactions: scores of pairs of proteins by a trained model, as a table of probabilities.

    >>> from holotype.proteins.prediction.interactions import predict_interactions
    >>> report = predict_interactions("my_run", fasta="yeast.fasta", all_vs_all=True, top_k=20,
    ...                               output="yeast.tsv")  # doctest: +SKIP

Everything is checked before anything is computed. An interrupted prediction continues from its last complete
block when the call is repeated: see `resume`. `interactome` defines which pairs are scored, and their order.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from holotype.errors import DataError, ParameterError
from holotype.files import sha256_of_parts, write_file
from holotype.names import nearest
from holotype.proteins.data.embeddings import check_same_features, open_embeddings
from holotype.proteins.prediction.engine import Engine, LocalEngine, Progress, stage_of
from holotype.proteins.prediction.interactome import (
    Grid,
    PairList,
    Ranking,
    Scores,
    grid,
    index_sets,
    least_logit,
    pair_list,
    probabilities,
)
from holotype.proteins.prediction.matrix_picture import check_picture, check_size, draw_matrix
from holotype.proteins.prediction.model import (
    InteractionModelInfo,
    load_interaction_model,
)
from holotype.proteins.prediction.output import check_ending, check_output, write_table
from holotype.proteins.prediction.resume import UnfinishedPrediction
from holotype.proteins.prediction.scoring import ProteinEmbeddings, check_embeddings
from holotype.text import bulleted, did_you_mean

if TYPE_CHECKING:
    from torch import nn

    from holotype.proteins.data.pairs import PairTable
    from holotype.proteins.prediction.scoring import Integers

__all__ = [
    "InteractionModelInfo",
    "NotScored",
    "PredictionReport",
    "load_interaction_model",
    "predict_interactions",
    "report_path",
]

ENGINES = ("local", "ray")
_EXAMPLES = 10


@dataclass(frozen=True)
class NotScored:
    """Proteins or pairs without a score.

    Attributes:
        why: the proteins or pairs, and the reason.
        count: their number.
        examples: the first few.
    """

    why: str
    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class PredictionReport:
    """The result of a prediction.

    Attributes:
        output: the table.
        model: the entry or file.
        model_sha256: of the weight file.
        network: the architecture of the model.
        encoder: names of the encoders.
        temperature: the logits were divided by it.
        calibrated: whether the model records that temperature.
        rule: the pairs that were asked for, in words.
        proteins: the number of proteins to pair.
        pairs: the number of pairs that were scored.
        written: the number of rows of the table.
        top_k: best partners of each protein, or None.
        threshold: the least probability, or None.
        not_scored: what was left out, and why.
        notes: what was corrected or could not be checked.
        resumed: pairs that an earlier, interrupted process had scored.
        seconds: of scoring, in this process.
        pairs_per_s: scored in this process.
        engine: ``"local"`` or ``"ray"``.
    """

    output: str
    model: str
    model_sha256: str
    network: str
    encoder: tuple[str, ...]
    temperature: float
    calibrated: bool
    rule: str
    proteins: int
    pairs: int
    written: int
    top_k: int | None
    threshold: float | None
    not_scored: tuple[NotScored, ...]
    notes: tuple[str, ...]
    resumed: int
    seconds: float
    pairs_per_s: float
    engine: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class _Asked:
    """The pairs to score.

    Attributes:
        names: the proteins that are in some pair.
        rows: indices of the first set, or None for given pairs.
        columns: indices of the second set.
        table: given pairs, of `names`.
        rule: the pairs in words.
        not_scored: what is left out.
        notes: what was corrected.
    """

    names: tuple[str, ...]
    rows: Integers | None
    columns: Integers | None
    table: PairTable | None
    rule: str
    not_scored: tuple[NotScored, ...]
    notes: tuple[str, ...]


def predict_interactions(
    model: str | Path,
    *,
    output: str | Path,
    fasta: str | Path | None = None,
    pairs: str | Path | None = None,
    all_vs_all: bool = False,
    bipartite: str | Path | None = None,
    embeddings: str | Path | Sequence[str | Path] | None = None,
    top_k: int | None = None,
    threshold: float | None = None,
    max_residues: int | None = None,
    include_self: bool = False,
    picture: str | Path | None = None,
    overwrite: bool = False,
    engine: str = "local",
    workers: int | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> PredictionReport:
    """Score pairs of proteins with a trained model, and write a table.

    Exactly one of `pairs`, `all_vs_all` and `bipartite` must be given.

    Args:
        model: a pretrained entry, a weight file, or the folder of a training run.
        output: the table, ``.tsv`` or ``.parquet``. The report is written beside it: ``OUT.report.json``.
        fasta: the sequences; not needed where `embeddings` are given.
        pairs: a table of pairs to score, in its order.
        all_vs_all: score all pairs of the proteins.
        bipartite: sequences of a second set: score each protein of the first with each of these.
        embeddings: existing embeddings of the proteins (``holotype embed``); several files are joined.
            Without them, the proteins are embedded like the model's training data.
        top_k: list only the best partners of each protein, at most this many.
        threshold: list only pairs of at least this probability.
        max_residues: leave out longer proteins, and report them.
        include_self: also pair each protein with itself. Given pairs are always scored.
        picture: also draw the matrix of scores into this file.
        overwrite: replace the output and the picture.
        engine: ``"local"``, or ``"ray"`` for the workers of a Ray cluster.
        workers: the number of workers; as many as the cluster has processors if None.
        device: where to run.
        progress: called repeatedly, see `Progress`.

    Returns:
        The report, which is also written to its file.

    Raises:
        DataError: files, embeddings or names cannot be used; no existing file was changed.
        ParameterError: options contradict each other or are out of range.
        UnknownPretrainedError, LoadingError: see `load_interaction_model`.
        MissingExtraError: Ray, pyarrow or matplotlib is needed and not installed.
    """
    output, picture = Path(output), None if picture is None else Path(picture)
    _check_options(locals())
    read = [embeddings] if isinstance(embeddings, (str, Path)) else embeddings or []
    ending = _check_files(output, picture, (model, fasta, pairs, bipartite, *read), overwrite=overwrite)
    net, info = load_interaction_model(model)
    least_logit(threshold, info.temperature)
    opened = None if embeddings is None else open_embeddings(embeddings)
    if opened is None and not info.encoder:
        raise DataError(
            f"{model} does not record which encoder made the embeddings it was trained on.",
            given=str(model),
            hint="Embed the sequences as for its training (holotype embed X.fasta --encoder … -o x.emb), "
            "and give --embeddings x.emb",
        )
    sequences, second, notes = _read(fasta, bipartite, opened)
    asked = _which(sequences, second, pairs, max_residues, notes)
    if picture is not None:
        check_size(*map(len, _sides(asked)))
    wanted = {name: sequences[name] for name in asked.names}
    if opened is not None:
        asked = _checked_embeddings(net, info, opened, asked, wanted)
    question = _question(net, asked, top_k, least_logit(threshold, info.temperature), include_self)
    digest = _digest(info, opened, asked, wanted, question, threshold)
    with (
        _engine(engine, workers, device) as computer,
        UnfinishedPrediction(output, digest, overwrite=overwrite) as unfinished,
    ):
        embedded = opened if opened is not None else computer.embed(wanted, info.encoder, progress)
        if opened is None:
            check_same_features(info.encoder, embedded.record)
        check_embeddings(net, embedded, asked.names)
        resumed, seconds, parts = _answer(computer, net, embedded, asked, question, unfinished, progress)
        total = sum(question.sizes)
        new = output.with_name(f"{output.name}.partial.new")
        labels = None if asked.table is None else asked.table.labels
        if progress is not None:
            progress("writing", 0, 0)
        written = write_table(new, ending, asked.names, parts(), info.temperature, labels)
        with new.open("rb") as file:
            os.fsync(file.fileno())  # before the unfinished scores are removed
        if picture is not None:
            _draw(picture, asked, parts(), info, symmetric=info.symmetric)
        report = PredictionReport(
            output=str(output),
            model=info.name,
            model_sha256=info.sha256,
            network=info.network,
            encoder=tuple(str(record["encoder"]) for record in info.encoder),
            temperature=info.temperature,
            calibrated=bool(info.loaded.record.get("calibration")),
            rule=_rule(asked, info.symmetric, question, include_self=include_self),
            proteins=len(asked.names),
            pairs=total,
            written=written,
            top_k=top_k,
            threshold=threshold,
            not_scored=asked.not_scored,
            notes=asked.notes,
            resumed=resumed,
            seconds=round(seconds, 3),
            pairs_per_s=round((total - resumed) / seconds, 1) if seconds > 0 else 0.0,
            engine=engine,
        )
        text = json.dumps(report.to_dict(), indent=2, ensure_ascii=False) + "\n"
        write_file(report_path(output), text.encode())
        new.replace(output)
        unfinished.remove()
    return report


def report_path(output: Path) -> Path:
    """The path of the report of an output."""
    return output.with_name(f"{output.name}.report.json")


def _check_options(given: Mapping[str, Any]) -> None:
    """Refuse options that contradict each other or are out of range."""
    problems = []
    asked = [name for name in ("pairs", "bipartite") if given[name] is not None]
    asked += ["all_vs_all"] if given["all_vs_all"] else []
    if len(asked) != 1:
        problems.append(
            f"pairs: give one of pairs, all_vs_all and bipartite, not {' and '.join(asked) or 'none'}"
        )
    if given["fasta"] is None and given["embeddings"] is None:
        problems.append("proteins: give a FASTA file (--fasta), or embeddings (--embeddings)")
    elif given["bipartite"] is not None and given["fasta"] is None:
        problems.append("bipartite: the first set is needed too (--fasta)")
    for name in ("top_k", "max_residues", "workers"):
        value = given[name]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            problems.append(f"{name}: expected a whole number, at least 1, got {value!r}")
    if given["max_residues"] is not None and given["fasta"] is None:
        problems.append("max_residues: needs sequences (--fasta)")
    for name in ("top_k", "threshold"):
        if given["pairs"] is not None and given[name] is not None:
            problems.append(f"{name}: needs all_vs_all or bipartite; given pairs are all listed")
    if given["engine"] not in ENGINES:
        hint = did_you_mean(given["engine"], ENGINES)
        problems.append(f"engine: expected {' or '.join(ENGINES)}, got {given['engine']!r}{hint}")
    if problems:
        raise ParameterError(
            f"this prediction cannot be made:\n{bulleted(problems)}",
            problems=problems,
        )


def _check_files(
    output: Path, picture: Path | None, inputs: Iterable[str | Path | None], *, overwrite: bool
) -> str:
    """The format of the output; refuses files that cannot be written, and an output that is an input."""
    ending = check_ending(output)
    check_output(output, overwrite=overwrite)
    if picture is not None:
        check_picture(picture, overwrite=overwrite)
    for path in inputs:
        if path is not None and output.exists() and Path(path).exists() and output.samefile(path):
            raise DataError(f"{output} is an input and cannot be the output, too.", given=str(output))
    return ending


def _read(
    fasta: str | Path | None, bipartite: str | Path | None, opened: Any
) -> tuple[dict[str, str], tuple[list[str], list[str]] | None, tuple[str, ...]]:
    """Sequences (empty strings if there are only embeddings), names of two sets, and what was corrected."""
    from holotype.proteins.data.fasta import read_proteins

    if fasta is None:
        return dict.fromkeys(opened.names, ""), None, ()
    first = read_proteins(fasta)
    if not len(first):
        raise DataError(f"{fasta} holds no sequence.", given=str(fasta))
    if bipartite is None:
        return dict(first), None, first.notes
    second = read_proteins(bipartite)
    if not len(second):
        raise DataError(f"{bipartite} holds no sequence.", given=str(bipartite))
    both = read_proteins(fasta, bipartite)  # the same name with two sequences is an error
    return dict(both), (list(first), list(second)), both.notes


def _which(
    sequences: Mapping[str, str],
    second: tuple[list[str], list[str]] | None,
    pairs: str | Path | None,
    max_residues: int | None,
    notes: tuple[str, ...],
) -> _Asked:
    """The pairs to score, and what is left out."""
    out: list[NotScored] = []
    long = [name for name, text in sequences.items() if max_residues is not None and len(text) > max_residues]
    if long:
        why = f"proteins of more than {max_residues:,} residues, the given limit"
        out.append(NotScored(why, len(long), tuple(long[:_EXAMPLES])))
    short = dict.fromkeys(sequences)
    for name in long:
        del short[name]
    if not short:
        raise DataError(
            f"no protein is left: all are longer than {max_residues:,} residues.", given=max_residues
        )
    if pairs is None:
        left = list(short) if second is None else [name for name in second[0] if name in short]
        right = None if second is None else [name for name in second[1] if name in short]
        names, rows, columns = index_sets(left, right)
        rule = (
            f"all pairs of {len(rows):,} proteins"
            if second is None
            else f"each of {len(rows):,} proteins with each of {len(columns):,}"
        )
        return _Asked(names, rows, columns, None, rule, tuple(out), notes)
    table, lost = _given(pairs, sequences, short)
    out += lost
    return _Asked(table.proteins, None, None, table, f"{len(table):,} given pairs", tuple(out), notes)


def _given(
    path: str | Path, sequences: Mapping[str, str], short: Container[str]
) -> tuple[PairTable, list[NotScored]]:
    """The pairs of a file that can be scored, and the others."""
    from holotype.proteins.data.pairs import PairReport, read_pairs

    known = read_pairs(path).clean(sequences)
    fits = [a in short and b in short for a, b in zip(known.names_a, known.names_b, strict=True)]
    table = known.take(np.array(fits, bool)).compact()
    found = known.report or PairReport()
    unknown = f"pairs with a protein that has no sequence ({found.unknown_proteins:,} such proteins)"
    lost = [
        (unknown, found.unknown, "unknown"),
        ("repeated pairs, in either order: scored once", found.duplicates, "duplicates"),
        ("lines of pairs that have both labels", found.contradictory_rows, "contradictory"),
        ("pairs with a protein that is too long", len(known) - len(table), ""),
    ]
    not_scored = [
        NotScored(why, count, tuple(found.examples.get(kind, ())[:_EXAMPLES]))
        for why, count, kind in lost
        if count
    ]
    if not len(table):
        missing = found.examples.get("unknown", ())
        raise DataError(
            f"{path}: no pair can be scored: "
            + "; ".join(f"{left.count:,} {left.why}" for left in not_scored)
            + (f", such as {missing[0]}." if missing else "."),
            given=str(path),
            nearest=nearest(missing[0], list(sequences), 1) if missing else (),
            hint="Names in the pairs must be the first words of the headers in the FASTA file.",
        )
    return table, not_scored


def _checked_embeddings(
    net: nn.Module, info: InteractionModelInfo, opened: Any, asked: _Asked, sequences: Mapping[str, str]
) -> _Asked:
    """Refuse embeddings of another encoder or of other sequences; add a note on what cannot be checked."""
    if info.encoder:
        check_same_features(info.encoder, opened.record)
    else:
        note = "the model does not record its encoder, so whether it made these embeddings is not checked"
        asked = replace(asked, notes=(*asked.notes, note))
    check_embeddings(net, opened, asked.names)
    opened.check_sequences({name: sequence for name, sequence in sequences.items() if sequence})
    return asked


def _question(
    net: nn.Module, asked: _Asked, top_k: int | None, least: float | None, include_self: bool
) -> Grid | PairList:
    if asked.table is not None:
        return pair_list(net, asked.table.a, asked.table.b)
    return grid(
        net,
        _array(asked.rows),
        _array(asked.columns),
        top_k=top_k,
        least_logit=least,
        include_self=include_self,
    )


def _digest(
    info: InteractionModelInfo,
    opened: Any,
    asked: _Asked,
    sequences: Mapping[str, str],
    question: Grid | PairList,
    threshold: float | None,
) -> dict[str, Any]:
    """Everything that decides the scores, as plain data."""
    import holotype

    features = info.encoder if opened is None else opened.record
    pairs = asked.table
    return {
        "version": holotype.__version__,
        "model": info.sha256,
        "temperature": info.temperature,
        "features": _sha256(json.dumps(features, sort_keys=True, default=str)),
        "embeddings": opened is not None,
        "proteins": _sha256(
            *(
                f"{name}\t{sequence if opened is None else opened.sequence_sha256(name)}"
                for name, sequence in sequences.items()
            )
        ),
        "pairs": None if pairs is None else _sha256(pairs.a.tobytes(), pairs.b.tobytes()),
        "sets": None
        if asked.rows is None
        else _sha256(asked.rows.tobytes(), _array(asked.columns).tobytes()),
        "top_k": question.top_k,
        "threshold": threshold,
        "include_self": getattr(question, "include_self", False),
        "blocks": len(question.sizes),
    }


def _sha256(*parts: str | bytes) -> str:
    """The digest of several parts, each after its length: no two lists of parts are the same bytes."""
    data = [part.encode() if isinstance(part, str) else part for part in parts]
    return sha256_of_parts(*(len(one).to_bytes(8, "little") + one for one in data))


def _answer(
    computer: Engine,
    net: nn.Module,
    embedded: ProteinEmbeddings,
    asked: _Asked,
    question: Grid | PairList,
    unfinished: UnfinishedPrediction,
    progress: Progress | None,
) -> tuple[int, float, Callable[[], Iterable[Scores]]]:
    """Score the pairs that have no score yet.

    Returns:
        The number of pairs scored before, the seconds of scoring now, and a function for all scores.
    """
    ranking = None
    if isinstance(question, Grid) and question.top_k is not None:
        ranking = Ranking(question, unfinished.best((len(question.rows), question.top_k)))
    sizes = question.sizes
    resumed = done = sum(sizes[: unfinished.blocks])
    started = time.perf_counter()
    if unfinished.blocks < len(sizes):
        computer.prepare(net, embedded, asked.names, progress)
        started = time.perf_counter()
        total = sum(sizes)
        stage = stage_of(progress, "scoring")
        if stage is not None:
            stage(done, total)
        first = unfinished.blocks
        for size, found in zip(sizes[first:], computer.answers(question, first), strict=True):
            if isinstance(found, Scores):
                unfinished.append(found)
            elif ranking is not None:
                ranking.add(found)
                unfinished.keep(ranking.keys)
            done += size
            if stage is not None:
                stage(done, total)
    seconds = time.perf_counter() - started
    if ranking is None:
        unfinished.flush()
        return resumed, seconds, unfinished.scores
    best = ranking.scores()
    return resumed, seconds, lambda: _in_parts(best)


def _in_parts(scores: Scores, size: int = 2**17) -> Iterator[Scores]:
    for start in range(0, len(scores.a), size):
        at = slice(start, start + size)
        yield Scores(scores.a[at], scores.b[at], scores.logits[at])


def _draw(
    picture: Path, asked: _Asked, parts: Iterable[Scores], info: InteractionModelInfo, *, symmetric: bool
) -> None:
    rows, columns = _sides(asked)
    matrix = np.full((len(asked.names), len(asked.names)), np.nan, np.float32)
    for part in parts:
        found = probabilities(part.logits, info.temperature)
        matrix[part.a, part.b] = found
        if symmetric:
            matrix[part.b, part.a] = found
    draw_matrix(
        picture,
        matrix[np.ix_(rows, columns)],
        [asked.names[at] for at in rows],
        [asked.names[at] for at in columns],
        f"{Path(info.name).name}: {asked.rule}",
    )


def _sides(asked: _Asked) -> tuple[Integers, Integers]:
    """The proteins along the rows and the columns of a matrix of scores."""
    everybody = np.arange(len(asked.names))
    return (
        everybody if asked.rows is None else asked.rows,
        everybody if asked.columns is None else asked.columns,
    )


def _rule(asked: _Asked, symmetric: bool, question: Grid | PairList, *, include_self: bool) -> str:
    """The pairs that were asked for, in words."""
    if asked.table is not None:
        return asked.rule
    words = [asked.rule]
    if not include_self:
        words.append("none with itself")
    if question.top_k is not None:
        words.append(f"the best {question.top_k:,} of each protein, best first")
    elif symmetric:
        words.append("each unordered pair once, as the model is symmetric")
    else:
        words.append("in the given order, and in both if both are asked for, as the model is not symmetric")
    return "; ".join(words)


def _engine(name: str, workers: int | None, device: str) -> Any:
    if name == "local":
        return LocalEngine(device)
    from holotype.proteins.prediction.ray_engine import RayEngine

    return RayEngine(workers=workers, device=device)


def _array(indices: Integers | None) -> Integers:
    return np.arange(0) if indices is None else indices
