"""Desks in one process: who is answered there, when and by whom else, and what is counted of it."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec
import pytest

from mlengine.core.access import token_digest
from mlengine.core.errors import EngineError
from mlengine.prediction.gateway import desk as desk_module
from mlengine.prediction.gateway import desks as desks_module
from mlengine.prediction.gateway import lanes
from mlengine.prediction.gateway.answers import GoodHeads
from mlengine.prediction.gateway.burst import Burst
from mlengine.prediction.gateway.desk import MOST_BYTES, Desk
from mlengine.prediction.gateway.desks import Desks
from mlengine.prediction.gateway.group import WorkerGroup
from mlengine.prediction.gateway.heads import KnownHead
from mlengine.prediction.gateway.http1 import CallerConnection
from mlengine.prediction.gateway.quota import Quotas
from mlengine.prediction.gateway.server import Server
from mlengine.prediction.gateway.vigil import Vigil
from mlengine.prediction.routing import Grant, Limits, PredictTarget, Route, Snapshot
from mlengine.runtime import speedups
from mlengine.runtime.frames import EXPLAIN, PREDICT
from tests.fakes.gateway import MODEL, TOKEN, VERSION, FakeWorker
from tests.fakes.gateway import PREDICT as PATH
from tests.fakes.gateway import head as http_head
from tests.waiting import wait_until

LIMITS = Limits()
GOOD, OTHER, BAD = "/good", "/other", "/bad"
HEAD = b"POST / HTTP/1.1\r\nKey: %b\r\nContent-Length: %d\r\n\r\n"
HEADS = GoodHeads(b"date: today\r\n")
TARGET = PredictTarget(MODEL, "")


class Capitals:
    """A shortcut that answers in capitals; some it does not read, and of some it has no answer."""

    def __init__(self) -> None:
        self.calls: list[list[bytes]] = []

    def read(self, body: bytes) -> bytes | None:
        return None if body.startswith(b"odd") else body

    def count(self, asked: bytes) -> int:
        return 1

    def answer(self, asked: Sequence[bytes]) -> list[bytes | None]:
        self.calls.append(list(asked))
        return [None if one.startswith(b"none") else one.upper() for one in asked]


class Library:
    """What the folders hold; none is read before it may be."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.may_be_read = threading.Event()
        self.may_be_read.set()
        self.problem: BaseException = OSError("nothing is there")
        self.held_bytes = 0

    def open(self, folder: Path) -> tuple[Capitals, int]:
        self.read.append(str(folder))
        assert self.may_be_read.wait(60)
        if str(folder) == BAD:
            raise self.problem
        return Capitals(), self.held_bytes


class Asked:
    """A prediction, and what its caller is told."""

    follows_default = False

    def __init__(self, told: list[Any], body: bytes, kind: int = PREDICT) -> None:
        self.body, self.kind, self.gone = body, kind, False
        self._told = told

    def answered(self, status: int, payload: bytes) -> None:
        self._told.append((self.body, status, payload))

    def failed(self, error: EngineError) -> None:
        self._told.append((self.body, error.http_status, str(error)))

    def unsent(self) -> None:
        raise AssertionError("nobody routes it anew")


class Transport:
    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.is_closed = False

    def is_closing(self) -> bool:
        return self.is_closed

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.said.append(data)

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.is_closed = True


class Kind(NamedTuple):
    lane: Any
    caller: Any
    hand_out: Any

    def connection(self) -> Any:
        """The gateway's class of connections, with callers of this kind."""
        if lanes.Caller is self.caller:
            return CallerConnection
        made = {k: v for k, v in vars(CallerConnection).items() if k not in _OF_EACH_CLASS}
        return type("Connection", (self.caller, asyncio.Protocol), made)


_OF_EACH_CLASS = ("__dict__", "__weakref__")
KINDS = [
    pytest.param(
        Kind(lanes.LaneInPython, lanes.CallerInPython, lanes.hand_out_in_python), id="python"
    ),
    pytest.param(
        Kind(speedups.Lane, speedups.Caller, speedups.hand_out), id="c",
        marks=pytest.mark.skipif(speedups.Lane is None, reason="not built in C"),
    ),
]  # fmt: skip


class InLane:
    """What a connection is that asks with heads of which the desks know, besides a `Caller`."""

    data_received: Callable[[bytes], None]
    is_waiting: bool
    deadline_s: float

    def __init__(self, desks: Desks, written: list[bytes], key: bytes) -> None:
        self.key = key
        self.known = desks.known
        self.transport = Transport()
        self.transport.said = written
        self.is_clear = True
        self.sent_on: list[bytes] = []
        self._desks = desks

    def received(self, data: bytes, /) -> None:
        self.sent_on.append(data)

    def catch_up(self) -> None:
        self._desks.answer_all()

    def ask(self, body: bytes) -> None:
        self.data_received(request(body, self.key))


