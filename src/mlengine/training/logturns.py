"""When who reads a log may read it: the waiting may be many, the reading is one at a time.

An engine is one interpreter: twenty callers who page a long log would keep it busy, and every step
of any other call would wait behind theirs.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

__all__ = ["LogTurns"]

_REST = 3.0


class LogTurns:
    """Turns at reading, which take a quarter of one CPU's time at most.

    Args:
        closing: Set when the engine ends: nobody rests any more.
    """

    def __init__(self, closing: threading.Event) -> None:
        self._closing = closing
        self._lock = threading.Lock()
        self._free_s = 0.0

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Wait for a turn, and hold it; who comes alone has it at once."""
        with self._lock:
            self._closing.wait(max(self._free_s - time.monotonic(), 0.0))
            began_s = time.thread_time()
            try:
                yield
            finally:
                worked_s = time.thread_time() - began_s
                self._free_s = time.monotonic() + _REST * worked_s
