"""From sequences to embeddings: nothing skipped, nothing computed twice, the same numbers in any company."""

import hashlib
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import holotype
from holotype.errors import AmbiguousNameError, ConfigError, DataError, UnknownModelError
from holotype.proteins.data.embeddings import EmbeddingWriter, open_embeddings
from holotype.proteins.prediction import embedding, encoders
from holotype.proteins.prediction.embedding import EncoderSpec, embed, embeddings_for, load_encoder, windows

ZOO = __name__.rpartition(".")[0] or __name__  # of models that are registered here
SEQUENCES = {"a": "MKTAYIAK", "b": "ACD", "c": "GGGGGXUBZO" * 3, "d": "M", "e": "WWWWW"}


class Counting(torch.nn.Module):
    """A residue's embedding: its letter, and how far it is from the beginning. It remembers what it was given.

    Args:
        scale: what everything is multiplied by.
        limit: the longest protein.
    """

    task = holotype.Task.PROTEIN_EMBEDDING
    embedding_dim = 3
    whole_protein = False

    def __init__(self, scale: float = 1.0, limit: int | None = None):
        super().__init__()
        self.scale, self.max_residues = scale, limit
        self.seen: list[list[int]] = []

    def tokenize(self, sequence):
        return torch.tensor([ord(letter) - 64 for letter in sequence])

    def forward(self, tokens, lengths):
        assert not self.training
        RAN.append(lengths.tolist())
        places = torch.arange(tokens.shape[1]).expand_as(tokens)
        emb = torch.stack([tokens, places, tokens * 0 + 1], -1).float() * self.scale
        emb[tokens == 17] = torch.nan  # Q
        emb[tokens == 18] = 1e5  # R
        return emb * (torch.arange(tokens.shape[1]) < lengths[:, None])[..., None]


class Weighted(Counting):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))

    def forward(self, tokens, lengths):
        return super().forward(tokens, lengths) * self.weight


class Whole(Counting):
    whole_protein = True

    def forward(self, tokens, lengths):
        return super().forward(tokens, lengths).sum(1, keepdim=True)


class NoEncoder(torch.nn.Module):
    pass


RAN: list[list[int]] = []


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """Encoders in a registry of their own."""
    RAN.clear()
    made = holotype.Registry()
    monkeypatch.setattr(encoders, "default_registry", made)
    for name, cls, config in (
        ("counting", Counting, {}),
        ("counting_10", Counting, {"limit": 10}),
        ("whole", Whole, {}),
        ("weighted", Weighted, {}),
    ):
        made.register_model_config(name, cls, config=config, task=holotype.Task.PROTEIN_EMBEDDING)
    made.register_model("no_encoder", task="protein_interaction")(NoEncoder)
    return made


def ran():
    """The lengths of all proteins and windows that were run."""
    return sorted(length for batch in RAN for length in batch)


def expected(sequence, start=0):
    return np.array([[ord(letter) - 64, at, 1] for at, letter in enumerate(sequence, start)], np.float16)


def test_each_protein_has_a_row_for_each_residue(tmp_path):
    embeddings = embed(SEQUENCES, "counting", tmp_path / "x.emb", residues_per_batch=12)
    assert embeddings.names == tuple(SEQUENCES), "in the order they were given"
    for name, sequence in SEQUENCES.items():
        np.testing.assert_array_equal(embeddings[name], expected(sequence))
    assert RAN == [[30], [8], [5, 3], [1]], "longest first, at most 12 with padding, or alone"


@pytest.mark.parametrize("residues", [1, 7, 1000])
def test_the_size_of_batches_changes_nothing(tmp_path, residues):
    embeddings = embed(SEQUENCES, "counting", tmp_path / "x.emb", residues_per_batch=residues)
    for name, sequence in SEQUENCES.items():
        np.testing.assert_array_equal(embeddings[name], expected(sequence))


