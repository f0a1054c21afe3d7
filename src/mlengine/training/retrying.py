"""Keeps the pauses between attempts: decided once, on disk, and measured on the monotonic clock.

`retries` has the rules. The decision that another attempt follows is a file in the folder of the
attempt that is over, so an engine that was restarted during the pause waits for what is left of it.
"""

from __future__ import annotations

import threading
from pathlib import Path

from mlengine.core.clock import Clock
from mlengine.core.states import JobState
from mlengine.runtime import attemptfiles
from mlengine.store import JobRecord
from mlengine.training import notes
from mlengine.training.launchers import AttemptStatus, ExitRecord, Outcome, Phase
from mlengine.training.lifecycle import Retry
from mlengine.training.retries import (
    TOLD_TO_END,
    backoff_s,
    lost_reason,
    retry_line,
    retry_reason,
)

__all__ = ["Retrying", "told_to_end"]


class Retrying:
    """Says of attempts that are over whether, and when, another one follows.

    Args:
        clock: Wall clock for what is written down, monotonic clock for every pause.
        max_retries: For jobs that do not say it themselves.
        backoff_s: Pause after the first attempt; it doubles from then on.
    """

    def __init__(self, clock: Clock, *, max_retries: int, backoff_s: float) -> None:
        self._clock = clock
        self._max_retries = max_retries
        self._backoff_s = backoff_s
        self._due_s: dict[tuple[str, int], float] = {}
        self._lock = threading.Lock()

    def state(self, record: JobRecord, status: AttemptStatus, attempt_dir: Path) -> Retry:
        """Return where the newest attempt of a job stands."""
        if record.attempt > self.limit(record) or not self._reason(record, status, attempt_dir):
            return Retry.NO
        note = notes.retry_note(attempt_dir)
        if note is None:
            return Retry.UNNOTED
        return Retry.DUE if self._left_s(record, note) <= 0 else Retry.PAUSING

    def decided(
        self, record: JobRecord, status: AttemptStatus, attempt_dir: Path
    ) -> notes.RetryNote:
        """Return the decision that another attempt follows, which takes effect once written."""
        pause_s = backoff_s(record.attempt, base_s=self._backoff_s)
        line = retry_line(
            record.attempt,
            retries=self.limit(record),
            why=self._reason(record, status, attempt_dir),
            pause_s=pause_s,
        )
        since = self._clock.now().timestamp()
        return notes.RetryNote(since=since, pause_s=pause_s, line=line)

    def limit(self, record: JobRecord) -> int:
        """Return how often a job may be started again."""
        own = record.job.options.max_retries if record.job.options else -1
        return own if own >= 0 else self._max_retries

    def forget(self, record: JobRecord) -> None:
        """Drop what was kept of a job that is over."""
        with self._lock:
            for key in [key for key in self._due_s if key[0] == record.uid]:
                del self._due_s[key]

    def _reason(self, record: JobRecord, status: AttemptStatus, attempt_dir: Path) -> str:
        if record.state not in (JobState.PREPARING, JobState.RUNNING):
            return ""
        if status.phase is Phase.LOST:
            return lost_reason(status.ran_in)
        if status.exit and told_to_end(status.exit, attempt_dir):
            return TOLD_TO_END
        is_batch = record.job.prediction_input is not None
        return retry_reason(status.exit, is_batch=is_batch) if status.exit else ""

    def _left_s(self, record: JobRecord, note: notes.RetryNote) -> float:
        """Return what is left of a pause; a jump of the wall clock changes nothing."""
        now_s = self._clock.monotonic_s()
        key = (record.uid, record.attempt)
        with self._lock:
            if key not in self._due_s:
                passed_s = self._clock.now().timestamp() - note.since
                left_s = min(max(note.pause_s - passed_s, 0.0), note.pause_s)
                self._due_s[key] = now_s + left_s
            return self._due_s[key] - now_s


def told_to_end(exit_record: ExitRecord, attempt_dir: Path) -> bool:
    """Tell whether the supervisor was asked to end by somebody other than this engine.

    A machine or a container that is shut down asks all its processes. Whoever cancels a job has
    the engine write so into the attempt's folder.
    """
    asked = exit_record.outcome is Outcome.CANCELLED
    return asked and not (attempt_dir / attemptfiles.CANCEL).exists()
