"""Everything that is PostgreSQL's own: how transactions behave there, its triggers, its errors.

Readers see one moment (REPEATABLE READ, READ ONLY) and wait for nobody. Writers run side by side,
in this process and in others, at READ COMMITTED, where a statement sees what was committed before
it: whoever changes a record locks its row first and reads it then, and a version's lock is that of
its model. Only the very end of a write is one by one: events are numbered in the order in which
they are committed, or who follows them would miss one.
"""

from __future__ import annotations

import logging
import select
from typing import Any

import sqlalchemy as sa

from mlengine.core.clock import Clock
from mlengine.core.errors import FailedPrecondition
from mlengine.store import migrations, postgres_errors, tables
from mlengine.store.database import Database, Technology, Transaction
from mlengine.store.postgres_address import Address
from mlengine.store.postgres_lead import SessionLead
from mlengine.store.triggers import RULES, Rule

__all__ = ["open_database"]

_log = logging.getLogger(__name__)

_OLDEST = 140000
_POOL, _OVERFLOW = 8, 16

# Numbers of advisory locks: one of these before the number of what is locked (the schema's, or a
# table's). They are per database.
_LEAD, _MIGRATE, _EVENTS = (0x6D6C_6500 + number for number in range(3))
_MIGRATION_PATIENCE_MS = 120_000

tables.versions_default.dialect_options["postgresql"]["where"] = tables.versions.c.is_default


def open_database(url: sa.URL, *, clock: Clock, patience_s: float) -> Database:
    """Connect, and make or migrate the tables; the database itself must be there.

    Raises:
        InvalidArgument: The URL names no database, or has an unknown option.
        FailedPrecondition: The driver is missing, we are not let in or may not make tables, the
            database holds others', or it is newer than this mlengine.
        Unavailable: It cannot be reached, or is locked.
    """
    address = Address(url)
    engine = _engine(address, patience_s)
    try:
        facts = _facts(engine, address)
        technology = Technology(
            description=f"PostgreSQL {facts.version} at {address}, synchronous_commit="
            f"{facts.synchronous_commit}: {_durability(facts)}",
            begin=_begin,
            explain=lambda error: postgres_errors.explain(error, address.database),
            is_passing=postgres_errors.is_passing,
            lead=SessionLead(address, _LEAD << 32 | facts.schema),
            writers_wait=False,
        )
        database = Database(engine, technology, clock=clock, patience_s=patience_s)
        _prepare(database, address, facts.schema)
    except BaseException:
        engine.dispose()
        raise
    _log.info("Store: %s", database.description)
    return database


def _engine(address: Address, patience_s: float) -> sa.Engine:
    import psycopg

    settings = {"lock_timeout": str(max(int(patience_s * 1000), 1))}
    engine = sa.create_engine(
        "postgresql+psycopg://",
        creator=lambda: address.connect(settings),
        pool_size=_POOL,
        max_overflow=_OVERFLOW,
        pool_timeout=patience_s,
        hide_parameters=True,  # a defect's traceback is logged; callers' values are not
    )

    @sa.event.listens_for(engine, "checkout")
    def _checkout(session: psycopg.Connection[Any], _record: Any, _proxy: Any) -> None:
        # Whatever a server says unasked is a farewell. To look costs no round trip, as a ping does.
        waiting = select.poll()
        if not session.closed:
            waiting.register(session.fileno(), select.POLLIN)
        if session.closed or waiting.poll(0):
            raise sa.exc.DisconnectionError

    return engine


def _begin(connection: sa.Connection, write: bool) -> None:
    from psycopg import IsolationLevel as Level

    session: Any = connection.connection.driver_connection
    session.isolation_level = Level.READ_COMMITTED if write else Level.REPEATABLE_READ
    session.read_only = not write


# --- the first look -----------------------------------------------------------------------------

_FACTS = sa.text(
    "SELECT current_setting('server_version') AS version, "
    "current_setting('server_version_num')::int AS number, "
    "current_setting('synchronous_commit') AS synchronous_commit, "
    "current_setting('fsync')::bool AND current_setting('full_page_writes')::bool AS is_durable, "
    "pg_encoding_to_char(encoding) AS encoding, "
    "(SELECT oid::bigint FROM pg_namespace WHERE nspname = current_schema()) AS schema "
    "FROM pg_database WHERE datname = current_database()"
)