def test_the_record_says_what_made_them(tmp_path):
    record = embed(
        SEQUENCES, EncoderSpec("counting", pooling="mean", window=9, overlap=2), tmp_path / "x.emb"
    ).record
    assert dict(record) == {
        "encoder": f"{ZOO}/counting",
        "architecture": f"{ZOO}/counting",
        "config_fingerprint": record["config_fingerprint"],
        "weights_sha256": None,
        "pooling": "mean",
        "window": 9,
        "overlap": 2,
        "compute_dtype": "float32",
        "dtype": "float16",
        "dim": 3,
    }


def test_pooled_before_they_are_rounded(tmp_path):
    spec = {"name": "counting", "pooling": "mean+max"}
    sequences = {"long": "A" * 3000, "short": "MK"}
    embeddings = embed(sequences, spec, tmp_path / "x.emb")
    assert embeddings.dim == 6 and embeddings.lengths.tolist() == [1, 1]
    # In half precision the sum would end at 65504, and the mean be another.
    np.testing.assert_array_equal(embeddings["long"], np.float16([[1, 1499.5, 1, 1, 2999, 1]]))
    np.testing.assert_array_equal(embeddings["short"], np.float16([[12, 0.5, 1, 13, 1, 1]]))


def test_the_spread_along_the_chain(tmp_path):
    spec = {"name": "counting", "pooling": "mean+std+max", "dtype": "float32"}
    found = embed({"x": "MKMR", "one": "M"}, spec, tmp_path / "x.emb")
    rows = embed({"x": "MKMR", "one": "M"}, {"name": "counting", "dtype": "float32"}, tmp_path / "y.emb")
    for name in ("x", "one"):
        expected = np.concatenate([rows[name].mean(0), rows[name].std(0), rows[name].max(0)])
        np.testing.assert_allclose(found[name][0], expected, rtol=1e-6)


def test_float32_keeps_what_float16_cannot(tmp_path):
    with pytest.raises(DataError, match=r"'x' reaches 1e\+05; float16 ends at 65504") as failed:
        embed({"y": "MK", "x": "MR"}, "counting", tmp_path / "x.emb")
    assert "--dtype float32" in str(failed.value)
    wide = embed({"x": "MR"}, {"name": "counting", "dtype": "float32"}, tmp_path / "y.emb")
    assert wide.dtype == np.float32 and wide["x"][1, 0] == 1e5


def test_nan_is_an_error_that_names_the_protein_and_keeps_the_rest(tmp_path):
    sequences = {"long": "MKTAYIAK", "bad": "MKQ", "short": "M"}
    for pooling in ("none", "mean"):
        path = tmp_path / f"{pooling}.emb"
        with pytest.raises(DataError, match="'bad' holds NaN"):
            embed(sequences, {"name": "counting", "pooling": pooling}, path, residues_per_batch=8)
        assert open_embeddings(path, unfinished=True).names == ("long",)


# -- long proteins ------------------------------------------------------------------------------


def test_a_protein_that_is_too_long_is_an_error_before_anything_runs(tmp_path):
    sequences = {**SEQUENCES, "long": "M" * 11}
    with pytest.raises(
        DataError, match=r"at most 10 residues, and 2 proteins have more: c \(30\), long \(11\)"
    ):
        embed(sequences, "counting_10", tmp_path / "x.emb")
    assert not RAN and not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="window: 'counting_10' takes at most 10 residues, got 11"):
        embed(sequences, EncoderSpec("counting_10", window=11), tmp_path / "x.emb")


def test_windows_are_averaged_where_they_overlap(tmp_path):
    embeddings = embed(SEQUENCES, EncoderSpec("counting_10", window=10, overlap=4), tmp_path / "x.emb")
    assert max(map(max, RAN)) == 10
    long = SEQUENCES["c"]
    total, times = np.zeros((30, 3)), np.zeros((30, 1))
    for start, size in [(0, 10), (6, 10), (12, 10), (18, 10), (20, 10)]:
        total[start : start + size] += expected(long[start : start + size])
        times[start : start + size] += 1
    np.testing.assert_array_equal(embeddings["c"], (total / times).astype(np.float32).astype(np.float16))
    np.testing.assert_array_equal(embeddings["a"], expected(SEQUENCES["a"]))
    assert embeddings.lengths.tolist() == [len(sequence) for sequence in SEQUENCES.values()]


