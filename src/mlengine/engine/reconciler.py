"""The engine's one loop: compare records with the world, at start, when woken, and every second.

Nothing waits for an API call to be repaired. Being woken is only faster: a supervisor that starts
or ends an attempt says so on a datagram socket, and a create wakes the loop at once.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from mlengine.core.errors import EngineError

__all__ = ["PERIOD_S", "Reconciler"]

_log = logging.getLogger(__name__)
PERIOD_S = 1.0
"""How often an engine looks at the records, if nobody wakes it before."""

_SELDOM = 30


class Reconciler:
    """Runs `often` about every second and when woken, and `seldom` about every half minute.

    A step that raises is logged and run again the next time; it stops no other step.
    """

    def __init__(
        self,
        often: Sequence[Callable[[], None]],
        seldom: Sequence[Callable[[], None]],
        *,
        notify_socket: Path,
    ) -> None:
        self._often = often
        self._seldom = seldom
        self._notify_socket = notify_socket
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._inbox: socket.socket | None = None
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the loop and the ear for supervisors."""
        self._notify_socket.unlink(missing_ok=True)
        self._inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._inbox.bind(str(self._notify_socket))
        self._notify_socket.chmod(0o600)
        for name, work in (("reconciler", self._loop), ("notifications", self._listen)):
            thread = threading.Thread(target=work, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def wake(self) -> None:
        """Ask for a turn now."""
        self._wake.set()

    def stop(self) -> None:
        """End the loop after the turn at hand."""
        self._closing.set()
        self._wake.set()
        if self._inbox:
            self._inbox.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        if self._inbox:
            self._inbox.close()
        self._notify_socket.unlink(missing_ok=True)

    def _loop(self) -> None:
        turn = 0
        while not self._closing.is_set():
            # Cleared before the turn: what happens during it is seen by the next.
            self._wake.clear()
            self._run(self._often)
            if turn % _SELDOM == 0:
                self._run(self._seldom)
            turn += 1
            self._wake.wait(PERIOD_S)

    def _run(self, steps: Sequence[Callable[[], None]]) -> None:
        for step in steps:
            try:
                step()
            except EngineError as error:  # the gateway or the store is away for a moment
                _log.warning("%s waits: %s", getattr(step, "__qualname__", step), error)
            except Exception:
                _log.exception("reconciling: %s", getattr(step, "__qualname__", step))

    def _listen(self) -> None:
        assert self._inbox is not None
        while not self._closing.is_set():
            try:
                message = self._inbox.recv(4096)
            except OSError:
                return
            if message:
                self._wake.set()
