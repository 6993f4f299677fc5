"""From FASTA, pairs and a weight file to a table, a report and a picture."""

import hashlib
import json

import numpy as np
import pytest

from holotype.errors import (
    DataError,
    MetadataError,
    MissingExtraError,
    ParameterError,
    UnknownPretrainedError,
)
from holotype.proteins.prediction import interactome
from holotype.proteins.prediction.interactions import (
    load_interaction_model,
    predict_interactions,
    report_path,
)
from holotype.proteins.prediction.matrix_picture import clustered
from interaction_sets import (
    RECORD,
    InMemory,
    forward_one,
    model,
    read_table,
    save,
    sequences,
    write_embeddings,
    write_fasta,
)

PROTEINS = sequences(9)
EMBEDDINGS = InMemory(PROTEINS)


@pytest.fixture
def folder(tmp_path):
    """A model, its sequences and embeddings: everything that a prediction needs."""
    save(model(symmetry="sum"), tmp_path / "model.safetensors")
    save(model(), tmp_path / "asymmetric.safetensors")
    write_fasta(tmp_path / "x.fasta", PROTEINS)
    write_embeddings(tmp_path / "x.emb", PROTEINS)
    return tmp_path


def predict(folder, **options):
    options = {
        "model": folder / "model.safetensors",
        "fasta": folder / "x.fasta",
        "embeddings": folder / "x.emb",
        "output": folder / "out.tsv",
    } | options
    return predict_interactions(options.pop("model"), **options)


def probability(logit, temperature=2.0):
    return 1 / (1 + np.exp(-logit / temperature))


def test_all_against_all_gives_calibrated_probabilities(folder):
    report = predict(folder, all_vs_all=True)
    rows = read_table(folder / "out.tsv")
    assert list(rows[0]) == ["protein_a", "protein_b", "score", "logit"]
    assert len(rows) == report.written == report.pairs == 36
    net = model(symmetry="sum")
    for row in rows:
        logit = forward_one(net, EMBEDDINGS, row["protein_a"], row["protein_b"])
        assert float(row["logit"]) == pytest.approx(logit, abs=1e-4)
        assert float(row["score"]) == pytest.approx(probability(logit), abs=1e-4)
    told = json.loads(report_path(folder / "out.tsv").read_text())
    assert told == json.loads(json.dumps(report.to_dict()))
    assert (told["temperature"], told["encoder"]) == (2.0, ["proteins/made_up"])
    assert "each unordered pair once" in told["rule"]
    assert sorted(path.name for path in folder.glob("out*")) == ["out.tsv", "out.tsv.report.json"]


def test_given_pairs_in_their_order_with_what_was_left_out(folder):
    (folder / "pairs.tsv").write_text("P3\tP1\nP2\tP0\nP1\tP3\nP4\tQ99\nP5\tP5\nP0\tP8\n")
    report = predict(folder, pairs=folder / "pairs.tsv")
    rows = read_table(folder / "out.tsv")
    assert [(r["protein_a"], r["protein_b"]) for r in rows] == [
        ("P3", "P1"),
        ("P2", "P0"),
        ("P5", "P5"),
        ("P0", "P8"),
    ]
    why = {left.why.split(" (")[0]: left for left in report.not_scored}
    assert why["pairs with a protein that has no sequence"].count == 1
    assert why["pairs with a protein that has no sequence"].examples == ("Q99",)
    assert why["repeated pairs, in either order: scored once"].count == 1


def test_labels_are_passed_on(folder):
    (folder / "pairs.tsv").write_text("protein_a\tprotein_b\tlabel\nP3\tP1\t1\nP2\tP0\t0\n")
    predict(folder, pairs=folder / "pairs.tsv")
    rows = read_table(folder / "out.tsv")
    assert [row["label"] for row in rows] == ["1", "0"]
    assert list(rows[0]) == ["protein_a", "protein_b", "label", "score", "logit"]


