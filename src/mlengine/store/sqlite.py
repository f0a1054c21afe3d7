"""Everything that is SQLite's own: the file, its journal, its locks, its triggers, its errors."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mlengine.core.clock import Clock
from mlengine.core.errors import EngineError, FailedPrecondition
from mlengine.store import StoreAway, migrations, sqlite_files, tables
from mlengine.store.database import Database, Technology, Transaction
from mlengine.store.triggers import RULES, Rule

__all__ = ["open_database"]

_log = logging.getLogger(__name__)

_WAL = "PRAGMA journal_mode=WAL"


class _Alone:
    """The lead of the only engine: a file belongs to one home, and a home to one engine."""

    def held(self) -> bool:
        return True

    def close(self) -> None:
        pass


def open_database(path: Path, *, clock: Clock, patience_s: float) -> Database:
    """Open the file, make it if nothing was ever there, and migrate it.

    Raises:
        FailedPrecondition: It is damaged, no database of mlengine, or newer than this mlengine.
        Unavailable: It is locked, or the disk is full.
    """
    sqlite_files.ensure(path, lambda new: _open(new, clock, patience_s, new=True).close())
    database = _open(path, clock, patience_s)
    _log.info("Store: %s", database.description)
    return database


def _open(path: Path, clock: Clock, patience_s: float, *, new: bool = False) -> Database:
    technology = Technology(
        description=f"SQLite {sqlite3.sqlite_version} at {path}, journal_mode=WAL, "
        "synchronous=FULL, one writer at a time",
        begin=_begin,
        explain=lambda error: explain(error, path),
        is_passing=lambda _error, _write: False,  # its waiting has been done when it fails
        lead=_Alone(),
        writers_wait=True,
    )
    engine = _engine(path, patience_s)
    database = Database(engine, technology, clock=clock, patience_s=patience_s)
    try:
        _prepare(database, engine, path, new=new)
    except BaseException:
        database.close()
        raise
    return database


def _engine(path: Path, patience_s: float) -> sa.Engine:
    url = sa.URL.create("sqlite", database=str(path))
    engine = sa.create_engine(
        url,
        connect_args={"timeout": patience_s, "check_same_thread": False},
        pool_timeout=patience_s,
        hide_parameters=True,  # a defect's traceback is logged; callers' values are not
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # The driver must not open or end transactions by itself: it would split a migration.
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA trusted_schema=OFF")

    return engine


def _begin(connection: sa.Connection, write: bool) -> None:
    # IMMEDIATE: a reader that turns writer cannot wait for another one, it can only fail.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _prepare(database: Database, engine: sa.Engine, path: Path, *, new: bool) -> None:
    """Refuse what is not ours or not whole; migrate; bring the triggers up to this code."""

    def is_ready(tx: Transaction) -> bool:
        if problem := sqlite_files.damage(tx.connection, path):
            raise sqlite_files.damaged(path, problem)
        ready = _revision(tx.connection, path, new=new) == migrations.HEAD
        return ready and _triggers(tx.connection) == TRIGGERS

    def make_ready(tx: Transaction) -> None:
        if _revision(tx.connection, path, new=new) != migrations.HEAD:
            migrations.upgrade(tx.connection)
        _replace_triggers(tx.connection)

    try:
        if not database.read(is_ready):
            database.write(make_ready)
        _use_wal(engine, path)
    except StoreAway as error:
        if isinstance(error.__cause__, sa.exc.DBAPIError) and _code(error.__cause__) in _DAMAGE:
            raise sqlite_files.damaged(path, error.problem) from error
        raise


def _use_wal(engine: sa.Engine, path: Path) -> None:
    """Make the file use a write-ahead log from now on, if it does not yet; it remembers.

    Until SQLite 3.51.2 a writer that meets another connection's checkpoint can corrupt the file
    (sqlite.org/wal.html, "the WAL-reset bug"). Here they never meet: one process opens the file,
    its writers take turns (`Technology.writers_wait`), and a checkpoint is the end of a commit, or
    of the last connection.
    """
    pool = engine.raw_connection()
    try:
        (mode,) = pool.cursor().execute(_WAL).fetchone()
    except sqlite3.Error as error:
        failed = sa.exc.OperationalError("PRAGMA journal_mode", None, error)
        raise explain(failed, path) from failed
    finally:
        pool.close()
    if mode != "wal":
        raise FailedPrecondition(
            f"The file system of {path} cannot hold a write-ahead log (journal_mode stays {mode}).",
            "Put the home on a local disk, or use PostgreSQL (setting 'database').",
        )


def _revision(connection: sa.Connection, path: Path, *, new: bool) -> str:
    """Return the schema's revision; empty for a new file, and for that only."""
    names = connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars().all()
    if new and not names:
        return ""
    if "alembic_version" not in names:
        raise FailedPrecondition(
            f"{path} is a database, but not one of mlengine.", "Name another file."
        )
    revision = connection.execute(sa.select(tables.alembic_version.c.version_num)).scalar_one()
    if revision not in migrations.KNOWN:
        raise FailedPrecondition(
            f"{path} was written by a newer mlengine (revision {revision}; this one knows up to "
            f"{migrations.HEAD}).",
            f"Install that mlengine; or remove the file, and {path.name}-wal with it, and restore "
            "the backup made before the upgrade.",
        )
    return str(revision)


