"""Records and their lawful transitions: the truth of an engine.

`open_store(url)` gives a `Store`: SQLite is one file of one engine; on PostgreSQL several engines
share one. A record is a value read at one moment; every write names what it expects to find and
fails without effect when somebody else was first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from mlengine.core.errors import Unavailable
from mlengine.core.resources import Bucket, Job, Model, Version
from mlengine.core.states import JobState, VersionState
from mlengine.store.accessstore import AccessStore
from mlengine.store.records import (
    EndedOperation,
    EventRecord,
    JobRecord,
    ModelRecord,
    NewOperation,
    OperationRecord,
    VersionRecord,
)
from mlengine.store.studystore import (
    StudyRecord,
    StudyStore,
    TrialChange,
    TrialEdit,
    TrialRecord,
    TrialsEnding,
)
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


class Store(StudyStore, TrafficStore, AccessStore, Protocol):
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
    def newest_event(self) -> EventRecord | None:
        """Return the last change of all; None before the first."""
        ...

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
