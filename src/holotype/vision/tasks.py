"""The tasks of images: a row for each, which every part of this domain reads.

A new task is a folder below `holotype.vision.models`, a row of `TASKS`, and what the row names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holotype.tasks import Task

_COMMANDS = "holotype.vision.commands"
_OBJECTIVES = "holotype.vision.training.objectives"


@dataclass(frozen=True)
class ImageTask:
    """The facts of a task. Addresses are ``"module:OBJECT"``, imported when first used.

    Attributes:
        noun: what a model for the task is called: ``"a detector"``.
        does: what such a model does, in messages: ``"detects objects in images"``.
        command: what to type to use one; ``{name}`` stands for the model.
        objective: the address of its `ImageObjective`.
        monitors: figures by which the best epoch may be chosen; the first is the default. What a network
            without labels reaches on its own loss says little of its encoder.
        augmented: which presets of `holotype.vision.data.augmentation` fit.
        augmentation: the preset by default; None for the views that the model takes.
        labelled: what the images of a training come with, ``"classes"`` or ``"boxes"``; or None.
        part: the parameter and the module of the network that `from_pretrained` fills; None for the model
            itself.
        frame: how an image is brought to the network's size, ``"crop"`` or ``"letterbox"``.
        classifies: does a network return the logits of classes?
        embeds: does a network hold an encoder of whole images?
        note: what to say of its embeddings; ``{name}`` stands for the model.
        predict: the address of what ``holotype predict`` calls with its arguments and the opened model; empty
            if the task has no predictions.
        options: the options of ``holotype predict`` that it takes.
        evaluate: the address of what ``holotype evaluate`` calls without a probe.
        batch_size: how many images the commands put into a batch by default.
    """

    noun: str
    does: str
    command: str
    objective: str
    monitors: tuple[str, ...]
    augmented: str
    augmentation: str | None = None
    labelled: str | None = None
    part: str | None = None
    frame: str = "crop"
    classifies: bool = False
    embeds: bool = True
    note: str = ""
    predict: str = ""
    options: frozenset[str] = frozenset()
    evaluate: str = "holotype.vision.evaluation.evaluate:evaluate_classifier"
    batch_size: int = 16

    def encoder_in(self, net: Any) -> Any:
        """The encoder that a network of this task holds; the network itself if it is one."""
        if self.part is None:
            return net
        return getattr(net, "trained_encoder", None) or getattr(net, self.part, net)


TASKS: Mapping[str, ImageTask] = {
    Task.IMAGE_CLASSIFICATION: ImageTask(
        noun="a classifier",
        does="classifies images",
        command="holotype predict {name} IMAGES",
        objective=f"{_OBJECTIVES}:ImageClassification",
        monitors=("val_accuracy", "val_loss", "last"),
        augmented="classification",
        augmentation="light",
        labelled="classes",
        classifies=True,
        predict=f"{_COMMANDS}.predict:classify",
        options=frozenset({"output", "top", "saliency", "batch_size"}),
    ),
    Task.OBJECT_DETECTION: ImageTask(
        noun="a detector",
        does="detects objects in images",
        command="holotype predict {name} IMAGES --pictures FOLDER",
        objective=f"{_OBJECTIVES}:ObjectDetection",
        monitors=("val_map", "val_loss", "last"),
        augmented="detection",
        augmentation="flip",
        labelled="boxes",
        part="backbone",
        frame="letterbox",
        embeds=False,
        predict=f"{_COMMANDS}.predict:detect",
        options=frozenset({"output", "pictures", "threshold", "batch_size"}),
        evaluate="holotype.vision.evaluation.evaluate:evaluate_detector",
        batch_size=4,
    ),
    Task.MASKED_IMAGE_MODELING: ImageTask(
        noun="a masked image model",
        does="reconstructs masked images and predicts no classes",
        command="holotype predict {name} IMAGES --pictures FOLDER",
        objective=f"{_OBJECTIVES}:MaskedImageModelling",
        monitors=("val_loss", "last"),
        augmented="classification",
        augmentation="light",
        part="encoder",
        note="{name} is a masked image model: these are the embeddings of its encoder",
        predict=f"{_COMMANDS}.predict:reconstruct",
        options=frozenset({"pictures", "seed"}),
    ),
    Task.SELF_SUPERVISED_LEARNING: ImageTask(
        noun="a self-supervised model",
        does="was trained without classes and predicts none: it embeds images",
        command="holotype embed {name} IMAGES -o OUT.parquet",
        objective=f"{_OBJECTIVES}:SelfSupervision",
        monitors=("last", "val_loss", "val_knn_accuracy"),
        augmented="views",
        part="encoder",
        note="{name} was trained without classes: these are the embeddings of its encoder",
    ),
}


def facts_of(task: str) -> ImageTask:
    """The facts of a task; those of classification for a task without a row, which any network may be for."""
    return TASKS.get(task, TASKS[Task.IMAGE_CLASSIFICATION])
