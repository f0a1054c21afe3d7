"""HTTP/1.1 over asyncio streams: requests in turn, bodies streamed both ways, a limit on all.

The API blocks on disk, so each request runs in a thread. Its body comes over from the event loop
piece by piece, when the thread asks; the answer's body goes back the same way. So an object of any
size takes as much memory as one piece.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import email.utils
import http
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple, Protocol

from mlengine.core.access import beneath_secret
from mlengine.core.errors import EngineError, NotFound
from mlengine.storage.gcs.bodies import RequestBody
from mlengine.storage.gcs.heads import Head, parse_head
from mlengine.storage.gcs.messages import BrokenBody, Request, Response, error_response

__all__ = ["Handler", "ServerLimits", "serve_connection"]

_LINGER_BYTES = 64 << 20
_GONE = (ConnectionError, TimeoutError, asyncio.IncompleteReadError, BrokenBody)


class Handler(Protocol):
    """What answers requests; `api.GcsApi` does. Called in threads, several at a time."""

    def handle(self, request: Request) -> Response: ...


class ServerLimits(NamedTuple):
    """What a connection may take. Its reader's own limit bounds the head: 64 KiB by default."""

    head_timeout_s: float = 30.0
    idle_timeout_s: float = 300.0
    body_timeout_s: float = 120.0  # between two pieces, either way


async def serve_connection(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    api: Handler,
    *,
    prefix: str = "",
    scheme: str = "http",
    limits: ServerLimits = ServerLimits(),  # noqa: B008  a tuple
    executor: concurrent.futures.Executor | None = None,
) -> None:
    """Answer a connection's requests until it ends; the writer is closed then.

    Args:
        reader: Plain or decrypted bytes of the caller.
        writer: Its other direction.
        api: What answers.
        prefix: ``/SECRET``, which every path must begin with; other requests hear 404. Links in
            answers carry it.
        scheme: Of links in answers.
        limits: Times.
        executor: Where the API runs: a thread per request being answered.
    """
    connection = _Connection(reader, writer, api, prefix, scheme, limits, executor)
    try:
        while await connection.serve_one():
            pass
    except _GONE:
        pass
    finally:
        writer.close()
        with contextlib.suppress(*_GONE):
            await writer.wait_closed()


class _Connection:
    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        api: Handler,
        prefix: str,
        scheme: str,
        limits: ServerLimits,
        executor: concurrent.futures.Executor | None,
    ) -> None:
        self._reader, self._writer, self._api = reader, writer, api
        self._prefix, self._scheme, self._limits = prefix, scheme, limits
        self._executor = executor
        self._is_first = True

    async def serve_one(self) -> bool:
        """Answer one request; return whether another may follow."""
        try:
            head = await self._head()
        except EngineError as error:
            await self._send(error_response(error), None, keep_alive=False)
            return False
        if head is None:
            return False
        body = RequestBody(self._reader, self._writer, head, timeout_s=self._limits.body_timeout_s)
        try:
            response = await self._answer(head, body)
            keep_alive = head.keep_alive and not body.is_withheld
            await self._send(response, head, keep_alive=keep_alive)
            return await body.drain(_LINGER_BYTES) and keep_alive
        finally:
            body.abandon()

    async def _head(self) -> Head | None:
        limits = self._limits
        allowed_s = limits.head_timeout_s if self._is_first else limits.idle_timeout_s
        self._is_first = False
        try:
            async with asyncio.timeout(allowed_s):
                return parse_head(await self._reader.readuntil(b"\r\n\r\n"))
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            return None
        except asyncio.LimitOverrunError as error:
            raise HeadTooLarge("The request's head is too long.", "Send fewer headers.") from error

    async def _answer(self, head: Head, body: RequestBody) -> Response:
        inner = beneath_secret(head.path, self._prefix)
        if inner is None:
            return error_response(NotFound("Not found."))
        origin = f"{self._scheme}://{head.host}{self._prefix}"
        request = Request(head.method, inner, head.raw_query, head.headers, body, origin)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._api.handle, request)

    async def _send(self, response: Response, head: Head | None, *, keep_alive: bool) -> None:
        is_chunked = response.length is None and head is not None and not head.is_http_1_0
        self._writer.write(_response_head(response, keep_alive=keep_alive, is_chunked=is_chunked))
        try:
            if head is None or head.method != "HEAD":
                async for chunk in self._pieces(response):
                    self._writer.write(_framed(chunk) if is_chunked else chunk)
                    async with asyncio.timeout(self._limits.body_timeout_s):
                        await self._writer.drain()
                if is_chunked:
                    self._writer.write(b"0\r\n\r\n")
            await self._writer.drain()
        except OSError:
            self._writer.transport.abort()  # a cut answer must not look like a whole one
            raise ConnectionResetError from None
        finally:
            close = getattr(response.body, "close", None)
            if close is not None:
                close()

    async def _pieces(self, response: Response) -> AsyncIterator[bytes]:
        if isinstance(response.body, list | tuple):
            for chunk in response.body:
                yield chunk
            return
        loop, chunks = asyncio.get_running_loop(), iter(response.body)
        while chunk := await loop.run_in_executor(self._executor, _next, chunks):
            yield chunk


class HeadTooLarge(EngineError):
    """Cloud Storage has no word for it; HTTP has."""

    status, http_status, rpc_code = "INVALID_ARGUMENT", 431, 3


def _response_head(response: Response, *, keep_alive: bool, is_chunked: bool) -> bytes:
    try:
        phrase = http.HTTPStatus(response.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {response.status} {phrase}", f"Date: {email.utils.formatdate(usegmt=True)}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    if is_chunked:
        lines.append("Transfer-Encoding: chunked")
    elif response.length is not None and response.status not in (204, 304):
        lines.append(f"Content-Length: {response.length}")
    if not keep_alive or (response.length is None and not is_chunked):
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _framed(chunk: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(chunk), chunk)


def _next(chunks: Iterator[bytes]) -> bytes:
    """Return the next piece that holds something; nothing at the end."""
    return next((chunk for chunk in chunks if chunk), b"")
