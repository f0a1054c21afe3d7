"""Copies of predictions for a version that answers nobody, and how they compare.

A copy waits until the answer that it is a copy of is on its way. Few are with the shadow at a time,
and few wait; what is more is dropped and counted. So a shadow that is slow or dead costs the
gateway a bounded amount of memory, and callers nothing.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable
from typing import Protocol

from mlengine.core.errors import EngineError
from mlengine.prediction.gateway.workers import Prediction
from mlengine.prediction.routing import PredictTarget
from mlengine.prediction.tally import Counter
from mlengine.prediction.traffic.agreement import agreement
from mlengine.prediction.traffic.compare import bucket
from mlengine.runtime.frames import PREDICT

__all__ = ["Shadow"]

_MOST_WAITING = 128
_MOST_WAITING_BYTES = 8 << 20
_AT_A_TIME = 4


class _Group(Protocol):
    def submit(self, prediction: Prediction) -> None: ...


class Shadow:
    """Sends copies to one version, by and by.

    Args:
        target: The version.
        link: Finds its workers.
        now_s: A clock that tells microseconds.
        counter: Where it is counted.
    """

    def __init__(
        self, target: PredictTarget, link: Callable[[PredictTarget], _Group],
        now_s: Callable[[], float], counter: Counter,
    ) -> None:  # fmt: skip
        self._target, self._link, self._now_s = target, link, now_s
        self.counter = counter
        self._waiting: collections.deque[tuple[str, bytes, bytes]] = collections.deque()
        self._waiting_bytes = 0
        self._in_flight = 0
        self._is_due = False

    def offer(self, answered_by: str, body: bytes, payload: bytes) -> None:
        """Take a prediction that was answered, unless too many wait.

        Args:
            answered_by: Id of the version that did.
            body: What was asked.
            payload: The answer.
        """
        size = len(body) + len(payload)
        if len(self._waiting) >= _MOST_WAITING or self._waiting_bytes + size > _MOST_WAITING_BYTES:
            self.counter.counts.copies_dropped += 1
            return
        self._waiting.append((answered_by, body, payload))
        self._waiting_bytes += size
        self._wake()

    def ended(self, copy: _Copy, status: int, payload: bytes) -> None:
        """Count what became of a copy."""
        self._in_flight -= 1
        counts = self.counter.counts
        counts.copies += 1
        if status == 200:
            index = bucket(self._now_s() - copy.begun_s)
            counts.times[index] = counts.times.get(index, 0) + 1
            agreed = counts.agreed.setdefault(copy.answered_by, [0, 0, 0, 0])
            agreed[agreement(copy.payload, payload)] += 1
        else:
            counts.copies_failed += 1
        self._wake()

    def _wake(self) -> None:
        """Send what waits once this turn of the loop, and its answers, are over."""
        if self._waiting and not self._is_due and self._in_flight < _AT_A_TIME:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        self._is_due = False
        while self._waiting and self._in_flight < _AT_A_TIME:
            answered_by, body, payload = self._waiting.popleft()
            self._waiting_bytes -= len(body) + len(payload)
            copy = _Copy(self, answered_by, body, payload, self._now_s())
            self._in_flight += 1
            try:
                group = self._link(self._target)
            except EngineError as error:
                copy.failed(error)
                continue
            group.submit(copy)


class _Copy:
    """A `Prediction` that nobody waits for."""

    kind = PREDICT
    follows_default = False

    def __init__(
        self, shadow: Shadow, answered_by: str, body: bytes, payload: bytes, begun_s: float
    ) -> None:
        self.body = body
        self.gone = False
        self.answered_by, self.payload, self.begun_s = answered_by, payload, begun_s
        self._shadow = shadow

    def answered(self, status: int, payload: bytes) -> None:
        self._shadow.ended(self, status, payload)

    def failed(self, error: EngineError) -> None:
        self._shadow.ended(self, error.http_status, b"")

    def unsent(self) -> None:
        self._shadow.ended(self, 503, b"")
