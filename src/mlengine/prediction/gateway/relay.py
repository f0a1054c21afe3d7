"""Passes a request on to the engine and its answer back, as bytes, without keeping either.

Heads are written anew, without hop-by-hop fields, and bodies are framed anew, so the engine can
never see a request whose end is doubtful. Nothing is added. Each side that is slow slows the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING, cast

import httptools

from mlengine.core.errors import Unavailable
from mlengine.prediction.gateway.answers import status_line

if TYPE_CHECKING:
    from mlengine.prediction.gateway.exchange import Exchange

__all__ = ["EnginePool", "Relay"]

_log = logging.getLogger(__name__)

_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
     b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect"}
)  # fmt: skip
_BODYLESS = frozenset({204, 304})
# Shorter than the time after which the engine's own server closes an idle connection (5 s).
_IDLE_S = 3.0
_MAX_IDLE = 32


class EnginePool:
    """Idle connections to the engine's socket."""

    def __init__(self, socket: str, *, loop: asyncio.AbstractEventLoop) -> None:
        self.socket = socket
        self.loop = loop
        self._idle: list[tuple[float, _EngineConnection]] = []

    def take(self) -> _EngineConnection | None:
        """Return a connection that is open and free, or None."""
        while self._idle:
            since_s, connection = self._idle.pop()
            if connection.usable and self.loop.time() - since_s < _IDLE_S:
                return connection
            connection.close()
        return None

    def give(self, connection: _EngineConnection, socket: str) -> None:
        """Keep a connection for the next request."""
        if len(self._idle) < _MAX_IDLE and socket == self.socket:
            self._idle.append((self.loop.time(), connection))
        else:
            connection.close()

    def forget(self) -> None:
        """Close all idle connections."""
        for _since_s, connection in self._idle:
            connection.close()
        self._idle.clear()

    def tick(self, now_s: float) -> None:
        """Close what was idle too long."""
        while self._idle and now_s - self._idle[0][0] >= _IDLE_S:
            self._idle.pop(0)[1].close()


