"""Several workers, none, one that is away: a prediction is answered once, or told why not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from mlengine.core.errors import EngineError
from mlengine.prediction.gateway.info import CONTROL_SOCKET
from mlengine.prediction.gateway.upload import MIN_BYTES
from mlengine.prediction.gateway.workers import WorkerLink
from mlengine.prediction.routing import Route, Snapshot
from mlengine.prediction.sockets import socket_dir
from tests.fakes.gateway import MODEL, PREDICT, VERSION, Backends, Caller, Door, head, open_door
from tests.waiting import wait_until

BODY = b'{"instances": [1, 2]}'
OTHER = f"{MODEL}/versions/v2"
ASLEEP = Route("READY", [], wakes=True)


@pytest.fixture(scope="module")
def opened() -> Iterator[Door]:
    with open_door() as door:
        yield door


@pytest.fixture
def door(opened: Door) -> Iterator[Door]:
    opened.control.push(opened.snapshot)
    yield opened
    opened.control.push(opened.snapshot)


class Engine:
    """Listens for wakes as an engine does."""

    def __init__(self, door: Door) -> None:
        self._talk = socket.socket(socket.AF_UNIX)
        self._talk.settimeout(60)
        self._talk.connect(str(socket_dir(door.run_dir) / CONTROL_SOCKET))
        self._lines = self._talk.makefile("rb")
        self._talk.sendall(b'{"subscribe":true}\n')
        self._early = ""
        while "ok" not in (said := json.loads(self._lines.readline())):
            self._early = said["wake"]

    def wakes(self) -> str:
        """Wait for the next wake."""
        early, self._early = self._early, ""
        return early or str(json.loads(self._lines.readline())["wake"])

    def obeys(self, line: bytes) -> dict[str, Any]:
        """Send a command; return what is answered."""
        self._talk.sendall(line + b"\n")
        found: dict[str, Any] = json.loads(self._lines.readline())
        return found

    def close(self) -> None:
        self._lines.close()
        self._talk.close()


@pytest.fixture
def engine(door: Door) -> Iterator[Engine]:
    listening = Engine(door)
    yield listening
    listening.close()


@pytest.fixture
def second(door: Door) -> Iterator[Backends]:
    folder = door.run_dir / "second"
    folder.mkdir(exist_ok=True)
    backends = Backends(folder)
    yield backends
    backends.close()


def routes(door: Door, *, default: str = VERSION, **versions: Route) -> Snapshot:
    named = {f"{MODEL}/versions/{name}": route for name, route in versions.items()}
    return msgspec.structs.replace(door.snapshot, versions=named, models={MODEL: default})


def request() -> bytes:
    return head("POST", PREDICT, length=len(BODY)) + BODY


def woken(door: Door) -> tuple[int, int]:
    """Wakes of the version and failed ones, by the gateway's metrics."""
    text = door.ask("GET", "/metrics").body.decode()
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if VERSION in line)
    names = ("mlengine_version_wakes_total", "mlengine_version_failed_wakes_total")
    wakes, failed = (int(found.get(f'{name}{{version="{VERSION}"}}', 0)) for name in names)
    return wakes, failed


def test_a_line_without_a_command_is_told_every_one_that_there_is(engine: Engine) -> None:
    said = engine.obeys(b"{}")
    assert set(re.findall("'([a-z]+)'", said.pop("error"))) == {
        "routing", "stats", "tally", "subscribe", "asleep", "shutdown",
    }  # fmt: skip
    assert said == {"ok": False}


def test_a_prediction_wakes_its_version_and_is_answered(door: Door, engine: Engine) -> None:
    before = woken(door)
    door.control.push(routes(door, v1=ASLEEP))
    with door.connect() as one, door.connect() as two:
        one.send(request() * 3)
        assert engine.wakes() == VERSION
        two.send(request())
        wait_until(lambda: door.control.stats()[VERSION]["held"] == 2)  # one a connection
        door.control.push(door.snapshot)
        answers = [one.answer() for _ in range(3)] + [two.answer()]
    assert [answer.status for answer in answers] == [200] * 4
    assert {answer.headers["x-mlengine-version"] for answer in answers} == {VERSION}
    assert woken(door) == (before[0] + 1, before[1])