class Gateway:
    """Desks, versions with one worker at most, who rings for that, and who is told."""

    def __init__(self, run_dir: Path, kind: Kind) -> None:
        self.kind = kind
        self.loop = loop = asyncio.new_event_loop()
        self.library = Library()
        self._burst, self._vigil = Burst(), Vigil(loop)
        self.now_s = 1000.0  # for quotas
        self.books: Any = SimpleNamespace(
            quotas=Quotas(lambda: self.now_s, wall_s=lambda: self.now_s), good_heads=HEADS,
            logs=SimpleNamespace(found={}), idle_until_s=lambda: 7.0,
        )  # fmt: skip
        self.desks = Desks(
            loop=loop, burst=self._burst, vigil=self._vigil, books=self.books,
            open_=self.library.open,
        )  # fmt: skip
        self.has_engine = True
        self.rung: list[str] = []
        self.told: list[Any] = []  # those who asked by `Asked`
        self.written: list[bytes] = []  # to those in lanes
        self._workers: list[FakeWorker] = []
        self._connected: set[Any] = set()
        self._socket = str(run_dir / "worker.sock")
        self._door = loop.run_until_complete(
            loop.create_unix_server(self._new_worker, self._socket)
        )
        self.group = self.new_group(VERSION)

    def new_group(self, version: str, **route: Any) -> WorkerGroup:
        group = WorkerGroup(
            version, wake=self._ring, loop=self.loop, burst=self._burst, vigil=self._vigil,
            desks=self.desks,
        )  # fmt: skip
        group.update(asleep(**route), LIMITS)
        return group

    def keep(self, held_bytes: int = 0) -> Capitals:
        """Have a desk for the version, and let those with bodies of a few bytes into its lane."""
        made = Capitals()
        desk = self.desks.keep(self.group, made, held_bytes)
        self.let_in(desk)
        return made

    def let_in(self, desk: Desk, grant: Grant | None = None) -> None:
        key = grant.key.encode() if grant is not None else b""
        for length in range(8):
            self.desks.know(HEAD % (key, length), KnownHead(TARGET, [], length, grant), desk)

    def wake(self, *, desk: str = "") -> None:
        """Have a worker from now on."""
        self.group.update(Route("READY", [self._socket], wakes=True, desk=desk), LIMITS)

    def ask(self, body: bytes, kind: int = PREDICT, *, of: WorkerGroup | None = None) -> Asked:
        asked = Asked(self.told, body, kind)
        (of or self.group).submit(asked)
        return asked

    def caller(self, key: str = "") -> InLane:
        made: Any = type("InLane", (InLane, self.kind.caller), {})
        caller: InLane = made(self.desks, self.written, key.encode())
        return caller

    def turn(self) -> None:
        """What the loop has to do now."""
        self.loop.run_until_complete(asyncio.sleep(0))

    def until(self, is_so: Callable[[], object]) -> None:
        wait_until(lambda: self.turn() or is_so())

    def answered_by_worker(self) -> int:
        return sum(worker.answers for worker in self._workers)

    def close(self) -> None:
        self.library.may_be_read.set()
        self.desks.end()
        if self.loop.is_closed():
            return
        self._door.close()
        self.group.retire()
        for transport in list(self._connected):
            transport.abort()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.wait([*tasks, self.loop.create_task(_nothing())]))
        self.turn()
        self.loop.close()

    def _ring(self, version: str) -> bool:
        self.rung.append(version)
        return self.has_engine

    def _new_worker(self) -> FakeWorker:
        self._workers.append(FakeWorker(self._connected))
        return self._workers[-1]


async def _nothing() -> None: ...