def _trigger(name: str, rule: Rule) -> str:
    return (
        f"CREATE TRIGGER {name} BEFORE {rule.change} ON {rule.table} WHEN {rule.condition} "
        f"BEGIN SELECT RAISE(ABORT, '{rule.message}'); END"
    )


TRIGGERS = {name: _trigger(name, rule) for name, rule in RULES.items()}
"""Name of each trigger → the statement that makes it."""


def _triggers(connection: sa.Connection) -> dict[str, str]:
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    return {row.name: row.sql for row in connection.exec_driver_sql(query)}


def _replace_triggers(connection: sa.Connection) -> None:
    for name in _triggers(connection):
        connection.exec_driver_sql(f'DROP TRIGGER "{name}"')
    for statement in TRIGGERS.values():
        connection.exec_driver_sql(statement)


# --- errors -------------------------------------------------------------------------------------

_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# A log that is left beside another database would be played into it.
_RESTORE = (
    "Stop the engine, remove the file and the one of its name with -wal, and restore the newest "
    "backup."
)
_REASONS = {
    sqlite3.SQLITE_BUSY: ("is locked by another process", "Stop it, or try again in a moment."),
    sqlite3.SQLITE_LOCKED: ("is locked", "Try again in a moment."),
    sqlite3.SQLITE_FULL: ("cannot grow: the disk is full", "Free some space, then try again."),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", "Check the disk; see the engine's log."),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "Check that it exists and who owns it."),
    sqlite3.SQLITE_READONLY: ("is read-only", "Check its permissions and its file system."),
    sqlite3.SQLITE_PERM: ("cannot be opened", "Check its permissions."),
    sqlite3.SQLITE_AUTH: ("cannot be opened", "Check its permissions."),
    sqlite3.SQLITE_NOMEM: ("cannot be read: memory is short", "Try again in a moment."),
    sqlite3.SQLITE_CORRUPT: ("is damaged", _RESTORE),
    sqlite3.SQLITE_NOTADB: ("is damaged", _RESTORE),
}


def explain(error: sa.exc.SQLAlchemyError, path: Path) -> EngineError:
    """Say in our words what the driver said; what is nobody's fault but ours stays as it is.

    Callers elsewhere read it too, so it names the file and not this machine's folders.
    """
    if isinstance(error, sa.exc.TimeoutError):
        return StoreAway(f"No connection to {path.name} came free.", "Try again in a moment.")
    if not isinstance(error, sa.exc.DBAPIError) or _code(error) not in _REASONS:
        raise error
    problem, remedy = _REASONS[_code(error)]
    return StoreAway(f"The database {path.name} {problem}.", remedy)


def _code(error: sa.exc.DBAPIError) -> int:
    """Return the primary result code; the extended one has details in its upper bits."""
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
