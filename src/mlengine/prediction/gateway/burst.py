"""Sends the answers that one read brought in a row, when all of them are made.

A caller on this machine takes an answer about as fast as the gateway makes the next one. Sent one
by one, it sleeps in between, and to wake it costs the gateway more than to write. In a row most
find it awake (``benchmarks.prediction.guarded``). A few answers gain nothing and go out at once.
"""

from __future__ import annotations

import asyncio

__all__ = ["Burst"]

_FEW, _MOST = 16, 64


class Burst:
    """Holds answers back between `begin` and `end`, which come in one piece of work of the loop."""

    __slots__ = ("_held", "_is_holding")

    def __init__(self) -> None:
        self._held: list[tuple[asyncio.Transport, bytes]] = []
        self._is_holding = False

    def begin(self, answers: int) -> None:
        """Hold back what comes now, if it is to be so many."""
        self._is_holding = answers >= _FEW

    def send(self, transport: asyncio.Transport, answer: bytes) -> None:
        """Send a whole answer, now or with the others.

        Args:
            transport: Of a connection on which nothing else is sent before `end`.
            answer: All of it.
        """
        if not self._is_holding:
            transport.write(answer)
            return
        self._held.append((transport, answer))
        if len(self._held) >= _MOST:
            self._send_held()

    def end(self) -> None:
        """Send what was held back."""
        self._is_holding = False
        self._send_held()

    def _send_held(self) -> None:
        held, self._held = self._held, []
        for transport, answer in held:
            if not transport.is_closing():
                transport.write(answer)
