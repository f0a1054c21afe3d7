"""Everything of one database into another that is empty: how a home moves to PostgreSQL, or back.

    python -m mlengine.store.copy sqlite:////home/me/.mlengine/engine.db \
        postgresql://me@db.example/mlengine

Stop the engines first. Rows keep their numbers, and numbers that were used up stay so: an etag or
a page token means the same afterwards. The copy is there whole or not at all; the source stays as
it is. The password may stand in ``~/.pgpass``, where nobody sees it in the list of processes.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from mlengine.core.clock import SystemClock
from mlengine.core.databaseurl import is_sqlite, sqlite_file
from mlengine.core.errors import EngineError, FailedPrecondition
from mlengine.store.database import Database, Transaction
from mlengine.store.sql import open_database
from mlengine.store.tables import metadata

__all__ = ["copy", "main"]

_PAGE = 1000
_PATIENCE_S = 30.0


def copy(source_url: str, target_url: str) -> dict[str, int]:
    """Copy every row; return how many each table has.

    Raises:
        FailedPrecondition: The target has rows already, or an engine is at work on either. (One
            on a SQLite file is noticed where the file lies in its home, as by default.)
        EngineError: Whatever opening them raises.
    """
    _refuse_no_file(source_url)
    with contextlib.ExitStack() as opened:
        for url in (source_url, target_url):
            opened.enter_context(_home_alone(url))
        databases: list[Database] = []
        for url in (source_url, target_url):
            databases.append(open_database(url, SystemClock(), _PATIENCE_S))
            opened.callback(databases[-1].close)
        for database in databases:
            if not database.lead.held():
                raise _at_work(database.description)
        source, target = databases
        return source.read(lambda frm: target.write(lambda to: _Copying(databases, frm, to).run()))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m mlengine.store.copy",
        description="Copy everything of one database into another that is empty.",
        epilog="Stop the engines first.",
    )
    parser.add_argument("source", help="URL of the database that is copied")
    parser.add_argument("target", help="URL of the one that it is copied to")
    options = parser.parse_args(argv)
    try:
        counts = copy(options.source, options.target)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    print(", ".join(f"{count} {name}" for name, count in counts.items()))
    return 0


def _refuse_no_file(url: str) -> None:
    """Refuse a source that opening would only just make."""
    if is_sqlite(url) and not (path := sqlite_file(url)).exists():
        raise FailedPrecondition(f"There is no database {path}.", "Name one that is there.")


@contextlib.contextmanager
def _home_alone(url: str) -> Iterator[None]:
    """Keep engines from the home that a SQLite file lies in: its lead is that home's lock."""
    if not is_sqlite(url):
        yield
        return
    path = sqlite_file(url)
    lock = path.parent / "run" / "lock"
    if not lock.exists():  # no home, or no engine was ever there
        yield
        return
    with lock.open("r+b") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _at_work(str(path)) from None
        yield


def _at_work(where: str) -> FailedPrecondition:
    return FailedPrecondition(f"An engine is at work on {where}.", "Stop it first.")


class _Copying:
    """One copy, in a transaction of each."""

    def __init__(self, databases: Sequence[Database], frm: Transaction, to: Transaction) -> None:
        self._databases, self._frm, self._to = databases, frm, to

    def run(self) -> dict[str, int]:
        """Copy every table; return how many rows each has."""
        # In this order no row comes before one that it refers to.
        ordered = metadata.sorted_tables
        filled = [table.name for table in ordered if self._to.one(sa.select(table).limit(1))]
        if filled:
            raise FailedPrecondition(
                f"The target has {filled[0]} already.", "Name a database that is empty."
            )
        counts = {table.name: self._copy(table) for table in ordered}
        self._refuse_company()
        return counts

    def _copy(self, table: sa.Table) -> int:
        (key,) = table.primary_key.columns
        count, page = 0, self._frm.rows(sa.select(table).order_by(key).limit(_PAGE))
        while page:
            self._refuse_company()
            self._insert(table, [dict(row._mapping) for row in page])
            count += len(page)
            after = key > page[-1]._mapping[key.name]
            page = self._frm.rows(sa.select(table).where(after).order_by(key).limit(_PAGE))
        if key.name == "seq":
            used_up = _used_up(self._frm.connection, table.name)
            _keep_used_up(self._to.connection, table.name, used_up)
        return count

    def _insert(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        try:
            self._to.connection.execute(sa.insert(table), rows)
        except sa.exc.IntegrityError as error:
            raise FailedPrecondition(
                f"The target got {table.name} from somebody else during the copy.",
                "Stop who writes to it, and name a database that is empty.",
            ) from error

    def _refuse_company(self) -> None:
        # Asked again and again: the lead is a session's, and the server ends one that is quiet.
        for database in self._databases:
            if not database.lead.held():
                raise FailedPrecondition(
                    f"{database.description} was not this copy's alone to the end.",
                    "Stop the engines, and copy again.",
                )


def _used_up(connection: sa.Connection, table: str) -> int:
    """Return the highest number that a row of the table has ever had; 0 if there was none."""
    if connection.dialect.name == "sqlite":
        query = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        return int(connection.execute(query, {"name": table}).scalar() or 0)
    query = sa.text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {table}_seq_seq")
    return int(connection.execute(query).scalar_one())


def _keep_used_up(connection: sa.Connection, table: str, number: int) -> None:
    """Have the table's next row get a higher number than this one."""
    if number == 0:
        return
    if connection.dialect.name == "sqlite":
        name = {"name": table, "seq": number}
        connection.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :name"), name)
        insert = "INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :seq)"
        connection.execute(sa.text(insert), name)
    else:
        name = {"name": f"{table}_seq_seq", "seq": number}
        connection.execute(sa.text("SELECT setval(CAST(:name AS regclass), :seq)"), name)


if __name__ == "__main__":
    sys.exit(main())
