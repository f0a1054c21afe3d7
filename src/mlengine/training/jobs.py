"""The verbs of jobs: check, record, tell. Running them is `reconciler`'s."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from mlengine.core.clock import Clock, rfc3339
from mlengine.core.errors import (
    Aborted,
    AlreadyExists,
    EngineError,
    NotFound,
)
from mlengine.core.names import check_id, check_labels
from mlengine.core.resources import Job, JobDetails, LogEntry, TrainingInput
from mlengine.core.states import JobState
from mlengine.core.wire import apply_mask
from mlengine.runtime import failpoints
from mlengine.store import JobRecord, Store
from mlengine.training import logs, notes
from mlengine.training.checks import check_job
from mlengine.training.kinds import JobKind, consumption, kind_of
from mlengine.training.logturns import LogTurns
from mlengine.training.trials.accepting import check_tuning
from mlengine.training.trials.books import TuningBooks
from mlengine.training.trials.children import trial_of
from mlengine.training.trials.hyperparameters import hyperparameters_of, is_tuning
from mlengine.training.trials.output import rest_of, training_output

__all__ = ["JOB_MASK", "Jobs", "folder_of"]

JOB_MASK = {"labels": "replaced whole", "etag": "checked, if sent"}
_LOG_LOOK_S = 0.05
_CANCEL_TRIES = 20
_CONSUMING = (JobState.RUNNING, JobState.CANCELLING)


def folder_of(root: Path, record: JobRecord) -> Path:
    """Return the folder of a job: its log, and one folder per attempt."""
    return root / record.uid


class Jobs:
    """Jobs of every project, of every kind.

    Args:
        store: Where the records are.
        kinds: ``training`` and ``prediction`` to what checks and prepares them.
        root: The ``jobs`` folder of the engine's home.
        clock: For times that people read, and for how long a reader waits.
        wake: Called when there is something to do; returns at once.
        admissible: Raises for a job that this machine could never run; returns warnings.
        queued: Told of every new job.
    """

    def __init__(
        self,
        store: Store,
        kinds: Mapping[str, JobKind],
        root: Path,
        *,
        clock: Clock,
        wake: Callable[[], None],
        admissible: Callable[[str, Job], Sequence[str]],
        queued: Callable[[JobRecord], None],
    ) -> None:
        self._store = store
        self._kinds = kinds
        self._root = root
        self._clock = clock
        self._wake = wake
        self._admissible = admissible
        self._queued = queued
        self._closing = threading.Event()
        self._turns = LogTurns(self._closing)

    def create(self, project: str, job: Job) -> Job:
        """Check a job and queue it; it is on disk when this returns.

        What its user should know already, `details.warnings` says.

        Raises:
            AlreadyExists: The id was used before, also by a job that failed.
            ResourceExhausted: This machine could never run it.
        """
        check_job(job)
        kind = self._kinds[kind_of(job)]
        try:
            check_tuning(self._store, project, job)
            warnings = [*kind.check(project, job), *self._admissible(project, job)]
        except EngineError:
            # What a repeated submit expects to hear, whatever is wrong with it besides.
            self._refuse_used(project, job.job_id)
            raise
        job.create_time = rfc3339(self._clock.now())
        job.state = JobState.QUEUED
        job.details = JobDetails(warnings=warnings) if warnings else None
        uid = f"{job.job_id[:40]}-{uuid.uuid4().hex[:12]}"
        failpoints.hit("job.create.before-insert")
        try:
            record = self._store.add_job(project, job, uid=uid, priority=_priority(job))
        except AlreadyExists:
            raise self._used(project, job.job_id) from None
        failpoints.hit("job.create.after-insert")
        self._queued(record)
        log = self.log(record)
        log("Validating job requirements...")
        log("Job creation request has been successfully validated.")
        for warning in warnings:
            log(warning, "WARNING")
        log(f"Job {job.job_id} is queued.")
        self._wake()
        failpoints.hit("job.create.before-reply")
        return self.view(record)

    def _refuse_used(self, project: str, job_id: str) -> None:
        """Raise if the id is taken."""
        try:
            self._store.job(project, job_id)
        except NotFound:
            return
        raise self._used(project, job_id)

    def _used(self, project: str, job_id: str) -> AlreadyExists:
        stem, number = _split_number(job_id)
        for free in (f"{stem}_{n}" for n in range(number + 1, number + 1000)):
            try:
                self._store.job(project, free)
            except NotFound:
                return AlreadyExists(
                    "A job with this id already exists.",
                    f"The next free id is '{free}'.",
                    field="job.job_id",
                )
        return AlreadyExists(
            "A job with this id already exists.",
            f"So do '{stem}_{number + 1}' to '{free}': choose another name than '{stem}'.",
            field="job.job_id",
        )

    def record(self, project: str, job_id: str) -> JobRecord:
        """Return a job's record, or an error with a "did you mean"."""
        check_id(job_id, kind="job", field="name")
        try:
            return self._store.job(project, job_id)
        except NotFound:
            known = [r.job_id for r in self._store.jobs(project, limit=100)]
            raise NotFound.among(
                "job", job_id, known, "See 'mlengine jobs list'.", field="name"
            ) from None

    def view(self, record: JobRecord) -> Job:
        """Return a job as the API shows it.

        A queued one with its place in the queue, one that runs with what it has consumed by now:
        the records are not written anew for that each second.
        """
        if is_tuning(record.job) and not record.state.terminal:
            return self._tuning_view(record)
        if record.state in _CONSUMING:
            return self._with_consumption(record)
        if record.state is not JobState.QUEUED:
            return record.job
        place = self._store.queue_position(record, priority=_priority(record.job))
        return msgspec.structs.replace(record.job, job_position=place)

    def _with_consumption(self, record: JobRecord) -> Job:
        """Return a job that runs with what it has consumed by now."""
        folder, now = folder_of(self._root, record), self._clock.now().timestamp()
        ran_s = notes.ran_s(folder / str(record.attempt), now=now)
        ran_s += notes.earlier_ran_s(folder, record.attempt)
        if not ran_s:
            return record.job
        return msgspec.structs.replace(record.job, **consumption(record.job, ran_s))

    def _tuning_view(self, record: JobRecord) -> Job:
        """Return a tuning job with what its trials have come to by now."""
        spec = record.job.training_input or TrainingInput()
        asked = hyperparameters_of(spec)
        children = [
            msgspec.structs.replace(child, job=self._with_consumption(child))
            if child.state in _CONSUMING
            else child
            for child in self._store.children(record)
        ]
        rest = rest_of(asked, spec, children, room=TuningBooks(self._store).room(record))
        details = record.job.details
        if rest is not None:
            details = msgspec.structs.replace(
                details or JobDetails(), remaining_seconds=rest.seconds, remaining_usd=rest.usd
            )
        output = training_output(asked, children, finished=False)
        return msgspec.structs.replace(record.job, training_output=output, details=details)

    def list_view(self) -> Callable[[JobRecord], Job]:
        """Return a `view` for many records at one moment: the queue is read once for all."""
        places: dict[int, int] = {}

        def view(record: JobRecord) -> Job:
            if record.state is not JobState.QUEUED:
                return self.view(record)
            if not places:
                places.update((seq, place) for place, seq in enumerate(self._store.queue(), 1))
            place = places.get(record.seq, 0)  # 0: it has left the queue meanwhile
            return msgspec.structs.replace(record.job, job_position=place)

        return view

    def update(self, project: str, job_id: str, job: Job, *, update_mask: str) -> Job:
        """Replace a job's labels."""
        paths = apply_mask(update_mask, JOB_MASK)
        self.record(project, job_id)
        if "labels" in paths:
            check_labels(job.labels, field="job.labels")

        def change(old: Job) -> Job:
            # Looked at here, where nobody else writes: of two with one etag the second is told.
            if "etag" in paths and job.etag and job.etag != old.etag:
                raise Aborted(
                    f"The etag {job.etag!r} is not the current one.",
                    "Read the job again, then retry.",
                )
            return msgspec.structs.replace(old, labels=job.labels) if "labels" in paths else old

        return self.view(self._store.edit_job(project, job_id, change))

    def cancel(self, project: str, job_id: str) -> None:
        """Ask a job to stop. Once this returns it never succeeds, unless it had ended already."""
        for _try in range(_CANCEL_TRIES):
            record = self.record(project, job_id)
            if record.state.terminal or record.state is JobState.CANCELLING:
                return
            failpoints.hit("job.cancel.before-move")
            moved = self._store.move_job(
                record, JobState.CANCELLING, error_message="The job was cancelled by its user."
            )
            failpoints.hit("job.cancel.after-move")
            if moved:
                self.log(moved)("Job cancellation was requested.")
                self._wake()
                return
        raise Aborted(f"The job '{job_id}' keeps changing.", "Cancel it again.")

    def log(self, record: JobRecord) -> Callable[..., None]:
        """Return what writes a line of the engine into the job's log."""
        return logs.ServiceLog(folder_of(self._root, record)).write

    def attempt_dirs(self, record: JobRecord) -> list[Path]:
        """Return the folders of a job's attempts that are there, oldest first."""
        folder = folder_of(self._root, record)
        found = [folder / str(number) for number in range(1, record.attempt + 1)]
        return [path for path in found if path.is_dir()]

    def trial_dirs(self, record: JobRecord) -> dict[str, list[Path]]:
        """Return the folders of the attempts of a tuning job's trials, by trial."""
        trials = self._store.children(record) if is_tuning(record.job) else []
        return {trial_of(child): self.attempt_dirs(child) for child in trials}

    def read_logs(
        self, project: str, job_id: str, *, cursor: str, task_name: str, wait_s: float
    ) -> tuple[Sequence[LogEntry], str, bool]:
        """Return entries after a cursor, the next cursor, and whether nothing will follow.

        Waits up to `wait_s` seconds for the first entry, or for the job to end.
        """
        deadline_s = self._clock.monotonic_s() + wait_s
        record = self.record(project, job_id)
        folder = folder_of(self._root, record)
        while True:
            # The state is read first: what an ended job said was on disk before it ended.
            ended = record.state.terminal
            trials = self._trial_logs(record) if is_tuning(record.job) else []
            with self._turns.one():
                entries, cursor = logs.read(
                    folder, cursor=cursor, task_name=task_name, trials=trials
                )
            if entries or ended or self._clock.monotonic_s() >= deadline_s:
                return entries, cursor, ended and not entries
            if self._closing.wait(_LOG_LOOK_S):
                return entries, cursor, False
            record = self._store.job(project, job_id)

    def _trial_logs(self, record: JobRecord) -> list[logs.TrialLog]:
        return [
            logs.TrialLog(trial_of(child), folder_of(self._root, child), child.state.terminal)
            for child in self._store.children(record)
        ]

    def close(self) -> None:
        """Let everybody who waits for log lines go."""
        self._closing.set()


def _split_number(job_id: str) -> tuple[str, int]:
    """Take ``census_3`` apart into ``census`` and 3; an id without a number counts as 1."""
    stem, _, number = job_id.rpartition("_")
    if stem and number.isdecimal() and len(number) < 9:
        return stem, int(number)
    return job_id, 1


def _priority(job: Job) -> int:
    spec = job.training_input
    return spec.scheduling.priority if spec and spec.scheduling else 0
