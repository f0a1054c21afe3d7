"""Which module a name of TensorFlow 1's time stands for: rules on names, and little else."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

from . import contrib

__all__ = ["KERAS", "ROOTS", "contrib_name", "exists", "load", "other_name"]

ROOTS = frozenset({"tensorflow", "keras", "sklearn", "mlengine_tf1"})
"""First parts of the names that the overlay looks at; all others cost one look into this set."""

KERAS = "keras.api._v1.keras"
CONTRIB = "mlengine_tf1.contrib"
V1 = "tensorflow._api.v2.compat.v1"
ESTIMATOR = "tensorflow_estimator.python.estimator.api._v1.estimator"

NATIVE = frozenset(
    {"_api", "compat", "compiler", "core", "include", "lite", "python", "tools", "tsl"}
)
"""Children of `tensorflow` that are files on disk and no part of its public face."""

PREFIXES = (
    ("tensorflow.keras", KERAS),
    ("tensorflow.estimator", ESTIMATOR),
    ("keras", KERAS),
    ("sklearn.externals.joblib", "joblib"),
    ("sklearn.externals.six", "six"),
    ("tensorflow.examples.tutorials.mnist", f"{CONTRIB}.learn.datasets"),
    ("tensorflow.examples.tutorials", f"{CONTRIB}.learn.datasets"),
    ("tensorflow.examples", f"{CONTRIB}.learn.datasets"),
)

KERAS_GONE = (
    ("layers", "layers"),
    ("utils", "utils"),
    ("backend", "backend"),
    ("preprocessing.text", "preprocessing.text"),
    ("models", "models"),
    ("callbacks", "callbacks"),
)
"""Parts of Keras whose files below were private: `keras.layers.core` is `keras.layers` now."""

KERAS_OWN = frozenset({"src", "api", "protobuf"})
"""Parts of Keras that stay what they are."""

PYTHON_KERAS = "tensorflow.python.keras"
PYTHON_KERAS_OWN = frozenset({"distribute", "engine", "legacy_tf_layers", "mixed_precision"})
"""Parts of the copy inside TensorFlow that TensorFlow itself imports when it is needed."""


def other_name(fullname: str) -> str:
    """Return the module that this name stands for; empty when it is to be found where it says.

    Raises:
        ImportError: The name is a part of `tf.contrib` that the overlay does not have.
    """
    for prefix in ("tensorflow.contrib", CONTRIB):
        if fullname == prefix or fullname.startswith(f"{prefix}."):
            return contrib_name(fullname, fullname[len(prefix) + 1 :])
    if fullname.startswith(f"{PYTHON_KERAS}."):
        rest = fullname[len(PYTHON_KERAS) + 1 :]
        return "" if rest.partition(".")[0] in PYTHON_KERAS_OWN else _keras_name(rest)
    for prefix, other in PREFIXES:
        if fullname == prefix or fullname.startswith(f"{prefix}."):
            return _below(other, fullname[len(prefix) + 1 :])
    parts = fullname.split(".")
    if parts[0] == "tensorflow" and len(parts) > 1 and parts[1] not in NATIVE:
        other = ".".join([V1, *parts[1:]])
        return other if exists(other) else ""
    return ""


def _below(root: str, rest: str) -> str:
    if root == KERAS:
        return _keras_name(rest)
    if not rest or root.startswith(CONTRIB):
        return root
    return f"{root}.{rest}"


def _keras_name(rest: str) -> str:
    if not rest:
        return ""  # the root itself: `names` has changed it in place
    if rest.partition(".")[0] in KERAS_OWN:
        return ""
    if exists(f"{KERAS}.{rest}"):
        return f"{KERAS}.{rest}"
    for gone, now in KERAS_GONE:
        if rest.startswith(f"{gone}."):
            return f"{KERAS}.{now}"
    return ""


def contrib_name(fullname: str, rest: str) -> str:
    """Return where a part of `tf.contrib` is in the overlay; empty when it is a file just there.

    `learn.python.learn.utils.saved_model_export_utils` was the file of what is now
    `learn.saved_model_export_utils`, and `layers.python.layers.initializers` one of `layers`: of
    such a path the first part counts, and the last one where the overlay has it.

    Raises:
        ImportError: The overlay does not have it.
    """
    first, *deeper = rest.split(".") if rest else ("",)
    if not first:
        return CONTRIB if fullname != CONTRIB else ""
    if contrib.is_file(rest) and fullname == f"{CONTRIB}.{rest}":
        return ""
    redirect = contrib.REDIRECTS.get(first)
    if redirect:
        return ".".join([redirect, *(part for part in deeper if part not in ("python", first))])
    if not contrib.has(first):
        raise ImportError(contrib.absent(rest), name=fullname)
    last = f"{first}.{deeper[-1]}" if deeper else first
    if contrib.is_file(last):
        return f"{CONTRIB}.{last}"
    if deeper and not _was_a_folder(first, deeper):
        raise ImportError(contrib.absent(rest), name=fullname)
    return f"{CONTRIB}.{first}"


def _was_a_folder(first: str, deeper: list[str]) -> bool:
    return deeper[0] in ("python", "estimators", "utils", first)


def exists(name: str) -> bool:
    """Say whether a module can be imported, without importing more than its parents."""
    if name in sys.modules:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def load(name: str) -> ModuleType:
    """Import a module and return it."""
    if name.startswith(f"{CONTRIB}."):
        return contrib.part(name[len(CONTRIB) + 1 :])
    module = sys.modules.get(name)
    return module if module is not None else importlib.import_module(name)
