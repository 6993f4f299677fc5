"""The file of embeddings: what is written is read, what is damaged is refused, what is cut off is gone on with."""

import multiprocessing
import operator
import pickle
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from holotype.errors import DataError, StoreError
from holotype.proteins.data import embedding_writer
from holotype.proteins.data.embeddings import (
    EmbeddingWriter,
    check_same_features,
    hash_sequence,
    open_embeddings,
)

RECORD = {
    "encoder": "mine/tiny",
    "architecture": "mine/tiny",
    "config_fingerprint": "c" * 64,
    "weights_sha256": "a" * 64,
    "pooling": "none",
    "window": None,
    "overlap": 0,
    "compute_dtype": "float32",
    "dtype": "float16",
    "dim": 4,
}
SEQUENCES = {f"p{at}": "MKTAYV"[: at + 1] * (at + 1) for at in range(6)}
VALUES = {
    name: np.random.default_rng(at).normal(size=(len(sequence), 4)).astype(np.float16)
    for at, (name, sequence) in enumerate(SEQUENCES.items())
}


def write(path, names=tuple(SEQUENCES), record=RECORD, **options):
    with EmbeddingWriter(path, record, **options) as writer:
        for name in names:
            writer.add(name, SEQUENCES[name], VALUES[name])
    return path


def check(embeddings, names=tuple(SEQUENCES)):
    assert embeddings.names == tuple(names)
    assert embeddings.lengths.tolist() == [len(SEQUENCES[name]) for name in names]
    for name in names:
        np.testing.assert_array_equal(embeddings[name], VALUES[name])
        assert embeddings.sequence_sha256(name) == hash_sequence(SEQUENCES[name]).hex()


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(embedding_writer.os, "fsync", lambda descriptor: None)


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "all.emb")


def test_what_was_written_is_read(file):
    embeddings = open_embeddings(file)
    check(embeddings)
    assert (embeddings.dim, embeddings.dtype, embeddings.pooling) == (4, np.float16, "none")
    assert dict(embeddings.record) == RECORD
    assert "p1" in embeddings and "q" not in embeddings and len(embeddings) == 6
    embeddings.verify()


def test_rows_are_views_of_the_file_that_nobody_can_write(file):
    rows = open_embeddings(file)["p2"]
    assert not rows.flags.owndata and not rows.flags.writeable
    assert rows.flags.aligned and rows.flags.c_contiguous


def test_it_only_grows(file):
    before = file.read_bytes()
    early = open_embeddings(file)
    SEQUENCES["new"], VALUES["new"] = "MMM", np.ones((3, 4), np.float16)
    try:
        write(file, ["p0", "new"])
        assert file.read_bytes().startswith(before)
        check(open_embeddings(file), [*VALUES])
    finally:
        del SEQUENCES["new"], VALUES["new"]
    check(early)


def test_adding_nothing_changes_nothing(file):
    before = file.read_bytes()
    with EmbeddingWriter(file, RECORD) as writer:
        assert writer.missing(SEQUENCES) == []
        assert writer.missing({"q": "M", "p0": "M"}) == ["q"]
        writer.add("p0", "M", VALUES["p0"])
    assert file.read_bytes() == before


def test_another_sequence_under_a_name_is_an_error(file):
    before = file.read_bytes()
    with EmbeddingWriter(file, RECORD) as writer:
        with pytest.raises(DataError, match="'p1' with another sequence"):
            writer.missing({"p0": "M", "p1": "MMMM"})
        with pytest.raises(DataError, match="'p1' with another sequence"):
            writer.add("p1", "MMMM", VALUES["p1"])
    assert file.read_bytes() == before
    with pytest.raises(DataError, match="'p1' with another sequence"):
        open_embeddings(file).select({"p0": "M", "p1": "MMMM"})


@pytest.mark.parametrize("key", ["pooling", "window", "weights_sha256", "dim", "dtype", "compute_dtype"])
def test_a_file_of_other_embeddings_is_left_alone(file, key):
    before = file.read_bytes()
    other = {"pooling": "mean", "dim": 8, "dtype": "float32", "window": 9, "compute_dtype": "bfloat16"}
    with pytest.raises(DataError, match=f"{key}: .* in the file.*") as failed:
        EmbeddingWriter(file, {**RECORD, key: other.get(key, "b" * 64)})
    assert "--overwrite" in str(failed.value)
    assert file.read_bytes() == before


def test_overwriting_is_done_when_asked_for_and_leaves_readers_alone(file):
    early = open_embeddings(file)
    write(file, ["p3"], {**RECORD, "dtype": "float32"}, overwrite=True)
    late = open_embeddings(file)
    assert late.names == ("p3",) and late.dtype == np.float32
    check(early)
    assert [path.name for path in file.parent.iterdir()] == ["all.emb"]


