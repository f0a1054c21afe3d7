"""Who stays awake: only where it brings more answers, and never for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.prediction.gateway import vigil as subject
from mlengine.prediction.gateway.vigil import Gain, Vigil
from mlengine.prediction.gateway.workers import WorkerLink
from mlengine.runtime.frames import PREDICT, STAY, STAY_S, FrameReader, pack
from tests.fakes.gateway import PREDICT as PATH
from tests.fakes.gateway import Caller, head, open_door
from tests.waiting import wait_until

rates = st.floats(100.0, 100_000.0)


def live(gain: Gain, asleep_per_s: float, awake_per_s: float, *, from_s: float) -> float:
    """Ask and answer for ten seconds, as fast as either state allows; return the share awake."""
    now_s, awake_s = from_s, 0.0
    while now_s < from_s + 10.0:
        is_awake = gain.is_awake(now_s)
        answers = 1 + int((awake_per_s if is_awake else asleep_per_s) * 0.001)
        took_s = answers / (awake_per_s if is_awake else asleep_per_s)
        gain.answered(answers)
        now_s += took_s
        awake_s += took_s * is_awake
    return awake_s / (now_s - from_s)


@given(st.lists(st.tuples(rates, rates), min_size=1, max_size=3))
def test_awake_is_who_gains_by_it_whatever_was_before(lives: list[tuple[float, float]]) -> None:
    gain, now_s = Gain(), 0.0
    for asleep_per_s, awake_per_s in lives:
        live(gain, asleep_per_s, awake_per_s, from_s=now_s)
        share = live(gain, asleep_per_s, awake_per_s, from_s=now_s + 20.0)
        now_s += 40.0
        if awake_per_s > 1.5 * asleep_per_s and asleep_per_s > 2500:
            assert share > 0.9
        if awake_per_s < 1.1 * asleep_per_s or asleep_per_s < 1500:
            assert share < 0.1


@given(st.lists(rates, min_size=200, max_size=600))
def test_whatever_comes_it_is_tried_again_and_again(per_s: list[float]) -> None:
    """Each rate is kept for 20 ms; so no trial compares what it should not, but any may win."""
    gain, now_s, awake_s = Gain(), 0.0, 0.0
    for rate in per_s:
        for _ in range(20):
            awake_s = awake_s + 0.001 if gain.is_awake(now_s) else 0.0
            assert awake_s < subject._TRIAL_S + subject._MAX_KEEP_S + 0.002
            gain.answered(int(rate * 0.001))
            now_s += 0.001


class Loop:
    """Turns when it is told to."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        self.soon.append(call)

    def turn(self) -> int:
        """Run what waits; return how much waits then."""
        now, self.soon = self.soon, []
        for call in now:
            call()
        return len(self.soon)


class Always(Gain):
    """Is awake."""

    def is_awake(self, now_s: float) -> bool:
        return True


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    times = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: times[0])
    return times


def awake(loop: Loop, *, is_allowed: bool = True) -> Vigil:
    vigil = Vigil(cast("Any", loop), is_allowed=is_allowed)
    vigil._gain = Always()
    return vigil


