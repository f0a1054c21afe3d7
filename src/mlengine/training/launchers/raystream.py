"""What a supervisor and its agent say to each other, and where what an outpost says ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from mlengine.runtime import farlink
from mlengine.runtime.frames import HEADER_BYTES, Frame, FrameReader, pack

__all__ = ["Ending", "Peer"]

_RECEIVE_BYTES = 1 << 16


class Peer:
    """The agent's end of a supervisor's socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._frames = FrameReader(max_payload_bytes=farlink.MAX_FRAME_BYTES)
        self._ahead: deque[Frame] = deque()

    async def receive(self) -> Frame | None:
        """Return the next frame; None at the end."""
        while not self._ahead:
            data = await self._reader.read(_RECEIVE_BYTES)
            if not data:
                return None
            self._ahead.extend(self._frames.feed(data))
        return self._ahead.popleft()

    async def send(self, kind: int, number: int, payload: bytes) -> None:
        """Send a frame; waits while the other side has enough. Who is gone needs none."""
        with contextlib.suppress(ConnectionError):
            await self.post(pack(number, kind, payload))

    async def post(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            ConnectionError: Nobody is there any more.
        """
        self._writer.write(data)
        await self._writer.drain()


class Ending:
    """Finds where the last frame of an outpost begins."""

    def __init__(self) -> None:
        self._kinds = FrameReader(max_payload_bytes=0)
        self._at = self._passed = 0
        self.seen = False

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what came before the replica's end, and what is of it."""
        for frame in self._kinds.feed(data):
            self.seen = self.seen or frame.kind == farlink.ENDED
            self._at += 0 if self.seen else HEADER_BYTES + frame.payload_bytes
        end = self._at - self._passed if self.seen else len(data)
        self._passed += len(data)
        return data[: max(end, 0)], data[max(end, 0) :]
