"""One HTTP/1.1 connection of a caller: strict reading, limits, deadlines, answers in order.

    head ─▶ guard ─▶ limits ─▶ predict: whole body, then a frame to the worker
     │                     └─▶ relay:   bytes as they come, to the engine
     ├─ a known head, to the byte, and its whole body ─▶ the frame at once (see `heads`)
     └─ the same, and all it needs is an answer ─▶ the lane of a desk (see `lanes`, `desks`)

llhttp refuses what two servers might read differently (both lengths, bare LF, folded lines,
chunk tricks). Whatever is refused ends the connection, so nothing after it is taken for a request.
Requests that were sent ahead wait; the reading stops until their turn.

Long because a connection is one machine: its two ways of reading, its deadlines and the order of
its answers all decide by the same few facts.
"""

from __future__ import annotations

import asyncio
import collections
import logging
from typing import TYPE_CHECKING, Any, cast

import httptools

from mlengine.core.errors import EngineError, Internal, InvalidArgument, Unavailable
from mlengine.prediction.gateway.answers import (
    HeadersTooLarge,
    RequestTimeout,
    error_answer,
    json_head,
    length_line,
)
from mlengine.prediction.gateway.exchange import Exchange
from mlengine.prediction.gateway.guard import is_over
from mlengine.prediction.gateway.heads import HeadMemo, KnownHead
from mlengine.prediction.gateway.inquiry import Inquiry
from mlengine.prediction.gateway.lanes import Caller

if TYPE_CHECKING:
    from mlengine.prediction.gateway.server import Server

__all__ = ["CallerConnection"]

_log = logging.getLogger(__name__)

_NEVER = float("inf")
_LINGER_S = 1.0
_LINGER_BYTES = 32 << 20
_MIN_PROGRESS_BYTES = 64 << 10


