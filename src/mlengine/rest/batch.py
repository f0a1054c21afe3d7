"""``POST /batch``: up to a thousand methods of ``ml.v1`` in one request, answered in their order.

A part is a request like any other: it is matched, permitted and told of as if it had come alone,
for the caller whose token the batch has.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable
from typing import Any

from starlette.types import Message, Scope

from mlengine.core.access import check_no_token_in_query
from mlengine.core.batches import Part, boundary_of, gathered, read_batch, write_batch
from mlengine.core.envelope import error_body, error_headers
from mlengine.core.errors import EngineError, InvalidArgument, PermissionDenied
from mlengine.core.permissions import KNOWN
from mlengine.rest.calls import Answer, Answered, Call, Document
from mlengine.rest.routes import Match, Route, Traffic

__all__ = ["ROUTE", "answered_by", "check_part", "part_scope"]

_OF_THE_BODY = frozenset({"content-length", "transfer-encoding", "expect", "host"})
_BATCH = "batch"  # in a part's scope: the headers of the request that it came in


def _answer(call: Call, chunks: Iterable[bytes]) -> Answer:
    """Answer a batch of ml.v1 methods (``multipart/mixed``), predictions aside; 1,000 at most."""
    parts = read_batch(gathered(chunks), boundary_of(call.content_type))
    kind, body = write_batch((part.key, *_part(call, part)) for part in parts)
    return Document(body, kind)


def _part(call: Call, part: Part) -> Answered:
    try:
        assert call.ask is not None
        return call.ask(part)
    except EngineError as error:
        return error.http_status, error_headers(error), error_body(error)


ROUTE = Route(
    id="engine.batch",
    method="POST",
    path="/batch",
    permission=KNOWN,
    upload=_answer,
    takes="multipart/mixed",
    response="",
    traffic=Traffic.TRANSFER,
)


def part_scope(outer: Scope, part: Part) -> tuple[Scope, bytes]:
    """Return a part as the request that it is, and its body.

    Raises:
        InvalidArgument: It is no request, or not for this server.
    """
    method, where, headers, body = part.read()
    target = where.geturl()
    if not (where.path.startswith("/") and target.isascii()):
        raise InvalidArgument(f"{target[:80]!r} is no path.", "Send a path from '/'.")
    kept = [(k.encode(), v.encode("latin-1")) for k, v in headers.items() if k not in _OF_THE_BODY]
    hosts = [pair for pair in outer["headers"] if pair[0] == b"host"]
    length = [(b"content-length", str(len(body)).encode())] if body else []
    scope = {
        **{key: value for key, value in outer.items() if key != "match"},
        "method": method,
        "path": urllib.parse.unquote(where.path),
        "raw_path": where.path.encode(),
        "query_string": where.query.encode(),
        "headers": [*hosts, *kept, *length],
        _BATCH: outer["headers"],
    }
    return scope, body


def check_part(scope: Scope, match: Match) -> None:
    """Raise if a request came in a batch and may not; its permission is asked for elsewhere.

    Raises:
        PermissionDenied: It is no method of ml.v1; or a prediction, which the gateway answers and
            counts; or it is to be somebody else's.
    """
    if _BATCH not in scope:
        return
    check_no_token_in_query(scope["query_string"].decode("latin-1"))
    if not match.route.id.startswith("ml.") or match.route.raw:
        raise PermissionDenied(
            "A batch has methods of ml.v1 in it, and no predictions.", "Send this one by itself."
        )
    if not _bearers(scope["headers"]) <= _bearers(scope[_BATCH]):
        raise PermissionDenied(
            "A batch is one caller's, whose token it has.", "Leave the part's Authorization out."
        )


def _bearers(headers: Iterable[tuple[bytes, bytes]]) -> set[bytes]:
    return {value for name, value in headers if name == b"authorization"}


def answered_by(messages: list[Message]) -> Answered:
    """Return what an application has sent: status, headers and body."""
    start: Any = messages[0]
    headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in start["headers"]}
    for name in ("content-length", "connection"):
        headers.pop(name, None)
    return start["status"], headers, b"".join(m.get("body", b"") for m in messages[1:])
