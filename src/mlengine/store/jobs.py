"""Jobs in the tables. Each function works inside the transaction that it is given."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec
import sqlalchemy as sa

from mlengine.core.errors import Aborted, AlreadyExists, NotFound
from mlengine.core.names import job_name
from mlengine.core.resources import Job
from mlengine.core.states import JobState, may_move
from mlengine.store import JobRecord, documents
from mlengine.store.database import Transaction
from mlengine.store.tables import jobs

__all__ = [
    "add",
    "children",
    "count",
    "edit",
    "get",
    "in_states",
    "listed",
    "may_take",
    "move",
    "queue",
    "queue_position",
]

# Attempts that have begun; a new attempt may take over in place.
_BEGUN = frozenset({JobState.PREPARING, JobState.RUNNING})


def may_take(frm: JobState, to: JobState, *, attempt: int, new_attempt: int) -> bool:
    """Tell whether a job may go to a state with an attempt number.

    A move of `core.states` is lawful, and so is a higher attempt in the same state while one is
    preparing or running: a job is tried again without going back. Attempts never go back either.
    """
    if frm is to:
        return frm in _BEGUN and new_attempt > attempt
    return may_move(frm, to) and new_attempt >= attempt


def add(
    tx: Transaction, project: str, job: Job, *, uid: str, priority: int, parent: str
) -> JobRecord:
    taken = AlreadyExists(
        "A job with this id already exists.",
        f"Choose another id than '{job.job_id}': a job's id is used up, also if it failed.",
        field="job.job_id",
    )
    tx.insert(
        jobs,
        taken=taken,
        project=project,
        job_id=job.job_id,
        uid=uid,
        state=JobState.QUEUED,
        attempt=0,
        priority=priority,
        revision=1,
        body=_text(job),
        parent=parent,
    )
    name = job_name(project, job.job_id)
    tx.event(project, name, "job.created", to=JobState.QUEUED, attempt=0)
    return get(tx, project, job.job_id)


def get(tx: Transaction, project: str, job_id: str, *, lock: bool = False) -> JobRecord:
    return _record(_row(tx, project, job_id, lock=lock))


def listed(tx: Transaction, project: str, *, before_seq: int | None, limit: int) -> list[JobRecord]:
    select = sa.select(jobs).where(jobs.c.project == project, jobs.c.parent == "")
    rows = documents.page(tx, select, jobs.c.seq, before_seq=before_seq, limit=limit)
    return [_record(row) for row in rows]


def children(tx: Transaction, record: JobRecord) -> list[JobRecord]:
    select = sa.select(jobs).where(jobs.c.project == record.project, jobs.c.parent == record.uid)
    return [_record(row) for row in tx.rows(select.order_by(jobs.c.seq))]


def in_states(
    tx: Transaction, states: Collection[JobState], *, limit: int | None
) -> list[JobRecord]:
    select = sa.select(jobs).where(jobs.c.state.in_(sorted(states)))
    rows = tx.rows(select.order_by(jobs.c.priority.desc(), jobs.c.seq).limit(limit))
    return [_record(row) for row in rows]


def queue_position(tx: Transaction, record: JobRecord, priority: int) -> int:
    ahead = sa.or_(
        jobs.c.priority > priority,
        sa.and_(jobs.c.priority == priority, jobs.c.seq <= record.seq),
    )
    select = sa.select(sa.func.count()).where(jobs.c.state == str(JobState.QUEUED), ahead)
    return int(tx.connection.execute(select).scalar_one())


def queue(tx: Transaction) -> list[int]:
    select = sa.select(jobs.c.seq).where(jobs.c.state == str(JobState.QUEUED))
    return [row.seq for row in tx.rows(select.order_by(jobs.c.priority.desc(), jobs.c.seq))]


def count(tx: Transaction, states: Collection[JobState]) -> int:
    select = sa.select(sa.func.count()).where(jobs.c.state.in_(sorted(states)), jobs.c.parent == "")
    return int(tx.connection.execute(select).scalar_one())


def move(
    tx: Transaction,
    record: JobRecord,
    to: JobState,
    *,
    attempt: int | None,
    changes: dict[str, Any],
) -> JobRecord | None:
    new_attempt = record.attempt if attempt is None else attempt
    if not may_take(record.state, to, attempt=record.attempt, new_attempt=new_attempt):
        return None
    row = tx.one(sa.select(jobs).where(jobs.c.seq == record.seq).with_for_update())
    if row is None:
        return None
    # The newest document, not the record's: labels may have been edited since it was read.
    job = msgspec.structs.replace(_record(row).job, **changes)
    values = {"state": to, "attempt": new_attempt, "body": _text(job)}
    moved = tx.write(
        sa.update(jobs)
        .where(
            jobs.c.seq == record.seq,
            jobs.c.state == record.state,
            jobs.c.attempt == record.attempt,
        )
        .values(revision=jobs.c.revision + 1, **values)
    )
    if not moved:
        return None
    name = job_name(record.project, record.job_id)
    detail = {"from": record.state, "to": to, "attempt": new_attempt}
    tx.event(record.project, name, "job.moved", **detail)
    return get(tx, record.project, record.job_id)


def edit(
    tx: Transaction,
    project: str,
    job_id: str,
    change: Callable[[Job], Job],
    *,
    attempt: int | None,
) -> JobRecord:
    before = _record(_row(tx, project, job_id, lock=True))
    if attempt is not None and attempt != before.attempt:
        raise Aborted(
            f"Attempt {attempt} of job '{job_id}' may not write: attempt {before.attempt} has "
            "taken over.",
            "Let it go on alone.",
        )
    after = documents.apply(change, before.job, fixed=("job_id", "state"))
    if after == before.job:
        return before
    values = {"revision": jobs.c.revision + 1, "body": _text(after)}
    tx.write(sa.update(jobs).where(jobs.c.seq == before.seq).values(**values))
    tx.event(project, job_name(project, job_id), "job.edited", attempt=before.attempt)
    return get(tx, project, job_id)


def _text(job: Job) -> str:
    return documents.text(job, state="", etag="")


def _row(tx: Transaction, project: str, job_id: str, *, lock: bool = False) -> sa.Row[Any]:
    select = sa.select(jobs).where(jobs.c.project == project, jobs.c.job_id == job_id)
    row = tx.one(select.with_for_update() if lock else select)
    if row is None:
        # A suggestion from the newest ones: among a hundred thousand it would take seconds.
        near = [r.job_id for r in listed(tx, project, before_seq=None, limit=100)]
        remedy = "List them with 'mlengine jobs list'."
        raise NotFound.among("job", job_id, near, remedy, field="name")
    return row


def _record(row: sa.Row[Any]) -> JobRecord:
    etag = documents.etag(row.seq, row.revision)
    return JobRecord(
        seq=row.seq,
        project=row.project,
        uid=row.uid,
        job=documents.read(Job, row.body, job_id=row.job_id, state=row.state, etag=etag),
        attempt=row.attempt,
        parent=row.parent,
    )
