"""Records and their lawful transitions: the truth of an engine.

`open_store(url)` gives a `Store`: SQLite is one file of one engine; on PostgreSQL several engines
share one. A record is a value read at one moment; every write names what it expects to find and
fails without effect when somebody else was first.

Long because it is one contract, which every technology holds whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import msgspec

from mlengine.core.errors import Unavailable
from mlengine.core.names import study_name, trial_name
from mlengine.core.resources import Bucket, Job, Model, Operation, Version
from mlengine.core.states import JobState, StudyState, TrialState, VersionState
from mlengine.core.studies import Measurement, Study, Trial
from mlengine.store.accessstore import AccessStore
from mlengine.store.trafficstore import TrafficStore

__all__ = [
    "EndedOperation",
    "EventRecord",
    "JobRecord",
    "ModelRecord",
    "NewOperation",
    "OperationRecord",
    "Store",
    "StoreAway",
    "StudyRecord",
    "TrialChange",
    "TrialEdit",
    "TrialRecord",
    "TrialsEnding",
    "VersionRecord",
    "open_store",
]


class StoreAway(Unavailable):
    """The database cannot be asked now; that says nothing of what was to be done with it."""


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it was read.

    Attributes:
        seq: Order of creation over all projects; never used again.
        uid: Safe as a folder name, unique for ever, also between ids that differ in case only.
        job: The API's view; `job.state` and `job.etag` are filled in.
        attempt: Number of the newest attempt; 0 before the first. It fences every write.
        parent: The uid of the job that this one is a part of, as a trial is of a tuning job; empty
            for a job of its own. A child's id is its parent's, a slash and a number, so that it is
            never one that a user gave.
    """

    seq: int
    project: str
    uid: str
    job: Job
    attempt: int
    parent: str = ""

    @property
    def state(self) -> JobState:
        return JobState(self.job.state)

    @property
    def job_id(self) -> str:
        return self.job.job_id


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A model as it was read; `default_version_id` is empty while it has no version.

    `model.name` is the bare id, `model.etag` is filled in, `model.default_version` never is.
    """

    seq: int
    project: str
    model_id: str
    model: Model
    default_version_id: str


class VersionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A version as it was read; `digest` is of its committed artefact, empty before that.

    `version.name` is the bare id; its state, etag and `is_default` are filled in.
    """

    seq: int
    project: str
    model_id: str
    version_id: str
    uid: str
    version: Version
    digest: str = ""

    @property
    def state(self) -> VersionState:
        return VersionState(self.version.state)


class OperationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A long-running operation as it was read; `subject` names what it works on, for recovery.

    `operation.name` is the bare id.
    """

    seq: int
    project: str
    operation_id: str
    operation: Operation
    subject: str = ""


class NewOperation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation to be recorded with the change that it tells of.

    Attributes:
        subject: What it works on until it is finished.
        response: Of one that is done with that change.
    """

    operation_id: str
    metadata: dict[str, Any]
    subject: str = ""
    response: dict[str, Any] | None = None


class EndedOperation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation that ends well in the very transaction that does what it is for.

    `operation_id` is that of an open one, or of one that nobody has seen yet.
    """

    operation_id: str
    metadata: dict[str, Any]
    response: dict[str, Any]


class StudyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A study as it was read.

    Attributes:
        uid: Unique for ever.
        owner: The uid of the tuning job whose study it is; empty for one of its own.
        study: The API's view; `study.name` is the bare id, `study.state` is filled in.
        last_trial: The highest number that a trial of it ever had.
        revision: Grows when its state changes, and when a trial of it is removed.
    """

    seq: int
    project: str
    location: str
    uid: str
    owner: str
    study: Study
    last_trial: int
    revision: int

    @property
    def study_id(self) -> str:
        return self.study.name

    @property
    def name(self) -> str:
        """The whole name, as the API has it."""
        return study_name(self.project, self.location, self.study_id)

    @property
    def state(self) -> StudyState:
        return StudyState(self.study.state)


class TrialRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A trial as it was read.

    `trial.name` is the bare number; state and client are filled in, `trial.measurements` never is.
    """

    seq: int
    project: str
    location: str
    study_id: str
    number: int
    trial: Trial

    @property
    def name(self) -> str:
        """The whole name, as the API has it."""
        return trial_name(self.project, self.location, self.study_id, self.number)

    @property
    def state(self) -> TrialState:
        return TrialState(self.trial.state)


class TrialChange(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a trial.

    Attributes:
        to: The state that it moves to; None leaves it where it is.
        changes: Attributes that change with that move.
        measured: What is added to what was measured of it.
    """

    to: TrialState | None = None
    changes: dict[str, Any] = {}
    measured: Sequence[Measurement] = ()


