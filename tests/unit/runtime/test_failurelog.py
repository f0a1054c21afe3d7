"""What a version's log says of predictions that failed."""

from __future__ import annotations

import errno
import io
import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import pytest

from mlengine.runtime.answerer import Answerer
from mlengine.runtime.dialects import Call, answer
from mlengine.runtime.failurelog import FailureLog
from mlengine.runtime.prediction_error import (
    PredictionError,
    input_error,
    output_error,
    run_error,
)

SPOILT = "Prediction failed: There was a problem processing the outputs: "


def test_the_first_is_told_and_then_one_a_minute_with_the_count_of_the_rest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 1000.0
    log = FailureLog(now=lambda: now)
    for _ in range(4):
        log.note(output_error("NaN"))
    assert capsys.readouterr().err == f"{SPOILT}NaN (Error code: 3)\n"
    now = 1060.0
    log.note(output_error("a dict"))
    told = f"{SPOILT}a dict (Error code: 3) (3 more since the last time that this was told)\n"
    assert capsys.readouterr().err == told
    now = 1120.0
    log.note(output_error("NaN"))
    assert capsys.readouterr().err == f"{SPOILT}NaN (Error code: 3)\n"


@pytest.mark.parametrize("error", [input_error("no number"), run_error("KeyError: 'age'")])
def test_other_errors_are_not_its_business(
    error: PredictionError, capsys: pytest.CaptureFixture[str]
) -> None:
    FailureLog().note(error)
    assert capsys.readouterr().err == ""


CLOSED = io.StringIO()
CLOSED.close()


@pytest.mark.parametrize("stderr", [None, CLOSED, object()], ids=["none", "closed", "another"])
def test_a_model_that_took_the_log_away_is_answered_for_all_the_same(
    stderr: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    FailureLog().note(output_error("NaN"))
    FailureLog().note(_raised(1, "age"))


def _raised(depth: int, said: str) -> PredictionError:
    def dig(left: int) -> None:
        if left:
            dig(left - 1)
        raise KeyError(said)

    try:
        dig(depth)
    except KeyError as cause:
        error = run_error("it failed")
        error.__cause__ = cause
        return error
    raise AssertionError


def test_a_traceback_is_told_once_a_second_for_each_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 1000.0
    log = FailureLog(now=lambda: now)
    for said in ("age", "age", "name"):
        log.note(_raised(1, said))
    told = capsys.readouterr().err
    assert told.count("Traceback") == 1 and told.endswith("KeyError: 'age'\n")
    log.note(_raised(2, "elsewhere"))
    assert capsys.readouterr().err.endswith("KeyError: 'elsewhere'\n")
    now = 1001.0
    log.note(_raised(1, "age"))
    ends = "KeyError: 'age' (2 more since the last time that this was told)\n"
    assert capsys.readouterr().err.endswith(ends)


@pytest.mark.parametrize(
    ("wrong", "is_hinted"),
    [
        (lambda: multiprocessing.get_context("fork").Lock(), True),
        (lambda: SharedMemory(create=True, size=1), True),
        (lambda: os.open("model.bin", os.O_RDONLY), False),
    ],
    ids=["a lock", "shared memory", "a file"],
)
def test_who_may_not_have_shared_memory_is_told_to_use_threads(
    wrong: Callable[[], object],
    is_hinted: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def denied(*_words: object, **_more: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    # As the kernel answers in a confined worker.
    monkeypatch.setattr("_multiprocessing.SemLock", denied)
    monkeypatch.setattr("multiprocessing.shared_memory._posixshmem.shm_open", denied)
    monkeypatch.setattr(os, "open", denied)
    error = run_error("it failed")
    with pytest.raises(PermissionError) as caught:
        wrong()
    error.__cause__ = caught.value
    FailureLog().note(error)
    told = capsys.readouterr().err
    assert "PermissionError: [Errno 13] Permission denied\n" in told
    assert told.endswith("use threads (docs/custom-prediction.md).\n") == is_hinted


def test_it_remembers_only_so_many_places(capsys: pytest.CaptureFixture[str]) -> None:
    log = FailureLog(now=lambda: 1000.0)
    for depth in range(200):
        log.note(_raised(depth, "age"))
    assert capsys.readouterr().err.count("Traceback") == 200
    assert len(log._told) <= 64


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


class _Failing:
    """Raises whatever it is asked; takes any bytes as one instance."""

    joinable = False
    raw_as_b64 = True

    def predict(self, instances: list[object], **_named: object) -> object:
        raise KeyError("age")


@pytest.mark.parametrize("dialect", ["ml_v1", "tfserving"])
@pytest.mark.parametrize(("model", "told"), [(_Failing(), "KeyError: 'age'"),
                                             (_Constant([float("nan")]), SPOILT)])  # fmt: skip
def test_other_dialects_tell_the_same_log(
    dialect: str, model: object, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    vars(model)["raw_as_b64"] = True
    call = Call(dialect=dialect, operation="predict", body=b'{"instances": [1]}')
    log = FailureLog()
    for _ in range(3):
        assert answer(model, call, max_answer_bytes=1 << 20, failures=log).status == 400  # type: ignore[arg-type]
    assert capsys.readouterr().err.count(told) == 1