@pytest.fixture(params=KINDS)
def gateway(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    kind: Kind = request.param
    monkeypatch.setattr(desk_module, "Lane", kind.lane)
    monkeypatch.setattr(desk_module, "hand_out", kind.hand_out)
    with tempfile.TemporaryDirectory(prefix="gw-") as folder:
        made = Gateway(Path(folder), kind)
        yield made
        made.close()


def asleep(desk: str = "") -> Route:
    return Route("READY", [], wakes=True, desk=desk)


def request(body: bytes, key: bytes = b"") -> bytes:
    return HEAD % (key, len(body)) + body


def good(body: bytes) -> tuple[bytes, int, bytes]:
    """What a caller is told from the desk."""
    return body, 200, body.upper()


def counted(gateway: Gateway) -> tuple[int, int, int]:
    """Predictions of the version, those that were answered, and those of them at its desk."""
    counts = gateway.group.counts
    assert counts.statuses == {200: sum(counts.buckets)}
    return gateway.group.requests, counts.statuses[200], counts.at_desk


def echoed(body: bytes) -> tuple[bytes, int, bytes]:
    """What a caller is told from the worker."""
    return body, 200, b'{"predictions": %d}' % len(body)


def written(body: bytes) -> bytes:
    """What is written to a caller in the lane."""
    return b"%bcontent-length: %d\r\n\r\n%b" % (HEADS[VERSION], len(body), body.upper())


# --- what a desk answers ---


def test_what_a_turn_brings_is_answered_at_its_end_in_order(gateway: Gateway) -> None:
    """With one call of the shortcut for all who wait in a lane, and one for all others."""
    made = gateway.keep()
    first, second = gateway.caller(), gateway.caller()
    gateway.ask(b"a")
    first.ask(b"b")
    gateway.ask(b"cc")
    second.ask(b"ddd")
    assert (gateway.told, gateway.written, made.calls) == ([], [], [])
    gateway.turn()
    assert gateway.told == [good(b"a"), good(b"cc")]
    assert gateway.written == [written(b"b"), written(b"ddd")]
    assert sorted(made.calls) == [[b"a", b"cc"], [b"b", b"ddd"]]
    assert (first.deadline_s, first.is_clear, first.is_waiting) == (7.0, True, False)
    first.ask(b"next")
    gateway.turn()
    assert gateway.written[2:] == [written(b"next")]
    assert made.calls[2:] == [[b"next"]]


@pytest.mark.parametrize(
    ("in_lane", "others", "calls"),
    [
        (64, 0, [64]),
        (0, 64, [64]),
        (65, 0, [64, 1]),
        (0, 65, [64, 1]),
        (75, 150, [64, 11, 64, 64, 22]),
    ],
)
def test_more_than_64_are_several_calls(
    gateway: Gateway, in_lane: int, others: int, calls: list[int]
) -> None:
    made = gateway.keep()
    callers = [b"c%d" % number for number in range(in_lane)]
    bodies = [b"p%d" % number for number in range(others)]
    for body in callers:
        gateway.caller().ask(body)
    for body in bodies:
        gateway.ask(body)
    gateway.turn()
    assert list(map(len, made.calls)) == calls
    assert gateway.written == [written(body) for body in callers]
    assert gateway.told == [good(body) for body in bodies]
    assert gateway.group.requests == gateway.group.counts.statuses[200] == in_lane + others


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"a", EXPLAIN), (b"a" * (MOST_BYTES + 1), PREDICT), (b"odd", PREDICT)],
    ids=["an explanation", "a long body", "one that the shortcut does not read"],
)
def test_what_is_not_for_a_desk_goes_to_the_worker_and_is_counted_once(
    gateway: Gateway, body: bytes, kind: int
) -> None:
    made = gateway.keep()
    gateway.wake()
    gateway.ask(body, kind)
    gateway.until(lambda: gateway.told)
    assert gateway.told == [echoed(body)]
    assert (made.calls, gateway.answered_by_worker()) == ([], 1)
    assert counted(gateway) == (1, 1, 0)


def test_the_longest_body_that_a_desk_takes(gateway: Gateway) -> None:
    gateway.keep()
    gateway.ask(b"a" * MOST_BYTES)
    gateway.turn()
    assert gateway.told == [good(b"a" * MOST_BYTES)]


def test_only_those_without_an_answer_go_to_the_worker(gateway: Gateway) -> None:
    made = gateway.keep()
    gateway.wake()
    for body in (b"a", b"none", b"b", b"none2"):
        gateway.ask(body)
    gateway.turn()
    assert gateway.told == [good(b"a"), good(b"b")]
    gateway.until(lambda: len(gateway.told) == 4)
    assert gateway.told[2:] == [echoed(b"none"), echoed(b"none2")]
    assert len(made.calls) == 1
    assert counted(gateway) == (4, 4, 2)


def test_one_in_the_lane_without_an_answer_goes_the_general_way(gateway: Gateway) -> None:
    gateway.keep()
    callers = [gateway.caller() for _ in range(3)]
    for caller, body in zip(callers, (b"a", b"none", b"b"), strict=True):
        caller.ask(body)
    gateway.turn()
    assert gateway.written == [written(b"a"), written(b"b")]
    assert [caller.sent_on for caller in callers] == [[], [request(b"none")], []]
    assert [caller.is_waiting for caller in callers] == [False] * 3
    assert counted(gateway) == (2, 2, 2), "the third is counted where it has gone"


def test_nobody_is_told_who_has_gone(gateway: Gateway) -> None:
    gateway.keep()
    gateway.wake()
    for body in (b"a", b"none"):
        gateway.ask(body).gone = True
    leaver, stayer = gateway.caller(), gateway.caller()
    for caller in (leaver, stayer):
        caller.ask(b"b")
    lost = gateway.caller()
    lost.ask(b"none")
    leaver.is_waiting = lost.is_waiting = False  # their connections were lost
    gateway.ask(b"c")
    gateway.turn()
    assert (gateway.told, gateway.written) == ([good(b"c")], [written(b"b")])
    assert lost.sent_on == []
    gateway.ask(b"odd")
    gateway.until(lambda: len(gateway.told) == 2)
    assert gateway.answered_by_worker() == 1, "nor is a worker asked for it"


def test_callers_in_lanes_and_others_are_counted_alike(gateway: Gateway) -> None:
    gateway.keep()
    group = gateway.group
    assert (counted(gateway), group.last_use_s) == ((0, 0, 0), 0.0)
    for _ in range(3):
        gateway.caller().ask(b"a")
    begun_s = gateway.loop.time()
    gateway.turn()
    assert counted(gateway) == (3, 3, 3)
    assert begun_s <= group.last_use_s <= gateway.loop.time()
    group.last_use_s = 0.0
    for _ in range(2):
        gateway.ask(b"a")
    gateway.turn()
    assert counted(gateway) == (5, 5, 5)
    assert begun_s <= group.last_use_s <= gateway.loop.time()
    assert 0.0 < group.counts.total_s <= 5 * (gateway.loop.time() - begun_s)
    assert (group.load, group.errors) == (0, 0)


