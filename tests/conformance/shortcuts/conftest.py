"""Models that have a shortcut, one for each kernel and each way in which numbers come in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris

from mlengine.runtime.frameworks import Model
from mlengine.runtime.frameworks.sklearn import SklearnModel
from mlengine.runtime.frameworks.xgboost import BoosterModel
from mlengine.runtime.shortcuts import Shortcut, open_shortcut

X, LABELS = load_iris(return_X_y=True)
NAMES = np.array(["setosa", 'versi"color', "virginica"])
TEXTS, TWO, NUMBERS = NAMES[LABELS], (LABELS == 1).astype(int), X[:, 2] * 1.7 - X[:, 0]


@dataclass(frozen=True)
class Case:
    """A model, its shortcut, and whether floats are its very own."""

    model: Model
    shortcut: Shortcut
    way: str
    exact: bool = True


def _linear(kind: str) -> Callable[[], Model]:
    def make() -> Model:
        from sklearn import linear_model, svm

        made, target = {
            "logistic, two classes": (linear_model.LogisticRegression(max_iter=2000), TWO),
            "logistic, texts": (linear_model.LogisticRegression(max_iter=2000), TEXTS),
            "ridge": (linear_model.Ridge(), NUMBERS),
            "sgd": (linear_model.SGDRegressor(random_state=0), NUMBERS),
            "several outputs": (linear_model.LinearRegression(), np.stack([NUMBERS, X[:, 1]], 1)),
            "support vectors": (svm.LinearSVC(), LABELS),
        }[kind]
        return SklearnModel(made.fit(X, target))

    return make


def _trees(kind: str) -> Callable[[], Model]:
    def make() -> Model:
        from sklearn import ensemble, tree

        made, target = {
            "tree": (tree.DecisionTreeClassifier(random_state=0), TEXTS),
            "forest": (ensemble.RandomForestClassifier(9, random_state=0), TEXTS),
            "forest of numbers": (ensemble.RandomForestRegressor(9, random_state=0), NUMBERS),
            "extra trees": (ensemble.ExtraTreesRegressor(5, random_state=0), NUMBERS),
            "boosting": (ensemble.GradientBoostingClassifier(n_estimators=5), TWO),
            "histograms": (ensemble.HistGradientBoostingClassifier(max_iter=5), LABELS),
            "histograms of numbers": (ensemble.HistGradientBoostingRegressor(max_iter=5), NUMBERS),
        }[kind]
        return SklearnModel(made.fit(X, target))

    return make


def _pipeline() -> Model:
    from sklearn import impute, linear_model, pipeline, preprocessing

    steps = (impute.SimpleImputer(), preprocessing.MinMaxScaler(), preprocessing.StandardScaler())
    return SklearnModel(
        pipeline.make_pipeline(*steps, linear_model.LogisticRegression(max_iter=2000)).fit(X, TEXTS)
    )


def _table() -> Model:
    import pandas as pd
    from sklearn.linear_model import Ridge

    table = pd.DataFrame(X, columns=["a", "b", "a long name", "d"])
    return SklearnModel(Ridge().fit(table, NUMBERS))


def _xgb_classifier() -> Model:
    import xgboost

    return SklearnModel(xgboost.XGBClassifier(n_estimators=3).fit(X, LABELS))


def _booster(objective: str) -> Callable[[], Model]:
    def make() -> Model:
        import xgboost

        options = {"objective": objective}
        if objective.startswith("multi"):
            options["num_class"] = "3"
        target = LABELS if objective.startswith("multi") else NUMBERS
        return BoosterModel(xgboost.train(options, xgboost.DMatrix(X, target), 3))

    return make


def _onnx() -> Model:
    import onnxruntime
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    from mlengine.runtime.frameworks.onnx import OnnxModel

    fitted = LogisticRegression(max_iter=2000).fit(X, LABELS)
    text = to_onnx(fitted, X[:1].astype(np.float32)).SerializeToString()
    session = onnxruntime.InferenceSession(text, providers=["CPUExecutionProvider"])
    return OnnxModel(session, version="")


def _keras_model() -> Any:
    import keras

    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(8, activation="relu"), keras.layers.Dense(3, activation="softmax")]
    return keras.Sequential([keras.Input((4,), name="x"), *layers])


def _keras() -> Model:
    pytest.importorskip("tensorflow")
    from mlengine.runtime.frameworks.keras import KerasModel

    return KerasModel(_keras_model())


def _saved_model(folder: Path) -> Model:
    tf = pytest.importorskip("tensorflow")
    from mlengine.runtime.frameworks.tensorflow import load

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            tf.TensorSpec([None], tf.float32, "age"), tf.TensorSpec([None], tf.string, "work"),
            tf.TensorSpec([None, 1], tf.int32, "children"),
        ]
    )  # fmt: skip
    def serve(age: Any, work: Any, children: Any) -> Any:
        score = age * 0.37 + tf.cast(tf.strings.length(work), tf.float32)
        score += tf.cast(children[:, 0], tf.float32)
        return {"score": score, "label": tf.where(score > 20.0, work, "no"), "n": children[:, 0]}

    module = tf.Module()
    module.serve = serve  # what a signature needs is saved with it
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})
    return load(folder)


ROWS: dict[str, Callable[[], Model]] = {
    **{f"linear: {kind}": _linear(kind) for kind in (
        "logistic, two classes", "logistic, texts", "ridge", "sgd", "several outputs",
        "support vectors",
    )},
    **{f"trees: {kind}": _trees(kind) for kind in (
        "tree", "forest", "forest of numbers", "extra trees", "boosting", "histograms",
        "histograms of numbers",
    )},
    "pipeline": _pipeline,
    "columns by name": _table,
    "XGBClassifier": _xgb_classifier,
    "booster of classes": _booster("multi:softprob"),
    "booster of numbers": _booster("reg:squarederror"),
    "ONNX": _onnx,
    "Keras": _keras,
}  # fmt: skip
"""Models whose instances are rows of the four numbers of an iris."""


def _opened(make: Callable[[], Model]) -> Case:
    model = make()
    shortcut, way = open_shortcut(model)
    assert shortcut is not None, way
    return Case(model, shortcut, way, exact="tensors" not in way)


@pytest.fixture(scope="session", params=ROWS.values(), ids=ROWS.keys())
def case(request: pytest.FixtureRequest) -> Case:
    return _opened(request.param)


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A model of three named inputs: a number, a text and a small integer."""
    return _opened(lambda: _saved_model(tmp_path_factory.mktemp("saved_model")))
