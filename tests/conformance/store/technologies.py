"""The technologies that the suite runs on; a new one is one more entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import sqlalchemy as sa

from mlengine.store import open_store, tables
from tests.live.postgres import PostgresServer
from tests.waiting import wait_until

__all__ = ["TECHNOLOGIES", "Technology"]


class Technology(NamedTuple):
    """How to make a fresh database, look at it behind the store's back, and judge its health.

    Attributes:
        new_url: URL of a database that no store has opened, and a folder that it may lie in.
        settle: Returns when nobody is at work in the database: a server may be, for a while, for a
            process that was killed.
        histories: How many random ones to try; it is a question of time.
        engines: How many may have one database open in earnest, and compete for the lead.
    """

    name: str
    new_url: Callable[[Path], str]
    problems: Callable[[sa.Connection], list[str]]
    settle: Callable[[str], None]
    histories: int
    engines: int


def _sqlite(_request: pytest.FixtureRequest) -> Technology:
    return Technology(
        "sqlite",
        lambda folder: f"sqlite:///{folder / 'engine.db'}",
        _sqlite_problems,
        lambda _url: None,
        histories=12,
        engines=1,
    )


def _sqlite_problems(connection: sa.Connection) -> list[str]:
    integrity = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
    strays = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    return [str(row) for row in integrity if row != "ok"] + [str(row) for row in strays]


def _postgres(request: pytest.FixtureRequest) -> Technology:
    server: PostgresServer = request.getfixturevalue("postgres")

    def settle(url: str) -> None:
        name = sa.make_url(url).database or ""
        wait_until(lambda: not server.sessions(name), message=f"{name} is left alone")

    return Technology(
        "postgresql",
        lambda _folder: server.url(_empty(server)),
        _postgres_problems,
        settle,
        histories=5,
        engines=3,
    )


def _empty(server: PostgresServer) -> str:
    """Return an empty database that nobody is in: a new one, or, much sooner, an emptied one."""
    for name in server.databases("store_"):
        if not server.sessions(name):
            server.sql(_EMPTY, database=name)
            return name
    name = server.new_database("store_")
    open_store(server.url(name)).close()
    server.sql("CREATE EXTENSION amcheck", database=name)
    return name


# As superuser, past every trigger. TRUNCATE would make and sync some forty files.
_EMPTY = (
    "SET session_replication_role = replica; "
    + "; ".join(f"DELETE FROM {table}" for table in tables.metadata.tables)
    + "; SELECT setval(quote_ident(relname)::regclass, 1, false) FROM pg_class WHERE relkind = 'S'"
)


def _postgres_problems(connection: sa.Connection) -> list[str]:
    """Compare every index with its table, row by row."""
    query = (
        "SELECT bt_index_check(c.oid, true) FROM pg_class c "
        "JOIN pg_index i ON i.indexrelid = c.oid "
        "WHERE c.relnamespace = 'public'::regnamespace AND i.indisvalid AND i.indisready"
    )
    try:
        connection.exec_driver_sql(query)
    except sa.exc.DBAPIError as error:
        return [str(error.orig)]
    return []


TECHNOLOGIES: Mapping[str, Callable[[pytest.FixtureRequest], Technology]] = {
    "sqlite": _sqlite,
    "postgresql": _postgres,
}
