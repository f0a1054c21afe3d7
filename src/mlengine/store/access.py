"""Keys and policies in the tables. Each function works inside the given transaction.

A policy is written under the lock of its model, as all that goes with a model is; so none is left
behind for another model of that name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa

from mlengine.core.errors import AlreadyExists, NotFound
from mlengine.core.keys import Key, key_name
from mlengine.core.policies import Policy, PolicyKind
from mlengine.store import documents, jobs, models, operations
from mlengine.store.accessstore import KeyRecord
from mlengine.store.database import Transaction
from mlengine.store.tables import keys, policies

__all__ = [
    "add_key",
    "edit_policy",
    "forget",
    "get_key",
    "key_of",
    "keys_of",
    "model_policies",
    "open_keys",
    "policy",
    "revoke_key",
]


def add_key(tx: Transaction, project: str, key: Key, *, digest: str) -> KeyRecord:
    taken = AlreadyExists(
        f"There is a key '{key.name}', or there was one.",
        "Choose another id; that of a revoked key stays used, so that logs name one key.",
        field="key.name",
    )
    made = msgspec.structs.replace(key, create_time=tx.time)
    tx.insert(
        keys, taken=taken, project=project, key_id=key.name, digest=digest, revoked=False,
        body=documents.text(made, name="", key_string=""),
    )  # fmt: skip
    tx.event(project, key_name(project, key.name), "key.created")
    return get_key(tx, project, key.name)


def get_key(tx: Transaction, project: str, key_id: str) -> KeyRecord:
    chosen = sa.and_(keys.c.project == project, keys.c.key_id == key_id)
    row = tx.one(sa.select(keys).where(chosen))
    if row is None:
        near = [record.key_id for record in keys_of(tx, project)]
        raise NotFound.among("key", key_id, near, "See 'mlengine keys list'.", field="name")
    return _record(row)


def keys_of(tx: Transaction, project: str) -> list[KeyRecord]:
    select = sa.select(keys).where(keys.c.project == project)
    return [_record(row) for row in tx.rows(select.order_by(keys.c.seq.desc()))]


def key_of(tx: Transaction, digest: str) -> KeyRecord | None:
    chosen = sa.and_(keys.c.digest == digest, keys.c.revoked == sa.false())
    row = tx.one(sa.select(keys).where(chosen))
    return None if row is None else _record(row)


def open_keys(tx: Transaction) -> list[KeyRecord]:
    select = sa.select(keys).where(keys.c.revoked == sa.false())
    return [_record(row) for row in tx.rows(select.order_by(keys.c.seq))]


def revoke_key(tx: Transaction, project: str, key_id: str) -> KeyRecord:
    before = get_key(tx, project, key_id)
    after = msgspec.structs.replace(before.key, revoke_time=tx.time)
    # Only one of two that revoke it at once finds it open.
    update = sa.update(keys).where(keys.c.seq == before.seq, keys.c.revoked == sa.false())
    if tx.write(update.values(revoked=True, body=documents.text(after, name="", key_string=""))):
        tx.event(project, key_name(project, key_id), "key.revoked")
    return get_key(tx, project, key_id)


def policy(tx: Transaction, kind: PolicyKind, project: str, resource_id: str) -> Policy:
    row = tx.one(sa.select(policies).where(_of(kind, project, resource_id)))
    return Policy(etag=documents.etag(0, 0)) if row is None else _policy(row)


def model_policies(tx: Transaction) -> dict[tuple[str, str], Policy]:
    rows = tx.rows(sa.select(policies).where(policies.c.kind == "models"))
    return {(row.project, row.resource_id): _policy(row) for row in rows}


def edit_policy(
    tx: Transaction,
    kind: PolicyKind,
    project: str,
    resource_id: str,
    change: Callable[[Policy], Policy],
) -> Policy:
    _lock(tx, kind, project, resource_id)
    before = policy(tx, kind, project, resource_id)
    body = documents.text(change(before), etag="")
    update = sa.update(policies).where(_of(kind, project, resource_id))
    if not tx.write(update.values(body=body, revision=policies.c.revision + 1)):
        taken = AlreadyExists("The policy was set by somebody else just now.", "Try again.")
        tx.insert(policies, taken=taken, kind=kind, project=project, resource_id=resource_id,
                  revision=1, body=body)  # fmt: skip
    tx.event(project, f"projects/{project}/{kind}/{resource_id}", "policy.set")
    return policy(tx, kind, project, resource_id)


def forget(tx: Transaction, kind: PolicyKind, project: str, resource_id: str) -> None:
    """Remove a resource's policy with it."""
    tx.write(sa.delete(policies).where(_of(kind, project, resource_id)))


def _lock(tx: Transaction, kind: PolicyKind, project: str, resource_id: str) -> None:
    """Refuse a resource that is not there, and keep other writers from its policy."""
    if kind == "models":
        models.locked(tx, project, resource_id)
    elif kind == "jobs":
        jobs.get(tx, project, resource_id, lock=True)
    else:
        operations.get(tx, project, resource_id, lock=True)


def _of(kind: PolicyKind, project: str, resource_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        policies.c.kind == kind,
        policies.c.project == project,
        policies.c.resource_id == resource_id,
    )


def _record(row: sa.Row[Any]) -> KeyRecord:
    return KeyRecord(
        seq=row.seq,
        project=row.project,
        key=documents.read(Key, row.body, name=row.key_id),
        digest=row.digest,
    )


def _policy(row: sa.Row[Any]) -> Policy:
    return documents.read(Policy, row.body, etag=documents.etag(row.seq, row.revision))
