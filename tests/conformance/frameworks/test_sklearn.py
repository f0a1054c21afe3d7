from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlengine.runtime.frameworks import ask, load
from mlengine.runtime.frameworks.sklearn import SklearnModel
from mlengine.runtime.prediction_error import ErrorClass, PredictionError

PEOPLE = pd.DataFrame(
    {
        "age": [25, 38, 28, 44, 18, 34],
        "work": ["Private", "Private", "Local", "Private", "none", "Local"],
        "hours": [40, 50, 40, 40, 30, 30],
    }
)
RICH = [0, 0, 1, 1, 0, 0]


def _census() -> Any:
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["age", "hours"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["work"]),
        ]
    )
    return make_pipeline(columns, LogisticRegression()).fit(PEOPLE, RICH)


def test_a_model_of_a_table_takes_rows_in_training_order_and_objects_in_any() -> None:
    fitted = _census()
    expected = fitted.predict(PEOPLE).tolist()
    model = SklearnModel(fitted)
    assert ask(model, PEOPLE.values.tolist(), {}) == expected
    shuffled = PEOPLE[["hours", "work", "age"]].to_dict("records")
    assert ask(model, shuffled, {}) == expected
    assert model.describe()["inputs"] == ["age", "work", "hours"]


WRONG_ROWS = {
    "a missing column": ([{"age": 1, "work": "x"}], "instance 0 lacks 'hours'"),
    "an unknown column": (
        [{"age": 1, "work": "x", "hours": 1, "pay": 2}], "unknown column 'pay'"),
    "a row too short": ([[1, "x"]], "instance 0 has 2 values, expected 3"),
    "objects and lists": (
        [{"age": 1, "work": "x", "hours": 1}, [1, "x", 2]], "instance 1 is a list of 3"),
}  # fmt: skip


@pytest.mark.parametrize(("instances", "text"), WRONG_ROWS.values(), ids=WRONG_ROWS.keys())
def test_a_model_of_a_table_names_the_column(instances: list[Any], text: str) -> None:
    with pytest.raises(PredictionError) as caught:
        ask(SklearnModel(_census()), instances, {})
    assert caught.value.error_class is ErrorClass.INPUTS
    assert text in caught.value.detail


def test_a_pipeline_over_texts_gets_the_texts() -> None:
    texts = ["good film", "bad film", "good play", "bad play"]
    fitted = make_pipeline(TfidfVectorizer(), MultinomialNB()).fit(texts, [1, 0, 1, 0])
    assert ask(SklearnModel(fitted), ["a good one", "a bad one"], {}) == [1, 0]


def test_a_pipeline_over_objects_gets_the_objects() -> None:
    things = [{"colour": "red"}, {"colour": "blue"}]
    fitted = make_pipeline(DictVectorizer(), LogisticRegression()).fit(things, ["hot", "cold"])
    assert ask(SklearnModel(fitted), things, {}) == ["hot", "cold"]


class Answers(BaseEstimator):  # type: ignore[misc]
    """An estimator that answers what it was given."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, instances: Any, *, times: int = 1) -> Any:
        return self.answer


UNWRITABLE = {
    "NaN in an array": np.array([1.0, math.nan]),
    "an infinity in an array": np.array([[1.0], [math.inf]]),
    "too few": np.array([1.0]),
    "a number": 3.0,
    "a tuple": (1, 2),
    "an object": {"a": 1},
    "None": None,
}


@pytest.mark.parametrize("answer", UNWRITABLE.values(), ids=UNWRITABLE.keys())
def test_an_answer_that_json_cannot_carry_is_a_problem_of_the_output(answer: Any) -> None:
    with pytest.raises(PredictionError) as caught:
        ask(SklearnModel(Answers(answer)), [1, 2], {})
    assert caught.value.error_class is ErrorClass.OUTPUTS


WRITABLE = {
    "texts": (np.array(["a", "b"]), ["a", "b"]),
    "booleans": (np.array([True, False]), [True, False]),
    "numpy scalars in a list": ([np.float64(1.5), np.int64(2)], [1.5, 2]),
    "objects of arrays": ([{"p": np.array([1, 2])}, {"p": None}], [{"p": [1, 2]}, {"p": None}]),
    "bytes": ([b"\xff", b"a"], [{"b64": "/w=="}, {"b64": "YQ=="}]),
}


@pytest.mark.parametrize(("answer", "written"), WRITABLE.values(), ids=WRITABLE.keys())
def test_answers_become_json(answer: Any, written: list[Any]) -> None:
    assert ask(SklearnModel(Answers(answer)), [1, 2], {}) == written


def test_keyword_arguments_reach_the_model() -> None:
    assert ask(SklearnModel(Answers([1])), [1], {"times": 3}) == [1]


def test_a_model_of_another_version_is_served_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("sklearn.base.__version__", "1.0.2")
        joblib.dump(LogisticRegression().fit([[0], [1]], [0, 1]), tmp_path / "model.joblib")
    model = load(tmp_path)
    assert "1.0.2" in model.describe()["warnings"][0]
    assert ask(model, [[0], [1]], {}) == [0, 1]


def test_a_pickle_of_something_else_names_its_class(tmp_path: Path) -> None:
    joblib.dump({"not": "a model"}, tmp_path / "model.joblib")
    with pytest.raises(PredictionError, match=r"Invalid model type detected: builtins\.dict"):
        load(tmp_path, framework="SCIKIT_LEARN")


def test_a_sklearn_model_is_no_xgboost_model(tmp_path: Path) -> None:
    joblib.dump(LogisticRegression(), tmp_path / "model.joblib")
    with pytest.raises(PredictionError, match="exported xgboost model"):
        load(tmp_path, framework="XGBOOST")


MISSING = {
    "a module of the user": (b"cmy_trainer.model\nModel\n.", "package_uris"),
    "a class of the training script": (b"c__main__\nMyScaler\n.", "run as __main__"),
    "a newer pickle protocol": (b"\x80\x63.", "python_version"),
}


@pytest.mark.parametrize(("text", "hint"), MISSING.values(), ids=MISSING.keys())
def test_a_pickle_that_cannot_be_read_says_what_to_do(
    tmp_path: Path, text: bytes, hint: str
) -> None:
    (tmp_path / "model.pkl").write_bytes(text)
    with pytest.raises(PredictionError) as caught:
        load(tmp_path)
    assert caught.value.error_class is ErrorClass.LOAD
    assert hint in caught.value.detail
