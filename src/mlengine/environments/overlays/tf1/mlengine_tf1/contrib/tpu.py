"""`tf.contrib.tpu`: its estimator, which trainers also run on CPUs by `use_tpu=False`."""

from __future__ import annotations

from . import names_from

__all__: list[str] = []

__path__: list[str] = []
__getattr__ = names_from("tpu", "tensorflow.compat.v1.estimator.tpu", "tensorflow.compat.v1.tpu")
