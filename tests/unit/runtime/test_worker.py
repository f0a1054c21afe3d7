"""A real worker process, spoken to over its socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import joblib
import pytest

from mlengine.runtime.callframe import CALL, join_call
from mlengine.runtime.frames import HEADER_BYTES, PING, PREDICT, STATS, STAY, STAY_S, pack
from mlengine.runtime.worker import Server

ROW = [5.1, 3.5, 1.4, 0.2]

# A class that pickles by reference: the worker finds it in the model directory.
ODD_MODEL = '''
import os, select, signal, sys
from sklearn.base import BaseEstimator

class Mute(Exception):
    def __str__(self):
        raise Mute

class Odd(BaseEstimator):
    """Does to its process what the first instance says."""

    def predict(self, instances):
        wish = instances[0]
        if wish == "print":
            print("printed by the model"); os.write(1, b"written by the model\\n")
        elif wish == "exit":
            sys.exit(5)
        elif wish == "raise":
            raise KeyError("deep inside /home/ann/secret/place.py at 0x7f0011223344")
        elif wish == "mute":
            raise Mute
        elif wish == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif wish == "memory":
            raise MemoryError
        elif wish == "nan":
            return [float("nan")]
        elif wish == "long":
            return ["x" * 5000]
        elif wish == "few":
            return []
        elif wish == "odd type":
            return {"a": 1}
        elif wish == "odd value":
            return [object()]
        elif wish == "environment":
            return [sorted(os.environ)]
        elif wish == "wait":
            open(instances[1], "w").close()
            while not os.path.exists(instances[2]):
                select.select([], [], [], 0.01)
        return [0 for _ in instances]
'''


@pytest.fixture
def odd_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "oddmodel.py").write_text(ODD_MODEL)
    (folder / "model.pkl").write_bytes(
        b"\x80\x04\x8c\x08oddmodel\x8c\x03Odd\x93)\x81."  # protocol 4: oddmodel.Odd()
    )
    return folder


def test_it_answers_and_says_who_it_is(start_worker: Callable[..., Any], iris_model: Path) -> None:
    worker = start_worker(iris_model)
    about = worker.wait_ready()
    assert about["pid"] == worker.process.pid
    assert about["framework"] == "SCIKIT_LEARN"
    connection = worker.connect()
    assert connection.ask({"instances": [ROW, ROW]}) == (200, {"predictions": [0, 0]})
    assert connection.ask(b"", kind=PING) == (200, {})
    assert connection.ask(b"", kind=9)[0] == 400
    assert stat.S_IMODE(worker.socket_path.stat().st_mode) == 0o600


BAD_BODIES = {
    "no JSON": (b"nonsense", "Invalid JSON payload received."),
    "NaN": (b'{"instances": [[1, 2, 3, NaN]]}', "Invalid JSON payload received."),
    "a duplicate key": (b'{"instances": [], "instances": [1]}', '"instances" is given twice'),
    "no object": (b"[1]", "expected an object"),
    "no instances": (b"{}", 'Invalid JSON request: missing "instances" attribute'),
    "instances no list": (b'{"instances": {}}', '"instances" must be a list'),
    "a bad row": (
        b'{"instances": [[1, 2]]}',
        "Prediction failed: Invalid inputs: instance 0 has 2 values, expected 4 (Error code: 1)"),
    "an extra key": (
        b'{"instances": [[1, 2, 3, 4]], "probabilities": true}',
        "Exception during sklearn prediction: "),
    "too deep": (b"[" * 100_000, "more than 100 nested values"),
}  # fmt: skip


def test_a_bad_body_is_a_400_in_googles_envelope_and_the_next_request_is_answered(
    start_worker: Callable[..., Any], iris_model: Path
) -> None:
    worker = start_worker(iris_model)
    worker.wait_ready()
    connection = worker.connect()
    for body, text in BAD_BODIES.values():
        status, answer = connection.ask(body)
        assert status == 400
        assert answer["error"]["code"] == 400
        assert answer["error"]["status"] == "INVALID_ARGUMENT"
        assert text in answer["error"]["message"]
        assert connection.ask({"instances": [ROW]}) == (200, {"predictions": [0]})


def test_fifty_clients_at_once_get_their_own_answers(
    start_worker: Callable[..., Any], iris_model: Path
) -> None:
    from sklearn.datasets import load_iris

    features, _ = load_iris(return_X_y=True)
    expected = joblib.load(iris_model / "model.joblib").predict(features).tolist()
    worker = start_worker(iris_model)
    worker.wait_ready()
    wrong: list[Any] = []

    def client(number: int) -> None:
        connection = worker.connect()
        mine = [(number * 7 + k) % len(features) for k in range(20)]
        for index in mine:  # all in flight on one stream before the first answer is read
            body = json.dumps({"instances": [features[index].tolist()]}).encode()
            connection.send(body, request_id=index)
        for _ in mine:
            index, status, answer = connection.receive()
            if (status, answer) != (200, {"predictions": [expected[index]]}):
                wrong.append((index, status, answer))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert not any(thread.is_alive() for thread in threads)


def test_a_body_over_the_limit_is_refused_and_the_stream_goes_on(
    start_worker: Callable[..., Any], iris_model: Path
) -> None:
    worker = start_worker(iris_model, max_body_bytes=1000)
    worker.wait_ready()
    connection = worker.connect()
    status, answer = connection.ask(b" " * 500_000)
    assert status == 400
    assert answer["error"]["message"] == "Request payload size exceeds the limit: 1000 bytes."
    assert connection.ask({"instances": [ROW]}) == (200, {"predictions": [0]})


def test_a_client_that_leaves_in_the_middle_harms_nobody(
    start_worker: Callable[..., Any], iris_model: Path
) -> None:
    worker = start_worker(iris_model)
    worker.wait_ready()
    other = worker.connect()
    for cut in (1, HEADER_BYTES, HEADER_BYTES + 5):
        leaving = worker.connect()
        leaving.socket.sendall(pack(1, PREDICT, b'{"instances": []}')[:cut])
        leaving.socket.close()
        assert other.ask({"instances": [ROW]}) == (200, {"predictions": [0]})


FAILURES = {
    "raise": "Exception during sklearn prediction: ",
    "exit": "Exception during sklearn prediction: 5",
    "nan": "NaN",
    "few": "0 predictions for 1 instances",
    "odd type": "Bad output type returned.The predict function should return either a numpy",
    "odd value": "no JSON form",
    "long": "the limit is 4000. Send fewer instances.",
}


def test_no_failure_of_the_model_ends_its_worker(
    start_worker: Callable[..., Any], odd_model: Path
) -> None:
    worker = start_worker(odd_model, max_answer_bytes=4000)
    worker.wait_ready()
    connection = worker.connect()
    for wish, text in FAILURES.items():
        status, answer = connection.ask({"instances": [wish]})
        assert status == 400, wish
        assert answer["error"]["message"].startswith("Prediction failed: ")
        assert text in answer["error"]["message"]
        assert "/home/ann" not in answer["error"]["message"]
        assert "0x7f" not in answer["error"]["message"]
        assert connection.ask({"instances": ["fine"]}) == (200, {"predictions": [0]})


def test_what_nobody_thought_of_ends_no_worker(
    start_worker: Callable[..., Any], odd_model: Path
) -> None:
    """An exception whose own text raises goes through everything that writes errors down."""
    worker = start_worker(odd_model)
    worker.wait_ready()
    connection = worker.connect()
    status, answer = connection.ask({"instances": ["mute"]})
    assert (status, answer["error"]["status"]) == (500, "INTERNAL")
    assert "Mute" in answer["error"]["message"]
    words = {"dialect": "tfserving", "operation": "predict"}
    connection.send(join_call(words, b'{"instances": ["mute"]}'), kind=CALL)
    said, frame = connection.receive_call()
    assert said == 500 and b"Mute" in frame
    words = {"dialect": "openinference", "operation": "infer"}
    tensor = {"name": "x", "datatype": [], "shape": [1, 2], "data": [1, 2]}
    connection.send(join_call(words, json.dumps({"inputs": [tensor]}).encode()), kind=CALL)
    said, frame = connection.receive_call()
    assert said == 400 and b"has the datatype []" in frame
    assert connection.ask({"instances": ["fine"]}) == (200, {"predictions": [0]})
    assert "raise Mute" in (worker.folder / "log").read_text()


def test_what_the_model_prints_goes_to_the_log_and_its_environment_is_clean(
    start_worker: Callable[..., Any], odd_model: Path
) -> None:
    worker = start_worker(odd_model)
    worker.wait_ready()
    connection = worker.connect()
    assert connection.ask({"instances": ["print"]}) == (200, {"predictions": [0]})
    log = (worker.folder / "log").read_text()
    assert "printed by the model" in log
    assert "written by the model" in log
    _, answer = connection.ask({"instances": ["environment"]})
    assert "MLENGINE_TOKEN" not in answer["predictions"][0]


@pytest.mark.parametrize("wish", ["die", "memory"])
def test_a_death_in_the_middle_of_a_request_hangs_up(
    start_worker: Callable[..., Any], odd_model: Path, wish: str
) -> None:
    worker = start_worker(odd_model)
    worker.wait_ready()
    connection = worker.connect()
    with pytest.raises((ConnectionError, OSError)):
        connection.ask({"instances": [wish]})
    assert worker.process.wait(60) != 0


def test_sigterm_answers_what_is_in_flight_and_then_exits(
    start_worker: Callable[..., Any], odd_model: Path, tmp_path: Path
) -> None:
    from tests.waiting import wait_until

    worker = start_worker(odd_model)
    worker.wait_ready()
    begun, go = tmp_path / "begun", tmp_path / "go"
    busy, waiting = worker.connect(), worker.connect()
    busy.send(json.dumps({"instances": ["wait", str(begun), str(go)]}).encode(), request_id=7)
    wait_until(begun.exists, timeout_s=60)
    waiting.send(b'{"instances": ["fine"]}', request_id=8)
    os.kill(worker.process.pid, signal.SIGTERM)
    go.touch()
    assert busy.receive() == (7, 200, {"predictions": [0, 0, 0]})
    assert waiting.receive() == (8, 200, {"predictions": [0]})
    assert worker.process.wait(60) == 0
    assert not worker.socket_path.exists()


def test_requests_wait_for_company_only_where_the_version_says_so_and_none_is_left_behind(
    start_worker: Callable[..., Any], iris_model: Path
) -> None:
    worker = start_worker(iris_model, max_batch_size=3, batch_deadline_ms=3_600_000)
    worker.wait_ready()
    connection, other = worker.connect(), worker.connect()
    body = json.dumps({"instances": [ROW]}).encode()
    for request_id in (1, 2, 3):  # the third makes the company full
        connection.send(body, request_id=request_id)
    assert [connection.receive()[0] for _ in range(3)] == [1, 2, 3]
    _, told = other.ask(b"", kind=STATS)
    assert told == {"requests": 3, "calls": [0, 0, 1] + [0] * 13, "waiting": 0}
    connection.send(body, request_id=4)
    connection.send(b"", request_id=5, kind=PING)
    assert connection.receive()[0] == 5  # so the worker has read what came before it
    os.kill(worker.process.pid, signal.SIGTERM)
    assert connection.receive() == (4, 200, {"predictions": [0]})
    assert worker.process.wait(60) == 0


def test_a_word_to_stay_awake_wants_no_answer_and_keeps_nobody_from_going(
    start_worker: Callable[..., Any], iris_model: Path
) -> None:
    worker = start_worker(iris_model)
    worker.wait_ready()
    connection = worker.connect()
    for request_id in (1, 2, 3):
        connection.send(json.dumps({"instances": [ROW]}).encode(), request_id=request_id)
        connection.send(b"", request_id=0, kind=STAY)
        assert connection.receive() == (request_id, 200, {"predictions": [0]})
    connection.send(b"", request_id=0, kind=STAY)
    connection.send(b"", request_id=4, kind=PING)
    assert connection.receive()[0] == 4
    os.kill(worker.process.pid, signal.SIGTERM)
    assert worker.process.wait(60) == 0


def test_who_is_told_to_stay_awake_looks_without_sleeping_for_a_moment_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it waits for company, whose time then comes first; others may have its CPU."""
    pauses: list[float | str | None] = []
    now_s = [0.0]

    def select(pause_s: float | None) -> list[Any]:
        pauses.append(pause_s)
        now_s[0] += STAY_S / 3
        return []

    waits = SimpleNamespace(wait_s=lambda *, now_s: None, attend=lambda **_: None)
    made = Server(waits, cast("Any", []), tmp_path / "socket", max_body_bytes=9)  # type: ignore[arg-type]
    monkeypatch.setattr(made, "_selector", SimpleNamespace(select=select))
    monkeypatch.setattr("time.monotonic", lambda: now_s[0])
    monkeypatch.setattr("os.sched_yield", lambda: pauses.append("others"))
    made._ready()
    made._stays, waits.wait_s = True, lambda *, now_s: 0.5
    made._ready()
    waits.wait_s = lambda *, now_s: None
    made._ready()
    made._ready()
    assert pauses == [None, 0.5, *[0, "others"] * 3, None, None]


