"""Models of images whose answers are known: by the colours of a picture. And pictures for them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import torch
from PIL import Image, ImageDraw
from torch import nn

import holotype
from holotype.weights.save import save_pretrained

SIZE = 32
PLAIN = {"size": [SIZE, SIZE], "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0], "interpolation": "nearest"}
CLASSES = ["red", "green", "blue"]


@holotype.register_model("test_colours", task="image_classification")
class Colours(nn.Module):
    """Classifies by the mean colour; its embedding is that colour."""

    def __init__(self, num_classes: int = 3, size: int = SIZE) -> None:
        super().__init__()
        self.num_classes, self.size, self.in_channels = num_classes, (size, size), 3
        self.scale = nn.Parameter(torch.tensor(8.0))

    def embedding(self, images):
        return images.mean((2, 3))

    def forward(self, images):
        return self.embedding(images) * self.scale


@holotype.register_model("test_finder", task="object_detection")
class Finder(nn.Module):
    """Finds the box around what is red (class 0) and what is blue (class 2)."""

    def __init__(self, num_classes: int = 3, size: int = SIZE) -> None:
        super().__init__()
        self.num_classes, self.size, self.in_channels = num_classes, (size, size), 3
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, images):
        return images

    def detect(self, images, *, score_threshold=0.05, iou_threshold=0.5, max_detections=100):
        found = []
        for image in images:
            boxes, scores, labels = [], [], []
            for label, score in ((0, 0.9), (2, 0.4)):
                others = [at for at in range(3) if at != label]
                rows, columns = torch.where((image[label] > 0.7) & (image[others] < 0.3).all(0))
                if len(rows) and score > score_threshold:
                    edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                    boxes.append([float(edge) for edge in edges])
                    scores.append(score)
                    labels.append(label)
            found.append(
                SimpleNamespace(
                    boxes=torch.tensor(boxes).reshape(-1, 4),
                    scores=torch.tensor(scores),
                    labels=torch.tensor(labels, dtype=torch.long),
                )
            )
        return found


@holotype.register_model("test_painter", task="masked_image_modeling")
class Painter(nn.Module):
    """Hides half of the patches at random, and paints them white."""

    def __init__(self, size: int = SIZE) -> None:
        super().__init__()
        self.size, self.in_channels = (size, size), 3
        self.encoder = Colours(0, size)

    def forward(self, images, mask=None):
        return self.reconstruct(images)[1:]

    def reconstruct(self, images, mask=None):
        mask = (torch.rand(len(images), 4, 4) < 0.5).float() if mask is None else mask
        hidden = mask.repeat_interleave(SIZE // 4, 1).repeat_interleave(SIZE // 4, 2)[:, None]
        return images * (1 - hidden), images * (1 - hidden) + hidden, mask


@holotype.register_model("test_twin", task="self_supervised_learning")
class Twin(nn.Module):
    """Embeds without classes."""

    def __init__(self, size: int = SIZE) -> None:
        super().__init__()
        self.size, self.in_channels = (size, size), 3
        self.encoder = Colours(0, size)

    def embedding(self, images):
        return self.encoder.embedding(images)

    def forward(self, images):
        return self.embedding(images)


def save(kind: str, path: Path) -> Path:
    """A weight file of one of these models."""
    classes = {"classes": CLASSES} if kind in ("test_colours", "test_finder") else {}
    save_pretrained(holotype.create_model(kind), path, preprocessing=PLAIN, **classes)
    return path


def plain(colour: str, path: Path) -> Path:
    """A picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), colour).save(path)
    return path


def with_box(path: Path, box: tuple[int, int, int, int], colour: str = "red", size=(160, 80)) -> Path:
    """A black picture with a box in it; the edges are x1, y1, x2, y2."""
    image = Image.new("RGB", size)
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=colour)
    image.save(path)
    return path
