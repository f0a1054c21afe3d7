"""Calls an ASGI app without a server, so that a test decides every byte of the request line."""

from __future__ import annotations

import asyncio
import json
import urllib.parse
from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = ["AUTHORIZED", "HOST", "Answer", "call"]

HOST = ("host", "127.0.0.1:8470")
TOKEN = "mle_test-token"
AUTHORIZED = (HOST, ("authorization", f"Bearer {TOKEN}"))
JSON = ("content-type", "application/json")


class Answer(NamedTuple):
    """What the app sent."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def call(
    app: Any,
    method: str,
    target: str,
    *,
    body: bytes | Sequence[bytes] | None = None,
    headers: Sequence[tuple[str, str]] = AUTHORIZED,
    cut: bool = False,
) -> Answer:
    """Send one request; `target` is path and query as they stand in the request line.

    Args:
        body: Sent with ``Content-Length`` if bytes, chunked if a sequence.
        cut: The caller goes away after what is in `body`.
    """
    return asyncio.run(_call(app, method, target, body, list(headers), cut))


async def _call(
    app: Any,
    method: str,
    target: str,
    body: bytes | Sequence[bytes] | None,
    headers: list[tuple[str, str]],
    cut: bool,
) -> Answer:
    path, _mark, query = target.partition("?")
    chunks = [body] if isinstance(body, bytes) else list(body or ())
    if isinstance(body, bytes) and not cut:
        headers.append(("content-length", str(len(body))))
    elif body is not None:
        headers.append(("transfer-encoding", "chunked"))
    incoming = [{"type": "http.request", "body": c, "more_body": True} for c in chunks]
    incoming.append({"type": "http.disconnect"} if cut else {"type": "http.request"})
    sent: list[Any] = []

    async def receive() -> Any:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": urllib.parse.unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in headers],
    }
    await app(scope, receive, send)
    if not sent:
        return Answer(0, {}, b"")
    found = {k.decode(): v.decode("latin-1") for k, v in sent[0]["headers"]}
    return Answer(sent[0]["status"], found, b"".join(m.get("body", b"") for m in sent[1:]))
