"""Probes of embeddings agree with scikit-learn, and refuse what they cannot use."""

import json
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from holotype.errors import DataError, ParameterError, ShapeError  # noqa: E402  # after the check
from holotype.vision.evaluation.probe import ProbeResult, knn_accuracy, linear_probe, wilson_interval  # noqa: E402

FEW = (1e-3, 1e-1, 10.0)


def data(seed=0, noise=1.6, samples=240, width=8, classes=3):
    """Clouds that overlap; the features have very different scales."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(classes, width))
    y = np.arange(samples) % classes
    x = (centres[y] + noise * draw.normal(size=(samples, width))) * np.logspace(-2, 2, width)
    half = samples // 2
    return x[:half], y[:half], x[half:], y[half:]


def test_wilson_interval_is_that_of_the_formula():
    scipy = pytest.importorskip("scipy.stats")
    for correct, total in ((0, 10), (7, 10), (10, 10), (431, 900)):
        theirs = scipy.binomtest(correct, total).proportion_ci(method="wilson")
        assert wilson_interval(correct, total) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_neighbours_vote_as_scikit_learn_weighs_them():
    neighbors = pytest.importorskip("sklearn.neighbors")
    train_x, train_y, test_x, test_y = data()
    found = knn_accuracy(train_x, train_y, test_x, test_y, k=15, temperature=0.1)

    def weight(distances):  # of unit vectors: squared distance = 2 - 2 cosine
        return np.exp((1 - distances**2 / 2) / 0.1)

    model = neighbors.KNeighborsClassifier(15, weights=weight)
    scaled = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train_x, test_x)]
    assert found.accuracy == model.fit(scaled[0], train_y).score(scaled[1], test_y)
    assert (found.method, found.k, found.total, found.classes) == ("knn", 15, 120, 3)
    assert 0.3 < float(found) < 0.999


def test_one_neighbour_and_more_than_there_are():
    x = np.eye(3)
    assert knn_accuracy(x, [0, 1, 2], x, [0, 1, 2], k=1).accuracy == 1
    assert knn_accuracy(x, [0, 1, 2], x, [0, 1, 2], k=50, temperature=1e-4).accuracy == 1
    # Two of the three neighbours are of class 1; the nearest one is of class 0.
    train = np.array([[1.0, 0.0], [0.9, 0.1], [0.9, 0.11]])
    for temperature, correct in ((1e-4, 1), (10.0, 0)):
        found = knn_accuracy(train, [0, 1, 1], [[1.0, 0.0]], [0], k=3, temperature=temperature)
        assert found.correct == correct


def test_without_test_data_each_sample_is_classified_by_the_others():
    neighbors = pytest.importorskip("sklearn.neighbors")
    selection = pytest.importorskip("sklearn.model_selection")
    x, y, _, _ = data()
    model = neighbors.KNeighborsClassifier(20, weights=lambda d: np.exp((1 - d**2 / 2) / 0.07))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    expected = selection.cross_val_score(model, unit, y, cv=selection.LeaveOneOut()).mean()
    assert float(knn_accuracy(x, y)) == pytest.approx(expected)
    apart = torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]])
    assert float(knn_accuracy(apart, torch.tensor([0, 0, 1, 1]), k=1)) == 1.0
    assert float(knn_accuracy(apart, torch.tensor([0, 1, 0, 1]), k=1)) == 0.0
    with pytest.raises(DataError, match="no others"):
        knn_accuracy(apart[:1], torch.tensor([0]))


def test_the_linear_probe_is_logistic_regression():
    linear_model = pytest.importorskip("sklearn.linear_model")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    train_x, train_y, test_x, test_y = data()
    scale = preprocessing.StandardScaler().fit(train_x)
    for strength in (1e-3, 1e-1):
        found = linear_probe(train_x, train_y, test_x, test_y, strengths=[strength])
        model = linear_model.LogisticRegression(C=1 / (strength * len(train_x)), tol=1e-9, max_iter=5000)
        model.fit(scale.transform(train_x), train_y)
        theirs = model.score(scale.transform(test_x), test_y)
        assert found.accuracy == pytest.approx(theirs, abs=1e-9), strength
        assert found.strength == strength and found.tried == ()


def test_the_strength_is_chosen_on_validation_data():
    train_x, train_y, test_x, test_y = data(noise=4.0)
    val = (test_x[:60], test_y[:60])
    found = linear_probe(train_x, train_y, test_x[60:], test_y[60:], val=val, strengths=FEW)
    single = {
        strength: linear_probe(train_x, train_y, *val, strengths=[strength]).accuracy
        for strength, _ in found.tried
    }
    assert dict(found.tried) == pytest.approx(single)
    best = max(single.values())
    assert found.strength == max(strength for strength, value in single.items() if value == best)
    again = linear_probe(train_x, train_y, test_x[60:], test_y[60:], strengths=[found.strength])
    assert again.accuracy == found.accuracy


def test_the_same_again_and_another_fifth_with_another_seed():
    parts = data(noise=3.0)
    first, second = (
        linear_probe(*some, strengths=FEW) for some in (parts, [torch.as_tensor(part) for part in parts])
    )
    assert first == second
    assert {linear_probe(*parts, seed=seed, strengths=FEW).tried for seed in range(1, 4)} != {first.tried}


def test_test_data_are_never_learned_from():
    train_x, train_y, test_x, test_y = data()
    shifted = linear_probe(train_x, train_y, test_x * 3 + 100, test_y, strengths=FEW)
    assert shifted.strength == linear_probe(train_x, train_y, test_x, test_y, strengths=FEW).strength
    assert shifted.accuracy < 0.8  # had they been standardised by themselves, nothing would have changed


def test_features_that_never_change_do_no_harm():
    train_x, train_y, test_x, test_y = data()
    plain = linear_probe(train_x, train_y, test_x, test_y, strengths=[0.1]).accuracy
    wide = [np.concatenate([x, np.full((len(x), 2), 7.0)], axis=1) for x in (train_x, test_x)]
    assert linear_probe(wide[0], train_y, wide[1], test_y, strengths=[0.1]).accuracy == plain


def test_one_sample_of_each_class():
    found = linear_probe(np.eye(3), [0, 1, 2], np.eye(3), [0, 1, 2])
    assert found.accuracy == 1 and found.interval == wilson_interval(3, 3)


def test_a_result_goes_into_json():
    told = linear_probe(*data(), strengths=FEW).to_dict()
    assert json.loads(json.dumps(told))["method"] == "linear" and "k" not in told
    assert isinstance(knn_accuracy(*data()), ProbeResult)


@pytest.mark.parametrize("probe", [knn_accuracy, linear_probe])
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"train_x": np.zeros(5)}, ShapeError),
        ({"train_y": [0, 1]}, ShapeError),
        ({"test_x": np.zeros((2, 9))}, ShapeError),
        ({"test_x": np.zeros((0, 2)), "test_y": np.zeros(0, int)}, DataError),
        ({"train_y": [0.0, 1, 1]}, DataError),
        ({"train_y": [0, -1, 1]}, DataError),
        ({"train_x": [[0, 1], [math.nan, 0], [1, 1]]}, DataError),
    ],
)
def test_data_of_no_use(probe, change, error):
    good = {"train_x": np.eye(3)[:, :2], "train_y": [0, 1, 1], "test_x": np.eye(2), "test_y": [0, 1]}
    probe(**good)
    with pytest.raises(error):
        probe(**{**good, **change})


def test_numbers_of_no_use():
    parts = data()
    for wrong in ({"k": 0}, {"k": 1.5}, {"temperature": 0.0}, {"temperature": math.inf}):
        with pytest.raises(ParameterError):
            knn_accuracy(*parts, **wrong)
    for strengths in ([], [0.0], [-1.0], [math.inf]):
        with pytest.raises(ParameterError):
            linear_probe(*parts, strengths=strengths)
    with pytest.raises(DataError, match="one class"):
        linear_probe(np.eye(3), [1, 1, 1], np.eye(3), [1, 1, 1])
