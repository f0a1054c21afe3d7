"""Writes that share a commit: each has its own end, whatever becomes of the others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from mlengine.core.errors import NotFound, Unavailable
from mlengine.store.groupcommit import GroupCommit
from tests.waiting import wait_until


class Ledger:
    """Stands for a database: a transaction is a list that is kept, or is not."""

    def __init__(self) -> None:
        self.kept: list[list[str]] = []
        self.turn = threading.Lock()
        self.begun = threading.Semaphore(0)
        self.broken: BaseException | None = None

    def run(self, work: Callable[[Any], Any]) -> Any:
        self.begun.release()
        with self.turn:
            if self.broken:
                raise self.broken
            lines: list[str] = []
            result = work(lines)
            self.kept.append(lines)
            return result


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def line(text: str) -> Callable[[Any], str]:
    def work(lines: Any) -> str:
        lines.append(text)
        return text.upper()

    return work


def refused(lines: Any) -> str:
    lines.append("never")
    raise NotFound("It is not there.")


def together(
    ledger: Ledger, group: GroupCommit, works: list[Callable[[Any], str]]
) -> list[Future[str]]:
    """Have works wait while somebody writes; return what becomes of them once it is over."""
    with ThreadPoolExecutor(len(works)) as pool:
        with ledger.turn:
            futures = [pool.submit(group, works[0])]
            assert ledger.begun.acquire(timeout=60)  # it leads, and waits for its turn
            for count, work in enumerate(works[1:], 2):
                futures.append(pool.submit(group, work))
                wait_until(lambda count=count: len(group._waiting) == count)
        return futures


def test_one_alone_is_a_transaction_of_its_own(ledger: Ledger) -> None:
    group = GroupCommit(ledger.run, patience_s=60)
    assert [group(line("a")), group(line("b"))] == ["A", "B"]
    assert ledger.kept == [["a"], ["b"]]


def test_those_that_wait_share_a_transaction_in_their_order(ledger: Ledger) -> None:
    group = GroupCommit(ledger.run, patience_s=60)
    texts = [f"t{n}" for n in range(8)]
    futures = together(ledger, group, [line(text) for text in texts])
    assert [future.result(60) for future in futures] == [text.upper() for text in texts]
    assert ledger.kept == [texts]


def test_who_fails_takes_nobody_along(ledger: Ledger) -> None:
    group = GroupCommit(ledger.run, patience_s=60)
    futures = together(ledger, group, [line("a"), refused, line("b")])
    assert (futures[0].result(60), futures[2].result(60)) == ("A", "B")
    with pytest.raises(NotFound):
        futures[1].result(60)
    assert ledger.kept == [["a"], ["b"]]
    assert group(line("c")) == "C"


def test_more_than_a_transaction_takes_are_led_by_one_of_them(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GroupCommit._take, "__defaults__", (2,))
    group = GroupCommit(ledger.run, patience_s=60)
    futures = together(ledger, group, [line(f"t{n}") for n in range(5)])
    assert [future.result(60) for future in futures] == [f"T{n}" for n in range(5)]
    assert ledger.kept == [["t0", "t1"], ["t2", "t3"], ["t4"]]


def test_who_has_waited_too_long_is_told_and_is_not_written(ledger: Ledger) -> None:
    group = GroupCommit(ledger.run, patience_s=0.01)
    with ThreadPoolExecutor(1) as pool:
        with ledger.turn:
            leader = pool.submit(group, line("a"))
            assert ledger.begun.acquire(timeout=60)
            with pytest.raises(Unavailable, match="busy"):
                group(line("b"))
        assert leader.result(60) == "A"
    assert ledger.kept == [["a"]]


@pytest.mark.parametrize("error", [Unavailable("The disk is full."), KeyboardInterrupt()])
def test_a_database_that_is_away_is_so_for_all_and_then_works_again(
    ledger: Ledger, error: BaseException
) -> None:
    group = GroupCommit(ledger.run, patience_s=60)
    ledger.broken = error
    with pytest.raises(type(error)):
        group(line("a"))
    ledger.broken = None
    assert group(line("b")) == "B"
    assert ledger.kept == [["b"]]


def test_nothing_is_lost_or_doubled_among_many(ledger: Ledger) -> None:
    group = GroupCommit(ledger.run, patience_s=60)
    texts = [f"t{n}" for n in range(400)]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda text: group(line(text)), texts))
    assert found == [text.upper() for text in texts]
    assert sorted(text for lines in ledger.kept for text in lines) == sorted(texts)
