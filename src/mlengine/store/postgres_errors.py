"""What PostgreSQL says, in our words. Only its codes are read: its texts may be translated."""

from __future__ import annotations

import sqlalchemy as sa

from mlengine.core.errors import EngineError, FailedPrecondition, InvalidArgument
from mlengine.store import StoreAway

__all__ = ["explain", "is_passing", "is_read_only"]

_CONFLICTS = frozenset({"40001", "40P01"})

# By code, or by class of codes (its first two characters).
_REASONS = {
    "08": ("broke the connection", "Try again in a moment."),
    "25006": ("is read-only", "Check whether it is a standby, and default_transaction_read_only."),
    "25P03": ("waited too long for this engine", "Try again in a moment."),
    "25P04": ("took too long", "Try again in a moment."),
    "28": ("lets this engine in no more", "Check its user and password."),
    "3D": ("is gone", "Check whether somebody dropped or renamed it."),
    "40": ("is too busy with others' changes", "Try again in a moment."),
    "53100": ("cannot grow: the disk is full", "Free some space, then try again."),
    "53300": ("takes no more connections", "Raise max_connections, or run fewer engines."),
    "53": ("is short of memory or connections", "Try again in a moment."),
    "55P03": ("is locked by another process", "Try again in a moment."),
    "57014": ("took too long, and was told to stop", "Try again in a moment."),
    "57": ("is stopping or starting", "Try again in a moment."),
    "58": ("cannot be read or written", "Check the disk; see the server's log."),
    "XX001": ("is damaged", "Stop the engines and restore the newest backup."),
    "XX002": ("has a damaged index", "See REINDEX, and the server's log."),
}
_BROKEN = (
    "broke off; if something was being written, nobody knows whether it was",
    "Look, then try again.",
)
_AWAY = ("cannot be reached", "Start it again, or wait; see the server's log.")


def explain(error: sa.exc.SQLAlchemyError, database: str) -> EngineError:
    """Say in our words what the driver said; what is nobody's fault but ours stays as it is.

    Callers elsewhere read it too, so it names the database and not where it is.
    """
    if isinstance(error, sa.exc.TimeoutError):
        return StoreAway("No connection to the database came free.", "Try again in a moment.")
    if not isinstance(error, sa.exc.DBAPIError):
        raise error
    code = _code(error)
    if error.connection_invalidated:
        reason = _BROKEN
    elif isinstance(error, sa.exc.OperationalError) and not code:
        # libpq gives no code of what happens before there is a session, or what it finds itself.
        reason = _REASONS["25006"] if is_read_only(error) else _AWAY
    elif code == "42501":
        return FailedPrecondition(
            f"This engine's user may not do that in the database '{database}'.",
            "Its tables must be that user's own: make the user the owner of the database, or of "
            "the schema (GRANT CREATE, USAGE ON SCHEMA public TO …, before the first start).",
        )
    elif isinstance(error, sa.exc.DataError) and not code:
        return InvalidArgument("A name has a NUL character in it.", "Take it out.")
    else:
        reason = _REASONS.get(code) or _REASONS.get(code[:2]) or ("", "")
        if not reason[0]:
            raise error
    return StoreAway(f"The database '{database}' {reason[0]}.", reason[1])


def is_read_only(error: Exception) -> bool:
    """Tell whether libpq refused a session because it takes no writes; it has only a text for it.

    Where that text is translated, such a database is one that cannot be reached.
    """
    return "session is read-only" in str(getattr(error, "orig", None) or error)


def is_passing(error: sa.exc.SQLAlchemyError, write: bool) -> bool:
    """Tell whether the transaction may be run again at once.

    A write only where the server undid it: after a broken COMMIT nobody knows.
    """
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    return _code(error) in _CONFLICTS or (error.connection_invalidated and not write)


def _code(error: sa.exc.DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""
