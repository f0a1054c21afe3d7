"""Which workers are given up: those that took a prediction and answer none any more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from mlengine.prediction.gateway.workers import WorkerLink
from mlengine.runtime.frames import PREDICT, STATS, pack

_TIMEOUT_S = 60.0


class Asked:
    """A question to a worker."""

    body, gone, follows_default = b"{}", False, False

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.said: list[Any] = []

    def answered(self, status: int, payload: bytes) -> None:
        self.said.append(status)

    def failed(self, error: Exception) -> None:
        self.said.append(error)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def link() -> WorkerLink:
    loop = SimpleNamespace(call_soon=lambda work, *args: work(*args))
    made = WorkerLink(
        "s", version="v", timeout_s=_TIMEOUT_S, wait_s=1.0, loop=cast("Any", loop)
    )  # fmt: skip
    nowhere = SimpleNamespace(set_write_buffer_limits=lambda high: None, write=lambda data: None)
    made.connection_made(cast("Any", nowhere))
    return made


def ask(link: WorkerLink, kind: int = PREDICT) -> Asked:
    asked = Asked(kind)
    link.submit(cast("Any", asked))
    return asked


@pytest.mark.parametrize("kind", [PREDICT, STATS])
def test_a_worker_that_says_how_many_wait_and_answers_nobody_is_stuck(
    link: WorkerLink, now: list[float], kind: int
) -> None:
    lost = ask(link)
    now[0] += 1.0
    other = ask(link, kind)
    link.data_received(pack(2, 200, b"{}"))
    assert other.said == [200]
    now[0] += _TIMEOUT_S
    link.tick(now[0])
    assert len(lost.said) == 1
    assert link.is_stuck == (kind == STATS)


def test_who_answers_late_is_no_longer_stuck(link: WorkerLink, now: list[float]) -> None:
    ask(link)
    now[0] += _TIMEOUT_S + 1
    link.tick(now[0])
    assert link.is_stuck
    ask(link, STATS)
    link.data_received(pack(2, 200, b"{}"))
    assert link.is_stuck
    link.data_received(pack(1, 200, b"{}"))  # its caller was told already
    assert not link.is_stuck
