"""Prediction: files in, answers out. `holotype.prediction.images` classifies photographs."""

from holotype.prediction.images import (
    ClassProbability,
    ImageError,
    ImagePrediction,
    Preprocessing,
    open_image,
    predict,
    predict_images,
    preprocess,
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
