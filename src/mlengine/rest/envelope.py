"""Errors as Google's APIs write them, whoever raised them.

    {"error": {"code": 409, "message": "Field: job.job_id Error: …", "status": "ALREADY_EXISTS",
               "details": [{"@type": "…BadRequest", "fieldViolations": [{…}]}]}}

What only HTTP knows (a wrong method, a body too large) is one of the classes here, so that one
function writes every error there is.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mlengine.core.errors import (
    DeadlineExceeded,
    EngineError,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
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

_RPC = "type.googleapis.com/google.rpc."


class MethodNotAllowed(InvalidArgument):
    """The path exists, the method does not."""

    http_status = 405

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"The method {method[:20]!r} is not allowed here.", f"Allowed: {allowed}.")
        self.allowed = allowed


class BodyTooLarge(InvalidArgument):
    """The body is longer than the engine reads."""

    http_status = 413


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
    """Write an error as status, body and headers.

    Args:
        error: What happened.
        subject: Whose quota it is, if it is one: the project.
    """
    content: dict[str, Any] = {
        "code": error.http_status,
        "message": str(error),
        "status": error.status,
    }
    details = _details(error, subject)
    if details:
        content["details"] = details
    body = msgspec.json.format(msgspec.json.encode({"error": content}), indent=2) + b"\n"
    return error.http_status, body, _headers(error)


def _details(error: EngineError, subject: str) -> list[dict[str, Any]]:
    if isinstance(error, ResourceExhausted):
        violation = {"subject": subject, "description": error.description}
        return [{"@type": _RPC + "QuotaFailure", "violations": [violation]}]
    if error.field:
        broken = {"field": error.field, "description": error.description}
        return [{"@type": _RPC + "BadRequest", "fieldViolations": [broken]}]
    return []


def _headers(error: EngineError) -> dict[str, str]:
    headers: dict[str, str] = {}
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = error.allowed
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="mlengine"'
    if isinstance(error, Unavailable):
        headers["Retry-After"] = "1"
    if isinstance(error, BodyTooLarge | BodyTooSlow | UnsupportedMediaType):
        # What is left of the body must not be taken for the next request.
        headers["Connection"] = "close"
    return headers