@pytest.mark.parametrize(
    "content", [b"", b"nothing of the kind, and longer than a head is" * 9, b">a\nMKT\n"]
)
def test_what_is_no_file_of_embeddings_is_told_and_kept(tmp_path, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a file of embeddings"):
        open_embeddings(path)
    if content:
        with pytest.raises(DataError, match="not a file of embeddings"):
            EmbeddingWriter(path, RECORD)
        assert path.read_bytes() == content


def test_a_missing_file_names_the_nearest(file):
    with pytest.raises(DataError, match=r"Did you mean: .*all\.emb"):
        open_embeddings(file.with_name("al.emb"))


def test_a_missing_protein_names_the_nearest_and_the_command(file):
    with pytest.raises(DataError, match=r"lacks 'p11'") as failed:
        open_embeddings(file)["p11"]
    assert "p1" in failed.value.nearest
    assert f"holotype embed FASTA -o {file} --encoder mine/tiny" in str(failed.value)


# -- cut off, damaged ---------------------------------------------------------------------------


def test_cut_off_at_any_byte_it_is_gone_on_with(file, tmp_path):
    """Whole records before the cut are kept, always; and reading says that the file is unfinished."""
    whole = file.read_bytes()
    ends = [
        int(place) + -(-VALUES[name].nbytes // 64) * 64
        for name, place in zip(SEQUENCES, open_embeddings(file)._entries.places, strict=True)
    ]
    cut = tmp_path / "cut.emb"
    kept_counts = set()
    edges = {at + by for at in range(0, len(whole), 64) for by in (-1, 0, 1)}
    for size in sorted({*range(0, len(whole), 9), *edges} & {*range(len(whole))}):
        cut.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"unfinished|not a file of embeddings|damaged: its beginning"):
            open_embeddings(cut)
        with EmbeddingWriter(cut, RECORD) as writer:
            assert len(writer) == sum(end <= size for end in ends), size
            kept_counts.add(len(writer))
            for name, sequence in SEQUENCES.items():
                writer.add(name, sequence, VALUES[name])
        check(open_embeddings(cut))
        assert cut.stat().st_size == len(whole)
    assert kept_counts == set(range(7))


def test_cut_off_while_adding_the_first_part_stays(file, tmp_path):
    first = file.read_bytes()
    cut = tmp_path / "cut.emb"
    SEQUENCES["new"], VALUES["new"] = "MMM", np.ones((3, 4), np.float16)
    try:
        write(file)
        write(file, ["new"])
        whole = file.read_bytes()
        for size in range(len(first) + 1, len(whole), 7):
            cut.write_bytes(whole[:size])
            partly = open_embeddings(cut, unfinished=True)
            assert not partly.complete
            assert partly.names[:6] == (*SEQUENCES,)[:6]
            write(cut, [*SEQUENCES])
            check(open_embeddings(cut), [*SEQUENCES])
    finally:
        del SEQUENCES["new"], VALUES["new"]


def test_any_changed_byte_is_noticed_or_without_effect(file, tmp_path):
    whole = file.read_bytes()
    path = tmp_path / "changed.emb"
    noticed = 0
    for at in range(0, len(whole), 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        try:
            embeddings = open_embeddings(path)
            embeddings.verify()
        except DataError:
            noticed += 1
            continue
        check(embeddings)
    assert noticed > len(whole) / 5 / 2


def test_damage_names_the_protein_and_spares_the_others(file):
    embeddings = open_embeddings(file)
    place = int(embeddings._entries.places[3])
    content = bytearray(file.read_bytes())
    content[place + 5] ^= 1
    file.write_bytes(content)
    again = open_embeddings(file)
    with pytest.raises(DataError, match="damaged: the embedding of 'p3'"):
        again["p3"]
    np.testing.assert_array_equal(again["p4"], VALUES["p4"])


def test_damage_before_an_index_is_not_dropped_as_if_it_were_cut_off(file):
    """A broken head in what was once on the disk is damage: nothing behind it may be thrown away."""
    end = file.stat().st_size
    write(file)
    place = int(open_embeddings(file)._entries.places[1])
    content = bytearray(file.read_bytes())
    content[place - 128] ^= 1  # the head of p1
    content += b"cut off"
    file.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        EmbeddingWriter(file, RECORD)
    with pytest.raises(DataError, match="damaged"):
        open_embeddings(file, unfinished=True)
    assert file.stat().st_size == end + 7


def test_after_a_power_cut_rows_that_never_reached_the_disk_are_dropped(file, tmp_path):
    whole = bytearray(file.read_bytes())
    places = open_embeddings(file)._entries.places
    last = int(places[-1])
    whole[int(places[4]) : int(places[4]) + 8] = bytes(8)
    path = tmp_path / "cut.emb"
    path.write_bytes(whole[: last + 64 * 9])
    with EmbeddingWriter(path, RECORD) as writer:
        assert len(writer) == 4
        for name, sequence in SEQUENCES.items():
            writer.add(name, sequence, VALUES[name])
    check(open_embeddings(path))


def test_what_stands_behind_the_last_whole_record_is_cut_off(file):
    whole = file.read_bytes()
    file.write_bytes(whole[:-64] + bytes(range(256)) * 40)
    write(file)
    check(open_embeddings(file))
    assert file.stat().st_size == len(whole)


def test_indexes_are_written_on_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding_writer, "_INDEX_BYTES", 300)
    path = tmp_path / "many.emb"
    with pytest.raises(RuntimeError), EmbeddingWriter(path, RECORD) as writer:
        for name in SEQUENCES:
            writer.add(name, SEQUENCES[name], VALUES[name])
        raise RuntimeError
    assert path.read_bytes().count(b"indexes\n") > 2
    with pytest.raises(DataError, match="unfinished: it holds 6 proteins"):
        open_embeddings(path)
    check(open_embeddings(path, unfinished=True))
    write(path)
    check(open_embeddings(path))


# -- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.full((2, 4), np.nan), "NaN or infinite values, first in row 1"),
        (np.array([[0, 0, 0, 0], [0, np.inf, 0, 0]]), "first in row 2"),
        (np.full((2, 4), 70_000.0), "reaches 7e\\+04; float16 ends at 65504"),
        (np.full((2, 3), 1.0), r"shape \(2, 3\)"),
        (np.full(4, 1.0), r"shape \(4,\)"),
        (np.zeros((0, 4)), r"shape \(0, 4\)"),
    ],
)
def test_values_that_cannot_be_kept_are_an_error_that_names_the_protein(file, values, told):
    before = file.read_bytes()
    with EmbeddingWriter(file, RECORD) as writer, pytest.raises(DataError, match=f"'bad'.*{told}"):
        writer.add("bad", "MK", values)
    assert file.read_bytes() == before


