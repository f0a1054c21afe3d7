"""`SqlStore`: the contract of `mlengine.store` on a SQL database.

One method is one transaction; what happens in it stands in the module of its resource. Nothing
here or there is a technology's own: that is in `sqlite.py` and `postgres.py`.

Long because the contract is: each method is one line that says where it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from mlengine.core.clock import Clock, SystemClock
from mlengine.core.databaseurl import is_sqlite, sqlite_file
from mlengine.core.errors import AlreadyExists, InvalidArgument
from mlengine.core.resources import Bucket, Job, Model, Version
from mlengine.core.states import JobState, StudyState, TrialState, VersionState
from mlengine.core.studies import Measurement, Study, Trial
from mlengine.store import (
    EndedOperation,
    EventRecord,
    JobRecord,
    ModelRecord,
    NewOperation,
    OperationRecord,
    Store,
    StudyRecord,
    TrialEdit,
    TrialRecord,
    TrialsEnding,
    VersionRecord,
    buckets,
    facts,
    jobs,
    models,
    noted,
    operations,
    studies,
    tables,
    trials,
    versions,
)
from mlengine.store.database import Database, Transaction
from mlengine.store.sqlaccess import SqlAccess
from mlengine.store.sqltraffic import SqlTraffic

__all__ = ["SqlStore", "open_database"]


class SqlStore(SqlTraffic, SqlAccess):
    """A `Store` over one `Database`; see the contract there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str, *, clock: Clock | None = None, patience_s: float = 5.0) -> SqlStore:
        """Open (and migrate) the database at a URL.

        Args:
            url: SQLAlchemy's, such as ``sqlite:////home/me/engine.db`` or
                ``postgresql://me:secret@db.example/mlengine``.
            clock: Gives events their time; the machine's own by default.
            patience_s: How long a call waits for another writer before `Unavailable`.

        Raises:
            InvalidArgument: The URL names no database that mlengine can use.
            FailedPrecondition: It is damaged, not to be entered, or newer than this mlengine.
            Unavailable: It is locked or out of reach, or the disk is full.
        """
        return cls(open_database(url, clock or SystemClock(), patience_s))

    def describe(self) -> str:
        """Say in one line which technology holds the data, how, and why so."""
        return self._database.description

    # jobs

    def add_job(
        self, project: str, job: Job, *, uid: str, priority: int = 0, parent: str = ""
    ) -> JobRecord:
        return self._database.write(
            jobs.add, project, job, uid=uid, priority=priority, parent=parent
        )

    def children(self, record: JobRecord) -> Sequence[JobRecord]:
        return self._database.read(jobs.children, record)

    def job(self, project: str, job_id: str) -> JobRecord:
        return self._database.read(jobs.get, project, job_id)

    def jobs(
        self, project: str, *, before_seq: int | None = None, limit: int = 100
    ) -> Sequence[JobRecord]:
        return self._database.read(jobs.listed, project, before_seq=before_seq, limit=limit)

    def jobs_in(
        self, states: Collection[JobState], *, limit: int | None = None
    ) -> Sequence[JobRecord]:
        return self._database.read(jobs.in_states, states, limit=limit)

    def count_jobs(self, states: Collection[JobState]) -> int:
        return self._database.read(jobs.count, states)

    def queue_position(self, record: JobRecord, *, priority: int) -> int:
        return self._database.read(jobs.queue_position, record, priority)

    def queue(self) -> Sequence[int]:
        return self._database.read(jobs.queue)

    def move_job(
        self,
        record: JobRecord,
        to: JobState,
        *,
        attempt: int | None = None,
        **changes: Any,
    ) -> JobRecord | None:
        return self._database.write(jobs.move, record, to, attempt=attempt, changes=changes)

    def edit_job(
        self, project: str, job_id: str, change: Callable[[Job], Job], *, attempt: int | None = None
    ) -> JobRecord:
        return self._database.write(jobs.edit, project, job_id, change, attempt=attempt)

    # models

    def add_model(self, project: str, model: Model) -> ModelRecord:
        return self._database.write(models.add, project, model)

    def model(self, project: str, model_id: str) -> ModelRecord:
        return self._database.read(models.get, project, model_id)

    def models(
        self, project: str, *, before_seq: int | None = None, limit: int = 100
    ) -> Sequence[ModelRecord]:
        return self._database.read(models.listed, project, before_seq=before_seq, limit=limit)

    def default_versions(self) -> dict[tuple[str, str], str]:
        return self._database.read(models.defaults)

    def logged_models(self) -> set[tuple[str, str]]:
        return self._database.read(models.logged)

    def edit_model(
        self,
        project: str,
        model_id: str,
        change: Callable[[Model], Model],
        *,
        default: str = "",
        operation: Callable[[ModelRecord, VersionRecord | None], NewOperation] | None = None,
    ) -> ModelRecord:
        return self._database.write(
            noted.edit_model, project, model_id, change, default=default, operation=operation
        )

    def remove_model(
        self, project: str, model_id: str, *, operation: NewOperation | None = None
    ) -> None:
        self._database.write(noted.remove_model, project, model_id, operation=operation)

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
        return self._database.write(
            noted.add_version, project, model_id, version, uid=uid, operation=operation
        )

    def version(self, project: str, model_id: str, version_id: str) -> VersionRecord:
        return self._database.read(versions.get, project, model_id, version_id)

    def versions(
        self, project: str, model_id: str, *, before_seq: int | None = None, limit: int = 100
    ) -> Sequence[VersionRecord]:
        return self._database.read(
            versions.listed, project, model_id, before_seq=before_seq, limit=limit
        )

    def versions_in(self, states: Collection[VersionState]) -> Sequence[VersionRecord]:
        return self._database.read(versions.in_states, states)

    def move_version(
        self,
        record: VersionRecord,
        to: VersionState,
        *,
        digest: str | None = None,
        operation: Callable[[VersionRecord], NewOperation] | None = None,
        **changes: Any,
    ) -> VersionRecord | None:
        return self._database.write(
            noted.move_version, record, to, digest=digest, operation=operation, changes=changes
        )

    def edit_version(
        self,
        project: str,
        model_id: str,
        version_id: str,
        change: Callable[[Version], Version],
        *,
        operation: Callable[[VersionRecord], NewOperation] | None = None,
    ) -> VersionRecord:
        return self._database.write(
            noted.edit_version, project, model_id, version_id, change, operation=operation
        )

    def set_default(self, project: str, model_id: str, version_id: str) -> VersionRecord:
        return self._database.write(versions.set_default, project, model_id, version_id)

    def remove_version(self, record: VersionRecord) -> bool:
        return self._database.write(versions.remove, record)

    # studies and trials

    def add_study(
        self, project: str, location: str, study: Study, *, uid: str, owner: str = ""
    ) -> StudyRecord:
        return self._database.write(studies.add, project, location, study, uid=uid, owner=owner)

    def study(self, project: str, location: str, study_id: str) -> StudyRecord:
        return self._database.read(studies.get, project, location, study_id)

    def studies(self, project: str, location: str) -> Sequence[StudyRecord]:
        return self._database.read(studies.listed, project, location)

    def study_of(self, owner: str) -> StudyRecord | None:
        return self._database.read(studies.of_owner, owner)

    def move_study(self, record: StudyRecord, to: StudyState, **changes: Any) -> StudyRecord | None:
        return self._database.write(studies.move, record, to, changes=changes)

    def remove_study(self, record: StudyRecord) -> None:
        self._database.write(studies.remove, record)

    def add_trial(self, study: StudyRecord, trial: Trial, state: TrialState) -> TrialRecord:
        return self._database.write(trials.add, study, trial, state)

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
        return self._database.write_with_others(
            trials.hand_out, study, client_id, count, fresh=fresh, fewer=fewer, ending=ending
        )

    def trial_of(
        self, project: str, location: str, study_id: str, number: int
    ) -> tuple[StudyRecord, TrialRecord]:
        return self._database.read(trials.get_of, project, location, study_id, number)

    def trials(self, study: StudyRecord) -> Sequence[TrialRecord]:
        return self._database.read(trials.listed, study, after=0, numbers=())

    def study_since(
        self,
        project: str,
        location: str,
        study_id: str,
        *,
        after: int = 0,
        numbers: Collection[int] = (),
    ) -> tuple[StudyRecord, Sequence[TrialRecord]]:
        return self._database.read(
            trials.since, project, location, study_id, after=after, numbers=numbers
        )

    def edit_trial(
        self, project: str, location: str, study_id: str, number: int, change: TrialEdit
    ) -> tuple[StudyRecord, TrialRecord]:
        return self._database.write_with_others(
            trials.edit, project, location, study_id, number, change
        )

    def move_trial(self, record: TrialRecord, to: TrialState, **changes: Any) -> TrialRecord | None:
        return self._database.write(trials.move, record, to, changes=changes)

    def measure_trial(
        self,
        record: TrialRecord,
        measurements: Sequence[Measurement],
        *,
        from_step: int | None = None,
    ) -> TrialRecord | None:
        return self._database.write(trials.measure, record, measurements, from_step=from_step)

    def measurements(
        self, study: StudyRecord, *, number: int | None = None
    ) -> dict[int, list[Measurement]]:
        return self._database.read(trials.measured, study, number=number)

    def remove_trial(self, record: TrialRecord) -> bool:
        return self._database.write(trials.remove, record)

    # operations

    def add_operation(
        self, project: str, operation_id: str, metadata: dict[str, Any], *, subject: str = ""
    ) -> OperationRecord:
        return self._database.write(
            operations.add, project, operation_id, metadata, subject=subject
        )

    def note_operation(self, project: str, ended: EndedOperation) -> OperationRecord:
        return self._database.write(operations.note, project, ended)

    def operation(self, project: str, operation_id: str) -> OperationRecord:
        return self._database.read(operations.get, project, operation_id)

    def operations(
        self, project: str, *, before_seq: int | None = None, limit: int = 100
    ) -> Sequence[OperationRecord]:
        return self._database.read(operations.listed, project, before_seq=before_seq, limit=limit)

    def open_operations(self) -> Sequence[OperationRecord]:
        return self._database.read(operations.unfinished)

    def edit_operation(
        self, project: str, operation_id: str, metadata: dict[str, Any]
    ) -> OperationRecord:
        return self._database.write(operations.edit, project, operation_id, metadata)

    def finish_operation(
        self,
        project: str,
        operation_id: str,
        *,
        metadata: dict[str, Any] | None = None,
        response: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
    ) -> OperationRecord | None:
        return self._database.write(
            operations.finish,
            project,
            operation_id,
            metadata=metadata,
            response=response,
            error=error,
        )

    # buckets

    def add_bucket(self, bucket: Bucket) -> Bucket:
        return self._database.write(buckets.add, bucket)

    def bucket(self, name: str) -> Bucket:
        return self._database.read(buckets.get, name)

    def buckets(self) -> Sequence[Bucket]:
        return self._database.read(buckets.listed)

    def remove_bucket(self, name: str) -> None:
        self._database.write(buckets.remove, name)

    # the database itself

    def fact(self, name: str, value: str) -> str:
        known = self._database.read(facts.get, name)
        if known is not None:
            return known
        try:
            return self._database.write(facts.add, name, value)
        except AlreadyExists:
            return self.fact(name, value)

    # events

    def events(self, *, after_seq: int = 0, limit: int = 100) -> Sequence[EventRecord]:
        return self._database.read(_events, after_seq=after_seq, limit=limit)

    def newest_event(self) -> EventRecord | None:
        return self._database.read(_newest_event)

    def lead(self) -> bool:
        return self._database.lead.held()

    def close(self) -> None:
        self._database.close()


