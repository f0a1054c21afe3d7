"""`SqlStore`: the contract of `mlengine.store` on a SQL database.

One method is one transaction; what happens in it stands in the module of its resource. Nothing
here or there is SQLite's: that is in `sqlite.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from mlengine.core.clock import Clock, SystemClock
from mlengine.core.errors import AlreadyExists, InvalidArgument
from mlengine.core.resources import Bucket, Job, Model, Version
from mlengine.core.states import JobState, VersionState
from mlengine.store import (
    EventRecord,
    JobRecord,
    ModelRecord,
    OperationRecord,
    Store,
    VersionRecord,
    buckets,
    facts,
    jobs,
    models,
    operations,
    tables,
    versions,
)
from mlengine.store.database import Database

__all__ = ["SqlStore"]


class SqlStore:
    """A `Store` over one `Database`; see the contract there."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str, *, clock: Clock | None = None, patience_s: float = 5.0) -> SqlStore:
        """Open (and migrate) the database at a URL.

        Args:
            url: SQLAlchemy's, such as ``sqlite:////home/me/engine.db``.
            clock: Gives events their time; the machine's own by default.
            patience_s: How long a call waits for another writer before `Unavailable`.

        Raises:
            InvalidArgument: The URL names no database that mlengine can use.
            FailedPrecondition: It is damaged, or newer than this mlengine.
            Unavailable: It is locked, or the disk is full.
        """
        from mlengine.store import sqlite

        path = _sqlite_path(url)
        return cls(sqlite.open_database(path, clock=clock or SystemClock(), patience_s=patience_s))

    def describe(self) -> str:
        """Say in one line which technology holds the data, how, and why so."""
        return self._database.description

    # jobs

    def add_job(self, project: str, job: Job, *, uid: str, priority: int = 0) -> JobRecord:
        with self._database.writing() as tx:
            return jobs.add(tx, project, job, uid=uid, priority=priority)

    def job(self, project: str, job_id: str) -> JobRecord:
        with self._database.reading() as tx:
            return jobs.get(tx, project, job_id)

    def jobs(
        self, project: str, *, before_seq: int | None = None, limit: int = 100
    ) -> Sequence[JobRecord]:
        with self._database.reading() as tx:
            return jobs.listed(tx, project, before_seq=before_seq, limit=limit)

    def jobs_in(
        self, states: Collection[JobState], *, limit: int | None = None
    ) -> Sequence[JobRecord]:
        with self._database.reading() as tx:
            return jobs.in_states(tx, states, limit=limit)

    def count_jobs(self, states: Collection[JobState]) -> int:
        with self._database.reading() as tx:
            return jobs.count(tx, states)

    def queue_position(self, record: JobRecord, *, priority: int) -> int:
        with self._database.reading() as tx:
            return jobs.queue_position(tx, record, priority)

    def queue(self) -> Sequence[int]:
        with self._database.reading() as tx:
            return jobs.queue(tx)

    def move_job(
        self,
        record: JobRecord,
        to: JobState,
        *,
        attempt: int | None = None,
        **changes: Any,
    ) -> JobRecord | None:
        with self._database.writing() as tx:
            return jobs.move(tx, record, to, attempt=attempt, changes=changes)

    def edit_job(
        self, project: str, job_id: str, change: Callable[[Job], Job], *, attempt: int | None = None
    ) -> JobRecord:
        with self._database.writing() as tx:
            return jobs.edit(tx, project, job_id, change, attempt=attempt)

    # models

    def add_model(self, project: str, model: Model) -> ModelRecord:
        with self._database.writing() as tx:
            return models.add(tx, project, model)

    def model(self, project: str, model_id: str) -> ModelRecord:
        with self._database.reading() as tx:
            return models.get(tx, project, model_id)

    def models(
        self, project: str, *, before_seq: int | None = None, limit: int = 100
    ) -> Sequence[ModelRecord]:
        with self._database.reading() as tx:
            return models.listed(tx, project, before_seq=before_seq, limit=limit)

    def default_versions(self) -> dict[tuple[str, str], str]:
        with self._database.reading() as tx:
            return models.defaults(tx)

    def edit_model(
        self, project: str, model_id: str, change: Callable[[Model], Model]
    ) -> ModelRecord:
        with self._database.writing() as tx:
            return models.edit(tx, project, model_id, change)

    def remove_model(self, project: str, model_id: str) -> None:
        with self._database.writing() as tx:
            models.remove(tx, project, model_id)

    # versions

    def add_version(
        self, project: str, model_id: str, version: Version, *, uid: str
    ) -> VersionRecord:
        with self._database.writing() as tx:
            return versions.add(tx, project, model_id, version, uid=uid)

    def version(self, project: str, model_id: str, version_id: str) -> VersionRecord:
        with self._database.reading() as tx:
            return versions.get(tx, project, model_id, version_id)

    def versions(
        self, project: str, model_id: str, *, before_seq: int | None = None, limit: int = 100
    ) -> Sequence[VersionRecord]:
        with self._database.reading() as tx:
            return versions.listed(tx, project, model_id, before_seq=before_seq, limit=limit)

    def versions_in(self, states: Collection[VersionState]) -> Sequence[VersionRecord]:
        with self._database.reading() as tx:
            return versions.in_states(tx, states)

    def move_version(
        self, record: VersionRecord, to: VersionState, *, digest: str | None = None, **changes: Any
    ) -> VersionRecord | None:
        with self._database.writing() as tx:
            return versions.move(tx, record, to, digest=digest, changes=changes)

    def edit_version(
        self, project: str, model_id: str, version_id: str, change: Callable[[Version], Version]
    ) -> VersionRecord:
        with self._database.writing() as tx:
            return versions.edit(tx, project, model_id, version_id, change)

    def set_default(self, project: str, model_id: str, version_id: str) -> VersionRecord:
        with self._database.writing() as tx:
            return versions.set_default(tx, project, model_id, version_id)

    def remove_version(self, record: VersionRecord) -> bool:
        with self._database.writing() as tx:
            return versions.remove(tx, record)

    # operations

    def add_operation(
        self, project: str, operation_id: str, metadata: dict[str, Any], *, subject: str = ""
    ) -> OperationRecord:
        with self._database.writing() as tx:
            return operations.add(tx, project, operation_id, metadata, subject=subject)

    def operation(self, project: str, operation_id: str) -> OperationRecord:
        with self._database.reading() as tx:
            return operations.get(tx, project, operation_id)

    def operations(
        self, project: str, *, before_seq: int | None = None, limit: int = 100
    ) -> Sequence[OperationRecord]:
        with self._database.reading() as tx:
            return operations.listed(tx, project, before_seq=before_seq, limit=limit)

    def open_operations(self) -> Sequence[OperationRecord]:
        with self._database.reading() as tx:
            return operations.unfinished(tx)

    def edit_operation(
        self, project: str, operation_id: str, metadata: dict[str, Any]
    ) -> OperationRecord:
        with self._database.writing() as tx:
            return operations.edit(tx, project, operation_id, metadata)

    def finish_operation(
        self,
        project: str,
        operation_id: str,
        *,
        metadata: dict[str, Any] | None = None,
        response: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
    ) -> OperationRecord | None:
        with self._database.writing() as tx:
            return operations.finish(
                tx, project, operation_id, metadata=metadata, response=response, error=error
            )

    # buckets

    def add_bucket(self, bucket: Bucket) -> Bucket:
        with self._database.writing() as tx:
            return buckets.add(tx, bucket)

    def bucket(self, name: str) -> Bucket:
        with self._database.reading() as tx:
            return buckets.get(tx, name)

    def buckets(self) -> Sequence[Bucket]:
        with self._database.reading() as tx:
            return buckets.listed(tx)

    def remove_bucket(self, name: str) -> None:
        with self._database.writing() as tx:
            buckets.remove(tx, name)

    # the database itself

    def fact(self, name: str, value: str) -> str:
        with self._database.reading() as tx:
            known = facts.get(tx, name)
        if known is not None:
            return known
        try:
            with self._database.writing() as tx:
                return facts.add(tx, name, value)
        except AlreadyExists:
            return self.fact(name, value)

    # events, health

    def events(self, *, after_seq: int = 0, limit: int = 100) -> Sequence[EventRecord]:
        table = tables.events
        select = sa.select(table).where(table.c.seq > after_seq).order_by(table.c.seq).limit(limit)
        with self._database.reading() as tx:
            return [_event(row) for row in tx.rows(select)]

    def check(self) -> None:
        version = tables.alembic_version
        with self._database.writing() as tx:
            # Changes nothing, and still has to be journalled, written and synced.
            tx.write(sa.update(version).values(version_num=version.c.version_num))

    def close(self) -> None:
        self._database.close()


_: type[Store] = SqlStore


def _event(row: sa.Row[Any]) -> EventRecord:
    return EventRecord(
        seq=row.seq,
        time=row.time,
        project=row.project,
        resource=row.resource,
        kind=row.kind,
        detail=msgspec.json.decode(row.detail),
    )


def _sqlite_path(url: str) -> Path:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        parsed = None
    if parsed is None or parsed.get_backend_name() != "sqlite":
        raise InvalidArgument(
            f"The database {url!r} cannot be used.",
            "Write sqlite:/// and a path, such as sqlite:////home/me/engine.db.",
            field="database_url",
        )
    if not parsed.database or parsed.database == ":memory:" or parsed.query:
        raise InvalidArgument(
            f"The database {url!r} names no file.",
            "Write sqlite:/// and a path, with nothing behind it.",
            field="database_url",
        )
    return Path(parsed.database)
