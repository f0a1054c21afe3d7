"""`tf.contrib` for trainers: the names that they use, each from where it lives on.

A part is one of three things: a file here, where the interface was contrib's own; a row of
`TABLE`, where other modules have the names; or a row of `REDIRECTS`, where one module is all of
it. tf-slim, the same authors' own continuation, has the layers, losses, metrics and arg scopes.

Anything else is refused by name, with the runtime that has it.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["REDIRECTS", "TABLE", "absent", "has", "is_file", "names_from", "part"]

V1 = "tensorflow.compat.v1"

TABLE: dict[str, tuple[str, ...]] = {
    "cluster_resolver": (f"{V1}.distribute.cluster_resolver",),
    "distributions": (f"{V1}.distributions",),
    "losses": ("tf_slim.losses", "tf_slim.losses.loss_ops", f"{V1}.losses"),
    "metrics": ("tf_slim.metrics", "tf_slim.metrics.metric_ops", f"{V1}.metrics"),
    "nn": ("tf_slim.layers", f"{V1}.nn"),
    "util": (V1, "tensorflow.python.framework.tensor_util"),
}
"""Part: the modules that have its names, asked in this order."""

REDIRECTS = {
    "keras": "keras.api._v1.keras",
    "slim": "tf_slim",
    "tensorboard": "tensorboard",
}
"""Part: the module that it is."""

FILES: dict[str, tuple[str, ...]] = {
    "cluster_resolver": ("tpu_cluster_resolver",),
    "data": ("batching", "error_ops", "grouping", "interleave_ops", "readers", "shuffle_ops"),
    "layers": ("feature_column", "feature_column_ops"),
    "lookup": ("lookup_ops",),
    "metrics": ("metric_ops",),
    "rnn": ("core_rnn_cell", "gru_ops", "lstm_ops", "rnn_cell"),
    "tpu": ("tpu_config", "tpu_estimator", "tpu_optimizer"),
    "training": ("hparam",),
}
"""Part: files of its that trainers imported names from; the part has those names itself."""

_made: dict[str, ModuleType] = {}


def __getattr__(name: str) -> Any:
    if name in REDIRECTS:
        return importlib.import_module(f"tensorflow.contrib.{name}")
    if has(name):
        return part(name)
    raise AttributeError(absent(name))


def has(name: str) -> bool:
    """Say whether `tf.contrib` has this part here."""
    return name in TABLE or name in REDIRECTS or is_file(name)


def is_file(name: str) -> bool:
    """Say whether a part is a file of this package: `layers`, or `learn.learn_runner`."""
    if not all(piece.isidentifier() for piece in name.split(".")):
        return False
    place = os.path.join(os.path.dirname(__file__), *name.split("."))
    return os.path.isfile(f"{place}.py") or os.path.isfile(os.path.join(place, "__init__.py"))


def part(name: str) -> ModuleType:
    """Import a part that has a file here, or make the module of one that is a row of `TABLE`."""
    if is_file(name):
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _made:
        made = ModuleType(f"{__name__}.{name}", f"tf.contrib.{name}, from {TABLE[name]}")
        made.__path__ = []
        made.__getattr__ = names_from(name, *TABLE[name])  # type: ignore[method-assign]
        _made[name] = made
    return _made[name]


def names_from(name: str, *sources: str) -> Callable[[str], Any]:
    """Return a module's `__getattr__` that looks for a name in these modules, then refuses it.

    Args:
        name: The part of `tf.contrib` that asks, for the refusal.
        sources: Modules, imported when first needed.

    Example:
        >>> names_from("training", "math", "json")("sqrt")(4.0)
        2.0
        >>> names_from("training", "math")("magic")
        Traceback (most recent call last):
            ...
        AttributeError: tf.contrib.training.magic is not in the overlay that ...
    """

    def look_up(wanted: str) -> Any:
        if wanted in ("python", "ops", name, *FILES.get(name, ())):
            return part(name)
        if not wanted.startswith("__"):
            for source in sources:
                found = getattr(importlib.import_module(source), wanted, None)
                if found is not None:
                    return found
        raise AttributeError(absent(f"{name}.{wanted}"))

    return look_up


def absent(name: str) -> str:
    """Return the sentence that refuses a part of `tf.contrib`."""
    return (
        f"tf.contrib.{name} is not in the overlay that runs TensorFlow 1 trainers on TensorFlow "
        f"2.15. Runtime 1.15 has all of tf.contrib where Python 3.7 is installed: install it "
        f"('pyenv install 3.7' or 'uv python install 3.7') and submit the job again."
    )
