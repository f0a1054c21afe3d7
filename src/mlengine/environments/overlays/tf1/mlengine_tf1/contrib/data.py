"""`tf.contrib.data`: what moved to `tf.data.experimental`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from . import names_from

__all__ = ["Dataset", "batch_and_drop_remainder", "sliding_window_batch"]

__path__: list[str] = []
__getattr__ = names_from(
    "data", "tensorflow.compat.v1.data.experimental", "tensorflow.compat.v1.data"
)

Dataset = tf.compat.v1.data.Dataset


def batch_and_drop_remainder(batch_size: int) -> Callable[[Any], Any]:
    """Return a transformation for `Dataset.apply`: full batches only."""
    return lambda dataset: dataset.batch(batch_size, drop_remainder=True)


def sliding_window_batch(
    window_size: int,
    stride: int | None = None,
    window_shift: int | None = None,
    window_stride: int = 1,
) -> Callable[[Any], Any]:
    """Return a transformation for `Dataset.apply`: windows over consecutive elements."""
    shift = window_shift or stride or 1

    def windows(dataset: Any) -> Any:
        split = dataset.window(window_size, shift, window_stride, drop_remainder=True)
        return split.flat_map(lambda window: window.batch(window_size, drop_remainder=True))

    return windows
