"""The gateway's side of a worker: one stream, many predictions in flight.

    waiting ──connected, room to write──▶ in flight ──answer──▶ done
       └── no worker for `worker_wait_s` ──▶ 503    └── worker dies ──▶ 503;  too slow ──▶ 504

A prediction is given to a worker once. One that waits has not been sent, so it may go to a
restarted worker or to the socket of a newer snapshot; one in flight may have run, so it may not.
"""

from __future__ import annotations

import asyncio
import collections
import logging
from typing import Protocol, cast

from mlengine.core.errors import DeadlineExceeded, EngineError, Internal, Unavailable
from mlengine.runtime.frames import PREDICT, FrameReader, pack

__all__ = ["Prediction", "WorkerLink"]

_log = logging.getLogger(__name__)

_RECONNECT_S = 0.02
_MAX_ANSWER_BYTES = 1 << 30
_MAX_WRITE_BUFFER_BYTES = 4 << 20


class Prediction(Protocol):
    """One request that waits for its answer.

    1. Exactly one of `answered` and `failed` is called, once, unless `gone` became true before.
    2. `gone` says that nobody wants the answer any more.
    """

    body: bytes
    gone: bool

    def answered(self, status: int, payload: bytes) -> None: ...
    def failed(self, error: EngineError) -> None: ...


class _InFlight:
    __slots__ = ("deadline_s", "prediction")

    def __init__(self, prediction: Prediction, deadline_s: float) -> None:
        self.prediction = prediction
        self.deadline_s = deadline_s


class WorkerLink(asyncio.Protocol):
    """A persistent connection to the socket of one version's worker; connects when needed."""

    def __init__(
        self, socket: str, *, version: str, timeout_s: float, wait_s: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:  # fmt: skip
        self.socket = socket
        self.version = version
        self.requests = 0
        self.errors = 0
        self.last_use_s = 0.0
        self.timeout_s = timeout_s
        self.wait_s = wait_s
        self._loop = loop
        self._transport: asyncio.WriteTransport | None = None
        self._reader = FrameReader(max_payload_bytes=_MAX_ANSWER_BYTES)
        self._waiting: collections.deque[_InFlight] = collections.deque()
        self._in_flight: dict[int, _InFlight] = {}
        self._next_id = 0
        self._connecting: asyncio.Task[None] | None = None
        self._full = False
        self._retired = False

    @property
    def load(self) -> int:
        """How many predictions wait or are in flight."""
        return len(self._waiting) + len(self._in_flight)

    def submit(self, prediction: Prediction) -> None:
        """Send a prediction, now or when the worker is back."""
        now_s = self._loop.time()
        self.requests += 1
        self.last_use_s = now_s
        if self._transport is not None and not self._full:
            self._send(prediction, now_s)
            return
        self._waiting.append(_InFlight(prediction, now_s + self.wait_s))
        self._connect()

    def tick(self, now_s: float) -> None:
        """Give up what has waited too long; call it a few times a second."""
        while self._waiting and self._waiting[0].deadline_s <= now_s:
            entry = self._waiting.popleft()
            self._fail(entry, _no_worker(self.version))
        # One time-out for all, so the order of sending is the order of deadlines.
        for request_id, entry in list(self._in_flight.items()):
            if entry.deadline_s > now_s:
                break
            del self._in_flight[request_id]
            self._fail(entry, _too_slow(self.version, self.timeout_s))

    def retire(self) -> list[Prediction]:
        """Take no more; return what was not sent yet. What is in flight is still answered."""
        self._retired = True
        unsent = [entry.prediction for entry in self._waiting if not entry.prediction.gone]
        self._waiting.clear()
        if self._connecting is not None and self._transport is None:
            # Once it is connected it may carry requests, and cancelling would cut them off.
            self._connecting.cancel()
        self._close_if_done()
        return unsent

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.WriteTransport", transport)  # uvloop's are no subclasses
        transport.set_write_buffer_limits(high=_MAX_WRITE_BUFFER_BYTES)
        self._transport = transport
        self._full = False
        self._reader = FrameReader(max_payload_bytes=_MAX_ANSWER_BYTES)
        self._send_waiting()
        self._close_if_done()

    def data_received(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            entry = self._in_flight.pop(frame.id, None)
            if entry is None or entry.prediction.gone:
                continue  # its caller was told already, or went away
            if frame.payload is None:
                self._fail(entry, Internal("The answer of the version's worker is too long."))
                continue
            if frame.kind >= 500:
                self.errors += 1
            entry.prediction.answered(frame.kind, frame.payload)
        if self._retired:
            self._close_if_done()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._send_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        lost, self._in_flight = self._in_flight, {}
        if lost:
            _log.warning("worker of %s died with %d predictions", self.version, len(lost))
        for entry in lost.values():
            self._fail(entry, _worker_died(self.version))
        # The socket of a dying process still accepts for a moment, and whatever is sent to it then
        # is lost; so the next connection waits a little, also for requests that come meanwhile.
        self._connect(after_s=_RECONNECT_S)

    # --- inner ---

    def _send(self, prediction: Prediction, now_s: float) -> None:
        assert self._transport is not None
        self._next_id = (self._next_id + 1) & 0xFFFFFFFF
        self._in_flight[self._next_id] = _InFlight(prediction, now_s + self.timeout_s)
        self._transport.write(pack(self._next_id, PREDICT, prediction.body))

    def _send_waiting(self) -> None:
        now_s = self._loop.time()
        while self._waiting and self._transport is not None and not self._full:
            entry = self._waiting.popleft()
            if not entry.prediction.gone:
                self._send(entry.prediction, now_s)

    def _fail(self, entry: _InFlight, error: EngineError) -> None:
        self.errors += 1
        if not entry.prediction.gone:
            entry.prediction.failed(error)

    def _connect(self, *, after_s: float = 0.0) -> None:
        if self._connecting is None and self._transport is None and not self._retired:
            self._connecting = self._loop.create_task(self._keep_connecting(after_s))

    async def _keep_connecting(self, after_s: float) -> None:
        try:
            if after_s:
                await asyncio.sleep(after_s)
            while self._waiting and self._transport is None:
                try:
                    await self._loop.create_unix_connection(lambda: self, self.socket)
                except OSError:
                    # Refused or missing: the pool is restarting it. Its socket will appear.
                    await asyncio.sleep(_RECONNECT_S)
        finally:
            self._connecting = None

    def _close_if_done(self) -> None:
        if self._retired and self._transport is not None and not self._in_flight:
            self._transport.close()


def _no_worker(version: str) -> Unavailable:
    return Unavailable(f"No worker of '{version}' is up at the moment.", "Try again.")


def _worker_died(version: str) -> Unavailable:
    return Unavailable(
        f"The worker of '{version}' died while it answered.", "It is being restarted: try again."
    )


def _too_slow(version: str, timeout_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"'{version}' gave no answer within {timeout_s:g} s.",
        "Send fewer instances, or raise the setting 'predict_timeout_s'.",
    )
