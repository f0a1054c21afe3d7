"""A TCP relay that breaks connections: after so many bytes, or all of them, for a while."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from tests.waiting import wait_until

__all__ = ["Relay"]


class Relay:
    """Stands in front of one server on loopback.

    Args:
        url: The server's.
        budget: Asked for each connection: bytes, both ways together, after which it is reset; None
            is no limit.
    """

    def __init__(self, url: str, budget: Callable[[], int | None] = lambda: None) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 80)
        self._budget = budget
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._is_away = self._is_closed = False
        self.cuts = self.carried = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def go_away(self) -> None:
        """Break all connections, and every new one at once."""
        self._is_away = True
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def come_back(self) -> None:
        self._is_away = False

    def close(self) -> None:
        self._is_closed = True
        self.go_away()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self._port)).close()
        self._thread.join()
        self._listener.close()
        wait_until(lambda: not self._open)

    def _accept(self) -> None:
        while not self._is_closed:
            near, _address = self._listener.accept()
            if self._is_away or self._is_closed:
                near.close()
                continue
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        left = self._budget()
        try:
            far = socket.create_connection(self._target)
        except OSError:
            near.close()
            return
        with self._lock:
            self._open |= {near, far}
        try:
            self._carry(near, far, left)
        except OSError:
            pass
        finally:
            # Reset, not closed in order: as a machine that is gone.
            for each in (near, far):
                with contextlib.suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                each.close()
            with self._lock:
                self._open -= {near, far}

    def _carry(self, near: socket.socket, far: socket.socket, left: int | None) -> None:
        other = {near: far, far: near}
        while True:
            ready, _w, _x = select.select([near, far], [], [], 60)
            for source in ready:
                data = source.recv(65536 if left is None else max(min(left, 65536), 1))
                if not data:
                    return
                self.carried += len(data)
                if left is not None and len(data) >= left:
                    other[source].sendall(data[:left])
                    self.cuts += 1
                    return
                other[source].sendall(data)
                left = None if left is None else left - len(data)