def test_parquet_holds_what_the_text_holds(folder):
    from pyarrow import parquet

    (folder / "pairs.tsv").write_text("P3\tP1\t1\nP2\tP0\t0\n")
    for options in ({"all_vs_all": True}, {"pairs": folder / "pairs.tsv"}):
        predict(folder, **options, overwrite=True)
        predict(folder, **options, output=folder / "out.parquet", overwrite=True)
        rows, columns = read_table(folder / "out.tsv"), parquet.read_table(folder / "out.parquet").to_pylist()
        assert list(rows[0]) == list(columns[0])
        assert [r["protein_b"] for r in rows] == [c["protein_b"] for c in columns]
        assert [float(r["score"]) for r in rows] == pytest.approx([c["score"] for c in columns], rel=1e-5)
        assert (folder / "out.parquet.report.json").is_file()


def test_best_partners_and_threshold(folder):
    report = predict(folder, all_vs_all=True, top_k=2, threshold=0.01)
    rows = read_table(folder / "out.tsv")
    assert [row["protein_a"] for row in rows] == [name for name in PROTEINS for _ in range(2)]
    scores = [float(row["score"]) for row in rows]
    assert all(first >= second for first, second in zip(scores[::2], scores[1::2], strict=True))
    assert (report.pairs, report.written) == (36, 18)


def test_two_files_of_sequences(folder):
    left = {name: PROTEINS[name] for name in ("P0", "P1", "P2")}
    right = {name: PROTEINS[name] for name in ("P2", "P7")}
    report = predict(
        folder,
        fasta=write_fasta(folder / "left.fasta", left),
        bipartite=write_fasta(folder / "right.fasta", right),
        picture=folder / "matrix.png",
    )
    found = [(row["protein_a"], row["protein_b"]) for row in read_table(folder / "out.tsv")]
    assert found == [("P0", "P2"), ("P0", "P7"), ("P1", "P2"), ("P1", "P7"), ("P2", "P7")]
    assert report.rule.startswith("each of 3 proteins with each of 2")
    assert (folder / "matrix.png").stat().st_size > 1000


def test_too_long_proteins_are_left_out_only_where_a_limit_is_given(folder):
    long = [name for name, text in PROTEINS.items() if len(text) > 5]
    short = [name for name in PROTEINS if name not in long]
    assert 0 < len(long) < 8
    report = predict(folder, all_vs_all=True, max_residues=5)
    left = len(PROTEINS) - len(long)
    assert report.written == left * (left - 1) // 2
    assert [(one.count, list(one.examples)) for one in report.not_scored] == [(len(long), long)]
    (folder / "pairs.tsv").write_text(
        "".join(f"{long[0]}\t{name}\n" for name in PROTEINS) + f"{short[0]}\t{short[1]}\n"
    )
    report = predict(folder, pairs=folder / "pairs.tsv", max_residues=5, overwrite=True)
    assert {"pairs with a protein that is too long"} < {one.why for one in report.not_scored}
    assert report.written == 1


def test_embeddings_alone_say_which_proteins(folder):
    predict(folder, fasta=None, all_vs_all=True)
    assert len(read_table(folder / "out.tsv")) == 36


def test_a_run_folder_is_a_model(folder):
    run = folder / "run"
    run.mkdir()
    save(model(symmetry="sum"), run / "model.safetensors")
    net, info = load_interaction_model(run)
    assert (info.temperature, info.symmetric, net.training) == (2.0, True, False)
    assert [record["encoder"] for record in info.encoder] == ["proteins/made_up"]
    assert predict(folder, model=run, all_vs_all=True).written == 36


def test_an_uncalibrated_model_says_so(folder):
    path = save(model(), folder / "raw.safetensors", temperature=None)
    report = predict(folder, model=path, all_vs_all=True)
    assert (report.temperature, report.calibrated) == (1.0, False)


def test_a_model_without_encoder_record_takes_given_embeddings_with_a_note(folder):
    path = save(model(), folder / "raw.safetensors", encoder=None)
    report = predict(folder, model=path, all_vs_all=True)
    assert any("does not record its encoder" in note for note in report.notes)
    with pytest.raises(DataError, match="does not record which encoder") as caught:
        predict(folder, model=path, embeddings=None, all_vs_all=True, output=folder / "other.tsv")
    assert "--embeddings x.emb" in str(caught.value)
    assert not list(folder.glob("other*"))


