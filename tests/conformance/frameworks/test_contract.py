"""Every framework keeps the obligations that `mlengine.runtime.frameworks.Model` numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mlengine.runtime.answerer import Answerer, predict
from mlengine.runtime.frameworks import Model, ask, load
from mlengine.runtime.prediction_error import ErrorClass, PredictionError
from tests.conformance.frameworks.explaining import adds_up, explain, scores_of


@pytest.fixture(scope="module")
def model(case: Any) -> Model:
    return load(case.directory, framework=case.framework)


def test_1_2_answers_are_the_frameworks_own_in_order(case: Any, model: Model, rows: Any) -> None:
    got = ask(model, rows, {})
    assert len(got) == len(rows)
    assert case.same(json.loads(json.dumps(got, allow_nan=False)))


def test_2_rows_asked_one_by_one_give_the_same(case: Any, model: Model, rows: Any) -> None:
    assert case.same([ask(model, [row], {})[0] for row in rows])


def test_no_instances_give_no_predictions(model: Model) -> None:
    assert ask(model, [], {}) == []


BAD = {
    "too few values": [[1, 2, 3]],
    "too many values": [[1, 2, 3, 4, 5]],
    "ragged rows": [[1, 2, 3, 4], [1, 2, 3]],
    "a text for a number": [[1, 2, 3, "wide"]],
    "a number written as a text": [["1", "2", "3", "4"]],
    "a scalar": [1.5],
    "a text": ["abc"],
    "null": [None],
    "an empty row": [[]],
    "a row in a row": [[[1, 2, 3, 4]]],
    "an object of unknown names": [{"petals": 3}],
    "an object within a row": [[1, 2, 3, {"x": 4}]],
    "bytes": [[1, 2, 3, {"b64": "AAAA"}]],
    "a number that no float32 holds": [[1, 2, 3, 1e308]],
    "a good row and a bad one": [[1, 2, 3, 4], "x"],
}


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("instances", BAD.values(), ids=BAD.keys())
def test_3_5_bad_instances_are_the_callers_error_and_leave_no_trace(
    case: Any, model: Model, rows: Any, instances: list[Any]
) -> None:
    try:
        got = ask(model, instances, {})
    except PredictionError as error:
        assert error.error_class is ErrorClass.INPUTS, str(error)
        assert len(error.detail) > 15
    else:
        # Some of scikit-learn computes with doubles, and some of it reads numbers out of texts.
        assert instances in (BAD["a number that no float32 holds"], [["1", "2", "3", "4"]])
        assert got == ask(model, [[float(value) for value in instances[0]]], {})
    assert case.same(ask(model, rows, {}))


def test_3_null_is_a_missing_value_or_an_error(model: Model) -> None:
    try:
        assert len(ask(model, [[1, 2, 3, None]], {})) == 1
    except PredictionError as error:
        assert error.error_class is ErrorClass.INPUTS
        assert "null" in error.detail or "NaN" in error.detail


def test_4_an_unknown_keyword_is_refused(model: Model, rows: Any) -> None:
    for key in ("colour", "self", "X", "data"):  # some name what is given by position
        with pytest.raises(PredictionError, match=key) as caught:
            ask(model, rows, {key: "red"})
        assert not caught.value.detail.startswith("TypeError")


def test_4_only_tensorflow_minds_a_signature_name(case: Any, model: Model, rows: Any) -> None:
    if (case.directory / "saved_model.pb").exists():
        with pytest.raises(PredictionError, match="No signature found for signature key nope"):
            ask(model, rows, {"signature_name": "nope"})
    else:
        assert case.same(ask(model, rows, {"signature_name": "nope"}))


def test_6_it_describes_itself(model: Model) -> None:
    about = model.describe()
    assert about["framework"] in ("SCIKIT_LEARN", "XGBOOST", "TENSORFLOW", "ONNX")
    assert about["library_version"]
    assert about["raw_text"] is False
    assert json.dumps(about)


def test_the_framework_is_found_out_when_it_is_not_named(case: Any, rows: Any) -> None:
    assert case.same(ask(load(case.directory), rows, {}))


def test_many_rows_in_one_request(model: Model, rows: Any) -> None:
    assert len(ask(model, rows * 1000, {})) == len(rows) * 1000


def test_7_who_may_share_a_call_gets_the_very_bytes_that_he_would_have_got_alone(
    model: Model, rows: Any
) -> None:
    if not getattr(model, "joinable", False):
        return
    bodies = [json.dumps({"instances": part}).encode() for part in (rows[:1], rows[1:4], rows[4:])]
    bodies += [b'{"instances": [[1, 2, 3, 4]]}', b'{"instances": [[null, 2, 3, 4]]}', b"bad"]
    answerer = Answerer(model, max_answer_bytes=1 << 20)
    for number, body in enumerate(bodies):
        answerer.add(number, body, now_s=0.0)
    calls = list(answerer.answers(now_s=0.0))
    assert len(calls) == 2  # all good ones together, and the bad one
    answers = dict(answer for call in calls for answer in call)
    for number, body in enumerate(bodies):
        assert answers[number] == predict(model, body, max_answer_bytes=1 << 20)


def test_its_scores_are_attributed(case: Any, model: Model, rows: Any) -> None:
    rows = rows[:3]
    for found, prediction in zip(explain(case.directory, rows), model.predict(rows), strict=True):
        assert adds_up(found)
        assert found["approx_error"] < 1e-5  # of four features, every coalition is asked for
        assert np.size(list(found["attributions"].values())) == 4
        if (scores := scores_of(prediction)) is not None:
            assert found["label_index"] == int(np.argmax(scores))
            assert found["example_score"] == pytest.approx(max(scores), abs=1e-5)
