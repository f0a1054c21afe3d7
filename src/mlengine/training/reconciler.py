"""Compares the records of jobs with the world, and performs what `lifecycle` decides.

Level-triggered: `tick` looks at every unfinished job, whoever died and whatever was missed; being
woken early only makes it faster. Slow steps run on a few threads, one per job at a time.

Long because every step of a job's life needs the same few parts; what decides stands elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from mlengine.core.clock import Clock, rfc3339
from mlengine.core.errors import EngineError
from mlengine.core.resources import JobDetails
from mlengine.core.states import STARTED_JOB_STATES, JobState
from mlengine.runtime import failpoints
from mlengine.store import JobRecord, Store, StoreAway
from mlengine.training import notes
from mlengine.training.admission import Admission
from mlengine.training.ages import Ages
from mlengine.training.background import Background
from mlengine.training.capacity import Capacity
from mlengine.training.checks import running_limit_s, wait_limit_s
from mlengine.training.impatient import Impatient
from mlengine.training.jobs import folder_of
from mlengine.training.kinds import JobKind, NotYet, Preparation, all_ran_s, consumption, kind_of
from mlengine.training.launchers import (
    AttemptSpec,
    AttemptStatus,
    ExitRecord,
    Launcher,
    Outcome,
    Phase,
)
from mlengine.training.lifecycle import Observation, Step, decide
from mlengine.training.logs import ServiceLog
from mlengine.training.patience import Patience
from mlengine.training.retries import lost_message
from mlengine.training.retrying import Retrying, told_to_end
from mlengine.training.trials.children import stopped_early
from mlengine.training.trials.hyperparameters import is_tuning
from mlengine.training.trials.lifecycle import ENDED_FIRST, STOPPED_EARLY
from mlengine.training.trials.tuningjobs import TuningJobs

__all__ = ["JobReconciler"]

_log = logging.getLogger(__name__)
_ATTEMPTED = {JobState.PREPARING, JobState.RUNNING}
_TOLD_TO_END = (
    "The job's supervisor was told to end (the machine or its container was shut down); its "
    "replicas were stopped. Submit the job again, or with --max-retries."
)
_LOOK_AHEAD = 32  # queued jobs that a tick looks at: more can hardly start at once
_MOST_PASSED_OVER = 4096  # and of those before them that wait for what holds nobody else up


class JobReconciler:
    """Runs jobs.

    Args:
        store: Where the records are.
        launcher: Starts, watches and stops attempts.
        kinds: ``training`` and ``prediction`` to what prepares and collects them.
        root: The ``jobs`` folder of the engine's home.
        clock: For times that people read, and for time limits.
        capacity: The machine, and what jobs hold of it.
        retrying: Whether and when a failed job is started again.
        tuning: Runs tuning jobs; their trials are jobs like any other.
        leading: Asked before anything is started: engines of one database take turns.
        alone: No other engine ever acts on these jobs.
    """

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        kinds: Mapping[str, JobKind],
        root: Path,
        *,
        clock: Clock,
        capacity: Capacity,
        retrying: Retrying,
        tuning: TuningJobs,
        leading: Callable[[], bool] = lambda: True,
        alone: bool = True,
    ) -> None:
        self._store = store
        self._launcher = launcher
        self._kinds = kinds
        self._root = root
        self._clock = clock
        self._capacity = capacity
        self._retrying = retrying
        self._tuning = tuning
        self._leading = leading
        self._alone = alone
        self._ages = Ages(clock)
        self._ran = Ages(clock, of=lambda job: job.start_time)
        self._background = Background()
        self._patience = Patience(clock)
        self._impatient = Impatient(store, alone=alone)
        self._passed_over = 0  # by the last tick, of the queue

    def queued(self, record: JobRecord) -> None:
        """Take note of a job that was just created."""
        self._ages.born(record)
        self._impatient.queued(record)

    def tick(self, wake: Callable[[], None] = lambda: None) -> None:
        """Bring every unfinished job one step further; `wake` is called when a slow step ended."""
        started = []
        for record in self._store.jobs_in(STARTED_JOB_STATES):
            if _is_tuning(record):  # holds nothing of the machine: its trials do
                self._tuning.step(record, wake)
            else:
                started.append(record)
                self._step(record, wake=wake)
        queue, passed_over = [], 0
        limit = _LOOK_AHEAD + min(self._passed_over, _MOST_PASSED_OVER)
        for record in self._store.jobs_in({JobState.QUEUED}, limit=limit):
            if _is_tuning(record):
                self._tuning.step(record, wake)
            elif why := self._capacity.why_impossible(record):
                # A node that went away may come back: its jobs wait, and hold nobody up.
                if self._capacity.varies:
                    passed_over += 1
                else:
                    self._end(record, JobState.FAILED, error_message=why)
            else:
                queue.append(record)
                passed_over += self._capacity.wants_gpus(record)
        self._passed_over = passed_over
        if len(started) >= self._capacity.slots:
            return  # what became free by a step above is taken by the next tick, a wake away
        waiting = {record.uid: record for record in queue}
        for admission in self._capacity.admit(started, queue):
            self._step(waiting[admission.uid], wake=wake, admission=admission)

    def expire_waiting(self) -> None:
        """Cancel queued jobs beyond their `maxWaitTime`; all of the queue is read only once."""
        for record in self._impatient.waiting():
            if not _is_tuning(record):
                self._step(record, wake=lambda: None)

    def close(self) -> None:
        """Let the slow steps at hand end and start no other; attempts run on."""
        self._tuning.close()
        self._background.close()

    def _step(
        self, record: JobRecord, *, wake: Callable[[], None], admission: Admission | None = None
    ) -> None:
        """Perform the next step of one job."""
        try:
            # Looked at inside, too: a folder that cannot be read must not stop the other jobs.
            status = self._launcher.poll(self._attempt_dir(record))
            step = self._decide(record, status, admitted=admission is not None)
            if admission is not None and step is Step.PREPARE:
                self._dispatch(record, admission, wake)
            else:
                self._perform(step, record, status, wake)
        except (EngineError, OSError) as error:
            _log.warning("job %s waits: %s", record.uid, error)
        except Exception:
            _log.exception("job %s", record.uid)

    def _decide(self, record: JobRecord, status: AttemptStatus, *, admitted: bool) -> Step:
        wait_limit = _wait_limit_s(record)
        details = record.job.details
        return decide(
            Observation(
                state=record.state,
                phase=status.phase,
                working=self._background.working(record.uid) or self._patience.waits(record.uid),
                slot_free=admitted,
                begun=record.attempt <= 1 or (details and details.attempt) == record.attempt,
                retry=self._retrying.state(record, status, self._attempt_dir(record)),
                waited_s=0.0 if wait_limit is None else self._ages.of(record),
                wait_limit_s=wait_limit,
            )
        )

    def _perform(
        self, step: Step, record: JobRecord, status: AttemptStatus, wake: Callable[[], None]
    ) -> None:
        match step:
            case Step.WAIT:
                self._report_progress(record, status)
            case Step.PREPARE:
                self._aside(record, self._prepare, wake, patient=True)
            case Step.MARK_RUNNING:
                self._mark_running(record, wake)
            case Step.COLLECT:
                self._aside(record, self._collect, wake)
            case Step.NOTE_RETRY:
                self._note_retry(record, status)
            case Step.RETRY:
                self._retry(record, wake)
            case Step.EXPIRE:
                message = (
                    f"The job waited longer than its maxWaitTime of {_wait_limit_s(record):g} s."
                )
                if self._store.move_job(record, JobState.CANCELLING, error_message=message):
                    wake()
            case Step.STOP:
                self._launcher.cancel(self._attempt_dir(record))
            case Step.END_CANCELLED if record.parent and status.exit:
                self._aside(record, self._end_trial, wake)
            case Step.END_CANCELLED:
                failpoints.hit("job.cancelled.before-sweep")
                self._launcher.sweep(self._attempt_dir(record))
                failpoints.hit("job.cancelled.before-end")
                self._end(record, JobState.CANCELLED, **self._consumed(record, status.exit))
            case Step.END_LOST:
                self._launcher.sweep(self._attempt_dir(record))
                self._fail(record, lost_message(status.ran_in))

    # --- attempts ---

    def _dispatch(self, record: JobRecord, admission: Admission, wake: Callable[[], None]) -> None:
        """Give a queued job what it was admitted with, and begin its first attempt."""
        failpoints.hit("job.claim.before-write")
        self._capacity.hold(record, admission)
        failpoints.hit("job.claim.after-write")
        told = record.job.details or JobDetails()  # what was said when it was created
        waited_s = round(self._ages.of(record), 3)
        details = msgspec.structs.replace(told, queue_seconds=waited_s)
        attempt = record.attempt + 1
        moved = self._store.move_job(record, JobState.PREPARING, attempt=attempt, details=details)
        if moved is None:
            return
        failpoints.hit("job.preparing.after-move")
        self._say(moved, "Waiting for job to be provisioned.")
        self._aside(moved, self._prepare, wake, patient=True)

    def _mark_running(self, record: JobRecord, wake: Callable[[], None]) -> None:
        attempt_dir = self._attempt_dir(record)
        prepared, started = notes.prepared_note(attempt_dir).prepared, notes.started_at(attempt_dir)
        waited_s = max(started - prepared, 0.0) if prepared and started else 0.0
        details = self._details(record, attempt=record.attempt, start_seconds=round(waited_s, 3))
        failpoints.hit("job.running.before-move")
        if record.state is JobState.RUNNING:  # a later attempt: the job never stopped running
            self._store.edit_job(
                record.project,
                record.job_id,
                lambda job: msgspec.structs.replace(job, details=details),
                attempt=record.attempt,
            )
            wake()
        elif self._store.move_job(
            record, JobState.RUNNING, start_time=rfc3339(self._clock.now()), details=details
        ):
            self._ran.born(record)
            wake()
        failpoints.hit("job.running.after-move")

    def _note_retry(self, record: JobRecord, status: AttemptStatus) -> None:
        attempt_dir = self._attempt_dir(record)
        self._launcher.sweep(attempt_dir)
        note = self._retrying.decided(record, status, attempt_dir)
        # Said before it is decided, for afterwards nobody comes back here; and said only once,
        # for until then somebody may.
        log = ServiceLog(folder_of(self._root, record))
        if not log.has(note.line):
            log.write(note.line, "WARNING")
        failpoints.hit("job.retry.before-note")
        notes.write_retry_note(attempt_dir, note)
        failpoints.hit("job.retry.after-note")

    def _retry(self, record: JobRecord, wake: Callable[[], None]) -> None:
        note = notes.retry_note(self._attempt_dir(record))
        details = self._details(record)
        if note and note.line not in details.warnings:
            details.warnings = [*details.warnings, note.line]
        following = record.attempt + 1
        moved = self._store.move_job(record, record.state, attempt=following, details=details)
        if moved is not None:
            failpoints.hit("job.retry.after-move")
            self._aside(moved, self._prepare, wake, patient=True)

    # --- preparing ---

    def _prepare(self, record: JobRecord) -> None:
        attempt_dir = self._attempt_dir(record)
        kind = self._kinds[kind_of(record.job)]
        told: dict[str, Any] = {"warnings": []}
        before = record.job.details.warnings if record.job.details else []

        def warn(line: str) -> None:
            if line in before:
                return  # when it was created, or by an earlier attempt
            told["warnings"].append(line)
            self._say(record, line, "WARNING")

        preparation = Preparation(
            record=record,
            attempt_dir=attempt_dir,
            log=lambda line: self._say(record, line),
            cancelled=lambda: self._cancelled(record),
            warn=warn,
            report=told.update,
            gpus=self._capacity.gpus_of(record),
        )
        try:
            attempt_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            spec = self._limited(record, kind.prepare(preparation))
            self._patience.forget(record.uid)  # a store that goes away later has its hour anew
        except StoreAway:
            raise
        except EngineError as error:
            # Unless it was only told to stop, or may go well in a while.
            if not self._cancelled(record) and not self._put_off(record, error):
                self._fail(record, str(error))
            return
        except OSError as error:
            self._fail(record, f"{error.strerror or error}: {error.filename or ''}")
            return
        finally:
            now = self._clock.now().timestamp()
            notes.write_prepared_note(attempt_dir, notes.PreparedNote(now, told))
        failpoints.hit("job.prepared")
        if self._cancelled(record):
            return
        self._say(record, "Waiting for training program to start.")
        self._launcher.start(attempt_dir, spec)

    def _limited(self, record: JobRecord, spec: AttemptSpec) -> AttemptSpec:
        """Give a later attempt what is left of `maxRunningTime`, which is the whole job's."""
        if spec.max_running_s is None or not record.job.start_time:
            return spec
        left_s = max(spec.max_running_s - self._ran.of(record), 0.0)
        return msgspec.structs.replace(spec, max_running_s=left_s)

    def _put_off(self, record: JobRecord, error: EngineError) -> bool:
        """Have a step tried again in a while, if that is what its error asks for."""
        if not isinstance(error, NotYet):
            return False
        is_new = self._patience.is_new(record.uid)
        again = self._patience.put_off(record.uid)
        if is_new:  # said when it is true: who reads the line may rely on the pause having begun
            self._say(record, f"{error.problem} It is tried again.", "WARNING")
        return again

    def _fail_on_defect(self, record: JobRecord, error: Exception) -> None:
        """End a job that our own code cannot handle: tried again, it would fail again."""
        message = f"Internal error: {type(error).__name__}: {error}. See the engine's log."
        try:
            if not self._leading():
                return
            self._launcher.cancel(self._attempt_dir(record))
            if self._launcher.poll(self._attempt_dir(record)).phase is not Phase.RUNNING:
                self._end(record, JobState.FAILED, error_message=message)
        except Exception:
            _log.exception("job %s", record.uid)

    def _cancelled(self, record: JobRecord) -> bool:
        if self._background.closing or not self._leading():
            return True
        newest = self._store.job(record.project, record.job_id)
        return newest.state not in _ATTEMPTED or newest.attempt != record.attempt

    # --- ending ---

    def _collect(self, record: JobRecord) -> None:
        """End an attempt that ended by itself: its outputs, its verdict and its exit say how."""
        attempt_dir = self._attempt_dir(record)
        exit_record = self._launcher.poll(attempt_dir).exit
        if exit_record is None:
            return
        try:
            outputs = self._collected(record, exit_record)
        except StoreAway:
            raise
        except EngineError as error:
            self._end(record, JobState.FAILED, error_message=str(error))
            return
        if outputs is None:
            return
        wrong = outputs.pop("error_message", "")
        if exit_record.outcome is Outcome.SUCCEEDED and wrong:
            self._end(record, JobState.FAILED, error_message=wrong, **outputs)
        elif exit_record.outcome is Outcome.SUCCEEDED:
            self._end(record, JobState.SUCCEEDED, **outputs)
        elif exit_record.outcome is Outcome.FAILED:
            message = wrong or _numbered(record, exit_record)
            self._end(record, JobState.FAILED, error_message=message, **outputs)
        elif told_to_end(exit_record, attempt_dir):
            self._end(record, JobState.FAILED, error_message=_TOLD_TO_END, **outputs)
        else:
            # A time limit, which the API calls cancelled.
            outputs["error_message"] = _over_time(record, exit_record)
            self._store.move_job(record, JobState.CANCELLING, **outputs)

    def _fail(self, record: JobRecord, message: str) -> None:
        """End a job whose newest attempt never ran, or was lost."""
        self._end(record, JobState.FAILED, error_message=message, **self._consumed(record))

    def _consumed(self, record: JobRecord, exit_record: ExitRecord | None = None) -> dict[str, Any]:
        """Return the output of a job that is cut: how far it came, and at what cost.

        Args:
            record: The job.
            exit_record: How its newest attempt ended; None if it never ran, or was lost.
        """
        attempt_dir = self._attempt_dir(record)
        ran_s = all_ran_s(record, attempt_dir, exit_record)
        if exit_record is None:
            return consumption(record.job, ran_s) if ran_s else {}
        live = self._kinds[kind_of(record.job)].progress(record, attempt_dir)
        return consumption(msgspec.structs.replace(record.job, **live), ran_s)

    def _end_trial(self, record: JobRecord) -> None:
        """End a trial that was stopped: what it has measured until then counts.

        Its error message stays why it was stopped; what is wrong besides is a warning. One that was
        to be stopped early and had ended well before it heard of that is judged as such.
        """
        exit_record = self._launcher.poll(self._attempt_dir(record)).exit
        if exit_record is None:
            return
        try:
            outputs = self._collected(record, exit_record)
        except StoreAway:
            raise
        except EngineError as error:  # it ends all the same, with what it is known to have measured
            ran_s = all_ran_s(record, self._attempt_dir(record), exit_record)
            outputs = consumption(record.job, ran_s)
            outputs["details"] = self._details(record, run_seconds=_ran_s(exit_record))
            outputs["error_message"] = str(error)
        if outputs is None:
            return
        if wrong := outputs.pop("error_message", ""):
            self._say(record, wrong, "WARNING")
            outputs["details"].warnings.append(wrong)
        if stopped_early(record) and _ended_by_itself(exit_record):
            outputs["error_message"] = wrong or ENDED_FIRST
        self._end(record, JobState.CANCELLED, **outputs)

    def _collected(self, record: JobRecord, exit_record: ExitRecord) -> dict[str, Any] | None:
        """Return what an attempt made, with its details; None if that is tried again in a while.

        Its warnings are said; what its verdict finds wrong is its ``error_message``.

        Raises:
            EngineError: It cannot be had, nor later; or the database is away (`StoreAway`).
        """
        failpoints.hit("job.collect.before")
        begun_s = self._clock.monotonic_s()
        kind = self._kinds[kind_of(record.job)]
        try:
            outputs = kind.collect(record, self._attempt_dir(record), exit_record)
        except EngineError as error:
            if not self._put_off(record, error):
                raise
            return None
        self._patience.forget(record.uid)
        failpoints.hit("job.collect.after")
        judge_s = outputs.pop("judge_seconds", 0.0)
        upload_s = max(self._clock.monotonic_s() - begun_s - judge_s, 0.0)
        details = self._details(
            record,
            run_seconds=_ran_s(exit_record),
            upload_seconds=round(upload_s, 3),
            judge_seconds=judge_s,
        )
        for line in outputs.pop("warnings", []):
            if line not in details.warnings:  # a trial over its time limit is collected twice
                self._say(record, line, "WARNING")
                details.warnings.append(line)
        outputs["details"] = details
        return outputs

    def _end(self, record: JobRecord, to: JobState, **changes: Any) -> None:
        # The log line goes first: who sees the end of a job may rely on its log being whole.
        newest = self._store.job(record.project, record.job_id)
        moved_on = newest.state is not record.state or newest.attempt != record.attempt
        if moved_on or not self._leading():
            return
        message = changes.get("error_message", newest.job.error_message)
        self._say(record, *_end_line(newest, to, message))
        if record.attempt:
            changes.setdefault("details", self._details(record))
        failpoints.hit("job.end.before-move")
        ended = self._store.move_job(record, to, end_time=rfc3339(self._clock.now()), **changes)
        failpoints.hit("job.end.after-move")
        self._retrying.forget(record)
        self._ages.forget(record)
        self._ran.forget(record)
        self._patience.forget(record.uid)
        if ended:
            self._call_off(record)
            tidy = partial(self._kinds[kind_of(record.job)].tidy, ended)
            folder = folder_of(self._root, record)
            # Not here: a tick may be waiting, and these may be many files.
            self._background.run(f"{record.uid}/tidy", lambda: tidy(folder), then=lambda: None)

    def _call_off(self, record: JobRecord) -> None:
        """Let nobody start the attempt of a job that ends without having run.

        An engine that led before may be about to, if it was stopped at that very moment.
        """
        if self._alone or not record.attempt:
            return
        attempt_dir = self._attempt_dir(record)
        if self._launcher.poll(attempt_dir).phase is Phase.NOT_STARTED:
            self._launcher.cancel(attempt_dir)

    def _report_progress(self, record: JobRecord, status: AttemptStatus) -> None:
        if record.state is not JobState.RUNNING or status.phase is not Phase.RUNNING:
            return
        kind = self._kinds[kind_of(record.job)]
        live = kind.progress(record, self._attempt_dir(record))
        if any(getattr(record.job, key) != value for key, value in live.items()):
            project, job_id = record.project, record.job_id
            change = partial(msgspec.structs.replace, **live)
            self._store.edit_job(project, job_id, change, attempt=record.attempt)

    # --- small things ---

    def _details(self, record: JobRecord, **more: Any) -> JobDetails:
        return notes.details_of(record.job, self._attempt_dir(record), **more)

    def _aside(
        self, record: JobRecord, work: Callable[[JobRecord], None], wake: Callable[[], None], *,
        patient: bool = False,
    ) -> bool:  # fmt: skip
        """Do slow work on a thread, once per job at a time."""

        def run() -> None:
            try:
                work(record)
            except EngineError as error:  # the store is away: the next tick comes back to it
                _log.warning("job %s waits: %s", record.uid, error)
            except Exception as error:
                _log.exception("job %s", record.uid)
                self._fail_on_defect(record, error)

        return self._background.run(record.uid, run, then=wake, patient=patient)

    def _attempt_dir(self, record: JobRecord) -> Path:
        return folder_of(self._root, record) / str(record.attempt)

    def _say(self, record: JobRecord, message: str, severity: str = "INFO") -> None:
        ServiceLog(folder_of(self._root, record)).write(message, severity)