def test_all_that_waits_can_be_answered_at_once_and_is_not_answered_again(gateway: Gateway) -> None:
    made = gateway.keep()
    second = gateway.new_group("second")
    gateway.desks.keep(second, Capitals(), 0)
    caller = gateway.caller()
    gateway.ask(b"a")
    caller.ask(b"b")
    gateway.ask(b"c", of=second)
    gateway.desks.answer_all()
    assert gateway.told == [good(b"a"), good(b"c")]
    assert gateway.written == [written(b"b")]
    caller.ask(b"next")
    gateway.turn()
    gateway.turn()
    assert len(gateway.told) == 2
    assert gateway.written[1:] == [written(b"next")]
    assert sorted(made.calls) == [[b"a"], [b"b"], [b"next"]]


# --- a connection in the lane ---


class Front:
    """A connection of a whole gateway, whose next request enters the lane of the desk."""

    def __init__(self, gateway: Gateway) -> None:
        gateway.wake()
        (link,) = gateway.group.links
        self.snapshot = Snapshot(
            token_digest=token_digest(TOKEN), models={MODEL: VERSION},
            versions={VERSION: Route("READY", [link.socket])},
        )  # fmt: skip
        self._gateway = gateway
        self.server = Server(self.snapshot, loop=gateway.loop)
        self.group = self.server.switchboard.link(TARGET)
        self.server.desks.keep(self.group, Capitals(), 0)
        self.connection, self.transport = self.connect()
        for body in (b"read", b"know"):
            self.ask(body)
            self.heard_in_time(body.upper())
        self.ask(b"lane")
        assert self.connection.is_waiting
        self.heard_in_time(b"LANE")

    def connect(self) -> tuple[Any, Transport]:
        connection, transport = self._gateway.kind.connection()(self.server), Transport()
        connection.connection_made(transport)
        return connection, transport

    def send(self, data: bytes) -> None:
        self.connection.data_received(data)

    def ask(self, body: bytes) -> None:
        self.send(http_head("POST", PATH, length=len(body)) + body)

    def heard(self) -> list[bytes]:
        """What has been answered since this was asked the last time."""
        said = b"".join(self.transport.said)
        self.transport.said.clear()
        heads = said.split(b"HTTP/1.1 200 OK\r\n")
        return [answer.partition(b"\r\n\r\n")[2] for answer in heads[1:]]

    def heard_in_time(self, *answers: bytes) -> None:
        found: list[bytes] = []
        self._gateway.until(lambda: found.extend(self.heard()) or len(found) >= len(answers))
        assert found == list(answers)

    def close(self) -> None:
        self.group.retire()
        self.server.close()


@pytest.fixture
def front(gateway: Gateway) -> Iterator[Front]:
    made = Front(gateway)
    yield made
    made.close()


HEALTHY = b'{"status":"ok"}\n'


def test_one_in_the_lane_is_counted_once_whoever_answers_it(front: Front) -> None:
    bodies = [b"fine", b"none", b"oddd", b"well"]
    answers = [b"FINE", b'{"predictions": 4}', b'{"predictions": 4}', b"WELL"]
    for number, (body, answer) in enumerate(zip(bodies, answers, strict=True), 3):
        assert front.group.requests == number
        front.ask(body)
        front.heard_in_time(answer)
    counts = front.group.counts
    assert (front.group.requests, counts.statuses, counts.at_desk) == (7, {200: 7}, 5)
    assert sum(counts.buckets) == 7


@pytest.mark.parametrize(("body", "answer"), [(b"fine", b"FINE"), (b"none", b"")])
def test_what_comes_while_one_waits_in_the_lane_is_answered_after_it(
    front: Front, body: bytes, answer: bytes
) -> None:
    health = http_head("GET", "/healthz")
    front.ask(body)
    assert front.heard() == []
    front.send(health[:9])
    front.send(health[9:])
    assert front.heard() == ([answer, HEALTHY] if answer else [])
    if not answer:
        front.heard_in_time(b'{"predictions": 4}', HEALTHY)
    front.ask(b"next")
    front.heard_in_time(b"NEXT")


def test_two_requests_of_a_connection_are_not_in_the_lane_at_once(front: Front) -> None:
    for _ in range(3):
        front.ask(b"once")
        front.ask(b"more")
        front.heard_in_time(b"ONCE", b"MORE")


def test_who_sends_no_more_while_he_waits_in_the_lane_is_answered(front: Front) -> None:
    front.ask(b"fine")
    assert not front.connection.eof_received(), "its transport is closed"
    assert front.heard() == [b"FINE"]


def test_who_sends_no_more_is_answered_by_a_worker_too(front: Front) -> None:
    front.ask(b"none")
    assert front.connection.eof_received(), "its transport is kept for the answer"
    front.heard_in_time(b'{"predictions": 4}')
    assert front.transport.is_closed


def test_one_that_waits_in_the_lane_is_not_idle(front: Front) -> None:
    front.ask(b"fine")
    front.connection.close_if_idle()
    front.connection.tick(front.server.now_s() + 3600.0)
    assert not front.transport.is_closed
    front.heard_in_time(b"FINE")
    front.connection.tick(front.server.now_s() + 3600.0)
    assert front.transport.is_closed, "it has been silent for too long"


