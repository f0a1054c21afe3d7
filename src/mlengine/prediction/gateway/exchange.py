"""One request of a caller, from its head to the end of its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlengine.core.errors import EngineError, InvalidArgument, PermissionDenied
from mlengine.prediction.gateway.answers import (
    LengthRequired,
    MisdirectedMethod,
    UnreadableType,
    typed_head,
)
from mlengine.prediction.gateway.dialects import Asked, judge_path, read_path, target_of
from mlengine.prediction.gateway.dialogue import (
    RAW_BODY,
    RAW_TYPES,
    Reply,
    media_type,
    refuse,
    speak,
)
from mlengine.prediction.gateway.explanation import EXPLAIN_BODY, Explanation
from mlengine.prediction.gateway.faults import body_too_long
from mlengine.prediction.gateway.guard import Guard, check_covered, check_monitors
from mlengine.prediction.gateway.heads import KnownHead
from mlengine.prediction.gateway.inquiry import Inquiry
from mlengine.prediction.gateway.metrics import CONTENT_TYPE
from mlengine.prediction.gateway.relay import Relay
from mlengine.prediction.gateway.scrape import Scrape
from mlengine.prediction.gateway.upload import MIN_BYTES, Upload
from mlengine.prediction.routing import asks_explanation, body_limit

if TYPE_CHECKING:
    from mlengine.prediction.gateway.http1 import CallerConnection
    from mlengine.prediction.routing import Grant, PredictTarget

__all__ = ["Exchange"]

_HEALTH = b"/healthz"
_METRICS = b"/metrics"
_OWN = (_HEALTH, _METRICS)


class Exchange:
    """A request and what becomes of it: refused, a health check, a prediction or relayed.

    `judge` decides at the head, `begin` acts when all earlier answers of the connection are out.
    A prediction whose body is whole becomes an `Inquiry`, which takes its place.
    """

    __slots__ = (
        "_asked", "_body_complete", "_chunks", "_content_length", "_denied", "_done", "_expects",
        "_judged_by", "_lacks_length", "_max_body_bytes", "_own", "_relay", "_target",
        "begun", "body", "connection",
        "grant", "head_bytes", "headers", "http_1_0", "keep_alive", "method", "refused", "target",
        "upgrade",
    )  # fmt: skip

    def __init__(self, connection: CallerConnection) -> None:
        self.connection = connection
        self.method = b""
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.head_bytes = 0
        self.http_1_0 = False
        self.keep_alive = False
        self.upgrade = False
        self.refused: EngineError | None = None
        self.grant: Grant | None = None  # what the caller's key grants; None: everything
        self.begun = False
        self.body = b""
        self._chunks: bytearray | None = None
        self._content_length = -1
        self._body_complete = False
        self._done = False
        self._expects = False
        self._lacks_length = False  # it could be longer if it said how long
        self._denied: PermissionDenied | None = None  # said when the request was read whole
        self._own = b""  # a path of the gateway itself, which no version and no engine answers
        self._target: PredictTarget | None = None
        self._asked: Asked | None = None  # what the path asks in another dialect
        self._max_body_bytes = connection.server.limits.max_body_bytes
        self._judged_by: Guard | None = None
        self._relay: Relay | Upload | None = None

    def judge(self) -> None:
        """Decide by the head alone who may have what; sets `refused` instead of raising."""
        try:
            self._admit()
            if self._denied is None:  # all else would tell whether the model exists
                self._judge_body()
                self._choose_carrier()
        except EngineError as error:
            self.refused = error

    def begin(self) -> None:
        """Start answering."""
        self.begun = True
        if self._done:
            return
        if self.refused is not None:
            self.fail(self.refused)
            return
        if self._expects and not self._body_complete:
            self.connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._relay is not None:
            if isinstance(self._relay, Upload) and not self._is_still_good():
                return
            self._relay.begin()
            if self._chunks:
                self._relay.send_body(bytes(self._chunks))
                self._chunks = None
            if self._body_complete:
                self._relay.end_body()
        elif self._body_complete:
            self._answer()

    def body_received(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self._done or self.refused is not None:
            return
        if self._relay is not None and self.begun:
            self._relay.send_body(data)
            return
        if self._chunks is None and not self.body and self._relay is None:
            self.body = data  # the usual case: all of it at once, and no copy
        else:
            if self._chunks is None:
                self._chunks = bytearray(self.body)
            self._chunks += data
        if self._relay is None and len(self._chunks or self.body) > self._max_body_bytes:
            self.fail(_no_length() if self._lacks_length else self._too_long())

    def body_ended(self) -> None:
        """The request is whole."""
        self._body_complete = True
        if self._done:
            return
        if self._relay is None:
            if self._chunks is not None:
                self.body, self._chunks = bytes(self._chunks), None
            if self.begun:
                self._answer()
        elif self.begun:
            if isinstance(self._relay, Upload) and not self._is_still_good():
                return
            self._relay.end_body()

    def may_keep_connection(self) -> bool:
        """Whether another request may follow: all of this one was read, and nothing refused."""
        return self.keep_alive and self._body_complete and self.refused is None

    def fail(self, error: EngineError, *, is_counted: bool = False) -> None:
        """Answer with an error; when it is not this one's turn, as soon as it is.

        Args:
            error: What to say.
            is_counted: Whether somebody has counted it: a version did, or whoever refused it.
        """
        if self._done:
            return
        self.refused = error if self.refused is None else self.refused
        if not self._body_complete:
            self.keep_alive = False
        if not self.begun:
            return
        if self._relay is not None and self._relay.answer_begun:
            # Too late for a word of ours: all that can be said is that the answer is cut.
            self.caller_gone()
            self.connection.transport.abort()
            return
        self._finish_relay()
        self._say(error, is_counted=is_counted)

    def _say(self, error: EngineError, *, is_counted: bool = False) -> None:
        """Answer with an error, in the words of who asked."""
        self._done = True
        if not is_counted:
            self.connection.server.count_refusal(error)
        self.body, self._chunks = b"", None
        if self._asked is not None:
            refuse(self.connection, self, self._asked, error)
        else:
            self.connection.answer_error(self, error)

    # --- Relay ---

    def relayed(self, *, keep: bool) -> None:
        """The engine's answer was passed on whole; or cut off, if not `keep`."""
        self._done = True
        self._relay = None
        self.connection.finish(self, keep=keep)

    def uploaded(self, reply: Reply, version: str, lines: bytes) -> None:
        """A worker's answer to a body that was sent on as it came."""
        self._done = True
        self._relay = None
        self.connection.answer(
            self, reply.status, reply.body, version=version, lines=lines + reply.lines,
            head=reply.head,
        )  # fmt: skip

    # --- the caller ---

    def caller_gone(self) -> None:
        """Nobody wants the answer."""
        self._done = True
        self._finish_relay()

    def caller_slow(self) -> None:
        """The caller does not take the answer as fast as it comes."""
        if self._relay is not None:
            self._relay.pause_answer()

    def caller_ready(self) -> None:
        """The caller reads again."""
        if self._relay is not None:
            self._relay.resume_answer()

    # --- inner ---

    def _admit(self) -> None:
        """Judge the caller by the newest rules, and find what is asked.

        It may be asked again of the same request; what it finds replaces what it found.
        """
        server = self.connection.server
        self._judged_by, self._denied = server.guard, None
        path, _mark, query = self.target.partition(b"?")
        told = self._read_headers()
        self._asked = read_path(path)
        server.guard.check_caller(told[b"host"], told[b"origin"], told[b"sec-fetch-site"])
        if self.method == b"CONNECT" or self.upgrade:
            raise MisdirectedMethod("The gateway opens no tunnels and changes no protocols.",
                                    "Use HTTP/1.1 without Upgrade.")  # fmt: skip
        if not path.startswith(b"/") or b"#" in self.target:
            raise InvalidArgument("The request's target is no path.", "Send a path from '/'.")
        if path in _OWN and self.method in (b"GET", b"HEAD"):
            self._own = path
        if self._own == _HEALTH:
            return
        if self._asked is None or not self._asked.is_open(self.method):
            self.grant = server.guard.admit(self.method, path, query, told[b"authorization"])
        if self._own == _METRICS:
            check_monitors(self.grant)
        else:
            self._find_target(path)

    def _read_headers(self) -> dict[bytes, list[bytes]]:
        """Return the values of those that decide who may call; note those that say what comes."""
        told: dict[bytes, list[bytes]] = {
            b"host": [], b"authorization": [], b"origin": [], b"sec-fetch-site": [],
        }  # fmt: skip
        for name, value in self.headers:
            if name in told:
                told[name].append(value)
            elif name == b"content-length":
                self._content_length = int(value)
            elif name == b"expect":
                self._expects = value.lower() == b"100-continue"
            elif name == b"transfer-encoding" and self.http_1_0:
                raise InvalidArgument("HTTP/1.0 has no Transfer-Encoding.", "Use HTTP/1.1.")
        return told

    def _find_target(self, path: bytes) -> None:
        """Find the model or version that a path means; see whether the key covers it."""
        switchboard = self.connection.server.switchboard
        if self._asked is not None:
            self._target = judge_path(self._asked, self.method, switchboard.snapshot)
            if self._asked.model:
                self._check_covered(self._target or target_of(self._asked, switchboard.snapshot))
        elif self.method == b"POST" and (target := switchboard.target(path)) is not None:
            self._target = target
            if asks_explanation(path):
                self._asked = EXPLAIN_BODY
            elif media_type(self.headers) in RAW_TYPES:
                self._asked = RAW_BODY
            self._check_covered(target)

    def _judge_body(self) -> None:
        """Judge what the head says of a body for a version, and limit what may come."""
        if self._target is None:
            return
        if "pickle" in (kind := media_type(self.headers)):
            raise UnreadableType(f"The body's type is {kind[:80]!r}.",
                                 "Pickles are never read: send JSON.")  # fmt: skip
        self._max_body_bytes = body_limit(self._target, self.connection.server.switchboard.snapshot)
        if self._asked is EXPLAIN_BODY:  # these are kept until they are whole
            self._max_body_bytes = min(self._max_body_bytes, MIN_BYTES - 1)
        elif self._content_length < 0 and self._max_body_bytes >= MIN_BYTES:
            # Only a frame whose length is known can be sent on before it is whole.
            self._max_body_bytes, self._lacks_length = MIN_BYTES - 1, True
        if self._content_length > self._max_body_bytes:
            raise self._too_long(self._content_length)

    def _choose_carrier(self) -> None:
        """Choose who passes the body on as it comes; nobody where it is kept until it is whole."""
        if self._target is not None:
            if self._content_length >= MIN_BYTES:
                self._relay = Upload(self, self._target, self._asked, self._content_length)
        elif self._asked is None and not self._own:
            server = self.connection.server
            self._relay = Relay(self, server.engine_pool)
            server.relayed += 1

    def _too_long(self, body_bytes: int = -1) -> InvalidArgument:
        # These are kept until they are whole: no setting lets them be longer.
        is_fixed = self._asked is EXPLAIN_BODY and self._max_body_bytes == MIN_BYTES - 1
        return body_too_long(self._max_body_bytes, body_bytes, is_fixed=is_fixed)

    def _check_covered(self, target: PredictTarget) -> None:
        """See whether the caller's key covers a model; if not, say so when the body is read.

        Its connection stays good for other requests then. A body that is long or has to be asked
        for is not worth that.
        """
        try:
            check_covered(self.grant, target.model)
        except PermissionDenied as error:
            if self._expects or self._relay or self._content_length > self._max_body_bytes:
                raise
            self._denied = error

    def _is_still_good(self) -> bool:
        """Judge again if the snapshot has changed since the head came; say what is refused.

        A key that was revoked meanwhile is to open nothing, however early its head was sent. Who
        carries the body stays as it is, and one on its way is not limited anew: the worker that it
        was given to may have it all.
        """
        if self._judged_by is not self.connection.server.guard:
            try:
                self._admit()
                if self._denied is None and self._relay is None:
                    self._judge_body()
            except EngineError as error:
                self.fail(error)
        return self.refused is None

    def _answer(self) -> None:
        if not self._is_still_good():
            return
        if self._denied is not None:
            self._say(self._denied)
            return
        if self._own == _HEALTH:
            self._done = True
            self.connection.answer(self, 200, b'{"status":"ok"}\n')
            return
        if self._own == _METRICS:
            Scrape(self.connection.server, self._scraped).begin()
            return
        keep = self.may_keep_connection()
        if self._asked is not None and self._asked is not EXPLAIN_BODY:
            self._done = not speak(self, self._asked, self._target, keep=keep)
            return
        assert self._target is not None
        made = Inquiry if self._asked is None else Explanation
        self.connection.inquire(
            made(
                self.connection, self._target, self.headers, self.body, keep=keep, grant=self.grant
            )
        )

    def _scraped(self, text: str) -> None:
        if not self._done:
            self._done = True
            head = typed_head(200, "", CONTENT_TYPE)
            self.connection.answer(self, 200, text.encode(), head=head)

    def known_head(self) -> KnownHead | None:
        """Return what may be noted of this head in the memo; None where nothing may."""
        plain = (
            self.method == b"POST" and self._target is not None and self.refused is None
            and self.keep_alive and not self.upgrade and not self._expects
            and self._content_length >= 0 and self._asked is None and self._relay is None
            and self._denied is None
            and all(name != b"transfer-encoding" for name, _value in self.headers)
        )  # fmt: skip
        if not plain or self._target is None:
            return None
        return KnownHead(self._target, self.headers, self._content_length, self.grant)

    def _finish_relay(self) -> None:
        if self._relay is not None:
            relay, self._relay = self._relay, None
            relay.abandon()


def _no_length() -> LengthRequired:
    return LengthRequired(
        f"The body has {MIN_BYTES} bytes or more and does not declare its length.",
        "Send Content-Length instead of chunks.",
    )