TrialEdit = Callable[[StudyRecord, TrialRecord, Callable[[], Sequence[Measurement]]], TrialChange]
"""What a trial's change is, given its study, the trial, and what reads all its measurements."""

TrialsEnding = Callable[[StudyRecord, Sequence[TrialRecord]], EndedOperation]
"""How the operation ends that asked for trials, given the study as it is and what is handed out."""


class EventRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One change, in the order in which changes were committed."""

    seq: int
    time: str
    project: str
    resource: str
    kind: str
    detail: dict[str, Any]


class Store(TrafficStore, AccessStore, Protocol):
    """Contract, held by `tests/conformance/store` on every technology:

    1. Every write is one transaction and appends one event row for each change in it; when it
       returns, it is durable (``synchronous=FULL``). An `operation` that is given with a write is
       recorded with it or not at all; it is a pure function of the records as written.
    2. Ids are unique per parent and compared by case; `AlreadyExists` on a second use, also after
       a job failed. A model or version id may be used again after its removal.
    3. `move_*` changes state only if record state **and** attempt are still those of the record
       given, and the move is lawful (`core.states`); otherwise it returns None and changes nothing.
       A terminal state cannot be left, not even by raw SQL (trigger). A job that is preparing or
       running may also stay there with a higher attempt; attempt numbers never go back. A trial
       that is COMPLETED never changes at all, it can only be removed.
    4. `edit_*` applies a pure function to the newest value inside one transaction and may be called
       again by it on a conflict; the function must not change state, id or output of `move_*`.
       If it changes nothing, nothing is written.
    5. A model has a default version if and only if it has a version: the first added becomes it,
       and the first that becomes READY while the default cannot answer takes over.
    6. Lists are newest first, paged by `before_seq` (exclusive), and stable under inserts.
    7. Errors: `NotFound`, `AlreadyExists`, `FailedPrecondition` of `core.errors`; a locked or full
       database is `Unavailable`, never a bare SQL error.
    8. Methods are thread-safe.
    9. Trials of a study are numbered 1, 2, 3, … in the order in which they were added, without a
       gap; a number is never used again, also after its trial was removed.
    10. All of this holds between processes that have the same database open, too. Of those at most
       one has the `lead`; it passes on when that store is closed, or its process or network ends.
    """

    # jobs
    def add_job(
        self, project: str, job: Job, *, uid: str, priority: int = 0, parent: str = ""
    ) -> JobRecord:
        """Insert a QUEUED job; `job.create_time` is kept.

        With a `parent` (a job's uid) it is part of that one: `jobs` and `count_jobs`, which are
        for people, leave it out; whatever runs jobs sees it.
        """
        ...

    def children(self, record: JobRecord) -> Sequence[JobRecord]:
        """Return the jobs that are part of this one, oldest first."""
        ...

    def job(self, project: str, job_id: str) -> JobRecord: ...
    def jobs(
        self, project: str, *, before_seq: int | None = None, limit: int = 100
    ) -> Sequence[JobRecord]: ...
    def jobs_in(
        self, states: Collection[JobState], *, limit: int | None = None
    ) -> Sequence[JobRecord]:
        """Return the jobs of all projects in these states, by priority (high first), then age."""
        ...

    def count_jobs(self, states: Collection[JobState]) -> int:
        """Return how many jobs of all projects are in these states, without reading them.

        Those that are part of another do not count.
        """
        ...

    def queue_position(self, record: JobRecord, *, priority: int) -> int:
        """Return a queued job's place in the queue of all projects, from 1."""
        ...

    def queue(self) -> Sequence[int]:
        """Return the `seq` of every queued job, the head of the queue first."""
        ...

    def move_job(
        self,
        record: JobRecord,
        to: JobState,
        *,
        attempt: int | None = None,
        **changes: Any,
    ) -> JobRecord | None:
        """Move a job; `attempt` sets a new attempt number, `changes` are attributes of `Job`."""
        ...

    def edit_job(
        self, project: str, job_id: str, change: Callable[[Job], Job], *, attempt: int | None = None
    ) -> JobRecord:
        """Change labels or live outputs; with `attempt`, `Aborted` unless that is the newest."""
        ...

    # models
    def add_model(self, project: str, model: Model) -> ModelRecord:
        """Insert a model; `model.name` is the bare id."""
        ...

    def model(self, project: str, model_id: str) -> ModelRecord: ...
    def models(
        self, project: str, *, before_seq: int | None = None, limit: int = 100
    ) -> Sequence[ModelRecord]: ...
    def default_versions(self) -> dict[tuple[str, str], str]:
        """Return the default version of every model: (project, model id) → version id or ""."""
        ...

    def logged_models(self) -> set[tuple[str, str]]:
        """Return (project, model id) of the models with `online_prediction_logging`."""
        ...

    def edit_model(
        self,
        project: str,
        model_id: str,
        change: Callable[[Model], Model],
        *,
        default: str = "",
        operation: Callable[[ModelRecord, VersionRecord | None], NewOperation] | None = None,
    ) -> ModelRecord:
        """Change a model, and its default version as `set_default` does if one is named.

        `operation` is given the model and its default version, if it has one.
        """
        ...

    def remove_model(
        self, project: str, model_id: str, *, operation: NewOperation | None = None
    ) -> None:
        """Remove a model without versions; `FailedPrecondition` when it has any."""
        ...

    # versions
    def add_version(
        self,
        project: str,
        model_id: str,
        version: Version,
        *,
        uid: str,
        operation: Callable[[VersionRecord], NewOperation] | None = None,
    ) -> VersionRecord:
        """Insert a CREATING version; `version.name` is the bare id."""
        ...

    def version(self, project: str, model_id: str, version_id: str) -> VersionRecord: ...
    def versions(
        self, project: str, model_id: str, *, before_seq: int | None = None, limit: int = 100
    ) -> Sequence[VersionRecord]: ...
    def versions_in(self, states: Collection[VersionState]) -> Sequence[VersionRecord]:
        """Return the versions of all projects in these states, oldest first."""
        ...

    def move_version(
        self,
        record: VersionRecord,
        to: VersionState,
        *,
        digest: str | None = None,
        operation: Callable[[VersionRecord], NewOperation] | None = None,
        **changes: Any,
    ) -> VersionRecord | None:
        """Move a version; `FailedPrecondition` to DELETING for the default while others exist."""
        ...

    def edit_version(
        self,
        project: str,
        model_id: str,
        version_id: str,
        change: Callable[[Version], Version],
        *,
        operation: Callable[[VersionRecord], NewOperation] | None = None,
    ) -> VersionRecord: ...
    def set_default(self, project: str, model_id: str, version_id: str) -> VersionRecord:
        """Make a READY version the default; `FailedPrecondition` when it is not READY."""
        ...

    def remove_version(self, record: VersionRecord) -> bool:
        """Remove a DELETING version; False if it is gone or not DELETING.

        `FailedPrecondition` when it is the default and others exist.
        """
        ...

    # studies and trials
    def add_study(
        self, project: str, location: str, study: Study, *, uid: str, owner: str = ""
    ) -> StudyRecord:
        """Insert an ACTIVE study; `study.name` is the bare id."""
        ...

    def study(self, project: str, location: str, study_id: str) -> StudyRecord: ...
    def studies(self, project: str, location: str) -> Sequence[StudyRecord]:
        """Return every study, newest first."""
        ...

    def study_of(self, owner: str) -> StudyRecord | None:
        """Return the study of a tuning job, by the job's uid."""
        ...

    def move_study(
        self, record: StudyRecord, to: StudyState, **changes: Any
    ) -> StudyRecord | None: ...
    def remove_study(self, record: StudyRecord) -> None:
        """Remove a study with all of its trials and measurements; `NotFound` if it is gone."""
        ...

    def add_trial(self, study: StudyRecord, trial: Trial, state: TrialState) -> TrialRecord:
        """Add a trial that somebody brings: REQUESTED, or COMPLETED elsewhere."""
        ...

    def hand_out(
        self,
        study: StudyRecord,
        client_id: str,
        count: int,
        *,
        fresh: Sequence[Trial] = (),
        fewer: bool = False,
        ending: TrialsEnding | None = None,
    ) -> Sequence[TrialRecord] | None:
        """Give a client so many trials, all at once or none.

        First come those that it has and that are not COMPLETED, as they are; then REQUESTED ones,
        oldest first; then the `fresh` ones as new trials. The latter two become ACTIVE, and the
        client's. None, and nothing changes, if

        - that makes fewer than `count`, unless `fewer` is true; or
        - fresh ones are needed, and the study has another revision than `study`, or has had
          another new trial since: what was chosen without knowing of that has to be chosen again;
          or
        - fresh ones are given out, and the study is not ACTIVE.

        Args:
            ending: Says of the study and the trials how the operation that asked for them ends; it
                is written in the same transaction.
        """
        ...

    def trial_of(
        self, project: str, location: str, study_id: str, number: int
    ) -> tuple[StudyRecord, TrialRecord]:
        """Return a trial together with its study, both of one moment."""
        ...

    def trials(self, study: StudyRecord) -> Sequence[TrialRecord]:
        """Return a study's trials by number, lowest first."""
        ...

    def study_since(
        self,
        project: str,
        location: str,
        study_id: str,
        *,
        after: int = 0,
        numbers: Collection[int] = (),
    ) -> tuple[StudyRecord, Sequence[TrialRecord]]:
        """Return a study and some of its `trials`, all of one moment.

        Args:
            after: Those above it.
            numbers: And those of these numbers.
        """
        ...

    def edit_trial(
        self, project: str, location: str, study_id: str, number: int, change: TrialEdit
    ) -> tuple[StudyRecord, TrialRecord]:
        """Do with a trial what `change` makes of the newest value; return it as it is then."""
        ...

    def move_trial(
        self, record: TrialRecord, to: TrialState, **changes: Any
    ) -> TrialRecord | None: ...
    def measure_trial(
        self,
        record: TrialRecord,
        measurements: Sequence[Measurement],
        *,
        from_step: int | None = None,
    ) -> TrialRecord | None:
        """Measure an ACTIVE or STOPPING trial, anew from a step; None if it is in another state."""
        ...

    def measurements(
        self, study: StudyRecord, *, number: int | None = None
    ) -> dict[int, list[Measurement]]:
        """Return what was measured of each trial, or of one, by step, then by elapsed time."""
        ...

    def remove_trial(self, record: TrialRecord) -> bool:
        """Remove a trial in whatever state; False if it is gone."""
        ...

    # operations
    def add_operation(
        self, project: str, operation_id: str, metadata: dict[str, Any], *, subject: str = ""
    ) -> OperationRecord: ...
    def note_operation(self, project: str, ended: EndedOperation) -> OperationRecord:
        """Write an operation that is done, open so far or never seen; again changes nothing."""
        ...

    def operation(self, project: str, operation_id: str) -> OperationRecord: ...
    def operations(
        self, project: str, *, before_seq: int | None = None, limit: int = 100
    ) -> Sequence[OperationRecord]: ...
    def open_operations(self) -> Sequence[OperationRecord]:
        """Return every operation that is not done, oldest first."""
        ...

    def edit_operation(
        self, project: str, operation_id: str, metadata: dict[str, Any]
    ) -> OperationRecord:
        """Replace the metadata of an operation that is not done."""
        ...

    def finish_operation(
        self,
        project: str,
        operation_id: str,
        *,
        metadata: dict[str, Any] | None = None,
        response: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
    ) -> OperationRecord | None:
        """End an operation once; None if it had ended already."""
        ...

    # buckets
    def add_bucket(self, bucket: Bucket) -> Bucket: ...
    def bucket(self, name: str) -> Bucket: ...
    def buckets(self) -> Sequence[Bucket]: ...
    def remove_bucket(self, name: str) -> None: ...

    # the database itself
    def fact(self, name: str, value: str) -> str:
        """Keep a value under a name unless there is one; return the one that is kept."""
        ...

    # events
    def events(self, *, after_seq: int = 0, limit: int = 100) -> Sequence[EventRecord]: ...
    def lead(self) -> bool:
        """Take or keep the lead among the engines of one database; True while this store has it.

        SQLite: always, for a file belongs to one engine. Elsewhere a call costs a round trip, and
        one that finds the lead lost, or nobody to ask, answers False; it never raises.
        """
        ...

    def close(self) -> None: ...


def open_store(url: str) -> Store:
    """Open (and migrate) the database at an SQLAlchemy URL.

    Args:
        url: Such as ``sqlite:////home/me/e.db`` or ``postgresql://me:secret@db.example/mlengine``.

    Raises:
        InvalidArgument: The URL names no database that mlengine can use.
        FailedPrecondition: It is damaged, not to be entered, or newer than this mlengine. Nothing
            is started empty.
        Unavailable: It is locked or out of reach, or the disk is full.
    """
    from mlengine.store.sql import SqlStore  # sqlalchemy costs 0.4 s: only who opens a store pays

    return SqlStore.open(url)
