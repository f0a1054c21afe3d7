"""How the gateway asks the engine to wake a version, at once.

An engine that listens keeps a connection to the control socket open, on which it said
``{"subscribe": true}``. Lines ``{"wake": VERSION}`` come back on it; its answer, if it is not a
new snapshot, is the command ``{"asleep": VERSION, "problem": TEXT}``.
"""

from __future__ import annotations

import asyncio

import msgspec

__all__ = ["Bell"]


class Bell:
    """Rings at every engine that listens."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.StreamWriter] = set()

    def ring(self, version: str) -> bool:
        """Ask for a worker of a version; return whether anybody listens."""
        line = msgspec.json.encode({"wake": version}) + b"\n"
        for listener in self._listeners:
            listener.write(line)
        return bool(self._listeners)

    def add(self, listener: asyncio.StreamWriter) -> None:
        """Ring there too from now on."""
        self._listeners.add(listener)

    def remove(self, listener: asyncio.StreamWriter) -> None:
        """Ring there no more; harmless if it never did."""
        self._listeners.discard(listener)
