"""A loopback port on a node whose connections are made on the engine's machine.

A replica that reaches its buckets through the attempt's helper (`storage.sidecar`) finds a port
here; the helper itself stays beside the engine, with the buckets and the keys. Whoever asks with
`pull` hears what connections say, and answers with `push`; nothing here dials anywhere.

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import contextlib
import socket
import threading

__all__ = ["Tunnel"]

_READ_BYTES = 256 << 10
_MOST_WAITING_BYTES = 4 << 20
_BACKLOG = 128


class Tunnel:
    """All connections to one port."""

    def __init__(self) -> None:
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(_BACKLOG)
        self.port = int(self._listener.getsockname()[1])
        self._changed = threading.Condition()
        self._events: list[tuple[int, bytes | None]] = []
        self._waiting_bytes = 0
        self._lines: dict[int, _Line] = {}
        self._count = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def pull(self, wait_s: float) -> list[tuple[int, bytes | None]]:
        """Return what connections said since, in order; waits for something.

        Returns:
            Number of the connection, and what it said: nothing at its beginning, None at its end.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._events, wait_s)
            events, self._events, self._waiting_bytes = self._events, [], 0
            self._changed.notify_all()
            return events

    def push(self, number: int, data: bytes | None) -> int:
        """Answer a connection; None ends it. Returns how much it has not taken yet."""
        with self._changed:
            line = self._lines.get(number)
        return line.give(data) if line is not None else 0

    def close(self) -> None:
        """End everything."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._listener.close()
        with self._changed:
            lines = list(self._lines.values())
        for line in lines:
            line.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            with self._changed:
                self._count += 1
                number = self._count
                line = self._lines[number] = _Line(connection)
            self._tell(number, b"")
            for work in (lambda n=number, one=line: self._read(n, one), line.write):
                threading.Thread(target=work, daemon=True).start()

    def _read(self, number: int, line: _Line) -> None:
        data = line.read()
        while data:
            self._tell(number, data)
            data = line.read()
        self._tell(number, None)
        line.ended.wait()  # until the other side has ended it too
        with self._changed:
            del self._lines[number]

    def _tell(self, number: int, data: bytes | None) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting_bytes < _MOST_WAITING_BYTES)
            self._events.append((number, data))
            self._waiting_bytes += len(data or b"")
            self._changed.notify_all()


class _Line:
    """One connection, with what it has not taken yet."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._changed = threading.Condition()
        self._left = bytearray()
        self._over = False
        self.ended = threading.Event()

    def give(self, data: bytes | None) -> int:
        with self._changed:
            if data is None:
                self._over = True
            else:
                self._left += data
            self._changed.notify_all()
            return len(self._left)

    def read(self) -> bytes:
        try:
            return self._socket.recv(_READ_BYTES)
        except OSError:
            return b""

    def write(self) -> None:
        """Send what is given, until there is no more."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._left or self._over)
                data = bytes(self._left)
                self._left.clear()
                if not data:
                    break
            try:
                self._socket.sendall(data)
            except OSError:
                break
        self.close()

    def close(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.ended.set()
