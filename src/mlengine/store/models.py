"""Models in the tables. Each function works inside the transaction that it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from mlengine.core.errors import AlreadyExists, FailedPrecondition, NotFound
from mlengine.core.names import model_name
from mlengine.core.resources import Model
from mlengine.store import ModelRecord, documents
from mlengine.store.database import Transaction
from mlengine.store.tables import models, versions

__all__ = [
    "add", "defaults", "edit", "get", "listed", "lock", "locked", "logged", "remove", "touch",
]  # fmt: skip

# One statement, so that a model and its default are always of one moment.
_SELECT = sa.select(models, versions.c.version_id.label("default_version_id")).select_from(
    models.outerjoin(versions, sa.and_(versions.c.model_seq == models.c.seq, versions.c.is_default))
)


def add(tx: Transaction, project: str, model: Model) -> ModelRecord:
    model_id = model.name
    taken = AlreadyExists(
        "A model with the same name already exists.",
        f"Choose another name than '{model_id}', or delete that model first.",
        field="model.name",
    )
    tx.insert(
        models, taken=taken, project=project, model_id=model_id, revision=1, body=_text(model)
    )
    tx.event(project, model_name(project, model_id), "model.created")
    return get(tx, project, model_id)


def get(tx: Transaction, project: str, model_id: str) -> ModelRecord:
    chosen = sa.and_(models.c.project == project, models.c.model_id == model_id)
    row = tx.one(_SELECT.where(chosen))
    if row is None:
        near = [r.model_id for r in listed(tx, project, before_seq=None, limit=100)]
        remedy = f"Create it first with 'mlengine models create {model_id}'."
        raise NotFound.among("model", model_id, near, remedy, field="name")
    return _record(row)


def listed(
    tx: Transaction, project: str, *, before_seq: int | None, limit: int
) -> list[ModelRecord]:
    select = _SELECT.where(models.c.project == project)
    rows = documents.page(tx, select, models.c.seq, before_seq=before_seq, limit=limit)
    return [_record(row) for row in rows]


def defaults(tx: Transaction) -> dict[tuple[str, str], str]:
    rows = tx.rows(_SELECT)
    return {(row.project, row.model_id): row.default_version_id or "" for row in rows}


def logged(tx: Transaction) -> set[tuple[str, str]]:
    # The text narrows it down to almost none; what it means, the resource says.
    rows = tx.rows(_SELECT.where(models.c.body.contains('"onlinePredictionLogging":true')))
    records = [_record(row) for row in rows]
    return {(r.project, r.model_id) for r in records if r.model.online_prediction_logging}


def edit(
    tx: Transaction, project: str, model_id: str, change: Callable[[Model], Model]
) -> ModelRecord:
    before = locked(tx, project, model_id)
    after = documents.apply(change, before.model, fixed=("name",))
    if after == before.model:
        return before
    touch(tx, before, body=_text(after))
    tx.event(project, model_name(project, model_id), "model.edited")
    return get(tx, project, model_id)


def remove(tx: Transaction, project: str, model_id: str) -> None:
    record = locked(tx, project, model_id)
    if tx.one(sa.select(versions.c.seq).where(versions.c.model_seq == record.seq).limit(1)):
        raise FailedPrecondition(
            f"The model '{model_id}' has versions.", "Delete them first.", field="name"
        )
    tx.write(sa.delete(models).where(models.c.seq == record.seq))
    tx.event(project, model_name(project, model_id), "model.removed")


def locked(tx: Transaction, project: str, model_id: str) -> ModelRecord:
    """Read a model and keep every other writer from it and its versions until the end."""
    while not lock(tx, get(tx, project, model_id).seq):
        pass  # somebody removed it just now, and may have made another one of its name
    return get(tx, project, model_id)


def lock(tx: Transaction, seq: int) -> bool:
    """Keep every other writer from a model and its versions until the end; False if it is gone.

    Whoever writes a version takes this lock first, and so none waits for another in a circle.
    """
    return tx.one(sa.select(models.c.seq).where(models.c.seq == seq).with_for_update()) is not None


def touch(tx: Transaction, record: ModelRecord, **values: Any) -> None:
    """Give a model a new revision, and so a new etag."""
    update = sa.update(models).where(models.c.seq == record.seq)
    tx.write(update.values(revision=models.c.revision + 1, **values))


def _text(model: Model) -> str:
    return documents.text(model, name="", default_version=None, etag="")


def _record(row: sa.Row[Any]) -> ModelRecord:
    etag = documents.etag(row.seq, row.revision)
    return ModelRecord(
        seq=row.seq,
        project=row.project,
        model_id=row.model_id,
        model=documents.read(Model, row.body, name=row.model_id, etag=etag),
        default_version_id=row.default_version_id or "",
    )
