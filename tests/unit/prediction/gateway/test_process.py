"""What callers see of the front door when all is well; attacks and faults are elsewhere."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from mlengine.core.errors import FailedPrecondition, Unavailable
from mlengine.prediction.control import GatewayControl
from mlengine.prediction.gateway.info import CONTROL_SOCKET
from mlengine.prediction.sockets import socket_dir
from tests.fakes.gateway import MODEL, PREDICT, TOKEN, VERSION, Door, head, open_door

BODY = b'{"instances": [1, 2]}'


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with open_door() as opened:
        yield opened


@pytest.mark.parametrize("path", [
    PREDICT, f"/v1/{VERSION}:predict", PREDICT.replace(":", "%3A"), PREDICT + "?alt=json",
])  # fmt: skip
def test_a_prediction_names_the_version_that_answered(door: Door, path: str) -> None:
    answer = door.ask("POST", path, BODY)
    assert (answer.status, answer.json) == (200, {"predictions": [1, 2]})
    assert answer.headers["x-mlengine-version"] == VERSION
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"
    assert "date" in answer.headers


@pytest.mark.parametrize(("path", "status", "name"), [
    ("/v1/projects/p/models/none:predict", 404, "NOT_FOUND"),
    (f"/v1/{MODEL}/versions/none:predict", 404, "NOT_FOUND"),
    (f"/v1/{MODEL}/versions/young:predict", 400, "FAILED_PRECONDITION"),
    ("/v1/projects/p/models/empty:predict", 400, "FAILED_PRECONDITION"),
])  # fmt: skip
def test_what_is_not_served_is_an_envelope(door: Door, path: str, status: int, name: str) -> None:
    with door.connect() as caller:
        for _ in range(2):  # the connection is still good
            caller.send(head("POST", path, length=len(BODY)) + BODY)
            answer = caller.answer()
            assert (answer.status, answer.json["error"]["status"]) == (status, name)


def test_requests_sent_ahead_are_answered_in_order(door: Door) -> None:
    sent = b""
    for i in range(200):
        if i % 5 == 4:
            sent += head("GET", f"/v1/jobs/{i}")
        elif i % 7 == 6:
            sent += head("GET", "/healthz", token="")
        else:
            body = json.dumps({"instances": [i]}).encode()
            sent += head("POST", PREDICT, length=len(body)) + body
    with door.connect() as caller:
        caller.send(sent)
        for i in range(200):
            body = caller.answer().body
            if i % 5 == 4:
                assert body == b"/v1/jobs/%d 0" % i
            elif i % 7 == 6:
                assert body == b'{"status":"ok"}\n'
            else:
                assert json.loads(body) == {"predictions": [i]}


def test_a_body_may_come_byte_by_byte_or_in_chunks(door: Door) -> None:
    whole = head("POST", PREDICT, length=len(BODY)) + BODY
    chunks = b"".join(b"%x\r\n%b\r\n" % (1, BODY[i : i + 1]) for i in range(len(BODY)))
    chunked = head("POST", PREDICT, Transfer_Encoding="chunked") + chunks + b"0\r\n\r\n"
    with door.connect() as caller:
        for data in (whole, chunked):
            for at in range(len(data)):
                caller.send(data[at : at + 1])
            assert caller.answer().json == {"predictions": [1, 2]}


def test_expect_continue_is_answered(door: Door) -> None:
    for path in (PREDICT, "/v1/upload"):
        with door.connect() as caller:
            caller.send(head("POST", path, length=len(BODY), Expect="100-continue"))
            assert caller.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            caller.send(BODY)
            assert caller.answer().status == 200


def test_http_1_0_is_answered_and_closed(door: Door) -> None:
    with door.connect() as caller:
        caller.send(head("GET", "/v1/x").replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert caller.answer().body == b"/v1/x 0"
        assert caller.is_closed()


def test_close_is_honoured(door: Door) -> None:
    with door.connect() as caller:
        caller.send(head("POST", PREDICT, length=len(BODY), Connection="close") + BODY)
        assert caller.answer().headers["connection"] == "close"
        assert caller.is_closed()


def test_a_caller_that_has_said_all_still_gets_its_answer(door: Door) -> None:
    import socket

    with door.connect() as caller:
        caller.send(head("POST", PREDICT, length=len(BODY)) + BODY)
        caller.socket.shutdown(socket.SHUT_WR)
        assert caller.answer().status == 200
        assert caller.is_closed()


def test_the_health_check_needs_no_token(door: Door) -> None:
    with door.connect() as caller:
        caller.send(head("GET", "/healthz", token="") + head("HEAD", "/healthz", token=""))
        assert caller.answer().json == {"status": "ok"}
        assert caller.answer(of="HEAD").status == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "POST", "HEAD"])
def test_everything_else_is_relayed_as_it_is(door: Door, method: str) -> None:
    path = "/api/v1/a%20b;c?x=1&y=%2f"
    with door.connect() as caller:
        for _ in range(2):
            caller.send(head(method, path, length=3, X_Own="kept") + b"abc")
            answer = caller.answer(of=method)
            assert (answer.status, answer.headers["x-engine"]) == (200, "yes")
            if method != "HEAD":
                assert answer.body == path.encode() + b" 3"
    seen = door.backends.engine.seen[-1]
    assert seen.startswith(f"{method} {path} HTTP/1.1\r\n".encode())
    assert b"x-own: kept" in seen and f"Bearer {TOKEN}".encode() in seen


def test_a_predict_path_with_another_method_is_the_engines(door: Door) -> None:
    assert door.ask("GET", PREDICT).body == PREDICT.encode() + b" 0"


def test_a_large_answer_comes_whole_to_a_slow_caller(door: Door) -> None:
    with door.connect() as caller:
        caller.send(head("GET", "/big"))
        assert len(caller.answer().body) == 8 << 20


def test_an_answer_that_ends_with_its_connection_is_framed(door: Door) -> None:
    answer = door.ask("GET", "/close")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.body == b"until the end"


def test_counts_and_last_use_are_told_to_the_engine(door: Door) -> None:
    before = door.control.stats().get(VERSION, {"requests": 0})["requests"]
    door.ask("POST", PREDICT, BODY)
    after = door.control.stats()[VERSION]
    assert after["requests"] == before + 1
    assert after["last_use_time"] > 1.6e9


def test_a_new_snapshot_counts_at_once(door: Door) -> None:
    import msgspec

    changed = msgspec.structs.replace(door.snapshot, generation=2, models={}, versions={})
    assert door.control.push(changed) == 2
    assert door.ask("POST", PREDICT, BODY).status == 404
    assert door.control.push(door.snapshot) == 1
    assert door.ask("POST", PREDICT, BODY).status == 200


@pytest.mark.parametrize("line", [b"{}", b"[]", b"nonsense", b'{"routing": 5}'])
def test_an_unknown_command_is_refused_and_harmless(door: Door, line: bytes) -> None:
    with pytest.raises(FailedPrecondition, match="refused"):
        door.control._call(line)
    assert door.ask("POST", PREDICT, BODY).status == 200


def test_without_a_gateway_the_engine_is_told_so(tmp_path: object) -> None:
    from pathlib import Path

    control = GatewayControl(Path(str(tmp_path)))
    with pytest.raises(Unavailable):
        control.stats()
    control.shutdown()  # nothing to stop


def test_metrics_tell_of_the_gateway_and_its_workers(door: Door) -> None:
    door.ask("POST", PREDICT, BODY)
    door.ask("POST", "/v1/projects/p/models/none:predict", BODY)
    refused = door.ask("GET", "/metrics", token="")
    assert refused.status == 401
    answer = door.ask("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    values = dict(
        line.rsplit(" ", 1) for line in answer.body.decode().splitlines() if line[:1] != "#"
    )
    of = f'version="{VERSION}"'
    count = float(values[f"mlengine_prediction_seconds_count{{{of}}}"])
    assert count >= 1
    assert float(values[f'mlengine_predictions_total{{{of},code="200"}}']) == count
    assert float(values[f'mlengine_prediction_seconds_bucket{{{of},le="+Inf"}}']) == count
    assert float(values['mlengine_gateway_refused_total{code="404"}']) >= 1
    assert float(values['mlengine_gateway_refused_total{code="401"}']) >= 1
    assert float(values["mlengine_gateway_connections"]) >= 1
    assert values[f'mlengine_worker_batch_requests_sum{{{of},worker="0"}}'] == "5"
    assert values[f'mlengine_worker_batch_requests_bucket{{{of},worker="0",le="2"}}'] == "3"


def test_metrics_come_without_a_worker_that_is_busy(door: Door) -> None:
    door.ask("POST", PREDICT, BODY)
    door.backends.keep_stats(back=True)
    try:
        answer = door.ask("GET", "/metrics")
    finally:
        door.backends.keep_stats(back=False)
    assert answer.status == 200
    assert b"mlengine_gateway_connections" in answer.body
    assert b"mlengine_worker_batch_requests_sum" not in answer.body


def test_an_engine_that_listens_to_the_end_is_no_error() -> None:
    with open_door() as door, socket.socket(socket.AF_UNIX) as engine:
        engine.settimeout(60)
        engine.connect(str(socket_dir(door.run_dir) / CONTROL_SOCKET))
        engine.sendall(b'{"subscribe":true}\n')
        engine.recv(1)
        door.control.shutdown()
        assert "Traceback" not in (door.run_dir / "gateway.log").read_text()
