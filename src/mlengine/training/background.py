"""Slow work on a few threads, for each job one piece at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

__all__ = ["Background"]

_THREADS = 4  # load checks among what they do: each may hold a model in memory
_PATIENT_THREADS = 8  # builds of environments and copies from far buckets, for minutes


class Background:
    """Runs what takes long beside the reconciler's tick. Thread-safe."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="jobs")
        self._patient = ThreadPoolExecutor(_PATIENT_THREADS, thread_name_prefix="preparing")
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self.closing = False

    def working(self, uid: str) -> bool:
        """Tell whether something is being done for a job right now."""
        with self._lock:
            return uid in self._busy

    def run(
        self, uid: str, work: Callable[[], None], *, then: Callable[[], None], patient: bool = False
    ) -> bool:
        """Do `work` for a job unless something is being done for it; say whether it is begun.

        Args:
            work: Deals with its own errors.
            then: Called afterwards, whatever came of it.
            patient: It may take many minutes; it has threads of its own, and stops no other work.
        """
        with self._lock:
            if uid in self._busy or self.closing:
                return False
            self._busy.add(uid)

        def run() -> None:
            try:
                work()
            finally:
                with self._lock:
                    self._busy.discard(uid)
                then()

        (self._patient if patient else self._pool).submit(run)
        return True

    def close(self) -> None:
        """Let the work at hand end, and begin no other."""
        self.closing = True
        for pool in (self._patient, self._pool):
            pool.shutdown(wait=True, cancel_futures=True)
