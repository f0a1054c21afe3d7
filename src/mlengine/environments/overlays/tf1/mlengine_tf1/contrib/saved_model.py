"""`tf.contrib.saved_model`: a Keras model as a SavedModel under a folder of the time, and back."""

from __future__ import annotations

import time
from pathlib import PurePosixPath
from typing import Any

import tensorflow as tf

from . import names_from

__all__ = ["load_keras_model", "save_keras_model"]

__path__: list[str] = []
__getattr__ = names_from("saved_model", "tensorflow.compat.v1.saved_model")


def save_keras_model(
    model: Any,
    saved_model_path: str,
    custom_objects: Any = None,
    as_text: bool | None = None,
    input_signature: Any = None,
    serving_only: bool = False,
) -> bytes:
    """Export a Keras model below `saved_model_path`, in a folder named by the time.

    Returns:
        The folder's path, in bytes, as contrib returned it.
    """
    moment = int(time.time())
    while tf.io.gfile.exists(folder := f"{saved_model_path}/{moment}"):
        moment += 1
    _keras().export_saved_model(
        model,
        folder,
        custom_objects=custom_objects,
        as_text=bool(as_text),
        input_signature=input_signature,
        serving_only=serving_only,
    )
    return str(PurePosixPath(folder)).encode() if "://" not in folder else folder.encode()


def load_keras_model(saved_model_path: str | bytes) -> Any:
    """Load a Keras model that `save_keras_model` exported."""
    path = saved_model_path.decode() if isinstance(saved_model_path, bytes) else saved_model_path
    return _keras().load_from_saved_model(path)


def _keras() -> Any:
    return tf.compat.v1.keras.experimental
