"""What is said once of a whole database. Each function works inside the given transaction."""

from __future__ import annotations

import sqlalchemy as sa

from mlengine.core.errors import AlreadyExists
from mlengine.store.database import Transaction
from mlengine.store.tables import facts

__all__ = ["add", "get"]


def get(tx: Transaction, name: str) -> str | None:
    row = tx.one(sa.select(facts.c.value).where(facts.c.name == name))
    return None if row is None else str(row.value)


def add(tx: Transaction, name: str, value: str) -> str:
    """Keep a value; `AlreadyExists` when somebody else was first."""
    taken = AlreadyExists(f"The fact '{name}' is known already.")
    tx.insert(facts, taken=taken, name=name, value=value)
    tx.event("", f"facts/{name}", "fact.added")
    return value
