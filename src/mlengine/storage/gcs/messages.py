"""A request and an answer as the API sees them, and errors as Cloud Storage writes them."""

from __future__ import annotations

import ast
import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec

from mlengine.core.envelope import error_headers
from mlengine.core.errors import EngineError, InvalidArgument
from mlengine.core.fields import parse_fields, pick

__all__ = [
    "BrokenBody",
    "ConditionNotMet",
    "Query",
    "RangeNotSatisfiable",
    "Request",
    "Response",
    "Unsupported",
    "decode_object",
    "empty",
    "error_response",
    "json_body",
    "json_response",
]

Query = Mapping[str, str]

_MAX_JSON_BYTES = 4 << 20
_MAX_QUOTED_BYTES = 16 << 10
_REASONS = {
    401: "required", 403: "forbidden", 404: "notFound", 408: "requestTimeout", 409: "conflict",
    412: "conditionNotMet", 416: "requestedRangeNotSatisfiable", 429: "rateLimitExceeded",
    500: "internalError", 503: "backendError",
}  # fmt: skip


class BrokenBody(Exception):
    """The caller broke off; there is nobody to answer."""


class ConditionNotMet(EngineError):
    """The object is not in the state that the caller made a condition."""

    status, http_status, rpc_code = "FAILED_PRECONDITION", 412, 9


class RangeNotSatisfiable(EngineError):
    """The wanted bytes lie behind the object's end."""

    status, http_status, rpc_code = "OUT_OF_RANGE", 416, 11


class Unsupported(InvalidArgument):
    """Cloud Storage has it, these buckets do not.

    Not 501: clients take every 5xx for a hiccup and try for half a minute.
    """


@dataclasses.dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        method: In upper case.
        path: As it was sent, still percent-encoded, without query and without secret prefix.
        raw_query: What is behind the question mark, as it was sent.
        headers: Names in lower case.
        body: Its bytes as they come, any sizes. Raises when the caller breaks off.
        origin: What links in answers begin with: ``http://127.0.0.1:4433/SECRET``.
    """

    method: str
    path: str
    raw_query: str = ""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: Iterable[bytes] = ()
    origin: str = "http://localhost"

    @functools.cached_property
    def query(self) -> Query:
        """The query decoded; the last of several values counts."""
        return {name: values[-1] for name, values in self.all_values.items()}

    @functools.cached_property
    def all_values(self) -> Mapping[str, list[str]]:
        """The query decoded, with every value that a name was given."""
        try:
            return parse_qs(
                self.raw_query, keep_blank_values=True, errors="strict", max_num_fields=1000
            )
        except ValueError as error:
            raise InvalidArgument("The query is not UTF-8, or has too many fields.") from error


@dataclasses.dataclass(frozen=True)
class Response:
    """One answer. `length` is the body's bytes, or None when only its end will tell."""

    status: int
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: Iterable[bytes] = ()
    length: int | None = 0


def json_response(value: Any, request: Request | None = None, *, status: int = 200) -> Response:
    """Answer a JSON value, or what the caller's ``fields`` leave of it."""
    if request is not None and (wanted := request.query.get("fields")):
        value = pick(parse_fields(wanted), value)
    body = msgspec.json.encode(value)
    headers = {"Content-Type": "application/json; charset=UTF-8"}
    if isinstance(value, dict) and "etag" in value:
        headers["ETag"] = value["etag"]
    return Response(status, headers, [body], len(body))


def empty(status: int = 204, headers: Mapping[str, str] | None = None) -> Response:
    """Answer without a body."""
    return Response(status, headers or {})


def error_response(error: EngineError) -> Response:
    """Answer an error in Google's envelope, with the reason that clients look at."""
    code = error.http_status
    reason = "notImplemented" if isinstance(error, Unsupported) else _REASONS.get(code, "invalid")
    item = {"message": str(error), "domain": "global", "reason": reason}
    content = {"error": {"code": code, "message": str(error), "errors": [item]}}
    answer = json_response(content, status=code)
    return dataclasses.replace(answer, headers={**answer.headers, **error_headers(error)})


def json_body(request: Request) -> dict[str, Any]:
    """Return the request's JSON object; an empty body is an empty one.

    Raises:
        InvalidArgument: It is something else, or too large for what it can be.
    """
    content = bytearray()
    for chunk in request.body:
        content += chunk
        if len(content) > _MAX_JSON_BYTES:
            raise InvalidArgument("The request's JSON is too large.", "Send at most 4 MiB.")
    return decode_object(bytes(content))


def decode_object(content: bytes) -> dict[str, Any]:
    """Return a JSON object from its text."""
    if not content.strip():
        return {}
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        if content.startswith(b"{'") and len(content) <= _MAX_QUOTED_BYTES:
            return _single_quoted(content)
        raise InvalidArgument(f"The request's JSON cannot be read: {error}.") from error


def _single_quoted(content: bytes) -> dict[str, Any]:
    """Read what TensorFlow composes objects with; Google's own parser takes such quotes."""
    try:
        value = ast.literal_eval(content.decode())
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise InvalidArgument("The request's JSON cannot be read.") from error
    if not isinstance(value, dict):
        raise InvalidArgument("The request's JSON is no object.")
    return value
