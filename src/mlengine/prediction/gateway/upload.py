"""A body too long to be kept: it goes to the worker as it comes, over a connection of its own.

    head ─▶ a `PING` to the version, which wakes it if need be ─▶ a connection to one of its workers
         ─▶ the frame's head, then each piece ─▶ the worker's answer

The gateway holds no more of it than one piece and what the kernel takes. A stream that the
version's other predictions share would make these wait for the slowest caller; so it has its own.
Towards the exchange it behaves as a `Relay`. A split that sticks by a field of the body draws by
chance: the body is not read here. To the engine it is a prediction like others: as long as it is on
its way its worker is busy, and its answer is counted and has its line in the access log.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from mlengine.core.errors import EngineError
from mlengine.prediction.gateway.dialogue import reply_of, words_of
from mlengine.prediction.gateway.faults import answer_too_long, no_worker, too_slow, worker_died
from mlengine.prediction.gateway.hearsay import MAX_ANSWER_BYTES
from mlengine.prediction.gateway.inquiry import Inquiry
from mlengine.prediction.routing import PredictTarget
from mlengine.runtime.callframe import CALL, join_call
from mlengine.runtime.frames import PING, PREDICT, FrameReader, frame_head

if TYPE_CHECKING:
    from mlengine.prediction.gateway.dialects import Asked
    from mlengine.prediction.gateway.exchange import Exchange
    from mlengine.prediction.gateway.workers import WorkerLink

__all__ = ["MIN_BYTES", "Upload"]

MIN_BYTES = 2 << 20
"""Bodies of a declared length from here on are sent on as they come."""

_MAX_WRITE_BUFFER_BYTES = 256 << 10


class Upload(asyncio.Protocol):
    """One long body on its way.

    Args:
        exchange: The request.
        target: The model or version that it predicts with.
        asked: What the path asks in another dialect; None for a plain prediction.
        body_bytes: The length that the request declares.
    """

    def __init__(
        self, exchange: Exchange, target: PredictTarget, asked: Asked | None, body_bytes: int
    ) -> None:
        self._exchange = exchange
        self._target = target
        self._asked = asked
        self._body_bytes = body_bytes
        self._prelude: _Prelude | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._unsent: list[bytes] = []
        self._reader = FrameReader(max_payload_bytes=MAX_ANSWER_BYTES)
        self._deadline: asyncio.TimerHandle | None = None
        self._over = False
        self._version = ""
        self._link: WorkerLink | None = None  # of the worker that has it
        self._whole_s: float | None = None  # when its last piece came
        self.answer_begun = False

    # --- what an exchange asks of a relay ---

    def begin(self) -> None:
        """Find a worker; the caller is not read from until there is one."""
        self._exchange.connection.hold("worker")
        self._prelude = _Prelude(self, self._exchange, self._target)
        self._prelude.enter()

    def send_body(self, data: bytes) -> None:
        """Send a piece of the body."""
        if self._transport is None:
            self._unsent.append(data)
        elif not self._transport.is_closing():
            self._transport.write(data)

    def end_body(self) -> None:
        """The body is whole: from now on the worker has its time."""
        server = self._exchange.connection.server
        limit_s = server.limits.predict_timeout_s
        self._whole_s = server.now_s()
        self._deadline = asyncio.get_running_loop().call_later(limit_s, self._too_slow, limit_s)

    def pause_answer(self) -> None:
        """The answer goes out as one piece: nothing to slow down."""

    def resume_answer(self) -> None:
        """The caller reads again."""

    def abandon(self) -> None:
        """Stop at once; nobody wants the answer."""
        self._end()

    # --- from the prelude ---

    def found(self, version: str) -> None:
        """The version is awake."""
        self._version = version
        server = self._exchange.connection.server
        try:
            group = server.switchboard.link(PredictTarget(self._target.model, version))
        except EngineError as error:
            server.count_refusal(error)
            self.failed(error)
            return
        try:
            self._link = group.lend()
        except EngineError as error:
            self.failed(error)
            return
        self._link.uploads.add(self)
        self._connecting = asyncio.get_running_loop().create_task(self._connect(self._link.socket))

    def failed(self, error: EngineError) -> None:
        """There will be no answer of a worker."""
        if self._over:
            return
        if self._link is not None:
            self._link.errors += 1
            self._link.counts.failed(error.http_status)
        self._end()
        self._exchange.fail(error, is_counted=True)
        self._leave(error.http_status, 0)

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.WriteTransport", transport)  # uvloop's are no subclasses
        transport.set_write_buffer_limits(high=_MAX_WRITE_BUFFER_BYTES)
        self._transport = transport
        if self._over:
            transport.abort()
            return
        kind, words = PREDICT, b""
        if self._asked is not None:
            kind = CALL
            words = join_call(words_of(self._asked, self._version, self._exchange.headers))
        pieces = [frame_head(1, kind, len(words) + self._body_bytes), words, *self._unsent]
        self._unsent = []
        transport.write(b"".join(pieces))
        self._exchange.connection.release("worker")

    def pause_writing(self) -> None:
        self._exchange.connection.hold("worker")

    def resume_writing(self) -> None:
        self._exchange.connection.release("worker")

    def data_received(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            if self._over:
                return
            if frame.payload is None:
                self.failed(answer_too_long(self._version, frame.payload_bytes))
                return
            try:
                reply = reply_of(self._asked, frame.kind, frame.payload, self._version)
            except EngineError as error:
                self.failed(error)
                return
            server, prelude, link = self._exchange.connection.server, self._prelude, self._link
            assert prelude is not None and link is not None
            taken_s = server.now_s() - self._whole_s if self._whole_s is not None else 0.0
            link.counts.answered(frame.kind, taken_s)
            link.errors += frame.kind >= 500
            self._end()
            self._exchange.uploaded(reply, self._version, prelude.head_lines)
            self._leave(frame.kind, len(reply.body))

    def connection_lost(self, exc: Exception | None) -> None:
        self.failed(worker_died(self._version))

    # --- inner ---

    def _leave(self, status: int, answered: int) -> None:
        """Leave what the version's log asks for; a row would need the body in one place."""
        prelude = self._prelude
        assert prelude is not None
        log = self._exchange.connection.server.logs.found.get(prelude.version)
        if log is None:
            return
        if log.chooses():
            log.too_long()
        if log.access:
            prelude.leave_visit(log, status, self._body_bytes, answered)

    async def _connect(self, socket: str) -> None:
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: self, socket)
        except OSError:
            self.failed(no_worker(self._version))

    def _too_slow(self, limit_s: float) -> None:
        self.failed(too_slow(self._version, limit_s))

    def _end(self) -> None:
        self._over = True
        if self._link is not None:
            self._link.uploads.discard(self)
        self._exchange.connection.release("worker")
        if self._prelude is not None:
            self._prelude.gone = True
        if self._deadline is not None:
            self._deadline.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()


class _Prelude(Inquiry):
    """Asks the version for a sign of life: chooses it, wakes it, and waits until it can answer."""

    __slots__ = ("_upload",)

    kind = PING

    def __init__(self, upload: Upload, exchange: Exchange, target: PredictTarget) -> None:
        super().__init__(
            exchange.connection, target, exchange.headers, b"", keep=False, grant=exchange.grant
        )
        self._upload = upload

    def answered(self, status: int, payload: bytes) -> None:
        self._upload.found(self.version)

    def failed(self, error: EngineError) -> None:
        self._upload.failed(error)
