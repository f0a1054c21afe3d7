"""Errors as Google's APIs write them, for whoever answers HTTP: the gateway and the engine.

{"error": {"code": 409, "message": "Field: job.job_id Error: …", "status": "ALREADY_EXISTS",
           "details": [{"@type": "…BadRequest", "fieldViolations": [{…}]}]}}
"""

from __future__ import annotations

from typing import Any

import msgspec

from mlengine.core.errors import EngineError, ResourceExhausted, Unauthenticated, Unavailable

__all__ = ["error_body", "error_headers"]

_RPC = "type.googleapis.com/google.rpc."


def error_body(error: EngineError, *, subject: str = "") -> bytes:
    """Write an error as the body of an answer.

    Args:
        error: What happened.
        subject: Whose quota it is, if it is one: the project.
    """
    content: dict[str, Any] = {
        "code": error.http_status,
        "message": str(error),
        "status": error.status,
    }
    if details := _details(error, subject):
        content["details"] = details
    return msgspec.json.format(msgspec.json.encode({"error": content}), indent=2) + b"\n"


def error_headers(error: EngineError) -> dict[str, str]:
    """Return the header lines that tell a client what to do about an error."""
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": 'Bearer realm="mlengine"'}
    if isinstance(error, Unavailable | ResourceExhausted):
        return {"Retry-After": "1"}
    return {}


def _details(error: EngineError, subject: str) -> list[dict[str, Any]]:
    if isinstance(error, ResourceExhausted):
        violation = {"subject": subject, "description": error.description}
        return [{"@type": _RPC + "QuotaFailure", "violations": [violation]}]
    if error.field:
        broken = {"field": error.field, "description": error.description}
        return [{"@type": _RPC + "BadRequest", "fieldViolations": [broken]}]
    return []