def _facts(engine: sa.Engine, address: Address) -> sa.Row[Any]:
    try:
        with engine.connect() as connection:
            facts = connection.execute(_FACTS).one()
    except sa.exc.SQLAlchemyError as error:
        raise address.explain(error) from error
    if facts.number < _OLDEST:
        raise FailedPrecondition(
            f"PostgreSQL {facts.version} is too old for mlengine.",
            f"Use {_OLDEST // 10000} or newer.",
        )
    if facts.encoding != "UTF8":
        raise FailedPrecondition(
            f"The {address} is encoded as {facts.encoding}.",
            f"Make one with: createdb --encoding=UTF8 --template=template0 {address.database}",
        )
    if facts.schema is None:
        raise FailedPrecondition(
            f"The search_path of the {address} names no schema that is there.",
            "Make the schema, or name another with ?options=-csearch_path%3DNAME.",
        )
    return facts


def _durability(facts: sa.Row[Any]) -> str:
    if facts.is_durable:
        return "what is acknowledged is on the server's disk"
    _log.warning("fsync or full_page_writes is off: a power cut can lose acknowledged writes")
    return "but fsync or full_page_writes is off"


# --- migration ----------------------------------------------------------------------------------


def _prepare(database: Database, address: Address, schema: int) -> None:
    """Refuse what is not ours; migrate; bring the triggers up to this code."""

    def is_ready(tx: Transaction) -> bool:
        ready = _revision(tx.connection, address) == migrations.HEAD
        return ready and _functions(tx.connection) == FUNCTIONS

    def make_ready(tx: Transaction) -> None:
        # Of engines that start at once one does it; the others find it done.
        patience = sa.text("SELECT set_config('lock_timeout', :ms, true)")
        tx.one(patience.bindparams(ms=str(_MIGRATION_PATIENCE_MS)))
        tx.one(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATE << 32 | schema)))
        if is_ready(tx):
            return
        if _revision(tx.connection, address) != migrations.HEAD:
            migrations.upgrade(tx.connection)
        _replace_triggers(tx.connection)

    if not database.read(is_ready):
        database.write(make_ready)


def _revision(connection: sa.Connection, address: Address) -> str:
    """Return the schema's revision; empty where there is no table at all, and there only."""
    names = sa.inspect(connection).get_table_names()
    if not names:
        return ""
    if not {"alembic_version", tables.jobs.name} <= set(names):
        raise FailedPrecondition(
            f"The {address} has tables, but not those of mlengine.",
            "Name another one, or a schema of its own with ?options=-csearch_path%3DNAME.",
        )
    revision = connection.execute(sa.select(tables.alembic_version.c.version_num)).scalar_one()
    if revision not in migrations.KNOWN:
        raise FailedPrecondition(
            f"The {address} was written by a newer mlengine (revision {revision}; this one knows "
            f"up to {migrations.HEAD}).",
            "Install that mlengine, or restore the backup made before the upgrade.",
        )
    return str(revision)


# --- triggers -----------------------------------------------------------------------------------


def _body(rule: Rule) -> str:
    result = "OLD" if rule.change == "DELETE" else "NEW"
    return (
        f"BEGIN IF {rule.condition} THEN RAISE EXCEPTION '{rule.message}' "
        f"USING ERRCODE = 'integrity_constraint_violation'; END IF; RETURN {result}; END"
    )


# Name of the trigger and of its function → when it runs, and what it does.
_TRIGGERS = {
    **{
        name: (f"BEFORE {rule.change} ON {rule.table} FOR EACH ROW", _body(rule))
        for name, rule in RULES.items()
    },
    "jobs_stay_all": ("BEFORE TRUNCATE ON jobs FOR EACH STATEMENT", _body(RULES["jobs_stay"])),
    # Before any row gets its number; the lock ends when the transaction has been committed.
    "events_order": (
        "BEFORE INSERT ON events FOR EACH STATEMENT",
        f"BEGIN PERFORM pg_advisory_xact_lock({_EVENTS << 32} | TG_RELID::int8); RETURN NULL; END",
    ),
}
FUNCTIONS = {name: body for name, (_when, body) in _TRIGGERS.items()}
"""Name of each trigger and its function → the function's text, by which it is recognised."""


def _functions(connection: sa.Connection) -> dict[str, str]:
    query = (
        "SELECT t.tgname AS name, p.prosrc AS text FROM pg_trigger t "
        "JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_class c ON c.oid = t.tgrelid "
        "WHERE NOT t.tgisinternal AND t.tgenabled = 'O' "
        "AND c.relnamespace = current_schema()::regnamespace"
    )
    rows = connection.exec_driver_sql(query)
    return {row.name: row.text for row in rows if row.name in FUNCTIONS}  # a user may add others


def _replace_triggers(connection: sa.Connection) -> None:
    for name, (when, text) in _TRIGGERS.items():
        for statement in (
            f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $${text}$$",
            f"DROP TRIGGER IF EXISTS {name} ON {when.split()[3]}",
            f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION {name}()",
        ):
            connection.exec_driver_sql(statement)
