"""Callers of pipelines over texts and numbers share a call, and get what they would get alone."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from mlengine.runtime.answerer import Answerer, predict
from mlengine.runtime.frameworks.sklearn import SklearnModel
from mlengine.runtime.shortcuts import open_shortcut
from mlengine.runtime.shortcuts.joining import foreign_part, lane_of

_NAMES = ["age", "job", "hours"]
_MOST = 1 << 20


def _table() -> pd.DataFrame:
    random = np.random.default_rng(4)
    jobs = np.array(["clerk", "cook", "nurse"])
    table = {"age": random.integers(17, 90, 200), "job": random.choice(jobs, 200),
             "hours": random.normal(40, 9, 200).round(1)}  # fmt: skip
    return pd.DataFrame(table, columns=_NAMES)


def _pipeline(last: Any) -> Any:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = ColumnTransformer(
        [("n", numbers, ["age", "hours"]), ("t", OneHotEncoder(handle_unknown="ignore"), ["job"])]
    )
    return make_pipeline(columns, last)


@pytest.fixture(scope="module")
def model() -> SklearnModel:
    table = _table()
    labels = np.where((table["hours"] > 38) ^ (table["job"] == "cook"), "more", "less")
    forest = _pipeline(RandomForestClassifier(12, random_state=1)).fit(table, labels)
    made = SklearnModel(forest)
    found = open_shortcut(made, table[:9].to_dict("records"))
    assert found.shortcut is None
    assert found.way.endswith("; callers together")
    return made


def test_a_model_without_golden_rows_is_asked_by_each_caller_alone() -> None:
    table = _table()
    made = SklearnModel(_pipeline(RandomForestClassifier(3)).fit(table, table["hours"] > 40))
    found = open_shortcut(made)
    assert "each caller alone: golden rows beside the model would" in found.way
    assert not made.joinable


_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.floats(-1e6, 1e6),
    st.sampled_from(["clerk", "cook", "nurse", "pilot", "12"]),
)  # fmt: skip
_PLAIN = st.tuples(
    st.integers(17, 90), st.sampled_from(["clerk", "cook", "nurse", "pilot"]), st.floats(0, 99)
).map(list)
_ROWS = st.one_of(
    _PLAIN,
    _PLAIN.map(lambda row: dict(zip(_NAMES, row, strict=True))),
    st.lists(_VALUES, min_size=2, max_size=4),
    st.dictionaries(st.sampled_from(_NAMES), _VALUES),
    _VALUES,
)
_BODIES = st.lists(_ROWS, max_size=3).map(lambda rows: json.dumps({"instances": rows}).encode())


@settings(max_examples=60, deadline=None)
@given(st.lists(_BODIES, min_size=1, max_size=6))
@pytest.mark.filterwarnings("ignore:Found unknown categories")
def test_everybody_gets_what_he_would_have_got_alone(
    model: SklearnModel, bodies: list[bytes]
) -> None:
    answerer = Answerer(model, max_answer_bytes=_MOST)
    for number, body in enumerate(bodies):
        answerer.add(number, body, now_s=0.0)
    answers = dict(pair for pairs in answerer.answers(now_s=0.0) for pair in pairs)
    for number, body in enumerate(bodies):
        assert answers[number] == predict(model, body, max_answer_bytes=_MOST)


def test_plain_requests_of_many_callers_are_one_call(model: SklearnModel) -> None:
    answerer = Answerer(model, max_answer_bytes=_MOST)
    rows = _table()[:20].to_dict("records")
    for number, row in enumerate(rows):
        answerer.add(number, json.dumps({"instances": [row]}).encode(), now_s=0.0)
    assert [len(pairs) for pairs in answerer.answers(now_s=0.0)] == [20]


@pytest.mark.parametrize(
    ("estimator", "part"),
    [
        (LogisticRegression(), "LogisticRegression"),  # BLAS rounds in company
        (KMeans(2), "KMeans"),
        (FunctionTransformer(lambda rows: rows - rows.mean()), "FunctionTransformer of <lambda>"),
        (FunctionTransformer(partial(np.array, dtype=object)), ""),
        (FunctionTransformer(np.log1p), ""),
        (OrdinalEncoder(), ""),
    ],
)
def test_only_parts_that_keep_rows_apart_are_known(estimator: Any, part: str) -> None:
    pipeline = make_pipeline(estimator, RandomForestClassifier())
    assert foreign_part(pipeline) == part


def test_a_class_of_somebody_else_is_not_known_by_its_name() -> None:
    class StandardScaler:
        pass

    assert foreign_part(make_pipeline(StandardScaler())) == "StandardScaler"


@pytest.mark.parametrize(
    "instances", [[[1, None]], [[2**53, "a"]], ["text"], [{"a": 1}], [[1, "a"], {"a": 1}], [[[1]]]]
)
def test_rows_that_a_table_would_take_differently_in_company_go_alone(instances: list[Any]) -> None:
    assert lane_of(instances, ["a", "b"]) is None