_: type[Store] = SqlStore


def _events(tx: Transaction, *, after_seq: int, limit: int) -> list[EventRecord]:
    table = tables.events
    select = sa.select(table).where(table.c.seq > after_seq).order_by(table.c.seq).limit(limit)
    return [_event(row) for row in tx.rows(select)]


def _newest_event(tx: Transaction) -> EventRecord | None:
    table = tables.events
    row = tx.one(sa.select(table).order_by(table.c.seq.desc()).limit(1))
    return None if row is None else _event(row)


def _event(row: sa.Row[Any]) -> EventRecord:
    return EventRecord(
        seq=row.seq,
        time=row.time,
        project=row.project,
        resource=row.resource,
        kind=row.kind,
        detail=msgspec.json.decode(row.detail),
    )


def open_database(url: str, clock: Clock, patience_s: float) -> Database:
    """Open (and migrate) the database at a URL; see `SqlStore.open`."""
    if is_sqlite(url):
        from mlengine.store import sqlite

        return sqlite.open_database(sqlite_file(url), clock=clock, patience_s=patience_s)
    # Neither the URL nor what the parser says of it is repeated: a password may be in it.
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise InvalidArgument(
            "The database URL cannot be read.", _REMEDY, field="database"
        ) from None
    if parsed.drivername in ("postgresql", "postgresql+psycopg"):
        from mlengine.store import postgres

        return postgres.open_database(parsed, clock=clock, patience_s=patience_s)
    raise InvalidArgument(
        f"A database of kind '{parsed.drivername}' cannot be used.", _REMEDY, field="database"
    )


_REMEDY = (
    "Write sqlite:/// and a path, such as sqlite:////home/me/engine.db, or "
    "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, where %40 stands for @, %2F for / and %3A "
    "for : in a password."
)
