"""What every request passes before anything else looks at it; and what every answer carries.

In this order: exactly one Host that is ours (a name that a web page rebinds is not), no foreign
Origin, the token or a key. Only the paths that a route table declares open need none; a path that
no table knows needs one, so nobody without it learns which paths exist. Whose it is goes on in the
scope, as ``caller``; what that caller may do is decided where the route is known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import anyio
import anyio.to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlengine.core.access import (
    bearer_digest,
    check_host,
    check_no_token_in_query,
    check_origin,
    is_secret,
    unknown_bearer,
)
from mlengine.core.callers import OWNER, Caller
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

_ANYBODY = Caller(key="anybody")
_LOOKUPS = 8


class Guard:
    """ASGI middleware: the outermost.

    Args:
        app: What it protects.
        token_digest: Digest of the engine's own token.
        find: Returns whom a key is of, by its digest; it may read the records.
        allowed_hosts: Host names besides the loopback ones.
        open_paths: Path → the one method for which it needs no token.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token_digest: str,
        find: Callable[[str], Caller | None],
        allowed_hosts: Collection[str],
        open_paths: Mapping[str, str],
    ) -> None:
        self._app = app
        self._token_digest = token_digest.encode()
        self._find = find
        self._limiter: anyio.CapacityLimiter | None = None  # belongs to an event loop
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
            scope["caller"] = await self._check(scope)
        except EngineError as error:
            status, body, headers = error_json(error)
            # Its body stays unread, so the connection cannot be used again.
            headers["Connection"] = "close"
            refusal = Response(body, status, headers, media_type="application/json")
            await refusal(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)

    async def _check(self, scope: Scope) -> Caller:
        headers = Headers(scope=scope)
        authority = check_host(headers.getlist("host"), self._allowed_hosts)
        own_pages = {authority, *self._allowed_hosts}
        check_origin(headers.getlist("origin"), headers.getlist("sec-fetch-site"), own_pages)
        check_no_token_in_query(scope["query_string"].decode("latin-1"))
        # The raw path, so that no other spelling of an open path is open.
        raw_path = scope.get("raw_path")
        if raw_path is None:
            raise InvalidArgument("The server gave no raw path.", "Serve with uvicorn.")
        if self._open_paths.get(raw_path) == scope["method"]:
            return _ANYBODY
        return await self._caller(bearer_digest(headers.getlist("authorization")))

    async def _caller(self, digest: str) -> Caller:
        # With an empty digest nothing can be equal: an engine without a token is closed, not open.
        if is_secret(digest.encode(), self._token_digest):
            return OWNER
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(_LOOKUPS)
        caller = await anyio.to_thread.run_sync(self._find, digest, limiter=self._limiter)
        if caller is None:
            raise unknown_bearer()
        return caller


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