def test_without_an_engine_a_sleeping_version_says_so(door: Door) -> None:
    before = woken(door)
    door.control.push(routes(door, v1=ASLEEP))
    answer = door.ask("POST", PREDICT, BODY)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "asleep, and the engine that would wake it is away" in answer.json["error"]["message"]
    assert woken(door) == (before[0], before[1] + 1)


def test_a_version_that_cannot_wake_says_why(door: Door, engine: Engine) -> None:
    before = woken(door)
    door.control.push(routes(door, v1=ASLEEP))
    with door.connect() as caller:
        for problem in ("No memory.", "No memory yet."):  # asked anew by each that comes after
            caller.send(request())
            assert engine.wakes() == VERSION
            door.control.refuse(VERSION, problem)
            answer = caller.answer()
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert problem in answer.json["error"]["message"]
    assert woken(door) == (before[0], before[1] + 2)


def test_an_engine_that_comes_back_is_asked_for_what_waits(door: Door) -> None:
    door.control.push(routes(door, v1=ASLEEP))
    first = Engine(door)
    with door.connect() as caller:
        caller.send(request())
        assert first.wakes() == VERSION
        first.close()
        next_one = Engine(door)
        assert next_one.wakes() == VERSION
        next_one.close()
        door.control.push(door.snapshot)
        assert caller.answer().status == 200


def test_the_least_loaded_worker_gets_the_prediction(door: Door, second: Backends) -> None:
    both = [door.backends.worker_socket, second.worker_socket]
    door.control.push(routes(door, v1=Route("READY", both)))
    with door.connect() as stuck, door.connect() as caller:
        stuck.send(head("POST", PREDICT, length=4) + b"slow")  # the first of them has one for ever
        wait_until(lambda: door.control.stats()[VERSION]["load"] == 1)
        before = second.answered()
        for _ in range(5):
            caller.send(request())
            assert caller.answer().status == 200
        assert second.answered() == before + 5


def test_what_waits_for_a_dead_worker_goes_to_another(door: Door, second: Backends) -> None:
    both = [door.backends.worker_socket, second.worker_socket]
    second.stop("worker")
    door.backends.stop("worker")
    door.control.push(routes(door, v1=Route("READY", both)))
    with door.connect() as one, door.connect() as two:
        for caller in (one, two):  # one at each door
            caller.send(request())
        wait_until(lambda: door.control.stats()[VERSION]["load"] == 2)
        second.start_worker()
        assert [one.answer().status, two.answer().status] == [200, 200]
    door.backends.start_worker()


def test_what_was_given_to_nobody_follows_the_default(door: Door, engine: Engine) -> None:
    up = Route("READY", [door.backends.worker_socket])
    door.control.push(routes(door, v1=ASLEEP, v2=up))
    with door.connect() as caller:
        caller.send(request())
        assert engine.wakes() == VERSION
        door.control.push(routes(door, default=OTHER, v2=up))
        answer = caller.answer()
    assert (answer.status, answer.headers["x-mlengine-version"]) == (200, OTHER)


def test_what_a_sleeping_version_holds_follows_the_default(door: Door, engine: Engine) -> None:
    up = Route("READY", [door.backends.worker_socket])
    door.control.push(routes(door, v1=ASLEEP, v2=up))
    named = head("POST", f"/v1/{VERSION}:predict", length=len(BODY)) + BODY
    with door.connect() as one, door.connect() as two, door.connect() as three:
        one.send(request())
        assert engine.wakes() == VERSION
        two.send(request())
        three.send(named)
        wait_until(lambda: door.control.stats()[VERSION]["held"] == 3)
        door.control.push(routes(door, default=OTHER, v1=ASLEEP, v2=up))
        for caller in (one, two):
            answer = caller.answer()
            assert (answer.status, answer.headers["x-mlengine-version"]) == (200, OTHER)
        assert door.control.stats()[VERSION]["held"] == 1
        door.control.push(routes(door, default=OTHER, v1=up, v2=up))
        assert three.answer().headers["x-mlengine-version"] == VERSION


