"""Photographs in, colours out: what a Keras model needs before and after it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

__all__ = ["NAMES", "SIDE", "Predictor"]

NAMES = ("red", "green", "blue")
SIDE = 32


class Predictor:
    """Each instance is ``{"b64": "the bytes of a JPEG"}``, of any size."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def preprocess(self, instances: list[Any]) -> Any:
        return tf.stack([_pixels(base64.b64decode(one["b64"])) for one in instances])

    def predict(self, instances: Any, **kwargs: Any) -> Any:
        return self._model.predict_on_batch(instances)

    def postprocess(self, predictions: Any) -> list[Any]:
        return [
            {"colour": NAMES[int(row.argmax())], "score": round(float(row.max()), 3)}
            for row in predictions
        ]

    @classmethod
    def from_path(cls, model_dir: str) -> Predictor:
        return cls(keras.saving.load_model(Path(model_dir) / "model.keras", compile=False))


def _pixels(jpeg: bytes) -> Any:
    image = tf.io.decode_jpeg(jpeg, channels=3)
    return tf.image.resize(image, (SIDE, SIDE)) / 255.0
