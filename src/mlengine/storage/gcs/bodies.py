"""The body of a request: read on the event loop, asked for from the thread that needs it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import re
from collections.abc import Iterator

from mlengine.storage.gcs.heads import Head
from mlengine.storage.gcs.messages import BrokenBody

__all__ = ["RequestBody"]

_PIECE_BYTES = 1 << 20
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_MAX_TRAILER_LINES = 100


class RequestBody:
    """An iterable for a worker thread; `drain` and `abandon` are for the event loop.

    Args:
        reader: Stands behind the head.
        writer: To tell a caller that waits for it to go on.
        head: How long the body is, and whether its sender waits.
        timeout_s: The longest silence.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        head: Head,
        *,
        timeout_s: float,
    ) -> None:
        self._reader, self._writer, self._timeout_s = reader, writer, timeout_s
        self._loop = asyncio.get_running_loop()
        self._is_chunked = head.length is None
        self._left = head.length or 0  # of the body, or of the chunk
        self._is_over = head.length == 0
        self._is_abandoned = False
        self._pending: concurrent.futures.Future[bytes] | None = None
        self.is_withheld = head.expects_continue and not self._is_over

    def __iter__(self) -> Iterator[bytes]:
        while not self._is_over:
            if self._is_abandoned:
                raise BrokenBody
            self._pending = asyncio.run_coroutine_threadsafe(self._piece(), self._loop)
            try:
                piece = self._pending.result()
            except concurrent.futures.CancelledError:
                raise BrokenBody from None
            if piece:
                yield piece

    async def drain(self, most_bytes: int) -> bool:
        """Throw away what nobody read; return whether the connection is good for another request.

        A caller that still sends would not read an answer if the connection were closed at once.
        """
        if self.is_withheld:
            return False
        while not self._is_over and most_bytes > 0:
            try:
                most_bytes -= len(await self._piece())
            except BrokenBody:
                return False
        return self._is_over

    def abandon(self) -> None:
        """Let a thread that still waits for a piece give up."""
        self._is_abandoned = True
        if self._pending is not None:
            self._pending.cancel()

    async def _piece(self) -> bytes:
        if self.is_withheld:
            self.is_withheld = False
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await (self._of_chunk() if self._is_chunked else self._of_length())
        except (
            ConnectionError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
        ) as error:  # fmt: skip
            raise BrokenBody from error

    async def _of_length(self) -> bytes:
        piece = await self._reader.read(min(self._left, _PIECE_BYTES))
        if not piece:
            raise BrokenBody
        self._left -= len(piece)
        self._is_over = self._left == 0
        return piece

    async def _of_chunk(self) -> bytes:
        if self._left == 0:
            match = _CHUNK_LINE.fullmatch(await self._reader.readuntil(b"\r\n"))
            if match is None:
                raise BrokenBody
            self._left = int(match[1], 16)
            if self._left == 0:
                await self._trailers()
                return b""
        piece = await self._reader.read(min(self._left, _PIECE_BYTES))
        if not piece:
            raise BrokenBody
        self._left -= len(piece)
        if self._left == 0 and await self._reader.readexactly(2) != b"\r\n":
            raise BrokenBody
        return piece

    async def _trailers(self) -> None:
        for _line in range(_MAX_TRAILER_LINES):
            if await self._reader.readuntil(b"\r\n") == b"\r\n":
                self._is_over = True
                return
        raise BrokenBody
