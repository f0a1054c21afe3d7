"""A real gateway that shares predictions out, between scripted workers."""

from __future__ import annotations

import asyncio
import collections
import itertools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from mlengine.prediction.control import ensure_gateway, gateway_process
from mlengine.prediction.gateway.dialects import Asked
from mlengine.prediction.gateway.dialogue import Dialogue
from mlengine.prediction.gateway.inquiry import Inquiry
from mlengine.prediction.gateway.server import Server
from mlengine.prediction.gateway.split import Split
from mlengine.prediction.gateway.switchboard import Switchboard
from mlengine.prediction.requestlog.ids import PredictionIds
from mlengine.prediction.routing import Logging, PredictTarget, Route, Snapshot, Traffic
from mlengine.prediction.tally import Batch, Tally
from mlengine.prediction.traffic.compare import bucket
from mlengine.prediction.traffic.rules import reapportion
from mlengine.store.trafficstore import ArmCounts
from tests.fakes.gateway import Answer, Backends, Caller, Door, head, open_door
from tests.waiting import wait_until

P = "projects/p/models"
BODY = b'{"instances": [1]}'
_models = itertools.count()


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    # Longer than any test: who waits for a worker that never comes, waits.
    with open_door(worker_wait_s=3600.0) as opened:
        yield opened


@pytest.fixture(scope="module")
def other() -> Iterator[Backends]:
    """Workers that are not those of the versions that answer."""
    with tempfile.TemporaryDirectory(prefix="gw-") as folder:
        backends = Backends(Path(folder))
        yield backends
        backends.close()


class Shared:
    """A model of its own, its versions v1 (the default), v2 and v3, and what is counted."""

    def __init__(self, door: Door, shadow_socket: str) -> None:
        self.door, self.model = door, f"{P}/m{next(_models)}"
        sockets = {"v1": door.backends.worker_socket, "v2": door.backends.worker_socket}
        sockets["v3"] = shadow_socket
        self.versions = {self.name(v): Route("READY", [path]) for v, path in sockets.items()}
        self.counts: dict[tuple[int, str], ArmCounts] = {}
        self._known = Batch()

    def name(self, version: str) -> str:
        return f"{self.model}/versions/{version}"

    def set(self, weights: dict[str, int], *, sticky_by: str = "", shadow: str = "",
            period: int = 1, segments: list[tuple[int, str]] | None = None,
            default: str = "v1") -> None:  # fmt: skip
        named = {self.name(version): parts for version, parts in weights.items()}
        traffic = Traffic(
            weights=named, period=period, sticky_by=sticky_by, salt="s",
            segments=[(end, self.name(version)) for end, version in segments or []],
            shadow=[self.name(shadow)] if shadow else [],
        )  # fmt: skip
        snapshot = msgspec.structs.replace(
            self.door.snapshot,
            versions={**self.door.snapshot.versions, **self.versions},
            models={**self.door.snapshot.models, self.model: self.name(default)},
            traffic={self.model: traffic} if weights or shadow else {},
        )
        self.door.control.push(snapshot)

    def ask(self, body: bytes = BODY, *, version: str = "", **headers: str) -> Answer:
        path = f"/v1/{self.name(version) if version else self.model}:predict"
        return self.door.ask("POST", path, body, **headers)

    def by(self, answer: Answer) -> str:
        return answer.headers["x-mlengine-version"].rpartition("/")[2]

    def counted(self, version: str, *, period: int = 1) -> ArmCounts:
        # The first may be what another test has left.
        while (batch := self.door.control.tally(self._known)).counted:
            self._known = batch
            for one in batch.counted:
                if one.model == self.model:
                    key = (one.period, one.version_id)
                    self.counts.setdefault(key, ArmCounts()).add(one.counts)
        return self.counts.get((period, version), ArmCounts())


@pytest.fixture
def shared(door: Door, other: Backends) -> Shared:
    return Shared(door, other.worker_socket)


def test_predictions_go_to_every_version_and_say_whose_they_are(shared: Shared) -> None:
    shared.set({"v1": 1, "v2": 1})
    answers = [shared.ask() for _ in range(60)]
    assert all(answer.json == {"predictions": [1]} for answer in answers)
    drawn = collections.Counter(map(shared.by, answers))
    assert set(drawn) == {"v1", "v2"}  # but for once in 2**59
    ids = [answer.headers["x-mlengine-prediction-id"] for answer in answers]
    assert len(set(ids)) == 60
    assert [one.split("-")[:3] for one in ids] == [["1", shared.by(a), ""] for a in answers]
    for version in ("v1", "v2"):
        counts = shared.counted(version)
        assert counts.requests == counts.units == sum(counts.times.values()) == drawn[version]
        assert counts.errors == 0