@pytest.mark.parametrize("overlap", [0, 1, 3, 9])
def test_windows_cover_every_residue(overlap):
    for length in range(1, 60):
        found = windows(length, 10, overlap)
        assert {at for start, size in found for at in range(start, start + size)} == set(range(length))
        assert all(size == min(length, 10) for _, size in found)


# -- going on -----------------------------------------------------------------------------------


def test_what_is_there_is_not_computed_again(tmp_path):
    path = tmp_path / "x.emb"
    first = {name: SEQUENCES[name] for name in "ab"}
    embed(first, "counting", path)
    RAN.clear()
    told = []
    again = embed(SEQUENCES, "counting", path, progress=lambda done, total: told.append((done, total)))
    assert ran() == [1, 5, 30]
    assert again.names == tuple(SEQUENCES)
    assert told[0] == (11, 47) and told[-1] == (47, 47)
    RAN.clear()
    before = path.read_bytes()
    assert embed(first, "counting", path).names == ("a", "b")
    assert not RAN and path.read_bytes() == before


def test_after_an_error_it_goes_on(tmp_path, monkeypatch):
    path = tmp_path / "x.emb"

    def stop(done, total):
        if done >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(SEQUENCES, "counting", path, progress=stop, residues_per_batch=8)
    with pytest.raises(DataError, match="unfinished: it holds 1 protein"):
        open_embeddings(path)
    RAN.clear()
    embeddings = embed(SEQUENCES, "counting", path)
    assert 30 not in ran()
    np.testing.assert_array_equal(embeddings["c"], expected(SEQUENCES["c"]))
    assert embeddings.complete


def test_a_file_is_not_replaced_unasked(tmp_path):
    path = tmp_path / "x.emb"
    embed(SEQUENCES, "counting", path)
    before = path.read_bytes()
    with pytest.raises(DataError, match=f"architecture: .{ZOO}/counting. in the file"):
        embed({"d": "M"}, "whole", path)
    with pytest.raises(DataError, match="'b' with another sequence"):
        embed({"a": SEQUENCES["a"], "b": "ACDE"}, "counting", path)
    RAN.clear()
    with pytest.raises(DataError, match="dtype: 'float16' in the file, 'float32' now"):
        embed({"b": "ACD"}, EncoderSpec("counting", dtype="float32"), path)
    assert not RAN
    with pytest.raises(DataError, match="exists already"):
        embed(SEQUENCES, "counting", path, resume=False)
    assert path.read_bytes() == before
    assert embed({"b": "ACDE"}, "counting", path, overwrite=True).names == ("b",)
    assert open_embeddings(path).names == ("b",)


# -- which encoder ------------------------------------------------------------------------------


def test_an_encoder_nobody_knows_names_the_nearest(tmp_path):
    with pytest.raises(UnknownModelError, match="counting"):
        embed(SEQUENCES, "countin", tmp_path / "x.emb")
    with pytest.raises(DataError, match="is not an encoder: its task is protein_interaction"):
        load_encoder("no_encoder")
    with pytest.raises(DataError, match=r"the file none\.safetensors does not exist"):
        load_encoder("none.safetensors")


def test_weights_are_not_made_up():
    with pytest.raises(DataError, match="random weights"):
        load_encoder("weighted")


def test_a_weight_file_of_ones_own(tmp_path, registry):
    net = registry.create_model("weighted")
    with torch.no_grad():
        net.weight.fill_(2)
    file = str(tmp_path / "mine.safetensors")
    holotype.save_pretrained(net, file, registry=registry)
    embeddings = embed({"a": "MK"}, file, tmp_path / "x.emb")
    np.testing.assert_array_equal(embeddings["a"], 2 * expected("MK"))
    assert embeddings.record["encoder"] == file and len(embeddings.record["weights_sha256"]) == 64
    embed({"a": "MK", "b": "ACD"}, file, tmp_path / "x.emb")
    with torch.no_grad():
        net.weight.fill_(3)
    holotype.save_pretrained(net, file, overwrite=True, registry=registry)
    with pytest.raises(DataError, match="weights_sha256"):
        embed({"a": "MK"}, file, tmp_path / "x.emb")


