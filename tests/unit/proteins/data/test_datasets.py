"""Datasets of zoos and of one's own: listed without an import, fetched verified, read with every rule applied."""

import gzip
import hashlib
import json
import os
import shutil

import pytest
import yaml

from holotype.datasets import copy_dataset, dataset_problems, fetch_dataset, get_dataset_info, list_datasets
from holotype.errors import (
    AmbiguousNameError,
    ConfigError,
    DataError,
    OfflineError,
    UnknownDatasetError,
    UnknownZooError,
    VerificationError,
)
from holotype.proteins.data.datasets import Dataset, load_dataset, split_files
from holotype.proteins.data.pairs import read_pairs

FASTA = "".join(f">P{at}\n{'MKTAYIAKQR'[at % 10 :]}{'ACDEFGHIKLMNPQRSTVWY' * (at + 1)}\n" for at in range(12))
PAIRS = "".join(f"P{a}\tP{b}\t{(a + b) % 2}\n" for a in range(12) for b in range(a + 1, 12))


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def table(pairs="pairs.tsv", sequences="seqs.fasta", **changes):
    row = {
        "description": "a toy",
        "license": "CC0-1.0",
        "sha_pairs": sha256(PAIRS),
        "sha_seqs": sha256(FASTA),
    }
    row |= changes
    return f"""
        [{row.get("name", "toy")}]
        description = "{row["description"]}"
        license = "{row["license"]}"
        {row.get("more", "")}
        [{row.get("name", "toy")}.files.pairs]
        url = "{pairs}"
        sha256 = "{row["sha_pairs"]}"
        size_bytes = {len(PAIRS)}
        [{row.get("name", "toy")}.files.sequences]
        url = "{sequences}"
        sha256 = "{row["sha_seqs"]}"
    """


@pytest.fixture
def zoo(here):
    """A project whose zoo ships a dataset; importing the zoo would fail."""
    here.write(
        {
            "src/model/__init__.py": "raise RuntimeError('nobody may import this to list datasets')",
            "src/model/datasets.toml": table(),
            "src/model/pairs.tsv": PAIRS,
            "src/model/seqs.fasta": FASTA,
        }
    )
    return here


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "seqs.fasta").write_text(FASTA)
    (tmp_path / "all.tsv").write_text(PAIRS)
    for part, rows in (("train", (0, 40)), ("val", (40, 50)), ("test", (50, 66))):
        (tmp_path / f"{part}.tsv").write_text("".join(PAIRS.splitlines(keepends=True)[slice(*rows)]))
    return tmp_path


# -- registered ----------------------------------------------------------------------------------------


def test_the_first_party_datasets_are_listed_with_all_that_is_known():
    assert {"guo_yeast", "bernett", "dscript_yeast"} <= set(list_datasets(zoo="proteins"))
    info = get_dataset_info("Proteins/Bernett")
    assert (info.name, info.zoo, info.metadata["protocol"], info.parts) == (
        "bernett",
        "proteins",
        "c3",
        ("train", "val", "test"),
    )
    for name in list_datasets(zoo="proteins"):
        info = get_dataset_info(name)
        assert info.license and info.paper and info.homepage and info.description
        assert info.size_bytes == sum(file.size_bytes for file in info.files)
        assert all(file.url.startswith("https://") for file in info.files)
        assert json.loads(json.dumps(info.to_dict()))["name"] == name


def test_a_dataset_of_ones_own_zoo_is_listed_without_importing_it(zoo):
    assert "toy" in list_datasets() and list_datasets(zoo="src.model") == ["toy"]
    info = get_dataset_info("toy")
    assert info.license == "CC0-1.0" and info.parts == ("pairs",) and info.zoo == "src.model"
    data = load_dataset("toy")
    assert isinstance(data, Dataset) and list(data.splits) == ["pairs"] and len(data.splits["pairs"]) == 66
    assert data.digests == {"pairs": sha256(PAIRS), "sequences": sha256(FASTA)} and data.info is not None
    assert data.sequences["P0"].startswith("MKT")


def test_other_bytes_than_were_published_are_refused(zoo):
    (zoo.root / "src/model/pairs.tsv").write_text(PAIRS.replace("P1", "P3"))
    with pytest.raises(VerificationError):
        load_dataset("toy")


