"""The socket on which an engine answers, by uvicorn: who says when it listens, and when it ends.

A module of its own because it takes as long to import as a gateway takes to begin.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import uvicorn
from starlette.types import ASGIApp

__all__ = ["Wish", "serve"]

_PATIENCE_S = 5
"""How long calls that are under way may take to be done when the engine is to end."""

Heed = Callable[[Callable[[int, Any], None]], None]


class Wish(Protocol):
    """Whether somebody has asked the engine to end."""

    @property
    def spoken(self) -> bool: ...


def serve(
    app: ASGIApp, path: Path, wish: Wish, *, heed_hangup: Heed, on_ready: Callable[[], None],
    on_end: Callable[[], None],
) -> None:  # fmt: skip
    """Answer on a Unix socket, which is its owner's alone, until a signal.

    Args:
        app: What answers.
        path: Of the socket; one that is left there is removed.
        wish: Of those who asked before it listens.
        heed_hangup: Has SIGHUP heard too, where that means anything.
        on_ready: Called when it listens.
        on_end: Called when it is to end, before it waits for who is not answered yet.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=_PATIENCE_S,
        server_header=False,
        limit_concurrency=500,
    )
    server = _Server(config, wish, heed_hangup=heed_hangup, on_ready=on_ready, on_end=on_end)
    server.run(sockets=[_listen(path)])


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    return listener


class _Server(uvicorn.Server):
    """uvicorn that says when it listens and when it ends, which it does quietly on a signal."""

    def __init__(
        self, config: uvicorn.Config, wish: Wish, *, heed_hangup: Heed,
        on_ready: Callable[[], None], on_end: Callable[[], None],
    ) -> None:  # fmt: skip
        super().__init__(config)
        self._wish, self._heed_hangup = wish, heed_hangup
        self._on_ready, self._on_end = on_ready, on_end

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._heed_hangup(self.handle_exit)  # uvicorn has set the other two
        self.should_exit |= self._wish.spoken  # later ones come to `handle_exit`
        if not self.should_exit:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_end()  # first: uvicorn waits for all who are not answered yet
        await super().shutdown(sockets=sockets)

    def handle_exit(self, sig: int, frame: Any) -> None:
        # A second Ctrl-C must not cut the shutdown short: it is the same wish.
        self.should_exit = True

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        super().run(sockets=sockets)
        # uvicorn raises the signals it caught again; this process has done what they ask.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
