"""Long-running operations in the tables. Each function works inside the given transaction."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from mlengine.core.errors import AlreadyExists, FailedPrecondition, NotFound
from mlengine.core.names import operation_name
from mlengine.core.resources import Operation
from mlengine.store import EndedOperation, OperationRecord, documents
from mlengine.store.database import Transaction
from mlengine.store.tables import operations

__all__ = ["add", "edit", "end", "finish", "forget", "get", "listed", "note", "unfinished"]

# Written down once: to put a statement together takes longer than to run it.
_BY_ID = sa.select(operations).where(
    operations.c.project == sa.bindparam("project"),
    operations.c.operation_id == sa.bindparam("operation_id"),
)
_BY_ID_LOCKED = _BY_ID.with_for_update()
# One statement, in words that SQLite and PostgreSQL share: an operation that ends in the call was
# not there before, one that takes a while was.
_END = sa.text(
    "INSERT INTO operations (project, operation_id, subject, done, body) "
    "VALUES (:project, :operation_id, :subject, TRUE, :body) "
    "ON CONFLICT (project, operation_id) DO UPDATE SET done = TRUE, body = excluded.body "
    "WHERE NOT operations.done"
)


def add(
    tx: Transaction, project: str, operation_id: str, metadata: dict[str, Any], *, subject: str
) -> OperationRecord:
    taken = AlreadyExists(
        "An operation with this id already exists.",
        f"Choose another id than '{operation_id}'.",
        field="name",
    )
    tx.insert(
        operations,
        taken=taken,
        project=project,
        operation_id=operation_id,
        subject=subject,
        done=False,
        body=_text(Operation(metadata=metadata)),
    )
    tx.event(project, operation_name(project, operation_id), "operation.created", subject=subject)
    return get(tx, project, operation_id)


def get(tx: Transaction, project: str, operation_id: str, *, lock: bool = False) -> OperationRecord:
    select = _BY_ID_LOCKED if lock else _BY_ID
    row = tx.one(select, project=project, operation_id=operation_id)
    if row is None:
        near = [r.operation_id for r in listed(tx, project, before_seq=None, limit=100)]
        remedy = "List them with 'mlengine operations list'."
        raise NotFound.among("operation", operation_id, near, remedy, field="name")
    return _record(row)


def listed(
    tx: Transaction, project: str, *, before_seq: int | None, limit: int
) -> list[OperationRecord]:
    select = sa.select(operations).where(operations.c.project == project)
    rows = documents.page(tx, select, operations.c.seq, before_seq=before_seq, limit=limit)
    return [_record(row) for row in rows]


def unfinished(tx: Transaction) -> list[OperationRecord]:
    select = sa.select(operations).where(operations.c.done.is_(False)).order_by(operations.c.seq)
    return [_record(row) for row in tx.rows(select)]


def edit(
    tx: Transaction, project: str, operation_id: str, metadata: dict[str, Any]
) -> OperationRecord:
    record = get(tx, project, operation_id, lock=True)
    if record.operation.done:
        raise FailedPrecondition(
            f"The operation '{operation_id}' is done.", "It can only be read.", field="name"
        )
    if metadata == record.operation.metadata:
        return record
    _write(tx, record, Operation(metadata=metadata), done=False)
    tx.event(project, operation_name(project, operation_id), "operation.edited")
    return get(tx, project, operation_id)


def finish(
    tx: Transaction,
    project: str,
    operation_id: str,
    *,
    metadata: dict[str, Any] | None,
    response: dict[str, Any] | None,
    error: dict[str, Any] | None,
) -> OperationRecord | None:
    record = get(tx, project, operation_id, lock=True)
    if record.operation.done:
        return None
    metadata = record.operation.metadata if metadata is None else metadata
    ended = Operation(metadata=metadata, response=response, error=error)
    _write(tx, record, ended, done=True)
    name = operation_name(project, operation_id)
    tx.event(project, name, "operation.finished", failed=error is not None)
    return get(tx, project, operation_id)


def end(tx: Transaction, project: str, ended: EndedOperation) -> None:
    """End an operation inside the transaction that did its work, which notes the event.

    `FailedPrecondition` if it has ended: that transaction must not happen a second time.
    """
    operation = Operation(metadata=ended.metadata, response=ended.response)
    written = tx.write(
        _END,
        project=project,
        operation_id=ended.operation_id,
        subject=ended.subject,
        body=_text(operation),
    )
    if not written:
        raise FailedPrecondition(
            f"The operation '{ended.operation_id}' is done.", "It can only be read.", field="name"
        )


def note(tx: Transaction, project: str, ended: EndedOperation) -> OperationRecord:
    row = tx.one(_BY_ID, project=project, operation_id=ended.operation_id)
    if row is None or not row.done:
        end(tx, project, ended)
        name = operation_name(project, ended.operation_id)
        tx.event(project, name, "operation.finished", failed=False)
    return get(tx, project, ended.operation_id)


def forget(tx: Transaction, project: str, *, subject: str) -> None:
    """Remove what is done of a thing that is no more; what is under way ends by itself."""
    tx.write(
        sa.delete(operations).where(
            operations.c.project == project,
            operations.c.subject == subject,
            operations.c.done.is_(True),
        )
    )


def _write(tx: Transaction, record: OperationRecord, operation: Operation, *, done: bool) -> None:
    update = sa.update(operations).where(operations.c.seq == record.seq)
    tx.write(update.values(body=_text(operation), done=done))


def _text(operation: Operation) -> str:
    return documents.text(operation, name="", done=False)


def _record(row: sa.Row[Any]) -> OperationRecord:
    columns = {"name": row.operation_id, "done": bool(row.done)}
    return OperationRecord(
        seq=row.seq,
        project=row.project,
        operation_id=row.operation_id,
        operation=documents.read(Operation, row.body, **columns),
        subject=row.subject,
    )
