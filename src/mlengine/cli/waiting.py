"""Waiting for an operation, with a dot now and then."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from mlengine.cli.errors import CommandError
from mlengine.core.errors import DeadlineExceeded, Unavailable

if TYPE_CHECKING:
    from mlengine.cli.session import Session
    from mlengine.core.resources import Operation

__all__ = ["wait_for"]

# Short at first, because most operations take moments; then as seldom as a person looks.
_LOOKS_S = (0.02, 0.05, 0.1, 0.2, 0.4)
_LAST_LOOK_S = 0.5
_DOT_EVERY_S = 1.0
# As long as the log of a job waits (`logs`): an engine that is started anew is back by then.
_ENGINE_AWAY_S = 120.0


def wait_for(session: Session, operation: Operation, message: str) -> Operation:
    """Return the operation once it has ended; a restart of the engine only delays it.

    Raises:
        CommandError: It failed; the message is the operation's own. Or the engine stays away.
    """
    session.say(f"{message}...", end="")
    ended = False
    try:
        operation = _look(session, operation)
        ended = True
    finally:
        failed = not ended or operation.error is not None
        session.say("failed." if failed else "done.")
    if operation.error is not None:
        raise CommandError(_error(operation.error))
    return operation


def _look(session: Session, operation: Operation) -> Operation:
    operation_id = operation.name.rpartition("/")[2]
    looks, since_dot_s, never = iter(_LOOKS_S), 0.0, threading.Event()
    away_s = 0.0
    while not operation.done:
        pause_s = next(looks, _LAST_LOOK_S)
        never.wait(pause_s)
        since_dot_s += pause_s
        if since_dot_s >= _DOT_EVERY_S:
            session.say(".", end="")
            since_dot_s = 0.0
        try:
            operation = session.engine.get_operation(session.project, operation_id)
            away_s = 0.0
        except (Unavailable, DeadlineExceeded) as error:
            if away_s > _ENGINE_AWAY_S:
                raise CommandError(
                    f"{error} Operation [{operation_id}] goes on with the engine; see "
                    f"'mlengine operations describe {operation_id}'."
                ) from error
            if not away_s:
                session.say()
                session.warn("The engine does not answer; the operation goes on with it. Waiting.")
            looks = iter(())
            away_s += _LAST_LOOK_S
    return operation


def _error(error: dict[str, Any]) -> str:
    text = str(error.get("message") or "The operation failed.")
    return text if error.get("code") != 1 else f"The operation was cancelled: {text}"
