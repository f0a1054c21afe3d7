"""Long bodies, sent on as they come: right, bounded in memory, and nobody else's business."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlengine.prediction.gateway.upload import MIN_BYTES
from tests.fakes.gateway import Caller, head
from tests.fakes.served import PROJECT, Served, serve
from tests.unit.prediction.gateway.test_dialects import calculator, iris

PATH = "/v1/projects/default/models/iris:predict"
VERSION = f"projects/{PROJECT}/models/iris/versions/v1"
LIMIT = 48 << 20
ROW = [5.1, 3.5, 1.4, 0.2]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folders = {name: tmp_path_factory.mktemp(name) for name in ("iris", "calc")}
    iris(folders["iris"])
    calculator(folders["calc"])
    with serve(folders, max_body_bytes=LIMIT) as made:
        yield made


def _long(total: int = MIN_BYTES, **more: Any) -> bytes:
    """A predict body of so many bytes, most of them blanks."""
    body = json.dumps({"instances": [ROW], **more}).encode()
    return body[:-1] + b" " * (total - len(body)) + body[-1:]


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def test_a_long_body_is_answered_like_a_short_one(served: Served) -> None:
    short = served.ask("POST", PATH, {"instances": [ROW]})
    long = served.ask("POST", PATH, _long())
    assert (long.status, long.body) == (200, short.body)
    assert long.headers["x-mlengine-version"] == VERSION
    again = served.ask("POST", PATH, _long(MIN_BYTES + 1), Expect="100-continue")
    assert again.body == short.body


def test_the_connection_goes_on_after_a_long_body(served: Served) -> None:
    with Caller(served.port) as caller:
        for total in (MIN_BYTES, 100, 3 * MIN_BYTES, 100):
            body = _long(total)
            caller.send(head("POST", PATH, length=len(body)) + body)
            assert caller.answer().json == {"predictions": [0]}


def test_requests_sent_ahead_of_a_long_body_keep_their_order(served: Served) -> None:
    bodies = [_long(100), _long(MIN_BYTES), b"{", _long(MIN_BYTES), _long(100)]
    with Caller(served.port) as caller:
        caller.send(b"".join(head("POST", PATH, length=len(b)) + b for b in bodies))
        assert [caller.answer().status for _ in bodies] == [200, 200, 400, 200, 200]


def test_the_gateway_keeps_no_long_body(served: Served) -> None:
    served.ask("POST", PATH, _long())
    before = _peak_bytes(served.info.pid)
    assert served.ask("POST", PATH, _long(LIMIT)).status == 200
    assert _peak_bytes(served.info.pid) - before < LIMIT // 4


def test_other_dialects_send_long_bodies_too(served: Served) -> None:
    rows = served.ask("POST", "/v1/models/iris:predict", _long())
    assert rows.json == {"predictions": [0]}
    array = bytes(MIN_BYTES)
    shape = [MIN_BYTES // 8, 2]
    inputs = [
        {"name": name, "datatype": "FP32", "shape": shape,
         "parameters": {"binary_data_size": len(array)}}
        for name in ("a", "b")
    ]  # fmt: skip
    asked = json.dumps(
        {"inputs": inputs, "outputs": [{"name": "sum", "parameters": {"binary_data": True}}]}
    ).encode()
    answer = served.ask("POST", "/v2/models/calc/infer", asked + array + array,
                        Inference_Header_Content_Length=str(len(asked)))  # fmt: skip
    assert answer.status == 200, answer.body[:500]
    assert answer.body[int(answer.headers["inference-header-content-length"]) :] == array


def test_what_is_too_long_or_wrong_is_refused(served: Served) -> None:
    with Caller(served.port) as caller:
        caller.send(head("POST", PATH, length=LIMIT + 1))
        said = caller.answer()
    assert said.status == 400
    told = said.json["error"]["message"]
    assert f"{LIMIT} bytes. This one has {LIMIT + 1}." in told
    assert "'max_predict_bytes'" in told and "'options.maxPredictBytes'" in told
    bad = served.ask("POST", PATH, b" " * MIN_BYTES)
    assert (bad.status, bad.json["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_nobody_is_told_to_raise_the_limit_of_explanations(served: Served) -> None:
    with Caller(served.port) as caller:
        caller.send(head("POST", PATH.replace(":predict", ":explain"), length=MIN_BYTES))
        told = caller.answer().json["error"]["message"]
    assert f"{MIN_BYTES - 1} bytes. This one has {MIN_BYTES}." in told
    assert "raise" not in told and "axPredictBytes" not in told


@pytest.mark.parametrize("path", [PATH.replace("iris", "gone"), "/v1/models/gone:predict"])
def test_a_model_that_is_not_there_is_said_before_the_body(served: Served, path: str) -> None:
    with Caller(served.port) as caller:
        caller.send(head("POST", path, length=LIMIT))
        assert caller.answer().status == 404


def test_a_caller_that_stops_half_way_disturbs_nobody(served: Served) -> None:
    with Caller(served.port) as caller:
        caller.send(head("POST", PATH, length=LIMIT) + b" " * MIN_BYTES)
        # another caller's predictions do not wait for the rest of it
        assert served.ask("POST", PATH, {"instances": [ROW]}).status == 200
    assert served.ask("POST", PATH, _long()).status == 200


def test_a_worker_that_dies_half_way_is_an_error_and_no_hang(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("iris")
    iris(folder)
    with serve({"iris": folder}, max_body_bytes=LIMIT) as served:
        with Caller(served.port) as caller:
            # Sent in full but for its last byte: more than all buffers on the way hold, so the
            # worker is in the middle of it.
            caller.send(head("POST", PATH, length=LIMIT) + b" " * (LIMIT - 1))
            served.workers[0].kill()
            assert caller.answer().status == 503


def test_limits_are_told(served: Served) -> None:
    told = served.ask("GET", "/api/v1/limits")
    assert told.status == 200
    assert told.json["maxPredictBytes"] == str(LIMIT)
    assert told.json["maxPredictBytesOfAnyVersion"] == str(1 << 30)
    assert served.ask("GET", "/api/v1/limits", token="").json["error"]["code"] == 401
    assert served.ask("POST", "/api/v1/limits").json["error"]["code"] == 405


def test_a_version_has_its_own_limit(served: Served) -> None:
    own = msgspec.structs.replace(served.snapshot.versions[VERSION], max_body_bytes=1000)
    versions = {**served.snapshot.versions, VERSION: own}
    try:
        served.control.push(msgspec.structs.replace(served.snapshot, versions=versions))
        assert "1000 bytes" in served.ask("POST", PATH, _long(1001)).json["error"]["message"]
        assert served.ask("POST", PATH, _long(1000)).status == 200
        told = served.ask("GET", "/api/v1/limits").json["maxPredictBytesOfVersions"]
        assert told == {VERSION: "1000"}
    finally:
        served.control.push(served.snapshot)