def test_an_architecture_stands_for_its_only_entry(tmp_path, registry):
    net = registry.create_model("weighted")
    with torch.no_grad():
        net.weight.fill_(4)
    file = tmp_path / "mine.safetensors"
    holotype.save_pretrained(net, file, registry=registry)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    entry = {
        "network": "weighted",
        "task": "protein_embedding",
        "formats": {"safetensors": {"url": file.as_uri(), "sha256": sha256}},
        "config": {},
    }
    registry.register_weights("weighted_one", {**entry, "tag": "one"})
    for name in ("weighted", "weighted_one"):
        embeddings = embed({"a": "MK"}, name, tmp_path / f"{name}.emb")
        np.testing.assert_array_equal(embeddings["a"], 4 * expected("MK"))
        assert embeddings.record["encoder"] == f"{ZOO}/weighted_one"
    registry.register_weights("weighted_two", {**entry, "tag": "two"})
    with pytest.raises(AmbiguousNameError, match="2 pretrained entries"):
        load_encoder("weighted")


def test_one_row_for_a_whole_protein(tmp_path):
    embeddings = embed(SEQUENCES, "whole", tmp_path / "x.emb")
    assert embeddings.pooling == "mean" and embeddings.lengths.tolist() == [1] * 5
    np.testing.assert_array_equal(embeddings["b"], expected("ACD").sum(0, keepdims=True))
    for wrong in (EncoderSpec("whole", pooling="mean+max"), EncoderSpec("whole", window=5)):
        with pytest.raises(ConfigError, match="one row for a whole protein"):
            embed(SEQUENCES, wrong, tmp_path / "y.emb")
    with pytest.raises(ConfigError, match="computes in float32"):
        embed(SEQUENCES, EncoderSpec("whole", compute_dtype="bfloat16"), tmp_path / "y.emb")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"name": "counting", "poling": "mean"}, "did you mean 'pooling'"),
        ({"pooling": "mean"}, "name: missing"),
        ({"name": "counting", "pooling": "max"}, "pooling: expected one of none, mean, mean\\+std"),
        ({"name": "counting", "dtype": "bfloat16"}, "dtype: expected one of"),
        ({"name": "counting", "window": 0}, "window: expected 1 residue or more"),
        ({"name": "counting", "window": True}, "window: expected 1 residue or more"),
        ({"name": "counting", "overlap": 3}, "there is no window"),
        ({"name": "counting", "window": 3, "overlap": 3}, "expected less than the window"),
        ({"name": ""}, "name: expected the name of an encoder"),
        (3, "a name or a mapping"),
    ],
)
def test_a_spec_that_cannot_be(given, told):
    with pytest.raises(ConfigError, match=told):
        EncoderSpec.parse(given)


@pytest.mark.parametrize(
    ("sequences", "told"),
    [
        ({}, "no protein"),
        ({"a": ""}, "no sequence"),
        ({"a": "mk"}, "'a' holds other characters"),
        ({"": "M"}, "not the name"),
    ],
)
def test_sequences_that_cannot_be(tmp_path, sequences, told):
    with pytest.raises(DataError, match=told):
        embed(sequences, "counting", tmp_path / "x.emb")


# -- the cache ----------------------------------------------------------------------------------


def test_the_cache_computes_each_sequence_once_under_any_name(tmp_path):
    first = embeddings_for({"a": "MK", "b": "ACD", "same": "MK"}, "counting", folder=tmp_path)
    assert ran() == [2, 3]
    assert first.names == ("a", "b", "same")
    np.testing.assert_array_equal(first["same"], expected("MK"))
    RAN.clear()
    second = embeddings_for({"x": "ACD", "a": "GGGG"}, "counting", folder=tmp_path)
    assert RAN == [[4]]
    np.testing.assert_array_equal(second["x"], expected("ACD"))
    np.testing.assert_array_equal(second["a"], expected("GGGG"))
    np.testing.assert_array_equal(first["a"], expected("MK"))
    RAN.clear()
    both = embeddings_for(
        {"x": "ACD"}, ["counting", {"name": "counting", "dtype": "float32"}], folder=tmp_path
    )
    assert both.dim == 6 and RAN == [[3]]
    assert len(list(tmp_path.iterdir())) == 2


