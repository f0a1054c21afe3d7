"""How long a job waits for an object store that is away: with pauses, and not for ever."""

from __future__ import annotations

import threading

from mlengine.core.clock import Clock

__all__ = ["Patience"]

_PAUSE_S = 2.0
_LIMIT_S = 3600.0


class Patience:
    """Keeps what is put off, by job. Thread-safe.

    Args:
        clock: Its monotonic side measures.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since_s: dict[str, float] = {}
        self._due_s: dict[str, float] = {}

    def put_off(self, uid: str) -> bool:
        """Put a step off for a pause; False once it has been put off for an hour in all."""
        now_s = self._clock.monotonic_s()
        with self._lock:
            self._due_s[uid] = now_s + _PAUSE_S
            return now_s - self._since_s.setdefault(uid, now_s) < _LIMIT_S

    def is_new(self, uid: str) -> bool:
        """Tell whether nothing of a job was put off before."""
        with self._lock:
            return uid not in self._since_s

    def waits(self, uid: str) -> bool:
        """Tell whether the pause is not over yet."""
        with self._lock:
            return self._due_s.get(uid, 0.0) > self._clock.monotonic_s()

    def forget(self, uid: str) -> None:
        """Begin anew with a job: a step of it went well, or it is over."""
        with self._lock:
            self._since_s.pop(uid, None)
            self._due_s.pop(uid, None)
