"""Prediction: files in, answers out. `holotype.vision.prediction.classification` classifies photographs."""

from holotype.errors import ImageError
from holotype.extras import missing_extra

try:
    import torch as _torch  # noqa: F401  # images.py is of no use without it
except ModuleNotFoundError as _error:
    raise missing_extra(_error, "prediction") or _error from _error

from holotype.vision.data.decode import open_image
from holotype.vision.data.preprocessing import Preprocessing, preprocess
from holotype.vision.prediction.classification import (
    ClassProbability,
    ImagePrediction,
    predict,
    predict_images,
)

__all__ = [
    "ClassProbability",
    "ImageError",
    "ImagePrediction",
    "Preprocessing",
    "open_image",
    "predict",
    "predict_images",
    "preprocess",
]
