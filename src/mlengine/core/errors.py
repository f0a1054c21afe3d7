"""Errors mlengine raises on purpose; anything else that escapes is our bug.

    EngineError               HTTP  who acts
    ├── InvalidArgument       400   the caller: change the request
    │   └── OutOfRange        400   the caller: start the list again
    ├── FailedPrecondition    400   the caller: bring the resource into the right state first
    ├── Unauthenticated       401   the caller: send a token
    ├── PermissionDenied      403   the caller: this is not theirs to do
    ├── NotFound              404   the caller: name something that exists
    ├── AlreadyExists         409   the caller: choose another id
    ├── Aborted               409   the caller: read again, then retry
    ├── ResourceExhausted     429   the caller: ask for less, or later
    ├── Cancelled             499   nobody: somebody cancelled it
    ├── Internal              500   us: a bug
    ├── Unimplemented         501   the caller: do without it
    ├── Unavailable           503   mlengine: wait and try again (retryable)
    └── DeadlineExceeded      504   the caller: try again (retryable)

`status` is the name that `google.rpc.Code` gives it, `rpc_code` its number; `http_status` is what
HTTP answers. The command line exits with 1, whichever it is. Nothing branches on the text.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

__all__ = [
    "Aborted",
    "AlreadyExists",
    "Cancelled",
    "DeadlineExceeded",
    "EngineError",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "ResourceExhausted",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "did_you_mean",
    "from_status",
]


class EngineError(Exception):
    """Something went wrong and its message says what, and what to do next.

    Args:
        problem: What is wrong, with the offending value.
        remedy: What to do next. Empty only when `problem` already says it.
        field: The request's field in snake_case from the resource's root, such as
            ``job.training_input.region``. The message then opens with
            ``Field: <field> Error: ``, as Google's does.
    """

    status: ClassVar[str] = "INTERNAL"
    http_status: ClassVar[int] = 500
    rpc_code: ClassVar[int] = 13
    retryable: ClassVar[bool] = False

    def __init__(self, problem: str, remedy: str = "", *, field: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy, self.field = problem, remedy, field

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.problem, self.remedy, self.field))

    @property
    def description(self) -> str:
        """Problem and remedy as one sentence after another."""
        return f"{self.problem} {self.remedy}".strip()

    def __str__(self) -> str:
        return f"Field: {self.field} Error: {self.description}" if self.field else self.description


def _rebuild(cls: type[EngineError], problem: str, remedy: str, field: str) -> EngineError:
    return cls(problem, remedy, field=field)


class InvalidArgument(EngineError):
    """The request itself is wrong; the same request can never succeed."""

    status, http_status, rpc_code = "INVALID_ARGUMENT", 400, 3


class OutOfRange(InvalidArgument):
    """A page token or offset lies outside what there is."""

    status, http_status, rpc_code = "OUT_OF_RANGE", 400, 11


class FailedPrecondition(EngineError):
    """The resource is in a state that does not allow this."""

    status, http_status, rpc_code = "FAILED_PRECONDITION", 400, 9


class Unauthenticated(EngineError):
    """No token, or one that this engine did not issue."""

    status, http_status, rpc_code = "UNAUTHENTICATED", 401, 16


class PermissionDenied(EngineError):
    """The caller is known, or is a web page, and may not do this."""

    status, http_status, rpc_code = "PERMISSION_DENIED", 403, 7


class NotFound(EngineError):
    """The named thing does not exist."""

    status, http_status, rpc_code = "NOT_FOUND", 404, 5

    @classmethod
    def among(
        cls, kind: str, name: str, known: Collection[str], remedy: str, *, field: str = ""
    ) -> NotFound:
        """Build the error with a "did you mean" over the names that do exist.

        Example:
            >>> str(NotFound.among("model", "censu", ["census"], "List them with 'models list'."))
            "The model 'censu' was not found. Did you mean 'census'? List them with 'models list'."
        """
        hint = did_you_mean(name, known)
        return cls(f"The {kind} '{name}' was not found.", f"{hint}{remedy}", field=field)


class AlreadyExists(EngineError):
    """The id is taken."""

    status, http_status, rpc_code = "ALREADY_EXISTS", 409, 6


class Aborted(EngineError):
    """Somebody else changed it first (etag, concurrent change)."""

    status, http_status, rpc_code = "ABORTED", 409, 10


class ResourceExhausted(EngineError):
    """A quota or a size limit is reached."""

    status, http_status, rpc_code = "RESOURCE_EXHAUSTED", 429, 8


class Cancelled(EngineError):
    """The operation was cancelled."""

    status, http_status, rpc_code = "CANCELLED", 499, 1


class Internal(EngineError):
    """A defect of mlengine."""

    status, http_status, rpc_code = "INTERNAL", 500, 13


class Unimplemented(EngineError):
    """Part of another tool's or store's interface that is not done here."""

    status, http_status, rpc_code = "UNIMPLEMENTED", 501, 12


class Unavailable(EngineError):
    """Not now; the same request may succeed later."""

    status, http_status, rpc_code = "UNAVAILABLE", 503, 14
    retryable = True


class DeadlineExceeded(EngineError):
    """It took too long."""

    status, http_status, rpc_code = "DEADLINE_EXCEEDED", 504, 4
    retryable = True


_BY_STATUS: Mapping[str, type[EngineError]] = {
    cls.status: cls
    for cls in (
        InvalidArgument, OutOfRange, FailedPrecondition, Unauthenticated, PermissionDenied,
        NotFound, AlreadyExists, Aborted, ResourceExhausted, Cancelled, Internal, Unimplemented,
        Unavailable, DeadlineExceeded,
    )
}  # fmt: skip


def from_status(status: str, description: str, *, field: str = "") -> EngineError:
    """Rebuild the error that an answer's ``status`` names; an unknown one becomes `Internal`."""
    return _BY_STATUS.get(status, Internal)(description, field=field)


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return ``"Did you mean 'x'? "`` for the closest known name, or an empty string."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean '{near[0]}'? " if near else ""
