"""How old jobs are, by a clock that cannot jump."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

from mlengine.core.clock import Clock
from mlengine.core.resources import Job
from mlengine.store import JobRecord

__all__ = ["Ages"]


class Ages:
    """Ages of jobs: after its first sight a job ages by the monotonic clock. Thread-safe.

    Args:
        clock: Its wall clock is asked once for a job that was created before this engine began.
        of: Since when a job ages: its creation, unless something else is said.
    """

    def __init__(
        self, clock: Clock, *, of: Callable[[Job], str] = lambda job: job.create_time
    ) -> None:
        self._clock = clock
        self._since = of
        self._created_s: dict[str, float] = {}
        self._lock = threading.Lock()

    def born(self, record: JobRecord) -> None:
        """Take note of a job that is created now."""
        with self._lock:
            self._created_s[record.uid] = self._clock.monotonic_s()

    def of(self, record: JobRecord) -> float:
        """Return the seconds since a job was created, or whatever it ages from."""
        now_s = self._clock.monotonic_s()
        with self._lock:
            if record.uid not in self._created_s:
                created = datetime.fromisoformat(self._since(record.job))
                age_s = max((self._clock.now() - created).total_seconds(), 0.0)
                self._created_s[record.uid] = now_s - age_s
            return now_s - self._created_s[record.uid]

    def forget(self, record: JobRecord) -> None:
        """Drop a job that is over."""
        with self._lock:
            self._created_s.pop(record.uid, None)