def test_a_version_that_is_named_answers_and_a_model_without_a_split_has_no_ids(
    shared: Shared,
) -> None:
    shared.set({"v1": 0, "v2": 1})
    assert shared.by(shared.ask(version="v1")) == "v1"
    assert "x-mlengine-prediction-id" not in shared.ask(version="v1").headers
    assert shared.by(shared.ask()) == "v2"
    census = shared.door.ask("POST", f"/v1/{P}/census:predict", BODY)
    assert "x-mlengine-prediction-id" not in census.headers
    assert shared.counted("v2").requests == 1
    assert shared.counted("v1").requests == 0


@pytest.mark.parametrize("key", ["header:X-User", "field:user"])
def test_equal_values_stay_and_only_those_that_must_move(shared: Shared, key: str) -> None:
    def ask(user: int) -> Answer:
        if key.startswith("field"):
            return shared.ask(json.dumps({"instances": [{"user": user}]}).encode())
        return shared.ask(X_User=str(user))

    first = reapportion([], {"v1": 9, "v2": 1})
    shared.set({"v1": 9, "v2": 1}, sticky_by=key, segments=first)
    before = {user: shared.by(ask(user)) for user in range(40)}
    assert {user: shared.by(ask(user)) for user in range(40)} == before
    assert shared.counted("v1").units + shared.counted("v2").units == 40
    assert shared.counted("v1").requests + shared.counted("v2").requests == 80
    shared.set({"v1": 1, "v2": 1}, sticky_by=key, period=2,
               segments=reapportion(first, {"v1": 1, "v2": 1}))  # fmt: skip
    after = {user: shared.by(ask(user)) for user in range(40)}
    assert {user for user in before if before[user] == "v2"} <= {
        user for user in after if after[user] == "v2"
    }
    assert "v1" in after.values()
    one = ask(1).headers["x-mlengine-prediction-id"].split("-")
    assert one[:3] == ["2", after[1], ask(1).headers["x-mlengine-prediction-id"].split("-")[2]]
    assert one[2]


def test_without_a_value_each_is_drawn_by_itself_and_is_no_unit(shared: Shared) -> None:
    shared.set({"v1": 1, "v2": 1}, sticky_by="header:X-User")
    assert {shared.by(shared.ask()) for _ in range(60)} == {"v1", "v2"}
    assert shared.counted("v1").units == 0


def test_errors_are_counted_and_answered_as_ever(shared: Shared) -> None:
    shared.set({"v2": 1})
    answer = shared.ask(b"die")
    assert (answer.status, shared.by(answer)) == (503, "v2")
    counts = shared.counted("v2")
    assert (counts.requests, counts.errors) == (1, 1)
    shared.versions[shared.name("v2")] = Route("CREATING")
    shared.set({"v2": 1})
    assert shared.ask().status == 400
    assert shared.counted("v2").errors == 2


def test_an_explanation_goes_to_a_drawn_version_and_is_no_prediction_of_it(
    shared: Shared,
) -> None:
    shared.set({"v2": 1}, shadow="v3")
    answer = shared.door.ask("POST", f"/v1/{shared.model}:explain", BODY)
    assert shared.by(answer) == "v2"
    assert "x-mlengine-prediction-id" not in answer.headers
    assert shared.by(shared.ask()) == "v2"
    assert shared.counted("v2").requests == 1
    wait_until(lambda: shared.counted("v3").copies == 1)


def test_a_shadow_gets_copies_and_nobody_its_answers(shared: Shared) -> None:
    shared.set({}, shadow="v3")
    answers = [shared.ask() for _ in range(10)]
    assert {shared.by(answer) for answer in answers} == {"v1"}
    assert "x-mlengine-prediction-id" not in answers[0].headers
    wait_until(lambda: shared.counted("v3").copies == 10)
    assert shared.counted("v3").agreed == {"v1": [10, 0, 0, 0]}
    assert shared.counted("v1").requests == 10