def test_a_newer_snapshot_comes_after_what_waits_in_the_lane(front: Front) -> None:
    front.ask(b"fine")
    newer = msgspec.structs.replace(front.snapshot, token_digest=token_digest("another"))
    front.server.replace(newer)
    assert front.heard() == [b"FINE"]
    assert front.server.desks.known == {}
    front.ask(b"more")
    assert front.transport.said[0].startswith(b"HTTP/1.1 401 ")


def test_a_gateway_that_stops_answers_who_waits_and_lets_nobody_into_a_lane(
    gateway: Gateway, front: Front
) -> None:
    second, transport = front.connect()
    second.data_received(http_head("POST", PATH, length=4) + b"fi")  # it is not idle
    front.ask(b"fine")
    stopping = gateway.loop.create_task(front.server.drain(60.0))
    gateway.turn()
    assert front.heard() == [b"FINE"]
    assert front.transport.is_closed
    assert front.server.desks.known == {}
    second.data_received(b"ne")
    gateway.until(lambda: transport.said)
    assert b"\r\nconnection: close\r\n" in transport.said[0]
    assert transport.said[0].endswith(b"FINE")
    assert front.server.desks.known == {}
    stopping.cancel()


# --- keys ---


def test_each_key_has_a_lane_and_what_is_left_of_its_quota_is_told(gateway: Gateway) -> None:
    made = gateway.keep()
    desk = gateway.group.desk
    assert desk is not None
    wide = Grant(key="wide", projects=["p"])
    tight = Grant(key="tight", projects=["p"], requests_per_second=0.1, burst=5)
    for grant in (wide, tight):
        gateway.let_in(desk, grant)
    for body, key in ((b"a", "tight"), (b"b", ""), (b"c", "wide"), (b"d", "tight"), (b"e", "wide")):
        gateway.caller(key).ask(body)
    gateway.turn()
    assert sorted(made.calls) == [[b"a", b"d"], [b"b"], [b"c", b"e"]]
    told = {one[-1:].lower(): one for one in gateway.written}
    assert len(told) == 5
    left = {body: limits(one).get(b"remaining", b"-") for body, one in told.items()}
    assert left == {b"a": b"4", b"b": b"-", b"c": b"-", b"d": b"3", b"e": b"-"}
    assert told[b"c"] == written(b"c")
    assert counted(gateway) == (5, 5, 5)


def test_those_for_whom_nothing_is_left_hear_of_it_on_the_general_way(gateway: Gateway) -> None:
    gateway.keep()
    desk = gateway.group.desk
    assert desk is not None
    tight = Grant(key="tight", projects=["p"], requests_per_second=0.1, burst=3)
    gateway.let_in(desk, tight)
    callers = [gateway.caller("tight") for _ in range(6)]
    bodies = [b"a", b"none", b"b", b"c", b"d", b"e"]
    for caller, body in zip(callers, bodies, strict=True):
        caller.ask(body)
    gateway.turn()
    assert [limits(one)[b"remaining"] for one in gateway.written] == [b"2", b"1", b"0"]
    assert [one[-1:] for one in gateway.written] == [b"A", b"B", b"C"]
    sent_on = {body for caller, body in zip(callers, bodies, strict=True) if caller.sent_on}
    assert sent_on == {b"none", b"d", b"e"}
    assert not any(caller.is_waiting for caller in callers)
    assert sum(gateway.books.quotas.refused.values()) == 0, "who refuses them counts them"
    assert counted(gateway) == (3, 3, 3)
    gateway.now_s += 10.0
    callers[0].ask(b"f")
    gateway.turn()
    assert gateway.written[3].endswith(b"F")


def test_who_has_a_key_that_has_expired_goes_the_general_way(gateway: Gateway) -> None:
    gateway.keep()
    desk = gateway.group.desk
    assert desk is not None
    gateway.let_in(desk, Grant(key="short", projects=["p"], expires=1010.0))
    caller = gateway.caller("short")
    gateway.now_s = 1009.9
    caller.ask(b"a")
    gateway.turn()
    gateway.now_s = 1010.0
    caller.ask(b"b")
    gateway.turn()
    assert gateway.written == [written(b"a")]
    assert caller.sent_on == [request(b"b", b"short")]
    assert counted(gateway) == (1, 1, 1)


def test_what_a_newer_snapshot_grants_to_a_key_counts(gateway: Gateway) -> None:
    gateway.keep()
    desk = gateway.group.desk
    assert desk is not None
    for burst in (2, 9):  # what was taken of the first stays taken
        gateway.desks.answer_all()
        gateway.desks.forget_heads()
        grant = Grant(key="key", projects=["p"], requests_per_second=0.1, burst=burst)
        gateway.let_in(desk, grant)
        assert desk.lane(grant) is desk.lane(grant)
        gateway.caller("key").ask(b"a")
        gateway.turn()
    told = [limits(one) for one in gateway.written]
    assert [one[b"limit"] for one in told] == [b"2", b"9"]
    assert [one[b"remaining"] for one in told] == [b"1", b"0"]


