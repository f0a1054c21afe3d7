"""The Open Inference Protocol over gRPC: a second door to the same workers, in the gateway's loop.

The token comes in the metadata ``authorization``, as in REST, and is checked before the message of
a call is received, and again when it is there if the snapshot has changed meanwhile. ``ServerLive``
and ``ServerReady`` need none, and their messages are not received at all. gRPC shows its servers no
Host; a browser cannot speak it without the token, which no page has.

What the library takes of anybody is fixed when it starts, by the snapshot of that moment: how many
connections, how long they may be silent, and how long a message may be.

Needs the extra ``grpc``; nothing of it is loaded in a gateway without ``--grpc-port``.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from mlengine.core.access import check_origin
from mlengine.core.errors import EngineError, FailedPrecondition, Internal, InvalidArgument
from mlengine.core.limits import MAX_PREDICT_BYTES
from mlengine.prediction.gateway.dialects import Asked, answer_here, judge_path, target_of
from mlengine.prediction.gateway.dialogue import Dialogue
from mlengine.prediction.gateway.faults import body_too_long
from mlengine.prediction.gateway.grpcmessages import METHODS, SERVICE, message
from mlengine.prediction.gateway.grpctensors import is_typed, read_answer, rest_body
from mlengine.prediction.gateway.guard import check_covered
from mlengine.prediction.gateway.hearsay import hear
from mlengine.prediction.routing import body_limit

if TYPE_CHECKING:
    from mlengine.prediction.gateway.server import Server
    from mlengine.prediction.routing import Grant, Snapshot

__all__ = ["GrpcFront"]

_OPEN = {"ServerLive": "live", "ServerReady": "ready"}  # what they say
_MAX_HEAD_BYTES = 1 << 20  # of a message, beyond the tensors
_MOST_TYPED = 10  # bytes of a message that become one of the body: a number below zero, as INT8
_MAX_CALLS = 4096
_AGE_S = 600.0  # a connection takes no more calls then: its caller opens another
_GRACE_S = 1800.0  # to send a message and to wait for a worker to wake; more than any load may take
_MOST_MS = (1 << 31) - 1
_JSON_LENGTH = "inference-header-content-length"
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT, 401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED, 404: grpc.StatusCode.NOT_FOUND,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED, 503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}  # fmt: skip
_Handler = Callable[[Any], Awaitable[Any]]


class GrpcFront:
    """A listening gRPC server.

    Args:
        server: What it shares with the HTTP side: snapshot, guard, workers.
        host: Address to listen on.
        port: Port to listen on; 0 takes any free one.
        certificate: Certificate chain and private key, for TLS.
    """

    def __init__(
        self, server: Server, *, host: str, port: int, certificate: tuple[Path, Path] | None = None
    ) -> None:
        self._front = grpc.aio.server(
            maximum_concurrent_rpcs=_MAX_CALLS,
            options=_options(server.switchboard.snapshot, server.most_grpc_connections),
        )
        self._front.add_generic_rpc_handlers((_Service(server),))
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if certificate is None:
                self.port: int = self._front.add_insecure_port(address)
            else:
                chain, key = (path.read_bytes() for path in certificate)
                credentials = grpc.ssl_server_credentials([(key, chain)])
                self.port = self._front.add_secure_port(address, credentials)
        except RuntimeError:
            raise FailedPrecondition(
                f"Cannot listen on {address} for gRPC.",
                "Choose another port with --grpc-port, or stop what uses it.",
            ) from None

    async def start(self) -> None:
        """Accept calls."""
        await self._front.start()

    async def stop(self, grace_s: float) -> None:
        """Take no more calls; give those that run some time."""
        await self._front.stop(grace_s)


def _options(snapshot: Snapshot, most_connections: int) -> list[tuple[str, int]]:
    limits = snapshot.limits
    longest = max([limits.max_body_bytes, *(r.max_body_bytes for r in snapshot.versions.values())])
    longest_message = min(longest * _MOST_TYPED, MAX_PREDICT_BYTES) + _MAX_HEAD_BYTES
    return [
        ("grpc.max_receive_message_length", longest_message),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),
        ("grpc.max_allowed_incoming_connections", most_connections),
        ("grpc.server_handshake_timeout_ms", _ms(limits.header_timeout_s)),
        ("grpc.max_connection_idle_ms", _ms(limits.idle_timeout_s)),
        # A call whose message never gets whole is no silence: its connection's end ends it.
        ("grpc.max_connection_age_ms", _ms(_AGE_S)),
        ("grpc.max_connection_age_grace_ms", _ms(_GRACE_S + limits.predict_timeout_s)),
    ]


def _ms(seconds: float) -> int:
    return min(max(round(seconds * 1000), 1), _MOST_MS)


class _Service(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, server: Server) -> None:
        self._server = server

    def service(self, details: Any) -> Any:
        prefix, _slash, name = details.method.rpartition("/")
        if prefix != f"/{SERVICE}" or name not in METHODS:
            return None  # UNIMPLEMENTED
        check = functools.partial(
            self._check_caller, details.method, name, details.invocation_metadata
        )
        guard = self._server.guard
        try:
            grant = check()
        except EngineError as error:
            return _refusal(error)
        if name in _OPEN:
            return _open_answer(name)

        async def run(request: Any, context: Any) -> Any:
            try:
                still = grant if self._server.guard is guard else check()
                handler: _Handler = getattr(_Calls(self._server, still), name)
                return await handler(request)
            except EngineError as error:
                await _abort(context, error)

        return grpc.unary_unary_rpc_method_handler(
            run,
            request_deserializer=message(f"{name}Request").FromString,
            response_serializer=message(f"{name}Response").SerializeToString,
        )

    def _check_caller(
        self, path: str, name: str, metadata: Sequence[tuple[str, Any]]
    ) -> Grant | None:
        def values(key: str) -> list[str]:
            return [str(value) for k, value in metadata if k == key]

        check_origin(values("origin"), values("sec-fetch-site"), ())
        if name in _OPEN:
            return None
        tokens = [value.encode("utf-8", "surrogateescape") for value in values("authorization")]
        return self._server.guard.admit(b"POST", path.encode(), b"", tokens)


class _Calls:
    """One method for each of the service's that needs a token."""

    def __init__(self, server: Server, grant: Grant | None) -> None:
        self._server = server
        self._grant = grant

    async def ServerMetadata(self, _request: Any) -> Any:
        _status, value = answer_here(_asked("server"), self._server.switchboard.snapshot)
        return message("ServerMetadataResponse")(**value)

    async def ModelReady(self, request: Any) -> Any:
        asked = _asked("ready", request.name, request.version)
        snapshot = self._server.switchboard.snapshot
        check_covered(self._grant, target_of(asked, snapshot).model)
        status, _value = answer_here(asked, snapshot)
        return message("ModelReadyResponse")(ready=status == 200)

    async def ModelMetadata(self, request: Any) -> Any:
        status, _json_bytes, body = await self._ask(
            _asked("metadata", request.name, request.version), -1, b""
        )
        _check(status, body)
        value = json.loads(body)
        tensors = {
            key: [message("ModelMetadataResponse.TensorMetadata")(**t) for t in value[key]]
            for key in ("inputs", "outputs")
        }
        return message("ModelMetadataResponse")(
            name=value["name"], versions=value["versions"], platform=value["platform"], **tensors
        )

    async def ModelInfer(self, request: Any) -> Any:
        typed = is_typed(request)
        asked = _asked("infer", request.model_name, request.model_version)
        json_bytes, body = rest_body(request)
        request.Clear()  # `body` holds all of it
        status, json_bytes, answer = await self._ask(asked, json_bytes, body)
        _check(status, answer)
        return read_answer(answer, json_bytes, typed=typed)

    async def _ask(self, asked: Asked, json_bytes: int, body: bytes) -> tuple[int, int, bytes]:
        """Return what a worker says: status, the length of the JSON part, body."""
        snapshot = self._server.switchboard.snapshot
        target = judge_path(asked, asked.method, snapshot)
        assert target is not None
        check_covered(self._grant, target.model)
        limit = body_limit(target, snapshot)
        if len(body) > limit:
            raise body_too_long(limit, len(body))
        headers = [(_JSON_LENGTH.encode(), b"%d" % json_bytes)] if json_bytes >= 0 else []
        caller = _Awaiting(self._server)
        call = _GrpcCall(
            caller, target, headers, body, keep=True, asked=asked, method=asked.method,
            grant=self._grant,
        )  # fmt: skip
        call.enter()
        try:
            status, answer = await caller.told
        finally:
            call.gone = True  # also where the caller has hung up
        return status, call.json_bytes if call.json_bytes >= 0 else len(answer), answer


