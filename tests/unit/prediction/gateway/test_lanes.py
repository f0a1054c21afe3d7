"""Lanes in C and in Python: the same of the same, whatever comes and whoever goes."""

from __future__ import annotations

import gc
import logging
import weakref
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.prediction.gateway import lanes
from mlengine.runtime import speedups


class Kind(NamedTuple):
    lane: Any
    caller: Any
    hand_out: Any


IN_PYTHON = Kind(lanes.LaneInPython, lanes.CallerInPython, lanes.hand_out_in_python)
IN_C = Kind(speedups.Lane, speedups.Caller, speedups.hand_out)
KINDS = [
    pytest.param(IN_PYTHON, id="python"),
    pytest.param(
        IN_C, id="c", marks=pytest.mark.skipif(speedups.Lane is None, reason="not built in C")
    ),
]
HEAD = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n"


class Transport:
    def __init__(self, log: list[Any]) -> None:
        self.log = log
        self.is_closed = False
        self.is_full = False
        self.fails = False
        self.caller: Any = None

    def is_closing(self) -> bool:
        return self.is_closed

    def write(self, data: bytes) -> None:
        if self.fails:
            raise OSError("gone")
        self.log.append(("written", bytes(data)))
        if self.is_full:
            self.caller.is_clear = False


def scene(kind: Kind) -> tuple[Any, Any, Transport, list[Any]]:
    """A caller, the lane of the heads that are known, where it writes, and what happens."""
    log: list[Any] = []

    class Caller(kind.caller):  # type: ignore[misc]  # either of the two
        def received(self, data: bytes, /) -> None:
            log.append(("received", data))

        def catch_up(self) -> None:
            log.append(("catch up",))
            callers, asked, bodies, data = lane.take()
            log.append((asked, bodies, data))
            kind.hand_out(callers, [b"late"] * len(callers), b"head\r\n", 7.0)

    def read(body: bytes) -> bytes | None:
        return None if body.startswith(b"no") else body.upper()

    lane = kind.lane(read, lambda: log.append(("begun",)))
    caller, transport = Caller(), Transport(log)
    caller.transport, transport.caller = transport, caller
    caller.known = {HEAD % length: (length, lane) for length in (0, 2, 3, 10)}
    caller.is_clear = True
    return caller, lane, transport, log


bodies = st.sampled_from([b"", b"ab", b"no", b"abc", b"\r\n", b"0123456789"])
whole = bodies.map(lambda body: HEAD % len(body) + body)
pieces = st.one_of(
    whole,
    whole,
    whole.flatmap(lambda data: st.integers(0, len(data)).map(lambda end: data[:end])),
    whole.map(lambda data: data + b"GET / HTTP/1.1\r\n\r\n"),
    whole.map(lambda data: b"\r\n" + data),
    st.binary(max_size=12),
)
steps = st.one_of(
    st.tuples(st.just("data"), pieces),
    st.tuples(st.just("data"), pieces),
    st.tuples(st.just("answer"), st.sampled_from([b"[1]", b"", None])),
    st.tuples(st.sampled_from(["clear", "closed", "full", "fails", "gone", "forgotten"])),
)


def told(kind: Kind, script: list[Any]) -> list[Any]:
    caller, lane, transport, log = scene(kind)
    for name, *more in script:
        if name == "data":
            caller.data_received(more[0])
        elif name == "answer":
            callers, asked, bodies, data = lane.take()
            log.append((len(callers), asked, bodies, data))
            lines = [b"own: 1\r\n"][: len(more[0] or b"") % 2]  # of the first, or of nobody
            count = kind.hand_out(callers, more * len(callers), b"head\r\n", 3.0, lines)
            log.append(("answered", count))
        elif name == "clear":
            caller.is_clear = not caller.is_waiting
        elif name == "closed":
            transport.is_closed = not transport.is_closed
        elif name == "full":
            transport.is_full = not transport.is_full
        elif name == "fails":
            transport.fails = not transport.fails
        elif name == "gone":
            caller.is_waiting = caller.is_clear = False
        else:
            caller.known.clear()
        log.append((len(lane), caller.is_clear, caller.is_waiting, caller.deadline_s))
    return log


