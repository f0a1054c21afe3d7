"""Traffic in the tables. Each function works inside the transaction that it is given.

Whoever writes any of it locks the model first, as whoever writes a version does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from mlengine.core.errors import FailedPrecondition, NotFound
from mlengine.core.names import model_name
from mlengine.core.states import VersionState
from mlengine.store import ModelRecord
from mlengine.store import models as model_rows
from mlengine.store.database import Transaction
from mlengine.store.tables import arms, models, outcomes, versions
from mlengine.store.tables import traffic as table
from mlengine.store.trafficstore import (
    AddedOutcomes,
    ArmCounts,
    ArmRecord,
    NewOutcome,
    OutcomeSums,
    TrafficPlan,
    TrafficRecord,
)

__all__ = [
    "add_counts",
    "add_outcomes",
    "arms_of",
    "edit",
    "follow_default",
    "forget",
    "forget_version",
    "get",
    "listed",
    "outcome_sums",
    "refuse_if_named",
]

_SERVES = (VersionState.READY, VersionState.UPDATING)
_PAGE = 500
_REMEMBERED = 8  # gateways whose counts a row can tell apart

_SELECT = (
    sa.select(
        models.c.seq,
        models.c.project,
        models.c.model_id,
        table.c.period,
        table.c.began,
        table.c.body,
        versions.c.version_id.label("default_version_id"),
    )
    .select_from(models.outerjoin(table, table.c.model_seq == models.c.seq))
    .outerjoin(versions, sa.and_(versions.c.model_seq == models.c.seq, versions.c.is_default))
)


class _Counted(msgspec.Struct, kw_only=True):
    """The body of an arm's row; `batches` is the newest that each gateway has brought."""

    counts: ArmCounts
    units: dict[str, int] = {}
    batches: dict[str, int] = {}


_plans = msgspec.json.Decoder(TrafficPlan)
_counted = msgspec.json.Decoder(_Counted)


def get(tx: Transaction, project: str, model_id: str) -> TrafficRecord:
    return _of(tx, model_rows.get(tx, project, model_id))


def listed(tx: Transaction) -> list[TrafficRecord]:
    found = tx.rows(_SELECT.where(table.c.idle == sa.false()).order_by(models.c.seq))
    return [_record(row) for row in found]


def edit(
    tx: Transaction, project: str, model_id: str, change: Callable[[TrafficRecord], TrafficPlan]
) -> TrafficRecord:
    model = model_rows.locked(tx, project, model_id)
    before = _of(tx, model)
    plan = change(before)
    if plan == before.plan:
        return before
    _check_serving(tx, model, plan)
    _write(tx, model, before, plan)
    return _of(tx, model)


def follow_default(tx: Transaction, model: ModelRecord, version_id: str) -> None:
    """End the split of a locked model: its new default answers all from here on."""
    before = _of(tx, model)
    shadow = [name for name in before.plan.shadow if name != version_id]
    if before.plan.split or shadow != before.plan.shadow:
        plan = msgspec.structs.replace(
            before.plan, split={}, segments=[], sticky_by="", shadow=shadow, update_time=tx.time
        )
        _write(tx, model, before, plan)


def refuse_if_named(tx: Transaction, model_seq: int, version_id: str) -> None:
    """Refuse that a version goes that gets predictions, or copies of them."""
    row = tx.one(_SELECT.where(models.c.seq == model_seq))
    record = _record(row) if row else None
    if record is None or version_id not in record.plan.named:
        return
    gets = "a part" if version_id in record.plan.split else "copies"
    raise FailedPrecondition(
        f"The version '{version_id}' gets {gets} of the predictions of model '{record.model_id}'.",
        f"Take it out first with 'mlengine models set-traffic {record.model_id}', by another "
        "--split or --shadow or by --clear.",
        field="name",
    )


def forget_version(tx: Transaction, model_seq: int, version_id: str) -> None:
    """Remove what was counted of a version: another of its name would be another version."""
    for its in (arms, outcomes):
        tx.write(sa.delete(its).where(its.c.model_seq == model_seq,
                                      its.c.version_id == version_id))  # fmt: skip