class _Awaiting:
    """A `Caller` who awaits what is told: status and body, or an error."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.told: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    def answer(
        self, _call: object, /, status: int, body: bytes, version: str = "", lines: bytes = b"",
        head: bytes = b"",
    ) -> None:  # fmt: skip
        if not self.told.done():  # a call that its caller has cancelled
            self.told.set_result((status, body))

    def answer_error(
        self, _call: object, /, error: EngineError, *, version: str = "", lines: bytes = b""
    ) -> None:
        if not self.told.done():
            self.told.set_exception(error)


class _GrpcCall(Dialogue):
    """A `Dialogue` whose caller wants no head of HTTP, and errors as they are."""

    __slots__ = ("json_bytes",)

    json_bytes: int  # of the answer, once there is one; -1: all of it

    def answered(self, status: int, payload: bytes) -> None:
        try:
            heard = hear(payload)
        except EngineError as error:
            self.failed(error)
            return
        self.json_bytes = heard.json_bytes
        self.conclude(status, bytes(heard.body))

    def tell_error(self, error: EngineError) -> None:
        self.connection.answer_error(self, error)


def _asked(operation: str, model: str = "", version: str = "") -> Asked:
    method = b"POST" if operation == "infer" else b"GET"
    if not model and operation in ("infer", "ready", "metadata"):
        raise InvalidArgument("The request names no model.", "Set its name.")
    return Asked("openinference", operation, method, model, version)


def _check(status: int, body: bytes) -> None:
    if status != 200:
        made = Internal if status >= 500 else InvalidArgument
        raise made(str(json.loads(body).get("error", "The worker refused.")))


def _open_answer(name: str) -> Any:
    """Return a handler that answers without receiving a message: anybody may have sent it."""
    reply = message(f"{name}Response")

    async def answer(_messages: Any, _context: Any) -> Any:
        return reply(**{_OPEN[name]: True})

    return grpc.stream_unary_rpc_method_handler(answer, response_serializer=reply.SerializeToString)


def _refusal(error: EngineError) -> Any:
    """Return a handler that ends a call without receiving its message."""

    async def refuse(_messages: Any, context: Any) -> None:
        await _abort(context, error)

    return grpc.stream_unary_rpc_method_handler(refuse)


async def _abort(context: Any, error: EngineError) -> None:
    code = _CODES.get(error.http_status, grpc.StatusCode.INTERNAL)
    await context.abort(code, str(error))