def _is_tuning(record: JobRecord) -> bool:
    return not record.parent and is_tuning(record.job)


def _ended_by_itself(exit_record: ExitRecord) -> bool:
    """Tell whether the chief, which decides the outcome, ended well without being asked to."""
    chief = next(iter(exit_record.replicas), None)
    return chief is not None and chief.exit_code == 0 and not chief.stopped


def _end_line(record: JobRecord, to: JobState, message: str) -> tuple[str, str]:
    """Return the line that closes a job's log, and its severity."""
    what = "Trial" if record.parent else "Job"
    if to is JobState.SUCCEEDED or (record.parent and message == ENDED_FIRST):
        return f"{what} completed successfully.", "INFO"
    if to is JobState.FAILED:
        return message or f"{what} failed.", "ERROR"
    if record.parent and message.startswith(STOPPED_EARLY):  # a success: its value counts
        return "Trial was stopped early.", "INFO"
    return f"{what} was cancelled.", "WARNING"


def _wait_limit_s(record: JobRecord) -> float | None:
    return wait_limit_s(record.job.training_input)


def _ran_s(exit_record: ExitRecord) -> float:
    """Return how long an attempt ran, in seconds to a millisecond."""
    return round(max(exit_record.ended - exit_record.started, 0.0), 3)


def _numbered(record: JobRecord, exit_record: ExitRecord) -> str:
    """Return why the job failed; after retries it says that this was the last attempt."""
    if record.attempt <= 1:
        return exit_record.message
    return f"{exit_record.message} This was attempt {record.attempt}."


def _over_time(record: JobRecord, exit_record: ExitRecord) -> str:
    """Return why the job was ended; a later attempt knew only of what was left for it."""
    spec = record.job.training_input
    if record.attempt <= 1 or exit_record.outcome is not Outcome.TIMED_OUT or spec is None:
        return exit_record.message
    return (
        f"The job ran longer than its maxRunningTime of {running_limit_s(spec):g}s, its "
        f"{record.attempt} attempts and the pauses between them together; it was stopped."
    )