def limits(answer: bytes) -> dict[bytes, bytes]:
    """What an answer says of a quota."""
    lines = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
    mark = b"x-ratelimit-"
    told = [line[len(mark) :].partition(b": ") for line in lines if line.startswith(mark)]
    return {name: value for name, _colon, value in told}


# --- how desks are opened ---


def test_a_version_with_numbers_is_not_woken_for_plain_predictions(gateway: Gateway) -> None:
    gateway.library.may_be_read.clear()
    gateway.group.update(asleep(GOOD), LIMITS)
    for body in (b"a", b"b", b"c"):
        gateway.ask(body)
    gateway.turn()
    assert (gateway.group.held, gateway.told) == (3, [])
    gateway.library.may_be_read.set()
    gateway.until(lambda: len(gateway.told) == 3)
    assert gateway.told == [good(b"a"), good(b"b"), good(b"c")]
    assert (gateway.group.held, len(gateway.desks)) == (0, 1)
    assert gateway.library.read == [GOOD]
    gateway.ask(b"d")
    gateway.turn()
    assert gateway.told[3:] == [good(b"d")]
    assert (gateway.rung, gateway.group.wakes, gateway.group.failed_wakes) == ([], 0, 0)
    assert counted(gateway) == (4, 4, 4)


@pytest.mark.parametrize(
    ("body", "kind"), [(b"why", EXPLAIN), (b"a" * (MOST_BYTES + 1), PREDICT)],
    ids=["an explanation", "a long body"],
)  # fmt: skip
@pytest.mark.parametrize("is_first", [True, False])
def test_what_no_desk_answers_wakes_a_version_whose_desk_is_opened(
    gateway: Gateway, body: bytes, kind: int, is_first: bool
) -> None:
    gateway.library.may_be_read.clear()
    gateway.group.update(asleep(GOOD), LIMITS)
    asked = [(body, kind), (b"plain", PREDICT)]
    for one in asked if is_first else reversed(asked):
        gateway.ask(*one)
    assert gateway.rung == [VERSION]
    gateway.library.may_be_read.set()
    gateway.until(lambda: gateway.told)
    assert gateway.told == [good(b"plain")]
    assert gateway.group.held == 1
    gateway.wake(desk=GOOD)
    gateway.until(lambda: len(gateway.told) == 2)
    assert gateway.told[1:] == [echoed(body)]
    assert (gateway.group.requests, gateway.group.wakes) == (2, 1)


def test_one_that_an_opened_desk_does_not_read_wakes_the_version(gateway: Gateway) -> None:
    gateway.group.update(asleep(GOOD), LIMITS)
    for body in (b"odd", b"a"):
        gateway.ask(body)
    assert gateway.rung == []
    gateway.until(lambda: gateway.told)
    assert (gateway.told, gateway.rung) == ([good(b"a")], [VERSION])
    gateway.wake(desk=GOOD)
    gateway.until(lambda: len(gateway.told) == 2)
    assert gateway.told[1:] == [echoed(b"odd")]
    assert gateway.group.requests == 2


def test_workers_that_are_awake_answer_while_a_desk_is_opened(gateway: Gateway) -> None:
    gateway.library.may_be_read.clear()
    gateway.wake(desk=GOOD)
    gateway.ask(b"a")
    gateway.until(lambda: gateway.told)
    assert gateway.told == [echoed(b"a")]
    gateway.library.may_be_read.set()
    gateway.until(lambda: gateway.group.desk is not None)
    gateway.ask(b"b")
    gateway.turn()
    assert gateway.told[1:] == [good(b"b")]


@pytest.mark.parametrize("problem", [OSError("no"), MemoryError(), AssertionError()], ids=repr)
def test_those_held_for_a_desk_that_cannot_be_opened_wake_the_version(
    gateway: Gateway, problem: BaseException
) -> None:
    gateway.library.problem = problem
    gateway.group.update(asleep(BAD), LIMITS)
    for body in (b"a", b"b"):
        gateway.ask(body)
    assert gateway.rung == []
    gateway.until(lambda: gateway.rung)
    assert (gateway.rung, gateway.group.held, gateway.told) == ([VERSION], 2, [])
    gateway.wake(desk=BAD)
    gateway.until(lambda: len(gateway.told) == 2)
    assert gateway.told == [echoed(b"a"), echoed(b"b")]
    assert (gateway.group.requests, gateway.group.wakes) == (2, 1)
    assert len(gateway.desks) == 0


def test_without_an_engine_those_held_hear_that_nobody_wakes_the_version(gateway: Gateway) -> None:
    gateway.has_engine = False
    gateway.group.update(asleep(BAD), LIMITS)
    gateway.ask(b"a")
    gateway.until(lambda: gateway.told)
    ((_body, status, said),) = gateway.told
    assert status == 503
    assert "asleep, and the engine that would wake it is away" in said
    assert gateway.group.failed_wakes == 1