def test_a_dead_shadow_costs_callers_nothing(shared: Shared) -> None:
    shared.versions[shared.name("v3")] = Route("READY", ["/nobody/listens"])
    shared.set({"v1": 1, "v2": 1}, shadow="v3")
    assert {shared.ask().status for _ in range(150)} == {200}
    counts = shared.counted("v3")
    # Four are with it for as long as the gateway waits for a worker, 128 wait behind them.
    assert (counts.copies, counts.copies_dropped) == (0, 150 - 4 - 128)
    assert shared.counted("v1").errors == shared.counted("v2").errors == 0


def test_copies_that_the_shadow_does_not_answer_are_counted(shared: Shared) -> None:
    shared.versions[shared.name("v3")] = Route("CREATING")
    shared.set({"v1": 1}, shadow="v3")
    assert {shared.ask().status for _ in range(10)} == {200}
    wait_until(lambda: shared.counted("v3").copies_failed == 10)
    assert (shared.counted("v3").copies, shared.counted("v3").agreed) == (10, {})


def asked_while_v1_is_away(shared: Shared) -> Caller:
    """Ask a split that has v1 alone, which has no worker; return who waits for the answer."""
    shared.versions[shared.name("v1")] = Route("READY", ["/nobody/listens"])
    shared.set({"v1": 1})
    caller = shared.door.connect()
    caller.send(head("POST", f"/v1/{shared.model}:predict", length=len(BODY)) + BODY)
    wait_until(lambda: asked_of(shared, "v1") == 1)
    return caller


def asked_of(shared: Shared, version: str) -> int:
    """Return how many predictions a version was asked for."""
    return int(shared.door.control.stats().get(shared.name(version), {}).get("requests", -1))


def test_what_moves_has_the_id_of_the_version_that_answers_and_is_counted_there(
    shared: Shared,
) -> None:
    with asked_while_v1_is_away(shared) as caller:
        shared.set({"v1": 1, "v2": 0}, period=2)  # moves nothing
        assert asked_of(shared, "v1") == 1
        shared.set({"v2": 1}, period=3)
        answer = caller.answer()
    assert shared.by(answer) == "v2"
    assert answer.headers["x-mlengine-prediction-id"].startswith("3-v2-")
    assert (asked_of(shared, "v1"), asked_of(shared, "v2")) == (0, 1)


def test_what_waits_when_its_split_ends_has_no_id_of_it(shared: Shared) -> None:
    with asked_while_v1_is_away(shared) as caller:
        shared.set({}, default="v2")
        answer = caller.answer()
    assert shared.by(answer) == "v2"
    assert "x-mlengine-prediction-id" not in answer.headers