def test_without_the_network_what_is_not_there_is_an_error_and_a_mirror_helps(zoo, monkeypatch, tmp_path):
    zoo.write(
        {"src/model/datasets.toml": table("https://nowhere.invalid/p.tsv", "https://nowhere.invalid/s.fa")}
    )
    monkeypatch.setenv("HOLOTYPE_OFFLINE", "1")
    monkeypatch.delenv("HOLOTYPE_MIRRORS", raising=False)
    with pytest.raises(OfflineError):
        fetch_dataset("toy")
    for text in (PAIRS, FASTA):
        blob = tmp_path / "mirror/blobs/sha256" / sha256(text)[:2] / sha256(text)
        blob.parent.mkdir(parents=True)
        blob.write_text(text)
    monkeypatch.setenv("HOLOTYPE_MIRRORS", str(tmp_path / "mirror"))
    assert set(fetch_dataset("toy")) == {"pairs", "sequences"}
    shutil.rmtree(tmp_path / "mirror")
    assert len(load_dataset("toy").splits["pairs"]) == 66  # from the cache


def test_an_unknown_name_is_told_with_the_nearest():
    with pytest.raises(UnknownDatasetError, match="holotype data list") as caught:
        load_dataset("bernet")
    assert "bernett" in caught.value.nearest


def test_a_folder_does_not_stand_in_for_a_registered_name(zoo):
    copy_dataset("toy", "toy")
    assert load_dataset("toy").info is not None
    assert load_dataset("./toy").info is None and load_dataset("./toy").name == "toy"


def test_an_unknown_zoo(zoo):
    with pytest.raises(UnknownZooError, match=r"Did you mean: src\.model"):
        list_datasets(zoo="src.mdel")


def test_one_name_in_two_zoos_has_to_be_qualified(zoo):
    zoo.write({"src/model/datasets.toml": table(name="bernett")})
    assert {"proteins/bernett", "src.model/bernett"} <= set(list_datasets())
    with pytest.raises(AmbiguousNameError) as caught:
        get_dataset_info("bernett")
    assert set(caught.value.nearest) == {"proteins/bernett", "src.model/bernett"}
    assert get_dataset_info("src.model/bernett").license == "CC0-1.0"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[toy\n", "datasets.toml:"),
        (b"\xff\xfe", "datasets.toml:"),
        ("toy = 3\n", "is not a table"),
        ("[toy]\ndescription = 'x'\n", "files: none of a known role"),
        (table(more="colour = 'red'"), "colour: no such key"),
        (table(more="protocol = 'c7'"), "protocol: one of"),
        (table(more="species = 'yeast'"), "species: expected a list"),
        (table(sha_pairs="abc"), "no sha256 of 64"),
        (table(name="TOY"), "is not a name"),
        (table().replace("files.pairs", "files.pears"), "no such role"),
    ],
)
def test_a_broken_table_is_told_and_spoils_nothing_else(zoo, content, message):
    zoo.write({"src/model/datasets.toml": content})
    assert "bernett" in list_datasets() and list_datasets(zoo="src.model") == []
    (problem,) = dataset_problems()
    assert message in problem and "datasets.toml" in problem
    with pytest.raises(UnknownDatasetError, match="Not read"):
        get_dataset_info("toy")


def test_copies_can_be_loaded_again_and_nothing_is_overwritten(zoo, tmp_path):
    files = copy_dataset("toy", tmp_path / "copy")
    assert {path.name for path in files.values()} == {"pairs.tsv", "sequences.fasta", "dataset.yaml"}
    again = load_dataset(tmp_path / "copy")
    assert again.name == "toy" and again.splits["pairs"] == load_dataset("toy").splits["pairs"]
    files["pairs"].write_text("mine")
    with pytest.raises(DataError, match="exists already"):
        copy_dataset("toy", tmp_path / "copy")
    assert files["pairs"].read_text() == "mine"
    copy_dataset("toy", tmp_path / "copy", overwrite=True)
    assert files["pairs"].read_text() == PAIRS


# -- one's own -----------------------------------------------------------------------------------------


def test_a_mapping_of_files(folder, monkeypatch):
    mapping = {"train": "train.tsv", "val": "val.tsv", "test": "test.tsv", "sequences": "seqs.fasta"}
    data = load_dataset(mapping, relative_to=folder)
    assert {part: len(pairs) for part, pairs in data.splits.items()} == {"train": 40, "val": 10, "test": 16}
    assert data.protocol is None and data.split_by is None
    assert data.digests["sequences"] == sha256(FASTA) and set(data.digests) == {
        "train_pairs", "val_pairs", "test_pairs", "sequences",
    }  # fmt: skip
    monkeypatch.chdir(folder)
    assert load_dataset(mapping).splits == data.splits