def test_what_waits_for_a_dead_worker_follows_the_default(door: Door, second: Backends) -> None:
    up = Route("READY", [door.backends.worker_socket])
    other = Route("READY", [second.worker_socket])
    door.backends.stop("worker")
    door.control.push(routes(door, v1=up, v2=other))
    with door.connect() as caller:
        caller.send(request())
        wait_until(lambda: door.control.stats()[VERSION]["load"] == 1)
        door.control.push(routes(door, default=OTHER, v1=up, v2=other))
        answer = caller.answer()
    door.backends.start_worker()
    assert (answer.status, answer.headers["x-mlengine-version"]) == (200, OTHER)
    assert door.ask("POST", f"/v1/{VERSION}:predict", BODY).status == 200


def test_a_worker_that_was_put_to_sleep_still_answers_what_it_has(door: Door) -> None:
    with door.connect() as caller:
        caller.send(head("POST", PREDICT, length=4) + b"slow")
        wait_until(lambda: door.control.stats()[VERSION]["load"] >= 1)
        door.control.push(routes(door, v1=ASLEEP))
        assert door.control.draining() == [door.backends.worker_socket]


# --- bodies that go past a worker's link ---


def longer(snapshot: Snapshot) -> Snapshot:
    """Let bodies be long enough to be sent on as they come."""
    limits = msgspec.structs.replace(snapshot.limits, max_body_bytes=2 * MIN_BYTES)
    return msgspec.structs.replace(snapshot, limits=limits)


@contextlib.contextmanager
def on_its_way(door: Door, backends: Backends) -> Iterator[Caller]:
    """A long body that a worker of `OTHER` has, all but its last byte."""
    up = Route("READY", [backends.worker_socket])
    door.control.push(longer(routes(door, default=OTHER, v2=up)))
    with door.connect() as caller:
        caller.send(head("POST", PREDICT, length=MIN_BYTES) + b" " * (MIN_BYTES - 1))
        wait_until(lambda: backends.half_bytes() >= MIN_BYTES - 1)
        yield caller


def test_a_long_body_keeps_its_worker_until_it_is_answered(door: Door, second: Backends) -> None:
    with on_its_way(door, second) as caller:
        assert door.control.stats()[OTHER]["load"] == 1
        door.control.push(longer(routes(door, default=OTHER, v2=ASLEEP)))
        assert second.worker_socket in door.control.draining()
        caller.send(b" ")
        assert caller.answer().json == {"predictions": MIN_BYTES}
        wait_until(lambda: second.worker_socket not in door.control.draining())


def test_a_long_body_is_counted_as_it_ends(door: Door, second: Backends) -> None:
    def counted() -> tuple[int, int, int, int]:
        stats = door.control.stats()[OTHER]
        statuses = stats["statuses"]
        good, bad = statuses.get("200", 0), statuses.get("503", 0)
        return good, bad, sum(stats["buckets"]), stats["errors"]

    with on_its_way(door, second) as caller:
        good, bad, answers, errors = counted()
        caller.send(b" ")
        assert caller.answer().status == 200
    assert counted() == (good + 1, bad, answers + 1, errors)
    with on_its_way(door, second) as caller:
        assert counted() == (good + 1, bad, answers + 1, errors)
        second.stop("worker")
        assert caller.answer().status == 503
    assert counted() == (good + 1, bad + 1, answers + 1, errors + 1)
    second.start_worker()


def test_a_long_body_goes_to_a_worker_that_is_up(door: Door, second: Backends) -> None:
    second.stop("worker")
    both = [second.worker_socket, door.backends.worker_socket]
    door.control.push(longer(routes(door, v1=Route("READY", both))))
    assert door.ask("POST", PREDICT, BODY).status == 200  # it came to the closed door first
    body = b" " * MIN_BYTES
    assert {door.ask("POST", PREDICT, body).status for _ in range(12)} == {200}


def test_a_worker_that_is_to_go_does_not_wait_for_ever() -> None:
    class Slow:
        said = ""

        def failed(self, error: EngineError) -> None:
            self.said = str(error)

    loop = asyncio.new_event_loop()
    link = WorkerLink("/nowhere", version=VERSION, timeout_s=60.0, wait_s=2.0, loop=loop)
    slow = Slow()
    link.uploads.add(slow)
    link.tick(time.monotonic() + 3600)
    assert (link.load, slow.said) == (1, "")
    link.retire()
    link.tick(time.monotonic())
    assert slow.said == ""
    link.tick(time.monotonic() + 61)
    assert "had to go" in slow.said
    loop.close()