def test_the_cache_is_in_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLOTYPE_HOME", str(tmp_path))
    embeddings = embeddings_for({"a": "MK"}, "counting")
    assert (tmp_path / "embeddings") in [path.parent for path in (tmp_path / "embeddings").iterdir()]
    assert str(tmp_path) in embeddings.path


def test_errors_of_the_cache_call_proteins_by_their_names(tmp_path):
    with pytest.raises(DataError, match=r"mine \(11\)"):
        embeddings_for({"mine": "M" * 11}, "counting_10", folder=tmp_path)
    with pytest.raises(DataError, match="'mine' holds NaN"):
        embeddings_for({"mine": "MQ"}, "counting", folder=tmp_path)


def test_a_damaged_cache_is_moved_aside_and_made_again(tmp_path):
    path = embeddings_for({"a": "MK"}, "counting", folder=tmp_path).path
    content = bytearray(Path(path).read_bytes())
    content[-200] ^= 255
    Path(path).write_bytes(content)
    with pytest.warns(UserWarning, match="damaged"):
        again = embeddings_for({"a": "MK"}, "counting", folder=tmp_path)
    np.testing.assert_array_equal(again["a"], expected("MK"))


def test_whoever_needs_the_same_file_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "_POLL_S", 0.01)
    path = embeddings_for({"a": "MK"}, "counting", folder=tmp_path).path
    with EmbeddingWriter(path, open_embeddings(path).record):
        done = []
        thread = threading.Thread(
            target=lambda: done.append(embeddings_for({"b": "ACD"}, "counting", folder=tmp_path))
        )
        thread.start()
        thread.join(0.3)
        assert not done
        held = embeddings_for({"z": "MK"}, "counting", folder=tmp_path)  # what is there can be had meanwhile
        assert held.names == ("z",)
    thread.join(20)
    np.testing.assert_array_equal(done[0]["b"], expected("ACD"))


def test_edited_code_makes_other_embeddings(here):
    source = """
        import torch
        from holotype import register_model

        @register_model("tiny", task="protein_embedding")
        class Tiny(torch.nn.Module):
            embedding_dim, max_residues = 1, None
            def tokenize(self, sequence):
                return torch.ones(len(sequence), dtype=torch.long)
            def forward(self, tokens, lengths):
                return tokens[..., None] * NUMBER
        """
    source = textwrap.dedent(source)
    code = """
        from holotype.proteins.prediction.embedding import embeddings_for
        result = embeddings_for({"a": "MK"}, "tiny")["a"].tolist()
        """
    for value in (1.5, 2.5):
        here.write({"src/model/tiny.py": source.replace("NUMBER", str(value))})
        assert here.run(code) == [[value], [value]]


def test_edited_code_of_a_size_in_a_table_makes_other_embeddings(here):
    """The table that names the sizes is not the code; nor does a new name in it touch what is cached."""
    source = """
        import torch

        class Tiny(torch.nn.Module):
            embedding_dim, max_residues = 1, None
            def __init__(self, scale=1.0):
                super().__init__()
                self.scale = scale
            def tokenize(self, sequence):
                return torch.ones(len(sequence), dtype=torch.long)
            def forward(self, tokens, lengths):
                return tokens[..., None] * NUMBER * self.scale
        """
    source = textwrap.dedent(source)
    table = '[tiny_{}]\nclass = "tiny.Tiny"\ntask = "protein_embedding"\nconfig = {{scale = 2.0}}\n'
    code = """
        from holotype.proteins.prediction.embedding import embeddings_for
        found = embeddings_for({"a": "MK"}, "tiny_2")
        result = [found["a"].tolist(), found.path]
        """
    paths = []
    for value, tables in ((1.5, "2"), (2.5, "2"), (2.5, "23")):
        files = {"src/model/tiny.py": source.replace("NUMBER", str(value))}
        here.write(files | {"src/model/sizes.toml": "".join(map(table.format, tables))})
        rows, path = here.run(code)
        assert rows == [[2 * value], [2 * value]]
        paths.append(path)
    assert paths[0] != paths[1] == paths[2]
