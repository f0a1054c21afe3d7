"""Request bodies: declared as JSON, counted while they arrive, strict when parsed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
from starlette.requests import ClientDisconnect, Request

from mlengine.core.errors import InvalidArgument
from mlengine.rest.envelope import BodyTooLarge, BodyTooSlow, UnsupportedMediaType
from mlengine.runtime import strictjson

__all__ = ["Bodies"]

_MAX_CONTENT_TYPE_CHARS = 256


class Bodies:
    """Reads bodies within limits.

    Args:
        max_body_bytes: The longest JSON body.
        max_object_bytes: The longest uploaded object; None for no limit.
        timeout_s: For a whole JSON body, or for each piece of an upload.
    """

    def __init__(
        self, *, max_body_bytes: int, max_object_bytes: int | None, timeout_s: float
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._max_object_bytes = max_object_bytes
        self._timeout_s = timeout_s

    async def refuse_unless_json(self, request: Request, *, expected: bool) -> None:
        """Look at what the headers promise, before a byte of the body is read.

        Raises:
            UnsupportedMediaType: There is a body and it is not declared as JSON: a web page could
                have sent it without asking first.
            InvalidArgument: There is a body where none belongs.
        """
        if not _has_body(request):
            return
        if request.method in ("GET", "DELETE") and not expected:
            raise InvalidArgument(
                f"{request.method} takes no body.", "Put parameters into the query."
            )
        declared = request.headers.get("content-type", "")
        essence = declared[:_MAX_CONTENT_TYPE_CHARS].partition(";")[0].strip().lower()
        if essence != "application/json":
            raise UnsupportedMediaType(
                f"The body is declared as {declared[:60]!r}.",
                "Send it with 'Content-Type: application/json'.",
            )
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise UnsupportedMediaType("The body is encoded.", "Send it without Content-Encoding.")

    async def read(self, request: Request) -> bytes:
        """Return a whole body.

        Raises:
            BodyTooLarge: It is longer than `max_body_bytes`.
            BodyTooSlow: It did not arrive within `timeout_s`.
        """
        if not _has_body(request):
            return b""
        pieces = bytearray()
        try:
            with anyio.fail_after(self._timeout_s):
                async for piece in _pieces(request, self._max_body_bytes):
                    pieces += piece
        except TimeoutError:
            raise self._too_slow() from None
        return bytes(pieces)

    async def stream(self, request: Request) -> AsyncIterator[bytes]:
        """Yield an upload in pieces, then ``b""`` once; a cut body raises instead.

        Raises:
            BodyTooLarge: It is longer than `max_object_bytes`.
            BodyTooSlow: The next piece did not arrive within `timeout_s`.
            ClientDisconnect: The caller went away before the end.
        """
        pieces = _pieces(request, self._max_object_bytes)
        while True:
            try:
                with anyio.fail_after(self._timeout_s):
                    piece = await anext(pieces, b"")
            except TimeoutError:
                raise self._too_slow() from None
            yield piece
            if not piece:
                return

    def parse(self, raw: bytes) -> dict[str, object]:
        """Parse a JSON body.

        Raises:
            InvalidArgument: It is not strict JSON, or not an object.
        """
        try:
            value = strictjson.loads(raw)
        except strictjson.StrictJsonError as error:
            raise InvalidArgument(
                f"Invalid JSON payload received: {str(error)[:200]}.", "Send strict JSON."
            ) from None
        if not isinstance(value, dict):
            raise InvalidArgument(
                "Invalid JSON payload received. Root element must be a message.",
                "Send a JSON object.",
            )
        return value

    def _too_slow(self) -> BodyTooSlow:
        return BodyTooSlow(
            f"The body did not arrive within {self._timeout_s:g} seconds.", "Send it again."
        )


def _has_body(request: Request) -> bool:
    length = request.headers.get("content-length", "")
    return "transfer-encoding" in request.headers or length not in ("", "0")


async def _pieces(request: Request, limit: int | None) -> AsyncIterator[bytes]:
    length = request.headers.get("content-length", "")
    if limit is not None and length.isascii() and length.isdigit():
        _refuse_beyond(limit, int(length[:20]))
    seen = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece: bytes = message.get("body", b"")
        seen += len(piece)
        if limit is not None:
            _refuse_beyond(limit, seen)
        if piece:
            yield piece
        if not message.get("more_body", False):
            return


def _refuse_beyond(limit: int, size: int) -> None:
    if size > limit:
        raise BodyTooLarge(
            f"Request payload size exceeds the limit: {limit} bytes. This one has {size} or more.",
            "Send less in one request.",
        )
