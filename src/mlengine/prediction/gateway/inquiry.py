"""A prediction that was read whole and may be made: on its way to a worker, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mlengine.core.errors import EngineError, Unauthenticated
from mlengine.prediction.gateway.requestlog import ID_LINE
from mlengine.runtime.frames import PREDICT

if TYPE_CHECKING:
    from mlengine.prediction.gateway.exchange import Exchange
    from mlengine.prediction.gateway.requestlog import VersionLog
    from mlengine.prediction.gateway.server import Server
    from mlengine.prediction.routing import Grant, PredictTarget

__all__ = ["Caller", "Inquiry"]


class Caller(Protocol):
    """Who asks, and is told: a connection of HTTP, or a call of gRPC.

    `answer` and `answer_error` end the request; one of them is called, once.
    """

    @property
    def server(self) -> Server: ...
    def answer(
        self, exchange: Exchange | Inquiry, /, status: int, body: bytes, version: str = "",
        lines: bytes = b"", head: bytes = b"",
    ) -> None: ...  # fmt: skip
    def answer_error(
        self, exchange: Exchange | Inquiry, /, error: EngineError, *, version: str = "",
        lines: bytes = b"",
    ) -> None: ...  # fmt: skip


class Inquiry:
    """What a `WorkerLink` answers and a connection waits for; strict way and memo end here.

    It is made when all earlier answers of the connection are out, so its own goes out at once.

    Args:
        connection: Of the caller.
        target: What the URL names.
        headers: Those of the request, names in lower case; not to be changed.
        body: All of it.
        keep: Whether another request may follow on the connection.
        grant: What the caller's key grants; None: everything.
    """

    __slots__ = (
        "begun_s", "body", "connection", "gone", "grant", "headers", "keep", "lines",
        "prediction_id", "target", "version",
    )  # fmt: skip

    kind = PREDICT
    method = b"POST"
    begun = True

    def __init__(
        self, connection: Caller, target: PredictTarget,
        headers: list[tuple[bytes, bytes]], body: bytes, *, keep: bool, grant: Grant | None = None,
    ) -> None:  # fmt: skip
        self.connection = connection
        self.target = target
        self.headers = headers
        self.body = body
        self.keep = keep
        self.grant = grant
        self.gone = False
        self.version = ""
        self.lines = b""  # of the answer's head: what is left of a quota
        self.prediction_id = ""
        self.begun_s = 0.0

    def enter(self) -> None:
        """Count it against its key's quota, then send it."""
        server = self.connection.server
        if server.logs.times:
            self.begun_s = server.fine_s()
        if self.grant is not None:
            try:
                self.lines = server.quotas.take(self.grant)
            except EngineError as error:
                # Who may not ask at all is hung up on, as where the head tells so already.
                self.keep = self.keep and not isinstance(error, Unauthenticated)
                server.count_refusal(error)
                self.failed(error)
                return
        self.send()

    def send(self) -> None:
        """Give it to the version that answers for its target."""
        server = self.connection.server
        split = server.splits.find(self.target)
        try:
            if split is not None:
                split.send(self)
                return
            link = server.switchboard.link(self.target)
        except EngineError as error:
            server.count_refusal(error)
            self.failed(error)
            return
        self.version = link.version
        link.submit(self)

    @property
    def is_prediction(self) -> bool:
        """Whether a split counts it, and a table may keep it."""
        return True

    @property
    def follows_default(self) -> bool:
        """Whether its caller has named no version."""
        return not self.target.version

    @property
    def asked_body(self) -> bytes:
        """The body as the caller sent it."""
        return self.body

    @property
    def head_lines(self) -> bytes:
        """Lines of the answer's head beyond those of every answer."""
        if not self.prediction_id:
            return self.lines
        return self.lines + ID_LINE % self.prediction_id.encode()

    # --- Prediction ---

    def answered(self, status: int, payload: bytes) -> None:
        """The worker's answer, as it is."""
        connection = self.connection
        if self.version in connection.server.logs.found:
            self.conclude(status, payload)
            return
        # Most leave nothing behind: as `conclude` and `head_lines`, without their calls.
        lines = self.lines
        if self.prediction_id:
            lines += ID_LINE % self.prediction_id.encode()
        connection.answer(self, status, payload, self.version, lines)

    def failed(self, error: EngineError) -> None:
        """There will be no answer of a worker. The request itself was sound."""
        self.conclude(error.http_status, b"", error=error)

    def unsent(self) -> None:
        """No worker has seen this, and another version may be the one to answer: route it anew."""
        self.version = ""  # until one is found; a split is to read the body as the caller sent it
        self.prediction_id = ""  # it names the version that was drawn
        self.send()

    # --- the end ---

    def conclude(
        self, status: int, answer: bytes, lines: bytes = b"", head: bytes = b"",
        error: EngineError | None = None,
    ) -> None:  # fmt: skip
        """Tell the caller, then leave behind what the version's log asks for.

        Args:
            status: Of the answer.
            answer: Its body; empty for an error.
            lines: Of the answer's head, beyond `head_lines`.
            head: Its constant part; empty where it is that of plain predictions.
            error: Why there is no answer of a worker.
        """
        connection = self.connection
        log = connection.server.logs.found.get(self.version)
        keeps = False  # whether this becomes a row of a table
        if log is not None and self.is_prediction and (log.share >= 1.0 or log.chooses()):
            keeps = True
            if not self.prediction_id:  # its row and its answer's head say the same name
                self.prediction_id = log.fresh_ids.pop() if log.fresh_ids else log.new_id()
        if error is None:
            own = self.lines  # as `head_lines`, without its call
            if self.prediction_id:
                own += ID_LINE % self.prediction_id.encode()
            connection.answer(self, status, answer, self.version, own + lines, head)
        else:
            self.tell_error(error)
        if log is None:
            return
        if keeps:
            log.keep(self.prediction_id, self.asked_body, answer if status == 200 else None)
        if log.access:
            self.leave_visit(log, status, len(self.asked_body), len(answer))

    def tell_error(self, error: EngineError) -> None:
        """Tell the caller that there is no answer of a worker."""
        self.connection.answer_error(self, error, version=self.version, lines=self.head_lines)

    def leave_visit(self, log: VersionLog, status: int, sent: int, answered: int) -> None:
        """Leave a line in the access log."""
        # One that came before the log was asked for has no beginning.
        taken_s = self.connection.server.fine_s() - self.begun_s if self.begun_s else 0.0
        log.visit(
            status, taken_s, sent=sent, answered=answered,
            key=self.grant.key if self.grant is not None else "", prediction_id=self.prediction_id,
        )  # fmt: skip

    # --- what a connection asks of those who wait ---

    def may_keep_connection(self) -> bool:
        """Whether another request may follow."""
        return self.keep

    def begin(self) -> None:
        """Nothing: it began when it was made."""

    def caller_gone(self) -> None:
        """Nobody wants the answer."""
        self.gone = True

    def caller_slow(self) -> None:
        """The answer goes out as one piece: nothing to slow down."""

    def caller_ready(self) -> None:
        """The caller reads again."""