def test_a_yaml_file_has_paths_of_its_own(folder, monkeypatch, tmp_path_factory):
    (folder / "mine.yaml").write_text("{pairs: all.tsv, sequences: [seqs.fasta], name: ours, split: }")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    data = load_dataset(str(folder / "mine.yaml"))
    assert data.name == "ours" and len(data.splits["pairs"]) == 66


def test_what_a_split_promises_can_be_said_of_files_that_are_divided(folder):
    mapping = {
        "train": "train.tsv",
        "test": "test.tsv",
        "sequences": "seqs.fasta",
        "split": {"protocol": "c1"},
    }
    assert load_dataset(mapping, relative_to=folder).protocol == "c1"


def test_unknown_proteins_are_dropped_and_told_and_sequences_are_joined(folder):
    lines = PAIRS + "P0\tghost\t1\nP1\tP0\t1\nP3\tP4\t0\n"
    (folder / "all.tsv.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "more.fasta").write_text(">extra\nMKV\n")
    data = load_dataset(
        {"pairs": folder / "all.tsv.gz", "sequences": [folder / "seqs.fasta", folder / "more.fasta"]}
    )
    assert len(data.sequences) == 13 and len(data.splits["pairs"]) == 65
    notes = "\n".join(data.notes)
    assert "pairs: 1 pair left out, as 1 protein has no sequence: ghost" in notes
    assert "pairs: 1 pair with both labels left out (2 lines): P3 P4" in notes
    assert "pairs: 1 repeated pair left out (1 of them the other way round): P1 P0" in notes


def test_a_dataset_is_divided_by_protocol_and_seed(folder):
    mapping = {"pairs": "all.tsv", "sequences": "seqs.fasta", "split": {"protocol": "c1", "seed": 4}}
    data = load_dataset(mapping, relative_to=folder)
    assert list(data.splits) == ["train", "val", "test"] and data.protocol == "c1"
    assert data.split_by == {"protocol": "c1", "seed": 4, "fractions": [0.8, 0.1, 0.1]}
    whole = load_dataset({"pairs": "all.tsv", "sequences": "seqs.fasta"}, relative_to=folder)
    assert whole.split("c1", seed=4).splits == data.splits
    with pytest.raises(DataError, match="divided already, into train, val, test"):
        data.split("c1", seed=1)


def test_a_file_of_ones_own_is_divided_in_a_mapping(folder):
    (folder / "mine.yaml").write_text("{pairs: all.tsv, sequences: seqs.fasta}")
    split = {"protocol": "c1", "seed": 4, "fractions": None, "max_identity": None, "tool": None}
    data = load_dataset({"name": "mine.yaml", "pairs": None, "split": split}, relative_to=folder)
    assert data.split_by["seed"] == 4 and len(data.splits["train"]) == 53


def test_a_registered_dataset_is_divided_in_a_mapping(zoo):
    data = load_dataset({"name": "toy", "split": {"protocol": "c1", "seed": 4, "fractions": [0.5, 0, 0.5]}})
    assert {part: len(pairs) for part, pairs in data.splits.items()} == {"train": 33, "test": 33}
    assert data.digests["pairs"] == sha256(PAIRS)


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        ({}, "no pairs"),
        ({"sequences": "s"}, "no pairs"),
        ({"pairs": "all.tsv"}, "sequences: missing"),
        ({"pears": "all.tsv", "sequences": "s"}, "did you mean 'pairs'"),
        ({"pairs": "a", "train": "b", "sequences": "s"}, "either this or train"),
        ({"pairs": 3, "sequences": "s"}, "pairs: expected a path"),
        ({"pairs": "a", "sequences": []}, "sequences: expected a path or a list"),
        ({"pairs": "a", "sequences": 7}, "sequences: expected a path or a list"),
        ({"name": "bernett", "sequences": "s"}, "a registered dataset has its own"),
        ({"pairs": "a", "sequences": "s", "split": "c3"}, "split. expected a mapping"),
        ({"pairs": "a", "sequences": "s", "split": {"protocol": "c4", "seed": 1}}, "split.protocol"),
        ({"pairs": "a", "sequences": "s", "split": {"protocol": "c3"}}, "split.seed"),
        (
            {"pairs": "a", "sequences": "s", "split": {"protocol": "c3", "seed": 1, "fraction": 1}},
            "split.fraction",
        ),
        (
            {"pairs": "a", "sequences": "s", "split": {"protocol": "c3", "seed": 1, "fractions": [1]}},
            "three numbers",
        ),
        (
            {"pairs": "a", "sequences": "s", "split": {"protocol": "c3", "seed": 1, "max_identity": 40}},
            "at most 0.8",
        ),
        (
            {"pairs": "a", "sequences": "s", "split": {"protocol": "c3", "seed": 1, "tool": "blast"}},
            "split.tool",
        ),
        ({"train": "a", "sequences": "s", "split": {"protocol": "c3", "seed": 1}}, "divided already"),
    ],
)
def test_a_mapping_that_makes_no_dataset_lists_its_problems(mapping, problem):
    with pytest.raises(ConfigError) as caught:
        load_dataset(mapping)
    assert any(problem in one for one in caught.value.problems), caught.value.problems


