"""Versions in the tables, and which of a model's is the default.

Each function works inside the transaction that it is given. A model with versions has exactly one
default, and it is one that serves (READY or UPDATING) as soon as any version became READY.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec
import sqlalchemy as sa

from mlengine.core.errors import AlreadyExists, FailedPrecondition, NotFound
from mlengine.core.names import version_name
from mlengine.core.resources import Version
from mlengine.core.states import VERSION_MOVES, VersionState
from mlengine.store import ModelRecord, VersionRecord, documents, traffic
from mlengine.store import models as model_rows
from mlengine.store.database import Transaction
from mlengine.store.tables import models, versions

__all__ = ["add", "edit", "get", "in_states", "listed", "move", "remove", "set_default"]

_SERVES = frozenset({VersionState.READY, VersionState.UPDATING})

_SELECT = sa.select(versions, models.c.project, models.c.model_id).join(
    models, versions.c.model_seq == models.c.seq
)


def add(
    tx: Transaction, project: str, model_id: str, version: Version, *, uid: str
) -> VersionRecord:
    model = model_rows.locked(tx, project, model_id)
    # One that is on its way out must not stay the default: nothing could remove it then.
    current = _default(tx, model)
    first = current is None or current.state is VersionState.DELETING
    if first and current is not None:
        _clear_default(tx, model)
    taken = AlreadyExists(
        "A version with the same name already exists.",
        f"Choose another name than '{version.name}', or delete that version first.",
        field="version.name",
    )
    tx.insert(
        versions,
        taken=taken,
        model_seq=model.seq,
        version_id=version.name,
        uid=uid,
        state=VersionState.CREATING,
        is_default=first,
        digest="",
        revision=1,
        body=_text(version),
    )
    if first:
        model_rows.touch(tx, model)
    detail = {"to": VersionState.CREATING, "default": first}
    tx.event(project, version_name(project, model_id, version.name), "version.created", **detail)
    return get(tx, project, model_id, version.name)


def get(tx: Transaction, project: str, model_id: str, version_id: str) -> VersionRecord:
    model = model_rows.get(tx, project, model_id)
    chosen = sa.and_(versions.c.model_seq == model.seq, versions.c.version_id == version_id)
    row = tx.one(_SELECT.where(chosen))
    if row is None:
        near = [r.version_id for r in listed(tx, project, model_id, before_seq=None, limit=100)]
        remedy = f"List them with 'mlengine versions list --model {model_id}'."
        raise NotFound.among("version", version_id, near, remedy, field="name")
    return _record(row)


def listed(
    tx: Transaction, project: str, model_id: str, *, before_seq: int | None, limit: int
) -> list[VersionRecord]:
    model = model_rows.get(tx, project, model_id)
    select = _SELECT.where(versions.c.model_seq == model.seq)
    rows = documents.page(tx, select, versions.c.seq, before_seq=before_seq, limit=limit)
    return [_record(row) for row in rows]


def in_states(tx: Transaction, states: Collection[VersionState]) -> list[VersionRecord]:
    select = _SELECT.where(versions.c.state.in_(sorted(states))).order_by(versions.c.seq)
    return [_record(row) for row in tx.rows(select)]


def move(
    tx: Transaction,
    record: VersionRecord,
    to: VersionState,
    *,
    digest: str | None,
    changes: dict[str, Any],
) -> VersionRecord | None:
    if to not in VERSION_MOVES[record.state]:
        return None
    now = _newest(tx, record)
    if now is None:
        return None
    if to is VersionState.DELETING:
        _refuse_if_needed(tx, now)
        traffic.refuse_if_named(tx, _model_seq(tx, now), now.version_id)
    version = msgspec.structs.replace(now.version, **changes)
    values = {"state": to, "body": _text(version)}
    if digest is not None:
        values["digest"] = digest
    if not tx.write(
        sa.update(versions)
        .where(versions.c.seq == record.seq, versions.c.state == record.state)
        .values(revision=versions.c.revision + 1, **values)
    ):
        return None
    takes_over = to is VersionState.READY and _take_over(tx, now)
    detail = {"from": record.state, "to": to, "default": takes_over or now.version.is_default}
    tx.event(record.project, _name(record), "version.moved", **detail)
    return get(tx, record.project, record.model_id, record.version_id)


def edit(
    tx: Transaction,
    project: str,
    model_id: str,
    version_id: str,
    change: Callable[[Version], Version],
) -> VersionRecord:
    model_rows.locked(tx, project, model_id)
    before = get(tx, project, model_id, version_id)
    after = documents.apply(change, before.version, fixed=("name", "state"))
    if after == before.version:
        return before
    values: dict[str, Any] = {"body": _text(after)}
    # A use is no change: an etag that somebody holds stays good however often the version answers.
    used = msgspec.structs.replace(before.version, last_use_time=after.last_use_time)
    if after != used:
        values["revision"] = versions.c.revision + 1
        tx.event(project, _name(before), "version.edited")
    tx.write(sa.update(versions).where(versions.c.seq == before.seq).values(**values))
    return get(tx, project, model_id, version_id)


def set_default(tx: Transaction, project: str, model_id: str, version_id: str) -> VersionRecord:
    model = model_rows.locked(tx, project, model_id)
    record = get(tx, project, model_id, version_id)
    if record.state is not VersionState.READY:
        raise FailedPrecondition(
            f"The version '{version_id}' is {record.state}.",
            "Only a version that is READY can be the default.",
            field="name",
        )
    if not record.version.is_default:
        _make_default(tx, model, record)
        tx.event(project, _name(record), "version.made_default", previous=model.default_version_id)
    traffic.follow_default(tx, model, version_id)
    return get(tx, project, model_id, version_id)


def remove(tx: Transaction, record: VersionRecord) -> bool:
    now = _newest(tx, record)
    if now is None or now.state is not VersionState.DELETING:
        return False
    _refuse_if_needed(tx, now)
    traffic.forget_version(tx, _model_seq(tx, now), now.version_id)
    tx.write(sa.delete(versions).where(versions.c.seq == record.seq))
    if now.version.is_default:
        model_rows.touch(tx, model_rows.get(tx, record.project, record.model_id))
    tx.event(record.project, _name(record), "version.removed")
    return True


def _newest(tx: Transaction, record: VersionRecord) -> VersionRecord | None:
    """Read the record again with its model locked; None when it is gone."""
    chosen = versions.c.seq == record.seq
    of = tx.one(sa.select(versions.c.model_seq).where(chosen))
    if of is None or not model_rows.lock(tx, of.model_seq):
        return None
    row = tx.one(_SELECT.where(chosen))
    return _record(row) if row else None


def _model_seq(tx: Transaction, record: VersionRecord) -> int:
    return model_rows.get(tx, record.project, record.model_id).seq


def _refuse_if_needed(tx: Transaction, record: VersionRecord) -> None:
    others = sa.select(versions.c.seq).where(
        versions.c.seq != record.seq,
        versions.c.model_seq
        == sa.select(versions.c.model_seq).where(versions.c.seq == record.seq).scalar_subquery(),
    )
    if record.version.is_default and tx.one(others.limit(1)):
        raise FailedPrecondition(
            f"The version '{record.version_id}' is the default of model '{record.model_id}', "
            "which has others.",
            "Make another version the default first.",
            field="name",
        )


def _take_over(tx: Transaction, record: VersionRecord) -> bool:
    """Make a version that became READY the default if the present one cannot answer."""
    model = model_rows.get(tx, record.project, record.model_id)
    current = _default(tx, model)
    if current is not None and (current.seq == record.seq or current.state in _SERVES):
        return False
    _make_default(tx, model, record)
    return True


def _default(tx: Transaction, model: ModelRecord) -> VersionRecord | None:
    row = tx.one(_SELECT.where(versions.c.model_seq == model.seq, versions.c.is_default))
    return _record(row) if row else None


def _make_default(tx: Transaction, model: ModelRecord, record: VersionRecord) -> None:
    _clear_default(tx, model)
    tx.write(sa.update(versions).where(versions.c.seq == record.seq).values(is_default=True))
    model_rows.touch(tx, model)


def _clear_default(tx: Transaction, model: ModelRecord) -> None:
    update = sa.update(versions).where(versions.c.model_seq == model.seq, versions.c.is_default)
    tx.write(update.values(is_default=False))


def _name(record: VersionRecord) -> str:
    return version_name(record.project, record.model_id, record.version_id)


def _text(version: Version) -> str:
    return documents.text(version, name="", state="", is_default=False, etag="")


def _record(row: sa.Row[Any]) -> VersionRecord:
    columns = {
        "name": row.version_id,
        "state": row.state,
        "is_default": bool(row.is_default),
        "etag": documents.etag(row.seq, row.revision),
    }
    return VersionRecord(
        seq=row.seq,
        project=row.project,
        model_id=row.model_id,
        version_id=row.version_id,
        uid=row.uid,
        version=documents.read(Version, row.body, **columns),
        digest=row.digest,
    )
