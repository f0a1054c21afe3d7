"""A prediction that was read whole and may be made: on its way to a worker, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlengine.core.errors import EngineError
from mlengine.runtime.frames import PREDICT

if TYPE_CHECKING:
    from mlengine.prediction.gateway.http1 import CallerConnection
    from mlengine.prediction.gateway.requestlog import VersionLog
    from mlengine.prediction.routing import Grant, PredictTarget

__all__ = ["Inquiry"]

_ID_LINE = b"x-mlengine-prediction-id: %b\r\n"


class Inquiry:
    """What a `WorkerLink` answers and a connection waits for; strict way and memo end here.

    It is made when all earlier answers of the connection are out, so its own goes out at once.

    Args:
        connection: The caller's.
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
        self, connection: CallerConnection, target: PredictTarget,
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
            self.begun_s = server.now_s()
        if self.grant is not None:
            try:
                self.lines = server.quotas.take(self.grant)
            except EngineError as error:
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
    def head_lines(self) -> bytes:
        """Lines of the answer's head beyond those of every answer."""
        if not self.prediction_id:
            return self.lines
        return self.lines + _ID_LINE % self.prediction_id.encode()

    # --- Prediction ---

    def answered(self, status: int, payload: bytes) -> None:
        """The worker's answer, as it is."""
        connection = self.connection
        log = connection.server.logs.found.get(self.version)
        keeps = log is not None and self.is_chosen(log)
        lines = self.lines
        if self.prediction_id:
            lines += _ID_LINE % self.prediction_id.encode()
        connection.answer(self, status, payload, self.version, lines)
        if log is not None:
            self.leave(log, status, self.body, payload, keeps)

    def failed(self, error: EngineError) -> None:
        """There will be no answer of a worker. The request itself was sound."""
        log = self.connection.server.logs.found.get(self.version)
        keeps = log is not None and self.is_chosen(log)
        self.connection.answer_error(self, error, version=self.version, lines=self.head_lines)
        if log is not None:
            self.leave(log, error.http_status, self.body, b"", keeps)

    def unsent(self) -> None:
        """No worker has seen this, and another version may be the one to answer: route it anew."""
        self.version = ""  # until one is found; a split is to read the body as the caller sent it
        self.prediction_id = ""  # it names the version that was drawn
        self.send()

    # --- what stays behind ---

    def is_chosen(self, log: VersionLog) -> bool:
        """Draw whether this becomes a row of a table; if so, it has a name from now on."""
        chosen = self.is_prediction and (log.share >= 1.0 or log.chooses())
        if chosen and not self.prediction_id:
            self.prediction_id = log.fresh_ids.pop() if log.fresh_ids else log.new_id()
        return chosen

    def leave(self, log: VersionLog, status: int, body: bytes, answer: bytes, keeps: bool) -> None:
        """Leave behind what the version's log asks for; the answer is out already."""
        if keeps:
            log.keep(self.prediction_id, body, answer if status == 200 else None)
        if log.access:
            self.leave_visit(log, status, len(body), len(answer))

    def leave_visit(self, log: VersionLog, status: int, sent: int, answered: int) -> None:
        """Leave a line in the access log."""
        # One that came before the log was asked for has no beginning.
        taken_s = self.connection.server.now_s() - self.begun_s if self.begun_s else 0.0
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
