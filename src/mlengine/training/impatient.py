"""Queued jobs that may not wait for ever: found without reading the queue over and over."""

from __future__ import annotations

import threading

from mlengine.core.states import JobState
from mlengine.store import JobRecord, Store
from mlengine.training.checks import wait_limit_s

__all__ = ["Impatient"]


class Impatient:
    """The queued jobs that have a `maxWaitTime`. Thread-safe.

    Args:
        store: All of its queue is read once, at the first question; later jobs are told.
        alone: No other engine adds jobs to the store; else its queue is read at every question.
    """

    def __init__(self, store: Store, *, alone: bool = True) -> None:
        self._store = store
        self._alone = alone
        self._names: set[tuple[str, str]] | None = None
        self._lock = threading.Lock()

    def queued(self, record: JobRecord) -> None:
        """Take note of a job that was just created."""
        with self._lock:
            if self._names is not None and _is_limited(record):
                self._names.add((record.project, record.job_id))

    def waiting(self) -> list[JobRecord]:
        """Return those that are queued still."""
        with self._lock:
            # A job that is created meanwhile waits here, to be added.
            if self._names is None or not self._alone:
                queue = self._store.jobs_in({JobState.QUEUED})
                self._names = {(r.project, r.job_id) for r in queue if _is_limited(r)}
            names = sorted(self._names)
        records = [self._store.job(project, job_id) for project, job_id in names]
        with self._lock:
            for record in records:
                if record.state is not JobState.QUEUED:
                    self._names.discard((record.project, record.job_id))
        return [record for record in records if record.state is JobState.QUEUED]


def _is_limited(record: JobRecord) -> bool:
    return wait_limit_s(record.job.training_input) is not None
