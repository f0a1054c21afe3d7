"""The ASGI application: guard → router → engine verb → envelope.

Engine verbs block, so each runs in a thread, and each kind of traffic draws on its own pool: a
hundred people who wait for log lines cannot keep anybody from cancelling a job.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from typing import TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlengine.core.batches import Part
from mlengine.core.callers import Caller, calling
from mlengine.core.errors import EngineError, InvalidArgument, Unavailable
from mlengine.core.fields import pick
from mlengine.core.resources import Resource
from mlengine.core.wire import encode
from mlengine.engine import Engine, PredictReply
from mlengine.engine.accessverbs import Doorkeeper
from mlengine.rest import batch
from mlengine.rest.bodies import Bodies
from mlengine.rest.calls import Answer, Answered, Call, Document
from mlengine.rest.envelope import error_json, internal_error
from mlengine.rest.everyroute import every_route, open_paths
from mlengine.rest.guard import Guard
from mlengine.rest.longqueries import as_meant
from mlengine.rest.permits import NoKeys, Permits, note
from mlengine.rest.query import Query, parse_query
from mlengine.rest.routes import Match, Router, Traffic
from mlengine.rest.selection import selected

__all__ = ["MAX_BODY_BYTES", "build_app"]

MAX_BODY_BYTES = 10 * 1024 * 1024
"""The longest JSON body, in bytes, unless `build_app` is told otherwise."""

T = TypeVar("T")

_log = logging.getLogger(__name__)
_NO_KEYS = NoKeys()
_THREADS: Mapping[Traffic, int] = {
    Traffic.QUICK: 32,
    Traffic.LONG_POLL: 128,
    Traffic.PREDICTION: 32,
    Traffic.TRANSFER: 16,
}
# Requests without a field, so that no handler looks into them; empty: routes that take no body.
_NO_FIELDS = frozenset({
    "", "CancelJobRequest", "SetDefaultVersionRequest", "StopTrialRequest",
    "CheckTrialEarlyStoppingStateRequest", "ListOptimalTrialsRequest",
})  # fmt: skip


def build_app(
    engine: Engine,
    *,
    token_digest: str,
    allowed_hosts: Collection[str],
    doorkeeper: Doorkeeper = _NO_KEYS,
    scheme: str = "http",
    max_body_bytes: int = MAX_BODY_BYTES,
    max_object_bytes: int | None = None,
    body_timeout_s: float = 60.0,
) -> ASGIApp:
    """Build the application that answers for an engine.

    Args:
        engine: Whose verbs answer.
        token_digest: Digest of the token that callers must show, as `core.access` makes it.
        allowed_hosts: Host names that requests may be addressed to, loopback names aside.
        doorkeeper: Knows the keys and what they open; without one, that token alone opens.
        scheme: How callers reach the engine: what stands in front of the app may speak TLS.
        max_body_bytes: The longest JSON body; a longer one is refused.
        max_object_bytes: The longest uploaded object; None for no limit but the disk.
        body_timeout_s: How long a JSON body, or one piece of an upload, may take to arrive.

    Example:
        >>> app = build_app(engine, token_digest=digest, allowed_hosts=[])  # doctest: +SKIP
    """
    router = Router(every_route())
    bodies = Bodies(
        max_body_bytes=max_body_bytes,
        max_object_bytes=max_object_bytes,
        timeout_s=body_timeout_s,
    )
    return Guard(
        _Dispatcher(engine, router, bodies, Permits(doorkeeper), scheme),
        token_digest=token_digest,
        find=doorkeeper.caller,
        allowed_hosts=allowed_hosts,
        open_paths=open_paths(),
    )


class _Dispatcher:
    def __init__(
        self, engine: Engine, router: Router, bodies: Bodies, permits: Permits, scheme: str
    ) -> None:
        self._engine, self._router, self._bodies = engine, router, bodies
        self._permits, self._scheme = permits, scheme
        # Limiters belong to one event loop, and there is none yet.
        self._limiters: dict[Traffic, anyio.CapacityLimiter] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            scope = await as_meant(scope, receive, self._bodies)
            response = await self._answer(Request(scope, receive))
        except ClientDisconnect:
            return
        except EngineError as error:
            response = _error_response(error, scope)
        except asyncio.CancelledError:  # the server ends, and this took longer than it waits
            response = _error_response(_ending(), scope)
        except Exception:
            incident = secrets.token_hex(6)
            # The path only: headers, query and body may hold secrets.
            _log.exception("incident %s: %s %r", incident, scope["method"], scope["path"])
            response = _error_response(internal_error(), scope)
            response.headers["X-Incident-Id"] = incident
        if match := scope.get("match"):
            note(scope["caller"], match, scope["path"], response.status_code)
        try:
            await response(scope, receive, send)
        except asyncio.CancelledError:  # the server closes the connection: whoever reads sees that
            _log.warning("cut off, as the engine ends: %s %r", scope["method"], scope["path"])

    async def _answer(self, request: Request) -> Response:
        raw_path: bytes = request.scope["raw_path"]
        match = self._router.match(request.method, raw_path)
        caller: Caller = request.scope["caller"]
        request.scope["match"] = match
        batch.check_part(request.scope, match)
        if self._permits.needs_asking(caller, match):
            await self._in_thread(Traffic.QUICK, lambda: self._permits.check(caller, match))
        with calling(caller):
            return await self._allowed(request, match)

    async def _allowed(self, request: Request, match: Match) -> Response:
        route = match.route
        query = parse_query(request.scope["query_string"], route.query)
        if query.fields:
            query = query._replace(fields=selected(query.fields, route.response))
        call = self._call(request, match, query)
        if route.upload:
            return await self._upload(request, match, call, query)
        await self._bodies.refuse_unless_json(request, expected=bool(route.request))
        raw = await self._bodies.read(request)
        if route.download:
            return await self._download(match, call)
        body = {} if route.raw or not raw else self._bodies.parse(raw)
        if route.request in _NO_FIELDS:
            _refuse_fields(body)
        call = call._replace(raw=raw, body=body)
        assert route.run is not None  # a route has one of the three
        answer = await self._in_thread(route.traffic, functools.partial(route.run, call))
        await self._own(request.scope["caller"], match, answer)
        return _response(answer, query)

    async def _own(self, caller: Caller, match: Match, answer: Answer) -> None:
        if match.route.owner and not caller.is_owner:
            await self._in_thread(Traffic.QUICK, lambda: self._permits.own(caller, match, answer))

    def _call(self, request: Request, match: Match, query: Query) -> Call:
        host = request.headers.get("host", "localhost")
        # Anybody may say it: it is only written into the caller's own answer, which nobody keeps.
        proxied = request.headers.get("x-forwarded-proto", "").strip().lower() == "https"
        scheme = "https" if proxied else self._scheme
        return Call(
            engine=self._engine,
            ids=match.ids,
            query=query.own,
            body={},
            raw=b"",
            base_url=f"{scheme}://{host}/",
            content_type=request.headers.get("content-type", ""),
            ask=lambda part: anyio.from_thread.run(self._ask, request.scope, part),
        )

    async def _ask(self, outer: Scope, part: Part) -> Answered:
        """Answer a part of a batch: by way of everything that a request by itself goes through."""
        scope, body = batch.part_scope(outer, part)
        incoming: list[Message] = [{"type": "http.request", "body": body}]
        sent: list[Message] = []

        async def receive() -> Message:
            return incoming.pop() if incoming else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        await self(scope, receive, send)
        return batch.answered_by(sent)

    async def _upload(self, request: Request, match: Match, call: Call, query: Query) -> Response:
        chunks = self._bodies.stream(request)

        async def following() -> bytes:
            return await anext(chunks)

        def pull() -> Iterator[bytes]:
            while chunk := anyio.from_thread.run(following):
                yield chunk

        upload = match.route.upload
        assert upload is not None
        answer = await self._in_thread(match.route.traffic, lambda: upload(call, pull()))
        return _response(answer, query)

    async def _download(self, match: Match, call: Call) -> Response:
        traffic, download = match.route.traffic, match.route.download
        assert download is not None
        pieces = await self._in_thread(traffic, functools.partial(download, call))
        # The first piece is read before the answer starts, while an error can still be told.
        first = await self._in_thread(traffic, lambda: next(pieces, b""))
        headers = {"Content-Disposition": "attachment"}
        return StreamingResponse(
            self._rest(traffic, first, pieces),
            media_type="application/octet-stream",
            headers=headers,
        )

    async def _rest(
        self, traffic: Traffic, first: bytes, pieces: Iterator[bytes]
    ) -> AsyncIterator[bytes]:
        try:
            piece = first
            while piece:
                yield piece
                piece = await self._in_thread(traffic, lambda: next(pieces, b""))
        finally:
            close = getattr(pieces, "close", None)
            # One that a thread is in still, which nobody waits for at the end, goes with that.
            if close is not None and not getattr(pieces, "gi_running", False):
                close()

    async def _in_thread(self, traffic: Traffic, work: Callable[[], T]) -> T:
        limiter = self._limiters.get(traffic)
        if limiter is None:
            limiter = self._limiters[traffic] = anyio.CapacityLimiter(_THREADS[traffic])
        return await anyio.to_thread.run_sync(work, limiter=limiter)


def _ending() -> Unavailable:
    return Unavailable(
        "The engine ended before this was done.", "Look whether it took effect, then try again."
    )


def _refuse_fields(body: Mapping[str, object]) -> None:
    for name in body:
        raise InvalidArgument(
            f'Invalid JSON payload received. Unknown name "{name[:128]}": Cannot find field.',
            "Send {}, or no body.",
        )


def _response(answer: Answer, query: Query) -> Response:
    if isinstance(answer, PredictReply):
        return Response(answer.body, answer.status, media_type="application/json")
    if isinstance(answer, Document):
        response = Response(answer.body, media_type=answer.media_type)
        if answer.content_security_policy:
            response.headers["Content-Security-Policy"] = answer.content_security_policy
        return response
    value = encode(answer) if isinstance(answer, Resource) else answer
    body = msgspec.json.encode(pick(query.fields, value))
    if query.pretty:
        body = msgspec.json.format(body, indent=2) + b"\n"
    return Response(body, media_type="application/json")


def _error_response(error: EngineError, scope: Scope) -> Response:
    subject = str(scope["path"]).removeprefix("/v1/projects/").partition("/")[0]
    status, body, headers = error_json(error, subject=subject)
    return Response(body, status, headers, media_type="application/json")
