"""A real gateway process that answers a scikit-learn model by itself, as its callers meet it."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import msgspec
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mlengine.core.access import token_digest
from mlengine.prediction.control import gateway_process
from mlengine.prediction.gateway.desk import MOST_BYTES
from mlengine.prediction.gateway.info import CONTROL_SOCKET
from mlengine.prediction.requestlog.parts import part_files, whole_lines
from mlengine.prediction.routing import Grant, Logging, Route, Snapshot, Traffic
from mlengine.prediction.sockets import socket_dir
from mlengine.prediction.tally import Batch
from mlengine.runtime.compiled import FOLDER
from mlengine.runtime.compiled.compiler import compile_model
from tests.fakes.gateway import (
    MODEL,
    PREDICT,
    TOKEN,
    VERSION,
    Answer,
    Caller,
    Door,
    head,
    open_door,
)
from tests.waiting import wait_until, within_a_day

OTHER = f"{MODEL}/versions/v2"
ID = "x-mlengine-prediction-id"
_RANDOM = np.random.default_rng(5)
ROWS = _RANDOM.normal(size=(200, 4)).round(3)


class Table(NamedTuple):
    """A model, and its form in plain numbers."""

    estimator: Any
    folder: Path

    def predict(self, rows: Any) -> list[Any]:
        return list(self.estimator.predict(np.asarray(rows)).tolist())

    def route(self, *sockets: str, **more: Any) -> Route:
        return Route("READY", list(sockets), wakes=True, desk=str(self.folder), **more)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Table]:
    """Two models that never answer alike."""
    made = {}
    for name, labels in (("v1", ["no", "yes"]), ("v2", ["bad", "good"])):
        folder = tmp_path_factory.mktemp(name)
        estimator = LogisticRegression().fit(ROWS, np.array(labels)[(ROWS[:, 0] > 0).astype(int)])
        joblib.dump(estimator, folder / "model.joblib")
        assert compile_model(folder, "", folder / FOLDER).problem == ""
        made[name] = Table(estimator, folder / FOLDER)
    return made


@pytest.fixture(scope="module")
def table(tables: dict[str, Table]) -> Table:
    return tables["v1"]


@pytest.fixture(scope="module")
def opened() -> Iterator[Door]:
    with open_door() as door:
        door.snapshot = msgspec.structs.replace(
            door.snapshot,
            logging=Logging(tables=str(door.run_dir / "tables"), access=str(door.run_dir / "acc")),
        )
        yield door


@pytest.fixture
def door(opened: Door, table: Table) -> Door:
    """A gateway with a version that has a desk, which is open, and no worker."""
    opened.control.push(snapshot(opened, table.route()))
    assert opened.ask("POST", PREDICT, body_of(ROWS[:1])).status == 200
    return opened


def snapshot(door: Door, route: Route, **changes: Any) -> Snapshot:
    return msgspec.structs.replace(door.snapshot, **{"versions": {VERSION: route}, **changes})


def body_of(rows: Any) -> bytes:
    return json.dumps({"instances": np.asarray(rows).tolist()}).encode()


def post(body: bytes, path: str = PREDICT, **headers: str) -> bytes:
    return head("POST", path, length=len(body), **headers) + body


def ask(caller: Caller, rows: Any, **headers: str) -> Answer:
    caller.send(post(body_of(rows), **headers))
    return caller.answer()


@contextlib.contextmanager
def in_lane(door: Door, token: str = TOKEN) -> Iterator[tuple[Caller, Callable[[], bytes]]]:
    """A connection that has asked the same but for the numbers before, and its next request."""
    body = body_of(ROWS[:1])
    with door.connect() as caller:
        for _ in range(5):
            caller.send(post(body, token=token))
            assert caller.answer().status == 200
        yield caller, lambda: post(body, token=token)


def metrics(door: Door) -> dict[str, float]:
    text = door.ask("GET", "/metrics").body.decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _blank, value in lines}


def counted(door: Door, version: str = VERSION) -> collections.Counter[str]:
    stats = door.control.stats().get(version, {})
    found = {name: stats.get(name, 0) for name in ("requests", "at_desk", "wakes", "failed_wakes")}
    return collections.Counter(found | {"answers": stats.get("statuses", {}).get("200", 0)})


def grown(before: collections.Counter[str], after: collections.Counter[str]) -> dict[str, int]:
    return dict(after - before)


def rows_in(folder: Path) -> list[dict[str, Any]]:
    found = sorted(path for path in folder.glob("*") if path.is_dir())
    parts = [part for day in found or [folder] for part in part_files(day)]
    return [json.loads(line) for part in parts for line in whole_lines(part)]


class Engine:
    """Listens for wakes as an engine does."""

    def __init__(self, door: Door) -> None:
        self._talk = socket.socket(socket.AF_UNIX)
        self._talk.settimeout(60)
        self._talk.connect(str(socket_dir(door.run_dir) / CONTROL_SOCKET))
        self._lines = self._talk.makefile("rb")
        self._rung: list[str] = []
        self._obeys(b'{"subscribe":true}\n')

    def rung(self) -> list[str]:
        """What has rung since the engine listens."""
        self._obeys(b'{"stats":true}\n')  # its answer comes behind all that has rung before
        return self._rung

    def close(self) -> None:
        self._lines.close()
        self._talk.close()

    def _obeys(self, line: bytes) -> None:
        self._talk.sendall(line)
        while "ok" not in (said := json.loads(self._lines.readline())):
            self._rung.append(said["wake"])


@pytest.fixture
def engine(door: Door) -> Iterator[Engine]:
    listening = Engine(door)
    yield listening
    listening.close()


# --- who answers ---


def test_predictions_are_the_models_and_wake_no_worker(
    door: Door, engine: Engine, table: Table
) -> None:
    before = counted(door)
    asked = [ROWS[place : place + 1 + place % 3] for place in range(100)]
    with door.connect() as caller:
        answers = [ask(caller, rows) for rows in asked]
    assert {answer.status for answer in answers} == {200}
    assert [answer.json for answer in answers] == [
        {"predictions": table.predict(rows)} for rows in asked
    ]
    assert {answer.headers["x-mlengine-version"] for answer in answers} == {VERSION}
    assert {answer.headers["content-type"] for answer in answers} == {
        "application/json; charset=UTF-8"
    }
    assert all("date" in answer.headers for answer in answers)
    assert grown(before, counted(door)) == {"requests": 100, "at_desk": 100, "answers": 100}
    shown = metrics(door)
    assert shown["mlengine_gateway_desks"] == 1
    assert shown[f'mlengine_predictions_at_desk_total{{version="{VERSION}"}}'] >= 100
    assert engine.rung() == []
    assert door.backends.answered() == 0


def test_without_an_engine_and_without_workers_it_is_answered(door: Door, table: Table) -> None:
    for path in (PREDICT, f"/v1/{VERSION}:predict"):
        answer = door.ask("POST", path, body_of(ROWS[:2]))
        assert (answer.status, answer.json) == (200, {"predictions": table.predict(ROWS[:2])})


def test_each_of_many_callers_gets_his_own_answer(door: Door, table: Table) -> None:
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(door.connect()) for _ in range(100)]
        for turn in range(4):
            for place, caller in enumerate(callers):
                caller.send(post(body_of(ROWS[place + turn :][:1])))
            for place, caller in enumerate(callers):
                wanted = table.predict(ROWS[place + turn :][:1])
                assert caller.answer().json == {"predictions": wanted}


NOT_UNDERSTOOD = {
    "another width": b'{"instances": [[1.0, 2.0]]}',
    "objects": b'{"instances": [{"a": 1.0}]}',
    "texts": b'{"instances": [["a", "b", "c", "d"]]}',
    "another key": b'{"instances": [[1.0, 2.0, 3.0, 4.0]], "signature_name": "x"}',
    "no JSON": b"[",
    "many rows": body_of(np.zeros((MOST_BYTES // 20, 4))),
}


@pytest.mark.parametrize("body", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
def test_what_a_desk_does_not_understand_is_the_workers(
    door: Door, table: Table, body: bytes
) -> None:
    door.control.push(snapshot(door, table.route(door.backends.worker_socket)))
    with in_lane(door) as (caller, _again):
        before, by_worker = counted(door), door.backends.answered()
        for _ in range(4):  # read strictly, known, and twice in the lane
            caller.send(post(body))
            echo = caller.answer()
            assert (echo.status, echo.headers["x-mlengine-version"]) == (200, VERSION)
            try:
                said = json.loads(body)["instances"]
            except ValueError:
                said = len(body)
            assert echo.json == {"predictions": said}
            assert ask(caller, ROWS[:1]).json == {"predictions": table.predict(ROWS[:1])}
    assert door.backends.answered() == by_worker + 4
    assert grown(before, counted(door)) == {"requests": 8, "at_desk": 4, "answers": 8}


def test_what_a_desk_does_not_understand_wakes_the_version(
    door: Door, engine: Engine, table: Table
) -> None:
    with door.connect() as caller:
        assert ask(caller, ROWS[:1]).status == 200
        assert engine.rung() == []
        caller.send(post(NOT_UNDERSTOOD["objects"]))
        wait_until(lambda: engine.rung() == [VERSION])
        assert door.ask("POST", PREDICT, body_of(ROWS[:1])).status == 200
        door.control.push(snapshot(door, table.route(door.backends.worker_socket)))
        assert caller.answer().json == {"predictions": [{"a": 1.0}]}
    assert engine.rung() == [VERSION]


def test_a_folder_that_holds_no_numbers_leaves_all_to_the_workers(
    door: Door, tmp_path: Path
) -> None:
    route = Route("READY", [door.backends.worker_socket], desk=str(tmp_path))
    door.control.push(snapshot(door, route))
    with door.connect() as caller:
        for _ in range(5):
            assert ask(caller, ROWS[:1]).json == {"predictions": ROWS[:1].tolist()}
    assert metrics(door)["mlengine_gateway_desks"] == 0


def test_a_version_whose_numbers_are_taken_away_is_its_workers_again(
    door: Door, table: Table
) -> None:
    with in_lane(door) as (caller, again):
        door.control.push(snapshot(door, Route("READY", [door.backends.worker_socket])))
        caller.send(again())
        assert caller.answer().json == {"predictions": ROWS[:1].tolist()}
        assert metrics(door)["mlengine_gateway_desks"] == 0
        door.control.push(snapshot(door, table.route(door.backends.worker_socket)))
        wait_until(lambda: ask(caller, ROWS[:1]).json == {"predictions": table.predict(ROWS[:1])})
        assert metrics(door)["mlengine_gateway_desks"] == 1


# --- what a gateway promises of all predictions ---


@within_a_day
@pytest.mark.parametrize("way", ["one connection", "a connection each", "sent ahead"])
@pytest.mark.parametrize(
    "quota", [{"daily_quota": 7}, {"requests_per_second": 0.001, "burst": 7}], ids=["day", "burst"]
)
def test_a_quota_counts_at_a_desk(
    door: Door, table: Table, way: str, quota: dict[str, Any]
) -> None:
    key = f"key-{way}-{sorted(quota)}".replace(" ", "-")
    grants = {token_digest(key): Grant(key=key, models=[MODEL], **quota)}
    door.control.push(snapshot(door, table.route(), grants=grants))
    sent = post(body_of(ROWS[:1]), token=key)
    if way == "a connection each":
        answers = [door.ask("POST", PREDICT, body_of(ROWS[:1]), token=key) for _ in range(10)]
    else:
        with door.connect() as caller:
            answers = []
            for _ in range(1 if way == "sent ahead" else 10):
                caller.send(sent * 10 if way == "sent ahead" else sent)
                answers += [caller.answer() for _ in range(10 if way == "sent ahead" else 1)]
    assert [answer.status for answer in answers] == [200] * 7 + [429] * 3
    left = [int(answer.headers["x-ratelimit-remaining"]) for answer in answers]
    assert left == [6, 5, 4, 3, 2, 1, 0, 0, 0, 0]
    assert {answer.headers["x-ratelimit-limit"] for answer in answers} == {"7"}
    assert metrics(door)[f'mlengine_quota_refused_total{{key="{key}"}}'] == 3


def test_a_quota_is_shared_by_all_who_are_in_a_lane(door: Door, table: Table) -> None:
    grants = {
        token_digest("shared"): Grant(
            key="shared", models=[MODEL], requests_per_second=0.001, burst=45
        )
    }
    door.control.push(snapshot(door, table.route(), grants=grants))
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(in_lane(door, "shared")) for _ in range(6)]  # 5 each
        statuses = []
        for _ in range(4):
            for caller, again in callers:
                caller.send(again())
            statuses += [caller.answer().status for caller, _again in callers]
    assert sorted(statuses) == [200] * 15 + [429] * 9
    assert statuses[:12] == [200] * 12
    assert metrics(door)['mlengine_quota_refused_total{key="shared"}'] == 9


def test_a_split_draws_between_two_desks(door: Door, tables: dict[str, Table]) -> None:
    versions = {VERSION: tables["v1"].route(), OTHER: tables["v2"].route()}
    traffic = {MODEL: Traffic(weights={VERSION: 1, OTHER: 1}, period=3)}
    door.control.push(msgspec.structs.replace(door.snapshot, versions=versions, traffic=traffic))
    before = _asked(door)
    with door.connect() as caller:
        answers = [ask(caller, ROWS[:1]) for _ in range(60)]
    by = [answer.headers["x-mlengine-version"] for answer in answers]
    assert set(by) == set(versions)  # but for once in 2**59
    for answer, version in zip(answers, by, strict=True):
        wanted = tables[version.rpartition("/")[2]].predict(ROWS[:1])
        assert (answer.status, answer.json) == (200, {"predictions": wanted})
    assert len({answer.headers[ID] for answer in answers}) == 60
    after = _asked(door)
    drawn = {version: after[version] - before.get(version, 0) for version in versions}
    assert drawn == {version: by.count(version) for version in versions}
    counted: dict[str, int] = {}
    known = Batch()
    while (batch := door.control.tally(known)).counted:
        known = batch
        for one in batch.counted:
            assert (one.model, one.period, one.counts.errors) == (MODEL, 3, 0)
            counted[one.version_id] = counted.get(one.version_id, 0) + one.counts.requests
    assert counted == {version.rpartition("/")[2]: drawn[version] for version in versions}


def _asked(door: Door) -> dict[str, int]:
    return {version: stats["requests"] for version, stats in door.control.stats().items()}


@pytest.mark.parametrize("token", [TOKEN, "mine"], ids=["token", "key"])
def test_a_request_log_has_a_row_for_each(door: Door, table: Table, token: str) -> None:
    grants = {token_digest("mine"): Grant(key="mine", projects=["p"])}
    name = token.replace("-", "_")
    route = table.route(log_table=f"p.d.{name}", log_share=1.0)
    door.control.push(snapshot(door, route, grants=grants))
    told = {}
    with door.connect() as one, door.connect() as two:
        for place in range(80):
            body = body_of(ROWS[place : place + 1])
            caller = (one, two)[place % 2]
            caller.send(post(body, token=token))
            answer = caller.answer()
            told[answer.headers[ID]] = body.decode(), answer.body.decode()
    assert len(told) == 80
    folder = door.run_dir / "tables" / "p" / "d" / name
    wait_until(lambda: len(rows_in(folder)) == 80)
    found = {
        row["prediction_id"]: (row["raw_data"], row["raw_prediction"]) for row in rows_in(folder)
    }
    assert found == told
    assert {(row["model"], row["model_version"]) for row in rows_in(folder)} == {("census", "v1")}


def test_a_request_log_of_a_share_has_the_rows_whose_names_were_told(
    door: Door, table: Table
) -> None:
    route = table.route(log_table="p.d.some", log_share=0.5)
    door.control.push(snapshot(door, route))
    with door.connect() as caller:
        answers = [ask(caller, ROWS[:1]) for _ in range(200)]
    told = {answer.headers[ID] for answer in answers if ID in answer.headers}
    assert 50 < len(told) < 150
    folder = door.run_dir / "tables" / "p" / "d" / "some"
    wait_until(lambda: len(rows_in(folder)) >= len(told))
    assert {row["prediction_id"] for row in rows_in(folder)} == told


def test_an_access_log_has_a_line_for_each(door: Door, table: Table) -> None:
    door.control.push(snapshot(door, table.route(), access_logs=[MODEL]))
    with door.connect() as caller:
        answers = [ask(caller, ROWS[:1]) for _ in range(10)]
    folder = door.run_dir / "acc" / "p" / "census"
    wait_until(lambda: len(rows_in(folder)) == 10)
    for line, answer in zip(rows_in(folder), answers, strict=True):
        assert (line["version"], line["status"]) == ("v1", 200)
        assert line["request_bytes"] == len(body_of(ROWS[:1]))
        assert line["answer_bytes"] == len(answer.body)
        assert line["latency_ms"] > 0


# --- snapshots ---


def test_a_token_that_counts_no_more_opens_nothing_from_the_very_next_request_on(
    door: Door, table: Table
) -> None:
    with in_lane(door) as (caller, again):
        door.control.push(snapshot(door, table.route(), token_digest=token_digest("another")))
        caller.send(again())
        assert caller.answer().status == 401
        assert caller.is_closed()


def test_a_key_that_is_revoked_opens_nothing_from_the_very_next_request_on(
    door: Door, table: Table
) -> None:
    granted = Grant(key="mine", models=[MODEL])
    for left, status in (({}, 401), ({token_digest("mine"): Grant(key="mine")}, 403)):
        grants = {token_digest("mine"): granted}
        door.control.push(snapshot(door, table.route(), grants=grants))
        with in_lane(door, "mine") as (caller, again):
            door.control.push(snapshot(door, table.route(), grants=left))
            caller.send(again())
            assert caller.answer().status == status


def test_a_key_is_counted_by_the_newest_quota(door: Door, table: Table) -> None:
    key = Grant(key="counted", models=[MODEL])
    door.control.push(snapshot(door, table.route(), grants={token_digest("counted"): key}))
    with in_lane(door, "counted") as (caller, again):
        tight = Grant(key="counted", models=[MODEL], requests_per_second=0.001, burst=3)
        door.control.push(snapshot(door, table.route(), grants={token_digest("counted"): tight}))
        statuses = []
        for _ in range(5):
            caller.send(again())
            statuses.append(caller.answer().status)
    assert statuses == [200] * 3 + [429] * 2


def test_the_next_request_is_answered_by_the_newest_routes(
    door: Door, tables: dict[str, Table]
) -> None:
    with in_lane(door) as (caller, again):
        versions = {OTHER: tables["v2"].route()}
        door.control.push(
            msgspec.structs.replace(door.snapshot, versions=versions, models={MODEL: OTHER})
        )
        for _ in range(4):
            caller.send(again())
            answer = caller.answer()
            assert answer.headers["x-mlengine-version"] == OTHER
            assert answer.json == {"predictions": tables["v2"].predict(ROWS[:1])}
        door.control.push(msgspec.structs.replace(door.snapshot, versions={}, models={}))
        caller.send(again())
        assert caller.answer().status == 404


def test_logs_that_begin_keep_the_next_request(door: Door, table: Table) -> None:
    with in_lane(door) as (caller, again):
        route = table.route(log_table="p.d.begun", log_share=1.0)
        door.control.push(snapshot(door, route, access_logs=[MODEL]))
        caller.send(again())
        name = caller.answer().headers[ID]
        door.control.push(snapshot(door, table.route()))
        caller.send(again())
        assert ID not in caller.answer().headers
    folder = door.run_dir / "tables" / "p" / "d" / "begun"
    wait_until(lambda: rows_in(folder))
    assert [row["prediction_id"] for row in rows_in(folder)] == [name]


def test_no_answer_is_lost_while_snapshots_change(door: Door, tables: dict[str, Table]) -> None:
    """Between two versions, with one desk or another, and none: none of them is refused."""
    first, second = tables["v1"], tables["v2"]
    worker = door.backends.worker_socket
    routes = [first.route(worker), second.route(worker), Route("READY", [worker])]
    wanted = [first.predict(ROWS[:1]), second.predict(ROWS[:1]), ROWS[:1].tolist()]
    stop = threading.Event()

    def talk() -> list[Any]:
        found = []
        with door.connect() as caller:
            while not stop.is_set():
                answer = ask(caller, ROWS[:1])
                assert answer.status == 200, answer
                found.append(answer.json["predictions"])
        return found

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        talks = [pool.submit(talk) for _ in range(4)]
        try:
            for number in range(60):
                door.control.push(snapshot(door, routes[number % 3]))
        finally:
            stop.set()
        for one in talks:
            assert all(said in wanted for said in one.result(60))


# --- connections ---


def test_requests_that_are_sent_ahead_are_answered_in_order(door: Door, table: Table) -> None:
    door.control.push(snapshot(door, table.route(door.backends.worker_socket)))
    health = head("GET", "/healthz")
    bad = NOT_UNDERSTOOD["no JSON"]
    with in_lane(door) as (caller, _again):
        for turn in range(10):
            rows = [ROWS[place : place + 1] for place in range(turn, turn + 4)]
            first, second, third, fourth = (post(body_of(row)) for row in rows)
            sent = [first, health, second, post(bad), third, third, health, fourth]
            caller.send(b"".join(sent))
            answers = [caller.answer() for _ in sent]
            assert [answer.status for answer in answers] == [200] * 8
            labels = [table.predict(row) for row in rows]
            assert [answer.json.get("predictions") for answer in answers] == [
                labels[0], None, labels[1], len(bad), labels[2], labels[2], None, labels[3]
            ]  # fmt: skip


def test_a_request_that_comes_while_another_waits_is_answered_after_it(
    door: Door, table: Table
) -> None:
    """However the gateway's turns part them."""
    health = head("GET", "/healthz")
    with in_lane(door) as (caller, again):
        caller.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(200):
            for piece in (again(), health, again()[:-9], again()[-9:], health):
                caller.send(piece)
            said = [caller.answer().json.get("predictions") for _ in range(4)]
            assert said == [table.predict(ROWS[:1]), None, table.predict(ROWS[:1]), None]