def forget(tx: Transaction, model_seq: int) -> None:
    """Remove a model's traffic with all that was counted."""
    for its in (outcomes, arms, table):
        tx.write(sa.delete(its).where(its.c.model_seq == model_seq))


def arms_of(tx: Transaction, project: str, model_id: str) -> list[ArmRecord]:
    model = model_rows.get(tx, project, model_id)
    rows = tx.rows(
        sa.select(arms).where(arms.c.model_seq == model.seq).order_by(arms.c.period, arms.c.seq)
    )
    found = []
    for row in rows:
        body = _counted.decode(row.body)
        found.append(
            ArmRecord(
                period=row.period,
                version_id=row.version_id,
                parts=row.parts,
                counts=body.counts,
                units=body.units,
            )
        )
    return found


def add_counts(
    tx: Transaction,
    counts: Sequence[tuple[str, str, int, str, ArmCounts]],
    *,
    gateway: str,
    batch: int,
) -> None:
    by_model: dict[tuple[str, str], list[tuple[int, str, ArmCounts]]] = {}
    for project, model_id, period, version_id, counted in counts:
        by_model.setdefault((project, model_id), []).append((period, version_id, counted))
    # In one order, so that two engines do not wait for each other.
    for (project, model_id), of_model in sorted(by_model.items(), key=lambda item: item[0]):
        try:
            model = model_rows.locked(tx, project, model_id)
        except NotFound:
            continue
        began = _of(tx, model).began
        for period, version_id, counted in of_model:
            if period >= began:
                _count(tx, model, (period, version_id), counted, gateway, batch)
        tx.event(project, model_name(project, model_id), "traffic.counted", batch=batch)


def add_outcomes(
    tx: Transaction, project: str, model_id: str, new: Sequence[NewOutcome]
) -> AddedOutcomes:
    model = model_rows.locked(tx, project, model_id)
    drawn = sa.select(arms.c.period, arms.c.version_id).where(
        arms.c.model_seq == model.seq, arms.c.parts > 0
    )
    compared = {(row.period, row.version_id) for row in tx.rows(drawn)}
    wanted = [one for one in new if (one.period, one.version_id) in compared]
    seen = _seen(tx, model, [one.prediction_id for one in wanted])
    rows: list[dict[str, Any]] = []
    for one in wanted:
        if one.prediction_id not in seen:
            seen.add(one.prediction_id)
            rows.append({"model_seq": model.seq, **msgspec.structs.asdict(one)})
    if rows:
        tx.connection.execute(sa.insert(outcomes), rows)
        tx.event(project, model_name(project, model_id), "outcomes.added", count=len(rows))
    return AddedOutcomes(len(rows), len(wanted) - len(rows), len(new) - len(wanted))


def outcome_sums(tx: Transaction, project: str, model_id: str) -> list[OutcomeSums]:
    model = model_rows.get(tx, project, model_id)
    arm = (outcomes.c.period, outcomes.c.version_id)
    its = outcomes.c.model_seq == model.seq
    value, count = sa.func.sum(outcomes.c.value), sa.func.count()
    means = sa.select(*arm, sa.func.avg(outcomes.c.value).label("mean")).where(its).group_by(*arm)
    units = sa.select(*arm, value.label("value"), count.label("n")).where(its)
    mean, unit = means.subquery("mean"), units.group_by(*arm, outcomes.c.unit).subquery("unit")
    off = unit.c.value - mean.c.mean * unit.c.n
    same = sa.and_(unit.c.period == mean.c.period, unit.c.version_id == mean.c.version_id)
    rows = tx.rows(
        sa.select(
            mean.c.period,
            mean.c.version_id,
            mean.c.mean,
            sa.func.count().label("units"),
            sa.func.sum(unit.c.n).label("outcomes"),
            sa.func.sum(off * off).label("residual"),
        )
        .select_from(unit.join(mean, same))
        .group_by(mean.c.period, mean.c.version_id, mean.c.mean)
        .order_by(mean.c.period, mean.c.version_id)
    )
    return [
        OutcomeSums(
            period=row.period,
            version_id=row.version_id,
            units=int(row.units),
            outcomes=int(row.outcomes),
            mean=float(row.mean),
            residual=float(row.residual),
        )
        for row in rows
    ]


