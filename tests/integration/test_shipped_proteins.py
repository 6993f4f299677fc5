"""The interaction models that ship in the package: their record holds, and they predict."""

import hashlib
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import holotype
from holotype.proteins.data.fasta import read_proteins
from holotype.proteins.prediction.interactions import load_interaction_model, predict_interactions

ROOT = Path(__file__).parents[2]
FOLDER = Path(holotype.__file__).parent / "proteins/models/trained"
TABLE = tomllib.loads((FOLDER / "pretrained.toml").read_text("utf-8"))
PROTEINS = ROOT / "examples/human_proteins.fasta"


@pytest.mark.parametrize("name", TABLE)
def test_the_table_is_what_the_files_say(name):
    path = FOLDER / f"{name}.safetensors"
    entry = holotype.get_pretrained_metadata(name)
    file = entry.formats["safetensors"]
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file.size_bytes == path.stat().st_size <= 4 * 2**20
    net, info = load_interaction_model(name)
    assert sum(p.numel() for p in net.parameters()) == entry.params
    assert info.temperature > 0 and info.symmetric
    with safe_open(path, framework="numpy") as opened:
        record = {key: json.loads(text) for key, text in opened.metadata().items() if text[:1] in "[{"}
    lineage = record["lineage"]
    assert lineage["code"] == {"commit": entry.metadata["commit"], "dirty": False}
    assert set(lineage["datasets"]) >= {"train_pairs", "val_pairs", "test_pairs"}
    assert lineage["recipe"]["seed"] == entry.metadata["seed"] and lineage["environment"]
    measured = {one["name"]: one["value"] for one in record["metrics"] if one["split"] == "test"}
    for one in entry.metrics:
        assert one["value"] == pytest.approx(measured[one["name"]], abs=1e-4)
    assert {one["name"]: one["value"] for one in entry.metrics}["auroc"] > 0.66


def test_every_file_has_an_entry():
    assert {path.stem for path in FOLDER.glob("*.safetensors")} == set(TABLE)


def test_predicts_with_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLOTYPE_OFFLINE", "1")
    monkeypatch.delenv("HOLOTYPE_MIRRORS", raising=False)
    done = predict_interactions(
        "symmetric_mlp_bernett-statistics", fasta=PROTEINS, all_vs_all=True, output=tmp_path / "out.tsv"
    )
    assert done.proteins == len(read_proteins(PROTEINS)) == 12
    rows = [line.split("\t") for line in (tmp_path / "out.tsv").read_text().splitlines()[1:]]
    scores = np.array([float(row[2]) for row in rows])
    assert len(rows) == 66 and np.all((scores > 0) & (scores < 1)) and scores.std() > 0.01


def test_a_wider_embedding_is_refused():
    net, _ = load_interaction_model("symmetric_mlp_bernett-statistics")
    with pytest.raises(holotype.HolotypeError):
        net(torch.zeros(1, 1, 3), torch.zeros(1, 1, 3), torch.ones(1).long(), torch.ones(1).long())