def test_a_body_that_looks_like_a_known_request_is_a_body(door: Door, table: Table) -> None:
    door.control.push(snapshot(door, table.route(door.backends.worker_socket)))
    with in_lane(door) as (caller, again):
        inner = again()
        caller.send(head("GET", "/healthz") + head("POST", PREDICT, length=len(inner)))
        assert caller.answer().json == {"status": "ok"}
        caller.send(inner)
        assert caller.answer().json == {"predictions": len(inner)}
        caller.send(inner)
        assert caller.answer().json == {"predictions": table.predict(ROWS[:1])}


def test_who_is_beyond_the_limit_gets_into_no_lane(door: Door, table: Table) -> None:
    limits = msgspec.structs.replace(door.snapshot.limits, max_connections=1)
    with door.connect() as first:
        assert ask(first, ROWS[:1]).status == 200
        door.control.push(snapshot(door, table.route(), limits=limits))
        for _ in range(5):
            assert ask(first, ROWS[:1]).status == 200
        with door.connect() as second:
            second.send(head("GET", "/healthz"))
            assert second.answer().status == 200
            assert ask(second, ROWS[:1]).status == 503
        assert ask(first, ROWS[:1]).status == 200


def test_a_refusal_among_requests_that_were_sent_ahead_ends_the_connection(
    door: Door, table: Table
) -> None:
    with in_lane(door) as (caller, again):
        caller.send(again() + post(b"{}", token="nobody") + again())
        assert caller.answer().json == {"predictions": table.predict(ROWS[:1])}
        assert caller.answer().status == 401
        assert caller.is_closed()