def test_it_knows_that_a_request_has_begun_to_arrive(tmp_path: Path) -> None:
    told: dict[str, Any] = {}
    answerer = SimpleNamespace(
        wait_s=lambda *, now_s: 0.0, attend=lambda **given: told.update(given),
        add=lambda whose, body, *, now_s: told.update(body=body),
    )  # fmt: skip
    made = Server(answerer, cast("Any", []), tmp_path / "socket", max_body_bytes=1 << 21)  # type: ignore[arg-type]
    caller = socket.socket(socket.AF_UNIX)
    caller.connect(str(tmp_path / "socket"))

    def send(data: bytes) -> bool:
        if data:
            caller.sendall(data)
        while ready := made._selector.select(0):
            for key, _ in ready:
                key.data()
        is_expecting: bool = told["is_expecting"]()
        return is_expecting

    body = b"x" * 100_000
    request = pack(1, PREDICT, body)
    assert not send(b"")
    assert send(request[:3]) and send(request[3:50_000])
    assert not send(request[50_000:])
    assert told["body"] == body
    assert send(request + request[:20])
    caller.shutdown(socket.SHUT_WR)  # who leaves is not waited for
    for key, _ in made._selector.select(1):
        key.data()
    assert not told["is_expecting"]()


def test_a_corrupt_pickle_fails_with_the_reason(
    start_worker: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "corrupt"
    folder.mkdir()
    (folder / "model.joblib").write_bytes(b"\x80\x04 not a pickle")
    failed = start_worker(folder).wait_failed()
    assert failed["error_class"] == 0
    assert failed["message"].startswith("Failed to load model: model.joblib cannot be read")
    assert "Traceback" in failed["traceback"]


def test_two_models_and_none_fail_with_the_services_words(
    start_worker: Callable[..., Any], tmp_path: Path, iris_model: Path
) -> None:
    two, none = tmp_path / "two", tmp_path / "none"
    two.mkdir()
    none.mkdir()
    for name in ("model.joblib", "model.pkl"):
        (two / name).write_bytes((iris_model / "model.joblib").read_bytes())
    workers = start_worker(two, artifact_uri="gs://b/two"), start_worker(none)
    assert (
        "Multiple model files are found in the model_path: gs://b/two"
        in workers[0].wait_failed()["message"]
    )
    assert "Could not find a model file in" in workers[1].wait_failed()["message"]