def test_files_that_are_not_there_or_are_no_dataset(folder):
    with pytest.raises(DataError, match="cannot be read") as caught:
        load_dataset({"pairs": "al.tsv", "sequences": "seqs.fasta"}, relative_to=folder)
    assert str(folder / "all.tsv") in caught.value.nearest
    with pytest.raises(DataError, match="a dataset needs pairs and sequences"):
        load_dataset(str(folder / "all.tsv"))
    with pytest.raises(ConfigError):
        load_dataset(folder / "absent.yaml")
    with pytest.raises(DataError, match=r"without a dataset\.yaml"):
        load_dataset(str(folder))
    (folder / "all.tsv").write_text("a\tb\t1\n")
    (folder / "circle.yaml").write_text("{name: circle.yaml}")
    with pytest.raises(UnknownDatasetError):
        load_dataset(folder / "circle.yaml")
    with pytest.raises(DataError, match="no pair is left"):
        load_dataset({"pairs": folder / "all.tsv", "sequences": folder / "seqs.fasta"})


# -- files of a split ----------------------------------------------------------------------------------


def test_a_split_on_disk_is_what_the_call_returned_and_can_be_loaded(folder):
    made = split_files(
        folder / "all.tsv", folder / "out", protocol="c1", seed=3, sequences=folder / "seqs.fasta"
    )
    data = load_dataset(folder / "out")
    assert data.splits == dict(made) and data.protocol == "c1" and data.name == "out"
    record = json.loads((folder / "out/split.json").read_text())
    assert record["seed"] == 3 and record["inputs"]["all.tsv"] == sha256(PAIRS)
    assert record["outputs"]["test.tsv"] == sha256((folder / "out/test.tsv").read_text())
    assert yaml.safe_load((folder / "out/dataset.yaml").read_text())["sequences"] == ["../seqs.fasta"]
    (folder / "out").rename(folder / "moved")  # with all that it refers to
    assert load_dataset(folder / "moved").splits == dict(made)


def test_a_split_overwrites_nothing_unasked(folder):
    (folder / "out").mkdir()
    (folder / "out/val.tsv").write_text("mine")
    with pytest.raises(DataError, match="exists already"):
        split_files(folder / "all.tsv", folder / "out", protocol="c1", seed=1)
    assert [path.name for path in (folder / "out").iterdir()] == ["val.tsv"]
    split_files(
        folder / "all.tsv", folder / "out", protocol="c1", seed=1, fractions=(0.5, 0, 0.5), overwrite=True
    )
    assert not (folder / "out/val.tsv").exists() and not (folder / "out/dataset.yaml").exists()
    assert len(read_pairs(folder / "out/test.tsv")) == 33
    with pytest.raises(DataError, match="cannot be made"):
        split_files(folder / "all.tsv", folder / "all.tsv" / "out", protocol="c1", seed=1)


@pytest.mark.skipif(not os.environ.get("HOLOTYPE_MIRRORS"), reason="the real data is in no mirror")
def test_the_real_data_is_read_as_it_is_described():
    guo = load_dataset("guo_yeast").splits["pairs"]
    assert (guo.report.rows, guo.report.duplicates, len(guo)) == (11_188, 24, 11_164)
    bernett = load_dataset("bernett")
    assert {part: len(pairs) for part, pairs in bernett.splits.items()} == {
        "train": 163_192, "val": 59_260, "test": 52_048,
    }  # fmt: skip
    assert len(bernett.sequences) == 11_019 and not any(
        pairs.report.lines() for pairs in bernett.splits.values()
    )
    yeast = load_dataset("dscript_yeast").splits["test"].report
    assert (yeast.rows, yeast.duplicates, yeast.swapped) == (55_000, 28, 28)
    assert (yeast.contradictory, yeast.contradictory_rows, yeast.self_pairs, yeast.unknown) == (4, 8, 5, 0)
    assert (yeast.positives, yeast.negatives) == (4_996, 49_968)