def test_who_closes_his_writing_half_is_answered(door: Door, table: Table) -> None:
    wanted = {"predictions": table.predict(ROWS[:1])}
    with door.connect() as caller:
        caller.send(post(body_of(ROWS[:1])))
        caller.socket.shutdown(socket.SHUT_WR)
        assert caller.answer().json == wanted
        assert caller.is_closed()
    for _ in range(20):  # in the lane: both may come in one turn of the gateway, or in two
        with in_lane(door) as (caller, again):
            caller.send(again())
            caller.socket.shutdown(socket.SHUT_WR)
            assert caller.answer().json == wanted
            assert caller.is_closed()


def test_who_goes_away_keeps_nobody_from_an_answer(door: Door, table: Table) -> None:
    with contextlib.ExitStack() as stack:
        lanes = [stack.enter_context(in_lane(door)) for _ in range(20)]
        for caller, again in lanes:
            caller.send(again())
        for caller, _again in lanes[::2]:
            caller.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
            )  # a reset
            caller.socket.close()
        for caller, _again in lanes[1::2]:
            assert caller.answer().json == {"predictions": table.predict(ROWS[:1])}


@pytest.mark.parametrize("is_old", [True, False], ids=["HTTP/1.0", "Connection: close"])
def test_who_wants_one_answer_is_told_that_his_connection_ends(
    door: Door, table: Table, is_old: bool
) -> None:
    body = body_of(ROWS[:1])
    whole = post(body) if is_old else post(body, Connection="close")
    for _ in range(4):  # as often as it takes to be known, were it to be
        with door.connect() as caller:
            caller.send(whole.replace(b"HTTP/1.1", b"HTTP/1.0") if is_old else whole)
            answer = caller.answer()
            assert (answer.status, answer.json) == (200, {"predictions": table.predict(ROWS[:1])})
            assert answer.headers["connection"] == "close"
            assert caller.is_closed()
    with in_lane(door) as (caller, _again):
        caller.send(whole.replace(b"HTTP/1.1", b"HTTP/1.0") if is_old else whole)
        assert caller.answer().headers["connection"] == "close"
        assert caller.is_closed()


