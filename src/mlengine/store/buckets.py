"""Buckets in the tables. Each function works inside the transaction that it is given."""

from __future__ import annotations

import sqlalchemy as sa

from mlengine.core.errors import AlreadyExists, NotFound
from mlengine.core.resources import Bucket
from mlengine.store import documents
from mlengine.store.database import Transaction
from mlengine.store.tables import buckets

__all__ = ["add", "get", "listed", "remove"]


def add(tx: Transaction, bucket: Bucket) -> Bucket:
    taken = AlreadyExists(
        "A bucket with this name already exists.",
        f"Choose another name than '{bucket.name}'.",
        field="bucket.name",
    )
    tx.insert(buckets, taken=taken, name=bucket.name, body=documents.text(bucket, name=""))
    tx.event("", _name(bucket.name), "bucket.created", backing=bool(bucket.backing))
    return get(tx, bucket.name)


def get(tx: Transaction, name: str, *, lock: bool = False) -> Bucket:
    select = sa.select(buckets).where(buckets.c.name == name)
    row = tx.one(select.with_for_update() if lock else select)
    if row is None:
        near = [bucket.name for bucket in listed(tx)]
        remedy = f"Create it with 'mlengine storage buckets create gs://{name}'."
        raise NotFound.among("bucket", name, near, remedy, field="name")
    return documents.read(Bucket, row.body, name=row.name)


def listed(tx: Transaction) -> list[Bucket]:
    # Sorted here: a database may sort by the rules of a language.
    rows = sorted(tx.rows(sa.select(buckets)), key=lambda row: str(row.name))
    return [documents.read(Bucket, row.body, name=row.name) for row in rows]


def remove(tx: Transaction, name: str) -> None:
    get(tx, name, lock=True)
    tx.write(sa.delete(buckets).where(buckets.c.name == name))
    tx.event("", _name(name), "bucket.removed")


def _name(name: str) -> str:
    return f"buckets/{name}"
