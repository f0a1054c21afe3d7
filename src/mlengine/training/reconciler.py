"""Compares the records of jobs with the world, and performs what `lifecycle` decides.

Level-triggered: `tick` looks at every unfinished job, whoever died and whatever was missed; being
woken early only makes it faster. Slow steps run on a few threads, one per job at a time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from mlengine.core.clock import Clock, rfc3339
from mlengine.core.errors import EngineError
from mlengine.core.states import JobState
from mlengine.store import JobRecord, Store
from mlengine.training.checks import wait_limit_s
from mlengine.training.jobs import folder_of
from mlengine.training.kinds import JobKind, Preparation, kind_of
from mlengine.training.launchers import AttemptStatus, Launcher, Outcome, Phase
from mlengine.training.lifecycle import Observation, Step, decide
from mlengine.training.logs import ServiceLog

__all__ = ["JobReconciler"]

_log = logging.getLogger(__name__)
_STARTED = {JobState.PREPARING, JobState.RUNNING, JobState.CANCELLING}
_THREADS = 4


class JobReconciler:
    """Runs jobs.

    Args:
        store: Where the records are.
        launcher: Starts, watches and stops attempts.
        kinds: ``training`` and ``prediction`` to what prepares and collects them.
        root: The ``jobs`` folder of the engine's home.
        clock: For times that people read, and for time limits.
        max_running: Most jobs that may be past QUEUED at one time.
    """

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        kinds: Mapping[str, JobKind],
        root: Path,
        *,
        clock: Clock,
        max_running: int,
    ) -> None:
        self._store = store
        self._launcher = launcher
        self._kinds = kinds
        self._root = root
        self._clock = clock
        self._max_running = max_running
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="jobs")
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self._created_s: dict[str, float] = {}
        self._closing = False

    def tick(self, wake: Callable[[], None] = lambda: None) -> None:
        """Bring every unfinished job one step further; `wake` is called when a slow step ended."""
        started = self._store.jobs_in(_STARTED)
        free = self._max_running - len(started)
        # A slot may become free by a step below: the next tick, a wake away, takes it.
        queued = self._store.jobs_in({JobState.QUEUED}, limit=max(free, 0) or 1)
        for record in [*started, *queued]:
            slot_free = free > 0
            if self._step(record, slot_free=slot_free, wake=wake) and record in queued:
                free -= 1

    def expire_waiting(self) -> None:
        """Cancel queued jobs beyond their `maxWaitTime`; looks at the whole queue, so seldom."""
        for record in self._store.jobs_in({JobState.QUEUED}):
            if wait_limit_s(record.job.training_input) is not None:
                self._step(record, slot_free=False, wake=lambda: None)

    def running(self) -> int:
        """Return how many jobs are past QUEUED and not ended."""
        return len(self._store.jobs_in(_STARTED))

    def close(self) -> None:
        """Let the slow steps at hand end and start no other; attempts run on."""
        self._closing = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _step(self, record: JobRecord, *, slot_free: bool, wake: Callable[[], None]) -> bool:
        """Perform the next step of one job; return whether it took a free slot."""
        try:
            # Looked at inside, too: a folder that cannot be read must not stop the other jobs.
            status = self._launcher.poll(self._attempt_dir(record))
            return self._perform(self._decide(record, status, slot_free), record, status, wake)
        except (EngineError, OSError) as error:
            _log.warning("job %s waits: %s", record.uid, error)
        except Exception:
            _log.exception("job %s", record.uid)
        return False

    def _decide(self, record: JobRecord, status: AttemptStatus, slot_free: bool) -> Step:
        with self._lock:
            working = record.uid in self._busy
        return decide(
            Observation(
                state=record.state,
                phase=status.phase,
                working=working,
                slot_free=slot_free,
                waited_s=self._waited_s(record),
                wait_limit_s=wait_limit_s(record.job.training_input),
            )
        )

    def _perform(
        self, step: Step, record: JobRecord, status: AttemptStatus, wake: Callable[[], None]
    ) -> bool:
        match step:
            case Step.WAIT:
                self._report_progress(record, status)
            case Step.PREPARE:
                return self._begin(record, wake)
            case Step.MARK_RUNNING:
                start_time = rfc3339(self._clock.now())
                if self._store.move_job(record, JobState.RUNNING, start_time=start_time):
                    wake()
            case Step.COLLECT:
                self._aside(record, self._collect, wake)
            case Step.EXPIRE:
                limit = wait_limit_s(record.job.training_input)
                message = f"The job waited longer than its maxWaitTime of {limit:g} s."
                if self._store.move_job(record, JobState.CANCELLING, error_message=message):
                    wake()
            case Step.STOP:
                self._launcher.cancel(self._attempt_dir(record))
            case Step.END_CANCELLED:
                self._launcher.sweep(self._attempt_dir(record))
                self._end(record, JobState.CANCELLED)
            case Step.END_LOST:
                self._launcher.sweep(self._attempt_dir(record))
                self._end(
                    record,
                    JobState.FAILED,
                    error_message="The supervisor of the job died without a record (killed, or the "
                    "machine was restarted); its replicas were stopped. Submit the job again.",
                )
        return False

    # --- preparing ---

    def _begin(self, record: JobRecord, wake: Callable[[], None]) -> bool:
        if record.state is JobState.QUEUED:
            moved = self._store.move_job(record, JobState.PREPARING, attempt=record.attempt + 1)
            if moved is None:
                return False
            record = moved
            self._say(record, "Waiting for job to be provisioned.")
        return self._aside(record, self._prepare, wake)

    def _prepare(self, record: JobRecord) -> None:
        attempt_dir = self._attempt_dir(record)
        kind = self._kinds[kind_of(record.job)]
        preparation = Preparation(
            record=record,
            attempt_dir=attempt_dir,
            log=lambda line: self._say(record, line),
            cancelled=lambda: self._cancelled(record),
            warn=lambda line: self._say(record, line, "WARNING"),
        )
        try:
            attempt_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            spec = kind.prepare(preparation)
        except EngineError as error:
            self._fail_preparing(record, str(error))
            return
        except OSError as error:
            self._fail_preparing(record, f"{error.strerror or error}: {error.filename or ''}")
            return
        if self._cancelled(record):
            return
        self._say(record, "Waiting for training program to start.")
        self._launcher.start(attempt_dir, spec)

    def _fail_preparing(self, record: JobRecord, message: str) -> None:
        self._end(record, JobState.FAILED, error_message=message)

    def _fail_on_defect(self, record: JobRecord, error: Exception) -> None:
        """End a job that our own code cannot handle: tried again, it would fail again."""
        message = f"Internal error: {type(error).__name__}: {error}. See the engine's log."
        try:
            self._launcher.cancel(self._attempt_dir(record))
            if self._launcher.poll(self._attempt_dir(record)).phase is not Phase.RUNNING:
                self._end(record, JobState.FAILED, error_message=message)
        except Exception:
            _log.exception("job %s", record.uid)

    def _cancelled(self, record: JobRecord) -> bool:
        if self._closing:
            return True
        return self._store.job(record.project, record.job_id).state is not JobState.PREPARING

    # --- ending ---

    def _collect(self, record: JobRecord) -> None:
        attempt_dir = self._attempt_dir(record)
        exit_record = self._launcher.poll(attempt_dir).exit
        if exit_record is None:
            return
        try:
            outputs = self._kinds[kind_of(record.job)].collect(record, attempt_dir, exit_record)
        except EngineError as error:
            self._end(record, JobState.FAILED, error_message=str(error))
            return
        if exit_record.outcome is Outcome.SUCCEEDED:
            self._end(record, JobState.SUCCEEDED, **outputs)
        elif exit_record.outcome is Outcome.FAILED:
            self._end(record, JobState.FAILED, error_message=exit_record.message, **outputs)
        else:
            # A time limit, or somebody signalled the supervisor: the API calls both cancelled.
            self._store.move_job(
                record, JobState.CANCELLING, error_message=exit_record.message, **outputs
            )

    def _end(self, record: JobRecord, to: JobState, **changes: Any) -> None:
        # The log line goes first: who sees the end of a job may rely on its log being whole.
        message = changes.get("error_message", "")
        lines = {
            JobState.SUCCEEDED: ("Job completed successfully.", "INFO"),
            JobState.FAILED: (message or "Job failed.", "ERROR"),
            JobState.CANCELLED: ("Job was cancelled.", "WARNING"),
        }
        newest = self._store.job(record.project, record.job_id)
        if newest.state is not record.state or newest.attempt != record.attempt:
            return
        self._say(record, *lines[to])
        self._created_s.pop(record.uid, None)
        self._store.move_job(record, to, end_time=rfc3339(self._clock.now()), **changes)

    def _report_progress(self, record: JobRecord, status: AttemptStatus) -> None:
        if record.state is not JobState.RUNNING or status.phase is not Phase.RUNNING:
            return
        kind = self._kinds[kind_of(record.job)]
        live = kind.progress(record, self._attempt_dir(record))
        if any(getattr(record.job, key) != value for key, value in live.items()):
            self._store.edit_job(
                record.project,
                record.job_id,
                lambda job: msgspec.structs.replace(job, **live),
                attempt=record.attempt,
            )

    # --- small things ---

    def _aside(
        self, record: JobRecord, work: Callable[[JobRecord], None], wake: Callable[[], None]
    ) -> bool:
        """Do slow work on a thread, once per job at a time."""
        with self._lock:
            if record.uid in self._busy or self._closing:
                return False
            self._busy.add(record.uid)

        def run() -> None:
            try:
                work(record)
            except EngineError as error:  # the store is away: the next tick comes back to it
                _log.warning("job %s waits: %s", record.uid, error)
            except Exception as error:
                _log.exception("job %s", record.uid)
                self._fail_on_defect(record, error)
            finally:
                with self._lock:
                    self._busy.discard(record.uid)
                wake()

        self._pool.submit(run)
        return True

    def _attempt_dir(self, record: JobRecord) -> Path:
        return folder_of(self._root, record) / str(record.attempt)

    def _say(self, record: JobRecord, message: str, severity: str = "INFO") -> None:
        ServiceLog(folder_of(self._root, record)).write(message, severity)

    def _waited_s(self, record: JobRecord) -> float:
        """Return seconds since create; after its first sight a job ages by the monotonic clock."""
        if wait_limit_s(record.job.training_input) is None:
            return 0.0
        now_s = self._clock.monotonic_s()
        if record.uid not in self._created_s:
            created = datetime.fromisoformat(record.job.create_time)
            age_s = max((self._clock.now() - created).total_seconds(), 0.0)
            self._created_s[record.uid] = now_s - age_s
        return now_s - self._created_s[record.uid]
