"""What a model is for."""

from __future__ import annotations

from enum import StrEnum


class Task(StrEnum):
    """The built-in tasks. A zoo may use any other name of the same grammar as a plain string."""

    IMAGE_CLASSIFICATION = "image_classification"
    OBJECT_DETECTION = "object_detection"
    MASKED_IMAGE_MODELING = "masked_image_modeling"
    SELF_SUPERVISED_LEARNING = "self_supervised_learning"
    PROTEIN_INTERACTION = "protein_interaction"
    PROTEIN_EMBEDDING = "protein_embedding"
