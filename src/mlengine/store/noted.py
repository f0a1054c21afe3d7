"""Changes of models and versions together with the operation that tells of them.

Whoever is answered with an operation finds it in the store, and whoever is not finds nothing
changed: both are one transaction. The operation is made of the record as it was written, inside
that transaction, so it must not ask the store for anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlengine.core.resources import Model, Version
from mlengine.core.states import VersionState
from mlengine.store import (
    ModelRecord,
    NewOperation,
    VersionRecord,
    access,
    models,
    operations,
    traffic,
    versions,
)
from mlengine.store.database import Transaction

__all__ = ["add_version", "edit_model", "edit_version", "move_version", "remove_model"]

_OfVersion = Callable[[VersionRecord], NewOperation]


def add_version(
    tx: Transaction, project: str, model_id: str, version: Version, *,
    uid: str, operation: _OfVersion | None,
) -> VersionRecord:  # fmt: skip
    record = versions.add(tx, project, model_id, version, uid=uid)
    if operation:
        _note(tx, project, operation(record))
    return record


def move_version(
    tx: Transaction, record: VersionRecord, to: VersionState, *,
    digest: str | None, operation: _OfVersion | None, changes: dict[str, Any],
) -> VersionRecord | None:  # fmt: skip
    moved = versions.move(tx, record, to, digest=digest, changes=changes)
    if moved and operation:
        _note(tx, record.project, operation(moved))
    return moved


def edit_version(
    tx: Transaction, project: str, model_id: str, version_id: str,
    change: Callable[[Version], Version], *, operation: _OfVersion | None,
) -> VersionRecord:  # fmt: skip
    record = versions.edit(tx, project, model_id, version_id, change)
    if operation:
        _note(tx, project, operation(record))
    return record


def edit_model(
    tx: Transaction, project: str, model_id: str, change: Callable[[Model], Model], *,
    default: str,
    operation: Callable[[ModelRecord, VersionRecord | None], NewOperation] | None,
) -> ModelRecord:  # fmt: skip
    record = models.edit(tx, project, model_id, change)
    if default:  # after `change` has seen the etag as the caller may know it
        versions.set_default(tx, project, model_id, default)
        record = models.get(tx, project, model_id)
    if operation:
        chosen = record.default_version_id
        version = versions.get(tx, project, model_id, chosen) if chosen else None
        _note(tx, project, operation(record, version))
    return record


def remove_model(
    tx: Transaction, project: str, model_id: str, *, operation: NewOperation | None
) -> None:
    traffic.forget(tx, models.locked(tx, project, model_id).seq)
    access.forget(tx, "models", project, model_id)
    models.remove(tx, project, model_id)
    if operation:
        _note(tx, project, operation)


def _note(tx: Transaction, project: str, new: NewOperation) -> None:
    operations.add(tx, project, new.operation_id, new.metadata, subject=new.subject)
    if new.response is not None:
        operations.finish(
            tx, project, new.operation_id, metadata=None, response=new.response, error=None
        )
