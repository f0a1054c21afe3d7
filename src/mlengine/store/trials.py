"""Trials and what was measured of them. Each function works inside the given transaction.

Locks are taken in one order, so that nobody waits in a circle: the study, then its trials. Who
only measures or ends a trial locks that trial and no study, so that trials do not wait for each
other.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from mlengine.core.errors import NotFound
from mlengine.core.states import PENDING_TRIAL_STATES, TRIAL_MOVES, StudyState, TrialState
from mlengine.core.studies import Measurement, MetricValue, Trial
from mlengine.store import (
    StudyRecord,
    TrialEdit,
    TrialRecord,
    TrialsEnding,
    documents,
    operations,
    studies,
)
from mlengine.store.database import Transaction
from mlengine.store.tables import measurements, trials
from mlengine.store.tables import studies as studies_table

__all__ = [
    "add",
    "edit",
    "get_of",
    "hand_out",
    "listed",
    "measure",
    "measured",
    "move",
    "remove",
    "since",
]

_PAGE = 500
_METRICS = msgspec.json.Decoder(list[MetricValue])

# Written down once: to put a statement together takes longer than to run it.
_OF_STUDY = sa.select(trials).where(trials.c.study_seq == sa.bindparam("study"))
_AFTER = _OF_STUDY.where(trials.c.number > sa.bindparam("after")).order_by(trials.c.number)
_IS_WAITING = trials.c.state == str(TrialState.REQUESTED)
_HELD_OR_WAITING = (
    _OF_STUDY.where(
        trials.c.state.in_(sorted([*PENDING_TRIAL_STATES, TrialState.REQUESTED])),
        sa.or_(_IS_WAITING, trials.c.client_id == sa.bindparam("client")),
    )
    .order_by(_IS_WAITING, trials.c.number)
    .limit(sa.bindparam("most"))
    .with_for_update()
)
_STUDY_OF = sa.select(trials.c.study_seq).where(trials.c.seq == sa.bindparam("its"))
_LOCKED = sa.select(trials).where(trials.c.seq == sa.bindparam("its")).with_for_update()
_WITH_STUDY = (
    sa.select(
        studies_table,
        trials.c.seq.label("trial_seq"),
        trials.c.number,
        trials.c.client_id,
        trials.c.state.label("trial_state"),
        trials.c.body.label("trial_body"),
    )
    .join(trials, trials.c.study_seq == studies_table.c.seq)
    .where(
        studies_table.c.project == sa.bindparam("project"),
        studies_table.c.location == sa.bindparam("location"),
        studies_table.c.study_id == sa.bindparam("study_id"),
        trials.c.number == sa.bindparam("number"),
    )
)
_WITH_STUDY_LOCKED = _WITH_STUDY.with_for_update(of=trials)
_MOVE = (
    sa.update(trials)
    .where(trials.c.seq == sa.bindparam("its"))
    .values(
        state=sa.bindparam("to"),
        client_id=sa.bindparam("client"),
        revision=trials.c.revision + 1,
        body=sa.bindparam("text"),
    )
)
_INSERT = sa.insert(trials).returning(trials.c.seq, trials.c.number)
_MEASURE = sa.insert(measurements)
_MEASURED = (
    sa.select(trials.c.number, measurements.c.step, measurements.c.elapsed, measurements.c.body)
    .join(trials, measurements.c.trial_seq == trials.c.seq)
    .where(trials.c.study_seq == sa.bindparam("study"))
    .order_by(trials.c.number, measurements.c.step, measurements.c.elapsed, measurements.c.seq)
)
_MEASURED_OF_ONE = _MEASURED.where(trials.c.number == sa.bindparam("number"))
_MEASURED_OF_HELD = _MEASURED.where(
    trials.c.state.in_(sorted(PENDING_TRIAL_STATES)),
    trials.c.client_id == sa.bindparam("client"),
)


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
    ending: TrialsEnding | None,
) -> list[TrialRecord] | None:
    now = studies.locked(tx, study)
    rows = tx.rows(_HELD_OR_WAITING, study=now.seq, client=client_id, most=wanted)
    there = [_record(now, row) for row in rows]
    held = [record for record in there if record.state is not TrialState.REQUESTED]
    taken = there[len(held) :]
    left = wanted - len(held)
    new = list(fresh[: left - len(taken)])
    if len(held) + len(taken) + len(new) < wanted and not fewer:
        return None
    if left > len(taken) and (now.last_trial, now.revision) != (study.last_trial, study.revision):
        return None
    if new and now.state is not StudyState.ACTIVE:
        return None
    moved = [_take(tx, record, client_id) for record in taken]
    started = [msgspec.structs.replace(trial, start_time=tx.time) for trial in new]
    made = _insert(tx, now, started, TrialState.ACTIVE, client_id=client_id) if new else []
    given = [*held, *moved, *made]
    detail: dict[str, Any] = {}
    if ending is not None:
        # What is handed out for the first time was not measured yet.
        points = tx.rows(_MEASURED_OF_HELD, study=now.seq, client=client_id) if held else []
        ended = ending(now, given, _by_number(points))
        operations.end(tx, study.project, ended)
        detail["operation"] = ended.operation_id
    if moved or made or detail:
        numbers = [record.number for record in given]
        detail |= {"client": client_id, "trials": numbers, "new": len(made)}
        tx.event(study.project, study.name, "study.handed_out", **detail)
    return given


def get_of(
    tx: Transaction, project: str, location: str, study_id: str, number: int
) -> tuple[StudyRecord, TrialRecord]:
    return _with_study(tx, _WITH_STUDY, project, location, study_id, number)


def edit(
    tx: Transaction,
    project: str,
    location: str,
    study_id: str,
    number: int,
    change: TrialEdit,
) -> tuple[StudyRecord, TrialRecord]:
    study, record = _with_study(tx, _WITH_STUDY_LOCKED, project, location, study_id, number)
    wanted = change(study, record, lambda: measured(tx, study, number=number).get(number, []))
    if wanted.measured:
        _measure(tx, record, wanted.measured)
    if wanted.to is None:
        return study, record
    return study, _move(tx, record, wanted.to, wanted.changes)


def since(
    tx: Transaction,
    project: str,
    location: str,
    study_id: str,
    *,
    after: int,
    numbers: Collection[int],
) -> tuple[StudyRecord, list[TrialRecord]]:
    study = studies.get(tx, project, location, study_id)
    return study, listed(tx, study, after=after, numbers=numbers)


def listed(
    tx: Transaction, study: StudyRecord, *, after: int, numbers: Collection[int]
) -> list[TrialRecord]:
    wanted = sorted(number for number in numbers if number <= after)
    found: list[TrialRecord] = []
    for start in range(0, len(wanted), _PAGE):  # a statement takes so many values only
        page = wanted[start : start + _PAGE]
        select = _OF_STUDY.where(trials.c.number.in_(page)).order_by(trials.c.number)
        found += [_record(study, row) for row in tx.rows(select, study=study.seq)]
    new = tx.rows(_AFTER, study=study.seq, after=after)
    return found + [_record(study, row) for row in new]


def move(
    tx: Transaction, record: TrialRecord, to: TrialState, *, changes: dict[str, Any]
) -> TrialRecord | None:
    if to not in TRIAL_MOVES[record.state]:
        return None
    row = tx.one(_LOCKED, its=record.seq)
    if row is None or row.state != record.state:
        return None
    newest = msgspec.structs.replace(record, trial=_trial(row, row.state, row.body))
    return _move(tx, newest, to, changes)


def measure(
    tx: Transaction,
    record: TrialRecord,
    points: Sequence[Measurement],
    *,
    from_step: int | None,
) -> TrialRecord | None:
    row = tx.one(_LOCKED, its=record.seq)
    if row is None or TrialState(row.state) not in PENDING_TRIAL_STATES:
        return None
    if from_step is not None:
        old = sa.delete(measurements).where(measurements.c.trial_seq == record.seq)
        tx.write(old.where(measurements.c.step >= from_step))
    _measure(tx, record, points)
    return msgspec.structs.replace(record, trial=_trial(row, row.state, row.body))


def measured(
    tx: Transaction, study: StudyRecord, *, number: int | None
) -> dict[int, list[Measurement]]:
    if number is None:
        rows = tx.rows(_MEASURED, study=study.seq)
    else:
        rows = tx.rows(_MEASURED_OF_ONE, study=study.seq, number=number)
    return _by_number(rows)


def _by_number(rows: Iterable[sa.Row[Any]]) -> dict[int, list[Measurement]]:
    found: dict[int, list[Measurement]] = {}
    for row in rows:
        point = Measurement(
            step_count=row.step,
            elapsed_time=f"{row.elapsed:.6f}s",
            metrics=_METRICS.decode(row.body),
        )
        found.setdefault(row.number, []).append(point)
    return found


def remove(tx: Transaction, record: TrialRecord) -> bool:
    its = tx.one(_STUDY_OF, its=record.seq)
    if its is None:
        return False
    studies.revise(tx, its.study_seq)
    if tx.one(_LOCKED, its=record.seq) is None:
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
    seqs = {row.number: row.seq for row in tx.connection.execute(_INSERT, rows)}
    studies.count_on(tx, study, len(rows))
    return [
        _as_record(
            study,
            seqs[number],
            number,
            msgspec.structs.replace(trial, name=str(number), state=str(state), client_id=client_id),
        )
        for number, trial in zip(numbers, new, strict=True)
    ]


def _take(tx: Transaction, record: TrialRecord, client_id: str) -> TrialRecord:
    """Hand out a trial that was asked for; the event is that of its study."""
    changes = {"state": str(TrialState.ACTIVE), "client_id": client_id, "start_time": tx.time}
    trial = msgspec.structs.replace(record.trial, **changes)
    _write(tx, record, trial)
    return msgspec.structs.replace(record, trial=trial)


def _move(
    tx: Transaction, record: TrialRecord, to: TrialState, changes: dict[str, Any]
) -> TrialRecord:
    trial = msgspec.structs.replace(record.trial, state=str(to), **changes)
    _write(tx, record, trial)
    detail = {"from": record.state, "to": to}
    tx.event(record.project, record.name, "trial.moved", **detail)
    return msgspec.structs.replace(record, trial=trial)


def _write(tx: Transaction, record: TrialRecord, trial: Trial) -> None:
    tx.write(_MOVE, its=record.seq, to=trial.state, client=trial.client_id, text=_text(trial))


def _measure(tx: Transaction, record: TrialRecord, points: Sequence[Measurement]) -> None:
    rows = [
        {
            "trial_seq": record.seq,
            "step": point.step_count,
            "elapsed": float(point.elapsed_time.removesuffix("s") or 0),
            "body": msgspec.json.encode(point.metrics).decode(),
        }
        for point in points
    ]
    tx.connection.execute(_MEASURE, rows)
    tx.event(record.project, record.name, "trial.measured", steps=[r["step"] for r in rows])


def _with_study(
    tx: Transaction,
    select: sa.Select[Any],
    project: str,
    location: str,
    study_id: str,
    number: int,
) -> tuple[StudyRecord, TrialRecord]:
    row = tx.one(select, project=project, location=location, study_id=study_id, number=number)
    if row is None:
        raise _none(studies.get(tx, project, location, study_id), number)
    study = studies.record(row)
    trial = _trial(row, row.trial_state, row.trial_body)
    return study, _as_record(study, row.trial_seq, number, trial)


def _none(study: StudyRecord, number: int) -> NotFound:
    return NotFound(
        f"The study '{study.study_id}' has no trial {number}.",
        f"List them with 'mlengine studies trials list --study {study.study_id}'.",
        field="name",
    )


def _record(study: StudyRecord, row: sa.Row[Any]) -> TrialRecord:
    return _as_record(study, row.seq, row.number, _trial(row, row.state, row.body))


def _as_record(study: StudyRecord, seq: int, number: int, trial: Trial) -> TrialRecord:
    return TrialRecord(
        seq=seq,
        project=study.project,
        location=study.location,
        study_id=study.study_id,
        number=number,
        trial=trial,
    )


def _text(trial: Trial) -> str:
    return documents.text(trial, name="", state="", client_id="", measurements=[])


def _trial(row: sa.Row[Any], state: str, body: str) -> Trial:
    columns = {"name": str(row.number), "state": state, "client_id": row.client_id}
    return msgspec.structs.replace(_read(body), **columns)


@functools.lru_cache(maxsize=256)
def _read(body: str) -> Trial:
    """Read a document; whoever reports asks for that of one trial again and again."""
    return documents.read(Trial, body)
