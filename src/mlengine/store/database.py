"""One database, opened: transactions that either happen whole or say in our words why not.

Nothing here knows a technology: `sqlite.py` and `postgres.py` each build a `Database` and bring
what is their own.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

import msgspec
import sqlalchemy as sa

from mlengine.core.clock import Clock, rfc3339
from mlengine.core.errors import AlreadyExists, EngineError
from mlengine.store import StoreAway, tables
from mlengine.store.groupcommit import GroupCommit

__all__ = ["Database", "Lead", "Technology", "Transaction"]

P = ParamSpec("P")
T = TypeVar("T")

_TRIES = 5
_APPEND = sa.insert(tables.events)

# A second row of one name, as PostgreSQL and SQLite call it; their texts may be translated.
_TWIN = frozenset({"23505", "SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"})


class Transaction:
    """A connection inside BEGIN … COMMIT, and the moment at which it began."""

    def __init__(self, connection: sa.Connection, time: str) -> None:
        self.connection, self.time = connection, time
        self._events: list[dict[str, str]] = []

    def one(self, statement: sa.Executable, **values: Any) -> sa.Row[Any] | None:
        """Return the first row, or None; `values` are those of the statement's parameters."""
        return self.connection.execute(statement, values).first()

    def rows(self, statement: sa.Executable, **values: Any) -> list[sa.Row[Any]]:
        """Return every row; none is left to be fetched, so the read lock can go."""
        return list(self.connection.execute(statement, values).all())

    def insert(self, table: sa.Table, *, taken: AlreadyExists, **values: Any) -> None:
        """Insert a row; raise `taken`, which undoes the transaction, if its id is.

        Without a savepoint: when the disk is full SQLite drops the transaction with all of them,
        and going back to one that is gone would hide why.
        """
        try:
            self.connection.execute(sa.insert(table), values)
        except sa.exc.IntegrityError as error:
            names = {getattr(error.orig, name, "") for name in ("sqlstate", "sqlite_errorname")}
            if not names & _TWIN:  # other broken rules are not the caller's
                raise
            raise taken from None

    def write(self, statement: sa.Executable, **values: Any) -> bool:
        """Run an UPDATE or DELETE; return whether it found its row."""
        return self.connection.execute(statement, values).rowcount > 0

    def event(self, project: str, resource: str, kind: str, **detail: Any) -> None:
        """Note what this transaction did; every write notes exactly one event."""
        self._events.append(
            {
                "time": self.time,
                "project": project,
                "resource": resource,
                "kind": kind,
                "detail": msgspec.json.encode(detail).decode(),
            }
        )

    def append_events(self) -> None:
        """Write what was noted, last of all: writers wait for each other's from here on."""
        if self._events:
            self.connection.execute(_APPEND, self._events)


class Lead(Protocol):
    """The lead among the engines of one database."""

    def held(self) -> bool:
        """Take or keep it; True while this engine has it. Never raises."""
        ...

    def close(self) -> None:
        """Let it go."""
        ...


class Technology(NamedTuple):
    """What differs between databases once one is open.

    Attributes:
        description: Technology, place and the choices made, for the log; holds no secret.
        begin: Begins a transaction; True: one that writes. No listener to SQLAlchemy's "begin": an
            engine that has one looks for others at each statement.
        explain: Turns an error of the driver into ours.
        is_passing: Whether running the same transaction (a writing one: True) again may end
            better, and cannot make anything happen twice.
        lead: Which engine leads.
        writers_wait: Whether a writer would hit a writer's lock in this process. Waiting here
            costs microseconds; inside SQLite it is a loop of sleeps.
    """

    description: str
    begin: Callable[[sa.Connection, bool], None]
    explain: Callable[[sa.exc.SQLAlchemyError], EngineError]
    is_passing: Callable[[sa.exc.SQLAlchemyError, bool], bool]
    lead: Lead
    writers_wait: bool


class Database:
    """An engine of SQLAlchemy, and transactions on it.

    Args:
        engine: Pool of connections.
        technology: What is the technology's own.
        clock: Gives events their time.
        patience_s: How long to wait for another writer before `Unavailable`.
    """

    def __init__(
        self, engine: sa.Engine, technology: Technology, *, clock: Clock, patience_s: float
    ) -> None:
        self._engine, self._technology, self._clock = engine, technology, clock
        self._patience_s = patience_s
        self._writer = threading.Lock()
        self._group = GroupCommit(partial(self._again, True), patience_s=patience_s)

    @property
    def description(self) -> str:
        """Technology, place and the choices made."""
        return self._technology.description

    @property
    def lead(self) -> Lead:
        """The lead among the engines of this database."""
        return self._technology.lead

    def read(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work` in a transaction that sees one moment and changes nothing."""
        return self._again(False, lambda tx: work(tx, *args, **kwargs))

    def write(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work` in a transaction: durable when this returns, undone if this raises.

        It may be run more than once, each time on what was there before.
        """
        return self._again(True, lambda tx: work(tx, *args, **kwargs))

    def write_with_others(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do what `write` does, in a transaction with whatever else waits for this one's turn.

        `work` may be run in another caller's thread: it must not wait for what this one holds.
        """
        if not self._technology.writers_wait:
            return self.write(work, *args, **kwargs)
        return self._group(lambda tx: work(tx, *args, **kwargs))

    def close(self) -> None:
        """Let the lead go and close every idle connection."""
        self._technology.lead.close()
        self._engine.dispose()

    def _again(self, write: bool, work: Callable[[Transaction], T]) -> T:
        for left in reversed(range(_TRIES)):
            try:
                with self._turn() if write else contextlib.nullcontext():
                    return self._once(write, work)
            except sa.exc.SQLAlchemyError as error:
                if not left or not self._technology.is_passing(error, write):
                    raise self._technology.explain(error) from error
        raise AssertionError("the last try returns or raises")

    def _once(self, write: bool, work: Callable[[Transaction], T]) -> T:
        with self._engine.connect() as connection, connection.begin():
            self._technology.begin(connection, write)
            tx = Transaction(connection, rfc3339(self._clock.now()))
            result = work(tx)
            tx.append_events()
        return result

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._technology.writers_wait:
            yield
            return
        if not self._writer.acquire(timeout=self._patience_s):
            raise StoreAway(
                f"The database was busy for {self._patience_s:g} s.", "Try again in a moment."
            )
        try:
            yield
        finally:
            self._writer.release()