def test_a_folder_that_could_not_be_read_is_not_read_again_but_another_is(gateway: Gateway) -> None:
    gateway.wake(desk=BAD)
    gateway.ask(b"a")
    gateway.until(lambda: gateway.group._is_unreadable and gateway.told)
    gateway.ask(b"b")
    gateway.wake(desk=BAD)  # the same in a newer snapshot
    gateway.ask(b"c")
    gateway.until(lambda: len(gateway.told) == 3)
    assert gateway.library.read == [BAD]
    gateway.wake(desk=OTHER)
    gateway.ask(b"d")
    gateway.until(lambda: gateway.group.desk is not None)
    assert gateway.library.read == [BAD, OTHER]
    gateway.wake(desk=BAD)  # it may be readable by now
    gateway.ask(b"e")
    gateway.until(lambda: len(gateway.library.read) == 3)
    assert gateway.library.read[2:] == [BAD]


def test_a_folder_that_was_read_for_nothing_is_not_taken(gateway: Gateway) -> None:
    gateway.library.may_be_read.clear()
    gateway.wake(desk=GOOD)
    gateway.ask(b"a")
    gateway.wake(desk="")
    later = gateway.new_group("later", desk=OTHER)
    gateway.ask(b"b", of=later)
    gateway.library.may_be_read.set()
    gateway.until(lambda: later.desk is not None)  # folders are read one after another
    assert gateway.library.read == [GOOD, OTHER]
    assert gateway.group.desk is None
    assert len(gateway.desks) == 1


def test_a_folder_of_a_version_that_was_retired_meanwhile_is_not_taken(gateway: Gateway) -> None:
    gateway.library.may_be_read.clear()
    gateway.group.update(asleep(GOOD), LIMITS)
    asked = gateway.ask(b"a")
    assert gateway.group.retire() == [asked]
    later = gateway.new_group("later", desk=OTHER)
    gateway.ask(b"b", of=later)
    gateway.library.may_be_read.set()
    gateway.until(lambda: later.desk is not None and gateway.told)
    assert (gateway.group.desk, len(gateway.desks)) == (None, 1)
    assert gateway.told == [good(b"b")]


