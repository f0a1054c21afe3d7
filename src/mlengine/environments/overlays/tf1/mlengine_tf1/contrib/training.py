"""`tf.contrib.training`: hyperparameters, and tf-slim's train and evaluation loops."""

from __future__ import annotations

from . import names_from
from .hparam import HParams, parse_values

__all__ = ["HParams", "parse_values"]

__path__: list[str] = []
__getattr__ = names_from(
    "training",
    "tf_slim.training.training",
    "tf_slim.training.evaluation",
    "tensorflow.compat.v1.train",
    "tensorflow.compat.v1.data.experimental",
)
