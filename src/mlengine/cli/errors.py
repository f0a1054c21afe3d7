"""What goes wrong in a command itself, and how any error is shown."""

from __future__ import annotations

from typing import NamedTuple

from mlengine.cli.output.escape import printable
from mlengine.core.errors import EngineError

__all__ = ["CommandError", "CommandFailed", "answered", "error_text"]


class CommandError(Exception):
    """The command cannot go on; the message says why and what to do (exit code 1)."""


class CommandFailed(Exception):
    """The command did what was asked and that failed; everything is already said (exit code 1)."""


class _Answer(NamedTuple):
    conflict_in: str


_MARK = "_mlengine_answer"


def answered(error: EngineError, *, conflict_in: str = "") -> None:
    """Note that an error is what an engine answered, not what a command found by itself.

    Args:
        error: Shown with its status from now on.
        conflict_in: The project in which a resource was being made; a conflict then says so.
    """
    setattr(error, _MARK, _Answer(conflict_in))


def error_text(command: str, error: Exception) -> str:
    """Write an error as gcloud does: the command's path, the status, the details as YAML.

    Example:
        >>> print(error_text("mlengine.jobs.list", CommandError("No project.")), end="")
        ERROR: (mlengine.jobs.list) No project.
    """
    message = str(error)
    details = ""
    answer: _Answer | None = getattr(error, _MARK, None)
    if isinstance(error, EngineError) and answer:
        if error.http_status == 409 and answer.conflict_in:
            place = f"projects [{answer.conflict_in}]"
            message = f"Resource in {place} is the subject of a conflict: {message}"
        else:
            message = f"{error.status}: {message}"
        if error.field:
            from mlengine.cli.output.yamltext import to_yaml

            broken = {"field": error.field, "description": error.description}
            kind = "type.googleapis.com/google.rpc.BadRequest"
            details = to_yaml([{"@type": kind, "fieldViolations": [broken]}])
    return f"ERROR: ({command}) {printable(message)}\n{details}"