def test_what_was_read_after_the_loop_has_ended_is_nobodys(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.library.may_be_read.clear()
    gateway.group.update(asleep(GOOD), LIMITS)
    gateway.ask(b"a")
    gateway.desks.end()
    gateway._door.close()
    gateway.turn()
    gateway.loop.close()
    readers = [one for one in threading.enumerate() if one.name.startswith("desk")]
    gateway.library.may_be_read.set()
    for reader in readers:
        reader.join(60)
    assert readers
    assert caplog.records == []


# --- how they are closed ---


def test_another_folder_closes_a_desk_once_what_waits_there_is_answered(gateway: Gateway) -> None:
    gateway.group.update(asleep(GOOD), LIMITS)
    gateway.ask(b"a")
    gateway.until(lambda: gateway.told)
    desk = gateway.group.desk
    assert desk is not None
    gateway.let_in(desk)
    gateway.ask(b"b")
    caller = gateway.caller()
    caller.ask(b"c")
    gateway.group.update(asleep(OTHER), LIMITS)
    assert (gateway.told[1:], gateway.written) == ([good(b"b")], [written(b"c")])
    assert (gateway.group.desk, len(gateway.desks), gateway.desks.known) == (None, 0, {})
    caller.ask(b"d")
    assert caller.sent_on == [request(b"d")], "nobody is in the lane of a desk that is closed"
    gateway.ask(b"e")
    gateway.until(lambda: len(gateway.told) == 3)
    assert gateway.group.desk not in (None, desk)
    assert gateway.library.read == [GOOD, OTHER]
    assert (gateway.told[2:], gateway.rung) == ([good(b"e")], [])


def test_the_same_folder_leaves_a_desk_as_it_is(gateway: Gateway) -> None:
    gateway.group.update(asleep(GOOD), LIMITS)
    gateway.ask(b"a")
    gateway.until(lambda: gateway.told)
    desk = gateway.group.desk
    gateway.group.update(asleep(GOOD), LIMITS)
    gateway.wake(desk=GOOD)
    assert gateway.group.desk is desk
    assert gateway.library.read == [GOOD]


def test_a_version_that_is_retired_answers_what_waits_at_its_desk(gateway: Gateway) -> None:
    gateway.keep()
    gateway.ask(b"a")
    gateway.caller().ask(b"b")
    lost = gateway.ask(b"none")
    assert gateway.group.retire() == [lost], "it is routed anew"
    assert (gateway.told, gateway.written) == ([good(b"a")], [written(b"b")])
    assert (gateway.group.desk, len(gateway.desks), gateway.desks.known) == (None, 0, {})
    gateway.turn()
    assert len(gateway.told) == 1


def test_a_desk_that_nobody_asked_for_a_quarter_of_an_hour_is_forgotten(gateway: Gateway) -> None:
    gateway.group.update(asleep(GOOD), LIMITS)
    gateway.ask(b"a")
    gateway.until(lambda: gateway.told)
    used_s = gateway.group.last_use_s
    gateway.desks.tick(used_s + 899.0)
    assert (len(gateway.desks), gateway.group.desk is None) == (1, False)
    gateway.desks.tick(used_s + 901.0)
    assert (len(gateway.desks), gateway.group.desk is None) == (0, True)
    gateway.ask(b"b")
    gateway.until(lambda: len(gateway.told) == 2)
    assert gateway.told[1:] == [good(b"b")]
    assert gateway.library.read == [GOOD, GOOD]
    assert gateway.rung == []


def test_a_caller_in_the_lane_keeps_a_desk(gateway: Gateway) -> None:
    gateway.keep()
    gateway.group.last_use_s = gateway.loop.time() - 901.0
    gateway.caller().ask(b"a")
    gateway.turn()
    gateway.desks.tick(gateway.loop.time())
    assert len(gateway.desks) == 1


def test_where_desks_hold_too_much_the_least_used_is_forgotten(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks_module, "_MOST_BYTES", 100)
    gateway.library.held_bytes = 40
    groups = [gateway.new_group(name, desk=f"/{name}") for name in ("one", "two", "three")]
    one, two, three = groups

    def ask(group: WorkerGroup) -> None:
        before = len(gateway.told)
        gateway.ask(b"a", of=group)
        gateway.until(lambda: len(gateway.told) == before + 1)

    def open_ones() -> list[WorkerGroup]:
        return [group for group in groups if group.desk is not None]

    for group in (one, two, one):
        ask(group)
    assert open_ones() == [one, two]
    ask(three)
    assert open_ones() == [one, three]
    assert len(gateway.desks) == 2
    ask(two)
    assert open_ones() == [two, three]
    assert gateway.library.read == ["/one", "/two", "/three", "/two"]
    assert gateway.told == [good(b"a")] * 5
    assert gateway.rung == []


def test_a_desk_that_has_just_been_opened_may_be_the_least_used(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks_module, "_MOST_BYTES", 100)
    gateway.keep(60)
    gateway.library.may_be_read.clear()
    late = gateway.new_group("late", desk=OTHER)
    gateway.library.held_bytes = 60
    gateway.ask(b"a", of=late)
    gateway.ask(b"b")
    gateway.turn()
    gateway.library.may_be_read.set()
    gateway.until(lambda: len(gateway.told) == 2)
    assert gateway.told == [good(b"b"), good(b"a")]
    assert len(gateway.desks) == 1


# --- who is let into lanes ---


def test_heads_are_forgotten_together(gateway: Gateway) -> None:
    gateway.keep()
    caller = gateway.caller()
    caller.ask(b"a")
    assert caller.is_waiting
    gateway.turn()
    gateway.desks.forget_heads()
    assert gateway.desks.known == {}
    caller.ask(b"b")
    assert caller.sent_on == [request(b"b")]


def test_any_desk_that_closes_takes_all_heads_with_it(gateway: Gateway) -> None:
    gateway.keep()
    other = gateway.new_group("other")
    gateway.desks.keep(other, Capitals(), 0)
    assert gateway.desks.known
    gateway.desks.close(other)
    assert gateway.desks.known == {}
    assert gateway.group.desk is not None
    gateway.let_in(gateway.group.desk)
    gateway.desks.close(other)  # it has none any more
    assert gateway.desks.known


def test_there_are_never_more_heads_than_may_be(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks_module, "_MOST_HEADS", 5)
    gateway.keep()
    desk = gateway.group.desk
    assert desk is not None
    seen = set()
    for number in range(23):
        gateway.desks.know(b"%d" % number, KnownHead(TARGET, [], number), desk)
        found = gateway.desks.known[b"%d" % number]
        assert found == (number, desk.lane(None)), "the newest is known"
        seen.add(len(gateway.desks.known))
    assert max(seen) == 5


def test_a_shortcut_that_stumbles_leaves_its_callers_to_the_general_way(gateway: Gateway) -> None:
    made = gateway.keep()

    def stumble(_asked: Sequence[bytes]) -> list[bytes | None]:
        raise MemoryError

    made.answer = stumble  # type: ignore[method-assign]
    gateway.wake()
    caller = gateway.caller()
    caller.ask(b"ab")
    gateway.ask(b"cd")
    gateway.turn()
    assert caller.sent_on == [request(b"ab", b"")]
    assert not caller.is_waiting
    gateway.until(lambda: gateway.told)
    assert [(body, status) for body, status, _ in gateway.told] == [(b"cd", 200)]


def test_lanes_of_keys_that_went_are_forgotten(gateway: Gateway) -> None:
    gateway.keep()
    desk = gateway.group.desk
    assert desk is not None
    for number in range(5):
        gateway.let_in(desk, Grant(key=f"k{number}"))
    caller = gateway.caller("k3")
    caller.ask(b"ab")
    gateway.desks.forget_heads()
    assert not desk._lanes
    gateway.turn()
    assert gateway.written[-1].endswith(b"\r\n\r\nAB"), "who was let in before is answered"


def test_those_held_for_a_desk_that_is_wanted_no_more_wake_the_version(gateway: Gateway) -> None:
    gateway.library.may_be_read.clear()
    gateway.group.update(asleep(desk=GOOD), LIMITS)
    gateway.ask(b"ab")
    assert gateway.rung == []
    gateway.group.update(asleep(), LIMITS)
    assert gateway.rung == [VERSION]
    gateway.wake()
    gateway.until(lambda: gateway.told)
    assert gateway.told[0][:2] == (b"ab", 200)
