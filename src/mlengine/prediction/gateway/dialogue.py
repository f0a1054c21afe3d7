"""A prediction in another dialect: an `Inquiry` whose body goes to the worker with a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from mlengine.core.errors import EngineError
from mlengine.prediction.gateway.answers import error_answer, typed_head
from mlengine.prediction.gateway.dialects import Asked, WrongMethod, answer_here, shown_version
from mlengine.prediction.gateway.hearsay import hear, is_answer, no_answer
from mlengine.prediction.gateway.inquiry import Caller, Inquiry
from mlengine.runtime.callframe import CALL, join_call

if TYPE_CHECKING:
    from mlengine.prediction.gateway.exchange import Exchange
    from mlengine.prediction.routing import Grant, PredictTarget

__all__ = ["RAW_BODY", "RAW_TYPES", "Dialogue", "Reply", "media_type", "refuse", "reply_of",
           "speak", "words_of"]  # fmt: skip

RAW_TYPES = frozenset({"image/jpeg", "image/png", "application/octet-stream"})
"""Types of a predict body that stand for one instance."""

RAW_BODY = Asked("ml_v1", "predict", b"POST")
"""What a predict path asks when the body is of such a type."""

_JSON_LENGTH = b"inference-header-content-length"


class Reply(NamedTuple):
    """A worker's answer as a caller gets it; without a `head` it has that of plain predictions."""

    status: int
    body: bytes
    lines: bytes = b""
    head: bytes = b""


class Dialogue(Inquiry):
    """What a `WorkerLink` answers with words and a body.

    Its `body` is the caller's until a version is found, and what goes to the worker from then on.

    Args:
        asked: What the path asks.
        method: The HTTP method.
    """

    __slots__ = ("_frame", "_frame_version", "_raw", "asked", "method")

    kind = CALL
    _raw: bytes
    _frame: bytes
    _frame_version: str

    def __init__(
        self, connection: Caller, target: PredictTarget,
        headers: list[tuple[bytes, bytes]], body: bytes, *, keep: bool, asked: Asked,
        method: bytes, grant: Grant | None = None,
    ) -> None:  # fmt: skip
        self.asked = asked
        self.method = method
        super().__init__(connection, target, headers, body, keep=keep, grant=grant)

    @property
    def is_prediction(self) -> bool:
        """To ask for a model's signature is none."""
        return self.asked.operation != "metadata"

    @property
    def asked_body(self) -> bytes:
        return self._raw

    @property
    def body(self) -> bytes:
        if not self.version:
            return self._raw
        if self._frame_version != self.version:
            words = words_of(self.asked, self.version, self.headers)
            self._frame, self._frame_version = join_call(words, self._raw), self.version
        return self._frame

    @body.setter
    def body(self, raw: bytes) -> None:
        self._raw = raw
        self._frame = b""
        self._frame_version = ""

    def answered(self, status: int, payload: bytes) -> None:
        """The worker's words and its body, as it is."""
        try:
            reply = reply_of(self.asked, status, payload, self.version)
        except EngineError as error:
            self.failed(error)
            return
        self.conclude(status, reply.body, reply.lines, reply.head)

    def tell_error(self, error: EngineError) -> None:
        """Tell it as the dialect does."""
        refuse(
            self.connection, self, self.asked, error, version=self.version, lines=self.head_lines
        )


def speak(exchange: Exchange, asked: Asked, target: PredictTarget | None, *, keep: bool) -> bool:
    """Answer a request that was read whole; tell whether a `Dialogue` has taken its place."""
    connection = exchange.connection
    if target is not None:
        connection.inquire(
            Dialogue(
                connection, target, exchange.headers, exchange.body, keep=keep, asked=asked,
                method=exchange.method, grant=exchange.grant,
            )
        )  # fmt: skip
        return True
    try:
        snapshot = connection.server.switchboard.snapshot
        status, value = answer_here(asked, snapshot, exchange.grant)
    except EngineError as error:
        refuse(connection, exchange, asked, error)
    else:
        connection.answer(exchange, status, msgspec.json.encode(value))
    return False


def refuse(
    connection: Caller, exchange: Exchange | Inquiry, asked: Asked, error: EngineError,
    *, version: str = "", lines: bytes = b"",
) -> None:  # fmt: skip
    """Answer with an error as the dialect writes it."""
    status, more_lines, body = error_answer(error)
    lines += more_lines
    if asked.dialect != "ml_v1":
        body = msgspec.json.encode({"error": str(error)})
    if isinstance(error, WrongMethod):
        lines += f"allow: {error.allowed}\r\n".encode()
    connection.answer(exchange, status, body, version=version, lines=lines)


def reply_of(asked: Asked | None, status: int, payload: bytes, version: str) -> Reply:
    """Read what a worker answered to a call, or to a plain prediction.

    Raises:
        Internal: It is no answer.
    """
    if not is_answer(status):
        raise no_answer()
    if asked is None:
        return Reply(status, payload)
    heard = hear(payload)
    lines = b"%s: %d\r\n" % (_JSON_LENGTH, heard.json_bytes) if heard.json_bytes >= 0 else b""
    return Reply(status, bytes(heard.body), lines, typed_head(status, version, heard.content_type))


def media_type(headers: list[tuple[bytes, bytes]]) -> str:
    """Return the type of a request's body, without parameters, in lower case."""
    for name, value in headers:
        if name == b"content-type":
            return value.partition(b";")[0].strip().lower().decode("latin-1")
    return ""


def words_of(asked: Asked, version: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    """Return what a worker is told about a call, besides its body."""
    words: dict[str, Any] = {
        "dialect": asked.dialect,
        "operation": asked.operation,
        "model": version.split("/")[3],
        "version": shown_version(asked, version),
        "content_type": media_type(headers)[:128],
    }
    for name, value in headers:
        if name == _JSON_LENGTH:
            words["json_bytes"] = int(value) if value.isdigit() and len(value) < 16 else 1 << 60
    return words
