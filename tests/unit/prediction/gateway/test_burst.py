"""Answers that are sent in a row are those that would have been sent one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.prediction.gateway.burst import Burst
from mlengine.prediction.gateway.heads import HeadMemo
from tests.unit.prediction.gateway.test_heads import GOOD, Gateway, Transport, arrivals, post


def in_a_row(gateway: Gateway) -> None:
    gateway.server.burst.begin(1000)
    try:
        gateway.answer()
    finally:
        gateway.server.burst.end()


@given(arrivals(), st.lists(st.booleans(), min_size=8, max_size=8))
def test_what_is_said_does_not_depend_on_bursts(pieces: list[bytes], prompt: list[bool]) -> None:
    """Also where callers send ahead, or hang up after one."""
    pair: list[tuple[Gateway, Callable[[Gateway], None]]] = [
        (Gateway(HeadMemo(), max_body_bytes=300), Gateway.answer),
        (Gateway(HeadMemo(), max_body_bytes=300), in_a_row),
    ]
    for number, piece in enumerate([*pieces, *GOOD]):
        for gateway, answer in pair:
            gateway.receive(piece)
            if prompt[number % len(prompt)]:
                answer(gateway)
        assert pair[0][0].state == pair[1][0].state
    for gateway, answer in pair:
        for _ in range(len(pieces) + len(GOOD)):
            answer(gateway)
    assert pair[0][0].state == pair[1][0].state


def test_answers_wait_until_all_are_made() -> None:
    gateway = Gateway(HeadMemo())
    gateway.receive(post(b"aa"))
    gateway.server.burst.begin(16)
    gateway.answer()
    assert gateway.transport.said == b""
    gateway.server.burst.end()
    assert gateway.transport.said.endswith(b"aa")


def test_a_few_answers_go_out_at_once() -> None:
    gateway = Gateway(HeadMemo())
    gateway.receive(post(b"aa"))
    gateway.server.burst.begin(15)
    gateway.answer()
    assert gateway.transport.said.endswith(b"aa")
    gateway.server.burst.end()


@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_who_says_no_more_still_gets_all_answers(ahead: int) -> None:
    gateway = Gateway(HeadMemo())
    for body in (b"aa", b"bb", b"cc")[:ahead]:
        gateway.receive(post(body))
    assert gateway.connection.eof_received()
    for _ in range(ahead):
        in_a_row(gateway)
    assert gateway.transport.said.count(b"HTTP/1.1 200 OK") == ahead
    assert gateway.transport.state == "closed"


@pytest.mark.parametrize("state", ["closed", "aborted"])
def test_who_hangs_up_meanwhile_is_told_nothing(state: str) -> None:
    burst, gone, there = Burst(), Transport(), Transport()
    burst.begin(16)
    burst.send(cast("Any", gone), b"a")
    burst.send(cast("Any", there), b"b")
    gone.state = state
    burst.end()
    assert (gone.said, there.said) == (b"", b"b")


def test_nobody_waits_for_more_than_sixty_four() -> None:
    burst, there = Burst(), Transport()
    burst.begin(1000)
    for number in range(1, 200):
        burst.send(cast("Any", there), b"x")
        assert len(there.said) == number // 64 * 64
    burst.end()
    assert len(there.said) == 199
