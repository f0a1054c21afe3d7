"""What a version's log says of answers that its model spoiled."""

from __future__ import annotations

import sys

import pytest

from mlengine.runtime.answerer import Answerer
from mlengine.runtime.prediction_error import (
    PredictionError,
    input_error,
    output_error,
    run_error,
)
from mlengine.runtime.spoilt import SpoiltAnswers

SPOILT = "Prediction failed: There was a problem processing the outputs: "


def test_the_first_is_told_and_then_one_a_minute_with_the_count_of_the_rest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 1000.0
    spoilt = SpoiltAnswers(now=lambda: now)
    for _ in range(4):
        spoilt.note(output_error("NaN"))
    assert capsys.readouterr().err == f"{SPOILT}NaN (Error code: 3)\n"
    now = 1060.0
    spoilt.note(output_error("a dict"))
    told = f"{SPOILT}a dict (Error code: 3) (3 more since the last such line)\n"
    assert capsys.readouterr().err == told
    now = 1120.0
    spoilt.note(output_error("NaN"))
    assert capsys.readouterr().err == f"{SPOILT}NaN (Error code: 3)\n"


@pytest.mark.parametrize("error", [input_error("no number"), run_error("KeyError: 'age'")])
def test_other_errors_are_not_its_business(
    error: PredictionError, capsys: pytest.CaptureFixture[str]
) -> None:
    SpoiltAnswers().note(error)
    assert capsys.readouterr().err == ""


def test_a_model_that_closed_the_log_is_answered_for_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open("/dev/null", "w", encoding="ascii") as closed:
        pass
    monkeypatch.setattr(sys, "stderr", closed)
    SpoiltAnswers().note(output_error("NaN"))


class _Constant:
    """Returns one thing whatever it is asked."""

    joinable = False

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def predict(self, instances: list[object], **_named: object) -> object:
        return self.answer


@pytest.mark.parametrize("joinable", [False, True])
def test_the_answerer_tells_of_them_and_callers_get_what_they_got(
    joinable: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    model = _Constant([float("nan")])
    model.joinable = joinable
    answerer = Answerer(model, max_answer_bytes=1 << 20)  # type: ignore[arg-type]
    for who in range(3):
        answerer.add(who, b'{"instances": [1]}', now_s=0.0)
    found = [pair for lot in answerer.answers(now_s=0.0) for pair in lot]
    assert [answer.status for _who, answer in found] == [400, 400, 400]
    assert len({answer.body for _who, answer in found}) == 1
    said = capsys.readouterr().err
    assert said.count(SPOILT) == 1 and said.count("\n") == 1, said
    answerer.add(4, b'{"instances": 1}', now_s=0.0)
    assert [lot[0][1].status for lot in answerer.answers(now_s=0.0)] == [400]
    assert capsys.readouterr().err == ""
