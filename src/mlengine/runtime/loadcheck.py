"""Loads what a trainer exported, in the trainer's own environment, and says what would not load.

Run as a script by `mlengine.training.exports`, with the interpreter of the job. Standard input is
a JSON list of ``[kind, path]``; standard output gets two JSON lines for each: ``{"begin": N}``
and ``{"end": N, "problem": TEXT, "sure": BOOL}``. An empty problem means that it loads, or that
the library it needs is not installed here. Not sure are problems that its author may have an
answer to, such as a layer class to be named when the model is loaded, or a GPU to load it on.

A model is a program: it may print, exit or crash, so results go to a copy of standard output, and
the parent counts a "begin" without an "end" as a crash.

Standard library only, Python >= 3.7; frameworks are imported when a model needs them.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # a script's own folder comes first on the path: not with these names
    sys.path[:1] = []

import importlib
import importlib.util
import json
import os
import pickle
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]

_LIFETIME_S = 900
_SHOWN = 400

_ANSWERABLE = (
    "Unknown layer", "Unknown object", "Unknown loss", "Unknown metric", "Unknown optimizer",
    "Could not locate class", "Could not locate function", "Could not deserialize class",
    "custom_objects", "register_keras_serializable", "safe_mode", "Op type not registered",
    # What was trained on a GPU may want one to be loaded, and here it finds none.
    "CUDA device", "No CUDA GPUs are available", "no CUDA-capable device", "no NVIDIA driver",
)  # fmt: skip


class _Doubtful(Exception):
    """It did not load, but it may elsewhere, or with help."""


def main() -> int:
    """Check what standard input lists; return the exit code."""
    signal.alarm(_LIFETIME_S)  # whoever started this may be gone
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for number, (kind, path) in enumerate(json.load(sys.stdin)):
        _tell(out, {"begin": number})
        problem, sure = _problem(kind, path)
        _tell(out, {"end": number, "problem": problem, "sure": sure})
    out.flush()
    # Frameworks leave threads and exit handlers behind that may hang; everything is said.
    os._exit(0)


def _tell(out: Any, row: dict[str, Any]) -> None:
    out.write(json.dumps(row) + "\n")
    out.flush()


def _problem(kind: str, path: str) -> Any:
    try:
        _LOADERS[kind](path)
    except MemoryError:
        return "there was not enough memory to load it", False
    except _Doubtful as error:
        return _brief(error.__cause__ or error), False
    except BaseException as error:  # an exported model is a program: it may even exit
        text = _brief(error)
        return text, not any(word in str(error) for word in _ANSWERABLE)
    return "", True


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if len(text) > _SHOWN:
        text = text[: _SHOWN // 2] + " ... " + text[-_SHOWN // 2 :]  # Keras says why at the end
    return "%s: %s" % (type(error).__name__, text) if text else type(error).__name__  # noqa: UP031


def _has(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _pickled(path: str) -> None:
    try:
        if _has("joblib"):
            _joblib(path)
        else:
            with open(path, "rb") as file:
                pickle.load(file)  # noqa: S301 - the trainer's own file, in its own environment
    except (AttributeError, ImportError) as error:
        # What is named model.* is to be loaded as it is; for any other file its author knows how.
        if os.path.basename(path).startswith("model."):  # noqa: PTH119
            raise
        raise _Doubtful from error


def _joblib(path: str) -> None:
    try:
        importlib.import_module("joblib").load(path)
    except Exception:
        # scikit-learn before 0.21 has a joblib of its own, whose arrays only that one reads.
        own = sys.modules.get("sklearn.externals.joblib")
        if own is None:
            raise
        own.load(path)


def _booster(path: str) -> None:
    with open(path, "rb") as file:
        head = file.read(8)
    if head[:1] == b"\x80":
        _pickled(path)
    elif not head.startswith(b"tree") and _has("xgboost"):  # LightGBM's begin so
        importlib.import_module("xgboost").Booster().load_model(path)


def _keras(path: str) -> None:
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend == "tensorflow" and _has("tensorflow"):
        models = importlib.import_module("tensorflow").keras.models
    elif _has("keras"):
        models = importlib.import_module("keras").models
    else:
        return
    models.load_model(path, compile=False)


def _hdf5(path: str) -> None:
    if not _has("h5py"):
        return
    with importlib.import_module("h5py").File(path, "r") as file:
        whole_model = "model_config" in file.attrs
        list(file.keys())
    if whole_model:
        _keras(path)


def _saved_model(path: str) -> None:
    if not _has("tensorflow"):
        return
    tf = importlib.import_module("tensorflow")
    extra = os.path.join(path, "assets.extra")  # noqa: PTH118
    if os.path.isdir(extra):  # noqa: PTH112
        for name in sorted(os.listdir(extra)):  # noqa: PTH208
            if name.endswith(".so"):
                tf.load_op_library(os.path.join(extra, name))  # noqa: PTH118
    loader = importlib.import_module("tensorflow.python.saved_model.loader_impl")
    graphs = loader.parse_saved_model(path).meta_graphs
    if not graphs:
        raise ValueError("the SavedModel holds no graph")
    tags = _tags_to_load([list(graph.meta_info_def.tags) for graph in graphs])
    if tf.__version__.startswith("1."):
        with tf.Session(graph=tf.Graph()) as session:
            tf.saved_model.loader.load(session, tags, path)
    else:
        tf.saved_model.load(path, tags=tags)


def _tags_to_load(graphs: list[list[str]]) -> list[str]:
    """Return the tags of the graph that is served; Keras of TensorFlow 1 puts two before it."""
    serving = [tags for tags in graphs if "serve" in tags]
    return min(serving or graphs[:1], key=len)


def _onnx(path: str) -> None:
    if _has("onnxruntime"):
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        runtime = importlib.import_module("onnxruntime")
        runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    elif _has("onnx"):
        importlib.import_module("onnx").load(path)


_LOADERS: dict[str, Callable[[str], None]] = {
    "pickle": _pickled,
    "booster": _booster,
    "keras": _keras,
    "hdf5": _hdf5,
    "saved_model": _saved_model,
    "onnx": _onnx,
}


if __name__ == "__main__":
    sys.exit(main())
