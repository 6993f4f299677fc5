"""Mean average precision, against cases that can be worked out by hand."""

import math
import sys

import pytest
import torch

from holotype.errors import DataError, MissingExtraError
from holotype.vision.evaluation.detection import mean_average_precision
from holotype.vision.models.detection.interface import Boxes, Detections

BOX = (0.0, 0, 10, 10)
FAR = (50.0, 50, 70, 70)


def target(*rows):
    """Each a box and a label."""
    boxes = torch.tensor([row[0] for row in rows]).reshape(-1, 4)
    return Boxes(boxes, torch.tensor([row[1] for row in rows], dtype=torch.long))


def found(*rows):
    """Each a box, a score and a label."""
    boxes = torch.tensor([row[0] for row in rows]).reshape(-1, 4)
    labels = torch.tensor([row[2] for row in rows], dtype=torch.long)
    return Detections(boxes, torch.tensor([row[1] for row in rows]), labels)


def test_all_found():
    targets = [target((BOX, 0), (FAR, 1)), target(), target((FAR, 0))]
    detections = [found((BOX, 0.9, 0), (FAR, 0.8, 1)), found(), found((FAR, 0.3, 0))]
    assert mean_average_precision(detections, targets, 2) == {"map": 1.0, "map_50": 1.0, "map_75": 1.0}


@pytest.mark.parametrize(
    ("there", "detections", "expected"),
    [
        # An overlap of 0.62 counts at 0.5, 0.55 and 0.6, three of ten.
        ([(BOX, 0)], [((0.0, 0, 10, 6.2), 0.9, 0)], (0.3, 1, 0)),
        # Precision is a half wherever there is any recall.
        ([(BOX, 0)], [(FAR, 0.9, 0), (BOX, 0.8, 0)], (0.5, 0.5, 0.5)),
        # What is wrong comes last, and costs nothing.
        ([(BOX, 0)], [(FAR, 0.7, 0), (BOX, 0.8, 0)], (1, 1, 1)),
        # Half of the objects: 51 of the 101 steps of recall.
        ([(BOX, 0), (FAR, 0)], [(BOX, 0.9, 0)], (51 / 101,) * 3),
        # A second box for one object is wrong.
        ([(BOX, 0), (FAR, 0)], [(BOX, 0.9, 0), (BOX, 0.8, 0), (FAR, 0.7, 0)], ((51 + 50 * 2 / 3) / 101,) * 3),
        # The mean over classes that occur: one found, one not, and a third that is nowhere.
        ([(BOX, 0), (FAR, 1)], [(BOX, 0.9, 0), (BOX, 0.9, 2)], (0.5, 0.5, 0.5)),
        # The right box under a wrong name.
        ([(BOX, 0)], [(BOX, 0.9, 1)], (0, 0, 0)),
        ([(BOX, 0)], [], (0, 0, 0)),
    ],
)
def test_by_hand(there, detections, expected):
    got = mean_average_precision([found(*detections)], [target(*there)], 3)
    assert [got["map"], got["map_50"], got["map_75"]] == pytest.approx(expected, abs=1e-6)


def test_what_is_found_in_an_empty_image_is_wrong():
    detections = [found((BOX, 0.9, 0)), found((BOX, 0.8, 0))]
    assert mean_average_precision(detections, [target(), target((BOX, 0))], 1)["map"] == pytest.approx(0.5)


@pytest.mark.parametrize("detections", [[], [found()], [found((BOX, 0.9, 0))]])
def test_nothing_to_find(detections):
    got = mean_average_precision(detections, [target()] * len(detections), 1)
    assert list(got) == ["map", "map_50", "map_75"] and all(math.isnan(value) for value in got.values())


def test_it_is_silent(capsys):
    mean_average_precision([found((BOX, 0.9, 0))], [target((BOX, 0))], 1)
    assert capsys.readouterr() == ("", "")


def test_what_does_not_fit():
    with pytest.raises(DataError, match="1 images, and targets of 2"):
        mean_average_precision([found()], [target(), target()], 1)
    with pytest.raises(DataError, match="targets of image 0: there is no class 3"):
        mean_average_precision([found()], [target((BOX, 3))], 3)
    with pytest.raises(DataError, match="detections of image 0: there is no class -1"):
        mean_average_precision([found((BOX, 0.5, -1))], [target()], 3)


def test_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(MissingExtraError, match=r"holotype\[vision-training\]"):
        mean_average_precision([found()], [target()], 1)
