"""What TensorFlow, Keras, numpy and pandas get back once they are loaded."""

from __future__ import annotations

import builtins
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from . import paths

__all__ = ["complete_numpy", "complete_pandas", "complete_tensorflow"]

NUMPY_ALIASES = ("bool", "int", "float", "complex", "object", "str")

PYTHON_KERAS_LATE = (
    "callbacks_v1",
    "engine.base_layer_v1",
    "legacy_tf_layers.convolutional",
    "legacy_tf_layers.core",
    "legacy_tf_layers.pooling",
    "mixed_precision.get_layer_policy",
)
"""Modules of the Keras inside TensorFlow that it imports when first needed: 12 ms in all."""


def complete_numpy(numpy: ModuleType) -> None:
    """Give numpy the names of Python's own types, which it had until 1.24."""
    for name in NUMPY_ALIASES:
        setattr(numpy, name, getattr(builtins, name))
    numpy.long = int  # type: ignore[attr-defined]
    numpy.unicode = str  # type: ignore[attr-defined]


def complete_pandas(pandas: Any) -> None:
    """Give pandas the way to an array that it had until 1.0."""

    def as_matrix(self: Any, columns: Any = None) -> Any:
        return (self if columns is None else self[columns]).values

    pandas.DataFrame.as_matrix = as_matrix
    pandas.Series.as_matrix = as_matrix


def complete_tensorflow(tensorflow: Any) -> None:
    """Make `tensorflow` what `tensorflow.compat.v1` is, with v2 behaviour off and Keras 2.

    The module is changed and not replaced: `tensorflow.python` and TensorFlow's own code go on as
    they are, and what reads `tf.compat.v2` still finds it.
    """
    v1 = tensorflow.compat.v1
    logger = importlib.import_module("logging").getLogger("tensorflow")
    level = logger.level
    logger.setLevel("ERROR")  # it warns of what is wanted here
    v1.disable_v2_behavior()
    logger.setLevel(level)
    for name in dir(v1):
        if not name.startswith("_") and name != "compat":
            setattr(tensorflow, name, getattr(v1, name))
    tensorflow.contrib = importlib.import_module("mlengine_tf1.contrib")
    tensorflow.python = sys.modules["tensorflow.python"]
    _restore_ops(tensorflow, sys.modules["tensorflow.python.framework.ops"])
    _use_keras_v1(tensorflow)


def _restore_ops(tensorflow: Any, ops: Any) -> None:
    """Give `tensorflow.python.framework.ops` back what moved out of it; tf-slim wants it too."""
    for name in ("Tensor", "IndexedSlices"):
        if not hasattr(ops, name):
            setattr(ops, name, getattr(tensorflow, name))


def _use_keras_v1(tensorflow: Any) -> None:
    """Put the v1 face of Keras under its three roots, in place of what was loaded there.

    Its optimizers take `lr` and `decay`; the newer ones train on with a default rate instead.
    """
    try:
        face = importlib.import_module(paths.KERAS)
    except ImportError:
        return  # TensorFlow alone
    for name in ("export_saved_model", "load_from_saved_model"):  # of tf.keras.experimental
        if not hasattr(face.experimental, name):
            setattr(face.experimental, name, _of_contrib("saved_model", name))
    if not hasattr(face.optimizers, "experimental"):  # tf.estimator asks whose an optimizer is
        newer = importlib.import_module("keras.api._v2.keras.optimizers.experimental")
        face.optimizers.experimental = newer
    tensorflow.keras = face
    sys.modules["tensorflow.keras"] = face
    _load_late_modules()
    for root in ("keras", paths.PYTHON_KERAS):
        top = sys.modules.get(root)
        if top is None:
            continue
        kept = paths.PYTHON_KERAS_OWN if root == paths.PYTHON_KERAS else frozenset()
        for name, value in vars(face).items():
            if not name.startswith("_") and name not in kept:
                setattr(top, name, value)
                if isinstance(value, ModuleType):
                    _replace(f"{root}.{name}", f"{paths.KERAS}.{name}")


def _load_late_modules() -> None:
    """Load what imports private names of Keras, which are about to be replaced.

    One layer TensorFlow 2.15 looks for in the distribution `tf_keras`, which it does not require:
    Keras 2 has it as well.
    """
    for late in PYTHON_KERAS_LATE:
        importlib.import_module(f"{paths.PYTHON_KERAS}.{late}")
    layers: Any = importlib.import_module("tensorflow.python.layers.normalization")
    layers.normalization = importlib.import_module("keras.src.legacy_tf_layers.normalization")


def _of_contrib(part: str, name: str) -> Callable[..., Any]:
    """Return a function that is imported when it is called."""

    def call(*arguments: Any, **named: Any) -> Any:
        module = importlib.import_module(f"mlengine_tf1.contrib.{part}")
        return getattr(module, name)(*arguments, **named)

    return call


def _replace(name: str, other: str) -> None:
    """Put `other` where `name` and the modules below it are, as far as `other` has them."""
    for loaded in [n for n in sys.modules if n == name or n.startswith(f"{name}.")]:
        if paths.exists(other + loaded[len(name) :]):
            sys.modules[loaded] = importlib.import_module(other + loaded[len(name) :])
    sys.modules[name] = importlib.import_module(other)