class CallerConnection(Caller, asyncio.Protocol):
    """Protocol of one accepted connection.

    Args:
        server: What all connections share.
        shed: This one is beyond the limit: only the health check is answered, the rest gets 503.
    """

    def __init__(self, server: Server, *, shed: bool = False) -> None:
        self.server = server
        self.shed = shed
        self.known = server.desks.known
        self.deadline_s = _NEVER
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self._parser = httptools.HttpRequestParser(self)
        self._queue: collections.deque[Exchange | Inquiry] = collections.deque()
        self._reading: Exchange | None = None  # whose head or body arrives now
        self._in_head = False
        self._head_bytes = 0
        self._progress_bytes = 0
        self._window_from_bytes = 0
        self._frame_bytes = 0  # since the last of the body came: what stands around it
        self._ended = False  # nothing that arrives is looked at any more
        self._linger_bytes = 0
        self._holds: set[str] = set()
        self._write_blocked = False
        self._turning = False
        self._eof = False
        self._head_end = 0  # where the last known head of this connection ended
        self._parted: tuple[bytes, KnownHead, HeadMemo] | None = None  # a known head without body
        self._read_heads: list[KnownHead | None] | None = None  # while one may be noted

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses
        self.transport = transport
        self.deadline_s = self.server.now_s() + self.server.limits.header_timeout_s
        self.server.opened(self)

    # --- Caller: `data_received` is its, and comes to these ---

    def received(self, data: bytes, /) -> None:
        """Take what has come and is not for a lane."""
        if self._ended:
            self._linger_bytes += len(data)
            if self._linger_bytes > _LINGER_BYTES:
                self.transport.abort()
            return
        if self._reading is None and not self._queue and not self._write_blocked and not self.shed:
            self._read_from_start(data)
        else:
            self._parse(data)

    def catch_up(self) -> None:
        """Have what waits in a lane answered: what has come is to be answered after it."""
        self.server.desks.answer_all()

    def _read_from_start(self, data: bytes) -> None:
        """Read what came between two requests: a head that is known and its body, or anything."""
        memo = self.server.heads
        if self._parted is not None:
            head, known, noted_in = self._parted
            self._parted = None
            if noted_in is memo and len(data) == known.body_bytes:
                self._inquire(known, data)
            else:
                self._parse(head)
                self.received(data)
            return
        # A known head has its only blank line at its end: to find it there is to find it first.
        found = memo.find(data[: (end := self._head_end)])
        if found is None:
            self._head_end = end = data.find(b"\r\n\r\n") + 4
            found = memo.find(data[:end])
        grant = found.grant if found is not None else None
        if found is None or (grant is not None and is_over(grant, self.server.wall_s)):
            self._parse_and_note(data, end)
        elif len(data) - end == found.body_bytes:
            if (desk := self.server.may_be_in_lane(found)) is not None:
                self.server.desks.know(data[:end], found, desk)
            self._inquire(found, data[end:])
        elif len(data) == end:
            self._parted = (data, found, memo)
            self.deadline_s = self.server.now_s() + self.server.limits.body_timeout_s
        else:
            self._parse(data)

    def _inquire(self, known: KnownHead, body: bytes) -> None:
        inquiry = Inquiry(self, known.target, known.headers, body, keep=True, grant=known.grant)
        self._queue.append(inquiry)
        self.deadline_s = _NEVER
        self._enter(inquiry)

    def _enter(self, inquiry: Inquiry) -> None:
        try:
            inquiry.enter()
        except Exception:
            # Where it has come to is unknown; unanswered it would keep its connection for ever.
            _log.exception("sending a prediction to %s", inquiry.target)
            self.transport.abort()

    def _parse_and_note(self, data: bytes, end: int) -> None:
        """Read strictly; note the head if these bytes are one request, or exactly its head."""
        self._read_heads = []
        self._parse(data)
        heads, self._read_heads = self._read_heads, None
        if len(heads) != 1 or heads[0] is None or self._in_head or self._ended:
            return
        known = heads[0]
        if not data.startswith(b"POST "):
            return
        whole = self._reading is None and len(data) == end + known.body_bytes
        if whole or (len(data) == end and self._progress_bytes == 0):
            self.server.heads.note(data[:end], known)

    def _parse(self, data: bytes) -> None:
        """Read strictly, with llhttp."""
        begun = None if self._in_head else self._reading
        body_bytes = self._progress_bytes
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._stop_reading()  # the exchange itself was refused at its head
        except httptools.HttpParserCallbackError as error:
            _log.exception("reading a request", exc_info=error)
            if self._reading is None and self._queue:
                self.transport.abort()  # it was read whole: nobody knows how far its answer is
            else:
                self._refuse(Internal("Internal error encountered."))
        except httptools.HttpParserError as error:
            self._refuse(_malformed(error))
        if self._in_head and not self._ended:
            self._head_bytes += len(data)
            if self._head_bytes > self.server.limits.max_header_bytes:
                self._refuse(_head_too_large())
        elif begun is not None and self._reading is begun and self._progress_bytes == body_bytes:
            # Chunk sizes with their extensions, or a trailer; httptools keeps a line until it ends.
            self._frame_bytes += len(data)
            if self._frame_bytes > self.server.limits.max_header_bytes and not self._ended:
                self._refuse(_frame_too_large())

    def eof_received(self) -> bool:
        # A caller that closes its writing half still wants its answers.
        if self.is_waiting:
            self.catch_up()
        self.is_clear = False
        self._eof = True
        if not self._queue:
            return False
        if self._reading is not None:
            self.transport.abort()  # a request that will never be whole
            return False
        self._stop_reading()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self.is_clear = self.is_waiting = False
        self.deadline_s = _NEVER
        for exchange in self._queue:
            exchange.caller_gone()
        self._queue.clear()
        self._reading = None
        self.server.closed(self)

    def pause_writing(self) -> None:
        self._write_blocked = True
        self.is_clear = False
        self._renew_deadline()
        if self._queue:
            self._queue[0].caller_slow()

    def resume_writing(self) -> None:
        self._write_blocked = False
        self._renew_deadline()
        if self._queue:
            self._queue[0].caller_ready()

    # --- httptools ---

    def on_message_begin(self) -> None:
        if self._ended:
            return
        self._in_head = True
        self.is_clear = False  # the answer before it may have been given in this very piece
        self._head_bytes = 0
        self._reading = Exchange(self)
        self._renew_deadline()

    def on_url(self, url: bytes) -> None:
        if self._reading is not None:
            self._reading.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        exchange = self._reading
        if exchange is None:
            return
        if not self._in_head:
            return  # a trailer: nothing that was decided may change
        exchange.headers.append((name.lower(), value))
        exchange.head_bytes += len(name) + len(value)

    def on_headers_complete(self) -> None:
        exchange = self._reading
        if exchange is None or self._ended:
            return
        self._in_head = False
        exchange.method = self._parser.get_method()
        version = self._parser.get_http_version()
        exchange.http_1_0 = version == "1.0"
        exchange.keep_alive = self._parser.should_keep_alive() and not exchange.http_1_0
        exchange.upgrade = self._parser.should_upgrade()
        self._queue.append(exchange)
        self._progress_bytes = self._window_from_bytes = self._frame_bytes = 0
        limits = self.server.limits
        if version not in ("1.1", "1.0"):
            exchange.refused = InvalidArgument("The request is not HTTP/1.1.")
        elif len(exchange.headers) > limits.max_headers or (
            exchange.head_bytes + len(exchange.target) > limits.max_header_bytes
        ):
            exchange.refused = _head_too_large()
        elif self.shed and exchange.target != b"/healthz":
            exchange.refused = Unavailable("Too many connections are open.", "Try again.")
        else:
            exchange.judge()
        if self._read_heads is not None:
            self._read_heads.append(exchange.known_head())
        self._renew_deadline()
        if exchange.refused is not None:
            # Whatever follows on this connection must not be taken for a request.
            self._stop_reading()
        if exchange is self._queue[0]:
            exchange.begin()
        else:
            self.hold("turn")

    def on_body(self, body: bytes) -> None:
        if self._reading is not None:
            self._progress_bytes += len(body)
            self._frame_bytes = 0
            self._reading.body_received(body)

    def on_message_complete(self) -> None:
        exchange, self._reading = self._reading, None
        if exchange is None or self._ended:
            return
        self._renew_deadline()
        exchange.body_ended()

    # --- for exchanges ---

    def inquire(self, inquiry: Inquiry) -> None:
        """Let a prediction that was read whole take the place of its exchange, the first."""
        self._queue[0] = inquiry
        self._enter(inquiry)

    def hold(self, reason: str) -> None:
        """Stop reading from the caller until every reason was released."""
        if not self._holds and not self._ended:
            self.transport.pause_reading()
        self._holds.add(reason)

    def release(self, reason: str) -> None:
        """Take back one reason to stop reading."""
        if reason in self._holds:
            self._holds.discard(reason)
            if not self._holds and not self.transport.is_closing():
                self.transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Send bytes to the caller."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def answer(
        self,
        exchange: Exchange | Inquiry,
        status: int,
        body: bytes,
        version: str = "",
        lines: bytes = b"",
        head: bytes = b"",
    ) -> None:
        """Send a whole answer, JSON unless `head` says otherwise; then turn to the next request."""
        server = self.server
        keep = exchange.may_keep_connection() and not server.stopping
        if not keep:
            lines += b"connection: close\r\n"
        if status == 200 and not head:
            head = server.good_heads[version]
        else:
            head = (head or json_head(status, version)) + server.date_line
        length = length_line(len(body))
        if exchange.method == b"HEAD":
            body = b""
        queue = self._queue
        # Whether nothing else can be said before it: nothing else is asked, no end is near.
        alone = keep and len(queue) == 1 and queue[0] is exchange and not self._ended
        if not self.transport.is_closing():
            whole = b"".join((head, lines, length, body))
            if alone:
                server.burst.send(self.transport, whole)
            else:
                self.transport.write(whole)
        if alone and self._reading is None and not self._holds and not self._write_blocked:
            # What `finish` comes to where nothing waits, as after most answers.
            queue.popleft()
            self.deadline_s = server.idle_until_s()
            self.is_clear = not self.shed
        else:
            self.finish(exchange, keep=keep)

    def answer_error(
        self, exchange: Exchange | Inquiry, error: EngineError, *, version: str = "",
        lines: bytes = b"",
    ) -> None:  # fmt: skip
        """Send an error in Google's envelope."""
        status, more_lines, body = error_answer(error)
        self.answer(exchange, status, body, version=version, lines=lines + more_lines)

    def finish(self, exchange: Exchange | Inquiry, *, keep: bool) -> None:
        """Forget an answered request; go on with the next one, or end the connection."""
        queue = self._queue
        if not queue or queue[0] is not exchange:
            return
        queue.popleft()
        if not keep or (self._ended and not queue):
            self.end()
            return
        if self._holds and len(queue) <= 1:
            self.release("turn")
        if not queue:
            if self._reading is None:
                self._renew_deadline()
            return
        if self._turning:
            return  # the loop below, further up the stack, goes on
        self._turning = True
        while self._queue and not self._queue[0].begun:
            self._queue[0].begin()
        self._turning = False

    def end(self) -> None:
        """Close; but read on for a moment, or the caller's kernel throws the answer away."""
        self._stop_reading()
        for exchange in self._queue:
            exchange.caller_gone()
        self._queue.clear()
        transport = self.transport
        if transport.is_closing():
            return
        if self._eof or not transport.can_write_eof():
            transport.close()
            return
        transport.write_eof()
        self.deadline_s = self.server.now_s() + _LINGER_S

    def tick(self, now_s: float) -> None:
        """Act on a deadline that has passed."""
        if now_s < self.deadline_s:
            return
        if self._parted is not None:
            (head, _known, _memo), self._parted = self._parted, None
            self._parse(head)  # and its time is up
        limits = self.server.limits
        reading_body = self._reading is not None and not self._in_head
        if reading_body and not self._write_blocked and not self._ended:
            grown = self._progress_bytes - self._window_from_bytes
            if grown >= _MIN_PROGRESS_BYTES or self._holds:
                self._window_from_bytes = self._progress_bytes
                self.deadline_s = now_s + limits.body_timeout_s
                return
            self._refuse(RequestTimeout("The body did not arrive in time.", "Send it faster."))
        elif self._in_head and not self._ended and not self._write_blocked:
            self._refuse(RequestTimeout("The request did not arrive in time.", "Send it faster."))
        elif self._ended or self._write_blocked:
            self.transport.abort()
        else:
            self.transport.close()

    def close_if_idle(self) -> None:
        """End the connection unless a request is being answered; for a shutdown."""
        if not self._queue and self._parted is None and not self.is_waiting:
            self.transport.close()

    def give_up(self, error: EngineError) -> None:
        """Answer with an error what is not answered, and end; for a shutdown that waited."""
        if self._parted is not None:
            (head, _known, _memo), self._parted = self._parted, None
            self._parse(head)
        first = self._queue[0] if self._queue else None
        if first is None:
            self.transport.close()
        elif isinstance(first, Inquiry):
            first.failed(error)
            first.gone = True  # its worker may still answer
        else:
            first.fail(error)

    # --- inner ---

    def _renew_deadline(self) -> None:
        """Give the caller the time for what is its turn to do; none when it is ours."""
        limits = self.server.limits
        if self._ended and not self._write_blocked:
            self.deadline_s = _NEVER
            return
        if self._write_blocked:
            allowed_s = limits.body_timeout_s
        elif self._in_head:
            allowed_s = limits.header_timeout_s
        elif self._reading is not None:
            allowed_s = limits.body_timeout_s
        elif self._queue:
            allowed_s = _NEVER
        else:
            allowed_s = limits.idle_timeout_s
        self.deadline_s = self.server.now_s() + allowed_s

    def _stop_reading(self) -> None:
        self._ended = True
        self.is_clear = False
        self._in_head = False
        if self._holds and not self.transport.is_closing():
            self.transport.resume_reading()  # to throw away what comes, and to see its end
        self._holds.clear()

    def _refuse(self, error: EngineError) -> None:
        """Refuse what is being read; it comes after the answers that are still due."""
        if self._ended:
            return  # what came before it was refused: nothing behind that is told of
        exchange, self._reading = self._reading, None
        self._stop_reading()
        if exchange is None:
            exchange = Exchange(self)
        if exchange in self._queue:
            exchange.fail(error)
            if not exchange.begun and exchange is self._queue[0]:
                exchange.begin()  # judging it failed in a way that nobody foresaw
            return
        exchange.refused = error
        exchange.keep_alive = False
        self._queue.append(exchange)
        if self._queue[0] is exchange:
            exchange.begin()


def _malformed(error: Any) -> InvalidArgument:
    return InvalidArgument(f"The request is not valid HTTP/1.1: {error}.")


def _frame_too_large() -> HeadersTooLarge:
    return HeadersTooLarge(
        "The request's trailer, or an extension of a chunk, is too long.", "Send it without."
    )


def _head_too_large() -> HeadersTooLarge:
    return HeadersTooLarge("The request's head is too long.", "Send fewer or shorter headers.")
