"""Trials and what was measured of them. Each function works inside the given transaction.

Locks are taken in one order, so that nobody waits in a circle: the study, then its trials. Who
only measures or ends a trial locks that trial and no study, so that trials do not wait for each
other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from mlengine.core.errors import NotFound
from mlengine.core.states import PENDING_TRIAL_STATES, TRIAL_MOVES, StudyState, TrialState
from mlengine.core.studies import Measurement, MetricValue, Trial
from mlengine.store import EndedOperation, StudyRecord, TrialRecord, documents, operations, studies
from mlengine.store.database import Transaction
from mlengine.store.tables import measurements, trials

__all__ = [
    "add",
    "count",
    "get",
    "get_of",
    "hand_out",
    "listed",
    "measure",
    "measured",
    "move",
    "remove",
]

_PAGE = 500
_METRICS = msgspec.json.Decoder(list[MetricValue])


def add(tx: Transaction, study: StudyRecord, trial: Trial, state: TrialState) -> TrialRecord:
    now = studies.locked(tx, study)
    record = _insert(tx, now, [trial], state, client_id="")[0]
    tx.event(study.project, record.name, "trial.created", to=state)
    return record


def hand_out(
    tx: Transaction,
    study: StudyRecord,
    client_id: str,
    wanted: int,
    *,
    fresh: Sequence[Trial],
    fewer: bool,
    ending: Callable[[Sequence[TrialRecord]], EndedOperation] | None,
) -> list[TrialRecord] | None:
    now = studies.locked(tx, study)
    its = [trials.c.study_seq == study.seq]
    pending = trials.c.state.in_(sorted(PENDING_TRIAL_STATES))
    held = _records(tx, now, [*its, pending, trials.c.client_id == client_id], limit=wanted)
    left = wanted - len(held)
    waiting = trials.c.state == str(TrialState.REQUESTED)
    taken = _records(tx, now, [*its, waiting], limit=left, lock=True) if left else []
    new = list(fresh[: left - len(taken)])
    if len(held) + len(taken) + len(new) < wanted and not fewer:
        return None
    if new and (now.last_trial != study.last_trial or now.state is not StudyState.ACTIVE):
        return None
    moved = [_take(tx, now, record, client_id) for record in taken]
    started = [msgspec.structs.replace(trial, start_time=tx.time) for trial in new]
    made = _insert(tx, now, started, TrialState.ACTIVE, client_id=client_id) if new else []
    given = [*held, *moved, *made]
    detail: dict[str, Any] = {}
    if ending is not None:
        ended = ending(given)
        operations.end(tx, study.project, ended)
        detail["operation"] = ended.operation_id
    if moved or made or detail:
        numbers = [record.number for record in given]
        detail |= {"client": client_id, "trials": numbers, "new": len(made)}
        tx.event(study.project, study.name, "study.handed_out", **detail)
    return given


def get(tx: Transaction, study: StudyRecord, number: int) -> TrialRecord:
    found = _records(tx, study, [trials.c.study_seq == study.seq, trials.c.number == number])
    if not found:
        raise NotFound(
            f"The study '{study.study_id}' has no trial {number}.",
            f"List them with 'mlengine studies trials list --study {study.study_id}'.",
            field="name",
        )
    return found[0]


def get_of(
    tx: Transaction, project: str, location: str, study_id: str, number: int
) -> tuple[StudyRecord, TrialRecord]:
    study = studies.get(tx, project, location, study_id)
    return study, get(tx, study, number)


def listed(
    tx: Transaction, study: StudyRecord, *, after: int, numbers: Collection[int]
) -> list[TrialRecord]:
    its = trials.c.study_seq == study.seq
    wanted = sorted(number for number in numbers if number <= after)
    found: list[TrialRecord] = []
    for start in range(0, len(wanted), _PAGE):  # a statement takes so many values only
        page = wanted[start : start + _PAGE]
        found += _records(tx, study, [its, trials.c.number.in_(page)])
    return found + _records(tx, study, [its, trials.c.number > after])


def count(tx: Transaction, study: StudyRecord) -> int:
    select = sa.select(sa.func.count()).where(trials.c.study_seq == study.seq)
    return int(tx.connection.execute(select).scalar_one())


def move(
    tx: Transaction, record: TrialRecord, to: TrialState, *, changes: dict[str, Any]
) -> TrialRecord | None:
    if to not in TRIAL_MOVES[record.state]:
        return None
    row = tx.one(sa.select(trials).where(trials.c.seq == record.seq).with_for_update())
    if row is None or row.state != record.state:
        return None
    trial = msgspec.structs.replace(_trial(row), **changes)
    update = sa.update(trials).where(trials.c.seq == record.seq)
    tx.write(update.values(state=to, revision=trials.c.revision + 1, body=_text(trial)))
    detail = {"from": record.state, "to": to}
    tx.event(record.project, record.name, "trial.moved", **detail)
    trial.state = to
    return msgspec.structs.replace(record, trial=trial)


def measure(
    tx: Transaction, record: TrialRecord, points: Sequence[Measurement]
) -> TrialRecord | None:
    row = tx.one(sa.select(trials).where(trials.c.seq == record.seq).with_for_update())
    if row is None or TrialState(row.state) not in PENDING_TRIAL_STATES:
        return None
    rows = [
        {
            "trial_seq": record.seq,
            "step": point.step_count,
            "elapsed": float(point.elapsed_time.removesuffix("s") or 0),
            "body": msgspec.json.encode(point.metrics).decode(),
        }
        for point in points
    ]
    tx.connection.execute(sa.insert(measurements), rows)
    tx.event(record.project, record.name, "trial.measured", steps=[r["step"] for r in rows])
    return msgspec.structs.replace(record, trial=_trial(row))


def measured(
    tx: Transaction, study: StudyRecord, *, number: int | None
) -> dict[int, list[Measurement]]:
    select = (
        sa.select(trials.c.number, measurements.c.step, measurements.c.elapsed, measurements.c.body)
        .join(trials, measurements.c.trial_seq == trials.c.seq)
        .where(trials.c.study_seq == study.seq)
    )
    if number is not None:
        select = select.where(trials.c.number == number)
    order = [trials.c.number, measurements.c.step, measurements.c.elapsed, measurements.c.seq]
    found: dict[int, list[Measurement]] = {}
    for row in tx.rows(select.order_by(*order)):
        point = Measurement(
            step_count=row.step,
            elapsed_time=f"{row.elapsed:.6f}s",
            metrics=_METRICS.decode(row.body),
        )
        found.setdefault(row.number, []).append(point)
    return found


def remove(tx: Transaction, record: TrialRecord) -> bool:
    locked = sa.select(trials.c.seq).where(trials.c.seq == record.seq).with_for_update()
    if tx.one(locked) is None:
        return False
    tx.write(sa.delete(measurements).where(measurements.c.trial_seq == record.seq))
    tx.write(sa.delete(trials).where(trials.c.seq == record.seq))
    tx.event(record.project, record.name, "trial.removed")
    return True


def _insert(
    tx: Transaction,
    study: StudyRecord,
    new: Sequence[Trial],
    state: TrialState,
    *,
    client_id: str,
) -> list[TrialRecord]:
    """Number trials on from the last that the study, which is locked, ever had."""
    numbers = range(study.last_trial + 1, study.last_trial + 1 + len(new))
    rows = [
        {
            "study_seq": study.seq,
            "number": number,
            "state": state,
            "client_id": client_id,
            "revision": 1,
            "body": _text(trial),
        }
        for number, trial in zip(numbers, new, strict=True)
    ]
    tx.connection.execute(sa.insert(trials), rows)
    studies.count_on(tx, study, len(rows))
    made = [trials.c.study_seq == study.seq, trials.c.number > study.last_trial]
    return _records(tx, study, made)


def _take(tx: Transaction, study: StudyRecord, record: TrialRecord, client_id: str) -> TrialRecord:
    trial = msgspec.structs.replace(record.trial, start_time=tx.time)
    values = {"state": TrialState.ACTIVE, "client_id": client_id, "body": _text(trial)}
    update = sa.update(trials).where(trials.c.seq == record.seq)
    tx.write(update.values(revision=trials.c.revision + 1, **values))
    return get(tx, study, record.number)


def _records(
    tx: Transaction,
    study: StudyRecord,
    where: Sequence[sa.ColumnElement[bool]],
    *,
    limit: int | None = None,
    lock: bool = False,
) -> list[TrialRecord]:
    select = sa.select(trials).where(*where).order_by(trials.c.number).limit(limit)
    rows = tx.rows(select.with_for_update() if lock else select)
    return [
        TrialRecord(
            seq=row.seq,
            project=study.project,
            location=study.location,
            study_id=study.study_id,
            number=row.number,
            trial=_trial(row),
        )
        for row in rows
    ]


def _text(trial: Trial) -> str:
    return documents.text(trial, name="", state="", client_id="", measurements=[])


def _trial(row: sa.Row[Any]) -> Trial:
    columns = {"name": str(row.number), "state": row.state, "client_id": row.client_id}
    return documents.read(Trial, row.body, **columns)
