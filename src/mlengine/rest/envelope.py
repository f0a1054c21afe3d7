"""What only HTTP knows to go wrong (a wrong method, a large body), and how errors are answered."""

from __future__ import annotations

from mlengine.core.envelope import error_body, error_headers
from mlengine.core.errors import (
    DeadlineExceeded,
    EngineError,
    Internal,
    InvalidArgument,
    NotFound,
)

__all__ = [
    "BodyTooLarge",
    "BodyTooSlow",
    "MethodNotAllowed",
    "UnsupportedMediaType",
    "error_json",
    "internal_error",
    "no_such_path",
]


class MethodNotAllowed(InvalidArgument):
    """The path exists, the method does not."""

    http_status = 405

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"The method {method[:20]!r} is not allowed here.", f"Allowed: {allowed}.")
        self.allowed = allowed


class BodyTooLarge(InvalidArgument):
    """The body is longer than the engine reads; Google's service said 400 to that."""


class UnsupportedMediaType(InvalidArgument):
    """The body is not declared as JSON."""

    http_status = 415


class BodyTooSlow(DeadlineExceeded):
    """The body did not arrive in time."""

    http_status = 408


def no_such_path() -> NotFound:
    """Return the error for a path that no route has; it repeats nothing of the request."""
    return NotFound(
        "The requested URL was not found on this server.",
        "The routes are listed at /api/v1/docs.",
    )


def internal_error() -> Internal:
    """Return the error for our own defects, in the words that Google's service used."""
    return Internal("Internal error encountered.")


def error_json(error: EngineError, *, subject: str = "") -> tuple[int, bytes, dict[str, str]]:
    """Write an error as status, body and headers; `subject` is the project, for quotas."""
    headers = error_headers(error)
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = error.allowed
    if isinstance(error, BodyTooLarge | BodyTooSlow | UnsupportedMediaType):
        # What is left of the body must not be taken for the next request.
        headers["Connection"] = "close"
    return error.http_status, error_body(error, subject=subject), headers
