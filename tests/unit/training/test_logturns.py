"""Who reads logs leaves the engine to the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlengine.training import logs
from mlengine.training.logturns import LogTurns
from tests.unit.training.test_reconciler import P, World


class _Rests(threading.Event):
    """Notes how long it was to be waited for, and lets nobody wait."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.noted.append(timeout or 0.0)
        return False


def _work(seconds: float) -> None:
    until_s = time.thread_time() + seconds
    while time.thread_time() < until_s:
        pass


def test_who_comes_next_waits_for_longer_than_the_reading_took() -> None:
    rests = _Rests()
    turns = LogTurns(rests)
    with turns.one():
        _work(0.5)
    with turns.one():
        pass
    first, second = rests.noted
    assert first == 0.0
    assert 0.5 < second <= 3 * 0.7


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.reconciler.close()
    world.jobs.close()
    world.store.close()


def test_many_may_wait_for_a_log_and_one_reads_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.submit("a")
    reading = threading.Lock()
    together: list[bool] = []
    together_at_first = threading.Barrier(4)

    def read(*args: Any, **named: Any) -> Any:
        together.append(not reading.acquire(blocking=False))
        _work(0.01)
        if not together[-1]:
            reading.release()
        return [], ""

    def ask() -> None:
        together_at_first.wait(30)
        world.jobs.read_logs(P, "a", cursor="", task_name="", wait_s=0.0)

    monkeypatch.setattr(logs, "read", read)
    with ThreadPoolExecutor(4) as callers:
        for asked in [callers.submit(ask) for _ in range(4)]:
            asked.result(60)
    assert together == [False] * 4
