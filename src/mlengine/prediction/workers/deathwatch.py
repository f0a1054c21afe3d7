"""Notices at once that a process died, also one that is not our child."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from collections.abc import Callable, Iterable

__all__ = ["DeathWatch"]

_log = logging.getLogger(__name__)

_LOOK_AGAIN_S = 0.5


class DeathWatch:
    """A thread that calls `act` when a watched process ends, and twice a second anyway.

    Args:
        pids: Asked before each wait which processes to watch; those that are gone are skipped.
        act: What to do; an exception is logged, and the watch goes on.
        name: Of the thread.
    """

    def __init__(
        self, pids: Callable[[], Iterable[int]], act: Callable[[], object], *, name: str
    ) -> None:
        self._pids = pids
        self._act = act
        self._stopping = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Act now, and ask again whom to watch."""
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"x")

    def close(self) -> None:
        """End the thread after what it does at the moment."""
        self._stopping = True
        self.wake()
        self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._act()
            except Exception:
                _log.exception("after a death")
            self._wait()

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        descriptors = []
        try:
            for pid in self._pids():
                with contextlib.suppress(OSError):
                    descriptors.append(os.pidfd_open(pid))
                    poll.register(descriptors[-1], select.POLLIN)
            for descriptor, _event in poll.poll(_LOOK_AGAIN_S * 1000):
                if descriptor == self._wake_read:
                    os.read(descriptor, 4096)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
