"""Ends operations whose work is over, but whose end nobody wrote down.

An engine may be killed, or its database locked, between the last step of a version's creation and
the note that its operation is done. What the operation was for can be seen: its outcome follows
from the records, so that nobody who waits for it waits for ever.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mlengine.core.errors import Aborted, FailedPrecondition
from mlengine.core.resources import Version
from mlengine.core.states import VersionState

__all__ = ["Outcome", "outcome"]

_GONE = "The version was deleted before its creation was noted as done."
_KEPT = "The version could not be deleted."


class Outcome(NamedTuple):
    """How an operation ended; neither a version nor an error is "done, nothing to show"."""

    version: Version | None = None
    error: dict[str, Any] | None = None


def outcome(kind: str, version: Version | None) -> Outcome | None:
    """Return how an operation on a version ended, or None while it is still under way.

    Args:
        kind: Its `operationType`.
        version: What the records say of the version now; None when there is none any more.

    Example:
        >>> outcome("DELETE_VERSION", None)
        Outcome(version=None, error=None)
    """
    if version is None:
        return Outcome(error=_failure(Aborted(_GONE))) if kind == "CREATE_VERSION" else Outcome()
    if version.state in (VersionState.CREATING, VersionState.DELETING):
        return None
    if kind == "DELETE_VERSION":
        return Outcome(error=_failure(FailedPrecondition(version.error_message or _KEPT)))
    if version.state == VersionState.FAILED:
        return Outcome(error=_failure(FailedPrecondition(version.error_message)))
    return Outcome(version=version)


def _failure(error: Aborted | FailedPrecondition) -> dict[str, Any]:
    """Write an error as the `google.rpc.Status` that an operation carries."""
    return {"code": error.rpc_code, "message": str(error)}
