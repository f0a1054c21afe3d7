"""Where a PostgreSQL database is and how to get in; only the driver is ever given the password."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlengine.core.errors import EngineError, FailedPrecondition, InvalidArgument
from mlengine.store import StoreAway
from mlengine.store.postgres_errors import is_read_only

if TYPE_CHECKING:
    import psycopg

__all__ = ["Address"]

# A cut network is noticed by this side within 10 s, by the server's within 20 s: in this order, so
# that who loses the lead knows before anybody else can take it.
_OURS = {
    "connect_timeout": "5",
    "keepalives": "1",
    "keepalives_idle": "4",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "target_session_attrs": "read-write",  # a standby has locks of its own and takes no writes
    "application_name": "mlengine",
    "client_encoding": "UTF8",
}
_THEIRS = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "2",
    "tcp_user_timeout": "20000",
    "idle_in_transaction_session_timeout": "10000",  # a stalled writer holds up all the others
}
_REMEDY = (
    "Write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, where %40 stands for @, %2F for / and "
    "%3A for : in a password."
)


class Address:
    """The parameters of a connection; its text names host, port and database, nothing else.

    Args:
        url: SQLAlchemy's, with libpq's options in its query, such as ``?sslmode=verify-full``.

    Raises:
        FailedPrecondition: There is no driver.
        InvalidArgument: It names no database, or has an option that libpq does not know.
    """

    def __init__(self, url: sa.URL) -> None:
        try:
            import psycopg  # 0.1 s, and only who has such a database needs it
        except ImportError as error:
            raise FailedPrecondition(
                f"PostgreSQL needs psycopg, which cannot be imported ({error.name or 'no libpq'}).",
                "Run: pip install 'mlengine[postgres]'",
            ) from error
        self._psycopg = psycopg
        self._params = {**_OURS, **_params(url)}
        self.database = self._params["dbname"]
        known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
        if strange := sorted(self._params.keys() - known):
            raise _refusal(f"The database URL has an option '{strange[0]}', which libpq has not.")

    def __str__(self) -> str:
        host, port = self._params.get("host", ""), self._params.get("port", "")
        where = f" at {host}{':' * bool(port)}{port}" if host else ""
        return f"database '{self.database}'{where}"

    __repr__ = __str__

    def connect(self, settings: Mapping[str, str]) -> psycopg.Connection[Any]:
        """Connect, with settings of the session on top of those that every one has."""
        connection = self._psycopg.connect(**self._params, autocommit=True)  # type: ignore[arg-type]
        try:
            settings = {**_THEIRS, **settings}
            calls = ["set_config(%s, %s, false)"] * len(settings)
            # Stronger ones, such as remote_apply, stay.
            calls.append(
                "CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') "
                "THEN set_config('synchronous_commit', 'on', false) END"
            )
            pairs = [word for pair in settings.items() for word in pair]
            connection.execute("SELECT " + ", ".join(calls), pairs)
            connection.autocommit = False
        except BaseException:
            connection.close()
            raise
        return connection

    def explain(self, error: Exception) -> EngineError:
        """Say why a first connection failed: nobody is there, or we are not let in."""
        pq = self._psycopg.pq
        reason = _one_line(error)
        # Whether it answers at all does not depend on user, password or database, nor on the
        # language that it answers in.
        conninfo = self._psycopg.conninfo.make_conninfo(
            **{**self._params, "target_session_attrs": "any"}
        )
        answers = pq.PGconn.ping(conninfo.encode()) == pq.Ping.OK
        if answers and is_read_only(error):
            return FailedPrecondition(
                f"The {self} is read-only.",
                "Check whether it is a standby, and default_transaction_read_only.",
            )
        if answers and not _is_full(error):
            return FailedPrecondition(
                f"PostgreSQL does not let mlengine into the {self}: {reason}",
                "Check user and password in the URL (or in ~/.pgpass), and that the database is "
                f"there; its owner makes it with: createdb {self.database}",
            )
        return StoreAway(
            f"PostgreSQL cannot be reached for the {self}: {reason}",
            "Start it, or check host and port; then try again.",
        )


def _params(url: sa.URL) -> dict[str, str]:
    # An unescaped @ or / in a password moves the borders; the rest of it would show up elsewhere.
    if any("@" in (part or "") for part in (url.host, url.database, url.username)):
        raise _refusal("The database URL has an @ too many.")
    (_, params) = url.get_dialect()().create_connect_args(url)
    if not params.get("dbname"):
        raise _refusal("The database URL names no database.")
    return {name: str(value) for name, value in params.items() if value is not None}


def _refusal(problem: str) -> InvalidArgument:
    return InvalidArgument(problem, _REMEDY, field="database")


def _is_full(error: Exception) -> bool:
    """Tell whether there is no room for one more session; that passes."""
    return "connection slots" in str(error) or "too many" in str(error)


def _one_line(error: Exception) -> str:
    """Return what libpq said; it repeats host, user and database, never a password."""
    text = str(getattr(error, "orig", None) or error)
    with contextlib.suppress(ValueError):
        text = text[text.index("FATAL:") + len("FATAL:") :]
    return " ".join(text.split())