@pytest.mark.skipif(speedups.Lane is None, reason="not built in C")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@given(st.lists(steps, max_size=20))
def test_both_do_the_same(script: list[Any]) -> None:
    logging.disable(logging.CRITICAL)
    try:
        assert told(IN_PYTHON, script) == told(IN_C, script)
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("kind", KINDS)
def test_a_known_head_and_its_body_enter_the_lane(kind: Kind) -> None:
    caller, lane, _transport, log = scene(kind)
    caller.data_received(HEAD % 2 + b"ab")
    assert (len(lane), caller.is_waiting, caller.is_clear) == (1, True, False)
    assert caller.deadline_s == float("inf")
    assert log == [("begun",)]
    callers, asked, bodies, data = lane.take()
    assert (callers, asked, bodies, data) == ([caller], [b"AB"], [b"ab"], [HEAD % 2 + b"ab"])
    kind.hand_out(callers, [b"[1]"], b"head\r\n", 5.0, [b"own: 1\r\n"])
    assert log[-1] == ("written", b"head\r\nown: 1\r\ncontent-length: 3\r\n\r\n[1]")
    assert (caller.is_clear, caller.is_waiting, caller.deadline_s) == (True, False, 5.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "data",
    [
        HEAD % 2 + b"a", HEAD % 2 + b"abc", HEAD % 2, HEAD % 4 + b"abcd", HEAD % 2 + b"no",
        b" " + HEAD % 2 + b"ab", b"", b"\r\n\r\n", bytearray(HEAD % 2 + b"ab"),
    ],
)  # fmt: skip
def test_anything_else_goes_the_general_way(kind: Kind, data: bytes) -> None:
    caller, lane, _transport, log = scene(kind)
    caller.data_received(data)
    assert log == [("received", data)]
    assert (len(lane), caller.is_clear, caller.is_waiting) == (0, False, False)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_enters_while_something_is_owed(kind: Kind) -> None:
    caller, _lane, _transport, log = scene(kind)
    caller.is_clear = False
    caller.data_received(HEAD % 2 + b"ab")
    assert log == [("received", HEAD % 2 + b"ab")]


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_while_one_waits_comes_after_its_answer(kind: Kind) -> None:
    caller, _lane, _transport, log = scene(kind)
    caller.data_received(HEAD % 2 + b"ab")
    caller.data_received(HEAD % 3 + b"abc")
    assert [entry[0] for entry in log[1:]] == ["catch up", [b"AB"], "written", "received"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_that_cannot_be_written_to_keeps_nobody_from_an_answer(kind: Kind) -> None:
    first, lane, _, log = scene(kind)
    broken, _, transport, _ = scene(kind)
    last, _, _, _ = scene(kind)
    log_of_last = last.transport.log
    transport.fails = True
    for caller in (first, broken, last):
        caller.known = {HEAD % 2: (2, lane)}
        caller.data_received(HEAD % 2 + b"ab")
    callers, *_ = lane.take()
    kind.hand_out(callers, [b"1", b"2", b"3"], b"", 1.0)
    assert log[-1][0] == log_of_last[-1][0] == "written"
    assert not (broken.is_clear or broken.is_waiting)


@pytest.mark.parametrize("kind", KINDS)
def test_what_reading_raises_is_raised_and_nobody_waits(kind: Kind) -> None:
    caller, _lane, _transport, log = scene(kind)

    def read(_body: bytes) -> None:
        raise MemoryError

    lane = kind.lane(read, lambda: None)
    caller.known = {HEAD % 2: (2, lane)}
    with pytest.raises(MemoryError):
        caller.data_received(HEAD % 2 + b"ab")
    assert (len(lane), caller.is_waiting, log) == (0, False, [])


@pytest.mark.skipif(speedups.Lane is None, reason="not built in C")
def test_what_is_no_caller_is_refused() -> None:
    with pytest.raises(TypeError):
        IN_C.hand_out([object()], [b"1"], b"", 1.0)
    with pytest.raises(TypeError):
        IN_C.hand_out(None, [b"1"], b"", 1.0)
    caller, _lane, _transport, log = scene(IN_C)
    for known in ({HEAD % 2: "ab"}, {HEAD % 2: (2, "ab")}, {HEAD % 2: (2,)}, None, "ab"):
        caller.known = known
        caller.is_clear = True
        caller.data_received(HEAD % 2 + b"ab")
    assert [entry[0] for entry in log] == ["received"] * 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_caller_and_its_lane_are_forgotten_together(kind: Kind) -> None:
    caller, lane, transport, _log = scene(kind)
    caller.data_received(HEAD % 2 + b"ab")
    gone = weakref.ref(caller)
    del caller, lane, transport, _log
    gc.collect()
    assert gone() is None