def test_sequences_are_embedded_as_for_the_training(folder):
    """Without --embeddings; the encoder is one that needs no weights."""
    from holotype.proteins.prediction.embedding import embed

    made = embed(PROTEINS, "composition", folder / "composition.emb")
    net = model(input_dim=made.dim)
    path = save(net, folder / "composition.safetensors", encoder=dict(made.record))
    predict(folder, model=path, embeddings=folder / "composition.emb", all_vs_all=True)
    given = (folder / "out.tsv").read_bytes()
    told = []
    predict(
        folder,
        model=path,
        embeddings=None,
        all_vs_all=True,
        overwrite=True,
        progress=lambda *at: told.append(at),
    )
    assert (folder / "out.tsv").read_bytes() == given
    assert {"embedding", "encoding", "scoring", "writing"} <= {stage for stage, _, _ in told}


# -- bad input ----------------------------------------------------------------------------------


def refused(folder, error, match, **options):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(error, match=match) as caught:
        predict(folder, **{"all_vs_all": True} | options)
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after == before
    return caught.value


def test_an_output_is_never_replaced_unasked(folder):
    (folder / "out.tsv").write_text("precious")
    error = refused(folder, DataError, "exists already")
    assert "--overwrite" in error.hint
    predict(folder, all_vs_all=True, overwrite=True)
    assert len(read_table(folder / "out.tsv")) == 36