# --- the end ---


def _talk(caller: Caller, sent: bytes, has_begun: threading.Event) -> list[str]:
    """Ask until the connection ends; return the names of those predictions that were answered."""
    names: list[str] = []
    while True:
        try:
            caller.send(sent)
            answer = caller.answer()
        except (BrokenPipeError, ConnectionResetError):
            return names
        assert answer.status == 200, answer
        names.append(answer.headers[ID])
        if len(names) == 20:
            has_begun.set()
        if answer.headers.get("connection") == "close":
            assert caller.is_closed()
            return names


def _end_by_signal(door: Door) -> None:
    os.kill(door.info.pid, signal.SIGTERM)


def _end_by_word(door: Door) -> None:
    door.control.shutdown(timeout_s=60)


@pytest.mark.parametrize("end", [_end_by_signal, _end_by_word])
def test_a_gateway_that_ends_owes_nobody_an_answer(
    table: Table, end: Callable[[Door], None]
) -> None:
    """What it has taken has a row in the log, and a caller has been told that row's name."""
    with open_door() as door, contextlib.ExitStack() as stack:
        door.snapshot = msgspec.structs.replace(
            door.snapshot, logging=Logging(tables=str(door.run_dir / "tables"))
        )
        door.control.push(snapshot(door, table.route()))
        silent, _again = stack.enter_context(in_lane(door))
        door.control.push(snapshot(door, table.route(log_table="p.d.t", log_share=1.0)))
        callers = [stack.enter_context(door.connect()) for _ in range(8)]
        begun = [threading.Event() for _ in callers]
        sent = post(body_of(ROWS[:1]))
        with concurrent.futures.ThreadPoolExecutor(len(callers)) as pool:
            talks = [
                pool.submit(_talk, caller, sent, has_begun)
                for caller, has_begun in zip(callers, begun, strict=True)
            ]
            for has_begun in begun:
                assert has_begun.wait(60)
            end(door)
            told = [name for talk in talks for name in talk.result(60)]
        assert silent.is_closed()
        wait_until(lambda: gateway_process(door.run_dir) is None)
        logged = [row["prediction_id"] for row in rows_in(door.run_dir / "tables/p/d/t")]
    assert len(told) >= 20 * len(callers)
    assert sorted(logged) == sorted(told)
