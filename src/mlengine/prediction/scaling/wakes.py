"""The engine's ear at the gateway: hears at once which version is asked and has no worker.

See `bell` for the words. A thread keeps the connection; while the gateway is away it tries again.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from mlengine.prediction.gateway.info import CONTROL_SOCKET
from mlengine.prediction.sockets import socket_dir

__all__ = ["WakeListener"]

_log = logging.getLogger(__name__)
_AGAIN_S = 0.1


class WakeListener:
    """Calls `wake` with the full name of each version that predictions wait for.

    Args:
        run_dir: The home's ``run`` folder.
        wake: Returns at once; an exception is logged.
    """

    def __init__(self, run_dir: Path, wake: Callable[[str], None]) -> None:
        self._path = str(socket_dir(run_dir) / CONTROL_SOCKET)
        self._wake = wake
        self._ended = threading.Event()
        self._talk: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="wake-listener", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hear no more."""
        self._ended.set()
        talk = self._talk
        if talk is not None:
            with contextlib.suppress(OSError):
                talk.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as talk:
                self._talk = talk
                self._listen(talk)
            self._talk = None
            self._ended.wait(_AGAIN_S)

    def _listen(self, talk: socket.socket) -> None:
        talk.connect(self._path)
        talk.sendall(b'{"subscribe":true}\n')
        with talk.makefile("rb") as lines:
            while not self._ended.is_set() and (line := lines.readline()):
                try:
                    version = msgspec.json.decode(line).get("wake")
                    if version:
                        self._wake(version)
                except Exception:
                    _log.exception("hearing %r", line)
