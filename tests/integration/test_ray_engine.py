"""The Ray engine gives what one process gives, on a cluster of two workers that the test begins."""

import os

import numpy as np
import pytest
import torch

from holotype.errors import DataError, HolotypeError, ParameterError
from holotype.proteins.prediction import interactome
from holotype.proteins.prediction.interactions import predict_interactions
from holotype.proteins.prediction.ray_engine import RayEngine, sequence_pieces
from interaction_sets import RECORD, model, save, sequences, write_embeddings, write_fasta

PROTEINS = sequences(12, longest=30)


@pytest.fixture(scope="module")
def cluster():
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield ray
        ray.shutdown()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(interactome, "_BLOCK_PAIRS", 30)
    monkeypatch.setattr(interactome, "_SLOW_ROWS", (3, 3))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker has
    write_fasta(tmp_path / "x.fasta", PROTEINS)
    write_embeddings(tmp_path / "x.emb", PROTEINS)
    yield tmp_path
    torch.set_num_threads(threads)


def both(folder, net, **options):
    """The files of one process and of two workers."""
    path = save(net, folder / "model.safetensors")
    given = {"fasta": folder / "x.fasta", "embeddings": folder / "x.emb", "workers": 2} | options
    files = []
    for engine in ("local", "ray"):
        output = folder / f"{engine}.tsv"
        report = predict_interactions(path, output=output, engine=engine, **given)
        assert report.engine == engine
        files.append(output.read_bytes())
    return files


@pytest.mark.parametrize(
    ("name", "options"),
    [("v1", {}), ("v1", {"top_k": 3}), ("cross_attention", {})],
    ids=["list", "ranking", "needs-the-pair"],
)
def test_all_against_all_is_the_same_to_the_last_byte(cluster, folder, name, options):
    local, sharded = both(folder, model(name, symmetry="sum"), all_vs_all=True, **options)
    assert local == sharded
    assert len(local.splitlines()) == 1 + (36 if options else 66)


def test_given_pairs_are_the_same(cluster, folder):
    names = list(PROTEINS)
    (folder / "pairs.tsv").write_text("".join(f"{a}\t{b}\n" for a in names for b in names if a < b))
    local, sharded = both(folder, model("v2"), pairs=folder / "pairs.tsv")
    assert local == sharded


def test_embedding_is_sharded_too(cluster, folder, monkeypatch):
    from holotype.proteins.prediction.embedding import embed

    monkeypatch.setattr("holotype.proteins.prediction.ray_engine._PIECE_RESIDUES", 60)
    monkeypatch.setattr(sequence_pieces, "__defaults__", (60,))
    assert len(sequence_pieces(PROTEINS)) > 2
    made = embed(PROTEINS, "composition", folder / "composition.emb")
    path = save(model(input_dim=made.dim), folder / "m.safetensors", encoder=dict(made.record))
    tables = []
    for engine in ("local", "ray"):
        output = folder / f"{engine}.tsv"
        predict_interactions(
            path, fasta=folder / "x.fasta", all_vs_all=True, output=output, engine=engine, workers=2
        )
        rows = [line.split("\t") for line in output.read_text().splitlines()[1:]]
        tables.append(([row[:2] for row in rows], np.array([float(row[3]) for row in rows])))
    assert tables[0][0] == tables[1][0]
    np.testing.assert_allclose(tables[0][1], tables[1][1], atol=2e-3)  # fp16 embeddings


def test_the_work_is_done_by_two_other_processes(cluster, folder):
    class Where:
        top_k, sizes = None, [1] * 8

        def answer(self, proteins, block):
            return os.getpid()

    from holotype.proteins.data.embeddings import open_embeddings

    with RayEngine(workers=2) as engine:
        engine.prepare(model(), open_embeddings(folder / "x.emb"), list(PROTEINS), None)
        seen = set(engine.answers(Where(), 0))
    assert len(seen) == 2
    assert os.getpid() not in seen
    assert cluster.is_initialized()  # the cluster was not ours to end


def test_an_error_in_a_worker_is_told_as_here(cluster, folder):
    net = model()
    net.interaction_layer[8].bias.data.fill_(float("nan"))
    with pytest.raises(DataError, match=r"^the model returned NaN") as caught:
        both(folder, net, all_vs_all=True)
    assert "ray::" not in str(caught.value)


def test_a_worker_that_is_lost_is_told(cluster, folder):
    class Death:
        top_k, sizes = None, [1]

        def answer(self, proteins, block):
            os._exit(1)

    from holotype.proteins.data.embeddings import open_embeddings

    with RayEngine(workers=1) as engine:
        engine.prepare(model(), open_embeddings(folder / "x.emb"), list(PROTEINS), None)
        with pytest.raises(HolotypeError, match="a Ray worker was lost"):
            list(engine.answers(Death(), 0))


def test_only_processors():
    with pytest.raises(ParameterError, match="needs the local engine"):
        RayEngine(device="cuda")


def test_pieces_hold_each_sequence_once():
    pieces = sequence_pieces(PROTEINS, 40)
    assert sorted(name for piece in pieces for name in piece) == sorted(PROTEINS)
    assert all(len(piece) == 1 or sum(len(PROTEINS[name]) for name in piece) <= 40 for piece in pieces)
    assert RECORD["dim"] == 12
