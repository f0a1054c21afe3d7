"""Keys, quotas and request logs at a real gateway process, with what may go wrong beside them."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlengine.core.access import token_digest
from mlengine.prediction.control import ensure_gateway, gateway_process
from mlengine.prediction.gateway.upload import MIN_BYTES
from mlengine.prediction.requestlog.parts import part_files, whole_lines
from mlengine.prediction.routing import Grant, Logging, Traffic
from tests.fakes.gateway import MODEL, PREDICT, TOKEN, VERSION, Answer, Door, head, open_door
from tests.waiting import wait_until, within_a_day

BODY = b'{"instances": [1, 2]}'
ID = "x-mlengine-prediction-id"
KEYS = {
    "mine": Grant(key="mine", projects=["p"]),
    "tight": Grant(key="tight", models=[MODEL], requests_per_second=0.001, burst=3),
    "daily": Grant(key="daily", models=[MODEL], daily_quota=4),
    "other": Grant(key="other", projects=["q"]),
    "scraper": Grant(key="scraper", metrics=True),
    "late": Grant(key="late", projects=["p"], expires=1.0),
}


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with open_door() as opened:
        logging = Logging(
            tables=str(opened.run_dir / "tables"), access=str(opened.run_dir / "access")
        )
        opened.snapshot = msgspec.structs.replace(
            opened.snapshot, project="p", logging=logging,
            grants={token_digest(text): grant for text, grant in KEYS.items()},
        )  # fmt: skip
        opened.control.push(opened.snapshot)
        yield opened


def log_all(door: Door, table: str, *, share: float = 1.0, **changes: Any) -> Path:
    """Keep the predictions of the version in a table; return the folder of its days."""
    version = msgspec.structs.replace(
        door.snapshot.versions[VERSION], log_table=f"p.d.{table}", log_share=share
    )
    versions = {**door.snapshot.versions, VERSION: version}
    door.control.push(msgspec.structs.replace(door.snapshot, versions=versions, **changes))
    return door.run_dir / "tables" / "p" / "d" / table


def rows(folder: Path) -> list[dict[str, Any]]:
    found = sorted(path for path in folder.glob("*") if path.is_dir())
    parts = [part for day in found or [folder] for part in part_files(day)]
    return [json.loads(line) for part in parts for line in whole_lines(part)]


def kill(door: Door) -> None:
    door.kill()
    wait_until(lambda: gateway_process(door.run_dir) is None, timeout_s=30)


def revive(door: Door) -> None:
    kill(door)
    door.info = ensure_gateway(door.run_dir)


def metric(door: Door, name: str) -> float:
    text = door.ask("GET", "/metrics").body.decode()
    values = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(name)]
    return float(values[0]) if values else 0.0


# --- keys ---


def test_a_key_opens_what_it_is_for_and_nothing_else(door: Door) -> None:
    def status(key: str, method: str, path: str, body: bytes = b"") -> int:
        return door.ask(method, path, body, token=key).status

    assert status("mine", "POST", PREDICT, BODY) == 200
    assert status("mine", "POST", f"/v1/{VERSION}:predict", BODY) == 200
    assert status("late", "POST", PREDICT, BODY) == 401
    assert status("nobody", "POST", PREDICT, BODY) == 401
    for key in ("other", "scraper"):
        assert status(key, "POST", PREDICT, BODY) == 403
        assert status(key, "POST", "/v1/models/census:predict", BODY) == 403
        assert status(key, "GET", "/v1/models/census") == 403
        assert status(key, "GET", "/v1/models/census/metadata") == 403
        assert status(key, "GET", "/v2/models/census/ready") == 403
        assert status(key, "POST", "/v2/models/census/infer", BODY) == 403
        assert status(key, "POST", PREDICT, b"x" * (MIN_BYTES + 1)) == 403
    assert status("mine", "GET", "/v2/models/census/ready") == 200
    # What is no prediction is the engine's to decide.
    assert status("other", "GET", "/v1/projects/p/jobs") == 200
    assert status("mine", "GET", "/metrics") == 403
    assert status("scraper", "GET", "/metrics") == 200


@pytest.mark.parametrize("path", [
    "/v1/projects/p/models/{}:predict", "/v1/projects/p/models/{}/versions/v1:predict",
    "/v1/models/{}:predict", "/v1/models/{}/versions/9:predict", "/v2/models/{}/infer",
])  # fmt: skip
@pytest.mark.parametrize("body", [BODY, b"[" * 1000, b"x" * 1_600_000])
def test_a_foreign_key_cannot_tell_whether_a_model_exists(
    door: Door, path: str, body: bytes
) -> None:
    def ask(model: str) -> tuple[int, bytes, set[str]]:
        answer = door.ask("POST", path.format(model), body, token="other")
        return answer.status, answer.body.replace(model.encode(), b"M"), set(answer.headers)

    assert ask("census") == ask("nothing")
    assert ask("census")[0] == 403


def test_a_key_is_told_the_limits_of_what_it_covers_only(door: Door) -> None:
    long = msgspec.structs.replace(door.snapshot.versions[VERSION], max_body_bytes=5_000_000)
    door.control.push(
        msgspec.structs.replace(door.snapshot, versions={**door.snapshot.versions, VERSION: long})
    )
    shown = {
        key: door.ask("GET", "/api/v1/limits", token=key).json["maxPredictBytesOfVersions"]
        for key in ("mine", "other")
    }
    assert shown == {"mine": {VERSION: "5000000"}, "other": {}}
    door.control.push(door.snapshot)


def test_refusals_keep_their_place_and_their_connection(door: Door) -> None:
    """403 and 429 among other requests that were sent ahead; the 401 that follows ends it."""
    order = ["tight", "mine", "other", "tight", "tight", "mine", "tight", "other", "tight"]
    wanted = [200, 200, 403, 200, 200, 200, 429, 403, 429]
    with door.connect() as caller:
        for way in ("pipelined", "one by one"):
            sent = [head("POST", PREDICT, length=len(BODY), token=key) + BODY for key in order]
            if way == "pipelined":
                caller.send(b"".join(sent))
                answers = [caller.answer() for _ in order]
                assert [answer.status for answer in answers] == wanted
                continue
            for key, one in zip(order, sent, strict=True):
                caller.send(one)
                assert caller.answer().status == {"tight": 429, "mine": 200, "other": 403}[key]
        refused = answers[6]
        assert refused.json["error"]["status"] == "RESOURCE_EXHAUSTED"
        subject = refused.json["error"]["details"][0]["violations"][0]["subject"]
        assert subject == "key:tight"
        assert int(refused.headers["retry-after"]) > 300
        assert refused.headers["x-ratelimit-limit"] == "3"
        assert refused.headers["x-ratelimit-remaining"] == "0"
        assert answers[0].headers["x-ratelimit-remaining"] == "2"
        assert "x-ratelimit-limit" not in answers[1].headers
        caller.send(head("POST", PREDICT, length=len(BODY), token="late") + BODY + b"GET /healthz")
        assert caller.answer().status == 401
        assert caller.is_closed()
    assert metric(door, 'mlengine_quota_refused_total{key="tight"}') == 7


def test_a_key_that_is_revoked_while_a_body_comes_opens_nothing(door: Door) -> None:
    limits = msgspec.structs.replace(door.snapshot.limits, max_body_bytes=8 << 20)
    before = msgspec.structs.replace(door.snapshot, limits=limits)
    no_more = msgspec.structs.replace(before, grants={token_digest("other"): KEYS["other"]})
    long = b" " * MIN_BYTES
    for body, waits in (
        (BODY, lambda: b"100 Continue" in caller.socket.recv(100)),
        (long, lambda: door.backends.half_bytes() >= MIN_BYTES - 1),
    ):
        door.control.push(before)
        with door.connect() as caller:
            expect = {"Expect": "100-continue"} if body is BODY else {}
            sent = head("POST", PREDICT, length=len(body), token="mine", **expect) + body[:-1]
            caller.send(sent)
            wait_until(waits)
            door.control.push(no_more)
            caller.send(body[-1:])
            assert caller.answer().status == 401
            assert caller.is_closed()
    door.control.push(door.snapshot)


def test_a_long_body_that_a_worker_has_is_not_judged_by_another_default(door: Door) -> None:
    v1 = msgspec.structs.replace(door.snapshot.versions[VERSION], max_body_bytes=8 << 20)
    v2 = msgspec.structs.replace(v1, max_body_bytes=0)
    other = f"{MODEL}/versions/v2"
    before = msgspec.structs.replace(door.snapshot, versions={VERSION: v1, other: v2})
    door.control.push(before)
    with door.connect() as caller:
        caller.send(head("POST", PREDICT, length=MIN_BYTES, token="mine") + b" " * (MIN_BYTES - 1))
        wait_until(lambda: door.backends.half_bytes() >= MIN_BYTES - 1)
        door.control.push(msgspec.structs.replace(before, models={MODEL: other}))
        caller.send(b" ")
        answer = caller.answer()
    assert (answer.status, answer.headers["x-mlengine-version"]) == (200, VERSION)
    assert door.ask("POST", PREDICT, b" " * MIN_BYTES, token="mine").status == 400
    door.control.push(door.snapshot)


@pytest.mark.parametrize("path", [PREDICT, "/v1/models/census:predict"])
@pytest.mark.parametrize("kind", ["application/vnd.bentoml+pickle", "application/x-Pickle; a=b"])
def test_a_pickle_is_refused_by_its_type(door: Door, path: str, kind: str) -> None:
    answer = door.ask("POST", path, BODY, Content_Type=kind)
    assert answer.status == 415
    assert b"pickle" in answer.body


@within_a_day
def test_the_days_quota_outlives_a_killed_gateway() -> None:
    with open_door() as door:
        grants = {token_digest("daily"): KEYS["daily"]}
        snapshot = msgspec.structs.replace(door.snapshot, grants=grants)
        door.control.push(snapshot)
        for _ in range(3):
            assert door.ask("POST", PREDICT, BODY, token="daily").status == 200
        wait_until(lambda: _used(door) == 3, timeout_s=30)
        revive(door)
        door.control.push(snapshot)
        last = door.ask("POST", PREDICT, BODY, token="daily")
        assert (last.status, last.headers["x-ratelimit-remaining"]) == (200, "0")
        assert door.ask("POST", PREDICT, BODY, token="daily").status == 429
        (door.run_dir / "quota.json").write_text("[1")
        revive(door)
        door.control.push(snapshot)
        assert door.ask("POST", PREDICT, BODY, token="daily").status == 200, "unreadable: anew"


def _used(door: Door) -> int:
    try:
        return int(json.loads((door.run_dir / "quota.json").read_bytes())["used"]["daily"])
    except (OSError, KeyError):
        return 0


# --- request logs ---


def test_a_row_holds_what_was_asked_and_answered_under_the_id_that_was_told(door: Door) -> None:
    table = log_all(door, "whole")
    asked = {}
    with door.connect() as caller:
        for number in range(150):
            body = json.dumps({"instances": [number, 'a "word" \n \u00e9']}).encode()
            caller.send(head("POST", PREDICT, length=len(body), token="mine") + body)
            asked[caller.answer().headers[ID]] = body
    wait_until(lambda: len(rows(table)) == 150, timeout_s=30)
    found = {row["prediction_id"]: row for row in rows(table)}
    assert set(found) == set(asked)
    for name, row in found.items():
        assert row["raw_data"].encode() == asked[name]
        given = json.loads(row["raw_prediction"])["predictions"]
        assert given == json.loads(asked[name])["instances"]
        assert (row["model"], row["model_version"], row["groundtruth"]) == ("census", "v1", None)
        assert row["time"].endswith("Z")
    days = [path.name for path in table.iterdir()]
    assert len(days) in (1, 2) and all(len(day) == 10 for day in days)
    for part in table.glob("*/*"):
        assert part.stat().st_mode & 0o777 == 0o600
        assert part.parent.stat().st_mode & 0o777 == 0o700


def test_an_error_of_the_model_is_a_row_without_a_prediction_and_bytes_are_base64(
    door: Door,
) -> None:
    table = log_all(door, "odd")
    refused = door.ask("POST", PREDICT, b"unfit")
    answer = door.ask("POST", PREDICT, b"\xff\xfe")
    assert (refused.status, answer.status) == (400, 200)
    wait_until(lambda: len(rows(table)) == 2, timeout_s=30)
    error, row = rows(table)
    assert (error["raw_data"], error["raw_prediction"]) == ("unfit", None)
    assert json.loads(row["raw_data"]) == {"b64": "//4="}
    assert json.loads(row["raw_prediction"]) == {"predictions": 2}


def test_a_worker_that_dies_or_says_nothing_leaves_a_row_without_a_prediction(door: Door) -> None:
    table = log_all(door, "failed")
    died = door.ask("POST", PREDICT, b"die")
    # The scripted worker knows no other dialect: what it answers is no answer.
    odd = door.ask("POST", "/v1/models/census:predict", BODY)
    limits = msgspec.structs.replace(door.snapshot.limits, predict_timeout_s=0.5)
    log_all(door, "failed", limits=limits)
    late = door.ask("POST", PREDICT, b"slow")
    assert [died.status, odd.status, late.status] == [503, 500, 504]
    wait_until(lambda: len(rows(table)) == 3, timeout_s=30)
    told = [answer.headers[ID] for answer in (died, odd, late)]
    assert [(row["prediction_id"], row["raw_data"].encode()) for row in rows(table)] == [
        *zip(told, [b"die", BODY, b"slow"], strict=True)
    ]
    assert {row["raw_prediction"] for row in rows(table)} == {None}


def test_what_is_not_drawn_has_no_id_and_no_row(door: Door) -> None:
    table = log_all(door, "some", share=0.5)
    ids = []
    with door.connect() as caller:
        for _ in range(200):
            caller.send(head("POST", PREDICT, length=len(BODY)) + BODY)
            ids.append(caller.answer().headers.get(ID, ""))
    told = {name for name in ids if name}
    assert 50 < len(told) < 150
    wait_until(lambda: len(rows(table)) == len(told), timeout_s=30)
    assert {row["prediction_id"] for row in rows(table)} == told


def test_a_split_and_a_log_share_one_id(door: Door) -> None:
    table = log_all(door, "split", traffic={MODEL: Traffic(weights={VERSION: 1}, period=7)})
    name = door.ask("POST", PREDICT, BODY).headers[ID]
    assert name.startswith("7-v1--")
    wait_until(lambda: len(rows(table)) == 1, timeout_s=30)
    assert rows(table)[0]["prediction_id"] == name


def test_a_body_that_goes_past_us_is_counted_and_no_row(door: Door) -> None:
    before = door.control.stats()[VERSION].get("log_dropped", 0)
    limits = msgspec.structs.replace(door.snapshot.limits, max_body_bytes=8 << 20)
    table = log_all(door, "long", limits=limits)
    assert door.ask("POST", PREDICT, b"x" * (MIN_BYTES + 1)).status == 200
    assert door.control.stats()[VERSION]["log_dropped"] == before + 1
    assert not table.exists()


def test_an_access_log_has_a_line_for_every_prediction(door: Door) -> None:
    door.control.push(msgspec.structs.replace(door.snapshot, access_logs=[MODEL]))
    for key in ("mine", TOKEN):
        door.ask("POST", PREDICT, BODY, token=key)
    folder = door.run_dir / "access" / "p" / "census"
    wait_until(lambda: len(rows(folder)) == 2, timeout_s=30)
    first, second = rows(folder)
    assert (first["version"], first["status"], first["key"]) == ("v1", 200, "mine")
    assert "key" not in second
    assert first["request_bytes"] == len(BODY)
    assert first["answer_bytes"] > 0
    assert first["latency_ms"] >= 0
    door.control.push(door.snapshot)


def test_a_long_body_without_an_answer_has_its_line_and_is_no_refusal(door: Door) -> None:
    limits = msgspec.structs.replace(door.snapshot.limits, max_body_bytes=8 << 20)
    log_all(door, "lost", access_logs=[MODEL], limits=limits)
    dropped = door.control.stats()[VERSION].get("log_dropped", 0)
    assert door.ask("POST", PREDICT, BODY).status == 200
    folder = door.run_dir / "access" / "p" / "census"
    wait_until(lambda: len(rows(folder)) > 0, timeout_s=30)
    refused = metric(door, "mlengine_gateway_refused_total")
    with door.connect() as caller:
        caller.send(head("POST", PREDICT, length=MIN_BYTES) + b" " * (MIN_BYTES - 1))
        wait_until(lambda: door.backends.half_bytes() >= MIN_BYTES - 1)
        door.backends.stop("worker")
        assert caller.answer().status == 503
    wait_until(lambda: rows(folder)[-1]["status"] == 503, timeout_s=30)
    last = rows(folder)[-1]
    assert (last["request_bytes"], last["answer_bytes"]) == (MIN_BYTES, 0)
    assert metric(door, "mlengine_gateway_refused_total") == refused
    assert door.control.stats()[VERSION]["log_dropped"] == dropped + 1
    door.backends.start_worker()
    door.control.push(door.snapshot)


@within_a_day
def test_a_killed_gateway_leaves_whole_lines_and_the_next_one_closes_its_parts() -> None:
    with open_door() as door:
        places = Logging(tables=str(door.run_dir / "tables"))
        table = log_all(door, "killed", logging=places)
        told = [door.ask("POST", PREDICT, BODY).headers[ID] for _ in range(20)]
        wait_until(lambda: len(rows(table)) == 20, timeout_s=30)
        (part,) = table.glob("*/*.open")
        kill(door)
        with open(part, "ab") as out:
            out.write(b'{"prediction_id": "half')  # as a machine that stops may leave it
        assert [row["prediction_id"] for row in rows(table)] == told
        door.info = ensure_gateway(door.run_dir)
        wait_until(lambda: not part.exists(), timeout_s=30)
        assert [row["prediction_id"] for row in rows(table)] == told
        assert part.with_suffix("").read_bytes().endswith(b"}\n")


@within_a_day
def test_a_full_disk_costs_rows_and_no_caller_anything() -> None:
    with open_door() as door:
        places = Logging(tables=str(door.run_dir / "tables"))
        table = log_all(door, "full", logging=places)
        door.ask("POST", PREDICT, BODY)
        wait_until(lambda: len(rows(table)) == 1, timeout_s=30)
        (part,) = table.glob("*/*.open")
        room = part.stat().st_size + 100  # the next row fits in part
        old = resource.prlimit(door.info.pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        answers: list[Answer] = [door.ask("POST", PREDICT, BODY) for _ in range(10)]
        assert {answer.status for answer in answers} == {200}
        wait_until(lambda: metric(door, "mlengine_request_log_dropped_total") == 10, timeout_s=30)
        assert len(rows(table)) == 1
        resource.prlimit(door.info.pid, resource.RLIMIT_FSIZE, old)
        name = door.ask("POST", PREDICT, BODY).headers[ID]
        wait_until(lambda: len(rows(table)) == 2, timeout_s=30)
        assert rows(table)[1]["prediction_id"] == name
        assert metric(door, "mlengine_request_log_rows_total") == 2


def test_parts_are_closed_by_size_and_a_reader_sees_every_row_once_meanwhile() -> None:
    with open_door() as door:
        places = Logging(tables=str(door.run_dir / "tables"), part_bytes=2000)
        table = log_all(door, "parts", logging=places)
        told = []
        until_s = time.monotonic() + 60
        while len(list(table.glob("*/*.jsonl"))) < 3 and time.monotonic() < until_s:
            told += [door.ask("POST", PREDICT, BODY).headers[ID] for _ in range(20)]
            seen = [row["prediction_id"] for row in rows(table)]
            assert seen == told[: len(seen)]
        door.control.shutdown()
        assert [row["prediction_id"] for row in rows(table)] == told
        assert not list(table.glob("*/*.open"))
