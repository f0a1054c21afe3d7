"""What goes wrong in a command itself, and how any error is shown."""

from __future__ import annotations

from mlengine.cli.output.escape import printable
from mlengine.core.errors import EngineError

__all__ = ["CommandError", "CommandFailed", "error_text"]


class CommandError(Exception):
    """The command cannot go on; the message says why and what to do (exit code 1)."""


class CommandFailed(Exception):
    """The command did what was asked and that failed; everything is already said (exit code 1)."""


def error_text(command: str, error: Exception) -> str:
    """Write an error as gcloud does: the command's path, the status, the details as YAML.

    Example:
        >>> print(error_text("mlengine.jobs.list", CommandError("No project.")), end="")
        ERROR: (mlengine.jobs.list) No project.
    """
    message = str(error)
    details = ""
    if isinstance(error, EngineError) and getattr(error, "from_engine", False):
        message = f"{error.status}: {message}"
        if error.field:
            from mlengine.cli.output.yamltext import to_yaml

            broken = {"field": error.field, "description": error.description}
            kind = "type.googleapis.com/google.rpc.BadRequest"
            details = to_yaml([{"@type": kind, "fieldViolations": [broken]}])
    return f"ERROR: ({command}) {printable(message)}\n{details}"