class Relay:
    """One request on its way through."""

    def __init__(self, exchange: Exchange, pool: EnginePool) -> None:
        self._exchange = exchange
        self._pool = pool
        self._socket = pool.socket
        self._upstream: _EngineConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._unsent: list[bytes] = []  # until there is a connection
        self._request_ended = False
        self._chunked = False
        self._reused = False
        self._retriable = exchange.method in (b"GET", b"HEAD")
        self.answer_begun = False
        self._answer_chunked = False
        self._abandoned = False
        self._keep = False

    # --- called by the exchange ---

    def begin(self) -> None:
        """Send the head."""
        self._unsent.append(self._head())
        connection = self._pool.take()
        if connection is None:
            self._connect()
        else:
            self._reused = True
            self._use(connection)

    def send_body(self, data: bytes) -> None:
        """Send a piece of the request's body."""
        self._retriable = False
        self._send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end_body(self) -> None:
        """The request is whole."""
        if self._request_ended:
            return
        self._request_ended = True
        if self._chunked:
            self._send(b"0\r\n\r\n")

    def pause_answer(self) -> None:
        """The caller is slow: let the engine wait."""
        if self._upstream is not None:
            self._upstream.hold()

    def resume_answer(self) -> None:
        """The caller reads again."""
        if self._upstream is not None:
            self._upstream.release()

    def abandon(self) -> None:
        """Stop at once; nobody wants the answer."""
        self._abandoned = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._upstream is not None:
            self._upstream.relay = None
            self._upstream.close()
            self._upstream = None

    # --- called by the engine's connection ---

    def answer_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Pass the answer's head on."""
        exchange = self._exchange
        self.answer_begun = True
        dropped = _HOP_BY_HOP | _named_by_connection(headers)
        lines = [status_line(status)]
        has_length = False
        for name, value in headers:
            lowered = name.lower()
            has_length = has_length or lowered == b"content-length"
            if lowered not in dropped:
                lines.append(b"%b: %b\r\n" % (name, value))
        bodyless = status in _BODYLESS or exchange.method == b"HEAD"
        self._keep = exchange.may_keep_connection()
        if not has_length and not bodyless:
            if exchange.http_1_0:
                self._keep = False
            else:
                self._answer_chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
        if not self._keep:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        exchange.connection.write(b"".join(lines))

    def answer_body(self, data: bytes) -> None:
        """Pass a piece of the answer's body on."""
        framed = b"%x\r\n%b\r\n" % (len(data), data) if self._answer_chunked else data
        self._exchange.connection.write(framed)

    def answer_ended(self, *, reusable: bool) -> None:
        """The answer is whole."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.relay = None
            # An engine that answers before it read all must not take the rest for a request.
            if reusable and self._request_ended:
                self._pool.give(upstream, self._socket)
            else:
                upstream.close()
        if self._answer_chunked:
            self._exchange.connection.write(b"0\r\n\r\n")
        self._exchange.connection.release("engine")
        self._exchange.relayed(keep=self._keep)

    def engine_slow(self) -> None:
        """The engine does not take the body as fast as it comes."""
        self._exchange.connection.hold("engine")

    def engine_ready(self) -> None:
        """The engine reads again."""
        self._exchange.connection.release("engine")

    def engine_lost(self) -> None:
        """The connection ended before the answer did."""
        self._upstream = None
        if self._abandoned:
            return
        self._exchange.connection.release("engine")
        if self.answer_begun:
            # The caller must see that it is cut: no last chunk, no full length.
            self._exchange.connection.transport.close()
            self._exchange.relayed(keep=False)
        elif self._reused and self._retriable and self._request_ended:
            # The engine closed an idle connection just when it was taken.
            self._reused = False
            self._pool.forget()
            self._unsent = [self._head()]
            self._connect()
        else:
            self._exchange.fail(_engine_away())

    # --- inner ---

    def _head(self) -> bytes:
        exchange = self._exchange
        dropped = _HOP_BY_HOP | _named_by_connection(exchange.headers)
        lines = [b"%b %b HTTP/1.1\r\n" % (exchange.method, exchange.target)]
        for name, value in exchange.headers:
            if name == b"transfer-encoding":
                self._chunked = True
            if name not in dropped or name in (b"content-length", b"host", b"authorization"):
                lines.append(b"%b: %b\r\n" % (name, value))
        if self._chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def _connect(self) -> None:
        self._connecting = self._pool.loop.create_task(self._open())
        self._exchange.connection.hold("engine")

    async def _open(self) -> None:
        try:
            loop = self._pool.loop
            _transport, connection = await loop.create_unix_connection(
                _EngineConnection, self._socket or "/nonexistent"
            )
        except OSError:
            if not self._abandoned:
                self._exchange.connection.release("engine")
                self._exchange.fail(_engine_away())
            return
        finally:
            self._connecting = None
        if self._abandoned:
            connection.close()
            return
        self._exchange.connection.release("engine")
        self._use(connection)

    def _use(self, connection: _EngineConnection) -> None:
        self._upstream = connection
        connection.start(self, no_body=self._exchange.method == b"HEAD")
        unsent, self._unsent = self._unsent, []
        connection.write(b"".join(unsent))

    def _send(self, data: bytes) -> None:
        if self._upstream is not None:
            self._upstream.write(data)
        else:
            self._unsent.append(data)


class _EngineConnection(asyncio.Protocol):
    """One connection to the engine; carries one request at a time."""

    def __init__(self) -> None:
        self.relay: Relay | None = None
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._no_body = False
        self._has_end = False
        self._paused = False
        self._head_done = False

    @property
    def usable(self) -> bool:
        """Whether another request may be sent on it."""
        return not self._transport.is_closing()

    def start(self, relay: Relay, *, no_body: bool) -> None:
        """Carry this request."""
        self.relay = relay
        self._no_body = no_body
        self._head_done = False

    def write(self, data: bytes) -> None:
        """Send a part of the request."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """End it at once."""
        self._transport.abort()

    def hold(self) -> None:
        """Stop reading."""
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def release(self) -> None:
        """Read again."""
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self.relay is None:
            self._transport.abort()  # it speaks unasked
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self.relay is not None:
                _log.error("the engine's answer is not valid HTTP: %s", error)
            self._transport.abort()

    def pause_writing(self) -> None:
        if self.relay is not None:
            self.relay.engine_slow()

    def resume_writing(self) -> None:
        if self.relay is not None:
            self.relay.engine_ready()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and self.relay is not None:
            self._hear_last_words()
        relay, self.relay = self.relay, None
        if relay is None:
            return
        if self._head_done and not self._has_end and exc is None:
            relay.answer_ended(reusable=False)  # an answer that ends with its connection
        else:
            relay.engine_lost()

    def _hear_last_words(self) -> None:
        """Read why the engine hung up on a body: when a write fails, transports drop that."""
        with contextlib.suppress(OSError, ValueError):
            descriptor = self._transport.get_extra_info("socket").fileno()
            while self.relay is not None and (data := os.read(descriptor, 65_536)):
                self.data_received(data)

    # --- httptools ---

    def on_message_begin(self) -> None:
        self._headers = []
        self._has_end = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:
            return
        self._headers.append((name, value))
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._has_end = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 or self.relay is None:
            return
        self._head_done = True
        self.relay.answer_head(status, self._headers)
        if self._no_body:
            # The parser would wait for the body that this head announces.
            relay, self.relay = self.relay, None
            relay.answer_ended(reusable=False)

    def on_body(self, body: bytes) -> None:
        if self.relay is not None:
            self.relay.answer_body(body)

    def on_message_complete(self) -> None:
        if self.relay is not None and self._head_done:
            self._head_done = False
            keep = self._parser.should_keep_alive()
            self.relay.answer_ended(reusable=keep)


def _named_by_connection(headers: list[tuple[bytes, bytes]]) -> set[bytes]:
    named: set[bytes] = set()
    for name, value in headers:
        if name.lower() == b"connection":
            named.update(part.strip().lower() for part in value.split(b","))
    return named


def _engine_away() -> Unavailable:
    return Unavailable(
        "The engine is not up at the moment; predictions go on.",
        "Try again, or start it with 'mlengine up'.",
    )
