"""Small real models, one for each way a framework writes them, with the framework's own answers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_iris

X, Y = load_iris(return_X_y=True)
ROWS = X[::15]


@dataclass(frozen=True)
class Case:
    """A model directory and what is true of its answers for `ROWS`."""

    directory: Path
    framework: str
    same: Callable[[list[Any]], bool]  # are these the framework's own predictions?


def _close(expected: Any, got: Any) -> bool:
    return bool(np.allclose(np.asarray(got, dtype=float), np.asarray(expected), atol=1e-6))


def _sklearn(folder: Path, estimator: Any, file: str) -> Case:
    fitted = estimator.fit(X, Y)
    joblib.dump(fitted, folder / file)
    expected = fitted.predict(ROWS).tolist()
    return Case(folder, "SCIKIT_LEARN", lambda got: got == expected)


def _logistic(folder: Path) -> Case:
    from sklearn.linear_model import LogisticRegression

    return _sklearn(folder, LogisticRegression(max_iter=500), "model.joblib")


def _forest(folder: Path) -> Case:
    from sklearn.ensemble import RandomForestClassifier

    return _sklearn(folder, RandomForestClassifier(5, n_jobs=-1, random_state=0), "model.pkl")


def _pipeline(folder: Path) -> Case:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    return _sklearn(folder, make_pipeline(StandardScaler(), SVC()), "model.joblib")


def _booster(folder: Path, file: str, *, names: list[str] | None = None) -> Case:
    import xgboost

    data = xgboost.DMatrix(X, Y, feature_names=names)
    booster = xgboost.train({"objective": "multi:softprob", "num_class": 3}, data, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # .bst is UBJSON by another name
        if file.endswith("joblib"):
            joblib.dump(booster, folder / file)
        else:
            booster.save_model(str(folder / file))
    expected = booster.predict(xgboost.DMatrix(ROWS, feature_names=names))
    return Case(folder, "XGBOOST", lambda got: _close(expected, got))


def _xgb_classifier(folder: Path) -> Case:
    import xgboost

    fitted = xgboost.XGBClassifier(n_estimators=3).fit(X, Y)
    joblib.dump(fitted, folder / "model.joblib")
    expected = fitted.predict(ROWS).tolist()
    return Case(folder, "", lambda got: got == expected)


def _keras_model() -> Any:
    import keras

    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile(loss="sparse_categorical_crossentropy")
    model.fit(X, Y, epochs=1, verbose=0)
    return model


def _keras(folder: Path) -> Case:
    pytest.importorskip("tensorflow")
    model = _keras_model()
    model.save(folder / "model.keras")
    expected = model.predict(ROWS, verbose=0)
    name = model.layers[-1].name
    return Case(folder, "TENSORFLOW", lambda got: _close(expected, [row[name] for row in got]))


def _saved_model(folder: Path) -> Case:
    pytest.importorskip("tensorflow")
    model = _keras_model()
    model.export(folder, verbose=False)
    expected = model.predict(ROWS, verbose=0)
    return Case(
        folder, "TENSORFLOW", lambda got: _close(expected, [row["output_0"] for row in got])
    )


def _onnx(folder: Path, *, zipmap: bool) -> Case:
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(max_iter=500).fit(X, Y)
    model = to_onnx(fitted, X[:1].astype(np.float32), options={"zipmap": zipmap})
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    labels, probabilities = fitted.predict(ROWS).tolist(), fitted.predict_proba(ROWS)

    def same(got: list[Any]) -> bool:
        if zipmap:
            chances = [[row["output_probability"][k] for k in "012"] for row in got]
            return [r["output_label"] for r in got] == labels and _close(probabilities, chances)
        chances = [row["probabilities"] for row in got]
        return [r["label"] for r in got] == labels and _close(probabilities, chances)

    return Case(folder, "", same)


CASES: dict[str, Callable[[Path], Case]] = {
    "sklearn LogisticRegression": _logistic,
    "sklearn forest on all cores": _forest,
    "sklearn pipeline": _pipeline,
    "xgboost .bst": lambda folder: _booster(folder, "model.bst"),
    "xgboost .ubj with column names": lambda f: _booster(f, "model.ubj", names=list("abcd")),
    "xgboost .json": lambda folder: _booster(folder, "model.json"),
    "xgboost pickled booster": lambda folder: _booster(folder, "model.joblib"),
    "xgboost XGBClassifier": _xgb_classifier,
    "onnx with a map of probabilities": lambda folder: _onnx(folder, zipmap=True),
    "onnx with an array of probabilities": lambda folder: _onnx(folder, zipmap=False),
    "keras": _keras,
    "tensorflow SavedModel": _saved_model,
}


_MADE: dict[str, Case] = {}


@pytest.fixture(scope="session", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Made once in a process: each file of tests goes through them all, and networks are slow."""
    name: str = request.param
    if name not in _MADE:
        _MADE[name] = CASES[name](tmp_path_factory.mktemp("model"))
    return _MADE[name]


@pytest.fixture(scope="session")
def rows() -> list[list[float]]:
    """The instances that every case can answer."""
    listed: list[list[float]] = ROWS.tolist()
    return listed
