"""What a careful person writes by hand around a model: load it once, call the library itself.

Shared by all peers, so that what differs is the server. No private calls, and as many
threads a model as `OMP_NUM_THREADS` says.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Answer = Callable[[list[Any]], list[Any]]


def load(name: str, folder: Path, *, onnx: bool = False) -> Answer:
    """Return what answers a list of instances with a list of predictions."""
    if onnx:
        return _onnx(name, folder / name / "onnx" / "model.onnx")
    return _LOADERS[name](folder / name / "model")


def _sklearn(folder: Path) -> Answer:
    import joblib

    model = joblib.load(folder / "model.joblib")
    return lambda instances: model.predict(instances).tolist()


def _xgboost(folder: Path) -> Answer:
    import xgboost

    booster = xgboost.Booster(model_file=folder / "model.bst")
    booster.set_param({"nthread": 1})
    return lambda instances: booster.inplace_predict(np.array(instances)).tolist()


def _wide_and_deep(folder: Path) -> Answer:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    serve = loaded.signatures["serving_default"]

    def answer(instances: list[Any]) -> list[Any]:
        deep = tf.constant([row["deep"] for row in instances], tf.float32)
        wide = tf.constant([row["wide"] for row in instances], tf.float32)
        values = serve(deep=deep, wide=wide)["probability"].numpy().tolist()
        return [{"probability": value} for value in values]

    answer.loaded = loaded  # type: ignore[attr-defined]  # or its variables are forgotten
    return answer


def _cnn(folder: Path) -> Answer:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    serve = loaded.signatures["serving_default"]

    def answer(instances: list[Any]) -> list[Any]:
        images = tf.constant([base64.b64decode(row["b64"]) for row in instances])
        return [{"scores": v} for v in serve(image_bytes=images)["scores"].numpy().tolist()]

    answer.loaded = loaded  # type: ignore[attr-defined]
    return answer


def _onnx(name: str, file: Path) -> Answer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def rows(instances: list[Any]) -> list[Any]:
        return session.run(None, {names[0]: np.array(instances, np.float32)})[0].tolist()

    def wide_and_deep(instances: list[Any]) -> list[Any]:
        feeds = {n: np.array([row[n.partition(":")[0]] for row in instances], np.float32)
                 for n in names}  # fmt: skip
        return [{"probability": v} for v in session.run(None, feeds)[0].tolist()]

    def cnn(instances: list[Any]) -> list[Any]:
        from PIL import Image

        images = [Image.open(io.BytesIO(base64.b64decode(row["b64"]))) for row in instances]
        array = np.stack([np.asarray(image.convert("RGB"), np.float32) for image in images])
        scores = session.run(None, {names[0]: array / 127.5 - 1.0})[0].tolist()
        return [{"scores": value} for value in scores]

    return {"wide-and-deep": wide_and_deep, "cnn": cnn}.get(name, rows)


_LOADERS = {
    "logreg": _sklearn,
    "forest": _sklearn,
    "xgboost": _xgboost,
    "wide-and-deep": _wide_and_deep,
    "cnn": _cnn,
}
