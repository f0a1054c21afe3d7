"""Models that multiply or tell irises apart, and callers that know what they must answer."""

from __future__ import annotations

import http.client
import io
import json
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression

from benchmarks.prediction import load
from mlengine.core.resources import Model, Version, VersionOptions
from tests.live.engines import BUCKET, LiveEngine, P

__all__ = ["Answer", "Caller", "add_models", "deploy", "irises", "predictions", "times"]

_TIMEOUT_S = 120.0
_MEMORY_BYTES = 4 << 30
_IRISES = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
_SAVED_MODEL = """\
import sys
import tensorflow as tf
for factor in sys.argv[2:]:
    module = tf.Module()
    module.w = tf.Variable([[float(factor)]])
    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])
    def times(x):
        return {"y": tf.matmul(x, module.w)}
    module.times = times
    tf.saved_model.save(module, sys.argv[1] + "/" + factor, signatures={"serving_default": times})
"""


class Answer(NamedTuple):
    """What came back; `version` is who answered, by its header."""

    status: int
    version: str
    body: bytes


class Caller:
    """One kept connection."""

    def __init__(self, engine: LiveEngine) -> None:
        where = urlsplit(engine.url)
        assert where.hostname is not None
        self._talk = http.client.HTTPConnection(where.hostname, where.port, timeout=_TIMEOUT_S)
        self._headers = {"Authorization": f"Bearer {engine.token}"}

    def __enter__(self) -> Caller:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self._talk.close()

    def ask(self, model: str, row: float) -> Answer:
        """Predict one row."""
        body = json.dumps({"instances": [[row]]})
        self._talk.request("POST", f"/v1/projects/{P}/models/{model}:predict", body, self._headers)
        answer = self._talk.getresponse()
        return Answer(answer.status, answer.headers.get("x-mlengine-version") or "", answer.read())

    def problem_of(self, model: str, factor: float, row: float) -> str:
        """Predict one row; return what is wrong with the answer, if anything is."""
        try:
            answer = self.ask(model, row)
        except (OSError, http.client.HTTPException) as error:
            return f"{model}: {type(error).__name__}: {error}"
        if answer.status != 200:
            return f"{model}: {answer.status} {answer.body[:300]!r}"
        found = json.loads(answer.body)["predictions"][0]
        value = found["y"][0] if isinstance(found, dict) else found
        wrong = abs(value - factor * row) > 1e-5 * max(1.0, abs(factor * row))
        return f"{model}: {value} for {row}" if wrong else ""


def times(factor: float) -> bytes:
    """Return a scikit-learn model that multiplies."""
    model = LinearRegression(fit_intercept=False).fit([[1.0], [2.0]], [factor, 2.0 * factor])
    file = io.BytesIO()
    joblib.dump(model, file)
    return file.getvalue()


def add_models(engine: LiveEngine, models: Mapping[str, float], *, framework: str) -> None:
    """Deploy models that multiply, by their names.

    Args:
        engine: Where to.
        models: What each multiplies by.
        framework: ``scikit-learn`` or ``tensorflow``.
    """
    with tempfile.TemporaryDirectory() as folder:
        if framework == "tensorflow":  # all in one process: its import takes seconds
            argv = [sys.executable, "-c", _SAVED_MODEL, folder, *map(str, models.values())]
            subprocess.run(argv, check=True, capture_output=True)
        for name, factor in models.items():
            if framework == "tensorflow":
                uri = _upload(engine, name, Path(folder) / str(factor))
            else:
                uri = engine.upload_model(name, model__joblib=times(factor))
            # The engine's memory is for one at a time; each may have what it needs all the same.
            options = VersionOptions(memory_bytes=_MEMORY_BYTES)
            version = Version(name="v1", deployment_uri=uri, options=options)
            engine.client.create_model(P, Model(name=name))
            operation = engine.done(engine.client.create_version(P, name, version))
            if operation.error is not None:
                raise SystemExit(f"{name}: {operation.error}")


def _upload(engine: LiveEngine, name: str, folder: Path) -> str:
    for path in (p for p in folder.rglob("*") if p.is_file()):
        target = f"{name}/{path.relative_to(folder).as_posix()}"
        engine.client.write_object(BUCKET, target, [path.read_bytes()])
    return f"gs://{BUCKET}/{name}"


def irises(
    engine: LiveEngine, name: str, options: VersionOptions | None = None
) -> list[load.Question]:
    """Deploy a logistic regression over the irises; return what it may be asked."""
    fitted = LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True))
    deploy(engine, name, engine.upload_model(name, model__pkl=pickle.dumps(fitted)), options)
    made = []
    for row, kind in zip(_IRISES, fitted.predict(_IRISES).tolist(), strict=True):
        body = json.dumps({"instances": [row]}).encode()
        head = (f"POST /v1/projects/{P}/models/{name}:predict HTTP/1.1\r\nHost: localhost\r\n"
                f"Authorization: Bearer {engine.token}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n")  # fmt: skip
        made.append(load.Question(head.encode() + body, [kind]))
    return made


def deploy(engine: LiveEngine, name: str, uri: str, options: VersionOptions | None = None) -> None:
    """Make a model with one version.

    Raises:
        SystemExit: It does not become READY.
    """
    error = engine.deploy(uri, model_id=name, options=options).error
    if error is not None:
        raise SystemExit(f"{name}: {error}")


def predictions(body: bytes) -> list[Any]:
    """Take the predictions out of an answer's body."""
    found: list[Any] = json.loads(body)["predictions"]
    return found