def _of(tx: Transaction, model: ModelRecord) -> TrafficRecord:
    row = tx.one(_SELECT.where(models.c.seq == model.seq))
    assert row is not None  # it was read in this transaction
    return _record(row)


def _record(row: sa.Row[Any]) -> TrafficRecord:
    return TrafficRecord(
        project=row.project,
        model_id=row.model_id,
        plan=_plans.decode(row.body) if row.body else TrafficPlan(),
        period=row.period or 0,
        began=row.began or 0,
        default_version_id=row.default_version_id or "",
    )


def _check_serving(tx: Transaction, model: ModelRecord, plan: TrafficPlan) -> None:
    select = sa.select(versions.c.version_id, versions.c.state)
    its = tx.rows(select.where(versions.c.model_seq == model.seq))
    states = {row.version_id: row.state for row in its}
    for name in plan.named:
        if name not in states:
            remedy = f"List them with 'mlengine versions list --model {model.model_id}'."
            raise NotFound.among("version", name, list(states), remedy, field="traffic")
        if states[name] not in _SERVES:
            raise FailedPrecondition(
                f"The version '{name}' is {states[name]}.",
                "Only a version that is READY can get predictions.",
                field="traffic",
            )


def _write(tx: Transaction, model: ModelRecord, before: TrafficRecord, plan: TrafficPlan) -> None:
    period = before.period + 1
    values = {"period": period, "idle": plan.idle, "body": msgspec.json.encode(plan).decode()}
    if before.plan.idle and not plan.idle:
        values["began"] = period
        for its in (outcomes, arms):
            tx.write(sa.delete(its).where(its.c.model_seq == model.seq))
    update = sa.update(table).where(table.c.model_seq == model.seq).values(**values)
    if not tx.write(update):
        insert = {"began": period, **values, "model_seq": model.seq}
        tx.connection.execute(sa.insert(table), insert)
    for version_id, parts in plan.split.items():
        _insert_arm(tx, model, (period, version_id), parts, _Counted(counts=ArmCounts()))
    detail = {"period": period, "split": plan.split, "shadow": plan.shadow}
    tx.event(model.project, model_name(model.project, model.model_id), "traffic.set", **detail)


def _insert_arm(
    tx: Transaction, model: ModelRecord, arm: tuple[int, str], parts: int, body: _Counted
) -> None:
    row = {"model_seq": model.seq, "period": arm[0], "version_id": arm[1], "parts": parts}
    text = msgspec.json.encode(body).decode()
    tx.connection.execute(sa.insert(arms), {**row, "body": text})


def _count(
    tx: Transaction,
    model: ModelRecord,
    arm: tuple[int, str],
    new: ArmCounts,
    gateway: str,
    batch: int,
) -> None:
    chosen = sa.and_(
        arms.c.model_seq == model.seq, arms.c.period == arm[0], arms.c.version_id == arm[1]
    )
    row = tx.one(sa.select(arms).where(chosen))
    body = _counted.decode(row.body) if row else _Counted(counts=ArmCounts())
    if batch <= body.batches.pop(gateway, 0):
        return
    body.counts.add(new)
    body.units[gateway] = body.units.pop(gateway, 0) + new.units
    body.batches[gateway] = batch
    for known in (body.units, body.batches):
        for oldest in list(known)[:-_REMEMBERED]:
            del known[oldest]
    if row is None:
        if _is_there(tx, model, arm[1]):
            _insert_arm(tx, model, arm, 0, body)
        return
    tx.write(sa.update(arms).where(chosen).values(body=msgspec.json.encode(body).decode()))


def _is_there(tx: Transaction, model: ModelRecord, version_id: str) -> bool:
    its = sa.and_(versions.c.model_seq == model.seq, versions.c.version_id == version_id)
    return tx.one(sa.select(versions.c.seq).where(its)) is not None


def _seen(tx: Transaction, model: ModelRecord, ids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for at in range(0, len(ids), _PAGE):
        page = outcomes.c.prediction_id.in_(ids[at : at + _PAGE])
        select = sa.select(outcomes.c.prediction_id).where(outcomes.c.model_seq == model.seq, page)
        found.update(row.prediction_id for row in tx.rows(select))
    return found
