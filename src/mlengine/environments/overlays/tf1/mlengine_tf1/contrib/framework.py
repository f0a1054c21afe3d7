"""`tf.contrib.framework`: steps, scopes, variables and checkpoints, mostly from tf-slim."""

from __future__ import annotations

import importlib

import tensorflow as tf

from . import names_from

__all__ = ["nest", "variables"]

__path__: list[str] = []
__getattr__ = names_from(
    "framework",
    "tf_slim.ops.arg_scope",
    "tf_slim.ops.variables",
    "tensorflow.compat.v1.train",
    "tensorflow.compat.v1",
    "tensorflow.python.util.deprecation",
)

nest = tf.nest
variables = importlib.import_module("tf_slim.ops.variables")
