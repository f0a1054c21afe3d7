"""Studies in the tables. Each function works inside the transaction that it is given.

A trial's number is given out here and nowhere else: under the lock of its study, and never again,
also after the trial was deleted.
"""

from __future__ import annotations

import functools
from typing import Any

import msgspec
import sqlalchemy as sa

from mlengine.core.errors import AlreadyExists, NotFound
from mlengine.core.names import study_name
from mlengine.core.states import STUDY_MOVES, StudyState
from mlengine.core.studies import Study
from mlengine.store import StudyRecord, documents, operations
from mlengine.store.database import Transaction
from mlengine.store.tables import measurements, studies, trials

__all__ = [
    "add",
    "count_on",
    "get",
    "listed",
    "locked",
    "move",
    "of_owner",
    "record",
    "remove",
    "revise",
]

_KNOWN = 100  # names among which one that was meant is looked for

# Written down once: to put a statement together takes longer than to run it.
_BY_ID = sa.select(studies).where(
    studies.c.project == sa.bindparam("project"),
    studies.c.location == sa.bindparam("location"),
    studies.c.study_id == sa.bindparam("study_id"),
)
_LOCKED = sa.select(studies).where(studies.c.seq == sa.bindparam("its")).with_for_update()
_COUNT_ON = (
    sa.update(studies)
    .where(studies.c.seq == sa.bindparam("its"))
    .values(last_trial=studies.c.last_trial + sa.bindparam("more"))
)

_REVISE = (
    sa.update(studies)
    .where(studies.c.seq == sa.bindparam("its"))
    .values(revision=studies.c.revision + 1)
)


def add(
    tx: Transaction, project: str, location: str, study: Study, *, uid: str, owner: str
) -> StudyRecord:
    taken = AlreadyExists(
        "A study with this id already exists.",
        f"Choose another id than '{study.name}', or delete that study first.",
        field="study_id",
    )
    tx.insert(
        studies,
        taken=taken,
        project=project,
        location=location,
        study_id=study.name,
        uid=uid,
        owner=owner,
        state=StudyState.ACTIVE,
        last_trial=0,
        revision=1,
        body=_text(study),
    )
    name = study_name(project, location, study.name)
    tx.event(project, name, "study.created", to=StudyState.ACTIVE)
    return get(tx, project, location, study.name)


def get(tx: Transaction, project: str, location: str, study_id: str) -> StudyRecord:
    row = tx.one(_BY_ID, project=project, location=location, study_id=study_id)
    if row is None:
        newest = listed(tx, project, location)[:_KNOWN]
        remedy = "List them with 'mlengine studies list'."
        near = [one.study_id for one in newest]
        raise NotFound.among("study", study_id, near, remedy, field="name")
    return record(row)


def listed(tx: Transaction, project: str, location: str) -> list[StudyRecord]:
    select = sa.select(studies).where(studies.c.project == project, studies.c.location == location)
    return [record(row) for row in tx.rows(select.order_by(studies.c.seq.desc()))]


def of_owner(tx: Transaction, owner: str) -> StudyRecord | None:
    row = tx.one(sa.select(studies).where(studies.c.owner == owner, studies.c.owner != ""))
    return record(row) if row else None


def locked(tx: Transaction, study: StudyRecord) -> StudyRecord:
    """Read a study again and keep every other writer from it, and from new trials, to the end."""
    row = tx.one(_LOCKED, its=study.seq)
    if row is None:
        raise NotFound(
            f"The study '{study.study_id}' was deleted.", "Create it again.", field="name"
        )
    return record(row)


def count_on(tx: Transaction, study: StudyRecord, count: int) -> None:
    """Note that so many more trials have numbers; the study is locked."""
    tx.write(_COUNT_ON, its=study.seq, more=count)


def revise(tx: Transaction, seq: int) -> None:
    """Give a study another revision, and keep every other writer from it to the end."""
    tx.write(_REVISE, its=seq)


def move(
    tx: Transaction, study: StudyRecord, to: StudyState, *, changes: dict[str, Any]
) -> StudyRecord | None:
    if to not in STUDY_MOVES[study.state]:
        return None
    row = tx.one(_LOCKED, its=study.seq)
    if row is None or row.state != study.state:
        return None
    changed = msgspec.structs.replace(record(row).study, **changes)
    update = sa.update(studies).where(studies.c.seq == study.seq)
    tx.write(update.values(state=to, revision=studies.c.revision + 1, body=_text(changed)))
    detail = {"from": study.state, "to": to}
    tx.event(study.project, study.name, "study.moved", **detail)
    return locked(tx, study)


def remove(tx: Transaction, study: StudyRecord) -> None:
    locked(tx, study)
    its = sa.select(trials.c.seq).where(trials.c.study_seq == study.seq)
    # In this order nobody waits for another in a circle: study, trials, what they measured, the
    # operations that handed them out.
    tx.rows(its.with_for_update())
    tx.write(sa.delete(measurements).where(measurements.c.trial_seq.in_(its)))
    tx.write(sa.delete(trials).where(trials.c.study_seq == study.seq))
    tx.write(sa.delete(studies).where(studies.c.seq == study.seq))
    operations.forget(tx, study.project, subject=study.name)
    tx.event(study.project, study.name, "study.removed")


def record(row: sa.Row[Any]) -> StudyRecord:
    """Return a row of the table, or of one that it was joined to, as a record."""
    study = _read(row.body)
    return StudyRecord(
        seq=row.seq,
        project=row.project,
        location=row.location,
        uid=row.uid,
        owner=row.owner,
        study=msgspec.structs.replace(study, name=row.study_id, state=row.state),
        last_trial=row.last_trial,
        revision=row.revision,
    )


@functools.lru_cache(maxsize=128)
def _read(body: str) -> Study:
    """Read a document; each call for a trial asks for that of its study, which rarely changes."""
    return documents.read(Study, body)


def _text(study: Study) -> str:
    return documents.text(study, name="", state="")
