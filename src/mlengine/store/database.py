"""One database, opened: transactions that either happen whole or say in our words why not.

Nothing here knows a technology: `sqlite.py` builds a `Database` and brings what is its own.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import sqlalchemy as sa

from mlengine.core.clock import Clock, rfc3339
from mlengine.core.errors import AlreadyExists, EngineError, Unavailable
from mlengine.store import tables

__all__ = ["WRITE_OPTION", "Database", "Transaction"]

WRITE_OPTION = "mlengine_write"
"""Execution option of a connection whose transaction takes the write lock when it begins."""


class Transaction:
    """A connection inside BEGIN … COMMIT, and the moment at which it began."""

    def __init__(self, connection: sa.Connection, time: str) -> None:
        self.connection, self.time = connection, time

    def one(self, statement: sa.Executable) -> sa.Row[Any] | None:
        """Return the first row, or None."""
        return self.connection.execute(statement).first()

    def rows(self, statement: sa.Executable) -> list[sa.Row[Any]]:
        """Return every row; none is left to be fetched, so the read lock can go."""
        return list(self.connection.execute(statement).all())

    def insert(self, table: sa.Table, *, taken: AlreadyExists, **values: Any) -> None:
        """Insert a row; raise `taken`, which undoes the transaction, if its id is.

        Without a savepoint: when the disk is full SQLite drops the transaction with all of them,
        and going back to one that is gone would hide why.
        """
        try:
            self.connection.execute(sa.insert(table), values)
        except sa.exc.IntegrityError as error:
            # Other broken rules are not the caller's. SQLite and PostgreSQL both say "unique".
            if "unique" not in str(error.orig).lower():
                raise
            raise taken from None

    def write(self, statement: sa.Executable) -> bool:
        """Run an UPDATE or DELETE; return whether it found its row."""
        return self.connection.execute(statement).rowcount > 0

    def event(self, project: str, resource: str, kind: str, **detail: Any) -> None:
        """Append what this transaction did; every write appends exactly one."""
        row = {
            "time": self.time,
            "project": project,
            "resource": resource,
            "kind": kind,
            "detail": msgspec.json.encode(detail).decode(),
        }
        self.connection.execute(sa.insert(tables.events), row)


class Database:
    """An engine of SQLAlchemy with one writer at a time.

    Args:
        engine: Pool of connections; its transactions honour `WRITE_OPTION`.
        clock: Gives events their time.
        explain: Turns an error of the driver into ours.
        description: Technology, file and the choices made, for the log.
        patience_s: How long to wait for another writer before `Unavailable`.
        readers_wait: Whether a reader would hit a writer's lock in this process too. Waiting
            here costs microseconds; inside SQLite it is a loop of sleeps.
    """

    def __init__(
        self,
        engine: sa.Engine,
        *,
        clock: Clock,
        explain: Callable[[sa.exc.SQLAlchemyError], EngineError],
        description: str,
        patience_s: float,
        readers_wait: bool,
    ) -> None:
        self._engine, self._clock, self._explain = engine, clock, explain
        self.description = description
        self._patience_s, self._readers_wait = patience_s, readers_wait
        self._writer = threading.Lock()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A transaction that sees one moment and changes nothing."""
        with self._turn() if self._readers_wait else contextlib.nullcontext():
            yield from self._transaction(write=False)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Transaction]:
        """A transaction that is durable when the block has ended, and undone if it raised."""
        with self._turn():
            yield from self._transaction(write=True)

    def close(self) -> None:
        """Close every idle connection."""
        self._engine.dispose()

    def _transaction(self, *, write: bool) -> Iterator[Transaction]:
        try:
            with self._engine.connect() as connection:
                connection = connection.execution_options(**{WRITE_OPTION: write})
                with connection.begin():
                    yield Transaction(connection, rfc3339(self._clock.now()))
        except sa.exc.SQLAlchemyError as error:
            raise self._explain(error) from error

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._writer.acquire(timeout=self._patience_s):
            raise Unavailable(
                f"The database was busy for {self._patience_s:g} s.", "Try again in a moment."
            )
        try:
            yield
        finally:
            self._writer.release()