def test_what_waits_when_its_split_ends_has_its_row_under_the_version_that_answers(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = msgspec.structs.replace(
        shared.versions[shared.name("v2")], log_table="p.d.moved", log_share=1.0
    )
    shared.versions[shared.name("v2")] = logged
    logging = Logging(tables=str(tmp_path), access="")
    snapshot = msgspec.structs.replace(shared.door.snapshot, logging=logging)
    monkeypatch.setattr(shared.door, "snapshot", snapshot)
    with asked_while_v1_is_away(shared) as caller:
        shared.set({}, default="v2")
        answer = caller.answer()
    assert answer.headers["x-mlengine-prediction-id"].startswith("0-v2-")


def test_a_change_of_the_split_keeps_what_is_counted_of_another_model(
    door: Door, other: Backends
) -> None:
    """A snapshot with the same split goes on; values that were seen are not counted again."""
    shared = Shared(door, other.worker_socket)
    for _ in range(2):
        shared.set({"v1": 1, "v2": 1}, sticky_by="header:X-User")
        shared.ask(X_User="ann")
    assert shared.counted("v1").units + shared.counted("v2").units == 1


def test_a_gateway_that_is_killed_is_followed_by_one_that_shares_out_the_same() -> None:
    with open_door() as door:
        shared = Shared(door, door.backends.worker_socket)
        shared.set({"v1": 1, "v2": 1}, sticky_by="header:X-User")
        before = [shared.ask(X_User=str(user)) for user in range(20)]
        first = door.control.tally(Batch())
        door.kill()
        wait_until(lambda: gateway_process(door.run_dir) is None)
        door.info = ensure_gateway(door.run_dir)
        after = [shared.ask(X_User=str(user)) for user in range(20)]
        assert [shared.by(answer) for answer in after] == [shared.by(answer) for answer in before]
        ids = {answer.headers["x-mlengine-prediction-id"] for answer in (*before, *after)}
        assert len(ids) == 40
        second = door.control.tally(first)
        assert second.gateway != first.gateway
        assert sum(one.counts.requests for one in second.counted) == 20


def test_to_ask_for_a_signature_is_no_prediction() -> None:
    got: list[Any] = []
    group = SimpleNamespace(version=f"{P}/m/versions/v1", submit=got.append)
    tally = Tally()
    traffic = Traffic(weights={group.version: 1}, period=1)
    split = Split(f"{P}/m", traffic, group.version, cast("Any", lambda _target: group), tally,
                  lambda: 0.0, PredictionIds(0.0))  # fmt: skip
    for operation in ("metadata", "infer"):
        asked = Dialogue(
            cast("Any", None), PredictTarget(f"{P}/m", ""), [], b"", keep=True,
            asked=Asked("openinference", operation, b"GET"), method=b"GET",
        )  # fmt: skip
        split.send(asked)
        assert asked.version == group.version
        assert bool(asked.prediction_id) == (got[-1] is not asked) == (operation == "infer")


def test_what_is_drawn_anew_is_read_as_its_caller_sent_it() -> None:
    seen: list[bytes] = []
    split = SimpleNamespace(send=lambda asked: seen.append(asked.body))
    server = SimpleNamespace(splits=SimpleNamespace(find=lambda _target: split))
    asked = Dialogue(
        cast("Any", SimpleNamespace(server=server)), PredictTarget(f"{P}/m", ""), [], BODY,
        keep=True, asked=Asked("tfserving", "predict", b"POST"), method=b"POST",
    )  # fmt: skip
    asked.version = f"{P}/m/versions/v1"
    assert asked.body != BODY  # what a worker would have got
    asked.unsent()
    assert seen == [BODY]


class Prompt:
    """Workers that answer within less than a tick of the loop's clock, and that clock."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def fine_s(self) -> float:
        return self.now_s

    def time(self) -> float:
        return int(self.now_s * 1000) / 1000  # as uvloop's

    def submit(self, prediction: Any) -> None:
        self.now_s += 0.0002
        prediction.answered(200, b'{"predictions": [1]}')

    def link(self, target: PredictTarget) -> SimpleNamespace:
        return SimpleNamespace(version=target.version or f"{P}/m/versions/v1", submit=self.submit)


def test_answers_are_timed_in_less_than_a_millisecond(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By comparisons, of who answers and of a shadow, and by an access log."""
    prompt = Prompt()
    heard: list[Any] = []
    visits: list[Any] = []
    monkeypatch.setattr("mlengine.prediction.gateway.server.time.monotonic", prompt.fine_s)
    monkeypatch.setattr(Switchboard, "link", lambda _self, target: prompt.link(target))
    first, second = (f"{P}/m/versions/{name}" for name in ("v1", "v2"))
    server = Server(
        Snapshot(
            traffic={f"{P}/m": Traffic(weights={first: 1}, period=1, shadow=[second])},
            versions={first: Route("READY", [])}, access_logs=[f"{P}/m"],
            logging=Logging(tables="", access=str(tmp_path)),
        ),
        loop=cast("Any", SimpleNamespace(time=prompt.time)),
    )  # fmt: skip
    monkeypatch.setattr(server.logs.found[first], "visit", lambda *a, **_: visits.append(a))
    caller = SimpleNamespace(server=server, answer=lambda *said: heard.append(said))

    async def ask() -> None:
        for _ in range(20):
            Inquiry(cast("Any", caller), PredictTarget(f"{P}/m", ""), [], BODY, keep=True).enter()
            await asyncio.sleep(0)  # the copy goes out after the answer

    asyncio.run(ask())
    counts = {one.version_id: one.counts for one in server.splits.tally.batch(Batch()).counted}
    assert len(heard) == counts["v1"].requests == counts["v2"].copies == 20
    for version in ("v1", "v2"):
        assert set(counts[version].times) <= {bucket(0.0002) - 1, bucket(0.0002)}
    assert [(status, round(taken_s, 6)) for status, taken_s in visits] == [(200, 0.0002)] * 20
    server.close()
