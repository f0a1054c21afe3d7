"""Explanations of every framework: values add up, and are those that theory has for easy models."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from mlengine.runtime.explain.metadata import FILE
from mlengine.runtime.golden import save_golden
from mlengine.runtime.prediction_error import PredictionError
from tests.conformance.frameworks.conftest import X, Y
from tests.conformance.frameworks.explaining import adds_up, explain, total


def test_of_a_linear_model_a_feature_is_worth_its_weight_times_its_distance(tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression

    fitted = LinearRegression().fit(X, Y)
    joblib.dump(fitted, tmp_path / "model.joblib")
    save_golden(tmp_path, X, fitted.predict(X))
    (found,) = explain(tmp_path, [X[7].tolist()])
    wanted = fitted.coef_ * (X[7] - np.median(X, axis=0))
    assert found["attributions"]["input"] == pytest.approx(wanted, abs=1e-9)
    assert found["output_name"] == "predict" and found["label_index"] == 0
    (tmp_path / FILE).write_text('{"inputs": {"flower": {"input_baselines": [0, [1, 2, 3, 4]]}}}')
    (found,) = explain(tmp_path, [X[7].tolist()])
    wanted = fitted.coef_ * (X[7] - np.array([0.5, 1, 1.5, 2]))  # the mean of both baselines
    assert found["attributions"]["flower"] == pytest.approx(wanted, abs=1e-9)


def test_a_table_is_explained_by_the_names_of_its_columns(tmp_path: Path) -> None:
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    table = pd.DataFrame({"age": [20, 30, 40, 50] * 5, "job": ["a", "b", "a", "c"] * 5,
                          "noise": [1.0] * 20})  # fmt: skip
    fitted = make_pipeline(
        ColumnTransformer([("jobs", OneHotEncoder(), ["job"])], remainder="passthrough"),
        LogisticRegression(),
    ).fit(table, [0, 1, 0, 1] * 5)
    joblib.dump(fitted, tmp_path / "model.joblib")
    rows = table.to_dict("records")
    with pytest.raises(PredictionError, match=r"set back to their baseline.*explanation_metadata"):
        explain(tmp_path, rows[:1])  # the encoder knows no job ""
    save_golden(tmp_path, rows, fitted.predict(table))
    found = explain(tmp_path, rows[:4])
    assert [list(one["attributions"]) for one in found] == [["age", "job", "noise"]] * 4
    assert all(adds_up(one) and abs(one["attributions"]["noise"]) < 1e-12 for one in found)
    assert found[1]["attributions"]["job"] > 0.01  # "b", not "a" as most are
    by_list = explain(tmp_path, [list(row.values()) for row in rows[:4]])
    assert [one["attributions"]["input"] for one in by_list] == [
        pytest.approx(list(one["attributions"].values())) for one in found
    ]
    (tmp_path / FILE).write_text('{"inputs": {"Job": {"input_tensor_name": "job"}}}')
    (found,) = explain(tmp_path, rows[:1])
    assert list(found["attributions"]) == ["Job"]
    with pytest.raises(PredictionError, match="Input job was missing"):
        explain(tmp_path, [{"age": 1}])
    (tmp_path / FILE).write_text('{"inputs": {"agee": {}}}')
    with pytest.raises(
        PredictionError, match=r"no input 'agee'\. It has: age, input, job"
    ) as caught:
        explain(tmp_path, [])
    assert caught.value.error_class.code == 0, "before anybody asks"


def test_many_features_are_sampled_and_still_add_up(tmp_path: Path) -> None:
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier

    data, target = load_breast_cancer(return_X_y=True)
    forest = RandomForestClassifier(10, max_depth=4, random_state=0).fit(data, target)
    joblib.dump(forest, tmp_path / "model.joblib")
    save_golden(tmp_path, data[:100], forest.predict(data[:100]))
    once, again = (explain(tmp_path, data[:2].tolist(), steps=10) for _ in range(2))
    assert once == again  # the same request, the same answer
    assert all(adds_up(one) and 0 < one["approx_error"] < 0.2 for one in once)
    assert once[0]["example_score"] == forest.predict_proba(data[:1]).max()
    with pytest.raises(PredictionError, match="lower numPaths"):
        explain(tmp_path, data[:2].tolist(), steps=20_000)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, Path]:
    """A network of two inputs, of which only one has a gradient; as .keras and as SavedModel."""
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(3)
    numbers = keras.Input((3,), name="numbers")
    kind = keras.Input((1,), name="kind", dtype="int32")
    embedded = keras.layers.Flatten()(keras.layers.Embedding(4, 2)(kind))
    joined = keras.layers.Concatenate()([numbers, embedded])
    hidden = keras.layers.Dense(8, activation="tanh")(joined)
    model = keras.Model([numbers, kind], keras.layers.Dense(1, name="score")(hidden))
    folders = tmp_path_factory.mktemp("keras"), tmp_path_factory.mktemp("saved")
    model.save(folders[0] / "model.keras")
    model.export(folders[1], verbose=False)
    return model, *folders


def test_bytes_are_one_value_and_an_empty_picture_is_none(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")

    class Brightness(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def serve(self, image_bytes: Any) -> dict[str, Any]:
            def one(data: Any) -> Any:
                return tf.reduce_mean(tf.cast(tf.io.decode_png(data, channels=1), tf.float32))

            return {"brightness": tf.map_fn(one, image_bytes, fn_output_signature=tf.float32)}

    def picture(grey: int) -> dict[str, str]:
        png = tf.io.encode_png(np.full((2, 3, 1), grey, np.uint8)).numpy()
        return {"b64": base64.b64encode(png).decode()}

    module = Brightness()
    tf.saved_model.save(module, str(tmp_path), signatures=module.serve)
    with pytest.raises(PredictionError, match=r"set back to their baseline.*explanation_metadata"):
        explain(tmp_path, [{"image_bytes": picture(200)}])
    said = {"image_bytes": {"modality": "image", "input_baselines": [picture(50)]}}
    (tmp_path / FILE).write_text(json.dumps({"inputs": said}))
    found = explain(tmp_path, [{"image_bytes": picture(200)}, {"image_bytes": picture(80)}])
    assert [one["attributions"] for one in found] == [{"image_bytes": 150.0}, {"image_bytes": 30.0}]


INSTANCES = [{"numbers": [0.5, -1.0, 2.0], "kind": [2]}, {"numbers": [0.0, 0.0, 0.0], "kind": [1]}]


@pytest.mark.parametrize("form", [1, 2])
def test_integrated_gradients_add_up(network: Any, form: int) -> None:
    model, folder = network[0], network[form]
    found = explain(folder, INSTANCES, "integrated-gradients", 20)
    for one, instance in zip(found, INSTANCES, strict=True):
        assert list(one["attributions"]) == ["numbers"] and adds_up(one)
        assert one["approx_error"] < 1e-4
        scores = [
            float(model([np.array([numbers]), np.array([instance["kind"]])])[0, 0])
            for numbers in (instance["numbers"], [0.0, 0.0, 0.0])
        ]
        assert [one["example_score"], one["baseline_score"]] == pytest.approx(scores, abs=1e-5)
    assert total(found[1]) == 0
    shapley = explain(folder, INSTANCES)
    assert [sorted(one["attributions"]) for one in shapley] == [["kind", "numbers"]] * 2
    assert all(adds_up(one) for one in shapley)
    for one, other in zip(
        explain(folder, INSTANCES, "integrated-gradients", 20, most=7), found, strict=True
    ):  # however many rows a call has
        assert one["attributions"]["numbers"] == pytest.approx(
            other["attributions"]["numbers"], abs=1e-5
        )


def test_an_input_without_a_gradient_is_refused_by_name(network: Any, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.keras").write_bytes((network[1] / "model.keras").read_bytes())
    for inputs, problem in (({"kind": {}}, "'kind' has no gradient: it is int32"),
                            ({"nmbers": {}}, "no input 'nmbers'.*kind, numbers"),
                            ({"numbers": {"input_baselines": ["x"]}}, "baseline of 'numbers'"),
                            ({"numbers": {"input_baselines": [[1, 2]]}}, "baseline of 'numbers'"),
                            ({"numbers": {"input_baselines": [1, 2, 3]},
                              "kind": {"input_baselines": [1, 2]}}, "")):  # fmt: skip
        (folder / FILE).write_text(json.dumps({"inputs": inputs}))
        method = "integrated-gradients" if problem else "sampled-shapley"
        with pytest.raises(PredictionError, match=problem or r"\[2, 3\] baselines") as caught:
            explain(folder, INSTANCES, method)
        assert caught.value.error_class.code == 0
    (folder / FILE).write_text('{"outputs": {"chance": {"output_tensor_name": "score:0"}}}')
    assert explain(folder, INSTANCES)[0]["output_name"] == "chance"


def test_of_several_outputs_one_is_to_be_named_before_anybody_asks(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")

    class Two(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def serve(self, x: Any) -> dict[str, Any]:
            total = tf.reduce_sum(x, axis=1)
            return {"total": total, "rounded": tf.round(total)}

    module = Two()
    tf.saved_model.save(module, str(tmp_path), signatures=module.serve)
    for method in ("integrated-gradients", "sampled-shapley"):
        with pytest.raises(PredictionError, match=r"outputs: rounded, total\. Name one") as caught:
            explain(tmp_path, [], method)
        assert caught.value.error_class.code == 0
    save_golden(tmp_path, [[0.0, 0.0], [1.0, 3.0]], [0.0, 0.0])
    (tmp_path / FILE).write_text('{"outputs": {"total": {}}}')
    (found,) = explain(tmp_path, [[2.0, 3.0]], "integrated-gradients")
    assert found["attributions"] == {"x": pytest.approx([1.5, 1.5])}


def test_only_tensorflow_has_gradients(tmp_path: Path) -> None:
    from sklearn.dummy import DummyRegressor

    joblib.dump(DummyRegressor().fit(X, Y), tmp_path / "model.joblib")
    with pytest.raises(PredictionError, match=r"SCIKIT_LEARN\. Use sampledShapleyAttribution"):
        explain(tmp_path, [X[0].tolist()], "integrated-gradients")
