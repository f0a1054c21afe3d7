"""This machine's end of a node's tunnel: each connection there becomes one to a helper here."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["TunnelEnd"]

_PULL_S = 3.0
_AGAIN_S = 0.5
_READ_BYTES = 1 << 20
_ENOUGH_BYTES = 4 << 20
_PAUSE_S = 0.05

Call = Callable[..., Awaitable[Any]]


class TunnelEnd:
    """All connections of one tunnel.

    Args:
        call: Calls the node's `runtime.tunnel` by a method's name.
        port: The helper's, on this machine's loopback.
    """

    def __init__(self, call: Call, port: int) -> None:
        self._call, self._port = call, port
        self._said: dict[int, asyncio.Queue[bytes | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._held_bytes = 0

    async def serve(self) -> None:
        """Pass on what connections say, until cancelled."""
        try:
            while True:
                try:
                    events = await self._call("pull", _PULL_S)
                except Exception:  # a node that is gone is noticed by who follows the replica
                    await asyncio.sleep(_AGAIN_S)
                    continue
                for number, data in events:
                    self._hear(number, data)
                while self._held_bytes > _ENOUGH_BYTES:
                    await asyncio.sleep(_PAUSE_S)
        finally:
            for task in self._tasks:
                task.cancel()

    def _hear(self, number: int, data: bytes | None) -> None:
        if data == b"":
            self._said[number] = asyncio.Queue()
            task = asyncio.create_task(self._connect(number))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif number in self._said:
            self._held_bytes += len(data or b"")
            self._said[number].put_nowait(data)

    async def _connect(self, number: int) -> None:
        """Make a connection, and keep it until both sides have ended it."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:  # the helper was given up
            await self._answer(number, None)
            self._forget(number)
            return
        answers = asyncio.create_task(self._pass_answers(number, reader))
        try:
            with contextlib.suppress(OSError):
                while (data := await self._said[number].get()) is not None:
                    self._held_bytes -= len(data)
                    writer.write(data)
                    await writer.drain()
                if writer.can_write_eof():
                    writer.write_eof()
            await answers
        finally:
            answers.cancel()
            writer.close()
            self._forget(number)

    def _forget(self, number: int) -> None:
        left = self._said.pop(number)
        while not left.empty():
            self._held_bytes -= len(left.get_nowait() or b"")

    async def _pass_answers(self, number: int, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_READ_BYTES):
                await self._answer(number, data)
        await self._answer(number, None)

    async def _answer(self, number: int, data: bytes | None) -> None:
        """Have the node say it; waits while the replica does not take it."""
        with contextlib.suppress(Exception):
            left = await self._call("push", number, data)
            while left > _ENOUGH_BYTES:
                await asyncio.sleep(_PAUSE_S)
                left = await self._call("push", number, b"")
