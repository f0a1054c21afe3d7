"""The gateway's side of a worker: one stream, many predictions in flight.

    waiting ──connected, room to write──▶ in flight ──answer──▶ done
       └── no worker for `worker_wait_s` ──▶ 503    └── worker dies ──▶ 503;  too slow ──▶ 504

A prediction is given to a worker once. One that waits has not been sent, so it may go to a
restarted worker or to the socket of a newer snapshot; one in flight may have run, so it may not.

All that one turn of the loop brings for a worker is sent with one write, at the turn's end: the
worker then takes it as one turn of its own, and may answer it with one call of the model.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import time
from typing import Protocol, cast

from mlengine.core.errors import EngineError
from mlengine.prediction.gateway.burst import Burst
from mlengine.prediction.gateway.counts import AnswerCounts
from mlengine.prediction.gateway.faults import (
    answer_too_long,
    no_worker,
    too_slow,
    worker_died,
    worker_went,
)
from mlengine.prediction.gateway.hearsay import MAX_ANSWER_BYTES, is_answer, no_answer
from mlengine.prediction.gateway.vigil import Vigil
from mlengine.runtime.frames import (
    PING,
    STATS,
    STAY,
    STAY_S,
    Frame,
    FrameReader,
    frame_head,
    pack,
)

__all__ = ["Passing", "Prediction", "WorkerLink"]

_log = logging.getLogger(__name__)

_RECONNECT_S = 0.02
_MAX_WRITE_BUFFER_BYTES = 4 << 20
_MAX_WRITE_BYTES = 1 << 20  # of one write, unless a single body is longer
_NO_PREDICTIONS = (PING, STATS)
_STAY = pack(0, STAY)


class Prediction(Protocol):
    """One request that waits for its answer; `kind` is that of its frame.

    1. Exactly one of `answered` and `failed` is called, once, unless `gone` became true before.
    2. `gone` says that nobody wants the answer any more.
    3. `unsent` says that no worker has seen it, and that it is to be routed anew: the version that
       it was to go to is served no more, or its model's default or traffic has changed.
    4. `follows_default` says that its caller named no version: only then such a change moves it.
    """

    body: bytes
    gone: bool

    @property
    def kind(self) -> int: ...
    @property
    def follows_default(self) -> bool: ...
    def answered(self, status: int, payload: bytes) -> None: ...
    def failed(self, error: EngineError) -> None: ...
    def unsent(self) -> None: ...


class Passing(Protocol):
    """A long body on its way to the worker over a connection of its own."""

    def failed(self, error: EngineError) -> None: ...


class WorkerLink(asyncio.Protocol):
    """A persistent connection to the socket of one version's worker; connects when needed."""

    def __init__(
        self, socket: str, *, version: str, timeout_s: float, wait_s: float,
        loop: asyncio.AbstractEventLoop, counts: AnswerCounts | None = None,
        burst: Burst | None = None, vigil: Vigil | None = None,
    ) -> None:  # fmt: skip
        self.socket = socket
        self.counts = counts or AnswerCounts()
        self.version = version
        self.errors = 0
        self.timeout_s = timeout_s
        self.wait_s = wait_s
        self._loop = loop
        self._burst = burst or Burst()
        self._vigil = vigil or Vigil(loop)
        self._transport: asyncio.WriteTransport | None = None
        self._reader = FrameReader(max_payload_bytes=MAX_ANSWER_BYTES)
        # Each with the time at which it came, in the order of these times.
        self._waiting: collections.deque[tuple[Prediction, float]] = collections.deque()
        self._in_flight: dict[int, tuple[Prediction, float]] = {}
        self._flushing = False
        self._turn_s = 0.0  # when the predictions came that the next flush sends
        self._next_id = 0
        self._stays = False  # the worker was told to look for the next without sleeping
        self._connecting: asyncio.Task[None] | None = None
        self._full = False
        self._retired = False
        self._retired_s = 0.0
        self.uploads: set[Passing] = set()  # each enters and leaves by itself
        self._heard_s = 0.0  # when the worker answered a prediction the last time
        self.is_stuck = False  # it took one, and answered nobody for as long as one may take
        self.is_down = False  # the last that was seen of the worker: it hung up, or was not there

    @property
    def is_connected(self) -> bool:
        """Whether the worker can be asked at once."""
        return self._transport is not None and not self._retired

    @property
    def load(self) -> int:
        """How many predictions wait or are in flight, those beside this connection too."""
        return len(self._waiting) + len(self._in_flight) + len(self.uploads)

    def submit(self, prediction: Prediction) -> None:
        """Send a prediction, now or when the worker is back."""
        if self._flushing:
            self._waiting.append((prediction, self._turn_s))
            return
        self._turn_s = time.monotonic()
        self._waiting.append((prediction, self._turn_s))
        if self._transport is None:
            self._connect()
        elif not self._full:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def tick(self, now_s: float) -> None:
        """Give up what has waited too long; call it a few times a second."""
        while self._waiting and self._waiting[0][1] + self.wait_s <= now_s:
            self._fail(self._waiting.popleft()[0], no_worker(self.version))
        # One time-out for all, so the order of sending is the order of deadlines.
        for request_id, (prediction, since_s) in list(self._in_flight.items()):
            if since_s + self.timeout_s > now_s:
                break
            del self._in_flight[request_id]
            self.is_stuck = self._heard_s < since_s
            self._fail(prediction, too_slow(self.version, self.timeout_s))
        # A body may take its time; a worker that is to go waits no longer for it than for others.
        if self._retired and self._retired_s + self.timeout_s <= now_s:
            for upload in list(self.uploads):
                upload.failed(worker_went(self.version))

    def take_unsent(self) -> list[Prediction]:
        """Give back what waits, for another worker to answer."""
        unsent = [prediction for prediction, _since_s in self._waiting if not prediction.gone]
        self._waiting.clear()
        return unsent

    def take_followers(self) -> list[Prediction]:
        """Give back those that wait and may go to another version; the others go on waiting."""
        waiting, self._waiting = self._waiting, collections.deque()
        found = []
        for entry in waiting:
            if entry[0].follows_default:
                found.append(entry[0])
            else:
                self._waiting.append(entry)
        return [prediction for prediction in found if not prediction.gone]

    def probe(self) -> None:
        """Look whether a worker that is down is back."""
        self._connect()

    def retire(self) -> list[Prediction]:
        """Take no more; return what was not sent yet. What is in flight is still answered."""
        self._retired, self._retired_s = True, time.monotonic()
        unsent = self.take_unsent()
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
        self._full = self.is_down = False
        self._reader = FrameReader(max_payload_bytes=MAX_ANSWER_BYTES)
        self._flush()
        self._close_if_done()

    def data_received(self, data: bytes) -> None:
        now_s = time.monotonic()
        frames = self._reader.feed(data)
        self._burst.begin(len(frames))
        try:
            answers = self._take_all(frames, now_s)
        finally:
            self._burst.end()
        self._vigil.heard(self, answers, is_last=not self._in_flight)
        if self._retired:
            self._close_if_done()

    def _take_all(self, frames: list[Frame], now_s: float) -> int:
        """Give answers to those who wait for them; return how many there were."""
        owed = len(self._in_flight)
        good, good_since_s = 0, 0.0  # most came in one turn and are counted as one
        others = 0  # who computes in other threads says how many wait, even if all of those hang
        take = self._in_flight.pop
        for request_id, status, payload, payload_bytes in frames:
            entry = take(request_id, None)
            if entry is None:
                continue  # its caller was told already
            prediction, since_s = entry
            if payload is None or status != 200 or prediction.kind in _NO_PREDICTIONS:
                others += prediction.kind in _NO_PREDICTIONS
                if payload is None:
                    self._fail(prediction, answer_too_long(self.version, payload_bytes))
                else:
                    self._take_other(prediction, status, payload, now_s - since_s)
                continue
            if since_s != good_since_s:
                self._count_good(good, now_s - good_since_s)
                good, good_since_s = 0, since_s
            good += 1
            if not prediction.gone:
                prediction.answered(200, payload)
        self._count_good(good, now_s - good_since_s)
        if others < len(frames):
            self._heard_s, self.is_stuck = now_s, False
        return owed - len(self._in_flight)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport, self._stays = None, False
        self.is_down, self.is_stuck = True, False
        lost, self._in_flight = self._in_flight, {}
        if lost:
            _log.warning("worker of %s died with %d predictions", self.version, len(lost))
        for prediction, _since_s in lost.values():
            self._fail(prediction, worker_died(self.version))
        # The socket of a dying process still accepts for a moment, and whatever is sent to it then
        # is lost; so the next connection waits a little, also for requests that come meanwhile.
        self._connect(after_s=_RECONNECT_S)

    # --- inner ---

    def _flush(self) -> None:
        """Send what waits, as few pieces."""
        self._flushing = False
        if self._stays and not self._in_flight:
            self.counts.awake_s += min(max(self._turn_s - self._heard_s, 0.0), STAY_S)
        waiting = self._waiting
        while waiting and self._transport is not None and not self._full:
            pieces: list[bytes] = []
            total_bytes = 0
            while waiting and total_bytes < _MAX_WRITE_BYTES:
                entry = waiting.popleft()
                prediction = entry[0]
                if prediction.gone:
                    continue
                self._next_id = request_id = (self._next_id + 1) & 0xFFFFFFFF
                self._in_flight[request_id] = entry
                body = prediction.body
                pieces += frame_head(request_id, prediction.kind, len(body)), body
                total_bytes += len(body)
            if pieces:
                self._stays = self._vigil.sent(self, self._turn_s)
                if self._stays:
                    pieces.append(_STAY)
                self._transport.write(b"".join(pieces))

    def _count_good(self, count: int, taken_s: float) -> None:
        if count:
            self.counts.answered(200, taken_s, count=count)

    def _take_other(
        self, prediction: Prediction, status: int, payload: bytes, taken_s: float
    ) -> None:
        """Take what is no prediction that was made: an error, a word about the worker, or none."""
        if not is_answer(status):
            self._fail(prediction, no_answer())
            return
        if status >= 500:
            self.errors += 1
        if prediction.kind not in _NO_PREDICTIONS:
            self.counts.answered(status, taken_s)
        if not prediction.gone:
            prediction.answered(status, payload)

    def _fail(self, prediction: Prediction, error: EngineError) -> None:
        if prediction.kind != STATS:  # without a sign of life, the body behind a ping has failed
            self.errors += 1
            self.counts.failed(error.http_status)
        if not prediction.gone:
            prediction.failed(error)

    def _connect(self, *, after_s: float = 0.0) -> None:
        if self._connecting is None and self._transport is None and not self._retired:
            self._connecting = self._loop.create_task(self._keep_connecting(after_s))

    async def _keep_connecting(self, after_s: float) -> None:
        try:
            if after_s:
                await asyncio.sleep(after_s)
            while self._transport is None:
                try:
                    await self._loop.create_unix_connection(lambda: self, self.socket)
                except OSError:
                    # Refused or missing: the pool is restarting it. Its socket will appear.
                    self.is_down = True
                    if not self._waiting:
                        return
                    await asyncio.sleep(_RECONNECT_S)
        finally:
            self._connecting = None

    def _close_if_done(self) -> None:
        if self._retired and self._transport is not None and not self._in_flight:
            self._transport.close()