def test_nor_is_a_picture(folder):
    (folder / "m.png").write_text("precious")
    refused(folder, DataError, "m.png exists already", picture=folder / "m.png")


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"output": "out.csv"}, DataError, r"must end in \.tsv or \.parquet, not in \.csv"),
        ({"output": "nowhere/out.tsv"}, DataError, "no folder named"),
        ({"picture": "matrix.txt"}, DataError, r"pictures end in \.png"),
        ({"all_vs_all": False}, ParameterError, "pairs: give one of"),
        ({"pairs": "pairs.tsv"}, ParameterError, "pairs: give one of.*not pairs and all_vs_all"),
        ({"fasta": None, "embeddings": None}, ParameterError, "proteins: give a FASTA"),
        ({"all_vs_all": False, "pairs": "pairs.tsv", "top_k": 3}, ParameterError, "top_k: needs all_vs_all"),
        ({"engine": "rya"}, ParameterError, "did you mean 'ray'"),
        ({"threshold": 2.0}, ParameterError, "threshold: expected a probability"),
        ({"top_k": 0}, ParameterError, "top_k: expected a whole number"),
        ({"fasta": None, "max_residues": 5}, ParameterError, "max_residues: needs sequences"),
        ({"model": "v9_nothing"}, UnknownPretrainedError, "v9_nothing"),
        ({"model": "gone.safetensors"}, DataError, "gone.safetensors does not exist"),
        ({"fasta": "gone.fasta"}, DataError, "cannot be read"),
        ({"embeddings": "gone.emb"}, DataError, "gone.emb"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_what_cannot_be_done_is_told_before_anything_is_written(folder, monkeypatch, options, error, match):
    monkeypatch.chdir(folder)
    refused(folder, error, match, **options)


def test_an_empty_file_of_sequences(folder):
    (folder / "empty.fasta").write_text("")
    refused(folder, DataError, "empty.fasta", fasta=folder / "empty.fasta")


def test_proteins_without_embeddings_are_named(folder):
    more = PROTEINS | {"NEW": "MKT"}
    error = refused(
        folder, DataError, "have no embedding: NEW", fasta=write_fasta(folder / "more.fasta", more)
    )
    assert "holotype embed" in error.hint


def test_embeddings_of_another_encoder_are_refused(folder):
    other = write_embeddings(folder / "other.emb", PROTEINS, record=RECORD | {"weights_sha256": "e" * 64})
    refused(folder, DataError, "weights_sha256", embeddings=other)


def test_embeddings_of_other_sequences_are_refused(folder):
    changed = write_fasta(folder / "changed.fasta", PROTEINS | {"P4": "MMMM"})
    refused(folder, DataError, "holds 'P4' with another sequence", fasta=changed)


def test_no_known_pair(folder):
    (folder / "pairs.tsv").write_text("p1\tp2\n")
    error = refused(folder, DataError, "no pair can be scored", all_vs_all=False, pairs=folder / "pairs.tsv")
    assert "headers" in error.hint


def test_a_folder_that_is_no_run(folder):
    refused(folder, DataError, "is a folder without model.safetensors", model=folder.parent)


def test_a_model_of_another_task(folder):
    import torch

    from holotype.proteins import create_model

    torch.manual_seed(0)
    net = create_model("unirep_64")
    encoder = save(net, folder / "encoder.safetensors", encoder=None, temperature=None)
    refused(folder, DataError, "protein_embedding, not for protein interactions", model=encoder)


@pytest.mark.parametrize("temperature", [0.0, -1.0, "warm", True])
def test_a_temperature_that_is_none(folder, temperature):
    path = save(model(), folder / "odd.safetensors", temperature=temperature)
    refused(folder, MetadataError, "calibration temperature", model=path)


def test_a_temperature_of_logits_that_tell_nothing(folder):
    """As `fit_temperature` finds it, and training writes it, where a model is no better than chance."""
    from holotype.proteins.evaluation.calibration import fit_temperature

    temperature = fit_temperature([3.0, -3.0, 3.0, -3.0], [0, 1, 0, 1])
    path = save(model(), folder / "useless.safetensors", temperature=temperature)
    report = predict(folder, model=path, all_vs_all=True)
    assert report.temperature == temperature > 1e3
    scores = [float(row["score"]) for row in read_table(folder / "out.tsv")]
    assert all(abs(score - 0.5) < 1e-2 for score in scores)


def test_what_is_left_of_other_sequences_is_not_gone_on_with(folder, monkeypatch):
    """Embeddings without a FASTA file: their hashes tell the sequences."""
    monkeypatch.setattr(interactome, "_BLOCK_PAIRS", 9)
    monkeypatch.setattr("holotype.proteins.prediction.interactions.write_table", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict(folder, fasta=None, all_vs_all=True)
    assert (folder / "out.tsv.partial").stat().st_size
    other = write_embeddings(folder / "y.emb", {name: text[::-1] + "W" for name, text in PROTEINS.items()})
    with pytest.raises(DataError, match=r"interrupted prediction that differs in proteins"):
        predict(folder, fasta=None, embeddings=other, all_vs_all=True)


def test_the_table_is_on_the_disk_before_what_it_was_made_of_is_removed(folder, monkeypatch):
    import os

    synced, new, fsync = [], folder / "out.tsv.partial.new", os.fsync

    def noted(file):
        synced.append(new.exists() and os.path.samestat(os.fstat(file), new.stat()))
        fsync(file)

    monkeypatch.setattr(os, "fsync", noted)
    predict(folder, all_vs_all=True)
    assert any(synced)


def test_a_picture_of_too_many(folder, monkeypatch):
    monkeypatch.setattr("holotype.proteins.prediction.matrix_picture.MOST", 5)
    refused(folder, DataError, "at most 5 proteins a side", picture=folder / "m.png")


@pytest.mark.parametrize(
    ("package", "options"),
    [
        ("pyarrow", {"output": "out.parquet"}),
        ("ray", {"engine": "ray"}),
        ("matplotlib", {"picture": "m.png"}),
    ],
)
def test_a_missing_extra_is_named(folder, monkeypatch, package, options):
    import sys

    monkeypatch.chdir(folder)
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    error = refused(folder, MissingExtraError, "is not installed", **options)
    assert "pip install" in error.hint


# -- interruptions ------------------------------------------------------------------------------


class Stop(Exception):
    pass


@pytest.fixture
def every_block_counts(monkeypatch):
    monkeypatch.setattr(interactome, "_BLOCK_PAIRS", 20)
    monkeypatch.setattr("holotype.proteins.prediction.resume._EVERY_S", 0)


def interrupted(folder, after, **options):
    def progress(stage, done, total):
        if stage == "scoring" and done >= after:
            raise Stop

    with pytest.raises(Stop):
        predict(folder, progress=progress, **options)
    assert (folder / "out.tsv.partial").exists()
    assert not (folder / "out.tsv").exists()


@pytest.mark.parametrize("options", [{}, {"top_k": 3}], ids=["list", "ranking"])
@pytest.mark.parametrize("name", ["model", "asymmetric"])
def test_the_same_command_goes_on_and_gives_the_same_file(folder, every_block_counts, options, name):
    options = {"all_vs_all": True, "model": folder / f"{name}.safetensors", **options}
    predict(folder, output=folder / "whole.tsv", **options)
    interrupted(folder, 16, **options)
    report = predict(folder, **options)
    assert report.resumed >= 16
    assert (folder / "out.tsv").read_bytes() == (folder / "whole.tsv").read_bytes()
    assert not list(folder.glob("*.partial*"))


def test_the_record_of_an_interruption_keeps_its_form(folder, every_block_counts):
    """A prediction that an earlier version left is continued: its record states the question by these hashes."""
    embeddings = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in PROTEINS.items()}
    rows = np.arange(len(PROTEINS)).tobytes()
    interrupted(folder, 16, all_vs_all=True)
    asked = json.loads((folder / "out.tsv.partial.json").read_text())["asked"]
    assert asked["sets"] == hash_of_parts(rows, rows)
    assert asked["proteins"] == hash_of_parts(
        *(f"{name}\t{sha256}".encode() for name, sha256 in embeddings.items())
    )


def hash_of_parts(*parts):
    """Each part after its length."""
    whole = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    return hashlib.sha256(whole).hexdigest()


def test_another_command_is_not_mixed_in(folder, every_block_counts):
    interrupted(folder, 16, all_vs_all=True)
    error = refused(folder, DataError, r"interrupted prediction that differs in .*threshold", threshold=0.2)
    assert "--overwrite" in error.hint
    assert predict(folder, all_vs_all=True, threshold=0.2, overwrite=True).resumed == 0


def test_a_damaged_record_begins_anew(folder, every_block_counts):
    predict(folder, all_vs_all=True, output=folder / "whole.tsv")
    for damage in (b"", b"{", b'{"blocks": -1, "bytes": 0, "asked": {}}', b"[]"):
        interrupted(folder, 16, all_vs_all=True)
        (folder / "out.tsv.partial.json").write_bytes(damage)
        assert predict(folder, all_vs_all=True).resumed == 0
        assert (folder / "out.tsv").read_bytes() == (folder / "whole.tsv").read_bytes()
        (folder / "out.tsv").unlink()


# -- the picture --------------------------------------------------------------------------------


def test_clustering_puts_groups_together():
    group = np.array([0, 1, 0, 1, 0, 1, 1, 0])
    matrix = np.where(group[:, None] == group, 0.9, 0.1) + 0.01 * np.random.default_rng(0).random((8, 8))
    order = clustered(matrix)
    assert sorted(order.tolist()) == list(range(8))
    assert (np.diff(group[order]) != 0).sum() == 1


@pytest.mark.parametrize(
    "matrix", [np.zeros((0, 0)), np.zeros((1, 1)), np.full((3, 3), np.nan), np.zeros((4, 2))]
)
def test_clustering_of_little(matrix):
    assert sorted(clustered(matrix).tolist()) == list(range(len(matrix)))


def test_a_picture_of_names_with_dollars_and_long_ones(folder):
    odd = {"sp|P04637|P53_HUMAN": "MEEP", "a$b$c": "MKT", "x" * 90: "MA", "P4": "MW"}
    write_embeddings(folder / "odd.emb", odd)
    predict(
        folder,
        fasta=write_fasta(folder / "odd.fasta", odd),
        embeddings=folder / "odd.emb",
        all_vs_all=True,
        picture=folder / "m.svg",
    )
    text = (folder / "m.svg").read_text()
    assert "P53_HUMAN" in text and "sp|P04637" not in text
