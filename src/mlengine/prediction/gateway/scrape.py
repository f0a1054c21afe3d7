"""Collects what ``GET /metrics`` tells: the gateway's own counts, and what each worker says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from mlengine.core.errors import EngineError
from mlengine.prediction.gateway.hearsay import WorkerCounts
from mlengine.prediction.gateway.metrics import render
from mlengine.runtime.frames import STATS

if TYPE_CHECKING:
    from mlengine.prediction.gateway.server import Server

__all__ = ["Scrape"]

_WAIT_S = 1.0


class Scrape:
    """One collection: asks all workers that are connected, waits for `_WAIT_S` at most.

    Args:
        server: The gateway.
        done: Gets the text, once.
    """

    def __init__(self, server: Server, done: Callable[[str], None]) -> None:
        self._server = server
        self._done = done
        self._said: dict[tuple[str, str], WorkerCounts] = {}
        self._open: set[_Question] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Ask."""
        links = self._server.switchboard.connected_links()
        questions = [_Question(self, (link.version, str(at))) for at, link in links]
        self._open.update(questions)
        self._timer = asyncio.get_running_loop().call_later(_WAIT_S, self._finish)
        for question, (_at, link) in zip(questions, links, strict=True):
            link.submit(question)
        if not questions:
            self._finish()

    def told(self, question: _Question, said: WorkerCounts | None) -> None:
        """Take what a worker says, or that it says nothing."""
        if question in self._open:
            self._open.discard(question)
            if said is not None:
                self._said[question.who] = said
            if not self._open:
                self._finish()

    def _finish(self) -> None:
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        for question in self._open:
            question.gone = True
        self._open.clear()
        server = self._server
        self._done(
            render(
                server.gauges(), server.refused, server.stats(), self._said,
                quotas=server.quotas.refused,
            )
        )  # fmt: skip


class _Question:
    """What a `WorkerLink` answers."""

    kind = STATS
    body = b""
    follows_default = False

    def __init__(self, scrape: Scrape, who: tuple[str, str]) -> None:
        self.who = who
        self.gone = False
        self._scrape = scrape

    def answered(self, status: int, payload: bytes) -> None:
        said = None
        if status == 200:
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                said = msgspec.json.decode(payload, type=WorkerCounts)
        self._scrape.told(self, said)

    def failed(self, error: EngineError) -> None:
        self._scrape.told(self, None)

    def unsent(self) -> None:
        self._scrape.told(self, None)
