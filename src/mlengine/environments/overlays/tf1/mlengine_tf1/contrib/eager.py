"""`tf.contrib.eager`: what trainers of graphs take from it."""

from __future__ import annotations

import tensorflow as tf

from . import names_from

__all__ = ["Variable", "defun", "enable_eager_execution", "in_eager_mode", "py_func"]

__path__: list[str] = []
__getattr__ = names_from("eager", "tensorflow.compat.v1", "tensorflow.compat.v1.train")

Variable = tf.compat.v1.Variable
defun = tf.function
enable_eager_execution = tf.compat.v1.enable_eager_execution
in_eager_mode = tf.executing_eagerly
py_func = tf.py_function
