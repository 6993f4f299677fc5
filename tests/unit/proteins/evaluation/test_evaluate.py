"""The judgement: which pairs are the headline, and whether the best baseline is beaten."""

from __future__ import annotations

import json

import numpy as np
import pytest

from holotype.errors import DataError
from holotype.proteins.evaluation.calibration import logit
from holotype.proteins.evaluation.evaluate import evaluate_file, evaluate_model, evaluate_predictions

RNG = np.random.default_rng(0)
PAIRS = 600
LABELS = np.arange(PAIRS) % 2
CLASSES = np.repeat([1, 2, 3], PAIRS // 3)


def scores_of(strength, seed=0):
    noise = np.random.default_rng(seed).normal(size=PAIRS)
    return 1 / (1 + np.exp(-(strength * (2 * LABELS - 1) + noise)))


def judged(scores, **how):
    return evaluate_predictions(LABELS, scores, **{"resamples": 200, **how})


def test_each_class_has_the_metrics_of_its_pairs():
    from sklearn.metrics import roc_auc_score

    scores = scores_of(0.5)
    found = judged(scores, classes=CLASSES)
    assert [one.name for one in found.subsets] == ["all", "C1", "C2", "C3"]
    for one, rows in zip(found.subsets[1:], np.split(np.arange(PAIRS), 3), strict=True):
        assert one.pairs == 200
        value = one.metrics["auroc"]
        assert value.value == pytest.approx(roc_auc_score(LABELS[rows], scores[rows]))
        assert value.interval.low < value.value < value.interval.high


def test_c3_is_the_headline():
    found = judged(np.where(CLASSES == 3, scores_of(0.1), scores_of(3)), classes=CLASSES)
    assert found.headline.name == "C3"
    assert found.metrics["auroc"] < 0.7 < found.subsets[0].metrics["auroc"].value


def test_too_few_of_c3_are_no_headline_and_that_is_said():
    classes = np.ones(PAIRS, int)
    classes[:20] = 3
    found = judged(scores_of(1), classes=classes)
    assert found.headline.name == "all"
    assert any("20 pairs (10 positive)" in note and "memorising" in note for note in found.notes)


def test_unknown_training_pairs_are_said_to_be_unknown():
    found = judged(scores_of(1))
    assert found.headline.name == "all"
    assert any("not known" in note for note in found.notes)


def test_where_all_pairs_are_c3_both_subsets_are_one():
    found = judged(scores_of(1), classes=np.full(PAIRS, 3))
    whole, last = found.subsets
    assert (whole.name, last.name) == ("all", "C3")
    assert whole.metrics == last.metrics
    assert found.headline is last


@pytest.mark.parametrize(
    ("strength", "baseline", "state", "words"),
    [
        (1.0, 0.2, "better", "Better than every baseline"),
        (0.3, 0.3, "level", "Not shown to be better than its best baseline"),
        (0.2, 1.0, "worse", "Worse than its best baseline"),
    ],
)
def test_the_verdict(strength, baseline, state, words):
    found = judged(
        scores_of(strength), baselines={"degree_product": scores_of(baseline, 1), "length": scores_of(0, 2)}
    )
    assert found.state == state
    assert found.verdict.startswith(words)
    assert found.headline.best == "degree_product"
    assert "degree_product" in found.verdict


def test_without_other_baselines_the_verdict_says_so():
    found = judged(scores_of(1.0))
    assert "no other baseline was computed" in found.verdict
    assert set(found.headline.baselines) == {"majority"}


def test_the_best_baseline_is_that_of_the_headline():
    good_elsewhere = np.where(CLASSES == 3, 0.0, scores_of(3))
    found = judged(
        scores_of(0.5), classes=CLASSES, baselines={"degree_sum": good_elsewhere, "length": scores_of(0.2, 3)}
    )
    assert found.subsets[0].best == "degree_sum"
    assert found.headline.best == "length"


def test_majority_has_the_accuracy_of_the_commoner_label():
    labels = np.array([1] * 70 + [0] * 30)
    found = evaluate_predictions(labels, np.linspace(0, 1, 100), resamples=10)
    value = found.headline.baselines["majority"]["accuracy"].value
    assert value == pytest.approx(0.7)
    against = evaluate_predictions(
        labels, np.linspace(0, 1, 100), baselines={"majority": np.zeros(100)}, resamples=10
    )
    assert against.headline.baselines["majority"]["accuracy"].value == pytest.approx(0.3)


def test_one_class_has_no_verdict_and_breaks_nothing():
    found = evaluate_predictions([1, 1, 1], [0.2, 0.5, 0.9], resamples=10)
    assert found.state == "unknown"
    assert "No verdict" in found.verdict
    assert found.subsets[0].metrics["auroc"].why == "all 3 pairs are positive"
    json.dumps(found.to_dict(), allow_nan=False)


def test_no_resamples_give_no_intervals():
    found = judged(scores_of(1), resamples=0)
    assert np.isnan(found.headline.metrics["auroc"].interval.low)
    assert found.to_dict()["metrics"]["auroc"] > 0.5
    json.dumps(found.to_dict(), allow_nan=False)


def test_real_scores_are_told_to_have_ranks_only():
    found = judged(logit(scores_of(1)))
    assert not found.probabilities
    assert found.reliability is None
    assert found.headline.metrics["mcc"].why == "the scores are not probabilities"
    assert any("left out" in note for note in found.notes)
    assert judged(scores_of(1), probabilities=False).headline.metrics["mcc"].why


def test_calibration_before_and_after():
    scores = scores_of(1)
    found = judged(scores, logits=4 * logit(scores), temperature=4.0)
    calibration = found.to_dict()["calibration"]
    assert calibration["temperature"] == 4.0
    assert calibration["ece_before"] != pytest.approx(found.reliability.ece)
    assert found.metrics["ece"] == pytest.approx(found.reliability.ece)


def test_everything_is_plain_and_the_same_again():
    one, two = (judged(scores_of(1), classes=CLASSES, about={"data": "x"}).to_dict() for _ in range(2))
    assert json.dumps(one, allow_nan=False) == json.dumps(two)
    assert one["format"] == "holotype-evaluation/1"


@pytest.mark.parametrize("classes", [[1, 2], np.full(PAIRS, 4), np.zeros(PAIRS)])
def test_senseless_classes_are_refused(classes):
    with pytest.raises(DataError, match="classes"):
        judged(scores_of(1), classes=classes)


def test_a_baseline_of_another_length_is_refused():
    with pytest.raises(DataError, match="scores"):
        judged(scores_of(1), baselines={"length": [1.0]})


@pytest.fixture
def files(tmp_path):
    """Predictions for 200 pairs: half of them of proteins that training has seen."""
    rng = np.random.default_rng(1)
    train, test = [], []
    for at in range(200):
        label = at % 2
        train.append(f"hub{label}\tt{at}\t{label}")
        known = at < 100
        score = 1 / (1 + np.exp(-3 * (rng.normal() + label - 0.5)))
        test.append(f"{'hub' if known else 'new'}{label if known else at}\tx{at}\t{label}\t{score:.6f}")
    (tmp_path / "train.tsv").write_text("\n".join(train))
    (tmp_path / "test.tsv").write_text("\n".join(test))
    return tmp_path


def test_a_file_with_its_training_pairs(files):
    found = evaluate_file(files / "test.tsv", train=files / "train.tsv", resamples=50)
    assert {one.name: one.pairs for one in found.subsets} == {"all": 200, "C2": 100, "C3": 100}
    assert found.headline.name == "C3"
    by_name = {one.name: one.baselines for one in found.subsets}
    assert by_name["C2"]["label_ratio"]["auroc"].value == 1.0
    assert by_name["C3"]["label_ratio"]["auroc"].value == 0.5
    assert found.about["predictions_sha256"]


def test_test_pairs_that_were_trained_on_are_told(files):
    lines = (files / "test.tsv").read_text().splitlines()
    (files / "leak.tsv").write_text("\n".join(line.rsplit("\t", 1)[0] for line in lines[:30]))
    found = evaluate_file(files / "test.tsv", train=files / "leak.tsv", resamples=0)
    assert any("30 of 200 test pairs are training pairs" in note for note in found.notes)


def test_a_temperature_is_fitted_on_other_pairs(files):
    text = (files / "test.tsv").read_text()
    (files / "val.tsv").write_text(text.replace("x", "v").replace("new", "old"))
    found = evaluate_file(files / "test.tsv", validation=files / "val.tsv", resamples=0)
    assert found.temperature > 1.5  # the scores are three times too sure
    assert found.reliability.ece < found.reliability_before.ece
    with pytest.raises(DataError, match="200 of 200 validation pairs are also test pairs"):
        evaluate_file(files / "test.tsv", validation=files / "test.tsv")


def test_repeats_are_told(files):
    text = (files / "test.tsv").read_text()
    (files / "twice.tsv").write_text(text + "\n" + text)
    found = evaluate_file(files / "twice.tsv", resamples=0)
    assert len(found.labels) == 200
    assert any("200 lines repeat" in note for note in found.notes)


@pytest.fixture(scope="module")
def divided(tmp_path_factory):
    """A model that was trained on one file of pairs, divided with seed 1; that dataset, undivided."""
    from holotype.proteins.data.datasets import load_dataset
    from holotype.weights.save import save_pretrained
    from interaction_sets import RECORD, model, sequences, write_embeddings, write_fasta

    folder = tmp_path_factory.mktemp("divided")
    proteins = sequences(30)
    write_fasta(folder / "x.fasta", proteins)
    names, rng = list(proteins), np.random.default_rng(3)
    rows = {tuple(sorted(rng.choice(30, 2, replace=False).tolist())) for _ in range(150)}
    text = "".join(f"{names[a]}\t{names[b]}\t{at % 2}\n" for at, (a, b) in enumerate(sorted(rows)))
    (folder / "pairs.tsv").write_text(text)
    dataset = load_dataset({"pairs": folder / "pairs.tsv", "sequences": folder / "x.fasta"})
    lineage = {
        "datasets": dict(dataset.digests),
        "recipe": {"data": {"split": {"protocol": "c1", "seed": 1, "fractions": None, "tool": None}}},
    }
    path = save_pretrained(model(), folder / "model.safetensors", encoder=RECORD, lineage=lineage)
    embeddings = [write_embeddings(folder / "x.emb", proteins)]

    def evaluated(data, split, **how):
        return evaluate_model(path, data, **{"split": split, "embeddings": embeddings, "resamples": 0} | how)

    return evaluated, dataset


@pytest.mark.parametrize(("seed", "split", "told"), [(1, "test", False), (2, "test", True), (1, "val", True)])
def test_pairs_that_the_model_may_have_learned_from_are_told(divided, seed, split, told):
    """Another seed puts training pairs among the test pairs; epoch and temperature are fitted on val."""
    evaluated, dataset = divided
    found = " ".join(evaluated(dataset.split("c1", seed=seed), split).notes)
    assert ("trained on other pairs" in found or "were chosen on validation pairs" in found) == told


def test_a_model_on_the_undivided_pairs_it_learned_from(divided):
    evaluated, dataset = divided
    assert any("trained on pairs of this file" in note for note in evaluated(dataset, "pairs").notes)


def test_embeddings_are_made_where_the_model_runs(divided, monkeypatch):
    evaluated, dataset = divided
    asked = {}

    def embeddings_for(sequences, specs, **how):
        asked.update(how)
        raise DataError("enough")

    monkeypatch.setattr("holotype.proteins.prediction.embedding.embeddings_for", embeddings_for)
    with pytest.raises(DataError, match="enough"):
        evaluated(dataset, "pairs", embeddings=None, device="cpu:0")
    assert asked["device"] == "cpu:0"