def test_the_loop_turns_until_all_have_answered(
    now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever else waits for its CPU gets it between two turns, and never after the last."""
    let_others: list[None] = []
    monkeypatch.setattr("os.sched_yield", lambda: let_others.append(None))
    loop = Loop()
    vigil = awake(loop)
    assert vigil.sent("a", now[0]) and vigil.sent("b", now[0])
    assert loop.turn() == 1
    vigil.heard("a", 1, is_last=False)
    assert loop.turn() == 1
    vigil.heard("a", 1, is_last=True)
    assert loop.turn() == 1
    vigil.heard("b", 1, is_last=True)
    assert loop.turn() == 0
    assert len(let_others) == 3
    assert vigil.sent("a", now[0])
    assert loop.turn() == 1


def test_the_loop_sleeps_where_the_answer_takes_its_time(now: list[float]) -> None:
    loop = Loop()
    vigil = awake(loop)
    vigil.sent("a", now[0])
    now[0] += 0.9 * STAY_S
    assert loop.turn() == 1
    now[0] += 0.2 * STAY_S
    assert loop.turn() == 0
    assert vigil.sent("a", now[0])  # the one before is not waited for any more
    vigil.heard("a", 1, is_last=True)
    assert loop.turn() == 0


def test_nobody_stays_awake_where_it_is_not_allowed(now: list[float]) -> None:
    loop = Loop()
    vigil = awake(loop, is_allowed=False)
    assert not vigil.sent("a", now[0])
    assert not loop.soon
    assert not vigil.is_kept


class Asked:
    """A prediction."""

    kind, body, gone, follows_default = PREDICT, b"{}", False, False

    def answered(self, status: int, payload: bytes) -> None: ...
    def failed(self, error: Exception) -> None: ...
    def unsent(self) -> None: ...


def linked(loop: Loop, *, is_allowed: bool) -> WorkerLink:
    return WorkerLink(
        "/nowhere", version="v", timeout_s=1.0, wait_s=1.0,
        loop=cast("asyncio.AbstractEventLoop", loop), vigil=awake(loop, is_allowed=is_allowed),
    )  # fmt: skip


class Line:
    """Takes what a link writes."""

    def __init__(self) -> None:
        self.written = b""

    def set_write_buffer_limits(self, high: int) -> None: ...

    def write(self, data: bytes) -> None:
        self.written += data


def test_how_long_a_worker_looked_is_counted(now: list[float]) -> None:
    loop, line = Loop(), Line()
    link = linked(loop, is_allowed=True)
    link.connection_made(cast("Any", line))
    for number, pause_s in enumerate((0.0, 0.00005, 1.0), start=1):
        now[0] += pause_s
        link.submit(cast("Any", Asked()))
        loop.turn()
        now[0] += 0.0001
        link.data_received(pack(number, 200, b"{}"))
    assert link.counts.awake_s == pytest.approx(0.00005 + STAY_S)


@pytest.mark.parametrize("is_allowed", [True, False])
def test_a_worker_is_told_behind_its_predictions(now: list[float], is_allowed: bool) -> None:
    loop, line = Loop(), Line()
    link = linked(loop, is_allowed=is_allowed)
    link.connection_made(cast("Any", line))
    for _ in range(3):
        link.submit(cast("Any", Asked()))
    loop.turn()
    told = [frame.kind for frame in FrameReader(max_payload_bytes=100).feed(line.written)]
    assert told == [PREDICT] * 3 + [STAY] * is_allowed


def test_what_a_worker_computes_is_not_counted_as_looking(now: list[float]) -> None:
    loop, line = Loop(), Line()
    link = linked(loop, is_allowed=True)
    link.connection_made(cast("Any", line))
    for _ in range(3):  # it owes an answer all the while
        link.submit(cast("Any", Asked()))
        loop.turn()
        now[0] += 0.00005
    link.data_received(pack(1, 200, b"{}"))
    link.submit(cast("Any", Asked()))
    loop.turn()
    assert link.counts.awake_s == 0


def test_only_answers_that_somebody_waits_for_count(now: list[float]) -> None:
    loop = Loop()
    link = linked(loop, is_allowed=True)
    counted: list[int] = []
    link._vigil._gain.answered = counted.append  # type: ignore[method-assign]
    link.connection_made(cast("Any", Line()))
    for _ in range(2):
        link.submit(cast("Any", Asked()))
    loop.turn()
    link.data_received(b"".join(pack(number, 200, b"{}") for number in (0, 1, 1, 2, 3, 77)))
    assert counted == [2]


def test_a_gateway_tells_its_workers_while_it_is_allowed() -> None:
    """Callers who send ahead are more than 2,000 a second on any machine."""
    body = b'{"instances": [1]}'
    ahead = (head("POST", PATH, length=len(body)) + body) * 100

    def press(caller: Caller) -> None:
        caller.send(ahead)
        for _ in range(100):
            assert caller.answer().json == {"predictions": [1]}

    with open_door() as door, door.connect() as caller:
        stays = door.backends.stays
        wait_until(lambda: press(caller) or stays() > 0, 60)  # type: ignore[func-returns-value]
        door.control.push(msgspec.structs.replace(door.snapshot, may_stay_awake=False))
        press(caller)
        told = stays()
        for _ in range(20):
            press(caller)
        assert stays() == told
        assert b"mlengine_gateway_awake 0" in door.ask("GET", "/metrics").body