def test_names_may_be_anything(tmp_path):
    names = ["a\tb\n", "é", "sp|P1|X", "x" * 300, "\udcff", " "]
    path = tmp_path / "x.emb"
    with EmbeddingWriter(path, RECORD) as writer:
        for name in names:
            writer.add(name, "M", np.ones((1, 4)))
    assert open_embeddings(path).names == tuple(names)
    path.write_bytes(path.read_bytes()[:-1])
    assert open_embeddings(path, unfinished=True).names == tuple(names), "from the records, too"


@pytest.mark.parametrize(
    "record", [{}, {**RECORD, "dim": 0}, {**RECORD, "dtype": "int8"}, {**RECORD, "pooling": "max"}]
)
def test_a_record_that_does_not_tell_what_the_file_needs(tmp_path, record):
    with pytest.raises(DataError, match="not an encoder record"):
        EmbeddingWriter(tmp_path / "x.emb", record)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(StoreError, match="cannot be written"):
        EmbeddingWriter(tmp_path / "none" / "x.emb", RECORD)


# -- several processes, several files -----------------------------------------------------------


def test_a_second_writer_is_refused(file):
    code = (
        "import sys\nfrom holotype.proteins.data.embeddings import EmbeddingWriter\n"
        "from holotype.errors import DataError\n"
        f"record = {RECORD!r}\n"
        "for overwrite in (False, True):\n"
        "    try: EmbeddingWriter(sys.argv[1], record, overwrite=overwrite)\n"
        "    except DataError as error: print(error)\n"
    )
    with EmbeddingWriter(file, RECORD):
        done = subprocess.run(
            [sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True
        )
    assert done.stdout.count("is being written by another process") == 2
    check(open_embeddings(file))


def test_a_file_that_is_being_written_can_be_read(tmp_path):
    path = tmp_path / "x.emb"
    with EmbeddingWriter(path, RECORD) as writer:
        writer.add("p0", SEQUENCES["p0"], VALUES["p0"])
        check(open_embeddings(path, unfinished=True), ["p0"])
        with pytest.raises(DataError, match="unfinished"):
            open_embeddings(path)


def test_they_go_to_other_processes(file):
    embeddings = open_embeddings(file)
    chosen = embeddings.rename({"x": "p3", "y": "p1"})
    copy = pickle.loads(pickle.dumps(chosen))  # noqa: S301  # our own
    assert copy.names == ("x", "y")
    np.testing.assert_array_equal(copy["x"], VALUES["p3"])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        sent = pool.apply(operator.getitem, (open_embeddings([file, file]), "p5"))
    assert sent.shape == (len(SEQUENCES["p5"]), 8)
    write(file, ["p0"], overwrite=True)
    with pytest.raises(DataError, match="not the file that was pickled"):
        pickle.loads(pickle.dumps(chosen))  # noqa: S301  # our own


def test_some_of_them_in_an_order_of_ones_own(file):
    embeddings = open_embeddings(file)
    check(embeddings.select(["p4", "p0"]), ["p4", "p0"])
    check(embeddings.select({name: SEQUENCES[name] for name in ("p2", "p1")}), ["p2", "p1"])
    with pytest.raises(DataError, match="lacks 'q'"):
        embeddings.select(["p1", "q"])


def test_several_files_stand_side_by_side(file, tmp_path):
    other = tmp_path / "other.emb"
    with EmbeddingWriter(other, {**RECORD, "dim": 2, "dtype": "float32", "encoder": "b"}) as writer:
        for name in reversed(SEQUENCES):
            writer.add(name, SEQUENCES[name], VALUES[name][:, :2] * 3)
    joined = open_embeddings([file, other])
    assert joined.dim == 6 and joined.dtype == np.float32 and len(joined.record) == 2
    assert joined.names == tuple(SEQUENCES)
    expected = np.concatenate([VALUES["p5"].astype(np.float32), VALUES["p5"][:, :2] * np.float32(3)], 1)
    np.testing.assert_allclose(joined["p5"], expected, rtol=1e-3)
    assert joined.select(["p5"]).rename({"z": "p5"})["z"].shape == (len(SEQUENCES["p5"]), 6)
    assert pickle.loads(pickle.dumps(joined)).names == joined.names  # noqa: S301  # our own
    assert open_embeddings([file]).dim == 4


def test_files_that_do_not_go_together(file, tmp_path):
    lacking = write(tmp_path / "lacking.emb", ["p0", "p1"])
    with pytest.raises(DataError, match=r"lacks 'p2', 'p3', 'p4' and 1 more"):
        open_embeddings([file, lacking])
    assert open_embeddings([lacking, file]).names == ("p0", "p1")
    pooled = tmp_path / "pooled.emb"
    with EmbeddingWriter(pooled, {**RECORD, "pooling": "mean"}) as writer:
        for name, sequence in SEQUENCES.items():
            writer.add(name, sequence, np.ones((1, 4)))
    with pytest.raises(DataError, match="pooling none"):
        open_embeddings([file, pooled])
    changed = tmp_path / "changed.emb"
    with EmbeddingWriter(changed, RECORD) as writer:
        for name in SEQUENCES:
            writer.add(name, "V" * len(SEQUENCES[name]), VALUES[name])
    with pytest.raises(DataError, match="another sequence"):
        open_embeddings([file, changed])
    with pytest.raises(DataError, match="no file"):
        open_embeddings([])


# -- what a model was trained on ----------------------------------------------------------------


def test_embeddings_as_a_model_knows_them():
    check_same_features(
        RECORD, {**RECORD, "dtype": "float32", "compute_dtype": "bfloat16", "encoder": "alias"}
    )
    check_same_features([RECORD, RECORD], (RECORD, RECORD))
    wanted = {**RECORD, "pooling": "mean", "window": 500, "overlap": 50}
    with pytest.raises(DataError) as failed:
        check_same_features(wanted, RECORD, what="v1.safetensors")
    assert {problem.split(":")[0] for problem in failed.value.problems} == {"pooling", "window", "overlap"}
    command = "holotype embed FASTA -o OUT --encoder mine/tiny --pooling mean --window 500 --overlap 50"
    assert command in str(failed.value)
    with pytest.raises(DataError, match="2 encoders side by side; these are of 1"):
        check_same_features([RECORD, RECORD], RECORD)


# -- size ---------------------------------------------------------------------------------------


def test_twenty_thousand_proteins_open_in_a_moment(tmp_path):
    path = tmp_path / "many.emb"
    row = np.ones((1, 4), np.float16)
    with EmbeddingWriter(path, {**RECORD, "pooling": "mean"}) as writer:
        for at in range(20_000):
            writer.add(f"protein{at}", "M", row)
    tracemalloc.start()
    embeddings = open_embeddings(path)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(embeddings) == 20_000 and used < 16 * 2**20
    assert embeddings["protein19999"].shape == (1, 4)
