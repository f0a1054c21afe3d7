"""What every request passes before anything else looks at it; and what every answer carries.

In this order: exactly one Host that is ours (a name that a web page rebinds is not), no foreign
Origin, the token. Only the paths that a route table declares open need no token; a path that no
table knows needs one, so nobody without it learns which paths exist.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlengine.core.access import (
    check_bearer,
    check_host,
    check_no_token_in_query,
    check_origin,
)
from mlengine.core.errors import EngineError, InvalidArgument
from mlengine.rest.envelope import error_json

__all__ = ["SECURITY_HEADERS", "Guard"]

SECURITY_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware: the outermost.

    Args:
        app: What it protects.
        token_digest: Digest of the one token.
        allowed_hosts: Host names besides the loopback ones.
        open_paths: Path → the one method for which it needs no token.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token_digest: str,
        allowed_hosts: Collection[str],
        open_paths: Mapping[str, str],
    ) -> None:
        self._app = app
        self._token_digest = token_digest
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._open_paths = {path.encode(): method for path, method in open_paths.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            # No route speaks anything else; an ASGI server turns this into a refused handshake.
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for key, value in SECURITY_HEADERS.items():
                    headers.setdefault(key, value)
            await send(message)

        try:
            self._check(scope)
        except EngineError as error:
            status, body, headers = error_json(error)
            # Its body stays unread, so the connection cannot be used again.
            headers["Connection"] = "close"
            refusal = Response(body, status, headers, media_type="application/json")
            await refusal(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        authority = check_host(headers.getlist("host"), self._allowed_hosts)
        own_pages = {authority, *self._allowed_hosts}
        check_origin(headers.getlist("origin"), headers.getlist("sec-fetch-site"), own_pages)
        check_no_token_in_query(scope["query_string"].decode("latin-1"))
        # The raw path, so that no other spelling of an open path is open.
        raw_path = scope.get("raw_path")
        if raw_path is None:
            raise InvalidArgument("The server gave no raw path.", "Serve with uvicorn.")
        if self._open_paths.get(raw_path) != scope["method"]:
            check_bearer(headers.getlist("authorization"), self._token_digest)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
