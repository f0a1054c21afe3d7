"""The bytes of the gateway's own answers: one head, one JSON body, Google's error envelope."""

from __future__ import annotations

from http import HTTPStatus

from mlengine.core.envelope import error_body, error_headers
from mlengine.core.errors import EngineError, InvalidArgument, PermissionDenied
from mlengine.prediction.gateway.quota import QuotaExceeded

__all__ = [
    "GoodHeads",
    "HeadersTooLarge",
    "LengthRequired",
    "MisdirectedMethod",
    "RequestTimeout",
    "UnreadableType",
    "error_answer",
    "json_head",
    "length_line",
    "status_line",
    "typed_head",
]

_JSON_LINE = b"content-type: application/json; charset=UTF-8\r\n"
SECURITY_LINES = _JSON_LINE + (
    b"x-content-type-options: nosniff\r\n"
    b"x-frame-options: DENY\r\n"
    b"cache-control: no-store\r\n"
    b"content-security-policy: default-src 'none'; frame-ancestors 'none'\r\n"
)
_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}
_STATUS_LINES[499] = b"HTTP/1.1 499 Client Closed Request\r\n"
_heads: dict[tuple[int, str], bytes] = {}
_LENGTH_LINES = [b"content-length: %d\r\n\r\n" % length for length in range(1024)]


class GoodHeads(dict[str, bytes]):
    """How predictions begin that were made: version → its head for one date, made when asked for.

    Args:
        date_line: The line of the moment; with the next one come new heads.

    Example:
        >>> GoodHeads(b"date: today\\r\\n")["projects/p/models/m/versions/v1"][-13:]
        b'date: today\\r\\n'
    """

    def __init__(self, date_line: bytes) -> None:
        super().__init__()
        self._date_line = date_line

    def __missing__(self, version: str) -> bytes:
        head = self[version] = json_head(200, version) + self._date_line
        return head


class RequestTimeout(InvalidArgument):
    """The request did not arrive in time."""

    http_status = 408


class HeadersTooLarge(InvalidArgument):
    """The head of the request is longer than the gateway reads."""

    http_status = 431


class LengthRequired(InvalidArgument):
    """A long body came without its length."""

    http_status = 411


class UnreadableType(InvalidArgument):
    """The body is of a type that nobody here reads."""

    http_status = 415


class MisdirectedMethod(PermissionDenied):
    """CONNECT and upgrades: the gateway is not a tunnel."""

    http_status = 405


def status_line(status: int) -> bytes:
    """Return ``HTTP/1.1 200 OK`` and its line end."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status


def json_head(status: int, version: str = "") -> bytes:
    """Return the constant part of an answer's head; date, length and the blank line follow it.

    Args:
        status: The HTTP status.
        version: Full name of the version that answered, if one did.
    """
    head = _heads.get((status, version))
    if head is None:
        head = status_line(status) + SECURITY_LINES
        if version:
            head += b"x-mlengine-version: %s\r\n" % version.encode()
        if len(_heads) > 4096:
            _heads.clear()
        _heads[status, version] = head
    return head


def length_line(length: int) -> bytes:
    """Return the last line of a head, and the blank one that ends it."""
    if length < len(_LENGTH_LINES):
        return _LENGTH_LINES[length]
    return b"content-length: %d\r\n\r\n" % length


def typed_head(status: int, version: str, content_type: str) -> bytes:
    """Return the constant part of the head of an answer that may be no JSON; see `json_head`."""
    head = json_head(status, version)
    return head.replace(_JSON_LINE, b"content-type: %s\r\n" % content_type.encode("latin-1"), 1)


def error_answer(error: EngineError) -> tuple[int, bytes, bytes]:
    """Return status, further header lines and body."""
    if isinstance(error, QuotaExceeded):
        told = b"retry-after: %d\r\n%b" % (error.wait_s, error.lines)
        return error.http_status, told, error_body(error, subject=error.subject)
    lines = "".join(f"{k.lower()}: {v}\r\n" for k, v in error_headers(error).items())
    return error.http_status, lines.encode(), error_body(error)
