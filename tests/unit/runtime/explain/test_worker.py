"""Explanations from a real worker, beside its predictions."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import pytest

from mlengine.runtime.explain import queue
from mlengine.runtime.explain.queue import Explanations
from mlengine.runtime.frames import EXPLAIN, PREDICT, pack

ROW = [5.1, 3.5, 1.4, 0.2]
SHAPLEY = {"method": "sampled-shapley", "steps": 50, "timeout_s": 60}


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 40 features: to explain one row takes thousands of others."""
    import numpy as np
    from sklearn.linear_model import LinearRegression

    folder = tmp_path_factory.mktemp("wide")
    data = np.random.default_rng(0).normal(size=(60, 40))
    joblib.dump(LinearRegression().fit(data, data.sum(axis=1)), folder / "model.joblib")
    return folder


def test_it_explains_and_goes_on_predicting(
    start_worker: Callable[..., Any], wide_model: Path
) -> None:
    worker = start_worker(wide_model, explanation={**SHAPLEY, "steps": 100})
    worker.wait_ready()
    connection = worker.connect()
    body = json.dumps({"instances": [[1.0] * 40]}).encode()
    plain = connection.ask(body)
    # All of one read: predictions that came after an explanation are answered before it.
    connection.socket.sendall(
        pack(1, EXPLAIN, body) + pack(2, EXPLAIN, b"{}") + pack(3, PREDICT, body)
        + pack(4, PREDICT, body)
    )  # fmt: skip
    answers = [connection.receive() for _ in range(4)]
    assert [number for number, _status, _answer in answers] == [3, 4, 1, 2]
    assert answers[0][1:] == answers[1][1:] == plain
    assert answers[2][1] == 200
    ((found,),) = (one["attributions_by_label"] for one in answers[2][2]["explanations"])
    assert sum(found["attributions"]["input"]) == pytest.approx(
        found["example_score"] - found["baseline_score"]
    )
    assert [found["example_score"]] == pytest.approx(plain[1]["predictions"])
    assert answers[3][1] == 400 and "instances" in answers[3][2]["error"]["message"]
    # It is told to end with an explanation at hand: that is still answered.
    connection.send(body, kind=EXPLAIN)
    assert connection.ask(body, request_id=2)[0] == 200  # so the explanation has been read too
    worker.process.send_signal(signal.SIGTERM)
    assert connection.receive()[1] == 200 and worker.process.wait(60) == 0


@pytest.mark.parametrize(("request_", "problem"), [
    ({"instances": [ROW], "probabilities": True}, 'unknown key "probabilities"'),
    ({"instances": [ROW], "signature_name": "x"}, 'leave out "signature_name"'),
    ({"instances": [[1, 2]]}, "Explanation failed: Invalid inputs: instance 0 has 2 values"),
    ({"instances": [["x", 1, 2, 3]]}, "expected a number"),
    ({"instances": [ROW] * 20 + [[1, 2]]}, "instance 20 has 2 values, expected 4"),
])  # fmt: skip
def test_what_cannot_be_explained_is_said(iris_explained: Any, request_: Any, problem: str) -> None:
    status, answer = iris_explained.connect().ask(request_, kind=EXPLAIN)
    assert status == 400 and problem in answer["error"]["message"]


def test_no_instances_have_no_explanations(iris_explained: Any) -> None:
    connection = iris_explained.connect()
    assert connection.ask({"instances": []}, kind=EXPLAIN) == (200, {"explanations": []})
    status, answer = connection.ask({"instances": [ROW, ROW]}, kind=EXPLAIN)
    assert status == 200 and len(answer["explanations"]) == 2


def test_a_version_without_a_method_says_how_to_get_one(
    start_worker: Callable[..., Any], iris_model: Path
) -> None:
    worker = start_worker(iris_model)
    worker.wait_ready()
    status, answer = worker.connect().ask({"instances": [ROW]}, kind=EXPLAIN)
    assert status == 400 and "--explanation-method" in answer["error"]["message"]


def test_a_method_that_does_not_fit_the_model_fails_the_version(
    start_worker: Callable[..., Any], iris_model: Path
) -> None:
    worker = start_worker(iris_model, explanation={**SHAPLEY, "method": "integrated-gradients"})
    failed = worker.wait_failed()
    assert failed["error_class"] == 0 and "sampledShapleyAttribution" in failed["message"]


def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    begun = []
    waiting = Explanations(lambda *a: begun.append(a) or iter(()), max_answer_bytes=99, timeout_s=5)  # type: ignore[func-returns-value,arg-type,return-value]
    waiting.add("ann", b'{"instances": [1]}', now_s=0.0)
    ((whose, answer),) = waiting.step(now_s=5.0)
    assert whose == "ann" and answer.status == 504 and not begun and not waiting
    assert json.loads(answer.body)["error"]["status"] == "DEADLINE_EXCEEDED"  # as Google's is
    assert waiting.step(now_s=5.0) == []


def test_what_waits_is_bounded_but_for_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_MAX_WAITING_BYTES", 20)
    waiting = Explanations(None, max_answer_bytes=99)
    assert waiting.add("ann", b"x" * 30, now_s=0.0) is None
    refused = waiting.add("ben", b"x", now_s=0.0)
    assert refused is not None and refused.status == 429 and b"Try again" in refused.body
    ((whose, _answer),) = waiting.step(now_s=1.0)
    assert whose == "ann"
    assert [waiting.add(n, b"x" * 10, now_s=1.0) is None for n in range(3)] == [True, True, False]
    assert len(waiting) == 2


@pytest.fixture(scope="module")
def iris_explained(iris_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from tests.unit.runtime.conftest import WorkerProcess

    worker = WorkerProcess(tmp_path_factory.mktemp("w"), iris_model, explanation=SHAPLEY)
    try:
        worker.wait_ready()
        yield worker
    finally:
        worker.kill()


def test_what_nobody_thought_of_is_one_callers_error() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise Mute

    def broken(*_: Any) -> Any:
        raise Mute

    waiting = Explanations(broken, max_answer_bytes=1000)
    for whose in ("first", "second"):
        assert waiting.add(whose, b'{"instances": [1]}', now_s=0.0) is None
    for whose in ("first", "second"):
        ((told, answer),) = waiting.step(now_s=1.0)
        assert (told, answer.status) == (whose, 500)
    assert not waiting


@pytest.mark.parametrize("raised", [KeyError("deep inside"), SystemExit("I would rather not")])
def test_a_model_that_always_fails_tells_why_once_a_second(
    raised: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: Any) -> Any:
        yield from ()
        raise type(raised)(*raised.args)  # anew: one that is raised again has a longer traceback

    waiting = Explanations(fails, max_answer_bytes=1000)
    for number in range(50):
        waiting.add(number, b'{"instances": [1]}', now_s=0.0)
        [(_, answer)] = waiting.step(now_s=0.0)
        assert b"Explanation failed" in answer.body
    told = capsys.readouterr().err
    assert 1 <= told.count("Traceback") <= 2
    assert str(raised) in told
